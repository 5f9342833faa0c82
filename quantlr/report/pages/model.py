"""The page on the model: standardised coefficients, the sigmoid, and how the optimisation went."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantlr.backtest.forecast_analysis import reliability_bins
from quantlr.core.values import Array, Forecasts
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import logit, sigmoid, sigmoid_derivative
from quantlr.report.context import PageContext
from quantlr.report.pages.coefficients import (
    ModelSummary,
    coefficient_paths_panel,
    coefficients_panel,
    permutation_importance_panel,
)
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Table, fields_table, panel
from quantlr.report.pages.learning_rate import (
    FORMULA_PADDING,
    iteration_counts_panel,
    loss_against_learning_rate_panel,
    loss_by_learning_rate_panel,
    no_descent_panel,
    training_loss_panel,
)
from quantlr.report.style import (
    BLUE,
    GREY,
    LABEL_STYLE,
    LIGHT_GREY,
    ORANGE,
    SMALL_SIZE,
    Axes,
    add_legend_above,
    count_text,
    number_text,
    number_tick_label,
    percent_text,
    percent_tick_label,
    set_fixed_ticks,
)
from quantlr.stats.hac import SIGNIFICANCE_LEVEL

SOLVER_SENTENCES = {
    "gradient_descent": "Fitted by gradient descent; the panels at the lower right compare learning rates.",
    "nesterov": "Fitted by gradient descent with Nesterov momentum; the panels at the lower right show it without.",
    "newton": "Fitted by Newton's method: gradient descent with the inverse Hessian as learning rate; the panels at "
    "the lower right take a number.",
}
"""How the refits were fitted, and what the panels on learning rates show, by solver."""
MAX_SUBTITLE_CHARS = 460
"""Characters that fit below the page's title."""
MIN_PROBABILITY = 1e-12
"""Distance from 0 and 1 of a mean forecast whose log odds are drawn."""
CENTRAL_QUANTILES = (0.005, 0.995)
MAX_LINEAR_LOG_ODDS = 3.0
"""Width in log odds over which the sigmoid is nearly linear."""
MAX_LOG_ODDS = 6.0
"""Log odds to which the full sigmoid is drawn: a probability of 1/400."""
HISTOGRAM_HEIGHT_FRACTION = 0.14
"""Height of the forecasts' histogram, as a fraction of the axes."""


def sigmoid_table(context: PageContext) -> Table:
    """Return the sigmoid over the range of the forecasts' log odds, and observed frequencies in bins.

    `log_odds` and `probability` (200,) are the curve; `bin_log_odds`, `observed_frequency`, `frequency_low` and
    `frequency_high` (b,) the bins of a `ReliabilityBins`; `histogram_edges` and `histogram_counts` the forecasts.
    """
    log_odds, bins = context.evaluated_forecasts.log_odds, reliability_bins(context.evaluated_forecasts)
    low, high = (float(bound) for bound in np.quantile(log_odds, CENTRAL_QUANTILES))
    bin_log_odds = logit(np.clip(bins.mean_probability, MIN_PROBABILITY, 1.0 - MIN_PROBABILITY))
    first, last = min(low, float(bin_log_odds.min())), max(high, float(bin_log_odds.max()))
    margin = max(0.06 * (last - first), 0.01)
    grid = np.linspace(first - margin, last + margin, 200)
    counts, edges = np.histogram(log_odds, bins=40, range=(grid[0], grid[-1]))
    central = _central_log_odds_range(log_odds)
    shape = "nearly linear" if central[1] - central[0] < MAX_LINEAR_LOG_ODDS else "clearly curved"
    calibration = context.config.model.calibration
    formula = r"$p=g(z)=1/(1+e^{-z})$" if calibration is None else r"$p=g(a+bz)=1/(1+e^{-a-bz})$"
    range_text = " to ".join(percent_text(float(sigmoid(np.array(z))), decimals=0) for z in central)
    return fields_table(
        bins,
        log_odds=grid,
        probability=sigmoid(grid),
        bin_log_odds=bin_log_odds,
        histogram_edges=edges,
        histogram_counts=counts,
        has_formula=True,
        subtitle=f"{formula};  99% of forecasts: {range_text}, {shape}",
        log_odds_label=_log_odds_label(context),
    )


def _central_log_odds_range(log_odds: Array) -> tuple[float, float]:
    """Return log odds that contain 99% of the forecasts; at least 0.2 wide, so that they are visible."""
    low, high = (float(bound) for bound in np.quantile(log_odds, CENTRAL_QUANTILES))
    middle, half_width = (low + high) / 2, max((high - low) / 2, 0.1)
    return middle - half_width, middle + half_width


def _log_odds_label(context: PageContext) -> str:
    if context.config.model.calibration is None:
        return "log odds z of the forecasts"
    refits = context.run_data.forecasts.refits
    label = "log odds a + b z after Platt scaling"
    if len(np.unique(refits.ticker)) > 1:
        return label
    intercept, slope = refits.platt_coefficients[-1]
    return f"{label}, newest a {number_text(intercept)}, b {number_text(slope)}"


@panel("Sigmoid: probability from log odds", sigmoid_table, FORMULA_PADDING)
def sigmoid_panel(ax: Axes, table: Table) -> None:
    """Draw the sigmoid, on which the observed frequencies lie if the forecasts are calibrated."""
    probability, low, high = table["probability"], table["frequency_low"], table["frequency_high"]
    bottom, top = min(probability[0], float(low.min())), max(probability[-1], float(high.max()))
    bottom -= (top - bottom) * (HISTOGRAM_HEIGHT_FRACTION + 0.06)
    top += 0.04 * (top - bottom)
    counts, edges = table["histogram_counts"], table["histogram_edges"]
    heights = HISTOGRAM_HEIGHT_FRACTION * (top - bottom) * counts / max(int(counts.max()), 1)
    ax.bar(edges[:-1], heights, np.diff(edges), bottom=bottom, align="edge", color=LIGHT_GREY, linewidth=0,
           label="number of forecasts")  # fmt: skip
    ax.plot(table["log_odds"], probability, color=BLUE, linewidth=2.0, label="sigmoid")
    ax.vlines(table["bin_log_odds"], low, high, color=ORANGE, linewidth=1.3)
    ax.plot(table["bin_log_odds"], table["observed_frequency"], color=ORANGE, linestyle="", marker="o", markersize=5,
            label="observed, 95%")  # fmt: skip
    ax.axhline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    ax.set(xlim=table["log_odds"][[0, -1]], ylim=(bottom, top))
    ax.yaxis.set_major_formatter(percent_tick_label)
    ax.locator_params(axis="x", nbins=6)
    ax.xaxis.set_major_formatter(number_tick_label)
    ax.set_xlabel(table["log_odds_label"], **LABEL_STYLE)
    add_legend_above(ax, n_columns=3, font_size=8.2)


def full_sigmoid_table(context: PageContext) -> Table:
    """Return the sigmoid and its slope g (1 - g) over all log odds that matter, and the range of 99% of forecasts."""
    log_odds = np.linspace(-MAX_LOG_ODDS, MAX_LOG_ODDS, 241)
    low, high = _central_log_odds_range(context.evaluated_forecasts.log_odds)
    probability = sigmoid(log_odds)
    slope, is_used = sigmoid_derivative(probability), (log_odds >= low) & (log_odds <= high)
    return {"log_odds": log_odds, "probability": probability, "slope": slope, "is_used": is_used}


@panel("Full sigmoid", full_sigmoid_table, 3.0)
def full_sigmoid_panel(ax: Axes, table: Table) -> None:
    """Draw the sigmoid, and mark the part that the forecasts use."""
    _draw_log_odds_curve(ax, table, table["probability"], (0.0, 0.5, 1.0), ("0", "½", "1"))


@panel("Slope g(1−g)", full_sigmoid_table, 3.0)
def sigmoid_slope_panel(ax: Axes, table: Table) -> None:
    """Draw the slope of the sigmoid, and mark the part that the forecasts use."""
    _draw_log_odds_curve(ax, table, table["slope"], (0.0, 0.25), ("0", "¼"))


def _draw_log_odds_curve(
    ax: Axes, table: Table, curve: Array, y_ticks: tuple[float, ...], y_labels: tuple[str, ...]
) -> None:
    """Draw a function of the log odds and mark the part that the forecasts use."""
    log_odds, is_used = table["log_odds"], table["is_used"]
    ax.plot(log_odds, curve, color=BLUE, linewidth=1.2)
    ax.plot(log_odds[is_used], curve[is_used], color=ORANGE, linewidth=3.6, solid_capstyle="butt")
    ax.set(xlim=(log_odds[0], log_odds[-1]), ylim=(0.0, 1.08 * y_ticks[-1]), xticks=[-MAX_LOG_ODDS, 0, MAX_LOG_ODDS])
    set_fixed_ticks(ax.yaxis, y_ticks, y_labels)
    ax.xaxis.set_major_formatter(number_tick_label)
    ax.tick_params(labelsize=SMALL_SIZE - 1.5)


def feature_panel(context: PageContext) -> Panel:
    """Return the panel on the features: coefficients over the refits or of a single one, or permutation importance."""
    if context.permutation_importance is not None:
        return permutation_importance_panel
    has_one_refit = len(context.model_diagnostics.first_session) == 1
    return coefficients_panel if has_one_refit else coefficient_paths_panel


def place_model_panels(context: PageContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page; coefficients are drawn over the refits, or as rows if there is only one.

    A single panel says why there is no loss to draw if the model is no logistic regression.
    """
    descent: tuple[PlacedPanel, ...] = (
        PlacedPanel(training_loss_panel, (0.045, 0.062, 0.235, 0.235)),
        PlacedPanel(iteration_counts_panel, (0.315, 0.062, 0.07, 0.185)),
        PlacedPanel(loss_by_learning_rate_panel, (0.445, 0.062, 0.235, 0.235)),
        PlacedPanel(loss_against_learning_rate_panel, (0.735, 0.062, 0.245, 0.235)),
    )
    if context.logistic_regression is None:
        descent = (PlacedPanel(no_descent_panel, (0.045, 0.062, 0.935, 0.235)),)
        if len(context.run_data.forecasts.refits.iterations):
            iterations = PlacedPanel(iteration_counts_panel, (0.085, 0.062, 0.14, 0.185))
            descent = (iterations, PlacedPanel(no_descent_panel, (0.305, 0.062, 0.675, 0.235)))
    return (
        PlacedPanel(feature_panel(context), (0.045, 0.43, 0.545, 0.312)),
        PlacedPanel(sigmoid_panel, (0.645, 0.43, 0.235, 0.312)),
        PlacedPanel(full_sigmoid_panel, (0.915, 0.615, 0.065, 0.115), has_x_labels=False),
        PlacedPanel(sigmoid_slope_panel, (0.915, 0.43, 0.065, 0.115)),
        *descent,
    )


def model_title_and_text(context: PageContext) -> tuple[str, str]:
    """Return the finding on the coefficients, and as many sentences as there is room for, the most important first."""
    summary, text = ModelSummary.from_context(context), ""
    if context.candidate:
        text = f"Of the candidate with the largest weight in the end, {context.candidate}."
    for sentence in _iter_subtitle_sentences(summary, context):
        if len(text) + len(sentence) < MAX_SUBTITLE_CHARS:
            text = f"{text} {sentence}".lstrip()
    return _model_title(summary, context), text


def _model_title(summary: ModelSummary, context: PageContext) -> str:
    if context.run_data.forecasts.refits.degenerate.all():
        return "No refit has a finite minimum: every forecast is the base rate"
    metrics, n_features = context.metrics["model"], len(summary.significant_mask)
    if 2 * metrics["unconverged"] > metrics["refits"]:
        return f"{metrics['unconverged']:,} of {metrics['refits']:,} refits did not converge"
    if not summary.has_fit:
        return f"{metrics['refits']:,} refits of {context.model_name}"
    has_one_model = len(context.forecast_tickers) == 1 or summary.diagnostics.name == "pooled"
    model = "" if has_one_model else f"{summary.diagnostics.name}: "
    n_significant = int(summary.significant_mask.sum())
    n_expected = round(SIGNIFICANCE_LEVEL * n_features)
    if not summary.has_standard_errors:
        largest = summary.feature_name(int(summary.feature_order[0]))
        return f"{model}{count_text(n_features, 'standardised coefficient')}, the largest of {largest}"
    coefficients = f"{model}{n_significant} of {count_text(n_features, 'coefficient')}"
    level = f"({percent_text(SIGNIFICANCE_LEVEL, decimals=0)})"
    if not n_significant:
        return f"{coefficients} significantly different from zero {level}"
    if n_significant > 1 or n_expected:
        return f"{coefficients} significant {level}; {n_expected or 'fewer than 1'} expected by chance"
    first = int(summary.feature_order[0])
    sign = "negative" if summary.newest_weights[first] < 0 else "positive"
    return f"{coefficients} significant {level}: {summary.feature_name(first)}, {sign}"


def _iter_subtitle_sentences(summary: ModelSummary, context: PageContext) -> Iterator[str]:
    diagnostics, n_tickers = summary.diagnostics, len(context.forecast_tickers)
    yield _convergence_text(context.run_data.forecasts, context.metrics["model"])
    if diagnostics.name == "pooled":
        yield f"One model for all {n_tickers} tickers."
    elif n_tickers > 1:
        agreement = _ticker_sign_agreement_text(summary, context.run_data.forecasts)
        yield f"Drawn: {diagnostics.name}, the first of {n_tickers} tickers by number of refits{agreement}."
    yield _solver_sentence(context.logistic_regression)
    if not summary.has_fit:
        return
    if not summary.has_standard_errors:
        yield f"The coefficients of {context.model_name} have no standard errors."
        return
    n_features = len(summary.significant_mask)
    if n_features > 1 and (not summary.significant_mask.any() or round(SIGNIFICANCE_LEVEL * n_features) == 0):
        yield f"Expected to be significant by chance: {number_text(SIGNIFICANCE_LEVEL * n_features)} of {n_features}."
    if diagnostics.hac_lags is None:
        yield "Standard errors assume independent sessions."
    else:
        reason = "labels overlap" if context.run_data.dataset.horizon > 1 else "tickers share sessions"
        yield f"Standard errors are HAC by session with {diagnostics.hac_lags} lags, because {reason}."
    study = diagnostics.learning_rate_study
    if study and study.row_stride > 1:
        yield f"Learning rates are studied on every {ordinal_text(study.row_stride)} training row of the newest refit."
    logistic = context.logistic_regression
    if logistic and logistic.class_weight is not None:
        yield "Class weights move forecasts away from observed frequencies."
    if logistic and logistic.resolved_l2 > 0:
        yield "The L2 penalty shrinks the coefficients; intervals do not account for it."


def _solver_sentence(model: LogisticRegression | None) -> str:
    """Return how the refits were fitted; empty for a model that is no logistic regression."""
    return "" if model is None else SOLVER_SENTENCES[model.solver]


def _ticker_sign_agreement_text(summary: ModelSummary, forecasts: Forecasts) -> str:
    """Return in how many tickers' newest refits the coefficient with the largest z statistic has the same sign."""
    if not summary.has_fit:
        return ""
    refits, first = forecasts.refits, int(summary.feature_order[0])
    newest = [np.flatnonzero(refits.ticker == ticker)[-1] for ticker in np.unique(refits.ticker)]
    signs = np.sign(refits.coefficients[newest, 1 + first])
    n_same = int((signs == np.sign(summary.newest_weights[first])).sum())
    return f"; {summary.feature_name(first)} now has the same sign in {n_same:,} of {len(signs):,}"


def _convergence_text(forecasts: Forecasts, model_metrics: dict[str, float]) -> str:
    """Return how many iterations the refits took, and whether they converged."""
    n_refits, n_failed, n_degenerate = (int(model_metrics[name]) for name in ("refits", "unconverged", "degenerate"))
    text = f"{n_degenerate:,} of {n_refits:,} refits have no finite minimum. " if n_degenerate else ""
    if n_degenerate == n_refits:
        return text.rstrip()
    refits_text = "The other refits" if n_degenerate else count_text(n_refits, "refit")
    outcome = f"{n_failed:,} did not converge" if n_failed else "all converged"
    refits = forecasts.refits
    if not len(refits.iterations):
        return f"{text}{refits_text}: {outcome}."
    iterations = refits.iterations[~refits.degenerate]
    if len(iterations) == 1:
        return f"{text}{refits_text}: {iterations[0]:,} iterations; {'not converged' if n_failed else 'converged'}."
    mean = number_text(float(iterations.mean()), decimals=1)
    return f"{text}{refits_text}: {mean} iterations on average, at most {iterations.max():,}; {outcome}."


def ordinal_text(number: int) -> str:
    """Return 2nd, 3rd, 4th and so on."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


MODEL_PAGE = Page(
    "model.png",
    "Model and optimisation",
    model_title_and_text,
    place_model_panels,
    "A standardised coefficient is blue where it differs from zero (5%); the training loss shows whether "
    "the fits reached their minimum, and the learning rates what gradient descent would do.",
    make_context=PageContext.of_leader,
)
