"""The training rows of several refits, and sums over each one's own that share what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from quantlr.types import Array, BoolArray, IntArray

KEPT = 64
"""Windows of tickers with different histories that are remembered for the next ticker."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Rows beside the core, in the runs by which one refit's rows go further than another's.

    Attributes
    ----------
    rows : (runs, longest) row of the union; padded with one of them, which counts nothing.
    counts : (runs, longest) 1 for a row, 0 for padding.
    ends : (runs + 1,) 0, and how many rows the first run has, the first two, and so on.
    runs : (refits,) how many of the runs, counted from the core, belong to each refit.
    leads : whether the rows come before the core.
    """

    rows: IntArray
    counts: Array
    ends: IntArray
    runs: IntArray
    leads: bool

    @classmethod
    def of(cls, reach: IntArray, *, first: int, step: int) -> Edge:
        """Return the edge where each refit has `reach` (refits,) more rows: `first`, `first` + `step` and so on."""
        ends = np.array(sorted({0, *reach.tolist()}), dtype=np.int64)
        length = np.diff(ends)
        offset = np.arange(int(length.max(initial=0)))
        counts = offset < length[:, None]
        rows = np.where(counts, first + step * (ends[:-1, None] + offset), first)
        return cls(rows, counts.astype(np.float64), ends, np.searchsorted(ends, reach), step < 0)

    def upto(self, sums: Array) -> Array:
        """Return the sum of the first runs' sums (runs, ...) for each refit, (refits, ...)."""
        total = np.zeros((len(sums) + 1, *sums.shape[1:]))
        np.cumsum(sums, axis=0, out=total[1:])
        return np.asarray(total[self.runs])


@lru_cache(maxsize=KEPT)
def windows_like(start: bytes, stop: bytes) -> Windows:
    """Return the windows whose starts and stops are these bytes: the same for tickers whose folds are alike."""
    return Windows(np.frombuffer(start, dtype=np.int64), np.frombuffer(stop, dtype=np.int64))


@dataclass(frozen=True)
class Windows:
    """The training rows of several refits, counted from the first row of their union.

    Attributes
    ----------
    start, stop : (refits,) first row of each, and the row after its last.
    """

    start: IntArray
    stop: IntArray

    @cached_property
    def core(self) -> slice:
        """The rows that every refit trains on; none, at the front, where they don't all overlap."""
        first, last = int(self.start.max()), int(self.stop.min())
        return slice(first, last) if first <= last else slice(0, 0)

    @cached_property
    def union(self) -> int:
        """Number of rows in the union."""
        return int(self.stop.max())

    @cached_property
    def edges(self) -> list[tuple[Edge, float]]:
        """The rows beside the core, and whether a refit's are added to it or taken away."""
        core, found = self.core, []
        if core.start:
            found.append((Edge.of(core.start - self.start, first=core.start - 1, step=-1), 1.0))
        if self.union > core.stop:
            found.append((Edge.of(self.stop - core.stop, first=core.stop, step=1), 1.0))
        if core.stop == 0 and self.start.any():
            found.append((Edge.of(self.start, first=0, step=1), -1.0))
        return found

    @cached_property
    def inside_before(self) -> BoolArray:
        """(refits, rows before the core) whether a refit trains on a row."""
        return np.asarray(np.arange(self.core.start) >= self.start[:, None])

    @cached_property
    def inside_after(self) -> BoolArray:
        """(refits, rows after the core) the same."""
        row = np.arange(self.core.stop, self.union)
        return np.asarray((row < self.stop[:, None]) & (row >= self.start[:, None]))

    def sums(self, core: Array, before: Array, after: Array) -> Array:
        """Return the sum over each refit's rows, (refits, v).

        Parameters
        ----------
        core : (v,) sum over the core's rows.
        before, after : (v, rows) values of the rows before and after the core.
        """
        total = np.repeat(core[None], len(self.start), axis=0)
        for edge, sign in self.edges:
            outwards = before[:, ::-1] if edge.leads else after
            by_run = np.add.reduceat(outwards[:, : edge.ends[-1]], edge.ends[:-1], axis=1)
            total += sign * edge.upto(by_run.T)
        return total

    def within(self, rows: slice) -> Windows:
        """Return what of each refit's rows lies in a slice of the union, counted from the slice's start."""
        start, stop = (np.clip(edge, rows.start, rows.stop) - rows.start for edge in (self.start, self.stop))
        return Windows(start, stop)
