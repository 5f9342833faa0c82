"""Tables on a page: the calendar of returns, and rows of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from quantlr.core.arrays import Array
from quantlr.report.style import BLACK, GREY, NORMAL_SIZE, percent_text

LOSS_GAIN_COLORMAP = LinearSegmentedColormap.from_list("loss_to_gain", ["#E8956A", "#FFFFFF", "#7FB8DA"])
FONT_SIZES_BY_MAX_YEARS = ((17, 7.6), (22, 6.4), (34, 5.2))
"""Size of a calendar's letters by how many years it has at most."""
MIN_FONT_SIZE = 3.6
MONTH_LABELS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D", "Year")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table of text; a row without cells is a heading."""

    label: str
    cells: tuple[str, ...] = ()


def draw_monthly_returns(ax: Axes, monthly_returns: pd.DataFrame, yearly_returns: Array) -> None:
    """Write each month's and year's return in percent, coloured from loss to gain."""
    grid = np.column_stack([monthly_returns.to_numpy(dtype=np.float64), np.full(len(monthly_returns), np.nan)])
    seen = np.abs(grid[~np.isnan(grid)])
    reach = max(float(np.quantile(seen, 0.95)) if len(seen) else 0.0, 0.01)
    ax.imshow(grid, cmap=LOSS_GAIN_COLORMAP, norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto")
    size = next(
        (size for years_at_most, size in FONT_SIZES_BY_MAX_YEARS if len(monthly_returns) <= years_at_most),
        MIN_FONT_SIZE,
    )
    for row in range(grid.shape[0]):
        for column in range(12):
            if not np.isnan(grid[row, column]):
                decimals = 1 if abs(grid[row, column]) < 0.2 else 0
                text = percent_text(grid[row, column], decimals=decimals, suffix="")
                ax.text(column, row, text, ha="center", va="center", fontsize=size, color=BLACK)
        ax.text(
            13.1,
            row,
            percent_text(yearly_returns[row], suffix=""),
            ha="right",
            va="center",
            fontsize=size,
            fontweight="bold",
            color=BLACK,
        )
    # Written, not ticks: each tick is two lines and two texts.
    for column, month in zip((*range(12), 12.75), MONTH_LABELS, strict=True):
        ax.text(column, -0.62, month, ha="center", va="bottom", fontsize=size + 0.4, color=BLACK)
    for row, year in enumerate(monthly_returns.index):
        ax.text(-0.65, row, str(year), ha="right", va="center", fontsize=size + 0.4, color=BLACK)
    ax.set_axis_off()
    ax.set_xlim(-0.5, 13.1)


def draw_text_table(ax: Axes, rows: list[TableRow], *, column_right_edges: tuple[float, ...]) -> None:
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
        ax.text(0, at + 0.5, row.label.capitalize() if bold == "bold" else row.label, va="center", fontsize=NORMAL_SIZE,
                color=BLACK, fontweight=bold)  # fmt: skip
        colour = GREY if bold == "bold" else BLACK
        for edge, cell in zip(column_right_edges, row.cells, strict=False):
            if cell:
                ax.text(edge, at + 0.5, cell, va="center", ha="right", fontsize=NORMAL_SIZE, color=colour)
