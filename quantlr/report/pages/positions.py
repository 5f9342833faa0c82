"""The page on positions and costs: what was held and traded, what it earned, and how costs and fills change that."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.fills import backtest_by_fill
from quantlr.backtest.rolling import average_trade_cost_bps, costs_by_kind, sharpe_at_cost
from quantlr.backtest.trades import annual_excess_return_by_side, histogram_around_zero, trade_summary_by_side
from quantlr.report.context import PageContext
from quantlr.report.pages.holdings import (
    PRICE_PANEL,
    exposure_panel,
    held_fractions_panel,
    turnover_panel,
    weights_panel,
)
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Table, fields_table, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LABEL_STYLE,
    LEGEND_ROW_POINTS,
    ORANGE,
    PURPLE,
    VERMILION,
    Axes,
    TableRow,
    add_legend_above,
    count_text,
    draw_equity_curves,
    draw_text_table,
    make_table_row,
    marker_for_few_points,
    number_text,
    percent_text,
    set_percent_ticks,
)
from quantlr.report.summary import benchmark_label

COST_PART_COLORS = {
    "commission": ORANGE,
    "slippage": VERMILION,
    "spread and fees": PURPLE,
    "borrow": GREEN,
    "financing": GREY,
}
FILL_STYLES = {"next_close": ("next close", BLUE), "next_open": ("next open", GREEN), "close": ("same close", ORANGE)}
"""Label and colour of each fill."""
MAX_WEIGHT_MAP_TICKERS = 40
"""Tickers that have a row each; of more, only the fractions held are drawn."""
MIN_ANNUAL_TURNOVER = 1.0
"""Turnover per year, in multiples of equity, below which costs hardly matter."""


def cumulative_cost_table(context: PageContext) -> Table:
    """Return the cumulative excess return before costs and cumulative costs, as sums of fractions of equity.

    `gross_excess` is (sessions,); `costs` maps each part that is not 0 to (sessions,).
    """
    result, config = context.run_data.result, context.config
    costs = costs_by_kind(result, config.execution, sessions_per_year=context.sessions_per_year)
    table: dict[str, Any] = {
        "dates": result.sessions,
        "gross_excess": np.cumsum(result.gross_return - result.session_cash_rate),
        "costs": {name: np.cumsum(cost) for name, cost in costs.items() if cost.any()},
        "date_range": result.fill_dates[[0, -1]],
    }
    if not table["costs"] and not table["gross_excess"].any():
        table["message"] = "There was neither an excess return nor a cost."
    return table


@panel("Cumulative gross excess return and costs (% of equity)", cumulative_cost_table, LEGEND_ROW_POINTS)
def cumulative_costs_panel(ax: Axes, table: Table) -> None:
    """Draw costs stacked upon one another, and the gross excess return as a line."""
    dates, gross, base = table["dates"], table["gross_excess"], np.zeros(len(table["dates"]))
    for name, cost in table["costs"].items():
        style: dict[str, Any] = {"color": COST_PART_COLORS[name], "alpha": 0.75, "linewidth": 0}
        ax.fill_between(dates, base, base + cost, label=f"{name} {percent_text(cost[-1])}", **style)
        base = base + cost
    label = f"gross excess return {percent_text(gross[-1])}"
    ax.plot(dates, gross, color=BLUE, linewidth=1.4, marker=marker_for_few_points(dates), label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    set_percent_ticks(ax.yaxis, max_intervals=5)
    add_legend_above(ax, n_columns=5)


def sharpe_by_cost_table(context: PageContext) -> Table:
    """Return the annual Sharpe ratio by trading cost: `cost_bps` and `sharpe` (m,), per traded side.

    `run_cost_bps` and `run_sharpe` belong to the run, `benchmark_sharpe` to the benchmark at its own costs; at
    `break_even_cost_bps` the gross excess return is 0, borrow and financing left aside.
    """
    result, config, metrics = context.run_data.result, context.config, context.metrics["backtest"]
    execution, per_year = config.execution, context.sessions_per_year
    run_cost = average_trade_cost_bps(result, execution, sessions_per_year=per_year)
    costs = costs_by_kind(result, execution, sessions_per_year=per_year)
    break_even = metrics["break_even_cost_bps"]
    if run_cost is None or break_even is None:
        return {"remark": "", "message": "Nothing was traded: the trading cost makes no difference."}
    max_cost, remark = max(2.5 * run_cost, 10.0), ""
    if 0 < break_even <= 8 * max_cost:
        max_cost = max(max_cost, 1.25 * break_even)
    if break_even < 0:
        remark = ": negative before costs"
    elif break_even > max_cost:
        remark = f" (break-even {number_text(break_even, decimals=0)} bps)"
    cost_bps = np.linspace(0.0, max_cost, 121)
    return {
        "cost_bps": cost_bps,
        "sharpe": sharpe_at_cost(result, cost_bps, execution, sessions_per_year=per_year),
        "run_cost_bps": run_cost,
        "run_sharpe": metrics["strategy"]["sharpe"],
        "break_even_cost_bps": break_even,
        "carry_costs": [kind for kind in ("borrow", "financing") if costs[kind].any()],
        "benchmark_sharpe": metrics["benchmark"]["sharpe"],
        "benchmark_name": benchmark_label(context.metrics),
        "remark": remark,
    }


@panel("Sharpe ratio by trading cost{remark}", sharpe_by_cost_table, 2 * LEGEND_ROW_POINTS)
def sharpe_by_cost_panel(ax: Axes, table: Table) -> None:
    """Draw the Sharpe ratio by trading cost, and mark this run, the break-even cost, and the benchmark."""
    cost_bps, run_cost, run_sharpe = table["cost_bps"], table["run_cost_bps"], table["run_sharpe"]
    benchmark, break_even = table["benchmark_sharpe"], table["break_even_cost_bps"]
    if benchmark is not None:
        label = f"{table['benchmark_name']}: {number_text(benchmark)}"
        ax.axhline(benchmark, color=ORANGE, linewidth=1.2, label=label)
    ax.plot(cost_bps, table["sharpe"], color=BLUE, linewidth=1.8, label="strategy")
    ax.axhline(0, color=GREY, linewidth=0.8)
    if run_sharpe is not None:
        label = f"this run: {number_text(run_cost, decimals=1)} bps, {number_text(run_sharpe)}"
        ax.plot([run_cost], [run_sharpe], "o", color=BLACK, markersize=6, label=label)
    if 0 <= break_even <= cost_bps[-1]:
        remark = f" without {' and '.join(table['carry_costs'])}" if table["carry_costs"] else ""
        label = f"break-even{remark}: {number_text(break_even, decimals=1)} bps"
        ax.axvline(break_even, color=VERMILION, linewidth=1.2, linestyle="--", label=label)
    ax.set_xlim(0, cost_bps[-1])
    ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=7)
    ax.set_xlabel("trading cost per side (basis points of the traded value)", **LABEL_STYLE)
    add_legend_above(ax, n_columns=2)


def growth_by_fill_table(context: PageContext) -> Table:
    """Return a table `curves` with a row per fill: `label`, `dates` and `equity` (sessions + 1,) from 1 on.

    `is_run_fill` marks the configured fill, `is_tradable` those at which one can trade.
    """
    config, metrics, data = context.config, context.metrics["backtest"]["fills"], context.run_data
    per_year = context.sessions_per_year
    results = backtest_by_fill(data.positions, data.prices, config.execution, sessions_per_year=per_year)
    curves = []
    for fill, result in results.items():
        if result is None or not len(result.equity):
            continue
        is_run_fill, is_tradable = fill == config.execution.fill, metrics[fill]["tradable"]
        remarks = [text for text, applies in (("this run", is_run_fill), ("not tradable", not is_tradable)) if applies]
        curves.append({
            "fill": fill, "label": ", ".join([FILL_STYLES[fill][0], *remarks]), "dates": result.fill_dates,
            "equity": np.append(1.0, result.equity), "is_run_fill": is_run_fill, "is_tradable": is_tradable,
        })  # fmt: skip
    if not curves:
        return {"message": "Prices end before every fill has a return."}
    return {"curves": curves, "date_range": curves[0]["dates"]}


@panel("Growth of 1 by fill (log scale)", growth_by_fill_table, 3 * LEGEND_ROW_POINTS - 4)
def growth_by_fill_panel(ax: Axes, table: Table) -> None:
    """Draw the equity of each fill; dashed where one cannot trade."""
    curves = []
    for curve in table["curves"]:
        width, zorder = (1.9, 3) if curve["is_run_fill"] else (1.2, 2)
        style = {"color": FILL_STYLES[curve["fill"]][1], "linewidth": width, "zorder": zorder}
        style["linestyle"] = "-" if curve["is_tradable"] else (0, (4, 1.5))
        curves.append((curve["dates"], curve["equity"], curve["label"], style))
    draw_equity_curves(ax, curves, margins=(0.98, 1.02))
    add_legend_above(ax, n_columns=1)


def trade_return_table(context: PageContext) -> Table:
    """Return the histogram of the trades' returns after costs (see `Histogram`) and their mean."""
    trades = context.trades
    table: dict[str, Any] = {"trades": count_text(len(trades), "trade")}
    if not len(trades):
        return table | {"message": "There were no trades."}
    net_return = (trades["return"] - trades["cost"]).to_numpy(dtype=np.float64)
    return table | fields_table(histogram_around_zero(net_return), mean_return=float(net_return.mean()))


@panel("{trades} by return after costs", trade_return_table, LEGEND_ROW_POINTS)
def trade_returns_panel(ax: Axes, table: Table) -> None:
    """Draw a histogram of returns, losses and gains in different colours."""
    left, mean = table["bin_edges"][:-1], table["mean_return"]
    width = table["bin_edges"][1] - left[0]
    colors = [BLUE if edge >= -width / 2 else VERMILION for edge in left]
    ax.bar(left, table["count"], width=0.92 * width, align="edge", color=colors, linewidth=0)
    outside = f"; outermost bars include {table['n_outside']:,} beyond" if table["n_outside"] else ""
    label = f"mean {percent_text(mean, decimals=2)}{outside}"
    ax.axvline(mean, color=BLACK, linewidth=1.2, linestyle="--", label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    set_percent_ticks(ax.xaxis, max_intervals=8)
    ax.locator_params(axis="y", nbins=4, integer=True)
    add_legend_above(ax, n_columns=1)


def trades_by_side_table(context: PageContext) -> Table:
    """Return the rows of a table of long and short trades; a dash for a side without trades."""
    per_year = context.sessions_per_year
    trades = trade_summary_by_side(context.trades).reindex(["long", "short"])
    annual_return = annual_excess_return_by_side(context.run_data.result, sessions_per_year=per_year)
    return {"rows": [
        TableRow("Trades", ("long", "short"), is_heading=True),
        make_table_row("Number of trades", trades["trades"], number_text, decimals=0),
        make_table_row("Win rate, after costs", trades["won"], percent_text),
        make_table_row("Mean return, after costs", trades["mean"], percent_text, decimals=2),
        make_table_row(f"{context.bar_unit.capitalize()}s held, median", trades["sessions"], number_text, decimals=0),
        make_table_row("Gross excess return (annual, arithmetic)", annual_return.values(), percent_text, decimals=2),
    ]}  # fmt: skip


TRADES_BY_SIDE_PANEL = Panel(
    "trades_by_side", "", trades_by_side_table, partial(draw_text_table, column_right_edges=(0.72, 1.0))
)


def positions_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page; holdings are a price, weights by ticker, or fractions of very many tickers."""
    n_tickers = len(context.forecast_tickers)
    holdings = weights_panel if n_tickers <= MAX_WEIGHT_MAP_TICKERS else held_fractions_panel
    panels = (
        PlacedPanel(PRICE_PANEL if n_tickers == 1 else holdings, (0.055, 0.5273, 0.56, 0.2527), has_x_labels=False),
        PlacedPanel(exposure_panel, (0.055, 0.3811, 0.56, 0.0875), has_x_labels=False),
        PlacedPanel(turnover_panel, (0.055, 0.2495, 0.56, 0.0729), has_x_labels=False),
        PlacedPanel(cumulative_costs_panel, (0.055, 0.045, 0.56, 0.1458)),
        PlacedPanel(sharpe_by_cost_panel, (0.665, 0.641, 0.315, 0.123)),
        PlacedPanel(growth_by_fill_panel, (0.665, 0.372, 0.315, 0.128)),
        PlacedPanel(trade_returns_panel, (0.665, 0.202, 0.315, 0.098)),
    )
    if not len(context.trades):
        return panels
    return (*panels, PlacedPanel(TRADES_BY_SIDE_PANEL, (0.665, 0.036, 0.315, 0.132)))


def positions_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return exposure, trades and the effect of costs, and the numbers behind that."""
    strategy, break_even = (context.metrics["backtest"][key] for key in ("strategy", "break_even_cost_bps"))
    n_sessions = len(context.run_data.result.equity)
    if break_even is None:
        return (
            "No trades",
            f"No position was taken in {count_text(n_sessions, context.bar_unit)}: returns and costs are 0.",
        )
    years, trades = n_sessions / context.sessions_per_year, context.trades
    turnover, annual_cost = strategy["turnover_per_year"], strategy["cost_total"] / years
    annual_gross = break_even * BASIS_POINT * turnover
    trades_per_year = strategy["trades"] / years
    trades_text = number_text(trades_per_year, decimals=0 if trades_per_year >= 10 else 1)
    n_long = int((trades["side"] == "long").sum())
    text = (
        f"{n_long:,} long and {count_text(len(trades) - n_long, 'short trade')}, turnover "
        f"{number_text(turnover, decimals=1)} times equity a year. Mean excess return before costs "
        f"{percent_text(annual_gross)} of equity a year (arithmetic), costs {percent_text(annual_cost)}"
    )
    if turnover >= MIN_ANNUAL_TURNOVER:
        bps = (number_text(value, decimals=1) for value in (break_even, annual_cost / turnover / BASIS_POINT))
        text += " ({} and {} basis points of the traded value)".format(*bps)
    if strategy["final_equity"] <= 0:
        text += f". Equity fell to 0 after {count_text(n_sessions, context.bar_unit)}, where the backtest ends"
    exposure = percent_text(strategy["exposure"], decimals=0)
    outcome = _cost_outcome_text(strategy["final_equity"], annual_gross, annual_cost, turnover)
    label, is_next_close = context.config.label, context.config.execution.fill == "next_close"
    if label.of == "close" and label.horizon == 1 and is_next_close:
        text += ". The session that is forecast is never held: it ends at the fill"
    return f"Average exposure {exposure}, {trades_text} trades a year: {outcome}", f"{text}."


def _cost_outcome_text(final_equity: float, annual_gross: float, annual_cost: float, annual_turnover: float) -> str:
    """Return a short text on how much of the excess return remains after costs."""
    if final_equity <= 0:
        return "equity fell to 0"
    if annual_gross <= 0:
        return "negative excess return before costs"
    if annual_cost >= annual_gross:
        return "costs exceed the excess return"
    if final_equity < 1.0:
        return "loss after costs"
    if annual_turnover < MIN_ANNUAL_TURNOVER:
        return "turnover is too low for costs to matter"
    return f"costs are {percent_text(annual_cost / annual_gross, decimals=0)} of the gross excess return"


POSITIONS_PAGE = Page(
    "positions.png",
    "Positions and costs",
    positions_title_and_text,
    positions_panels,
    "From top to bottom: what was held, how much was traded, what that cost; the break-even cost is where "
    "the Sharpe ratio is 0, and a dashed equity curve could not have been traded.",
)
