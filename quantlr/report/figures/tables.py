"""Tables on a page: the calendar of returns, and rows of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from quantlr.report.figures.style import GREY, INK, NORMAL, percent
from quantlr.types import Array

LOSS_TO_GAIN = LinearSegmentedColormap.from_list("loss_to_gain", ["#E8956A", "#FFFFFF", "#7FB8DA"])
SIZES = ((17, 7.6), (22, 6.4), (34, 5.2))
"""Size of a calendar's letters by how many years it has at most."""
SMALLEST = 3.6
MONTHS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D", "Year")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table of text; a row without cells is a heading."""

    label: str
    cells: tuple[str, ...] = ()


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
    # Written, not ticks: each tick is two lines and two texts.
    for column, month in zip((*range(12), 12.75), MONTHS, strict=True):
        ax.text(column, -0.62, month, ha="center", va="bottom", fontsize=size + 0.4, color=INK)
    for row, year in enumerate(months.index):
        ax.text(-0.65, row, str(year), ha="right", va="center", fontsize=size + 0.4, color=INK)
    ax.set_axis_off()
    ax.set_xlim(-0.5, 13.1)


def text_table(ax: Axes, rows: list[TableRow], *, edges: tuple[float, ...]) -> None:
    """Write a table: labels on the left, cells right-aligned at `edges`, fractions of the axes' width."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows), 0)
    for at, row in enumerate(rows):
        if row.label.isupper() or (row.cells and not row.label):
            ax.axhline(at + 0.95, color=GREY, linewidth=0.8)
        bold = "bold" if row.label.isupper() else "normal"
        if not row.label:
            continue
        ax.text(0, at + 0.5, row.label.capitalize() if bold == "bold" else row.label, va="center", fontsize=NORMAL,
                color=INK, fontweight=bold)  # fmt: skip
        colour = GREY if bold == "bold" else INK
        for edge, cell in zip(edges, row.cells, strict=False):
            if cell:
                ax.text(edge, at + 0.5, cell, va="center", ha="right", fontsize=NORMAL, color=colour)
