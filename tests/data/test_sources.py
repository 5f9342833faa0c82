from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.csv.reader import BarFrame
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import SAMPLE_FILE_TICKERS, FileSource, SampleSource

from markets import random_walk_bars


def bars(seed: int = 0, sessions: int = 12) -> BarFrame:
    return random_walk_bars(np.random.default_rng(seed), pd.bdate_range("2020-01-01", periods=sessions))


def load(path: Path, *tickers: str, **keys: object) -> Prices:
    return load_prices(DataSpec(source=FileSource(path=path), tickers=tickers, **keys))


def csv(path: Path, table: pd.DataFrame, **options: Any) -> Path:
    table.to_csv(path, **options)
    return path


def test_every_sample_can_be_fetched_and_is_in_the_notice() -> None:
    notice = (Path(__file__).parents[2] / "quantlr/data/samples/NOTICE.md").read_text()
    for kind, tickers_by_file in SAMPLE_FILE_TICKERS.items():
        for name, tickers in tickers_by_file.items():
            prices = load_prices(DataSpec(source={"kind": "sample", "prices": kind}, tickers=tickers))
            assert prices.tickers == tickers
            assert name in notice
        listed = SampleSource.model_validate({"prices": kind}).list_tickers()
        assert listed == [ticker for tickers in tickers_by_file.values() for ticker in tickers]


def test_the_closes_to_2022_have_the_crises_and_agree_with_the_bars() -> None:
    closes = load_prices(DataSpec(source={"kind": "sample", "prices": "closes"}, tickers="all"))
    table = pd.DataFrame(closes.close, closes.sessions, columns=list(closes.tickers))
    assert (len(table), str(table.index[0].date()), str(table.index[-1].date())) == (8313, "1990-01-02", "2022-12-28")
    assert table["^GSPC"].pct_change().idxmin() == pd.Timestamp("2020-03-16")
    assert table.loc["2022-12-28", "AAPL"] == pytest.approx(125.847, abs=1)
    index = load_prices(DataSpec(source=SampleSource(), tickers=("^GSPC",)))
    np.testing.assert_allclose(table["^GSPC"].loc[index.sessions], index.close[:, 0], rtol=2e-6)


def test_the_samples_have_the_documented_prices() -> None:
    index = load_prices(DataSpec(source=SampleSource(), tickers=("^GSPC",)))
    assert (len(index.sessions), str(index.sessions[0].date()), str(index.sessions[-1].date())) == (
        5031, "1999-01-04", "2018-12-31",
    )  # fmt: skip
    assert index.close[-1, 0] == 2506.850098
    stocks = load_prices(DataSpec(source=SampleSource(), tickers=("AAPL", "FB", "GOOG", "IBM", "MSFT")))
    np.testing.assert_array_equal(stocks.n_bars, [3270, 196, 2148, 3270, 3270])
    apple = pd.Series(stocks.close[:, 0], index=stocks.sessions[stocks.session[:, 0]]).pct_change()
    assert apple["2000-06-21"] > -0.1, "the 2:1 split is adjusted"
    assert apple["2000-09-29"] == pytest.approx(-0.519, abs=5e-4), "the crash is real and stays"
    assert stocks.open[0, 0] == pytest.approx(118.56 * 4.186662803811 / 130.31)


def test_error_on_an_unknown_ticker_lists_the_known_tickers() -> None:
    with pytest.raises(DataError, match=r"no ticker 'APPL', it has \^GSPC, AAPL, FB.*did you mean AAPL\?") as caught:
        load_prices(DataSpec(source=SampleSource(), tickers=("APPL",)))
    assert caught.value.key == "data.tickers"


@pytest.mark.parametrize(
    "names",
    [
        {"open": "Open", "high": "High", "low": "Low", "close": "Close", "adj_close": "Adj Close", "volume": "Volume"},
        {
            "open": "OPEN",
            "high": " high",
            "low": "low ",
            "close": "Close*",
            "adj_close": "adjusted_close",
            "volume": "Vol.",
        },
    ],
)
def test_columns_are_known_by_the_names_that_exporters_write(tmp_path: Path, names: dict[str, str]) -> None:
    table = bars()
    table["adj_close"] = table["close"] * 0.5
    table["Dividends"] = 0.0
    prices = load(csv(tmp_path / "x.csv", table.rename(columns=names), index_label="Date"), "XYZ")
    np.testing.assert_allclose(prices.close[:, 0], table["close"] * 0.5)
    np.testing.assert_allclose(prices.open[:, 0], table["open"] * 0.5)
    np.testing.assert_allclose(prices.raw_close[:, 0], table["close"])
    np.testing.assert_array_equal(prices.volume[:, 0], table["volume"])


def test_a_long_table_holds_several_tickers_and_tickers_stay_text(tmp_path: Path) -> None:
    tables = [bars(seed).assign(Symbol=name) for seed, name in enumerate(("NA", "0700", "TRUE"))]
    path = csv(tmp_path / "all.csv", pd.concat(tables), index_label="date")
    prices = load(path, "0700", "NA", "TRUE")
    assert prices.tickers == ("0700", "NA", "TRUE")
    np.testing.assert_allclose(prices.close[:, 1], bars(0)["close"])
    with pytest.raises(DataError, match="has no ticker 'na', it has NA, 0700, TRUE; did you mean NA"):
        load(path, "na")


def test_a_folder_holds_one_file_per_ticker(tmp_path: Path) -> None:
    csv(tmp_path / "aaa.csv", bars(1), index_label="Date")
    bars(2, sessions=20).rename_axis("Date").to_parquet(tmp_path / "BBB.parquet")
    prices = load(tmp_path, "BBB", "AAA")
    np.testing.assert_array_equal(prices.n_bars, [20, 12])
    with pytest.raises(DataError, match="has no ticker 'CCC', it has BBB, aaa"):
        load(tmp_path, "CCC")


def test_parquet_and_csv_of_the_same_prices_are_the_same(tmp_path: Path) -> None:
    table = bars().rename_axis("Date").reset_index()
    table.to_parquet(tmp_path / "x.parquet")
    a = load(csv(tmp_path / "x.csv", table, index=False), "X")
    b = load(tmp_path / "x.parquet", "X")
    np.testing.assert_allclose(a.close, b.close)
    pd.testing.assert_index_equal(a.sessions, b.sessions)
    assert a.sha256 != b.sha256


def test_time_zones_leave_the_date_as_written(tmp_path: Path) -> None:
    table = bars()
    table.index = pd.DatetimeIndex(table.index).tz_localize("America/New_York")
    prices = load(csv(tmp_path / "x.csv", table, index_label="Date"), "X")
    assert prices.sessions.tz is None
    assert list(prices.sessions) == list(bars().index)


def test_rows_with_the_newest_first_are_sorted_and_noted(tmp_path: Path) -> None:
    prices = load(csv(tmp_path / "x.csv", bars().iloc[::-1], index_label="Date"), "X")
    np.testing.assert_allclose(prices.close[:, 0], bars()["close"])
    (note,) = prices.notes
    assert note.text == "rows were newest first; they were sorted"
    assert (note.ticker, note.date, note.count, note.key) == ("X", None, 11, "data.quality.order")


def test_rows_in_no_order_are_sorted_and_noted(tmp_path: Path) -> None:
    table = bars()
    prices = load(csv(tmp_path / "x.csv", table.iloc[[1, 0, *range(2, len(table))]], index_label="Date"), "X")
    np.testing.assert_allclose(prices.close[:, 0], table["close"])
    (note,) = prices.notes
    assert note.text == "comes after 2020-01-02: rows were not in the order of their dates; they were sorted"
    assert (note.ticker, note.date, note.count, note.key) == ("X", "2020-01-01", 1, "data.quality.order")


def test_dates_are_cut_with_both_ends_included(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", bars(), index_label="Date")
    prices = load(path, "X", start="2020-01-03", end="2020-01-08")
    assert [str(date.date()) for date in prices.sessions] == ["2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"]
    with pytest.raises(DataError, match="X has 1 bars between 2020-01-03 and 2020-01-05; at least 2"):
        load(path, "X", start="2020-01-03", end="2020-01-05")


def broken(tmp_path: Path, *changes: tuple[int, str, str], header: str | None = None) -> Path:
    """Return a CSV with some cells replaced, by its line and column."""
    lines = bars().to_csv(index_label="Date").splitlines()
    names = lines[0].split(",")
    for line, column, text in changes:
        cells = lines[line - 1].split(",")
        cells[names.index(column)] = text
        lines[line - 1] = ",".join(cells)
    if header is not None:
        lines[0] = header
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [(5, "close", '"1.234,5"')],
            r"bad\.csv: '50\.\d+' in line \d+ has a decimal point, and '1\.234,5' in line 5 a decimal comma; write",
        ),
        ([(4, "open", "halted")], r"bad\.csv:4: open: needed a number, found 'halted'; correct the cell"),
        ([(3, "Date", "03/04/2020")], r"bad\.csv:3: .*found '03/04/2020' \(day and month can't be distinguished\)"),
        (
            [(3, "Date", "2020-02-31")],
            r"bad\.csv:3: Date: found '2020-02-31', which is not a day of the calendar",
        ),
        (
            [(6, "close", "0")],
            r"bad\.csv:6: X 2020-01-07: close needs a positive number, found 0\.0; correct the data, or write data",
        ),
        ([(6, "low", "-3")], r"X 2020-01-07: low needs a positive number, found -3\.0"),
        ([(6, "close", "inf")], r"X 2020-01-07: close needs a positive number, found inf"),
        ([(6, "close", "")], r"X 2020-01-07: close needs a positive number, found none"),
        ([(7, "volume", "-1")], r"X 2020-01-08: volume can't be -1\.0"),
        (
            [(4, "Date", "2020-01-02")],
            r"bad\.csv:3: X 2020-01-02: two rows of one date, with open .* in one and .* in the other \(2 such rows\)",
        ),
        ([(4, "volume", "5,6")], r"bad\.csv:4: needed 7 columns, as the header has, found 8: '2020-01-03,"),
    ],
)
def test_an_error_names_the_line_or_date(tmp_path: Path, changes: list[tuple[int, str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(broken(tmp_path, *changes), "X")


def test_a_row_without_any_price_is_dropped_and_noted(tmp_path: Path) -> None:
    names = ("open", "high", "low", "close", "adj_close")
    prices = load(broken(tmp_path, *((5, name, "") for name in names)), "X")
    assert len(prices.sessions) == 11
    (note,) = prices.notes
    assert (note.text, note.date, note.count) == ("has no price; dropped", "2020-01-06", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"x\.csv is empty"),
        ("Date,Close\n", "has a header line and no rows"),
        ("Date,Close\n2020-01-01,5\n", "X has 1 bars; at least 2 are needed"),
        ("When,Close\n2020-01-01,5\n", r"has no column of dates \('Date'\), it has: When, Close"),
        ("Date,Value\n2020-01-01,5\n", r"has no column of closes \('Close'\), nor one named X, it has: Date, Value"),
        ("Date,Close,close\n2020-01-01,5,5\n", "has the column close twice: Close, close"),
        ("Date,Close,Close\n2020-01-01,5,5\n", "has the column close twice: Close, Close"),
        (
            "Date,Close\n2020-01-02,1,234.5\n2020-01-03,1,250.0\n",
            r"x\.csv:2: needed 2 columns, as the header has, found 3",
        ),
        (b"Date,Close\n2020-01-01,\x81\xff\n", "is not UTF-8 text"),
    ],
)
def test_files_that_hold_no_prices(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        load(path, "X")


def test_file_of_closes_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfDate,Close\n2020-01-01,5\n\n2020-01-02,6\n\n")
    prices = load(path, "X")
    np.testing.assert_array_equal(prices.close[:, 0], [5, 6])
    assert np.isnan(prices.open).all()


def test_several_tickers_need_a_ticker_column(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", bars(), index_label="Date")
    with pytest.raises(DataError, match=r"no ticker column, so it can hold one ticker, and data\.tickers names 2"):
        load(path, "X", "Y")


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv does not exist; a path is relative to its config"):
        load(tmp_path / "nothing.csv", "X")


def test_parquet_with_cells_that_are_missing(tmp_path: Path) -> None:
    table = bars().rename_axis("Date").reset_index().astype({"volume": "Int64", "close": "Float64"})
    table.loc[3, "volume"] = pd.NA
    table.to_parquet(tmp_path / "x.parquet")
    assert np.isnan(load(tmp_path / "x.parquet", "X").volume[3, 0])
    table.loc[4, "close"] = pd.NA
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="X 2020-01-07: close needs a positive number, found none"):
        load(tmp_path / "x.parquet", "X")
    table.loc[2, "Date"] = pd.NaT
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet:3: Date: needed a date as YYYY-MM-DD, found ''"):
        load(tmp_path / "x.parquet", "X")
    text = bars().rename_axis("Date").reset_index().astype({"close": object})
    text.loc[1, "close"] = None
    text["close"] = text["close"].astype("str")
    text.to_parquet(tmp_path / "y.parquet")
    with pytest.raises(DataError, match="X 2020-01-02: close needs a positive number, found none"):
        load(tmp_path / "y.parquet", "X")


def test_what_is_wrong_outside_the_dates_or_with_another_ticker_is_no_matter(tmp_path: Path) -> None:
    wrong = bars(1).assign(ticker="BAD", close="oops")
    early = bars(2).assign(ticker="X")
    early.loc[early.index[0], "low"] = -1.0
    path = csv(tmp_path / "all.csv", pd.concat([wrong, early]), index_label="date")
    assert len(load(path, "X", start="2020-01-02").sessions) == 11


def test_two_files_of_one_ticker_are_refused(tmp_path: Path) -> None:
    csv(tmp_path / "A.csv", bars(), index_label="Date")
    bars().rename_axis("Date").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"has both A\.csv and a\.parquet for 'A'; keep one"):
        load(tmp_path, "A")


def test_a_path_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileSource.model_validate({"path": "~/p.csv"}).path == tmp_path / "p.csv"


def test_opens_that_nobody_traded_at_are_noted() -> None:
    prices = load_prices(DataSpec(source=SampleSource(), tickers=("^GSPC",)))
    assert "opens not tradable: 40% of them equal the close before" in {note.text for note in prices.notes}
    assert not load_prices(DataSpec(source=SampleSource(), tickers=("MSFT",))).notes


def test_moves_that_may_be_errors_are_noted_and_kept() -> None:
    (note,) = load_prices(DataSpec(source=SampleSource(), tickers=("AAPL",))).notes
    assert (note.ticker, note.date, note.count) == ("AAPL", "2000-09-29", 1)
    assert note.text.startswith("moved by -52% in a session")


def test_a_gap_in_the_prices_is_noted(tmp_path: Path) -> None:
    table = bars(sessions=60)
    path = csv(tmp_path / "x.csv", table.drop(table.index[20:40]), index_label="Date")
    (note,) = load(path, "X").notes
    assert (note.date, note.count) == (str(table.index[19].date()), 1)
    assert note.text == f"no bar until {table.index[40].date()}, 29 days later: a gap in the prices, or a halt"
