"""Logistic regression with scikit-learn's interface, for its pipelines, grid searches and calibration."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from quantlr.core.parallel import use_one_blas_thread
from quantlr.core.values import Array, BoolArray, Folds
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import LogisticLoss, sigmoid
from quantlr.model.saved_weights import SavedWeights
from quantlr.model.separation import SEPARATION_TOL, find_separation, min_margin_and_max_abs_log_odds, separation_reason
from quantlr.model.solvers import MIN_EIGENVALUE_RATIO, SolverResult, pseudo_inverse
from quantlr.model.standardize import SCALING_BLOCK_ROWS, Scaling, std_without_rounding
from quantlr.model.training import (
    MIN_ROWS_KEPT_RAW,
    TrainingData,
    base_rate_weights,
    make_loss,
    run_solver,
    warm_start_weights,
)

MAX_UNIDENTIFIED_SHARE = 1e-6
"""Largest share of a weight along directions that the rows do not identify; beyond it the standard error is NaN."""


# scikit-learn carries no types, so to mypy its classes are Any: nothing that could be subclassed strictly.
class GradientDescentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Binary logistic regression, fitted by gradient descent or Newton's method, with a derived learning rate.

    The objective is the weighted mean of the log loss + l2/2 * sum of squared weights. The weights are those of
    features standardised by the mean and the ddof-0 standard deviation of the rows, each counted with its
    `sample_weight`; the intercept is not penalised. With n the sum of the weights,
    ``make_pipeline(StandardScaler(), LogisticRegression(C=1 / (n * l2)))`` has the same objective; here the scaling is
    part of the fit, and attributes are in raw units.

    Parameters
    ----------
    learning_rate : "auto" or float, default="auto"
        Step size of gradient descent and of Nesterov's method, on the standardised weights. "auto" is 1/L, where L is
        the largest curvature that the loss can have (see ``quantlr.model.solvers``).
    solver : {"newton", "gradient_descent", "nesterov"}, default="newton"
        Newton's method, gradient descent, or gradient descent with Nesterov's momentum. All three converge to the same
        weights, Newton's method in the fewest steps.
    l2 : float, default=0.0
        Penalty on the standardised weights, at least 0.
    tol : float, default=1e-8
        The solver stops where the largest component of the gradient, in standardised units, is at most this.
    max_iter : int, default=1000
        Largest number of updates; a warning says if `tol` was not reached.
    fit_intercept : bool, default=True
        Whether there is an intercept. Without one, features are divided by their standard deviations and not centred,
        as by ``StandardScaler(with_mean=False)``.
    class_weight : None, "balanced" or dict, default=None
        Weight of each class, by its label; "balanced" gives both classes the same total weight. It multiplies
        `sample_weight`, but does not enter the scaling.
    warm_start : bool, default=False
        Whether a fit starts at the weights of the last one, if they are better than the base rate and of as many
        features.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels; positive log odds are those of the second.
    coef_ : ndarray of shape (1, k)
        Change of the log odds per raw unit of each feature; 0 where a feature is constant.
    intercept_ : ndarray of shape (1,)
        Log odds where every feature is 0.
    n_iter_ : ndarray of shape (1,)
        Updates taken.
    loss_curve_ : ndarray
        The objective, in nats, from the start to the last point, as the running minimum. The objective itself falls at
        every step, but for rounding and for Nesterov's momentum, which may overshoot. With more than 32,768 rows
        Newton's method starts at the weights of samples of them.
    learning_rate_ : float
        The step size: 1/L, or the parameter. With Newton's method, the 1/L that gradient descent would use.
    standard_errors_ : ndarray of shape (1 + k,)
        Standard errors of the intercept and the coefficients, in raw units. With A = sum(w s x x') + n l2 D, where
        s = p (1 - p), D is 1 for standardised weights and 0 for the intercept, and n = sum(w), they are the root of
        the diagonal of A^-1 B A^-1, B = sum(w s x x'): the standard deviation of the penalised weights over labels
        drawn from the fitted probabilities (it does not include their bias). Without a penalty this is A^-1, the
        inverse of Fisher's information (McCullagh and Nelder 1989, section 4.4). A weight w counts as w rows do. NaN
        where a weight is not identified: a constant feature, collinear features (l2 = 0), no intercept.
    n_samples_fit_ : int
        Number of rows with a weight above 0.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (k,)
        Their names, if X had columns that all have a name.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        The classes are separated, so that no finite optimum exists; or `max_iter` was reached before `tol`.

    See Also
    --------
    quantlr.run : the same model in a walk-forward backtest.

    Examples
    --------
    >>> import quantlr
    >>> model = quantlr.GradientDescentClassifier(l2=0.01).fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> model.predict([[-1.0], [4.0]])
    array([0, 1])
    """

    def __init__(
        self,
        *,
        learning_rate: Literal["auto"] | float = "auto",
        solver: Literal["newton", "gradient_descent", "nesterov"] = "newton",
        l2: float = 0.0,
        tol: float = 1e-8,
        max_iter: int = 1000,
        fit_intercept: bool = True,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        warm_start: bool = False,
    ) -> None:
        self.learning_rate = learning_rate
        self.solver = solver
        self.l2 = l2
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the weights.

        Parameters
        ----------
        X : array-like of shape (n, k)
            Features, finite, in any units.
        y : array-like of shape (n,)
            Labels, of two classes.
        sample_weight : array-like of shape (n,), default=None
            Weight of each row, at least 0: a weight of 0 leaves a row out, one of 3 counts it three times. None is 1
            for all.

        Returns
        -------
        self : GradientDescentClassifier

        Raises
        ------
        ValueError : a parameter or the data is invalid, or there are not two classes.
        quantlr.core.errors.LearningRateTooLarge : gradient descent with `learning_rate` may diverge.
        """
        model = self._validated_model_config()
        previous_weights = self._raw_weights() if self.warm_start and hasattr(self, "coef_") else None
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        row_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        self.classes_ = _binary_class_labels(y, row_weight)
        up = y == self.classes_[1]
        weight = row_weight * self._class_weight_pair(up, row_weight)[up.astype(np.intp)]
        with use_one_blas_thread():
            training_data = _make_training_data(X, up, weight, row_weight, fit_intercept=self.fit_intercept)
            loss = replace(make_loss(training_data, model, slice(0, 1)), fit_intercept=bool(self.fit_intercept))
            start = self._start_weights(training_data, model, loss, previous_weights)
            result, self.learning_rate_ = run_solver(loss, model, start, name="learning_rate")
            raw_weights = training_data.scaling.to_raw_weights(result.theta[:, None])[0]
            self.coef_, self.intercept_ = raw_weights[None, 1:], raw_weights[:1]
            self.n_iter_ = np.atleast_1d(result.iterations)
            self.loss_curve_ = np.minimum.accumulate(result.losses)
            self.standard_errors_ = weight_standard_errors(loss, training_data.scaling, result.theta, weight.sum())
            self.n_samples_fit_ = int(np.count_nonzero(weight))
            _warn_if_not_converged(loss, result, model)
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the log odds of the second class, (n,).

        Parameters
        ----------
        X : array-like of shape (n, k)
            Features, finite, in the units of the fit.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray(X @ self.coef_[0] + self.intercept_[0])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of either class, (n, 2), in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n, k)
            Features, finite, in the units of the fit.
        """
        z = self.decision_function(X)
        return sigmoid(np.column_stack([-z, z]))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of either class, (n, 2); finite where the probability rounds to 0.

        Parameters
        ----------
        X : array-like of shape (n, k)
            Features, finite, in the units of the fit.
        """
        z = self.decision_function(X)
        return np.asarray(-np.logaddexp(0.0, np.column_stack([z, -z])))  # log g(z) = -log(1 + exp(-z))

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the more probable class of each row, (n,); the first if both are equally probable.

        Parameters
        ----------
        X : array-like of shape (n, k)
            Features, finite, in the units of the fit.
        """
        is_second = self.decision_function(X) > 0
        return np.asarray(self.classes_[is_second.astype(np.intp)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a file, as JSON with a checksum that runs no code when it is opened; see `SavedWeights`.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError : the classifier is not fitted.
        quantlr.core.errors.OutputError : the file cannot be written.
        quantlr.core.errors.DataError : weights are infinite, or classes are neither text nor numbers.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        low, high = self.classes_.tolist()
        SavedWeights(
            intercept=float(self.intercept_[0]),
            coefficients=tuple(self.coef_[0].tolist()),
            rows=self.n_samples_fit_,
            l2=float(self.l2),
            features=None if names is None else tuple(names.tolist()),
            classes=(low, high),
        ).save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return a classifier with the weights that were saved, and the same forecasts to the last bit.

        Convergence, standard errors, and parameters other than `l2` are not saved.

        Parameters
        ----------
        path : str or path-like
            A file that `save` has written.

        Raises
        ------
        quantlr.core.errors.DataError : the file is missing, damaged or of another format.
        """
        weights = SavedWeights.load(path)
        model = cls(l2=weights.l2)
        model.coef_ = np.array([weights.coefficients])
        model.intercept_ = np.array([weights.intercept])
        model.classes_ = np.array(weights.classes or (0, 1))
        model.n_samples_fit_ = weights.rows
        model.n_features_in_ = len(weights.coefficients)
        if weights.features is not None:
            model.feature_names_in_ = np.array(weights.features, dtype=object)
        return model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _raw_weights(self) -> Array:
        return np.concatenate([self.intercept_, self.coef_[0]])

    def _start_weights(
        self, training_data: TrainingData, model: LogisticRegression, loss: LogisticLoss, previous_weights: Array | None
    ) -> Array:
        """Return the standardised weights (p,) where the solver starts.

        These are the previous weights, if they are better than the base rate; of many rows, those of samples of them;
        or the base rate.
        """
        base_rate = base_rate_weights(loss)
        if previous_weights is not None and len(previous_weights) == loss.n_weights:
            previous = training_data.scaling.to_standardized_weights(previous_weights)[:, 0]
            previous[0] *= self.fit_intercept
            return min(previous, base_rate, key=loss.loss)
        if model.solver == "newton" and self.fit_intercept and len(loss.X) > MIN_ROWS_KEPT_RAW:
            start = warm_start_weights(training_data, model, 0)
            return base_rate if start is None else start
        return base_rate

    def _validated_model_config(self) -> LogisticRegression:
        """Return the parameters as the model section of a config, which validates them."""
        for name in ("fit_intercept", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(f"{name} needs to be True or False, found {getattr(self, name)!r}")
        if self.solver == "newton" and not (isinstance(self.learning_rate, str) and self.learning_rate == "auto"):
            raise ValueError(
                "the newton solver derives its steps and takes no learning rate, found learning_rate="
                f"{self.learning_rate!r}; write 'auto', or set solver to 'gradient_descent' or 'nesterov'"
            )
        parameters = {name: getattr(self, name) for name in ("solver", "learning_rate", "l2", "tol", "max_iter")}
        try:
            values = {name: v.item() if isinstance(v, np.generic) else v for name, v in parameters.items()}
            return LogisticRegression.model_validate(values)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            needed = " or ".join(dict.fromkeys(e["msg"] for e in error.errors() if e["loc"][0] == name))
            raise ValueError(f"{name}={parameters[name]!r} is no value for {name}: {needed}") from error

    def _class_weight_pair(self, up: BoolArray, sample_weight: Array) -> Array:
        """Return the weight of either class, (2,)."""
        if self.class_weight is None:
            return np.ones(2)
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            totals = np.bincount(up, weights=sample_weight, minlength=2)
            return np.asarray(totals.sum() / (2.0 * totals))
        weight = np.asarray(compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_))
        if not (np.isfinite(weight) & (weight > 0)).all():
            raise ValueError(f"class_weight needs a number above 0 for both classes, found {self.class_weight}")
        return weight


def _binary_class_labels(y: np.ndarray[Any, Any], sample_weight: Array) -> np.ndarray[Any, Any]:
    """Return the two labels (2,) of the rows with a weight above 0."""
    labels = y[sample_weight > 0]
    kind = type_of_target(labels, input_name="y", raise_unknown=True)
    if kind != "binary":
        check_classification_targets(labels)
        # The wording that scikit-learn's checks expect.
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes = np.unique(labels)
    if len(classes) < 2:
        found = f"1 class among the {len(labels)} rows that count: {classes.tolist()[0]!r}"
        raise ValueError(f"needed rows of 2 classes, found {found}; give rows of both")
    return classes


def _make_training_data(
    X: np.ndarray[Any, Any], up: BoolArray, effective_weight: Array, sample_weight: Array, *, fit_intercept: bool
) -> TrainingData:
    """Return the rows of one fit as the training data of one refit.

    Parameters
    ----------
    X : (n, k) features.
    up : (n,) whether the label is the second class.
    effective_weight : (n,) sample weight times class weight, which enters the loss.
    sample_weight : (n,) sample weight, which enters the scaling.
    fit_intercept : whether there is an intercept, and features are centred.
    """
    mean, std = _weighted_mean_and_std(X, sample_weight)
    if not fit_intercept:
        # Without centring, a constant feature has an effect too, in units of its own, as in StandardScaler.
        mean, std = np.zeros_like(mean), np.where(std > 0, std, mean != 0)
        if not std.any():
            raise ValueError("needed a feature that is not 0, found none; give one, or set fit_intercept to True")
    start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(X))
    folds = [Folds(start, stop, stop, stop)]
    return TrainingData(X, up.astype(np.float64), folds, Scaling(mean[None], std[None]), sample_weight=effective_weight)


def _weighted_mean_and_std(X: np.ndarray[Any, Any], sample_weight: Array) -> tuple[Array, Array]:
    """Return the weighted mean and ddof-0 standard deviation of each feature, (k,); exactly 0 where it is constant.

    The mean comes first and the squares about it second, with the rounding error of the mean taken out again (Chan,
    Golub and LeVeque 1983).
    """
    total_weight, n_rows = sample_weight.sum(), int(np.count_nonzero(sample_weight))
    blocks = [slice(first, first + SCALING_BLOCK_ROWS) for first in range(0, len(X), SCALING_BLOCK_ROWS)]
    mean = sum(sample_weight[block] @ X[block] for block in blocks) / total_weight
    shift, squares = np.zeros_like(mean), np.zeros_like(mean)
    for block in blocks:
        centered = X[block] - mean
        shift += sample_weight[block] @ centered
        squares += sample_weight[block] @ (centered * centered)
    shift /= total_weight
    mean, variance = mean + shift, np.maximum(squares / total_weight - shift**2, 0.0)
    return mean, std_without_rounding(variance, mean, n_rows)


def weight_standard_errors(loss: LogisticLoss, scaling: Scaling, theta: Array, total_weight: float) -> Array:
    """Return the standard errors (1 + k,) of raw weights, at the optimum theta (p,) of a single refit.

    `total_weight` is the sum of the rows' weights.
    """
    hessian = replace(loss, hessian_row_stride=1).hessian(theta)
    information = hessian - np.diag(np.where(np.arange(loss.n_weights) > 0, loss.l2, 0.0))
    P = pseudo_inverse(hessian)
    to_raw = scaling.to_raw_weights(np.eye(loss.n_weights)).T
    variance = np.einsum("ij,ij->i", to_raw @ (P @ information @ P), to_raw) / total_weight
    eigenvalues, eigenvectors = np.linalg.eigh(hessian)
    flat_directions = eigenvectors[:, eigenvalues <= MIN_EIGENVALUE_RATIO * eigenvalues[-1]]
    unidentified = np.abs(to_raw @ flat_directions).max(axis=1, initial=0.0)
    length = np.linalg.norm(to_raw, axis=1)
    has_effect = np.concatenate([[loss.fit_intercept], scaling.std[0] > 0])
    is_identified = has_effect & (unidentified <= MAX_UNIDENTIFIED_SHARE * length)
    return np.sqrt(np.where(is_identified, np.maximum(variance, 0.0), np.nan))


def _warn_if_not_converged(loss: LogisticLoss, result: SolverResult, model: LogisticRegression) -> None:
    """Warn that no finite optimum exists, or that the solver has not converged."""
    is_separated, text = False, None
    if loss.l2 == 0 and not result.converged:
        min_margin, max_log_odds = min_margin_and_max_abs_log_odds(loss, result.theta)
        is_separated = min_margin >= 0 and max_log_odds > MIN_EIGENVALUE_RATIO
    elif loss.l2 == 0 and model.tol <= SEPARATION_TOL:
        is_separated = separation_reason(loss, result.theta) is not None
    elif loss.l2 == 0:
        is_separated = find_separation(loss, result.theta, base_rate_weights(loss), tol=model.tol) is not None
    if is_separated:
        text = (
            "the features separate the classes, completely or along some direction: no best weights exist, and these "
            "are where the solver stopped; set l2 above 0 (0.01, say)"
        )
    elif not result.converged:
        hint = "" if model.solver == "newton" else ", or set solver to 'newton'"
        text = (
            f"{model.solver} stopped after {result.iterations} updates at a gradient of {result.max_abs_gradient:.2g}, "
            f"above tol={model.tol:g}; raise max_iter above {model.max_iter}{hint}"
        )
    if text:
        warnings.warn(text, ConvergenceWarning, stacklevel=3)
