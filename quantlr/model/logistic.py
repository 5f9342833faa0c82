"""The mathematics of logistic regression, on one page.

A row of features x (its first entry 1, for the intercept) and weights theta give the log odds z = theta.x. The sigmoid
squeezes them into a probability, ``g(z) = 1 / (1 + exp(-z))``, whose derivative is ``g (1 - g)``. With labels y in
{0, 1} the cross-entropy is

    J(theta) = sum( log(1 + exp(z)) - y z )

and, because g' cancels against the logarithm's derivative, its gradient has the form of linear regression's:

    dJ/dtheta = sum( (g(theta.x) - y) x )

so that the update is the same too: theta <- theta - alpha * gradient, with a learning rate alpha neither too large nor
too small. ``descent.py`` takes that step; this page says what it steps on. Here everything is a mean over the rows
instead of a sum: a rate that suits a hundred rows then suits ten thousand.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958).
"""

from __future__ import annotations

import numpy as np

from quantlr.core.arrays import Array


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), as 1/2 + tanh(z/2)/2, which can't overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def sigmoid_derivative(sigmoid_value: Array) -> Array:
    """Return the sigmoid's derivative where its value is `g`: g (1 - g), at most 1/4."""
    return sigmoid_value * (1.0 - sigmoid_value)


def logit(probability: Array) -> Array:
    """Return the z whose sigmoid is `probability`."""
    return np.log(probability) - np.log1p(-probability)


def pointwise_log_loss(z: Array, y: Array) -> Array:
    """Return each row's cross-entropy in nats, from log odds z and labels y; no probability is clipped."""
    # log(1 + exp(z)) without overflow; `np.logaddexp` says the same, several times slower.
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - y * z


def log_loss_gradient(X: Array, y: Array, theta: Array) -> Array:
    """Return the gradient of the mean log loss, X'(g(X theta) - y) / n.

    Parameters
    ----------
    X : (n, p) rows, the first column ones.
    y : (n,) labels.
    theta : (p,) weights, intercept first.
    """
    return X.T @ (sigmoid(X @ theta) - y) / len(y)


def log_loss_hessian(X: Array, theta: Array) -> Array:
    """Return the second derivative of the mean log loss, X' diag(g (1 - g)) X / n, (p, p)."""
    slope = sigmoid_derivative(sigmoid(X @ theta))
    return (X.T * slope) @ X / len(X)


def log_loss_hessian_bound(X: Array) -> Array:
    """Return X'X / (4n), which no curvature exceeds, since g (1 - g) <= 1/4 (Boehning and Lindsay 1988)."""
    return X.T @ X / (4.0 * len(X))
