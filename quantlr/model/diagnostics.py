"""How the weights of a walk moved from refit to refit, and how sure each refit could be of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DegenerateFold
from quantlr.core.values import Dataset, Forecasts
from quantlr.model.batched.fit import make_learning_rate_step
from quantlr.model.batched.loss import Objective
from quantlr.model.batched.training import ObjectiveBuilder, TrainingData
from quantlr.model.config import LogisticRegression
from quantlr.model.learning_rate import (
    NEAR_LIMIT_FACTOR,
    OPTIMUM_MAX_ITER,
    OPTIMUM_TOL,
    LearningRateStudy,
    compute_learning_rate_study,
    make_study_objective,
)
from quantlr.model.logistic import logit, sigmoid, sigmoid_derivative
from quantlr.model.solvers import iterate_steps, lipschitz, newton_single, pseudo_inverse
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS, WalkForwardFunctions, make_model_splits


@dataclass(frozen=True, slots=True)
class CoefficientPaths:
    """What several refits of a walk learnt, and how sure they could be of it.

    Weights are those of the fit, before any calibration, and the intercept comes first. A feature that was constant
    weighs 0, with an error of NaN; of a refit without a best fit everything is NaN.

    Attributes
    ----------
    refit : (refits,) their numbers, ascending.
    standardised : (refits, 1 + k) log odds per deviation of the feature over the refit's training rows; the intercept
        is the log odds where every feature is at its mean.
    standardised_error : (refits, 1 + k) their standard errors, NaN for refits whose errors were not asked for.
    raw, raw_error : (refits, 1 + k) the same per unit of the feature, the intercept where every feature is 0.
    """

    refit_index: IntArray
    standardized_coefficients: Array
    standardized_standard_errors: Array
    raw_coefficients: Array
    raw_standard_errors: Array

    @property
    def last_index_with_standard_errors(self) -> int | None:
        """Position of the newest refit that has errors, None where none has."""
        known = np.flatnonzero(~np.isnan(self.standardized_standard_errors[:, 0]))
        return int(known[-1]) if len(known) else None

    @property
    def z_statistic(self) -> Array:
        """(refits, 1 + k) weight over standard error, in units of either sort; NaN for a constant."""
        return np.asarray(self.standardized_coefficients / self.standardized_standard_errors)


def sign_stability(coefficients: Array, degenerate: BoolArray) -> Array:
    """Return in what share of a walk's refits each weight (1 + k,) has the sign that it has at the newest.

    Refits without a best fit don't count; NaN where none is left, and for a feature that weighs nothing at the newest.

    Parameters
    ----------
    coefficients : (refits, 1 + k) intercept and weights, oldest first.
    degenerate : (refits,) whether a refit has no best fit.
    """
    sign = np.sign(coefficients[~degenerate])
    if not len(sign):
        return np.full(coefficients.shape[1], np.nan)
    return np.where(sign[-1] != 0, (sign == sign[-1]).mean(axis=0), np.nan)


def evenly_spaced(n: int, *, max_points: int) -> IntArray:
    """Return numbers below `count`, spread evenly, the first and the last among them; `at_most` is 2 or more."""
    return np.linspace(0, n - 1, min(n, max_points)).round().astype(np.int64)


def coefficient_paths(
    training_data: TrainingData,
    model: LogisticRegression,
    *,
    coefficients: Array,
    degenerate: BoolArray,
    hac_lags: int | None = None,
    max_refits: int = 250,
    max_refits_with_standard_errors: int | None = None,
) -> CoefficientPaths:
    """Return weights and standard errors of refits spread evenly over the walk, the first and the last among them.

    The standard errors are the roots of the diagonal of A^-1 B A^-1, with

        A = sum(w s x x') + l2 D        the curvature of the objective
        B = sum(w_up w_down s x x')     the variance of its gradient

    over the training rows x, standardised; s = g (1 - g); D is the identity but for a 0 at the intercept. A row's w is
    its share of the mean: 2^(-age / half_life), times the weight of its class, over the sum of these. w_up and w_down
    are what it would have been for an up and for a down, so that their product is w^2 unless classes have weights.
    Without weights of any kind w is 1/n: the errors are those of ridge regression (le Cessie and van Houwelingen
    1992), and with l2 = 0 the inverse of the observed information. With weights they are those of the weighted score
    (Manski and Lerman 1977), its variance taken from the model: under the probability p that the weighted g stands
    for, p w_up^2 (1-g)^2 + (1-p) w_down^2 g^2 comes to w_up w_down s.

    They take the rows as independent, which labels of a horizon over 1 and tickers of one session are not. For these,
    with `lags`, B is what the rows show instead of what the model says: the gradient's terms w (g - y) x are summed by
    session, and their long-run variance over sessions is Newey and West's (1987; for panels Driscoll and Kraay 1998).

    They say nothing of a ridge's bias. They take scaling and weights as given: `balanced`
    weights follow the sample, and leave the intercept surer than this says. They belong to the point where the
    descent stopped, converged or not. Neighbouring refits share most of their rows, so that a band of errors about a
    path is no band for its shape.

    Of features that repeat one another only what they weigh together is known. The pseudo-inverse stays put along the
    directions that change no probability, so that an error there is that of the share a feature gets where they are
    split evenly, in standardised units, and not of the split, about which the rows say nothing.

    Parameters
    ----------
    training : rows, labels, and which of them train which refit.
    model : whose penalty and weights of rows hold.
    coefficients : (refits, 1 + k) intercept and weights of every refit, in units of the raw features.
    degenerate : (refits,) whether a refit has no best fit.
    lags : sessions after which rows are taken as independent; None takes all of them so.
    at_most : refits to show, 2 or more.
    errors : how many of them to measure errors of, 2 or more, the newest among them; each costs two passes over its
        training rows. None measures all.
    """
    refit = evenly_spaced(len(coefficients), max_points=max_refits)
    raw = np.where(degenerate[refit, None], np.nan, coefficients[refit])
    mean, deviation = training_data.scaling.mean[refit], training_data.scaling.std[refit]
    standardised = np.column_stack([raw[:, 0] + (raw[:, 1:] * mean).sum(axis=1), raw[:, 1:] * deviation])
    standardised_error, raw_error = (np.full_like(raw, np.nan) for _ in range(2))
    material, sound = ObjectiveBuilder(training_data, model), np.flatnonzero(~degenerate[refit])
    for at in sound[evenly_spaced(len(sound), max_points=max_refits_with_standard_errors or max_refits)].tolist():
        number = int(refit[at])
        look = _StandardErrorEstimator(
            material.build_objective(slice(number, number + 1)),
            None
            if hac_lags is None
            else _SessionIndices.from_session_indices(material.session_indices_by_block(number), hac_lags),
        )
        standardised_error[at], raw_error[at] = look.standard_errors(coefficients[number])
    return CoefficientPaths(refit, standardised, standardised_error, raw, raw_error)


@dataclass(frozen=True, slots=True)
class _SessionIndices:
    """The sessions of a refit's rows, part by part, counted from the first; and after how many they are forgotten."""

    indices_by_block: list[IntArray]
    n_sessions: int
    hac_lags: int

    @classmethod
    def from_session_indices(cls, session_indices: list[IntArray], hac_lags: int) -> _SessionIndices:
        first = min(int(part.min()) for part in session_indices)
        last = max(int(part.max()) for part in session_indices)
        return cls([part - first for part in session_indices], last + 1 - first, hac_lags)


@dataclass(frozen=True, slots=True)
class _StandardErrorEstimator:
    """What the rows of a single refit say of its errors; `sessions` None where rows are taken as independent."""

    objective: Objective
    session_indices: _SessionIndices | None

    def standard_errors(self, raw_weights: Array) -> tuple[Array, Array]:
        """Return the errors of standardised and of `raw` weights, (1 + k,) each."""
        units = self.objective.local_scaling
        covariance = self._standardized_weights_covariance(units.to_local_weights(raw_weights))
        present = np.concatenate([[True], units.nonconstant_mask])
        error, raw_error = np.full(len(raw_weights), np.nan), np.full(len(raw_weights), np.nan)
        error[present] = np.sqrt(np.diagonal(covariance))
        to_raw = units.to_raw_weights(self.objective.standardized_to_local_matrix()[0]).T[present]
        raw_error[present] = np.sqrt(np.diagonal(to_raw @ covariance @ to_raw.T))
        return error, raw_error

    def _standardized_weights_covariance(self, theta: Array) -> Array:
        """Return the covariance (p, p) of standardised weights, where the local ones are `theta` (p,)."""
        objective, share = self.objective, self.objective.label_sums.mean_factor_by_class[:, 0]
        curvature, variance = (
            np.zeros((objective.n_weights, objective.n_weights)),
            np.zeros((objective.n_weights, objective.n_weights)),
        )
        by_session = np.zeros((self.session_indices.n_sessions if self.session_indices else 0, objective.n_weights))
        for part, make in enumerate(objective.row_factories):
            rows = make()
            weight = np.ones((len(rows.y), 1)) if rows.weight_by_class is None else rows.weight_by_class
            g, counts = sigmoid(rows.X @ theta), weight @ share
            curvature += _weighted_cross_product(rows.X, sigmoid_derivative(g) * counts)
            if self.session_indices is None:
                variance += _weighted_cross_product(
                    rows.X, sigmoid_derivative(g) * weight.sum(axis=1) ** 2 * share[0] * share[-1]
                )
            else:  # Within a part, no two rows are of one session.
                by_session[self.session_indices.indices_by_block[part]] += rows.X * (counts * (g - rows.y))[:, None]
        if self.session_indices is not None:
            variance = _newey_west_variance(by_session, self.session_indices.hac_lags)
        A = objective.standardized_to_local_matrix()[0]
        curvature, variance = A.T @ curvature @ A, A.T @ variance @ A
        penalised = np.arange(1, objective.n_weights)
        curvature[penalised, penalised] += objective.l2
        P = pseudo_inverse(curvature)
        return np.asarray(P @ variance @ P)


def _weighted_cross_product(X: Array, weight: Array) -> Array:
    """Return the sum of weight x x', (p, p)."""
    return np.asarray((X.T * weight) @ X)


def _newey_west_variance(session_sums: Array, hac_lags: int) -> Array:
    """Return the variance (p, p) of the total of (sessions, p) sums, with Bartlett's weights (Newey and West 1987)."""
    away = session_sums - session_sums.mean(axis=0)
    variance = away.T @ away
    for lag in range(1, min(hac_lags, len(away) - 1) + 1):
        together = away[lag:].T @ away[:-lag]
        variance += (1 - lag / (hac_lags + 1)) * (together + together.T)
    return np.asarray(variance)


def standardized(dataset: Dataset, raw_weights: Array, *, row_slice: slice) -> Array:
    """Return weights (k,) per unit of each feature as log odds per deviation of it over some rows of the dataset."""
    return np.asarray(raw_weights * dataset.features[row_slice].std(axis=0))


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
        base_rate[0] = logit(objective.label_sums.mean_x_times_target[0, :1])[0]
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
    most = (1.0 if model.solver == "nesterov" else NEAR_LIMIT_FACTOR) / float(lipschitz(objective)[0])
    return model.model_copy(update={"learning_rate": min(model.learning_rate, most)})


def _losses_by_iteration(
    objective: Objective, model: LogisticRegression, start_theta: Array, refit_index: int, max_iterations: int
) -> Array:
    """Return the losses of a single refit that descends from `start` (p,) the way that the model says."""
    if model.solver == "newton":
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
