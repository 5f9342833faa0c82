"""Positions and costs: what was held when, how often it traded, and what trading cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.fills import backtest_by_fill
from quantlr.backtest.rolling import (
    RollingExposure,
    average_trade_cost_bps,
    binned_weights,
    cost_breakdown,
    rolling_exposure,
    sharpe_at_cost,
)
from quantlr.backtest.trades import (
    annual_excess_return_by_side,
    histogram_around_zero,
    trade_summary_by_side,
    trade_table,
)
from quantlr.core.values import BacktestResult
from quantlr.report.context import PageContext
from quantlr.report.figures.costs import (
    CumulativeCosts,
    FillEquityCurve,
    SharpeByCost,
    draw_cumulative_costs,
    draw_equity_by_fill,
    draw_sharpe_by_cost,
)
from quantlr.report.figures.positions import (
    PriceWithPositions,
    draw_price_with_positions,
    draw_share_of_tickers_held,
    draw_trailing_exposure,
    draw_trailing_turnover,
    draw_weight_map,
)
from quantlr.report.figures.trips import draw_trade_return_histogram
from quantlr.report.pages.layout import new_page
from quantlr.report.style import draw_message, format_date_axis, number_text, percent_text, set_panel_title, style_axes
from quantlr.report.tables import TableRow, draw_text_table

SHORT_FILL_LABELS = {"next_close": "next close", "next_open": "next open", "close": "same close"}
MAX_WEIGHT_MAP_TICKERS = 40
"""Tickers that a map of weights has a row for; of more, only how many are held is drawn."""
LEGEND_ROW_POINTS = 16.0
"""Points that a row of a legend takes between a heading and its axes."""
MIN_ANNUAL_TURNOVER = 1.0
"""Times that equity is traded in a year, below which costs hardly matter."""
N_PLOTTED_COSTS = 121
COLUMN_RIGHT_EDGES = (0.72, 1.0)


def positions_page(context: PageContext) -> Figure:
    """Return the page of what was held and what it cost."""
    result, per_year = context.run_data.result, context.config.report.sessions_per_year
    table = trade_table(result)
    figure = new_page(
        context,
        *positions_title_and_text(context.metrics, table, n_sessions=len(result.equity), sessions_per_year=per_year),
    )
    _draw_time_panels(figure, context, table)
    right = {"left": 0.665, "width": 0.315}
    _draw_sharpe_by_cost_panel(_add_axes_below(figure, top=0.764, height=0.132, **right), context)
    _draw_equity_by_fill_panel(_add_axes_below(figure, top=0.512, height=0.128, **right), context)
    _draw_trade_returns_panel(_add_axes_below(figure, top=0.3, height=0.098, **right), table)
    if len(table):
        draw_text_table(
            _add_axes_below(figure, top=0.168, height=0.132, **right),
            _trades_by_side_rows(table, annual_excess_return_by_side(result, sessions_per_year=per_year)),
            column_right_edges=COLUMN_RIGHT_EDGES,
        )
    return figure


def _add_axes_below(figure: Figure, *, left: float, width: float, top: float, height: float) -> Axes:
    """Return axes that hang from `top`."""
    return figure.add_axes((left, top - height, width, height))


def positions_title_and_text(
    metrics: dict[str, Any], trade_table: pd.DataFrame, *, n_sessions: int, sessions_per_year: int
) -> tuple[str, str]:
    """Return what it did and whether costs eat it, and the numbers behind that."""
    own, break_even = metrics["backtest"]["strategy"], metrics["backtest"]["break_even_cost_bps"]
    if break_even is None:
        span = f"{n_sessions:,} session{'s'[: n_sessions > 1]}"
        return "It never traded", f"In {span} no position was asked for: there is nothing to earn, and nothing to pay."
    traded, costs = own["turnover_per_year"], own["cost_total"] * sessions_per_year / n_sessions
    earned = break_even * BASIS_POINT * traded
    trips = own["trades"] * sessions_per_year / n_sessions
    done = f"{percent_text(own['exposure'], decimals=0)} invested, {_trades_per_year_text(trips)} round trips a year"
    longs = int((trade_table["side"] == "long").sum())
    text = (
        f"{longs:,} long and {len(trade_table) - longs:,} short round trips traded {number_text(traded, decimals=1)} times equity "
        "a year. "
        f"Before costs and above cash that earned {percent_text(earned)} of equity a year, costs took {percent_text(costs)}"
        f"{_earned_and_paid_bps_text(break_even, own, traded, costs)}."
    )
    if own["final_equity"] <= 0:
        text += f" Equity fell to 0 after {n_sessions:,} sessions, and the backtest ends there."
    return f"{done}: {_cost_share_text(own, earned, costs, traded)}", text


def _trades_per_year_text(trades_per_year: float) -> str:
    return number_text(trades_per_year, decimals=0 if trades_per_year >= 10 else 1)


def _cost_share_text(
    strategy_metrics: dict[str, Any], annual_gross_return: float, annual_cost: float, annual_turnover: float
) -> str:
    """Return what became of what was earned, in a few words."""
    if strategy_metrics["final_equity"] <= 0:
        return "it lost everything"
    if annual_gross_return <= 0:
        return "it lost before costs"
    if annual_cost >= annual_gross_return:
        return "costs took more than it earned"
    if annual_turnover < MIN_ANNUAL_TURNOVER:
        return "it trades too rarely for costs to matter"
    return f"costs took {percent_text(annual_cost / annual_gross_return, decimals=0)} of what it earned"


def _earned_and_paid_bps_text(
    break_even_cost_bps: float, strategy_metrics: dict[str, Any], annual_turnover: float, annual_cost: float
) -> str:
    """Return the same by what is traded; of a strategy that hardly trades that says nothing."""
    if annual_turnover < MIN_ANNUAL_TURNOVER:
        return ""
    paid = annual_cost / annual_turnover / BASIS_POINT
    earned = f"it earned {number_text(break_even_cost_bps, decimals=1)} basis points of what it traded"
    return f": {earned} and paid {number_text(paid, decimals=1)}"


def _draw_time_panels(figure: Figure, context: PageContext, trade_table: pd.DataFrame) -> None:
    """Draw the left half: what was held, how much, how much was traded, and what it earned and cost."""
    result = context.run_data.result
    done = rolling_exposure(result, sessions_per_year=context.config.report.sessions_per_year)
    rows = figure.add_gridspec(4, 1, left=0.055, right=0.615, top=0.78, bottom=0.045, hspace=0.42,
                               height_ratios=(2.6, 0.9, 0.75, 1.5))  # fmt: skip
    axes = [figure.add_subplot(rows[at]) for at in range(4)]
    for ax in axes:
        style_axes(ax)
    _draw_holdings_panel(axes[0], context, trade_table)
    draw_trailing_exposure(axes[1], done)
    set_panel_title(
        axes[1], f"Invested, percent of equity{_averaging_window_text(done)}", padding_points=LEGEND_ROW_POINTS
    )
    draw_trailing_turnover(axes[2], done)
    set_panel_title(axes[2], f"Traded, times equity a year{_averaging_window_text(done)}")
    _draw_cumulative_costs_panel(axes[3], context)
    for ax in axes:
        format_date_axis(ax)
        ax.set_xlim(*date2num(result.fill_dates[[0, -1]]))
    for ax in axes[:-1]:
        ax.tick_params(axis="x", labelbottom=False)
        ax.xaxis.get_offset_text().set_visible(False)


def _averaging_window_text(trailing_activity: RollingExposure) -> str:
    return f" (mean of {trailing_activity.window} sessions)" if trailing_activity.window > 1 else ""


def _draw_holdings_panel(ax: Axes, context: PageContext, trade_table: pd.DataFrame) -> None:
    """Draw what was held when: one ticker's price, some tickers' weights, or how many of very many were held."""
    result, names = context.run_data.result, context.run_data.forecasts.tickers
    traded = np.unique(context.run_data.forecasts.ticker)
    if len(traded) == 1:
        draw_price_with_positions(ax, price_with_positions_values(result, int(traded[0]), trade_table))
        kind = context.config.execution.fill.removeprefix("next_")
        set_panel_title(
            ax, f"{names[traded[0]]}, adjusted {kind}, and when it was held", padding_points=LEGEND_ROW_POINTS
        )
        return
    held = binned_weights(result, traded)
    if len(traded) <= MAX_WEIGHT_MAP_TICKERS:
        draw_weight_map(ax, held, [names[ticker] for ticker in traded])
        set_panel_title(ax, "What each ticker was held at, as a share of equity", padding_points=LEGEND_ROW_POINTS)
    else:
        draw_share_of_tickers_held(ax, held)
        set_panel_title(ax, f"Share of the {len(traded)} tickers that was held", padding_points=LEGEND_ROW_POINTS)


def price_with_positions_values(
    result: BacktestResult, ticker_index: int, trade_table: pd.DataFrame
) -> PriceWithPositions:
    """Return the price of the ticker at that position, and the spells of its round trips in `table`."""
    price = result.price[:, ticker_index]
    seen = ~np.isnan(price)
    spells = trade_table.assign(exit=trade_table["exit"].fillna(result.fill_dates[-1]))
    long, short = (spells.loc[spells["side"] == side, ["entry", "exit"]] for side in ("long", "short"))
    return PriceWithPositions(result.fill_dates[seen], price[seen], long, short)


def _draw_cumulative_costs_panel(ax: Axes, context: PageContext) -> None:
    result, config = context.run_data.result, context.config
    parts = cost_breakdown(result, config.execution, sessions_per_year=config.report.sessions_per_year)
    named = {
        "commission": parts.commission,
        "slippage": parts.slippage,
        "spread and fees": parts.fees_and_spread,
        "borrow": parts.borrow,
    }
    piled = CumulativeCosts(
        dates=result.sessions,
        cumulative_gross_excess=np.cumsum(result.gross_return - result.session_cash_rate),
        cumulative_cost_by_part={name: np.cumsum(values) for name, values in named.items() if values.any()},
    )
    draw_cumulative_costs(ax, piled)
    set_panel_title(
        ax, "Earned above cash and paid so far, sums of percent of equity", padding_points=LEGEND_ROW_POINTS
    )


def _draw_sharpe_by_cost_panel(ax: Axes, context: PageContext) -> None:
    result, config, found = context.run_data.result, context.config, context.metrics["backtest"]
    per_year = config.report.sessions_per_year
    own = average_trade_cost_bps(result, config.execution, sessions_per_year=per_year)
    if own is None or found["break_even_cost_bps"] is None:
        ax.set_axis_off()
        draw_message(ax, "It never traded: what a trade costs makes no difference.")
        set_panel_title(ax, "Sharpe ratio by cost per trade", padding_points=2 * LEGEND_ROW_POINTS)
        return
    style_axes(ax)
    reach, break_even = max(2.5 * own, 10.0), found["break_even_cost_bps"]
    if 0 < break_even <= 8 * reach:
        reach = max(reach, 1.25 * break_even)
    bps = np.linspace(0.0, reach, N_PLOTTED_COSTS)
    at = SharpeByCost(
        cost_bps=bps,
        sharpe=sharpe_at_cost(result, bps, config.execution, sessions_per_year=per_year),
        run_cost_bps=own,
        run_sharpe=found["strategy"]["sharpe"],
        break_even_cost_bps=break_even,
        has_borrow_cost=bool((result.weight < 0).any()) and config.execution.borrow_bps_per_year > 0,
        benchmark_sharpe=found["benchmark"]["sharpe"],
    )
    draw_sharpe_by_cost(ax, at)
    set_panel_title(
        ax,
        f"Sharpe ratio by cost per trade{_break_even_outside_plot_text(break_even, reach)}",
        padding_points=2 * LEGEND_ROW_POINTS,
    )


def _break_even_outside_plot_text(break_even_cost_bps: float, max_plotted_cost_bps: float) -> str:
    """Return where it breaks even, if that is not in the picture."""
    if break_even_cost_bps < 0:
        return ": negative before costs"
    return (
        ""
        if break_even_cost_bps <= max_plotted_cost_bps
        else f" (breaks even at {number_text(break_even_cost_bps, decimals=0)} bps)"
    )


def _draw_equity_by_fill_panel(ax: Axes, context: PageContext) -> None:
    config, compared = context.config, context.metrics["backtest"]["fills"]
    found = backtest_by_fill(
        context.run_data.positions,
        context.run_data.prices,
        config.execution,
        sessions_per_year=config.report.sessions_per_year,
    )
    curves = []
    for fill, result in found.items():
        if result is None or not len(result.equity):
            continue
        told = [SHORT_FILL_LABELS[fill], *(["this run"] if fill == config.execution.fill else [])]
        told += [] if compared[fill]["tradable"] else ["not tradable"]
        equity = np.concatenate([[1.0], result.equity])
        name, own = ", ".join(told), fill == config.execution.fill
        curves.append(FillEquityCurve(fill, name, result.fill_dates, equity, own, compared[fill]["tradable"]))
    set_panel_title(ax, "What one unit became, by fill (log scale)", padding_points=3 * LEGEND_ROW_POINTS - 4)
    if not curves:
        ax.set_axis_off()
        draw_message(ax, "Prices end before every fill has earned anything.")
        return
    style_axes(ax)
    draw_equity_by_fill(ax, curves)
    format_date_axis(ax)
    ax.set_xlim(*date2num(curves[0].dates[[0, -1]]))


def _draw_trade_returns_panel(ax: Axes, trade_table: pd.DataFrame) -> None:
    if not len(trade_table):
        set_panel_title(ax, "Round trips")
        ax.set_axis_off()
        draw_message(ax, "There were none.")
        return
    style_axes(ax)
    net = (trade_table["return"] - trade_table["cost"]).to_numpy(dtype=np.float64)
    draw_trade_return_histogram(ax, histogram_around_zero(net), mean_return=float(net.mean()))
    set_panel_title(
        ax,
        f"{len(trade_table):,} round trip{'s'[: len(trade_table) > 1]} by return after costs",
        padding_points=LEGEND_ROW_POINTS,
    )


def _trades_by_side_rows(trade_table: pd.DataFrame, annual_gross_by_side: dict[str, float]) -> list[TableRow]:
    """Return where round trips earned their place, long and short; a dash where a side was never taken."""
    found = trade_summary_by_side(trade_table).reindex(["long", "short"])

    def table_row(label: str, values: Iterable[float], formatter: Callable[[float], str]) -> TableRow:
        return TableRow(label, tuple(formatter(value) for value in values))

    def format_whole_number(value: float) -> str:
        return number_text(value, decimals=0)

    def format_percent_2_decimals(value: float) -> str:
        return percent_text(value, decimals=2)

    return [
        TableRow("ROUND TRIPS", ("long", "short")),
        table_row("How many", found["trades"], format_whole_number),
        table_row("Won, after costs", found["won"], percent_text),
        table_row("Mean return, after costs", found["mean"], format_percent_2_decimals),
        table_row("Sessions held, median", found["sessions"], format_whole_number),
        table_row("Earned a year before costs, of equity", annual_gross_by_side.values(), format_percent_2_decimals),
    ]
