"""Stability of skill: over time, and how much of it rests on one year or one ticker.

The effect is the sum of the terms of Clark and West's test (`clark_west_terms`): what the forecasts of a session
contribute to the evidence of skill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantlr.core.timing import iso_date
from quantlr.core.values import Array, Forecasts, IntArray
from quantlr.stats.clark_west import clark_west_terms
from quantlr.stats.cosine_test import cosine_test
from quantlr.stats.hac import newey_west_variance, sum_by_session

N_PARTS = 3
MAX_SERIES_TERMS = 100
"""Terms of the series of Kolmogorov's distribution; further ones are below 1e-300 from x = 0.2 on."""


def skill_stability(forecasts: Forecasts) -> dict[str, Any]:
    """Return how stable the skill of forecasts is, of those whose outcome is known.

    Returns
    -------
    thirds : of each third of the sessions its first and last date, and the statistic and one-sided p value of skill, by
        the cosine test; None where it is too short.
    break : test of a constant effect with `statistic`, `p_value`, and `date`, the first session after the most likely
        break; None where the span is too short or the effect constant.
    best_year, best_ticker : the `year` or `ticker` with the largest part of the effect, and its `share` of the sum,
        above 1 where the rest is negative; None where the sum is not above 0, or there is one ticker.
    tickers : p value of each ticker's own test, and that adjusted for their number by Benjamini and Hochberg; None with
        one ticker. A ticker without a test is left out.
    """
    terms, _ = clark_west_terms(forecasts)
    is_known = ~np.isnan(terms)
    terms, session, ticker = terms[is_known], forecasts.session[is_known], forecasts.ticker[is_known]
    sums = sum_by_session(session, terms)[:, 0]
    dates = forecasts.sessions[np.unique(session)]
    thirds = []
    for part in np.array_split(np.arange(len(sums)), N_PARTS):
        test = cosine_test(sums[part], horizon=forecasts.horizon)
        first, last = (iso_date(dates[index]) for index in part[[0, -1]]) if len(part) else (None, None)
        thirds.append({"first": first, "last": last, "statistic": test.statistic, "p_value": test.p_value})
    change: dict[str, Any] | None = break_test(sums, horizon=forecasts.horizon)
    year, best_ticker = _largest_share(dates.year.to_numpy(dtype=np.int64), sums), _largest_share(ticker, terms)
    has_several_tickers = len(np.unique(ticker)) > 1
    return {
        "thirds": thirds,
        "break": None if change is None else change | {"date": iso_date(dates[change.pop("index")])},
        "best_year": None if year is None else {"year": year[0], "share": year[1]},
        "best_ticker": {"ticker": forecasts.tickers[best_ticker[0]], "share": best_ticker[1]}
        if best_ticker is not None and has_several_tickers
        else None,
        "tickers": _ticker_tests(forecasts, terms, ticker) if has_several_tickers else None,
    }


def break_test(values: Array, *, horizon: int) -> dict[str, Any] | None:
    """Return the test that the mean of a series is constant over time; None of a constant or too short series.

    Parameters
    ----------
    values : (n,) in the order of sessions.
    horizon : sessions by which values overlap; 1 where they do not.

    Returns
    -------
    statistic, p_value : the largest absolute cumulative sum of deviations, and the probability of a larger one.
    index : the first value after the most likely break, where that sum is largest.

    Notes
    -----
    With S_k = sum_{t <= k} (x_t - mean(x)) and V the variance of the total, max_k |S_k| / sqrt(V) is the largest value
    of a Brownian bridge (the CUSUM test with least-squares residuals, Ploberger and Krämer 1992), whose distribution
    is Kolmogorov's: P(> x) = 2 sum_{j >= 1} (-1)^(j - 1) exp(-2 j^2 x^2). V is the sum of squares at a horizon of 1;
    Newey and West's with 4 lags per session of a longer one: with 2, which suffice for a mean, up to 6 % are rejected.
    """
    deviation = values - values.mean()
    if len(values) < cosine_test(values, horizon=horizon).min_sessions or np.ptp(values) == 0:
        return None
    cumulative = np.abs(np.cumsum(deviation)[:-1])
    variance = float(newey_west_variance(deviation[:, None], horizon=2 * horizon if horizon > 1 else 0)[0])
    if variance <= 0:
        return None
    statistic = float(cumulative.max() / np.sqrt(variance))
    return {"statistic": statistic, "p_value": kolmogorov_tail(statistic), "index": int(cumulative.argmax()) + 1}


def kolmogorov_tail(x: float) -> float:
    """Return the probability that the largest absolute value of a Brownian bridge exceeds x."""
    if x < 0.2:
        return 1.0  # to within 1e-12, where the series converges too slowly
    j = np.arange(1, MAX_SERIES_TERMS + 1)
    return float(np.clip(2 * ((-1.0) ** (j - 1) * np.exp(-2 * (j * x) ** 2)).sum(), 0.0, 1.0))


def benjamini_hochberg_adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted to control the false discovery rate (Benjamini and Hochberg 1995), in the order given.

    The i-th smallest of n is multiplied by n / i; none is above that of a larger one.
    """
    values, n = np.asarray(p_values, dtype=np.float64), len(p_values)
    order = np.argsort(values, kind="stable")[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum.accumulate(values[order] * n / np.arange(n, 0, -1))
    return adjusted.tolist()


def _largest_share(group: IntArray, values: Array) -> tuple[int, float] | None:
    """Return the group with the largest sum, and its share of the total; None where the total is not above 0."""
    if not values.sum() > 0:
        return None
    groups, index = np.unique(group, return_inverse=True)
    sums = np.bincount(index, weights=values)
    return int(groups[sums.argmax()]), float(sums.max() / values.sum())


def _ticker_tests(forecasts: Forecasts, terms: Array, ticker: IntArray) -> dict[str, Mapping[str, float]]:
    """Return each ticker's p value and adjusted p value, by name."""
    p_values: dict[str, float] = {}
    for index in np.unique(ticker).tolist():
        p_value = cosine_test(terms[ticker == index], horizon=forecasts.horizon).p_value
        if p_value is not None:
            p_values[forecasts.tickers[index]] = p_value
    adjusted = benjamini_hochberg_adjusted_p_values(list(p_values.values()))
    pairs = zip(p_values.items(), adjusted, strict=True)
    return {name: {"p_value": p_value, "adjusted_p_value": value} for (name, p_value), value in pairs}
