"""What many refits minimise at once: the loss of ``logistic.py``, one column of weights per refit.

Neighbouring refits train on nearly the same rows. One matrix holds the union of them; column j of Theta belongs to
refit j, and one product with the matrix gives the log odds of all rows under all refits. Rows that refit j doesn't
train on are cleared from its column: only those at the edges, since the core is common to all.

A row counts by its weight, and by the weight of its class, which may differ from refit to refit. What is summed is
therefore kept apart by class where classes have weights, and each refit takes its own share of either sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from quantlr.model.logistic import log_loss, sigmoid, sigmoid_slope
from quantlr.model.rows import Rows, RowsInPlace, Scaling, Units
from quantlr.types import Array, IntArray

SomeRows = Rows | RowsInPlace
"""Rows that are asked the same questions."""
Make = Callable[[], SomeRows]
"""Gives one ticker's rows."""
ClassWeight = Literal["balanced"] | tuple[float, float] | None
"""Weights of the classes: such that both weigh the same, or those of downs and ups, or one each."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What each refit's labels come to.

    Attributes
    ----------
    totals : (2, refits) summed weight of its downs and of its ups.
    share : (classes, refits) what one unit of weight counts in the mean, by class or in all.
    target : (2, refits) what stands for a down and for an up; 0 and 1 unless smoothed.
    mean : (p, refits) weighted mean of the rows.
    said : (p, refits) weighted mean of the rows times their targets.
    """

    totals: Array
    share: Array
    target: Array
    mean: Array
    said: Array

    @classmethod
    def of(cls, sums: Array, ups: Array, class_weight: ClassWeight, *, smoothed: bool) -> Labels:
        """Return the labels of several refits.

        Parameters
        ----------
        sums, ups : (refits, p) sums of the weighted rows, and of those that went up; the first column is a count.
        class_weight : of downs and ups.
        smoothed : whether targets are Platt's, 1 / (downs + 2) and (ups + 1) / (ups + 2), instead of 0 and 1.
        """
        by_class = np.stack([sums - ups, ups])
        totals = by_class[:, :, 0]
        if class_weight is None and not smoothed:
            share = 1.0 / sums[:, 0]
            target = np.broadcast_to([[0.0], [1.0]], totals.shape)
            return cls(totals, share[None], target, sums.T * share, ups.T * share)
        all_of = totals.sum(axis=0)
        factor = np.ones_like(totals)
        if class_weight == "balanced":
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(totals > 0, all_of / (2.0 * totals), 1.0)
        elif class_weight is not None:
            factor = np.repeat(np.asarray(class_weight)[:, None], totals.shape[1], axis=1)
        share = factor / (factor * totals).sum(axis=0)
        target = np.repeat([[0.0], [1.0]], totals.shape[1], axis=1)
        if smoothed:
            target = np.stack([1.0 / (totals[0] + 2.0), (totals[1] + 1.0) / (totals[1] + 2.0)])
        mean = np.einsum("cj,cjp->pj", share, by_class)
        said = np.einsum("cj,cjp->pj", share * target, by_class)
        return cls(totals, share if class_weight is not None else share[:1], target, mean, said)


@dataclass(frozen=True, slots=True)
class Columns:
    """What each of several refits minimises, apart from its rows: one column of weights per refit.

    Attributes
    ----------
    labels : what each refit's labels come to.
    mean, deviation : (refits, k) what standardises each refit's features, in local units.
    l2 : penalty.
    """

    labels: Labels
    mean: Array
    deviation: Array
    l2: float

    @property
    def refits(self) -> int:
        """Number of refits."""
        return int(self.mean.shape[0])

    @property
    def p(self) -> int:
        """Number of weights, the intercept among them."""
        return 1 + int(self.mean.shape[1])

    def standardised(self, gradient: Array, columns: IntArray | slice = slice(None)) -> Array:
        """Return a gradient (p, refits) as that of each refit's own standardised weights."""
        slopes = (gradient[1:] - self.mean[columns].T * gradient[0]) / self.deviation[columns].T
        return np.concatenate([gradient[:1], slopes])

    def size(self, gradient: Array, columns: IntArray | None = None) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        at = slice(None) if columns is None or len(columns) == self.refits else columns
        return np.asarray(np.abs(self.standardised(gradient, at)).max(axis=0))

    def from_standardised(self) -> Array:
        """Return A (refits, p, p): theta = A @ theta_standardised, and a standardised gradient is A' @ gradient."""
        A = np.zeros((self.refits, self.p, self.p))
        A[:, 0, 0] = 1.0
        A[:, 0, 1:] = -self.mean / self.deviation
        A[:, np.arange(1, self.p), np.arange(1, self.p)] = 1.0 / self.deviation
        return A

    def shared(self, sums: Array, columns: IntArray | slice) -> Array:
        """Return sums kept apart by class (classes * p, columns) as each refit's mean, (p, columns)."""
        by_class = sums.reshape(-1, self.p, sums.shape[1]) * self.labels.share[:, None, columns]
        return np.asarray(by_class.sum(axis=0) if len(by_class) > 1 else by_class[0])

    def with_slope(self, gradient: Array, theta: Array, columns: IntArray | slice) -> Array:
        """Return a gradient (p, columns), to which the penalty's at `theta` is added in place."""
        if self.l2:
            gradient[1:] += self.l2 * self.deviation[columns].T ** 2 * theta[1:]
        return gradient


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at all rows from one point sees, before the classes are put together.

    Attributes
    ----------
    theta : (p,) the point.
    first : (refits, classes, p) sums of probability times row.
    second : (refits, classes, p, p) sums of probability's slope times x x'.
    """

    theta: Array
    first: Array
    second: Array


@dataclass(frozen=True, slots=True)
class Objective(Columns):
    """Mean weighted log loss + l2/2 * sum of squared standardised weights, for several refits; the intercept is free.

    Attributes
    ----------
    parts : the tickers' rows, in local units; gone through again at every look.
    units : the local units.
    thin : curvatures are estimated from every so many rows; gradients and losses never are.
    look : what was seen from where a descent is to start; None if that was not known.
    """

    parts: Sequence[Make]
    units: Units
    thin: int = 1
    look: Look | None = None

    @classmethod
    def of(
        cls,
        parts: Sequence[Make],
        units: Units,
        scaling: Scaling,
        *,
        l2: float,
        class_weight: ClassWeight = None,
        smoothed: bool = False,
        thin: int = 1,
        start: Array | None = None,
    ) -> Objective:
        """Return the objective of the refits that `parts` train and `scaling` standardises.

        Where it is known at which point (p,) a descent is to `start`, rows are looked at from there on the same way.
        """

        def labelled(rows: SomeRows) -> tuple[Array, ...]:
            counted = np.ones(len(rows.y)), rows.y
            if start is None:
                return (rows.sums_of(np.stack(counted)),)
            g = sigmoid(rows.log_odds(start))
            return rows.sums_of(np.stack([*counted, g])), rows.moments_of(sigmoid_slope(g), thin=thin)

        sums, *second = (_total(found) for found in zip(*(labelled(make()) for make in parts), strict=True))
        everything, ups = sums[:, :2].sum(axis=2).transpose(1, 0, 2)
        return cls(
            parts=parts,
            labels=Labels.of(everything, ups, class_weight, smoothed=smoothed),
            units=units,
            mean=(scaling.mean[:, units.active] - units.center) / units.scale,
            deviation=scaling.deviation[:, units.active] / units.scale,
            l2=l2,
            thin=thin,
            look=None if start is None else Look(start, sums[:, 2], second[0]),
        )

    def gradient(self, theta: Array, columns: IntArray | None = None) -> Array:
        """Return the gradient of some refits, all unless `columns` says which, at their columns `theta` (p, columns).

        g - y is (tanh(z/2) + 1 - 2y) / 2: all but the tanh does not depend on theta, and is there already.
        """
        at = slice(None) if columns is None or len(columns) == self.refits else columns
        half = 0.5 * theta
        total = self.shared(_total(self._over(lambda rows: rows.tanh_sums(half, at))), at)
        total += self.labels.mean[:, at] - 2.0 * self.labels.said[:, at]
        total *= 0.5
        return self.with_slope(total, theta, at)

    def at(self, theta: Array) -> tuple[Array, Array]:
        """Return gradients (p, refits) and curvatures (refits, p, p) of all refits at one common point (p,)."""
        look = self.look
        if look is None or not np.array_equal(look.theta, theta):
            look = self._look(theta)
        share = self.labels.share.T
        gradient = (share[:, :, None] * look.first).sum(axis=1).T - self.labels.said
        moments = (share[:, :, None, None] * look.second).sum(axis=1)
        return self.with_slope(gradient, theta[:, None], slice(None)), self._with_penalty(moments)

    def bound(self) -> Array:
        """Return what no refit's curvature exceeds, (refits, p, p): Boehning and Lindsay's X'X / (4n), and the l2."""
        second = _total(self._over(lambda rows: rows.moments_of(np.full(len(rows.y), 0.25))))
        return self._with_penalty((self.labels.share.T[:, :, None, None] * second).sum(axis=1))

    def alone(self, refit: int) -> Objective:
        """Return the objective of one of the refits."""
        one = slice(refit, refit + 1)
        labels = Labels(*(getattr(self.labels, name)[:, one] for name in Labels.__slots__))
        parts = [partial(_of_refit, make, refit) for make in self.parts]
        return Objective(
            labels, self.mean[one], self.deviation[one], self.l2, parts=parts, units=self.units, thin=self.thin
        )

    def loss(self, theta: Array) -> float:
        """Return the objective of a single refit at `theta` (p,)."""
        share, target = self.labels.share[:, 0], self.labels.target[:, 0]

        def sums(rows: SomeRows) -> float:
            said = target[0] + rows.y * (target[1] - target[0])
            counts = share[0] if rows.weight is None else rows.weight @ share
            return float(np.sum(counts * log_loss(rows.log_odds(theta), said)))

        penalty = 0.5 * self.l2 * float(np.sum((self.deviation[0] * theta[1:]) ** 2))
        return float(sum(self._over(sums))) + penalty

    def sides(self, theta: Array) -> tuple[float, float]:
        """Return the smallest log odds on the right side, (2y - 1) theta.x, and the largest on either side.

        Of a single refit's rows, at `theta` (p,).
        """

        def both(rows: SomeRows) -> tuple[float, float]:
            z = rows.log_odds(theta)
            return _smallest((2.0 * rows.y - 1.0) * z, rows), _smallest(-np.abs(z), rows)

        margins, reaches = zip(*self._over(both), strict=True)
        return min(margins), -min(reaches)

    def reach(self, direction: Array) -> float:
        """Return by how much a move along `direction` (p,) changes any log odds of a single refit's rows, at most."""
        return -float(min(self._over(lambda rows: _smallest(-np.abs(rows.log_odds(direction)), rows))))

    def _look(self, theta: Array) -> Look:
        def sums(rows: SomeRows) -> tuple[Array, Array]:
            g = sigmoid(rows.log_odds(theta))
            return rows.sums_of(g[None])[:, 0], rows.moments_of(sigmoid_slope(g), thin=self.thin)

        return Look(theta, *(_total(found) for found in zip(*self._over(sums), strict=True)))

    def _over(self, values_of: Callable[[SomeRows], Any]) -> Iterable[Any]:
        return (values_of(make()) for make in self.parts)

    def _with_penalty(self, moments: Array) -> Array:
        diagonal = np.arange(1, self.p)
        moments[:, diagonal, diagonal] += self.l2 * self.deviation**2
        return moments


def _of_refit(make: Make, refit: int) -> SomeRows:
    return make().of_refit(refit)


def _total(parts: Iterable[Array]) -> Array:
    """Return the sum of arrays, in their order."""
    found = iter(parts)
    total = next(found)
    for part in found:
        total = total + part
    return total


def _smallest(values: Array, rows: SomeRows) -> float:
    """Return the smallest of values (rows,) over the rows that have a weight; infinity where there are none."""
    if rows.weight is not None:
        values = values[rows.weight.any(axis=1)]
    return float(np.min(values, initial=np.inf))
