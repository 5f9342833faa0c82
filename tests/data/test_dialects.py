"""A table written in any dialect comes back as its numbers, or is refused: never as other numbers."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from quantlr.core.errors import DataError
from quantlr.data.csv.raw_table import ReadingOptions
from quantlr.data.csv.reader import read_bars

THOUSANDS = (None, ",", ".", " ", "'", "\u202f")
DATE_FORMATS = (
    "iso",
    "short",
    "compact",
    "dmy",
    "mdy",
    "dots",
    "named",
    "named_first",
    "serial",
    "seconds",
    "ms",
    "cn",
)
PREAMBLES = ("", "Prices\n\n", '"Source: a, b; c"\n', "# made 2020-01-02\n\nTicker: X\n", "sep={separator}\n")


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    separator: str
    decimal: str
    thousands: str | None
    decimals: int
    quoted: bool
    encoding: str
    line_end: str
    date_format: str
    preamble: str
    currency: str
    newest_first: bool

    def number(self, value: float, *, decimals: int | None = None) -> str:
        text = f"{value:,.{self.decimals if decimals is None else decimals}f}".replace(".", "d")
        text = text.replace(",", self.thousands or "").replace("d", self.decimal)
        return self.cell(f"{self.currency}{text}" if decimals is None else text)

    def cell(self, text: str) -> str:
        needs_quotes = self.quoted or self.separator in text
        return f'"{text}"' if needs_quotes else text

    def date(self, day: dt.date) -> str:
        days = (day - dt.date(1970, 1, 1)).days
        texts = {
            "iso": day.isoformat(),
            "short": f"{day.year}-{day.month}-{day.day}",
            "compact": f"{day:%Y%m%d}",
            "dmy": f"{day.day}/{day.month}/{day.year}",
            "mdy": f"{day:%m/%d/%Y}",
            "dots": f"{day:%d.%m.%Y}",
            "named": f"{day:%d-%b-%Y}",
            "named_first": f"{day:%B %d, %Y}",
            "serial": str(days + 25569),
            "seconds": str(days * 86400),
            "ms": str(days * 86_400_000),
            "cn": f"{day.year}年{day.month}月{day.day}日",
        }
        return self.cell(texts[self.date_format])


dialects = st.builds(
    Dialect,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from(THOUSANDS),
    decimals=st.sampled_from([0, 1, 2, 3, 3, 3, 8]),
    quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    date_format=st.sampled_from(DATE_FORMATS),
    preamble=st.sampled_from(PREAMBLES),
    currency=st.sampled_from(["", "", "$", "€ "]),
    newest_first=st.booleans(),
).filter(lambda dialect: dialect.thousands != dialect.decimal)
prices = st.one_of(st.floats(0.001, 1e7), st.floats(1, 999), st.integers(1000, 10**6).map(lambda n: n / 1000))
tables = st.lists(
    st.tuples(
        st.dates(dt.date(1990, 1, 1), dt.date(2030, 12, 31)),
        prices,
        st.one_of(st.integers(0, 10**10), st.integers(0, 999_999)),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)


def write_table(rows: list[tuple[dt.date, float, int]], dialect: Dialect) -> bytes:
    header = dialect.separator.join(map(dialect.cell, ("Date", "Close", "Volume")))
    lines = [
        dialect.separator.join([dialect.date(day), dialect.number(close), dialect.number(volume, decimals=0)])
        for day, close, volume in sorted(rows, reverse=dialect.newest_first)
    ]
    text = dialect.preamble.format(separator=dialect.separator) + "\n".join([header, *lines, ""])
    return text.replace("\n", dialect.line_end).encode(dialect.encoding)


def written(rows: list[tuple[dt.date, float, int]], dialect: Dialect) -> list[tuple[dt.date, float, float]]:
    """Return what the written table says: each close rounded to the decimals that were written."""
    return sorted((day, float(f"{close:.{dialect.decimals}f}"), float(volume)) for day, close, volume in rows)


@settings(max_examples=150, deadline=None)
@given(rows=tables, dialect=dialects)
def test_a_table_in_any_dialect_is_read_as_it_is_or_refused(
    rows: list[tuple[dt.date, float, int]], dialect: Dialect
) -> None:
    content = write_table(rows, dialect)
    try:
        bars, _ = read_bars(content, path=Path("x.csv"), tickers=["X"])
    except DataError as error:
        event(f"refused: {error.message.split(':')[-1][:40]}")
        assert len(error.message) < 500
        return
    event("read")
    frame = bars["X"].sort_index()
    expected = written(rows, dialect)
    assert [day.date() for day in frame.index] == [day for day, _, _ in expected]
    np.testing.assert_allclose(frame["close"], [close for _, close, _ in expected], rtol=1e-12)
    np.testing.assert_allclose(frame["volume"], [volume for _, _, volume in expected], rtol=1e-12)


@settings(max_examples=75, deadline=None)
@given(rows=tables, dialect=dialects)
def test_a_table_is_read_in_any_dialect_whose_open_questions_keys_answer(
    rows: list[tuple[dt.date, float, int]], dialect: Dialect
) -> None:
    formats = {"dmy": "%d/%m/%Y", "mdy": "%m/%d/%Y", "dots": "%d.%m.%Y", "serial": "excel", "seconds": "s", "ms": "ms"}
    options = ReadingOptions(
        decimal=dialect.decimal, separator=dialect.separator, date_format=formats.get(dialect.date_format)
    )
    bars, _ = read_bars(write_table(rows, dialect), path=Path("x.csv"), tickers=["X"], options=options)
    frame = bars["X"].sort_index()
    assert [
        (day.date(), close, volume)
        for day, close, volume in zip(frame.index, frame["close"], frame["volume"], strict=True)
    ] == [*written(rows, dialect)]
