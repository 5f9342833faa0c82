"""The mathematics of logistic regression.

A row of features x (its first entry 1, for the intercept) and weights theta give the log odds z = theta.x. The sigmoid
maps them to a probability, ``g(z) = 1 / (1 + exp(-z))``, whose derivative is ``g (1 - g)``. With labels y in {0, 1}
the cross-entropy is

    J(theta) = sum( log(1 + exp(z)) - y z )

and, because g' cancels against the derivative of the logarithm, its gradient has the form of linear regression's:

    dJ/dtheta = sum( (g(theta.x) - y) x )

so that gradient descent has the same update too: theta <- theta - alpha * gradient, with a learning rate alpha (see
``solvers.py``). The loss here is the weighted mean over the rows instead of the sum, and features are standardised, so
that a learning rate depends neither on the number of rows nor on the units of the features.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.core.values import Array

MAX_PAIRS_PER_BLOCK, MAX_ROWS_PER_BLOCK = 2**15, 2**12
"""Pairs of a row and a refit, and rows, that are computed at a time, so that they stay in the cache."""


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), computed as 1/2 + tanh(z/2)/2, which cannot overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


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

    Attributes
    ----------
    X : (n, k) features, without the column of ones.
    y : (n,) or (n, refits) labels in {0, 1}, or targets between them.
    sample_weight : (n,) or (n, refits) share of each row in the mean; 0 for a row outside a refit's training rows. Each
        column sums to 1.
    mean, std : (k,) or (refits, k) by which features are standardised, (x - mean) / std. A feature with a std of 0 is
        constant: it has no effect.
    l2 : penalty on all weights but the intercept.
    fit_intercept : False keeps the intercept where it starts, at 0.
    hessian_row_stride : the Hessian is estimated from every n-th row; loss and gradient take all.

    Notes
    -----
    Weights theta are those of the standardised features x, the intercept first: (p,) with p = 1 + k, or (p, m) with a
    column for each refit, or for each of m points of a single refit. With z = theta.x, g(z) = 1 / (1 + exp(-z)) and the
    shares w of the rows:

    loss      J(theta) = sum(w (log(1 + exp(z)) - y z)) + l2/2 |theta_1:|^2
    gradient  sum(w (g(z) - y) x) + l2 theta_1:
    Hessian   sum(w g (1 - g) x x') + l2 D,     D the identity but for a 0 at the intercept
    L         the largest eigenvalue of sum(w x x') / 4 + l2 D, which no Hessian exceeds, as g (1 - g) <= 1/4
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
        return self._log_odds_by_weights(theta, slice(None)).T

    def loss(self, theta: Array) -> Array:
        """Return the loss in nats, a scalar or (m,)."""

        def row_loss_sum(rows: slice) -> Array:
            losses = pointwise_log_loss(self._log_odds_by_weights(theta, rows), self.y[rows].T)
            return np.asarray((losses * self.sample_weight[rows].T).sum(axis=-1))

        return np.asarray(self._sum_over_rows(row_loss_sum, theta) + 0.5 * self.l2 * (theta[1:] ** 2).sum(axis=0))

    def gradient(self, theta: Array) -> Array:
        """Return the gradient, (p,) or (p, m)."""

        def residual_sums(rows: slice) -> Array:
            residual = sigmoid(self._log_odds_by_weights(theta, rows)) - self.y[rows].T
            residual *= self.sample_weight[rows].T
            return np.concatenate([residual.sum(axis=-1)[..., None], residual @ self.X[rows]], axis=-1)

        sums = self._sum_over_rows(residual_sums, theta)
        gradient = np.concatenate(
            [sums[..., :1], (sums[..., 1:] - self.mean * sums[..., :1]) * self._inverse_std], -1
        ).T
        gradient[0] *= self.fit_intercept
        gradient[1:] += self.l2 * theta[1:]
        return np.asarray(gradient)

    def hessian(self, theta: Array) -> Array:
        """Return the Hessian, (p, p) or (m, p, p), of every `hessian_row_stride`-th row."""
        stride = self.hessian_row_stride
        return self._second_moments(
            lambda rows: sigmoid_derivative(sigmoid(self._log_odds_by_weights(theta, rows))), theta, row_stride=stride
        )

    def hessian_bound(self) -> Array:
        """Return the matrix that no Hessian exceeds, (p, p) or (refits, p, p) (Boehning and Lindsay 1988)."""
        theta = np.empty((self.n_weights, *self.sample_weight.shape[1:]))
        return self._second_moments(lambda _: np.array(0.25), theta)

    def lipschitz(self) -> Array:
        """Return L, the Lipschitz constant of the gradient, a scalar or (refits,)."""
        return np.asarray(np.linalg.eigvalsh(self.hessian_bound())[..., -1])

    def standardized_rows(self, rows: slice) -> Array:
        """Return some rows of a single refit with a first column of ones, (rows, p)."""
        return np.column_stack([np.ones(len(self.X[rows])), (self.X[rows] - self.mean) * self._inverse_std])

    def row_blocks(self, *, n_columns: int = 1, row_stride: int = 1) -> list[slice]:
        """Return slices of the rows, or of every n-th of them, that fit the cache with `n_columns` values a row."""
        length = min(max(MAX_PAIRS_PER_BLOCK // n_columns, 1), MAX_ROWS_PER_BLOCK) * row_stride
        n_rows = len(self.X)
        return [slice(first, min(first + length, n_rows), row_stride) for first in range(0, n_rows, length)]

    @property
    def _inverse_std(self) -> Array:
        return np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)

    def _log_odds_by_weights(self, theta: Array, rows: slice) -> Array:
        """Return theta.x of some rows, (rows,) or (m, rows)."""
        slopes = theta.T[..., 1:] * self._inverse_std
        intercept = theta.T[..., 0] - (slopes * self.mean).sum(axis=-1)
        z = slopes @ self.X[rows].T
        z += intercept[..., None]
        return np.asarray(z)

    def _second_moments(self, row_values: Callable[[slice], Array], theta: Array, *, row_stride: int = 1) -> Array:
        """Return sum(w v x x') + l2 D for the values v of rows, with shares w that sum to 1 over every n-th row."""
        share = self.sample_weight[::row_stride].sum(axis=0) if row_stride > 1 else np.array(1.0)

        def moments(rows: slice) -> Array:
            X = np.column_stack([np.ones(len(self.X[rows])), self.X[rows]])
            weights = row_values(rows) * self.sample_weight[rows].T
            if weights.ndim == 1:
                return np.asarray((X.T * weights) @ X)
            return np.stack([(X.T * column) @ X for column in weights])

        A = np.zeros((*self.std.shape[:-1], self.n_weights, self.n_weights))
        diagonal = np.arange(1, self.n_weights)
        A[..., 0, 0] = self.fit_intercept
        A[..., 0, 1:], A[..., diagonal, diagonal] = -self.mean * self._inverse_std, self._inverse_std
        total = self._sum_over_rows(moments, theta, row_stride=row_stride) / share[..., None, None]
        hessian = np.matmul(np.matmul(A.swapaxes(-1, -2), total), A)
        hessian[..., diagonal, diagonal] += self.l2
        return np.asarray(hessian)

    def _sum_over_rows(self, block_sum: Callable[[slice], Any], theta: Array, *, row_stride: int = 1) -> Any:
        n_columns = 1 if theta.ndim == 1 else theta.shape[1]
        return sum(block_sum(rows) for rows in self.row_blocks(n_columns=n_columns, row_stride=row_stride))
