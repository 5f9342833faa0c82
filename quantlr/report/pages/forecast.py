"""Did it know? What forecasts are worth, whatever trading on them earns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.inference.levels import Z95
from quantlr.backtest.inference.reliability import calibration_band, reliability_curve
from quantlr.backtest.inference.verdict import compared, significant, tested
from quantlr.backtest.metrics import Scored
from quantlr.backtest.series import rolling_hit_rates
from quantlr.backtest.skill_curves import (
    Spread,
    discrimination_of_noise,
    probability_spread,
    roc_band,
    roc_curve,
)
from quantlr.backtest.skill_groups import SMALLEST, GroupRates, accuracy_by, luck_by_rank, returns_by_probability
from quantlr.report.figures import forecast as figures
from quantlr.report.figures import groups
from quantlr.report.figures.curves import hit_rates
from quantlr.report.figures.forecast import described, said_instead
from quantlr.report.figures.style import bare, dated, number, percent
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import Forecasts

MOST_ROWS = 8
"""Tickers up to which each has a row of its own."""
BESIDE = 0.04
"""How far left of its axes a label stands, as a fraction of the page."""
LEFT, MIDDLE, RIGHT, WIDE = (0.052, 0.263), (0.388, 0.263), (0.724, 0.263), (0.388, 0.599)
"""Left edge and width of a column, as fractions of the page."""
NAMED = (0.082, 0.233)
"""The same of a column with names on its left."""


def forecast_page(shown: Shown) -> Figure:
    """Return the page on skill."""
    figure = framed(shown, *finding(shown.metrics["forecast"]))
    rows, forecasts, seed = shown.rows, shown.course.forecasts, shown.config.seed
    spread = probability_spread(rows.probability, rows.up, beside=float(rows.base_rate.mean()))
    _reliability(_axes(figure, LEFT, 0.579, 0.191), rows, spread, shown.metrics["forecast"], seed)
    _counts(_axes(figure, LEFT, 0.507, 0.045), rows, spread)
    _roc(_axes(figure, MIDDLE, 0.507, 0.263), rows, shown.metrics["forecast"], seed)
    _by_outcome(_axes(figure, RIGHT, 0.507, 0.263), rows, spread)
    tickers = len(np.unique(rows.ticker))
    several = tickers > 1
    _returns(_axes(figure, LEFT, *((0.297, 0.108) if several else (0.063, 0.342))), forecasts)
    _rolling(_axes(figure, WIDE, 0.268, 0.137), rows, forecasts)
    if several:
        _by_ticker(_axes(figure, NAMED if tickers <= MOST_ROWS else LEFT, 0.063, 0.112), rows, forecasts)
    _by_year(_axes(figure, WIDE, 0.043, 0.145), rows, forecasts)
    return figure


def _axes(figure: Figure, column: tuple[float, float], bottom: float, height: float) -> Axes:
    ax = figure.add_axes((column[0], bottom, column[1], height))
    bare(ax)
    ax.yaxis.set_label_coords(-BESIDE / column[1], 0.5)
    return ax


def finding(skill: dict[str, Any]) -> tuple[str, str]:
    """Return in words whether it knew, and what that rests on."""
    right, to_beat, test = skill["accuracy"], skill["accuracy_base_rate"], skill["pesaran_timmermann"]
    p_value = test["p_value"] if test else None
    theirs = math.inf if skill["log_loss_base_rate"] is None else skill["log_loss_base_rate"]
    numbers = f"{percent(right)} of its calls were right, {percent(to_beat)} of the base rate's"
    if p_value is None:
        title = f"Nothing tells whether it knew: {numbers}"
    elif not significant(p_value):
        title = f"No evidence that it knew: {numbers}"
    elif skill["log_loss"] >= theirs:
        title = f"Calls beat chance, probabilities don't: {numbers.replace('of its calls ', '')}"
    elif right <= to_beat:
        title = f"It knew, but called no better: {numbers}"
    else:
        title = f"It knew something: {numbers}"
    low, high = skill["accuracy_ci95"]
    loss = (
        f"Log loss {number(skill['log_loss'], decimals=5)}, {compared(skill['log_loss'], theirs)} than the base rate's"
    )
    return title, (
        f"{skill['n']:,} forecasts; the 95% interval of the right calls is {percent(low)} to {percent(high)}. "
        f"{_test_in_words(p_value)}. {loss} {'∞' if math.isinf(theirs) else number(theirs, decimals=5)}."
    )


def _test_in_words(p_value: float | None) -> str:
    """Return what the test found, and what its p value says."""
    if p_value is None:
        return f"No test: {tested(None)}"
    often = f"{100 * p_value:.0f} times in 100" if p_value >= 0.015 else "once in 100 times or less"
    often = "less than once in 1,000 times" if p_value < 0.001 else often
    return f"{tested(p_value)}: calls that know nothing agree as well with what came {often}"


def _reliability(ax: Axes, rows: Scored, spread: Spread, skill: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve = reliability_curve(rows.probability, rows.up)
    band = calibration_band(rows.probability, rows.up, session=rows.session, horizon=rows.horizon, rng=rng)
    bounds = (float(spread.edges[0]), float(spread.edges[-1]))
    figures.reliability(ax, curve, band, base_rate=float(rows.base_rate.mean()), bounds=bounds)
    parts = skill["reliability"]["log_loss"]
    lost, gained = (number(parts[name], decimals=5) for name in ("miscalibration", "discrimination"))
    words = f"discrimination gains {gained} nats, miscalibration loses {lost}"
    if rows.clustered:
        words += "\nnoise shows some of both: the grey band is what luck can do"
    else:
        noise = discrimination_of_noise(rows.probability, rows.up, rng=rng)
        words += f"\nshuffled outcomes show a discrimination of {number(noise, decimals=5)}"
    described(ax, "Do the probabilities mean what they say?", words, lines=2)


def _counts(ax: Axes, rows: Scored, spread: Spread) -> None:
    figures.counts(ax, spread, base_rate=float(rows.base_rate.mean()))


def _roc(ax: Axes, rows: Scored, skill: dict[str, Any], seed: int) -> None:
    curve = roc_curve(rows.probability, rows.up)
    if curve is None:
        described(ax, "Are ups given higher probabilities? (ROC)", lines=2)
        came = "ups" if rows.up.all() else "moves that were not up"
        said_instead(ax, f"Only {came} came: there is nothing to tell them from, and no ROC curve.")
        return
    rng = np.random.default_rng(seed)
    band = roc_band(rows.probability, rows.up, session=rows.session, horizon=rows.horizon, rng=rng)
    figures.roc(ax, curve, band)
    interval = skill["auc_ci95"]
    bounds = f"95% interval {_three(interval[0])} to {_three(interval[1])}" if interval else "too few for an interval"
    words = f"area under the curve {_three(skill['auc'])}, {bounds}"
    if np.ptp(rows.probability) == 0:
        words += "\nthe probabilities never differ"
    elif band is None:
        words += "\ntoo few forecasts for a band"
    else:
        words += "\n0.5 knows nothing, and noise walked forward comes to less"
    described(ax, "Are ups given higher probabilities? (ROC)", words, lines=2)


def _three(value: float) -> str:
    return number(value, decimals=3)


def _by_outcome(ax: Axes, rows: Scored, spread: Spread) -> None:
    figures.by_outcome(ax, spread, base_rate=float(rows.base_rate.mean()))
    before = [f"{percent(mean, decimals=2)} {what}" for mean, what in (
        (spread.mean_up, "before ups"), (spread.mean_other, "before the others")) if mean is not None]  # fmt: skip
    words = f"on average {', '.join(before)}\n"
    if spread.outside:
        words += f"{spread.outside:,} of {len(rows.up):,} forecasts lie beyond the picture"
    described(ax, "Probabilities by what came", words, lines=2)


def _returns(ax: Axes, forecasts: Forecasts) -> None:
    title = "Did higher probabilities earn more?"
    found = returns_by_probability(forecasts)
    if found is None:
        described(ax, title)
        few = len(forecasts.probability) < 2 * SMALLEST
        why = "There are too few forecasts" if few else "The probabilities hardly ever differ"
        said_instead(ax, f"{why}: there are no groups to compare.")
        return
    groups.returns_by_probability(ax, found)
    sessions = f"{forecasts.horizon} session{'s'[: forecasts.horizon > 1]}"
    ahead, reach = percent(found.ahead, decimals=2), percent(Z95 * found.ahead_error, decimals=2)
    described(ax, title, f"highest less lowest group: {ahead} ± {reach} over {sessions}")


def _rolling(ax: Axes, rows: Scored, forecasts: Forecasts) -> None:
    rates = rolling_hit_rates(rows, forecasts.sessions)
    title = f"Share of right calls over the last {rates.window} sessions"
    if len(rates.dates) < 2:
        described(ax, title)
        said_instead(ax, f"There are no more than {rates.window} sessions: too few to follow over time.")
        return
    hit_rates(ax, rates)
    dated(ax)
    ax.set_xlim(date2num(rates.dates[0]), date2num(rates.dates[-1]))
    described(ax, title, "within the grey band, luck alone could have done it")


def _by_year(ax: Axes, rows: Scored, forecasts: Forecasts) -> None:
    years = forecasts.sessions.year.to_numpy(dtype=np.int64)[rows.session]
    rates = accuracy_by(years, rows)
    groups.rates_by_year(ax, rates)
    described(ax, "Right calls by year", _ahead(rates, "year"))


def _by_ticker(ax: Axes, rows: Scored, forecasts: Forecasts) -> None:
    rates = accuracy_by(rows.ticker, rows)
    names = [forecasts.tickers[at] for at in rates.group]
    told = _ahead(rates, "ticker")
    if len(names) <= MOST_ROWS:
        groups.rates_by_ticker(ax, rates, names)
        described(ax, "Right calls by ticker", told)
        return
    groups.ranked_tickers(ax, rates, luck=luck_by_rank(rates.error))
    best, worst = (f"{groups.short(names[at])} by {percent(rates.ahead[at])}" for at in (
        int(rates.ahead.argmax()), int(rates.ahead.argmin())))  # fmt: skip
    described(ax, "Right calls by ticker", f"{told}\nbest {best}, worst {worst}", lines=2)


def _ahead(rates: GroupRates, what: str) -> str:
    """Return in words in how many groups the model's calls were ahead."""
    n = len(rates.group)
    return f"ahead of the base rate's call in {int((rates.ahead > 0).sum())} of {n:,} {what}{'s'[: n > 1]}"
