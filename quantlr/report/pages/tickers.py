"""Ticker by ticker: what each added, how well it was called, what it weighed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.attribution import (
    TickerAttribution,
    cumulative_contribution,
    ticker_attribution,
)
from quantlr.core.arrays import Array, IntArray
from quantlr.report.context import PageContext
from quantlr.report.figures.tickers import (
    TickerValues,
    draw_bars_by_ticker,
    draw_contribution_by_excess_accuracy,
    draw_cumulative_contributions,
    draw_dots_by_ticker,
    draw_ranked_values,
    label_ticker_rows,
)
from quantlr.report.pages.layout import new_page
from quantlr.report.style import BLACK, GREY, format_date_axis, number_text, percent_text, set_panel_title, style_axes
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import expected_order_statistics

MAX_ROWS_ABOVE_PLOT = 15
"""Tickers whose rows leave room below them."""
MAX_TICKER_ROWS = 60
"""Tickers that have a row each; of more, only the first and the last are named."""
N_EXTREME_TICKERS = 3
LEGEND_ROW_POINTS = 16.0
"""Points that a row of a legend takes between a heading and its axes."""
ONE_TAIL_PROBABILITY = 0.025
"""Share of tickers that luck lifts above its 95 % reach."""


def has_several_tickers(context: PageContext) -> bool:
    """Return whether there are tickers to compare."""
    return len(context.forecast_tickers) > 1


def tickers_page(context: PageContext) -> Figure:
    """Return the page that sets tickers side by side."""
    per_year = context.config.report.sessions_per_year
    found = ticker_attribution(
        context.run_data.result, context.run_data.forecasts, context.evaluated, sessions_per_year=per_year
    )
    names = context.forecast_tickers
    order = np.argsort(-found.annual_contribution, kind="stable")
    figure = new_page(context, *_tickers_title_and_text(found, names, order))
    if len(names) <= MAX_TICKER_ROWS:
        _draw_ticker_row_panels(figure, context, found, names, order)
    else:
        _draw_ticker_rank_panels(figure, context, found, names, order)
    return figure


def _tickers_title_and_text(
    ticker_stats: TickerAttribution, tickers: list[str], ticker_order: IntArray
) -> tuple[str, str]:
    """Return how many tickers added to the return and were called better than luck, and which did most."""
    count, better = (
        len(tickers),
        int((ticker_stats.accuracy - ticker_stats.baseline_accuracy > ticker_stats.accuracy_band_half_width).sum()),
    )
    gained = int((ticker_stats.annual_contribution > 0).sum())
    expected = ONE_TAIL_PROBABILITY * count
    by_luck = f"{expected:.0f}" if expected >= 1 else "fewer than one"
    best, worst = int(ticker_order[0]), int(ticker_order[-1])
    if not ticker_stats.mean_absolute_weight.any():
        return "No ticker was ever held", f"Of {count} tickers {better} were called better than luck allows."
    title = f"{gained} of {count} tickers added to the return; {better} called better than luck allows"
    text = (
        f"{tickers[best]} added most ({percent_text(ticker_stats.annual_contribution[best], decimals=2)} of equity a year, after costs and "
        f"above cash), {tickers[worst]} least ({percent_text(ticker_stats.annual_contribution[worst], decimals=2)}); all together "
        f"{percent_text(float(ticker_stats.annual_contribution.sum()), decimals=2)}. By luck alone {by_luck} of {count} would be called "
        "so much better than the base rate's call."
    )
    return title, text


def _draw_ticker_row_panels(
    figure: Figure, context: PageContext, ticker_stats: TickerAttribution, tickers: list[str], ticker_order: IntArray
) -> None:
    """Give each ticker a row; what they added over time stands below few rows, and beside many."""
    few = len(tickers) <= MAX_ROWS_ABOVE_PLOT
    height = min(0.1 + 0.022 * len(tickers), 0.36) if few else 0.735
    top, left = 0.78, min(0.03 + 0.0055 * max(len(name[:14]) for name in tickers), 0.11)
    grid = figure.add_gridspec(1, 4, left=left, right=0.98 if few else 0.66, top=top, bottom=top - height,
                               width_ratios=(1.2, 1.0, 0.8, 1.0), wspace=0.1)  # fmt: skip
    axes = [figure.add_subplot(grid[at]) for at in range(4)]
    for ax in axes:
        style_axes(ax)
    nothing = np.zeros(len(tickers))
    draw_bars_by_ticker(axes[0], TickerValues(ticker_stats.annual_contribution[ticker_order]))
    draw_dots_by_ticker(
        axes[1],
        TickerValues(
            ticker_stats.accuracy[ticker_order],
            ticker_stats.baseline_accuracy[ticker_order],
            ticker_stats.accuracy_band_half_width[ticker_order],
        ),
    )
    draw_bars_by_ticker(axes[2], TickerValues(ticker_stats.mean_absolute_weight[ticker_order]))
    draw_bars_by_ticker(
        axes[3],
        TickerValues(
            ticker_stats.sharpe[ticker_order],
            nothing,
            ticker_stats.sharpe_band_half_width[ticker_order],
            is_percent=False,
        ),
    )
    label_ticker_rows(axes[0], [tickers[ticker] for ticker in ticker_order])
    for ax, text in zip(
        axes,
        (
            "Added a year, of equity" if few else "Added a year",
            "Right calls, and luck" if few else "Right calls",
            "Mean |weight|",
            "Sharpe ratio, and luck" if few else "Sharpe ratio",
        ),
        strict=True,
    ):
        set_panel_title(ax, text)
    if few:
        key = "orange: base rate's call; grey: 95% of luck"
        figure.text(0.98, top - height - 0.043, key, fontsize=8.2, color=GREY, ha="right", va="center")
        _draw_cumulative_contributions_panel(
            figure.add_axes((0.055, 0.045, 0.925, top - height - 0.145)),
            context,
            tickers,
            ticker_stats,
            ticker_order,
            n_columns=6,
        )
        return
    figure.text(0.30, top + 0.037, "orange: base rate's call; grey: 95% of luck", fontsize=8.2, color=GREY)
    _draw_cumulative_contributions_panel(
        figure.add_axes((0.715, 0.45, 0.265, 0.28)), context, tickers, ticker_stats, ticker_order, n_columns=2
    )
    _draw_contribution_by_excess_accuracy_panel(figure.add_axes((0.715, 0.065, 0.265, 0.29)), ticker_stats)


def _draw_ticker_rank_panels(
    figure: Figure, context: PageContext, ticker_stats: TickerAttribution, tickers: list[str], ticker_order: IntArray
) -> None:
    """Rank very many tickers, beside what luck would make of their order."""
    grid = figure.add_gridspec(2, 3, left=0.05, right=0.98, top=0.755, bottom=0.065, wspace=0.2, hspace=0.48)
    axes = [figure.add_subplot(grid[at]) for at in range(6)]
    for ax in axes:
        style_axes(ax)
    edge = ticker_stats.accuracy - ticker_stats.baseline_accuracy
    for ax, values, luck, percents, text in (
        (axes[0], ticker_stats.annual_contribution, None, True, "Added a year, of equity"),
        (axes[1], edge, ticker_stats.accuracy_band_half_width, True, "Right calls less the base rate's"),
        (axes[3], ticker_stats.mean_absolute_weight, None, True, "Mean |weight|"),
        (axes[4], ticker_stats.sharpe, ticker_stats.sharpe_band_half_width, False, "Sharpe ratio of its part"),
    ):
        known = values[~np.isnan(values)]
        draw_ranked_values(ax, values, expected_order_statistics(luck[~np.isnan(values)] / Z95)[::-1] if luck is not None and len(known) else None,
               is_percent=percents)  # fmt: skip
        ax.set_xlabel(
            _extreme_tickers_text(values, tickers, is_percent=percents), fontsize=8.2, color=BLACK, linespacing=1.3
        )
        set_panel_title(ax, text, padding_points=LEGEND_ROW_POINTS)
    _draw_cumulative_contributions_panel(axes[2], context, tickers, ticker_stats, ticker_order, n_columns=3)
    _draw_contribution_by_excess_accuracy_panel(axes[5], ticker_stats)


def _extreme_tickers_text(values: Array, tickers: list[str], *, is_percent: bool) -> str:
    """Return the names of the highest and the lowest, with their numbers."""
    order = np.argsort(-values, kind="stable")
    known = order[~np.isnan(values[order])]

    def values_text(ticker_indices: IntArray) -> str:
        return ", ".join(
            f"{tickers[at]:.10} {percent_text(values[at], decimals=2) if is_percent else number_text(values[at])}"
            for at in ticker_indices
        )

    return f"highest: {values_text(known[:N_EXTREME_TICKERS])}\nlowest: {values_text(known[::-1][:N_EXTREME_TICKERS])}"


def _draw_cumulative_contributions_panel(
    ax: Axes,
    context: PageContext,
    tickers: list[str],
    ticker_stats: TickerAttribution,
    ticker_order: IntArray,
    *,
    n_columns: int,
) -> None:
    """Draw what the tickers have added so far, naming those that added most and least."""
    result = context.run_data.result
    sums = cumulative_contribution(result, ticker_stats.ticker_index)
    named = (
        ticker_order
        if len(ticker_order) <= 2 * N_EXTREME_TICKERS
        else np.append(ticker_order[:N_EXTREME_TICKERS], ticker_order[-N_EXTREME_TICKERS:])
    )
    others = np.setdiff1d(ticker_order, named)
    style_axes(ax)
    draw_cumulative_contributions(
        ax, result.sessions, {tickers[at]: sums[:, at] for at in named}, sums[:, others], n_columns=n_columns
    )
    set_panel_title(
        ax, "Added so far, sums of percent of equity", padding_points=LEGEND_ROW_POINTS * -(-len(named) // n_columns)
    )
    format_date_axis(ax)
    ax.set_xlim(*date2num(result.fill_dates[[0, -1]]))


def _draw_contribution_by_excess_accuracy_panel(ax: Axes, ticker_stats: TickerAttribution) -> None:
    """Draw whether what was called better added more."""
    style_axes(ax)
    draw_contribution_by_excess_accuracy(
        ax, ticker_stats.accuracy - ticker_stats.baseline_accuracy, ticker_stats.annual_contribution
    )
    ax.set_xlabel("right calls less the base rate's, in points", fontsize=8.2, color=BLACK)
    set_panel_title(ax, "Added a year, by how well it was called")
