"""Bars from price files: the rows of each ticker, read by the file's layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError, did_you_mean_text
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.core.known_series import DateArray
from quantlr.core.values import Array, Note
from quantlr.data.csv.formats import read_raw_table
from quantlr.data.csv.headings import BAR_FIELDS
from quantlr.data.csv.layouts import (
    COLUMNS_ADVICE,
    NO_TICKER,
    TableLayout,
    detect_table_layout,
    headings_text,
    named_columns_layout,
)
from quantlr.data.csv.numbers import decide_decimal_mark, parse_numbers
from quantlr.data.csv.raw_table import (
    DATE_DTYPE,
    CellTable,
    RawTable,
    ReadingOptions,
    blank_cell_mask,
    cells_to_text,
    parse_dates,
    source_path_error,
)
from quantlr.data.ticker_list import find_matching_ticker, require_known_tickers

BarFrame = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume.

Bars from a file have two more columns: `line`, the line of each row, and `utc_offset`, the minutes ahead of UTC that
its time is written in (NaN if no zone is written); and those of `parse_released_values` of each column beside the
prices that is asked for, with `FileColumn.column_prefix` before their names.
"""

PRICE_FIELDS = ("open", "high", "low", "close", "adj_close")


def read_bars(
    content: bytes, *, path: Path, tickers: Sequence[str], options: ReadingOptions | None = None
) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return the bars of the wanted tickers in a file, and notes on rows that are not bars of theirs.

    Parameters
    ----------
    content, path : the file's bytes, and its path for messages.
    tickers : the tickers wanted; a file without tickers holds the only one that is wanted.
    options : how the file is to be read, where its content does not show it.

    Raises
    ------
    DataError : a ticker is not in the file, or a cell can't be read; the text names its line.
    """
    options = options or ReadingOptions()
    with _table_errors(path):
        return bars_from_raw_table(read_raw_table(content, path=path, options=options), tickers, options)


def read_tickers(content: bytes, *, path: Path, options: ReadingOptions) -> list[str] | None:
    """Return the tickers of a file in their order, None if it names none; errors are those of `read_bars`."""
    with _table_errors(path):
        return tickers_of_raw_table(read_raw_table(content, path=path, options=options), options)


@contextmanager
def _table_errors(path: Path) -> Iterator[None]:
    """Turn what a library raises about a file into an error with its path."""
    try:
        with library_errors_translated("a table of prices"):
            yield
    except UnreadableContentError as error:
        raise source_path_error(f"{path}: {error}; write the file again, as CSV of dates and closes") from error


def read_layout_and_table(raw_table: RawTable, options: ReadingOptions) -> tuple[TableLayout, CellTable, list[Note]]:
    """Return the layout of a table, its cells, whose decimal mark may be open, and notes on what was left out."""
    layout = named_columns_layout(raw_table, options) if options.columns else detect_table_layout(raw_table)
    table = raw_table.read_cell_table(n_header_lines=layout.n_header_lines, options=options)
    table = replace(table, date_format=table.date_format or layout.date_format)
    table, notes = _drop_blank_rows(table, layout)
    return layout, table, [*raw_table.notes, *notes]


def tickers_of_raw_table(raw_table: RawTable, options: ReadingOptions) -> list[str] | None:
    """Return the tickers of a table in their order, None if neither rows nor columns belong to tickers."""
    layout, table, _ = read_layout_and_table(raw_table, options)
    if NO_TICKER not in layout.column_indices_by_ticker:
        return list(layout.column_indices_by_ticker)
    if layout.ticker_column_index is None:
        return None
    return _row_tickers(table, layout.ticker_column_index).unique().tolist()


def _row_tickers(table: CellTable, column_index: int) -> pd.Series[str]:
    """Return the ticker of each row, without the apostrophe that marks a number as text in a spreadsheet."""
    with table.column_errors(column_index, needed="tickers"):
        return cells_to_text(table.cells.iloc[:, column_index]).str.removeprefix("'")


def bars_from_raw_table(
    raw_table: RawTable, tickers: Sequence[str], options: ReadingOptions
) -> tuple[dict[str, BarFrame], list[Note]]:
    """Return the bars of the wanted tickers in a table, and notes; see `read_bars`."""
    path = raw_table.path
    layout, table, notes = read_layout_and_table(raw_table, options)
    _require_daily_bars(table, layout)
    _require_unambiguous_close(raw_table, layout, tickers, options)
    positions = _file_column_positions(raw_table, layout, options)
    no_numbers = layout.other_columns | {release for _, release in positions.values() if release is not None}
    mark = "." if layout.has_decimal_point and not options.decimal else decide_decimal_mark(table, no_numbers)
    table = replace(table, decimal_mark=mark)
    if NO_TICKER in layout.column_indices_by_ticker:
        bars = _long_table_to_bars_by_ticker(table, layout, tickers, positions)
        return (_unsigned_closes(bars, path, notes) if layout.has_signed_closes else bars), notes
    headings = list(layout.column_indices_by_ticker)
    known = any(find_matching_ticker(name, headings) or did_you_mean_text(name.upper(), headings) for name in tickers)
    if not known and layout.n_header_lines == 1:
        text = f"{path} has no column of closes ('Close'), nor one named {tickers[0]}, it has: "
        raise source_path_error(f"{text}{headings_text(raw_table.first_lines[0])}; {COLUMNS_ADVICE}")
    require_known_tickers(tickers, headings, str(path))
    bars = _wide_table_to_bars_by_ticker(table, layout, tickers)
    n_outside = sum(len(table.cells) - len(frame) for frame in bars.values())
    if n_outside:
        text = f"{path.name} has rows before a ticker's first price or after its last, where this ticker has no bar"
        notes.append(Note("data", text, count=n_outside))
    return bars, notes


def _file_column_positions(
    raw_table: RawTable, layout: TableLayout, options: ReadingOptions
) -> dict[str, tuple[int, int | None]]:
    """Return by prefix the position of each column beside the prices that is asked for, and of its releases."""
    if options.file_columns and (NO_TICKER not in layout.column_indices_by_ticker or layout.n_header_lines != 1):
        text = f"{raw_table.path} has no row for each bar under one header line, so that no column belongs to a ticker"
        raise DataError(f"{text}; rewrite it so, or read the column as data.series", key="features")
    positions = {}
    for column in options.file_columns:
        value, *release = raw_table.column_positions(column.headings, key="features")
        positions[column.column_prefix] = (value, release[0] if release else None)
    return positions


def _require_unambiguous_close(
    raw_table: RawTable, layout: TableLayout, tickers: Sequence[str], options: ReadingOptions
) -> None:
    """Raise an error if a column may hold closes by its heading, and another is named like a wanted ticker."""
    if layout.n_header_lines != 1 or layout.ticker_column_index is not None or options.columns:
        return
    fields = layout.column_indices_by_ticker.get(NO_TICKER, {})
    others = [cell.strip() for index, cell in enumerate(raw_table.first_lines[0]) if index not in fields.values()]
    named = next((ticker for ticker in tickers if ticker in others), None)
    if fields and named:
        close = raw_table.first_lines[0][fields.get("close", fields.get("adj_close", 0))]
        text = f"{raw_table.path} has a column of closes, {close!r}, and one named {named}"
        raise source_path_error(f"{text}; name the one that holds its closes: data.source.columns: {{close: {named}}}")


def _unsigned_closes(bars: Mapping[str, BarFrame], path: Path, notes: list[Note]) -> dict[str, BarFrame]:
    """Return bars with closes without their sign, NaN where CRSP has none (0), and add a note on those that had one."""
    n_signed = sum(int((frame["close"] < 0).sum()) for frame in bars.values())
    if n_signed:
        text = (
            f"{path.name} has negative closes, with which CRSP marks an average of bid and ask on a day without a trade"
        )
        notes.append(Note("data", f"{text}; read as that average", count=n_signed))
    return {ticker: frame.assign(close=frame["close"].abs().replace(0.0, np.nan)) for ticker, frame in bars.items()}


def _drop_blank_rows(table: CellTable, layout: TableLayout) -> tuple[CellTable, list[Note]]:
    """Return the table without rows of blank cells only, which spreadsheets write, and a note on them."""
    with table.column_errors(layout.date_column_index, needed="dates"):
        blank = blank_cell_mask(table.cells.iloc[:, layout.date_column_index])
    for _, column in table.cells.items() if blank.any() else ():
        blank = blank & blank_cell_mask(column)
    if blank.all():
        raise source_path_error(f"{table.path} has a header line and no rows; needed prices")
    if not blank.any():
        return table, []
    text = f"{table.path.name} has rows without anything in them, which hold no bar"
    return replace(table, cells=table.cells[~blank]), [Note("data", text, count=int(blank.sum()))]


def _require_daily_bars(table: CellTable, layout: TableLayout) -> None:
    """Raise an error if the file states that a bar is not one day long."""
    if layout.period_column_index is None:
        return
    periods = cells_to_text(table.cells.iloc[:, layout.period_column_index])
    if (periods != "D").any():
        row = int((periods != "D").argmax())
        reason = f"needed daily bars ('D'), found {periods.iloc[row]!r}; give the daily file"
        raise table.cell_error(layout.period_column_index, row, reason)


def _long_table_to_bars_by_ticker(
    table: CellTable,
    layout: TableLayout,
    tickers: Sequence[str],
    positions: Mapping[str, tuple[int, int | None]],
) -> dict[str, BarFrame]:
    """Return the bars of a file that has one row per bar, with the columns beside the prices at these positions."""
    if layout.ticker_column_index is None:
        if len(tickers) > 1:
            text = f"{table.path} has no ticker column, so it can hold one ticker"
            advice = "add a column 'ticker', or give a folder with one file per ticker"
            raise source_path_error(f"{text}, and data.tickers names {len(tickers)}; {advice}")
        return {tickers[0]: _long_table_to_frame(table, layout, positions)}
    row_tickers = _row_tickers(table, layout.ticker_column_index)
    tickers_in_file = row_tickers.unique().tolist()
    require_known_tickers(tickers, tickers_in_file, str(table.path))
    name_by_ticker = {ticker: str(find_matching_ticker(ticker, tickers_in_file)) for ticker in tickers}
    keep = row_tickers.isin(name_by_ticker.values())
    table = replace(table, cells=table.cells[keep])
    frame = _long_table_to_frame(table, layout, positions)
    rows_by_name = frame.groupby(row_tickers[keep].to_numpy()).indices
    return {ticker: frame.iloc[rows_by_name[name]] for ticker, name in name_by_ticker.items()}


def _long_table_to_frame(
    table: CellTable, layout: TableLayout, positions: Mapping[str, tuple[int, int | None]]
) -> BarFrame:
    fields, dates = layout.column_indices_by_ticker[NO_TICKER], parse_dates(table, layout.date_column_index)
    frame = _to_bar_frame(table, fields, *dates)
    parts = [frame]
    for prefix, (value, release) in positions.items():
        values = parse_released_values(table, value, release, decimal_mark=table.decimal_mark or ".")
        parts.append(values.add_prefix(prefix).set_axis(frame.index))
    return pd.concat(parts, axis=1) if positions else frame


def _wide_table_to_bars_by_ticker(table: CellTable, layout: TableLayout, tickers: Sequence[str]) -> dict[str, BarFrame]:
    """Return bars by ticker, from each ticker's first price to its last."""
    columns_by_ticker = layout.column_indices_by_ticker
    dates, utc_offsets = parse_dates(table, layout.date_column_index)
    bars: dict[str, BarFrame] = {}
    for ticker in tickers:
        columns = columns_by_ticker[str(find_matching_ticker(ticker, columns_by_ticker))]
        if not {"close", "adj_close"} & columns.keys():
            text = f"{table.path} has no column of closes of {ticker}, it has its {', '.join(columns)}"
            raise source_path_error(f"{text}; add its closes, or leave the ticker out")
        frame = _to_bar_frame(table, columns, dates, utc_offsets)
        priced = np.flatnonzero(np.any([frame[name].notna() for name in PRICE_FIELDS], axis=0))
        bars[ticker] = frame.iloc[priced[0] : priced[-1] + 1] if len(priced) else frame.iloc[:0]
    return bars


def _to_bar_frame(
    table: CellTable, column_indices: Mapping[str, int], dates: DateArray, utc_offsets: Array
) -> BarFrame:
    """Return all rows as bars; the close is the adjusted close if there is no other, other missing fields are NaN."""
    mark = table.decimal_mark or "."
    fields = {name: parse_numbers(table, index, decimal_mark=mark) for name, index in column_indices.items()}
    if "close" not in fields:
        fields["close"] = fields["adj_close"]
    values = {name: fields.get(name, np.full(len(table.cells), np.nan)) for name in BAR_FIELDS}
    index = pd.DatetimeIndex(dates, name="date")
    return pd.DataFrame({**values, "line": table.cells.index, "utc_offset": utc_offsets}, index=index)


def parse_released_values(
    table: CellTable, value_index: int, release_index: int | None, *, decimal_mark: str
) -> pd.DataFrame:
    """Return a column of values and that of their releases, one row for each of the table; see `Observations`.

    Its columns are `value`, NaN where there is none; `release`, the dates and times as written, and `release_offset`,
    the minutes ahead of UTC that they are written in, NaN without a time zone. A row without a value needs no release:
    its release is NaT, and so are all where no column of releases is read.

    Raises
    ------
    DataError : naming the line of the first cell that is no number, or no date.
    """
    value = parse_numbers(table, value_index, decimal_mark=decimal_mark)
    release, offset = np.full(len(value), "NaT", dtype=DATE_DTYPE), np.full(len(value), np.nan)
    has_value = ~np.isnan(value)
    if release_index is not None and has_value.any():
        rows = replace(table, cells=table.cells[has_value])
        release[has_value], offset[has_value] = parse_dates(rows, release_index)
    return pd.DataFrame({"value": value, "release": release, "release_offset": offset}, index=table.cells.index)
