"""The metrics of a report: one short function each, and the registries of their keys in ``metrics.json``.

A metric that is undefined is None. To add one, write the function and name it in a registry at the end of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, Strict, StrictInt

from quantlr.backtest.benchmark import Benchmark, BenchmarkTicker
from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.trades import net_trade_returns, trade_table
from quantlr.core.components import ConfigSection, Unit
from quantlr.core.values import Array, BacktestResult, BoolArray, Forecasts, IntArray
from quantlr.stats import sharpe as sharpe_stats
from quantlr.stats.bootstrap import mean_lower_bound_95
from quantlr.stats.directional import (
    clustered_accuracy_interval,
    clustered_auc_interval,
    clustered_pesaran_timmermann_test,
    delong_auc_interval,
    pesaran_timmermann_test,
    roc_auc,
    wilson_interval,
    years_to_significance,
)
from quantlr.stats.hac import Interval
from quantlr.stats.reliability import brier_decomposition, log_loss_decomposition


class ReportSpec(ConfigSection):
    """The benchmark of a run, how annual figures are computed, and which pages are drawn."""

    benchmark: Benchmark = Field(
        "buy_and_hold", description="The strategy's benchmark.", examples=["buy_and_hold", {"ticker": "SPY"}]
    )
    sessions_per_year: Annotated[StrictInt, Unit("sessions per year"), Field(ge=1, le=366)] = Field(
        252, description="Sessions in a year, for annual figures, interest and borrow."
    )
    per_ticker: Annotated[bool, Strict()] = Field(
        False, description="Whether to draw a page for each ticker as well, in the report's folder tickers/."
    )

    @property
    def benchmark_ticker(self) -> str | None:
        """The ticker of the benchmark; None for another benchmark."""
        return self.benchmark.ticker if isinstance(self.benchmark, BenchmarkTicker) else None


@dataclass(frozen=True, slots=True)
class EvaluatedForecasts:
    """Forecasts whose outcome is known.

    Attributes
    ----------
    log_odds, probability, up, base_rate : (n,) as in `Forecasts`, without the rows that have no outcome.
    ticker, session : (n,) position of the ticker, and of the session at whose close the forecast was made.
    has_dependent_outcomes : whether forecasts overlap in time or share a session.
    horizon : sessions that a forecast spans.
    seed : of everything random; each metric has a generator of its own, whichever others are computed.
    """

    log_odds: Array
    probability: Array
    up: Array
    base_rate: Array
    ticker: IntArray
    session: IntArray
    has_dependent_outcomes: bool
    horizon: int
    seed: int = 0

    @property
    def predicted_up(self) -> BoolArray:
        """(n,) whether an up move is forecast: the probability is above one half, whatever the policy."""
        return np.asarray(self.probability > 0.5)

    @property
    def hits(self) -> BoolArray:
        """(n,) whether the forecast was right."""
        return np.asarray(self.predicted_up == (self.up == 1))

    @property
    def baseline_hits(self) -> BoolArray:
        """(n,) whether the majority-class baseline, the majority of the training rows, was right."""
        return np.asarray((self.base_rate > 0.5) == (self.up == 1))


def evaluate_forecasts(forecasts: Forecasts, *, seed: int = 0) -> EvaluatedForecasts:
    """Return the forecasts whose outcome is known."""
    columns = forecast_columns(forecasts, ~np.isnan(forecasts.up))
    return EvaluatedForecasts(
        **columns, has_dependent_outcomes=forecasts.has_dependent_outcomes, horizon=forecasts.horizon, seed=seed
    )


def forecast_columns(forecasts: Forecasts | EvaluatedForecasts, row_mask: BoolArray) -> dict[str, Any]:
    """Return the columns of `EvaluatedForecasts` by name, of the forecasts that the mask selects."""
    names = ("log_odds", "probability", "up", "base_rate", "ticker", "session")
    return {name: getattr(forecasts, name)[row_mask] for name in names}


def n_forecasts(forecasts: EvaluatedForecasts) -> int:
    """Number of forecasts whose outcome is known."""
    return len(forecasts.up)


def up_rate(forecasts: EvaluatedForecasts) -> float:
    """Proportion of ups, which is also the accuracy of always forecasting up."""
    return float(forecasts.up.mean())


def accuracy(forecasts: EvaluatedForecasts) -> float:
    """Proportion of forecasts that were right."""
    return float(forecasts.hits.mean())


def accuracy_interval(forecasts: EvaluatedForecasts) -> Interval:
    """95 % interval of the accuracy: Wilson's, or by the bootstrap of whole sessions where forecasts are clustered."""
    if not forecasts.has_dependent_outcomes:
        return wilson_interval(int(forecasts.hits.sum()), len(forecasts.up))
    rng = np.random.default_rng(forecasts.seed)
    return clustered_accuracy_interval(forecasts.hits, session=forecasts.session, horizon=forecasts.horizon, rng=rng)


def majority_class_accuracy(forecasts: EvaluatedForecasts) -> float:
    """Accuracy of the majority-class baseline, which forecasts the majority of the training rows."""
    return float(forecasts.baseline_hits.mean())


def log_loss(forecasts: EvaluatedForecasts) -> float:
    """Mean log loss of the probabilities, in nats."""
    return float((np.logaddexp(0.0, forecasts.log_odds) - forecasts.up * forecasts.log_odds).mean())


def base_rate_log_loss(forecasts: EvaluatedForecasts) -> float:
    """Mean log loss of the base-rate forecast, in nats; infinite if that was 0 or 1 and wrong."""
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(forecasts.up == 1, forecasts.base_rate, 1.0 - forecasts.base_rate)).mean())


def brier_score(forecasts: EvaluatedForecasts) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((forecasts.probability - forecasts.up) ** 2))


def score_decompositions(forecasts: EvaluatedForecasts) -> dict[str, dict[str, float]]:
    """Decomposition of the log loss and the Brier score by isotonic recalibration (Dimitriadis and others 2021).

    Each score is miscalibration - discrimination + uncertainty.
    """
    of_log_loss = log_loss_decomposition(forecasts.probability, forecasts.up, log_loss=log_loss(forecasts))
    of_brier = brier_decomposition(forecasts.probability, forecasts.up, brier=brier_score(forecasts))
    return {"log_loss": asdict(of_log_loss), "brier": asdict(of_brier)}


def area_under_roc(forecasts: EvaluatedForecasts) -> float | None:
    """Area under the ROC curve: the probability that an up has a higher forecast than a not-up; ties count half."""
    return roc_auc(forecasts.probability, forecasts.up)


def auc_interval(forecasts: EvaluatedForecasts) -> Interval | None:
    """95 % interval of the AUC: DeLong's, or by the bootstrap of whole sessions where forecasts are clustered."""
    probability, up = forecasts.probability, forecasts.up
    if not forecasts.has_dependent_outcomes:
        return delong_auc_interval(probability, up)
    rng = np.random.default_rng(forecasts.seed)
    return clustered_auc_interval(probability, up, session=forecasts.session, horizon=forecasts.horizon, rng=rng)


def directional_skill_test(forecasts: EvaluatedForecasts) -> dict[str, float] | None:
    """One-sided test that forecasts and outcomes are independent; allows for overlap where forecasts are clustered."""
    predicted_up, up, horizon = forecasts.predicted_up, forecasts.up, forecasts.horizon
    if not forecasts.has_dependent_outcomes:
        return pesaran_timmermann_test(predicted_up, up)
    session, ticker = forecasts.session, forecasts.ticker
    return clustered_pesaran_timmermann_test(predicted_up, up, session=session, ticker=ticker, horizon=horizon)


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A backtest, its trades, and what annual and random metrics need.

    Attributes
    ----------
    result : the strategy's or the benchmark's.
    trades : its trades, as `trade_table` returns them.
    sessions_per_year : for annual figures.
    seed : of everything random; each metric has a generator of its own, whichever others are computed.
    """

    result: BacktestResult
    trades: pd.DataFrame
    sessions_per_year: int
    seed: int = 0

    @classmethod
    def from_result(cls, result: BacktestResult, *, sessions_per_year: int, seed: int = 0) -> BacktestView:
        """Return a view of a result with its trades."""
        return cls(result, trade_table(result), sessions_per_year, seed)

    @property
    def excess_returns(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return self.result.net_return - self.result.session_cash_rate

    @property
    def gross_excess_returns(self) -> Array:
        """(sessions,) gross returns in excess of cash."""
        return self.result.gross_return - self.result.session_cash_rate

    @property
    def annual_factor(self) -> float:
        """Factor from a Sharpe ratio or a volatility per session to the annual one: sqrt(sessions per year)."""
        return float(np.sqrt(self.sessions_per_year))


def final_equity(backtest: BacktestView) -> float:
    """Equity at the end, from a start of 1."""
    return float(backtest.result.equity[-1])


def total_return(backtest: BacktestView) -> float:
    """Return over all sessions, as a fraction."""
    return final_equity(backtest) - 1.0


def cagr(backtest: BacktestView) -> float:
    """Compound annual growth rate, as a fraction."""
    return float(final_equity(backtest) ** (backtest.sessions_per_year / len(backtest.result.equity)) - 1.0)


def annual_volatility(backtest: BacktestView) -> float | None:
    """Annual standard deviation of net returns (ddof 1), as a fraction."""
    returns = backtest.result.net_return
    return float(returns.std(ddof=1) * backtest.annual_factor) if len(returns) > 1 else None


def annual_sharpe(backtest: BacktestView) -> float | None:
    """Annual Sharpe ratio: mean over standard deviation (ddof 1) of net returns in excess of cash."""
    return annualize_sharpe(sharpe_stats.sharpe_per_session(backtest.excess_returns), backtest)


def annualize_sharpe(session_sharpe: float | None, backtest: BacktestView) -> float | None:
    """Return the annual Sharpe ratio of one per session."""
    return None if session_sharpe is None else float(session_sharpe * backtest.annual_factor)


def sharpe_interval(backtest: BacktestView) -> Interval | None:
    """95 % interval of the annual Sharpe ratio by the stationary bootstrap."""
    rng = np.random.default_rng(backtest.seed)
    interval = sharpe_stats.bootstrap_sharpe_interval(backtest.excess_returns, rng)
    return (interval[0] * backtest.annual_factor, interval[1] * backtest.annual_factor) if interval else None


def annual_sharpe_standard_error(backtest: BacktestView) -> float | None:
    """Standard error of the annual Sharpe ratio of independent returns (Lo 2002)."""
    return annualize_sharpe(sharpe_stats.sharpe_standard_error_per_session(backtest.excess_returns), backtest)


def autocorrelation_adjusted_sharpe(backtest: BacktestView) -> float | None:
    """Annual Sharpe ratio allowing for autocorrelation (Lo 2002)."""
    return sharpe_stats.lo_sharpe(backtest.excess_returns, n_periods=backtest.sessions_per_year)


def sortino_ratio(backtest: BacktestView) -> float | None:
    """Annual Sortino ratio: mean excess return over the root mean square of the negative ones, over all sessions."""
    excess = backtest.excess_returns
    downside = float(np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))
    return float(excess.mean() / downside * backtest.annual_factor) if downside > 0 else None


def drawdown_series(equity: Array) -> Array:
    """Return the fall of equity from its running maximum, the start of 1 included, as a fraction <= 0."""
    return equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1.0


def drawdown_intervals(equity: Array) -> tuple[Array, IntArray]:
    """Return the drawdown, and the periods below the running maximum, (periods, 2): first index, and that after."""
    fall = drawdown_series(equity)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], fall < 0, [False]]).astype(np.int8)))
    return fall, edges.reshape(-1, 2)


def max_drawdown(backtest: BacktestView) -> float:
    """Largest drawdown, the start of 1 included, as a fraction <= 0."""
    return float(drawdown_series(backtest.result.equity).min())


def longest_drawdown_sessions(backtest: BacktestView) -> int:
    """Longest drawdown, in sessions below the running maximum."""
    _, intervals = drawdown_intervals(backtest.result.equity)
    return int((intervals[:, 1] - intervals[:, 0]).max(initial=0))


def calmar_ratio(backtest: BacktestView) -> float | None:
    """Calmar ratio: CAGR over the size of the max drawdown."""
    largest = max_drawdown(backtest)
    return cagr(backtest) / -largest if largest < 0 else None


def mean_gross_exposure(backtest: BacktestView) -> float:
    """Average exposure: mean over sessions of the sum of absolute weights."""
    return float(backtest.result.exposure.mean())


def annual_turnover(backtest: BacktestView) -> float:
    """Annual turnover, buys and sells counted, in units of equity."""
    return float(backtest.result.turnover.mean() * backtest.sessions_per_year)


def sum_of_session_costs(backtest: BacktestView) -> float:
    """Sum of all costs, each as a fraction of the equity of its session."""
    return float(backtest.result.cost.sum())


def n_trades(backtest: BacktestView) -> int:
    """Number of trades (round trips), open ones included."""
    return len(backtest.trades)


def win_rate(backtest: BacktestView) -> float | None:
    """Proportion of trades with a positive return after costs."""
    returns = net_trade_returns(backtest.trades)
    return float((returns > 0).mean()) if len(returns) else None


def profit_factor(backtest: BacktestView) -> float | None:
    """Sum of the gains of winning trades over that of the losses of losing ones, in units of equity."""
    gains = net_trade_returns(backtest.trades) * backtest.trades["size"]
    loss = -float(gains[gains < 0].sum())
    return float(gains[gains > 0].sum()) / loss if loss > 0 else None


def break_even_cost_bps(result: BacktestResult) -> float | None:
    """Break-even cost: the cost per side, in basis points of what is traded, that equals the gross excess return."""
    turnover = float(result.turnover.sum())
    gross_excess = float((result.gross_return - result.session_cash_rate).sum())
    return gross_excess / turnover / BASIS_POINT if turnover > 0 else None


def annual_excess_over_benchmark(backtest: BacktestView) -> dict[str, float] | None:
    """Return the annual mean net return less the benchmark's, and its lower 95 % bound by the paired bootstrap."""
    benchmark, per_year = backtest.result.benchmark, backtest.sessions_per_year
    if benchmark is None:
        return None
    excess = backtest.result.net_return - benchmark.net_return
    low95 = mean_lower_bound_95(excess, np.random.default_rng(backtest.seed))
    return {"mean": float(excess.mean()) * per_year, "low95": low95 * per_year}


def significance_metrics(
    backtest: BacktestView, forecasts: EvaluatedForecasts, *, n_trials: int = 1, sharpe_variance: float | None = None
) -> dict[str, Any]:
    """Return the metrics of significance.

    Parameters
    ----------
    backtest, forecasts : the strategy's.
    n_trials : configs tried, this one included.
    sharpe_variance : of their Sharpe ratios per session; None where fewer than two are known.
    """
    excess, accuracies = backtest.excess_returns, (accuracy(forecasts), majority_class_accuracy(forecasts))
    expected_max = sharpe_stats.expected_max_sharpe(n_trials, sharpe_variance=sharpe_variance)
    return {
        "trials": n_trials,
        "probabilistic_sharpe": sharpe_stats.probabilistic_sharpe(excess),
        "deflated_sharpe": sharpe_stats.deflated_sharpe(excess, n_trials=n_trials, sharpe_variance=sharpe_variance),
        "expected_max_sharpe": annualize_sharpe(expected_max, backtest),
        "above_benchmark": annual_excess_over_benchmark(backtest),
        "years_needed": years_to_significance(*accuracies, sessions_per_year=backtest.sessions_per_year),
    }


FORECAST_METRICS: Mapping[str, Callable[[EvaluatedForecasts], Any]] = {
    "n": n_forecasts,
    "up_rate": up_rate,
    "accuracy": accuracy,
    "accuracy_ci95": accuracy_interval,
    "accuracy_always_up": up_rate,
    "accuracy_base_rate": majority_class_accuracy,
    "log_loss": log_loss,
    "log_loss_base_rate": base_rate_log_loss,
    "brier": brier_score,
    "auc": area_under_roc,
    "auc_ci95": auc_interval,
    "pesaran_timmermann": directional_skill_test,
    "reliability": score_decompositions,
}
"""Metrics of forecasts by key."""
BACKTEST_METRICS: Mapping[str, Callable[[BacktestView], Any]] = {
    "final_equity": final_equity,
    "total_return": total_return,
    "cagr": cagr,
    "volatility": annual_volatility,
    "sharpe": annual_sharpe,
    "sharpe_ci95": sharpe_interval,
    "sharpe_standard_error": annual_sharpe_standard_error,
    "sharpe_lo": autocorrelation_adjusted_sharpe,
    "sortino": sortino_ratio,
    "max_drawdown": max_drawdown,
    "longest_drawdown_sessions": longest_drawdown_sessions,
    "calmar": calmar_ratio,
    "exposure": mean_gross_exposure,
    "turnover_per_year": annual_turnover,
    "cost_total": sum_of_session_costs,
    "trades": n_trades,
    "win_rate": win_rate,
    "profit_factor": profit_factor,
}
"""Metrics of a backtest by key, of the strategy and of its benchmark."""
