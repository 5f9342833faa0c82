"""Round trips: spells of one ticker held on one side, read off what the engine held."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from quantlr.types import Array, BacktestResult

COLUMNS = (
    "ticker",
    "side",
    "entry",
    "exit",
    "entry_price",
    "exit_price",
    "sessions",
    "return",
    "cost",
    "size",
)


def trades(result: BacktestResult) -> pd.DataFrame:
    """Return one row per spell in which a ticker was held on one side, by date of entry.

    Columns: ticker; side, "long" or "short"; entry and exit, dates of the fills, exit missing for what is still held;
    entry_price and exit_price, adjusted, the last price for what is still held; sessions held; return, what the
    position earned, as a fraction of the position, before costs; cost, in the same unit; size, the mean |weight| while
    it was held.
    """
    prices = pd.DataFrame(result.price).ffill().to_numpy()
    rows = [
        _trade(result, prices, ticker, first, last, side)
        for ticker in range(len(result.tickers))
        for first, last, side in _spells(np.sign(result.weight[:, ticker]))
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["entry", "ticker"], kind="stable", ignore_index=True)


def _spells(side: Array) -> list[tuple[int, int, int]]:
    """Return first session, the one after the last, and side, of each stretch of one sign that is not 0."""
    edges = [0, *(np.flatnonzero(np.diff(side)) + 1).tolist(), len(side)]
    return [(first, last, int(side[first])) for first, last in pairwise(edges) if first < last and side[first] != 0]


def _trade(result: BacktestResult, prices: Array, ticker: int, first: int, last: int, side: int) -> tuple[object, ...]:
    weight = np.abs(result.weight[first:last, ticker])
    size = float(weight.mean())
    earned = result.ticker_gross[first:last, ticker] / weight
    still_held = last == len(result.weight)
    cost = result.ticker_cost[first:last, ticker].sum()
    if not still_held:
        # A turn-around closes one side and opens the other in one trade; each side pays for its own part.
        cost += result.ticker_cost[last, ticker] * _closing_share(result, ticker, last)
    if first > 0:
        cost -= result.ticker_cost[first, ticker] * _closing_share(result, ticker, first)
    return (
        result.tickers[ticker],
        "long" if side > 0 else "short",
        result.fills[first],
        pd.NaT if still_held else result.fills[last],
        float(prices[first, ticker]),
        float(prices[last, ticker]),
        last - first,
        float(np.prod(1.0 + earned) - 1.0),
        float(cost / size),
        size,
    )


def _closing_share(result: BacktestResult, ticker: int, session: int) -> float:
    """Return the share of a session's cost that closes what was held before, the rest opening what is held now."""
    before, after = result.weight[session - 1, ticker], result.weight[session, ticker]
    if before == 0 or np.sign(before) == np.sign(after):
        return 0.0
    return float(abs(before) / (abs(before) + abs(after)))
