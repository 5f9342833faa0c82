"""What a sweep has shown, all its trials counted: which setting won, and whether winning means anything."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.inference.levels import SIGNIFICANT, Z95
from quantlr.backtest.inference.overfitting import blocks_for, probability_of_overfitting
from quantlr.backtest.inference.sharpe import (
    best_of_luck,
    confidence_above,
    shape,
    sharpe_per_session,
    sharpe_standard_error,
)
from quantlr.backtest.inference.superior import Superior, superior
from quantlr.backtest.inference.verdict import ENOUGH, Verdict
from quantlr.errors import Fault
from quantlr.sweep.store import Kept, Store
from quantlr.trials import Tried
from quantlr.types import Array, BacktestResult, BoolArray, IntArray, day

HELD = 1000
"""Results held in memory, so that most sweeps read each file once."""
MOST_COMPARED = 4000
"""Trials that the statistics of all of them compare at once; of more, some are drawn, the winner among them."""
FEWEST_SESSIONS = 40
"""Sessions that all trials need in common to be compared on."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a sweep's trials on the sessions that they have in common.

    Attributes
    ----------
    about : (trials,) numbers of each; ``error`` where it failed.
    good : (trials,) whether it was evaluated.
    common : (sessions,) dates, as days since 1970, on which every evaluated trial has a return; empty where those are
        too few, and each is judged on its own.
    ratio, error : (trials,) Sharpe ratio per session on the common sessions, and its standard error (Lo 2002); NaN
        where undefined.
    skewness, kurtosis : (trials,) of those returns, 0 and 3 for normal ones; NaN where undefined.
    sessions : (trials,) how many returns those are.
    compared : positions of the trials in `excess` and `ahead`.
    excess : (sessions, compared) net returns in excess of cash on the common sessions.
    ahead : (sessions, compared) net returns less buy and hold's.
    """

    about: tuple[dict[str, Any], ...]
    good: BoolArray
    common: IntArray
    ratio: Array
    error: Array
    skewness: Array
    kurtosis: Array
    sessions: IntArray
    compared: IntArray
    excess: Array
    ahead: Array

    @property
    def low(self) -> Array:
        """(trials,) lower end of the 95 % interval."""
        return np.asarray(self.ratio - Z95 * self.error)

    @property
    def high(self) -> Array:
        """(trials,) upper end of the 95 % interval."""
        return np.asarray(self.ratio + Z95 * self.error)

    @property
    def ranked(self) -> IntArray:
        """Positions of the trials, the highest Sharpe ratio first; then undefined ones, then those that failed."""
        height = np.where(np.isnan(self.ratio), -np.inf, self.ratio)
        return np.asarray(np.lexsort([np.arange(len(height)), -height, ~self.good]), dtype=np.int64)

    @property
    def winner(self) -> int | None:
        """Position of the trial with the highest Sharpe ratio, the first of several; None where none has one."""
        return None if np.isnan(self.ratio).all() else int(self.ranked[0])


def gathered(
    store: Store,
    numbers: Sequence[int],
    keys: Sequence[str | None],
    failures: Mapping[int, str],
    *,
    told: Callable[[int, str, str | None], str],
    seed: int,
) -> Results:
    """Return the results that are kept of trials.

    Parameters
    ----------
    store : that keeps them.
    numbers, keys : of the trials; a key is None where there is nothing to be kept.
    failures : why trials failed of which nothing is kept, by position.
    told : returns an error, given a number, its text and the key that would mend it, as it is told.
    seed : of the draw, where there are more trials than can be compared at once.
    """
    found: list[dict[str, Any]] = []
    held: dict[str, Kept] = {}
    common: IntArray | None = None
    for at, (number, key) in enumerate(zip(numbers, keys, strict=True)):
        if at in failures or key is None:
            found.append({"error": failures[at]})
            continue
        kept = _there(store, key, held)
        if kept.error is not None:
            found.append({"error": told(number, kept.error, kept.about["key"])})
            continue
        found.append(kept.about)
        common = kept.session if common is None else _both(common, kept.session)
    good = np.array(["error" not in about for about in found], dtype=np.bool_)
    if common is None or len(common) < FEWEST_SESSIONS:
        common = np.zeros(0, dtype=np.int64)
    return _on_common(lambda at: _there(store, str(keys[at]), held), tuple(found), good, common, seed)


def _there(store: Store, key: str, held: dict[str, Kept]) -> Kept:
    """Return what is kept of a trial, and hold some for the second time that they are asked for."""
    kept = held.get(key) or store.read(key)
    if kept is None:
        raise Fault(f"{store.path(key)} is gone; leave it alone while a sweep runs, and start it again")
    if len(held) < HELD:
        held[key] = kept
    return kept


def _both(one: IntArray, other: IntArray) -> IntArray:
    return one if np.array_equal(one, other) else np.intersect1d(one, other, assume_unique=True)


def _on_common(
    kept_of: Callable[[int], Kept],
    about: tuple[dict[str, Any], ...],
    good: BoolArray,
    common: IntArray,
    seed: int,
) -> Results:
    ratio, error, skewness, kurtosis = np.full((4, len(about)), np.nan)
    sessions = np.zeros(len(about), dtype=np.int64)
    compared = _drawn(np.flatnonzero(good), seed) if len(common) else np.zeros(0, dtype=np.int64)
    place = dict(zip(compared.tolist(), range(len(compared)), strict=True))
    excess, ahead = np.empty((2, len(common), len(compared)))
    for at in np.flatnonzero(good).tolist():
        own, before = _cut(kept_of(at), common)
        sessions[at] = len(own)
        found = sharpe_per_session(own)
        if found is not None:
            ratio[at], error[at] = found, sharpe_standard_error(own)
            skewness[at], kurtosis[at] = shape(own)
        if at in place:
            excess[:, place[at]], ahead[:, place[at]] = own, before
    return Results(about, good, common, ratio, error, skewness, kurtosis, sessions, compared, excess, ahead)


def _cut(kept: Kept, common: IntArray) -> tuple[Array, Array]:
    """Return a trial's excess returns and what it is ahead by on the common sessions; on its own without those."""
    ahead = kept.net_return - kept.benchmark_return
    if not len(common):
        return kept.excess, ahead
    rows = np.searchsorted(kept.session, common)
    return kept.excess[rows], ahead[rows]


def _drawn(good: IntArray, seed: int) -> IntArray:
    if len(good) <= MOST_COMPARED:
        return good
    return np.sort(np.random.default_rng(seed).choice(good, MOST_COMPARED, replace=False))


@dataclass(frozen=True, slots=True)
class Judged:
    """What can be said of the trials together.

    Attributes
    ----------
    trials : that luck is counted out over: those of the sweep, and of the ledger those that share a ticker and the
        label with the winner.
    luck : Sharpe ratio per session that the best of so many without skill is expected to show; None where unknown.
    deflated : (trials,) confidence that each one's true ratio exceeds that; NaN where undefined.
    overfitting : probability of backtest overfitting; None where it can't be told.
    blocks : that the sessions were cut into for it.
    superior : whether any beats buy and hold, and which; None where it can't be told.
    """

    trials: int
    luck: float | None
    deflated: Array
    overfitting: float | None
    blocks: int | None
    superior: Superior | None


def judged(results: Results, tried: Tried, *, seed: int) -> Judged:
    """Return what can be said of trials together."""
    luck = best_of_luck(tried.trials, variance=tried.variance)
    deflated = np.full(len(results.about), np.nan)
    for at in np.flatnonzero(~np.isnan(results.ratio)).tolist():
        confidence = (
            None
            if luck is None
            else confidence_above(
                luck,
                ratio=float(results.ratio[at]),
                sessions=int(results.sessions[at]),
                skewness=float(results.skewness[at]),
                kurtosis=float(results.kurtosis[at]),
            )
        )
        deflated[at] = math.nan if confidence is None else confidence
    several = len(results.compared) > 1
    return Judged(
        trials=tried.trials,
        luck=luck,
        deflated=deflated,
        overfitting=probability_of_overfitting(results.excess) if several else None,
        blocks=blocks_for(len(results.common)) if several else None,
        superior=superior(results.ahead, np.random.default_rng(seed)) if len(results.compared) else None,
    )


@dataclass(frozen=True, slots=True)
class Untouched:
    """What the winner did in the sessions that no trial has seen; of those, nothing was chosen.

    Attributes
    ----------
    first, last : dates.
    sessions : how many.
    sharpe, low95, high95 : per year, and its 95 % interval (Lo 2002); None where undefined.
    growth : of one unit of capital over the span.
    benchmark_sharpe, benchmark_growth : buy and hold's.
    """

    first: str
    last: str
    sessions: int
    sharpe: float | None
    low95: float | None
    high95: float | None
    growth: float
    benchmark_sharpe: float | None
    benchmark_growth: float


def untouched_of(result: BacktestResult, cut: dt.date, per_year: float) -> Untouched | None:
    """Return what a strategy did from the cut on, None where there are no sessions."""
    since = np.flatnonzero(result.sessions >= pd.Timestamp(cut))
    if not len(since):
        return None
    held = result.benchmark or result
    own, other = result.net_return[since] - result.cash, held.net_return[since] - held.cash
    root = math.sqrt(per_year)
    ratio, error, benchmark = sharpe_per_session(own), sharpe_standard_error(own), sharpe_per_session(other)
    around = None if ratio is None or error is None else (ratio - Z95 * error, ratio + Z95 * error)
    return Untouched(
        first=day(result.sessions[since[0]]),
        last=day(result.sessions[since[-1]]),
        sessions=len(since),
        sharpe=None if ratio is None else ratio * root,
        low95=around[0] * root if around else None,
        high95=around[1] * root if around else None,
        growth=_growth(result, since),
        benchmark_sharpe=None if benchmark is None else benchmark * root,
        benchmark_growth=_growth(held, since),
    )


def _growth(result: BacktestResult, since: IntArray) -> float:
    return float(np.prod(np.maximum(1.0 + result.net_return[since], 0.0)) - 1.0)


def verdict_of(results: Results, judgement: Judged, untouched: Untouched | None, per_year: float) -> Verdict:
    """Return the finding: the first thing that speaks against the winner, if there is one.

    In this order: nothing was evaluated or traded; luck alone would show as much; what is chosen in sample is in the
    lower half out of sample; buy and hold is not beaten; it did not hold in the untouched span; else, evidence.
    """
    winner = results.winner
    if winner is None:
        failed = int((~results.good).sum())
        rest = "" if failed == len(results.about) else ", and no other one ever traded"
        return Verdict("nothing", f"Nothing to judge: {failed:,} of {len(results.about):,} trials failed{rest}.")
    root = math.sqrt(per_year)
    of = f"the best of {len(results.about):,} settings" if len(results.about) > 1 else "the only setting"
    best = f"{of} has a Sharpe ratio of {results.ratio[winner] * root:.2f}"
    after = _afterwards(untouched)
    deflated = judgement.deflated[winner]
    if not deflated >= ENOUGH:
        luck = (
            ""
            if judgement.luck is None
            else (
                f", where the best of {judgement.trials:,} without skill would show {judgement.luck * root:.2f}: the "
                f"deflated Sharpe ratio is {_percent(deflated, decimals=1)}, and {ENOUGH:.0%} would be needed"
            )
        )
        return Verdict("luck", f"Not told from luck: {best}{luck}{after}.")
    if judgement.overfitting is not None and judgement.overfitting >= 0.5:
        text = f"{best}, but what was best in one half of the time was below the middle in the other in "
        return Verdict("overfitted", f"Overfitted: {text}{_percent(judgement.overfitting)} of splits{after}.")
    if judgement.superior is None or judgement.superior.p_value >= SIGNIFICANT:
        p = "" if judgement.superior is None else f" (p = {judgement.superior.p_value:.2f}, Hansen's test)"
        return Verdict("not_superior", f"Not shown to beat buy and hold: {best}{p}{after}.")
    if untouched is not None and not (untouched.sharpe or 0.0) > 0:
        return Verdict("did_not_hold", f"It did not hold: {best}{after}.")
    return Verdict("evidence", f"Evidence: {best}, more than luck and buy and hold explain{after}.")


def _afterwards(untouched: Untouched | None) -> str:
    if untouched is None:
        return "; in no sessions kept untouched it could be shown"
    own, held = (_number(value) for value in (untouched.sharpe, untouched.benchmark_sharpe))
    return f"; in the {untouched.sessions:,} sessions kept untouched it had {own}, buy and hold {held}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _percent(share: float, *, decimals: int = 0) -> str:
    return "undefined" if math.isnan(share) else f"{share:.{decimals}%}"
