"""Interactive charts of a run: price with positions, probability, equity and drawdown on one time axis.

They are drawn in the browser by BokehJS, whose scripts the wheel of Bokeh contains. Python reads these files and never
imports Bokeh, which would take longer than a run's calculations. The numbers are those of the tables of the pages.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantlr.core.errors import Fault
from quantlr.core.values import Array
from quantlr.model.contributions import log_odds_contributions
from quantlr.report.context import PageContext
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.report.pages.holdings import price_panel_table
from quantlr.report.pages.layout import Table
from quantlr.report.pages.tearsheet import growth_table
from quantlr.report.style import count_text, growth_text, number_text, percent_text
from quantlr.report.summary import TextTable

TEMPLATES_DIR = Path(__file__).with_name("templates")
BOKEH_SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")
FLOAT32_COLUMNS = ("price", "net_equity", "gross_equity", "benchmark_equity")
"""Columns with seven digits; others are whole multiples of a 32,767th of their largest absolute value."""
MAX_DATA_BYTES = 480_000
"""Bytes of all columns before they become text; further features and tickers are left out."""
MAX_TICKERS = 30
"""Tickers that a page contains."""


@dataclass(frozen=True, slots=True)
class InteractiveChart:
    """One chart of the time axis that all share.

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


def price_with_positions_table(context: PageContext, ticker_index: int) -> Table:
    """Return a ticker's price and trades (see `price_panel_table`)."""
    data, trades = context.run_data, context.trades
    ticker = data.forecasts.tickers[ticker_index]
    trades, fill = trades[trades["ticker"] == ticker], context.config.execution.fill
    return price_panel_table(data.result, ticker_index, trades, name=ticker, fill=fill)


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
    dates, price, kind = table["dates"], table["price"], table["price_kind"]
    if not len(price):
        return f"{table['ticker']} was not traded.", TextTable("Price and positions by year", (), ())
    first, last, low, high = map(partial(number_text, decimals=2), (price[0], price[-1], price.min(), price.max()))
    n_round_trips = {side: len(table[side]) for side in ("long", "short")}
    sentence = (
        f"{table['ticker']}, adjusted {kind}: {first} at the first fill, {last} at the end, between {low} and {high}; "
        f"{count_text(n_round_trips['long'], 'long trade')}, {count_text(n_round_trips['short'], 'short trade')}."
    )
    held: dict[str, Array] = {}
    for side in n_round_trips:
        entry, exit_ = (np.sort(table[side][column].to_numpy()) for column in ("entry", "exit"))
        days = dates.to_numpy()
        held[side] = np.searchsorted(entry, days, side="right") > np.searchsorted(exit_, days, side="right")
    columns = {f"last {kind}": (price, partial(_last, write=number_text))}
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


PRICE_CHART = InteractiveChart("price", "Adjusted {price_kind} and positions", ("price",), describe_price)
PROBABILITY_CHART = InteractiveChart(
    "probability", "Forecast probability of up", ("probability", "base_rate", "up"), describe_probability
)
EQUITY_CHART = InteractiveChart(
    "equity", "Growth of 1 (log scale)", ("net_equity", "gross_equity", "benchmark_equity"), describe_equity
)
DRAWDOWN_CHART = InteractiveChart("drawdown", "Drawdown", ("net_drawdown", "benchmark_drawdown"), describe_drawdown)
POSITION_COLUMNS = ("weight", "cost", "net_return")
RUN_BYTES_PER_DATE, TICKER_BYTES_PER_DATE, FEATURE_BYTES_PER_DATE = 4 + 3 * 4 + 2 * 2, 1 * 4 + 6 * 2, 2
"""Bytes for each date: those of the date and of the run's columns, of a ticker's columns, of a contribution."""


def interactive_data(context: PageContext) -> dict[str, Any]:
    """Return what the charts of a run need, for JSON; arrays are base64 of little-endian numbers.

    Keys are `dates` (days since 1970), `columns` by name, each with one value per date, `charts` with title, sentence
    and table, `benchmark` (a name), `tickers`, each with such columns and charts of its own, with the dates of its
    trades and with the contributions of its features, and `remark` on what is left out. Tickers are in the config's
    order.
    """
    forecasts, result = context.run_data.forecasts, context.run_data.result
    dates = result.fill_dates.union(forecasts.sessions[np.unique(forecasts.session)])
    indices = np.unique(forecasts.ticker).tolist()
    max_bytes_per_date = MAX_DATA_BYTES // len(dates) - RUN_BYTES_PER_DATE
    n_shown = max(1, min(len(indices), MAX_TICKERS, max_bytes_per_date // TICKER_BYTES_PER_DATE))
    bytes_with_contributions = TICKER_BYTES_PER_DATE + FEATURE_BYTES_PER_DATE * len(forecasts.refits.columns)
    has_room = n_shown * bytes_with_contributions <= max_bytes_per_date
    growth = growth_table(context)
    tickers = [_ticker_data(context, index, dates, has_contributions=has_room) for index in indices[:n_shown]]
    remarks = [f"the first {n_shown} of {len(indices)} tickers are here"] if n_shown < len(indices) else []
    remarks += [] if has_room else ["contributions of the features are left out"]
    return {
        "dates": _encode(dates.to_numpy().astype("datetime64[D]").astype("<i4")),
        **_charts_and_columns(((EQUITY_CHART, growth), (DRAWDOWN_CHART, growth)), dates),
        "benchmark": growth["benchmark_name"],
        "tickers": tickers,
        "remark": f"To keep the page small, {' and '.join(remarks)}." if remarks else "",
    }


def _ticker_data(
    context: PageContext, ticker_index: int, dates: pd.DatetimeIndex, *, has_contributions: bool
) -> dict[str, Any]:
    """Return the columns, charts, trades and contributions of one ticker."""
    data, prices = context.run_data, price_with_positions_table(context, ticker_index)
    forecasts = probability_table(context, ticker_index)
    charts_and_columns = _charts_and_columns(((PRICE_CHART, prices), (PROBABILITY_CHART, forecasts)), dates)
    charts_and_columns["columns"] |= _columns_on_dates(position_table(context, ticker_index), POSITION_COLUMNS, dates)
    contributions = {}
    if has_contributions:
        values = log_odds_contributions(data.dataset, data.forecasts, ticker_index)
        names = data.forecasts.refits.columns[: values.shape[1]]
        table = {"dates": forecasts["dates"], **dict(zip(names, values.T, strict=True))}
        contributions = _columns_on_dates(table, names, dates)
    return {
        "ticker": prices["ticker"],
        "price_kind": prices["price_kind"],
        **charts_and_columns,
        "trades": {side: [_milliseconds(prices[side][end]) for end in ("entry", "exit")] for side in ("long", "short")},
        "contributions": contributions,
    }


def _charts_and_columns(
    charts_with_tables: Sequence[tuple[InteractiveChart, Table]], dates: pd.DatetimeIndex
) -> dict[str, Any]:
    """Return title, sentence and table of some charts by key, and their columns by name."""
    charts, columns = dict[str, Any](), dict[str, Any]()
    for chart, table in charts_with_tables:
        sentence, by_year = chart.describe(table)
        columns |= _columns_on_dates(table, chart.columns, dates)
        text_table = {"title": by_year.title, "columns": by_year.columns, "rows": by_year.rows}
        charts[chart.key] = {"title": chart.title.format_map(table), "sentence": sentence, "table": text_table}
    return {"charts": charts, "columns": columns}


def _columns_on_dates(table: Table, names: Sequence[str], dates: pd.DatetimeIndex) -> dict[str, Any]:
    """Return columns with one value per date: float32, NaN where undefined; or int16 with the size of a step.

    The int16 is -32,768 where a value is undefined.
    """
    positions, columns = dates.get_indexer(table["dates"]), dict[str, Any]()
    for name in names:
        values = np.full(len(dates), np.nan)
        values[positions] = table[name]
        if name in FLOAT32_COLUMNS:
            columns[name] = {"float32": _encode(values.astype("<f4"))}
            continue
        is_known = np.isfinite(values)
        step = max(float(np.abs(values, where=is_known, out=np.zeros(len(dates))).max()), 1e-300) / 32_767
        steps = np.rint(values / step, where=is_known, out=np.full(len(dates), -32_768.0))
        columns[name] = {"int16": _encode(steps.astype("<i2")), "step": step}
    return columns


def _encode(values: npt.NDArray[Any]) -> str:
    return b64encode(values.tobytes()).decode("ascii")


def _milliseconds(dates: pd.Series[Any]) -> list[int]:
    return [int(value) for value in dates.to_numpy().astype("datetime64[ms]").astype(np.int64)]


def json_for_html(value: Any) -> str:
    """Return JSON that can stand in a script element of a page: it contains no ``<``."""
    return json.dumps(nonfinite_to_none(value), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


@cache
def interactive_scripts() -> tuple[str, ...]:
    """Return the scripts that draw interactive charts, in the order in which a page contains them.

    Raises
    ------
    Fault : Bokeh is not installed, or without its scripts.
    """
    package = find_spec("bokeh")  # which does not import it
    folders = [Path(folder) for folder in (package.submodule_search_locations or ())] if package else []
    paths = [folder / "server" / "static" / "js" / name for folder in folders[:1] for name in BOKEH_SCRIPTS]
    try:
        scripts = tuple(path.read_text(encoding="utf-8") for path in (*paths, TEMPLATES_DIR / "interactive.js"))
    except OSError as error:
        raise Fault(f"{error.filename}: {error.strerror}; install Bokeh again: pip install bokeh") from error
    if not paths:
        raise Fault("the scripts of interactive charts are missing; install Bokeh: pip install bokeh")
    return scripts


@cache
def script_policy(scripts: tuple[str, ...]) -> str:
    """Return the sources that a content security policy has to allow for scripts: the hash of each."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return " ".join(f"'sha256-{b64encode(digest).decode('ascii')}'" for digest in digests)


@dataclass(frozen=True, slots=True)
class InteractivePart:
    """What a page with interactive charts contains.

    Attributes
    ----------
    texts : title, sentence and table of each chart by key, of the first ticker.
    json : `interactive_data` as the text of a script element; empty where the data come later.
    scripts : `interactive_scripts`, and those of the page.
    script_policy : the sources that its content security policy has to allow.
    """

    texts: dict[str, Any]
    json: str
    scripts: tuple[str, ...]
    script_policy: str

    @classmethod
    def from_context(cls, context: PageContext) -> InteractivePart:
        """Return the interactive part of a run's page."""
        data = interactive_data(context)
        texts = {**data["tickers"][0]["charts"], **data["charts"]}
        scripts = interactive_scripts()
        return cls(texts, json_for_html(data), scripts, script_policy(scripts))

    @classmethod
    def without_data(cls, *other_scripts: str) -> InteractivePart:
        """Return the part of a page whose data come later, drawn by a script of the page's own."""
        table = TextTable("", (), ())
        keys = [chart.key for chart in (PRICE_CHART, PROBABILITY_CHART, EQUITY_CHART, DRAWDOWN_CHART)]
        texts = {key: {"title": "", "sentence": "", "table": table} for key in keys}
        scripts = (*interactive_scripts(), *other_scripts)
        return cls(texts, "", scripts, script_policy(scripts))
