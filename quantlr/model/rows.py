"""Training rows as a descent sees them: in units of one size, weighted, and summed for many refits at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quantlr.model.windows import Edge, Windows
from quantlr.types import Array, BoolArray, IntArray, SingleArray

TOGETHER = 2**13
"""Rows that are brought into local units at once, feature by feature."""
BLOCK = 3 * 2**16
"""Bytes of log odds, of pairs of a row and a refit, that are there at once: few enough to stay in cache.

`Nearby.remainders` has three arrays of this size at once. With 2^18 the allocator gives their memory back after every
block, and a walk takes up to 10 % longer.
"""

ABREAST = 4
"""Columns of weighted rows in single precision come in multiples of so many: 5 columns take 1.4 times as long as 8."""

KEPT = 0.25
"""Smallest denominator with which the formula for changes keeps its digits."""


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

    def __getitem__(self, refits: slice) -> Scaling:
        return Scaling(self.mean[refits], self.deviation[refits])


@dataclass(frozen=True, slots=True)
class Units:
    """The units that a descent counts in, so that its numbers are of one size: x_local = (x - center) / scale.

    Attributes
    ----------
    center, scale : (k,) of the active features.
    active : (k_all,) the features that are not constant.
    """

    center: Array
    scale: Array
    active: BoolArray

    @classmethod
    def of(cls, scaling: Scaling, refit: int) -> Units:
        """Return the units in which that refit's features are standardised."""
        active = np.asarray(scaling.deviation[refit] > 0)
        return cls(scaling.mean[refit, active], scaling.deviation[refit, active], active)

    def suit(self, other: Units, *, within: float) -> bool:
        """Return whether features in `other`'s units are of one size in these too, up to a factor `within`."""
        if not np.array_equal(self.active, other.active):
            return False
        ratio = other.scale / self.scale
        near = np.abs(other.center - self.center) <= within * self.scale
        return bool((near & (ratio <= within) & (ratio >= 1.0 / within)).all())

    def from_ones(self) -> Array:
        """Return A (p, p), where local rows are raw ones with a first column of ones, times A; no feature constant.

        Raw weights are then A times local ones.
        """
        A = np.diag(np.concatenate([[1.0], 1.0 / self.scale]))
        A[0, 1:] = -self.center / self.scale
        return np.asarray(A)

    def near_raw(self, *, within: float) -> bool:
        """Return whether no feature is constant, and none further from 0 than `within` times its scale."""
        return bool(self.active.all() and (np.abs(self.center) <= within * self.scale).all())

    def local(self, X: Array) -> Array:
        """Return rows (n, k_all) in local units, with a first column of ones, (n, p) in column-major order."""
        local = np.empty((1 + len(self.center), len(X)))
        local[0] = 1.0
        scale = 1.0 / self.scale
        for first in range(0, len(X), TOGETHER):
            rows = slice(first, first + TOGETHER)
            for at, column in enumerate(np.flatnonzero(self.active)):
                into = local[1 + at, rows]
                np.subtract(X[rows, column], self.center[at], out=into)
                into *= scale[at]
        return local.T

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


@dataclass(frozen=True)
class Rows:
    """Rows of one ticker in local units, and which of them each refit trains on.

    Attributes
    ----------
    X : (rows, p) the union of the training rows, the first column ones.
    y : (rows,) labels, 0 or 1.
    weight : (rows, classes) each row's weight in the sum of its class; with one class, in the only sum. None: all 1.
    weighted : (rows, classes * p) the weight of each row in each sum, times the row.
    windows : the rows of each refit.
    """

    X: Array
    y: Array
    weight: Array | None
    weighted: Array
    windows: Windows

    @classmethod
    def of(cls, X: Array, y: Array, weight: Array | None, windows: Windows, *, by_class: bool) -> Rows:
        """Return rows with weights (rows,), None where each counts once; their sums kept apart by class or not."""
        weight = in_classes(y, weight, by_class=by_class)
        return cls(X, y, weight, _weighted(X, weight), windows)

    @cached_property
    def _edges(self) -> list[tuple[Edge, Array, Array]]:
        """The rows beside the core: X (runs, longest, p), and the weighted rows, with their sign."""
        return [
            (edge, self.X[edge.rows], self.weighted[edge.rows] * (sign * edge.counts[:, :, None]))
            for edge, sign in self.windows.edges
        ]

    def log_odds(self, theta: Array) -> Array:
        """Return theta.x of all rows, (rows,), at `theta` (p,)."""
        return np.asarray(self.X @ theta)

    def sums_of(self, values: Array) -> Array:
        """Return the sums of (v, rows) values times each row, by class, (refits, v, classes, p)."""
        core = self.windows.core
        total = np.repeat((values[:, core] @ self.weighted[core])[None], len(self.windows.start), axis=0)
        for edge, _, weighted in self._edges:
            total += edge.upto(_products(values[:, edge.rows].transpose(1, 0, 2), weighted))
        return total.reshape(*total.shape[:2], -1, self.X.shape[1])

    def moments_of(self, values: Array, *, thin: int = 1) -> Array:
        """Return the sums of (rows,) values times x x', by class, (refits, classes, p, p).

        With `thin` over 1, what all refits share is estimated from every so many of its rows.
        """
        core, p = self.windows.core, self.X.shape[1]
        spread = slice(core.start, core.stop, thin)
        inner = (values[spread, None] * self.weighted[spread]).T @ self.X[spread]
        if thin > 1 and core.stop > core.start:
            inner *= (core.stop - core.start) / len(range(core.start, core.stop, thin))
        total = np.repeat(inner[None], len(self.windows.start), axis=0)
        for edge, X, weighted in self._edges:
            total += edge.upto(_products((values[edge.rows][:, :, None] * weighted).transpose(0, 2, 1), X))
        return total.reshape(len(total), -1, p, p)

    def tanh_sums(self, half: Array, columns: IntArray | slice) -> Array:
        """Return sums of tanh(x.half) x over the rows of some refits, (classes * p, columns), at (p, columns)."""
        return _sums_of_pairs(self.X, self.weighted, self.windows, half, columns, _tanh)

    def near(self, theta: Array) -> Nearby:
        """Return what these rows say near `theta` (p,), in single precision."""
        there = np.tanh(0.5 * (self.X @ theta))
        X = self.X.astype(np.float32, order="F")
        sums = self.weighted.shape[1]
        sloped = np.zeros((len(X), -(-sums // ABREAST) * ABREAST), dtype=np.float32, order="F")
        tanh, slope = (values.astype(np.float32) for values in (there, 1.0 - there**2))
        sloped[:, :sums] = X if self.weighted is self.X else self.weighted
        sloped[:, :sums] *= slope[:, None]
        return Nearby(X, sloped, tanh, float(np.abs(there).max(initial=0.0)), sums, self.windows)

    def of_refit(self, refit: int) -> Rows:
        """Return the rows of one refit alone."""
        start, stop = int(self.windows.start[refit]), int(self.windows.stop[refit])
        weight = None if self.weight is None else self.weight[start:stop]
        windows = Windows(np.array([0]), np.array([stop - start]))
        return Rows(self.X[start:stop], self.y[start:stop], weight, self.weighted[start:stop], windows)


@dataclass(frozen=True, slots=True)
class RowsInPlace:
    """Rows of one refit alone that stay where they are, in units of the raw features.

    A long history is gone through a few times only, and a copy of it in local units would take as long as several of
    these. What is asked for and told is in local units all the same, as by `Rows`: sums of raw rows become those of
    local ones by (sum(v x) - center sum(v)) / scale, which loses few digits while no center is far from 0 against its
    scale.

    Attributes
    ----------
    raw : (rows, k) the training rows.
    units : the local units; no feature is constant.
    A : (p, p) `Units.from_ones` of these.
    y, weight : as in `Rows`.
    """

    raw: Array
    units: Units
    A: Array
    y: Array
    weight: Array | None

    @property
    def X(self) -> Array:  # noqa: N802 - the matrix of `Rows`
        """The rows in local units, (rows, p), the first column ones; made anew at every look."""
        return self.units.local(self.raw)

    def log_odds(self, theta: Array) -> Array:
        """Return theta.x of all rows, (rows,), at `theta` (p,)."""
        weights = self.A @ theta
        z = self.raw @ weights[1:]
        z += weights[0]
        return np.asarray(z)

    def sums_of(self, values: Array) -> Array:
        """Return the sums of (v, rows) values times each row, by class, (1, v, classes, p)."""
        counted = values if self.weight is None else (values[:, None] * self.weight.T).reshape(-1, len(self.raw))
        sums = np.empty((len(counted), len(self.A)))
        counted.sum(axis=1, out=sums[:, 0])
        np.matmul(counted, self.raw, out=sums[:, 1:])
        return np.asarray((sums @ self.A).reshape(1, len(values), -1, len(self.A)))

    def moments_of(self, values: Array, *, thin: int = 1) -> Array:
        """Return the sums of (rows,) values times x x', by class, (1, classes, p, p), from every so many rows."""
        few = slice(None, None, thin)
        counted = values[few, None] if self.weight is None else values[few, None] * self.weight[few]
        X = np.empty((len(counted), len(self.A)))
        X[:, 0], X[:, 1:] = 1.0, self.raw[few]
        moments = (_weighted(X, counted).T @ X).reshape(1, -1, *self.A.shape)
        return np.asarray(self.A.T @ moments @ self.A * (len(values) / len(X)))

    def tanh_sums(self, half: Array, _: IntArray | slice) -> Array:
        """Return sums of tanh(x.half) x, (classes * p, 1), at (p, 1)."""
        return self.sums_of(np.tanh(self.log_odds(half[:, 0]))[None]).reshape(-1, 1)

    def of_refit(self, _: int) -> RowsInPlace:
        """Return the rows of the only refit there is."""
        return self


@dataclass(frozen=True, slots=True)
class Nearby:
    """Rows of one ticker in single precision, and where tanh(x.theta / 2) stands at one common point.

    What rounding makes of a sum is a share of the sum. Near a point whose sums and curvature are known, only what the
    sums have changed by beyond the linear term is summed: it is small, and single precision then leaves less than a
    descent looks for, in half the time.

    Attributes
    ----------
    X, windows : as in `Rows`.
    sloped : (rows, classes * p or more) the weighted rows times 1 - tanh^2 at the point; zeros in columns beyond.
    tanh : (rows,) tanh(x.theta / 2) at the point.
    largest : |tanh| of the row where it is largest.
    sums : classes * p.
    """

    X: SingleArray
    sloped: SingleArray
    tanh: SingleArray
    largest: float
    sums: int
    windows: Windows

    def exact(self, half: SingleArray) -> bool:
        """Return whether the denominators in `remainders` keep their digits, for moves 2 * `half` (p, columns)."""
        if self.largest <= 1.0 - KEPT:
            return True
        furthest = np.abs(self.X) @ np.abs(half).max(axis=1)
        return bool((np.abs(self.tanh) * np.tanh(furthest)).max() <= 1.0 - KEPT)

    def remainders(self, half: SingleArray, columns: IntArray | slice) -> Array:
        """Return by how much more than linearly `Rows.tanh_sums` changes by moves 2 * `half` (p, columns).

        tanh(a + b) - tanh(a) = (1 - tanh(a)^2) tanh(b) / (1 + tanh(a) tanh(b)): where the denominator is small, its
        digits are lost. To first order in b this is (1 - tanh(a)^2) b, of which the caller knows the sum.
        """

        def remainder(pull: Any, rows: slice) -> Any:
            values = np.tanh(pull)
            below = values * self.tanh[rows]
            below += 1.0
            values /= below
            values -= pull
            return values

        sums = _sums_of_pairs(self.X, self.sloped, self.windows, half, columns, remainder)
        return sums[: self.sums]


def in_classes(y: Array, weight: Array | None, *, by_class: bool) -> Array | None:
    """Return weights (rows,) as those in the sum of each class, (rows, classes); None for all 1 in the only sum."""
    if by_class:
        each = np.ones(len(y)) if weight is None else weight
        return np.stack([each * (1.0 - y), each * y], axis=1)
    return None if weight is None else weight[:, None]


def _weighted(X: Array, weight: Array | None) -> Array:
    """Return rows (rows, p) times their weight in the sum of each class, (rows, classes * p)."""
    return X if weight is None else (weight[:, :, None] * X[:, None, :]).reshape(len(X), -1)


def _sums_of_pairs(
    X: Any, weighted: Any, windows: Windows, half: Any, columns: IntArray | slice, values: Callable[[Any, slice], Any]
) -> Array:
    """Return the sums of values of x.half times x over the rows of some refits, (classes * p, columns).

    Parameters
    ----------
    X, weighted, windows : as in `Rows`.
    half : (p, columns) of those refits.
    columns : which refits they are.
    values : what is summed, (columns, rows), given x.half, (columns, rows), for those rows; it may overwrite x.half.
    """
    core = windows.core
    before, after = windows.inside_before[columns], windows.inside_after[columns]
    total = np.zeros((half.shape[1], weighted.shape[1]))
    across, along = np.ascontiguousarray(half.T), X.T
    block = max(BLOCK // (half.shape[1] * half.itemsize), 1)
    for first in range(0, len(X), block):
        last = min(first + block, len(X))
        summed = values(across @ along[:, first:last], slice(first, last))
        if first < core.start:
            summed[:, : core.start - first] *= before[:, first:last]
        if last > core.stop:
            edge = max(first, core.stop)
            summed[:, edge - first :] *= after[:, edge - core.stop : last - core.stop]
        total += summed @ weighted[first:last]
    return total.T


def _tanh(pull: Any, _: slice) -> Any:
    return np.tanh(pull, out=pull)


def _products(A: Array, B: Array) -> Array:
    """Return the products of many small matrices, (runs, m, rows) by (runs, rows, p)."""
    return A * B if A.shape[2] == 1 else np.matmul(A, B)
