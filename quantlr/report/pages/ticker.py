"""One ticker of several: when it was held, what its part became, how well it was called."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.attribution import (
    TickerAttribution,
    active_sessions,
    forecasts_of_ticker,
    ticker_attribution,
    ticker_backtest,
)
from quantlr.backtest.metrics import BacktestView, EvaluatedForecasts, profit_factor, turnover_per_year, win_rate
from quantlr.backtest.rolling import rolling_accuracy
from quantlr.core.arrays import Array
from quantlr.model.diagnostics import standardized
from quantlr.report.context import PageContext
from quantlr.report.curves import draw_rolling_accuracy
from quantlr.report.figures.positions import draw_price_with_positions
from quantlr.report.figures.tickers import draw_coefficient_bars, draw_small_reliability, draw_ticker_growth
from quantlr.report.pages.layout import new_page
from quantlr.report.pages.positions import LEGEND_ROW_POINTS, price_with_positions_values
from quantlr.report.style import (
    BLACK,
    NORMAL_SIZE,
    draw_message,
    format_date_axis,
    number_text,
    percent_text,
    set_panel_title,
    style_axes,
)
from quantlr.report.tables import TableRow, draw_text_table
from quantlr.stats.reliability import reliability_band, reliability_curve

MAX_COEFFICIENTS = 10
COLUMN_RIGHT_EDGES = (0.68, 1.0)


def ticker_page(context: PageContext, *, ticker_index: int) -> Figure:
    """Return the page of the ticker at that position."""
    course, per_year = context.run_data, context.config.report.sessions_per_year
    name, rows = course.forecasts.tickers[ticker_index], forecasts_of_ticker(context.evaluated, ticker_index)
    own = ticker_attribution(
        course.result,
        course.forecasts,
        rows,
        sessions_per_year=per_year,
        ticker_indices=np.array([ticker_index], dtype=np.int64),
    )
    part = ticker_backtest(course.result, ticker_index, active_sessions(course.result, course.forecasts, ticker_index))
    figure = new_page(context, *_ticker_title_and_text(name, own))
    if not len(part.equity):
        ax = figure.add_axes((0.05, 0.1, 0.9, 0.6))
        ax.set_axis_off()
        draw_message(ax, "Its first forecast came too late to be traded on.")
        return figure
    measured = BacktestView.from_result(part, sessions_per_year=per_year)
    _draw_time_panels(figure, context, measured, rows)
    _draw_reliability_panel(figure.add_axes((0.675, 0.585, 0.305, 0.175)), context, rows)
    _draw_coefficients_panel(figure, context, ticker_index)
    costs = float(part.cost.sum()) / len(course.result.cost) * per_year
    draw_text_table(
        figure.add_axes((0.665, 0.035, 0.315, 0.265)),
        _ticker_table_rows(own, measured, costs),
        column_right_edges=COLUMN_RIGHT_EDGES,
    )
    return figure


def _ticker_title_and_text(ticker: str, ticker_stats: TickerAttribution) -> tuple[str, str]:
    """Return what the ticker added and whether it was called better than luck allows, and the numbers behind that."""
    contribution, weight = float(ticker_stats.annual_contribution[0]), float(ticker_stats.mean_absolute_weight[0])
    calls, edge, luck = (
        int(ticker_stats.n_forecasts[0]),
        float(ticker_stats.accuracy[0] - ticker_stats.baseline_accuracy[0]),
        float(ticker_stats.accuracy_band_half_width[0]),
    )
    verb, ticker = "added" if contribution >= 0 else "took", f"{ticker:.24}"
    added = f"{ticker} {verb} {percent_text(abs(contribution), decimals=2)} of equity a year"
    done = added if weight > 0 else f"{ticker} was never held"
    if not calls:
        return f"{done}; nothing is known of its calls yet", "No forecast of it has an outcome yet."
    called = (
        "better than by luck" if edge > luck else "worse than by luck" if -edge > luck else "no better than by luck"
    )
    text = (
        f"{percent_text(ticker_stats.accuracy[0])} of {calls:,} calls were right where the base rate's call scored "
        f"{percent_text(ticker_stats.baseline_accuracy[0])}; luck alone would keep the two within {percent_text(luck)} of one another 95 times in "
        "100. What it added is after costs and above cash, as a part of the whole."
    )
    return f"{done}, called {called}", text


def _draw_time_panels(
    figure: Figure, context: PageContext, backtest_view: BacktestView, evaluated: EvaluatedForecasts
) -> None:
    """Draw the left half: price and positions, what its part became, and how often it was called rightly."""
    part = backtest_view.result
    grid = figure.add_gridspec(3, 1, left=0.055, right=0.615, top=0.78, bottom=0.045, height_ratios=(2.2, 1.5, 1.3),
                               hspace=0.3)  # fmt: skip
    axes = [figure.add_subplot(grid[at]) for at in range(3)]
    for ax in axes:
        style_axes(ax)
    draw_price_with_positions(axes[0], price_with_positions_values(part, 0, backtest_view.trades))
    kind = context.config.execution.fill.removeprefix("next_")
    set_panel_title(axes[0], f"Adjusted {kind}, and when it was held", padding_points=LEGEND_ROW_POINTS)
    draw_ticker_growth(
        axes[1],
        part.fill_dates,
        _prepend_one(part.equity),
        _prepend_one(np.cumprod(np.maximum(1.0 + part.gross_return, 0.0))),
    )
    set_panel_title(
        axes[1],
        "What its part alone made of one unit of the whole capital, above cash",
        padding_points=LEGEND_ROW_POINTS,
    )
    _draw_rolling_accuracy_panel(axes[2], context, evaluated)
    for ax in axes:
        format_date_axis(ax)
        ax.set_xlim(*date2num(part.fill_dates[[0, -1]]))
    for ax in axes[:-1]:
        ax.tick_params(axis="x", labelbottom=False)
        ax.xaxis.get_offset_text().set_visible(False)


def _prepend_one(equity: Any) -> Array:
    """Return equity with its start of 1."""
    return np.concatenate([[1.0], equity])


def _draw_rolling_accuracy_panel(ax: Axes, context: PageContext, evaluated: EvaluatedForecasts) -> None:
    if not len(evaluated.up):
        set_panel_title(ax, "Share of right calls")
        draw_message(ax, "No outcome is known yet.")
        return
    rates = rolling_accuracy(evaluated, context.run_data.forecasts.sessions)
    set_panel_title(ax, f"Share of right calls over the last {rates.window} forecasts")
    if len(rates.dates) < 2:
        draw_message(ax, "Too few forecasts for a share that moves.")
        return
    draw_rolling_accuracy(ax, rates)


def _draw_reliability_panel(ax: Axes, context: PageContext, evaluated: EvaluatedForecasts) -> None:
    style_axes(ax)
    set_panel_title(ax, "Share of ups by what was forecast", padding_points=LEGEND_ROW_POINTS)
    if not len(evaluated.up):
        draw_message(ax, "No outcome is known yet.")
        return
    rng = np.random.default_rng(context.config.seed)
    band = reliability_band(
        evaluated.probability, evaluated.up, session=evaluated.session, horizon=evaluated.horizon, rng=rng
    )
    draw_small_reliability(ax, reliability_curve(evaluated.probability, evaluated.up), band)
    ax.set_xlabel("probability of up that was forecast", fontsize=8.2, color=BLACK, labelpad=1)


def _draw_coefficients_panel(figure: Figure, context: PageContext, ticker_index: int) -> None:
    """Draw the last refit's weights, per deviation of each feature over the ticker's rows."""
    ax = figure.add_axes((0.785, 0.36, 0.195, 0.15))
    found, dataset = context.metrics["model"]["coefficients"], context.run_data.dataset
    weights = found.get("pooled") or found[context.run_data.forecasts.tickers[ticker_index]]
    raw = np.array([weights[name] for name in dataset.columns], dtype=np.float64)
    effect = standardized(dataset, raw, row_slice=dataset.ticker_slice(ticker_index))
    order = np.argsort(-np.abs(effect), kind="stable")[:MAX_COEFFICIENTS]
    chosen = f" ({MAX_COEFFICIENTS} of {len(effect)})" if len(effect) > MAX_COEFFICIENTS else ""
    title = f"Log odds per deviation{chosen}, last refit{' of the one model' if 'pooled' in found else ''}"
    figure.text(0.675, 0.522, title, fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")
    style_axes(ax)
    if np.isnan(effect).any():
        ax.set_axis_off()
        draw_message(ax, "The last refit has no best fit:\nit forecasts the base rate.")
        return
    draw_coefficient_bars(ax, [dataset.columns[at] for at in order], effect[order])


def _ticker_table_rows(
    ticker_stats: TickerAttribution, backtest_view: BacktestView, annual_cost: float
) -> list[TableRow]:
    """Return the ticker's numbers; what it added and cost a year is over the whole run, all else over its own part."""

    def first_value(values: Array) -> float:
        return float(values[0])

    edge = first_value(ticker_stats.accuracy - ticker_stats.baseline_accuracy)
    return [
        TableRow("WHAT IT CAME TO", ("", "luck, 95%")),
        TableRow("Sessions", (f"{len(backtest_view.result.equity):,}", "")),
        TableRow("Right calls", (percent_text(first_value(ticker_stats.accuracy)), "")),
        TableRow(
            "Above the base rate's, points",
            (percent_text(edge), f"± {percent_text(first_value(ticker_stats.accuracy_band_half_width))}"),
        ),
        TableRow(
            "Sharpe ratio of its part",
            (
                number_text(first_value(ticker_stats.sharpe)),
                f"± {number_text(first_value(ticker_stats.sharpe_band_half_width))}",
            ),
        ),
        TableRow(
            "Added a year, of equity", (percent_text(first_value(ticker_stats.annual_contribution), decimals=2), "")
        ),
        TableRow("Costs a year, of equity", (percent_text(annual_cost, decimals=2), "")),
        TableRow("Mean |weight|", (percent_text(first_value(ticker_stats.mean_absolute_weight)), "")),
        TableRow("Mean weight, long less short", (percent_text(first_value(ticker_stats.mean_weight)), "")),
        TableRow("Traded a year, times equity", (number_text(turnover_per_year(backtest_view)), "")),
        TableRow("Round trips", (f"{len(backtest_view.trades):,}", "")),
        TableRow("Won, after costs", (percent_text(win_rate(backtest_view)), "")),
        TableRow("Gained by winners over lost", (number_text(profit_factor(backtest_view)), "")),
    ]
