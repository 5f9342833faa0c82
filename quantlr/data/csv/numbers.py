"""Numbers in text cells: the decimal mark, decided from all cells of a file, and the parsing of each column by it.

A mark is proven to be the decimal one by a number in which it is the last of two different marks, is not followed by
exactly three digits, or follows one 0 or more than three digits; or in which the other mark is repeated. A mark that
is only ever followed by three digits proves nothing: 1.234 may be one and a bit, or a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype
from pyarrow import compute

from quantlr.core.values import Array
from quantlr.data.csv.raw_table import CellTable, cells_to_text, source_path_error

MISSING_VALUE_MARKERS = (
    *("", "nan", "na", "n/a", "n.a.", "n/d", "#n/a", "#n/a n/a", "null", "none", "\\n"),
    *(".", "-", "--", "—"),
)
"""Texts that exporters write for a missing number, in lower case."""
OTHER_MARK = {".": ",", ",": "."}
BLANKS = " \u00a0\u2009\u202f"
MULTIPLIER_BY_SUFFIX = {
    "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12, "%": 1e-2, "mio": 1e6, "mrd": 1e9,
    "к": 1e3, "м": 1e6, "б": 1e9, "тыс": 1e3, "млн": 1e6, "млрд": 1e9,
    "万": 1e4, "亿": 1e8, "만": 1e4, "억": 1e8,
}  # fmt: skip
"""What a number is multiplied by if this text follows it, in lower case."""
CURRENCIES = "[$€£¥₩₹₽]"
PREFIX_PATTERN = rf"(?P<sign>[-+]?)(?:{CURRENCIES}[{BLANKS}]?)?"
SUFFIX_PATTERN = rf"[{BLANKS}]?(?P<suffix>{'|'.join(MULTIPLIER_BY_SUFFIX)})?\.?[{BLANKS}]?{CURRENCIES}?"


def _number_pattern(core: str) -> str:
    # Digits of other scripts match \d too, and are no numbers to Arrow.
    return f"(?i)^{PREFIX_PATTERN}(?P<number>{core}){SUFFIX_PATTERN}$".replace(r"\d", "[0-9]")


def _mark_evidence_pattern(mark: str) -> str:
    """Return the pattern of numbers that show that `mark` is the decimal mark."""
    decimal, other = re.escape(mark), re.escape(OTHER_MARK[mark])
    groups = rf"\d{{1,3}}(?:{other}\d{{2,3}})*{other}\d{{3}}"
    cores = (
        rf"{groups}{decimal}\d+",
        rf"\d{{1,3}}(?:{other}\d{{2,3}})+{other}\d{{3}}",
        rf"\d*{decimal}(?:\d{{1,2}}|\d{{4,}})",
        rf"(?:0|\d{{4,}}|){decimal}\d{{3}}",
        rf"\d*{decimal}\d+e[-+]?\d+",
    )
    return _number_pattern("|".join(cores))


MARK_EVIDENCE_PATTERNS = {mark: _mark_evidence_pattern(mark) for mark in OTHER_MARK}
AMBIGUOUS_NUMBER_PATTERN = _number_pattern(r"\d{1,3}[.,]\d{3}")
GROUP_BLANKS_PATTERN = rf"(\d)[{BLANKS}'’](\d)"


def decide_decimal_mark(table: CellTable, other_columns: Collection[int]) -> str:
    """Return the decimal mark of a file: the one that its numbers prove, of all columns but dates and tickers.

    Parameters
    ----------
    table : the cells; `table.decimal_mark`, where it is known, is returned.
    other_columns : columns that hold no numbers, counted from 0.

    Raises
    ------
    DataError : some numbers prove a point and others a comma; or there are marks, and no number proves either.
    """
    if table.decimal_mark is not None:
        return table.decimal_mark
    proof_by_mark: dict[str, str] = {}
    ambiguous = ""
    for index, cells in _iter_text_columns(table, other_columns):
        for mark, pattern in MARK_EVIDENCE_PATTERNS.items():
            if mark not in proof_by_mark and (place := _first_match(table, index, cells, pattern)):
                proof_by_mark[mark] = place
        ambiguous = ambiguous or _first_match(table, index, cells, AMBIGUOUS_NUMBER_PATTERN)
    if len(proof_by_mark) == 2:
        reason = f"{proof_by_mark['.']} has a decimal point, and {proof_by_mark[',']} a decimal comma"
        raise source_path_error(f"{table.path}: {reason}; write all numbers alike, or set data.source.decimal")
    if not proof_by_mark and ambiguous:
        reason = f"{ambiguous} may be a decimal number or a thousand, and no other number shows which"
        raise source_path_error(f"{table.path}: {reason}; set data.source.decimal to '.' or ','")
    return next(iter(proof_by_mark), ".")


def _iter_text_columns(table: CellTable, other_columns: Collection[int]) -> Iterator[tuple[int, pa.Array]]:
    for index in range(table.cells.shape[1]):
        cells = table.cells.iloc[:, index]
        if (
            index not in other_columns
            and not is_numeric_dtype(cells.dtype)
            and not is_datetime64_any_dtype(cells.dtype)
        ):
            is_text = cells.map(lambda cell: isinstance(cell, str)) if cells.dtype == object else cells.notna()
            text = cells_to_text(cells.where(is_text, ""))
            if text.str.contains("[.,]").any():
                yield index, pa.array(text.str.replace(GROUP_BLANKS_PATTERN, r"\1\2", regex=True))


def _first_match(table: CellTable, column_index: int, cells: pa.Array, pattern: str) -> str:
    """Return the text and place of the first cell that matches, "" if none does."""
    row = compute.index(compute.match_substring_regex(cells, pattern), True).as_py()
    if row < 0:
        return ""
    text = cells_to_text(table.cells.iloc[[row], column_index]).iloc[0]
    return f"{text!r} in line {table.cells.index[row]}"


def parse_numbers(table: CellTable, column_index: int, *, decimal_mark: str = ".") -> Array:
    """Return a column as numbers, NaN for a missing cell.

    A number may have separators of thousands, a currency's sign, and a suffix: 1.2M is 1,200,000, and 5% is 0.05.

    Raises
    ------
    DataError : naming the line of the first cell that is not a number.
    """
    with table.column_errors(column_index, needed="numbers"):
        cells = table.cells.iloc[:, column_index]
        if is_numeric_dtype(cells.dtype) and not is_bool_dtype(cells.dtype):
            return cells.to_numpy(dtype=np.float64, na_value=np.nan)
        if cells.dtype == object:
            return _objects_to_floats(table, column_index, decimal_mark)
        return _text_column_to_floats(table, column_index, cells_to_text(cells), decimal_mark)


def _objects_to_floats(table: CellTable, column_index: int, decimal_mark: str) -> Array:
    """Return a column of numbers and texts, as a spreadsheet may have it; a number needs no parsing."""
    cells = table.cells.iloc[:, column_index]
    is_number = cells.map(lambda cell: isinstance(cell, (int, float)) and not isinstance(cell, bool))
    numbers = cells.where(is_number, np.nan).to_numpy(dtype=np.float64)
    texts = _text_column_to_floats(table, column_index, cells_to_text(cells.where(~is_number, "")), decimal_mark)
    return np.where(is_number, numbers, texts)


def _text_column_to_floats(table: CellTable, column_index: int, text: pd.Series[str], decimal_mark: str) -> Array:
    if decimal_mark == "." and (floats := _cast_to_floats_or_none(text)) is not None:
        return floats  # nothing is missing
    text = text.mask(text.str.lower().isin(MISSING_VALUE_MARKERS))
    if decimal_mark == "." and (floats := _cast_to_floats_or_none(text)) is not None:
        return floats
    groups = text.str.extract(_formatted_number_pattern(decimal_mark))
    invalid = np.asarray(text.notna() & groups["number"].isna())
    if invalid.any():
        raise table.cell_error(column_index, int(invalid.argmax()), _reason(text[invalid].iloc[0], decimal_mark))
    digits = groups["number"].str.replace(rf"[{BLANKS}'’{OTHER_MARK[decimal_mark]}]", "", regex=True)
    numbers = _cast_to_floats(groups["sign"].str.removeprefix("+") + digits.str.replace(decimal_mark, ".", regex=False))
    multipliers = groups["suffix"].str.lower().map(MULTIPLIER_BY_SUFFIX).fillna(1.0)
    return numbers * multipliers.to_numpy(dtype=np.float64)


def _formatted_number_pattern(decimal_mark: str) -> str:
    decimal, thousands = re.escape(decimal_mark), rf"[{OTHER_MARK[decimal_mark]}'’{BLANKS}]"
    whole = rf"\d+|\d{{1,3}}(?:{thousands}\d{{3}})+|\d{{1,2}}(?:{thousands}\d{{2}})*{thousands}\d{{3}}"
    return _number_pattern(rf"(?:{whole})(?:{decimal}\d*)?(?:e[-+]?\d+)?|{decimal}\d+")


def _reason(cell: str, decimal_mark: str) -> str:
    """Return why a cell can't be read as a number, and what to do."""
    name = {".": "a decimal point", ",": "a decimal comma"}[decimal_mark]
    if re.search(r"\d[.,]\d", cell):
        return f"needed a number with {name}, found {cell!r}; correct the cell, or set data.source.decimal"
    return f"needed a number, found {cell!r}; correct the cell"


def _cast_to_floats_or_none(text: pd.Series[str]) -> Array | None:
    """Return texts as numbers, None if one of them is not a number with a point."""
    try:
        return _cast_to_floats(text)
    except pa.ArrowInvalid:
        return None


def _cast_to_floats(text: pd.Series[str]) -> Array:
    # Arrow parses strictly, and to the last bit.
    floats = compute.cast(pa.array(text, from_pandas=True), pa.float64())
    return np.asarray(floats.to_numpy(zero_copy_only=False), dtype=np.float64)
