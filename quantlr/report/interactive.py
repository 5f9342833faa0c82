"""Interactive charts of a run: price with positions, probability, equity and drawdown on one time axis, and its trades.

They are drawn in the browser by BokehJS, whose scripts the wheel of Bokeh contains. Python reads these files and never
imports Bokeh, which would take longer than a run's calculations. The numbers are those of the tables of the pages.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantlr.core.values import Array
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.contributions import LogOddsContributions
from quantlr.report.chart_texts import (
    describe_drawdown,
    describe_equity,
    describe_price,
    describe_probability,
    describe_trades,
)
from quantlr.report.context import PageContext
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.report.pages.coefficients import no_coefficients_text
from quantlr.report.pages.holdings import price_panel_table
from quantlr.report.pages.layout import Table
from quantlr.report.pages.tearsheet import growth_table
from quantlr.report.summary import TextTable

FLOAT32_COLUMNS = ("price", "net_equity", "gross_equity", "benchmark_equity")
"""Columns with seven digits; others are whole multiples of a 32,767th of their largest absolute value."""
MAX_DATA_CHARS = 1_200_000
"""Characters of all numbers of a page; further tickers are left out, or the contributions if they leave no room."""
MAX_TICKERS = 30
"""Tickers that a page contains."""
COMPRESSION_LEVEL = 1
"""Of 9: the fastest, which is a twentieth larger than the smallest."""


@dataclass(frozen=True, slots=True)
class InteractiveChart:
    """One chart of the time axis that all share, or the list of trades.

    Attributes
    ----------
    key : of the chart in the page.
    title : the heading above it; names in braces are replaced by values of the table.
    columns : names of the arrays of its table that a page contains, one value for each of the table's `dates`.
    describe : returns the table in one sentence, and by calendar year.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    describe: Callable[[Table], tuple[str, TextTable]]

    def texts(self, table: Table) -> dict[str, Any]:
        """Return title, sentence and table of text of the chart of a table."""
        sentence, by_year = self.describe(table)
        text_table = {"title": by_year.title, "columns": by_year.columns, "rows": by_year.rows}
        return {"title": self.title.format_map(table), "sentence": sentence, "table": text_table}


PRICE_CHART = InteractiveChart("price", "{ticker}: {price_name} and positions", ("price",), describe_price)
TRADES_CHART = InteractiveChart("trades", "Trades", (), describe_trades)
PROBABILITY_CHART = InteractiveChart(
    "probability", "Forecast probability of up", ("probability", "base_rate", "up"), describe_probability
)
EQUITY_CHART = InteractiveChart(
    "equity", "Growth of 1 (log scale)", ("net_equity", "gross_equity", "benchmark_equity"), describe_equity
)
DRAWDOWN_CHART = InteractiveChart("drawdown", "Drawdown", ("net_drawdown", "benchmark_drawdown"), describe_drawdown)
TIME_CHARTS = (PRICE_CHART, TRADES_CHART, PROBABILITY_CHART, EQUITY_CHART, DRAWDOWN_CHART)
"""In the order of the page."""
POSITION_COLUMNS, TRADE_COLUMNS = ("weight", "cost", "net_return"), ("size", "return", "cost", "profit")


def position_table(context: PageContext, ticker_index: int) -> Table:
    """Return a ticker's position from each fill to the next: weight, return and cost as fractions of equity."""
    result = context.run_data.result
    return {
        "dates": result.fill_dates[:-1],
        "weight": result.weight[:, ticker_index],
        "cost": result.ticker_cost[:, ticker_index],
        "net_return": result.ticker_gross_return[:, ticker_index] - result.ticker_cost[:, ticker_index],
    }


def probability_table(context: PageContext, ticker_index: int) -> Table:
    """Return a ticker's forecasts by the session at whose close they were made, with base rate and outcome."""
    forecasts = context.run_data.forecasts
    is_own = forecasts.ticker == ticker_index
    names = ("probability", "base_rate", "up")
    return {
        "ticker": forecasts.tickers[ticker_index],
        "dates": forecasts.sessions[forecasts.session[is_own]],
        **{name: getattr(forecasts, name)[is_own] for name in names},
    }


@dataclass
class ArrayBytes:
    """Arrays one after the other as little-endian bytes; each begins at a multiple of four.

    Each is described by its type in JavaScript, its first byte and its length.
    """

    content: bytearray = field(default_factory=bytearray)

    def add(self, values: npt.NDArray[Any], type_name: str) -> dict[str, Any]:
        """Append an array, and return its description."""
        place = {"type": type_name, "start": len(self.content), "length": len(values)}
        self.content += values.tobytes()
        self.content += bytes(-len(self.content) % 4)
        return place

    def add_positions(self, positions: npt.NDArray[Any]) -> dict[str, Any]:
        """Append whole numbers as int32."""
        return self.add(positions.astype("<i4"), "int32")

    def add_column(self, values: Array, name: str) -> dict[str, Any]:
        """Append a column as float32, or as int16 with the `step` that one is worth, -32,768 where undefined."""
        if name in FLOAT32_COLUMNS:
            return self.add(values.astype("<f4"), "float32")
        is_known = np.isfinite(values)
        step = max(float(np.abs(values, where=is_known, out=np.zeros(len(values))).max(initial=0.0)), 1e-300) / 32_767
        steps = np.rint(values / step, where=is_known, out=np.full(len(values), -32_768.0))
        return {**self.add(steps.astype("<i2"), "int16"), "step": step}

    def add_columns_on_dates(self, table: Table, names: Iterable[str], dates: pd.DatetimeIndex) -> dict[str, Any]:
        """Append columns of a table with one value for each of `dates`, NaN where the table has no such date."""
        positions, columns = dates.get_indexer(table["dates"]), dict[str, Any]()
        for name in names:
            values = np.full(len(dates), np.nan)
            values[positions] = table[name]
            columns[name] = self.add_column(values, name)
        return columns

    def to_text(self) -> str:
        """Return the bytes compressed by zlib as base64."""
        return b64encode(zlib.compress(self.content, COMPRESSION_LEVEL)).decode("ascii")


def interactive_data(context: PageContext, *, only_ticker: str | None = None) -> dict[str, Any]:
    """Return what the charts of a run need, for JSON: of the tickers that fit, or of a single one.

    Arrays are in `numbers` (see `ArrayBytes.to_text`), of the run and of each ticker, and described elsewhere by their
    place in it. Keys are `dates` (days since 1970), `columns` by name, each with one value per date, `charts` with
    title, sentence and table, `benchmark` (a name), `ticker_names` of all tickers that have forecasts, `tickers`, each
    with such columns and charts of its own, with its trades and with the contributions of its features,
    `contributions_text`, what these are, or why there are none, and `remark` on what is left out. Tickers are in the
    config's order.
    """
    forecasts, result = context.run_data.forecasts, context.run_data.result
    dates = result.fill_dates.union(forecasts.sessions[np.unique(forecasts.session)])
    names, growth, arrays = context.forecast_tickers, growth_table(context), ArrayBytes()
    indices = [forecasts.tickers.index(name) for name in ([only_ticker] if only_ticker else names)]
    days = arrays.add_positions(dates.to_numpy().astype("datetime64[D]").astype(np.int64))
    run_charts = (EQUITY_CHART, DRAWDOWN_CHART)
    columns = [arrays.add_columns_on_dates(growth, chart.columns, dates) for chart in run_charts]
    numbers = arrays.to_text()
    tickers, has_contributions = _tickers_that_fit(context, indices, dates, max_chars=MAX_DATA_CHARS - len(numbers))
    remarks = [f"the first {len(tickers)} of {len(names)} tickers are here"] if len(tickers) < len(indices) else []
    remarks += [] if has_contributions else ["contributions of the features are left out"]
    return {
        "numbers": numbers,
        "dates": days,
        "columns": columns[0] | columns[1],
        "charts": {chart.key: chart.texts(growth) for chart in run_charts},
        "benchmark": growth["benchmark_name"],
        "ticker_names": names,
        "tickers": tickers,
        "contributions_text": contributions_text(context) if has_contributions else "",
        "remark": f"To keep the page small, {' and '.join(remarks)}." if remarks else "",
    }


def contributions_text(context: PageContext) -> str:
    """Return what the contributions of the features are, or why there are none."""
    forecasts = context.run_data.forecasts
    if not LogOddsContributions(context.run_data.dataset, forecasts).columns:
        return no_coefficients_text(context)
    if isinstance(forecasts, SelectedForecasts) and forecasts.selection.spec.how == "mixture":
        return "Contributions to the log odds of the candidates, weighted mean"
    return "Contributions to the log odds, from the mean of the training rows"


def _tickers_that_fit(
    context: PageContext, ticker_indices: Sequence[int], dates: pd.DatetimeIndex, *, max_chars: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return as many tickers as fit, one at least, and whether with contributions, which are left out if none fits."""
    data = context.run_data
    for contributions in (LogOddsContributions(data.dataset, data.forecasts), None):
        tickers, n_left = list[dict[str, Any]](), max_chars
        for ticker_index in ticker_indices[:MAX_TICKERS]:
            ticker = _ticker_data(context, ticker_index, dates, contributions)
            n_left -= len(ticker["numbers"])
            if n_left < 0 and (tickers or contributions):
                break
            tickers.append(ticker)
        if tickers:
            break
    return tickers, contributions is not None


def _ticker_data(
    context: PageContext, ticker_index: int, dates: pd.DatetimeIndex, contributions: LogOddsContributions | None
) -> dict[str, Any]:
    """Return the columns, charts, trades and contributions of one ticker."""
    arrays, name = ArrayBytes(), context.run_data.forecasts.tickers[ticker_index]
    trades = context.trades[context.trades["ticker"] == name]
    prices = price_panel_table(context, ticker_index, trades)
    forecasts, positions = probability_table(context, ticker_index), position_table(context, ticker_index)
    columns = arrays.add_columns_on_dates(prices, PRICE_CHART.columns, dates)
    columns |= arrays.add_columns_on_dates(forecasts, PROBABILITY_CHART.columns, dates)
    columns |= arrays.add_columns_on_dates(positions, POSITION_COLUMNS, dates)
    by_feature = dict[str, Any]()
    if contributions is not None:
        values = contributions.of_ticker(ticker_index)
        table = {"dates": forecasts["dates"], **dict(zip(contributions.columns, values.T, strict=True))}
        by_feature = arrays.add_columns_on_dates(table, contributions.columns, dates)
    tables = {"trades": {"trades": trades, "ticker": name}, "price": prices, "probability": forecasts}
    return {
        "ticker": name,
        "price_name": prices["price_name"],
        "columns": columns,
        "charts": {chart.key: chart.texts(tables[chart.key]) for chart in TIME_CHARTS if chart.key in tables},
        "trades": _trade_columns(trades, dates, arrays),
        "contributions": by_feature,
        "numbers": arrays.to_text(),
    }


def _trade_columns(trades: pd.DataFrame, dates: pd.DatetimeIndex, arrays: ArrayBytes) -> dict[str, Any]:
    """Return the trades of a ticker as columns: positions of entry and exit among the dates, and their numbers.

    The exit of an open trade is the last date. `size` is negative for a short trade.
    """
    entry, exit_ = (dates.get_indexer(pd.DatetimeIndex(trades[name].fillna(dates[-1]))) for name in ("entry", "exit"))
    sign = np.where(trades["side"] == "long", 1.0, -1.0)
    table = trades.assign(size=trades["size"] * sign)
    columns = {"entry": arrays.add_positions(entry), "exit": arrays.add_positions(exit_)}
    return columns | {name: arrays.add_column(table[name].to_numpy(float), name) for name in TRADE_COLUMNS}


def json_for_html(value: Any) -> str:
    """Return JSON that can stand in a script element of a page: it contains no ``<``."""
    return json.dumps(nonfinite_to_none(value), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
