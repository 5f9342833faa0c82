"""Panels of the model page on the standardised coefficients: over the refits, or of a single refit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.core.values import Array, BoolArray, IntArray
from quantlr.model.diagnostics import CoefficientPaths, ModelDiagnostics, sign_stability
from quantlr.report.context import PageContext
from quantlr.report.fonts import fit_text
from quantlr.report.pages.layout import Table, grid_rectangles, panel
from quantlr.report.pages.learning_rate import FORMULA_PADDING, NO_MINIMUM_MESSAGE
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    SKY,
    SMALL_SIZE,
    Axes,
    axes_width_points,
    format_category_rows,
    format_date_axis,
    isolated_point_mask,
    number_text,
    number_tick_label,
    percent_text,
    style_axes,
)
from quantlr.stats.hac import Z95

MAX_COEFFICIENT_PATHS, MAX_SINGLE_REFIT_ROWS = 8, 12
"""Features that are drawn, at most: over the refits, and of a single refit."""
PATH_LABEL_SIZES = ((SMALL_SIZE - 0.7, 1), (7.0, 1), (6.4, 2))
"""Sizes of what is written above a small chart, the most readable first."""
GRID_SHAPES = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (2, 3), 6: (2, 3), 7: (2, 4), 8: (2, 4)}
"""Rows and columns of the small charts of coefficients, by their number."""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The newest coefficients of the model that the page draws, with their significance and stability.

    Attributes
    ----------
    diagnostics : coefficients and losses of some refits.
    feature_order : (k,) indices of the features, those with the largest absolute z statistic first, or the largest
        absolute weight if there are no standard errors.
    newest_weights, newest_standard_errors : (k,) standardised, NaN where the loss has no finite minimum or the model
        has no coefficients, or no standard errors.
    significant_mask : (k,) whether 0 is outside the 95% interval.
    sign_stability : (k,) fraction of refits in which the coefficient has the newest sign.
    n_refits : number of refits of the model.
    """

    diagnostics: ModelDiagnostics
    feature_order: IntArray
    newest_weights: Array
    newest_standard_errors: Array
    significant_mask: BoolArray
    sign_stability: Array
    n_refits: int

    @classmethod
    def from_context(cls, context: PageContext) -> ModelSummary:
        """Return the summary of the pooled model, or that of the first ticker with the most refits."""
        diagnostics, refits = context.model_diagnostics, context.run_data.forecasts.refits
        paths, weights = diagnostics.coefficient_paths, np.full(len(diagnostics.feature_names), np.nan)
        errors, stability = weights, weights
        is_plotted = refits.ticker == context.plotted_model_ticker_index
        if refits.has_coefficients:
            stability = sign_stability(refits.coefficients[is_plotted], refits.degenerate[is_plotted])[1:]
        newest = paths.newest_index
        if newest is not None:
            weights = paths.standardized_coefficients[newest, 1:]
            errors = paths.standardized_standard_errors[newest, 1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            z_statistic = np.nan_to_num(np.abs(weights / errors), nan=-1.0)
        size = z_statistic if paths.has_standard_errors else np.nan_to_num(np.abs(weights), nan=-1.0)
        return cls(
            diagnostics=diagnostics,
            feature_order=np.argsort(-size, kind="stable"),
            newest_weights=weights,
            newest_standard_errors=errors,
            significant_mask=z_statistic > Z95,
            sign_stability=stability,
            n_refits=len(diagnostics.first_session),
        )

    @property
    def has_fit(self) -> bool:
        """Whether any refit has coefficients."""
        return bool(np.isfinite(self.newest_weights).any())

    @property
    def has_standard_errors(self) -> bool:
        """Whether the coefficients have standard errors."""
        return self.diagnostics.coefficient_paths.has_standard_errors

    def feature_name(self, feature_index: int) -> str:
        """Return the name of a feature."""
        return self.diagnostics.feature_names[feature_index]

    def coefficient_text(self, feature_index: int) -> str:
        """Return the newest coefficient ± standard error, and how often it had the same sign over several refits."""
        weight, error = self.newest_weights[feature_index], self.newest_standard_errors[feature_index]
        if np.isnan(weight):
            return "no finite minimum"
        if np.isnan(error) and self.has_standard_errors:
            return "constant feature: 0"
        text = number_text(weight, decimals=3)
        if self.has_standard_errors:
            text += f" ± {number_text(error, decimals=3)}"
        stability = float(self.sign_stability[feature_index])
        if self.n_refits == 1 or np.isnan(stability):
            return text
        # Rounded down, so that 100% means every refit.
        percent = percent_text(stability if stability == 1.0 else min(stability, 0.99), decimals=0)
        return f"{text}, same sign {percent}"


def no_coefficients_text(context: PageContext) -> str:
    """Return why no coefficients are drawn."""
    if not context.run_data.forecasts.refits.has_coefficients:
        return f"{context.model_name} has no coefficients: its log odds are not linear in the features."
    stages = " and ".join(context.replaced_fit_stages)
    return f"Coefficients are in metrics.json, and not drawn, since {stages} was replaced (see the notes)."


def coefficient_table(context: PageContext) -> Table:
    """Return the standardised coefficients of some refits with their 95% intervals.

    `coefficients`, `low` and `high` are (refits, features), in log odds per standard deviation; the features are those
    with the largest z statistics, the largest first. `limits` contains them, but for intervals much wider than most.
    `model` is the ticker or candidate whose model it is, or "pooled", and `remarks` say what is left out.
    """
    summary = ModelSummary.from_context(context)
    paths, n_features = summary.diagnostics.coefficient_paths, len(summary.feature_order)
    if not len(paths.refit_index):
        return {"message": no_coefficients_text(context)}
    drawn = summary.feature_order[: MAX_SINGLE_REFIT_ROWS if summary.n_refits == 1 else MAX_COEFFICIENT_PATHS]
    coefficients = paths.standardized_coefficients[:, 1 + drawn]
    half_width = Z95 * paths.standardized_standard_errors[:, 1 + drawn]
    last_term = {1: "", 2: r"+\theta_2x_2"}.get(n_features, rf"+\cdots+\theta_{{{n_features}}}x_{{{n_features}}}")
    formula = rf"$z=\theta\cdot x=\theta_0+\theta_1x_1{last_term}$"
    remarks, legend = _drawn_coefficients_text(summary, paths, len(drawn))
    model = context.candidate or summary.diagnostics.name
    table: dict[str, Any] = {"subtitle": f"{formula};  {'; '.join([*remarks, legend])}", "has_formula": True}
    table |= {"model": model, "remarks": remarks}
    if not summary.has_fit:
        return table | {"message": NO_MINIMUM_MESSAGE}
    edges = np.abs([coefficients - half_width, coefficients + half_width])
    edges = edges[~np.isnan(edges)]
    usual = 2.0 * float(np.quantile(edges, 0.75)) if len(edges) else 0.0
    limit = max(float(np.nanmax(np.abs(coefficients))), min(float(edges.max(initial=0.0)), usual), 1e-6)
    return table | {
        "features": [summary.feature_name(int(index)) for index in drawn],
        "texts": [summary.coefficient_text(int(index)) for index in drawn],
        "significant_mask": summary.significant_mask[drawn],
        "refit_dates": context.run_data.forecasts.sessions[summary.diagnostics.first_session[paths.refit_index]],
        "coefficients": coefficients,
        "low": coefficients - half_width,
        "high": coefficients + half_width,
        "limits": (-1.08 * limit, 1.08 * limit),
    }


def _drawn_coefficients_text(summary: ModelSummary, paths: CoefficientPaths, n_drawn: int) -> tuple[list[str], str]:
    """Return remarks on which features and refits are drawn, and what is written above them."""
    n_features, size = len(summary.feature_order), "|z|" if paths.has_standard_errors else "size"
    parts = [f"{n_drawn} of {n_features} with the largest {size}"] if n_drawn < n_features else []
    if len(paths.refit_index) < summary.n_refits:
        parts.append(f"{len(paths.refit_index)} of {summary.n_refits:,} refits")
    if not paths.has_standard_errors:
        return parts, "newest coefficient, without a standard error"
    arrays = (paths.standardized_coefficients, paths.standardized_standard_errors)
    n_fitted, n_with_errors = (int((~np.isnan(values[:, 0])).sum()) for values in arrays)
    parts += [f"errors of {n_with_errors}"] if n_with_errors < n_fitted else []
    return parts, "newest ± standard error; band 95%, blue: different from zero (5%)"


@panel(
    "Standardised coefficients over the refits: log odds per standard deviation",
    coefficient_table,
    FORMULA_PADDING,
    is_interactive=True,
)
def coefficient_paths_panel(ax: Axes, table: Table) -> None:
    """Draw a small chart per feature: its coefficient over the refits with the 95% interval."""
    ax.set_axis_off()
    n_features = len(table["features"])
    n_rows, n_columns = GRID_SHAPES[n_features]
    cells = grid_rectangles((0.0, 0.0, 1.0, 0.93), n_rows, n_columns, wspace=0.13, hspace=0.45)
    for index in range(n_features):
        cell = ax.inset_axes(cells[index])
        style_axes(cell)
        _draw_coefficient_path(cell, table, index)
        cell.set_ylim(table["limits"])
        cell.tick_params(axis="y", labelleft=index % n_columns == 0)
        cell.tick_params(axis="x", labelbottom=index + n_columns >= n_features)


def _draw_coefficient_path(ax: Axes, table: Table, feature_index: int) -> None:
    dates = table["refit_dates"]
    weights, low, high = (table[name][:, feature_index] for name in ("coefficients", "low", "high"))
    is_significant = table["significant_mask"][feature_index]
    color = BLUE if is_significant else GREY
    ax.axhline(0.0, color=BLACK, linewidth=0.8)
    # The band passes over refits without standard errors, and breaks where there was no finite minimum.
    is_kept = np.isnan(weights) | ~np.isnan(low)
    band_dates, low, high = dates[is_kept], low[is_kept], high[is_kept]
    band: dict[str, Any] = {"color": SKY, "alpha": 0.45} if is_significant else {"color": LIGHT_GREY}
    ax.fill_between(band_dates, low, high, linewidth=0, **band)
    ax.plot(dates, weights, color=color, linewidth=1.5)
    isolated = isolated_point_mask(weights)
    ax.plot(dates[isolated], weights[isolated], color=color, linestyle="", marker="o", markersize=2.5)
    isolated = isolated_point_mask(low)
    ax.vlines(band_dates[isolated], low[isolated], high[isolated], color=color, linewidth=0.6)
    format_date_axis(ax, max_ticks=5)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(number_tick_label)
    name, coefficient_text = table["features"][feature_index], table["texts"][feature_index]
    # A long name is broken after a comma.
    for text, offset, weight in ((name.replace(",", ", "), 12.5, "bold"), (coefficient_text, 2.5, "normal")):
        fitted, size = fit_text(
            text, max_width=1.1 * axes_width_points(ax), sizes=PATH_LABEL_SIZES, is_bold=weight == "bold"
        )
        ax.annotate(fitted, (0, 1), (0, offset), xycoords="axes fraction", textcoords="offset points",
                    fontsize=size, color=BLACK, fontweight=weight, va="bottom", annotation_clip=False)  # fmt: skip


@panel(
    "Standardised coefficients: log odds per standard deviation",
    coefficient_table,
    FORMULA_PADDING,
    is_interactive=True,
)
def coefficients_panel(ax: Axes, table: Table) -> None:
    """Draw the coefficients of a single refit, one row per feature."""
    ax.set_axis_off()
    chart = ax.inset_axes((0.22, 0.0, 0.633, 1.0))
    style_axes(chart)
    chart.axvline(0.0, color=BLACK, linewidth=0.8)
    for row, text in enumerate(table["texts"]):
        color = BLUE if table["significant_mask"][row] else GREY
        interval = [table["low"][-1, row], table["high"][-1, row]]
        chart.plot(interval, [row, row], color=color, linewidth=2.0, solid_capstyle="butt")
        chart.plot(table["coefficients"][-1, row], row, color=color, marker="o", markersize=6)
        text, size = fit_text(text, max_width=0.134 * axes_width_points(ax), sizes=PATH_LABEL_SIZES)
        style: dict[str, Any] = {"va": "center", "fontsize": size, "color": BLACK}
        chart.text(1.02, row, text, transform=chart.get_yaxis_transform(), **style)
    format_category_rows(chart, table["features"], label_width=0.21 * axes_width_points(ax))
    chart.xaxis.set_major_formatter(number_tick_label)


def permutation_importance_table(context: PageContext) -> Table:
    """Return the permutation importance of the most important features, in thousandths of a nat.

    `values`, `low` and `high` of the 95% interval are (features,), the largest first.
    """
    importance = context.permutation_importance
    if importance is None:
        return {"message": no_coefficients_text(context)}
    order = np.argsort(-importance.loss_increase, kind="stable")[:MAX_SINGLE_REFIT_ROWS]
    values = importance.loss_increase, importance.low95, importance.high95
    refits = "1 refit" if importance.n_refits == 1 else f"{importance.n_refits} refits"
    return {
        "features": [importance.columns[index] for index in order],
        **dict(zip(("values", "low", "high"), (1000.0 * numbers[order] for numbers in values), strict=True)),
        "subtitle": f"log loss added by shuffling it in {importance.n_rows:,} rows forecast by {refits}; 95% interval",
    }


@panel("Permutation importance (1/1,000 nat)", permutation_importance_table, FORMULA_PADDING, is_interactive=True)
def permutation_importance_panel(ax: Axes, table: Table) -> None:
    """Draw a row per feature: its importance with the 95% interval, blue where 0 is below it."""
    ax.set_axis_off()
    chart = ax.inset_axes((0.22, 0.0, 0.76, 1.0))
    style_axes(chart)
    chart.axvline(0.0, color=BLACK, linewidth=0.8)
    for row, (value, low, high) in enumerate(zip(table["values"], table["low"], table["high"], strict=True)):
        color = BLUE if low > 0 else GREY
        chart.plot([low, high], [row, row], color=color, linewidth=2.0, solid_capstyle="butt")
        chart.plot([value], [row], color=color, marker="o", markersize=6)
    format_category_rows(chart, table["features"], label_width=0.21 * axes_width_points(ax))
    chart.xaxis.set_major_formatter(number_tick_label)
