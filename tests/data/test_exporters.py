"""Price files as exporters and spreadsheets write them: one example of each, and what is refused instead of guessed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.csv.headings import HEADINGS_BY_FIELD, normalize_heading
from quantlr.data.csv.raw_table import ReadingOptions
from quantlr.data.csv.reader import BarFrame, read_bars
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import FileSource, SampleSource

from exporter_files import EXPORTER_FILES
from workbooks import numbers_row, text_row, workbook

EXAMPLES = Path(__file__).parent / "examples"
ROUNDED = ("investing_com.csv", "investing_com_de.csv")


def read(text: str | bytes, *tickers: str, name: str = "x.csv", **options: Any) -> dict[str, BarFrame]:
    content = text if isinstance(text, bytes) else text.encode()
    keys = ReadingOptions(**options)
    return read_bars(content, path=Path(name), tickers=tickers or ("X",), options=keys)[0]


def closes(text: str | bytes, name: str = "x.csv", **options: Any) -> list[float]:
    return list(read(text, name=name, **options)["X"]["close"])


def dates(text: str, **options: Any) -> list[str]:
    return [str(date.date()) for date in read(text, **options)["X"].index]


def refusal(text: str | bytes, *tickers: str, name: str = "x.csv", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(text, *tickers, name=name, **options)
    assert caught.value.exit_status == 2
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()
    return caught.value.message


@pytest.fixture(scope="module")
def sample() -> Prices:
    """The sample prices of the days that the example files hold."""
    spec = DataSpec(source=SampleSource(), tickers=("AAPL",), start="2013-01-07", end="2013-01-23")
    return load_prices(spec)


@pytest.mark.parametrize("name", EXPORTER_FILES)
def test_each_exporters_file_is_read_as_its_prices(sample: Prices, name: str) -> None:
    spec = DataSpec(source=FileSource(path=EXAMPLES / name), tickers=(EXPORTER_FILES[name],))
    prices = load_prices(spec)
    assert list(prices.sessions) == list(sample.sessions)
    for field in ("open", "high", "low", "close"):
        true_column = getattr(sample, field) / sample.adjustment
        np.testing.assert_allclose(getattr(prices, field), true_column, rtol=2e-5 if name in ROUNDED else 1e-12)
    np.testing.assert_allclose(prices.volume, sample.volume, rtol=4e-4 if name in ROUNDED else 0)


def test_each_heading_belongs_to_one_field() -> None:
    fields: dict[str, str] = {}
    for field, groups in HEADINGS_BY_FIELD.items():
        for heading in (heading for group in groups for heading in group):
            assert fields.setdefault(normalize_heading(heading), field) == field, heading


@pytest.mark.parametrize(
    "header",
    [
        "Date,Ouverture,Plus haut,Plus bas,Clôture,Volume",
        "Fecha,Apertura,Máximo,Mínimo,Cierre,Volumen",
        "Data,Apertura,Massimo,Minimo,Chiusura,Volume",
        "Data,Abertura,Máxima,Mínima,Fechamento,Vol.",
        "Дата,Открытие,Максимум,Минимум,Закрытие,Объём",
        "日付け,始値,高値,安値,終値,出来高",
        "날짜,시가,고가,저가,종가,거래량",
        "日期,开盘,高,低,收盘,交易量",
        "Tarih,Açılış,Yüksek,Düşük,Şimdi,Hac.",
        "Data,Otwarcie,Max.,Min.,Ostatnio,Wol.",
        "Datum,Öppning,Högst,Lägst,Stängning,Volym",
        "日期,開盤價,最高價,最低價,收盤價,成交量",
        "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
        "<DTYYYYMMDD>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
    ],
)
def test_headings_are_known_in_the_languages_of_exporters(header: str) -> None:
    bars = read(f"{header}\n2020-01-02,1.5,3.5,1.25,2.5,7\n2020-01-03,1.5,3.5,1.25,2.5,7\n")["X"]
    names = ["open", "high", "low", "close", "volume"]
    np.testing.assert_array_equal(bars[names].to_numpy()[0], [1.5, 3.5, 1.25, 2.5, 7])


def test_dates_of_further_exporters_are_known() -> None:
    table = "<TICKER>,<PER>,<DTYYYYMMDD>,<TIME>,<CLOSE>\nX,D,20200102,000000,1.5\nX,D,20200103,000000,2.5\n"
    assert dates(table) == ["2020-01-02", "2020-01-03"]
    assert dates("Exchange Date,Close\n02-Jan-2020,1.5\n03-Jan-2020,2.5\n") == ["2020-01-02", "2020-01-03"]
    gecko = (
        "snapped_at,price,market_cap,total_volume\n2020-01-02 00:00:00 UTC,1.5,9,7\n2020-01-03 00:00:00 UTC,2.5,9,8\n"
    )
    assert list(read(gecko)["X"]["volume"]) == [7, 8]


def test_the_encoding_is_that_in_which_more_headings_are_known_words() -> None:
    """In GB18030 too the headings of dates and closes are known, but not that of the opens."""
    text = "Datum;Eröffnung;Schluss\n2020-01-02;1.5;2.5\n2020-01-03;1.5;2.25\n"
    assert list(read(text.encode("cp1252"))["X"]["open"]) == [1.5, 1.5]
    assert "is not UTF-8 text" in refusal(text.replace("Eröffnung", "Größe").encode("cp1252"))


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (('"1,234.5"', "7"), [1234.5, 7]),
        (('"1234,5"', "7"), [1234.5, 7]),
        (('"1.234,5"', '"1.235"'), [1234.5, 1235]),
        (('"1,234,567"', '"1.5"'), [1234567, 1.5]),
        (('"12,34,567.5"', '"1,000"'), [1234567.5, 1000]),
        (('"0,123"', '"1.234"'), [0.123, 1234]),
        (("1 234.5", "1'234.5"), [1234.5, 1234.5]),
        (('"1 234 567,5"', "1\u202f234"), [1234567.5, 1234]),
        (("$5", "$1234.25"), [5, 1234.25]),
        (("5 €", "€ 6"), [5, 6]),
        (("1.2M", "350K"), [1.2e6, 350e3]),
        (("98.5%", "100%"), [0.985, 1]),
        (("1.234", "1.235"), [1.234, 1.235]),
        (("1.5e3", "2E-2"), [1500, 0.02]),
    ],
)
def test_numbers_are_read_by_the_mark_that_they_prove(cells: tuple[str, str], numbers: list[float]) -> None:
    text = "Date,Close\n2020-01-02,{}\n2020-01-03,{}\n".format(*cells)
    np.testing.assert_allclose(closes(text), numbers, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Date,Close\n2020-01-02,"1,234"\n2020-01-03,7\n', "'1,234' in line 2 may be a decimal number or a thousand"),
        ("Date;Close\n2020-01-02;1.234\n2020-01-03;7\n", "'1.234' in line 2 may be a decimal number or a thousand"),
        ('Date,Close\n2020-01-02,"1,5"\n2020-01-03,1.5\n', "'1.5' in line 3 has a decimal point, and '1,5' in line 2"),
        ('Date,Close\n2020-01-02,1.5\n2020-01-03,"1,23"\n', "has a decimal point, and '1,23' in line 3"),
        ('Date,Close\n2020-01-02,1.5\n2020-01-03,"1,2345,678"\n', "x.csv:3: Close: needed a number with a decimal"),
        ("Date,Close\n2020-01-02,(5)\n2020-01-03,6\n", "x.csv:2: Close: needed a number, found '(5)'"),
    ],
)
def test_numbers_that_may_be_others_are_refused(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_key_decides_where_the_numbers_prove_nothing() -> None:
    text = "Date;Close\n2020-01-02;1.234\n2020-01-03;7\n"
    assert closes(text, decimal=".") == [1.234, 7]
    assert closes(text, decimal=",") == [1234, 7]
    assert closes(
        "<DATE>\t<CLOSE>\n2020.01.02\t1.234\n2020.01.03\t1.235\n".replace("<CLOSE>", "<OPEN>\t<CLOSE>").replace(
            "\t1", "\t1.234\t1"
        )
    ) == [1.234, 1.235]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("02-Jan-2020", "14-Feb-2020"), ["2020-01-02", "2020-02-14"]),
        (("Jan 02, 2020", "February 14, 2020"), ["2020-01-02", "2020-02-14"]),
        (("2020-Jan-02", "2020-SEPT-14"), ["2020-01-02", "2020-09-14"]),
        (("2 May 2020", "14 may 2020"), ["2020-05-02", "2020-05-14"]),
        (("2020-1-2", "2020-2-14"), ["2020-01-02", "2020-02-14"]),
        (("2020-12-31", "2021-1-2"), ["2020-12-31", "2021-01-02"]),
        (("2020年1月2日", "2020年02月14日"), ["2020-01-02", "2020-02-14"]),
        (("43832", "43875"), ["2020-01-02", "2020-02-14"]),
        (("43832.0", "43875.5"), ["2020-01-02", "2020-02-14"]),
        (("1577923200", "1581638400"), ["2020-01-02", "2020-02-14"]),
        (("1577923200000", "1581638400000"), ["2020-01-02", "2020-02-14"]),
        (("946684800000", "978307200000"), ["2000-01-01", "2001-01-01"]),
        (("20200102.0", "20200214.0"), ["2020-01-02", "2020-02-14"]),
    ],
)
def test_dates_are_read_in_the_formats_of_exporters(cells: tuple[str, str], expected: list[str]) -> None:
    assert dates('Date,Close\n"{}",5\n"{}",6\n'.format(*cells)) == expected


@pytest.mark.parametrize(
    "cells",
    [
        ("02-Jan-20", "03-Jan-20"),
        ("12345", "12346"),
        ("1577923200000000", "1581638400000000"),
        ("43832", "1581638400"),
        ("1577923200", "1581638400000"),
        ("02-Marble-2020", "03-Marble-2020"),
        ("31-Feb-2020", "03-Mar-2020"),
    ],
)
def test_dates_that_may_be_others_are_refused(cells: tuple[str, str]) -> None:
    assert "Date: needed a date " in refusal("Date,Close\n{},5\n{},6\n".format(*cells))


@pytest.mark.parametrize(
    ("cells", "date_format"),
    [
        (("02/01/20", "14/02/20"), "%d/%m/%y"),
        (("01/02/2020", "02/14/2020"), "%m/%d/%Y"),
        (("1577923200000000", "1581638400000000"), "us"),
        (("43832", "43875"), "excel"),
    ],
)
def test_a_format_of_dates_can_be_named(cells: tuple[str, str], date_format: str) -> None:
    text = "Date,Close\n{},5\n{},6\n".format(*cells)
    assert dates(text, date_format=date_format) == ["2020-01-02", "2020-02-14"]


def test_columns_can_be_named() -> None:
    text = "note\nTag,Kurs,Close,Volume\n2020-01-02,5,1,7\n2020-01-03,6,1,8\n"
    bars = read(text, columns={"date": "Tag", "close": "Kurs"})["X"]
    assert list(bars["close"]) == [5, 6]
    assert list(bars["volume"]) == [7, 8]
    assert "needs one column 'Kur', it has: note" in refusal(text, columns={"close": "Kur"})


def test_a_code_is_the_ticker_beside_a_name() -> None:
    text = "date,name,code,close\n2020-01-02,Moutai,600519,5\n2020-01-03,Moutai,600519,6\n"
    assert list(read(text, "600519")["600519"]["close"]) == [5, 6]


def test_a_column_named_like_the_ticker_beside_one_of_closes_is_asked_for() -> None:
    text = "Date,LAST,AAPL\n2020-01-02,5,1\n2020-01-03,6,2\n"
    assert "has a column of closes, 'LAST', and one named AAPL; name the one" in refusal(text, "AAPL")
    assert list(read(text, "AAPL", columns={"close": "AAPL"})["AAPL"]["close"]) == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "cp1252"])
def test_text_is_read_in_its_encoding(encoding: str) -> None:
    header = "Data,Último" if encoding == "cp1252" else "日期,收盘"
    content = f"{header}\n2020-01-02,5\n2020-01-03,6\n".encode(encoding)
    if encoding == "utf-16-le":  # without a byte order mark
        assert "found a file of bytes that are not text" in refusal(content)
        assert closes(content, encoding="utf-16-le") == [5, 6]
    else:
        assert closes(content) == [5, 6]


def test_an_encoding_that_is_not_known_is_asked_for() -> None:
    content = "Date,Close,Name\n2020-01-02,5,Böll\n2020-01-03,6,Böll\n".encode("cp1252")
    assert "x.csv is not UTF-8 text (byte 30); set data.source.encoding" in refusal(content)
    assert list(read(content, "Böll", encoding="cp1252")["Böll"]["close"]) == [5, 6]
    japanese = "日付け,終値\n2020-01-02,5\n".encode("shift-jis")
    assert "is not UTF-8 text" in refusal(japanese)
    assert "found text that is not ascii" in refusal(japanese, encoding="ascii")


PICKLE = b"\x80\x05\x95\x10\x00\x00"
SECRET = b"secret \x01\x02\x03"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + SECRET, "an Excel workbook of before 2007"),
        ("x.xlsx", b"PK\x03\x04" + SECRET, "can't be read as an Excel workbook"),
        ("x.xlsx", b"Date,Close\n2020-01-02,5\n", "can't be read as an Excel workbook"),
        ("x.zip", b"PK\x03\x04" + SECRET, "can't be unzipped"),
        ("x.feather", b"ARROW1\x00\x00" + SECRET, "can't be read as Feather"),
        ("x.pq", SECRET, "can't be read as Parquet"),
        ("x.csv", b"%PDF-1.7" + SECRET, "a PDF document"),
        ("x.csv", b"\x89HDF\r\n\x1a\n" + SECRET, "HDF5"),
        ("x.csv", PICKLE + SECRET, "a pickle of Python"),
        ("x.csv", b"<!DOCTYPE html><title>No data</title>", "a page of HTML"),
        ("x.csv", b'  {"chart": []}', "JSON"),
        ("x.csv", b"\x00\x01\x02\x03" + SECRET, "bytes that are not text"),
        ("x.csv", b"\x1b[31mred" + b"\x07,b\n1,2\n", "has no column of dates"),
        ("x.csv", b",".join([b"long heading " * 10] * 1000) + b"\n1\n", "has no column of dates"),
    ],
)
def test_a_refused_file_has_its_kind_and_remedy_on_one_line(name: str, content: bytes, kind: str) -> None:
    message = refusal(content, name=name)
    assert kind in message
    assert message.startswith(name)
    assert ";" in message
    assert "secret" not in message


def zip_bytes(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


CSV = b"Date,Close\n2020-01-02,5\n2020-01-03,6\n"


def test_a_zip_file_holds_one_table_of_bounded_size() -> None:
    assert closes(zip_bytes(**{"a.csv": CSV, "__MACOSX/a.csv": b"?"}), name="x.zip") == [5, 6]
    assert "needed a zip file with one file, found 2" in refusal(zip_bytes(a=CSV, b=CSV), name="x.zip")
    bomb = zip_bytes(**{"a.csv": CSV + b"\n" * 50_000_000})
    assert "bytes unpacked, found more" in refusal(bomb, name="x.zip")
    assert "a packed file in a packed file" in refusal(zip_bytes(a=zip_bytes(b=CSV)), name="x.zip")


def test_commas_within_quotes_are_a_decimal_mark_or_separate_thousands() -> None:
    """A comma between cells does not tell what a comma within a quoted number is."""
    assert closes('Date,Close\n2020-01-02,"5,25"\n2020-01-03,"6,5"\n') == [5.25, 6.5]
    assert closes('Date,Close\n2020-01-02,"1,234.5"\n2020-01-03,"1,235"\n') == [1234.5, 1235]
    open_question = 'Date,Close\n2020-01-02,"1,234"\n2020-01-03,"1,235"\n'
    assert "may be a decimal number or a thousand" in refusal(open_question)
    assert closes(open_question, decimal=",") == [1.234, 1.235]
    assert closes(open_question, decimal=".") == [1234, 1235]


def test_a_stated_format_of_dates_keeps_their_time_and_zone() -> None:
    text = "Date;Close\n02.01.2020 15:00 +0000;5\n05.01.2020 15:00 +0000;6\n"
    bars = read(text, date_format="%d.%m.%Y %H:%M %z")["X"]
    assert list(bars.index) == [pd.Timestamp("2020-01-02 15:00"), pd.Timestamp("2020-01-05 15:00")]
    assert list(bars["utc_offset"]) == [0, 0]


def test_feather_is_read_with_its_index(tmp_path: Path) -> None:
    table = pa.table({"Date": pa.array(["2020-01-02", "2020-01-03"]), "Close": [5.0, 6.0]})
    stream = io.BytesIO()
    feather.write_feather(table, stream, compression="zstd")
    assert closes(stream.getvalue(), name="x.feather") == [5, 6]


ROWS = text_row(1, "Date", "Close") + numbers_row(2, 43832, 5) + numbers_row(3, 43833, 6.5)


def test_a_workbook_is_read_by_its_cells() -> None:
    assert closes(workbook(Prices=ROWS), name="x.xlsx") == [5, 6.5]
    assert closes(workbook(Prices=ROWS, Empty=""), name="x.xlsx") == [5, 6.5]
    two = workbook(A=ROWS, B=ROWS.replace("6.5", "7"))
    assert "has 2 sheets that hold something: A, B; name one" in refusal(two, name="x.xlsx")
    assert closes(two, name="x.xlsx", sheet="B") == [5, 7]
    assert "has no sheet 'C', it has A, B" in refusal(two, name="x.xlsx", sheet="C")
    mixed = text_row(1, "Date", "Close") + text_row(2, "2020-01-02", "1,234.5") + numbers_row(3, "", 6.125)
    mixed += text_row(4, "2020-01-06", "-")
    assert "x.xlsx:3: Date: needed a date" in refusal(workbook(A=mixed), name="x.xlsx")


def test_tickers_of_a_workbook_are_whole_numbers_as_text() -> None:
    rows = text_row(1, "Date", "Code", "Close") + numbers_row(2, 43832, 700, 5) + numbers_row(3, 43833, 700, 6)
    assert list(read(workbook(A=rows), "700", name="x.xlsx")["700"]["close"]) == [5, 6]


def test_a_workbook_that_would_fill_the_memory_is_refused() -> None:
    for cells in (
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row><c r="XFD1"><v>1</v></c><c r="A1048576"><v>1</v></c></row>',
        '<row r="1048575"/><row><c r="xfd"><v>1</v></c></row>',
        "<row>" + "<c/>" * 5000 + "</row>" + "<row><c><v>1</v></c></row>" * 5000,
    ):
        assert "needed a sheet of at most 20,000,000 cells" in refusal(workbook(A=cells), name="x.xlsx")
    above = workbook(A=ROWS + '<row r="1000001"><c r="T1000001"><v>1</v></c></row>')
    assert "found 1,000,001 rows of 20 columns" in refusal(above, name="x.xlsx")
    below = workbook(A=ROWS + '<row r="20"><c r="T20"/></row>')
    assert closes(below, name="x.xlsx") == [5, 6.5]


def test_errors_of_a_workbook_and_days_from_1904_are_refused() -> None:
    error = ROWS + '<row r="4"><c r="A4"><v>43834</v></c><c r="B4" t="e"><v>#N/A</v></c></row>'
    assert "x.xlsx: A!B4: needed a value, found an error of Excel" in refusal(workbook(A=error), name="x.xlsx")
    assert closes(workbook(A=ROWS, B=""), name="x.xlsx") == [5, 6.5]
    serials = workbook(is_from_1904=True, A=ROWS)
    assert "x.xlsx:2: Date: needed a date as YYYY-MM-DD, found '43832'" in refusal(serials, name="x.xlsx")


def test_negative_closes_of_crsp_are_averages_of_bid_and_ask() -> None:
    text = "date,TICKER,PRC\n20200102,X,5\n20200103,X,-6\n20200106,X,-7\n"
    bars, notes = read_bars(text.encode(), path=Path("x.csv"), tickers=["X"])
    assert list(bars["X"]["close"]) == [5, 6, 7]
    (note,) = notes
    assert note.count == 2
    assert "average of bid and ask" in note.text


def test_all_tickers_of_a_source_are_meant_by_one_word(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(CSV)
    (tmp_path / "A.csv").write_bytes(CSV)
    assert DataSpec(source={"kind": "file", "path": tmp_path}, tickers="all").tickers == ("A", "b")
    assert DataSpec(source={"kind": "file", "path": tmp_path / "b.csv"}, tickers="all").tickers == ("b",)
    long = DataSpec(source={"kind": "file", "path": EXAMPLES / "kaggle_five_years.csv"}, tickers="all")
    assert long.tickers == ("AAPL", "MSFT")
    wide = DataSpec(source={"kind": "file", "path": EXAMPLES / "wide_closes.csv"}, tickers="all")
    assert wide.tickers == ("AAPL", "FB", "GOOG")
    assert "^GSPC" in DataSpec(source={"kind": "sample"}, tickers="all").tickers
    for source in ({"kind": "yahoo"}, {"kind": "file", "path": tmp_path / "no.csv"}):
        with pytest.raises(ValueError, match=r"no list of tickers|does not exist"):
            DataSpec(source=source, tickers="all")
    assert DataSpec(source={"kind": "sample"}, tickers=["all"]).tickers == ("all",)


def test_a_table_written_by_pandas_in_each_format_is_the_same(tmp_path: Path) -> None:
    table = pd.read_csv(EXAMPLES / "stooq_page.csv", parse_dates=["Date"])
    table.to_feather(tmp_path / "x.feather")
    table.set_index("Date").to_parquet(tmp_path / "x.pq")
    frames = [read((tmp_path / name).read_bytes(), name=name)["X"] for name in ("x.feather", "x.pq")]
    for frame in frames:
        np.testing.assert_array_equal(frame["close"], table["Close"])
