"""The dates after which an audit replaces prices, and the checks of features and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from quantlr.audits.result import CutoffComparison, Leak, LeakCollector, comparison_scale
from quantlr.core.errors import DataError
from quantlr.core.market_views import MarketView, has_several_markets, market_views, with_own_dates
from quantlr.core.timing import iso_date, label_known_row
from quantlr.core.values import Array, BoolArray, FeatureColumns, Labels, Prices
from quantlr.data.scenarios import EXTRA_HOLIDAYS, apply_scenarios
from quantlr.model.walk_forward import ModelSplit

CutoffCount = int | Literal["auto", "all"]
DEFAULT_FULL_CHECK_BOUNDARIES = 16
"""Boundaries with every scenario under "auto", of however many."""
MAX_MIRROR_CHECK_BOUNDARIES = 400
"""Number of boundaries up to which "auto" checks all others too, with one scenario."""
MAX_INPUT_CHECKS_PER_BOUNDARY = 6
"""Sessions after a boundary at which features and label are checked, at most; spread over one horizon."""


@dataclass(frozen=True, slots=True, order=True)
class FoldBoundary:
    """A session after which the prices are replaced, at or after the start of a fold.

    Attributes
    ----------
    session : position of the last session that is not replaced.
    split_index : position of the model whose refits are checked.
    """

    session: int
    split_index: int


@dataclass(frozen=True, slots=True)
class AuditSchedule:
    """Sessions of an audit after which all prices are replaced by those of a scenario.

    Attributes
    ----------
    full_check_boundaries : at which every stage is checked, with every scenario.
    mirror_check_boundaries : further ones, at which models are checked with mirrored returns only.
    input_check_sessions : positions at which features and label are checked, ascending; all others included.
    """

    full_check_boundaries: tuple[FoldBoundary, ...]
    mirror_check_boundaries: tuple[FoldBoundary, ...]
    input_check_sessions: tuple[int, ...]


def make_audit_schedule(
    splits: Sequence[ModelSplit],
    *,
    n_sessions: int,
    horizon: int,
    n_cutoffs: CutoffCount,
    rng: np.random.Generator,
    n_default: int = DEFAULT_FULL_CHECK_BOUNDARIES,
    max_mirror_checks: int = MAX_MIRROR_CHECK_BOUNDARIES,
) -> AuditSchedule:
    """Return the cutoffs of an audit.

    One cutoff is the first session that a refit forecasts: its training labels must be known by then. Another is one to
    `horizon` sessions later, where labels that the purge excluded become known. Of more boundaries than `n_cutoffs`
    the first and the last are kept, and the others sampled; of fewer, sessions between the first and the last forecast
    are sampled too. "auto" keeps `n_default`, and checks each of the others once, where they are at most
    `max_mirror_checks`.

    Features and label are cheap to check: also between boundaries, and from the first sessions on, where their windows
    are not full yet.
    """
    last = n_sessions - 2  # the last session after which there is a price to replace
    boundaries = sorted(
        FoldBoundary(session, index)
        for index, split in enumerate(splits)
        for session in split.first_session.tolist()
        if session <= last
    )
    n_full = len(boundaries) if n_cutoffs == "all" else n_default if n_cutoffs == "auto" else n_cutoffs
    chosen = _sample_boundaries(boundaries, n_full, rng)
    mirrored = n_cutoffs == "auto" and len(boundaries) <= max_mirror_checks
    once = sorted(set(boundaries) - set(chosen)) if mirrored else []
    full = set(chosen)
    for boundary in chosen:
        later = boundary.session + int(rng.integers(1, horizon + 1))
        full.add(FoldBoundary(min(later, last), boundary.split_index))
    for _ in range(n_full - len(chosen)):
        index = int(rng.integers(len(splits)))
        first = int(splits[index].first_session[0])
        if first <= last:
            full.add(FoldBoundary(int(rng.integers(first, last + 1)), index))
    n_steps = min(MAX_INPUT_CHECKS_PER_BOUNDARY, horizon + 1)
    steps = np.unique(np.linspace(0, horizon, n_steps).round().astype(np.int64)).tolist()
    sessions = {boundary.session + step for boundary in (*chosen, *once) for step in steps}
    sessions |= {2**power for power in range(n_sessions.bit_length())} | {0, last}
    sessions |= {boundary.session for boundary in full}
    return AuditSchedule(
        tuple(sorted(full)), tuple(once), tuple(sorted(session for session in sessions if 0 <= session <= last))
    )


def _sample_boundaries(boundaries: list[FoldBoundary], n_kept: int, rng: np.random.Generator) -> list[FoldBoundary]:
    """Return the first and the last boundary and a sample of the others, in order."""
    if len(boundaries) <= n_kept:
        return boundaries
    inner = 1 + np.sort(rng.choice(len(boundaries) - 2, size=max(n_kept - 2, 0), replace=False))
    return [boundaries[index] for index in [0, *inner.tolist(), len(boundaries) - 1][:n_kept]]


LABEL_FIELDS = ("up", "horizon_return")
MIN_CHECKED_PENDING_LABELS = 5
"""Pending labels that must have been compared before it counts that none of them changed."""


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Prices with the features and labels computed from them, (bars, tickers) each."""

    prices: Prices
    features: FeatureColumns
    labels: Labels


def record_changed_inputs(
    original: AuditInputs, altered: AuditInputs, cutoff: CutoffComparison, *, horizon: int
) -> None:
    """Compare features and labels that were known at a cutoff, and record what changed."""
    prices = original.prices
    known_session = np.full_like(prices.session, -1)  # (bars, tickers), at whose close the label is known; -1 for never
    delay = label_known_row(0, lag=horizon)
    known_session[: max(len(known_session) - delay, 0)] = prices.session[delay:]
    features = {name: (values, altered.features.get(name)) for name, values in original.features.items()}
    labels = {name: (getattr(original.labels, name), getattr(altered.labels, name)) for name in LABEL_FIELDS}
    for stage, columns, session in (("features", features, prices.session), ("label", labels, known_session)):
        is_known = (session >= 0) & (session <= cutoff.session)
        n_bars = min(int(is_known.sum(axis=0).max(initial=0)), len(altered.prices.session))
        is_known = is_known[:n_bars]
        for name, (column, altered_column) in columns.items():
            if altered_column is None:
                text = f"{name} is missing when all values after {cutoff.date} are replaced ({cutoff.scenario})"
                cutoff.add_leak(Leak(stage=stage, what=name, text=text))
            elif _is_bitwise_equal(column[:n_bars], altered_column[:n_bars], is_known):
                cutoff.count_unchanged(stage, int(is_known.sum()))
            else:
                _check_known_values(prices, (stage, name), (column, altered_column), is_known, cutoff)


def _is_bitwise_equal(column: Array, altered_column: Array, mask: BoolArray) -> bool:
    """Return whether values in the mask, all three (bars, tickers), are the same bit for bit: most are, and soon so."""
    return bool(((column.view(np.int64) == altered_column.view(np.int64)) | ~mask).all())


def _check_known_values(
    prices: Prices,
    stage_and_name: tuple[str, str],
    columns: tuple[Array, Array],
    is_known: BoolArray,
    cutoff: CutoffComparison,
) -> None:
    """Compare an original and an altered column, (bars, tickers), where they were known."""
    bars, tickers = np.nonzero(is_known)

    def ticker_date(index: int) -> tuple[str, str]:
        date = prices.sessions[prices.session[bars[index], tickers[index]]]
        return prices.tickers[tickers[index]], iso_date(date)

    was, became = (column[bars, tickers] for column in columns)
    cutoff.check_unchanged(*stage_and_name, was, became, ticker_date, scale=comparison_scale(was))


class InputChecker:
    """Features and labels of some prices, to be compared with those computed after later prices are replaced.

    Parameters
    ----------
    prices : the actual prices.
    compute_inputs : returns features and labels of prices.
    horizon : of the label.
    seed : random seed of the scenarios.
    collector : of the leaks.
    """

    def __init__(
        self,
        prices: Prices,
        compute_inputs: Callable[[Prices], AuditInputs],
        *,
        horizon: int,
        seed: int,
        collector: LeakCollector,
    ) -> None:
        self.prices, self.horizon, self.seed, self.collector = prices, horizon, seed, collector
        self._compute_inputs, self.original = compute_inputs, compute_inputs(prices)
        self.pending_labels = PendingLabelChecker(horizon)
        self.market_views = market_views(prices) if has_several_markets(prices) else []

    def make_cutoff(self, session: int, scenario: str, collector: LeakCollector | None = None) -> CutoffComparison:
        """Return the cutoff after a session, by default with the collector of all leaks."""
        return CutoffComparison(session, iso_date(self.prices.sessions[session]), scenario, collector or self.collector)

    def check(self, session: int, scenarios: Sequence[str], *, last_session: int | None = None) -> AuditInputs | None:
        """Apply scenarios, at once, to the prices after a session, and compare what was known by then.

        A leak is recorded with the first of the scenarios that shows it alone.

        Returns
        -------
        inputs : with the replaced prices up to `last_session`; None where a known value has changed.
        """
        inputs, collector = self._compare(session, scenarios, last_session)
        self.pending_labels.count_pending_labels(self.original, inputs, session)
        if not collector.leaks_by_value:
            self.collector.merge(collector)
            return inputs
        for scenario in scenarios if len(scenarios) > 1 else ():
            _, alone = self._compare(session, (scenario,), last_session)
            if alone.leaks_by_value:
                collector = alone
                break
        self.collector.merge(collector)
        return None

    def _compare(
        self, session: int, scenarios: Sequence[str], last_session: int | None
    ) -> tuple[AuditInputs, LeakCollector]:
        prices = apply_scenarios(
            self.prices, scenarios, after_session=session, seed=self.seed, last_session=last_session
        )
        try:
            inputs, collector = self._compute_inputs(prices), LeakCollector()
        except DataError:
            if EXTRA_HOLIDAYS not in scenarios:
                raise
            others = [scenario for scenario in scenarios if scenario != EXTRA_HOLIDAYS]
            return self._compare(session, others, last_session)  # a value is older than a feature allows
        cutoff = self.make_cutoff(session, ", ".join(scenarios), collector)
        record_changed_inputs(self.original, inputs, cutoff, horizon=self.horizon)
        for view in self.market_views:
            self._compare_market(view, scenarios, last_session, cutoff)
        return inputs, collector

    def _compare_market(
        self, view: MarketView, scenarios: Sequence[str], last_session: int | None, cutoff: CutoffComparison
    ) -> None:
        """Replace what one market does not know at its close of the cutoff's session, and compare its own inputs."""
        altered = apply_scenarios(
            view.prices, scenarios, after_session=cutoff.session, seed=self.seed, last_session=last_session
        )
        try:
            inputs = self._compute_inputs(with_own_dates(altered, view.prices, self.prices))
        except DataError:
            return  # such as a bar that is older than a feature allows, where dates were moved
        session = np.where(view.is_own, self.prices.session, -1)
        original = replace(self.original, prices=replace(self.prices, session=session))
        record_changed_inputs(original, inputs, cutoff, horizon=self.horizon)


class PendingLabelChecker:
    """Counts labels compared one session before the end of their horizon, and those of them that changed.

    A label that never changes is known before its horizon ends, so that a forecast of it has no value.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon, self.n_compared, self.n_changed = horizon, 0, dict.fromkeys(LABEL_FIELDS, 0)

    def count_pending_labels(self, original: AuditInputs, altered: AuditInputs, cutoff_session: int) -> None:
        """Count the labels that are known one bar after the cutoff, and those of them that the later prices change."""
        session, delay = original.prices.session, label_known_row(0, lag=self.horizon)
        next_row = ((session >= 0) & (session <= cutoff_session)).sum(axis=0)
        ticker = np.flatnonzero((next_row >= delay) & (next_row < altered.prices.n_bars))
        row = next_row[ticker] - delay
        self.n_compared += len(ticker)
        for name in LABEL_FIELDS:
            was, became = (getattr(inputs.labels, name)[row, ticker] for inputs in (original, altered))
            self.n_changed[name] += int(((was != became) & ~(np.isnan(was) & np.isnan(became))).sum())

    def check_labels_were_pending(self, last_cutoff: CutoffComparison) -> None:
        """Record a leak if replaced prices never changed a label whose horizon ends after the cutoff."""
        for name, n_changed in self.n_changed.items():
            if self.n_compared >= MIN_CHECKED_PENDING_LABELS and not n_changed:
                text = (
                    f"{name} was never pending one session before the end of its {self.horizon} sessions: the label is "
                    f"known by then ({self.n_compared} compared, up to {last_cutoff.date})"
                )
                last_cutoff.add_leak(Leak(stage="label", what=name, text=text, times=self.n_compared))
