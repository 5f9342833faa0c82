"""The page on the worth of features: what the forecasts lose without each, and what each forecasts alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantlr.core.timing import iso_date
from quantlr.core.values import Array
from quantlr.model.feature_elimination import EliminationStep, best_step_in_hindsight
from quantlr.model.feature_worth import FeatureSetWorth, FeatureWorth
from quantlr.report.context import PageContext
from quantlr.report.pages.coefficients import (
    coefficient_table,
    coefficients_panel,
    permutation_importance_panel,
    permutation_importance_table,
)
from quantlr.report.pages.layout import Page, PlacedPanel, Table, grid_rectangles, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LEGEND_ROW_POINTS,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    add_legend_above,
    count_text,
    draw_loss_gain_image,
    format_category_rows,
    marker_for_few_points,
    number_text,
    number_tick_label,
)
from quantlr.stats.verdict import is_significant

THOUSANDTHS = 1000.0
"""Thousandths of a nat in a nat, the unit of the charts."""
MAX_SET_ROWS, MAX_SET_CURVES = 20, 6
"""Sets of features that have a row, and those that have a curve, at most: the ones with the largest statistics."""
MAX_YEAR_CELLS = 12
"""Years up to which the cells of the years have numbers."""


@dataclass(frozen=True, slots=True)
class FeaturesContext:
    """A run, the worth of its features, and the steps of backward elimination."""

    run_context: PageContext
    worth: FeatureWorth
    elimination: tuple[EliminationStep, ...]


def p_value_text(p_value: float | None) -> str:
    """Return a p value with its sign, such as "p = 0.012"; "no test" without one."""
    if p_value is None:
        return "no test"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def ranked_sets(worth: FeatureWorth) -> list[FeatureSetWorth]:
    """Return the sets in descending order of the test's statistic; those without one come last."""

    def statistic(features: FeatureSetWorth) -> float:
        value = features.test["statistic"]
        return -np.inf if value is None else float(value)

    return sorted(worth.sets, key=statistic, reverse=True)


def loss_reduction_table(context: FeaturesContext) -> Table:
    """Return how much higher the log loss is without each set.

    `values` is (sets,), in thousandths of a nat: the log loss without the set less that with it. `names`, `texts` and
    `significant_mask` are those of the sets, the largest statistic first.
    """
    sets = ranked_sets(context.worth)[:MAX_SET_ROWS]
    return {
        "names": [_short_name(item) for item in sets],
        "values": THOUSANDTHS * np.array([item.mean_loss_reduction for item in sets]),
        "texts": [p_value_text(item.adjusted_p_value) for item in sets],
        "significant_mask": np.array([is_significant(item.adjusted_p_value) for item in sets]),
        "subtitle": "above 0: the forecasts are better with it; p adjusted by Holm",
    }


def alone_loss_reduction_table(context: FeaturesContext) -> Table:
    """Return what the model of each set alone takes off the log loss of the base rate; as `loss_reduction_table`."""
    sets = ranked_sets(context.worth)[:MAX_SET_ROWS]
    return {
        "names": [""] * len(sets),
        "values": THOUSANDTHS * np.array([item.alone_loss_reduction for item in sets]),
        "texts": [p_value_text(item.alone_test["p_value"]) for item in sets],
        "significant_mask": np.array([is_significant(item.alone_test["p_value"]) for item in sets]),
        "subtitle": "base rate less the set alone; p not adjusted",
    }


def _short_name(item: FeatureSetWorth) -> str:
    return item.features.name


def _draw_reductions(ax: Axes, table: Table) -> None:
    values, rows = table["values"], np.arange(len(table["values"]))
    ax.barh(rows, values, height=0.55, color=np.where(table["significant_mask"], BLUE, GREY), linewidth=0)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    format_category_rows(ax, table["names"])
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(initial=0.0), 0.0), max(finite.max(initial=0.0), 0.0)
    span = (high - low) or 1.0
    ax.set_xlim(low - 0.04 * span, high + 0.42 * span)
    for row, text in enumerate(table["texts"]):
        ax.text(0.99, row, text, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=SMALL_SIZE)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(number_tick_label)


@panel("Log loss without it less with it (1/1,000 nat)", loss_reduction_table, 16.0)
def feature_loss_reduction_panel(ax: Axes, table: Table) -> None:
    """Draw a bar per set, with its adjusted p value."""
    _draw_reductions(ax, table)


@panel("Alone (1/1,000 nat)", alone_loss_reduction_table, 16.0)
def feature_alone_panel(ax: Axes, table: Table) -> None:
    """Draw a bar per set, with its p value."""
    _draw_reductions(ax, table)


def loss_reduction_by_year_table(context: FeaturesContext) -> Table:
    """Return the mean loss reduction of each set by calendar year: `values` (sets, years), in thousandths of a nat."""
    worth = context.worth
    forecasts = worth.forecasts
    year = forecasts.sessions[forecasts.session[worth.known]].year.to_numpy()
    years, index = np.unique(year, return_inverse=True)
    counts = np.bincount(index)
    sets = ranked_sets(worth)[:MAX_SET_ROWS]
    values = np.array([np.bincount(index, item.loss_reduction) / counts for item in sets])
    return {"years": years, "values": THOUSANDTHS * values, "subtitle": "blue: it helped in that year; orange: it hurt"}


@panel("By year (1/1,000 nat)", loss_reduction_by_year_table, 16.0)
def feature_loss_reduction_by_year_panel(ax: Axes, table: Table) -> None:
    """Draw a cell for each set and year."""
    values, years = table["values"], table["years"]
    half_range = float(np.nanmax(np.abs(np.where(np.isfinite(values), values, np.nan)))) or 1.0
    draw_loss_gain_image(ax, values, half_range=half_range)
    ax.set_yticks([])
    ax.spines["bottom"].set_visible(False)
    ax.grid(visible=False)
    step = -(-len(years) // MAX_YEAR_CELLS)
    ax.set_xticks(range(0, len(years), step), [str(year) for year in years[::step]])
    if len(years) <= MAX_YEAR_CELLS:
        for (row, column), value in np.ndenumerate(values):
            ax.text(column, row, number_text(value, decimals=1), ha="center", va="center", fontsize=6.8, color=BLACK)


def cumulative_loss_reduction_table(context: FeaturesContext) -> Table:
    """Return the sum of each set's loss reductions so far: `curves` maps names to (sessions,), in nats."""
    worth = context.worth
    forecasts = worth.forecasts
    sessions, index = np.unique(forecasts.session[worth.known], return_inverse=True)
    sets = ranked_sets(worth)[:MAX_SET_CURVES]
    curves: dict[str, Array] = {item.features.name: np.cumsum(np.bincount(index, item.loss_reduction)) for item in sets}
    return {"dates": forecasts.sessions[sessions], "curves": curves}


@panel("Log loss without it less with it, sum so far (nats)", cumulative_loss_reduction_table, 3 * LEGEND_ROW_POINTS)
def cumulative_loss_reduction_panel(ax: Axes, table: Table) -> None:
    """Draw a curve per set: it rises while the set helps."""
    marker = marker_for_few_points(table["dates"])
    colors = (BLUE, GREEN, SKY, VERMILION, ORANGE, PURPLE)
    for (name, values), color in zip(table["curves"].items(), colors, strict=False):
        ax.plot(table["dates"], values, color=color, linewidth=1.4, marker=marker, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(number_tick_label)
    add_legend_above(ax, n_columns=_n_legend_columns(len(table["curves"])), font_size=7.5)


def _n_legend_columns(n_curves: int) -> int:
    """Return one column for up to three names, which are often long, and two for more."""
    return 1 if n_curves <= 3 else 2


def feature_elimination_table(context: FeaturesContext) -> Table:
    """Return the steps of backward elimination: `n_entries` and `log_loss` (steps,), in nats; `best` is one's index."""
    steps = context.elimination
    log_loss = np.array([step.log_loss for step in steps])
    return {
        "n_entries": np.array([len(step.kept) for step in steps]),
        "log_loss": np.where(np.isfinite(log_loss), log_loss, np.nan),
        "best": steps.index(best_step_in_hindsight(steps)),
        "subtitle": "each step removes the least useful entry",
    }


@panel("Log loss by number of entries (nats)", feature_elimination_table, 16.0)
def feature_elimination_panel(ax: Axes, table: Table) -> None:
    """Draw the curve from all entries to none, and mark the best."""
    n_entries, log_loss, best = table["n_entries"], table["log_loss"], table["best"]
    ax.plot(n_entries, log_loss, color=BLUE, linewidth=1.4, marker=".")
    ax.axhline(log_loss[-1], color=GREY, linewidth=0.8)
    ax.plot(n_entries[best], log_loss[best], "o", markersize=9, markerfacecolor="none", markeredgecolor=VERMILION)
    text = f"best, in hindsight: {n_entries[best]}"
    ax.text(0.98, 0.03, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL_SIZE, color=VERMILION)
    ax.margins(y=0.2)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.yaxis.set_major_formatter(number_tick_label)


def newest_coefficient_table(context: FeaturesContext) -> Table:
    """Return the standardised coefficients of the newest refits; see `coefficient_table`."""
    table = coefficient_table(context.run_context)
    subtitle = "newest refit ± standard error, largest |z|; blue: 95% interval without 0"
    texts = [text.partition(",")[0] for text in table.get("texts", ())]
    return {**table, "subtitle": subtitle, "has_formula": False, "texts": texts}


feature_coefficients_panel = replace(
    coefficients_panel,
    key="feature_coefficients",
    title="Standardised coefficients (log odds per standard deviation)",
    make_table=newest_coefficient_table,
    title_padding=16.0,
)


feature_importance_panel = replace(
    permutation_importance_panel,
    key="feature_importance",
    make_table=lambda context: permutation_importance_table(context.run_context),
)


def features_finding(worth: FeatureWorth) -> str:
    """Return how many sets of features are significant."""
    n_significant = sum(is_significant(item.adjusted_p_value) for item in worth.sets)
    if not n_significant:
        return "None of the features is shown to improve the forecasts"
    if len(worth.sets) == 1:
        return "The only entry of features is shown to improve the forecasts"
    return f"{n_significant} of {len(worth.sets)} sets of features shown to improve the forecasts"


def features_title_and_text(context: FeaturesContext) -> tuple[str, str]:
    """Return how many sets of features are significant, and how that was tested."""
    worth = context.worth
    n_sets = len(worth.sets)
    entries = count_text(sum(not item.features.is_group for item in worth.sets), "entry", plural="entries")
    n_groups = n_sets - sum(not item.features.is_group for item in worth.sets)
    groups = f" and {count_text(n_groups, 'correlated group')}" if n_groups else ""
    dates = worth.forecasts.sessions[worth.forecasts.session[worth.known]]
    text = (
        f"The walk-forward was refitted without each of {entries} of features{groups}, on the same rows: "
        f"{int(worth.known.sum()):,} forecasts, {iso_date(dates.min())} to {iso_date(dates.max())}. One-sided "
        "Clark-West test for nested models; under no skill, the probability that any is called significant is at most "
        "5%. No profit is shown."
    )
    return features_finding(worth), text


def features_panels(context: FeaturesContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page."""
    n_rows = min(len(context.worth.sets), MAX_SET_ROWS)
    height = min(0.08 + 0.032 * n_rows, 0.4)
    top = 0.78
    cells = grid_rectangles((0.235, top - height, 0.745, height), 1, 3, wspace=0.08, width_ratios=(1.0, 1.0, 1.4))
    rows = (feature_loss_reduction_panel, feature_alone_panel, feature_loss_reduction_by_year_panel)
    lower = top - height - 0.165
    n_curves = min(len(context.worth.sets), MAX_SET_CURVES)
    n_legend_rows = -(-n_curves // _n_legend_columns(n_curves))
    curves = replace(cumulative_loss_reduction_panel, title_padding=n_legend_rows * LEGEND_ROW_POINTS)
    has_coefficients = context.run_context.permutation_importance is None
    weights = feature_coefficients_panel if has_coefficients else feature_importance_panel
    return (
        *map(PlacedPanel, rows, cells),
        PlacedPanel(curves, (0.055, 0.045, 0.25, lower)),
        PlacedPanel(feature_elimination_panel, (0.362, 0.045, 0.18, lower)),
        PlacedPanel(weights, (0.595, 0.045, 0.385, lower)),
    )


def make_features_page(worth: FeatureWorth, elimination: tuple[EliminationStep, ...]) -> Page:
    """Return the page on the worth of a run's features, with the curve of their elimination."""
    return Page(
        "features.png",
        "Features",
        features_title_and_text,
        features_panels,
        "A feature is worth something where the forecasts without it are significantly worse (p adjusted by Holm's "
        "method). The best number of entries is chosen in hindsight.",
        make_context=lambda context: FeaturesContext(context, worth, elimination),
    )
