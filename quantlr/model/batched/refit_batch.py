"""Refits of one or several models that start together, with gradients in single precision where that is exact enough.

Summing in single precision halves the time of a gradient. It is used only where its error, bounded by
`float32_gradient_error`, is at most the tolerance of the solver.
"""

from __future__ import annotations

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


def float32_gradient_error(length: Array, shared_length: Array) -> Array:
    """Return the largest error of a gradient's component where its remainder is summed in single precision.

    Parameters
    ----------
    length : (refits,) sqrt(move' H move), with H the Hessian where the move starts.
    shared_length : (refits,) the same of the part of the move that changes the log odds of all rows alike.

    Returns
    -------
    (refits,) bound on the absolute error of each component.

    Notes
    -----
    With w the share of a row in the mean times the slope of its probability at the start, and z = x.move, a component
    of the gradient changes by sum(w x f), where f = 2 tanh(z/2) / (1 + t tanh(z/2)) and t is the tanh at the start.
    sum(w x z) is taken in double precision, and only sum(w x (f - z)) in single precision. An error of e |z| in each f
    changes the component by at most

        e sum(w |x z|) <= e sqrt(sum(w x^2)) sqrt(sum(w z^2)) <= e length / 2

    (Cauchy and Schwarz; w sums to at most 1/4 and features are standardised). With u the unit roundoff, the sources are

    tanh     `FLOAT32_TANH_ERROR`, 3 u |z|
    1 + .    u / 2 or u, relative to f; none where t is 0
    /        u / 2 on average over z, u at most; none where t is 0
    z, t, w  a few u times |f - z|, which is about |t| z^2 / 2
    sum      of up to `FLOAT32_SUM_ROWS` remainders, rounded at each addition

    Where the rows' z differ, these errors have either sign and mostly cancel: the largest error measured is 0.6 u
    length for short moves and 6 u length^2 for long ones. Where all rows have the same z, because only the intercept
    moves, the errors have one sign in all rows: measured are 1.9 u length, and 23 u length^2 at lengths from 0.1 to
    0.5. The bound adds both, each with a margin; the measurements are repeated by the tests, with every kernel of tanh.
    """
    varied = np.maximum(0.8 * length, 8.5 * length**2)
    shared = np.maximum(2.0 * shared_length, 25.0 * shared_length**2)
    return FLOAT32_UNIT_ROUNDOFF * np.asarray(varied + shared)


@dataclass(frozen=True, slots=True)
class RefitBatch:
    """Refits of one or several models, the same number of each, with gradient and Hessian where they start.

    Attributes
    ----------
    objectives : one per model.
    refit_block : the refits of all models, model after model.
    start_theta : (p, refits) weights at the start, equal for the refits of a model.
    start_gradient, start_hessian : (p, refits), (refits, p, p) at the start.
    float32_rows_by_model : the rows of each model in single precision; None where that would not be exact enough.
    tol : largest error of a gradient's component that single precision may cause.
    """

    objectives: tuple[Objective, ...]
    refit_block: RefitBlock
    start_theta: Array
    start_gradient: Array
    start_hessian: Array
    float32_rows_by_model: tuple[Float32Rows | None, ...]
    tol: float = 0.0

    @classmethod
    def from_objectives(cls, objectives: Sequence[Objective], start_thetas: Sequence[Array]) -> RefitBatch:
        """Return the refits of each objective, those of a model starting at one point (p,)."""
        starts = zip(objectives, start_thetas, strict=True)
        gradients, hessians = zip(*(objective.gradient_and_hessian(start) for objective, start in starts), strict=True)
        return cls(
            objectives=tuple(objectives),
            refit_block=_concatenate_refit_blocks(objectives),
            start_theta=np.repeat(np.stack(start_thetas, axis=1), objectives[0].n_refits, axis=1),
            start_gradient=np.concatenate(gradients, axis=1),
            start_hessian=np.concatenate(hessians),
            float32_rows_by_model=(None,) * len(objectives),
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
        again at each point.
        """
        move = expected_theta - self.start_theta
        errors = self._max_float32_errors(move, np.matvec(self.start_hessian, move.T).T)
        model_errors = errors.reshape(self.n_models, -1).max(axis=1).tolist()
        starts = self.start_theta[:, :: self.n_refits // self.n_models].T
        rows_by_model = tuple(
            _make_float32_rows(objective, start) if error <= tol else None
            for objective, start, error in zip(self.objectives, starts, model_errors, strict=True)
        )
        return replace(self, float32_rows_by_model=rows_by_model, tol=tol)

    def gradient(self, theta: Array, refit_indices: IntArray) -> Array:
        """Return the gradients (p, columns) of some refits at their weights `theta` (p, columns).

        Where rows are summed in single precision, the error is at most `float32_gradient_error`, which is at most
        `tol`.
        """
        refits = self.refit_block.refit_selector(refit_indices)
        move = theta - self.start_theta[:, refits]
        linear: Array = np.matvec(self.start_hessian[refits], move.T).T
        errors = self._max_float32_errors(move, linear, refits)
        half = (0.5 * move).astype(np.float32)
        n_classes = len(self.refit_block.label_sums.mean_factor_by_class)
        sums = np.zeros((n_classes * self.refit_block.n_weights, len(refit_indices)))
        float64_models: list[tuple[Objective, slice, IntArray]] = []
        for objective, rows, columns, model_refits in self._iter_models(refit_indices):
            if rows and errors[columns].max() <= self.tol and rows.is_accurate_for_step(half[:, columns]):
                sums[:, columns] = rows.nonlinear_tanh_row_sums(half[:, columns], model_refits)
            else:
                float64_models.append((objective, columns, model_refits))
        gradient = self.start_gradient[:, refits] + linear
        gradient += 0.5 * self.refit_block.combine_class_sums(sums, refits)
        for objective, columns, model_refits in float64_models:
            gradient[:, columns] = objective.gradient(theta[:, columns], model_refits)
        return np.asarray(gradient)

    def _max_float32_errors(self, move: Array, linear: Array, refits: IntArray | slice = slice(None)) -> Array:
        """Return the `float32_gradient_error` of some refits, (columns,), after a move; `linear` is Hessian @ move."""
        length = np.sqrt(np.maximum(np.einsum("pj,pj->j", move, linear), 0.0))
        intercept_curvature = np.maximum(self.start_hessian[refits, 0, 0], np.finfo(np.float64).tiny)
        return float32_gradient_error(length, np.abs(linear[0]) / np.sqrt(intercept_curvature))

    def max_abs_standardized_gradient(self, gradient: Array, refit_indices: IntArray) -> Array:
        """Return the largest component of each refit's standardised gradient, (columns,)."""
        return self.refit_block.max_abs_standardized_gradient(gradient, refit_indices)

    def _iter_models(self, refit_indices: IntArray) -> Iterator[tuple[Objective, Float32Rows | None, slice, IntArray]]:
        """Yield each model with the columns of its refits in `refit_indices`, and their indices within the model."""
        n_per_model = self.n_refits // self.n_models
        edges = np.searchsorted(refit_indices, np.arange(self.n_models + 1) * n_per_model).tolist()
        for model, (objective, rows) in enumerate(zip(self.objectives, self.float32_rows_by_model, strict=True)):
            columns = slice(edges[model], edges[model + 1])
            if columns.start < columns.stop:
                yield objective, rows, columns, refit_indices[columns] - model * n_per_model


def _make_float32_rows(objective: Objective, start_theta: Array) -> Float32Rows | None:
    """Return the rows of a single block around the start; None where there are several blocks, or raw rows.

    `RefitBatch.gradient` takes the linear term from the Hessian, which must be computed from all rows.
    """
    if len(objective.row_factories) > 1 or objective.hessian_row_stride > 1:
        return None
    rows = objective.row_factories[0]()
    return rows.float32_rows_around(start_theta) if isinstance(rows, LocalRows) else None


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
