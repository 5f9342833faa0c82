"""What a report draws of a model: what the learning rate does, how the loss falls, how the weights move.

Nothing here takes part in a run. It looks back at a walk-forward that is over, on the rows and by the scaling of that
walk, and is computed only when someone asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.errors import DegenerateFold
from quantlr.model.coefficients import CoefficientPaths, coefficient_paths, spread
from quantlr.model.descent import descend, descend_alone, steepest
from quantlr.model.fit import step_by_rate
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import STEPS, Steps, journeys
from quantlr.model.learning_rate import (
    ENOUGH,
    EXACT,
    NEAR,
    LearningRateStudy,
    learning_rate_study,
    studied,
)
from quantlr.model.logistic import log_odds
from quantlr.model.objective import Objective
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import Training
from quantlr.types import Array, Dataset, Forecasts, IntArray

MOST_ENTRIES = 4_000_000
"""Rows times weights that are looked at for the errors of several refits, beyond two of them."""


@dataclass(frozen=True, slots=True)
class LossCurves:
    """How the loss of several refits fell.

    Attributes
    ----------
    refit : (refits,) their numbers.
    every : (refits,) which of its training rows were looked at: 1 all of them, 2 every second.
    loss : (refits, longest + 1) mean log loss and penalty, in nats, before each update and after the last; NaN after
        the end of a descent that was shorter.
    optimum : (refits,) the loss of the best weights.
    """

    refit: IntArray
    every: IntArray
    loss: Array
    optimum: Array

    @property
    def excess(self) -> Array:
        """(refits, longest + 1) how far each loss is above its optimum; under about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.optimum[:, None], 0.0)


@dataclass(frozen=True, slots=True)
class ModelStudy:
    """What there is to draw of one model.

    Attributes
    ----------
    name : of the ticker, or "pooled".
    columns : (k,) names of the features.
    session : (refits of the walk,) position of the first session that each refit forecasts: `session[paths.refit]`.
    rates : of the newest refit for which the walk found a best fit; None without one.
    losses, paths : of refits spread evenly over the walk; `losses` only of those that have a best fit.
    lags : sessions after which the errors take rows as independent; None takes all of them so.
    """

    name: str
    columns: tuple[str, ...]
    session: IntArray
    rates: LearningRateStudy | None
    losses: LossCurves
    paths: CoefficientPaths
    lags: int | None


def study(
    dataset: Dataset,
    forecasts: Forecasts,
    spec: WalkForwardSpec,
    model: LogisticRegression,
    steps: Steps = STEPS,
    *,
    ticker: str | None = None,
    curves: int = 8,
    updates: int = 1000,
    points: int = 250,
) -> ModelStudy:
    """Return what there is to draw of one model of a walk that is over.

    Folds and scaling are made again by the functions that made them for the walk, from the same rows; the weights are
    the walk's own. Where labels overlap, or one model learns from several tickers, rows are not independent, and errors
    are taken by session with 2 lags for each session of the horizon, as the test of skill is.

    Parameters
    ----------
    dataset, spec, model, steps : what `walk_forward` was given.
    forecasts : what it returned.
    ticker : whose model; None for the pooled one, and for that of the first ticker that was walked.
    curves : refits whose loss is followed, at most.
    updates : after which a curve of the loss is cut.
    points : refits whose weights are shown, at most. Where training rows are very many, errors are measured of fewer.

    Raises
    ------
    ValueError : the ticker has no model of its own, or `spec` is not the one that the forecasts were made by.
    """
    number = _number(forecasts, ticker)
    mine = forecasts.refits.ticker == number
    journey = next(journey for journey in journeys(dataset, spec, model, steps)[0] if journey.ticker == number)
    if not np.array_equal(journey.session, forecasts.refits.session[mine]):
        raise ValueError("the forecasts are of other sessions than these folds'; pass the walk's own spec")
    training = journey.training()
    degenerate = forecasts.refits.degenerate[mine]
    sound = np.flatnonzero(~degenerate)
    lags = 2 * dataset.horizon if dataset.horizon > 1 or number < 0 else None
    entries = journey.pairs / len(journey.session) * (1 + len(journey.columns))
    # As in the walk: the products are too small for more threads than one.
    with threadpool_limits(1, user_api="blas"):
        return ModelStudy(
            name="pooled" if number < 0 else forecasts.tickers[number],
            columns=forecasts.refits.columns,
            session=forecasts.refits.session[mine],
            rates=_rates(training, model, sound),
            losses=loss_curves(training, model, refits=sound[spread(len(sound), at_most=curves)], updates=updates),
            paths=coefficient_paths(
                training,
                model,
                coefficients=forecasts.refits.coefficients[mine],
                degenerate=degenerate,
                lags=lags,
                at_most=points,
                errors=max(min(points, int(MOST_ENTRIES / entries)), 2),
            ),
            lags=lags,
        )


def _rates(training: Training, model: LogisticRegression, sound: IntArray) -> LearningRateStudy | None:
    """Return the study of the last of some refits, None where even that one has no best fit."""
    try:
        return learning_rate_study(training, model, refit=int(sound[-1])) if len(sound) else None
    except DegenerateFold:  # A large `model.tol` stops a walk before it sees that weights grow without bound.
        return None


def loss_curves(
    training: Training, model: LogisticRegression, *, refits: Sequence[int] | IntArray, updates: int = 1000
) -> LossCurves:
    """Return how the loss of some refits falls, update by update of the descent that the config asks for.

    Each descends alone, and from its own base rate: the log odds of its share of ups, every feature weighing 0. The
    walk starts most refits where the one before came to, a step or two from the end, and preconditions neighbours by
    one matrix; here the preconditioned descent renews the curvature at every step. The step that follows the last
    gradient is taken here as there. For the accelerated descent, which looks ahead, a loss is that of the point where
    the gradient is measured: with momentum it need not fall every time. Of 16,384 training rows or more, evenly spread
    ones are looked at.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : how to descend.
    refits : numbers of refits that have a best fit.
    updates : after which a curve is cut, whatever `model.max_iter`.

    Raises
    ------
    LearningRateTooLarge : `model.learning_rate` would not go downhill.
    """
    curves, optimum, every = [], [], []
    for refit in map(int, refits):
        objective, step = studied(training, model, refit)
        base_rate = np.zeros(objective.p)
        base_rate[0] = log_odds(objective.labels.said[0, :1])[0]
        asked = model if step == 1 else _within_limit(model, objective)
        curves.append(_losses_by(objective, asked, base_rate, refit, min(updates, model.max_iter)))
        optimum.append(descend_alone(objective, [base_rate], tol=EXACT, max_iter=ENOUGH).losses.min())
        every.append(step)
    loss = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for at, curve in enumerate(curves):
        loss[at, : len(curve)] = curve
    return LossCurves(np.array(refits, dtype=np.int64), np.array(every, dtype=np.int64), loss, np.array(optimum))


def _within_limit(model: LogisticRegression, objective: Objective) -> LogisticRegression:
    """Return the model with a learning rate that a sample of the rows allows, whose limit differs a little."""
    if model.learning_rate == "auto":
        return model
    most = (1.0 if model.descent == "accelerated" else NEAR) / float(steepest(objective)[0])
    return model.model_copy(update={"learning_rate": min(model.learning_rate, most)})


def _losses_by(objective: Objective, model: LogisticRegression, start: Array, refit: int, updates: int) -> Array:
    """Return the losses of a single refit that descends from `start` (p,) the way that the model says."""
    if model.descent == "preconditioned":
        return descend_alone(objective, [start], tol=model.tol, max_iter=updates).losses
    losses: list[float] = []
    downhill = step_by_rate(objective, model, start[:, None], lambda _: f"refit {refit}")

    def step(theta: Array, gradient: Array, columns: IntArray) -> Array:
        losses.append(objective.loss(theta[:, 0]))
        return downhill(theta, gradient, columns)

    end = descend(objective, start[:, None], step, tol=model.tol, max_iter=updates).theta[:, 0]
    return np.array([*losses, objective.loss(end)])


def _number(forecasts: Forecasts, ticker: str | None) -> int:
    """Return the position of the ticker whose model is meant, -1 for the pooled one."""
    walked = np.unique(forecasts.refits.ticker).tolist()
    if ticker is None:
        return int(walked[0])
    names = ["pooled" if number < 0 else forecasts.tickers[number] for number in walked]
    if ticker not in names:
        raise ValueError(f"{ticker} has no model of its own; there are: {', '.join(names)}")
    return int(walked[names.index(ticker)])
