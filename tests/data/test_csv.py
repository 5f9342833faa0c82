"""Price files: the layout of each exporter, and cells that can't be read."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError, QuantlrError
from quantlr.core.values import Prices
from quantlr.data.csv.layouts import LAYOUT_DETECTORS
from quantlr.data.csv.reader import read_bars
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import FileSource, SampleSource

from exporter_files import EXPORTER_FILES

EXAMPLES = Path(__file__).parent / "examples"
JANUARY = {"start": "2013-01-07", "end": "2013-01-23"}


def load(path: Path, *tickers: str, **keys: object) -> Prices:
    return load_prices(DataSpec(source=FileSource(path=path), tickers=tickers, **keys))


def refusal_message(path: Path, *tickers: str, **keys: object) -> str:
    with pytest.raises(QuantlrError) as caught:
        load(path, *tickers or ("X",), **keys)
    assert caught.value.exit_status == 2
    return str(caught.value.message).replace(f"{path.parent}/", "")


def write_file(tmp_path: Path, text: str, name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def sample() -> Prices:
    """The sample prices of the days that the example files hold."""
    return load_prices(DataSpec(source=SampleSource(), tickers=("AAPL", "MSFT"), **JANUARY))


# Which of the sample's prices each example holds: "adjusted" all of them, "raw" as quoted on the day, "both" closes.
EXAMPLE_FILES = [
    ("yfinance_download_one.csv", ("AAPL",), "adjusted"),
    ("yfinance_download_two.csv", ("AAPL", "MSFT"), "adjusted"),
    ("yfinance_download_flat.csv", ("MSFT", "AAPL"), "adjusted"),
    ("yfinance_download.parquet", ("AAPL", "MSFT"), "adjusted"),
    ("yfinance_download_by_ticker.csv", ("AAPL", "MSFT"), "both"),
    ("stooq_database.txt", ("AAPL",), "raw"),
    ("stooq_database.txt", ("AAPL.US",), "raw"),
    ("stooq_page.csv", ("AAPL",), "raw"),
    ("nasdaq.csv", ("AAPL",), "raw"),
    ("kaggle", ("AAPL",), "raw"),
    ("kaggle/Stocks", ("MSFT", "AAPL.US"), "both"),
    ("kaggle_five_years.csv", ("AAPL", "MSFT"), "raw"),
    ("long.csv.gz", ("MSFT", "AAPL"), "both"),
]


@pytest.mark.parametrize(("name", "tickers", "adjustment"), EXAMPLE_FILES)
def test_each_exporters_layout_is_read_as_its_prices(
    sample: Prices, name: str, tickers: tuple[str, ...], adjustment: str
) -> None:
    prices = load(EXAMPLES / name, *tickers)
    assert prices.tickers == tickers
    for index, ticker in enumerate(tickers):
        bars = int(prices.n_bars[index])
        assert bars == (11 if (ticker, adjustment) == ("MSFT", "adjusted") else 12), "that MSFT lacks its newest price"
        true = sample.tickers.index(ticker.removesuffix(".US"))
        dates = sample.sessions[sample.session[:bars, true]]
        assert list(prices.sessions[prices.session[:bars, index]]) == list(dates)
        adjusted = adjustment == "adjusted" or (adjustment == "both" and ticker != "AAPL.US")
        factor = sample.adjustment if adjusted else np.ones_like(sample.adjustment)
        rounding = 2e-5 if adjustment == "adjusted" or name == "nasdaq.csv" else 1e-12
        for field in ("open", "high", "low", "close"):
            true_column = getattr(sample, field) / sample.adjustment * factor
            np.testing.assert_allclose(getattr(prices, field)[:bars, index], true_column[:bars, true], rtol=rounding)
        np.testing.assert_array_equal(prices.volume[:bars, index], sample.volume[:bars, true])


@pytest.mark.parametrize("name", ["yfinance_history.csv", "yfinance_history.parquet"])
def test_a_history_keeps_its_dates_over_a_change_to_daylight_saving_time(name: str) -> None:
    prices = load(EXAMPLES / name, "AAPL")
    sample = load_prices(DataSpec(source=SampleSource(), tickers=("AAPL",), start="2012-03-07", end="2012-03-14"))
    assert list(prices.sessions) == list(sample.sessions)
    np.testing.assert_allclose(prices.close, sample.close, rtol=1e-6)
    assert not prices.notes


def test_a_wide_file_is_cut_to_each_tickers_first_and_last_price(sample: Prices) -> None:
    prices = load(EXAMPLES / "wide_closes.csv", "GOOG", "AAPL", "FB")
    np.testing.assert_array_equal(prices.n_bars, [10, 11, 9])
    aapl = prices.bars_to_sessions(prices.close)[:, 1]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(aapl)), [6])
    np.testing.assert_allclose(np.delete(aapl, 6), np.delete(sample.raw_close[:12, 0], 6))
    gap, outside = sorted(prices.notes, key=lambda note: note.ticker is None)
    assert (gap.ticker, gap.date, gap.text, gap.count) == ("AAPL", "2013-01-15", "has no price; dropped", 1)
    assert (
        outside.text
        == "wide_closes.csv has rows before a ticker's first price or after its last, where this ticker has no bar"
    )
    assert outside.count == 5
    assert np.isnan(prices.open).all()


def test_every_layout_is_documented_and_has_an_example() -> None:
    for layout in LAYOUT_DETECTORS:
        assert (layout.__doc__ or "").strip()
    assert {path.name for path in EXAMPLES.iterdir()} == {name.partition("/")[0] for name, _, _ in EXAMPLE_FILES} | {
        "README.md", "wide_closes.csv", "yfinance_history.csv", "yfinance_history.parquet", *EXPORTER_FILES,
    }  # fmt: skip


def test_a_file_with_two_columns_that_may_be_the_close_asks_which(tmp_path: Path) -> None:
    text = "Date,Price,Last{}\n2020-01-02,5,6{}\n2020-01-03,5.5,6.5{}\n"
    path = write_file(tmp_path, text.format("", "", ""))
    with pytest.raises(DataError, match=r"has 'Price' and 'Last'; name the close"):
        load(path, "X")
    named = FileSource(path=path, columns={"close": "Last"})
    assert load_prices(DataSpec(source=named, tickers=("X",))).close[0, 0] == 6
    assert load(write_file(tmp_path, text.format(",Close", ",7", ",7.5")), "X").close[0, 0] == 7


def test_a_wide_file_may_have_tickers_that_are_named_like_columns(tmp_path: Path) -> None:
    path = write_file(tmp_path, "Date,LOW,OPEN\n2020-01-02,5,6\n2020-01-03,5.5,6.5\n")
    np.testing.assert_array_equal(load(path, "OPEN", "LOW").close, [[6, 5], [6.5, 5.5]])


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (("13/01/2020", "03/02/2020"), ["2020-01-13", "2020-02-03"]),
        (("01/13/2020", "02/03/2020"), ["2020-01-13", "2020-02-03"]),
        (("1.2.2020", "25.2.2020"), ["2020-02-01", "2020-02-25"]),
        (("2020/1/2", "2020/01/03"), ["2020-01-02", "2020-01-03"]),
        (("20200102", "20200103"), ["2020-01-02", "2020-01-03"]),
        (("2020-01-02T05:00:00Z", "2020-01-03 09:30"), None),
        (("2020-01-02 00:00:00", "2020-01-03 00:00:00"), ["2020-01-02", "2020-01-03"]),
    ],
)
def test_date_formats_are_read_if_a_value_decides_their_order(
    tmp_path: Path, dates: tuple[str, str], message: list[str] | None
) -> None:
    path = write_file(tmp_path, f"Date,Close\n{dates[0]},5\n{dates[1]},6\n")
    if message is None:
        assert "time zones are mixed, none here and UTC+00:00 in the first row" in refusal_message(path)
    else:
        assert [str(date.date()) for date in load(path, "X").sessions] == message


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (("03/04/2020", "05/04/2020"), "x.csv:2: Date: found '03/04/2020': day and month can't be distinguished, since no number of the column is above 12; rewrite the dates as 2005-12-31"),
        (("25/12/2019", "12/26/2019"), "x.csv:3: Date: found '12/26/2019', and '25/12/2019' in line 2: day and month stand in both orders; rewrite"),
        (("01/02/20", "13/02/20"), "x.csv:2: Date: needed a date as YYYY-MM-DD, found '01/02/20' (day and month can't be distinguished)"),
        (("2020-01-02", "43833"), "x.csv:3: Date: needed a date like '2020-01-02', found '43833'; rewrite the dates"),
        (("2020-01-02", ""), "x.csv:3: Date: needed a date as YYYY-MM-DD, found ''; rewrite the dates"),
        (("31/02/2020", "01/03/2020"), "x.csv:2: Date: found '31/02/2020', which is not a day of the calendar; correct it"),
    ],
)  # fmt: skip
def test_ambiguous_dates_are_refused_with_their_line(tmp_path: Path, dates: tuple[str, str], message: str) -> None:
    assert refusal_message(write_file(tmp_path, f"Date,Close\n{dates[0]},5\n{dates[1]},6\n")).startswith(message)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"1,23,45"', "x.csv:3: Close: needed a number with a decimal point, found '1,23,45'; correct the cell"),
        ("5$ $", "x.csv:3: Close: needed a number, found '5$ $'; correct the cell"),
        ("five", "x.csv:3: Close: needed a number, found 'five'; correct the cell"),
        ("0x10", "x.csv:3: Close: needed a number, found '0x10'; correct the cell"),
        ("TRUE", "x.csv:3: Close: needed a number, found 'TRUE'; correct the cell"),
        ("5,6", "x.csv:3: needed 2 columns, as the header has, found 3: '2020-01-03,5,6'; a number is written without"),
    ],
)  # fmt: skip
def test_text_for_numbers_is_refused_with_its_line(tmp_path: Path, cell: str, message: str) -> None:
    path = write_file(tmp_path, f"Date,Close\n2020-01-02,5\n2020-01-03,{cell}\n2020-01-06,7\n")
    assert refusal_message(path).startswith(message)


def test_a_row_cut_short_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write_file(tmp_path, "Date,Open,Close\n2020-01-02,5,6\n\n2020-01-03,5\n2020-01-06,7,7\n")
    assert refusal_message(path).startswith("x.csv:4: needed 3 columns, as the header has, found 2: '2020-01-03,5'")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_does(tmp_path: Path, end: str) -> None:
    lines = ["", "Date,Close", "2020-01-02,5", "", "2020-01-03,6", ",", "2020-01-06,-7", ""]
    path = tmp_path / "x.csv"
    path.write_bytes(end.join(lines).encode())
    assert refusal_message(path).startswith(
        "x.csv:7: X 2020-01-06: close needs a positive number, found -7.0; correct the data, "
    )
    path.write_bytes(end.join(lines).replace("-7", "7").encode())
    prices = load(path, "X")
    np.testing.assert_array_equal(prices.close[:, 0], [5, 6, 7])
    (note,) = prices.notes
    assert (note.text, note.count) == ("x.csv has rows without anything in them, which hold no bar", 1)


def test_numbers_are_read_to_their_last_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random(500) * 10.0 ** np.random.default_rng(1).integers(-3, 6, 500) + 1e-3
    dates = pd.bdate_range("2010-01-04", periods=500)
    path = tmp_path / "x.csv"
    pd.DataFrame({"Date": dates, "Close": numbers}).to_csv(path, index=False)
    np.testing.assert_array_equal(
        load(path, "X", quality={"large_moves": "warn", "scale": "warn", "spikes": "warn"}).close[:, 0], numbers
    )


def test_parquet_holds_several_tickers_in_a_column_or_in_the_index(tmp_path: Path, sample: Prices) -> None:
    with gzip.open(EXAMPLES / "long.csv.gz") as file:
        table = pd.read_csv(file, parse_dates=["Date"])
    table.to_parquet(tmp_path / "column.parquet")
    table.set_index(["Date", "Ticker"]).sort_index().to_parquet(tmp_path / "index.parquet")
    table.astype({"Ticker": "category"}).to_parquet(tmp_path / "category.parquet")
    for name in ("column", "index", "category"):
        prices = load(tmp_path / f"{name}.parquet", "AAPL", "MSFT")
        np.testing.assert_allclose(prices.close, sample.close[:12], rtol=1e-12)


def test_bars_shorter_than_a_day_are_refused(tmp_path: Path) -> None:
    text = (EXAMPLES / "stooq_database.txt").read_text().replace("US,D,20130109", "US,60,20130109")
    path = write_file(tmp_path, text, "aapl.us.txt")
    assert refusal_message(path, "AAPL") == (
        "aapl.us.txt:4: <PER>: needed daily bars ('D'), found '60'; give the daily file"
    )


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"Date,Close\n2020-01-02,5\n")
    for content in (b"not gzip", whole[:-9], whole[:12] + b"\xff\xff\xff" + whole[15:]):
        (tmp_path / "x.csv.gz").write_bytes(content)
        assert "x.csv.gz can't be unzipped: " in refusal_message(tmp_path / "x.csv.gz")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    assert "x.parquet can't be read as Parquet: " in refusal_message(tmp_path / "x.parquet")


def test_all_missing_tickers_are_named_at_once(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "kaggle", tmp_path / "kaggle")
    assert refusal_message(tmp_path / "kaggle", "AAPL", "QQQ", "SPY", "IWM") == (
        "the folder kaggle lacks 2 of 4 tickers: QQQ, IWM; add their prices, or leave them out"
    )
    assert "wide_closes.csv lacks 2 of 3 tickers: X, Y; add" in refusal_message(
        EXAMPLES / "wide_closes.csv", "FB", "X", "Y"
    )
    assert "has no ticker 'GOOH', it has AAPL, FB, GOOG; did you mean GOOG?" in refusal_message(
        EXAMPLES / "wide_closes.csv", "FB", "GOOH"
    )


def test_the_file_nearest_to_the_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_file(tmp_path, "Date,Close\n2020-01-02,5\n2020-01-03,6\n", "a.csv")
    write_file(tmp_path / "old", "Date,Close\n2020-01-02,1\n2020-01-03,2\n", "A.txt")
    np.testing.assert_array_equal(load(tmp_path, "A").close[:, 0], [5, 6])
    np.testing.assert_array_equal(load(tmp_path / "old", "A").close[:, 0], [1, 2])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no file that ends with \.csv, \.txt, \.tsv, "):
        load(tmp_path / "empty", "A")


def test_a_share_class_is_not_taken_for_the_ticker_without_it(tmp_path: Path) -> None:
    write_file(tmp_path, "Date,Close\n2020-01-02,5\n2020-01-03,6\n", "brk.b.csv")
    assert "has no ticker 'BRK', it has brk.b" in refusal_message(tmp_path, "BRK")
    assert load(tmp_path, "BRK.B").tickers == ("BRK.B",)


def test_the_digest_follows_every_file_that_was_read(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "kaggle", tmp_path / "kaggle")
    before = load(tmp_path / "kaggle", "AAPL", "MSFT").sha256
    assert load(tmp_path / "kaggle", "MSFT", "AAPL").sha256 == before
    (tmp_path / "kaggle" / "ETFs" / "spy.us.txt").write_text("Date,Close\n")
    assert load(tmp_path / "kaggle", "AAPL", "MSFT").sha256 == before
    with (tmp_path / "kaggle" / "Stocks" / "MSFT.csv").open("a") as file:
        file.write("\n")
    assert load(tmp_path / "kaggle", "AAPL", "MSFT").sha256 != before


def test_one_row_of_a_ticker_is_its_only_bar() -> None:
    content = b"Date,Ticker,Close\n2020-01-02,A,5\n2020-01-03,B,6\n"
    bars, _ = read_bars(content, path=Path("x.csv"), tickers=["B"])
    assert bars["B"]["close"].to_dict() == {pd.Timestamp("2020-01-03"): 6.0}
