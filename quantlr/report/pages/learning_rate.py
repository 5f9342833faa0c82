"""Panels of the model page on optimisation: training loss by iteration, iteration counts, and the learning rate."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from quantlr.core.values import Array
from quantlr.model.config import LogisticRegression
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Table, fields_table, panel
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LABEL_STYLE,
    LIGHT_GREY,
    ORANGE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    add_legend_above,
    number_text,
    number_tick_label,
    power_of_ten_tick_label,
    set_fixed_ticks,
)

ROUNDING_EXCESS_LOSS = 1e-15
"""Excess loss below which differences are rounding errors."""
MIN_PLOTTED_EXCESS_LOSS = 1e-17
"""Lower end of the axis of excess losses; lower values are drawn there."""
LOSS_HEADROOM_DECADES = 0.7
"""Room above the largest loss, so that its points are not at the legend."""
LEARNING_RATE_COLORS = (SKY, GREEN, ORANGE, VERMILION)
"""Colours of learning rates that are too small, 1/L, close to the limit 2/L, and above it."""
UPDATE_RULE_LABELS = {
    "gradient_descent": r"iteration of gradient descent, $\theta\leftarrow\theta-\alpha\,\nabla J$",
    "nesterov": r"iteration, $\theta\leftarrow\theta-\alpha\,\nabla J$ with Nesterov momentum",
    "newton": r"iteration, $\theta\leftarrow\theta-P\,\nabla J$, $P$ the inverse Hessian",
}
FORMULA_PADDING = 36.0
"""Points between a title and the axes with a formula and a legend below the title."""
NO_MINIMUM_MESSAGE = "No refit has a finite minimum of the loss."


def has_row_weights(model: LogisticRegression) -> bool:
    """Return whether training rows have unequal weights."""
    return model.class_weight is not None or model.half_life is not None


def no_descent_text(context: PageContext) -> str:
    """Return why there are neither loss curves nor learning rates."""
    if context.replaced_fit_stages:
        stages = " and ".join(context.replaced_fit_stages)
        return f"Losses and learning rates are not drawn, since {stages} was replaced (see the notes)."
    return f"{context.model_name} is no logistic regression: it has neither loss curves nor learning rates."


def excess_loss_by_refit_table(context: PageContext) -> Table:
    """Return the training loss above its minimum by iteration for some refits: `excess_loss` (refits, iterations + 1).

    In nats; `labels` are the refits' years, or months where two are of one year, `iteration_label` the update rule of
    the configured solver.
    """
    model, diagnostics = context.logistic_regression, context.model_diagnostics
    curves = diagnostics.loss_curves
    if model is None:
        return {"message": no_descent_text(context)}
    mean = r"\sum w\," if has_row_weights(model) else r"\frac{1}{n}\sum"
    penalty, gradient = (r"+\frac{l_2}{2}\Vert\theta\Vert^2", r"+l_2\theta") if model.resolved_l2 > 0 else ("", "")
    loss = rf"J={mean}[\log(1+e^z)-yz]{penalty}"
    formulas = rf"${loss},\quad \nabla J={mean}(g(z)-y)\,x{gradient}$"
    table: dict[str, Any] = {"subtitle": formulas, "has_formula": True}
    if not len(curves.refit_index):
        return table | {"message": NO_MINIMUM_MESSAGE}
    dates = context.run_data.forecasts.sessions[diagnostics.first_session[curves.refit_index]]
    labels, update_rule = [str(date.year) for date in dates], UPDATE_RULE_LABELS[model.solver]
    if len(set(labels)) < len(labels):
        labels = [f"{date:%b %Y}" for date in dates]
    return table | {"excess_loss": curves.excess_loss, "labels": labels, "iteration_label": update_rule}


@panel("Training loss by iteration (excess over the minimum, nats)", excess_loss_by_refit_table, FORMULA_PADDING)
def training_loss_panel(ax: Axes, table: Table) -> None:
    """Draw a curve per refit, from the oldest (light) to the newest (dark)."""
    excess_loss = table["excess_loss"]
    marker = "o" if excess_loss.shape[1] <= 12 else None
    for curve, label, color in zip(excess_loss, table["labels"], _light_to_dark_colors(len(excess_loss)), strict=True):
        ax.plot(_plotted_loss(curve), color=color, linewidth=1.5, marker=marker, markersize=3.5, label=label)
    _format_excess_loss_axis(ax, excess_loss)
    ax.set_xlim(-0.15, max(excess_loss.shape[1] - 1, 1) * 1.02)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.set_xlabel(table["iteration_label"], parse_math=True, **LABEL_STYLE)
    # Months have room for every second curve.
    handles = ax.get_lines() if all(map(str.isdecimal, table["labels"])) else ax.get_lines()[::2]
    add_legend_above(ax, n_columns=len(handles), font_size=8.2, handles=handles)


def iteration_count_table(context: PageContext) -> Table:
    """Return how many refits took how many iterations: `labels`, `counts` and `colors` of 7 bars at most."""
    refits = context.run_data.forecasts.refits
    if not len(refits.iterations):
        return {"message": f"{context.model_name} has no iterations."}
    iterations = refits.iterations[refits.converged & ~refits.degenerate]
    bars: list[tuple[str, int, str]] = []
    if len(iterations):
        first, width = int(iterations.min()), -(-int(np.ptp(iterations) + 1) // 7)
        for index, count in enumerate(np.bincount((iterations - first) // width).tolist()):
            low = first + index * width
            bars.append((f"{low}" if width == 1 else f"{low}–{low + width - 1}", count, BLUE))
    failures = ((~refits.converged, "not\nconverged", VERMILION), (refits.degenerate, "no\nminimum", GREY))
    bars += [(label, int(mask.sum()), color) for mask, label, color in failures if mask.any()]
    return {name: [bar[index] for bar in bars] for index, name in enumerate(("labels", "counts", "colors"))}


@panel("Refits by iterations", iteration_count_table)
def iteration_counts_panel(ax: Axes, table: Table) -> None:
    """Draw a bar for each number of iterations, and its number of refits."""
    counts = table["counts"]
    ax.barh(range(len(counts)), counts, color=table["colors"], height=0.72)
    for row, count in enumerate(counts):
        ax.text(count + 0.04 * max(counts), row, f"{count:,}", va="center", fontsize=SMALL_SIZE - 0.8, color=BLACK)
    ax.set(xlim=(0, 1.5 * max(counts)), ylim=(max(len(counts), 4) - 0.4, -0.6), xticks=[])
    set_fixed_ticks(ax.yaxis, range(len(counts)), table["labels"])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)


def loss_by_learning_rate_table(context: PageContext) -> Table:
    """Return the loss of the newest refit under gradient descent with several learning rates (see `LearningRateStudy`).

    `excess_loss` (rates, iterations + 1) belongs to `learning_rates`; `grid_excess_loss` (n, m) is the excess loss
    after each of the n `compared_iterations` by the m rates of `learning_rate_grid`. In nats.
    """
    study = context.model_diagnostics.learning_rate_study
    rule = r"$\theta\leftarrow\theta-\alpha\,\nabla J$ from $\theta=0$: newest refit, standardised features"
    if study is None:
        message = NO_MINIMUM_MESSAGE if context.logistic_regression else no_descent_text(context)
        return {"message": message, "subtitle": rule, "has_formula": True}
    names = ("small", "1/L =", "near 2/L", "above")
    labels = [f"{name} {number_text(rate)}" for name, rate in zip(names, study.learning_rates, strict=True)]
    losses = {"excess_loss": study.excess_loss, "grid_excess_loss": study.grid_excess_loss_after_iterations}
    return fields_table(
        study, labels=labels, max_stable_rate=study.max_stable_learning_rate, subtitle=rule, has_formula=True, **losses
    )


def learning_rate_grid_table(context: PageContext) -> Table:
    """Return `loss_by_learning_rate_table` with the stability limit and the configured rate (None if automatic)."""
    model, study = context.logistic_regression, context.model_diagnostics.learning_rate_study
    if model is None:
        return loss_by_learning_rate_table(context)
    hessian_bound = r"X^{\top}WX/4" if has_row_weights(model) else r"X^{\top}X/4n"
    penalty = r"+l_2D" if model.resolved_l2 > 0 else ""
    value = f" = {number_text(study.lipschitz)}, 2/L = {number_text(study.max_stable_learning_rate)}" if study else ""
    lipschitz = rf"$L=\lambda_{{\max}}({hessian_bound}{penalty})${value}"
    configured = None if model.learning_rate == "auto" else model.learning_rate
    return {**loss_by_learning_rate_table(context), "configured_rate": configured, "subtitle": lipschitz}


@panel("Training loss and learning rates", lambda context: {"message": no_descent_text(context)})
def no_descent_panel(ax: Axes, table: Table) -> None:
    """Draw nothing, since its table is a message."""


@panel("Gradient descent by learning rate", loss_by_learning_rate_table, FORMULA_PADDING)
def loss_by_learning_rate_panel(ax: Axes, table: Table) -> None:
    """Draw the training loss by iteration, a curve for each of four learning rates."""
    for curve, label, color in zip(table["excess_loss"], table["labels"], LEARNING_RATE_COLORS, strict=True):
        ax.plot(_plotted_loss(curve), color=color, linewidth=1.8, label=label)
    # The curve of 1/L reaches the rounding error at the left.
    _format_excess_loss_axis(ax, table["excess_loss"], label_side="right")
    ax.set_xlim(0, table["excess_loss"].shape[1] - 1)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.set_xlabel("iteration (excess loss in nats)", **LABEL_STYLE)
    add_legend_above(ax, n_columns=4, font_size=8.2)


@panel("Excess loss by learning rate (limit 2/L)", learning_rate_grid_table, FORMULA_PADDING)
def loss_against_learning_rate_panel(ax: Axes, table: Table) -> None:
    """Draw the training loss by learning rate, a curve for each of some numbers of iterations."""
    rates, losses, limit = table["learning_rate_grid"], table["grid_excess_loss"], table["max_stable_rate"]
    configured, iterations = table["configured_rate"], table["compared_iterations"]
    for curve, count, color in zip(losses, iterations, _light_to_dark_colors(len(losses)), strict=True):
        label = f"after {count}{' iterations' if count == iterations[-1] else ''}"
        ax.plot(rates, _plotted_loss(curve), color=color, linewidth=1.5, marker="o", markersize=2.4, label=label)
    ax.set_xscale("log")
    _format_excess_loss_axis(ax, losses)
    bottom, top = ax.get_ylim()
    right = max(rates[-1], table["learning_rates"][-1] * 1.1, limit * 2)
    ax.axvspan(limit, right, color=LIGHT_GREY, alpha=0.6, linewidth=0, zorder=0)
    ax.axvline(limit, color=BLACK, linewidth=1.2, linestyle="--")
    style: dict[str, Any] = {"fontsize": SMALL_SIZE, "color": BLACK, "fontweight": "bold"}
    ax.text(limit * 0.93, top / 4, "2/L", ha="right", va="top", **style)
    for rate, color in zip(table["learning_rates"], LEARNING_RATE_COLORS, strict=True):
        ax.plot(rate, bottom, color=color, marker="^", markersize=8, clip_on=False, zorder=5)
    left = rates[0]
    if configured is not None:
        left = min(left, configured / 1.5)
        ax.axvline(configured, color=GREEN, linewidth=1.2)
        style = {"fontsize": SMALL_SIZE, "color": GREEN}
        ax.annotate("configured", (configured, bottom), (4, 26), textcoords="offset points", **style)
    ax.set_xlim(left, right)
    ticks = [step * 10.0**power for power in range(-8, 7) for step in (1.0, 3.0)]
    set_fixed_ticks(ax.xaxis, [tick for tick in ticks if left <= tick <= right])
    ax.xaxis.minorticks_off()
    ax.xaxis.set_major_formatter(number_tick_label)
    ax.set_xlabel(r"learning rate $\alpha$, log scale (▲: the four at the left)", parse_math=True, **LABEL_STYLE)
    add_legend_above(ax, n_columns=3, font_size=8.2)


def _light_to_dark_colors(n_curves: int) -> Any:
    """Return colours from light to dark."""
    from matplotlib.colors import LinearSegmentedColormap

    colormap = LinearSegmentedColormap.from_list("old_to_new", [SKY, BLUE, BLACK])
    return colormap(np.linspace(0.0, 1.0, n_curves) if n_curves > 1 else np.array([0.5]))


def _plotted_loss(excess_loss: Array) -> Array:
    return np.maximum(excess_loss, MIN_PLOTTED_EXCESS_LOSS)


def _format_excess_loss_axis(ax: Axes, excess_loss: Array, *, label_side: Literal["left", "right"] = "left") -> None:
    """Give the axes a log scale up to above the largest loss, and shade the range of rounding errors."""
    largest = float(np.nanmax(excess_loss)) if np.isfinite(excess_loss).any() else 1.0
    top = int(np.ceil(np.log10(max(largest, 1e-8)) + LOSS_HEADROOM_DECADES))
    ax.set(yscale="log", ylim=(MIN_PLOTTED_EXCESS_LOSS, 10.0**top))
    ax.axhspan(MIN_PLOTTED_EXCESS_LOSS, ROUNDING_EXCESS_LOSS, color=BAND_GREY, alpha=0.3, linewidth=0)
    ax.text(0.01 if label_side == "left" else 0.99, ROUNDING_EXCESS_LOSS, "rounding error", ha=label_side, va="top",
            transform=ax.get_yaxis_transform(), fontsize=SMALL_SIZE - 1, color=GREY)  # fmt: skip
    set_fixed_ticks(ax.yaxis, [10.0**power for power in range(-16, top + 1, 4)])
    ax.yaxis.set_major_formatter(power_of_ten_tick_label)
    ax.yaxis.minorticks_off()
