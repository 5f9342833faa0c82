"""The training rows of several refits, and sums over each one's own that share what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray

MAX_CACHED_WINDOWS = 64
"""Windows of tickers with different histories that are remembered for the next ticker."""


@dataclass(frozen=True, slots=True)
class RowDelta:
    """Rows beside the core, in the runs by which one refit's rows go further than another's.

    Attributes
    ----------
    rows : (runs, longest) row of the union; padded with one of them, which counts nothing.
    counts : (runs, longest) 1 for a row, 0 for padding.
    ends : (runs + 1,) 0, and how many rows the first run has, the first two, and so on.
    runs : (refits,) how many of the runs, counted from the core, belong to each refit.
    leads : whether the rows come before the core.
    """

    padded_row_indices: IntArray
    nonpadding_weights: Array
    run_boundaries: IntArray
    n_runs_by_refit: IntArray
    is_before_common_rows: bool

    @classmethod
    def from_extra_row_counts(cls, n_extra_rows: IntArray, *, first_row: int, row_step: int) -> RowDelta:
        """Return the edge where each refit has `reach` (refits,) more rows: `first`, `first` + `step` and so on."""
        ends = np.array(sorted({0, *n_extra_rows.tolist()}), dtype=np.int64)
        length = np.diff(ends)
        offset = np.arange(int(length.max(initial=0)))
        counts = offset < length[:, None]
        rows = np.where(counts, first_row + row_step * (ends[:-1, None] + offset), first_row)
        return cls(rows, counts.astype(np.float64), ends, np.searchsorted(ends, n_extra_rows), row_step < 0)

    def sum_runs_by_refit(self, run_sums: Array) -> Array:
        """Return the sum of the first runs' sums (runs, ...) for each refit, (refits, ...)."""
        total = np.zeros((len(run_sums) + 1, *run_sums.shape[1:]))
        np.cumsum(run_sums, axis=0, out=total[1:])
        return np.asarray(total[self.n_runs_by_refit])


@lru_cache(maxsize=MAX_CACHED_WINDOWS)
def cached_training_windows(start_bytes: bytes, stop_bytes: bytes) -> TrainingWindows:
    """Return the windows whose starts and stops are these bytes: the same for tickers whose folds are alike."""
    return TrainingWindows(np.frombuffer(start_bytes, dtype=np.int64), np.frombuffer(stop_bytes, dtype=np.int64))


@dataclass(frozen=True)
class TrainingWindows:
    """The training rows of several refits, counted from the first row of their union.

    Attributes
    ----------
    start, stop : (refits,) first row of each, and the row after its last.
    """

    start: IntArray
    stop: IntArray

    @cached_property
    def common_rows(self) -> slice:
        """The rows that every refit trains on; none, at the front, where they don't all overlap."""
        first, last = int(self.start.max()), int(self.stop.min())
        return slice(first, last) if first <= last else slice(0, 0)

    @cached_property
    def n_union_rows(self) -> int:
        """Number of rows in the union."""
        return int(self.stop.max())

    @cached_property
    def signed_row_deltas(self) -> list[tuple[RowDelta, float]]:
        """The rows beside the core, and whether a refit's are added to it or taken away."""
        core, found = self.common_rows, []
        if core.start:
            found.append(
                (RowDelta.from_extra_row_counts(core.start - self.start, first_row=core.start - 1, row_step=-1), 1.0)
            )
        if self.n_union_rows > core.stop:
            found.append((RowDelta.from_extra_row_counts(self.stop - core.stop, first_row=core.stop, row_step=1), 1.0))
        if core.stop == 0 and self.start.any():
            found.append((RowDelta.from_extra_row_counts(self.start, first_row=0, row_step=1), -1.0))
        return found

    @cached_property
    def trained_mask_before_common(self) -> BoolArray:
        """(refits, rows before the core) whether a refit trains on a row."""
        return np.asarray(np.arange(self.common_rows.start) >= self.start[:, None])

    @cached_property
    def trained_mask_after_common(self) -> BoolArray:
        """(refits, rows after the core) the same."""
        row = np.arange(self.common_rows.stop, self.n_union_rows)
        return np.asarray((row < self.stop[:, None]) & (row >= self.start[:, None]))

    def sum_by_refit(self, common_sum: Array, values_before: Array, values_after: Array) -> Array:
        """Return the sum over each refit's rows, (refits, v).

        Parameters
        ----------
        core : (v,) sum over the core's rows.
        before, after : (v, rows) values of the rows before and after the core.
        """
        total = np.repeat(common_sum[None], len(self.start), axis=0)
        for edge, sign in self.signed_row_deltas:
            outwards = values_before[:, ::-1] if edge.is_before_common_rows else values_after
            by_run = np.add.reduceat(outwards[:, : edge.run_boundaries[-1]], edge.run_boundaries[:-1], axis=1)
            total += sign * edge.sum_runs_by_refit(by_run.T)
        return total

    def clip_to_slice(self, row_slice: slice) -> TrainingWindows:
        """Return what of each refit's rows lies in a slice of the union, counted from the slice's start."""
        start, stop = (
            np.clip(edge, row_slice.start, row_slice.stop) - row_slice.start for edge in (self.start, self.stop)
        )
        return TrainingWindows(start, stop)
