"""Tables as exporters write them, read into bars: column names, dates and numbers, with the line of what is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from quantlr.errors import DataError
from quantlr.types import Array, Note

Bars = pd.DataFrame
"""One ticker's bars: index of dates without time zone, columns open, high, low, close, adj_close, volume."""

SUFFIXES = (".csv", ".parquet")
FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
NAMES = {
    "date": ("date", "datetime", "timestamp", "day", "session", "index"),
    "ticker": ("ticker", "symbol"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "closelast"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "volume": ("volume", "vol"),
}
"""What a column is called here, and how others write it, without case, spaces and punctuation."""

_NOTHING = {"", "nan", "na", "n/a", "null", "none", "-"}
_ISO_DATE = r"\d{4}-\d{2}-\d{2}(?:[ T].*)?"


def read_bars(content: bytes, *, path: Path, tickers: Sequence[str]) -> tuple[dict[str, Bars], list[Note]]:
    """Return the bars of each ticker that a file holds, and notes on rows without a price, which are dropped.

    Parameters
    ----------
    content, path : the file's bytes, and its name for messages.
    tickers : the tickers wanted; a file without a ticker column holds the one that is named here.

    Raises
    ------
    DataError : naming the line, where a cell can't be read.
    """
    table, first_line = _table(content, path)
    table = table.rename(columns=_recognised(table, path))
    if "ticker" in table:
        owner = _text(table["ticker"]).to_numpy()
    elif len(tickers) == 1:
        owner = np.full(len(table), tickers[0], dtype=object)
    else:
        raise DataError(
            f"{path} has no ticker column, so it can hold one ticker, and data.tickers names {len(tickers)}; "
            "add a column 'ticker', or give a folder with one file per ticker",
            key="data.source.path",
        )
    for ticker in tickers:
        if ticker not in owner:
            raise unknown(ticker, list(dict.fromkeys(owner)), str(path))
    bars: dict[str, Bars] = {}
    notes: list[Note] = []
    for ticker in tickers:
        mine = _bars(table[owner == ticker], path, first_line)
        empty = mine[["open", "high", "low", "close", "adj_close"]].isna().all(axis=1)
        if empty.any():
            notes.append(Note("data", "rows without any price were dropped", ticker=ticker, count=int(empty.sum())))
        bars[ticker] = mine[~empty]
    return bars, notes


def unknown(ticker: str, known: Sequence[str], where: str) -> DataError:
    """Return the error for a ticker that is not `where` it was looked for, with a near name."""
    near = get_close_matches(ticker.upper(), known, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return DataError(f"{where} has no ticker {ticker!r}, it has {listed}{guess}", key="data.tickers")


def _bars(rows: pd.DataFrame, path: Path, first_line: int) -> Bars:
    """Return rows of one ticker as bars; what a table has no column for is NaN."""
    missing = np.full(len(rows), np.nan)
    values = {name: _numbers(rows[name], path, first_line) if name in rows else missing for name in FIELDS}
    if "close" not in rows:
        values["close"] = values["adj_close"]
    return pd.DataFrame(values, index=pd.DatetimeIndex(_dates(rows["date"], path, first_line), name="date"))


def _table(content: bytes, path: Path) -> tuple[pd.DataFrame, int]:
    """Return the file's cells (text for CSV, less empty lines), and what to add to an index to count its lines."""
    if path.suffix.casefold() == ".parquet":
        try:
            table = pd.read_parquet(BytesIO(content))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} can't be read as Parquet: {error}", key="data.source.path") from error
        return (table if isinstance(table.index, pd.RangeIndex) else table.reset_index()), 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                BytesIO(content), header=None, dtype=str, na_filter=False, skip_blank_lines=False, encoding="utf-8-sig"
            )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; needed a header line and prices", key="data.source.path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", key="data.source.path") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError(f"{path}: {reason}", key="data.source.path") from error
    table.columns = pd.Index(table.iloc[0].tolist())
    body = table.iloc[1:]
    return body[(body != "").any(axis=1).to_numpy()], 1


def _recognised(table: pd.DataFrame, path: Path) -> dict[str, str]:
    """Return the columns that are known, by their name in the file."""
    plain = [(str(column), re.sub(r"[^a-z0-9]", "", str(column).casefold())) for column in table.columns]
    if plain and plain[0][1] == "":
        plain[0] = (plain[0][0], "index")
    found: dict[str, str] = {}
    for name, spellings in NAMES.items():
        for spelling in spellings:
            matches = [column for column, text in plain if text == spelling]
            if len(matches) > 1:
                raise DataError(f"{path} has the column {name} twice: {', '.join(matches)}", key="data.source.path")
            if matches:
                found[matches[0]] = name
                break
    here = ", ".join(str(column) for column in table.columns)
    if len(table.columns) == 1 and ";" in here:
        here += " (separated by ';'? needed commas)"
    if "date" not in found.values():
        raise DataError(f"{path} has no column of dates ('Date'), it has: {here}", key="data.source.path")
    if not {"close", "adj_close"} & set(found.values()):
        raise DataError(f"{path} has no column of closes ('Close'), it has: {here}", key="data.source.path")
    if table.empty:
        raise DataError(f"{path} has a header line and no rows; needed prices", key="data.source.path")
    return found


def _text(column: pd.Series) -> pd.Series:
    """Return cells as text without outer blanks, "" where there is nothing."""
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def _dates(column: pd.Series, path: Path, first_line: int) -> pd.DatetimeIndex:
    """Return the session of each row: the date as written, whatever time or zone follows it."""
    if isinstance(column.dtype, (np.dtype, pd.DatetimeTZDtype)) and column.dtype.kind == "M" and column.notna().all():
        return pd.DatetimeIndex(column).tz_localize(None).normalize()
    text = _text(column)
    iso = text.str.fullmatch(_ISO_DATE)
    parsed = pd.to_datetime(text.str[:10].where(iso), format="%Y-%m-%d", errors="coerce")
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if len(bad):
        found = text.iloc[bad[0]]
        slashes = re.fullmatch(r"\d{1,2}[/.]\d{1,2}[/.]\d{2,4}", found)
        why = " (day and month can't be told apart)" if slashes else ""
        raise DataError(
            f"{path}:{first_line + column.index[bad[0]]}: {column.name}: needed a date as YYYY-MM-DD, found "
            f"{found!r}{why}; rewrite the dates as 2005-12-31",
            key="data.source.path",
        )
    return pd.DatetimeIndex(parsed)


def _numbers(column: pd.Series, path: Path, first_line: int) -> Array:
    """Return numbers, NaN for an empty cell."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    text = _text(column)
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(np.isnan(numbers) & ~text.str.casefold().isin(_NOTHING).to_numpy())
    if len(bad):
        found = text.iloc[bad[0]]
        hint = "write it with a decimal point and no separators" if re.search(r"\d,\d", found) else "mend the cell"
        raise DataError(
            f"{path}:{first_line + column.index[bad[0]]}: {column.name}: needed a number, found {found!r}; {hint}",
            key="data.source.path",
        )
    return numbers
