"""Price files of further exporters and in further dialects: read as what they state, or refused with what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantlr.core.errors import DataError
from quantlr.data.csv.description import describe_file
from quantlr.data.csv.raw_table import ReadingOptions
from quantlr.data.csv.reader import read_bars
from quantlr.data.sources import FileSource

OHLCV = [[10, 11, 9, 10.5, 700], [10.5, 12, 10, 11.25, 800]]
DAYS = ["2020-01-13", "2020-01-14"]
EPOCH_DAYS = [18274, 18275]


def read(text: str, *tickers: str, **options: Any) -> dict[str, Any]:
    content, keys = text.encode(), ReadingOptions(**options)
    return read_bars(content, path=Path("x.csv"), tickers=tickers or ("X",), options=keys)[0]


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(text, **options)
    return caught.value.message


def table(header: str, first_cells: list[str], last_cell: str = "", separator: str = ",") -> str:
    rows = [
        separator.join([first, *map(str, values), *([last_cell] if last_cell else [])])
        for first, values in zip(first_cells, OHLCV, strict=True)
    ]
    return "\n".join([header, *rows] if header else rows) + "\n"


MICROSECONDS = [str(day * 86_400_000_000) for day in EPOCH_DAYS]
EXPORTS = {
    "Kraken": table("", [str(day * 86_400) for day in EPOCH_DAYS], "12"),
    "HistData": table("", ["20200113 000000", "20200114 000000"], separator=";"),
    "MetaStock": table("", ["X,20200113", "X,20200114"]),
    "Binance from 2025": table("", MICROSECONDS, f"{MICROSECONDS[0]},1,2,3,4,0"),
    "Dukascopy": table("Gmt time,Open,High,Low,Close,Volume", ["13.01.2020 00:00:00.000", "14.01.2020 00:00:00.000"]),
    "BSE of India": table(
        "Date,Open Price,High Price,Low Price,Close Price,No.of Shares,", ["13-January-2020", "14-January-2020"], " "
    ).replace(" \n", "\n"),
    "units": table("日期,开盘价(元),最高价(元),最低价(元),收盘价(元),成交量(股)", DAYS),
    "quantmod": table('"","X.Open","X.High","X.Low","X.Close","X.Volume"', [f'"{day}"' for day in DAYS]),
    "columns of pandas as text": table(
        "\"('Date', '')\"," + ",".join(f"\"('{name}', 'X')\"" for name in ("Open", "High", "Low", "Close", "Volume")),
        DAYS,
    ),
    "codes as text of a spreadsheet": table("code,date,open,high,low,close,volume", [f"'X,{day}" for day in DAYS]),
    "Barchart": table("Time,Open,High,Low,Last,Volume", DAYS) + '"Downloaded from Barchart.com as of 05:00pm CST"\n',
    "row numbers of pandas": table("Unnamed: 0,Open,High,Low,Close,Volume", DAYS),
}


@pytest.mark.parametrize("text", EXPORTS.values(), ids=EXPORTS)
def test_exports_without_a_usual_header_hold_the_same_bars(text: str) -> None:
    bars = read(text)["X"]
    assert [str(date.date()) for date in bars.index] == DAYS
    np.testing.assert_array_equal(bars[["open", "high", "low", "close", "volume"]], OHLCV)


@pytest.mark.parametrize(
    ("stamp", "expected", "offset"),
    [
        ("2020-01-13 4:00 PM+00:00", "2020-01-13 16:00", 0),
        ("13. 01. 2020 12:05:00 a.m.", "2020-01-13 00:05", None),
        ("2020.01.13.", "2020-01-13 00:00", None),
        ("2020- 01- 13", "2020-01-13 00:00", None),
        ("20200113T163000Z", "2020-01-13 16:30", 0),
        ("2020-01-13 15:00:00+09", "2020-01-13 15:00", 540),
        ("13.01.2020 00:00:00.000 GMT-0130", "2020-01-13 00:00", -90),
        ("2020-01-13 16:00 EST", "2020-01-13 16:00", None),
        ("2020-01-13T00:00-05:00[America/New_York]", "2020-01-13 00:00", -300),
    ],
)
def test_times_of_day_and_their_zones(stamp: str, expected: str, offset: float | None) -> None:
    bars = read(f"Date;Close\n{stamp};5.5\n{stamp};5.5\n")["X"]
    assert bars.index[0].strftime("%Y-%m-%d %H:%M") == expected
    assert bars["utc_offset"].iloc[0] == pytest.approx(np.nan if offset is None else offset, nan_ok=True)


@pytest.mark.parametrize("time", ["25:00", "10:61", "13:00 PM", "half past four", "16h30", "(Mon)"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    assert "x.csv:3: Date: needed a time of day" in refusal(f"Date;Close\n2020-01-13 16:00;5\n2020-01-14 {time};6\n")


def test_a_stated_format_of_dates_is_the_only_one() -> None:
    text = "Date,Close\n2020-01-02,5\n2020-01-03,6\n"
    for date_format in ("%d.%m.%Y", "%Y%d%m", "excel", "s"):
        assert f"needed a date in the format '{date_format}'" in refusal(text, date_format=date_format)
    assert "needed a date in the format 's'" in refusal(f"Date,Close\n{'9' * 22},5\n{'9' * 22},6\n", date_format="s")
    assert "date_format to excel, s, ms, us or ns" in refusal("Date,Close\n1578873600000000,5\n1578960000000000,6\n")
    for date_format in ("%Q", "%m-%d", "mixed", "%Y-%m-%d %Y"):
        with pytest.raises(ValueError, match="needs year, month and day"):
            FileSource(path=Path("x.csv"), date_format=date_format)
    assert FileSource(path=Path("x.csv"), date_format="%d.%m.%y %H:%M %z").date_format == "%d.%m.%y %H:%M %z"


def test_cells_of_no_number_are_missing_or_refused() -> None:
    text = "Date,Close\n2020-01-02,5\n2020-01-03,{}\n"
    for cell in ("#N/A", "#N/A N/A", "n.a.", "N/D", ".", r"\N"):
        assert np.isnan(read(text.format(cell))["X"]["close"].iloc[1])
    for cell in ("١٠٠", "１００", "0x10", "1_000", "(5.2)"):
        assert "x.csv:3: Close: needed a number" in refusal(text.format(cell))
    crsp = read("date,PRC\n20200102,5\n20200103,0\n20200106,-6\n")["X"]
    np.testing.assert_array_equal(crsp["close"], [5, np.nan, 6])
    assert read("Дата;Цена;Объём\n13.01.2020;5,25;1,5М\n14.01.2020;5,5;2К\n")["X"]["volume"].tolist() == [1.5e6, 2e3]


def test_quotes_around_other_cells_leave_a_point_between_digits_the_decimal_mark() -> None:
    written_by_r = '"","date","close","note"\n"1","2020-01-02",10.125,"A, B"\n"2","2020-01-03",11.250,"C"\n'
    assert read(written_by_r)["X"]["close"].tolist() == [10.125, 11.25]
    quoted = written_by_r.replace("11.250", '"11.250"')
    assert "may be a decimal number or a thousand" in refusal(quoted)


def test_a_column_without_a_heading_is_no_ticker() -> None:
    """It would else be read as the close of a ticker that the file does not have."""
    assert "nor one named X" in refusal("Date,AAA,BBB,\n2020-01-02,5,6,1\n2020-01-03,5,6,2\n")
    assert read("Date,AAA,,X\n2020-01-02,5,1,7\n2020-01-03,5,1,8\n")["X"]["close"].tolist() == [7, 8]


def test_a_truncated_last_row_is_no_footer() -> None:
    for last in ("2020-01", "Total,1,2"):
        assert "x.csv:4: needed 2 columns" in refusal(f"Date,Close\n2020-01-02,5\n2020-01-03,6\n{last}\n")


def test_the_end_of_a_quoted_cell_of_two_lines_is_no_footer() -> None:
    content = b'Date,Close,Note\n2020-01-02,5,"a\nb"\n2020-01-03,6,"c\nd"\n'
    bars, notes = read_bars(content, path=Path("x.csv"), tickers=["X"])
    assert bars["X"]["close"].tolist() == [5, 6]
    assert notes == []


def test_a_date_before_any_prices_is_refused() -> None:
    for date in ("0001-01-01", "1599-12-31"):
        assert f"x.csv:2: Date: needed a date from 1600 on, found {date}" in refusal(
            f"Date,Close\n{date},5\n2020-01-03,6\n"
        )


@pytest.mark.parametrize(
    ("stamp", "time_zone"),
    [("{} 15:00+09:00", "hours ahead of UTC +9, local dates"), ("{}T00:00Z", "in UTC"), ("{}", "without a time zone")],
)
def test_a_description_has_the_columns_of_the_ticker_and_the_zone(stamp: str, time_zone: str) -> None:
    text = "Date,AAA,X\n" + "".join(f"{stamp.format(day)},5,{close}\n" for day, close in zip(DAYS, (6, 7), strict=True))
    reading = describe_file(text.encode(), path=Path("x.csv"), tickers=["X"], options=ReadingOptions())
    assert time_zone in reading.time_zone
    assert reading.columns == {"date": "Date", "close": "X"}
    assert reading.closes == {"X": (DAYS[0], 6, DAYS[1], 7)}
    assert (reading.date_text, reading.date) == (stamp.format(DAYS[0]), DAYS[0])
