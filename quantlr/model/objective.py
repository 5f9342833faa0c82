"""What many refits minimise at once: the loss of ``logistic.py``, one column of weights per refit.

Neighbouring refits train on nearly the same rows. One matrix holds the union of them; column j of Theta belongs to
refit j, and one product with the matrix gives the log odds of all rows under all refits. Rows that refit j doesn't
train on are cleared from its column: only those at the edges, since the core is common to all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.model.logistic import log_loss, sigmoid, sigmoid_slope
from quantlr.types import Array, BoolArray, Folds, IntArray


@dataclass(frozen=True, slots=True)
class Scaling:
    """What standardises each refit's features: the mean and deviation of its own training rows.

    Attributes
    ----------
    mean : (refits, k).
    deviation : (refits, k) with ddof 0; exactly 0 where a feature is constant over the training rows.
    """

    mean: Array
    deviation: Array


@dataclass(frozen=True, slots=True)
class Windows:
    """The training rows of several refits, counted from the first row of their union.

    Attributes
    ----------
    start, stop : (refits,) first row of each, and the row after its last; both ascending.
    """

    start: IntArray
    stop: IntArray

    @property
    def core(self) -> slice:
        """The rows that every refit trains on; empty where there are none."""
        first = int(self.start.max())
        return slice(first, max(first, int(self.stop.min())))

    @property
    def rows(self) -> IntArray:
        """(refits,) number of training rows."""
        return self.stop - self.start

    def sums(self, core: Array, before: Array, after: Array) -> Array:
        """Return the sum over each refit's rows, (refits, ...).

        Parameters
        ----------
        core : (...) sum over the core's rows.
        before, after : (rows, ...) values of the rows before and after the core.
        """
        head = np.zeros((len(before) + 1, *core.shape))
        np.cumsum(before[::-1], axis=0, out=head[1:])
        tail = np.zeros((len(after) + 1, *core.shape))
        np.cumsum(after, axis=0, out=tail[1:])
        return np.asarray(core + head[self.core.start - self.start] + tail[self.stop - self.core.stop])

    def outside(self, rows: slice) -> BoolArray:
        """Return which of `rows` each refit does not train on, (rows, refits)."""
        row = np.arange(rows.start, rows.stop)[:, None]
        return np.asarray((row < self.start) | (row >= self.stop))


@dataclass(frozen=True, slots=True)
class Objective:
    """Mean log loss + l2/2 * sum of squared standardised weights, for several refits; the intercept is free.

    Weights count in the units of the first refit's standardised features ("local" units), so that the numbers are of
    one size whatever the features' units are.

    Attributes
    ----------
    X : (rows, p) the union of the training rows in local units, the first column ones.
    y : (rows,) labels.
    windows : the rows of each refit; their core is not empty unless there is one refit only.
    mean, deviation : (refits, k) what standardises each refit's features, in local units.
    l2 : penalty.
    center, scale : (k,) of the local units: x_local = (x - center) / scale.
    active : (k_all,) the features that are not constant; k counts these.
    label_pull : (p, refits) mean of (1 - 2y) x over each refit's rows.
    """

    X: Array
    y: Array
    windows: Windows
    mean: Array
    deviation: Array
    l2: float
    center: Array
    scale: Array
    active: BoolArray
    label_pull: Array

    @classmethod
    def of(cls, X: Array, y: Array, folds: Folds, scaling: Scaling, *, refits: slice, l2: float) -> Objective:
        """Return the objective of neighbouring refits that share their constant features.

        Parameters
        ----------
        X, y : (rows, k) and (rows,) features in their own units and labels of all rows.
        folds, scaling : of all refits.
        refits : which of them.
        """
        start, stop = folds.train_start[refits], folds.train_stop[refits]
        first, last = int(start[0]), int(stop[-1])
        windows = Windows(start - first, stop - first)
        active = np.asarray(scaling.deviation[refits.start] > 0)
        center, scale = scaling.mean[refits.start, active], scaling.deviation[refits.start, active]
        local = np.empty((last - first, 1 + len(center)))
        local[:, 0] = 1.0
        np.subtract(X[first:last][:, active] if not active.all() else X[first:last], center, out=local[:, 1:])
        local[:, 1:] /= scale
        labels = y[first:last]
        core, signs = windows.core, 1.0 - 2.0 * labels
        pull = windows.sums(
            local[core].T @ signs[core],
            local[: core.start] * signs[: core.start, None],
            local[core.stop :] * signs[core.stop :, None],
        )
        return cls(
            X=local,
            y=labels,
            windows=windows,
            mean=(scaling.mean[refits][:, active] - center) / scale,
            deviation=scaling.deviation[refits][:, active] / scale,
            l2=l2,
            center=center,
            scale=scale,
            active=active,
            label_pull=np.ascontiguousarray((pull / windows.rows[:, None]).T),
        )

    @property
    def refits(self) -> int:
        """Number of refits."""
        return len(self.windows.start)

    def gradient(self, theta: Array) -> Array:
        """Return the gradient of each refit at its own column of `theta`, both (p, refits).

        g - y is (tanh(z/2) + 1 - 2y) / 2: the labels' part does not depend on theta, and is there already.
        """
        residual = self.X @ (0.5 * theta)
        np.tanh(residual, out=residual)
        core = self.windows.core
        residual[: core.start][self.windows.outside(slice(0, core.start))] = 0.0
        residual[core.stop :][self.windows.outside(slice(core.stop, len(residual)))] = 0.0
        return 0.5 * (self.X.T @ residual / self.windows.rows + self.label_pull) + self._penalty_slope(theta)

    def at(self, theta: Array) -> tuple[Array, Array]:
        """Return gradients (p, refits) and curvatures (refits, p, p) of all refits at one common point (p,)."""
        g = sigmoid(self.X @ theta)
        core = self.windows.core
        residual = g - self.y
        head, tail = slice(0, core.start), slice(core.stop, len(residual))
        gradient = self.windows.sums(
            self.X[core].T @ residual[core],
            self.X[head] * residual[head, None],
            self.X[tail] * residual[tail, None],
        )
        slopes = self._second_moments(sigmoid_slope(g))
        columns = np.repeat(theta[:, None], self.refits, axis=1)
        return (gradient / self.windows.rows[:, None]).T + self._penalty_slope(columns), slopes

    def curvatures(self, theta: Array) -> Array:
        """Return each refit's curvature at its own column of `theta` (p, refits), (refits, p, p)."""
        slopes = sigmoid_slope(sigmoid(self.X @ theta)) * ~self.windows.outside(slice(0, len(self.X)))
        moments = np.stack([(self.X.T * slope) @ self.X for slope in slopes.T]) / self.windows.rows[:, None, None]
        return self._with_penalty(moments)

    def bound(self) -> Array:
        """Return what no refit's curvature exceeds, (refits, p, p): Boehning and Lindsay's X'X / (4n), and the l2."""
        return self._second_moments(np.full(len(self.X), 0.25))

    def loss(self, theta: Array) -> float:
        """Return the objective of a single refit at `theta` (p,)."""
        penalty = 0.5 * self.l2 * float(np.sum((self.deviation[0] * theta[1:]) ** 2))
        return float(log_loss(self.X @ theta, self.y).mean()) + penalty

    def separated(self, theta: Array) -> BoolArray:
        """Return which refits have all their training rows on the right side at their own column of `theta`."""
        right = (2.0 * self.y - 1.0)[:, None] * (self.X @ theta)
        right[self.windows.outside(slice(0, len(right)))] = np.inf
        return np.asarray(right.min(axis=0) >= 0)

    def standardised(self, gradient: Array) -> Array:
        """Return a gradient (p, refits) as that of each refit's own standardised weights."""
        slopes = (gradient[1:] - self.mean.T * gradient[0]) / self.deviation.T
        return np.concatenate([gradient[:1], slopes])

    def from_standardised(self) -> Array:
        """Return A (refits, p, p): theta = A @ theta_standardised, and a standardised gradient is A' @ gradient."""
        p = len(self.center) + 1
        A = np.zeros((self.refits, p, p))
        A[:, 0, 0] = 1.0
        A[:, 0, 1:] = -self.mean / self.deviation
        A[:, np.arange(1, p), np.arange(1, p)] = 1.0 / self.deviation
        return A

    def to_raw(self, theta: Array) -> Array:
        """Return local weights (p, refits) in units of the raw features, (refits, 1 + k_all); constants weigh 0."""
        raw = np.zeros((theta.shape[1], 1 + len(self.active)))
        weights = theta[1:].T / self.scale
        raw[:, 1:][:, self.active] = weights
        raw[:, 0] = theta[0] - weights @ self.center
        return raw

    def from_raw(self, raw: Array) -> Array:
        """Return raw weights (1 + k_all,) in local units, (p,)."""
        weights = raw[1:][self.active]
        return np.concatenate([[raw[0] + weights @ self.center], weights * self.scale])

    def _second_moments(self, weight: Array) -> Array:
        """Return the weighted mean of x x' over each refit's rows, plus the penalty's curvature, (refits, p, p)."""
        core = self.windows.core
        inner = (self.X[core].T * weight[core]) @ self.X[core]
        head, tail = self.X[: core.start], self.X[core.stop :]
        moments = self.windows.sums(
            inner,
            (weight[: core.start, None] * head)[:, :, None] * head[:, None, :],
            (weight[core.stop :, None] * tail)[:, :, None] * tail[:, None, :],
        )
        return self._with_penalty(moments / self.windows.rows[:, None, None])

    def _with_penalty(self, moments: Array) -> Array:
        diagonal = np.arange(1, self.X.shape[1])
        moments[:, diagonal, diagonal] += self.l2 * self.deviation**2
        return moments

    def _penalty_slope(self, theta: Array) -> Array:
        slope = np.zeros_like(theta)
        if self.l2:
            slope[1:] = self.l2 * self.deviation.T**2 * theta[1:]
        return slope
