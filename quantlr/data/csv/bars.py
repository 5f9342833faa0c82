"""Bars of the wanted tickers from the content of a price file: `read_bars` is the entry of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import compute

from quantlr.core.values import Array, Note
from quantlr.data.csv.layouts import BAR_FIELDS, NO_TICKER, TableLayout, detect_layout
from quantlr.data.csv.parsing import DateArray, blank_cell_mask, cells_to_text, parse_dates, parse_numbers
from quantlr.data.csv.raw_table import CellTable, read_raw_table, source_path_error
from quantlr.data.ticker_list import closest_ticker, match_ticker, require_known_tickers

BarFrame = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume.

Bars from a file have two more columns: `line`, the line of each row, and `utc_offset`, the minutes ahead of UTC that
its time is written in (NaN if no zone is written).
"""

PRICE_FIELDS = ("open", "high", "low", "close", "adj_close")


def read_bars(content: bytes, *, path: Path, tickers: Sequence[str]) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return the bars of the wanted tickers in a file, and notes on rows that are not bars of theirs.

    Parameters
    ----------
    content, path : the file's bytes, and its path for messages.
    tickers : the tickers wanted; a file without tickers holds the only one that is wanted.

    Raises
    ------
    DataError : a ticker is not in the file, or a cell can't be read; the text names its line.
    """
    raw_table = read_raw_table(content, path=path)
    layout = detect_layout(raw_table)
    table, notes = _drop_blank_rows(raw_table.read_cells(n_header_lines=layout.n_header_lines), layout)
    _require_daily_bars(table, layout)
    if NO_TICKER in layout.field_columns_by_ticker:
        return _long_table_to_bars_by_ticker(table, layout, tickers), notes
    tickers_in_file = list(layout.field_columns_by_ticker)
    known = any(match_ticker(ticker, tickers_in_file) or closest_ticker(ticker, tickers_in_file) for ticker in tickers)
    if not known and layout.n_header_lines == 1:
        text = f"{path} has no column of closes ('Close'), nor one named {tickers[0]}, it has: "
        raise source_path_error(text + ", ".join(raw_table.first_lines[0]))
    require_known_tickers(tickers, tickers_in_file, str(path))
    bars = _wide_table_to_bars_by_ticker(table, layout, tickers)
    n_outside = sum(len(table) - len(frame) for frame in bars.values())
    if n_outside:
        text = f"{path.name} has rows before a ticker's first price or after its last, which hold no bar of it"
        notes.append(Note("data", text, count=n_outside))
    return bars, notes


def _drop_blank_rows(table: CellTable, layout: TableLayout) -> tuple[CellTable, list[Note]]:
    """Return the table without rows of blank cells only, which spreadsheets write, and a note on them."""
    if not len(table):
        raise source_path_error(f"{table.path} has a header line and no rows; needed prices")
    blank = blank_cell_mask(table.columns[layout.date_column])
    for column in table.columns if blank.any() else ():
        blank = blank & blank_cell_mask(column)
    if not blank.any():
        return table, []
    text = f"{table.path.name} has rows without anything in them, which hold no bar"
    return table.filter(~blank), [Note("data", text, count=int(blank.sum()))]


def _require_daily_bars(table: CellTable, layout: TableLayout) -> None:
    """Raise an error if the file states that a bar is not one day long."""
    if layout.period_column is None:
        return
    periods = cells_to_text(table.columns[layout.period_column])
    row = compute.index(compute.not_equal(periods, "D"), value=True).as_py()
    if row >= 0:
        reason = f"needed daily bars ('D'), found {periods[row].as_py()!r}; give the daily file"
        raise table.cell_error(layout.period_column, row, reason)


def _long_table_to_bars_by_ticker(table: CellTable, layout: TableLayout, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return the bars of a file that has one row per bar."""
    fields = layout.field_columns_by_ticker[NO_TICKER]
    if layout.ticker_column is None:
        if len(tickers) > 1:
            text = f"{table.path} has no ticker column, so it can hold one ticker"
            advice = "add a column 'ticker', or give a folder with one file per ticker"
            raise source_path_error(f"{text}, and data.tickers names {len(tickers)}; {advice}")
        return {tickers[0]: _to_bar_frame(table, layout, fields, *parse_dates(table, layout.date_column))}
    encoded = compute.dictionary_encode(cells_to_text(table.columns[layout.ticker_column]))
    code_by_ticker = {ticker: code for code, ticker in enumerate(encoded.dictionary.to_pylist())}
    require_known_tickers(tickers, list(code_by_ticker), str(table.path))
    wanted = np.array([code_by_ticker[str(match_ticker(ticker, code_by_ticker))] for ticker in tickers])
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    keep = np.isin(codes, wanted)
    table, codes = table.filter(keep), codes[keep]
    frame = _to_bar_frame(table, layout, fields, *parse_dates(table, layout.date_column))
    order = np.argsort(codes, kind="stable")
    starts, stops = (np.searchsorted(codes[order], wanted, side=side) for side in ("left", "right"))
    rows_by_ticker = zip(tickers, starts, stops, strict=True)
    return {ticker: frame.iloc[order[start:stop]] for ticker, start, stop in rows_by_ticker}


def _wide_table_to_bars_by_ticker(table: CellTable, layout: TableLayout, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return bars by ticker, from each ticker's first price to its last."""
    columns_by_ticker = layout.field_columns_by_ticker
    dates, utc_offsets = parse_dates(table, layout.date_column)
    bars: dict[str, BarFrame] = {}
    for ticker in tickers:
        columns = columns_by_ticker[str(match_ticker(ticker, columns_by_ticker))]
        frame = _to_bar_frame(table, layout, columns, dates, utc_offsets)
        priced = np.flatnonzero(frame[list(PRICE_FIELDS)].notna().any(axis=1))
        bars[ticker] = frame.iloc[priced[0] : priced[-1] + 1] if len(priced) else frame.iloc[:0]
    return bars


def _to_bar_frame(
    table: CellTable, layout: TableLayout, columns: Mapping[str, int], dates: DateArray, utc_offsets: Array
) -> BarFrame:
    """Return all rows as bars; the close is the adjusted close if there is no other, other missing fields are NaN."""
    prefixes = dict.fromkeys(PRICE_FIELDS, layout.price_prefix)
    fields = {name: parse_numbers(table, index, prefix=prefixes.get(name, "")) for name, index in columns.items()}
    if "close" not in fields:
        fields["close"] = fields["adj_close"]
    values = {name: fields.get(name, np.full(len(table), np.nan)) for name in BAR_FIELDS}
    index = pd.DatetimeIndex(dates, name="date")
    return pd.DataFrame({**values, "line": table.line_numbers, "utc_offset": utc_offsets}, index=index)
