"""The mathematics of logistic regression.

A row of features x (its first entry 1, for the intercept) and weights theta give the log odds z = theta.x. The sigmoid
maps them to a probability, ``g(z) = 1 / (1 + exp(-z))``, whose derivative is ``g (1 - g)``. With labels y in {0, 1}
the cross-entropy is

    J(theta) = sum( -y log(g(z)) - (1 - y) log(1 - g(z)) ) = sum( log(1 + exp(z)) - y z )

and, because g' = g (1 - g) cancels against the derivatives of the logarithms, its gradient has the form of linear
regression's:

    dJ/dtheta = sum( (g(theta.x) - y) x )

so that gradient descent has the same update too: theta <- theta - alpha * gradient, with a learning rate alpha (see
``solvers.py``). The loss here is the weighted mean over the rows instead of the sum, and a walk-forward standardises
features by the mean and standard deviation of the training rows, so that a learning rate depends neither on the number
of rows nor on the units of the features.

A walk-forward fits the model again at every refit, to training rows that are mostly those of the refit before. One
`LogisticLoss` can hold several refits on shared rows.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quantlr.core.values import Array

MAX_PAIRS_PER_BLOCK, MAX_ROWS_PER_BLOCK = 2**15, 2**12
"""Pairs of a row and a refit, and rows, that are computed at a time, so that they stay in the cache."""


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), computed as 1/2 + tanh(z/2)/2, which cannot overflow."""
    # In place, as new arrays would take as long as the calculation.
    g = np.asarray(0.5 * z)
    np.tanh(g, out=g)
    g *= 0.5
    g += 0.5
    return g


def sigmoid_derivative(sigmoid_value: Array) -> Array:
    """Return the derivative of the sigmoid where its value is g: g (1 - g), at most 1/4."""
    return sigmoid_value * (1.0 - sigmoid_value)


def logit(probability: Array) -> Array:
    """Return the log odds of a probability, the inverse of the sigmoid."""
    return np.log(probability) - np.log1p(-probability)


def pointwise_log_loss(z: Array, y: Array) -> Array:
    """Return the cross-entropy of each row in nats, from log odds z and labels y; no probability is clipped."""
    # log(1 + exp(z)) without overflow; `np.logaddexp` is several times slower.
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - y * z


@dataclass(frozen=True, slots=True)
class LogisticLoss:
    """Weighted mean log loss with an L2 penalty, of one refit or of several on shared rows.

    "Weights" are theta; what a row counts is its share in the mean.

    Attributes
    ----------
    X : (n, k) features, without the column of ones.
    y : (n,) or (n, refits) labels in {0, 1}; Platt's calibration has targets between them.
    sample_weight : (n,) or (n, refits) share of each row in the mean; 0 for a row outside a refit's training rows. Each
        column sums to 1.
    mean, std : (k,) or (refits, k) by which features are standardised, (x - mean) / std. A feature with a std of 0 is
        constant: it has no effect.
    l2 : penalty on all weights but the intercept.
    fit_intercept : False leaves the intercept out of the log odds.
    hessian_row_stride : the Hessian is estimated from every n-th row; loss and gradient take all.

    Notes
    -----
    Weights theta are those of the standardised features x, the intercept first: (p,) with p = 1 + k, or (p, m) with a
    column for each refit, or for each of m points at which a single refit is evaluated. With z = theta.x,
    g(z) = 1 / (1 + exp(-z)) and the shares w of the rows:

    loss      J(theta) = sum(w (log(1 + exp(z)) - y z)) + l2/2 |theta_1:|^2
    gradient  sum(w (g(z) - y) x) + l2 theta_1:
    Hessian   sum(w g (1 - g) x x') + l2 D,     D the identity but for a 0 at the intercept
    L         the largest eigenvalue of sum(w x x') / 4 + l2 D: the largest curvature of the loss in any direction at
              any theta, as g (1 - g) <= 1/4

    Rows are not standardised one by one: with a matrix A, standardised rows are (1, X) A, so that z = (1, X) (A theta),
    and a gradient by A theta becomes that by theta when it is multiplied by A'.
    """

    X: Array
    y: Array
    sample_weight: Array
    mean: Array
    std: Array
    l2: float = 0.0
    fit_intercept: bool = True
    hessian_row_stride: int = 1

    @classmethod
    def unweighted(cls, X: Array, y: Array, *, l2: float = 0.0) -> LogisticLoss:
        """Return the loss in which every row has the weight 1/n and features enter as they are."""
        k = X.shape[1]
        return cls(X, y, np.full(len(y), 1.0 / len(y)), np.zeros(k), np.ones(k), l2)

    @property
    def n_weights(self) -> int:
        """Number of weights of a refit, the intercept included."""
        return 1 + int(self.X.shape[1])

    def log_odds(self, theta: Array) -> Array:
        """Return theta.x of all rows, (n,) or (n, m)."""
        return self._log_odds_of_rows(self.X, *self._weights_in_units_of_X(theta)).T

    def loss(self, theta: Array) -> Array:
        """Return the loss in nats, a scalar or (m,)."""
        total = np.zeros(theta.shape[1:])
        for _, y, w, z in self._iter_row_blocks(theta):
            total += (w * pointwise_log_loss(z, y)).sum(axis=-1)
        return np.asarray(total + 0.5 * self.l2 * (theta[1:] ** 2).sum(axis=0))

    def gradient(self, theta: Array) -> Array:
        """Return the gradient, (p,) or (p, m)."""
        sums = np.zeros(theta.T.shape)
        for X, y, w, z in self._iter_row_blocks(theta):
            error = sigmoid(z) - y
            error *= w
            sums[..., 0] += error.sum(axis=-1)
            sums[..., 1:] += error @ X
        gradient = np.matvec(self._standardization_matrix().mT, sums).T
        gradient[1:] += self.l2 * theta[1:]
        return np.asarray(gradient)

    def hessian(self, theta: Array) -> Array:
        """Return the Hessian, (p, p) or (m, p, p), of every `hessian_row_stride`-th row."""
        p = self.n_weights
        sums = np.zeros((*theta.shape[1:], p, p))
        share = np.zeros(theta.shape[1:])
        for X, _, w, z in self._iter_row_blocks(theta, row_stride=self.hessian_row_stride):
            curvature = w * sigmoid_derivative(sigmoid(z))
            share += w.sum(axis=-1)
            sums[..., 0, 0] += curvature.sum(axis=-1)
            sums[..., 0, 1:] += curvature @ X
            sums[..., 1:, 1:] += np.reshape(
                [(X.T * row) @ X for row in np.atleast_2d(curvature)], sums[..., 1:, 1:].shape
            )
        sums[..., 1:, 0] = sums[..., 0, 1:]
        A = self._standardization_matrix()
        penalty = np.diag(np.where(np.arange(p) > 0, self.l2, 0.0))
        return np.asarray(A.mT @ sums @ A / share[..., None, None] + penalty)

    def lipschitz(self) -> Array:
        """Return L, the largest curvature of the loss (the Lipschitz constant of its gradient), a scalar or (refits,).

        In every direction the curvature is largest at weights of 0, where g (1 - g) is 1/4 (Boehning and Lindsay 1988).
        """
        zeros = np.zeros((self.n_weights, *self.sample_weight.shape[1:]))
        return np.asarray(np.linalg.eigvalsh(replace(self, hessian_row_stride=1).hessian(zeros))[..., -1])

    def standardized_rows(self, rows: slice) -> Array:
        """Return some rows of a single refit with a first column of ones, (rows, p)."""
        return np.column_stack([np.ones(len(self.X[rows])), self.X[rows]]) @ self._standardization_matrix()

    def row_blocks(self, *, n_columns: int = 1, row_stride: int = 1) -> list[slice]:
        """Return slices of the rows, or of every n-th of them, that fit the cache with `n_columns` values a row."""
        length = min(max(MAX_PAIRS_PER_BLOCK // n_columns, 1), MAX_ROWS_PER_BLOCK) * row_stride
        n_rows = len(self.X)
        return [slice(first, min(first + length, n_rows), row_stride) for first in range(0, n_rows, length)]

    def _iter_row_blocks(self, theta: Array, *, row_stride: int = 1) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Yield blocks of the features (rows, k), and of labels, shares and log odds, (rows,) or (m, rows)."""
        slopes, intercept = self._weights_in_units_of_X(theta)
        for rows in self.row_blocks(n_columns=max(intercept.size, 1), row_stride=row_stride):
            X = self.X[rows]
            yield X, self.y[rows].T, self.sample_weight[rows].T, self._log_odds_of_rows(X, slopes, intercept)

    def _log_odds_of_rows(self, X: Array, slopes: Array, intercept: Array) -> Array:
        z = slopes @ X.T
        z += intercept[..., None]
        return np.asarray(z)

    def _weights_in_units_of_X(self, theta: Array) -> tuple[Array, Array]:  # noqa: N802 - X as in the formulas
        """Return the slopes, (k,) or (m, k), and intercepts, () or (m,), of the rows of X before standardisation."""
        weights = np.matvec(self._standardization_matrix(), theta.T)
        return weights[..., 1:], weights[..., 0]

    def _standardization_matrix(self) -> Array:
        """Return A, (p, p) or (refits, p, p): standardised rows are rows of X, with a column of ones, times A."""
        inverse_std = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        A = np.zeros((*self.std.shape[:-1], self.n_weights, self.n_weights))
        slopes = np.arange(1, self.n_weights)
        A[..., 0, 0] = self.fit_intercept
        A[..., 0, 1:], A[..., slopes, slopes] = -self.mean * inverse_std, inverse_std
        return A
