"""What is to be learnt from: rows and labels, which of them train which refit, and the objectives they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Folds
from quantlr.model.batched.loss import Objective, TrainingRows, TrainingRowsFactory
from quantlr.model.batched.sums import LocalRows, LocalScaling, RawRows, Scaling, sample_weights_by_class
from quantlr.model.batched.windows import TrainingWindows
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import fold_sums
from quantlr.model.standardize import union_slice_and_windows

BLOCK_ROWS = 2**13
"""Rows of a long history that are looked at together."""
RAW_BLOCK_ROWS = 2**12
"""The same of one that is learnt from once, a few columns of numbers at a time beside the rows."""
SAMPLE_ROWS = 2**14
"""Rows that are enough to learn a first guess from, and for each refit of a chunk a curvature."""
MIN_HESSIAN_ROWS = 2**17
"""Rows that a curvature is estimated from, at least, where there are as many."""
MIN_ROWS_KEPT_RAW = 2**15
"""Rows from which a history with one refit is left in raw units."""
MAX_LOCAL_SCALING_RATIO = 8.0
"""How far local units may be from those of the refits that use them, before they are taken anew."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows and labels, and which of them train which refit.

    Attributes
    ----------
    X : (rows, k) features in their own units.
    y : (rows,) labels, 0 or 1; NaN where nothing is to be learnt.
    folds : which rows train which refit, for each ticker whose rows train together; all with the same refits.
    scaling : mean and deviation of each refit's training rows.
    position : (rows,) session of each row, by which its weight decays; None counts the rows.
    weight : (rows,) weight of each row, at least 0; None lets all count the same.
    smoothed : whether labels are Platt's smoothed targets.
    """

    X: Array
    y: Array
    folds: Sequence[Folds]
    scaling: Scaling
    session_index: IntArray | None = None
    sample_weight: Array | None = None
    use_platt_targets: bool = False

    def row_and_up_counts(self) -> tuple[IntArray, IntArray]:
        """Return how many rows each refit learns from, and how many of them are ups, (refits,) each."""

        def label_and_up_masks(row_slice: slice) -> BoolArray:
            y = self.y[row_slice]
            both = np.stack([~np.isnan(y), y > 0])
            return both if self.sample_weight is None else both & (self.sample_weight[row_slice] > 0)

        rows, ups = fold_sums(label_and_up_masks, self.folds).astype(np.int64)
        return rows, ups

    def subsample_refit(self, refit_index: int, *, min_rows: int = SAMPLE_ROWS) -> TrainingData | None:
        """Return every so many of one refit's rows, as a training of its own: `enough`, and less than twice as many.

        None if there are less than twice as many at all.
        """
        slices = [slice(ticker.train_start[refit_index], ticker.train_stop[refit_index]) for ticker in self.folds]
        step = sum(rows.stop - rows.start for rows in slices) // min_rows
        if step < 2:
            return None
        at = np.concatenate([np.arange(rows.start, rows.stop, step) for rows in slices])
        start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(at))
        return TrainingData(
            self.X[at],
            self.y[at],
            [Folds(start, stop, stop, stop)],
            self.scaling[refit_index : refit_index + 1],
            None if self.session_index is None else self.session_index[at],
            None if self.sample_weight is None else self.sample_weight[at],
            self.use_platt_targets,
        )


class ObjectiveBuilder:
    """What the objectives of one training are made from: its rows in local units, weighted.

    Local units are those of the first refit that needs them, and are kept while they suit those that follow. A lone
    ticker's rows are brought into them once; those of many tickers at every look, piece by piece, so that a panel is
    never there twice. A long history with one refit stays as it is.
    """

    def __init__(self, training_data: TrainingData, model: LogisticRegression) -> None:
        self._training_data, self._model = training_data, model
        learnt = ~np.isnan(training_data.y)
        self._y = np.where(learnt, training_data.y, 0.0)
        self._sample_weight = training_data.sample_weight
        # Rows that need no weights are taken as they are; the newest, not labelled yet, train nothing.
        if not all(learnt[ticker.train_start.min() : ticker.train_stop.max()].all() for ticker in training_data.folds):
            self._sample_weight = learnt * (1.0 if training_data.sample_weight is None else training_data.sample_weight)
        self._local_scaling: LocalScaling | None = None
        self._local_X: Array | None = None

    def build_objective(
        self, refit_slice: slice, *, start_weights: Array | None = None, min_hessian_rows: int = MIN_HESSIAN_ROWS
    ) -> Objective:
        """Return the objective of neighbouring refits that share their constant features.

        `start` (1 + k,), in raw units, are the weights that a descent is to start from, where there are any yet;
        `curved` the rows that curvatures are estimated from, at least.
        """
        training, model = self._training_data, self._model
        units = self._local_scaling_for(refit_slice.start)
        pieces = self._row_blocks(refit_slice, units)
        newest = max(self._session_indices(slice(rows.stop - 1, rows.stop))[0] for rows, _ in pieces)
        count = sum(rows.stop - rows.start for rows, _ in pieces)
        return Objective.from_row_factories(
            (self._make_raw_row_factories if self._can_stay_raw(units) else self._make_local_row_factories)(
                pieces, newest, units
            ),
            units,
            training.scaling[refit_slice],
            l2=model.l2,
            class_weight=model.resolved_class_weight,
            use_platt_targets=training.use_platt_targets,
            hessian_row_stride=max(
                count // max(SAMPLE_ROWS * (refit_slice.stop - refit_slice.start), min_hessian_rows), 1
            ),
            start_theta=None if start_weights is None else units.to_local_weights(start_weights),
        )

    def session_indices_by_block(self, refit_index: int) -> list[IntArray]:
        """Return the session of each row of a refit's objective, part by part as they stand there, (rows,) each."""
        pieces = self._row_blocks(slice(refit_index, refit_index + 1), self._local_scaling_for(refit_index))
        return [self._session_indices(rows) for rows, _ in pieces]

    def _local_scaling_for(self, refit_index: int) -> LocalScaling:
        own = LocalScaling.from_refit_scaling(self._training_data.scaling, refit_index)
        if self._local_scaling is None or not self._local_scaling.is_close_to(own, max_factor=MAX_LOCAL_SCALING_RATIO):
            self._local_scaling = own
            alone = len(self._training_data.folds) == 1 and not self._can_stay_raw(own)
            self._local_X = own.to_local_rows(self._training_data.X) if alone else None
        return self._local_scaling

    def _can_stay_raw(self, local_scaling: LocalScaling) -> bool:
        """Return whether rows stay in raw units: a long history that is learnt from once, and has no level."""
        folds = self._training_data.folds
        if len(folds[0]) > 1 or not local_scaling.is_raw_well_scaled(max_center_to_scale=MAX_LOCAL_SCALING_RATIO):
            return False
        return sum(int(ticker.train_stop[0] - ticker.train_start[0]) for ticker in folds) > MIN_ROWS_KEPT_RAW

    def _row_blocks(self, refit_slice: slice, local_scaling: LocalScaling) -> list[tuple[slice, TrainingWindows]]:
        size = RAW_BLOCK_ROWS if self._can_stay_raw(local_scaling) else BLOCK_ROWS
        found = [union_slice_and_windows(ticker, refit_slice) for ticker in self._training_data.folds]
        return [piece for rows, windows in found for piece in _split_into_row_blocks(rows, windows, size)]

    def _make_raw_row_factories(
        self, row_blocks: Sequence[tuple[slice, TrainingWindows]], last_session: int, local_scaling: LocalScaling
    ) -> list[TrainingRowsFactory]:
        A, by_class = local_scaling.raw_to_local_matrix(), self._model.class_weight is not None
        found: list[TrainingRowsFactory] = []
        for rows, _ in row_blocks:
            raw, y = self._training_data.X[rows], self._y[rows]
            weight = sample_weights_by_class(y, self._decayed_sample_weight(rows, last_session), by_class=by_class)
            found.append(partial(_identity, RawRows(raw, local_scaling, A, y, weight)))
        return found

    def _make_local_row_factories(
        self, row_blocks: Sequence[tuple[slice, TrainingWindows]], last_session: int, local_scaling: LocalScaling
    ) -> list[TrainingRowsFactory]:
        by_class = self._model.class_weight is not None

        def make_local_rows(row_slice: slice, windows: TrainingWindows, local_X: Array) -> LocalRows:
            return LocalRows.from_arrays(
                local_X,
                self._y[row_slice],
                self._decayed_sample_weight(row_slice, last_session),
                windows,
                by_class=by_class,
            )

        def scale_and_make_local_rows(row_slice: slice, windows: TrainingWindows) -> LocalRows:
            return make_local_rows(row_slice, windows, local_scaling.to_local_rows(self._training_data.X[row_slice]))

        if self._local_X is None:
            return [partial(scale_and_make_local_rows, rows, windows) for rows, windows in row_blocks]
        return [partial(_identity, make_local_rows(rows, windows, self._local_X[rows])) for rows, windows in row_blocks]

    def _session_indices(self, row_slice: slice) -> IntArray:
        position = self._training_data.session_index
        return np.arange(row_slice.start, row_slice.stop) if position is None else position[row_slice]

    def _decayed_sample_weight(self, row_slice: slice, last_session: int) -> Array | None:
        weight = None if self._sample_weight is None else self._sample_weight[row_slice]
        if self._model.half_life is None:
            return weight
        decay = np.exp2((self._session_indices(row_slice) - last_session) / self._model.half_life)
        return decay if weight is None else decay * weight


def _split_into_row_blocks(
    row_slice: slice, windows: TrainingWindows, block_rows: int
) -> list[tuple[slice, TrainingWindows]]:
    """Return a ticker's rows in pieces that suit the cache."""
    count = row_slice.stop - row_slice.start
    if count <= 2 * block_rows:
        return [(row_slice, windows)] if count else []
    edges = [*range(0, count, block_rows), count]
    return [
        (slice(row_slice.start + first, row_slice.start + last), windows.clip_to_slice(slice(first, last)))
        for first, last in pairwise(edges)
    ]


def _identity(rows: TrainingRows) -> TrainingRows:
    return rows
