"""The page on forecast skill: calibration, discrimination, and accuracy over time, by year and by ticker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from quantlr.backtest.forecast_analysis import (
    mean_permuted_discrimination,
    probability_histogram,
    roc_band,
    roc_curve,
)
from quantlr.backtest.metric_types import EvaluatedForecasts
from quantlr.backtest.rolling import rolling_accuracy
from quantlr.report.context import PageContext
from quantlr.report.pages.accuracy import (
    LONG_PADDING,
    MAX_TICKER_ROWS,
    SHORT_PADDING,
    accuracy_by_ticker_panel,
    accuracy_by_year_panel,
    ranked_excess_accuracy_panel,
    return_by_probability_panel,
)
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Rectangle, Table, fields_table, panel
from quantlr.report.style import (
    BAND_GREY,
    BAND_STYLE,
    BLACK,
    BLUE,
    LEGEND_ROW_POINTS,
    ORANGE,
    VERMILION,
    Axes,
    TableRow,
    add_legend,
    axes_height_points,
    count_text,
    draw_rolling_accuracy,
    draw_text_table,
    format_fraction_axis,
    label_axes,
    number_text,
    p_value_text,
    percent_text,
    percent_tick_label,
    set_fixed_ticks,
)
from quantlr.report.summary import naive_rules_table
from quantlr.stats.hac import Z95
from quantlr.stats.reliability import isotonic_reliability_curve, reliability_band
from quantlr.stats.verdict import clark_west_text, is_significant, log_loss_comparison_text

TAIL_FRACTION = 0.01
"""Fraction of the forecasts at either end whose reliability curve may leave the axes."""
DASHED_LINE_STYLE: dict[str, Any] = {"color": BLACK, "linewidth": 1.0, "linestyle": (0, (4, 3))}


def reliability_table(evaluated: EvaluatedForecasts, rng: np.random.Generator) -> dict[str, Any]:
    """Return the reliability curve by isotonic regression, the 95% band of calibrated forecasts, and the histogram.

    The names of a `ReliabilityCurve` begin with `curve_`, those of a `ReliabilityBand` with `band_`; `base_rate` is the
    mean of the training base rates; the rest is a `ProbabilityHistogram`.
    """
    probability, up = evaluated.probability, evaluated.up
    curve = isotonic_reliability_curve(probability, up)
    band = reliability_band(probability, up, session=evaluated.session, horizon=evaluated.horizon, rng=rng)
    curves = fields_table(curve, "curve_") | fields_table(band, "band_")
    return histogram_table(evaluated) | curves | {"subtitle": ""}


def calibration_table(context: PageContext) -> Table:
    """Return `reliability_table`, with the decomposition of the log loss as subtitle."""
    evaluated, rng = context.evaluated_forecasts, np.random.default_rng(context.config.seed)
    table = reliability_table(evaluated, rng)
    parts = context.metrics["forecast"]["reliability"]["log_loss"]
    texts = (f"{name} {number_text(parts[name], decimals=5)}" for name in ("discrimination", "miscalibration"))
    subtitle = f"{', '.join(texts)} nats\n"
    if not evaluated.has_dependent_outcomes:
        noise = mean_permuted_discrimination(evaluated.probability, evaluated.up, rng=rng)
        subtitle += f"discrimination under permuted outcomes {number_text(noise, decimals=5)}"
    return table | {"subtitle": subtitle}


def histogram_table(evaluated: EvaluatedForecasts) -> dict[str, Any]:
    """Return the histogram of the forecast probabilities by outcome (see `ProbabilityHistogram`) and the base rate."""
    base_rate = float(evaluated.base_rate.mean())
    histogram = probability_histogram(evaluated.probability, evaluated.up, reference_probability=base_rate)
    means = ((histogram.mean_given_up, "before up"), (histogram.mean_given_not_up, "before not up"))
    subtitle = ", ".join(f"{percent_text(mean, decimals=2)} {name}" for mean, name in means if mean is not None)
    if histogram.n_outside:
        subtitle += f"\n{histogram.n_outside:,} of {len(evaluated.up):,} forecasts are outside the axes"
    return fields_table(histogram, base_rate=base_rate, subtitle=f"mean {subtitle}")


def draw_calibration(ax: Axes, table: Table) -> None:
    """Draw the reliability curve over its band, beside the line of perfect calibration."""
    limits, probability, band = table["bin_edges"][[0, -1]], table["curve_probability"], table["band_probability"]
    n_inside = ((probability >= limits[0]) & (probability <= limits[1])).sum()
    ax.plot(limits, limits, label="perfect calibration", **DASHED_LINE_STYLE)
    # The two rows of the legend are above what is drawn.
    line_top = 1.0 - 2 * LEGEND_ROW_POINTS / axes_height_points(ax)
    ax.axvline(table["base_rate"], ymax=line_top, color=ORANGE, linewidth=1.2, label="base rate")
    label = "95% band if calibrated"
    if len(band) == 1:
        ax.vlines(band, table["band_low"], table["band_high"], color=BAND_GREY, linewidth=7, alpha=0.6, label=label)
    else:
        ax.fill_between(band, table["band_low"], table["band_high"], label=label, **BAND_STYLE)
    marker = "o" if n_inside <= 12 else None
    ax.plot(probability, table["curve_observed_frequency"], color=BLUE, linewidth=1.8, marker=marker, markersize=5,
            label="observed frequency")  # fmt: skip
    ax.set(xlim=limits, ylim=calibration_y_limits(table, line_top))
    format_fraction_axis(ax.xaxis, max_ticks=5)
    format_fraction_axis(ax.yaxis, max_ticks=5)
    label_axes(ax, x_label="forecast probability of up", y_label="observed frequency of up")
    add_legend(ax, corner="upper left", n_columns=2)


def calibration_y_limits(table: Table, top: float) -> tuple[float, float]:
    """Return vertical limits between which curve and band of nearly all forecasts take the fraction `top` at most."""
    count, limits, band = table["curve_count"], table["bin_edges"][[0, -1]], table["band_probability"]
    cumulative, fraction = np.cumsum(count) / count.sum(), count / count.sum()
    is_central = (cumulative >= TAIL_FRACTION) & (cumulative - fraction <= 1.0 - TAIL_FRACTION)
    ends = np.clip(table["curve_probability"][is_central][[0, -1]], *limits)
    is_near = (band >= ends[0]) & (band <= ends[1])
    curve = table["curve_observed_frequency"][is_central]
    drawn = np.concatenate([ends, curve, table["band_low"][is_near], table["band_high"][is_near]])
    high = float(drawn.max())
    # The vertical range is at least a quarter of the horizontal one.
    low = min(float(drawn.min()), high - 0.25 * (limits[1] - limits[0]))
    bottom = low - 0.06 * (high - low)
    return bottom, bottom + (high - bottom) / top


@panel("", lambda context: histogram_table(context.evaluated_forecasts) | {"subtitle": ""})
def forecast_counts_panel(ax: Axes, table: Table) -> None:
    """Draw the number of forecasts by probability."""
    from matplotlib.ticker import MaxNLocator

    ax.stairs(table["count"], table["bin_edges"], fill=True, color=BLUE, alpha=0.45)
    ax.axvline(table["base_rate"], color=ORANGE, linewidth=1.2)
    tallest = int(table["count"].max())
    ax.set(xlim=table["bin_edges"][[0, -1]], ylim=(0, 1.3 * tallest))
    ticks: Any = MaxNLocator(2, integer=True).tick_values(0, tallest)
    set_fixed_ticks(ax.yaxis, ticks[ticks <= tallest])
    ax.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}" if count < 10_000 else f"{count / 1000:,g}k")
    format_fraction_axis(ax.xaxis, max_ticks=5)
    label_axes(ax, x_label="forecast probability of up", y_label="forecasts")


def roc_table(context: PageContext) -> Table:
    """Return the roc_panel curve (m,) and its pointwise 95% band (g,), if there are enough forecasts for one.

    Names are those of `RocCurve`, and those of `RocBand` after `band_`.
    """
    evaluated = context.evaluated_forecasts
    probability, up = evaluated.probability, evaluated.up
    curve = roc_curve(probability, up)
    if curve is None:
        outcome = "up" if up.all() else "not up"
        return {"message": f"Every outcome is {outcome}: the ROC curve is undefined."}
    rng = np.random.default_rng(context.config.seed)
    band = roc_band(probability, up, session=evaluated.session, horizon=evaluated.horizon, rng=rng)
    interval = context.metrics["forecast"]["auc_ci95"]
    bounds = "too few forecasts for an interval"
    if interval:
        bounds = f"95% interval {' to '.join(number_text(bound, decimals=3) for bound in interval)}"
    remark = "0.5 is no skill; walk-forward forecasts of noise score lower"
    if np.ptp(probability) == 0:
        remark = "all probabilities are equal"
    elif band is None:
        remark = "too few forecasts for a band"
    auc = number_text(context.metrics["forecast"]["auc"], decimals=3)
    table = fields_table(curve, subtitle=f"AUC {auc}, {bounds}\n{remark}")
    return table if band is None else table | fields_table(band, "band_")


@panel("Discrimination (ROC)", roc_table, LONG_PADDING)
def roc_panel(ax: Axes, table: Table) -> None:
    """Draw the ROC curve over its band, and that of no skill."""
    if "band_false_positive_rate" in table:
        band = (table["band_true_positive_rate_low"], table["band_true_positive_rate_high"])
        label = "95% bootstrap band, pointwise"
        ax.fill_between(table["band_false_positive_rate"], *band, color=BLUE, alpha=0.2, linewidth=0, label=label)
    ax.plot((0, 1), (0, 1), label="no skill", **DASHED_LINE_STYLE)
    ax.plot(table["false_positive_rate"], table["true_positive_rate"], color=BLUE, linewidth=1.8, label="forecasts")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.xaxis.set_major_formatter(percent_tick_label)
    ax.yaxis.set_major_formatter(percent_tick_label)
    label_axes(ax, x_label="false positive rate", y_label="true positive rate")
    add_legend(ax, corner="lower right")


@panel("Forecast probability by outcome", lambda context: histogram_table(context.evaluated_forecasts), LONG_PADDING)
def probability_by_outcome_panel(ax: Axes, table: Table) -> None:
    """Draw a histogram of the forecast probabilities for each outcome."""
    parts = ((table["fraction_given_not_up"], VERMILION, "not up"), (table["fraction_given_up"], BLUE, "up"))
    edges, highest = table["bin_edges"], 0.0
    for fraction, color, name in parts:
        if fraction is None:
            continue
        ax.stairs(fraction, edges, color=color, linewidth=1.6, fill=False, label=name)
        ax.stairs(fraction, edges, color=color, fill=True, alpha=0.15)
        highest = max(highest, float(fraction.max()))
    line_top = 1.0 - LEGEND_ROW_POINTS / axes_height_points(ax)
    ax.axvline(table["base_rate"], ymax=line_top, color=ORANGE, linewidth=1.2, label="base rate")
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.25 * highest))
    format_fraction_axis(ax.xaxis, max_ticks=5)
    format_fraction_axis(ax.yaxis, max_ticks=4)
    label_axes(ax, x_label="forecast probability of up", y_label="fraction of each outcome")
    add_legend(ax, corner="upper left", n_columns=3)


def _stability_text(metrics: Mapping[str, Any]) -> str:
    """Return the tests of skill by thirds of the span, for a break and by ticker, and the largest shares of skill."""
    stability = metrics["stability"]
    p_values = [third["p_value"] for third in stability["thirds"]]
    parts = [f"Clark-West p by thirds {', '.join('–' if value is None else f'{value:.3f}' for value in p_values)}"]
    if (change := stability["break"]) is not None:
        parts.append(f"break {p_value_text(change['p_value'])}")
    if is_significant(metrics["clark_west"]["p_value"]):
        bests = (stability[f"best_{key}"] and (stability[f"best_{key}"], key) for key in ("year", "ticker"))
        shares = [f"{percent_text(best['share'], decimals=0)} in {best[key]}" for best, key in filter(None, bests)]
        parts += [f"largest shares of the effect {', '.join(shares)}"] if shares else []
    if tests := stability["tickers"]:
        n_skilled = sum(is_significant(test["adjusted_p_value"]) for test in tests.values())
        parts.append(f"{n_skilled:,} of {len(tests):,} tickers significant")
    return "; ".join(parts)


def rolling_accuracy_table(context: PageContext) -> Table:
    """Return the accuracy over a trailing window with its band under no skill (see `RollingAccuracy`)."""
    rolling = rolling_accuracy(
        context.evaluated_forecasts,
        context.run_data.forecasts.sessions,
        sessions_per_year=context.sessions_per_year,
    )
    table = fields_table(rolling, subtitle=_stability_text(context.metrics["forecast"]), unit=context.bar_unit)
    if len(rolling.dates) < 2:
        table["message"] = (
            f"There are no more {context.bar_unit}s than the window's {rolling.window}: too few for a curve."
        )
    return table


CALIBRATION_PANEL = Panel(
    "calibration",
    "Calibration (reliability diagram)",
    calibration_table,
    draw_calibration,
    LONG_PADDING,
    is_interactive=True,
)
ROLLING_ACCURACY_PANEL = Panel(
    "rolling_accuracy",
    "Rolling accuracy ({window} {unit}s)",
    rolling_accuracy_table,
    draw_rolling_accuracy,
    SHORT_PADDING,
)


def naive_rules_rows_table(context: PageContext) -> Table:
    """Return the rows of the naive rules beside the run: accuracy, CAGR and Sharpe ratio."""
    table = naive_rules_table(context.metrics, ("accuracy", "cagr", "sharpe"))
    heading = TableRow(table.title, table.columns, is_heading=True)
    return {"rows": [heading, *(TableRow(label, cells) for label, cells in table.rows)]}


NAIVE_RULES_PANEL = Panel(
    "naive_rules", "", naive_rules_rows_table, partial(draw_text_table, column_right_edges=(0.62, 0.79, 1.0))
)


def forecast_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page; with several tickers, their accuracy takes half the room of the return groups."""
    n_tickers = len(np.unique(context.evaluated_forecasts.ticker))
    returns: Rectangle = (0.052, 0.063, 0.263, 0.342) if n_tickers == 1 else (0.052, 0.297, 0.263, 0.108)
    panels: tuple[PlacedPanel, ...] = (
        PlacedPanel(CALIBRATION_PANEL, (0.052, 0.579, 0.263, 0.191), has_x_labels=False),
        PlacedPanel(forecast_counts_panel, (0.052, 0.507, 0.263, 0.045)),
        PlacedPanel(roc_panel, (0.388, 0.507, 0.263, 0.263)),
        PlacedPanel(probability_by_outcome_panel, (0.724, 0.655, 0.263, 0.115)),
        PlacedPanel(return_by_probability_panel, returns),
        PlacedPanel(ROLLING_ACCURACY_PANEL, (0.388, 0.268, 0.599, 0.137)),
        PlacedPanel(accuracy_by_year_panel, (0.388, 0.043, 0.599, 0.145)),
    )
    if "naive_rules" in context.metrics:
        panels = (*panels, PlacedPanel(NAIVE_RULES_PANEL, (0.724, 0.48, 0.263, 0.12)))
    if n_tickers > MAX_TICKER_ROWS:
        return (*panels, PlacedPanel(ranked_excess_accuracy_panel, (0.052, 0.063, 0.263, 0.112)))
    if n_tickers > 1:
        return (*panels, PlacedPanel(accuracy_by_ticker_panel, (0.082, 0.063, 0.233, 0.112)))
    return panels


def forecast_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return the finding on forecast skill, and the numbers that it rests on."""
    metrics = context.metrics["forecast"]
    title, text = skill_title_and_text(metrics)
    return title, f"{text} {_calibration_text(metrics)}"


def _calibration_text(metrics: Mapping[str, Any]) -> str:
    """Return the calibration slope and Spiegelhalter's test as a sentence."""
    fit, test = metrics["calibration"], metrics["spiegelhalter"]
    if fit is None:
        return "Calibration slope undefined."
    error, p_value = fit["slope_standard_error"], fit["p_value"]
    text = f"Calibration slope {number_text(fit['slope'], decimals=2)}"
    text += "" if error is None else f" ± {number_text(Z95 * error, decimals=2)}"
    if p_value is not None:
        text += f", {'' if is_significant(p_value) else 'not '}significantly below 1"
    return f"{text}." if test is None else f"{text} (Spiegelhalter {p_value_text(test['p_value'])})."


def skill_title_and_text(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """Return the finding of the Clark-West test and the log loss as a title, and the numbers behind it."""
    accuracy, baseline, test = (metrics[key] for key in ("accuracy", "accuracy_base_rate", "clark_west"))
    p_value = test["p_value"]
    baseline_loss = math.inf if metrics["log_loss_base_rate"] is None else metrics["log_loss_base_rate"]
    if p_value is None:
        finding = "Skill cannot be tested"
    elif not is_significant(p_value):
        finding = "No evidence of skill"
    elif metrics["log_loss"] >= baseline_loss:
        finding = "Skill in timing, not in probability"
    elif accuracy <= baseline:
        finding = "Skill, but accuracy is not above the baseline"
    else:
        finding = "Evidence of skill"
    low, high = (percent_text(bound) for bound in metrics["accuracy_ci95"])
    comparison = log_loss_comparison_text(metrics["log_loss"], baseline_loss)
    baseline_text = "∞" if math.isinf(baseline_loss) else number_text(baseline_loss, decimals=5)
    title = f"{finding}: accuracy {percent_text(accuracy)}, majority-class baseline {percent_text(baseline)}"
    text = (
        f"{count_text(metrics['n'], 'forecast')}; 95% interval of the accuracy {low} to {high}. "
        f"{_skill_test_text(test)}. Log loss {number_text(metrics['log_loss'], decimals=5)}, {comparison} "
        f"than the base-rate forecast's {baseline_text}."
    )
    return title, text


def _skill_test_text(test: Mapping[str, Any]) -> str:
    """Return the result of the Clark-West test, and the meaning of its p value."""
    text, p_value = clark_west_text(test), test["p_value"]
    if p_value is None:
        return text[0].upper() + text[1:]
    frequency = f"in {100 * p_value:.0f} of 100 samples"
    if p_value < 0.015:
        frequency = "in less than 1 of 1,000 samples" if p_value < 0.001 else "in at most 1 of 100 samples"
    return f"{text}: forecasts without skill score as high against the base rate {frequency}"


FORECAST_PAGE = Page(
    "forecast.png",
    "Forecast skill",
    forecast_title_and_text,
    forecast_panels,
    "Forecasts have skill where a curve leaves the grey band or the dashed line of no skill: the ROC "
    "curve upwards, the accuracy above its baseline; calibrated ones stay on the diagonal.",
)
