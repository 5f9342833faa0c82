"""Checks of features and labels: which prices a row depends on, and when its label is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quantlr.audits.result import Cutoff, comparison_scale
from quantlr.core.timing import iso_date, label_known_row
from quantlr.core.values import FeatureColumns, Labels, Prices

LABEL_FIELDS = ("up", "horizon_return")
MIN_CHECKED_PENDING_LABELS = 5
"""Pending labels that must have been compared before it counts that none of them changed."""


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Prices with the features and labels computed from them, (bars, tickers) each."""

    prices: Prices
    features: FeatureColumns
    labels: Labels


@dataclass
class PendingLabelCounts:
    """Number of labels compared one session before the end of their horizon, and of those that changed.

    A label that never changes is known before its horizon ends, so that a forecast of it has no value.
    """

    n_checked: int = 0
    n_changed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABEL_FIELDS, 0))


def check_inputs(
    original: AuditInputs, altered: AuditInputs, cutoff: Cutoff, pending_labels: PendingLabelCounts, *, horizon: int
) -> bool:
    """Compare features and labels that were known at a cutoff; return whether none changed."""
    prices = original.prices
    n_bars = min(len(prices.session), len(altered.prices.session))
    known_session = np.full_like(prices.session, -1)  # (bars, tickers), at whose close the label is known; -1 for never
    delay = label_known_row(0, horizon=horizon)
    known_session[: max(len(known_session) - delay, 0)] = prices.session[delay:]
    unchanged = True
    features = {name: (values, altered.features.get(name)) for name, values in original.features.items()}
    labels = {name: (getattr(original.labels, name), getattr(altered.labels, name)) for name in LABEL_FIELDS}
    for stage, columns, session in (("features", features, prices.session), ("label", labels, known_session)):
        bars, tickers = np.nonzero((session[:n_bars] >= 0) & (session[:n_bars] <= cutoff.session))

        def ticker_date(index: int, bars: np.ndarray = bars, tickers: np.ndarray = tickers) -> tuple[str, str]:
            date = prices.sessions[prices.session[bars[index], tickers[index]]]
            return prices.tickers[tickers[index]], iso_date(date)

        for name, (column, altered_column) in columns.items():
            if altered_column is None:
                cutoff.add_leak(stage, name, f"{name} is missing when all prices after {cutoff.date} are replaced "
                                             f"({cutoff.scenario})")  # fmt: skip
                unchanged = False
                continue
            values = column[bars, tickers]
            unchanged &= cutoff.check_unchanged(
                stage, name, values, altered_column[bars, tickers], ticker_date, scale=comparison_scale(values)
            )
    if len(altered.prices.session) >= len(prices.session):
        _count_pending_labels(original, altered, cutoff, pending_labels, delay)
    return unchanged


def _count_pending_labels(
    original: AuditInputs, altered: AuditInputs, cutoff: Cutoff, pending_labels: PendingLabelCounts, delay: int
) -> None:
    """Count the labels that are known one bar after the cutoff, and those of them that the later prices change."""
    session = original.prices.session
    next_row = ((session >= 0) & (session <= cutoff.session)).sum(axis=0)
    ticker = np.flatnonzero((next_row >= delay) & (next_row < original.prices.n_bars))
    row = next_row[ticker] - delay
    pending_labels.n_checked += len(ticker)
    for name in LABEL_FIELDS:
        was, became = (getattr(inputs.labels, name)[row, ticker] for inputs in (original, altered))
        same = (was == became) | (np.isnan(was) & np.isnan(became))
        pending_labels.n_changed[name] += int((~same).sum())


def check_pending_labels(pending_labels: PendingLabelCounts, cutoff: Cutoff, *, horizon: int) -> None:
    """Record a leak if no pending label ever changed: it is known before its horizon ends."""
    n_checked = pending_labels.n_checked
    for name, n_changed in pending_labels.n_changed.items():
        if n_checked >= MIN_CHECKED_PENDING_LABELS and not n_changed:
            text = (
                f"{name} was never pending one session before the end of its {horizon} sessions: the label is known by "
                f"then ({n_checked} compared, up to {cutoff.date})"
            )
            cutoff.add_leak("label", name, text, times=n_checked)
