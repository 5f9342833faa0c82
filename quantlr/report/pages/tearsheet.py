"""The tear sheet: the finding, what capital became, and the numbers that a professional asks for first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.metrics import Scored, drawdown
from quantlr.backtest.series import monthly_returns, rolling_hit_rates, yearly_returns
from quantlr.report.figures.curves import Curves, drawdowns, equity_curves, hit_rates
from quantlr.report.figures.style import INK, NORMAL, bare, dated, heading, number, percent
from quantlr.report.figures.tables import TableRow, month_calendar, text_table
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import BacktestResult

FILLED = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}
TABLE_EDGES = (0.66, 1.0)
ROW_HEIGHT = 0.0205
"""Height of a calendar's row, as a fraction of the page, where there is room."""


def tear_sheet(shown: Shown) -> Figure:
    """Return the one page that a professional would hand on."""
    result, rows, sessions = shown.course.result, shown.rows, shown.course.forecasts.sessions
    figure = framed(shown, *_finding(shown))
    left = figure.add_gridspec(3, 1, left=0.042, right=0.60, top=0.787, bottom=0.045, height_ratios=(3.1, 1.1, 1.5),
                               hspace=0.2)  # fmt: skip
    equity = figure.add_subplot(left[0])
    below = figure.add_subplot(left[1], sharex=equity)
    rates = figure.add_subplot(left[2], sharex=equity)
    curves = _curves(result)
    for ax in (equity, below, rates):
        bare(ax)
    equity_curves(equity, curves)
    heading(equity, "What one unit of capital became (log scale)", room=22.0)
    drawdowns(below, curves)
    heading(below, "Drawdown from the highest so far")
    _hit_rates(rates, rows, sessions)
    dated(rates)
    rates.set_xlim(date2num(curves.dates[0]), date2num(curves.dates[-1]))
    for ax in (equity, below):
        ax.tick_params(axis="x", labelbottom=False)
    table = figure.add_axes((0.645, 0.345, 0.335, 0.48))
    text_table(table, _headline(shown.metrics), edges=TABLE_EDGES)
    _calendar(figure, result)
    return figure


def _finding(shown: Shown) -> tuple[str, str]:
    """Return the verdict as a title and what it rests on."""
    title, _, rest = shown.metrics["verdict"]["sentence"].partition(": ")
    return title, rest[:1].upper() + rest[1:]


def _curves(result: BacktestResult) -> Curves:
    held = result.benchmark or result
    net, benchmark = (np.concatenate([[1.0], curve]) for curve in (result.equity, held.equity))
    return Curves(
        dates=result.fills,
        net=net,
        gross=np.concatenate([[1.0], np.maximum(np.cumprod(1.0 + result.gross_return), 0.0)]),
        benchmark=benchmark,
        net_drawdown=drawdown(net),
        benchmark_drawdown=drawdown(benchmark),
    )


def _hit_rates(ax: Axes, rows: Scored, sessions: pd.DatetimeIndex) -> None:
    rates = rolling_hit_rates(rows, sessions)
    hit_rates(ax, rates)
    heading(ax, f"Share of right calls over the last {rates.window} sessions")


def _headline(metrics: dict[str, Any]) -> list[TableRow]:
    """Return the headline numbers, skill first, then profit beside buy and hold."""
    skill, significance = metrics["forecast"], metrics["significance"]
    own, held = metrics["backtest"]["strategy"], metrics["backtest"]["benchmark"]
    test = skill["pesaran_timmermann"]

    def pair(label: str, key: str, style: Any) -> TableRow:
        return TableRow(label, (style(own[key]), style(held[key])))

    def whole(value: float | None) -> str:
        return number(value, decimals=0)

    return [
        TableRow("DID IT KNOW?", ("", "95% interval")),
        TableRow("Right calls", (percent(skill["accuracy"]), _interval(skill["accuracy_ci95"], percent))),
        TableRow("Right calls of the base rate", (percent(skill["accuracy_base_rate"]), "")),
        TableRow(
            "Area under the ROC curve",
            (number(skill["auc"], decimals=3), _interval(skill["auc_ci95"], _three)),
        ),
        TableRow("Log loss", (_five(skill["log_loss"]), "")),
        TableRow("Log loss of the base rate", (_five(skill["log_loss_base_rate"]), "")),
        TableRow("Pesaran-Timmermann p value", (number(test["p_value"] if test else None, decimals=3), "")),
        TableRow(""),
        TableRow("DID IT PAY?", ("strategy", "buy and hold")),
        pair("Growth a year, after costs", "cagr", percent),
        pair("Volatility a year", "volatility", percent),
        pair("Sharpe ratio", "sharpe", number),
        pair("95% interval", "sharpe_ci95", lambda bounds: _interval(bounds, number)),
        TableRow("Probabilistic Sharpe ratio", (percent(significance["probabilistic_sharpe"]), "")),
        TableRow(
            f"Deflated, {significance['trials']:,} trial{'s'[: significance['trials'] > 1]}",
            (percent(significance["deflated_sharpe"]), ""),
        ),
        pair("Largest drawdown", "max_drawdown", percent),
        pair("Longest drawdown, sessions", "longest_drawdown_sessions", whole),
        pair("Invested, on average", "exposure", lambda value: percent(value, decimals=0)),
        pair("Traded a year, times equity", "turnover_per_year", number),
        pair("Costs, total", "cost_total", percent),
        TableRow(
            "Breaks even at, bps a trade",
            (number(metrics["backtest"]["break_even_cost_bps"], decimals=1), ""),
        ),
        TableRow(""),
        TableRow("IF FILLED AT", ("Sharpe ratio", "growth a year")),
        *(_filled(place, metrics["backtest"]["fills"][fill]) for fill, place in FILLED.items()),
    ]


def _filled(place: str, numbers: dict[str, Any] | None) -> TableRow:
    """Return what the same decisions earn at another price; nothing where there is no such price."""
    if numbers is None:
        return TableRow(place, ("–", "–"))
    label = place if numbers["tradable"] else f"{place}, not tradable"
    return TableRow(label, (number(numbers["sharpe"]), percent(numbers["cagr"])))


def _interval(bounds: Any, style: Any) -> str:
    return f"{style(bounds[0])} to {style(bounds[1])}" if bounds else "–"


def _three(value: float | None) -> str:
    return number(value, decimals=3)


def _five(value: float | None) -> str:
    return number(value, decimals=5)


def _calendar(figure: Figure, result: BacktestResult) -> None:
    months = monthly_returns(result)
    top = 0.29
    height = min(ROW_HEIGHT * len(months), top - 0.03)
    ax = figure.add_axes((0.675, top - height, 0.305, height))
    month_calendar(ax, months, yearly_returns(result))
    title = "Monthly returns after costs, percent"
    figure.text(0.645, top + 0.03, title, fontsize=NORMAL, fontweight="bold", color=INK, va="center")
