"""How every picture looks: colours, axes, and numbers as text.

Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter

BLUE, SKY, ORANGE = "#0072B2", "#56B4E9", "#E69F00"
GREEN, VERMILION, PURPLE = "#009E73", "#D55E00", "#CC79A7"
BLACK, GREY, BAND_GREY, LIGHT_GREY = "#222222", "#777777", "#BBBBBB", "#E4E4E4"
SMALL_SIZE, NORMAL_SIZE = 8.5, 9.5
MINUS_SIGN = "−"


def style_axes(ax: Axes) -> None:
    """Take away what carries no information: frame, ticks; and leave a faint grid."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
    ax.grid(axis="y", color=LIGHT_GREY, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=SMALL_SIZE, labelcolor=BLACK)
    ax.tick_params(axis="x", length=3, color=GREY)


def format_date_axis(ax: Axes) -> None:
    """Label the time axis with as few words as will do."""
    locator = AutoDateLocator(minticks=4, maxticks=11)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def set_panel_title(ax: Axes, title: str, *, padding_points: float = 6.0) -> None:
    """Say above the axes what is shown, `room` points higher."""
    # A place of one's own: to find one, matplotlib would measure every label of the axes first.
    ax.set_title(title, loc="left", fontsize=NORMAL_SIZE, color=BLACK, fontweight="bold", pad=padding_points, y=1.0)


def draw_message(ax: Axes, text: str) -> None:
    """Say in the middle of the axes why there is nothing to draw; what stands below them stays."""
    ax.set_yticks([])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=NORMAL_SIZE, color=GREY)


def add_legend_above(ax: Axes, *, n_columns: int) -> None:
    """Name what is drawn in a row between the heading and the axes; `heading` needs 16 points of room for each row."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=n_columns, frameon=False, fontsize=SMALL_SIZE,
        labelcolor=BLACK, borderaxespad=0.1, borderpad=0, handlelength=1.6, columnspacing=1.4, labelspacing=0.35,
    )  # fmt: skip


def percent_formatter() -> FuncFormatter:
    """Return what labels an axis of fractions in percent, with a real minus sign."""
    return FuncFormatter(lambda share, _: f"{100 * share:g}%".replace("-", MINUS_SIGN))


def nice_ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive numbers: evenly spaced if they are near, else by decades."""
    if high / low < 4:
        steps = [step * 10.0**power for power in range(-4, 6) for step in (1.0, 2.0, 2.5, 5.0)]
        step = next(step for step in steps if (high - low) / step <= 7)
        return [round(step * at, 6) for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    per_decade = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 12 else (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in per_decade if low <= step * 10.0**decade <= high]


def format_multiple(value: float) -> str:
    """Return what one unit became in few letters, however much or little that is."""
    if 0 < value < 0.01 or value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def percent_text(value: float | None, *, decimals: int = 1, suffix: str = "%") -> str:
    """Return a fraction as percent with a real minus sign; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{100 * value:,.{decimals}f}"
    return (text.replace("-", MINUS_SIGN) if float(text.replace(",", "")) else text.lstrip("-")) + suffix


def number_text(value: float | None, *, decimals: int = 2) -> str:
    """Return a number with a real minus sign; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text.replace(",", "")) else text.lstrip("-")
