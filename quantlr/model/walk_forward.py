"""Walk forward through time: at every refit, learn from what is known by then, and forecast what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.model.calibration import Calibration
from quantlr.model.fit import RefitProgressCallback, FitResults, fit_many, fit_folds, no_refit_progress
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import (
    DEFAULT_FUNCTIONS,
    ModelSplit,
    WalkForwardFunctions,
    gather_forecast_rows,
    make_model_splits,
)
from quantlr.model.logistic import sigmoid
from quantlr.model.rows import Scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import TrainingData
from quantlr.model.workers import map_in_processes
from quantlr.types import (
    Array,
    Dataset,
    Folds,
    Forecasts,
    IntArray,
    Note,
    Progress,
    Refits,
    ignore_progress,
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
        journey.functions.fit_refits(training, journey.model, describe=journey.describe_refit, advance=on_refits_done)
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
