"""The training windows of consecutive refits, which share most of their rows.

Consecutive refits train on nearly the same rows. Sums over the training rows of each refit are computed once over the
rows that all refits have in common, and corrected for each refit by the rows at the edges of its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from quantlr.core.values import Array, BoolArray, Folds, IntArray

MAX_CACHED_WINDOWS = 64
"""Number of distinct window sets that are cached for reuse by the next ticker."""


@dataclass(frozen=True, slots=True)
class RowDelta:
    """The rows by which the refits' windows differ at one end of the common rows, in consecutive runs.

    Attributes
    ----------
    padded_row_indices : (runs, longest) rows of the union, counted outwards; padded with an arbitrary row.
    nonpadding_weights : (runs, longest) 1 for a row, 0 for padding.
    run_boundaries : (runs + 1,) number of rows in the first 0, 1, 2, ... runs.
    n_runs_by_refit : (refits,) how many runs, counted outwards from the common rows, belong to each refit.
    is_before_common_rows : whether these rows precede the common rows.
    """

    padded_row_indices: IntArray
    nonpadding_weights: Array
    run_boundaries: IntArray
    n_runs_by_refit: IntArray
    is_before_common_rows: bool

    @classmethod
    def from_extra_row_counts(cls, n_extra_rows: IntArray, *, first_row: int, row_step: int) -> RowDelta:
        """Return the edge where each refit has `n_extra_rows` (refits,) rows, from `first_row` on by `row_step`."""
        boundaries = np.array(sorted({0, *n_extra_rows.tolist()}), dtype=np.int64)
        length = np.diff(boundaries)
        offset = np.arange(int(length.max(initial=0)))
        is_row = offset < length[:, None]
        rows = np.where(is_row, first_row + row_step * (boundaries[:-1, None] + offset), first_row)
        n_runs = np.searchsorted(boundaries, n_extra_rows)
        return cls(rows, is_row.astype(np.float64), boundaries, n_runs, row_step < 0)

    def sum_runs_by_refit(self, run_sums: Array) -> Array:
        """Return the total over each refit's runs, (refits, ...), from the sum of each run (runs, ...)."""
        total = np.zeros((len(run_sums) + 1, *run_sums.shape[1:]))
        np.cumsum(run_sums, axis=0, out=total[1:])
        return np.asarray(total[self.n_runs_by_refit])


@lru_cache(maxsize=MAX_CACHED_WINDOWS)
def cached_training_windows(start_bytes: bytes, stop_bytes: bytes) -> TrainingWindows:
    """Return the windows whose starts and stops are these bytes; tickers with equal folds share one object."""
    return TrainingWindows(np.frombuffer(start_bytes, dtype=np.int64), np.frombuffer(stop_bytes, dtype=np.int64))


@dataclass(frozen=True)
class TrainingWindows:
    """The training rows of several refits of one ticker, counted from the first row of their union.

    Attributes
    ----------
    start, stop : (refits,) first training row of each refit, and the row after its last.
    """

    start: IntArray
    stop: IntArray

    @cached_property
    def common_rows(self) -> slice:
        """The rows on which every refit trains; an empty slice at 0 if the windows do not all overlap."""
        first, last = int(self.start.max()), int(self.stop.min())
        return slice(first, last) if first <= last else slice(0, 0)

    @cached_property
    def n_union_rows(self) -> int:
        """Number of rows in the union of the windows."""
        return int(self.stop.max())

    @cached_property
    def signed_row_deltas(self) -> list[tuple[RowDelta, float]]:
        """The rows outside the common rows, each with +1 if its sum is added to a refit's, -1 if subtracted."""
        common, make = self.common_rows, RowDelta.from_extra_row_counts
        deltas = []
        if common.start:
            deltas.append((make(common.start - self.start, first_row=common.start - 1, row_step=-1), 1.0))
        if self.n_union_rows > common.stop:
            deltas.append((make(self.stop - common.stop, first_row=common.stop, row_step=1), 1.0))
        if common.stop == 0 and self.start.any():
            deltas.append((make(self.start, first_row=0, row_step=1), -1.0))
        return deltas

    @cached_property
    def trained_mask_before_common(self) -> BoolArray:
        """(refits, rows before the common rows) whether the refit trains on the row."""
        return np.asarray(np.arange(self.common_rows.start) >= self.start[:, None])

    @cached_property
    def trained_mask_after_common(self) -> BoolArray:
        """(refits, rows after the common rows) whether the refit trains on the row."""
        row = np.arange(self.common_rows.stop, self.n_union_rows)
        return np.asarray((row < self.stop[:, None]) & (row >= self.start[:, None]))

    def sum_by_refit(self, common_sum: Array, values_before: Array, values_after: Array) -> Array:
        """Return the sum over each refit's rows, (refits, v).

        Parameters
        ----------
        common_sum : (v,) sum over the common rows.
        values_before, values_after : (v, rows) values of the rows before and after the common rows.
        """
        total = np.repeat(common_sum[None], len(self.start), axis=0)
        for delta, sign in self.signed_row_deltas:
            outwards = values_before[:, ::-1] if delta.is_before_common_rows else values_after
            boundaries = delta.run_boundaries
            run_sums = np.add.reduceat(outwards[:, : boundaries[-1]], boundaries[:-1], axis=1)
            total += sign * delta.sum_runs_by_refit(run_sums.T)
        return total

    def clip_to_slice(self, row_slice: slice) -> TrainingWindows:
        """Return the part of each window inside a slice of the union, counted from the start of the slice."""
        first, last = row_slice.start, row_slice.stop
        return TrainingWindows(np.clip(self.start, first, last) - first, np.clip(self.stop, first, last) - first)


def overlapping_refit_slices(
    folds: Sequence[Folds], *, max_refits: int, min_overlap: float, max_row_change: float = np.inf
) -> list[slice]:
    """Return consecutive groups of refits whose training windows overlap.

    Parameters
    ----------
    folds : the folds of each ticker.
    max_refits : largest number of refits in a group.
    min_overlap : smallest ratio of the rows common to a group to the rows of any of its refits.
    max_row_change : largest number of rows that enter, or leave, between the first refit of a group and its last.
    """
    start: IntArray = np.sum([ticker.train_start for ticker in folds], axis=0)
    stop: IntArray = np.sum([ticker.train_stop for ticker in folds], axis=0)
    groups: list[slice] = []
    first = 0
    while first < len(start):
        length = int(stop[first] - start[first])
        max_removed = min(int(length * (1 - min_overlap)), max_row_change)
        max_added = min(int(length * (1 / min_overlap - 1)), max_row_change)
        last_by_start = int(np.searchsorted(start, start[first] + max_removed, side="right"))
        last_by_stop = int(np.searchsorted(stop, stop[first] + max_added, side="right"))
        last = max(first + 1, min(last_by_stop, last_by_start, first + max_refits, len(start)))
        # In a rolling window the rows that are left of the first refit must also be enough of the last one's.
        while last > first + 1 and stop[first] - start[last - 1] < min_overlap * (stop[last - 1] - start[last - 1]):
            last -= 1
        groups.append(slice(first, last))
        first = last
    return groups


def union_slice_and_windows(folds: Folds, refit_slice: slice) -> tuple[slice, TrainingWindows]:
    """Return the union of the training rows of some refits of one ticker, and each refit's window within it."""
    start, stop = folds.train_start[refit_slice], folds.train_stop[refit_slice]
    has_rows = stop > start
    if not has_rows.all():
        # Refits before the ticker's first row have an empty window at the start of the union.
        first = int(start[has_rows].min()) if has_rows.any() else 0
        start, stop = np.where(has_rows, start, first), np.where(has_rows, stop, first)
    first = int(start.min())
    return slice(first, int(stop.max())), cached_training_windows((start - first).tobytes(), (stop - first).tobytes())
