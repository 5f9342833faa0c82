"""Tables as a workbook, read back by another library."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pandas as pd
from quantlr.report.file_formats import workbook_bytes

TABLE = pd.DataFrame(
    {
        "date": pd.to_datetime(["2020-01-02", "2020-01-03"]),
        "ticker": ["贵州茅台" * 8, "=1+1"],
        "value": [0.1, np.nan],
        "up": pd.Series([True, None], dtype="boolean"),
        "count": [1, 2],
    }
)


def test_workbook_has_a_sheet_for_each_table_with_the_same_values() -> None:
    content = workbook_bytes({"first": TABLE, "empty": TABLE.head(0)})
    sheets: Any = pd.read_excel(io.BytesIO(content), sheet_name=None, engine="calamine")
    assert list(sheets) == ["first", "empty"]
    read = sheets["first"]
    assert list(read.columns) == list(TABLE.columns) == list(sheets["empty"].columns)
    assert read["date"].tolist() == TABLE["date"].tolist()
    assert read["ticker"].tolist() == TABLE["ticker"].tolist()
    assert read["value"].iloc[0] == 0.1
    assert np.isnan(read["value"].iloc[1])
    assert read["count"].tolist() == [1, 2]
    assert bool(read["up"].iloc[0])
    assert pd.isna(read["up"].iloc[1])


def test_bytes_repeat_texts_are_no_formulas_and_wide_letters_have_room() -> None:
    content = workbook_bytes({"first": TABLE})
    assert workbook_bytes({"first": TABLE}) == content
    sheet = zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert 'min="2" max="2" width="62' in sheet, "32 letters of double width, cut at 60"
