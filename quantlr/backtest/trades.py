"""Round trips: spells of one ticker held on one side, read off what the engine held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.core.arrays import Array, IntArray
from quantlr.core.values import BacktestResult


def trade_table(result: BacktestResult) -> pd.DataFrame:
    """Return one row per spell in which a ticker was held on one side, by date of entry.

    Columns: ticker; side, "long" or "short"; entry and exit, dates of the fills, exit missing for what is still held;
    entry_price and exit_price, adjusted, the last price for what is still held; sessions held; return, what the
    position earned, as a fraction of the position, before costs; cost, in the same unit; size, the mean |weight| while
    it was held.
    """
    sessions = len(result.weight)
    weight, earned, cost = (
        np.ravel(values, order="F") for values in (result.weight, result.ticker_gross_return, result.ticker_cost)
    )
    first = _trade_start_indices(np.sign(result.weight))
    length = np.diff(np.append(first, len(weight)))
    ticker, entry = np.divmod(first, sessions)
    end = entry + length
    size = np.add.reduceat(np.abs(weight), first) / length
    of_position = earned / np.where(weight == 0, 1.0, np.abs(weight))
    held = np.flatnonzero(weight[first] != 0)
    prices = pd.DataFrame(result.price).ffill().to_numpy()
    table = pd.DataFrame(
        {
            "ticker": np.array(result.tickers, dtype=object)[ticker],
            "side": np.where(weight[first] > 0, "long", "short"),
            "entry": result.fill_dates[entry],
            "exit": pd.Series(result.fill_dates[end]).where(end < sessions),
            "entry_price": prices[entry, ticker],
            "exit_price": prices[end, ticker],
            "sessions": length,
            "return": np.multiply.reduceat(1.0 + of_position, first) - 1.0,
            "cost": _cost_by_trade(weight, cost, first, entry) / np.where(weight[first] == 0, 1.0, size),
            "size": size,
        }
    ).astype({"ticker": "str"})
    return table.iloc[held].sort_values(["entry", "ticker"], kind="stable", ignore_index=True)


def _trade_start_indices(position_sign: Array) -> IntArray:
    """Return where each stretch of one side begins in (sessions, tickers) sides laid end to end, ticker by ticker."""
    begins = np.ones(position_sign.shape, dtype=np.bool_)
    begins[1:] = position_sign[1:] != position_sign[:-1]
    return np.flatnonzero(begins.ravel(order="F"))


def _cost_by_trade(weight: Array, cost: Array, trade_start: IntArray, entry_session: IntArray) -> Array:
    """Return what each spell cost: what it cost while it was held, and its own part of the trade that ended it.

    A turn-around closes one side and opens the other in one trade; each side pays for its own part of that session.
    """
    own = np.add.reduceat(cost, trade_start)
    later = np.flatnonzero(entry_session > 0)
    turn = trade_start[later]
    before, after = np.abs(weight[turn - 1]), np.abs(weight[turn])
    closing = cost[turn] * before / (before + after)
    own[later - 1] += closing
    own[later] -= closing
    return own


def trade_summary_by_side(trades: pd.DataFrame) -> pd.DataFrame:
    """Return what round trips came to: a row for each side that was taken, and one for all where both were.

    The index is the side, "long", "short" or "all". Columns: trades, how many; won, share that earned more than they
    cost; mean, best and worst, of return less cost, as fractions of the position; sessions, the median held.
    """
    sides = [(side, trades[trades["side"] == side]) for side in ("long", "short")]
    taken = [(side, table) for side, table in sides if len(table)]
    if len(taken) > 1:
        taken.append(("all", trades))
    return pd.DataFrame([_trade_summary(table) for _, table in taken], index=[side for side, _ in taken])


def _trade_summary(trades: pd.DataFrame) -> dict[str, float]:
    gain = trades["return"] - trades["cost"]
    return {
        "trades": len(gain),
        "won": float((gain > 0).mean()),
        "mean": float(gain.mean()),
        "best": float(gain.max()),
        "worst": float(gain.min()),
        "sessions": float(trades["sessions"].median()),
    }


def annual_excess_return_by_side(result: BacktestResult, *, sessions_per_year: int) -> dict[str, float]:
    """Return what "long" and "short" positions earned a year before costs, in excess of cash, as fractions of equity.

    Together they earned what all of it did.
    """
    excess = result.ticker_gross_return - result.weight * result.session_cash_rate
    return {
        side: float(excess[np.sign(result.weight) == sign].sum()) / len(excess) * sessions_per_year
        for side, sign in (("long", 1.0), ("short", -1.0))
    }


MIN_VALUES_TO_TRIM_TAILS = 200
"""Values from which a histogram need not reach to the last one."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values fall between neighbouring edges; what lies beyond the ends counts to the outermost stretches.

    Attributes
    ----------
    edges : (b + 1,) ascending, evenly spaced, 0 among them.
    count : (b,) how many values.
    beyond : how many lie outside of the edges.
    """

    bin_edges: Array
    count: Array
    n_outside: int


def histogram_around_zero(values: Array, *, max_bins: int = 40) -> Histogram:
    """Return a histogram with an edge at 0, so that gains and losses never share a stretch.

    Of many values it leaves out the lowest and the highest hundredth; there are at most `at_most` stretches, give or
    take one.
    """
    tail = 0.01 if len(values) >= MIN_VALUES_TO_TRIM_TAILS else 0.0
    low, high = (float(edge) for edge in np.quantile(values, [tail, 1 - tail]))
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-4) / min(max_bins, max(2 * int(np.sqrt(len(values))), 4))
    below, above = int(np.ceil(-low / step - 1e-9)), max(int(np.ceil(high / step - 1e-9)), 0)
    if below + above == 0:
        above = 1
    edges = np.asarray(step * np.arange(-below, above + 1), dtype=np.float64)
    where = np.clip(np.ceil(values / step - 1e-9).astype(np.int64) - 1 + below, 0, below + above - 1)
    outside = int(((values < edges[0] - 1e-12) | (values > edges[-1] + 1e-12)).sum())
    return Histogram(edges, np.bincount(where, minlength=below + above).astype(np.float64), outside)
