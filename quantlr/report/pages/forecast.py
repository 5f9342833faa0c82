"""Did it know? What forecasts are worth, whatever trading on them earns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.forecast_analysis import (
    MIN_GROUP_FORECASTS,
    GroupAccuracy,
    ProbabilityHistogram,
    accuracy_by_group,
    discrimination_under_no_skill,
    mean_returns_by_probability_group,
    probability_histogram,
    roc_band,
    roc_curve,
)
from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.backtest.rolling import rolling_accuracy
from quantlr.core.values import Forecasts
from quantlr.report.context import PageContext
from quantlr.report.curves import draw_rolling_accuracy
from quantlr.report.figures import forecast as figures
from quantlr.report.figures import groups
from quantlr.report.figures.forecast import draw_wrapped_message, set_panel_title_and_text
from quantlr.report.pages.layout import new_page
from quantlr.report.style import format_date_axis, number_text, percent_text, style_axes
from quantlr.stats.hac import Z95
from quantlr.stats.multiple_testing import expected_order_statistics
from quantlr.stats.reliability import reliability_band, reliability_curve
from quantlr.stats.verdict import is_significant, log_loss_comparison_text, pesaran_timmermann_text

MAX_TICKER_ROWS = 8
"""Tickers up to which each has a row of its own."""
AXIS_LABEL_OFFSET = 0.04
"""How far left of its axes a label stands, as a fraction of the page."""
LEFT_COLUMN, MIDDLE_COLUMN, RIGHT_COLUMN, WIDE_COLUMN = (0.052, 0.263), (0.388, 0.263), (0.724, 0.263), (0.388, 0.599)
"""Left edge and width of a column, as fractions of the page."""
COLUMN_WITH_ROW_LABELS = (0.082, 0.233)
"""The same of a column with names on its left."""


def forecast_page(context: PageContext) -> Figure:
    """Return the page on skill."""
    figure = new_page(context, *forecast_title_and_text(context.metrics["forecast"]))
    rows, forecasts, seed = context.evaluated, context.run_data.forecasts, context.config.seed
    spread = probability_histogram(rows.probability, rows.up, reference_probability=float(rows.base_rate.mean()))
    _draw_reliability_panel(
        _add_axes(figure, LEFT_COLUMN, 0.579, 0.191), rows, spread, context.metrics["forecast"], seed
    )
    _draw_forecast_counts_panel(_add_axes(figure, LEFT_COLUMN, 0.507, 0.045), rows, spread)
    _draw_roc_panel(_add_axes(figure, MIDDLE_COLUMN, 0.507, 0.263), rows, context.metrics["forecast"], seed)
    _draw_probability_by_outcome_panel(_add_axes(figure, RIGHT_COLUMN, 0.507, 0.263), rows, spread)
    tickers = len(np.unique(rows.ticker))
    several = tickers > 1
    _draw_returns_by_probability_panel(
        _add_axes(figure, LEFT_COLUMN, *((0.297, 0.108) if several else (0.063, 0.342))), forecasts
    )
    _draw_rolling_accuracy_panel(_add_axes(figure, WIDE_COLUMN, 0.268, 0.137), rows, forecasts)
    if several:
        _draw_accuracy_by_ticker_panel(
            _add_axes(figure, COLUMN_WITH_ROW_LABELS if tickers <= MAX_TICKER_ROWS else LEFT_COLUMN, 0.063, 0.112),
            rows,
            forecasts,
        )
    _draw_accuracy_by_year_panel(_add_axes(figure, WIDE_COLUMN, 0.043, 0.145), rows, forecasts)
    return figure


def _add_axes(figure: Figure, column: tuple[float, float], bottom: float, height: float) -> Axes:
    ax = figure.add_axes((column[0], bottom, column[1], height))
    style_axes(ax)
    ax.yaxis.set_label_coords(-AXIS_LABEL_OFFSET / column[1], 0.5)
    return ax


def forecast_title_and_text(forecast_metrics: dict[str, Any]) -> tuple[str, str]:
    """Return in words whether it knew, and what that rests on."""
    right, to_beat, test = (
        forecast_metrics["accuracy"],
        forecast_metrics["accuracy_base_rate"],
        forecast_metrics["pesaran_timmermann"],
    )
    p_value = test["p_value"] if test else None
    theirs = math.inf if forecast_metrics["log_loss_base_rate"] is None else forecast_metrics["log_loss_base_rate"]
    numbers = f"{percent_text(right)} of its calls were right, {percent_text(to_beat)} of the base rate's"
    if p_value is None:
        title = f"Nothing tells whether it knew: {numbers}"
    elif not is_significant(p_value):
        title = f"No evidence that it knew: {numbers}"
    elif forecast_metrics["log_loss"] >= theirs:
        title = f"Calls beat chance, probabilities don't: {numbers.replace('of its calls ', '')}"
    elif right <= to_beat:
        title = f"It knew, but called no better: {numbers}"
    else:
        title = f"It knew something: {numbers}"
    low, high = forecast_metrics["accuracy_ci95"]
    loss = f"Log loss {number_text(forecast_metrics['log_loss'], decimals=5)}, {log_loss_comparison_text(forecast_metrics['log_loss'], theirs)} than the base rate's"
    return title, (
        f"{forecast_metrics['n']:,} forecasts; the 95% interval of the right calls is {percent_text(low)} to {percent_text(high)}. "
        f"{_directional_test_text(p_value)}. {loss} {'∞' if math.isinf(theirs) else number_text(theirs, decimals=5)}."
    )


def _directional_test_text(p_value: float | None) -> str:
    """Return what the test found, and what its p value says."""
    if p_value is None:
        return f"No test: {pesaran_timmermann_text(None)}"
    often = f"{100 * p_value:.0f} times in 100" if p_value >= 0.015 else "once in 100 times or less"
    often = "less than once in 1,000 times" if p_value < 0.001 else often
    return f"{pesaran_timmermann_text(p_value)}: calls that know nothing agree as well with what came {often}"


def _draw_reliability_panel(
    ax: Axes,
    evaluated: EvaluatedForecasts,
    histogram: ProbabilityHistogram,
    forecast_metrics: dict[str, Any],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    curve = reliability_curve(evaluated.probability, evaluated.up)
    band = reliability_band(
        evaluated.probability, evaluated.up, session=evaluated.session, horizon=evaluated.horizon, rng=rng
    )
    bounds = (float(histogram.bin_edges[0]), float(histogram.bin_edges[-1]))
    figures.draw_reliability(ax, curve, band, base_rate=float(evaluated.base_rate.mean()), probability_range=bounds)
    parts = forecast_metrics["reliability"]["log_loss"]
    lost, gained = (number_text(parts[name], decimals=5) for name in ("miscalibration", "discrimination"))
    words = f"discrimination gains {gained} nats, miscalibration loses {lost}"
    if evaluated.is_clustered:
        words += "\nnoise shows some of both: the grey band is what luck can do"
    else:
        noise = discrimination_under_no_skill(evaluated.probability, evaluated.up, rng=rng)
        words += f"\nshuffled outcomes show a discrimination of {number_text(noise, decimals=5)}"
    set_panel_title_and_text(ax, "Do the probabilities mean what they say?", words, n_lines=2)


def _draw_forecast_counts_panel(ax: Axes, evaluated: EvaluatedForecasts, histogram: ProbabilityHistogram) -> None:
    figures.draw_forecast_counts(ax, histogram, base_rate=float(evaluated.base_rate.mean()))


def _draw_roc_panel(ax: Axes, evaluated: EvaluatedForecasts, forecast_metrics: dict[str, Any], seed: int) -> None:
    curve = roc_curve(evaluated.probability, evaluated.up)
    if curve is None:
        set_panel_title_and_text(ax, "Are ups given higher probabilities? (ROC)", n_lines=2)
        came = "ups" if evaluated.up.all() else "moves that were not up"
        draw_wrapped_message(ax, f"Only {came} came: there is nothing to tell them from, and no ROC curve.")
        return
    rng = np.random.default_rng(seed)
    band = roc_band(evaluated.probability, evaluated.up, session=evaluated.session, horizon=evaluated.horizon, rng=rng)
    figures.draw_roc_curve(ax, curve, band)
    interval = forecast_metrics["auc_ci95"]
    bounds = (
        f"95% interval {_format_3_decimals(interval[0])} to {_format_3_decimals(interval[1])}"
        if interval
        else "too few for an interval"
    )
    words = f"area under the curve {_format_3_decimals(forecast_metrics['auc'])}, {bounds}"
    if np.ptp(evaluated.probability) == 0:
        words += "\nthe probabilities never differ"
    elif band is None:
        words += "\ntoo few forecasts for a band"
    else:
        words += "\n0.5 knows nothing, and noise walked forward comes to less"
    set_panel_title_and_text(ax, "Are ups given higher probabilities? (ROC)", words, n_lines=2)


def _format_3_decimals(value: float) -> str:
    return number_text(value, decimals=3)


def _draw_probability_by_outcome_panel(
    ax: Axes, evaluated: EvaluatedForecasts, histogram: ProbabilityHistogram
) -> None:
    figures.draw_probability_by_outcome(ax, histogram, base_rate=float(evaluated.base_rate.mean()))
    before = [f"{percent_text(mean, decimals=2)} {what}" for mean, what in (
        (histogram.mean_given_up, "before ups"), (histogram.mean_given_not_up, "before the others")) if mean is not None]  # fmt: skip
    words = f"on average {', '.join(before)}\n"
    if histogram.n_outside:
        words += f"{histogram.n_outside:,} of {len(evaluated.up):,} forecasts lie beyond the picture"
    set_panel_title_and_text(ax, "Probabilities by what came", words, n_lines=2)


def _draw_returns_by_probability_panel(ax: Axes, forecasts: Forecasts) -> None:
    title = "Did higher probabilities earn more?"
    found = mean_returns_by_probability_group(forecasts)
    if found is None:
        set_panel_title_and_text(ax, title)
        few = len(forecasts.probability) < 2 * MIN_GROUP_FORECASTS
        why = "There are too few forecasts" if few else "The probabilities hardly ever differ"
        draw_wrapped_message(ax, f"{why}: there are no groups to compare.")
        return
    groups.draw_returns_by_probability(ax, found)
    sessions = f"{forecasts.horizon} session{'s'[: forecasts.horizon > 1]}"
    ahead, reach = (
        percent_text(found.top_minus_bottom, decimals=2),
        percent_text(Z95 * found.top_minus_bottom_standard_error, decimals=2),
    )
    set_panel_title_and_text(ax, title, f"highest less lowest group: {ahead} ± {reach} over {sessions}")


def _draw_rolling_accuracy_panel(ax: Axes, evaluated: EvaluatedForecasts, forecasts: Forecasts) -> None:
    rates = rolling_accuracy(evaluated, forecasts.sessions)
    title = f"Share of right calls over the last {rates.window} sessions"
    if len(rates.dates) < 2:
        set_panel_title_and_text(ax, title)
        draw_wrapped_message(ax, f"There are no more than {rates.window} sessions: too few to follow over time.")
        return
    draw_rolling_accuracy(ax, rates)
    format_date_axis(ax)
    ax.set_xlim(date2num(rates.dates[0]), date2num(rates.dates[-1]))
    set_panel_title_and_text(ax, title, "within the grey band, luck alone could have done it")


def _draw_accuracy_by_year_panel(ax: Axes, evaluated: EvaluatedForecasts, forecasts: Forecasts) -> None:
    years = forecasts.sessions.year.to_numpy(dtype=np.int64)[evaluated.session]
    rates = accuracy_by_group(years, evaluated)
    groups.draw_accuracy_by_year(ax, rates)
    set_panel_title_and_text(ax, "Right calls by year", _groups_above_baseline_text(rates, "year"))


def _draw_accuracy_by_ticker_panel(ax: Axes, evaluated: EvaluatedForecasts, forecasts: Forecasts) -> None:
    rates = accuracy_by_group(evaluated.ticker, evaluated)
    names = [forecasts.tickers[at] for at in rates.group_ids]
    told = _groups_above_baseline_text(rates, "ticker")
    if len(names) <= MAX_TICKER_ROWS:
        groups.draw_accuracy_by_ticker(ax, rates, names)
        set_panel_title_and_text(ax, "Right calls by ticker", told)
        return
    groups.draw_ranked_excess_accuracy(
        ax, rates, expected_by_rank=expected_order_statistics(rates.difference_standard_error)
    )
    best, worst = (f"{groups.shorten_ticker(names[at])} by {percent_text(rates.accuracy_difference[at])}" for at in (
        int(rates.accuracy_difference.argmax()), int(rates.accuracy_difference.argmin())))  # fmt: skip
    set_panel_title_and_text(ax, "Right calls by ticker", f"{told}\nbest {best}, worst {worst}", n_lines=2)


def _groups_above_baseline_text(group_accuracy: GroupAccuracy, group_noun: str) -> str:
    """Return in words in how many groups the model's calls were ahead."""
    n = len(group_accuracy.group_ids)
    return f"ahead of the base rate's call in {int((group_accuracy.accuracy_difference > 0).sum())} of {n:,} {group_noun}{'s'[: n > 1]}"
