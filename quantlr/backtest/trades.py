"""Round trips: spells of one ticker held on one side, read off what the engine held."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantlr.types import Array, BacktestResult, IntArray


def trades(result: BacktestResult) -> pd.DataFrame:
    """Return one row per spell in which a ticker was held on one side, by date of entry.

    Columns: ticker; side, "long" or "short"; entry and exit, dates of the fills, exit missing for what is still held;
    entry_price and exit_price, adjusted, the last price for what is still held; sessions held; return, what the
    position earned, as a fraction of the position, before costs; cost, in the same unit; size, the mean |weight| while
    it was held.
    """
    prices = pd.DataFrame(result.price).ffill().to_numpy()
    spells = [_spells(result, prices[:, ticker], ticker) for ticker in range(len(result.tickers))]
    table = pd.concat(spells, ignore_index=True)
    return table.sort_values(["entry", "ticker"], kind="stable", ignore_index=True)


def _spells(result: BacktestResult, price: Array, ticker: int) -> pd.DataFrame:
    """Return the round trips of one ticker: stretches of one sign of its weight that is not 0."""
    weight = result.weight[:, ticker]
    side = np.sign(weight)
    first = np.concatenate([[0], np.flatnonzero(np.diff(side)) + 1])
    last = np.append(first[1:], len(side))
    held = side[first] != 0
    sessions = last - first
    size = np.add.reduceat(np.abs(weight), first) / sessions
    earned = result.ticker_gross[:, ticker] / np.where(weight == 0, 1.0, np.abs(weight))
    growth = np.multiply.reduceat(1.0 + earned, first)
    cost = _costs(weight, result.ticker_cost[:, ticker], first)
    exits = pd.Series(result.fills[last]).where(last < len(side))
    table = pd.DataFrame(
        {
            "ticker": result.tickers[ticker],
            "side": np.where(side[first] > 0, "long", "short"),
            "entry": result.fills[first],
            "exit": exits,
            "entry_price": price[first],
            "exit_price": price[last],
            "sessions": sessions,
            "return": growth - 1.0,
            "cost": cost / np.where(held, size, 1.0),
            "size": size,
        }
    )
    return pd.DataFrame(table.loc[held])


def _costs(weight: Array, cost: Array, first: IntArray) -> Array:
    """Return what each spell cost: what it cost while it was held, and its own part of the trade that ended it.

    A turn-around closes one side and opens the other in one trade; each side pays for its own part of that session.
    """
    own = np.add.reduceat(cost, first)
    turn = first[1:]
    before, after = np.abs(weight[turn - 1]), np.abs(weight[turn])
    closing = cost[turn] * before / (before + after)
    own[:-1] += closing
    own[1:] -= closing
    return own


def by_side(trades: pd.DataFrame) -> pd.DataFrame:
    """Return what round trips came to: a row for each side that was taken, and one for all where both were.

    The index is the side, "long", "short" or "all". Columns: trades, how many; won, share that earned more than they
    cost; mean, best and worst, of return less cost, as fractions of the position; sessions, the median held.
    """
    sides = [(side, trades[trades["side"] == side]) for side in ("long", "short")]
    taken = [(side, table) for side, table in sides if len(table)]
    if len(taken) > 1:
        taken.append(("all", trades))
    return pd.DataFrame([_summed_up(table) for _, table in taken], index=[side for side, _ in taken])


def _summed_up(trades: pd.DataFrame) -> dict[str, float]:
    gain = trades["return"] - trades["cost"]
    return {
        "trades": len(gain),
        "won": float((gain > 0).mean()),
        "mean": float(gain.mean()),
        "best": float(gain.max()),
        "worst": float(gain.min()),
        "sessions": float(trades["sessions"].median()),
    }
