"""Curves over time that several pages draw: equity and rolling accuracy.

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
    ORANGE,
    SMALL_SIZE,
    Axes,
    format_log_axis,
    growth_text,
    set_percent_ticks,
)

NO_SKILL_LABEL = "95% band under no skill"
EquityCurve = tuple[pd.DatetimeIndex, Array, str, dict[str, Any]]
"""Dates, equity, name and line style."""


def draw_equity_curves(ax: Axes, curves: Sequence[EquityCurve], *, margins: tuple[float, float] = (0.97, 1.06)) -> None:
    """Draw equity curves on a log scale, of which `margins` multiply the ends; the legend has the last values."""
    for dates, equity, name, style in curves:
        ax.plot(dates, np.where(equity > 0, equity, np.nan), label=f"{name}: {growth_text(equity[-1])}", **style)
    format_log_axis(ax, np.concatenate([equity for _, equity, _, _ in curves]), margins=margins)


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
    add_legend_at_top(ax)


def add_legend_at_top(ax: Axes) -> None:
    """Draw the legend in one row inside the axes, the last line first."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL_SIZE, labelcolor=BLACK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip
