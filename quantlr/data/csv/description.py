"""How a file of prices was understood: a few lines by which a reader sees whether it was read as it is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantlr.core.text import escape_unsafe_characters
from quantlr.core.timing import iso_date
from quantlr.data.csv.formats import read_raw_table
from quantlr.data.csv.layouts import NO_TICKER, TableLayout
from quantlr.data.csv.numbers import decide_decimal_mark
from quantlr.data.csv.raw_table import ReadingOptions, cells_to_text, printable
from quantlr.data.csv.reader import BarFrame, bars_from_raw_table, read_layout_and_table
from quantlr.data.ticker_list import find_matching_ticker

DECIMAL_NAMES = {".": "decimal point", ",": "decimal comma"}


@dataclass(frozen=True, slots=True)
class FileReading:
    """How a file of prices was understood.

    Attributes
    ----------
    file : its name.
    format : its kind; of text also encoding, separator and the lines above the header.
    decimal_mark : of numbers in text; "" where the file has numbers.
    date_text, date : the date of the first row, as written and as read.
    time_zone : what is written of it, in words.
    columns : by field the heading of its column.
    closes : by ticker date and close of the first and the last bar, by date.
    """

    file: str
    format: str
    decimal_mark: str
    date_text: str
    date: str
    time_zone: str
    columns: Mapping[str, str]
    closes: Mapping[str, tuple[str, float, str, float]]

    def texts(self) -> tuple[str, str]:
        """Return two lines: format and dates; columns and closes."""
        decimal = f", {DECIMAL_NAMES[self.decimal_mark]}" if self.decimal_mark else ""
        dates = f"'{self.date_text}' is {self.date}, {self.time_zone}"
        columns = ", ".join(f"{field} {heading!r}" for field, heading in self.columns.items())
        closes = "; ".join(
            f"{ticker} {first} {first_close:.10g} to {last} {last_close:.10g}"
            for ticker, (first, first_close, last, last_close) in self.closes.items()
        )
        adjusted = "" if "adj_close" in self.columns else " (no adjusted close)"
        return f"{self.file}: {self.format}{decimal}; {dates}", f"{columns}{adjusted}; closes of {closes}"


def describe_file(content: bytes, *, path: Path, tickers: Sequence[str], options: ReadingOptions) -> FileReading:
    """Return how a file is read that has these tickers; errors are those of `read_bars`."""
    raw_table = read_raw_table(content, path=path, options=options)
    layout, table, _ = read_layout_and_table(raw_table, options)
    bars, _ = bars_from_raw_table(raw_table, tickers, options)
    is_text = any(cells.dtype in ("str", object) for _, cells in table.cells.items())
    decimal_mark = ""
    if is_text:
        decimal_mark = "." if layout.has_decimal_point else decide_decimal_mark(table, layout.other_columns)
    first = bars[tickers[0]]
    written = cells_to_text(table.cells.iloc[:, layout.date_column_index])
    return FileReading(
        file=escape_unsafe_characters(path.name),
        format=raw_table.format_text,
        decimal_mark=decimal_mark,
        date_text=printable(str(written.loc[first["line"].iloc[0]])) if len(first) else "",
        date=iso_date(first.index[0]) if len(first) else "",
        time_zone=_time_zone_text(first),
        columns=_headings_by_field(layout, list(table.cells.columns), tickers[0]),
        closes={ticker: _first_and_last_close(frame) for ticker, frame in bars.items() if len(frame)},
    )


def _headings_by_field(layout: TableLayout, headings: Sequence[str], ticker: str) -> dict[str, str]:
    by_ticker = layout.column_indices_by_ticker
    positions = by_ticker.get(NO_TICKER) or by_ticker[str(find_matching_ticker(ticker, list(by_ticker)))]
    positions = {"date": layout.date_column_index, **positions}
    if layout.ticker_column_index is not None:
        positions["ticker"] = layout.ticker_column_index
    return {field: headings[index] for field, index in positions.items()}


def _time_zone_text(bars: BarFrame) -> str:
    offsets = np.unique(bars["utc_offset"].dropna())
    if not len(offsets):
        return "without a time zone, dates as written"
    if not offsets.any():
        return "in UTC"
    hours = ", ".join(f"{offset / 60:+g}" for offset in offsets)
    return f"hours ahead of UTC {hours}, local dates"


def _first_and_last_close(bars: BarFrame) -> tuple[str, float, str, float]:
    closes = bars["close"].sort_index(kind="stable").dropna()
    closes = bars["close"] if closes.empty else closes
    return iso_date(closes.index[0]), float(closes.iloc[0]), iso_date(closes.index[-1]), float(closes.iloc[-1])
