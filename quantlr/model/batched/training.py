"""Training data of one model, and the objectives of its refits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds, IntArray
from quantlr.model.batched.loss import Objective, TrainingRows, TrainingRowsFactory, rows_in_memory
from quantlr.model.batched.sums import LocalRows, RawRows, sample_weights_by_class
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import fold_sums
from quantlr.model.standardize import LocalScaling, Scaling
from quantlr.model.windows import TrainingWindows, union_slice_and_windows

BLOCK_ROWS = 2**13
"""Rows per block of a long history."""
RAW_BLOCK_ROWS = 2**12
"""Rows per block of a history in raw units."""
SAMPLE_ROWS = 2**14
"""Rows of a sample for the start of a solver, and per refit for the estimate of a batch's Hessians."""
MIN_HESSIAN_ROWS = 2**17
"""Smallest number of rows from which a Hessian is estimated; all rows are used up to this number."""
MIN_ROWS_KEPT_RAW = 2**15
"""Number of rows from which the history of a single refit is kept in raw units."""
MAX_LOCAL_SCALING_RATIO = 8.0
"""Largest ratio of local units to those of a refit before the local units are renewed."""

RowBlocks = list[tuple[slice, TrainingWindows]]
"""Slices of rows, each with the part of every refit's training window in it, counted from the start of the slice."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Features and labels of one model, and which rows train which refit.

    Attributes
    ----------
    X : (rows, k) features in their own units.
    y : (rows,) labels, 0 or 1; NaN for rows that train no refit.
    folds : the folds of each ticker of the model, all with the same refits.
    scaling : mean and standard deviation of each refit's training rows.
    session_index : (rows,) session of each row, by which its weight decays; None counts rows.
    sample_weight : (rows,) weight of each row, at least 0; None for all 1.
    use_platt_targets : whether labels are replaced by Platt's smoothed targets.
    """

    X: Array
    y: Array
    folds: Sequence[Folds]
    scaling: Scaling
    session_index: IntArray | None = None
    sample_weight: Array | None = None
    use_platt_targets: bool = False

    def n_window_rows(self, refit_index: int) -> int:
        """Return the number of rows in the training windows of a refit, over all tickers."""
        return sum(int(ticker.train_stop[refit_index] - ticker.train_start[refit_index]) for ticker in self.folds)

    def row_and_up_counts(self) -> tuple[IntArray, IntArray]:
        """Return the number of rows that train each refit, and how many of them are labelled up, (refits,) each."""

        def label_and_up_masks(row_slice: slice) -> BoolArray:
            y = self.y[row_slice]
            masks = np.stack([~np.isnan(y), y > 0])
            return masks if self.sample_weight is None else masks & (self.sample_weight[row_slice] > 0)

        n_rows, n_ups = fold_sums(label_and_up_masks, self.folds).astype(np.int64)
        return n_rows, n_ups

    def subsample_refit(self, refit_index: int, *, min_rows: int = SAMPLE_ROWS) -> TrainingData | None:
        """Return evenly spaced rows of one refit, at least `min_rows`; None if it has less than twice as many."""
        step = self.n_window_rows(refit_index) // min_rows
        if step < 2:
            return None
        windows = [(ticker.train_start[refit_index], ticker.train_stop[refit_index]) for ticker in self.folds]
        rows = np.concatenate([np.arange(start, stop, step) for start, stop in windows])
        start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(rows))
        return TrainingData(
            self.X[rows],
            self.y[rows],
            [Folds(start, stop, stop, stop)],
            self.scaling[refit_index : refit_index + 1],
            None if self.session_index is None else self.session_index[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
            self.use_platt_targets,
        )


class ObjectiveBuilder:
    """Builds the objectives of one model's refits from its training data.

    Local units are those of the first refit that needs them, and are kept for later refits while they suit these. The
    rows of a single ticker are converted to local units once. Those of several tickers are converted block by block at
    every pass, so that a panel is not copied. A long history with a single refit stays in raw units.
    """

    def __init__(self, training_data: TrainingData, model: LogisticRegression) -> None:
        self._training_data, self._model = training_data, model
        has_label = ~np.isnan(training_data.y)
        self._y = np.where(has_label, training_data.y, 0.0)
        self._sample_weight = weight = training_data.sample_weight
        # Sample weights are needed only if a row without a label lies inside a training window.
        folds = training_data.folds
        if not all(has_label[ticker.train_start.min() : ticker.train_stop.max()].all() for ticker in folds):
            self._sample_weight = has_label * (1.0 if weight is None else weight)
        self._local_scaling: LocalScaling | None = None
        self._local_X: Array | None = None

    def build_objective(
        self, refit_slice: slice, *, start_weights: Array | None = None, min_hessian_rows: int = MIN_HESSIAN_ROWS
    ) -> Objective:
        """Return the objective of consecutive refits with the same constant features.

        Parameters
        ----------
        refit_slice : the refits.
        start_weights : (1 + k,) weights in raw units from which a solver is to start; None if not known.
        min_hessian_rows : smallest number of rows from which Hessians are estimated.
        """
        training, model = self._training_data, self._model
        scaling = self._local_scaling_for(refit_slice.start)
        blocks = self._row_blocks(refit_slice, scaling)
        last_session = max(self._session_indices(slice(rows.stop - 1, rows.stop))[0] for rows, _ in blocks)
        n_rows = sum(rows.stop - rows.start for rows, _ in blocks)
        n_sample_rows = SAMPLE_ROWS * (refit_slice.stop - refit_slice.start)
        return Objective.from_row_factories(
            self._make_row_factories(blocks, last_session, scaling),
            scaling,
            training.scaling[refit_slice],
            l2=model.l2,
            class_weight=model.resolved_class_weight,
            use_platt_targets=training.use_platt_targets,
            hessian_row_stride=max(n_rows // max(n_sample_rows, min_hessian_rows), 1),
            start_theta=None if start_weights is None else scaling.to_local_weights(start_weights),
        )

    def session_indices_of_row_blocks(self, refit_index: int) -> list[IntArray]:
        """Return the session of each row of a refit's objective, (rows,) per block."""
        blocks = self._row_blocks(slice(refit_index, refit_index + 1), self._local_scaling_for(refit_index))
        return [self._session_indices(rows) for rows, _ in blocks]

    def _local_scaling_for(self, refit_index: int) -> LocalScaling:
        current, training = self._local_scaling, self._training_data
        scaling = LocalScaling.from_refit_scaling(training.scaling, refit_index)
        if current is not None and current.is_close_to(scaling, max_factor=MAX_LOCAL_SCALING_RATIO):
            return current
        is_copied = len(training.folds) == 1 and not self._can_stay_raw(scaling)
        self._local_scaling, self._local_X = scaling, scaling.to_local_rows(training.X) if is_copied else None
        return scaling

    def _can_stay_raw(self, local_scaling: LocalScaling) -> bool:
        """Return whether rows stay in raw units: many rows, a single refit, and centers near 0."""
        if len(self._training_data.folds[0]) > 1:
            return False
        is_well_scaled = local_scaling.is_raw_well_scaled(max_center_to_scale=MAX_LOCAL_SCALING_RATIO)
        return is_well_scaled and self._training_data.n_window_rows(0) > MIN_ROWS_KEPT_RAW

    def _row_blocks(self, refit_slice: slice, local_scaling: LocalScaling) -> RowBlocks:
        """Return slices of the rows that fit the cache, with the part of each refit's window in them."""
        block_rows = RAW_BLOCK_ROWS if self._can_stay_raw(local_scaling) else BLOCK_ROWS
        blocks: RowBlocks = []
        for ticker in self._training_data.folds:
            rows, windows = union_slice_and_windows(ticker, refit_slice)
            n_rows = rows.stop - rows.start
            if n_rows <= 2 * block_rows:
                blocks += [(rows, windows)] if n_rows else []
                continue
            for first, last in pairwise([*range(0, n_rows, block_rows), n_rows]):
                block = slice(rows.start + first, rows.start + last)
                blocks.append((block, windows.clip_to_slice(slice(first, last))))
        return blocks

    def _make_row_factories(
        self, row_blocks: RowBlocks, last_session: int, local_scaling: LocalScaling
    ) -> list[TrainingRowsFactory]:
        by_class, training, local_X = self._model.class_weight is not None, self._training_data, self._local_X
        stays_raw = self._can_stay_raw(local_scaling)
        raw_to_local = local_scaling.raw_to_local_matrix() if stays_raw else np.empty(0)

        def make_rows(rows: slice, windows: TrainingWindows) -> TrainingRows:
            y, weight = self._y[rows], self._decayed_sample_weight(rows, last_session)
            if stays_raw:
                weight_by_class = sample_weights_by_class(y, weight, by_class=by_class)
                return RawRows(training.X[rows], local_scaling, raw_to_local, y, weight_by_class)
            X = local_scaling.to_local_rows(training.X[rows]) if local_X is None else local_X[rows]
            return LocalRows.from_arrays(X, y, weight, windows, by_class=by_class)

        if local_X is None and not stays_raw:
            return [partial(make_rows, rows, windows) for rows, windows in row_blocks]
        return [rows_in_memory(make_rows(rows, windows)) for rows, windows in row_blocks]

    def _session_indices(self, row_slice: slice) -> IntArray:
        index = self._training_data.session_index
        return np.arange(row_slice.start, row_slice.stop) if index is None else index[row_slice]

    def _decayed_sample_weight(self, row_slice: slice, last_session: int) -> Array | None:
        weight = None if self._sample_weight is None else self._sample_weight[row_slice]
        if self._model.half_life is None:
            return weight
        decay = np.exp2((self._session_indices(row_slice) - last_session) / self._model.half_life)
        return decay if weight is None else decay * weight
