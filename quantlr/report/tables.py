"""Tables drawn on a page: rows of text, and the calendar of monthly returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlr.report.style import BLACK, GREY, NORMAL_SIZE, draw_loss_gain_image, percent_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZES_BY_MAX_YEARS = ((17, 7.6), (22, 6.4), (34, 5.2))
"""Font size of the calendar by its number of years, at most."""
MIN_FONT_SIZE = 3.6
MONTH_LABELS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D", "Year")
YEAR_COLUMN_RIGHT, YEAR_LABEL_LEFT = 13.1, -1.84
"""Horizontal limits of the calendar, in columns: right edge of the annual returns, left edge of the years."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table of text; an upper-case label makes it a heading, an empty one a blank line."""

    label: str
    cells: tuple[str, ...] = ()


def format_table_row(label: str, values: Iterable[Any], formatter: Callable[[Any], str], **options: Any) -> TableRow:
    """Return a row with each value formatted, such as by `number_text` with its options."""
    return TableRow(label, tuple(formatter(value, **options) for value in values))


def draw_text_table(ax: Axes, rows: Sequence[TableRow], *, column_right_edges: Sequence[float]) -> None:
    """Write rows of text: labels at the left, cells right-aligned at the edges, as fractions of the axes' width."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows), 0)
    for index, row in enumerate(rows):
        is_heading = row.label.isupper()
        if is_heading or (row.cells and not row.label):
            ax.axhline(index + 0.95, color=GREY, linewidth=0.8)
        if not row.label:
            continue
        style: dict[str, Any] = {"va": "center", "fontsize": NORMAL_SIZE}
        ax.text(0, index + 0.5, row.label.capitalize() if is_heading else row.label, color=BLACK,
                fontweight="bold" if is_heading else "normal", **style)  # fmt: skip
        for edge, cell in zip(column_right_edges, row.cells, strict=False):
            if cell:
                ax.text(edge, index + 0.5, cell, ha="right", color=GREY if is_heading else BLACK, **style)


def draw_monthly_returns(ax: Axes, table: Mapping[str, Any]) -> None:
    """Write each month's and year's return in percent, coloured from loss to gain.

    Parameters
    ----------
    table : `years` (n,), `monthly_returns` (n, 12) and `yearly_returns` (n,); NaN where there is none.
    """
    years, months = table["years"], table["monthly_returns"]
    known = np.abs(months[~np.isnan(months)])
    half_range = max(float(np.quantile(known, 0.95)) if len(known) else 0.0, 0.01)
    draw_loss_gain_image(ax, months, half_range=half_range)
    size = next((size for max_years, size in FONT_SIZES_BY_MAX_YEARS if len(years) <= max_years), MIN_FONT_SIZE)
    style: dict[str, Any] = {"fontsize": size, "color": BLACK}
    # Written as texts: each tick would be two lines and two texts.
    for (row, month), value in np.ndenumerate(months):
        if not np.isnan(value):
            text = percent_text(value, decimals=1 if abs(value) < 0.2 else 0, suffix="")
            ax.text(month, row, text, ha="center", va="center", **style)
    for row, (year, value) in enumerate(zip(years, table["yearly_returns"], strict=True)):
        text = percent_text(value, suffix="")
        ax.text(YEAR_COLUMN_RIGHT, row, text, ha="right", va="center", fontweight="bold", **style)
        ax.text(-0.65, row, str(year), ha="right", va="center", fontsize=size + 0.4, color=BLACK)
    for column, label in zip((*range(12), 12.75), MONTH_LABELS, strict=True):
        ax.text(column, -0.62, label, ha="center", va="bottom", fontsize=size + 0.4, color=BLACK)
    ax.set_axis_off()
    ax.set_xlim(YEAR_LABEL_LEFT, YEAR_COLUMN_RIGHT)
