"""Neighbouring refits of one model, or of several models abreast, that set out together.

All refits of a model start from one point, where their gradients and curvatures cost little: the sums over the rows
that they share are taken once. On the way, what their gradients have changed by since is the curvature times the move,
and a remainder that is summed in single precision, as long as that is exact enough. Several models whose refits are
alike go abreast: their columns stand side by side, so that what is done for each column is done for all of them at
once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quantlr.model.objective import RefitBlock, LabelSums, Objective
from quantlr.model.rows import Float32Rows, LocalRows
from quantlr.types import Array, IntArray

FLOAT32_UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding a number to single precision."""
FLOAT32_TANH_ERROR = 3.0 * FLOAT32_UNIT_ROUNDOFF
"""Largest relative error of NumPy's single-precision tanh.

Measured over all numbers from 1e-4 to 20: 1.83 unit roundoffs with AVX2 kernels, 2.83 without.
"""


def float32_gradient_error(length: float) -> float:
    """Return what a component of a gradient is off by at most, if `Nearby` sums what its move leaves to be summed.

    Parameters
    ----------
    length : sqrt(move' H move), with H the curvature where the move starts.

    Notes
    -----
    With w the share of a row in the mean times its probability's slope at the start, and z = x.move, a component of
    the gradient changes by sum(w x f), where f = 2 tanh(z/2) / (1 + t tanh(z/2)) and t is tanh at the start. Here
    sum(w x z) is taken in double precision, and only sum(w x (f - z)) in single precision. An error of e |z| in each
    f, of whatever sign, changes the component by at most

        e sum(w |x z|) <= e sqrt(sum(w x^2)) sqrt(sum(w z^2)) <= e length / 2,

    by Cauchy and Schwarz, since w sums to at most 1/4 and features are standardised. With u the unit roundoff:

    tanh        2 u |z|: `FLOAT32_TANH_ERROR`. A function's error can have one sign in all rows: u length.
    1 + ., /    u |z| each. Their sign changes from row to row, so their mean over n rows is smaller by about sqrt(n):
                less than 0.1 u length from 100 rows on, which the measured error of tanh leaves room for.
    - z         u |f - z|; it is exact while f is between z/2 and 2z.
    z, t, w x   a few u, times |z| times the relative difference of f and z: again of the size of u |f - z|.
    sum         a few u times sum(w |x (f - z)|).

    f - z is about -t z^2 / 2, so the last three are a few u times sum(w |x| t z^2 / 2), which is of the size of
    length^2 / 2, and partly cancel: u length^2 covers what is left of them. The bound is u length (1 + length). The
    largest error measured is 0.7 of it (20 seeds; 1, 4 and 12 features; with and without class weights; moves of
    length 1e-4 to 8; with AVX2 kernels and without).
    """
    linear = 0.5 * FLOAT32_TANH_ERROR * length
    return linear + FLOAT32_UNIT_ROUNDOFF * length**2


@dataclass(frozen=True, slots=True)
class RefitBatch:
    """Refits that set out together: as many of each model.

    Attributes
    ----------
    objectives : one for each model.
    columns : what belongs to each refit of all models, in their order.
    start : (p, refits) where each refit starts.
    gradient_there, curvature_there : (p, refits), (refits, p, p) at the start.
    near : what each model's rows say near its start; () where rounding would tell.
    tol : error of a gradient's component up to which it is summed in single precision.
    """

    objectives: tuple[Objective, ...]
    refit_block: RefitBlock
    start_theta: Array
    start_gradient: Array
    start_hessian: Array
    float32_rows_by_model: tuple[tuple[Float32Rows, ...], ...]
    tol: float = 0.0

    @classmethod
    def from_objectives(cls, objectives: Sequence[Objective], start_thetas: Sequence[Array]) -> RefitBatch:
        """Return the refits of each objective where they start, one point (p,) for each model."""
        found = [
            objective.gradient_and_hessian(start) for objective, start in zip(objectives, start_thetas, strict=True)
        ]
        return cls(
            objectives=tuple(objectives),
            refit_block=_concatenate_refit_blocks(objectives),
            start_theta=np.repeat(np.stack(start_thetas, axis=1), objectives[0].n_refits, axis=1),
            start_gradient=np.concatenate([gradient for gradient, _ in found], axis=1),
            start_hessian=np.concatenate([curvature for _, curvature in found]),
            float32_rows_by_model=((),) * len(objectives),
        )

    @property
    def n_models(self) -> int:
        """Number of models that go abreast."""
        return len(self.objectives)

    @property
    def n_refits(self) -> int:
        """Number of refits of all models."""
        return self.refit_block.n_refits

    def with_float32_rows(self, expected_theta: Array, *, tol: float) -> RefitBatch:
        """Return the same refits on their way to about `theta` (p, refits), in single precision if that will do.

        Copies of the rows are made only where the whole way is short enough; `gradient` decides again at each point.
        Near a minimum the length of the way in the curvature is about sqrt(-way' gradient).
        """
        length = np.sqrt(np.maximum(np.sum((self.start_theta - expected_theta) * self.start_gradient, axis=0), 0.0))
        longest = length.reshape(self.n_models, -1).max(axis=1)
        exact = [float32_gradient_error(each) <= tol for each in longest.tolist()]
        starts = self.start_theta[:, :: self.n_refits // self.n_models].T
        near = tuple(
            _make_float32_rows(objective, start) if enough else ()
            for objective, start, enough in zip(self.objectives, starts, exact, strict=True)
        )
        return replace(self, float32_rows_by_model=near, tol=tol)

    def gradient(self, theta: Array, refit_indices: IntArray) -> Array:
        """Return the gradient of some refits at their columns `theta` (p, columns), (p, columns).

        It is off by at most `tol`: by `float32_gradient_error` where rows are summed in single precision.
        """
        some = slice(None) if len(refit_indices) == self.n_refits else refit_indices
        move = theta - self.start_theta[:, some]
        linear = np.matvec(self.start_hessian[some], move.T).T
        squared_length = np.einsum("pj,pj->j", move, linear)
        half = (0.5 * move).astype(np.float32)
        sums = np.zeros(
            (len(self.refit_block.label_sums.mean_factor_by_class) * self.refit_block.n_weights, len(refit_indices))
        )
        far: list[tuple[Objective, slice, IntArray]] = []
        for objective, near, mine, at in self._iter_models(refit_indices):
            length = math.sqrt(max(float(squared_length[mine].max()), 0.0))
            if near and float32_gradient_error(length) <= self.tol and near[0].is_accurate_for_step(half[:, mine]):
                sums[:, mine] = near[0].remainders(half[:, mine], at)
            else:
                far.append((objective, mine, at))
        gradient = self.start_gradient[:, some] + linear
        gradient += 0.5 * self.refit_block.combine_class_sums(sums, some)
        for objective, mine, at in far:
            gradient[:, mine] = objective.gradient(theta[:, mine], at)
        return gradient

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        return self.refit_block.max_abs_standardized_gradient(gradient, refit_indices)

    def _iter_models(
        self, refit_indices: IntArray
    ) -> Iterator[tuple[Objective, tuple[Float32Rows, ...], slice, IntArray]]:
        """Yield for each model where its refits stand among `columns`, and which of its own they are."""
        each = self.n_refits // self.n_models
        edges = np.searchsorted(refit_indices, np.arange(self.n_models + 1) * each).tolist()
        for model, (objective, near) in enumerate(zip(self.objectives, self.float32_rows_by_model, strict=True)):
            mine = slice(edges[model], edges[model + 1])
            if mine.start < mine.stop:
                yield objective, near, mine, refit_indices[mine] - model * each


def _make_float32_rows(objective: Objective, start_theta: Array) -> tuple[Float32Rows, ...]:
    """Return what a lone ticker's rows say near the start; () where they are too many for copies to pay.

    `Neighbours.gradient` takes the linear term from the curvature, which must not be an estimate.
    """
    rows = (
        objective.row_factories[0]()
        if len(objective.row_factories) == 1 and objective.hessian_row_stride == 1
        else None
    )
    return (rows.float32_rows_around(start_theta),) if isinstance(rows, LocalRows) else ()


def _concatenate_refit_blocks(objectives: Sequence[Objective]) -> RefitBlock:
    if len(objectives) == 1:
        return objectives[0]
    labels = [objective.labels for objective in objectives]
    return RefitBlock(
        label_sums=LabelSums(
            *(np.concatenate([getattr(each, name) for each in labels], axis=1) for name in LabelSums.__slots__)
        ),
        feature_mean=np.concatenate([objective.mean for objective in objectives]),
        feature_std=np.concatenate([objective.deviation for objective in objectives]),
        l2=objectives[0].l2,
    )
