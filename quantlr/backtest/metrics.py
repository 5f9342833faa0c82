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
from quantlr.backtest.inference import reliability as corp
from quantlr.backtest.inference import sharpe as ratios
from quantlr.backtest.inference import skill
from quantlr.backtest.inference.bootstrap import mean_low95
from quantlr.backtest.trades import trades as trade_table
from quantlr.types import Array, BacktestResult, BoolArray, Forecasts, IntArray, Meanings, Spec, Unit, Whole


class ReportSpec(Spec):
    """What a result is measured against, how a year is counted, and what is drawn of it."""

    benchmark: Annotated[
        Literal["buy_and_hold"], Meanings({"buy_and_hold": "buy the tickers with a forecast equally, and keep them"})
    ] = Field("buy_and_hold", description="What the strategy is set beside.")
    sessions_per_year: Annotated[Whole, Unit("sessions per year"), Field(ge=1, le=366)] = Field(
        252, description="How a year is counted, for annual figures, interest and borrow."
    )
    per_ticker: Annotated[bool, Strict()] = Field(
        False, description="Whether to draw a page for each ticker as well, in the report's folder tickers/."
    )


@dataclass(frozen=True, slots=True)
class Scored:
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
    clustered: bool
    horizon: int
    seed: int = 0

    @property
    def calls(self) -> BoolArray:
        """(n,) whether up is called: the probability is above one half, whatever the policy."""
        return np.asarray(self.probability > 0.5)

    @property
    def hits(self) -> BoolArray:
        """(n,) whether the call was right."""
        return np.asarray(self.calls == (self.up == 1))

    @property
    def base_hits(self) -> BoolArray:
        """(n,) whether the training rows' majority was right."""
        return np.asarray((self.base_rate > 0.5) == (self.up == 1))


def scored(forecasts: Forecasts, *, seed: int = 0) -> Scored:
    """Return the forecasts whose outcome is known."""
    known = ~np.isnan(forecasts.up)
    return Scored(
        log_odds=forecasts.log_odds[known],
        probability=forecasts.probability[known],
        up=forecasts.up[known],
        base_rate=forecasts.base_rate[known],
        ticker=forecasts.ticker[known],
        session=forecasts.session[known],
        clustered=forecasts.clustered,
        horizon=forecasts.horizon,
        seed=seed,
    )


def n(rows: Scored) -> int:
    """Number of forecasts whose outcome is known."""
    return len(rows.up)


def up_rate(rows: Scored) -> float:
    """Share of forecasts that an up move followed."""
    return float(rows.up.mean())


def accuracy(rows: Scored) -> float:
    """Share of calls that were right."""
    return float(rows.hits.mean())


def accuracy_ci95(rows: Scored) -> tuple[float, float]:
    """95 % interval of the accuracy: Wilson's, or of sessions drawn whole where forecasts overlap."""
    if not rows.clustered:
        return skill.wilson(int(rows.hits.sum()), len(rows.up))
    rng = np.random.default_rng(rows.seed)
    return skill.accuracy_interval_by_session(rows.hits, session=rows.session, horizon=rows.horizon, rng=rng)


def accuracy_always_up(rows: Scored) -> float:
    """Share of calls that would have been right had up always been called."""
    return up_rate(rows)


def accuracy_base_rate(rows: Scored) -> float:
    """Share that would have been right had the majority of the training rows been called."""
    return float(rows.base_hits.mean())


def log_loss(rows: Scored) -> float:
    """Mean cross-entropy of the probabilities, in nats."""
    return float((np.logaddexp(0.0, rows.log_odds) - rows.up * rows.log_odds).mean())


def log_loss_base_rate(rows: Scored) -> float:
    """Mean cross-entropy had the training rows' base rate been forecast, in nats; infinite if it was sure and wrong."""
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(rows.up == 1, rows.base_rate, 1.0 - rows.base_rate)).mean())


def brier(rows: Scored) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((rows.probability - rows.up) ** 2))


def reliability(rows: Scored) -> dict[str, dict[str, float]]:
    """Parts of the log loss and of the Brier score by isotonic recalibration (Dimitriadis and others 2021).

    Each score is miscalibration - discrimination + uncertainty.
    """
    return {
        "log_loss": asdict(corp.log_loss_parts(rows.probability, rows.up, log_loss=log_loss(rows))),
        "brier": asdict(corp.brier_parts(rows.probability, rows.up, brier=brier(rows))),
    }


def auc(rows: Scored) -> float | None:
    """Chance that an up move was given a higher probability than a move that was not up; ties count half."""
    return skill.area(rows.probability, rows.up)


def auc_ci95(rows: Scored) -> tuple[float, float] | None:
    """95 % interval of the AUC: DeLong's, or of sessions drawn whole where forecasts overlap. It tests nothing."""
    if not rows.clustered:
        return skill.area_interval(rows.probability, rows.up)
    rng = np.random.default_rng(rows.seed)
    return skill.area_interval_by_session(
        rows.probability, rows.up, session=rows.session, horizon=rows.horizon, rng=rng
    )


def pesaran_timmermann(rows: Scored) -> dict[str, float] | None:
    """One-sided test that calls and outcomes go together, not by chance; in the form that allows for overlap."""
    if rows.clustered:
        return skill.pesaran_timmermann_by_session(
            rows.calls, rows.up, session=rows.session, ticker=rows.ticker, horizon=rows.horizon
        )
    return skill.pesaran_timmermann(rows.calls, rows.up)


@dataclass(frozen=True, slots=True)
class Measured:
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
    def of(cls, result: BacktestResult, *, sessions_per_year: int, seed: int = 0) -> Measured:
        """Return a result with its trades."""
        return cls(result, trade_table(result), sessions_per_year, seed)

    @property
    def excess(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return self.result.net_return - self.result.cash

    @property
    def gross_excess(self) -> Array:
        """(sessions,) gross returns in excess of cash."""
        return self.result.gross_return - self.result.cash


def final_equity(run: Measured) -> float:
    """What one unit of capital has become."""
    return float(run.result.equity[-1])


def total_return(run: Measured) -> float:
    """Gain over the whole span, as a fraction."""
    return final_equity(run) - 1.0


def cagr(run: Measured) -> float:
    """Compound annual growth rate, as a fraction."""
    return float(final_equity(run) ** (run.sessions_per_year / len(run.result.equity)) - 1.0)


def volatility(run: Measured) -> float | None:
    """Annual standard deviation of net returns (ddof 1), as a fraction."""
    if len(run.result.net_return) < 2:
        return None
    return float(run.result.net_return.std(ddof=1) * np.sqrt(run.sessions_per_year))


def sharpe(run: Measured) -> float | None:
    """Mean over standard deviation (ddof 1) of net returns in excess of cash, times the root of a year's sessions."""
    return annual(ratios.sharpe_per_session(run.excess), run)


def annual(ratio: float | None, run: Measured) -> float | None:
    """Return a Sharpe ratio per session as one per year, by the root of a year's sessions."""
    return None if ratio is None else float(ratio * np.sqrt(run.sessions_per_year))


def sharpe_ci95(run: Measured) -> tuple[float, float] | None:
    """95 % interval of the Sharpe ratio, of sessions drawn in blocks."""
    found = ratios.sharpe_interval(run.excess, np.random.default_rng(run.seed))
    root = float(np.sqrt(run.sessions_per_year))
    return (found[0] * root, found[1] * root) if found else None


def sharpe_standard_error(run: Measured) -> float | None:
    """Standard error of the Sharpe ratio were returns independent (Lo 2002), per year."""
    return annual(ratios.sharpe_standard_error(run.excess), run)


def sharpe_lo(run: Measured) -> float | None:
    """Sharpe ratio of a year with the autocorrelation of returns allowed for (Lo 2002)."""
    return ratios.lo_sharpe(run.excess, periods=run.sessions_per_year)


def sortino(run: Measured) -> float | None:
    """As the Sharpe ratio, over the root mean square of the excess returns below 0, all sessions counted."""
    downside = float(np.sqrt(np.mean(np.minimum(run.excess, 0.0) ** 2)))
    return float(run.excess.mean() / downside * np.sqrt(run.sessions_per_year)) if downside > 0 else None


def drawdown(equity: Array) -> Array:
    """Return how far equity stands below its highest so far, the starting capital of 1 included; <= 0."""
    return equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1.0


def max_drawdown(run: Measured) -> float:
    """Largest fall from a high, from the starting capital on, as a fraction <= 0."""
    return float(drawdown(run.result.equity).min())


def longest_drawdown_sessions(run: Measured) -> int:
    """Longest stretch of sessions below a former high."""
    under = np.concatenate([[False], drawdown(run.result.equity) < 0, [False]])
    edges = np.flatnonzero(np.diff(under.astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def calmar(run: Measured) -> float | None:
    """Compound annual growth over the largest drawdown."""
    worst = max_drawdown(run)
    return cagr(run) / -worst if worst < 0 else None


def exposure(run: Measured) -> float:
    """Mean of the sum of absolute weights."""
    return float(run.result.exposure.mean())


def turnover_per_year(run: Measured) -> float:
    """What is traded in a year, both sides counted, in units of equity."""
    return float(run.result.turnover.mean() * run.sessions_per_year)


def cost_total(run: Measured) -> float:
    """Sum of all costs, each as a fraction of the equity of its session."""
    return float(run.result.cost.sum())


def trades(run: Measured) -> int:
    """Number of round trips, one that is still open included."""
    return len(run.trades)


def win_rate(run: Measured) -> float | None:
    """Share of round trips that earned more than they cost."""
    gain = run.trades["return"] - run.trades["cost"]
    return float((gain > 0).mean()) if len(gain) else None


def profit_factor(run: Measured) -> float | None:
    """What winning round trips gained over what losing ones lost, in units of equity."""
    gain = (run.trades["return"] - run.trades["cost"]) * run.trades["size"]
    lost = -float(gain[gain < 0].sum())
    return float(gain[gain > 0].sum()) / lost if lost > 0 else None


def break_even_cost_bps(result: BacktestResult) -> float | None:
    """Cost per traded side, in basis points, at which the gross returns above cash would be used up."""
    turnover = float(result.turnover.sum())
    earned = float((result.gross_return - result.cash).sum())
    return earned / turnover / BASIS_POINT if turnover > 0 else None


def above_benchmark(run: Measured) -> dict[str, float] | None:
    """Return the mean net return less the benchmark's, per year, and its lower 95 % bound by the paired bootstrap."""
    held = run.result.benchmark
    if held is None:
        return None
    ahead = run.result.net_return - held.net_return
    low = mean_low95(ahead, np.random.default_rng(run.seed))
    return {"mean": float(ahead.mean()) * run.sessions_per_year, "low95": low * run.sessions_per_year}


def significance(run: Measured, rows: Scored, *, trials: int = 1, variance: float | None = None) -> dict[str, Any]:
    """Return what the numbers can carry.

    Parameters
    ----------
    run, rows : the strategy and its forecasts.
    trials : configs tried, this one included.
    variance : of their Sharpe ratios per session; None where there are not two to take it from.
    """
    return {
        "trials": trials,
        "probabilistic_sharpe": ratios.probabilistic_sharpe(run.excess),
        "deflated_sharpe": ratios.deflated_sharpe(run.excess, trials=trials, variance=variance),
        "best_of_luck": annual(ratios.best_of_luck(trials, variance=variance), run),
        "above_benchmark": above_benchmark(run),
        "years_needed": skill.years_needed(
            accuracy(rows), accuracy_base_rate(rows), sessions_per_year=run.sessions_per_year
        ),
    }


FORECAST_METRICS: tuple[Callable[[Scored], Any], ...] = (
    n, up_rate, accuracy, accuracy_ci95, accuracy_always_up, accuracy_base_rate, log_loss, log_loss_base_rate, brier,
    auc, auc_ci95, pesaran_timmermann, reliability,
)  # fmt: skip

BACKTEST_METRICS: tuple[Callable[[Measured], Any], ...] = (
    final_equity, total_return, cagr, volatility, sharpe, sharpe_ci95, sharpe_standard_error, sharpe_lo, sortino,
    max_drawdown, longest_drawdown_sessions, calmar, exposure, turnover_per_year, cost_total, trades, win_rate,
    profit_factor,
)  # fmt: skip
