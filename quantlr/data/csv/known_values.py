"""Values other than prices in the columns of a file, and the times of their releases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from quantlr.data.csv.numbers import parse_numbers
from quantlr.data.csv.raw_table import DATE_DTYPE, CellTable, parse_dates


def parse_released_values(
    table: CellTable, value_index: int, release_index: int | None, *, decimal_mark: str
) -> pd.DataFrame:
    """Return a column of values and that of their releases, one row for each of the table; see `Observations`.

    Its columns are `value`, NaN where there is none; `release`, the dates and times as written, and `release_offset`,
    the minutes ahead of UTC that they are written in, NaN without a time zone. A row without a value needs no release:
    its release is NaT, and so are all where no column of releases is read.

    Raises
    ------
    DataError : naming the line of the first cell that is no number, or no date.
    """
    value = parse_numbers(table, value_index, decimal_mark=decimal_mark)
    release, offset = np.full(len(value), "NaT", dtype=DATE_DTYPE), np.full(len(value), np.nan)
    has_value = ~np.isnan(value)
    if release_index is not None and has_value.any():
        rows = replace(table, cells=table.cells[has_value])
        release[has_value], offset[has_value] = parse_dates(rows, release_index)
    return pd.DataFrame({"value": value, "release": release, "release_offset": offset}, index=table.cells.index)
