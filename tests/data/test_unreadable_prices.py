"""Files of prices that a library can't read, are too large, or have ambiguous columns: errors with a place."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet
from quantlr.cli import main
from quantlr.cli.terminal import run_for_exit_status
from quantlr.core.errors import DataError, Fault
from quantlr.core.values import Prices
from quantlr.data.csv.reader import read_bars
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import FileSource

DATES = pa.array([dt.date(2020, 1, 2), dt.date(2020, 1, 3)])
CLOSES = pa.array([5.0, 6.0])


def load(path: Path, *tickers: str) -> Prices:
    return load_prices(DataSpec(source=FileSource(path=path), tickers=tickers))


def error_text(content: bytes, *tickers: str, name: str = "x.csv") -> str:
    with pytest.raises(DataError) as caught:
        read_bars(content, path=Path(name), tickers=tickers or ("X",))
    assert caught.value.exit_status == 2
    assert caught.value.key in ("data.source.path", "data.tickers")
    return caught.value.message


def parquet_bytes(**columns: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


@pytest.mark.parametrize("ends", [("\r", "\r", "\r\n"), ("\r\n", "\r", "\r\n"), ("\n", "\r", ""), ("\r\n", "\n", "\n")])
def test_line_ends_of_every_system_are_read_also_when_mixed(ends: tuple[str, ...]) -> None:
    lines = ("Date,Close", "2020-01-02,5", "2020-01-03,6")
    content = "".join(line + end for line, end in zip(lines, ends, strict=True)).encode()
    bars, _ = read_bars(content, path=Path("x.csv"), tickers=["X"])
    assert bars["X"]["close"].tolist() == [5.0, 6.0]
    assert bars["X"]["line"].tolist() == [2, 3]


@pytest.mark.parametrize("line", [1, 2, 3])
@pytest.mark.parametrize("length", [110_000, 200_000])
def test_a_cell_of_very_long_text_is_refused_with_its_line(line: int, length: int) -> None:
    lines = ["Date,Close,Note", "2020-01-02,5,a", "2020-01-03,6,b"]
    lines[line - 1] += "x" * length
    text = error_text("\n".join(lines).encode())
    assert text.startswith(f"x.csv:{line}: needed cells of at most 100,000 characters, found a line of ")


def test_a_gzip_file_that_would_fill_the_memory_is_refused() -> None:
    header = b"Date,Close\n2020-01-02,5\n2020-01-03,6\n"
    for filler in (b"\n" * 50_000_000, b"2020-01-06,7\n" * 4_000_000):
        content = gzip.compress(header + filler)
        assert len(content) < 200_000
        text = error_text(content, name="x.csv.gz")
        assert text.startswith(f"x.csv.gz: needed at most {max(200 * len(content), 1 << 20):,} bytes unpacked")
    bars, _ = read_bars(gzip.compress(header + b"\n" * 900_000), path=Path("x.csv.gz"), tickers=["X"])
    assert bars["X"]["close"].tolist() == [5.0, 6.0]


def test_tables_with_too_many_columns_or_rows_are_refused_before_they_are_read() -> None:
    tickers = [f"T{number}" for number in range(20_000)]
    header = ",".join(["Date", *tickers]).encode()
    assert "x.csv: needed at most 20,000 columns, found 20,001; split" in error_text(header + b"\n2020-01-02,5\n", "T1")
    wide = parquet_bytes(Date=DATES, **dict.fromkeys(tickers, CLOSES))
    assert "x.parquet: needed at most 20,000 columns, found 20,001" in error_text(wide, "T1", name="x.parquet")
    long = parquet_bytes(Date=pa.nulls(100_000_001))
    assert len(long) < 1_000_000
    assert "needed at most 100,000,000 rows, found 100,000,001" in error_text(long, name="x.parquet")
    large = parquet_bytes(**{f"c{number}": pa.nulls(60_000_000) for number in range(10)})
    assert "60,000,000 rows of 10 columns, 4,800,000,000 bytes" in error_text(large, name="x.parquet")


NOT_TEXT = pa.array([b"\xff", b"\xfe"])


@pytest.mark.parametrize(
    ("columns", "place"),
    [
        ({"Date": DATES, "Close": NOT_TEXT}, "x.parquet: Close: needed numbers, found bytes that are not UTF-8"),
        ({"Date": NOT_TEXT, "Close": CLOSES}, "x.parquet: Date: needed dates, found bytes that are not UTF-8"),
        ({"Date": DATES, "Ticker": NOT_TEXT, "Close": CLOSES}, "x.parquet: Ticker: needed tickers, found bytes"),
        ({"Date": DATES, "Close": pa.array([[5.0], [6.0]])}, "x.parquet:1: Close: needed a number, found '[5.]'"),
        ({"Date": DATES, "Close": pa.array([{"a": 5}, {"a": 6}])}, "x.parquet:1: Close: needed a number, found"),
        ({"Date": pa.array([2**63, 2**64 - 1], pa.uint64()), "Close": CLOSES}, "x.parquet:1: Date: needed a date"),
        ({"Date": pa.array([2**31 - 1, 5], pa.int32()).cast(pa.date32()), "Close": CLOSES}, "x.parquet can't be read"),
        ({"Date": pa.array([1, 2], pa.timestamp("us", "No/Zone")), "Close": CLOSES}, "x.parquet can't be read"),
    ],
)
def test_columns_that_hold_no_prices_are_refused_with_their_name(columns: dict[str, Any], place: str) -> None:
    assert error_text(parquet_bytes(**columns), name="x.parquet").startswith(place)


@pytest.mark.parametrize("metadata", [b"5", b"[", b"\xff", b'{"index_columns": ["no"]}', b"[" * 100_000])
def test_a_parquet_file_with_foreign_metadata_of_pandas_is_refused(metadata: bytes) -> None:
    stream = io.BytesIO()
    table = pa.table({"Date": DATES, "Close": CLOSES}).replace_schema_metadata({b"pandas": metadata})
    parquet.write_table(table, stream)
    text = error_text(stream.getvalue(), name="x.parquet")
    assert text.startswith("x.parquet can't be read as Parquet: needed a table of prices, found")
    assert text.endswith("; write it again, or as CSV")


def test_a_ticker_without_closes_is_refused_only_if_it_is_wanted() -> None:
    for fields, listed in (("Close,Open,High", "open, high"), ("Close,Open,Volume", "open, volume")):
        content = f"Price,{fields}\nTicker,X,Y,Y\nDate,,,\n2020-01-02,5,6,7\n2020-01-03,6,7,8\n".encode()
        assert f"x.csv has no column of closes of Y, it has its {listed}; add" in error_text(content, "Y")
        bars, _ = read_bars(content, path=Path("x.csv"), tickers=["X"])
        assert bars["X"]["close"].tolist() == [5.0, 6.0]


@pytest.mark.parametrize("header", ["Date,X,X ", "Date, X,X", "Date,X,\tX", "Date,A,X,X\u00a0"])
def test_headings_that_differ_in_blanks_only_are_refused(header: str) -> None:
    names = header.split(",")
    content = f"{header}\n2020-01-02{',5' * (len(names) - 1)}\n2020-01-03{',6' * (len(names) - 1)}\n".encode()
    assert "has the column X twice; keep one" in error_text(content, "X")
    columns = [DATES, *[CLOSES] * (len(names) - 1)]
    table = parquet_bytes(**dict(zip(names, columns, strict=True)))
    assert "has the column X twice; keep one" in error_text(table, "X", name="x.parquet")


def test_a_folder_that_can_not_be_searched_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("new", "locked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name[0]}.csv").write_text("Date,Close\n2020-01-02,5\n2020-01-03,6\n")
    np.testing.assert_array_equal(load(tmp_path, "N").close[:, 0], [5, 6])
    scandir = os.scandir

    def refuse_locked(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_locked)
    for ticker in ("N", "L"):
        with pytest.raises(Fault, match="locked can't be listed: Permission denied; make it readable, or move it"):
            load(tmp_path, ticker)


def test_prices_in_special_files_and_deep_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv: needed a regular file, found a named pipe"):
        load(tmp_path / "pipe.csv", "X")
    with pytest.raises(DataError, match=r"/dev/zero: needed a regular file, found a device"):
        load(Path("/dev/zero"), "X")
    with pytest.raises(DataError, match="holds no file that ends with"):
        load(tmp_path, "PIPE")
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(DataError, match=r"sparse\.csv: needed at most 2,147,483,648 bytes, found 3,221,225,472"):
        load(tmp_path / "sparse.csv", "X")
    folder = tmp_path
    for _ in range(60):
        folder = folder / "d"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match="needed folders at most 50 deep"):
        load(tmp_path, "X")


def test_an_unreadable_file_ends_a_run_with_status_2_and_the_place_of_its_key(tmp_path: Path) -> None:
    config = "data: {source: {kind: file, path: x.parquet}, tickers: [X]}\nfeatures: [{kind: lagged_returns}]\n"
    (tmp_path / "x.yaml").write_text(config)
    for content in (b"PAR1" * 5, parquet_bytes(Date=DATES, Close=NOT_TEXT)):
        (tmp_path / "x.parquet").write_bytes(content)
        result = CliRunner().invoke(main, ["plan", str(tmp_path / "x.yaml")])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{tmp_path / 'x.yaml'}:1:35: data.source.path: {tmp_path / 'x.parquet'}")
        assert "Traceback" not in result.output
        assert "caused by" not in result.stderr
        verbose = CliRunner().invoke(main, ["plan", "-v", str(tmp_path / "x.yaml")])
        assert re.search(r"^caused by (ArrowInvalid|UnicodeDecodeError): ", verbose.stderr, re.MULTILINE)


def test_more_memory_than_there_is_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> int:
        raise error

    for error in (MemoryError(), np.linalg.LinAlgError()):
        if not isinstance(error, MemoryError):
            with pytest.raises(np.linalg.LinAlgError):  # a mistake of the program keeps its traceback
                run_for_exit_status(partial(fail, error))
            continue
        assert run_for_exit_status(partial(fail, error)) == 1
        assert capsys.readouterr().err.startswith("needed more memory than there is; use fewer tickers")
