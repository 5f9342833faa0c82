"""Two tests of whether a strategy beats its benchmark, which leverage alone passes neither of.

A mean return above the benchmark's can come from more risk of the same kind. The first test is therefore of the alpha
of a regression on the benchmark. Where the volatility of the benchmark varies and its mean return does not, holding
less of it at high volatility has an alpha without forecasting the direction. The second test is therefore of the
return above that of holding each ticker's average weight in every session. A strategy has to pass both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.cosine_test import CosineTest, cosine_test
from quantlr.stats.sharpe import MIN_RELATIVE_STD

MIN_RESIDUAL_STD = 1e-12
"""Standard deviation of residuals, relative to the strategy's, up to which they are rounding: it holds a multiple of
the benchmark."""


@dataclass(frozen=True, slots=True)
class AlphaTest:
    """Result of the regression of a strategy's returns on its benchmark's.

    Attributes
    ----------
    alpha : intercept: mean return per session that the benchmark does not explain.
    beta : slope; 0 where the benchmark is constant, as cash is.
    influence : (sessions,) contribution of each session to alpha, whose mean is alpha.
    test : one-sided, that alpha is above 0.
    """

    alpha: float
    beta: float
    influence: Array
    test: CosineTest


def benchmark_beta(excess_returns: Array, benchmark_excess_returns: Array) -> float:
    """Return the least-squares slope of a strategy's returns on its benchmark's; 0 where the benchmark is constant.

    Parameters
    ----------
    excess_returns, benchmark_excess_returns : (sessions,) in excess of cash.
    """
    deviation = benchmark_excess_returns - benchmark_excess_returns.mean()
    varies = deviation.std() > MIN_RELATIVE_STD * float(np.abs(benchmark_excess_returns).max())
    return float(deviation @ excess_returns / (deviation @ deviation)) if varies else 0.0


def benchmark_adjusted_returns(excess_returns: Array, benchmark_excess_returns: Array) -> Array:
    """Return a strategy's returns less beta times its benchmark's, (sessions,), whose mean is alpha.

    Constant where the strategy holds a multiple of the benchmark.

    Parameters
    ----------
    excess_returns, benchmark_excess_returns : (sessions,) in excess of cash.
    """
    beta = benchmark_beta(excess_returns, benchmark_excess_returns)
    adjusted = np.asarray(excess_returns - beta * benchmark_excess_returns)
    is_rounding = adjusted.std() <= MIN_RESIDUAL_STD * excess_returns.std()
    return np.full_like(adjusted, adjusted.mean()) if is_rounding else adjusted


def alpha_test(excess_returns: Array, benchmark_excess_returns: Array) -> AlphaTest:
    """Return alpha, beta, and the one-sided test that alpha is above 0.

    Parameters
    ----------
    excess_returns, benchmark_excess_returns : (sessions,) net returns R and B in excess of cash.

    Notes
    -----
    With R = alpha + beta B + e by least squares, the contribution of a session to alpha (its influence function, by
    which the uncertainty of beta counts too; White 1980) is

        psi_t = alpha + e_t (1 - mean(B) (B_t - mean(B)) / var(B))

    and the test is the cosine test of psi.
    """
    R, B = excess_returns, benchmark_excess_returns
    beta = benchmark_beta(R, B)
    adjusted = benchmark_adjusted_returns(R, B)
    alpha = float(adjusted.mean())
    residual, deviation = adjusted - alpha, B - B.mean()
    share_from_beta = B.mean() * deviation / (deviation @ deviation / len(B)) if beta else 0.0
    influence = alpha + residual * (1.0 - share_from_beta)
    return AlphaTest(alpha, beta, influence, cosine_test(influence, horizon=1))


def timing_returns(weight: Array, ticker_excess_returns: Array, cost: Array) -> Array:
    """Return what each session earns above holding every ticker's average weight, after all costs, (sessions,).

    Parameters
    ----------
    weight : (sessions, tickers) fraction of equity held.
    ticker_excess_returns : (sessions, tickers) returns of the tickers in excess of cash; NaN before a ticker's first
        bar and after its last one, which are no part of its averages.
    cost : (sessions,) costs, as a fraction of equity.

    Notes
    -----
    With means over the sessions of a ticker,

        d_t = sum_i (w_ti - mean(w_i)) (r_ti - mean(r_i)) - cost_t

    Its sum is the net return of the strategy less that of holding mean(w_i), which is not charged for its own costs.
    """
    weight_deviation, return_deviation = position_and_return_deviations(weight, ticker_excess_returns)
    return np.asarray((weight_deviation * return_deviation).sum(axis=1) - cost)


def position_and_return_deviations(weight: Array, ticker_excess_returns: Array) -> tuple[Array, Array]:
    """Return positions and returns less their means over the sessions of each ticker, and 0 in other sessions.

    Parameters
    ----------
    weight, ticker_excess_returns : as in `timing_returns`.
    """
    is_listed = ~np.isnan(ticker_excess_returns)
    n_listed = np.maximum(is_listed.sum(axis=0), 1)
    returns, held = np.where(is_listed, ticker_excess_returns, 0.0), np.where(is_listed, weight, 0.0)
    weight_deviation, return_deviation = (
        np.where(is_listed, values - values.sum(axis=0) / n_listed, 0.0) for values in (held, returns)
    )
    return weight_deviation, return_deviation


def timing_test(weight: Array, ticker_excess_returns: Array, cost: Array) -> CosineTest:
    """Return the one-sided test that `timing_returns` are above 0 on average, with the same parameters."""
    return cosine_test(timing_returns(weight, ticker_excess_returns, cost), horizon=1)
