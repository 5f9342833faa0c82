"""Pictures: each function draws given values on given axes, computes no statistic, and returns nothing.

Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.series import HitRates
from quantlr.types import Array

BLUE, SKY, ORANGE = "#0072B2", "#56B4E9", "#E69F00"
INK, GREY, FAINT = "#222222", "#777777", "#E4E4E4"
SMALL, NORMAL = 8.5, 9.5

LOSS_TO_GAIN = LinearSegmentedColormap.from_list("loss_to_gain", ["#E8956A", "#FFFFFF", "#7FB8DA"])
SIZES = ((17, 7.6), (22, 6.4), (34, 5.2))
"""Size of a calendar's letters by how many years it has at most."""
SMALLEST = 3.6
MONTHS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D", "Year")
MINUS = "−"
LOWEST_EQUITY = 1e-3
"""Where the equity axis ends, however much is lost."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Values of one unit of capital over time.

    Attributes
    ----------
    dates : (sessions + 1,) from the first fill on.
    net, gross, benchmark : (sessions + 1,) beginning at 1.
    net_drawdown, benchmark_drawdown : (sessions + 1,) fall from the highest so far, <= 0.
    """

    dates: pd.DatetimeIndex
    net: Array
    gross: Array
    benchmark: Array
    net_drawdown: Array
    benchmark_drawdown: Array


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table of text; a row without cells is a heading."""

    label: str
    cells: tuple[str, ...] = ()


def bare(ax: Axes) -> None:
    """Take away what carries no information: frame, ticks; and leave a faint grid."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
    ax.grid(axis="y", color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    ax.tick_params(axis="x", length=3, color=GREY)


def dated(ax: Axes) -> None:
    """Label the time axis with as few words as will do."""
    locator = AutoDateLocator(minticks=4, maxticks=11)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def heading(ax: Axes, text: str, *, room: float = 6.0) -> None:
    """Say above the axes what is shown, `room` points higher."""
    ax.set_title(text, loc="left", fontsize=NORMAL, color=INK, fontweight="bold", pad=room)


def nice_ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive numbers: evenly spaced if they are near, else by decades."""
    if high / low < 4:
        steps = [step * 10.0**power for power in range(-4, 6) for step in (1.0, 2.0, 2.5, 5.0)]
        step = next(step for step in steps if (high - low) / step <= 7)
        return [round(step * at, 6) for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    per_decade = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 12 else (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in per_decade if low <= step * 10.0**decade <= high]


def equity_curves(ax: Axes, curves: Curves) -> None:
    """Draw equity after and before costs beside buy and hold, on a log scale: equal steps are equal gains."""
    ax.set_yscale("log")
    for values, name, colour, width in (
        (curves.benchmark, "buy and hold", ORANGE, 1.3),
        (curves.gross, "strategy before costs", SKY, 1.2),
        (curves.net, "strategy after costs", BLUE, 1.9),
    ):
        alive = np.where(values > 0, values, np.nan)
        ax.plot(curves.dates, alive, color=colour, linewidth=width, label=f"{name}: 1 became {multiple(values[-1])}")
    together = np.concatenate([curves.net, curves.gross, curves.benchmark])
    alive = together[together > 0]
    ax.set_ylim(max(float(alive.min()), LOWEST_EQUITY) * 0.97, float(alive.max()) * 1.06)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False,
        fontsize=SMALL + 0.5, labelcolor=INK, borderaxespad=0.1, borderpad=0, handlelength=1.6, columnspacing=1.6,
    )  # fmt: skip


def drawdowns(ax: Axes, curves: Curves) -> None:
    """Draw how far each stands below its highest so far."""
    ax.fill_between(curves.dates, curves.net_drawdown, 0.0, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(curves.dates, curves.net_drawdown, color=BLUE, linewidth=0.9)
    ax.plot(curves.dates, curves.benchmark_drawdown, color=ORANGE, linewidth=0.9)
    ax.set_ylim(min(float(curves.net_drawdown.min()), float(curves.benchmark_drawdown.min()), -0.01) * 1.08, 0.0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%".replace("-", MINUS)))
    ax.locator_params(axis="y", nbins=4)


def hit_rates(ax: Axes, rates: HitRates) -> None:
    """Draw the trailing share of right calls inside the band that luck alone would keep to."""
    luck = "95% of luck (binomial)" if rates.independent else "95% of luck, if calls were independent"
    ax.fill_between(
        rates.dates,
        rates.low,
        rates.high,
        color="#BBBBBB",
        alpha=0.45,
        linewidth=0,
        label=luck,
    )
    ax.plot(rates.dates, rates.base_rate, color=ORANGE, linewidth=1.3, label="base rate's call")
    ax.plot(rates.dates, rates.accuracy, color=BLUE, linewidth=1.6, label="the model's calls")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%".replace("-", MINUS)))
    ax.locator_params(axis="y", nbins=5)
    low, high = min(rates.low.min(), rates.accuracy.min()), max(rates.high.max(), rates.accuracy.max())
    ax.set_ylim(float(low - 0.02), float(high + 0.3 * (high - low)))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", ncols=3, frameon=False, fontsize=SMALL, labelcolor=INK,
        borderaxespad=0.1, columnspacing=1.5,
    )  # fmt: skip


def month_calendar(ax: Axes, months: pd.DataFrame, years: Array) -> None:
    """Write each month's and year's return in percent, coloured from loss to gain."""
    grid = np.column_stack([months.to_numpy(dtype=np.float64), np.full(len(months), np.nan)])
    seen = np.abs(grid[~np.isnan(grid)])
    reach = max(float(np.quantile(seen, 0.95)) if len(seen) else 0.0, 0.01)
    ax.imshow(grid, cmap=LOSS_TO_GAIN, norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto")
    size = next((size for years_at_most, size in SIZES if len(months) <= years_at_most), SMALLEST)
    for row in range(grid.shape[0]):
        for column in range(12):
            if not np.isnan(grid[row, column]):
                decimals = 1 if abs(grid[row, column]) < 0.2 else 0
                text = percent(grid[row, column], decimals=decimals, unit="")
                ax.text(column, row, text, ha="center", va="center", fontsize=size, color=INK)
        ax.text(
            13.1,
            row,
            percent(years[row], unit=""),
            ha="right",
            va="center",
            fontsize=size,
            fontweight="bold",
            color=INK,
        )
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlim(-0.5, 13.1)
    ax.set_xticks([*range(12), 12.75], MONTHS)
    ax.set_yticks(range(len(months)), [str(year) for year in months.index])
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=size + 0.4, labelcolor=INK, pad=2)


def text_table(ax: Axes, rows: list[TableRow], *, edges: tuple[float, ...]) -> None:
    """Write a table: labels on the left, cells right-aligned at `edges`, fractions of the axes' width."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows), 0)
    for at, row in enumerate(rows):
        if row.label.isupper() or (row.cells and not row.label):
            ax.axhline(at + 0.95, color=GREY, linewidth=0.8)
        bold = "bold" if row.label.isupper() else "normal"
        ax.text(0, at + 0.5, row.label.capitalize() if bold == "bold" else row.label, va="center", fontsize=NORMAL,
                color=INK, fontweight=bold)  # fmt: skip
        for edge, cell in zip(edges, row.cells, strict=False):
            ax.text(
                edge,
                at + 0.5,
                cell,
                va="center",
                ha="right",
                fontsize=NORMAL,
                color=GREY if bold == "bold" else INK,
            )


def multiple(value: float) -> str:
    """Return what one unit became in few letters, however much or little that is."""
    if 0 < value < 0.01 or value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def percent(value: float | None, *, decimals: int = 1, unit: str = "%") -> str:
    """Return a fraction as percent with a real minus sign; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{100 * value:,.{decimals}f}"
    return (text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")) + unit


def number(value: float | None, *, decimals: int = 2) -> str:
    """Return a number with a real minus sign; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")
