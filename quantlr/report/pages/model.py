"""The page of the model: what each feature weighs, how log odds become probabilities, how the descent got there."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from quantlr.backtest.bins import shares_by_forecast
from quantlr.backtest.inference.levels import Z95
from quantlr.model.learning_rate import LearningRateStudy
from quantlr.model.logistic import log_odds, sigmoid, sigmoid_slope
from quantlr.model.specs import LogisticRegression
from quantlr.report.figures.descent import falling_losses, losses_after, losses_by_rate, updates_taken
from quantlr.report.figures.model import (
    FAR,
    SigmoidView,
    WeightPath,
    key_above,
    said,
    sigmoid_at_work,
    taught,
    weight_path,
    weights_once,
    whole_sigmoid,
)
from quantlr.report.figures.style import BLUE, GREY, INK, NORMAL, SMALL, VERMILION, bare, number, percent
from quantlr.report.learnt import Learnt, finding
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import Refits

UPPER = 0.742
"""Where the upper row of axes ends, as a fraction of the page's height."""
PANELS, LINES = 8, 12
"""Features that are drawn, at most: as paths over the refits, and of a single refit."""
GRIDS = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (2, 3), 6: (2, 3), 7: (2, 4), 8: (2, 4)}
"""Rows and columns of panels, by their number."""
UPDATE = {
    "plain": r"updates of plain descent, $\theta\leftarrow\theta-\alpha\,\nabla J$",
    "accelerated": r"updates, $\theta\leftarrow\theta-\alpha\,\nabla J$ and Nesterov's momentum",
    "preconditioned": r"updates, $\theta\leftarrow\theta-P\,\nabla J$ with $P$ the inverse curvature",
}
"""What an axis of updates says of each descent."""
BARS = 7
"""Bars of how many updates refits took, at most."""
SURE = 1e-12
"""Distance from 0 and 1 that a mean forecast keeps where its log odds are drawn."""
NEARLY_ALL = (0.005, 0.995)
SLIVER = 3.0
"""Log odds over which the sigmoid is nearly straight."""


def model_page(shown: Shown) -> Figure:
    """Return the page that shows what was learnt, and how."""
    learnt = Learnt.of(shown)
    figure = framed(shown, *finding(learnt, shown))
    _weights(figure, learnt)
    _sigmoid(figure, shown)
    _losses(figure, learnt, shown)
    _rates(figure, learnt.found.rates, shown.config.model)
    return figure


def _weights(figure: Figure, learnt: Learnt) -> None:
    """Draw the weights that are furthest from zero: over the refits, or of the only one."""
    once, k = learnt.refits == 1, len(learnt.order)
    drawn = learnt.order[: LINES if once else PANELS]
    when = "at the only refit" if once else "over the refits"
    _text(figure, 39.0, f"What each feature weighs {when}: log odds per standard deviation", bold=True)
    _text(figure, 22.0, f"{_log_odds(k)};  {_drawn(learnt, len(drawn))}")
    paths = [_path(learnt, int(feature)) for feature in drawn]
    if learnt.found.paths.newest is None:
        said(figure.add_axes((0.045, 0.43, 0.545, UPPER - 0.43)), "no refit has a best fit: there is no weight to draw")
        return
    if once:
        ax = figure.add_axes((0.165, 0.43, 0.345, UPPER - 0.43))
        bare(ax)
        weights_once(ax, paths)
        return
    rows, columns = GRIDS[len(paths)]
    grid = figure.add_gridspec(
        rows, columns, left=0.045, right=0.59, top=UPPER - 0.022, bottom=0.43, hspace=0.45, wspace=0.13
    )
    limits = _limits(paths)
    for at, path in enumerate(paths):
        ax = figure.add_subplot(grid[divmod(at, columns)])
        bare(ax)
        weight_path(ax, path)
        ax.set_ylim(limits)
        ax.tick_params(axis="y", labelleft=at % columns == 0)
        ax.tick_params(axis="x", labelbottom=at + columns >= len(paths))


def _log_odds(k: int) -> str:
    """Return the log odds as a formula of k features."""
    last = "" if k == 1 else r"+\theta_2x_2" if k == 2 else rf"+\cdots+\theta_{{{k}}}x_{{{k}}}"
    return rf"$z=\theta\cdot x=\theta_0+\theta_1x_1{last}$"


def _drawn(learnt: Learnt, features: int) -> str:
    """Return which of the features and refits are drawn, and how."""
    k, points = len(learnt.order), len(learnt.found.paths.refit)
    which = f"the {features} of {k} furthest from 0; " if features < k else ""
    of = f"{points} of {learnt.refits:,} refits; " if points < learnt.refits else ""
    sound, measured = (
        int((~np.isnan(values[:, 0])).sum())
        for values in (learnt.found.paths.standardised, learnt.found.paths.standardised_error)
    )
    of += f"errors of {measured}; " if measured < sound else ""
    return f"{which}{of}newest ± standard error; band 95%, blue if without 0"


def _path(learnt: Learnt, feature: int) -> WeightPath:
    found = learnt.found
    weight, error = found.paths.standardised[:, 1 + feature], found.paths.standardised_error[:, 1 + feature]
    return WeightPath(
        name=learnt.named(feature),
        words=learnt.in_words(feature),
        told=bool(learnt.told[feature]),
        dates=learnt.dates[found.paths.refit],
        weight=weight,
        low=weight - Z95 * error,
        high=weight + Z95 * error,
    )


def _limits(paths: list[WeightPath]) -> tuple[float, float]:
    """Return what all panels show: every weight, and the intervals unless they are far wider than most."""
    edges = np.abs(np.concatenate([values for path in paths for values in (path.low, path.high)]))
    weights = np.abs(np.concatenate([path.weight for path in paths]))
    edges, weights = edges[~np.isnan(edges)], weights[~np.isnan(weights)]
    usual = 2.0 * float(np.quantile(edges, 0.75)) if len(edges) else 0.0
    reach = max(float(weights.max(initial=0.0)), min(float(edges.max(initial=0.0)), usual), 1e-6)
    return -1.08 * reach, 1.08 * reach


def _sigmoid(figure: Figure, shown: Shown) -> None:
    """Draw the sigmoid where the forecasts lie, and beside it all of it and its slope."""
    view = _view(shown)
    ax = figure.add_axes((0.645, 0.43, 0.235, UPPER - 0.43))
    bare(ax)
    sigmoid_at_work(ax, view)
    low, high = (percent(float(sigmoid(np.array(z))), decimals=0) for z in view.span)
    narrow = view.span[1] - view.span[0] < SLIVER
    part = "nearly straight" if narrow else "much of the S"
    taught(
        ax,
        "The sigmoid squeezes log odds into a probability",
        f"{_squeezed(shown.config.model)};  99% of forecasts: {low} to {high}, {part}",
    )
    key_above(ax, columns=3)
    ax.set_xlabel(_odds_label(shown), fontsize=SMALL, color=INK, labelpad=2)
    curve, slope = (figure.add_axes((0.915, bottom, 0.065, 0.115)) for bottom in (0.615, 0.43))
    for small, name in ((curve, "all of $g(z)$"), (slope, "slope $g^{\\prime}=g\\,(1-g)$")):
        bare(small)
        small.set_title(name, loc="left", fontsize=SMALL - 0.5, color=INK, pad=3)
    whole_sigmoid(curve, slope, view)


def _squeezed(model: LogisticRegression) -> str:
    """Return the sigmoid as a formula: of the log odds, or of those that calibration makes of them."""
    return r"$p=g(z)=1/(1+e^{-z})$" if model.calibration is None else r"$p=g(a+bz)=1/(1+e^{-a-bz})$"


def _odds_label(shown: Shown) -> str:
    """Return what the axis of log odds shows: those of the model, or calibrated ones."""
    if shown.config.model.calibration is None:
        return "log odds z of the forecasts"
    refits = shown.course.forecasts.refits
    intercept, slope = refits.calibration[-1]
    newest = f", newest a {number(intercept)}, b {number(slope)}" if len(np.unique(refits.ticker)) == 1 else ""
    return f"log odds a + b z after Platt's calibration{newest}"


def _view(shown: Shown) -> SigmoidView:
    odds, bins = shown.rows.log_odds, shares_by_forecast(shown.rows)
    low, high = (float(bound) for bound in np.quantile(odds, NEARLY_ALL))
    bin_z = log_odds(np.clip(bins.probability, SURE, 1.0 - SURE))
    first, last = min(low, float(bin_z.min())), max(high, float(bin_z.max()))
    room = max(0.06 * (last - first), 0.01)
    z = np.linspace(first - room, last + room, 200)
    count, edges = np.histogram(odds, bins=40, range=(z[0], z[-1]))
    far = np.linspace(-FAR, FAR, 241)
    # However narrow, what the forecasts use of the whole curve is to be seen.
    middle, half = (low + high) / 2, max((high - low) / 2, 0.1)
    return SigmoidView(
        z=z, g=sigmoid(z), bin_z=bin_z, share=bins.share, low=bins.low, high=bins.high, edges=edges, count=count,
        span=(middle - half, middle + half), far_z=far, far_g=sigmoid(far), far_slope=sigmoid_slope(sigmoid(far)),
    )  # fmt: skip


def _losses(figure: Figure, learnt: Learnt, shown: Shown) -> None:
    """Draw the loss falling, and how many updates the refits of the walk took."""
    ax = figure.add_axes((0.045, 0.062, 0.215, 0.235))
    bare(ax)
    model, losses = shown.config.model, learnt.found.losses
    taught(ax, "The loss falls from the base rate's: nats above the best", _cost(model))
    if len(losses.refit):
        falling_losses(ax, losses.excess, [f"{learnt.dates[refit]:%b %Y}" for refit in losses.refit])
        key_above(ax, columns=5)
        ax.set_xlabel(UPDATE[model.descent], fontsize=SMALL, color=INK, labelpad=2)
    else:
        said(ax, "no refit has a best fit:\nthere is no loss to fall")
    beside = figure.add_axes((0.305, 0.062, 0.07, 0.185))
    bare(beside)
    beside.set_title("updates in the\nwalk, by refits", loc="left", fontsize=SMALL - 0.5, color=INK, pad=3)
    updates_taken(beside, *_bars(shown.course.forecasts.refits))


def _cost(model: LogisticRegression) -> str:
    """Return the loss and its gradient as a formula, with the weights of rows and the penalty that this model has."""
    weighted = model.class_weight is not None or model.half_life is not None
    mean = r"\sum w\," if weighted else r"\frac{1}{n}\sum"
    penalty, its_slope = (r"+\frac{l_2}{2}\Vert\theta\Vert^2", r"+l_2\theta") if model.l2 > 0 else ("", "")
    loss = rf"J={mean}[\log(1+e^z)-yz]{penalty}"
    gradient = rf"\nabla J={mean}(g(z)-y)\,x{its_slope}"
    return rf"${loss},\quad {gradient}$: linear regression's form"


def _bars(refits: Refits) -> tuple[list[str], list[int], list[str]]:
    """Return how many refits took how many updates: names, counts, colours."""
    fine = refits.converged & ~refits.degenerate
    names, counts, colours = list[str](), list[int](), list[str]()
    taken = refits.iterations[fine]
    if len(taken):
        width = -(-int(np.ptp(taken) + 1) // BARS)
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


def _rates(figure: Figure, rates: LearningRateStudy | None, model: LogisticRegression) -> None:
    """Draw what the learning rate does: update by update, and against the rate itself."""
    by_update = figure.add_axes((0.435, 0.062, 0.235, 0.235))
    by_rate = figure.add_axes((0.735, 0.062, 0.245, 0.235))
    for ax in (by_update, by_rate):
        bare(ax)
    taught(
        by_update,
        "A learning rate neither too small nor too large",
        r"$\theta\leftarrow\theta-\alpha\,\nabla J$ from $\theta=0$: newest refit, standardised",
    )
    taught(
        by_rate,
        "Below 2/L every update goes downhill",
        _limit(rates, model),
    )
    if rates is None:
        said(by_update, "no refit has a finite best fit:\nthere is nothing to descend to")
        said(by_rate, "no study without a best fit")
        return
    short = ("small", "1/L =", "near 2/L", "beyond")
    names = [f"{name} {number(rate)}" for name, rate in zip(short, rates.rate, strict=True)]
    losses_by_rate(by_update, rates.excess, names)
    own = None if model.learning_rate == "auto" else model.learning_rate
    after = [f"after {updates}" for updates in rates.after[:-1]] + [f"after {rates.after[-1]} updates"]
    losses_after(by_rate, rates.swept, rates.excess_after, after, limit=rates.limit, marked=rates.rate, own=own)
    for ax, columns in ((by_update, 4), (by_rate, 3)):
        key_above(ax, columns=columns)
    by_update.set_xlabel("updates (nats above the best loss)", fontsize=SMALL, color=INK, labelpad=2)
    told = r"learning rate $\alpha$, log scale (▲: the four on the left)"
    by_rate.set_xlabel(told, fontsize=SMALL, color=INK, labelpad=2)


def _limit(rates: LearningRateStudy | None, model: LogisticRegression) -> str:
    """Return what L is, as a formula and as a number."""
    inner = r"X^{\top}WX/4" if model.class_weight is not None or model.half_life is not None else r"X^{\top}X/4n"
    penalty = r"+l_2D" if model.l2 > 0 else ""
    here = "" if rates is None else f" = {number(rates.steepest)}, 2/L = {number(rates.limit)}"
    return rf"$L=\lambda_{{\max}}({inner}{penalty})${here}"


def _text(figure: Figure, above: float, text: str, *, bold: bool = False) -> None:
    """Write a line so many points above the upper row of axes, as a heading of theirs stands."""
    figure.text(0.045, UPPER + above / (72 * figure.get_figheight()), text, fontsize=NORMAL if bold else SMALL + 0.5,
                color=INK, fontweight="bold" if bold else "normal")  # fmt: skip
