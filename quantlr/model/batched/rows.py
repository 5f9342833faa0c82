"""The training rows of one model in local units, which consecutive batches of its refits share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.values import Array
from quantlr.model.batched.sums import LocalRows
from quantlr.model.standardize import Scaling, local_units, to_local_units
from quantlr.model.training import TrainingData
from quantlr.model.windows import TrainingWindows, union_slice_and_windows

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression

BLOCK_ROWS = 2**13
"""Rows per block of a long history."""
MAX_LOCAL_UNIT_RATIO = 8.0
"""Largest ratio of local units to those of a refit before the local units are renewed."""

LocalRowsFactory = Callable[[], LocalRows]
"""Returns the rows of one block of one ticker, computed at each call or kept in memory."""


class ModelRows:
    """The rows of one model in local units, (x - center) / scale, in which sums lose no digits.

    Local units are those of the first refit that needs them, and are kept for later refits while they suit these. The
    rows of a single ticker are converted once. Those of several tickers are converted block by block at every pass, so
    that a panel is not copied.
    """

    def __init__(self, training_data: TrainingData, model: LogisticRegression, *, block_rows: int = BLOCK_ROWS) -> None:
        self._training_data, self._model, self._block_rows = training_data, model, block_rows
        has_label = ~np.isnan(training_data.y)
        self._y = np.where(has_label, training_data.y, 0.0)
        self._sample_weight = weight = training_data.sample_weight
        # Sample weights are needed only if a row without a label lies inside a training window.
        folds = training_data.folds
        if not all(has_label[ticker.train_start.min() : ticker.train_stop.max()].all() for ticker in folds):
            self._sample_weight = has_label * (1.0 if weight is None else weight)
        k = training_data.X.shape[1]
        self._units = np.zeros(k), np.full(k, np.inf)
        self._local_X: Array | None = None

    def local_scaling(self, refit_slice: slice) -> Scaling:
        """Return the scaling of consecutive refits in local units, which are renewed if they do not suit the first."""
        scaling = self._training_data.scaling[refit_slice]
        if not _are_suitable_units(*self._units, scaling[:1]):
            self._units = local_units(scaling)
            is_copied = len(self._training_data.folds) == 1
            self._local_X = (
                to_local_units(self._training_data.X, *self._units, leading_ones=True) if is_copied else None
            )
        return scaling.in_units_of(*self._units)

    def make_row_factories(self, refit_slice: slice) -> list[LocalRowsFactory]:
        """Return the rows of consecutive refits in the units of the last `local_scaling`, in blocks for the cache."""
        blocks = self._row_blocks(refit_slice)
        last_session = max(self._training_data.row_sessions(slice(rows.stop - 1, rows.stop))[0] for rows, _ in blocks)
        factories: list[LocalRowsFactory] = [
            partial(self._make_rows, rows, windows, last_session) for rows, windows in blocks
        ]
        return (
            factories
            if self._local_X is None
            else [_make_constant_rows_factory(make_rows()) for make_rows in factories]
        )

    def _make_rows(self, rows: slice, windows: TrainingWindows, last_session: int) -> LocalRows:
        X = self._local_X
        X = to_local_units(self._training_data.X[rows], *self._units, leading_ones=True) if X is None else X[rows]
        weight = None if self._sample_weight is None else self._sample_weight[rows]
        if self._model.half_life is not None:
            decay = np.exp2((self._training_data.row_sessions(rows) - last_session) / self._model.half_life)
            weight = decay if weight is None else decay * weight
        by_class = self._model.class_weight is not None
        return LocalRows.from_sample_weights(X, self._y[rows], weight, windows, by_class=by_class)

    def _row_blocks(self, refit_slice: slice) -> list[tuple[slice, TrainingWindows]]:
        """Return slices of the rows that fit the cache, with the part of each refit's window in them."""
        blocks = []
        for ticker in self._training_data.folds:
            rows, windows = union_slice_and_windows(ticker, refit_slice)
            n_rows = rows.stop - rows.start
            if n_rows <= 2 * self._block_rows:
                blocks += [(rows, windows)] if n_rows else []
                continue
            for first, last in pairwise([*range(0, n_rows, self._block_rows), n_rows]):
                block = slice(rows.start + first, rows.start + last)
                blocks.append((block, windows.clip_to_slice(slice(first, last))))
        return blocks


def _are_suitable_units(center: Array, scale: Array, scaling: Scaling) -> bool:
    """Return whether a refit's means differ from the center by few scales, and its deviations by a small factor."""
    is_constant, std = scaling.std[0] == 0, np.where(scaling.std[0] > 0, scaling.std[0], scale)
    near = is_constant | (np.abs(scaling.mean[0] - center) <= MAX_LOCAL_UNIT_RATIO * scale)
    return bool((near & (std <= MAX_LOCAL_UNIT_RATIO * scale) & (scale <= MAX_LOCAL_UNIT_RATIO * std)).all())


def _make_constant_rows_factory(rows: LocalRows) -> LocalRowsFactory:
    return lambda: rows
