"""Neighbouring refits of one model, or of several models abreast, that set out together.

All refits of a model start from one point, where their gradients and curvatures cost little: the sums over the rows
that they share are taken once. On the way, what their gradients have changed by since is summed in single precision,
as long as that is exact enough. Several models whose refits are alike go abreast: their columns stand side by side,
so that what is done for each column is done for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quantlr.model.objective import Columns, Labels, Objective
from quantlr.model.rows import Nearby, Rows
from quantlr.types import Array, IntArray

SINGLE = 2.0**-24
"""Relative rounding of single precision."""
EXACT = 1.0
"""Rounding of a gradient that would be allowed, as a share of the tolerance, if all of it went one way."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Refits that set out together: as many of each model.

    Attributes
    ----------
    objectives : one for each model.
    columns : what belongs to each refit of all models, in their order.
    start : (p, refits) where each refit starts.
    gradient_there, curvature_there : (p, refits), (refits, p, p) at the start.
    near : what each model's rows say near its start; () where rounding would tell.
    """

    objectives: tuple[Objective, ...]
    columns: Columns
    start: Array
    gradient_there: Array
    curvature_there: Array
    near: tuple[tuple[Nearby, ...], ...]

    @classmethod
    def of(cls, objectives: Sequence[Objective], starts: Sequence[Array]) -> Neighbours:
        """Return the refits of each objective where they start, one point (p,) for each model."""
        found = [objective.at(start) for objective, start in zip(objectives, starts, strict=True)]
        return cls(
            objectives=tuple(objectives),
            columns=_side_by_side(objectives),
            start=np.repeat(np.stack(starts, axis=1), objectives[0].refits, axis=1),
            gradient_there=np.concatenate([gradient for gradient, _ in found], axis=1),
            curvature_there=np.concatenate([curvature for _, curvature in found]),
            near=((),) * len(objectives),
        )

    @property
    def models(self) -> int:
        """Number of models that go abreast."""
        return len(self.objectives)

    @property
    def refits(self) -> int:
        """Number of refits of all models."""
        return self.columns.refits

    def towards(self, theta: Array, *, tol: float) -> Neighbours:
        """Return the same refits on their way to about `theta` (p, refits), in single precision if that will do.

        Rounding changes a component of a gradient by about the precision times the mean of |change * x| if all of it
        goes one way, and that mean is at most the length of the move in the curvature (Cauchy and Schwarz). Over many
        rows it goes either way, and far less is left.
        """
        length = np.sqrt(np.maximum(np.sum((self.start - theta) * self.gradient_there, axis=0), 0.0))
        exact = (length.reshape(self.models, -1).max(axis=1) * SINGLE <= EXACT * tol).tolist()
        starts = self.start[:, :: self.refits // self.models].T
        near = tuple(
            _nearby(objective, start) if enough else ()
            for objective, start, enough in zip(self.objectives, starts, exact, strict=True)
        )
        return replace(self, near=near)

    def gradient(self, theta: Array, columns: IntArray) -> Array:
        """Return the gradient of some refits at their columns `theta` (p, columns), (p, columns)."""
        move = theta - self.start[:, columns]
        half = (0.5 * move).astype(np.float32)
        sums = np.zeros((len(self.columns.labels.share) * self.columns.p, len(columns)))
        far: list[tuple[Objective, slice, IntArray]] = []
        for objective, near, mine, at in self._by_model(columns):
            if near and near[0].exact(half[:, mine]):
                sums[:, mine] = near[0].changes(half[:, mine], at)
            else:
                far.append((objective, mine, at))
        gradient = self.gradient_there[:, columns] + 0.5 * self.columns.shared(sums, columns)
        gradient = self.columns.with_slope(gradient, move, columns)
        for objective, mine, at in far:
            gradient[:, mine] = objective.gradient(theta[:, mine], at)
        return gradient

    def size(self, gradient: Array, columns: IntArray) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        return self.columns.size(gradient, columns)

    def _by_model(self, columns: IntArray) -> Iterator[tuple[Objective, tuple[Nearby, ...], slice, IntArray]]:
        """Yield for each model where its refits stand among `columns`, and which of its own they are."""
        each = self.refits // self.models
        edges = np.searchsorted(columns, np.arange(self.models + 1) * each).tolist()
        for model, (objective, near) in enumerate(zip(self.objectives, self.near, strict=True)):
            mine = slice(edges[model], edges[model + 1])
            if mine.start < mine.stop:
                yield objective, near, mine, columns[mine] - model * each


def _nearby(objective: Objective, start: Array) -> tuple[Nearby, ...]:
    """Return what a lone ticker's rows say near the start; () where they are too many for copies to pay."""
    rows = objective.parts[0]() if len(objective.parts) == 1 else None
    return (rows.near(start),) if isinstance(rows, Rows) else ()


def _side_by_side(objectives: Sequence[Objective]) -> Columns:
    if len(objectives) == 1:
        return objectives[0]
    labels = [objective.labels for objective in objectives]
    return Columns(
        labels=Labels(*(np.concatenate([getattr(each, name) for each in labels], axis=1) for name in Labels.__slots__)),
        mean=np.concatenate([objective.mean for objective in objectives]),
        deviation=np.concatenate([objective.deviation for objective in objectives]),
        l2=objectives[0].l2,
    )
