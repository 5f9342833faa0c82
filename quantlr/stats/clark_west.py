"""Clark and West's test of forecasts against the base rate, recentred so that only timing counts as skill.

The base-rate forecast is the model without its features, and is nested in it: where the features carry no information,
the larger model's estimation error makes its loss higher, and a comparison of losses finds too little. Clark and West
(2007) remove that error. What remains is the covariance of the outcome's difference from the base rate and the
forecast's difference from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from quantlr.core.timing import label_lag, last_training_row
from quantlr.core.values import Array, Forecasts
from quantlr.stats.cosine_test import cosine_test, student_t_upper_quantile
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, STANDARD_NORMAL, TEST_POWER, sum_by_session

MIN_PROBABILITY_STD = 1e-9
"""Smallest standard deviation of a refit's probabilities at which its forecasts count."""
SLOW_BLOCK_SESSIONS = 63
"""Sessions in a block whose mean shows how slowly forecasts move."""
MAX_BLOCK_MEAN_VARIANCE_SHARE = 0.3
"""Largest share of the forecasts' variance between block means at which outcomes are compared with the base rate.

On 10,000 simulated markets with shifting up-rates, the test against the base rate rejects in 4 to 5 % up to a share of
.35, in 7 % from there to .4, and in 8 % above (``tests/benchmarks/local_step.py``).
"""
LOCAL_OUTCOMES = 200
"""Number of newest known outcomes that form the local up-rate.

On 14,000 markets whose up-rate shifts after about 500 sessions, drawn with another seed than those that this number was
chosen on, the test rejects in 4.8, 5.4 and 7.7 % where the share of slow variance is .3 to .35, to .4 and to .5; with
250 outcomes in 5.1, 5.9 and 8.8 %. Fewer find less where a slow feature is right.
"""
MIN_LOCAL_OUTCOMES = 60
"""Smallest number of known outcomes with which a local up-rate is formed."""


def clark_west_test(forecasts: Forecasts) -> dict[str, float | int | None]:
    """Return the one-sided test of skill against the base rate, of the forecasts whose outcome is known.

    Returns
    -------
    The fields of `CosineTest` by name, and `local_tickers`, the number of tickers whose outcomes are compared with a
    local up-rate.
    """
    return _test_terms(forecasts, *clark_west_terms(forecasts))


def _test_terms(forecasts: Forecasts, terms: Array, n_local_tickers: int) -> dict[str, float | int | None]:
    is_known = ~np.isnan(terms)
    session_sums = sum_by_session(forecasts.session[is_known], terms[is_known])[:, 0]
    return asdict(cosine_test(session_sums, horizon=forecasts.horizon)) | {"local_tickers": n_local_tickers}


def clark_west_terms(forecasts: Forecasts) -> tuple[Array, int]:
    """Return each forecast's term of the test, and the number of tickers with a local up-rate.

    Returns
    -------
    terms : (rows,) NaN where the outcome is not known; 0 where the refit gives all training rows one probability, or
        the ticker has no training row.
    n_local_tickers : number of tickers whose outcomes are compared with a local up-rate.

    Notes
    -----
    With b the up-rate, and m and s the mean and standard deviation of the refit's probabilities, over the ticker's own
    training rows, the term of a forecast p with outcome y is

        f = (y - b) (p - m) / s

    Half the difference of the squared errors, adjusted as by Clark and West (2007), is (y - b) (p - b). The recentring
    by m removes what is no timing: probabilities whose mean is not b, by class weights, decay, calibration or a model
    of several tickers, would covary with an up-rate that differs from b. Division by s gives the refits equal weight.

    Where p moves slowly, and the up-rate shifts, the two covary by chance more often than any test allows (a spurious
    regression, Granger and Newbold 1974). So where the means of blocks of 63 sessions hold over .3 of the variance of
    (p - m) / s, y - b is replaced by itself less its mean over the newest 200 outcomes that are known at the forecast,
    and by 0 where fewer than 60 are known.
    """
    scale, up = forecasts.training_probability_std, forecasts.up
    with np.errstate(invalid="ignore", divide="ignore"):
        score = (forecasts.probability - forecasts.training_probability_mean) / scale
    score[~(scale >= MIN_PROBABILITY_STD)] = 0.0
    return _covariance_terms(forecasts, excess=up - _training_up_rate(forecasts), score=score)


def nested_clark_west_test(forecasts: Forecasts, reduced: Forecasts) -> dict[str, float | int | None]:
    """Return the one-sided test that a model forecasts better than the same model without some of its features.

    Parameters
    ----------
    forecasts, reduced : of the two models, for the same rows and with the same refits.

    Returns
    -------
    As `clark_west_test`.

    Notes
    -----
    With p_u and p_r the probabilities of the model and of the reduced one, and m_u and m_r their means over the
    ticker's own training rows, the term of a forecast is

        f = 2 (y - p_r) ((p_u - m_u) - (p_r - m_r))

    Without the means, it is the difference of the squared errors with the adjustment of Clark and West (2007). They are
    subtracted, and y - p_r is taken about its local mean where the difference of the forecasts moves slowly, for the
    reasons that `clark_west_terms` gives.
    """
    score = forecasts.probability - forecasts.training_probability_mean
    score = score - (reduced.probability - reduced.training_probability_mean)
    score = np.where(np.abs(score) < MIN_PROBABILITY_STD, 0.0, np.nan_to_num(score))
    terms, n_local_tickers = _covariance_terms(
        forecasts, excess=2.0 * (forecasts.up - reduced.probability), score=score
    )
    return _test_terms(forecasts, terms, n_local_tickers)


def base_rate_forecasts(forecasts: Forecasts) -> Forecasts:
    """Return the forecasts of the model without any feature: each refit's base rate."""
    base_rate = forecasts.base_rate
    with np.errstate(divide="ignore"):
        log_odds = np.log(base_rate) - np.log1p(-base_rate)
    return replace(
        forecasts,
        log_odds=log_odds,
        probability=base_rate,
        training_probability_mean=base_rate,
        training_probability_std=np.zeros_like(base_rate),
    )


def _training_up_rate(forecasts: Forecasts) -> Array:
    """Return the up-rate of each forecast's own training rows; the base rate where its ticker has none."""
    up_rate = forecasts.training_up_rate
    return np.where(np.isnan(up_rate), forecasts.base_rate, up_rate)


def _covariance_terms(forecasts: Forecasts, *, excess: Array, score: Array) -> tuple[Array, int]:
    """Return excess times score, (rows,), NaN without an outcome, and the number of tickers with a local mean.

    Parameters
    ----------
    forecasts : whose tickers and horizon these are.
    excess : (rows,) outcome less a reference; NaN without an outcome. It is changed in place.
    score : (rows,) forecast less a reference.
    """
    n_local_tickers, lag = 0, label_lag(forecasts.horizon, label_delay=forecasts.label_delay)
    for ticker in np.unique(forecasts.ticker):
        rows = slice(*np.searchsorted(forecasts.ticker, [ticker, ticker + 1]).tolist())
        if block_mean_variance_share(score[rows]) > MAX_BLOCK_MEAN_VARIANCE_SHARE:
            excess[rows] -= mean_of_known_outcomes(excess[rows], horizon=lag)
            n_local_tickers += 1
    return np.where(np.isnan(forecasts.up), np.nan, np.where(score == 0, 0.0, excess * score)), n_local_tickers


def block_mean_variance_share(values: Array) -> float:
    """Return the share of a series' variance between the means of consecutive blocks of 63; 0 of a constant one."""
    deviation = values - values.mean()
    starts = np.arange(0, len(values), SLOW_BLOCK_SESSIONS)
    sums, counts = np.add.reduceat(deviation, starts), np.diff(np.append(starts, len(values)))
    is_constant = values.max() == values.min()
    return 0.0 if is_constant else float((sums**2 / counts).sum() / (deviation @ deviation))


def mean_of_known_outcomes(values: Array, *, horizon: int) -> Array:
    """Return the mean of the newest 200 values that are known at each row; the row's own where fewer than 60 are.

    Parameters
    ----------
    values : (rows,) of consecutive rows of one ticker, NaN where there is no outcome.
    horizon : rows from a row to that at whose close its outcome is known, as `core.timing.label_lag`.
    """
    is_value = ~np.isnan(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(is_value, values, 0.0))])
    total = total[np.concatenate([[True], is_value])]
    newest = last_training_row(0, lag=horizon) + np.arange(len(values))
    stop = np.concatenate([[0], np.cumsum(is_value)])[np.maximum(newest + 1, 0)]
    start = np.maximum(stop - LOCAL_OUTCOMES, 0)
    count = stop - start
    return np.where(count >= MIN_LOCAL_OUTCOMES, (total[stop] - total[start]) / np.maximum(count, 1), values)


def years_needed(test: Mapping[str, Any], *, sessions_per_year: int) -> dict[str, float | None] | None:
    """Return the years of forecasts with which the test finds skill of this size with 80 % power at the 5 % level.

    Parameters
    ----------
    test : as `clark_west_test` returns it.
    sessions_per_year : sessions in a year.

    Returns
    -------
    None without a statistic; otherwise "estimate", None where the statistic is not above 0, and the ends of its 90 %
    interval: "low", None where all of the statistic's interval is below 0, and "high", None where it has no upper end.

    Notes
    -----
    The statistic grows with the square root of the number of sessions, and 80 % power needs the sum of the two normal
    quantiles, 2.49. So after Y years, t stands for (2.49 / t)^2 Y. The interval is that of t plus or minus the test's
    95 % quantile.
    """
    statistic = test["statistic"]
    if statistic is None:
        return None
    needed = STANDARD_NORMAL.inv_cdf(1 - SIGNIFICANCE_LEVEL) + STANDARD_NORMAL.inv_cdf(TEST_POWER)
    half_width = student_t_upper_quantile(SIGNIFICANCE_LEVEL, test["degrees_of_freedom"])

    def years_at(value: float) -> float | None:
        return float((needed / value) ** 2 * test["sessions"] / sessions_per_year) if value > 0 else None

    ends = {"low": years_at(statistic + half_width), "high": years_at(statistic - half_width)}
    return {"estimate": years_at(statistic), **ends}
