"""Kinds of price files by their content: text, Excel, Parquet, Feather, and each of these in a gzip or zip file."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import ipc, parquet

from quantlr.core.file_reading import UnreadableContentError, iter_zip_member, library_errors_translated, unzip
from quantlr.data.csv.excel import read_excel_table
from quantlr.data.csv.headings import is_date_heading
from quantlr.data.csv.raw_table import RawTable, ReadingOptions, require_table_size, source_path_error
from quantlr.data.csv.text import read_text_table

MAX_UNPACKED_BYTES = 4 << 30
MAX_UNPACKED_RATIO = 200
"""Bytes that one byte of a packed file may unpack to: prices need 3 to 20, a file made to fill the memory 1,000."""
MIN_UNPACKED_LIMIT_BYTES = 1 << 20
"""Unpacked size up to which the ratio does not matter: a short file of equal prices is packed tightly."""
KINDS = {
    b"PAR1": "Parquet",
    b"ARROW1": "Feather",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
"""Kinds of files that are read, by their first bytes; any other is text."""
KIND_BY_SUFFIX = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".feather": "Feather",
    ".arrow": "Feather",
    ".gz": "gzip",
    ".zip": "zip",
    ".xlsx": "zip",
    ".xlsm": "zip",
}
"""Kinds that the ending of a file's name states."""
UNREADABLE_KINDS = {
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of before 2007 (.xls)", "save it as .xlsx, or as CSV"),
    b"FEA1": ("Feather of version 1", "write it with pandas' to_feather, which writes version 2"),
    b"%PDF": ("a PDF document", "export its table as CSV"),
    b"\x89HDF": ("HDF5", "write its table as Parquet or CSV"),
    b"SQLite format 3": ("an SQLite database", "export its table as CSV"),
    b"\x80": ("a pickle of Python, which may run any code", "write the table as Parquet or CSV"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    b"Rar!": ("a RAR archive", "unpack it first"),
    b"BZh": ("a bzip2 file", "unpack it first"),
    b"\xfd7zXZ": ("an xz file", "unpack it first"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "unpack it first"),
    b"\x89PNG": ("a picture (PNG)", "export the table behind it as CSV"),
    b"\xff\xd8\xff": ("a picture (JPEG)", "export the table behind it as CSV"),
    b"{": ("JSON", "write its table as CSV"),
    b"[": ("JSON", "write its table as CSV"),
    **dict.fromkeys(
        (b"<!doctype", b"<html", b"<head", b"<body", b"<table", b"<?xml", b"<!--"),
        ("a page of HTML or XML", "download the table itself, as CSV or Excel"),
    ),
}
"""Kinds of files that are not read, by their first bytes in lower case, and what to do."""
N_PROBED_BYTES = 4096


def read_raw_table(content: bytes, *, path: Path, options: ReadingOptions) -> RawTable:
    """Return a file's first lines from its header on, and a reader of the rest.

    Raises
    ------
    DataError : the file is empty, is of a kind that is not read or not of the one that its name states, or it has too
        many columns or rows, or unpacks to too much.
    """
    kind = next((kind for mark, kind in KINDS.items() if content.startswith(mark)), "text")
    stated = KIND_BY_SUFFIX.get(path.suffix.casefold(), "text")
    if kind == "text" and stated != "text" and content:
        raise _damaged_error(path, stated, "its first bytes are others")
    return READERS[kind](content, path, options)


def _damaged_error(path: Path, kind: str, reason: str) -> Exception:
    """Return the error for a file that is not what its name or its first bytes state."""
    if path.suffix.casefold() in (".xlsx", ".xlsm"):
        advice = "open it in Excel and save it again, or as CSV"
        return source_path_error(f"{path} can't be read as an Excel workbook: {reason}; {advice}")
    if kind in ("gzip", "zip"):
        return source_path_error(f"{path} can't be unzipped: {reason}; fetch it again, or unzip it yourself")
    return source_path_error(f"{path} can't be read as {kind}: {reason}; write it again, or as CSV")


def _unpacked_limit(content: bytes) -> int:
    return min(MAX_UNPACKED_BYTES, max(MAX_UNPACKED_RATIO * len(content), MIN_UNPACKED_LIMIT_BYTES))


def _read_text(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    start = content[:N_PROBED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = next((found for mark, found in UNREADABLE_KINDS.items() if start.startswith(mark.lower())), None)
    is_utf_16_or_32 = options.encoding is not None or content.startswith(
        (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
    )
    if found is None and b"\x00" in start and not is_utf_16_or_32:
        found = ("a file of bytes that are not text", "write its table as CSV; UTF-16 needs data.source.encoding")
    if found and not is_utf_16_or_32:
        needed = "needed a table as text, Excel, Parquet or Feather"
        raise source_path_error(f"{path}: {needed}, found {found[0]}; {found[1]}")
    return read_text_table(content, path, options)


def _read_gzip(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    try:
        unpacked = unzip(content, max_bytes=_unpacked_limit(content))
    except UnreadableContentError as error:
        raise source_path_error(f"{path}: {error}; unzip it yourself if it is what it should be") from error
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged_error(path, "gzip", str(error)) from error
    if unpacked.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise source_path_error(f"{path}: needed a table, found a packed file in a packed file; unzip it once")
    return read_raw_table(unpacked, path=_inner_path(path, ""), options=options)


def _inner_path(path: Path, name: str) -> Path:
    """Return the path that names what is inside a packed file in messages: that file's own, without its ending."""
    return path.with_suffix(Path(name).suffix) if name else path.with_suffix("")


def _read_zip(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    """Return the table of the only file in a zip file, or of an Excel workbook, which is a zip file too."""
    try:
        with library_errors_translated("a zip file", unless=(zipfile.BadZipFile,)):
            archive = zipfile.ZipFile(BytesIO(content))
    except (zipfile.BadZipFile, UnreadableContentError) as error:
        raise _damaged_error(path, "zip", str(error)) from error
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    limit = _unpacked_limit(content)
    if "xl/workbook.xml" in names or "[Content_Types].xml" in names:
        return read_excel_table(content, archive, path, options, max_bytes=limit)
    if "mimetype" in names and "content.xml" in names:
        raise source_path_error(f"{path}: needed .xlsx, found a workbook of OpenDocument; save it as .xlsx, or as CSV")
    if len(names) != 1:
        raise source_path_error(f"{path}: needed a zip file with one file, found {len(names)}; unzip it into a folder")
    try:
        unpacked = b"".join(iter_zip_member(archive, names[0], max_bytes=limit))
    except UnreadableContentError as error:
        raise source_path_error(f"{path}: {error}; unzip it yourself if it is what it should be") from error
    if unpacked.startswith((b"\x1f\x8b", b"PK\x03\x04")) and not names[0].casefold().endswith((".xlsx", ".xlsm")):
        raise source_path_error(f"{path}: needed a table, found a packed file in a packed file; unzip it once")
    return read_raw_table(unpacked, path=_inner_path(path, names[0]), options=options)


def _read_parquet(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    def read() -> pd.DataFrame:
        metadata = parquet.read_metadata(BytesIO(content))
        require_table_size(path, n_rows=metadata.num_rows, n_columns=metadata.num_columns)
        return pd.read_parquet(BytesIO(content))

    return _read_frame(read, path, options, "Parquet")


def _read_feather(content: bytes, path: Path, options: ReadingOptions) -> RawTable:
    def read() -> pd.DataFrame:
        with ipc.open_file(pa.BufferReader(content)) as file:
            batches: list[pa.RecordBatch] = []
            n_rows = n_bytes = 0
            for index in range(file.num_record_batches):
                batch = file.get_batch(index)
                n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
                require_table_size(path, n_rows=n_rows, n_columns=batch.num_columns)
                if n_bytes > max(MAX_UNPACKED_RATIO * len(content), MIN_UNPACKED_LIMIT_BYTES):
                    raise source_path_error(
                        f"{path}: found more than {n_bytes:,} bytes unpacked; write it without packing"
                    )
                batches.append(batch)
            table: pd.DataFrame = pa.Table.from_batches(batches, file.schema).to_pandas()
            return table

    return _read_frame(read, path, options, "Feather")


def _read_frame(read: Callable[[], pd.DataFrame], path: Path, options: ReadingOptions, kind: str) -> RawTable:
    try:
        with library_errors_translated("a table of prices"):
            return replace(raw_table_from_frame(read(), path=path, options=options), format_text=kind)
    except UnreadableContentError as error:
        raise _damaged_error(path, kind, str(error)) from error


def index_to_column(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its index as columns, unless it only counts the rows; dates get a heading of dates."""
    index = table.index
    if isinstance(index, pd.RangeIndex):
        return table
    if isinstance(index, pd.PeriodIndex):
        table = table.set_axis(index.to_timestamp())
    if isinstance(table.index, pd.DatetimeIndex) and not is_date_heading(str(index.name)):
        table = table.rename_axis("date")
    return table.reset_index()


def raw_table_from_frame(table: pd.DataFrame, *, path: Path, options: ReadingOptions) -> RawTable:
    """Return a DataFrame as a file's table: its index becomes columns, unless it only counts the rows.

    Parameters
    ----------
    table : of any layout, also with several levels of columns, as yfinance's.
    path : the name of it in messages.
    options : how its text is to be read.
    """
    table = index_to_column(table)
    names = table.columns if isinstance(table.columns, pd.MultiIndex) else [(name,) for name in table.columns]
    header = tuple(tuple(map(str, level)) for level in zip(*names, strict=True))
    if not header:
        raise source_path_error(f"{path} has no columns; needed dates and prices")
    return RawTable(path, header, lambda _: table.set_axis(np.arange(1, len(table) + 1)), options.decimal)


READERS = {
    "text": _read_text,
    "gzip": _read_gzip,
    "zip": _read_zip,
    "Parquet": _read_parquet,
    "Feather": _read_feather,
}
