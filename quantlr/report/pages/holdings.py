"""Panels on what was held: price with positions, weights by ticker, exposure and turnover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.rolling import binned_weights, rolling_exposure_and_turnover
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Panel, Table, fields_table, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LEGEND_ROW_POINTS,
    LOSS_GAIN_COLORS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Axes,
    add_legend_above,
    draw_loss_gain_image,
    format_log_axis,
    label_rows,
    marker_for_few_points,
    percent_text,
    set_percent_ticks,
)

LONG_COLOR, SHORT_COLOR = SKY, VERMILION


def price_table(context: PageContext) -> Table:
    """Return `price_panel_table` of the only ticker that has forecasts."""
    return price_panel_table(context, int(context.run_data.forecasts.ticker[0]), context.trades)


def price_panel_table(
    context: PageContext, ticker_index: int, trades: pd.DataFrame, *, dates: slice = slice(None)
) -> Table:
    """Return the price (sessions,) of a ticker on some fill dates, and entry and exit dates of its trades.

    `price_name` is that of the price at which it is traded, adjusted where any of its bars is. `long` and `short` are
    tables with the columns `entry` and `exit`; an open trade ends with the last date.
    """
    prices, result = context.run_data.prices, context.run_data.result
    adjustment, kind = prices.adjustment[:, ticker_index], context.config.execution.fill.removeprefix("next_")
    is_adjusted = (adjustment[~np.isnan(adjustment)] != 1.0).any()
    price, fill_dates = result.price[dates, ticker_index], result.fill_dates[dates]
    is_known = ~np.isnan(price)
    trades = trades.assign(exit=trades["exit"].fillna(fill_dates[-1]))
    sides = {side: trades.loc[trades["side"] == side, ["entry", "exit"]] for side in ("long", "short")}
    return {
        "ticker": result.tickers[ticker_index],
        "price_name": f"adjusted {kind}" if is_adjusted else kind,
        "dates": fill_dates[is_known],
        "price": price[is_known],
        "date_range": fill_dates[[0, -1]],
        **sides,
    }


def draw_price(ax: Axes, table: Table) -> None:
    """Draw a price, shaded while long and while short; on a log scale if it rose or fell to more than 4 times."""
    from matplotlib.dates import date2num

    dates, price = table["dates"], table["price"]
    for side, color, alpha in (("long", LONG_COLOR, 0.38), ("short", SHORT_COLOR, 0.34)):
        entry, exit_ = (date2num(table[side][column]) for column in ("entry", "exit"))
        if len(entry):
            spans = np.column_stack([entry, exit_ - entry]).tolist()
            style: dict[str, Any] = {"facecolor": color, "alpha": alpha, "linewidth": 0, "label": side}
            ax.broken_barh(spans, (0, 1), transform=ax.get_xaxis_transform(), **style)
    ax.plot(dates, price, color=BLACK, linewidth=1.0, marker=marker_for_few_points(dates))
    if price.max() > 4.0 * price.min():
        format_log_axis(ax, price, margins=(1 / 1.05, 1.05))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.3g}")
    add_legend_above(ax, n_columns=2)


def binned_weight_table(context: PageContext) -> Table:
    """Return the mean weights by ticker over time bins, and the fractions of tickers long and short.

    See `BinnedWeights`; `tickers` are the names of the columns of `mean_weight`.
    """
    result, forecasts = context.run_data.result, context.run_data.forecasts
    weights = binned_weights(result, np.unique(forecasts.ticker))
    names = context.forecast_tickers
    return fields_table(weights, tickers=names, n_tickers=len(names), date_range=result.fill_dates[[0, -1]])


@panel("Weights (% of equity)", binned_weight_table, LEGEND_ROW_POINTS)
def weights_panel(ax: Axes, table: Table) -> None:
    """Draw a row per ticker, blue for long and orange for short."""
    from matplotlib.dates import date2num
    from matplotlib.patches import Patch

    weights, tickers = table["mean_weight"].T, table["tickers"]
    half_range = float(np.abs(weights).max()) or 1.0
    left, right = date2num(table["bin_edges"][[0, -1]])
    extent = (left, right, len(tickers) - 0.5, -0.5)
    draw_loss_gain_image(ax, weights, half_range=half_range, interpolation="nearest", extent=extent)
    label_rows(ax, range(len(tickers)), tickers)
    ax.grid(visible=False)
    limit = percent_text(half_range, decimals=0)
    short, flat, long = LOSS_GAIN_COLORS
    entries = {f"{limit} short": short, "flat": flat, f"{limit} long": long} if weights.any() else {"flat": flat}
    style: dict[str, Any] = {"edgecolor": GREY, "linewidth": 0.5}
    handles = [Patch(facecolor=color, label=label, **style) for label, color in entries.items()]
    add_legend_above(ax, n_columns=3, handles=handles)
    ax.xaxis_date()


@panel("Positions (% of the {n_tickers} tickers)", binned_weight_table, LEGEND_ROW_POINTS)
def held_fractions_panel(ax: Axes, table: Table) -> None:
    """Draw the fraction of tickers long above the axis, and short below it."""
    dates, long, short = table["bin_edges"][:-1], table["long_fraction"], table["short_fraction"]
    for values, color, alpha, label in ((long, LONG_COLOR, 0.6, "long"), (-short, SHORT_COLOR, 0.5, "short")):
        ax.fill_between(dates, values, step="post", color=color, alpha=alpha, linewidth=0, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(-max(float(short.max()), 0.02) * 1.1, max(float(long.max()), 0.02) * 1.1)
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * abs(value):g}%")
    add_legend_above(ax, n_columns=2)


def exposure_table(context: PageContext) -> dict[str, Any]:
    """Return gross and net exposure as fractions of equity, averaged over a trailing window."""
    result, per_year = context.run_data.result, context.sessions_per_year
    rolling = rolling_exposure_and_turnover(result, sessions_per_year=per_year)
    average = f", {rolling.window}-{context.bar_unit} mean" if rolling.window > 1 else ""
    table = fields_table(rolling, average=average, date_range=result.fill_dates[[0, -1]])
    return table if rolling.gross_exposure.any() else table | {"message": "No position was held."}


@panel("Exposure (% of equity{average})", exposure_table, LEGEND_ROW_POINTS)
def exposure_panel(ax: Axes, table: Table) -> None:
    """Draw gross exposure, and net exposure where it differs."""
    dates, gross, net = table["dates"], table["gross_exposure"], table["net_exposure"]
    marker = marker_for_few_points(dates)
    ax.plot(dates, gross, color=BLUE, linewidth=1.5, marker=marker, label="gross (long + short)")
    if not np.array_equal(gross, net):
        ax.plot(dates, net, color=ORANGE, linewidth=1.2, marker=marker, label="net (long − short)")
        add_legend_above(ax, n_columns=2)
    ax.axhline(0, color=GREY, linewidth=0.8)
    low, high = min(float(net.min()), 0.0), max(float(gross.max()), 0.1)
    ax.set_ylim(low - 0.08 * (high - low) * (low < 0), high + 0.08 * (high - low))
    set_percent_ticks(ax.yaxis, max_intervals=4)


def turnover_table(context: PageContext) -> Table:
    """Return the turnover over a trailing window, in multiples of equity per year."""
    table = exposure_table(context)
    table.pop("message", None)
    return table if table["annual_turnover"].any() else table | {"message": "Nothing was traded."}


@panel("Turnover (annual, x equity{average})", turnover_table)
def turnover_panel(ax: Axes, table: Table) -> None:
    """Draw the annual turnover."""
    dates, turnover = table["dates"], table["annual_turnover"]
    ax.plot(dates, turnover, color=PURPLE, linewidth=1.4, marker=marker_for_few_points(dates))
    ax.set_ylim(0, max(float(turnover.max()), 0.1) * 1.1)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")


PRICE_PANEL = Panel(
    "largest_position_price",
    "{ticker}: {price_name} and positions",
    price_table,
    draw_price,
    LEGEND_ROW_POINTS,
)
