"""The page on a choice among candidates: what was chosen when, and what choosing was worth against each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quantlr.config.candidates import Candidate
from quantlr.config.grid import grid_value_text
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BoolArray
from quantlr.model.candidates import SelectedForecasts, Selection
from quantlr.model.logistic import logit, pointwise_log_loss
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Page, PlacedPanel, Table, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LEGEND_ROW_POINTS,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    TableRow,
    add_legend_above,
    count_text,
    draw_text_table,
    format_category_rows,
    format_fraction_axis,
    make_table_row,
    marker_for_few_points,
    number_text,
    number_tick_label,
    percent_text,
)
from quantlr.stats.hac import Z95, clustered_mean_variance

SELECTION_FILE = "selection.png"
THOUSANDTHS = 1000.0
"""Thousandths of a nat in a nat, the unit of the differences."""
MAX_BANDS, MAX_LOSS_ROWS, MAX_VALUE_ROWS = 7, 16, 18
"""Candidates with a band of their own and with a row, and rows of the weights by value, at most."""
BAND_COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION, PURPLE, GREY)


@dataclass(frozen=True)
class SelectionContext:
    """A run and its choice among candidates."""

    run_context: PageContext

    @property
    def forecasts(self) -> SelectedForecasts:
        """The forecasts of the run.

        Raises
        ------
        TypeError : the run chooses among no candidates.
        """
        forecasts = self.run_context.run_data.forecasts
        if not isinstance(forecasts, SelectedForecasts):
            raise TypeError("the run chooses among no candidates")
        return forecasts

    @property
    def selection(self) -> Selection:
        """The weights of the candidates, and what their forecasts were worth."""
        return self.forecasts.selection

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates of the run."""
        return self.run_context.config.candidates()

    @cached_property
    def names(self) -> list[str]:
        """A short name of each candidate: the last part of each key, and its value."""
        return [
            ", ".join(f"{key.rpartition('.')[2]} {grid_value_text(value)}" for key, value in one.values.items())
            for one in self.candidates
        ]

    @cached_property
    def known(self) -> BoolArray:
        """(rows,) whether the outcome of a forecast is known."""
        return ~np.isnan(self.forecasts.up)

    def losses(self, log_odds: Array) -> Array:
        """Return the log loss of each forecast with an outcome, in nats, from the log odds of all forecasts."""
        return pointwise_log_loss(log_odds[self.known], self.forecasts.up[self.known])

    @cached_property
    def selected_losses(self) -> Array:
        """Log loss of each selected forecast with an outcome, in nats."""
        return self.losses(self.forecasts.log_odds)


def candidate_weights_table(context: SelectionContext) -> Table:
    """Return the weights over time: `bands` maps names to (sessions,) weights that add up to 1, the largest first."""
    selection, names = context.selection, context.names
    order = np.argsort(-selection.weights.mean(axis=0), kind="stable")
    n_bands = len(order) if len(order) <= MAX_BANDS + 1 else MAX_BANDS
    bands = {names[index]: selection.weights[:, index] for index in order[:n_bands].tolist()}
    if n_bands < len(order):
        bands[f"{len(order) - n_bands} others"] = selection.weights[:, order[n_bands:]].sum(axis=1)
    return {"dates": context.forecasts.sessions[selection.session], "bands": bands}


@panel("Weight of each candidate", candidate_weights_table, 2.5 * LEGEND_ROW_POINTS)
def candidate_weights_panel(ax: Axes, table: Table) -> None:
    """Draw a band for each of the candidates with the largest weights, and one for all others."""
    total = np.zeros(len(table["dates"]))
    for index, (name, weights) in enumerate(table["bands"].items()):
        color = LIGHT_GREY if index >= len(BAND_COLORS) else BAND_COLORS[index]
        ax.fill_between(table["dates"], total, total + weights, step="post", color=color, linewidth=0, label=name)
        total = total + weights
    ax.set_ylim(0.0, 1.0)
    format_fraction_axis(ax.yaxis, max_ticks=4)
    add_legend_above(ax, n_columns=3, font_size=7.5)


def candidate_losses_table(context: SelectionContext) -> Table:
    """Return what choosing was worth against fixed candidates, the best first.

    `values` (candidates,) is the log loss of each less that of the selected forecasts, in thousandths of a nat, `error`
    the half-width of its 95 % interval, and `hindsight_mask` marks the best, which was chosen in hindsight.
    """
    selection, forecasts = context.selection, context.forecasts
    order = np.argsort(selection.log_losses, kind="stable")
    if len(order) > MAX_LOSS_ROWS:
        order = np.concatenate([order[: MAX_LOSS_ROWS - 1], order[-1:]])
    horizon = forecasts.horizon if forecasts.has_dependent_outcomes else 0
    session, values, error = forecasts.session[context.known], [], []
    for index in order.tolist():
        difference = context.losses(selection.candidates[index].log_odds) - context.selected_losses
        values.append(THOUSANDTHS * float(difference.mean()))
        error.append(THOUSANDTHS * Z95 * clustered_mean_variance(difference, session, horizon=horizon) ** 0.5)
    ranks = "" if len(order) == len(selection.log_losses) else f"; the best {MAX_LOSS_ROWS - 1} and the worst"
    return {
        "names": [context.names[index] for index in order.tolist()],
        "values": np.array(values),
        "error": np.array(error),
        "hindsight_mask": np.arange(len(order)) == 0,
        "subtitle": f"fixed less chosen, with 95% interval: blue: choosing was better{ranks}",
    }


@panel("Log loss of each fixed candidate (1/1,000 nat)", candidate_losses_table, 16.0)
def candidate_losses_panel(ax: Axes, table: Table) -> None:
    """Draw a bar for each candidate with its interval; the best is marked as chosen in hindsight."""
    values, rows = table["values"], np.arange(len(table["values"]))
    ax.barh(rows, values, height=0.6, color=np.where(values > 0, BLUE, ORANGE), linewidth=0)
    ax.errorbar(values, rows, xerr=table["error"], fmt="none", ecolor=GREY, elinewidth=0.9, capsize=0)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    format_category_rows(ax, table["names"])
    for row in np.flatnonzero(table["hindsight_mask"]).tolist():
        ax.text(0.99, row, "chosen in hindsight", transform=ax.get_yaxis_transform(), ha="right", va="center",
                fontsize=SMALL_SIZE, color=GREY)  # fmt: skip
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(number_tick_label)


def cumulative_selection_table(context: SelectionContext) -> Table:
    """Return the log loss taken off the base rate's so far: `curves` maps names to (sessions,), in nats.

    That of a session is the mean over its tickers.
    """
    forecasts, selection = context.forecasts, context.selection
    index = np.searchsorted(selection.session, forecasts.session[context.known])
    session = forecasts.session[forecasts.session >= selection.session[0]]
    n_forecasts = np.bincount(np.searchsorted(selection.session, session))[index]
    base = np.bincount(
        index, context.losses(logit(forecasts.base_rate)) / n_forecasts, minlength=len(selection.session)
    )
    best, first = selection.best_in_hindsight, 0
    curves = {
        "chosen": base - selection.selected_session_losses,
        "best, chosen in hindsight": base - selection.session_losses[:, best],
    }
    if first != best:
        curves["the first in the list"] = base - selection.session_losses[:, first]
    curves = {name: np.cumsum(values) for name, values in curves.items()}
    return {"dates": forecasts.sessions[selection.session], "curves": curves}


@panel("Log loss taken off the base rate's so far (nats)", cumulative_selection_table, LEGEND_ROW_POINTS)
def cumulative_selection_panel(ax: Axes, table: Table) -> None:
    """Draw a curve for the choice, the best candidate and the first one: they rise while they beat the base rate."""
    marker = marker_for_few_points(table["dates"])
    styles: tuple[dict[str, Any], ...] = (
        {"color": BLUE, "linewidth": 1.8}, {"color": GREY, "linewidth": 1.2, "linestyle": "--"},
        {"color": ORANGE, "linewidth": 1.2},
    )  # fmt: skip
    for (name, values), style in zip(table["curves"].items(), styles, strict=False):
        ax.plot(table["dates"], values, marker=marker, label=name, **style)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(number_tick_label)
    add_legend_above(ax, n_columns=3, font_size=7.5)


def weights_by_value_table(context: SelectionContext) -> Table:
    """Return the weight of each value of each key, in the mean and at the newest session, as `rows` of text."""
    weights = context.selection.weights
    rows = [TableRow("share of the forecast", ("mean", "newest"))]
    for key in context.candidates[0].values:
        rows.append(TableRow(key, is_heading=True))
        texts = [grid_value_text(candidate.values[key]) for candidate in context.candidates]
        for text in dict.fromkeys(texts):
            has_value = np.array([own == text for own in texts])
            of_value = weights[:, has_value].sum(axis=1)
            shares = (float(of_value.mean()), float(of_value[-1]))
            rows.append(make_table_row(text, shares, percent_text, decimals=0))
    if len(rows) > MAX_VALUE_ROWS:
        rows = [*rows[: MAX_VALUE_ROWS - 1], TableRow(f"and {len(rows) - MAX_VALUE_ROWS + 1} more rows")]
    return {"rows": rows + [TableRow("")] * (MAX_VALUE_ROWS - len(rows))}


@panel("Weight by value", weights_by_value_table)
def weights_by_value_panel(ax: Axes, table: Table) -> None:
    """Write the weight of each value."""
    draw_text_table(ax, table, column_right_edges=(0.78, 1.0))


def selection_title_and_text(context: SelectionContext) -> tuple[str, str]:
    """Return what choosing was worth, and how it was done."""
    selection, names = context.selection, context.names
    selected = float(context.selected_losses.mean())
    n_worse = int((selection.log_losses > selected).sum())
    of_candidates = f"{n_worse} of {count_text(len(names), 'fixed candidate')}"
    title = f"Choosing: log loss {number_text(selected, decimals=5)}, lower than {of_candidates}"
    best = selection.best_in_hindsight
    best_text = f"{names[best]}: {number_text(float(selection.log_losses[best]), decimals=5)}"
    ways = {
        "mixture": "At each session the mean of all candidates' probabilities, weighted",
        "best": "At each refit the candidate that was the best so far",
        "follow": f"At each refit the candidate that was the best in the last {selection.spec.window:,} sessions",
    }
    way = f"{ways[selection.spec.how]} by the log loss of forecasts whose outcomes were known"
    regret = f"{number_text(selection.regret)} nats above the best candidate's"
    bound = selection.regret_bound
    regret += "" if bound is None else f" (at most {number_text(bound)})"
    dates = context.forecasts.sessions[selection.session]
    text = (
        f"{way}: {int(context.known.sum()):,} forecasts, {iso_date(dates[0])} to {iso_date(dates[-1])}; total loss "
        f"{regret}. The best, {best_text}, was chosen in hindsight. Once one of the "
        "candidates or another choice is run, all of them count as trials."
    )
    return title, text


def selection_panels(context: SelectionContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page."""
    return (
        PlacedPanel(candidate_weights_panel, (0.055, 0.515, 0.66, 0.24)),
        PlacedPanel(weights_by_value_panel, (0.765, 0.515, 0.215, 0.29)),
        PlacedPanel(candidate_losses_panel, (0.235, 0.055, 0.29, 0.365)),
        PlacedPanel(cumulative_selection_panel, (0.595, 0.055, 0.385, 0.365)),
    )


SELECTION_PAGE = Page(
    SELECTION_FILE,
    "Choice among candidates",
    selection_title_and_text,
    selection_panels,
    "The bands show which candidate forecasts when; the log losses show what the choice was worth against each fixed "
    "candidate, the best of which is known in hindsight only.",
    is_applicable=lambda context: isinstance(context.run_data.forecasts, SelectedForecasts),
    make_context=SelectionContext,
)
