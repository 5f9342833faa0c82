"""Positions and costs: what was held when, how often it traded, and what trading cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.fills import fill_results
from quantlr.backtest.frictions import cost_parts, cost_per_trade_bps, sharpe_at_cost
from quantlr.backtest.held import Activity, activity, weight_map
from quantlr.backtest.trades import about_zero, by_side, earned_by_side, trades
from quantlr.report.figures.costs import AtCost, FillCurve, Piled, cost_curve, fill_curves, piled_costs
from quantlr.report.figures.positions import HeldPrice, breadth, exposures, held_price, turnovers, weights
from quantlr.report.figures.style import bare, dated, heading, in_words, number, percent
from quantlr.report.figures.tables import TableRow, text_table
from quantlr.report.figures.trips import trip_returns
from quantlr.report.pages.frame import framed
from quantlr.report.shown import Shown
from quantlr.types import BacktestResult

PLACES = {"next_close": "next close", "next_open": "next open", "close": "same close"}
MOST_ROWS = 40
"""Tickers that a map of weights has a row for; of more, only how many are held is drawn."""
ROW = 16.0
"""Points that a row of a legend takes between a heading and its axes."""
RARE = 1.0
"""Times that equity is traded in a year, below which costs hardly matter."""
COSTS_DRAWN = 121
EDGES = (0.72, 1.0)


def positions(shown: Shown) -> Figure:
    """Return the page of what was held and what it cost."""
    result, per_year = shown.course.result, shown.config.report.sessions_per_year
    table = trades(result)
    figure = framed(shown, *finding(shown.metrics, table, sessions=len(result.equity), per_year=per_year))
    _over_time(figure, shown, table)
    right = {"left": 0.665, "width": 0.315}
    _at_cost(_below(figure, top=0.764, height=0.132, **right), shown)
    _fills(_below(figure, top=0.512, height=0.128, **right), shown)
    _trips(_below(figure, top=0.3, height=0.098, **right), table)
    if len(table):
        text_table(
            _below(figure, top=0.168, height=0.132, **right),
            _side_rows(table, earned_by_side(result, sessions_per_year=per_year)),
            edges=EDGES,
        )
    return figure


def _below(figure: Figure, *, left: float, width: float, top: float, height: float) -> Axes:
    """Return axes that hang from `top`."""
    return figure.add_axes((left, top - height, width, height))


def finding(metrics: dict[str, Any], table: pd.DataFrame, *, sessions: int, per_year: int) -> tuple[str, str]:
    """Return what it did and whether costs eat it, and the numbers behind that."""
    own, break_even = metrics["backtest"]["strategy"], metrics["backtest"]["break_even_cost_bps"]
    if break_even is None:
        span = f"{sessions:,} session{'s'[: sessions > 1]}"
        return "It never traded", f"In {span} no position was asked for: there is nothing to earn, and nothing to pay."
    traded, costs = own["turnover_per_year"], own["cost_total"] * per_year / sessions
    earned = break_even * BASIS_POINT * traded
    trips = own["trades"] * per_year / sessions
    done = f"{percent(own['exposure'], decimals=0)} invested, {_count(trips)} round trips a year"
    longs = int((table["side"] == "long").sum())
    text = (
        f"{longs:,} long and {len(table) - longs:,} short round trips traded {number(traded, decimals=1)} times equity "
        "a year. "
        f"Before costs and above cash that earned {percent(earned)} of equity a year, costs took {percent(costs)}"
        f"{_per_trade(break_even, own, traded, costs)}."
    )
    if own["final_equity"] <= 0:
        text += f" Equity fell to 0 after {sessions:,} sessions, and the backtest ends there."
    return f"{done}: {_eaten(own, earned, costs, traded)}", text


def _count(trips: float) -> str:
    return number(trips, decimals=0 if trips >= 10 else 1)


def _eaten(own: dict[str, Any], earned: float, costs: float, traded: float) -> str:
    """Return what became of what was earned, in a few words."""
    if own["final_equity"] <= 0:
        return "it lost everything"
    if earned <= 0:
        return "it lost before costs"
    if costs >= earned:
        return "costs took more than it earned"
    if traded < RARE:
        return "it trades too rarely for costs to matter"
    return f"costs took {percent(costs / earned, decimals=0)} of what it earned"


def _per_trade(break_even: float, own: dict[str, Any], traded: float, costs: float) -> str:
    """Return the same by what is traded; of a strategy that hardly trades that says nothing."""
    if traded < RARE:
        return ""
    paid = costs / traded / BASIS_POINT
    earned = f"it earned {number(break_even, decimals=1)} basis points of what it traded"
    return f": {earned} and paid {number(paid, decimals=1)}"


def _over_time(figure: Figure, shown: Shown, table: pd.DataFrame) -> None:
    """Draw the left half: what was held, how much, how much was traded, and what it earned and cost."""
    result = shown.course.result
    done = activity(result, sessions_per_year=shown.config.report.sessions_per_year)
    rows = figure.add_gridspec(4, 1, left=0.055, right=0.615, top=0.78, bottom=0.045, hspace=0.42,
                               height_ratios=(2.6, 0.9, 0.75, 1.5))  # fmt: skip
    axes = [figure.add_subplot(rows[at]) for at in range(4)]
    for ax in axes:
        bare(ax)
    _holdings(axes[0], shown, table)
    exposures(axes[1], done)
    heading(axes[1], f"Invested, percent of equity{_averaged(done)}", room=ROW)
    turnovers(axes[2], done)
    heading(axes[2], f"Traded, times equity a year{_averaged(done)}")
    _piled(axes[3], shown)
    for ax in axes:
        dated(ax)
        ax.set_xlim(*date2num(result.fills[[0, -1]]))
    for ax in axes[:-1]:
        ax.tick_params(axis="x", labelbottom=False)
        ax.xaxis.get_offset_text().set_visible(False)


def _averaged(done: Activity) -> str:
    return f" (mean of {done.window} sessions)" if done.window > 1 else ""


def _holdings(ax: Axes, shown: Shown, table: pd.DataFrame) -> None:
    """Draw what was held when: one ticker's price, some tickers' weights, or how many of very many were held."""
    result, names = shown.course.result, shown.course.forecasts.tickers
    traded = np.unique(shown.course.forecasts.ticker)
    if len(traded) == 1:
        held_price(ax, price_held(result, int(traded[0]), table))
        kind = shown.config.execution.fill.removeprefix("next_")
        heading(ax, f"{names[traded[0]]}, adjusted {kind}, and when it was held", room=ROW)
        return
    held = weight_map(result, traded)
    if len(traded) <= MOST_ROWS:
        weights(ax, held, [names[ticker] for ticker in traded])
        heading(ax, "What each ticker was held at, as a share of equity", room=ROW)
    else:
        breadth(ax, held)
        heading(ax, f"Share of the {len(traded)} tickers that was held", room=ROW)


def price_held(result: BacktestResult, ticker: int, table: pd.DataFrame) -> HeldPrice:
    """Return the price of the ticker at that position, and the spells of its round trips in `table`."""
    price = result.price[:, ticker]
    seen = ~np.isnan(price)
    spells = table.assign(exit=table["exit"].fillna(result.fills[-1]))
    long, short = (spells.loc[spells["side"] == side, ["entry", "exit"]] for side in ("long", "short"))
    return HeldPrice(result.fills[seen], price[seen], long, short)


def _piled(ax: Axes, shown: Shown) -> None:
    result, config = shown.course.result, shown.config
    parts = cost_parts(result, config.execution, sessions_per_year=config.report.sessions_per_year)
    named = {
        "commission": parts.commission,
        "slippage": parts.slippage,
        "spread and fees": parts.fees,
        "borrow": parts.borrow,
    }
    piled = Piled(
        dates=result.sessions,
        earned=np.cumsum(result.gross_return - result.cash),
        parts={name: np.cumsum(values) for name, values in named.items() if values.any()},
    )
    piled_costs(ax, piled)
    heading(ax, "Earned above cash and paid so far, sums of percent of equity", room=ROW)


def _at_cost(ax: Axes, shown: Shown) -> None:
    result, config, found = shown.course.result, shown.config, shown.metrics["backtest"]
    per_year = config.report.sessions_per_year
    own = cost_per_trade_bps(result, config.execution, sessions_per_year=per_year)
    if own is None or found["break_even_cost_bps"] is None:
        ax.set_axis_off()
        in_words(ax, "It never traded: what a trade costs makes no difference.")
        heading(ax, "Sharpe ratio by cost per trade", room=2 * ROW)
        return
    bare(ax)
    reach, break_even = max(2.5 * own, 10.0), found["break_even_cost_bps"]
    if 0 < break_even <= 8 * reach:
        reach = max(reach, 1.25 * break_even)
    bps = np.linspace(0.0, reach, COSTS_DRAWN)
    at = AtCost(
        bps=bps,
        sharpe=sharpe_at_cost(result, bps, config.execution, sessions_per_year=per_year),
        own_bps=own,
        own_sharpe=found["strategy"]["sharpe"],
        break_even_bps=break_even,
        borrows=bool((result.weight < 0).any()) and config.execution.borrow_bps_per_year > 0,
        held_sharpe=found["benchmark"]["sharpe"],
    )
    cost_curve(ax, at)
    heading(ax, f"Sharpe ratio by cost per trade{_break_even_elsewhere(break_even, reach)}", room=2 * ROW)


def _break_even_elsewhere(break_even: float, reach: float) -> str:
    """Return where it breaks even, if that is not in the picture."""
    if break_even < 0:
        return ": negative before costs"
    return "" if break_even <= reach else f" (breaks even at {number(break_even, decimals=0)} bps)"


def _fills(ax: Axes, shown: Shown) -> None:
    config, compared = shown.config, shown.metrics["backtest"]["fills"]
    found = fill_results(
        shown.course.positions,
        shown.course.prices,
        config.execution,
        sessions_per_year=config.report.sessions_per_year,
    )
    curves = []
    for fill, result in found.items():
        if result is None or not len(result.equity):
            continue
        told = [PLACES[fill], *(["this run"] if fill == config.execution.fill else [])]
        told += [] if compared[fill]["tradable"] else ["not tradable"]
        equity = np.concatenate([[1.0], result.equity])
        name, own = ", ".join(told), fill == config.execution.fill
        curves.append(FillCurve(fill, name, result.fills, equity, own, compared[fill]["tradable"]))
    heading(ax, "What one unit became, by fill (log scale)", room=3 * ROW - 4)
    if not curves:
        ax.set_axis_off()
        in_words(ax, "Prices end before every fill has earned anything.")
        return
    bare(ax)
    fill_curves(ax, curves)
    dated(ax)
    ax.set_xlim(*date2num(curves[0].dates[[0, -1]]))


def _trips(ax: Axes, table: pd.DataFrame) -> None:
    if not len(table):
        heading(ax, "Round trips")
        ax.set_axis_off()
        in_words(ax, "There were none.")
        return
    bare(ax)
    net = (table["return"] - table["cost"]).to_numpy(dtype=np.float64)
    trip_returns(ax, about_zero(net), mean=float(net.mean()))
    heading(ax, f"{len(table):,} round trip{'s'[: len(table) > 1]} by return after costs", room=ROW)


def _side_rows(table: pd.DataFrame, earned: dict[str, float]) -> list[TableRow]:
    """Return where round trips earned their place, long and short; a dash where a side was never taken."""
    found = by_side(table).reindex(["long", "short"])

    def row(label: str, values: Iterable[float], style: Callable[[float], str]) -> TableRow:
        return TableRow(label, tuple(style(value) for value in values))

    def whole(value: float) -> str:
        return number(value, decimals=0)

    def fine(value: float) -> str:
        return percent(value, decimals=2)

    return [
        TableRow("ROUND TRIPS", ("long", "short")),
        row("How many", found["trades"], whole),
        row("Won, after costs", found["won"], percent),
        row("Mean return, after costs", found["mean"], fine),
        row("Sessions held, median", found["sessions"], whole),
        row("Earned a year before costs, of equity", earned.values(), fine),
    ]
