"""Colours, axes, legends, curves over time, tables of text and number formats that all charts share.

Colours are those of Okabe and Ito, which colour-blind readers can distinguish. Nothing here imports matplotlib before
it draws: the functions that format numbers serve the terminal, the HTML page and exports too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from quantlr.core.values import Array, BoolArray
from quantlr.report.fonts import fit_text, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
else:
    Axes = Any  # the drawing functions of all modules name this type, which only type checkers import

BLUE, SKY, ORANGE = "#0072B2", "#56B4E9", "#E69F00"
GREEN, VERMILION, PURPLE = "#009E73", "#D55E00", "#CC79A7"
LOSS_GAIN_COLORS = ("#E8956A", "#FFFFFF", "#7FB8DA")
"""Of a loss, of 0 and of a gain in a coloured cell."""
BLACK, GREY, BAND_GREY, LIGHT_GREY = "#222222", "#777777", "#BBBBBB", "#E4E4E4"
SMALL_SIZE, NORMAL_SIZE = 8.5, 9.5
LABEL_STYLE: dict[str, Any] = {"fontsize": SMALL_SIZE, "color": BLACK, "labelpad": 2}
"""Keyword arguments of an axis label."""
BAND_STYLE: dict[str, Any] = {"color": BAND_GREY, "alpha": 0.45, "linewidth": 0}
"""Keyword arguments of a band under the null hypothesis."""
TITLE_SIZES, SUBTITLE_SIZES = ((NORMAL_SIZE, 1), (8.5, 1), (7.5, 1)), ((SMALL_SIZE, 1), (7.6, 1), (6.8, 1))
CELL_SIZES = ((NORMAL_SIZE, 1), (8.2, 1), (7.2, 1))
ROW_LABEL_SIZES, MIN_ROW_LABEL_SIZE, LEGEND_SIZES = (SMALL_SIZE, 7.6, 6.6), 5.6, (SMALL_SIZE, 7.8, 7.2, 6.6)
"""Sizes of type, the most readable first, from which the first that fits is taken."""
LEGEND_STYLE: dict[str, float] = {"handlelength": 1.4, "handletextpad": 0.5, "columnspacing": 1.2}
"""Lengths of the parts of a legend that are not text, in sizes of its font."""
CELL_GAP_POINTS, LABEL_MARGIN_POINTS, MAX_MESSAGE_WIDTH, POINTS_PER_INCH = 6.0, 12.0, 240.0, 72.0
Y_LABEL_DISTANCE_POINTS = 40.32
"""Distance of the label of a vertical axis from the axes."""
LEGEND_ROW_POINTS = 16.0
"""Height of one row of a legend between a title and its axes, in points."""
MINUS_SIGN = "−"
MIN_PLOTTED_EQUITY = 1e-3
"""Lower end of an equity axis, however much is lost."""
NO_SKILL_LABEL = "95% band under no skill"
EquityCurve = tuple[pd.DatetimeIndex, Array, str, dict[str, Any]]
"""Dates, equity, name and line style."""


def style_axes(ax: Axes) -> None:
    """Remove the frame and the ticks, and draw a faint grid."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
    ax.grid(axis="y", color=LIGHT_GREY, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=SMALL_SIZE, labelcolor=BLACK)
    ax.tick_params(axis="x", length=3, color=GREY)


def grid_along_x(ax: Axes) -> None:
    """Draw the grid across the horizontal axis only, for charts with one row per category."""
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=LIGHT_GREY, linewidth=0.8)


def axes_width_points(ax: Axes) -> float:
    """Return the width of axes in points."""
    return float(ax.get_window_extent().width) * POINTS_PER_INCH / float(ax.figure.dpi)


def axes_height_points(ax: Axes) -> float:
    """Return the height of axes in points."""
    return float(ax.get_window_extent().height) * POINTS_PER_INCH / float(ax.figure.dpi)


def format_category_rows(ax: Axes, labels: Sequence[str], *, label_width: float | None = None) -> None:
    """Give each category a row, the first at the top, with its label at the left (see `label_rows`)."""
    ax.set_ylim(len(labels) - 0.5, -0.5)
    grid_along_x(ax)
    label_rows(ax, range(len(labels)), labels, label_width=label_width)


def label_rows(ax: Axes, positions: Sequence[int], labels: Sequence[str], *, label_width: float | None = None) -> None:
    """Label rows of the axes in letters of one size, which fit rows and width; labels that are still wider are cut.

    `label_width` is in points; without it, labels reach to the left of the page.
    """
    if label_width is None:
        label_width = float(ax.get_window_extent().x0) * POINTS_PER_INCH / float(ax.figure.dpi) - LABEL_MARGIN_POINTS
    row_height = axes_height_points(ax) / max(float(np.ptp(ax.get_ylim())), 1.0)
    sizes = [(size, 1) for size in ROW_LABEL_SIZES if size <= 1.1 * row_height] or [(MIN_ROW_LABEL_SIZE, 1)]
    fitted = [fit_text(label, max_width=label_width, sizes=sizes) for label in labels]
    size = min(
        (size for (text, size), label in zip(fitted, labels, strict=True) if text == label), default=sizes[-1][0]
    )
    texts = [fit_text(label, max_width=label_width, sizes=((size, 1),))[0] for label in labels]
    set_fixed_ticks(ax.yaxis, positions, texts)
    ax.tick_params(axis="y", labelsize=size)


def set_fixed_ticks(axis: Axis, positions: Iterable[float], labels: Sequence[str] | None = None) -> None:
    """Give an axis ticks at some positions, with labels if its formatter makes none; its limits stay.

    `Axis.set_ticks` would make lines and texts for each, of which one each is drawn (`one_tick_per_axis`).
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator

    axis.set_major_locator(FixedLocator(list(positions)))
    if labels is not None:
        axis.set_major_formatter(FixedFormatter(labels))


def format_date_axis(ax: Axes, dates: Any = None, *, max_ticks: int = 11) -> None:
    """Label the horizontal axis with concise dates, and limit it to the first and last of `dates` if given."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=min(4, max_ticks // 2), maxticks=max_ticks)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if dates is not None and len(dates) > 1:
        ax.set_xlim(dates[0], dates[-1])


def format_log_axis(ax: Axes, values: Array, *, margins: tuple[float, float] = (0.97, 1.06)) -> None:
    """Give the vertical axis a log scale over the positive `values`, with round ticks; `margins` multiply its ends."""
    positive = values[values > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    ax.set(yscale="log", ylim=np.maximum([low, high], MIN_PLOTTED_EQUITY) * margins)
    set_fixed_ticks(ax.yaxis, round_tick_values(*ax.get_ylim()))
    ax.yaxis.minorticks_off()
    ax.yaxis.set_major_formatter(number_tick_label)


def format_fraction_axis(axis: Axis, *, max_ticks: int) -> None:
    """Label an axis of probabilities or fractions in percent, without ticks below 0 or above 1."""
    from matplotlib.ticker import MaxNLocator

    low, high = (float(np.clip(limit, 0.0, 1.0)) for limit in axis.get_view_interval())
    set_fixed_ticks(axis, [tick for tick in MaxNLocator(max_ticks).tick_values(low, high) if low <= tick <= high])
    axis.set_major_formatter(percent_tick_label)


def label_axes(ax: Axes, *, x_label: str, y_label: str) -> None:
    """Write axis labels; the vertical one stands at a fixed distance from the axes, whatever its tick labels."""
    ax.set_xlabel(x_label, **LABEL_STYLE)
    ax.set_ylabel(y_label, **LABEL_STYLE)
    ax.yaxis.set_label_coords(-Y_LABEL_DISTANCE_POINTS / axes_width_points(ax), 0.5)


def set_panel_title(ax: Axes, title: str, *, max_width: float, padding_points: float = 6.0) -> None:
    """Write the title above the axes at the left, `padding_points` higher than their top, `max_width` points wide."""
    text, size = fit_text(title, max_width=max_width, sizes=TITLE_SIZES, is_bold=True)
    # With a fixed position, matplotlib need not measure every label of the axes to find one.
    ax.set_title(text, loc="left", fontsize=size, color=BLACK, fontweight="bold", pad=padding_points, y=1.0)


def power_of_ten_tick_label(value: float, _: float) -> str:
    """Return a power of ten as text, such as 10⁻⁴."""
    return f"10{str(round(np.log10(value))).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def add_subtitle(ax: Axes, text: str, *, padding_points: float, max_width: float, has_formula: bool = False) -> None:
    """Write text below a panel's title; its first line begins `padding_points` above the axes.

    With `has_formula`, what is between two dollar signs is a formula, elsewhere it is text.
    """
    if has_formula:
        size = fit_text(_formula_as_text(text), max_width=max_width, sizes=SUBTITLE_SIZES)[1]
    else:
        lines = [fit_text(line, max_width=max_width, sizes=SUBTITLE_SIZES) for line in text.split("\n")]
        text, size = "\n".join(line for line, _ in lines), min(size for _, size in lines)
    ax.annotate(text, (0, 1), (0, padding_points), xycoords="axes fraction", textcoords="offset points",
                fontsize=size, color=BLACK, va="top", linespacing=1.25, annotation_clip=False,
                parse_math=has_formula)  # fmt: skip


def _formula_as_text(text: str) -> str:
    """Return text with formulas as plain text about as wide: a letter for each symbol, blanks around relations."""
    parts = text.split("$")
    for index in range(1, len(parts), 2):
        symbols = re.sub(r"\\frac{(.*?)}{.*?}", r"\1", parts[index])
        symbols = re.sub(r"[{}_^]", "", re.sub(r"\\[a-zA-Z]+|\\,", "m", symbols))
        parts[index] = re.sub(r"([=+-])", r" \1 ", symbols)
    return "".join(parts)


def draw_message(ax: Axes, text: str) -> None:
    """Write in the middle of empty axes why nothing is drawn."""
    ax.set(xticks=[], yticks=[])
    ax.spines["bottom"].set_visible(False)
    width, n_lines = axes_width_points(ax), max(int(axes_height_points(ax) / (1.4 * SMALL_SIZE)), 1)
    text, size = fit_text(
        text, max_width=min(width, MAX_MESSAGE_WIDTH), sizes=((NORMAL_SIZE, 3), (SMALL_SIZE, n_lines))
    )
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=size, color=GREY,
            linespacing=1.4)  # fmt: skip


def add_legend_above(
    ax: Axes, *, n_columns: int, font_size: float = SMALL_SIZE, is_reversed: bool = False, handles: Any = None
) -> None:
    """Draw the legend between the title and the axes; each of its rows needs `LEGEND_ROW_POINTS`.

    It is no wider than the axes: its letters are smaller where it would be, and the longest labels are cut.
    """
    handles = list(handles or ax.get_legend_handles_labels()[0])[:: -1 if is_reversed else 1]
    if not handles:
        return
    labels, size = fit_legend(
        [handle.get_label() for handle in handles], n_columns, font_size, max_width=axes_width_points(ax)
    )
    ax.legend(
        handles=handles, labels=labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=n_columns, frameon=False,
        fontsize=size, labelcolor=BLACK, borderaxespad=0.1, borderpad=0, labelspacing=0.35, **LEGEND_STYLE,
    )  # fmt: skip


def fit_legend(labels: Sequence[str], n_columns: int, font_size: float, *, max_width: float) -> tuple[list[str], float]:
    """Return labels of a legend that is at most `max_width` points wide, and the size of its letters."""
    columns = [part for part in np.array_split(np.array(labels, dtype=object), n_columns) if len(part)]
    handles_width = sum(LEGEND_STYLE.values()) * len(columns)  # in sizes of the font
    for size in (font_size, *(size for size in LEGEND_SIZES if size < font_size)):
        widths = [max(text_width(label, font_size=size) for label in column) for column in columns]
        if sum(widths) + size * handles_width <= max_width:
            return list(labels), size
    room = max_width - size * handles_width
    # Columns that are narrower than an equal part leave what they do not need to the others.
    narrow = [width for width in widths if width <= room / len(widths)]
    wide = (room - sum(narrow)) / max(len(widths) - len(narrow), 1)
    return [fit_text(label, max_width=max(wide, *narrow, 0.0), sizes=((size, 1),))[0] for label in labels], size


def add_legend(
    ax: Axes, *, corner: Literal["upper left", "lower right"], n_columns: int = 1, is_above_axes: bool = False
) -> None:
    """Draw the legend in a corner of the axes, or above them, no wider than they are."""
    handles, labels = ax.get_legend_handles_labels()
    labels, size = fit_legend(labels, n_columns, SMALL_SIZE, max_width=axes_width_points(ax) - SMALL_SIZE)
    ax.legend(
        handles, labels, loc=corner, bbox_to_anchor=(0.0, 1.0, 1.0, 0.2) if is_above_axes else (0.0, 0.0, 1.0, 1.0),
        ncols=n_columns, facecolor="white", edgecolor="none", framealpha=0.85, fontsize=size, labelcolor=BLACK,
        borderaxespad=0.2, borderpad=0.2, **LEGEND_STYLE,
    )  # fmt: skip


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


@cache
def loss_gain_colormap() -> Colormap:
    """Return the colormap from losses (orange) over 0 (white) to gains (blue)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("loss_to_gain", LOSS_GAIN_COLORS)


def draw_loss_gain_image(ax: Axes, values: Array, *, half_range: float, center: float = 0.0, **options: Any) -> None:
    """Draw a matrix as coloured cells, white at `center` and saturated `half_range` away from it."""
    options |= {"vmin": center - half_range, "vmax": center + half_range, "aspect": "auto"}
    ax.imshow(values, cmap=loss_gain_colormap(), **options)


def marker_for_few_points(values: Any, marker: str = ".") -> str | None:
    """Return the marker for a line of few points, the only visible part of a line of one; None for many."""
    return marker if len(values) < 40 else None


def isolated_point_mask(values: Array) -> BoolArray:
    """Return which values are neither NaN nor beside another value: a line through them is invisible."""
    known = np.concatenate([[False], ~np.isnan(values), [False]])
    return np.asarray(known[1:-1] & ~known[:-2] & ~known[2:])


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table of text; one with an empty label is a blank line."""

    label: str
    cells: tuple[str, ...] = ()
    is_heading: bool = False


def make_table_row(label: str, values: Iterable[Any], formatter: Callable[[Any], str], **options: Any) -> TableRow:
    """Return a row with each value formatted, such as by `number_text` with its options."""
    return TableRow(label, tuple(formatter(value, **options) for value in values))


def draw_text_table(ax: Axes, table: Mapping[str, Any], *, column_right_edges: Sequence[float]) -> None:
    """Write the rows of a table: labels at the left, cells right-aligned at the edges (fractions of the width)."""
    rows, width = table["rows"], axes_width_points(ax)
    room = width * np.diff([0.0, *column_right_edges]) - CELL_GAP_POINTS
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(len(rows), 0))
    for index, row in enumerate(rows):
        if row.is_heading or (row.cells and not row.label):
            ax.axhline(index + 0.95, color=GREY, linewidth=0.8)
        if not row.label:
            continue
        style: dict[str, Any] = {"y": index + 0.5, "va": "center"}
        cells = [
            (edge, *fit_text(cell, max_width=cell_width, sizes=CELL_SIZES))
            for edge, cell, cell_width in zip(column_right_edges, row.cells, room, strict=False)
            if cell
        ]
        cell_lefts = [edge * width - text_width(text, font_size=size) - CELL_GAP_POINTS for edge, text, size in cells]
        label_width = min([width, *cell_lefts])
        label, size = fit_text(row.label, max_width=label_width, sizes=CELL_SIZES, is_bold=row.is_heading)
        weight = "bold" if row.is_heading else "normal"
        ax.text(0, s=label, fontsize=size, color=BLACK, fontweight=weight, **style)
        for edge, text, size in cells:
            ax.text(edge, s=text, ha="right", fontsize=size, color=GREY if row.is_heading else BLACK, **style)


def p_value_text(p_value: float) -> str:
    """Return a p value with its sign of comparison: "p = 0.042", or "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def set_percent_ticks(axis: Axis, *, max_intervals: int) -> None:
    """Label an axis of fractions in percent, with at most `max_intervals` intervals between its ticks."""
    axis.set_major_formatter(percent_tick_label)
    locator: Any = axis.get_major_locator()
    locator.set_params(nbins=max_intervals)


def percent_tick_label(value: float, _: object = None) -> str:
    """Return the tick label of a fraction in percent."""
    return f"{100 * value:g}%".replace("-", MINUS_SIGN)


def number_tick_label(value: float, _: object = None) -> str:
    """Return the tick label of a number, with a typographic minus sign."""
    return f"{value:g}".replace("-", MINUS_SIGN)


def round_tick_values(low: float, high: float) -> list[float]:
    """Return round numbers between two positive ones: evenly spaced if they are close, else by decades."""
    if high / low < 4:
        steps = [step * 10.0**power for power in range(-4, 6) for step in (1.0, 2.0, 2.5, 5.0)]
        step = next(step for step in steps if (high - low) / step <= 7)
        return [round(step * multiple, 6) for multiple in range(math.ceil(low / step), math.floor(high / step) + 1)]
    per_decade = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 12 else (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in per_decade if low <= step * 10.0**decade <= high]


def growth_text(value: float) -> str:
    """Return the growth of 1 as short text, for any magnitude."""
    if 0 < value < 0.01 or value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def percent_text(value: float | None, *, decimals: int = 1, suffix: str = "%") -> str:
    """Return a fraction in percent with a typographic minus sign; a dash where it is undefined."""
    scaled = None if value is None else 100 * value
    return number_text(scaled, decimals=decimals) + (suffix if scaled is not None and np.isfinite(scaled) else "")


def number_text(value: float | None, *, decimals: int = 2) -> str:
    """Return a number with a typographic minus sign; a dash where it is undefined."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text.replace(",", "")) else text.lstrip("-")


def p_value_number_text(p_value: float | None) -> str:
    """Return a p value, which is never shown as 0; a dash where it is undefined."""
    return "< 0.001" if p_value is not None and p_value < 0.001 else number_text(p_value, decimals=3)


def count_text(count: int, noun: str, *, plural: str = "") -> str:
    """Return a count with its noun, such as "1 session" or "1,250 sessions"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def shorten_middle(text: str, max_chars: int) -> str:
    """Return text of at most `max_chars` characters: its beginning and its end."""
    kept = max_chars - 1
    return text if len(text) <= max_chars else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def shorten_end(text: str, *, max_chars: int = 22) -> str:
    """Return text of at most `max_chars` characters: its beginning."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
