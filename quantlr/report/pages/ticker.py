"""One ticker of several: when it was held, what its part became, how well it was called."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.inference.reliability import calibration_band, reliability_curve
from quantlr.backtest.metrics import Measured, Scored, profit_factor, turnover_per_year, win_rate
from quantlr.backtest.series import rolling_hit_rates
from quantlr.backtest.tickers import TickerNumbers, lived, of_ticker, part_of, ticker_numbers
from quantlr.model.coefficients import per_deviation
from quantlr.report.figures.curves import hit_rates
from quantlr.report.figures.positions import held_price
from quantlr.report.figures.style import INK, NORMAL, bare, dated, heading, in_words, number, percent
from quantlr.report.figures.tables import TableRow, text_table
from quantlr.report.figures.tickers import coefficient_bars, part_growth, small_reliability
from quantlr.report.pages.frame import framed
from quantlr.report.pages.positions import ROW, price_held
from quantlr.report.shown import Shown
from quantlr.types import Array

MOST_COEFFICIENTS = 10
EDGES = (0.68, 1.0)


def ticker_page(shown: Shown, *, ticker: int) -> Figure:
    """Return the page of the ticker at that position."""
    course, per_year = shown.course, shown.config.report.sessions_per_year
    name, rows = course.forecasts.tickers[ticker], of_ticker(shown.rows, ticker)
    own = ticker_numbers(
        course.result, course.forecasts, rows, sessions_per_year=per_year, tickers=np.array([ticker], dtype=np.int64)
    )
    part = part_of(course.result, ticker, lived(course.result, course.forecasts, ticker))
    figure = framed(shown, *_finding(name, own))
    if not len(part.equity):
        ax = figure.add_axes((0.05, 0.1, 0.9, 0.6))
        ax.set_axis_off()
        in_words(ax, "Its first forecast came too late to be traded on.")
        return figure
    measured = Measured.of(part, sessions_per_year=per_year)
    _over_time(figure, shown, measured, rows)
    _reliability(figure.add_axes((0.675, 0.585, 0.305, 0.175)), shown, rows)
    _coefficients(figure, shown, ticker)
    costs = float(part.cost.sum()) / len(course.result.cost) * per_year
    text_table(figure.add_axes((0.665, 0.035, 0.315, 0.265)), _table(own, measured, costs), edges=EDGES)
    return figure


def _finding(name: str, own: TickerNumbers) -> tuple[str, str]:
    """Return what the ticker added and whether it was called better than luck allows, and the numbers behind that."""
    contribution, weight = float(own.contribution[0]), float(own.weight[0])
    calls, edge, luck = int(own.calls[0]), float(own.accuracy[0] - own.base_rate[0]), float(own.accuracy_luck[0])
    verb, name = "added" if contribution >= 0 else "took", f"{name:.24}"
    added = f"{name} {verb} {percent(abs(contribution), decimals=2)} of equity a year"
    done = added if weight > 0 else f"{name} was never held"
    if not calls:
        return f"{done}; nothing is known of its calls yet", "No forecast of it has an outcome yet."
    called = (
        "better than by luck" if edge > luck else "worse than by luck" if -edge > luck else "no better than by luck"
    )
    text = (
        f"{percent(own.accuracy[0])} of {calls:,} calls were right where the base rate's call scored "
        f"{percent(own.base_rate[0])}; luck alone would keep the two within {percent(luck)} of one another 95 times in "
        "100. What it added is after costs and above cash, as a part of the whole."
    )
    return f"{done}, called {called}", text


def _over_time(figure: Figure, shown: Shown, measured: Measured, rows: Scored) -> None:
    """Draw the left half: price and positions, what its part became, and how often it was called rightly."""
    part = measured.result
    grid = figure.add_gridspec(3, 1, left=0.055, right=0.615, top=0.78, bottom=0.045, height_ratios=(2.2, 1.5, 1.3),
                               hspace=0.3)  # fmt: skip
    axes = [figure.add_subplot(grid[at]) for at in range(3)]
    for ax in axes:
        bare(ax)
    held_price(axes[0], price_held(part, 0, measured.trades))
    kind = shown.config.execution.fill.removeprefix("next_")
    heading(axes[0], f"Adjusted {kind}, and when it was held", room=ROW)
    part_growth(
        axes[1], part.fills, _growth(part.equity), _growth(np.cumprod(np.maximum(1.0 + part.gross_return, 0.0)))
    )
    heading(axes[1], "What its part alone made of one unit of the whole capital, above cash", room=ROW)
    _hit_rates(axes[2], shown, rows)
    for ax in axes:
        dated(ax)
        ax.set_xlim(*date2num(part.fills[[0, -1]]))
    for ax in axes[:-1]:
        ax.tick_params(axis="x", labelbottom=False)
        ax.xaxis.get_offset_text().set_visible(False)


def _growth(equity: Any) -> Array:
    """Return equity with its start of 1."""
    return np.concatenate([[1.0], equity])


def _hit_rates(ax: Axes, shown: Shown, rows: Scored) -> None:
    if not len(rows.up):
        heading(ax, "Share of right calls")
        in_words(ax, "No outcome is known yet.")
        return
    rates = rolling_hit_rates(rows, shown.course.forecasts.sessions)
    heading(ax, f"Share of right calls over the last {rates.window} forecasts")
    if len(rates.dates) < 2:
        in_words(ax, "Too few forecasts for a share that moves.")
        return
    hit_rates(ax, rates)


def _reliability(ax: Axes, shown: Shown, rows: Scored) -> None:
    bare(ax)
    heading(ax, "Share of ups by what was forecast", room=ROW)
    if not len(rows.up):
        in_words(ax, "No outcome is known yet.")
        return
    rng = np.random.default_rng(shown.config.seed)
    band = calibration_band(rows.probability, rows.up, session=rows.session, horizon=rows.horizon, rng=rng)
    small_reliability(ax, reliability_curve(rows.probability, rows.up), band)
    ax.set_xlabel("probability of up that was forecast", fontsize=8.2, color=INK, labelpad=1)


def _coefficients(figure: Figure, shown: Shown, ticker: int) -> None:
    """Draw the last refit's weights, per deviation of each feature over the ticker's rows."""
    ax = figure.add_axes((0.785, 0.36, 0.195, 0.15))
    found, dataset = shown.metrics["model"]["coefficients"], shown.course.dataset
    weights = found.get("pooled") or found[shown.course.forecasts.tickers[ticker]]
    raw = np.array([weights[name] for name in dataset.columns], dtype=np.float64)
    effect = per_deviation(dataset, raw, rows=dataset.rows(ticker))
    order = np.argsort(-np.abs(effect), kind="stable")[:MOST_COEFFICIENTS]
    chosen = f" ({MOST_COEFFICIENTS} of {len(effect)})" if len(effect) > MOST_COEFFICIENTS else ""
    title = f"Log odds per deviation{chosen}, last refit{' of the one model' if 'pooled' in found else ''}"
    figure.text(0.675, 0.522, title, fontsize=NORMAL, fontweight="bold", color=INK, va="center")
    bare(ax)
    if np.isnan(effect).any():
        ax.set_axis_off()
        in_words(ax, "The last refit has no best fit:\nit forecasts the base rate.")
        return
    coefficient_bars(ax, [dataset.columns[at] for at in order], effect[order])


def _table(own: TickerNumbers, measured: Measured, costs: float) -> list[TableRow]:
    """Return the ticker's numbers; what it added and cost a year is over the whole run, all else over its own part."""

    def one(values: Array) -> float:
        return float(values[0])

    edge = one(own.accuracy - own.base_rate)
    return [
        TableRow("WHAT IT CAME TO", ("", "luck, 95%")),
        TableRow("Sessions", (f"{len(measured.result.equity):,}", "")),
        TableRow("Right calls", (percent(one(own.accuracy)), "")),
        TableRow("Above the base rate's, points", (percent(edge), f"± {percent(one(own.accuracy_luck))}")),
        TableRow("Sharpe ratio of its part", (number(one(own.sharpe)), f"± {number(one(own.sharpe_luck))}")),
        TableRow("Added a year, of equity", (percent(one(own.contribution), decimals=2), "")),
        TableRow("Costs a year, of equity", (percent(costs, decimals=2), "")),
        TableRow("Mean |weight|", (percent(one(own.weight)), "")),
        TableRow("Mean weight, long less short", (percent(one(own.net_weight)), "")),
        TableRow("Traded a year, times equity", (number(turnover_per_year(measured)), "")),
        TableRow("Round trips", (f"{len(measured.trades):,}", "")),
        TableRow("Won, after costs", (percent(win_rate(measured)), "")),
        TableRow("Gained by winners over lost", (number(profit_factor(measured)), "")),
    ]
