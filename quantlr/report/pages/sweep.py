"""The page of a sweep: which setting won, whether that means anything, and what it did where none had looked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.core.arrays import Array
from quantlr.report.figures.landscape import (
    ParameterMarginal,
    ParameterSurface,
    draw_parameter_marginal,
    draw_sharpe_by_one_key,
    draw_sharpe_by_two_keys,
    draw_trial_ranking,
    shorten_end,
)
from quantlr.report.pages.layout import default_style, figure_png, page_header
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    NORMAL_SIZE,
    ORANGE,
    SKY,
    SMALL_SIZE,
    format_date_axis,
    format_multiple,
    nice_ticks,
    number_text,
    set_panel_title,
    style_axes,
)
from quantlr.report.tables import TableRow, draw_text_table

MAX_MARGINAL_PANELS = 6
"""Keys that have room for a picture each; of more, those that matter most are shown."""
MIN_PLOTTED_EQUITY = 1e-3
"""Where the axis of the winner's capital ends, however much is lost."""


@dataclass(frozen=True, slots=True)
class TrialCurve:
    """What one unit of capital became over all dates, those that no trial has seen included.

    Attributes
    ----------
    dates : (sessions + 1,) from the first fill on.
    winner, benchmark : (sessions + 1,) beginning at 1.
    cut : first date that no trial has seen; None where there is none.
    said : of the winner before the cut and from it on.
    """

    dates: pd.DatetimeIndex
    winner_equity: Array
    benchmark_equity: Array
    holdout_start: pd.Timestamp | None
    summary_text: str


@dataclass(frozen=True, slots=True)
class SweepPageContext:
    """A sweep as its page shows it.

    Attributes
    ----------
    title, text, setting, notes : of its head.
    landscape : the trials.
    marginals : of each key.
    course : the winner's; None where there is none.
    failures : why trials failed, as rows of a table, shown where there is no winner.
    numbers : the findings, likewise.
    best : the best trials: values by key, and the Sharpe ratio with its interval.
    """

    title: str
    subtitle: str
    setup_text: str
    notes: tuple[str, ...]
    surface: ParameterSurface
    marginals: tuple[ParameterMarginal, ...]
    winner_curve: TrialCurve | None
    failure_rows: tuple[TableRow, ...]
    statistics_rows: tuple[TableRow, ...]
    best_trial_rows: tuple[TableRow, ...]


@default_style()
def sweep_page(context: SweepPageContext) -> bytes:
    """Return the page of a sweep as PNG bytes, the same for the same sweep."""
    figure = page_header(
        context.title, context.subtitle, setup_text=context.setup_text, notes=context.notes, notes_file="sweep.json"
    )
    _draw_surface_panels(figure, context)
    if context.winner_curve is not None:
        _draw_winner_equity_panel(figure.add_axes((0.055, 0.06, 0.525, 0.22)), context.winner_curve)
    elif context.failure_rows:
        draw_text_table(figure.add_axes((0.045, 0.31 - 0.0215 * len(context.failure_rows), 0.55, 0.0215 * len(context.failure_rows))),
                   list(context.failure_rows), column_right_edges=())  # fmt: skip
    ax = figure.add_axes((0.655, 0.605, 0.325, 0.195))
    draw_trial_ranking(ax, context.surface)
    set_panel_title(ax, "All trials, ranked by Sharpe ratio a year", padding_points=21.0)
    _draw_table_panels(figure, context)
    return figure_png(figure)


def _draw_surface_panels(figure: Figure, context: SweepPageContext) -> None:
    """Draw the grid: lines for one key, a heat map for two, and a picture of each key for more."""
    found = context.surface
    if len(found.grid_keys) > 2 or (len(found.grid_keys) == 2 and _is_sparse(found)):
        _draw_marginal_panels(figure, context)
        return
    if len(found.grid_keys) == 1:
        ax = figure.add_axes((0.055, 0.405, 0.525, 0.395))
        draw_sharpe_by_one_key(ax, found)
        _add_surface_legend(ax)
        set_panel_title(ax, f"Sharpe ratio by {found.grid_keys[0]}", padding_points=20.0)
        return
    longest = max(len(shorten_end(label)) for label in found.value_labels[0])
    left = 0.05 + 0.0052 * longest
    ax = figure.add_axes((left, 0.405, 0.58 - left, 0.415))
    draw_sharpe_by_two_keys(ax, found)
    white = (
        "0"
        if found.expected_max_sharpe is None
        else f"what the best of luck would show, {number_text(found.expected_max_sharpe)}"
    )
    figure.text(0.045, 0.838, f"Sharpe ratio a year, ±95%; white: {white}; framed: the winner", fontsize=NORMAL_SIZE,
                fontweight="bold", color=BLACK, va="center")  # fmt: skip


def _is_sparse(surface: ParameterSurface) -> bool:
    """Return whether a sample leaves most cells of a heat map empty."""
    return len(surface.sharpe) < 0.5 * len(surface.value_labels[0]) * len(surface.value_labels[1])


def _add_surface_legend(ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 0.995), ncols=5, frameon=False, fontsize=SMALL_SIZE,
              labelcolor=BLACK, borderaxespad=0.1, handlelength=1.6, columnspacing=1.6)  # fmt: skip


def _draw_marginal_panels(figure: Figure, context: SweepPageContext) -> None:
    some = context.marginals[:MAX_MARGINAL_PANELS]
    columns = 1 if len(some) == 1 else 2 if len(some) <= 4 else 3
    rows = -(-len(some) // columns)
    grid = figure.add_gridspec(rows, columns, left=0.045, right=0.58, top=0.795, bottom=0.395,
                               hspace=0.2 + 0.25 * rows, wspace=0.14)  # fmt: skip
    figure.text(0.045, 0.838, "Sharpe ratio a year by key: middle, 5% to 95%, best (triangle) of its trials; winner "
                "(ring)", fontsize=NORMAL_SIZE, fontweight="bold", color=BLACK, va="center")  # fmt: skip
    low = min(float(np.nanmin(found.sharpe_q05, initial=0.0)) for found in some)
    high = max(float(np.nanmax(found.best_sharpe, initial=0.0)) for found in some)
    high = max(
        high,
        *(
            value
            for value in (context.surface.expected_max_sharpe, context.surface.benchmark_sharpe, 0.0)
            if value is not None
        ),
    )
    room = 0.08 * max(high - low, 0.1)
    for at, found in enumerate(some):
        ax = figure.add_subplot(grid[at // columns, at % columns])
        draw_parameter_marginal(ax, found, context.surface, max_total_label_chars=96 // columns)
        ax.set_ylim(low - room, high + room)
        ax.locator_params(axis="y", nbins=5)
        ax.set_title(found.grid_key, loc="left", fontsize=SMALL_SIZE, color=BLACK, pad=3)


def _draw_winner_equity_panel(ax: Axes, winner_curve: TrialCurve) -> None:
    """Draw what the winner's capital became, the span that no trial has seen apart."""
    style_axes(ax)
    ax.set_yscale("log")
    for values, name, colour, width in (
        (winner_curve.benchmark_equity, "buy and hold", ORANGE, 1.3),
        (winner_curve.winner_equity, "the winner, after costs", BLUE, 1.8),
    ):
        alive = np.where(values > 0, values, np.nan)
        ax.plot(
            winner_curve.dates,
            alive,
            color=colour,
            linewidth=width,
            label=f"{name}: 1 became {format_multiple(values[-1])}",
        )
    together = np.concatenate([winner_curve.winner_equity, winner_curve.benchmark_equity])
    alive = together[together > 0]
    ax.set_ylim(max(float(alive.min()), MIN_PLOTTED_EQUITY) * 0.94, float(alive.max()) * 1.25)
    ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    first, last = (float(date2num(winner_curve.dates[at])) for at in (0, -1))
    ax.set_xlim(first, last)
    if winner_curve.holdout_start is not None:
        at = float(date2num(winner_curve.holdout_start))
        ax.axvspan(at, last, color=SKY, alpha=0.16, linewidth=0)
    ax.text(
        1.0,
        1.035,
        winner_curve.summary_text,
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=SMALL_SIZE,
        color=BLACK,
    )
    format_date_axis(ax)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 0.99), ncols=2, frameon=False,
              fontsize=SMALL_SIZE, labelcolor=BLACK, borderaxespad=0.1, handlelength=1.6, columnspacing=1.6)  # fmt: skip
    set_panel_title(ax, "What one unit of the winner's capital became (log scale); shaded: sessions that no trial has seen",
            padding_points=19.0)  # fmt: skip


def _draw_table_panels(figure: Figure, context: SweepPageContext) -> None:
    row = 0.0215
    height = row * len(context.statistics_rows)
    top = 0.54
    ax = figure.add_axes((0.655, top - height, 0.325, height))
    draw_text_table(ax, list(context.statistics_rows), column_right_edges=(1.0,))
    room = top - height - 0.02 - 0.035
    best = list(context.best_trial_rows)[: max(2, int(room / row))]
    if best:
        ax = figure.add_axes((0.655, 0.035 + room - row * len(best), 0.325, row * len(best)))
        draw_text_table(ax, best, column_right_edges=(0.88, 1.0))
    figure.text(0.655, 0.014, "Sharpe ratios are of net returns in excess of cash; intervals by Lo (2002).",
                fontsize=7.5, color=GREY, va="center")  # fmt: skip
