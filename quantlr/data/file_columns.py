"""Columns of the tickers' own files beside the prices, and the date from which each of their values is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.known_series import DateArray, FileColumn, KnownSeries
from quantlr.core.timing import Market
from quantlr.data.csv.reader import BarFrame
from quantlr.data.markets import MarketSources
from quantlr.data.price_rows import PriceRows
from quantlr.data.series import first_known_dates, observations_from_values, require_order_in_time

KEY = "features"


def load_file_columns(
    columns: Sequence[FileColumn],
    bars: Mapping[str, BarFrame],
    rows: PriceRows,
    markets: Mapping[str, Market],
    sources: MarketSources,
    *,
    start: dt.date | None,
    end: dt.date | None,
) -> tuple[KnownSeries, ...]:
    """Return the columns of each traded ticker's file as series, with the dates from which their values are known.

    Parameters
    ----------
    columns : the columns.
    bars : of each ticker, as its source returns them.
    rows : all rows of these bars in their order, with the date of their session.
    markets : the market of each traded ticker.
    sources : what is stated about the hours of the markets.
    start, end : the dates used, both included; None leaves that side open.

    Raises
    ------
    DataError : the source has no such column, the column has no order in time, or a market is needed and not known.
    """
    hours_by_market = {market.name: sources.hours(ticker) for ticker, market in markets.items()}
    all_series = []
    for ticker, market in markets.items():
        date = rows.date[rows.ticker_index == rows.tickers.index(ticker)]
        is_used = (date >= np.datetime64(start or dt.date.min)) & (date <= np.datetime64(end or dt.date.max))
        for column in columns:
            name = f"{ticker}: {column.name}"
            values = _values_of_column(bars[ticker], column, ticker)
            observations = observations_from_values(date[is_used], values[is_used], column.known)
            if len(observations.date):
                require_order_in_time(name, observations, key=KEY)
            known: dict[str, DateArray] = {}
            for market_name, hours in hours_by_market.items():
                own_hours = hours if market_name == market.name else hours_by_market[market.name]
                is_compared = market_name == market.name or None not in (hours, own_hours)
                rule = column.known if column.known != "same_close" or is_compared else "next_session"
                known[market_name] = first_known_dates(name, rule, observations, hours, own_hours)
            all_series.append(
                KnownSeries(
                    name, observations.date, observations.value, known[market.name], known, ticker=ticker, column=column
                )
            )
    return tuple(all_series)


def _values_of_column(bars: BarFrame, column: FileColumn, ticker: str) -> pd.DataFrame:
    """Return the values and releases of a column, as `parse_released_values` names them."""
    found = bars.loc[:, [str(heading).startswith(column.column_prefix) for heading in bars.columns]]
    if found.empty and not len(found.columns):
        text = f"the source of {ticker} has prices and no column {column.name!r}"
        raise DataError(f"{text}; give its prices as a file, or the column as data.series", key=KEY)
    return found.rename(columns=lambda heading: str(heading).removeprefix(column.column_prefix))
