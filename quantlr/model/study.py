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
from quantlr.model.descent import descend, descend_alone, steepest, unbounded
from quantlr.model.fit import step_by_rate
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import STEPS, Steps, journeys
from quantlr.model.logistic import log_odds
from quantlr.model.objective import Objective
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import Material, Training
from quantlr.types import Array, Dataset, Forecasts, IntArray

RATES = ("too small", "derived", "near the limit", "beyond the limit")
"""What the study calls its four learning rates."""
TOO_SMALL, NEAR, BEYOND = 0.01, 1.95, 2.5
"""The first and the third as a share of 1/L, and the last as one of 1/(the largest curvature at the optimum)."""
RUNAWAY = 1e6
"""Times the loss at the start above which a curve has run away and ends."""
EXACT, ENOUGH = 1e-12, 200
"""Gradient and updates at which the best weights are looked for: an excess loss is then right to about 1e-16."""


@dataclass(frozen=True, slots=True)
class LearningRateStudy:
    """What plain descent with several learning rates does to the loss of one refit.

    Attributes
    ----------
    refit : number of the refit.
    steepest : L, the largest curvature that the standardised loss can have anywhere.
    curvature : the largest that it has at the best weights, at most L.
    name : (rates,) what each rate stands for.
    rate : (rates,) learning rates, ascending.
    loss : (rates, steps + 1) mean log loss and penalty, in nats, from zero weights on; NaN once it has run away.
    optimum : the loss of the best weights.
    """

    refit: int
    steepest: float
    curvature: float
    name: tuple[str, ...]
    rate: Array
    loss: Array
    optimum: float

    @property
    def limit(self) -> float:
        """2/L, below which a rate always goes downhill."""
        return 2.0 / self.steepest

    @property
    def excess(self) -> Array:
        """(rates, steps + 1) how far the loss is above the optimum's; under about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.optimum, 0.0)


@dataclass(frozen=True, slots=True)
class LossCurves:
    """How the loss of several refits fell.

    Attributes
    ----------
    refit : (refits,) their numbers.
    loss : (refits, longest + 1) mean log loss and penalty, in nats, before each update and after the last; NaN after
        the end of a descent that was shorter.
    optimum : (refits,) the loss of the best weights.
    """

    refit: IntArray
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
    """

    name: str
    columns: tuple[str, ...]
    session: IntArray
    rates: LearningRateStudy | None
    losses: LossCurves
    paths: CoefficientPaths


def study(
    dataset: Dataset,
    forecasts: Forecasts,
    spec: WalkForwardSpec,
    model: LogisticRegression,
    steps: Steps = STEPS,
    *,
    ticker: str | None = None,
    curves: int = 8,
    points: int = 250,
) -> ModelStudy:
    """Return what there is to draw of one model of a walk that is over.

    Folds and scaling are made again by the functions that made them for the walk, from the same rows; the weights are
    the walk's own.

    Parameters
    ----------
    dataset, spec, model, steps : what `walk_forward` was given.
    forecasts : what it returned.
    ticker : whose model; None for the pooled one, and for that of the first ticker that was walked.
    curves : refits whose loss is followed, at most.
    points : refits whose weights are shown, at most; each costs two passes over its training rows.

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
    # As in the walk: the products are too small for more threads than one.
    with threadpool_limits(1, user_api="blas"):
        return ModelStudy(
            name="pooled" if number < 0 else forecasts.tickers[number],
            columns=forecasts.refits.columns,
            session=forecasts.refits.session[mine],
            rates=_rates(training, model, sound),
            losses=loss_curves(training, model, refits=sound[spread(len(sound), at_most=curves)]),
            paths=coefficient_paths(
                training, model, coefficients=forecasts.refits.coefficients[mine], degenerate=degenerate, at_most=points
            ),
        )


def learning_rate_study(
    training: Training, model: LogisticRegression, *, refit: int, steps: int = 100
) -> LearningRateStudy:
    """Return what theta <- theta - alpha * gradient does with a rate that is too small, right, near the limit, beyond.

    The weights are those of the standardised features, and all start at zero, the intercept's too. There every
    probability is 1/2 and the loss curves as much as it ever does: its largest curvature is L, the largest eigenvalue
    of X'SX / (4n) + l2 D (S the weights of the rows, D the identity but for a 0 at the intercept; Boehning and
    Lindsay 1988). Any rate below 2/L goes downhill at every step, and 1/L is the one that promises the largest fall
    (Nesterov 2004, section 1.2.3).

    From 2/L on that is no longer promised, but it may still happen: where the classes are told apart well, the loss
    is flatter about its optimum than at the start. From 2 over the curvature *at the optimum* on it can't: however
    near the weights come, the next steps take them away again. The last rate is therefore 2.5 over that curvature,
    which is at least 2.5/L, and on returns, where all probabilities stay near 1/2, hardly more. Such a descent need
    not run off to infinity: a log loss is never steeper than its features are large, and flattens on the way out, so
    that without a penalty the weights end up leaping to and fro across the valley, at a loss that does not fall. A
    penalty keeps its curvature, and where it is large the leaps grow without end. A curve ends, NaN from there on,
    where its loss exceeds a million times that of the start.

    Only this study goes beyond the limit; a config's rate there is refused.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : whose penalty and weights of rows hold; its own way downhill does not matter.
    refit : number of the refit whose training rows to use.
    steps : updates with each rate; one costs two passes over the training rows.

    Raises
    ------
    DegenerateFold : the refit's best weights are infinite, so that there is no optimum to be above.
    """
    objective = Material(training, model).objective(slice(refit, refit + 1))
    best = descend_alone(objective, [np.zeros(objective.p)], tol=EXACT, max_iter=ENOUGH)
    one_class = not 0.0 < objective.labels.said[0, 0] < 1.0
    why = "its training rows are of one class" if one_class else unbounded(objective, best.theta[:, 0])
    if why:
        raise DegenerateFold(f"refit {refit}: {why}, so that no best loss exists; study another", key="model.l2")
    A = objective.from_standardised()[0]
    L = float(steepest(objective)[0])
    curvature = float(np.linalg.eigvalsh(A.T @ objective.at(best.theta[:, 0])[1][0] @ A)[-1])
    rate = np.array([TOO_SMALL / L, 1.0 / L, NEAR / L, BEYOND / curvature])
    return LearningRateStudy(
        refit=refit,
        steepest=L,
        curvature=curvature,
        name=RATES,
        rate=rate,
        loss=np.stack([_losses_at(objective, alpha, steps) for alpha in rate.tolist()]),
        optimum=float(best.losses.min()),
    )


def _rates(training: Training, model: LogisticRegression, sound: IntArray) -> LearningRateStudy | None:
    """Return the study of the last of some refits, None where even that one has no best fit."""
    try:
        return learning_rate_study(training, model, refit=int(sound[-1])) if len(sound) else None
    except DegenerateFold:  # A large `model.tol` stops a walk before it sees that weights grow without bound.
        return None


def _losses_at(objective: Objective, alpha: float, steps: int) -> Array:
    """Return the losses (steps + 1,) of a single refit that descends from zero with the rate alpha."""
    A = objective.from_standardised()[0]
    theta, losses = np.zeros(objective.p), np.full(steps + 1, np.nan)
    for step in range(steps + 1):
        loss = objective.loss(A @ theta)
        if step and loss > RUNAWAY * losses[0]:
            break
        losses[step] = loss
        theta = theta - alpha * objective.standardised(objective.gradient((A @ theta)[:, None]))[:, 0]
    return losses


def loss_curves(
    training: Training, model: LogisticRegression, *, refits: Sequence[int] | IntArray, updates: int = 1000
) -> LossCurves:
    """Return how the loss of some refits falls, update by update of the descent that the config asks for.

    Each descends alone, and from its own base rate: the log odds of its share of ups, every feature weighing 0. The
    walk starts most refits where the one before came to, a step or two from the end, and preconditions neighbours by
    one matrix; here the preconditioned descent renews the curvature at every step. The step that follows the last
    gradient is taken here as there. For the accelerated descent, which looks ahead, a loss is that of the point where
    the gradient is measured: with momentum it need not fall every time.

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
    material = Material(training, model)
    curves, optimum = [], []
    for refit in refits:
        objective = material.objective(slice(int(refit), int(refit) + 1))
        base_rate = np.zeros(objective.p)
        base_rate[0] = log_odds(objective.labels.said[0, :1])[0]
        curves.append(_losses_by(objective, model, base_rate, int(refit), min(updates, model.max_iter)))
        optimum.append(descend_alone(objective, [base_rate], tol=EXACT, max_iter=ENOUGH).losses.min())
    loss = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for at, curve in enumerate(curves):
        loss[at, : len(curve)] = curve
    return LossCurves(np.array(refits, dtype=np.int64), loss, np.array(optimum))


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
