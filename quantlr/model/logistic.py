"""The mathematics of logistic regression.

A row of features x (its first entry 1, for the intercept) and weights theta give the log odds z = theta.x. The sigmoid
maps them to a probability, ``g(z) = 1 / (1 + exp(-z))``, whose derivative is ``g (1 - g)``. With labels y in {0, 1}
the cross-entropy is

    J(theta) = sum( log(1 + exp(z)) - y z )

and, because g' cancels against the derivative of the logarithm, its gradient has the form of linear regression's:

    dJ/dtheta = sum( (g(theta.x) - y) x )

so that gradient descent has the same update too: theta <- theta - alpha * gradient, with a learning rate alpha (see
``solvers.py``). The loss here is the weighted mean over the rows instead of the sum, so that a learning rate does not
depend on their number.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array


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
    """Weighted mean log loss with an L2 penalty, for one weight vector or several.

    Attributes
    ----------
    X : (n, p) design matrix, first column ones.
    y : (n,) labels in {0, 1}.
    sample_weight : (n,) share of each row in the mean; sums to 1.
    l2 : penalty on all weights but the intercept.

    Notes
    -----
    Weights `theta` are (p,), or (p, m) for m weight vectors at once:

    loss      J(theta) = sum(w (log(1 + exp(z)) - y z)) + l2/2 |theta_1:|^2,  z = X theta
    gradient  X' (w (g(z) - y)) + l2 theta_1:,   g(z) = 1 / (1 + exp(-z))
    Hessian   X' diag(w g (1 - g)) X + l2 D,     D the identity but for a 0 at the intercept

    ``batched/loss.py`` computes the same for many refits, each on its own rows.
    """

    X: Array
    y: Array
    sample_weight: Array
    l2: float = 0.0

    @classmethod
    def unweighted(cls, X: Array, y: Array, *, l2: float = 0.0) -> LogisticLoss:
        """Return the loss in which every row has the weight 1/n."""
        return cls(X, y, np.full(len(y), 1.0 / len(y)), l2)

    def loss(self, theta: Array) -> Array:
        """Return the loss in nats, a scalar or (m,)."""
        return self._loss_at_log_odds(theta, theta.T @ self.X.T)

    def gradient(self, theta: Array) -> Array:
        """Return the gradient, (p,) or (p, m)."""
        return self._gradient_at_log_odds(theta, theta.T @ self.X.T)

    def loss_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """Return loss and gradient from one computation of the log odds."""
        z = theta.T @ self.X.T
        return self._loss_at_log_odds(theta, z), self._gradient_at_log_odds(theta, z)

    def hessian(self, theta: Array) -> Array:
        """Return the Hessian at one weight vector (p,), (p, p)."""
        return self._weighted_second_moments(sigmoid_derivative(sigmoid(self.X @ theta)))

    def hessian_bound(self) -> Array:
        """Return X' diag(w) X / 4 + l2 D, which no Hessian exceeds as g (1 - g) <= 1/4 (Boehning and Lindsay 1988)."""
        return self._weighted_second_moments(np.full(len(self.y), 0.25))

    def _loss_at_log_odds(self, theta: Array, z: Array) -> Array:
        mean_log_loss = pointwise_log_loss(z, self.y) @ self.sample_weight
        return np.asarray(mean_log_loss + 0.5 * (self.l2 * theta[1:] ** 2).sum(axis=0))

    def _gradient_at_log_odds(self, theta: Array, z: Array) -> Array:
        gradient = self.X.T @ ((sigmoid(z) - self.y) * self.sample_weight).T
        gradient[1:] += self.l2 * theta[1:]
        return np.asarray(gradient)

    def _weighted_second_moments(self, row_values: Array) -> Array:
        penalty = np.diag(np.where(np.arange(self.X.shape[1]) > 0, self.l2, 0.0))
        return np.asarray((self.X.T * (row_values * self.sample_weight)) @ self.X + penalty)
