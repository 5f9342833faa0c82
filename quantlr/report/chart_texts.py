"""The interactive charts in a sentence and a table each, for those who cannot see or hover."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.trades import net_trade_returns
from quantlr.core.values import Array
from quantlr.report.pages.layout import Table
from quantlr.report.style import count_text, growth_text, number_text, percent_text
from quantlr.report.summary import TextTable


def _by_year(
    title: str, dates: pd.DatetimeIndex, columns: Mapping[str, tuple[Array, Callable[[Any], str]]]
) -> TextTable:
    """Return a table with a row for each calendar year; each column has values and a function that writes them."""
    years = dates.year.to_numpy()
    texts: dict[int, tuple[str, ...]] = {}
    for year in np.unique(years).tolist():
        is_in_year = years == year
        texts[year] = tuple(write(values[is_in_year]) for values, write in columns.values())
    return TextTable(title, tuple(columns), tuple((str(year), cells) for year, cells in texts.items()))


def _last(values: Array, *, write: Callable[[float], str]) -> str:
    return write(float(values[-1]))


def _mean(values: Array, *, write: Callable[[float], str] = percent_text) -> str:
    known = values[~np.isnan(values)]
    return write(float(known.mean())) if len(known) else "–"


def _largest_fall(values: Array) -> str:
    return percent_text(float(values.min()))


def describe_price(table: Table) -> tuple[str, TextTable]:
    """Return the first, last and extreme prices, and the price at the end of each year with the sessions held."""
    dates, price = table["dates"], table["price"]
    if not len(price):
        return f"{table['ticker']} was not traded.", TextTable("Price and positions by year", (), ())
    first, last, low, high = map(partial(number_text, decimals=2), (price[0], price[-1], price.min(), price.max()))
    n_round_trips = {side: len(table[side]) for side in ("long", "short")}
    sentence = (
        f"{table['ticker']}, {table['price_name']}: {first} at the first fill, {last} at the end, "
        f"between {low} and {high}; "
        f"{count_text(n_round_trips['long'], 'long trade')}, {count_text(n_round_trips['short'], 'short trade')}."
    )
    held: dict[str, Array] = {}
    for side in n_round_trips:
        entry, exit_ = (np.sort(table[side][column].to_numpy()) for column in ("entry", "exit"))
        days = dates.to_numpy()
        held[side] = np.searchsorted(entry, days, side="right") > np.searchsorted(exit_, days, side="right")
    columns = {f"last {table['price_name']}": (price, partial(_last, write=number_text))}
    return sentence, _by_year("Price and positions by year", dates, columns | _held_columns(held))


def _held_columns(held: Mapping[str, Array]) -> dict[str, tuple[Array, Callable[[Any], str]]]:
    return {f"% of sessions {side}": (values, _mean) for side, values in held.items()}


def describe_probability(table: Table) -> tuple[str, TextTable]:
    """Return the range of the probabilities, and their mean beside base rate and outcomes by year."""
    probability, up = table["probability"], table["up"]
    low, mean, high = (
        percent_text(float(value)) for value in (probability.min(), probability.mean(), probability.max())
    )
    sentence = (
        f"{table['ticker']}: {count_text(len(up), 'forecast')} of the probability of up, between {low} and {high}, "
        f"mean {mean}; the outcome was up in {_mean(up)} of those that are known."
    )
    is_right = np.where(np.isnan(up), np.nan, (probability > 0.5) == (up > 0.5))
    columns: dict[str, tuple[Array, Callable[[Any], str]]] = {
        "mean probability": (probability, _mean),
        "mean base rate": (table["base_rate"], _mean),
        "outcomes up": (up, _mean),
        "accuracy": (is_right, _mean),
    }
    return sentence, _by_year("Forecasts by year", table["dates"], columns)


def describe_equity(table: Table) -> tuple[str, TextTable]:
    """Return the final values, and the values at the end of each year."""
    name = table["benchmark_name"]
    net, gross, benchmark = (table[f"{key}_equity"] for key in ("net", "gross", "benchmark"))
    sentence = (
        f"1 became {growth_text(net[-1])} after costs and {growth_text(gross[-1])} before; "
        f"{name}: {growth_text(benchmark[-1])}."
    )
    write = partial(_last, write=growth_text)
    columns = {"after costs": (net, write), "before costs": (gross, write), name: (benchmark, write)}
    return sentence, _by_year("Growth of 1 at the end of each year", table["dates"], columns)


def describe_drawdown(table: Table) -> tuple[str, TextTable]:
    """Return the max drawdowns, and the largest of each year."""
    dates, name = table["dates"], table["benchmark_name"]
    net, benchmark = table["net_drawdown"], table["benchmark_drawdown"]
    sentence = (
        f"Max drawdown {percent_text(float(net.min()))}, on {dates[int(net.argmin())]:%Y-%m-%d}; "
        f"{name}: {percent_text(float(benchmark.min()))}, on {dates[int(benchmark.argmin())]:%Y-%m-%d}."
    )
    columns = {"after costs": (net, _largest_fall), name: (benchmark, _largest_fall)}
    return sentence, _by_year("Largest drawdown in each year", dates, columns)


def describe_trades(table: Table) -> tuple[str, TextTable]:
    """Return the number of trades with their returns and costs, and the same by year of entry."""
    trades, title = table["trades"], "Trades by year of entry"
    if not len(trades):
        return f"{table['ticker']} was not traded.", TextTable(title, (), ())
    net: Array = np.asarray(net_trade_returns(trades), dtype=np.float64)
    cost: Array = np.asarray(trades["cost"], dtype=np.float64)
    is_gain = (net > 0).astype(np.float64)
    write = partial(_mean, write=partial(percent_text, decimals=2))
    sentence = (
        f"{table['ticker']}: {count_text(len(trades), 'trade')}, {_mean(is_gain)} with a gain; return after costs "
        f"{write(net)} of the position on average, between {percent_text(net.min())} and {percent_text(net.max())}; "
        f"costs {write(cost)} on average."
    )
    columns: dict[str, tuple[Array, Callable[[Any], str]]] = {
        "trades": (net, lambda values: f"{len(values):,}"),
        "win rate": (is_gain, _mean),
        "mean return after costs": (net, write),
        "mean costs": (cost, write),
    }
    return sentence, _by_year(title, pd.DatetimeIndex(trades["entry"]), columns)
