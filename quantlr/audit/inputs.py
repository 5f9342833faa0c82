"""Features and labels: what a row knows, and when its answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quantlr.audit.findings import Cut, Findings, Leak, sized
from quantlr.types import Array, Columns, IntArray, Labels, Prices, day, known_row

ENOUGH = 5
"""Labels that must have been open at a cut before it says anything that none of them was."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a config makes of prices before anything is learnt: columns and labels, (bars, tickers) each."""

    prices: Prices
    columns: Columns
    labels: Labels


def known_sessions(prices: Prices, *, horizon: int) -> IntArray:
    """Return the session at whose close the label of each bar is known, (bars, tickers); -1 where it has not come."""
    known = np.full_like(prices.session, -1)
    ends = known_row(0, horizon=horizon)
    if ends < len(known):
        known[: len(known) - ends] = prices.session[ends:]
    return known


@dataclass
class OpenLabels:
    """How many labels were still open at a cut, one session before the end of their span.

    A label that never is asks what is known already: whatever forecasts it is right for nothing.
    """

    looked_at: int = 0
    open: dict[str, int] = field(default_factory=lambda: {"up": 0, "span_return": 0})


def look_at_inputs(
    now: Inputs, other: Inputs, cut: Cut, findings: Findings, open_labels: OpenLabels, *, horizon: int
) -> bool:
    """Compare features and labels that were known at a cut; return whether nothing moved."""
    bars = min(len(now.prices.session), len(other.prices.session))
    session, known = now.prices.session[:bars], known_sessions(now.prices, horizon=horizon)[:bars]
    past = KnownBars(now.prices, *np.nonzero((session >= 0) & (session <= cut.session)))
    settled = KnownBars(now.prices, *np.nonzero((known >= 0) & (known <= cut.session)))
    still = True
    for name, values in now.columns.items():
        if name in other.columns:
            still &= past.same("features", name, values, other.columns[name], cut, findings)
        else:
            findings.add(_missing_column(name, cut))
            still = False
    for name in ("up", "span_return"):
        still &= settled.same("label", name, getattr(now.labels, name), getattr(other.labels, name), cut, findings)
    _count_open(now, other, cut, open_labels, horizon=horizon)
    return still


@dataclass(frozen=True, slots=True)
class KnownBars:
    """The bars of which something is known at a cut: their row and their ticker, (n,) each."""

    prices: Prices
    bar: IntArray
    ticker: IntArray

    def same(self, stage: str, what: str, was: Array, became: Array, cut: Cut, findings: Findings) -> bool:
        """Compare two columns (bars, tickers) there; return whether nothing moved."""
        values = was[self.bar, self.ticker]

        def where(at: int) -> tuple[str, str]:
            session = self.prices.session[self.bar[at], self.ticker[at]]
            return self.prices.tickers[self.ticker[at]], day(self.prices.sessions[session])

        others = became[self.bar, self.ticker]
        return findings.same(stage, what, values, others, cut=cut, where=where, size=sized(values))


def _missing_column(name: str, cut: Cut) -> Leak:
    text = f"features: {name} is not there when all after {cut.date} is replaced ({cut.future})"
    return Leak("features", name, "", cut.date, cut.date, cut.future, np.nan, np.nan, 1, text)


def _count_open(now: Inputs, other: Inputs, cut: Cut, open_labels: OpenLabels, *, horizon: int) -> None:
    """Count the labels whose span ends one bar after the cut, and how many of them the future decides."""
    session = now.prices.session
    if len(other.prices.session) < len(session):
        return
    first = ((session >= 0) & (session <= cut.session)).sum(axis=0)
    row = first - known_row(0, horizon=horizon)
    ticker = np.flatnonzero((row >= 0) & (first < now.prices.bars))
    row = row[ticker]
    open_labels.looked_at += len(ticker)
    for name in open_labels.open:
        was, became = getattr(now.labels, name)[row, ticker], getattr(other.labels, name)[row, ticker]
        moved = ~((was == became) | (np.isnan(was) & np.isnan(became)))
        open_labels.open[name] += int(moved.sum())


def look_at_open_labels(open_labels: OpenLabels, cut: Cut, findings: Findings, *, horizon: int) -> None:
    """Say so if no label was ever open: it is known sooner than its horizon says."""
    for name, count in open_labels.open.items():
        if open_labels.looked_at >= ENOUGH and not count:
            text = (
                f"label: {name} was never open one session before the end of its {horizon} sessions: what is forecast "
                f"is known by then ({open_labels.looked_at} looked at, up to {cut.date})"
            )
            findings.add(Leak("label", name, "", cut.date, cut.date, "", np.nan, np.nan, open_labels.looked_at, text))
