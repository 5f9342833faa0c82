"""What a sweep has shown, all its trials counted: which setting won, and whether winning means anything."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import Fault
from quantlr.core.progress import iso_date
from quantlr.core.values import BacktestResult
from quantlr.experiment.ledger import TrialStatistics
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Z95
from quantlr.stats.multiple_testing import SpaResult, n_cscv_blocks, probability_of_overfitting, spa_test
from quantlr.stats.sharpe import (
    expected_max_sharpe,
    probabilistic_sharpe_from_moments,
    sharpe_per_session,
    sharpe_standard_error_per_session,
    skewness_and_kurtosis,
)
from quantlr.stats.verdict import MIN_CONFIDENCE, Verdict
from quantlr.sweeps.jobs import TrialRecord, TrialStore

MAX_CACHED_RECORDS = 1000
"""Results held in memory, so that most sweeps read each file once."""
MAX_COMPARED_TRIALS = 4000
"""Trials that the statistics of all of them compare at once; of more, some are drawn, the winner among them."""
MIN_COMMON_SESSIONS = 40
"""Sessions that all trials need in common to be compared on."""


@dataclass(frozen=True, slots=True)
class TrialResults:
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

    metrics: tuple[dict[str, Any], ...]
    evaluated_mask: BoolArray
    common_session_days: IntArray
    sharpe_per_session: Array
    sharpe_standard_error: Array
    skewness: Array
    kurtosis: Array
    n_sessions: IntArray
    compared_indices: IntArray
    excess_return: Array
    active_return: Array

    @property
    def sharpe_low95(self) -> Array:
        """(trials,) lower end of the 95 % interval."""
        return np.asarray(self.sharpe_per_session - Z95 * self.sharpe_standard_error)

    @property
    def sharpe_high95(self) -> Array:
        """(trials,) upper end of the 95 % interval."""
        return np.asarray(self.sharpe_per_session + Z95 * self.sharpe_standard_error)

    @property
    def ranked_indices(self) -> IntArray:
        """Positions of the trials, the highest Sharpe ratio first; then undefined ones, then those that failed."""
        height = np.where(np.isnan(self.sharpe_per_session), -np.inf, self.sharpe_per_session)
        return np.asarray(np.lexsort([np.arange(len(height)), -height, ~self.evaluated_mask]), dtype=np.int64)

    @property
    def winner_index(self) -> int | None:
        """Position of the trial with the highest Sharpe ratio, the first of several; None where none has one."""
        return None if np.isnan(self.sharpe_per_session).all() else int(self.ranked_indices[0])


def collect_trial_results(
    store: TrialStore,
    trial_numbers: Sequence[int],
    result_keys: Sequence[str | None],
    errors_by_index: Mapping[int, str],
    *,
    make_error_text: Callable[[int, str, str | None], str],
    seed: int,
) -> TrialResults:
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
    held: dict[str, TrialRecord] = {}
    common: IntArray | None = None
    for at, (number, key) in enumerate(zip(trial_numbers, result_keys, strict=True)):
        if at in errors_by_index or key is None:
            found.append({"error": errors_by_index[at]})
            continue
        kept = _read_record_cached(store, key, held)
        if kept.error is not None:
            found.append({"error": make_error_text(number, kept.error, kept.metrics["key"])})
            continue
        found.append(kept.metrics)
        common = kept.session_days if common is None else _intersect_sessions(common, kept.session_days)
    good = np.array(["error" not in about for about in found], dtype=np.bool_)
    if common is None or len(common) < MIN_COMMON_SESSIONS:
        common = np.zeros(0, dtype=np.int64)
    return _results_on_common_sessions(
        lambda at: _read_record_cached(store, str(result_keys[at]), held), tuple(found), good, common, seed
    )


def _read_record_cached(store: TrialStore, result_key: str, cache: dict[str, TrialRecord]) -> TrialRecord:
    """Return what is kept of a trial, and hold some for the second time that they are asked for."""
    kept = cache.get(result_key) or store.read(result_key)
    if kept is None:
        raise Fault(f"{store.record_path(result_key)} is gone; leave it alone while a sweep runs, and start it again")
    if len(cache) < MAX_CACHED_RECORDS:
        cache[result_key] = kept
    return kept


def _intersect_sessions(first: IntArray, second: IntArray) -> IntArray:
    return first if np.array_equal(first, second) else np.intersect1d(first, second, assume_unique=True)


def _results_on_common_sessions(
    read_record: Callable[[int], TrialRecord],
    metrics: tuple[dict[str, Any], ...],
    evaluated_mask: BoolArray,
    common_session_days: IntArray,
    seed: int,
) -> TrialResults:
    ratio, error, skewness, kurtosis = np.full((4, len(metrics)), np.nan)
    sessions = np.zeros(len(metrics), dtype=np.int64)
    compared = (
        _sample_compared_trials(np.flatnonzero(evaluated_mask), seed)
        if len(common_session_days)
        else np.zeros(0, dtype=np.int64)
    )
    place = dict(zip(compared.tolist(), range(len(compared)), strict=True))
    excess, ahead = np.empty((2, len(common_session_days), len(compared)))
    for at in np.flatnonzero(evaluated_mask).tolist():
        own, before = _excess_and_active_returns(read_record(at), common_session_days)
        sessions[at] = len(own)
        found = sharpe_per_session(own)
        if found is not None:
            ratio[at], error[at] = found, sharpe_standard_error_per_session(own)
            skewness[at], kurtosis[at] = skewness_and_kurtosis(own)
        if at in place:
            excess[:, place[at]], ahead[:, place[at]] = own, before
    return TrialResults(
        metrics,
        evaluated_mask,
        common_session_days,
        ratio,
        error,
        skewness,
        kurtosis,
        sessions,
        compared,
        excess,
        ahead,
    )


def _excess_and_active_returns(record: TrialRecord, common_session_days: IntArray) -> tuple[Array, Array]:
    """Return a trial's excess returns and what it is ahead by on the common sessions; on its own without those."""
    ahead = record.net_return - record.benchmark_return
    if not len(common_session_days):
        return record.excess_return, ahead
    rows = np.searchsorted(record.session_days, common_session_days)
    return record.excess_return[rows], ahead[rows]


def _sample_compared_trials(evaluated_indices: IntArray, seed: int) -> IntArray:
    if len(evaluated_indices) <= MAX_COMPARED_TRIALS:
        return evaluated_indices
    return np.sort(np.random.default_rng(seed).choice(evaluated_indices, MAX_COMPARED_TRIALS, replace=False))


@dataclass(frozen=True, slots=True)
class SweepStatistics:
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

    n_trials: int
    expected_max_sharpe: float | None
    deflated_sharpe: Array
    overfitting_probability: float | None
    n_overfitting_blocks: int | None
    spa_result: SpaResult | None


def compute_sweep_statistics(results: TrialResults, trial_statistics: TrialStatistics, *, seed: int) -> SweepStatistics:
    """Return what can be said of trials together."""
    luck = expected_max_sharpe(trial_statistics.n_trials, sharpe_variance=trial_statistics.sharpe_variance)
    deflated = np.full(len(results.metrics), np.nan)
    for at in np.flatnonzero(~np.isnan(results.sharpe_per_session)).tolist():
        confidence = (
            None
            if luck is None
            else probabilistic_sharpe_from_moments(
                luck,
                sharpe=float(results.sharpe_per_session[at]),
                n_sessions=int(results.n_sessions[at]),
                skewness=float(results.skewness[at]),
                kurtosis=float(results.kurtosis[at]),
            )
        )
        deflated[at] = math.nan if confidence is None else confidence
    several = len(results.compared_indices) > 1
    return SweepStatistics(
        n_trials=trial_statistics.n_trials,
        expected_max_sharpe=luck,
        deflated_sharpe=deflated,
        overfitting_probability=probability_of_overfitting(results.excess_return) if several else None,
        n_overfitting_blocks=n_cscv_blocks(len(results.common_session_days)) if several else None,
        spa_result=spa_test(results.active_return, np.random.default_rng(seed))
        if len(results.compared_indices)
        else None,
    )


@dataclass(frozen=True, slots=True)
class Holdout:
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


def evaluate_holdout(result: BacktestResult, holdout_start: dt.date, sessions_per_year: float) -> Holdout | None:
    """Return what a strategy did from the cut on, None where there are no sessions."""
    since = np.flatnonzero(result.sessions >= pd.Timestamp(holdout_start))
    if not len(since):
        return None
    held = result.benchmark or result
    own, other = result.net_return[since] - result.session_cash_rate, held.net_return[since] - held.session_cash_rate
    root = math.sqrt(sessions_per_year)
    ratio, error, benchmark = sharpe_per_session(own), sharpe_standard_error_per_session(own), sharpe_per_session(other)
    around = None if ratio is None or error is None else (ratio - Z95 * error, ratio + Z95 * error)
    return Holdout(
        first=iso_date(result.sessions[since[0]]),
        last=iso_date(result.sessions[since[-1]]),
        sessions=len(since),
        sharpe=None if ratio is None else ratio * root,
        low95=around[0] * root if around else None,
        high95=around[1] * root if around else None,
        growth=_total_return(result, since),
        benchmark_sharpe=None if benchmark is None else benchmark * root,
        benchmark_growth=_total_return(held, since),
    )


def _total_return(result: BacktestResult, session_indices: IntArray) -> float:
    return float(np.prod(np.maximum(1.0 + result.net_return[session_indices], 0.0)) - 1.0)


def sweep_verdict(
    results: TrialResults, sweep_statistics: SweepStatistics, holdout: Holdout | None, sessions_per_year: float
) -> Verdict:
    """Return the finding: the first thing that speaks against the winner, if there is one.

    In this order: nothing was evaluated or traded; luck alone would show as much; what is chosen in sample is in the
    lower half out of sample; buy and hold is not beaten; it did not hold in the untouched span; else, evidence.
    """
    winner = results.winner_index
    if winner is None:
        failed = int((~results.evaluated_mask).sum())
        rest = "" if failed == len(results.metrics) else ", and no other one ever traded"
        return Verdict("nothing", f"Nothing to judge: {failed:,} of {len(results.metrics):,} trials failed{rest}.")
    root = math.sqrt(sessions_per_year)
    of = f"the best of {len(results.metrics):,} settings" if len(results.metrics) > 1 else "the only setting"
    best = f"{of} has a Sharpe ratio of {results.sharpe_per_session[winner] * root:.2f}"
    after = _holdout_text(holdout)
    deflated = sweep_statistics.deflated_sharpe[winner]
    if not deflated >= MIN_CONFIDENCE:
        luck = (
            ""
            if sweep_statistics.expected_max_sharpe is None
            else (
                f", where the best of {sweep_statistics.n_trials:,} without skill would show {sweep_statistics.expected_max_sharpe * root:.2f}: the "
                f"deflated Sharpe ratio is {_percent_text(deflated, decimals=1)}, and {MIN_CONFIDENCE:.0%} would be needed"
            )
        )
        return Verdict("luck", f"Not told from luck: {best}{luck}{after}.")
    if sweep_statistics.overfitting_probability is not None and sweep_statistics.overfitting_probability >= 0.5:
        text = f"{best}, but what was best in one half of the time was below the middle in the other in "
        return Verdict(
            "overfitted",
            f"Overfitted: {text}{_percent_text(sweep_statistics.overfitting_probability)} of splits{after}.",
        )
    if sweep_statistics.spa_result is None or sweep_statistics.spa_result.p_value >= SIGNIFICANCE_LEVEL:
        p = (
            ""
            if sweep_statistics.spa_result is None
            else f" (p = {sweep_statistics.spa_result.p_value:.2f}, Hansen's test)"
        )
        return Verdict("not_superior", f"Not shown to beat buy and hold: {best}{p}{after}.")
    if holdout is not None and not (holdout.sharpe or 0.0) > 0:
        return Verdict("did_not_hold", f"It did not hold: {best}{after}.")
    return Verdict("evidence", f"Evidence: {best}, more than luck and buy and hold explain{after}.")


def _holdout_text(holdout: Holdout | None) -> str:
    if holdout is None:
        return "; in no sessions kept untouched it could be shown"
    own, held = (_number_text(value) for value in (holdout.sharpe, holdout.benchmark_sharpe))
    return f"; in the {holdout.sessions:,} sessions kept untouched it had {own}, buy and hold {held}"


def _number_text(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _percent_text(fraction: float, *, decimals: int = 0) -> str:
    return "undefined" if math.isnan(fraction) else f"{fraction:.{decimals}%}"
