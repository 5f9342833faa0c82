"""What the numbers can carry: intervals, tests, and the verdict in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quantlr.types import Array, BoolArray, IntArray

NORMAL = NormalDist()
Z95 = NORMAL.inv_cdf(0.975)
SIGNIFICANT = 0.05
POWER = 0.80


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927)."""
    share, z2 = hits / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def midranks(values: Array) -> Array:
    """Return ranks from 1, the mean rank for equal values."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[where])


def delong(score: Array, up: Array) -> tuple[float, float, float] | None:
    """Return the area under the ROC curve and its 95 % interval (DeLong, DeLong and Clarke-Pearson 1988).

    Placements come from midranks (Sun and Xu 2014). None without both outcomes; the interval is NaN with fewer than
    two of either.
    """
    positive, negative = score[up == 1], score[up == 0]
    if not len(positive) or not len(negative):
        return None
    together = midranks(np.concatenate([positive, negative]))
    above = (together[: len(positive)] - midranks(positive)) / len(negative)
    below = 1.0 - (together[len(positive) :] - midranks(negative)) / len(positive)
    area = float(above.mean())
    if len(positive) < 2 or len(negative) < 2:
        return area, float("nan"), float("nan")
    half = Z95 * float(np.sqrt(above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)))
    return area, max(area - half, 0.0), min(area + half, 1.0)


def pesaran_timmermann(calls: BoolArray, up: Array) -> dict[str, float] | None:
    """Return the one-sided test of directional skill (Pesaran and Timmermann 1992).

    It compares the share of right calls with what independent calls of the same frequency would reach. None where
    calls or outcomes never change.
    """
    n = len(up)
    py, px = float(up.mean()), float(calls.mean())
    right = float(np.mean(calls == (up == 1)))
    chance = py * px + (1 - py) * (1 - px)
    of_right = chance * (1 - chance) / n
    of_chance = (
        (2 * py - 1) ** 2 * px * (1 - px) / n
        + (2 * px - 1) ** 2 * py * (1 - py) / n
        + 4 * py * px * (1 - py) * (1 - px) / n**2
    )
    if px in (0.0, 1.0) or py in (0.0, 1.0) or of_right <= of_chance:
        return None
    statistic = (right - chance) / float(np.sqrt(of_right - of_chance))
    return {"statistic": statistic, "p_value": 1.0 - NORMAL.cdf(statistic)}


def pesaran_timmermann_by_session(
    calls: BoolArray, up: Array, *, session: IntArray, ticker: IntArray, horizon: int
) -> dict[str, float] | None:
    """Return the same test where forecasts overlap in time or share a session.

    The t statistic of the mean of (call - mean call) (up - mean up) summed by session, its variance by Newey and West
    (1987) with 2 `horizon` lags. Means are each ticker's own: to know that one ticker rises more often than another is
    not to know when. None where, within tickers, calls or outcomes never change.
    """
    products = _away(calls.astype(np.float64), ticker) * _away(up, ticker)
    _, where = np.unique(session, return_inverse=True)
    by_session = np.bincount(where, weights=products)
    away = by_session - by_session.mean()
    variance = float(away @ away)
    lags = min(2 * horizon, len(away) - 1)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (2 * horizon + 1)) * float(away[lag:] @ away[:-lag])
    if not products.any() or variance <= 0:
        return None
    statistic = float(by_session.sum() / np.sqrt(variance))
    return {"statistic": statistic, "p_value": 1.0 - NORMAL.cdf(statistic)}


def _away(values: Array, group: IntArray) -> Array:
    """Return values less the mean of their group; exactly 0 in a group that never changes."""
    _, where = np.unique(group, return_inverse=True)
    count = np.bincount(where)
    mean = np.bincount(where, weights=values) / count
    return np.asarray(values - mean[where])


def sharpe_per_session(excess: Array) -> float | None:
    """Return mean over standard deviation (ddof 1), None where nothing varies."""
    if len(excess) < 2:
        return None
    deviation = float(excess.std(ddof=1))
    return float(excess.mean()) / deviation if deviation > 1e-15 * np.abs(excess).max() else None


def probabilistic_sharpe(excess: Array, *, above: float = 0.0) -> float | None:
    """Return the probability that the true Sharpe ratio exceeds `above` (Bailey and Lopez de Prado 2012).

    Parameters
    ----------
    excess : (sessions,) returns in excess of cash.
    above : Sharpe ratio per session.
    """
    ratio = sharpe_per_session(excess)
    if ratio is None:
        return None
    away = excess - excess.mean()
    spread = np.mean(away**2)
    skewness, kurtosis = np.mean(away**3) / spread**1.5, np.mean(away**4) / spread**2
    scale = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    if scale <= 0:
        return None
    return NORMAL.cdf(float((ratio - above) * np.sqrt(len(excess) - 1) / np.sqrt(scale)))


def years_needed(accuracy: float, baseline: float, *, sessions_per_year: int) -> float | None:
    """Return the years of daily calls that would tell `accuracy` from `baseline`, None where it is no higher.

    The one-sided normal sample size for 80 % power at the 5 % level.
    """
    if accuracy <= baseline:
        return None
    critical, powerful = NORMAL.inv_cdf(1 - SIGNIFICANT), NORMAL.inv_cdf(POWER)
    spread = critical * np.sqrt(baseline * (1 - baseline)) + powerful * np.sqrt(accuracy * (1 - accuracy))
    return float((spread / (accuracy - baseline)) ** 2 / sessions_per_year)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run shows.

    Attributes
    ----------
    rule : the first of the rules, in their order, that decided.
    sentence : the same for a person, with the numbers that decided.
    """

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers that a verdict rests on; see `metrics` for each."""

    n: int
    accuracy: float
    accuracy_base_rate: float
    log_loss: float
    log_loss_base_rate: float
    p_value: float | None
    years_needed: float | None
    sharpe_gross: float | None
    sharpe_net: float | None
    probabilistic_sharpe_gross: float | None
    probabilistic_sharpe_net: float | None
    break_even_cost_bps: float | None


def verdict(found: Evidence) -> Verdict:
    """Return the first rule that applies: no skill, no profit, or costs that eat it; beyond these it claims nothing."""
    test = "it never changed its call" if found.p_value is None else f"Pesaran-Timmermann {_p(found.p_value)}"
    calls = (
        f"{found.accuracy:.1%} of {found.n:,} calls were right where the base rate's call scored "
        f"{found.accuracy_base_rate:.1%}"
    )
    better = found.log_loss < found.log_loss_base_rate
    same = f"{found.log_loss:.5f}" == f"{found.log_loss_base_rate:.5f}"
    comparison = ("hardly better" if same else "better") if better else "no better"
    losses = f"log loss {found.log_loss:.5f}, {comparison} than the base rate's {found.log_loss_base_rate:.5f}"
    if found.p_value is None or found.p_value >= SIGNIFICANT or not better:
        needed = (
            f"; to tell such an accuracy from the base rate's would take about {found.years_needed:,.0f} years"
            if found.years_needed is not None
            else ""
        )
        return Verdict("no_evidence_of_skill", f"No evidence of skill: {calls} ({test}; {losses}){needed}.")
    skill = f"{calls} ({test}; {losses})"
    if not _shown(found.probabilistic_sharpe_gross):
        chance = _percent(found.probabilistic_sharpe_gross)
        return Verdict(
            "skill_no_profit",
            f"Skill, no profit: {skill}, but before costs the chance of a positive Sharpe ratio is only {chance}.",
        )
    if not _shown(found.probabilistic_sharpe_net):
        return Verdict(
            "costs_eat_it",
            f"Costs eat it: {skill}; before costs it pays (Sharpe {found.sharpe_gross:.2f}), after them the chance of "
            f"a positive Sharpe ratio is {_percent(found.probabilistic_sharpe_net)}; it breaks even at "
            f"{found.break_even_cost_bps:.1f} basis points a trade.",
        )
    return Verdict(
        "not_tested_further",
        f"Skill and profit after costs, not tested further: {skill}, Sharpe {found.sharpe_net:.2f} after costs; "
        "whether it beats buy and hold by more than luck, and survives the number of configs tried, is not tested.",
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _shown(probability: float | None) -> bool:
    return probability is not None and probability >= 1 - SIGNIFICANT


def _percent(probability: float | None) -> str:
    return "undefined" if probability is None else f"{probability:.1%}"
