"""Drawdowns of an equity curve: the fall below its running maximum, its periods, and the metrics of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metric_types import BacktestView
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult, IntArray

N_LISTED_DRAWDOWNS = 5


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


def deepest_drawdowns(result: BacktestResult, *, max_count: int) -> pd.DataFrame:
    """Return a row for each of the deepest drawdowns, at most `max_count`, of equal ones the earlier first.

    Columns: peak_date and trough_date, of the peak and of the lowest equity after it; recovery_date, at which the peak
    was reached again, NaT if it was not; depth, the return from peak to trough, as a fraction < 0. The first peak is
    the start of 1 at the first fill.
    """
    fall, intervals = drawdown_intervals(np.concatenate([[1.0], result.equity]))
    start, stop = intervals.T
    trough = np.array([first + int(fall[first:end].argmin()) for first, end in intervals.tolist()], dtype=np.int64)
    columns = {
        "peak_date": result.fill_dates[start - 1],
        "trough_date": result.fill_dates[trough],
        "recovery_date": result.fill_dates.append(pd.DatetimeIndex([pd.NaT]))[stop],
        "depth": fall[trough],
    }
    return pd.DataFrame(columns).sort_values("depth", kind="stable", ignore_index=True).head(max_count)


def list_deepest_drawdowns(backtest: BacktestView) -> list[dict[str, Any]]:
    """The five deepest drawdowns: depth, and dates of peak, trough and recovery, None if not recovered."""
    table = deepest_drawdowns(backtest.result, max_count=N_LISTED_DRAWDOWNS)
    return [
        {
            "depth": row["depth"],
            **{key: iso_date(row[f"{key}_date"]) for key in ("peak", "trough")},
            "recovery": iso_date(row["recovery_date"]) if pd.notna(row["recovery_date"]) else None,
        }
        for row in table.to_dict("records")
    ]
