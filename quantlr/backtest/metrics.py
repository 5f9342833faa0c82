"""The numbers of a report: one short function each; the closing tuples are the catalogues.

A metric's name is its function's name, and its key in ``metrics.json``. What is undefined is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, Strict

from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.trades import trade_table as trade_table
from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.components import ConfigSection, StrictInt
from quantlr.core.values import BacktestResult, Forecasts
from quantlr.stats import directional
from quantlr.stats import reliability as corp
from quantlr.stats import sharpe as sharpe_stats
from quantlr.stats.bootstrap import mean_lower_bound_95


class ReportSpec(ConfigSection):
    """What a result is measured against, how a year is counted, and what is drawn of it."""

    benchmark: Annotated[
        Literal["buy_and_hold"],
        ChoiceDescriptions({"buy_and_hold": "buy the tickers with a forecast equally, and keep them"}),
    ] = Field("buy_and_hold", description="What the strategy is set beside.")
    sessions_per_year: Annotated[StrictInt, Unit("sessions per year"), Field(ge=1, le=366)] = Field(
        252, description="How a year is counted, for annual figures, interest and borrow."
    )
    per_ticker: Annotated[bool, Strict()] = Field(
        False, description="Whether to draw a page for each ticker as well, in the report's folder tickers/."
    )


@dataclass(frozen=True, slots=True)
class EvaluatedForecasts:
    """Forecasts whose outcome is known.

    Attributes
    ----------
    log_odds, probability, up, base_rate : (n,) as in `Forecasts`, without the rows that have no outcome.
    ticker, session : (n,) position of the ticker, and of the session at whose close each was made.
    clustered : whether forecasts overlap in time or share a session.
    horizon : sessions a forecast spans.
    seed : of everything random; each number has a generator of its own, whatever else is asked for.
    """

    log_odds: Array
    probability: Array
    up: Array
    base_rate: Array
    ticker: IntArray
    session: IntArray
    is_clustered: bool
    horizon: int
    seed: int = 0

    @property
    def predicted_up(self) -> BoolArray:
        """(n,) whether up is called: the probability is above one half, whatever the policy."""
        return np.asarray(self.probability > 0.5)

    @property
    def hits(self) -> BoolArray:
        """(n,) whether the call was right."""
        return np.asarray(self.predicted_up == (self.up == 1))

    @property
    def baseline_hits(self) -> BoolArray:
        """(n,) whether the training rows' majority was right."""
        return np.asarray((self.base_rate > 0.5) == (self.up == 1))


def evaluate_forecasts(forecasts: Forecasts, *, seed: int = 0) -> EvaluatedForecasts:
    """Return the forecasts whose outcome is known."""
    known = ~np.isnan(forecasts.up)
    return EvaluatedForecasts(
        log_odds=forecasts.log_odds[known],
        probability=forecasts.probability[known],
        up=forecasts.up[known],
        base_rate=forecasts.base_rate[known],
        ticker=forecasts.ticker[known],
        session=forecasts.session[known],
        is_clustered=forecasts.is_clustered,
        horizon=forecasts.horizon,
        seed=seed,
    )


def n(forecasts: EvaluatedForecasts) -> int:
    """Number of forecasts whose outcome is known."""
    return len(forecasts.up)


def up_rate(forecasts: EvaluatedForecasts) -> float:
    """Share of forecasts that an up move followed."""
    return float(forecasts.up.mean())


def accuracy(forecasts: EvaluatedForecasts) -> float:
    """Share of calls that were right."""
    return float(forecasts.hits.mean())


def accuracy_ci95(forecasts: EvaluatedForecasts) -> tuple[float, float]:
    """95 % interval of the accuracy: Wilson's, or of sessions drawn whole where forecasts overlap."""
    if not forecasts.is_clustered:
        return directional.wilson_interval(int(forecasts.hits.sum()), len(forecasts.up))
    rng = np.random.default_rng(forecasts.seed)
    return directional.clustered_accuracy_interval(
        forecasts.hits, session=forecasts.session, horizon=forecasts.horizon, rng=rng
    )


def accuracy_always_up(forecasts: EvaluatedForecasts) -> float:
    """Share of calls that would have been right had up always been called."""
    return up_rate(forecasts)


def accuracy_base_rate(forecasts: EvaluatedForecasts) -> float:
    """Share that would have been right had the majority of the training rows been called."""
    return float(forecasts.baseline_hits.mean())


def log_loss(forecasts: EvaluatedForecasts) -> float:
    """Mean cross-entropy of the probabilities, in nats."""
    return float((np.logaddexp(0.0, forecasts.log_odds) - forecasts.up * forecasts.log_odds).mean())


def log_loss_base_rate(forecasts: EvaluatedForecasts) -> float:
    """Mean cross-entropy had the training rows' base rate been forecast, in nats; infinite if it was sure and wrong."""
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(forecasts.up == 1, forecasts.base_rate, 1.0 - forecasts.base_rate)).mean())


def brier(forecasts: EvaluatedForecasts) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((forecasts.probability - forecasts.up) ** 2))


def reliability(forecasts: EvaluatedForecasts) -> dict[str, dict[str, float]]:
    """Parts of the log loss and of the Brier score by isotonic recalibration (Dimitriadis and others 2021).

    Each score is miscalibration - discrimination + uncertainty.
    """
    return {
        "log_loss": asdict(
            corp.log_loss_decomposition(forecasts.probability, forecasts.up, log_loss=log_loss(forecasts))
        ),
        "brier": asdict(corp.brier_decomposition(forecasts.probability, forecasts.up, brier=brier(forecasts))),
    }


def auc(forecasts: EvaluatedForecasts) -> float | None:
    """Chance that an up move was given a higher probability than a move that was not up; ties count half."""
    return directional.roc_auc(forecasts.probability, forecasts.up)


def auc_ci95(forecasts: EvaluatedForecasts) -> tuple[float, float] | None:
    """95 % interval of the AUC: DeLong's, or of sessions drawn whole where forecasts overlap. It tests nothing."""
    if not forecasts.is_clustered:
        return directional.delong_auc_interval(forecasts.probability, forecasts.up)
    rng = np.random.default_rng(forecasts.seed)
    return directional.clustered_auc_interval(
        forecasts.probability, forecasts.up, session=forecasts.session, horizon=forecasts.horizon, rng=rng
    )


def pesaran_timmermann(forecasts: EvaluatedForecasts) -> dict[str, float] | None:
    """One-sided test that calls and outcomes go together, not by chance; in the form that allows for overlap."""
    if forecasts.is_clustered:
        return directional.clustered_pesaran_timmermann_test(
            forecasts.predicted_up,
            forecasts.up,
            session=forecasts.session,
            ticker=forecasts.ticker,
            horizon=forecasts.horizon,
        )
    return directional.pesaran_timmermann_test(forecasts.predicted_up, forecasts.up)


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A backtest to be measured, with its trades at hand.

    Attributes
    ----------
    result : the strategy's or the benchmark's.
    trades : its round trips.
    sessions_per_year : for annual figures.
    seed : of everything random; each number has a generator of its own, whatever else is asked for.
    """

    result: BacktestResult
    trades: pd.DataFrame
    sessions_per_year: int
    seed: int = 0

    @classmethod
    def from_result(cls, result: BacktestResult, *, sessions_per_year: int, seed: int = 0) -> BacktestView:
        """Return a result with its trades."""
        return cls(result, trade_table(result), sessions_per_year, seed)

    @property
    def excess_returns(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return self.result.net_return - self.result.session_cash_rate

    @property
    def gross_excess_returns(self) -> Array:
        """(sessions,) gross returns in excess of cash."""
        return self.result.gross_return - self.result.session_cash_rate


def final_equity(backtest: BacktestView) -> float:
    """What one unit of capital has become."""
    return float(backtest.result.equity[-1])


def total_return(backtest: BacktestView) -> float:
    """Gain over the whole span, as a fraction."""
    return final_equity(backtest) - 1.0


def cagr(backtest: BacktestView) -> float:
    """Compound annual growth rate, as a fraction."""
    return float(final_equity(backtest) ** (backtest.sessions_per_year / len(backtest.result.equity)) - 1.0)


def volatility(backtest: BacktestView) -> float | None:
    """Annual standard deviation of net returns (ddof 1), as a fraction."""
    if len(backtest.result.net_return) < 2:
        return None
    return float(backtest.result.net_return.std(ddof=1) * np.sqrt(backtest.sessions_per_year))


def sharpe(backtest: BacktestView) -> float | None:
    """Mean over standard deviation (ddof 1) of net returns in excess of cash, times the root of a year's sessions."""
    return annualize_sharpe(sharpe_stats.sharpe_per_session(backtest.excess_returns), backtest)


def annualize_sharpe(session_sharpe: float | None, backtest: BacktestView) -> float | None:
    """Return a Sharpe ratio per session as one per year, by the root of a year's sessions."""
    return None if session_sharpe is None else float(session_sharpe * np.sqrt(backtest.sessions_per_year))


def sharpe_ci95(backtest: BacktestView) -> tuple[float, float] | None:
    """95 % interval of the Sharpe ratio, of sessions drawn in blocks."""
    found = sharpe_stats.bootstrap_sharpe_interval(backtest.excess_returns, np.random.default_rng(backtest.seed))
    root = float(np.sqrt(backtest.sessions_per_year))
    return (found[0] * root, found[1] * root) if found else None


def sharpe_standard_error(backtest: BacktestView) -> float | None:
    """Standard error of the Sharpe ratio were returns independent (Lo 2002), per year."""
    return annualize_sharpe(sharpe_stats.sharpe_standard_error_per_session(backtest.excess_returns), backtest)


def sharpe_lo(backtest: BacktestView) -> float | None:
    """Sharpe ratio of a year with the autocorrelation of returns allowed for (Lo 2002)."""
    return sharpe_stats.lo_sharpe(backtest.excess_returns, n_periods=backtest.sessions_per_year)


def sortino(backtest: BacktestView) -> float | None:
    """As the Sharpe ratio, over the root mean square of the excess returns below 0, all sessions counted."""
    downside = float(np.sqrt(np.mean(np.minimum(backtest.excess_returns, 0.0) ** 2)))
    return (
        float(backtest.excess_returns.mean() / downside * np.sqrt(backtest.sessions_per_year)) if downside > 0 else None
    )


def drawdown(equity: Array) -> Array:
    """Return how far equity stands below its highest so far, the starting capital of 1 included; <= 0."""
    return equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1.0


def max_drawdown(backtest: BacktestView) -> float:
    """Largest fall from a high, from the starting capital on, as a fraction <= 0."""
    return float(drawdown(backtest.result.equity).min())


def longest_drawdown_sessions(backtest: BacktestView) -> int:
    """Longest stretch of sessions below a former high."""
    under = np.concatenate([[False], drawdown(backtest.result.equity) < 0, [False]])
    edges = np.flatnonzero(np.diff(under.astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def calmar(backtest: BacktestView) -> float | None:
    """Compound annual growth over the largest drawdown."""
    worst = max_drawdown(backtest)
    return cagr(backtest) / -worst if worst < 0 else None


def exposure(backtest: BacktestView) -> float:
    """Mean of the sum of absolute weights."""
    return float(backtest.result.exposure.mean())


def turnover_per_year(backtest: BacktestView) -> float:
    """What is traded in a year, both sides counted, in units of equity."""
    return float(backtest.result.turnover.mean() * backtest.sessions_per_year)


def cost_total(backtest: BacktestView) -> float:
    """Sum of all costs, each as a fraction of the equity of its session."""
    return float(backtest.result.cost.sum())


def trades(backtest: BacktestView) -> int:
    """Number of round trips, one that is still open included."""
    return len(backtest.trades)


def win_rate(backtest: BacktestView) -> float | None:
    """Share of round trips that earned more than they cost."""
    gain = backtest.trades["return"] - backtest.trades["cost"]
    return float((gain > 0).mean()) if len(gain) else None


def profit_factor(backtest: BacktestView) -> float | None:
    """What winning round trips gained over what losing ones lost, in units of equity."""
    gain = (backtest.trades["return"] - backtest.trades["cost"]) * backtest.trades["size"]
    lost = -float(gain[gain < 0].sum())
    return float(gain[gain > 0].sum()) / lost if lost > 0 else None


def break_even_cost_bps(result: BacktestResult) -> float | None:
    """Cost per traded side, in basis points, at which the gross returns above cash would be used up."""
    turnover = float(result.turnover.sum())
    earned = float((result.gross_return - result.session_cash_rate).sum())
    return earned / turnover / BASIS_POINT if turnover > 0 else None


def mean_excess_over_benchmark(backtest: BacktestView) -> dict[str, float] | None:
    """Return the mean net return less the benchmark's, per year, and its lower 95 % bound by the paired bootstrap."""
    held = backtest.result.benchmark
    if held is None:
        return None
    ahead = backtest.result.net_return - held.net_return
    low = mean_lower_bound_95(ahead, np.random.default_rng(backtest.seed))
    return {"mean": float(ahead.mean()) * backtest.sessions_per_year, "low95": low * backtest.sessions_per_year}


def significance_metrics(
    backtest: BacktestView, forecasts: EvaluatedForecasts, *, n_trials: int = 1, sharpe_variance: float | None = None
) -> dict[str, Any]:
    """Return what the numbers can carry.

    Parameters
    ----------
    run, rows : the strategy and its forecasts.
    trials : configs tried, this one included.
    variance : of their Sharpe ratios per session; None where there are not two to take it from.
    """
    return {
        "trials": n_trials,
        "probabilistic_sharpe": sharpe_stats.probabilistic_sharpe(backtest.excess_returns),
        "deflated_sharpe": sharpe_stats.deflated_sharpe(
            backtest.excess_returns, n_trials=n_trials, sharpe_variance=sharpe_variance
        ),
        "expected_max_sharpe": annualize_sharpe(
            sharpe_stats.expected_max_sharpe(n_trials, sharpe_variance=sharpe_variance), backtest
        ),
        "above_benchmark": mean_excess_over_benchmark(backtest),
        "years_needed": directional.years_to_significance(
            accuracy(forecasts), accuracy_base_rate(forecasts), sessions_per_year=backtest.sessions_per_year
        ),
    }


FORECAST_METRICS: tuple[Callable[[EvaluatedForecasts], Any], ...] = (
    n, up_rate, accuracy, accuracy_ci95, accuracy_always_up, accuracy_base_rate, log_loss, log_loss_base_rate, brier,
    auc, auc_ci95, pesaran_timmermann, reliability,
)  # fmt: skip

BACKTEST_METRICS: tuple[Callable[[BacktestView], Any], ...] = (
    final_equity, total_return, cagr, volatility, sharpe, sharpe_ci95, sharpe_standard_error, sharpe_lo, sortino,
    max_drawdown, longest_drawdown_sessions, calmar, exposure, turnover_per_year, cost_total, trades, win_rate,
    profit_factor,
)  # fmt: skip
