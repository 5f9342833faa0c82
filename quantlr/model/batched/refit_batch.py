"""Refits of one or several models that start together, with gradients in single precision where that is exact enough.

Summing in single precision halves the time of a gradient. It is used only where its error, bounded by
`float32_gradient_error`, is at most the tolerance of the solver.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quantlr.core.values import Array, IntArray
from quantlr.model.batched.loss import LabelSums, Objective, RefitBlock
from quantlr.model.batched.sums import Float32Rows, LocalRows

FLOAT32_UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding a number to single precision."""
FLOAT32_TANH_ERROR = 3.0 * FLOAT32_UNIT_ROUNDOFF
"""Largest relative error of NumPy's single-precision tanh.

Measured over all numbers from 1e-4 to 20: 1.83 unit roundoffs with AVX2 kernels, 2.83 without.
"""


def float32_gradient_error(length: float) -> float:
    """Return the largest error of a component of the gradient if `Float32Rows` sums its nonlinear change.

    Parameters
    ----------
    length : sqrt(move' H move), with H the Hessian where the move starts.

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
    """Refits of one or several models, the same number of each, with gradient and Hessian where they start.

    Attributes
    ----------
    objectives : one per model.
    refit_block : the refits of all models, model after model.
    start_theta : (p, refits) weights at the start, equal for the refits of a model.
    start_gradient, start_hessian : (p, refits), (refits, p, p) at the start.
    float32_rows_by_model : the rows of each model in single precision; () where that would not be exact enough.
    tol : largest error of a gradient's component that single precision may cause.
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
        """Return the refits of each objective, those of a model starting at one point (p,)."""
        evaluations = [
            objective.gradient_and_hessian(start) for objective, start in zip(objectives, start_thetas, strict=True)
        ]
        gradients, hessians = zip(*evaluations, strict=True)
        return cls(
            objectives=tuple(objectives),
            refit_block=_concatenate_refit_blocks(objectives),
            start_theta=np.repeat(np.stack(start_thetas, axis=1), objectives[0].n_refits, axis=1),
            start_gradient=np.concatenate(gradients, axis=1),
            start_hessian=np.concatenate(hessians),
            float32_rows_by_model=((),) * len(objectives),
        )

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.objectives)

    @property
    def n_refits(self) -> int:
        """Number of refits of all models."""
        return self.refit_block.n_refits

    def with_float32_rows(self, expected_theta: Array, *, tol: float) -> RefitBatch:
        """Return the batch with single-precision rows for the models that they suffice for.

        Rows are copied only where the whole way to `expected_theta` (p, refits) is short enough; `gradient` decides
        again at each point. Near a minimum, the length of the way in the norm of the Hessian is about
        sqrt(-move' gradient).
        """
        squared_length = np.sum((self.start_theta - expected_theta) * self.start_gradient, axis=0)
        lengths = np.sqrt(np.maximum(squared_length, 0.0)).reshape(self.n_models, -1).max(axis=1)
        starts = self.start_theta[:, :: self.n_refits // self.n_models].T
        rows_by_model = tuple(
            _make_float32_rows(objective, start) if float32_gradient_error(length) <= tol else ()
            for objective, start, length in zip(self.objectives, starts, lengths.tolist(), strict=True)
        )
        return replace(self, float32_rows_by_model=rows_by_model, tol=tol)

    def gradient(self, theta: Array, refit_indices: IntArray) -> Array:
        """Return the gradients (p, columns) of some refits at their weights `theta` (p, columns).

        Where rows are summed in single precision, the error is at most `float32_gradient_error`, which is at most
        `tol`.
        """
        refits = self.refit_block.refit_selector(refit_indices)
        move = theta - self.start_theta[:, refits]
        linear = np.matvec(self.start_hessian[refits], move.T).T
        squared_length = np.einsum("pj,pj->j", move, linear)
        half = (0.5 * move).astype(np.float32)
        n_classes = len(self.refit_block.label_sums.mean_factor_by_class)
        sums = np.zeros((n_classes * self.refit_block.n_weights, len(refit_indices)))
        float64_models: list[tuple[Objective, slice, IntArray]] = []
        for objective, rows, columns, model_refits in self._iter_models(refit_indices):
            length = math.sqrt(max(float(squared_length[columns].max()), 0.0))
            is_exact_enough = rows and float32_gradient_error(length) <= self.tol
            if is_exact_enough and rows[0].is_accurate_for_step(half[:, columns]):
                sums[:, columns] = rows[0].remainders(half[:, columns], model_refits)
            else:
                float64_models.append((objective, columns, model_refits))
        gradient = self.start_gradient[:, refits] + linear
        gradient += 0.5 * self.refit_block.combine_class_sums(sums, refits)
        for objective, columns, model_refits in float64_models:
            gradient[:, columns] = objective.gradient(theta[:, columns], model_refits)
        return np.asarray(gradient)

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        return self.refit_block.max_abs_standardized_gradient(gradient, refit_indices)

    def _iter_models(
        self, refit_indices: IntArray
    ) -> Iterator[tuple[Objective, tuple[Float32Rows, ...], slice, IntArray]]:
        """Yield each model with the columns of its refits in `refit_indices`, and their indices within the model."""
        n_per_model = self.n_refits // self.n_models
        edges = np.searchsorted(refit_indices, np.arange(self.n_models + 1) * n_per_model).tolist()
        for model, (objective, rows) in enumerate(zip(self.objectives, self.float32_rows_by_model, strict=True)):
            columns = slice(edges[model], edges[model + 1])
            if columns.start < columns.stop:
                yield objective, rows, columns, refit_indices[columns] - model * n_per_model


def _make_float32_rows(objective: Objective, start_theta: Array) -> tuple[Float32Rows, ...]:
    """Return the rows of a single block around the start; () where there are several blocks, or raw rows.

    `RefitBatch.gradient` takes the linear term from the Hessian, which must be computed from all rows.
    """
    if len(objective.row_factories) > 1 or objective.hessian_row_stride > 1:
        return ()
    rows = objective.row_factories[0]()
    return (rows.float32_rows_around(start_theta),) if isinstance(rows, LocalRows) else ()


def _concatenate_refit_blocks(objectives: Sequence[Objective]) -> RefitBlock:
    if len(objectives) == 1:
        return objectives[0]
    label_sums = [objective.label_sums for objective in objectives]
    return RefitBlock(
        LabelSums(*(np.concatenate([getattr(s, name) for s in label_sums], axis=1) for name in LabelSums.__slots__)),
        np.concatenate([objective.feature_mean for objective in objectives]),
        np.concatenate([objective.feature_std for objective in objectives]),
        objectives[0].l2,
    )
