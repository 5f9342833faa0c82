"""Curves over time that several pages draw: growth of 1, drawdown, rolling Sharpe ratio and rolling accuracy.

Each function takes axes and a panel's table (`quantlr.report.pages.layout.Table`), and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.values import Array
from quantlr.report.style import (
    BAND_STYLE,
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    ORANGE,
    SKY,
    SMALL_SIZE,
    Axes,
    add_legend_above,
    format_log_axis,
    growth_text,
    marker_for_few_points,
    number_tick_label,
    percent_text,
    set_percent_ticks,
)

NO_SKILL_LABEL = "95% band under no skill"
EquityCurve = tuple[pd.DatetimeIndex, Array, str, dict[str, Any]]
"""Dates, equity, name and line style."""


def draw_growth(ax: Axes, table: Mapping[str, Any]) -> None:
    """Draw equity after and before costs beside buy and hold, and shade the deepest drawdowns."""
    curves = (
        (table["dates"], table["benchmark_equity"], "buy and hold", {"color": ORANGE, "linewidth": 1.3}),
        (table["dates"], table["gross_equity"], "strategy before costs", {"color": SKY, "linewidth": 1.2}),
        (table["dates"], table["net_equity"], "strategy after costs", {"color": BLUE, "linewidth": 1.9}),
    )
    draw_equity_curves(ax, curves)
    add_legend_above(ax, n_columns=3, font_size=SMALL_SIZE + 0.5, is_reversed=True)
    _shade_drawdown_spans(ax, table)


def draw_equity_curves(ax: Axes, curves: Sequence[EquityCurve], *, margins: tuple[float, float] = (0.97, 1.06)) -> None:
    """Draw equity curves on a log scale, of which `margins` multiply the ends; the legend has the last values."""
    for dates, equity, name, style in curves:
        ax.plot(dates, np.where(equity > 0, equity, np.nan), label=f"{name}: {growth_text(equity[-1])}", **style)
    format_log_axis(ax, np.concatenate([equity for _, equity, _, _ in curves]), margins=margins)


def _shade_drawdown_spans(ax: Axes, table: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Shade each drawdown from its peak to its recovery, or to the last date; return the (start, end) dates."""
    from matplotlib.dates import date2num

    spans = []
    for period in table["drawdowns"].itertuples():
        end = table["dates"][-1] if pd.isna(period.recovery_date) else period.recovery_date
        spans.append((float(date2num(period.peak_date)), float(date2num(end))))
        ax.axvspan(*spans[-1], color=LIGHT_GREY, alpha=0.55, linewidth=0, zorder=0)
    return spans


def draw_drawdown(ax: Axes, table: Mapping[str, Any]) -> None:
    """Draw the drawdowns of strategy and benchmark; number the deepest, with depth and dates above the axes."""
    dates, net, benchmark = table["dates"], table["net_drawdown"], table["benchmark_drawdown"]
    ax.fill_between(dates, net, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(dates, net, color=BLUE, linewidth=0.9)
    ax.plot(dates, benchmark, color=ORANGE, linewidth=0.9)
    ax.set_ylim(1.25 * min(float(net.min()), float(benchmark.min()), -0.01), 0.0)
    set_percent_ticks(ax.yaxis, max_intervals=4)
    texts = []
    spans = _shade_drawdown_spans(ax, table)
    for number, (period, span) in enumerate(zip(table["drawdowns"].itertuples(), spans, strict=True), start=1):
        ax.annotate(
            str(number), (sum(span) / 2, 0.0), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", va="bottom", fontsize=SMALL_SIZE, color=BLACK, fontweight="bold",
        )  # fmt: skip
        peak = f"{period.peak_date:%b %Y}"
        is_open = pd.isna(period.recovery_date)
        dates_text = f"since {peak}" if is_open else f"{peak} to {period.recovery_date:%b %Y}"
        texts.append(f"{number}: {percent_text(period.depth)}, {dates_text}")
    ax.set_title("     ".join(texts), loc="right", fontsize=SMALL_SIZE, color=BLACK, pad=6, y=1.0)


def draw_rolling_sharpe(ax: Axes, table: Mapping[str, Any]) -> None:
    """Draw rolling Sharpe ratios over their band under no skill."""
    dates, half_width = table["dates"], table["band_half_width"]
    marker = marker_for_few_points(dates, "o")
    ax.fill_between(dates[[0, -1]], -half_width, half_width, label=NO_SKILL_LABEL, **BAND_STYLE)
    curves = ((table["benchmark_sharpe"], "buy and hold", ORANGE, 1.3),
              (table["strategy_sharpe"], "strategy after costs", BLUE, 1.6))  # fmt: skip
    for values, name, color, width in curves:
        style: dict[str, Any] = {"color": color, "linewidth": width, "marker": marker, "markersize": 3}
        ax.plot(dates, values, clip_on=not marker, label=name, **style)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=6)
    drawn = np.concatenate([*(curve[0] for curve in curves), [-half_width, half_width]])
    low, high = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    ax.set_ylim(low - 0.05 * (high - low), high + 0.25 * (high - low))
    ax.yaxis.set_major_formatter(number_tick_label)
    _add_legend_at_top(ax)


def draw_rolling_accuracy(ax: Axes, table: Mapping[str, Any]) -> None:
    """Draw the rolling accuracy of model and majority-class baseline, with the band of random forecasts."""
    dates, accuracy, low, high = (table[name] for name in ("dates", "accuracy", "band_low", "band_high"))
    assumption = "binomial" if table["is_independent"] else "if forecasts were independent"
    ax.fill_between(dates, low, high, label=f"{NO_SKILL_LABEL} ({assumption})", **BAND_STYLE)
    ax.plot(dates, table["baseline_accuracy"], color=ORANGE, linewidth=1.3, label="majority-class baseline")
    ax.plot(dates, accuracy, color=BLUE, linewidth=1.6, label="model")
    set_percent_ticks(ax.yaxis, max_intervals=5)
    bottom, top = min(low.min(), accuracy.min()), max(high.max(), accuracy.max())
    ax.set_ylim(float(bottom - 0.02), float(top + 0.3 * max(top - bottom, 0.02)))
    _add_legend_at_top(ax)


def _add_legend_at_top(ax: Axes) -> None:
    """Draw the legend in one row inside the axes, the last line first."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL_SIZE, labelcolor=BLACK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip
