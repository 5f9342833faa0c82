"""Features and labels: what a row knows, and when its answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quantlr.audits.result import Cutoff, Leak, LeakCollector, comparison_scale
from quantlr.core.arrays import Array, FeatureColumns, IntArray
from quantlr.core.progress import iso_date
from quantlr.core.timing import label_known_row
from quantlr.core.values import Labels, Prices

MIN_CHECKED_PENDING_LABELS = 5
"""Labels that must have been open at a cut before it says anything that none of them was."""


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """What a config makes of prices before anything is learnt: columns and labels, (bars, tickers) each."""

    prices: Prices
    features: FeatureColumns
    labels: Labels


def label_known_sessions(prices: Prices, *, horizon: int) -> IntArray:
    """Return the session at whose close the label of each bar is known, (bars, tickers); -1 where it has not come."""
    known = np.full_like(prices.session, -1)
    ends = label_known_row(0, horizon=horizon)
    if ends < len(known):
        known[: len(known) - ends] = prices.session[ends:]
    return known


@dataclass
class PendingLabelCounts:
    """How many labels were still open at a cut, one session before the end of their span.

    A label that never is asks what is known already: whatever forecasts it is right for nothing.
    """

    n_checked: int = 0
    n_pending_by_field: dict[str, int] = field(default_factory=lambda: {"up": 0, "horizon_return": 0})


def check_inputs(
    original: AuditInputs,
    altered: AuditInputs,
    cutoff: Cutoff,
    leak_collector: LeakCollector,
    pending_labels: PendingLabelCounts,
    *,
    horizon: int,
) -> bool:
    """Compare features and labels that were known at a cut; return whether nothing moved."""
    bars = min(len(original.prices.session), len(altered.prices.session))
    session, known = original.prices.session[:bars], label_known_sessions(original.prices, horizon=horizon)[:bars]
    past = KnownBars(original.prices, *np.nonzero((session >= 0) & (session <= cutoff.session)))
    settled = KnownBars(original.prices, *np.nonzero((known >= 0) & (known <= cutoff.session)))
    still = True
    for name, values in original.features.items():
        if name in altered.features:
            still &= past.check_unchanged("features", name, values, altered.features[name], cutoff, leak_collector)
        else:
            leak_collector.add(_missing_feature_leak(name, cutoff))
            still = False
    for name in ("up", "horizon_return"):
        still &= settled.check_unchanged(
            "label", name, getattr(original.labels, name), getattr(altered.labels, name), cutoff, leak_collector
        )
    _count_pending_labels(original, altered, cutoff, pending_labels, horizon=horizon)
    return still


@dataclass(frozen=True, slots=True)
class KnownBars:
    """The bars of which something is known at a cut: their row and their ticker, (n,) each."""

    prices: Prices
    bar_index: IntArray
    ticker_index: IntArray

    def check_unchanged(
        self,
        stage: str,
        value_name: str,
        original: Array,
        altered: Array,
        cutoff: Cutoff,
        leak_collector: LeakCollector,
    ) -> bool:
        """Compare two columns (bars, tickers) there; return whether nothing moved."""
        values = original[self.bar_index, self.ticker_index]

        def locate(index: int) -> tuple[str, str]:
            session = self.prices.session[self.bar_index[index], self.ticker_index[index]]
            return self.prices.tickers[self.ticker_index[index]], iso_date(self.prices.sessions[session])

        others = altered[self.bar_index, self.ticker_index]
        return leak_collector.check_unchanged(
            stage, value_name, values, others, cutoff=cutoff, locate=locate, scale=comparison_scale(values)
        )


def _missing_feature_leak(feature_name: str, cutoff: Cutoff) -> Leak:
    text = f"features: {feature_name} is not there when all after {cutoff.date} is replaced ({cutoff.scenario})"
    return Leak("features", feature_name, "", cutoff.date, cutoff.date, cutoff.scenario, np.nan, np.nan, 1, text)


def _count_pending_labels(
    original: AuditInputs, altered: AuditInputs, cutoff: Cutoff, pending_labels: PendingLabelCounts, *, horizon: int
) -> None:
    """Count the labels whose span ends one bar after the cut, and how many of them the future decides."""
    session = original.prices.session
    if len(altered.prices.session) < len(session):
        return
    first = ((session >= 0) & (session <= cutoff.session)).sum(axis=0)
    row = first - label_known_row(0, horizon=horizon)
    ticker = np.flatnonzero((row >= 0) & (first < original.prices.n_bars))
    row = row[ticker]
    pending_labels.n_checked += len(ticker)
    for name in pending_labels.n_pending_by_field:
        was, became = getattr(original.labels, name)[row, ticker], getattr(altered.labels, name)[row, ticker]
        moved = ~((was == became) | (np.isnan(was) & np.isnan(became)))
        pending_labels.n_pending_by_field[name] += int(moved.sum())


def check_pending_labels(
    pending_labels: PendingLabelCounts, cutoff: Cutoff, leak_collector: LeakCollector, *, horizon: int
) -> None:
    """Say so if no label was ever open: it is known sooner than its horizon says."""
    for name, count in pending_labels.n_pending_by_field.items():
        if pending_labels.n_checked >= MIN_CHECKED_PENDING_LABELS and not count:
            text = (
                f"label: {name} was never open one session before the end of its {horizon} sessions: what is forecast "
                f"is known by then ({pending_labels.n_checked} looked at, up to {cutoff.date})"
            )
            leak_collector.add(
                Leak("label", name, "", cutoff.date, cutoff.date, "", np.nan, np.nan, pending_labels.n_checked, text)
            )
