"""Walk-forward: each refit is fitted to the rows whose labels are known by then, and forecasts the rows that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quantlr.core.errors import DegenerateFold, NotEnoughHistory
from quantlr.core.parallel import allowed_worker_count, map_in_processes, use_one_blas_thread
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import NOT_YET_KNOWN, iso_date, label_lag
from quantlr.core.values import Array, Dataset, Folds, Forecasts, IntArray, Note, Refits
from quantlr.model.base import FittedModel, Model, RefitProgressCallback, ignore_refit_progress
from quantlr.model.calibration import fit_platt_calibration_by_refit
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec, fold_target_stats, make_folds, make_pooled_folds
from quantlr.model.standardize import Scaling, fold_scaling
from quantlr.model.training import TrainingData
from quantlr.model.training_probabilities import training_probability_stats

SECONDS_PER_TRAINING_PAIR, SECONDS_PER_REFIT = 8e-9, 60e-6
"""Approximate time per pair of a refit and a training row, and per refit in addition."""
MAX_MODELS_PER_BATCH = 12
"""Largest number of models that are fitted in the same batches."""
MIN_PARALLEL_SECONDS = 4.0
"""Estimated time from which other processes are started."""
COLLINEAR_CONDITION_NUMBER = 100.0
"""Condition number from which a note says that features are nearly collinear."""

Scalar = TypeVar("Scalar", bound=np.generic)


def fit_refits(training_sets: Sequence[TrainingData], model: Model, **callbacks: Any) -> list[FittedModel]:
    """Return what a model learns in all refits of several tickers; see `Model.fit_many`."""
    return model.fit_many(training_sets, **callbacks)


@dataclass(frozen=True, slots=True)
class WalkForwardFunctions:
    """The functions of a walk-forward, in the order of their use; an audit or a test may replace one.

    Attributes
    ----------
    make_ticker_folds : (n_rows, split_spec, horizon) to one ticker's folds; `make_folds`.
    make_folds_for_all_tickers : (dataset, split_spec) to the folds of a pooled model; `make_pooled_folds`.
    compute_scaling : (X, folds, has_label) to each refit's mean and standard deviation; `fold_scaling`.
    fit_refits : (training_sets, model, describe_refits, on_refits_done) to what is learnt in the refits of several
        tickers; `Model.fit_many`.
    compute_target_stats : (up, horizon_return, folds) to base rates and mean returns; `fold_target_stats`.
    fit_calibration : (log_odds, up, folds, model) to the correction of forecasts; `fit_platt_calibration_by_refit`.
    compute_probability_stats : (X, up, folds, fitted, calibration) to what the test of skill needs to know.
    """

    make_ticker_folds: Callable[..., Folds] = make_folds
    make_folds_for_all_tickers: Callable[..., list[Folds]] = make_pooled_folds
    compute_scaling: Callable[..., Scaling] = fold_scaling
    fit_refits: Callable[..., list[FittedModel]] = fit_refits
    compute_target_stats: Callable[..., Array] = fold_target_stats
    fit_calibration: Callable[..., FittedModel] = fit_platt_calibration_by_refit
    compute_probability_stats: Callable[..., Array] = training_probability_stats


DEFAULT_FUNCTIONS = WalkForwardFunctions()
"""The functions of every walk-forward outside audits and tests."""


@dataclass(frozen=True, slots=True)
class ModelSplit:
    """Rows and folds of one model: those of one ticker, or of all tickers if the model is pooled.

    Attributes
    ----------
    name : of the ticker, or "pooled".
    ticker_index : position in `Dataset.tickers`; -1 if pooled.
    first_row : position of the model's first row in the dataset.
    X, up, horizon_return : (rows, k), (rows,) and (rows,) features, labels and horizon returns.
    row_session_index : (rows,) session of each row, by which its weight decays; None counts rows.
    first_session : (refits,) position of the first session that each refit forecasts.
    refit_dates : (refits,) the dates of these sessions.
    folds : of each ticker, counted from the model's first row.
    feature_names : (k,) names of the features.
    model : the classifier.
    functions : the functions of the walk-forward.
    """

    name: str
    ticker_index: int
    first_row: int
    X: Array
    up: Array
    horizon_return: Array
    row_session_index: IntArray | None
    first_session: IntArray
    refit_dates: Any
    folds: tuple[Folds, ...]
    feature_names: tuple[str, ...]
    model: Model
    functions: WalkForwardFunctions

    def make_training_data(self) -> TrainingData:
        """Return features, labels and folds with the scaling of each refit."""
        scaling = self.functions.compute_scaling(self.X, self.folds, has_label=~np.isnan(self.up))
        return TrainingData(self.X, self.up, self.folds, scaling, self.row_session_index)

    def take_forecast_rows(self, row_values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return values of the model's rows (rows, ...) at the rows that are forecast, ticker by ticker."""
        return np.concatenate([row_values[ticker.test_start[0] : ticker.test_stop[-1]] for ticker in self.folds])

    def forecast_refit_indices(self) -> IntArray:
        """Return the index of the refit that makes each forecast, (forecasts,), in the same order."""
        counts = [ticker.test_stop - ticker.test_start for ticker in self.folds]
        return np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])

    def slice_refits(self, refits: slice) -> ModelSplit:
        """Return the same model with some of its refits."""
        folds = tuple(ticker.slice_refits(refits) for ticker in self.folds)
        first_session, refit_dates = self.first_session[refits], self.refit_dates[refits]
        return replace(self, first_session=first_session, refit_dates=refit_dates, folds=folds)

    def describe_refit(self, refit_index: int) -> str:
        """Return the description of a refit for a message."""
        return f"{self.name}, the refit before {iso_date(self.refit_dates[refit_index])}"

    @property
    def n_training_pairs(self) -> int:
        """Number of pairs of a refit and a row that trains it."""
        return sum(int((ticker.train_stop - ticker.train_start).sum()) for ticker in self.folds)


def gather_forecast_rows(model_splits: Sequence[ModelSplit], dataset_row_values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return values of the dataset's rows (rows, ...) at the rows that are forecast, model by model."""
    return np.concatenate([split.take_forecast_rows(dataset_row_values[split.first_row :]) for split in model_splits])


def make_model_splits(
    dataset: Dataset,
    split_spec: WalkForwardSpec,
    model: Model,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
) -> tuple[list[ModelSplit], list[Note]]:
    """Return rows and folds of each model, and a note for every ticker that is too short for one fold.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the message is that of the longest.
    DegenerateFold : a ticker with a model of its own has no label at all, unless `model.degenerate` allows it.
    """
    splits: list[ModelSplit] = []
    too_short: list[tuple[int, NotEnoughHistory]] = []
    if model.scope == "pooled":
        pooled_folds = tuple(functions.make_folds_for_all_tickers(dataset, split_spec))
        splits.append(_make_split(dataset, -1, slice(0, len(dataset.up)), pooled_folds, model, functions))
        return splits, []
    for ticker, name in enumerate(dataset.tickers):
        rows = dataset.ticker_slice(ticker)
        n_rows = rows.stop - rows.start
        try:
            folds = functions.make_ticker_folds(
                n_rows, split_spec, horizon=label_lag(dataset.horizon, label_delay=dataset.label_delay)
            )
        except NotEnoughHistory as error:
            too_short.append((n_rows, NotEnoughHistory(f"{name}: {error.message}", key=error.key)))
            continue
        if model.degenerate == "error" and np.isnan(dataset.up[rows]).all():
            raise DegenerateFold(
                f"{name}: none of its rows has a label: a band drops small moves, and a benchmark is never above "
                "itself. Leave it out of data.tickers (data.context may still name it), or set model.scope to pooled",
                key="data.tickers",
            )
        splits.append(_make_split(dataset, ticker, rows, (folds,), model, functions))
    if not splits:
        raise max(too_short, key=lambda item: item[0])[1]
    return splits, [Note("model", f"left out, too short: {error.message}") for _, error in too_short]


def model_split_of_forecasts(
    dataset: Dataset,
    forecasts: Forecasts,
    ticker_index: int,
    model: Model,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
) -> ModelSplit:
    """Return rows and folds of one model of a finished walk-forward: that of a ticker, or of all if it is -1."""
    if ticker_index < 0:
        return _make_split(dataset, -1, slice(0, len(dataset.up)), forecasts.folds, model, functions)
    rows = dataset.ticker_slice(ticker_index)
    folds = forecasts.folds[int(np.searchsorted(np.unique(forecasts.ticker), ticker_index))]
    return _make_split(dataset, ticker_index, rows, (folds.shift_rows(-rows.start),), model, functions)


def _make_split(
    dataset: Dataset,
    ticker_index: int,
    rows: slice,
    folds: tuple[Folds, ...],
    model: Model,
    functions: WalkForwardFunctions,
) -> ModelSplit:
    session, is_pooled = dataset.session[rows], ticker_index < 0
    # The pooled model's first session of a refit is that of the first ticker to trade.
    sessions = np.append(session, NOT_YET_KNOWN)
    first_rows = [np.where(ticker.test_stop > ticker.test_start, ticker.test_start, -1) for ticker in folds]
    first_session = np.min([sessions[rows_of_ticker] for rows_of_ticker in first_rows], axis=0)
    return ModelSplit(
        name="pooled" if is_pooled else dataset.tickers[ticker_index],
        ticker_index=ticker_index,
        first_row=rows.start,
        X=dataset.features[rows],
        up=dataset.up[rows],
        horizon_return=dataset.horizon_return[rows],
        row_session_index=np.searchsorted(np.unique(session), session) if is_pooled else None,
        first_session=first_session,
        refit_dates=dataset.sessions[first_session],
        folds=folds,
        feature_names=dataset.columns,
        model=model,
        functions=functions,
    )


@dataclass(frozen=True, slots=True)
class ModelForecasts:
    """Fits and forecasts of one model.

    Attributes
    ----------
    log_odds : (forecasts,) of an up move, in the order of `ModelSplit.take_forecast_rows`.
    fitted, calibration : what the refits have learnt, and the logistic regression that corrects their log odds, if any.
    target_stats : (4, refits) base rate, mean gain, mean loss and standard deviation of each refit's training rows.
    probability_stats : (3, forecasts) `training_probability_stats` of each forecast's refit and ticker.
    notes : notes on the model's features and fits.
    """

    log_odds: Array
    fitted: FittedModel
    calibration: FittedModel | None
    target_stats: Array
    probability_stats: Array
    notes: tuple[Note, ...]

    @property
    def platt_coefficients(self) -> Array:
        """(refits, 2) intercept and slope of the calibration; 0 and 1 without one."""
        if self.calibration is None:
            return np.tile([0.0, 1.0], (len(self.fitted.converged), 1))
        return self.calibration.coefficients


def walk_forward(
    dataset: Dataset,
    split_spec: WalkForwardSpec,
    model: Model,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Forecasts:
    """Return the out-of-sample forecasts of every ticker that is long enough for one fold.

    A row whose label was dropped counts as a row of the training window but does not enter the fit; it is forecast.

    Parameters
    ----------
    dataset : features and labels.
    split_spec, model : the folds, and the classifier: one per ticker, or one for all.
    functions : the functions of the walk-forward.
    workers : processes among which many tickers are divided if they take long enough; results do not depend on it.
    progress : receives the number of refits that are done.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the message is that of the longest.
    DegenerateFold, LearningRateTooLarge : a ticker cannot be fitted as configured; the same one for any `workers`.
    """
    return walk_forward_together([dataset], split_spec, model, functions, workers=workers, progress=progress)[0]


def walk_forward_together(
    datasets: Sequence[Dataset],
    split_spec: WalkForwardSpec,
    model: Model,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
    *,
    workers: int,
    progress: Progress = ignore_progress,
) -> list[Forecasts]:
    """Return what `walk_forward` returns for each of some datasets, whose models share batches."""
    splits_and_notes = [make_model_splits(dataset, split_spec, model, functions) for dataset in datasets]
    splits = [split for splits_of_dataset, _ in splits_and_notes for split in splits_of_dataset]
    counter = ProgressCounter("fitting", sum(len(split.first_session) for split in splits), progress)
    # The matrix products of a batch are so small that several BLAS threads make them slower.
    with use_one_blas_thread():
        done = iter(list(_iter_model_forecasts(splits, workers=workers, on_refits_done=counter.step)))
    parts = zip(datasets, splits_and_notes, strict=True)
    return [_join_forecasts(dataset, part, list(islice(done, len(part))), notes) for dataset, (part, notes) in parts]


def _iter_model_forecasts(
    model_splits: list[ModelSplit], *, workers: int, on_refits_done: RefitProgressCallback
) -> Iterator[ModelForecasts]:
    n_pairs = sum(split.n_training_pairs for split in model_splits)
    n_refits = sum(len(split.first_session) for split in model_splits)
    seconds = n_pairs * SECONDS_PER_TRAINING_PAIR + n_refits * SECONDS_PER_REFIT
    groups = list(_iter_batches(model_splits))
    workers = allowed_worker_count(workers)
    if workers == 1 or len(groups) == 1 or seconds < MIN_PARALLEL_SECONDS:
        for group in groups:
            yield from forecast_models(group, on_refits_done)
        return
    for group, forecasts in zip(groups, map_in_processes(forecast_models, groups, workers=workers), strict=True):
        on_refits_done(sum(len(split.first_session) for split in group))
        yield from forecasts


def _iter_batches(model_splits: Sequence[ModelSplit]) -> Iterator[list[ModelSplit]]:
    """Yield consecutive models with as many features each, at most `MAX_MODELS_PER_BATCH` together."""
    for _, splits in groupby(model_splits, key=lambda split: split.X.shape[1]):
        same_width = list(splits)
        for first in range(0, len(same_width), MAX_MODELS_PER_BATCH):
            yield same_width[first : first + MAX_MODELS_PER_BATCH]


def forecast_models(
    model_splits: Sequence[ModelSplit], on_refits_done: RefitProgressCallback = ignore_refit_progress
) -> list[ModelForecasts]:
    """Return the forecasts of some models of one walk-forward: scaled, fitted, and calibrated if configured."""
    training_sets = [split.make_training_data() for split in model_splits]
    describe_refits, model = [split.describe_refit for split in model_splits], model_splits[0].model
    fit = model_splits[0].functions.fit_refits
    fits = fit(training_sets, model, describe_refits=describe_refits, on_refits_done=on_refits_done)
    return [_make_model_forecasts(*parts) for parts in zip(model_splits, training_sets, fits, strict=True)]


def _make_model_forecasts(split: ModelSplit, training_data: TrainingData, fitted: FittedModel) -> ModelForecasts:
    functions = split.functions
    log_odds = np.concatenate([_forecast_log_odds(split.X, ticker, fitted) for ticker in split.folds])
    calibration = None
    if split.model.calibration == "platt":
        calibration = functions.fit_calibration(log_odds, split.take_forecast_rows(split.up), split.folds, split.model)
        log_odds = calibration.log_odds(log_odds[:, None], split.forecast_refit_indices())
    target_stats = functions.compute_target_stats(split.up, split.horizon_return, split.folds)
    stats = (
        functions.compute_probability_stats(split.X, split.up, ticker, fitted, calibration) for ticker in split.folds
    )
    lengths = (ticker.test_stop - ticker.test_start for ticker in split.folds)
    probability_stats = [np.repeat(values, length, axis=1) for values, length in zip(stats, lengths, strict=True)]
    notes = tuple(_iter_model_notes(split, training_data.scaling, fitted))
    return ModelForecasts(log_odds, fitted, calibration, target_stats, np.concatenate(probability_stats, axis=1), notes)


def _forecast_log_odds(X: Array, folds: Folds, fitted: FittedModel) -> Array:
    """Return the log odds of one ticker's forecasts, each by its refit."""
    refit_index = np.repeat(np.arange(len(folds)), folds.test_stop - folds.test_start)
    return fitted.log_odds(X[folds.test_start[0] : folds.test_stop[-1]], refit_index)


def _iter_model_notes(model_split: ModelSplit, scaling: Scaling, fitted: FittedModel) -> Iterable[Note]:
    name = model_split.name
    counts = (scaling.std == 0).sum(axis=0).tolist()
    for feature, count in zip(model_split.feature_names, counts, strict=True):
        if count:
            text = f"{feature} was constant over a refit's training rows and weighs 0 there"
            yield Note("model", text, ticker=name, count=count)
    if fitted.degenerate.any():
        text = "refits had no best fit (one class, or classes that a hyperplane separates) and forecast the base rate"
        yield Note("model", text, ticker=name, count=int(fitted.degenerate.sum()))
    if fitted.condition_number >= COLLINEAR_CONDITION_NUMBER:
        effect = "single coefficients are uncertain, the forecasts are not affected"
        text = f"features are nearly collinear (condition number {fitted.condition_number:.3g}): {effect}"
        yield Note("model", text, ticker=name)


def _join_forecasts(
    dataset: Dataset, splits: list[ModelSplit], model_forecasts: list[ModelForecasts], notes: list[Note]
) -> Forecasts:
    refit_indices = [split.forecast_refit_indices() for split in splits]
    stats = [part.target_stats[:, refits] for part, refits in zip(model_forecasts, refit_indices, strict=True)]
    base_rate, mean_gain, mean_loss, std = np.concatenate(stats, axis=1)
    up_rate, probability_mean, probability_std = np.concatenate([p.probability_stats for p in model_forecasts], axis=1)
    fits = [part.fitted for part in model_forecasts]
    fit_names = ("coefficients", "iterations", "max_abs_gradient", "converged", "degenerate")
    fit_arrays: dict[str, Any] = {name: np.concatenate([getattr(fit, name) for fit in fits]) for name in fit_names}
    refits = Refits(
        columns=dataset.columns,
        ticker=np.concatenate([np.full(len(split.first_session), split.ticker_index) for split in splits]),
        session=np.concatenate([split.first_session for split in splits]),
        platt_coefficients=np.concatenate([part.platt_coefficients for part in model_forecasts]),
        condition_number=np.array([fit.condition_number for fit in fits]),
        lipschitz=np.array([fit.lipschitz for fit in fits]),
        learning_rate=np.array([fit.learning_rate for fit in fits]),
        **fit_arrays,
    )
    log_odds = [part.log_odds for part in model_forecasts]
    model_notes = [note for part in model_forecasts for note in part.notes]
    return Forecasts(
        tickers=dataset.tickers,
        sessions=dataset.sessions,
        ticker=gather_forecast_rows(splits, dataset.ticker),
        session=gather_forecast_rows(splits, dataset.session),
        log_odds=np.concatenate(log_odds),
        probability=np.concatenate([sigmoid(z) for z in log_odds]),
        up=gather_forecast_rows(splits, dataset.up),
        horizon_return=gather_forecast_rows(splits, dataset.horizon_return),
        base_rate=base_rate,
        mean_gain=mean_gain,
        mean_loss=mean_loss,
        std=std,
        training_up_rate=up_rate,
        training_probability_mean=probability_mean,
        training_probability_std=probability_std,
        fold=np.concatenate(refit_indices),
        horizon=dataset.horizon,
        label_delay=dataset.label_delay,
        refits=refits,
        folds=tuple(folds.shift_rows(split.first_row) for split in splits for folds in split.folds),
        notes=(*notes, *model_notes, *_iter_joint_notes(model_forecasts, refit_indices, refits)),
    )


def _iter_joint_notes(
    model_forecasts: list[ModelForecasts], forecast_refit_indices: list[IntArray], refits: Refits
) -> Iterable[Note]:
    """Yield the notes on calibration and convergence, one for all models."""
    parts = zip(model_forecasts, forecast_refit_indices, strict=True)
    calibrations = [(part.calibration, index) for part, index in parts if part.calibration is not None]
    identity = (0.0, 1.0)
    n_uncalibrated = sum(
        int((calibration.coefficients[index] == identity).all(axis=1).sum()) for calibration, index in calibrations
    )
    if n_uncalibrated:
        text = "forecasts were left uncalibrated: too few earlier outcomes were known to fit Platt's sigmoid"
        yield Note("model", text, count=n_uncalibrated)
    n_unconverged = sum(int((~calibration.converged).sum()) for calibration, _ in calibrations)
    if n_unconverged:
        yield Note("model", "of Platt's sigmoids did not converge; raise model.max_iter", count=n_unconverged)
    n_unconverged = int((~refits.converged).sum())
    if n_unconverged:
        text = "fits did not converge"
        if len(refits.max_abs_gradient):
            largest = float(refits.max_abs_gradient.max())
            text += f"; the largest gradient left is {largest:.2g}; raise model.max_iter or model.tol"
        yield Note("model", text, count=n_unconverged)
