"""What is to be learnt from: rows and labels, which of them train which refit, and the objectives they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from quantlr.model.folds import training_sums
from quantlr.model.objective import Make, Objective, SomeRows
from quantlr.model.rows import Rows, RowsInPlace, Scaling, Units, in_classes
from quantlr.model.scaling import windows_of
from quantlr.model.specs import LogisticRegression
from quantlr.model.windows import Windows
from quantlr.types import Array, BoolArray, Folds, IntArray

PIECE = 2**13
"""Rows of a long history that are looked at together."""
PIECE_IN_PLACE = 2**12
"""The same of one that is learnt from once, a few columns of numbers at a time beside the rows."""
SAMPLE = 2**14
"""Rows that are enough to learn a first guess from, and for each refit of a chunk a curvature."""
CURVED = 2**17
"""Rows that a curvature is estimated from, at least, where there are as many."""
LONG = 2**15
"""Rows from which a history with one refit is left in raw units."""
APART = 8.0
"""How far local units may be from those of the refits that use them, before they are taken anew."""


@dataclass(frozen=True, slots=True)
class Training:
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
    position: IntArray | None = None
    weight: Array | None = None
    smoothed: bool = False

    def counts(self) -> tuple[IntArray, IntArray]:
        """Return how many rows each refit learns from, and how many of them are ups, (refits,) each."""

        def counted(rows: slice) -> BoolArray:
            y = self.y[rows]
            both = np.stack([~np.isnan(y), y > 0])
            return both if self.weight is None else both & (self.weight[rows] > 0)

        rows, ups = training_sums(counted, self.folds).astype(np.int64)
        return rows, ups

    def sampled(self, refit: int, *, enough: int = SAMPLE) -> Training | None:
        """Return every so many of one refit's rows, as a training of its own: `enough`, and less than twice as many.

        None if there are less than twice as many at all.
        """
        slices = [slice(ticker.train_start[refit], ticker.train_stop[refit]) for ticker in self.folds]
        step = sum(rows.stop - rows.start for rows in slices) // enough
        if step < 2:
            return None
        at = np.concatenate([np.arange(rows.start, rows.stop, step) for rows in slices])
        start, stop = np.zeros(1, dtype=np.int64), np.full(1, len(at))
        return Training(
            self.X[at],
            self.y[at],
            [Folds(start, stop, stop, stop)],
            self.scaling[refit : refit + 1],
            None if self.position is None else self.position[at],
            None if self.weight is None else self.weight[at],
            self.smoothed,
        )


class Material:
    """What the objectives of one training are made from: its rows in local units, weighted.

    Local units are those of the first refit that needs them, and are kept while they suit those that follow. A lone
    ticker's rows are brought into them once; those of many tickers at every look, piece by piece, so that a panel is
    never there twice. A long history with one refit stays as it is.
    """

    def __init__(self, training: Training, model: LogisticRegression) -> None:
        self._training, self._model = training, model
        learnt = ~np.isnan(training.y)
        self._y = np.where(learnt, training.y, 0.0)
        self._weight = training.weight
        # Rows that need no weights are taken as they are; the newest, not labelled yet, train nothing.
        if not all(learnt[ticker.train_start.min() : ticker.train_stop.max()].all() for ticker in training.folds):
            self._weight = learnt * (1.0 if training.weight is None else training.weight)
        self._units: Units | None = None
        self._local: Array | None = None

    def objective(self, refits: slice, *, start: Array | None = None, curved: int = CURVED) -> Objective:
        """Return the objective of neighbouring refits that share their constant features.

        `start` (1 + k,), in raw units, are the weights that a descent is to start from, where there are any yet;
        `curved` the rows that curvatures are estimated from, at least.
        """
        training, model = self._training, self._model
        units = self._units_for(refits.start)
        pieces = self._pieces(refits, units)
        newest = max(self._age(slice(rows.stop - 1, rows.stop))[0] for rows, _ in pieces)
        count = sum(rows.stop - rows.start for rows, _ in pieces)
        return Objective.of(
            (self._in_place if self._stays(units) else self._copies)(pieces, newest, units),
            units,
            training.scaling[refits],
            l2=model.l2,
            class_weight=model.class_weights,
            smoothed=training.smoothed,
            thin=max(count // max(SAMPLE * (refits.stop - refits.start), curved), 1),
            start=None if start is None else units.from_raw(start),
        )

    def positions(self, refit: int) -> list[IntArray]:
        """Return the session of each row of a refit's objective, part by part as they stand there, (rows,) each."""
        pieces = self._pieces(slice(refit, refit + 1), self._units_for(refit))
        return [self._age(rows) for rows, _ in pieces]

    def _units_for(self, refit: int) -> Units:
        own = Units.of(self._training.scaling, refit)
        if self._units is None or not self._units.suit(own, within=APART):
            self._units = own
            alone = len(self._training.folds) == 1 and not self._stays(own)
            self._local = own.local(self._training.X) if alone else None
        return self._units

    def _stays(self, units: Units) -> bool:
        """Return whether rows stay in raw units: a long history that is learnt from once, and has no level."""
        folds = self._training.folds
        if len(folds[0]) > 1 or not units.near_raw(within=APART):
            return False
        return sum(int(ticker.train_stop[0] - ticker.train_start[0]) for ticker in folds) > LONG

    def _pieces(self, refits: slice, units: Units) -> list[tuple[slice, Windows]]:
        size = PIECE_IN_PLACE if self._stays(units) else PIECE
        found = [windows_of(ticker, refits) for ticker in self._training.folds]
        return [piece for rows, windows in found for piece in _pieces(rows, windows, size)]

    def _in_place(self, pieces: Sequence[tuple[slice, Windows]], newest: int, units: Units) -> list[Make]:
        A, by_class = units.from_ones(), self._model.class_weight is not None
        found: list[Make] = []
        for rows, _ in pieces:
            raw, y = self._training.X[rows], self._y[rows]
            weight = in_classes(y, self._weight_of(rows, newest), by_class=by_class)
            found.append(partial(_itself, RowsInPlace(raw, units, A, y, weight)))
        return found

    def _copies(self, pieces: Sequence[tuple[slice, Windows]], newest: int, units: Units) -> list[Make]:
        by_class = self._model.class_weight is not None

        def made(rows: slice, windows: Windows, X: Array) -> Rows:
            return Rows.of(X, self._y[rows], self._weight_of(rows, newest), windows, by_class=by_class)

        def anew(rows: slice, windows: Windows) -> Rows:
            return made(rows, windows, units.local(self._training.X[rows]))

        if self._local is None:
            return [partial(anew, rows, windows) for rows, windows in pieces]
        return [partial(_itself, made(rows, windows, self._local[rows])) for rows, windows in pieces]

    def _age(self, rows: slice) -> IntArray:
        position = self._training.position
        return np.arange(rows.start, rows.stop) if position is None else position[rows]

    def _weight_of(self, rows: slice, newest: int) -> Array | None:
        weight = None if self._weight is None else self._weight[rows]
        if self._model.half_life is None:
            return weight
        decay = np.exp2((self._age(rows) - newest) / self._model.half_life)
        return decay if weight is None else decay * weight


def _pieces(rows: slice, windows: Windows, size: int) -> list[tuple[slice, Windows]]:
    """Return a ticker's rows in pieces that suit the cache."""
    count = rows.stop - rows.start
    if count <= 2 * size:
        return [(rows, windows)] if count else []
    edges = [*range(0, count, size), count]
    return [
        (slice(rows.start + first, rows.start + last), windows.within(slice(first, last)))
        for first, last in pairwise(edges)
    ]


def _itself(rows: SomeRows) -> SomeRows:
    return rows
