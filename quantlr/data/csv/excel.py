"""Excel workbooks (.xlsx, .xlsm) as tables of cells, read by python-calamine.

calamine allocates the rectangle around all cells of a sheet, and returns cells of errors as empty ones. So all parts of
a workbook are unpacked and scanned first: their size, the references of the cells, and the errors among them.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.file_reading import UnreadableContentError, iter_zip_member, library_errors_translated
from quantlr.data.csv import raw_table
from quantlr.data.csv.raw_table import RawTable, ReadingOptions, require_table_size, source_path_error

MAX_EXCEL_CELLS = 20_000_000
"""Cells of the rectangle around a sheet's cells; each takes about 100 bytes while it is read."""
WORKBOOK_PART = "xl/workbook.xml"


@dataclass(slots=True)
class _SheetScan:
    """What a sheet's part of a workbook holds; rows and columns are counted from 1.

    Attributes
    ----------
    row, column : of the last cell that was scanned.
    n_rows, n_columns : largest row and column.
    error_cell : reference of the first cell of an error, "" if there is none.
    """

    row: int = 0
    column: int = 0
    n_rows: int = 0
    n_columns: int = 0
    error_cell: str = ""

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        """Count a row or a cell, at its reference or else after the one before."""
        name = tag.rpartition(":")[2]
        if name == "row":
            self.row, self.column = int(attributes.get("r", self.row + 1)), 0
        elif name == "c":
            letters, digits = re.fullmatch(r"([A-Za-z]*)(\d*)", attributes.get("r", "")).groups()  # type: ignore[union-attr]
            self.row = int(digits or self.row)
            self.column = _column_number(letters) if letters else self.column + 1
            if attributes.get("t") == "e":
                self.error_cell = self.error_cell or attributes.get("r", f"row {self.row}")
        else:
            return
        self.n_rows, self.n_columns = max(self.n_rows, self.row), max(self.n_columns, self.column)


@dataclass(slots=True)
class _WorkbookScan:
    """What a workbook lists.

    Attributes
    ----------
    sheet_ids : by the name of a sheet the identifier of its part.
    parts : by identifier the file name of the part.
    is_from_1904 : whether its days count from 1904.
    """

    sheet_ids: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    is_from_1904: bool = False

    def part_of_sheet(self, sheet_name: str) -> str:
        """Return the name of a sheet's part, "" if it is not known."""
        return self.parts.get(self.sheet_ids.get(sheet_name, ""), "")

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        """Take what an element of the workbook's list of sheets, or of its relations, states."""
        name = tag.rpartition(":")[2]
        if name == "workbookPr":
            self.is_from_1904 = attributes.get("date1904", "0") in ("1", "true")
        elif name == "sheet":
            identifier = next((value for key, value in attributes.items() if key.rpartition(":")[2] == "id"), "")
            self.sheet_ids[attributes.get("name", "")] = identifier
        elif name == "Relationship":
            self.parts[attributes.get("Id", "")] = PurePosixPath(attributes.get("Target", "")).name


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def read_excel_table(
    content: bytes, archive: zipfile.ZipFile, path: Path, options: ReadingOptions, *, max_bytes: int
) -> RawTable:
    """Return the first lines of a workbook's sheet from its header on, and a reader of the rest.

    Parameters
    ----------
    content, archive : the workbook's bytes, and these as a zip file.
    path, options : the file's path for messages, and how it is to be read: `options.sheet` names the sheet.
    max_bytes : the most that all parts together may unpack to.

    Raises
    ------
    DataError : it is damaged or too large; several sheets hold something and none is named; or a cell of the sheet
        is an error.
    """
    try:
        with library_errors_translated("an Excel workbook"):
            workbook, scan_by_part = _scan_workbook(archive, path, max_bytes)
            sheet_name, rows, first_row = _read_sheet(content, path, options)
    except UnreadableContentError as error:
        advice = "open it in Excel and save it again, or as CSV"
        raise source_path_error(f"{path} can't be read as an Excel workbook: {error}; {advice}") from error
    _require_no_error_cell(path, sheet_name, scan_by_part.get(workbook.part_of_sheet(sheet_name)))
    n_preamble, n_header = raw_table.MAX_PREAMBLE_LINES, raw_table.MAX_HEADER_LINES
    texts = [tuple(map(_cell_text, row)) for row in rows[: n_preamble + n_header]]
    positions = (raw_table.find_header_row(texts[:n_preamble], options, test) for test in raw_table.HEADER_TESTS)
    header = next((position for position in positions if position is not None), 0)
    return RawTable(
        path,
        tuple(texts[header : header + n_header]),
        lambda n_lines: _body_cells(rows, header + n_lines, first_row),
        options.decimal,
        refuses_serial_dates=workbook.is_from_1904,
        format_text=f"Excel, sheet {raw_table.printable(sheet_name)}",
    )


def _scan_workbook(archive: zipfile.ZipFile, path: Path, max_bytes: int) -> tuple[_WorkbookScan, dict[str, _SheetScan]]:
    """Return what a workbook lists, and what each of its sheets holds, by the name of its part.

    Raises
    ------
    DataError : a sheet has more cells than are read.
    UnreadableContentError : the parts unpack to more than `max_bytes`.
    """
    workbook = _WorkbookScan()
    scan_by_part: dict[str, _SheetScan] = {}
    for name in archive.namelist():
        n_bytes = archive.getinfo(name).file_size
        blocks = iter_zip_member(archive, name, max_bytes=max_bytes)
        max_bytes -= n_bytes
        part = PurePosixPath(name).name
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            scan_by_part[part] = scan = _SheetScan()
            _scan_xml(blocks, scan)
            _require_sheet_size(path, scan)
        elif name in (WORKBOOK_PART, "xl/_rels/workbook.xml.rels"):
            _scan_xml(blocks, workbook)
        else:
            for _ in blocks:
                pass
    return workbook, scan_by_part


def _scan_xml(blocks: Iterator[bytes], scan: _SheetScan | _WorkbookScan) -> None:
    def refuse_doctype(*_: Any) -> None:
        raise UnreadableContentError("needed plain XML, found a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = scan.start_element
    parser.StartDoctypeDeclHandler = refuse_doctype
    for block in blocks:
        parser.Parse(block, False)
        if isinstance(scan, _SheetScan) and scan.n_columns > MAX_EXCEL_CELLS:
            break
    parser.Parse(b"", True)


def _require_sheet_size(path: Path, scan: _SheetScan) -> None:
    require_table_size(path, n_rows=0, n_columns=scan.n_columns)
    if scan.n_rows * scan.n_columns > MAX_EXCEL_CELLS:
        found = f"{scan.n_rows:,} rows of {scan.n_columns:,} columns"
        text = f"needed a sheet of at most {MAX_EXCEL_CELLS:,} cells, found {found}; save it as CSV"
        raise source_path_error(f"{path}: {text}")


def _require_no_error_cell(path: Path, sheet_name: str, scan: _SheetScan | None) -> None:
    if scan and scan.error_cell:
        place = f"{path}: {sheet_name}!{scan.error_cell}"
        raise source_path_error(f"{place}: needed a value, found an error of Excel, as #N/A; correct or empty the cell")


def _read_sheet(content: bytes, path: Path, options: ReadingOptions) -> tuple[str, list[list[Any]], int]:
    """Return the name of the sheet to read, its rows, and the number of the first of them."""
    from python_calamine import CalamineWorkbook, SheetVisibleEnum

    workbook = CalamineWorkbook.from_filelike(BytesIO(content))
    names = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
    if options.sheet is not None:
        if options.sheet not in workbook.sheet_names:
            listed = ", ".join(workbook.sheet_names)
            raise DataError(f"{path} has no sheet {options.sheet!r}, it has {listed}", key="data.source.sheet")
        names = [options.sheet]
    sheets = [sheet for sheet in map(workbook.get_sheet_by_name, names) if sheet.start is not None]
    if not sheets:
        raise raw_table.empty_file_error(path)
    if len(sheets) > 1:
        listed = ", ".join(sheet.name for sheet in sheets)
        text = f"{path} has {len(sheets)} sheets that hold something: {listed}; name one, as data.source.sheet"
        raise source_path_error(text)
    (sheet,) = sheets
    first_row = sheet.start[0] if sheet.start else 0
    return sheet.name, sheet.to_python(), first_row + 1


def _cell_text(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _body_cells(rows: list[list[Any]], n_skipped: int, first_row: int) -> pd.DataFrame:
    """Return the rows after the first `n_skipped`, each column as dates, numbers or text where all its cells are."""
    body = rows[n_skipped:]
    columns = [_typed_column(list(cells)) for cells in zip(*body, strict=True)] or [[] for _ in rows[0]]
    index = np.arange(len(body)) + first_row + n_skipped
    return pd.DataFrame(dict(enumerate(columns)), index=index)


def _typed_column(cells: list[Any]) -> Any:
    filled = [cell for cell in cells if cell != ""]
    if filled and all(isinstance(cell, dt.date) for cell in filled):
        return pd.to_datetime(pd.Series([pd.NaT if cell == "" else cell for cell in cells], dtype=object)).to_numpy()
    is_number = [isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in filled]
    if not filled or not all(is_number):
        return np.array(
            [_cell_text(cell) if isinstance(cell, (str, dt.date, bool)) else _integer(cell) for cell in cells],
            dtype=object,
        )
    if len(filled) == len(cells) and all(float(cell).is_integer() for cell in filled):
        return np.array(cells, dtype=np.int64)
    return np.array([np.nan if cell == "" else cell for cell in cells], dtype=np.float64)


def _integer(cell: Any) -> Any:
    """Return a number without a fraction as an integer, so that a ticker 700 is not 700.0."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell
