"""Folds, scaling, weights and probabilities: what a refit has learnt, and from which rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.audit.findings import SAME_PROBABILITY, Cut, Findings, Leak, sized
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.journey import Journey, Steps, forecast_of, journeys
from quantlr.model.logistic import sigmoid
from quantlr.model.rows import Scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.walk_forward import Walked, walk
from quantlr.types import Array, Dataset, IntArray, day, known_in_time

BEFORE, BEYOND = 1, 2
"""Refits that are walked besides the newest at a cut: those before it, and those that train on what was replaced."""
PROBES = 64
"""Training rows on which weights are compared, by what they say there."""
TIGHT, ENOUGH_UPDATES = 1e-12, 1000
"""Tolerance and updates of a descent whose probabilities are compared to 1e-7."""
KNOWLEDGE = ("base_rate", "mean_gain", "mean_loss", "deviation")


@dataclass(frozen=True, slots=True)
class Walkers:
    """A dataset and what its models walk through."""

    dataset: Dataset
    journeys: tuple[Journey, ...]

    @classmethod
    def of(cls, dataset: Dataset, spec: WalkForwardSpec, model: LogisticRegression, steps: Steps) -> Walkers:
        """Return what the models of a dataset walk through."""
        return cls(dataset, tuple(journeys(dataset, spec, model, steps)[0]))

    def sessions(self, journey: Journey) -> IntArray:
        """Return the session of each of a journey's rows, (rows,)."""
        return self.dataset.session[journey.first : journey.first + len(journey.X)]

    def starts(self, journey: Journey) -> list[int]:
        """Return where each ticker's rows begin in a journey."""
        if journey.ticker >= 0:
            return [0]
        return [self.dataset.rows(ticker).start for ticker in range(len(self.dataset.tickers))]


def audited(model: LogisticRegression) -> LogisticRegression:
    """Return the model as it is walked here: solved tightly, by refits that may fail in an absurd future.

    Calibration is looked at by itself, since it needs all forecasts and not only those around a cut.
    """
    changed = {"tol": min(model.tol, TIGHT), "degenerate": "base_rate", "calibration": None}
    if model.descent == "preconditioned":
        changed["max_iter"] = max(model.max_iter, ENOUGH_UPDATES)
    return model.model_copy(update=changed)


def look_at_folds(now: Walkers, spec: WalkForwardSpec, findings: Findings) -> bool:
    """Look whether every refit trains only on rows whose label is known in time; return whether all do."""
    leaks: list[Leak] = []
    count = 0
    for journey in now.journeys:
        sessions = now.sessions(journey)
        calendar = np.unique(sessions)
        known = now.dataset.known_at[journey.first : journey.first + len(journey.X)]
        latest = known_in_time(0, embargo=spec.embargo) + np.searchsorted(calendar, journey.session)
        limit = calendar[np.maximum(latest, 0)]
        for ticker in journey.folds:
            trained = np.flatnonzero(ticker.train_stop > ticker.train_start)
            newest = known[ticker.train_stop[trained] - 1]
            count += len(trained)
            for refit in trained[newest > limit[trained]].tolist():
                row = journey.first + int(ticker.train_stop[refit]) - 1
                leaks.append(_too_late(now.dataset, journey, row, refit, limit[refit], spec.embargo))
    findings.checks["folds"] = findings.checks.get("folds", 0) + count
    for leak in leaks:
        findings.add(leak)
    return not leaks


def _too_late(dataset: Dataset, journey: Journey, row: int, refit: int, limit: int, embargo: int) -> Leak:
    forecast, newest = day(journey.dates[refit]), day(dataset.sessions[dataset.session[row]])
    at = int(dataset.known_at[row])
    known = f"on {day(dataset.sessions[at])}" if at < len(dataset.sessions) else "never"
    rule = f", and the embargo of {embargo} asks for {day(dataset.sessions[limit])}" if embargo else ""
    text = (
        f"folds: the refit that forecasts {forecast} ({journey.name}) trains on {newest}, whose label is known {known}"
        f"{rule}"
    )
    return Leak("folds", "train", journey.name, newest, forecast, "", np.nan, np.nan, 1, text)


@dataclass(frozen=True, slots=True)
class Piece:
    """A few neighbouring refits of one model, walked.

    Attributes
    ----------
    journey : with these refits only.
    key : (forecasts,) ticker and session of each forecast, in one number.
    """

    journey: Journey
    scaling: Scaling
    walked: Walked
    key: IntArray

    @classmethod
    def of(cls, walkers: Walkers, journey: Journey, refits: slice) -> Piece:
        """Return some refits of a journey, walked."""
        part = journey.part(refits)
        ticker, session = (forecast_of([part], each) for each in (walkers.dataset.ticker, walkers.dataset.session))
        key = ticker * 2**32 + session
        return cls(part, part.training().scaling, walk([part])[0], key)


class Reference:
    """The refits around a cut as they were, to hold against what they become with other futures."""

    def __init__(self, now: Walkers, number: int, session: int) -> None:
        self.now, self.session = now, session
        self.journey = now.journeys[number]
        newest = int(np.searchsorted(self.journey.session, session, side="right")) - 1
        self.newest = (number, newest)
        self.refits = slice(max(newest - BEFORE, 0), newest + 1)
        self.beyond = 0 if self.journey.model.learning_rate != "auto" else BEYOND
        self.piece = Piece.of(now, self.journey, self._walked)

    @property
    def _walked(self) -> slice:
        """The refits that are walked: those that are looked at, and some that the replaced sessions train.

        A rate of the user's own may be refused in an absurd future; then there are none of these.
        """
        return slice(self.refits.start, self.refits.stop + self.beyond)

    @property
    def count(self) -> int:
        """How many refits are looked at."""
        return self.refits.stop - self.refits.start

    def look_at(self, other: Walkers, cut: Cut, findings: Findings) -> None:
        """Compare what had been learnt and forecast by the cut; name the first stage that moved."""
        found = next((journey for journey in other.journeys if journey.ticker == self.journey.ticker), None)
        if found is None:
            findings.add(self._gone(cut))
            return
        if not self._folds_same(other, found, cut, findings):
            return
        piece = Piece.of(other, found, self._walked)
        self._knowledge_same(piece, cut, findings)
        if self._scale_same(piece, cut, findings) and self._fit_same(piece, cut, findings):
            self._forecast_same(piece, cut, findings)

    def _gone(self, cut: Cut) -> Leak:
        name = self.journey.name
        text = f"folds: {name} has no refit any more when all after {cut.date} is replaced ({cut.future})"
        return Leak("folds", "refits", name, cut.date, cut.date, cut.future, np.nan, np.nan, 1, text)

    def _where(self, refit: int) -> tuple[str, str]:
        return self.journey.name, day(self.journey.dates[self.refits.start + refit])

    def _folds_same(self, other: Walkers, found: Journey, cut: Cut, findings: Findings) -> bool:
        """Compare which rows train the refits up to the cut, each ticker's counted from its own first."""
        early = slice(0, self.refits.stop)
        was, became = (
            _rows_of(walkers, journey, early) for walkers, journey in ((self.now, self.journey), (other, found))
        )
        if len(found.session) < early.stop or was.shape != became.shape:
            findings.add(self._gone(cut))
            return False

        def where(at: int) -> tuple[str, str]:
            return self.journey.name, day(self.journey.dates[at % early.stop])

        return findings.same("folds", "train", was, became, cut=cut, where=where, allowed=0.5)

    def _scale_same(self, piece: Piece, cut: Cut, findings: Findings) -> bool:
        still = True
        for name in ("mean", "deviation"):
            for at, column in enumerate(self.journey.columns):
                was, became = (getattr(one.scaling, name)[: self.count, at] for one in (self.piece, piece))
                size = self.piece.scaling.deviation[: self.count, at] + np.abs(was)
                size = np.where(size > 0, size, 1.0)
                what = f"{name} of {column}"
                still &= findings.same("scale", what, was, became, cut=cut, where=self._where, size=size)
        return still

    def _fit_same(self, piece: Piece, cut: Cut, findings: Findings) -> bool:
        """Compare weights by the probabilities they give to rows of their training."""
        was, became = (self._said(one.walked.fits.coefficients) for one in (self.piece, piece))
        return findings.same(
            "fit", "weights", was, became, cut=cut, where=lambda at: self._where(at // PROBES), allowed=SAME_PROBABILITY
        )

    def _said(self, coefficients: Array) -> Array:
        """Return what weights (refits, 1 + k) make of some of their own training rows, (refits * PROBES,)."""
        said = []
        for refit, weights in enumerate(coefficients[: self.count]):
            trained = np.concatenate(
                [np.arange(t[refit].train.start, t[refit].train.stop) for t in self.piece.journey.folds]
            )
            probes = self.journey.X[trained[np.linspace(0, len(trained) - 1, PROBES).astype(np.int64)]]
            said.append(sigmoid(weights[0] + probes @ weights[1:]))
        return np.concatenate(said)

    def _knowledge_same(self, piece: Piece, cut: Cut, findings: Findings) -> None:
        for at, name in enumerate(KNOWLEDGE):
            was, became = (one.walked.knowledge[at, : self.count] for one in (self.piece, piece))
            findings.same("knowledge", name, was, became, cut=cut, where=self._where, size=sized(was))

    def _forecast_same(self, piece: Piece, cut: Cut, findings: Findings) -> None:
        past = [(one.key & (2**32 - 1)) <= self.session for one in (self.piece, piece)]
        key = self.piece.key[past[0]]
        if not np.array_equal(key, piece.key[past[1]]):
            findings.add(self._gone(cut))
            return
        tickers, sessions = self.now.dataset.tickers, self.now.dataset.sessions

        def where(at: int) -> tuple[str, str]:
            return tickers[key[at] >> 32], day(sessions[key[at] & (2**32 - 1)])

        was, became = (
            sigmoid(one.walked.log_odds[known]) for one, known in zip((self.piece, piece), past, strict=True)
        )
        findings.same("forecast", "probability", was, became, cut=cut, where=where, allowed=SAME_PROBABILITY)


def _rows_of(walkers: Walkers, journey: Journey, refits: slice) -> Array:
    """Return the training rows' ends and the first forecast of each refit, counted from each ticker's first row."""
    found: list[IntArray] = []
    for ticker, start in zip(journey.folds, walkers.starts(journey), strict=True):
        part = ticker.part(refits)
        found += [part.train_start - start, part.train_stop - start, part.test_start - start]
    return np.concatenate(found).astype(np.float64)
