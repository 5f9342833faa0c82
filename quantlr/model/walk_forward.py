"""Walk forward through time: at every refit, learn from what is known by then, and forecast what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.model.calibration import Calibration
from quantlr.model.fit import Advance, Fits, fit_abreast, fit_folds, ignore
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import STEPS, Journey, Steps, forecast_of, journeys
from quantlr.model.logistic import sigmoid
from quantlr.model.rows import Scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import Training
from quantlr.model.workers import in_processes
from quantlr.types import (
    Array,
    Dataset,
    Folds,
    Forecasts,
    IntArray,
    Note,
    Progress,
    Refits,
    no_progress,
)

PER_PAIR, PER_REFIT = 8e-9, 60e-6
"""Seconds that a pair of a refit and a row takes, and a refit besides, roughly."""
ABREAST = 12
"""Models that descend side by side, at most."""
WORTH_SHARING = 4.0
"""Seconds of work from which it pays to start other processes."""
NEARLY_REPEATED = 100.0
"""Condition number from which features are told to repeat one another."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What one model has learnt and forecast.

    Attributes
    ----------
    log_odds : (forecasts,) of an up move, in the order of `Journey.forecast`.
    fits, calibration : what the refits learnt.
    knowledge : (4, refits) base rate, mean gain, mean loss and deviation of each refit's training rows.
    notes : what a reader should know.
    """

    log_odds: Array
    fits: Fits
    calibration: Calibration | None
    knowledge: Array
    notes: tuple[Note, ...]


def walk_forward(
    dataset: Dataset,
    spec: WalkForwardSpec,
    model: LogisticRegression,
    steps: Steps = STEPS,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
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
    walkers, notes = journeys(dataset, spec, model, steps)
    total = sum(len(journey.session) for journey in walkers)
    done = 0

    def advance(refits: int) -> None:
        nonlocal done
        done += refits
        progress("fitting", done=done, total=total)

    advance(0)
    # The products of a chunk are too small to share out: more threads than one make them slower.
    with threadpool_limits(1, user_api="blas"):
        walks = list(_walks(walkers, workers=workers, advance=advance))
    return _joined(dataset, walkers, walks, notes)


def _walks(walkers: list[Journey], *, workers: int, advance: Advance) -> Iterator[Walked]:
    seconds = sum(journey.pairs * PER_PAIR + len(journey.session) * PER_REFIT for journey in walkers)
    groups = [walkers[first : first + ABREAST] for first in range(0, len(walkers), ABREAST)]
    if workers == 1 or len(groups) == 1 or seconds < WORTH_SHARING:
        for group in groups:
            yield from walk(group, advance)
        return
    for group, walks in zip(groups, in_processes(walk, groups, workers=workers), strict=True):
        advance(sum(len(journey.session) for journey in group))
        yield from walks


def walk(journeys: Sequence[Journey], advance: Advance = ignore) -> list[Walked]:
    """Return the forecasts of some models: scaled, fitted, and calibrated if it is asked for."""
    trainings = [journey.training() for journey in journeys]
    fits = _fitted(journeys, trainings, advance)
    return [_forecast(*each) for each in zip(journeys, trainings, fits, strict=True)]


def _fitted(journeys: Sequence[Journey], trainings: Sequence[Training], advance: Advance) -> list[Fits]:
    """Return what all refits learnt: side by side, unless someone has replaced the step that fits one model."""
    if all(journey.steps.fit is fit_folds for journey in journeys):
        words = [journey.describe for journey in journeys]
        return fit_abreast(trainings, journeys[0].model, describe=words, advance=advance)
    return [
        journey.steps.fit(training, journey.model, describe=journey.describe, advance=advance)
        for journey, training in zip(journeys, trainings, strict=True)
    ]


def _forecast(journey: Journey, training: Training, fits: Fits) -> Walked:
    """Return what the refits of one model forecast."""
    log_odds = np.concatenate([_log_odds(journey.X, ticker, fits.coefficients) for ticker in journey.folds])
    calibration = None
    if journey.model.calibration == "platt":
        up = journey.forecast(journey.up)
        calibration = journey.steps.calibrate(log_odds, up, journey.folds, journey.model)
        log_odds = calibration.apply(log_odds, journey.forecast_by())
    return Walked(
        log_odds=log_odds,
        fits=fits,
        calibration=calibration,
        knowledge=journey.steps.knowledge(journey.up, journey.span, journey.folds),
        notes=tuple(_told(journey, training.scaling, fits)),
    )


def _log_odds(X: Array, ticker: Folds, coefficients: Array) -> Array:
    """Return the log odds of one ticker's forecasts, each by the refit that makes it."""
    weights = np.repeat(coefficients, ticker.test_stop - ticker.test_start, axis=0)
    tested = X[ticker.test_start[0] : ticker.test_stop[-1]]
    return np.asarray(weights[:, 0] + np.einsum("ij,ij->i", weights[:, 1:], tested))


def _told(journey: Journey, scaling: Scaling, fits: Fits) -> Iterable[Note]:
    """Yield what a reader should know of one model."""
    counts = (scaling.deviation == 0).sum(axis=0).tolist()
    for name, count in zip(journey.columns, counts, strict=True):
        if count:
            text = f"{name} was constant over a refit's training rows and weighs 0 there"
            yield Note("model", text, ticker=journey.name, count=count)
    if fits.degenerate.any():
        text = "refits had no best fit (one class, or classes that a plane separates) and forecast the base rate"
        yield Note("model", text, ticker=journey.name, count=int(fits.degenerate.sum()))
    if fits.condition >= NEARLY_REPEATED:
        text = (
            f"features nearly repeat one another (condition number {fits.condition:.3g}): what a single one weighs "
            "says little, what they say together is not affected"
        )
        yield Note("model", text, ticker=journey.name)


def _joined(dataset: Dataset, walkers: list[Journey], walks: list[Walked], notes: list[Note]) -> Forecasts:
    made_by = [journey.forecast_by() for journey in walkers]
    base_rate, gain, loss, deviation = (
        np.concatenate([walk.knowledge[at, fold] for walk, fold in zip(walks, made_by, strict=True)]) for at in range(4)
    )
    fits = [walk.fits for walk in walks]
    refits = Refits(
        columns=dataset.columns,
        ticker=np.concatenate([np.full(len(journey.session), journey.ticker) for journey in walkers]),
        session=np.concatenate([journey.session for journey in walkers]),
        coefficients=np.concatenate([fit.coefficients for fit in fits]),
        iterations=np.concatenate([fit.iterations for fit in fits]),
        gradient=np.concatenate([fit.gradient for fit in fits]),
        converged=np.concatenate([fit.converged for fit in fits]),
        degenerate=np.concatenate([fit.degenerate for fit in fits]),
        calibration=np.concatenate([_lines(walk) for walk in walks]),
        condition=np.array([fit.condition for fit in fits]),
    )
    notes = [*notes, *(note for walk in walks for note in walk.notes), *_told_of_calibration(walks, made_by)]
    open_ended = int((~refits.converged).sum())
    if open_ended:
        worst = float(refits.gradient.max())
        text = f"fits did not converge; the largest gradient left is {worst:.2g}; raise model.max_iter or model.tol"
        notes = [*notes, Note("model", text, count=open_ended)]
    return Forecasts(
        tickers=dataset.tickers,
        sessions=dataset.sessions,
        ticker=forecast_of(walkers, dataset.ticker),
        session=forecast_of(walkers, dataset.session),
        log_odds=np.concatenate([walk.log_odds for walk in walks]),
        probability=np.concatenate([sigmoid(walk.log_odds) for walk in walks]),
        up=forecast_of(walkers, dataset.up),
        span_return=forecast_of(walkers, dataset.span_return),
        base_rate=base_rate,
        mean_gain=gain,
        mean_loss=loss,
        deviation=deviation,
        fold=np.concatenate(made_by),
        horizon=dataset.horizon,
        refits=refits,
        notes=tuple(notes),
    )


def _told_of_calibration(walks: list[Walked], made_by: list[IntArray]) -> Iterable[Note]:
    """Yield what a reader should know of how the forecasts were calibrated, all models together."""
    both = zip(walks, made_by, strict=True)
    lines = [(walk.calibration, fold) for walk, fold in both if walk.calibration is not None]
    early = sum(int((~line.fitted[fold]).sum()) for line, fold in lines)
    if early:
        text = "forecasts were left uncalibrated: too few earlier ones were known to fit Platt's sigmoid"
        yield Note("model", text, count=early)
    unsettled = sum(int((~line.converged).sum()) for line, _ in lines)
    if unsettled:
        yield Note("model", "of Platt's sigmoids did not converge; raise model.max_iter", count=unsettled)


def _lines(walked: Walked) -> Array:
    if walked.calibration is None:
        return np.tile([0.0, 1.0], (len(walked.fits.iterations), 1))
    return walked.calibration.line
