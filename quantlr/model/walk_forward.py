"""Walk forward through time: at every refit, learn from what is known by then, and forecast what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from quantlr.core.arrays import Array, IntArray
from quantlr.core.errors import DegenerateFold, NotEnoughHistory
from quantlr.core.parallel import map_in_processes
from quantlr.core.progress import Note, Progress, ignore_progress, iso_date
from quantlr.core.values import Dataset, Folds, Forecasts, Refits
from quantlr.model.batched.fit import FitResults, RefitProgressCallback, fit_folds, fit_many, no_refit_progress
from quantlr.model.batched.sums import Scaling
from quantlr.model.batched.training import TrainingData
from quantlr.model.calibration import Calibration, fit_platt_calibration
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec, fold_sums, make_folds, make_pooled_folds
from quantlr.model.standardize import fold_scaling

CENTER_SAMPLE_RETURNS = 2**10
"""Returns that tell about where their mean is."""


def fold_target_stats(up: Array, horizon_return: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and deviation of each refit's training rows, (4, refits).

    Only rows with a label count. A mean over nothing is NaN.
    """
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    center = _subsample_mean(horizon_return[first.train_start[0] : first.train_stop[0]])

    def return_moment_terms(row_slice: slice) -> Array:
        values = np.empty((5, len(up[row_slice])))
        counted, ups, gains, away, squares = values
        counted[:], ups[:] = 1.0, up[row_slice]
        np.subtract(horizon_return[row_slice], center, out=away)
        np.multiply(ups, away, out=gains)
        np.square(away, out=squares)
        unknown = np.isnan(ups)
        if unknown.any():
            values[:, unknown] = 0.0
        return values

    rows, rose, gained, moved, squared = fold_sums(return_moment_terms, folds)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + gained / rose, center + (moved - gained) / (rows - rose)
        variance = (squared - moved**2 / rows) / (rows - 1)
        return np.stack([rose / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))])


def _subsample_mean(horizon_return: Array) -> float:
    """Return about the mean of some returns, from every so many: squares about it lose no digits."""
    few = horizon_return[:: max(len(horizon_return) // CENTER_SAMPLE_RETURNS, 1)]
    known = few[~np.isnan(few)]
    return float(known.mean()) if len(known) else 0.0


Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class WalkForwardFunctions:
    """The functions that a walk goes through, in their order; whoever replaces one sees what becomes of it.

    Attributes
    ----------
    folds : (rows, spec, horizon) to one ticker's folds; `model.folds.make_folds`.
    pooled : (dataset, spec) to the folds of one model for all tickers; `model.folds.pooled_folds`.
    scale : (X, folds, trained) to each refit's scaling; `model.scaling.fold_scaling`.
    fit : (training, model) to each refit's weights; `model.fit.fit_folds`.
    knowledge : (up, span, folds) to what each refit's training rows say besides; `model.knowledge.fold_knowledge`.
    calibrate : (log_odds, up, folds, model) to what corrects the forecasts; `model.calibration.platt`.
    """

    make_ticker_folds: Callable[..., Folds] = make_folds
    make_folds_for_all_tickers: Callable[..., list[Folds]] = make_pooled_folds
    compute_scaling: Callable[..., Scaling] = fold_scaling
    fit_refits: Callable[..., FitResults] = fit_folds
    compute_target_stats: Callable[..., Array] = fold_target_stats
    fit_calibration: Callable[..., Calibration] = fit_platt_calibration


DEFAULT_FUNCTIONS = WalkForwardFunctions()
"""The steps of every walk, unless someone replaces one."""


@dataclass(frozen=True, slots=True)
class ModelSplit:
    """What one model walks through: the rows of one ticker, or of all.

    Attributes
    ----------
    name : of the ticker, or "pooled".
    ticker : position in `Dataset.tickers`; -1 for all.
    first : position of its first row in the dataset.
    X, up, span : (rows, k), (rows,) and (rows,) features, labels and span returns.
    position : (rows,) session of each row, by which weights decay; None counts rows.
    session : (refits,) position of the first session that each refit forecasts.
    dates : (refits,) the dates of these sessions.
    folds : for each ticker, counted from its first row here.
    columns : (k,) names of the features.
    model : how to descend.
    steps : how to scale and fit.
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
    model: LogisticRegression
    functions: WalkForwardFunctions

    def make_training_data(self) -> TrainingData:
        """Return what there is to learn from, scaled."""
        scaling = self.functions.compute_scaling(self.X, self.folds, has_label=~np.isnan(self.up))
        return TrainingData(self.X, self.up, self.folds, scaling, self.row_session_index)

    def take_forecast_rows(self, row_values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return what (rows, ...) values of the journey's rows are at those that are forecast, ticker by ticker."""
        return np.concatenate([row_values[ticker.test_start[0] : ticker.test_stop[-1]] for ticker in self.folds])

    def forecast_refit_indices(self) -> IntArray:
        """Return the number of the refit that makes each forecast, (forecasts,), in the same order."""
        counts = [ticker.test_stop - ticker.test_start for ticker in self.folds]
        return np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])

    def slice_refits(self, refit_slice: slice) -> ModelSplit:
        """Return the same journey with some of its refits."""
        folds = tuple(ticker.slice_refits(refit_slice) for ticker in self.folds)
        return replace(
            self, first_session=self.first_session[refit_slice], refit_dates=self.refit_dates[refit_slice], folds=folds
        )

    def describe_refit(self, refit_index: int) -> str:
        """Return words for one of the refits."""
        return f"{self.name}, the refit before {iso_date(self.refit_dates[refit_index])}"

    @property
    def n_training_pairs(self) -> int:
        """Number of pairs of a refit and a row that trains it."""
        return sum(int((ticker.train_stop - ticker.train_start).sum()) for ticker in self.folds)


def gather_forecast_rows(model_splits: Sequence[ModelSplit], dataset_row_values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return what (rows, ...) values of the whole dataset are at the rows that are forecast, model by model."""
    return np.concatenate(
        [journey.take_forecast_rows(dataset_row_values[journey.first_row :]) for journey in model_splits]
    )


def make_model_splits(
    dataset: Dataset,
    split_spec: WalkForwardSpec,
    model: LogisticRegression,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
) -> tuple[list[ModelSplit], list[Note]]:
    """Return what each model walks through, and a note for every ticker that is too short for one fold.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the text is that of the longest.
    DegenerateFold : a ticker that would have a model of its own has no label at all, unless `model.degenerate` allows.
    """
    if model.scope == "pooled":
        return [_make_pooled_split(dataset, split_spec, model, functions)], []
    return _make_per_ticker_splits(dataset, split_spec, model, functions)


def _make_per_ticker_splits(
    dataset: Dataset, split_spec: WalkForwardSpec, model: LogisticRegression, functions: WalkForwardFunctions
) -> tuple[list[ModelSplit], list[Note]]:
    journeys: list[ModelSplit] = []
    short: list[tuple[int, NotEnoughHistory]] = []
    for ticker, name in enumerate(dataset.tickers):
        rows = dataset.ticker_slice(ticker)
        count = rows.stop - rows.start
        try:
            folds = functions.make_ticker_folds(count, split_spec, horizon=dataset.horizon)
        except NotEnoughHistory as error:
            short.append((count, NotEnoughHistory(f"{name}: {error.message}", key=error.key)))
            continue
        _require_labels(dataset.up[rows], name, model)
        session = dataset.session[rows.start + folds.test_start]
        journeys.append(
            ModelSplit(
                name=name,
                ticker_index=ticker,
                first_row=rows.start,
                X=dataset.features[rows],
                up=dataset.up[rows],
                horizon_return=dataset.horizon_return[rows],
                row_session_index=None,
                first_session=session,
                refit_dates=dataset.sessions[session],
                folds=(folds,),
                feature_names=dataset.columns,
                model=model,
                functions=functions,
            )
        )
    if not journeys:
        raise max(short, key=lambda found: found[0])[1]
    return journeys, [Note("model", f"left out, too short: {error.message}") for _, error in short]


def _require_labels(up: Array, ticker: str, model: LogisticRegression) -> None:
    if model.degenerate == "error" and np.isnan(up).all():
        raise DegenerateFold(
            f"{ticker}: none of its rows has a label: a band drops small moves, and a benchmark is never above itself. "
            "Leave it out of data.tickers (data.context may still name it), or set model.scope to pooled",
            key="data.tickers",
        )


def _make_pooled_split(
    dataset: Dataset, split_spec: WalkForwardSpec, model: LogisticRegression, functions: WalkForwardFunctions
) -> ModelSplit:
    folds = functions.make_folds_for_all_tickers(dataset, split_spec)
    calendar = np.unique(dataset.session)
    first = [
        min(
            int(dataset.session[ticker.test_start[at]])
            for ticker in folds
            if ticker.test_stop[at] > ticker.test_start[at]
        )
        for at in range(len(folds[0]))
    ]
    session = np.array(first, dtype=np.int64)
    return ModelSplit(
        name="pooled",
        ticker_index=-1,
        first_row=0,
        X=dataset.features,
        up=dataset.up,
        horizon_return=dataset.horizon_return,
        row_session_index=np.searchsorted(calendar, dataset.session),
        first_session=session,
        refit_dates=dataset.sessions[session],
        folds=tuple(folds),
        feature_names=dataset.columns,
        model=model,
        functions=functions,
    )


SECONDS_PER_TRAINING_PAIR, SECONDS_PER_REFIT = 8e-9, 60e-6
"""Seconds that a pair of a refit and a row takes, and a refit besides, roughly."""
MAX_MODELS_PER_BATCH = 12
"""Models that descend side by side, at most."""
MIN_PARALLEL_SECONDS = 4.0
"""Seconds of work from which it pays to start other processes."""
COLLINEAR_CONDITION_NUMBER = 100.0
"""Condition number from which features are told to repeat one another."""


@dataclass(frozen=True, slots=True)
class ModelForecasts:
    """What one model has learnt and forecast.

    Attributes
    ----------
    log_odds : (forecasts,) of an up move, in the order of `Journey.forecast`.
    fits, calibration : what the refits learnt.
    knowledge : (4, refits) base rate, mean gain, mean loss and deviation of each refit's training rows.
    notes : what a reader should know.
    """

    log_odds: Array
    fit_results: FitResults
    calibration: Calibration | None
    target_stats: Array
    notes: tuple[Note, ...]


def walk_forward(
    dataset: Dataset,
    split_spec: WalkForwardSpec,
    model: LogisticRegression,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Forecasts:
    """Return the forecasts of every ticker that is long enough for one fold, by a model of its own or one for all.

    A row whose label was dropped counts among the training rows, but nothing is learnt from it; it is forecast.

    Parameters
    ----------
    dataset : features and labels.
    spec, model : how to walk and how to descend.
    steps : the functions that do it.
    workers : processes that share many tickers out, if there is enough to do for them; results do not depend on it.
    progress : hears how many refits are done.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the text is that of the longest.
    DegenerateFold, LearningRateTooLarge : of a ticker that can't be fitted as asked, the same one for any `workers`.
    """
    walkers, notes = make_model_splits(dataset, split_spec, model, functions)
    total = sum(len(journey.first_session) for journey in walkers)
    done = 0

    def report_refits_done(n_refits: int) -> None:
        nonlocal done
        done += n_refits
        progress("fitting", done=done, total=total)

    report_refits_done(0)
    # The products of a chunk are too small to share out: more threads than one make them slower.
    with threadpool_limits(1, user_api="blas"):
        walks = list(_iter_model_forecasts(walkers, workers=workers, on_refits_done=report_refits_done))
    return _join_forecasts(dataset, walkers, walks, notes)


def _iter_model_forecasts(
    model_splits: list[ModelSplit], *, workers: int, on_refits_done: RefitProgressCallback
) -> Iterator[ModelForecasts]:
    seconds = sum(
        journey.n_training_pairs * SECONDS_PER_TRAINING_PAIR + len(journey.first_session) * SECONDS_PER_REFIT
        for journey in model_splits
    )
    groups = [
        model_splits[first : first + MAX_MODELS_PER_BATCH]
        for first in range(0, len(model_splits), MAX_MODELS_PER_BATCH)
    ]
    if workers == 1 or len(groups) == 1 or seconds < MIN_PARALLEL_SECONDS:
        for group in groups:
            yield from forecast_models(group, on_refits_done)
        return
    for group, walks in zip(groups, map_in_processes(forecast_models, groups, workers=workers), strict=True):
        on_refits_done(sum(len(journey.first_session) for journey in group))
        yield from walks


def forecast_models(
    model_splits: Sequence[ModelSplit], on_refits_done: RefitProgressCallback = no_refit_progress
) -> list[ModelForecasts]:
    """Return the forecasts of some models: scaled, fitted, and calibrated if it is asked for."""
    trainings = [journey.make_training_data() for journey in model_splits]
    fits = _fit_models(model_splits, trainings, on_refits_done)
    return [_make_model_forecasts(*each) for each in zip(model_splits, trainings, fits, strict=True)]


def _fit_models(
    model_splits: Sequence[ModelSplit], training_sets: Sequence[TrainingData], on_refits_done: RefitProgressCallback
) -> list[FitResults]:
    """Return what all refits learnt: side by side, unless someone has replaced the step that fits one model."""
    if all(journey.functions.fit_refits is fit_folds for journey in model_splits):
        words = [journey.describe_refit for journey in model_splits]
        return fit_many(training_sets, model_splits[0].model, describe_refits=words, on_refits_done=on_refits_done)
    return [
        journey.functions.fit_refits(
            training, journey.model, describe_refit=journey.describe_refit, on_refits_done=on_refits_done
        )
        for journey, training in zip(model_splits, training_sets, strict=True)
    ]


def _make_model_forecasts(
    model_split: ModelSplit, training_data: TrainingData, fit_results: FitResults
) -> ModelForecasts:
    """Return what the refits of one model forecast."""
    log_odds = np.concatenate(
        [_forecast_log_odds(model_split.X, ticker, fit_results.coefficients) for ticker in model_split.folds]
    )
    calibration = None
    if model_split.model.calibration == "platt":
        up = model_split.take_forecast_rows(model_split.up)
        calibration = model_split.functions.fit_calibration(log_odds, up, model_split.folds, model_split.model)
        log_odds = calibration.apply(log_odds, model_split.forecast_refit_indices())
    return ModelForecasts(
        log_odds=log_odds,
        fit_results=fit_results,
        calibration=calibration,
        target_stats=model_split.functions.compute_target_stats(
            model_split.up, model_split.horizon_return, model_split.folds
        ),
        notes=tuple(_iter_model_notes(model_split, training_data.scaling, fit_results)),
    )


def _forecast_log_odds(X: Array, folds: Folds, coefficients: Array) -> Array:
    """Return the log odds of one ticker's forecasts, each by the refit that makes it."""
    weights = np.repeat(coefficients, folds.test_stop - folds.test_start, axis=0)
    tested = X[folds.test_start[0] : folds.test_stop[-1]]
    return np.asarray(weights[:, 0] + np.einsum("ij,ij->i", weights[:, 1:], tested))


def _iter_model_notes(model_split: ModelSplit, scaling: Scaling, fit_results: FitResults) -> Iterable[Note]:
    """Yield what a reader should know of one model."""
    counts = (scaling.std == 0).sum(axis=0).tolist()
    for name, count in zip(model_split.feature_names, counts, strict=True):
        if count:
            text = f"{name} was constant over a refit's training rows and weighs 0 there"
            yield Note("model", text, ticker=model_split.name, count=count)
    if fit_results.degenerate.any():
        text = "refits had no best fit (one class, or classes that a plane separates) and forecast the base rate"
        yield Note("model", text, ticker=model_split.name, count=int(fit_results.degenerate.sum()))
    if fit_results.condition_number >= COLLINEAR_CONDITION_NUMBER:
        text = (
            f"features nearly repeat one another (condition number {fit_results.condition_number:.3g}): what a single one weighs "
            "says little, what they say together is not affected"
        )
        yield Note("model", text, ticker=model_split.name)


def _join_forecasts(
    dataset: Dataset, model_splits: list[ModelSplit], model_forecasts: list[ModelForecasts], notes: list[Note]
) -> Forecasts:
    made_by = [journey.forecast_refit_indices() for journey in model_splits]
    base_rate, gain, loss, deviation = (
        np.concatenate([walk.target_stats[at, fold] for walk, fold in zip(model_forecasts, made_by, strict=True)])
        for at in range(4)
    )
    fits = [walk.fit_results for walk in model_forecasts]
    refits = Refits(
        columns=dataset.columns,
        ticker=np.concatenate([np.full(len(journey.first_session), journey.ticker_index) for journey in model_splits]),
        session=np.concatenate([journey.first_session for journey in model_splits]),
        coefficients=np.concatenate([fit.coefficients for fit in fits]),
        iterations=np.concatenate([fit.iterations for fit in fits]),
        max_abs_gradient=np.concatenate([fit.max_abs_gradient for fit in fits]),
        converged=np.concatenate([fit.converged for fit in fits]),
        degenerate=np.concatenate([fit.degenerate for fit in fits]),
        platt_coefficients=np.concatenate([_platt_coefficients(walk) for walk in model_forecasts]),
        condition_number=np.array([fit.condition_number for fit in fits]),
    )
    notes = [
        *notes,
        *(note for walk in model_forecasts for note in walk.notes),
        *_iter_calibration_notes(model_forecasts, made_by),
    ]
    open_ended = int((~refits.converged).sum())
    if open_ended:
        worst = float(refits.max_abs_gradient.max())
        text = f"fits did not converge; the largest gradient left is {worst:.2g}; raise model.max_iter or model.tol"
        notes = [*notes, Note("model", text, count=open_ended)]
    return Forecasts(
        tickers=dataset.tickers,
        sessions=dataset.sessions,
        ticker=gather_forecast_rows(model_splits, dataset.ticker),
        session=gather_forecast_rows(model_splits, dataset.session),
        log_odds=np.concatenate([walk.log_odds for walk in model_forecasts]),
        probability=np.concatenate([sigmoid(walk.log_odds) for walk in model_forecasts]),
        up=gather_forecast_rows(model_splits, dataset.up),
        horizon_return=gather_forecast_rows(model_splits, dataset.horizon_return),
        base_rate=base_rate,
        mean_gain=gain,
        mean_loss=loss,
        std=deviation,
        fold=np.concatenate(made_by),
        horizon=dataset.horizon,
        refits=refits,
        folds=tuple(folds.shift(split.first_row) for split in model_splits for folds in split.folds),
        notes=tuple(notes),
    )


def _iter_calibration_notes(
    model_forecasts: list[ModelForecasts], forecast_refit_indices: list[IntArray]
) -> Iterable[Note]:
    """Yield what a reader should know of how the forecasts were calibrated, all models together."""
    both = zip(model_forecasts, forecast_refit_indices, strict=True)
    lines = [(walk.calibration, fold) for walk, fold in both if walk.calibration is not None]
    early = sum(int((~line.is_fitted[fold]).sum()) for line, fold in lines)
    if early:
        text = "forecasts were left uncalibrated: too few earlier ones were known to fit Platt's sigmoid"
        yield Note("model", text, count=early)
    unsettled = sum(int((~line.converged).sum()) for line, _ in lines)
    if unsettled:
        yield Note("model", "of Platt's sigmoids did not converge; raise model.max_iter", count=unsettled)


def _platt_coefficients(model_forecasts: ModelForecasts) -> Array:
    if model_forecasts.calibration is None:
        return np.tile([0.0, 1.0], (len(model_forecasts.fit_results.iterations), 1))
    return model_forecasts.calibration.platt_coefficients
