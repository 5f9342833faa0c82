"""The page of the model: what each feature weighs, how log odds become probabilities, how the descent got there."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from quantlr.backtest.forecast_analysis import reliability_bins
from quantlr.core.values import Refits
from quantlr.model.config import LogisticRegression
from quantlr.model.learning_rate import LearningRateStudy
from quantlr.model.logistic import logit, sigmoid, sigmoid_derivative
from quantlr.report.context import PageContext
from quantlr.report.figures.descent import (
    draw_iteration_counts,
    draw_loss_against_learning_rate,
    draw_loss_by_iteration,
    draw_loss_curve_per_learning_rate,
)
from quantlr.report.figures.model import (
    MAX_SIGMOID_LOG_ODDS,
    SigmoidPanelValues,
    WeightPath,
    add_small_legend_above,
    draw_full_sigmoid,
    draw_sigmoid_with_forecasts,
    draw_single_refit_weights,
    draw_small_message,
    draw_weight_path,
    set_panel_title_and_formula,
)
from quantlr.report.learnt import ModelSummary, model_title_and_text
from quantlr.report.pages.layout import new_page
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    NORMAL_SIZE,
    SMALL_SIZE,
    VERMILION,
    number_text,
    percent_text,
    style_axes,
)
from quantlr.stats.hac import Z95

UPPER_ROW_TOP = 0.742
"""Where the upper row of axes ends, as a fraction of the page's height."""
MAX_WEIGHT_PATH_PANELS, MAX_SINGLE_REFIT_ROWS = 8, 12
"""Features that are drawn, at most: as paths over the refits, and of a single refit."""
PANEL_GRID_SHAPES = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (2, 3), 6: (2, 3), 7: (2, 4), 8: (2, 4)}
"""Rows and columns of panels, by their number."""
UPDATE_RULE_LABELS = {
    "gradient_descent": r"updates of plain descent, $\theta\leftarrow\theta-\alpha\,\nabla J$",
    "nesterov": r"updates, $\theta\leftarrow\theta-\alpha\,\nabla J$ and Nesterov's momentum",
    "newton": r"updates, $\theta\leftarrow\theta-P\,\nabla J$ with $P$ the inverse curvature",
}
"""What an axis of updates says of each descent."""
MAX_ITERATION_BARS = 7
"""Bars of how many updates refits took, at most."""
MIN_DISTANCE_FROM_0_AND_1 = 1e-12
"""Distance from 0 and 1 that a mean forecast keeps where its log odds are drawn."""
CENTRAL_QUANTILES = (0.005, 0.995)
MAX_NEARLY_LINEAR_LOG_ODDS = 3.0
"""Log odds over which the sigmoid is nearly straight."""


def model_page(context: PageContext) -> Figure:
    """Return the page that shows what was learnt, and how."""
    learnt = ModelSummary.from_context(context)
    figure = new_page(context, *model_title_and_text(learnt, context))
    _draw_weight_panels(figure, learnt)
    _draw_sigmoid_panels(figure, context)
    _draw_loss_panels(figure, learnt, context)
    _draw_learning_rate_panels(figure, learnt.diagnostics.learning_rate_study, context.config.model)
    return figure


def _draw_weight_panels(figure: Figure, summary: ModelSummary) -> None:
    """Draw the weights that are furthest from zero: over the refits, or of the only one."""
    once, k = summary.n_refits == 1, len(summary.feature_order)
    drawn = summary.feature_order[: MAX_SINGLE_REFIT_ROWS if once else MAX_WEIGHT_PATH_PANELS]
    when = "at the only refit" if once else "over the refits"
    _draw_upper_row_text(
        figure, 39.0, f"What each feature weighs {when}: log odds per standard deviation", is_bold=True
    )
    _draw_upper_row_text(figure, 22.0, f"{_log_odds_formula(k)};  {_drawn_weights_text(summary, len(drawn))}")
    paths = [_weight_path_values(summary, int(feature)) for feature in drawn]
    if summary.diagnostics.coefficient_paths.last_index_with_standard_errors is None:
        draw_small_message(
            figure.add_axes((0.045, 0.43, 0.545, UPPER_ROW_TOP - 0.43)),
            "no refit has a best fit: there is no weight to draw",
        )
        return
    if once:
        ax = figure.add_axes((0.165, 0.43, 0.345, UPPER_ROW_TOP - 0.43))
        style_axes(ax)
        draw_single_refit_weights(ax, paths)
        return
    rows, columns = PANEL_GRID_SHAPES[len(paths)]
    grid = figure.add_gridspec(
        rows, columns, left=0.045, right=0.59, top=UPPER_ROW_TOP - 0.022, bottom=0.43, hspace=0.45, wspace=0.13
    )
    limits = _weight_axis_limits(paths)
    for at, path in enumerate(paths):
        ax = figure.add_subplot(grid[divmod(at, columns)])
        style_axes(ax)
        draw_weight_path(ax, path)
        ax.set_ylim(limits)
        ax.tick_params(axis="y", labelleft=at % columns == 0)
        ax.tick_params(axis="x", labelbottom=at + columns >= len(paths))


def _log_odds_formula(n_features: int) -> str:
    """Return the log odds as a formula of k features."""
    last = (
        ""
        if n_features == 1
        else r"+\theta_2x_2"
        if n_features == 2
        else rf"+\cdots+\theta_{{{n_features}}}x_{{{n_features}}}"
    )
    return rf"$z=\theta\cdot x=\theta_0+\theta_1x_1{last}$"


def _drawn_weights_text(summary: ModelSummary, n_drawn: int) -> str:
    """Return which of the features and refits are drawn, and how."""
    k, points = len(summary.feature_order), len(summary.diagnostics.coefficient_paths.refit_index)
    which = f"the {n_drawn} of {k} furthest from 0; " if n_drawn < k else ""
    of = f"{points} of {summary.n_refits:,} refits; " if points < summary.n_refits else ""
    sound, measured = (
        int((~np.isnan(values[:, 0])).sum())
        for values in (
            summary.diagnostics.coefficient_paths.standardized_coefficients,
            summary.diagnostics.coefficient_paths.standardized_standard_errors,
        )
    )
    of += f"errors of {measured}; " if measured < sound else ""
    return f"{which}{of}newest ± standard error; band 95%, blue if without 0"


def _weight_path_values(summary: ModelSummary, feature_index: int) -> WeightPath:
    found = summary.diagnostics
    weight, error = (
        found.coefficient_paths.standardized_coefficients[:, 1 + feature_index],
        found.coefficient_paths.standardized_standard_errors[:, 1 + feature_index],
    )
    return WeightPath(
        feature_name=summary.feature_name(feature_index),
        weight_text=summary.weight_text(feature_index),
        is_significant=bool(summary.significant_mask[feature_index]),
        refit_dates=summary.refit_dates[found.coefficient_paths.refit_index],
        weights=weight,
        weights_low=weight - Z95 * error,
        weights_high=weight + Z95 * error,
    )


def _weight_axis_limits(weight_paths: list[WeightPath]) -> tuple[float, float]:
    """Return what all panels show: every weight, and the intervals unless they are far wider than most."""
    edges = np.abs(
        np.concatenate([values for path in weight_paths for values in (path.weights_low, path.weights_high)])
    )
    weights = np.abs(np.concatenate([path.weights for path in weight_paths]))
    edges, weights = edges[~np.isnan(edges)], weights[~np.isnan(weights)]
    usual = 2.0 * float(np.quantile(edges, 0.75)) if len(edges) else 0.0
    reach = max(float(weights.max(initial=0.0)), min(float(edges.max(initial=0.0)), usual), 1e-6)
    return -1.08 * reach, 1.08 * reach


def _draw_sigmoid_panels(figure: Figure, context: PageContext) -> None:
    """Draw the sigmoid where the forecasts lie, and beside it all of it and its slope."""
    view = _sigmoid_panel_values(context)
    ax = figure.add_axes((0.645, 0.43, 0.235, UPPER_ROW_TOP - 0.43))
    style_axes(ax)
    draw_sigmoid_with_forecasts(ax, view)
    low, high = (percent_text(float(sigmoid(np.array(z))), decimals=0) for z in view.central_log_odds_range)
    narrow = view.central_log_odds_range[1] - view.central_log_odds_range[0] < MAX_NEARLY_LINEAR_LOG_ODDS
    part = "nearly straight" if narrow else "much of the S"
    set_panel_title_and_formula(
        ax,
        "The sigmoid squeezes log odds into a probability",
        f"{_sigmoid_formula(context.config.model)};  99% of forecasts: {low} to {high}, {part}",
    )
    add_small_legend_above(ax, n_columns=3)
    ax.set_xlabel(_log_odds_axis_label(context), fontsize=SMALL_SIZE, color=BLACK, labelpad=2)
    curve, slope = (figure.add_axes((0.915, bottom, 0.065, 0.115)) for bottom in (0.615, 0.43))
    for small, name in ((curve, "all of $g(z)$"), (slope, "slope $g^{\\prime}=g\\,(1-g)$")):
        style_axes(small)
        small.set_title(name, loc="left", fontsize=SMALL_SIZE - 0.5, color=BLACK, pad=3)
    draw_full_sigmoid(curve, slope, view)


def _sigmoid_formula(model_config: LogisticRegression) -> str:
    """Return the sigmoid as a formula: of the log odds, or of those that calibration makes of them."""
    return r"$p=g(z)=1/(1+e^{-z})$" if model_config.calibration is None else r"$p=g(a+bz)=1/(1+e^{-a-bz})$"


def _log_odds_axis_label(context: PageContext) -> str:
    """Return what the axis of log odds shows: those of the model, or calibrated ones."""
    if context.config.model.calibration is None:
        return "log odds z of the forecasts"
    refits = context.run_data.forecasts.refits
    intercept, slope = refits.platt_coefficients[-1]
    newest = (
        f", newest a {number_text(intercept)}, b {number_text(slope)}" if len(np.unique(refits.ticker)) == 1 else ""
    )
    return f"log odds a + b z after Platt's calibration{newest}"


def _sigmoid_panel_values(context: PageContext) -> SigmoidPanelValues:
    odds, bins = context.evaluated.log_odds, reliability_bins(context.evaluated)
    low, high = (float(bound) for bound in np.quantile(odds, CENTRAL_QUANTILES))
    bin_z = logit(np.clip(bins.mean_probability, MIN_DISTANCE_FROM_0_AND_1, 1.0 - MIN_DISTANCE_FROM_0_AND_1))
    first, last = min(low, float(bin_z.min())), max(high, float(bin_z.max()))
    room = max(0.06 * (last - first), 0.01)
    z = np.linspace(first - room, last + room, 200)
    count, edges = np.histogram(odds, bins=40, range=(z[0], z[-1]))
    far = np.linspace(-MAX_SIGMOID_LOG_ODDS, MAX_SIGMOID_LOG_ODDS, 241)
    # However narrow, what the forecasts use of the whole curve is to be seen.
    middle, half = (low + high) / 2, max((high - low) / 2, 0.1)
    return SigmoidPanelValues(
        log_odds=z, probability=sigmoid(z), bin_log_odds=bin_z, bin_observed_frequency=bins.observed_frequency, bin_frequency_low=bins.frequency_low, bin_frequency_high=bins.frequency_high, histogram_edges=edges, histogram_counts=count,
        central_log_odds_range=(middle - half, middle + half), full_log_odds=far, full_probability=sigmoid(far), full_slope=sigmoid_derivative(sigmoid(far)),
    )  # fmt: skip


def _draw_loss_panels(figure: Figure, summary: ModelSummary, context: PageContext) -> None:
    """Draw the loss falling, and how many updates the refits of the walk took."""
    ax = figure.add_axes((0.045, 0.062, 0.215, 0.235))
    style_axes(ax)
    model, losses = context.config.model, summary.diagnostics.loss_curves
    set_panel_title_and_formula(ax, "The loss falls from the base rate's: nats above the best", _loss_formula(model))
    if len(losses.refit_index):
        draw_loss_by_iteration(
            ax, losses.excess_loss, [f"{summary.refit_dates[refit]:%b %Y}" for refit in losses.refit_index]
        )
        add_small_legend_above(ax, n_columns=5)
        ax.set_xlabel(UPDATE_RULE_LABELS[model.solver], fontsize=SMALL_SIZE, color=BLACK, labelpad=2)
    else:
        draw_small_message(ax, "no refit has a best fit:\nthere is no loss to fall")
    beside = figure.add_axes((0.305, 0.062, 0.07, 0.185))
    style_axes(beside)
    beside.set_title("updates in the\nwalk, by refits", loc="left", fontsize=SMALL_SIZE - 0.5, color=BLACK, pad=3)
    draw_iteration_counts(beside, *_iteration_count_bar_values(context.run_data.forecasts.refits))


def _loss_formula(model_config: LogisticRegression) -> str:
    """Return the loss and its gradient as a formula, with the weights of rows and the penalty that this model has."""
    weighted = model_config.class_weight is not None or model_config.half_life is not None
    mean = r"\sum w\," if weighted else r"\frac{1}{n}\sum"
    penalty, its_slope = (r"+\frac{l_2}{2}\Vert\theta\Vert^2", r"+l_2\theta") if model_config.l2 > 0 else ("", "")
    loss = rf"J={mean}[\log(1+e^z)-yz]{penalty}"
    gradient = rf"\nabla J={mean}(g(z)-y)\,x{its_slope}"
    return rf"${loss},\quad {gradient}$: linear regression's form"


def _iteration_count_bar_values(refits: Refits) -> tuple[list[str], list[int], list[str]]:
    """Return how many refits took how many updates: names, counts, colours."""
    fine = refits.converged & ~refits.degenerate
    names, counts, colours = list[str](), list[int](), list[str]()
    taken = refits.iterations[fine]
    if len(taken):
        width = -(-int(np.ptp(taken) + 1) // MAX_ITERATION_BARS)
        first = int(taken.min())
        for at, count in enumerate(np.bincount((taken - first) // width).tolist()):
            low = first + at * width
            names.append(f"{low}" if width == 1 else f"{low}–{low + width - 1}")
            counts.append(count)
            colours.append(BLUE)
    for which, name, colour in (
        (~refits.converged, "not done", VERMILION),
        (refits.degenerate, "no fit", GREY),
    ):
        if which.any():
            names.append(name)
            counts.append(int(which.sum()))
            colours.append(colour)
    return names, counts, colours


def _draw_learning_rate_panels(
    figure: Figure, learning_rate_study: LearningRateStudy | None, model_config: LogisticRegression
) -> None:
    """Draw what the learning rate does: update by update, and against the rate itself."""
    by_update = figure.add_axes((0.435, 0.062, 0.235, 0.235))
    by_rate = figure.add_axes((0.735, 0.062, 0.245, 0.235))
    for ax in (by_update, by_rate):
        style_axes(ax)
    set_panel_title_and_formula(
        by_update,
        "A learning rate neither too small nor too large",
        r"$\theta\leftarrow\theta-\alpha\,\nabla J$ from $\theta=0$: newest refit, standardised",
    )
    set_panel_title_and_formula(
        by_rate,
        "Below 2/L every update goes downhill",
        _lipschitz_constant_formula(learning_rate_study, model_config),
    )
    if learning_rate_study is None:
        draw_small_message(by_update, "no refit has a finite best fit:\nthere is nothing to descend to")
        draw_small_message(by_rate, "no study without a best fit")
        return
    short = ("small", "1/L =", "near 2/L", "beyond")
    names = [
        f"{name} {number_text(rate)}" for name, rate in zip(short, learning_rate_study.learning_rates, strict=True)
    ]
    draw_loss_curve_per_learning_rate(by_update, learning_rate_study.excess_loss, names)
    own = None if model_config.learning_rate == "auto" else model_config.learning_rate
    after = [f"after {updates}" for updates in learning_rate_study.compared_iterations[:-1]] + [
        f"after {learning_rate_study.compared_iterations[-1]} updates"
    ]
    draw_loss_against_learning_rate(
        by_rate,
        learning_rate_study.learning_rate_grid,
        learning_rate_study.grid_excess_loss_after_iterations,
        after,
        max_stable_rate=learning_rate_study.max_stable_learning_rate,
        marked_rates=learning_rate_study.learning_rates,
        configured_rate=own,
    )
    for ax, columns in ((by_update, 4), (by_rate, 3)):
        add_small_legend_above(ax, n_columns=columns)
    by_update.set_xlabel("updates (nats above the best loss)", fontsize=SMALL_SIZE, color=BLACK, labelpad=2)
    told = r"learning rate $\alpha$, log scale (▲: the four on the left)"
    by_rate.set_xlabel(told, fontsize=SMALL_SIZE, color=BLACK, labelpad=2)


def _lipschitz_constant_formula(learning_rate_study: LearningRateStudy | None, model_config: LogisticRegression) -> str:
    """Return what L is, as a formula and as a number."""
    inner = (
        r"X^{\top}WX/4"
        if model_config.class_weight is not None or model_config.half_life is not None
        else r"X^{\top}X/4n"
    )
    penalty = r"+l_2D" if model_config.l2 > 0 else ""
    here = (
        ""
        if learning_rate_study is None
        else f" = {number_text(learning_rate_study.lipschitz)}, 2/L = {number_text(learning_rate_study.max_stable_learning_rate)}"
    )
    return rf"$L=\lambda_{{\max}}({inner}{penalty})${here}"


def _draw_upper_row_text(figure: Figure, offset_points: float, text: str, *, is_bold: bool = False) -> None:
    """Write a line so many points above the upper row of axes, as a heading of theirs stands."""
    figure.text(0.045, UPPER_ROW_TOP + offset_points / (72 * figure.get_figheight()), text, fontsize=NORMAL_SIZE if is_bold else SMALL_SIZE + 0.5,
                color=BLACK, fontweight="bold" if is_bold else "normal")  # fmt: skip
