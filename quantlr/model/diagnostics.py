"""Diagnostics of a walk-forward's fits: coefficients with standard errors, loss curves and the learning-rate study."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from quantlr.core.errors import DegenerateFold
from quantlr.core.parallel import use_one_blas_thread
from quantlr.core.values import Array, BoolArray, Dataset, Forecasts, IntArray
from quantlr.model.base import Model
from quantlr.model.config import LogisticRegression
from quantlr.model.learning_rate import (
    NEAR_LIMIT_FACTOR,
    OPTIMUM_MAX_ITER,
    OPTIMUM_TOL,
    LearningRateStudy,
    compute_learning_rate_study,
    make_study_loss,
)
from quantlr.model.logistic import LogisticLoss, sigmoid
from quantlr.model.solvers import newton, pseudo_inverse
from quantlr.model.training import TrainingData, base_rate_weights, make_loss, refit_row_slices, run_solver
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS, WalkForwardFunctions, model_split_of_forecasts

MAX_STANDARD_ERROR_ENTRIES = 4_000_000
"""Rows times weights that are used for the standard errors of all refits, if these are more than two."""


@dataclass(frozen=True, slots=True)
class CoefficientPaths:
    """Coefficients of several refits of a walk-forward, with standard errors.

    Coefficients are those of the fit, before any calibration, the intercept first. That of a feature that was constant
    is 0, with a standard error of NaN; those of a refit without a best fit are NaN.

    Attributes
    ----------
    refit_index : (refits,) positions of the refits, ascending.
    standardized_coefficients : (refits, 1 + k) log odds per standard deviation of the feature over the refit's training
        rows; the intercept is the log odds where every feature has its mean.
    standardized_standard_errors : (refits, 1 + k) their standard errors; NaN for refits for which none were computed.
    raw_coefficients, raw_standard_errors : (refits, 1 + k) the same per unit of the feature; the intercept is the log
        odds where every feature is 0.
    """

    refit_index: IntArray
    standardized_coefficients: Array
    standardized_standard_errors: Array
    raw_coefficients: Array
    raw_standard_errors: Array

    @property
    def newest_index(self) -> int | None:
        """Position of the last refit with standard errors, else of the last with coefficients; None without any."""
        for values in (self.standardized_standard_errors, self.standardized_coefficients):
            known = np.flatnonzero(~np.isnan(values[:, 0]))
            if len(known):
                return int(known[-1])
        return None

    @property
    def has_standard_errors(self) -> bool:
        """Whether any refit has standard errors."""
        return not bool(np.isnan(self.standardized_standard_errors[:, 0]).all())

    @property
    def z_statistic(self) -> Array:
        """(refits, 1 + k) standardised coefficient over its standard error; NaN for a constant feature."""
        return np.asarray(self.standardized_coefficients / self.standardized_standard_errors)


NO_COEFFICIENT_PATHS = CoefficientPaths(np.empty(0, dtype=np.int64), *(np.empty((0, 1)) for _ in range(4)))


def sign_stability(coefficients: Array, degenerate: BoolArray) -> Array:
    """Return the share of refits in which each coefficient (1 + k,) has the sign that it has in the last refit.

    Refits without a best fit are left out; NaN if none is left, and for a coefficient of 0 in the last refit.

    Parameters
    ----------
    coefficients : (refits, 1 + k) intercept and weights, oldest first.
    degenerate : (refits,) whether a refit has no best fit.
    """
    sign = np.sign(coefficients[~degenerate])
    if not len(sign):
        return np.full(coefficients.shape[1], np.nan)
    return np.where(sign[-1] != 0, (sign == sign[-1]).mean(axis=0), np.nan)


def evenly_spaced_indices(n: int, *, max_points: int) -> IntArray:
    """Return at most `max_points` (2 or more) evenly spaced indices below `n`, with the first and the last."""
    return np.linspace(0, n - 1, min(n, max_points)).round().astype(np.int64)


def standardize_weights(dataset: Dataset, raw_weights: Array, *, row_slice: slice) -> Array:
    """Return weights (k,) per unit of each feature as log odds per standard deviation over some rows of the dataset."""
    return np.asarray(raw_weights * dataset.features[row_slice].std(axis=0))


def coefficient_paths(
    training_data: TrainingData,
    model: LogisticRegression | None,
    *,
    coefficients: Array,
    degenerate: BoolArray,
    hac_lags: int | None = None,
    max_refits: int = 250,
    max_refits_with_standard_errors: int | None = None,
) -> CoefficientPaths:
    """Return coefficients and standard errors of refits spread evenly over the walk-forward.

    The standard errors are the square roots of the diagonal of the sandwich A^-1 B A^-1, with

        A = sum(w s x x') + l2 D        the Hessian of the objective
        B = sum(w_up w_down s x x')     the variance of its gradient

    over the training rows x, standardised; s = g (1 - g); D is the identity but for a 0 at the intercept. A row's w is
    its share of the mean: 2^(-age / half_life), times the weight of its class, over the sum of these. w_up and w_down
    are its share if its label were up or down, so that their product is w^2 unless classes have weights. Without
    weights of any kind w is 1/n: the errors are those of ridge regression (le Cessie and van Houwelingen 1992), and
    with l2 = 0 the inverse of the observed information. With weights they are those of the weighted score (Manski and
    Lerman 1977), its variance taken from the model: under the probability p that the weighted g stands for,
    p w_up^2 (1-g)^2 + (1-p) w_down^2 g^2 equals w_up w_down s.

    They take the rows as independent, which labels of a horizon over 1 and tickers of one session are not. For these,
    with `hac_lags`, B is estimated from the rows instead of the model: the gradient's terms w (g - y) x are summed by
    session, and B is their long-run variance (Newey and West 1987; for panels Driscoll and Kraay 1998).

    The bias of a ridge is not included. Scaling and weights are taken as given: `balanced` weights follow the sample,
    so that the intercept is less certain than its error says. The errors belong to the point where the solver stopped,
    converged or not. Consecutive refits share most of their rows: pointwise bands about a path are no band for its
    shape.

    Of collinear features only the sum of their effects is identified. The pseudo-inverse leaves out directions that
    change no probability, so that an error is that of a feature's coefficient if the effect is divided equally, in
    standardised units; it does not include the uncertainty of the division.

    Parameters
    ----------
    training_data : rows, labels and folds.
    model : whose penalty and weights of rows apply; None for another kind of model, without standard errors.
    coefficients : (refits, 1 + k) intercept and weights of every refit, in raw units.
    degenerate : (refits,) whether a refit has no best fit.
    hac_lags : lags in sessions of the long-run variance; None takes rows as independent.
    max_refits : largest number of refits, 2 or more, the first and the last among them.
    max_refits_with_standard_errors : largest number of them with standard errors, 2 or more, the last among them; each
        takes two passes over its training rows. None computes all.
    """
    refits = evenly_spaced_indices(len(coefficients), max_points=max_refits)
    raw = np.where(degenerate[refits, None], np.nan, coefficients[refits])
    mean, std = training_data.scaling.mean[refits], training_data.scaling.std[refits]
    scaled = np.column_stack([raw[:, 0] + (raw[:, 1:] * mean).sum(axis=1), raw[:, 1:] * std])
    errors, raw_errors = np.full_like(raw, np.nan), np.full_like(raw, np.nan)
    if model is None:
        return CoefficientPaths(refits, scaled, errors, raw, raw_errors)
    fitted = np.flatnonzero(~degenerate[refits])
    max_errors = max_refits_with_standard_errors or max_refits
    for index in fitted[evenly_spaced_indices(len(fitted), max_points=max_errors)].tolist():
        refit = slice(int(refits[index]), int(refits[index]) + 1)
        scaling, loss = (
            training_data.scaling[refit],
            replace(make_loss(training_data, model, refit), hessian_row_stride=1),
        )
        theta = scaling.to_standardized_weights(coefficients[refit.start])[:, 0]
        if hac_lags is None:
            variance = _gradient_variance(training_data, model, loss, theta, refit)
        else:
            sessions = [training_data.row_sessions(rows) for rows in refit_row_slices(training_data, refit)]
            variance = _newey_west_variance(_gradient_by_session(loss, theta, np.concatenate(sessions)), hac_lags)
        P = pseudo_inverse(loss.hessian(theta))
        covariance = P @ variance @ P
        present = np.concatenate([[True], scaling.std[0] > 0])
        to_raw = scaling.to_raw_weights(np.eye(loss.n_weights)).T
        errors[index, present] = np.sqrt(np.diagonal(covariance))[present]
        raw_errors[index, present] = np.sqrt(np.diagonal(to_raw @ covariance @ to_raw.T))[present]
    return CoefficientPaths(refits, scaled, errors, raw, raw_errors)


def _gradient_variance(
    training_data: TrainingData, model: LogisticRegression, loss: LogisticLoss, theta: Array, refit_slice: slice
) -> Array:
    """Return B = sum(w_up w_down s x x') (p, p) of a single refit: the model's variance of the gradient."""
    if model.class_weight is None:
        row_shares = opposite_shares = loss.sample_weight
    else:
        unweighted = make_loss(training_data, model.model_copy(update={"class_weight": None}), refit_slice)
        row_shares, ratio = loss.sample_weight, np.ones(2)
        for label in (0, 1):
            rows = (loss.y == label) & (unweighted.sample_weight > 0)
            ratio[label] = row_shares[rows].sum() / unweighted.sample_weight[rows].sum()
        opposite_shares = row_shares * np.where(loss.y == 1, ratio[0] / ratio[1], ratio[1] / ratio[0])
    share = row_shares * opposite_shares
    return np.asarray(replace(loss, sample_weight=share / share.sum(), l2=0.0).hessian(theta) * share.sum())


def _gradient_by_session(loss: LogisticLoss, theta: Array, row_sessions: IntArray) -> Array:
    """Return the sums by session of the terms w (g - y) x of a single refit's gradient, (sessions, p)."""
    residual = loss.sample_weight * (sigmoid(loss.log_odds(theta)) - loss.y)
    first = int(row_sessions.min())
    sums = np.zeros((int(row_sessions.max()) + 1 - first, loss.n_weights))
    for rows in loss.row_blocks():
        np.add.at(sums, row_sessions[rows] - first, loss.standardized_rows(rows) * residual[rows, None])
    return sums


def _newey_west_variance(session_sums: Array, hac_lags: int) -> Array:
    """Return the variance (p, p) of the total of (sessions, p) sums with Bartlett weights (Newey and West 1987)."""
    centered = session_sums - session_sums.mean(axis=0)
    variance = centered.T @ centered
    for lag in range(1, min(hac_lags, len(centered) - 1) + 1):
        autocovariance = centered[lag:].T @ centered[:-lag]
        variance += (1 - lag / (hac_lags + 1)) * (autocovariance + autocovariance.T)
    return np.asarray(variance)


@dataclass(frozen=True, slots=True)
class LossCurves:
    """Training loss by iteration of several refits.

    Attributes
    ----------
    refit_index : (refits,) positions of the refits.
    row_stride : (refits,) every n-th of a refit's training rows is used.
    loss : (refits, longest + 1) mean log loss and penalty, in nats, before each update and after the last; NaN after
        the end of a shorter curve.
    min_loss : (refits,) the minimum of the loss.
    """

    refit_index: IntArray
    row_stride: IntArray
    loss: Array
    min_loss: Array

    @property
    def excess_loss(self) -> Array:
        """(refits, longest + 1) loss less the minimum; below about 1e-15 it is rounding."""
        return np.maximum(self.loss - self.min_loss[:, None], 0.0)


NO_LOSS_CURVES = LossCurves(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, 1)), np.empty(0))


@dataclass(frozen=True, slots=True)
class ModelDiagnostics:
    """Diagnostics of one model.

    Attributes
    ----------
    name : of the ticker, or "pooled".
    feature_names : (k,) names of the features.
    first_session : (all refits,) position of the first session that each refit forecasts.
    coefficient_paths : of refits spread evenly over the walk-forward; of no refit for a model without coefficients.
    loss_curves : of such refits that have a best fit; of no refit for a model that is no logistic regression.
    learning_rate_study : of the last refit that has a best fit; None without one, or of another model.
    hac_lags : lags in sessions of the standard errors; None if rows are taken as independent.
    """

    name: str
    feature_names: tuple[str, ...]
    first_session: IntArray
    coefficient_paths: CoefficientPaths = NO_COEFFICIENT_PATHS
    loss_curves: LossCurves = NO_LOSS_CURVES
    learning_rate_study: LearningRateStudy | None = None
    hac_lags: int | None = None


def diagnose_model(
    dataset: Dataset,
    forecasts: Forecasts,
    model: Model,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
    *,
    ticker: str | None = None,
    max_loss_curves: int = 8,
    max_iterations: int = 1000,
    max_coefficient_refits: int = 250,
) -> ModelDiagnostics:
    """Return the diagnostics of one model of a finished walk-forward.

    The scaling is recomputed by the functions of the walk-forward; folds and weights are those of the forecasts. Where
    labels overlap, or a model is trained on several tickers, rows are not independent, and standard errors are computed
    by session with 2 lags per session of the horizon, as is the test of forecast skill.

    Parameters
    ----------
    dataset, model, functions : the arguments of `walk_forward`.
    forecasts : its result.
    ticker : whose model; None for the pooled one, or for that of the first ticker.
    max_loss_curves : largest number of refits with a loss curve.
    max_iterations : largest number of updates in a loss curve.
    max_coefficient_refits : largest number of refits with coefficients. Where training rows are very many, fewer of
        them have standard errors.

    Raises
    ------
    ValueError : the ticker has no model of its own.

    Notes
    -----
    Loss curves, learning rates and standard errors are those of a logistic regression: other models have none.
    """
    ticker_index = _model_ticker_index(forecasts, ticker)
    refits = forecasts.refits
    is_of_model = refits.ticker == ticker_index
    first_session, degenerate = refits.session[is_of_model], refits.degenerate[is_of_model]
    split = model_split_of_forecasts(dataset, forecasts, ticker_index, model, functions)
    training = split.make_training_data()
    fitted = np.flatnonzero(~degenerate)
    hac_lags = 2 * dataset.horizon if dataset.horizon > 1 or ticker_index < 0 else None
    entries = split.n_training_pairs / len(first_session) * (1 + len(split.feature_names))
    max_errors = max(min(max_coefficient_refits, int(MAX_STANDARD_ERROR_ENTRIES / entries)), 2)
    curve_refits = fitted[evenly_spaced_indices(len(fitted), max_points=max_loss_curves)].tolist()
    logistic, paths, curves, study = model.as_logistic_regression(), NO_COEFFICIENT_PATHS, NO_LOSS_CURVES, None
    # As in the walk-forward, several BLAS threads would make the small matrix products slower.
    with use_one_blas_thread():
        if refits.has_coefficients:
            paths = coefficient_paths(
                training,
                logistic,
                coefficients=refits.coefficients[is_of_model],
                degenerate=degenerate,
                hac_lags=hac_lags,
                max_refits=max_coefficient_refits,
                max_refits_with_standard_errors=max_errors,
            )
        if logistic:
            curves = compute_loss_curves(training, logistic, refit_indices=curve_refits, max_iterations=max_iterations)
        if logistic and len(fitted):
            # With a large `model.tol` the fit may end before it shows that weights grow without bound.
            with suppress(DegenerateFold):
                study = compute_learning_rate_study(training, logistic, refit_index=int(fitted[-1]))
    return ModelDiagnostics(split.name, refits.columns, first_session, paths, curves, study, hac_lags)


def compute_loss_curves(
    training_data: TrainingData, model: LogisticRegression, *, refit_indices: Sequence[int], max_iterations: int = 1000
) -> LossCurves:
    """Return the training loss of some refits by iteration of the model's solver.

    Each refit is fitted alone, and from its base rate: the log odds of its share of ups, all other weights 0. The
    walk-forward starts most refits at the weights of the one before, a step or two from the minimum, and uses one
    inverse Hessian for a batch; here Newton's method computes the Hessian at every step. The step that follows the last
    gradient is taken, as in the walk-forward. With Nesterov's momentum the loss is that of the look-ahead point, where
    the gradient is computed: it need not fall with every update. Of 16,384 training rows or more, evenly spaced ones
    are used.

    Parameters
    ----------
    training_data : rows, labels and folds.
    model : penalty, solver and its settings.
    refit_indices : positions of refits that have a best fit.
    max_iterations : largest number of updates in a curve, if below `model.max_iter`.

    Raises
    ------
    LearningRateTooLarge : gradient descent with `model.learning_rate` may diverge.
    """
    curves, minima, strides = [], [], []
    for refit in refit_indices:
        loss, row_stride = make_study_loss(training_data, model, refit)
        start = base_rate_weights(loss)
        # With a learning rate that the sampled rows allow.
        update: dict[str, float] = {"max_iter": min(max_iterations, model.max_iter)}
        if row_stride > 1 and model.learning_rate != "auto":
            limit = (1.0 if model.solver == "nesterov" else NEAR_LIMIT_FACTOR) / float(loss.lipschitz())
            update["learning_rate"] = min(model.learning_rate, limit)
        curve_model = model.model_copy(update=update)
        curves.append(run_solver(loss, curve_model, start, name=f"refit {refit}")[0].losses)
        minima.append(newton(loss, start, tol=OPTIMUM_TOL, max_iter=OPTIMUM_MAX_ITER).losses.min())
        strides.append(row_stride)
    losses = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for index, curve in enumerate(curves):
        losses[index, : len(curve)] = curve
    refits, row_stride_by_refit = (np.array(values, dtype=np.int64) for values in (refit_indices, strides))
    return LossCurves(refits, row_stride_by_refit, losses, np.array(minima))


def _model_ticker_index(forecasts: Forecasts, ticker: str | None) -> int:
    """Return the position of the ticker whose model is asked for, -1 for the pooled one."""
    indices = np.unique(forecasts.refits.ticker).tolist()
    if ticker is None:
        return int(indices[0])
    names = ["pooled" if index < 0 else forecasts.tickers[index] for index in indices]
    if ticker not in names:
        raise ValueError(f"{ticker} has no model of its own; there are: {', '.join(names)}")
    return int(indices[names.index(ticker)])
