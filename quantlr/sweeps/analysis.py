"""Statistics of all trials of a sweep together: which settings won, and whether that is more than selection."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quantlr.core.errors import QuantlrError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult, BoolArray, IntArray
from quantlr.experiment.ledger import HoldoutLooks
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.family_wise import TrialFamily
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Z95
from quantlr.stats.multiple_testing import SpaResult, n_cscv_blocks, probability_of_overfitting, spa_test
from quantlr.stats.sharpe import (
    probabilistic_sharpe_from_moments,
    sharpe_per_session,
    sharpe_standard_error_per_session,
    skewness_and_kurtosis,
)
from quantlr.stats.verdict import Verdict
from quantlr.sweeps.grid import Sweep
from quantlr.sweeps.trials import TrialRecord, TrialReturns, TrialStore

MAX_CACHED_RETURNS = 1000
"""Trials whose returns are kept in memory, so that most sweeps read each file once."""
MAX_COMPARED_TRIALS = 4000
"""Trials that the joint statistics compare; of more, a random sample."""
MIN_COMMON_SESSIONS = 40
"""Sessions that all trials need in common to be compared on."""


@dataclass(frozen=True, slots=True)
class TrialResults:
    """Results of a sweep's trials on their common sessions; on all of each trial's own where those are too few.

    Attributes
    ----------
    trials : (trials,) with their metrics or their error.
    common_session_days : (sessions,) dates, as days since 1970, on which every evaluated trial has a return; empty
        where those are too few.
    sharpe_per_session, sharpe_standard_error : (trials,) Sharpe ratio and its standard error (Lo 2002); NaN where
        undefined.
    skewness, kurtosis : (trials,) of the excess returns, 0 and 3 for normal ones; NaN where undefined.
    alpha_p_value : (trials,) of the one-sided test that alpha is above 0; NaN where undefined.
    n_sessions : (trials,) number of returns.
    compared_indices : (compared,) positions of the trials in the following arrays.
    excess_return : (sessions, compared) net returns in excess of cash on the common sessions.
    adjusted_return : (sessions, compared) the same less beta times the benchmark's, whose mean is alpha.
    """

    trials: tuple[TrialRecord, ...]
    common_session_days: IntArray
    sharpe_per_session: Array
    sharpe_standard_error: Array
    skewness: Array
    kurtosis: Array
    alpha_p_value: Array
    n_sessions: IntArray
    compared_indices: IntArray
    excess_return: Array
    adjusted_return: Array

    @property
    def evaluated_mask(self) -> BoolArray:
        """(trials,) whether each was evaluated; the others failed."""
        return np.array([trial.error is None for trial in self.trials], dtype=np.bool_)

    @property
    def sharpe_interval95(self) -> tuple[Array, Array]:
        """(trials,) lower and upper ends of the 95 % interval of the Sharpe ratio."""
        half_width = Z95 * self.sharpe_standard_error
        return self.sharpe_per_session - half_width, self.sharpe_per_session + half_width

    @property
    def ranked_indices(self) -> IntArray:
        """(trials,) positions by descending Sharpe ratio; then undefined ones, then failed trials."""
        descending = -np.where(np.isnan(self.sharpe_per_session), -np.inf, self.sharpe_per_session)
        order = np.lexsort([np.arange(len(self.trials)), descending, ~self.evaluated_mask])
        return np.asarray(order, dtype=np.int64)

    @property
    def winner_index(self) -> int | None:
        """Position of the trial with the highest Sharpe ratio, the first of equals; None where none is defined."""
        return None if np.isnan(self.sharpe_per_session).all() else int(self.ranked_indices[0])


def collect_trial_results(store: TrialStore, sweep: Sweep, trials: Sequence[TrialRecord]) -> TrialResults:
    """Return the stored results of a sweep's trials; those with an error have none stored."""
    cache: dict[int, tuple[TrialRecord, TrialReturns]] = {}

    def read_record_and_returns(trial: TrialRecord) -> tuple[TrialRecord, TrialReturns]:
        stored = cache.get(trial.number) or store.require_record_and_returns(trial)
        if len(cache) < MAX_CACHED_RETURNS:
            cache[trial.number] = stored
        return stored

    collected: list[TrialRecord] = []
    common: IntArray | None = None
    for trial in trials:
        if trial.error is None:
            trial, returns = read_record_and_returns(trial)
        if trial.error is not None:
            error = QuantlrError(trial.error, key=trial.config_key)
            trial = replace(trial, error=sweep.trial_config(trial.number).error_with_location(error).message)
        elif common is None:
            common = returns.session_days
        elif not np.array_equal(common, returns.session_days):
            common = np.intersect1d(common, returns.session_days, assume_unique=True)
        collected.append(trial)
    if common is None or len(common) < MIN_COMMON_SESSIONS:
        common = np.zeros(0, dtype=np.int64)
    return _collect_on_common_sessions(
        collected, common, lambda trial: read_record_and_returns(trial)[1], sweep.spec.seed
    )


def _collect_on_common_sessions(
    trials: list[TrialRecord], common: IntArray, read_returns: Callable[[TrialRecord], TrialReturns], seed: int
) -> TrialResults:
    """Return the results of trials, whose returns are read one by one."""
    evaluated = np.flatnonzero([trial.error is None for trial in trials])
    compared = evaluated if len(common) else evaluated[:0]
    if len(compared) > MAX_COMPARED_TRIALS:
        compared = np.sort(np.random.default_rng(seed).choice(evaluated, MAX_COMPARED_TRIALS, replace=False))
    column = dict(zip(compared.tolist(), range(len(compared)), strict=True))
    sharpe, standard_error, skewness, kurtosis, alpha_p_value = np.full((5, len(trials)), np.nan)
    n_sessions = np.zeros(len(trials), dtype=np.int64)
    all_excess, all_adjusted = np.empty((2, len(common), len(compared)))
    for index in evaluated.tolist():
        returns = read_returns(trials[index])
        excess, adjusted = returns.excess_and_adjusted_returns(common)
        n_sessions[index], test = len(excess), alpha_test(*returns.excess_returns(common)).test
        alpha_p_value[index] = np.nan if test.p_value is None else test.p_value
        ratio = sharpe_per_session(excess)
        if ratio is not None:
            sharpe[index], standard_error[index] = ratio, sharpe_standard_error_per_session(excess)
            skewness[index], kurtosis[index] = skewness_and_kurtosis(excess)
        if index in column:
            all_excess[:, column[index]], all_adjusted[:, column[index]] = excess, adjusted
    return TrialResults(
        tuple(trials),
        common,
        sharpe,
        standard_error,
        skewness,
        kurtosis,
        alpha_p_value,
        n_sessions,
        compared,
        all_excess,
        all_adjusted,
    )


@dataclass(frozen=True, slots=True)
class SweepStatistics:
    """Statistics that correct for the selection of the best of many trials.

    Attributes
    ----------
    n_trials : number of trials corrected for: the sweep's, and the others of the ledger on overlapping prices.
    expected_max_sharpe : annual Sharpe ratio expected of the best of them without skill; None where unknown.
    deflated_sharpe : (trials,) probability that each true ratio exceeds that; NaN where undefined.
    family_wise_p : (trials,) p value of each alpha, corrected for all of them; NaN where undefined.
    overfitting_probability : probability of backtest overfitting; None where undefined.
    n_overfitting_blocks : blocks that the sessions are divided into for it.
    spa_result : Hansen's test of whether any trial has an alpha over the benchmark, and StepM's choice of those that
        do; None where undefined.
    """

    n_trials: int
    expected_max_sharpe: float | None
    deflated_sharpe: Array
    family_wise_p: Array
    overfitting_probability: float | None
    n_overfitting_blocks: int | None
    spa_result: SpaResult | None


def compute_sweep_statistics(
    results: TrialResults, family: TrialFamily, *, seed: int, sessions_per_year: float
) -> SweepStatistics:
    """Return the statistics of trials together.

    Parameters
    ----------
    results : of the trials.
    family : the sweep's trials and the others of the ledger on overlapping prices.
    seed : of the bootstrap.
    sessions_per_year : of the winner.
    """
    n_compared, expected_max = len(results.compared_indices), family.maxima.expected_max_sharpe
    deflated, family_wise_p = np.full((2, len(results.trials)), np.nan)
    for index, sharpe in enumerate(results.sharpe_per_session.tolist()):
        if expected_max is None or math.isnan(sharpe):
            continue
        deflated[index] = probabilistic_sharpe_from_moments(
            expected_max / math.sqrt(sessions_per_year),
            sharpe=sharpe,
            n_sessions=int(results.n_sessions[index]),
            skewness=float(results.skewness[index]),
            kurtosis=float(results.kurtosis[index]),
        )
        p_value = float(results.alpha_p_value[index])
        if not math.isnan(p_value):
            family_wise_p[index] = family.maxima.family_wise_p_value(p_value)
    return SweepStatistics(
        family.n_trials,
        expected_max,
        deflated,
        family_wise_p,
        probability_of_overfitting(results.excess_return) if n_compared > 1 else None,
        n_cscv_blocks(len(results.common_session_days)) if n_compared > 1 else None,
        spa_test(results.adjusted_return, np.random.default_rng(seed)) if n_compared else None,
    )


@dataclass(frozen=True, slots=True)
class Holdout:
    """Performance of the winner in the hold-out, on which nothing was selected.

    Attributes
    ----------
    first, last : dates.
    sessions : number of sessions.
    sharpe, low95, high95 : Sharpe ratio per year, and its 95 % interval (Lo 2002); None where undefined.
    growth : total return.
    benchmark_sharpe, benchmark_growth : of the benchmark.
    earlier_sweeps, earlier_trials : number of other sweeps that showed a winner, and of trials that were evaluated, on
        sessions of the hold-out before.
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
    earlier_sweeps: int = 0
    earlier_trials: int = 0


def evaluate_holdout(
    result: BacktestResult, holdout_start: dt.date, sessions_per_year: float, earlier_looks: HoldoutLooks
) -> Holdout | None:
    """Return the performance of a strategy in the hold-out; None where it has no sessions."""
    rows = result.sessions >= pd.Timestamp(holdout_start)
    if not rows.any():
        return None
    benchmark = _annual_sharpe_and_total_return(result.benchmark or result, rows, sessions_per_year)
    sharpe, low95, high95, growth = _annual_sharpe_and_total_return(result, rows, sessions_per_year)
    first, last = (iso_date(date) for date in result.sessions[rows][[0, -1]])
    looks = earlier_looks.sweeps, earlier_looks.trials
    return Holdout(first, last, int(rows.sum()), sharpe, low95, high95, growth, benchmark[0], benchmark[-1], *looks)


def _annual_sharpe_and_total_return(
    result: BacktestResult, rows: BoolArray, sessions_per_year: float
) -> tuple[float | None, float | None, float | None, float]:
    """Return annual Sharpe ratio, the ends of its 95 % interval, and total return of some sessions."""
    net_return, root = result.net_return[rows], math.sqrt(sessions_per_year)
    excess = (result.net_return - result.session_cash_rate)[rows]
    ratio, error = sharpe_per_session(excess), sharpe_standard_error_per_session(excess)
    growth = float(np.prod(np.maximum(1.0 + net_return, 0.0)) - 1.0)
    if ratio is None or error is None:
        return None if ratio is None else ratio * root, None, None, growth
    return ratio * root, (ratio - Z95 * error) * root, (ratio + Z95 * error) * root, growth


def sweep_verdict(
    results: TrialResults,
    statistics: SweepStatistics,
    winner_verdict: Verdict | None,
    holdout: Holdout | None,
    sessions_per_year: float,
    benchmark_name: str = "buy and hold",
) -> Verdict:
    """Return the verdict: the first thing that speaks against the winner, if there is one.

    In this order: nothing was evaluated or traded; a rule of the verdict on a run, which counts all trials; the winner
    in sample is in the lower half out of sample; no trial's alpha is above 0 by Hansen's test; the hold-out shows no
    positive Sharpe ratio; else, evidence.

    Parameters
    ----------
    results, statistics : of the trials.
    winner_verdict : of the winner's run on the same prices as the trials; None where it could not be run.
    holdout : the winner's; None where there is none.
    sessions_per_year : of the winner.
    benchmark_name : of the trials' benchmark.
    """
    winner, n_trials = results.winner_index, len(results.trials)
    if winner is None or winner_verdict is None:
        n_failed = n_trials - int(results.evaluated_mask.sum())
        others = "" if n_failed == n_trials else ", and no other one ever traded"
        others = "; the winner can't be run again" if winner is not None else others
        return Verdict("nothing", f"Nothing to judge: {n_failed:,} of {n_trials:,} trials failed{others}.")
    root = math.sqrt(sessions_per_year)
    subject = f"the best of {n_trials:,} settings" if n_trials > 1 else "the only setting"
    best = f"{subject} has a Sharpe ratio of {results.sharpe_per_session[winner] * root:.2f}"
    after = _holdout_text(holdout, benchmark_name)
    if winner_verdict.rule != "evidence":
        title, _, basis = winner_verdict.sentence.partition(": ")
        return Verdict(winner_verdict.rule, f"{title}: {best}; {basis.removesuffix('.')}{after}.")
    overfitting = statistics.overfitting_probability
    if overfitting is not None and overfitting >= 0.5:
        text = f"{best}, but what was best in one half of the time was below the median in the other in "
        return Verdict("overfitted", f"Overfitted: {text}{overfitting:.0%} of splits{after}.")
    spa = statistics.spa_result
    if spa is None or spa.p_value >= SIGNIFICANCE_LEVEL:
        p_value = "" if spa is None else f" (p = {spa.p_value:.2f}, Hansen's test of alpha)"
        return Verdict("not_superior", f"Not shown to beat {benchmark_name}: {best}{p_value}{after}.")
    if holdout is not None and not (holdout.sharpe or 0.0) > 0:
        return Verdict("did_not_hold", f"Not confirmed by the hold-out: {best}{after}.")
    _, _, basis = winner_verdict.sentence.partition(": ")
    return Verdict("evidence", f"Evidence of an edge: {best}; {basis.removesuffix('.')}{after}.")


def _holdout_text(holdout: Holdout | None, benchmark_name: str) -> str:
    if holdout is None:
        return "; there is no hold-out to confirm it"
    sharpe, benchmark = (
        "none" if value is None else f"{value:.2f}" for value in (holdout.sharpe, holdout.benchmark_sharpe)
    )
    text = f"; in the hold-out of {holdout.sessions:,} sessions it had {sharpe}, {benchmark_name} {benchmark}"
    counts = ((holdout.earlier_sweeps, "sweep"), (holdout.earlier_trials, "trial"))
    earlier = " and ".join(f"{count:,} {noun}{'s'[: count > 1]}" for count, noun in counts if count)
    if not earlier:
        return text
    return (
        f"{text}; but {earlier} had shown results on its sessions before, and the settings may have been chosen by them"
    )
