"""Trades (round trips): periods in which one ticker is held on one side, read from the weights of a backtest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.core.values import Array, BacktestResult, IntArray


def trade_table(result: BacktestResult) -> pd.DataFrame:
    """Return one row per period in which a ticker is held on one side, by entry date.

    Columns: ticker; side, "long" or "short"; entry and exit, dates of the fills, exit missing for an open trade;
    entry_price and exit_price, adjusted, the last price for an open trade; sessions held; return before costs, as a
    fraction of the position; cost, in the same unit; size, the mean |weight| over the sessions held; profit, the sum
    over the sessions of weight times return less costs, as fractions of the session's equity.
    """
    n_sessions = len(result.weight)
    tables = result.weight, result.ticker_gross_return, result.ticker_cost
    weight, ticker_return, cost = (np.ravel(table, order="F") for table in tables)
    # Periods on one side, long, short or flat, in the sessions of all tickers laid end to end.
    side = np.sign(result.weight)
    starts = np.ones(side.shape, dtype=np.bool_)
    starts[1:] = side[1:] != side[:-1]
    start = np.flatnonzero(starts.ravel(order="F"))
    length = np.diff(np.append(start, len(weight)))
    ticker, entry = np.divmod(start, n_sessions)
    end = entry + length
    size = np.add.reduceat(np.abs(weight), start) / length
    trade_cost = _cost_by_trade(weight, cost, start, entry)
    position_return = ticker_return / np.where(weight == 0, 1.0, np.abs(weight))
    price = pd.DataFrame(result.price).ffill().to_numpy()
    table = pd.DataFrame(
        {
            "ticker": np.array(result.tickers, dtype=object)[ticker],
            "side": np.where(weight[start] > 0, "long", "short"),
            "entry": result.fill_dates[entry],
            "exit": pd.Series(result.fill_dates[end]).where(end < n_sessions),
            "entry_price": price[entry, ticker],
            "exit_price": price[end, ticker],
            "sessions": length,
            "return": np.multiply.reduceat(1.0 + position_return, start) - 1.0,
            "cost": trade_cost / np.where(weight[start] == 0, 1.0, size),
            "size": size,
            "profit": np.add.reduceat(ticker_return, start) - trade_cost,
        }
    ).astype({"ticker": "str"})
    is_trade = np.flatnonzero(weight[start] != 0)
    return table.iloc[is_trade].sort_values(["entry", "ticker"], kind="stable", ignore_index=True)


def _cost_by_trade(weight: Array, cost: Array, period_start: IntArray, entry_session: IntArray) -> Array:
    """Return the cost of each period: that of its sessions, and its part of the trade that ends it, (periods,).

    An order that changes sides closes one trade and opens the next; each is charged in proportion to its weight.

    Parameters
    ----------
    weight, cost : (tickers * sessions,) ticker by ticker.
    period_start, entry_session : (periods,) first position in `weight`, and the same as position of the session.
    """
    total = np.add.reduceat(cost, period_start)
    later = np.flatnonzero(entry_session > 0)
    change = period_start[later]
    before, after = np.abs(weight[change - 1]), np.abs(weight[change])
    closing_cost = cost[change] * before / (before + after)
    total[later - 1] += closing_cost
    total[later] -= closing_cost
    return total


def net_trade_returns(trades: pd.DataFrame) -> pd.Series[float]:
    """Return the return of each trade after costs, as a fraction of the position."""
    return trades["return"] - trades["cost"]


def trade_summary_by_side(trades: pd.DataFrame) -> pd.DataFrame:
    """Return a summary of trades: a row for each side that occurs, and one for all where both do.

    The index is the side, "long", "short" or "all". Columns: trades, their number; won, the win rate; mean, best and
    worst, of the return after costs, as fractions of the position; sessions, the median held.
    """
    tables = {side: table for side in ("long", "short") if len(table := trades[trades["side"] == side])}
    if len(tables) > 1:
        tables["all"] = trades
    rows = []
    for table in tables.values():
        returns = net_trade_returns(table)
        row = {"trades": len(table), "won": (returns > 0).mean(), "mean": returns.mean(), "best": returns.max()}
        rows.append(row | {"worst": returns.min(), "sessions": table["sessions"].median()})
    return pd.DataFrame(rows, index=list(tables))


def annual_excess_return_by_side(result: BacktestResult, *, sessions_per_year: int) -> dict[str, float]:
    """Return the annual return of "long" and "short" positions before costs, in excess of cash, as fractions of equity.

    Their sum is that of all positions.
    """
    excess = result.ticker_gross_return - result.ticker_interest
    return {
        side: float(excess[np.sign(result.weight) == sign].sum()) / len(excess) * sessions_per_year
        for side, sign in (("long", 1.0), ("short", -1.0))
    }


@dataclass(frozen=True, slots=True)
class Histogram:
    """Number of values in each bin; values beyond the edges count in the outermost bins.

    Attributes
    ----------
    bin_edges : (b + 1,) ascending, evenly spaced, 0 among them.
    count : (b,) number of values.
    n_outside : number of values beyond the edges.
    """

    bin_edges: Array
    count: Array
    n_outside: int


def histogram_around_zero(values: Array, *, max_bins: int = 40) -> Histogram:
    """Return a histogram with an edge at 0, so that gains and losses never share a bin.

    Of 200 values or more, its range omits the lowest and the highest hundredth. There are at most `max_bins` bins, or
    one more.
    """
    tail = 0.01 if len(values) >= 200 else 0.0
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    low, high = min(low, 0.0), max(high, 0.0)
    width = max(high - low, 1e-4) / min(max_bins, max(2 * int(np.sqrt(len(values))), 4))
    below = int(np.ceil(-low / width - 1e-9))
    above = max(int(np.ceil(high / width - 1e-9)), 1 if below == 0 else 0)
    edges = np.asarray(width * np.arange(-below, above + 1), dtype=np.float64)
    bin_index = np.clip(np.ceil(values / width - 1e-9).astype(np.int64) - 1 + below, 0, below + above - 1)
    n_outside = int(((values < edges[0] - 1e-12) | (values > edges[-1] + 1e-12)).sum())
    return Histogram(edges, np.bincount(bin_index, minlength=below + above).astype(np.float64), n_outside)
