"""The page of one ticker of several: positions, growth of 1, accuracy, calibration and coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from quantlr.backtest.attribution import (
    TICKER_METRICS,
    TickerAttribution,
    active_session_slice,
    forecasts_of_ticker,
    ticker_attribution,
    ticker_backtest,
)
from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts
from quantlr.backtest.metrics import find_metric, metrics_shown_in
from quantlr.backtest.rolling import rolling_accuracy
from quantlr.model.diagnostics import standardize_weights
from quantlr.report.context import PageContext
from quantlr.report.pages.forecast import draw_calibration, reliability_table
from quantlr.report.pages.holdings import draw_price, price_panel_table
from quantlr.report.pages.layout import Panel, PlacedPanel, Table, fields_table, panel
from quantlr.report.style import (
    BLUE,
    GREY,
    LEGEND_ROW_POINTS,
    SKY,
    VERMILION,
    Axes,
    TableRow,
    add_legend_above,
    axes_width_points,
    draw_rolling_accuracy,
    draw_text_table,
    format_category_rows,
    growth_text,
    number_tick_label,
    percent_text,
    style_axes,
)
from quantlr.report.summary import metric_label, metric_text

NO_OUTCOME_MESSAGE = "No outcome is known yet."


@dataclass(frozen=True)
class TickerContext:
    """One ticker of a run; the derived values are computed when first asked for.

    Attributes
    ----------
    run_context : the run.
    ticker_index : position of the ticker in the run's forecasts.
    """

    run_context: PageContext
    ticker_index: int

    @property
    def ticker_name(self) -> str:
        """The ticker."""
        return self.run_context.run_data.forecasts.tickers[self.ticker_index]

    @cached_property
    def evaluated_forecasts(self) -> EvaluatedForecasts:
        """Its forecasts with a known outcome."""
        return forecasts_of_ticker(self.run_context.evaluated_forecasts, self.ticker_index)

    @cached_property
    def sessions(self) -> slice:
        """The sessions in which it could be held."""
        data = self.run_context.run_data
        return active_session_slice(data.result, data.forecasts, self.ticker_index)

    @cached_property
    def backtest(self) -> BacktestView:
        """Its part as a backtest of its own, in excess of cash."""
        result = ticker_backtest(self.run_context.run_data.result, self.ticker_index, self.sessions)
        return BacktestView(result, self.run_context.sessions_per_year)

    @cached_property
    def attribution(self) -> TickerAttribution:
        """Its numbers, each an array of one."""
        data, index = self.run_context.run_data, np.array([self.ticker_index], dtype=np.int64)
        per_year = self.run_context.sessions_per_year
        return ticker_attribution(
            data.result, data.forecasts, self.evaluated_forecasts, sessions_per_year=per_year, ticker_indices=index
        )


def ticker_price_table(context: TickerContext) -> Table:
    """Return the price and the dates of the trades (see `price_panel_table`)."""
    dates = slice(context.sessions.start, context.sessions.stop + 1)
    return price_panel_table(context.run_context, context.ticker_index, context.backtest.trades, dates=dates)


def ticker_growth_table(context: TickerContext) -> Table:
    """Return the growth of 1 of the ticker's part in excess of cash: `net_equity` and `gross_equity`."""
    result = context.backtest.result
    return {
        "dates": result.fill_dates,
        "net_equity": np.append(1.0, result.equity),
        "gross_equity": np.append(1.0, np.cumprod(np.maximum(1.0 + result.gross_return, 0.0))),
    }


@panel("Growth of 1, in excess of cash", ticker_growth_table, LEGEND_ROW_POINTS)
def ticker_growth_panel(ax: Axes, table: Table) -> None:
    """Draw the equity of the ticker's part before and after costs."""
    dates = table["dates"]
    curves = (("gross_equity", "before costs", SKY, 1.2), ("net_equity", "after costs", BLUE, 1.7))
    for key, name, color, width in curves:
        ax.plot(dates, table[key], color=color, linewidth=width, label=f"{name}: {growth_text(table[key][-1])}")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=5)
    ax.yaxis.set_major_formatter(number_tick_label)
    add_legend_above(ax, n_columns=2)


def ticker_accuracy_table(context: TickerContext) -> Table:
    """Return the accuracy over a trailing window of forecasts (see `RollingAccuracy`)."""
    if not len(context.evaluated_forecasts.up):
        return {"window": 0, "message": NO_OUTCOME_MESSAGE}
    rolling = rolling_accuracy(
        context.evaluated_forecasts,
        context.run_context.run_data.forecasts.sessions,
        sessions_per_year=context.run_context.sessions_per_year,
    )
    table = fields_table(rolling, date_range=context.backtest.result.fill_dates[[0, -1]])
    return table if len(rolling.dates) > 1 else table | {"message": "Too few forecasts for a rolling accuracy."}


def ticker_calibration_table(context: TickerContext) -> Table:
    """Return the reliability curve and the 95% band of calibrated forecasts (see `reliability_table`)."""
    if not len(context.evaluated_forecasts.up):
        return {"message": NO_OUTCOME_MESSAGE}
    return reliability_table(context.evaluated_forecasts, np.random.default_rng(context.run_context.config.seed))


def ticker_coefficient_table(context: TickerContext) -> Table:
    """Return the last refit's coefficients, standardised over the ticker's rows, the largest 10 first."""
    dataset = context.run_context.of_leader().run_data.dataset
    coefficients = context.run_context.metrics["model"]["coefficients"]
    if coefficients is None:
        return {"model": "none", "message": f"{context.run_context.model_name} has no coefficients."}
    by_feature = coefficients.get("pooled") or coefficients[context.ticker_name]
    weights = np.array([by_feature[name] for name in dataset.columns], dtype=np.float64)
    weights = standardize_weights(dataset, weights, row_slice=dataset.ticker_slice(context.ticker_index))
    model = "last refit of the pooled model" if "pooled" in coefficients else "last refit"
    table: dict[str, Any] = {"model": model}
    if np.isnan(weights).any():
        return table | {"message": "The last refit has no finite minimum: it forecasts the base rate."}
    order = np.argsort(-np.abs(weights), kind="stable")[:10]
    if len(order) < len(weights):
        table["model"] = f"{len(order)} of {len(weights)}, {model}"
    return table | {"features": [dataset.columns[index] for index in order], "coefficients": weights[order]}


@panel("Standardised coefficients ({model})", ticker_coefficient_table, 8.0)
def ticker_coefficients_panel(ax: Axes, table: Table) -> None:
    """Draw a bar per feature, in the right part of the axes: names stand at the left."""
    ax.set_axis_off()
    chart, weights = ax.inset_axes((0.36, 0.0, 0.64, 1.0)), table["coefficients"]
    style_axes(chart)
    chart.tick_params(axis="x", labelsize=7.6)
    colors = [VERMILION if weight < 0 else BLUE for weight in weights]
    chart.barh(range(len(weights)), weights, height=0.6, color=colors, linewidth=0)
    chart.axvline(0, color=GREY, linewidth=0.8)
    format_category_rows(chart, table["features"], label_width=0.35 * axes_width_points(ax))
    chart.locator_params(axis="x", nbins=5)


def ticker_number_table(context: TickerContext) -> Table:
    """Return the rows of a table of the ticker's numbers.

    Contribution and costs are per year of the whole run, all else over the ticker's own part.
    """
    stats, view, data = context.attribution, context.backtest, context.run_context.run_data
    per_year = context.run_context.sessions_per_year
    annual_cost = float(view.result.cost.sum()) / len(data.result.cost) * per_year
    excess_accuracy = float(stats.accuracy[0] - stats.baseline_accuracy[0])
    accuracy, sharpe = find_metric("accuracy"), find_metric("sharpe")
    other_metrics = metrics_shown_in("ticker")
    rows = (
        ("Sessions", f"{len(view.result.equity):,}", ""),
        (metric_label(accuracy), metric_text(accuracy, stats.accuracy[0]), ""),
        ("Less majority-class baseline", percent_text(excess_accuracy),
         f"± {percent_text(stats.accuracy_band_half_width[0])}"),
        (metric_label(sharpe), metric_text(sharpe, stats.sharpe[0]),
         f"± {metric_text(sharpe, stats.sharpe_band_half_width[0])}"),
        ("Costs (annual mean, % of equity)", percent_text(annual_cost, decimals=2), ""),
        *((metric_label(metric), metric_text(metric, metric.compute(stats)[0]), "") for metric in TICKER_METRICS),
        *((metric_label(metric), metric_text(metric, metric.compute(view)), "") for metric in other_metrics),
    )  # fmt: skip
    header = TableRow("Ticker", ("", "no skill, 95%"), is_heading=True)
    return {"rows": [header, *(TableRow(label, (value, band)) for label, value, band in rows)]}


PRICE_PANEL = Panel(
    "ticker_price", "{ticker}: {price_name} and positions", ticker_price_table, draw_price, LEGEND_ROW_POINTS
)
ACCURACY_PANEL = Panel(
    "ticker_accuracy", "Rolling accuracy ({window} forecasts)", ticker_accuracy_table, draw_rolling_accuracy
)
CALIBRATION_PANEL = Panel(
    "ticker_calibration", "Calibration (reliability diagram)", ticker_calibration_table, draw_calibration
)
NUMBERS_PANEL = Panel(
    "ticker_numbers", "", ticker_number_table, partial(draw_text_table, column_right_edges=(0.68, 1.0))
)
EMPTY_PANEL = Panel(
    "ticker_empty", "", lambda _: {"message": "Its first forecast is too late to be traded."}, NUMBERS_PANEL.draw
)


def ticker_panels(context: TickerContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page; a single message if the ticker has no session."""
    if not len(context.backtest.result.equity):
        return (PlacedPanel(EMPTY_PANEL, (0.05, 0.1, 0.9, 0.6)),)
    return (
        PlacedPanel(PRICE_PANEL, (0.055, 0.5105, 0.56, 0.2695), has_x_labels=False),
        PlacedPanel(ticker_growth_panel, (0.055, 0.2655, 0.56, 0.1838), has_x_labels=False),
        PlacedPanel(ACCURACY_PANEL, (0.055, 0.045, 0.56, 0.1593)),
        PlacedPanel(CALIBRATION_PANEL, (0.675, 0.585, 0.305, 0.175)),
        PlacedPanel(ticker_coefficients_panel, (0.675, 0.36, 0.305, 0.15)),
        PlacedPanel(NUMBERS_PANEL, (0.665, 0.035, 0.315, 0.265)),
    )


def ticker_title_and_text(context: TickerContext) -> tuple[str, str]:
    """Return the ticker's contribution and whether its forecasts show skill, and the numbers behind that."""
    stats, name = context.attribution, context.ticker_name
    contribution, n_forecasts = float(stats.annual_contribution[0]), int(stats.n_forecasts[0])
    title = f"{name}: contribution {percent_text(contribution, decimals=2)} of equity a year"
    if not stats.mean_absolute_weight[0] > 0:
        title = f"{name}: no position was held"
    if not n_forecasts:
        return f"{title}; no outcome known", "No forecast has a known outcome yet."
    accuracy, baseline = float(stats.accuracy[0]), float(stats.baseline_accuracy[0])
    half_width = float(stats.accuracy_band_half_width[0])
    excess = accuracy - baseline
    position = "above" if excess > half_width else "below" if excess < -half_width else "within"
    text = (
        f"Accuracy {percent_text(accuracy)} over {n_forecasts:,} forecasts, majority-class baseline "
        f"{percent_text(baseline)}; 95% band of their difference under no skill ± {percent_text(half_width)}. The "
        "contribution is after costs and in excess of cash."
    )
    return f"{title}; accuracy {position} the no-skill band", text
