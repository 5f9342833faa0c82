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
from quantlr.model.coefficients import CoefficientPaths, coefficient_paths, evenly_spaced
from quantlr.model.descent import iterate_steps, newton_single, lipschitz
from quantlr.model.fit import make_learning_rate_step
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import DEFAULT_FUNCTIONS, WalkForwardFunctions, make_model_splits
from quantlr.model.learning_rate import (
    OPTIMUM_MAX_ITER,
    OPTIMUM_TOL,
    NEAR_LIMIT_FACTOR,
    LearningRateStudy,
    compute_learning_rate_study,
    make_study_objective,
)
from quantlr.model.logistic import logit
from quantlr.model.objective import Objective
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import TrainingData
from quantlr.types import Array, Dataset, Forecasts, IntArray

MAX_STANDARD_ERROR_ENTRIES = 4_000_000
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

    refit_index: IntArray
    row_stride: IntArray
    loss: Array
    min_loss: Array

    @property
    def excess_loss(self) -> Array:
        """(refits, longest + 1) how far each loss is above its optimum; under about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.min_loss[:, None], 0.0)


@dataclass(frozen=True, slots=True)
class ModelDiagnostics:
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
    feature_names: tuple[str, ...]
    first_session: IntArray
    learning_rate_study: LearningRateStudy | None
    loss_curves: LossCurves
    coefficient_paths: CoefficientPaths
    hac_lags: int | None


def diagnose_model(
    dataset: Dataset,
    forecasts: Forecasts,
    split_spec: WalkForwardSpec,
    model: LogisticRegression,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
    *,
    ticker: str | None = None,
    max_loss_curves: int = 8,
    max_iterations: int = 1000,
    max_coefficient_refits: int = 250,
) -> ModelDiagnostics:
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
    number = _model_ticker_index(forecasts, ticker)
    mine = forecasts.refits.ticker == number
    journey = next(
        journey
        for journey in make_model_splits(dataset, split_spec, model, functions)[0]
        if journey.ticker_index == number
    )
    if not np.array_equal(journey.first_session, forecasts.refits.session[mine]):
        raise ValueError("the forecasts are of other sessions than these folds'; pass the walk's own spec")
    training = journey.make_training_data()
    degenerate = forecasts.refits.degenerate[mine]
    sound = np.flatnonzero(~degenerate)
    lags = 2 * dataset.horizon if dataset.horizon > 1 or number < 0 else None
    entries = journey.n_training_pairs / len(journey.first_session) * (1 + len(journey.feature_names))
    # As in the walk: the products are too small for more threads than one.
    with threadpool_limits(1, user_api="blas"):
        return ModelDiagnostics(
            name="pooled" if number < 0 else forecasts.tickers[number],
            feature_names=forecasts.refits.columns,
            first_session=forecasts.refits.session[mine],
            learning_rate_study=_study_learning_rate_of_last_refit(training, model, sound),
            loss_curves=compute_loss_curves(
                training,
                model,
                refit_indices=sound[evenly_spaced(len(sound), max_points=max_loss_curves)],
                max_iterations=max_iterations,
            ),
            coefficient_paths=coefficient_paths(
                training,
                model,
                coefficients=forecasts.refits.coefficients[mine],
                degenerate=degenerate,
                hac_lags=lags,
                max_refits=max_coefficient_refits,
                max_refits_with_standard_errors=max(
                    min(max_coefficient_refits, int(MAX_STANDARD_ERROR_ENTRIES / entries)), 2
                ),
            ),
            hac_lags=lags,
        )


def _study_learning_rate_of_last_refit(
    training_data: TrainingData, model: LogisticRegression, refit_indices: IntArray
) -> LearningRateStudy | None:
    """Return the study of the last of some refits, None where even that one has no best fit."""
    try:
        return (
            compute_learning_rate_study(training_data, model, refit_index=int(refit_indices[-1]))
            if len(refit_indices)
            else None
        )
    except DegenerateFold:  # A large `model.tol` stops a walk before it sees that weights grow without bound.
        return None


def compute_loss_curves(
    training_data: TrainingData,
    model: LogisticRegression,
    *,
    refit_indices: Sequence[int] | IntArray,
    max_iterations: int = 1000,
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
    for refit in map(int, refit_indices):
        objective, step = make_study_objective(training_data, model, refit)
        base_rate = np.zeros(objective.n_weights)
        base_rate[0] = logit(objective.labels.mean_x_times_target[0, :1])[0]
        asked = model if step == 1 else _with_stable_learning_rate(model, objective)
        curves.append(_losses_by_iteration(objective, asked, base_rate, refit, min(max_iterations, model.max_iter)))
        optimum.append(newton_single(objective, [base_rate], tol=OPTIMUM_TOL, max_iter=OPTIMUM_MAX_ITER).losses.min())
        every.append(step)
    loss = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for at, curve in enumerate(curves):
        loss[at, : len(curve)] = curve
    return LossCurves(np.array(refit_indices, dtype=np.int64), np.array(every, dtype=np.int64), loss, np.array(optimum))


def _with_stable_learning_rate(model: LogisticRegression, objective: Objective) -> LogisticRegression:
    """Return the model with a learning rate that a sample of the rows allows, whose limit differs a little."""
    if model.learning_rate == "auto":
        return model
    most = (1.0 if model.solver == "accelerated" else NEAR_LIMIT_FACTOR) / float(lipschitz(objective)[0])
    return model.model_copy(update={"learning_rate": min(model.learning_rate, most)})


def _losses_by_iteration(
    objective: Objective, model: LogisticRegression, start_theta: Array, refit_index: int, max_iterations: int
) -> Array:
    """Return the losses of a single refit that descends from `start` (p,) the way that the model says."""
    if model.solver == "preconditioned":
        return newton_single(objective, [start_theta], tol=model.tol, max_iter=max_iterations).losses
    losses: list[float] = []
    downhill = make_learning_rate_step(objective, model, start_theta[:, None], lambda _: f"refit {refit_index}")

    def recorded_step(theta: Array, gradient: Array, refit_indices: IntArray) -> Array:
        losses.append(objective.loss(theta[:, 0]))
        return downhill(theta, gradient, refit_indices)

    end = iterate_steps(objective, start_theta[:, None], recorded_step, tol=model.tol, max_iter=max_iterations).theta[
        :, 0
    ]
    return np.array([*losses, objective.loss(end)])


def _model_ticker_index(forecasts: Forecasts, ticker: str | None) -> int:
    """Return the position of the ticker whose model is meant, -1 for the pooled one."""
    walked = np.unique(forecasts.refits.ticker).tolist()
    if ticker is None:
        return int(walked[0])
    names = ["pooled" if number < 0 else forecasts.tickers[number] for number in walked]
    if ticker not in names:
        raise ValueError(f"{ticker} has no model of its own; there are: {', '.join(names)}")
    return int(walked[names.index(ticker)])
