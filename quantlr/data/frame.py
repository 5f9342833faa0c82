"""Source of prices that a program passes as ``data=``: a DataFrame of any layout that a file may have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from pyarrow import ipc
from pydantic import Field, PrivateAttr

from quantlr.core.errors import DataError
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated
from quantlr.data.csv.formats import index_to_column, raw_table_from_frame
from quantlr.data.csv.raw_table import RawTable, ReadingOptions, require_table_size
from quantlr.data.csv.reader import bars_from_raw_table, tickers_of_raw_table
from quantlr.data.source import FetchedPrices, FetchRequest, Source

NAME_IN_MESSAGES = Path("data")


class FrameSource(Source):
    """Prices that a Python program passes as ``data=``; run again, such a config needs the same prices passed again."""

    kind: Literal["frame"] = "frame"
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Digest of the prices that were passed.", examples=["0" * 64]
    )
    _table: pd.DataFrame | None = PrivateAttr(default=None)

    example_parameters = ({"sha256": "0" * 64},)

    @classmethod
    def from_data(cls, data: Any) -> FrameSource:
        """Return the source of a table of prices.

        Parameters
        ----------
        data : as yfinance's `download` and `history` return them, or one row per bar, or one column of closes per
            ticker: a DataFrame of pandas, or a Series of closes by date; any table that Arrow reads, as polars'; or a
            mapping of tickers to such.

        Raises
        ------
        DataError : it is no such table.
        """
        try:
            with library_errors_translated("a table of prices"):
                table = _to_pandas(data)
                require_table_size(NAME_IN_MESSAGES, n_rows=table.shape[0], n_columns=table.shape[1])
                source = cls(sha256=_digest(table))
        except UnreadableContentError as error:
            raise DataError(f"data= {error}; pass a DataFrame of dates and closes", key="data.source") from error
        source._table = table
        return source

    def list_tickers(self) -> list[str]:
        """Return the tickers that the table names."""
        tickers = tickers_of_raw_table(self._raw_table(), ReadingOptions())
        if tickers is None:
            raise DataError("data= names no ticker; name it, as data.tickers: [NAME]", key="data.tickers")
        return tickers

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars of the request's tickers from the table."""
        options = ReadingOptions(file_columns=request.columns_of(request.tickers))
        bars, notes = bars_from_raw_table(self._raw_table(), request.tickers, options)
        return FetchedPrices(bars, "data= from Python", self.sha256, tuple(notes))

    def _raw_table(self) -> RawTable:
        if self._table is None:
            raise DataError("these prices were passed as data= from Python; pass them again", key="data.source")
        return raw_table_from_frame(self._table, path=NAME_IN_MESSAGES, options=ReadingOptions())


def _to_pandas(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.Series):
        data = data.to_frame("close" if data.name is None else data.name)
    if isinstance(data, pd.DataFrame):
        return data.copy()
    if isinstance(data, Mapping):
        frames = [_to_pandas(table).assign(ticker=str(ticker)) for ticker, table in data.items()]
        return pd.concat([index_to_column(frame) for frame in frames], ignore_index=True)
    if hasattr(data, "__arrow_c_stream__"):
        table: pd.DataFrame = pa.table(data).to_pandas()
        return table
    raise UnreadableContentError(f"needed a table of prices, found {type(data).__name__}")


def _digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 digest of a table's values, index and headings."""
    arrow_table = pa.Table.from_pandas(table, preserve_index=True).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, arrow_table.schema) as writer:
        writer.write_table(arrow_table)
    return hashlib.sha256(sink.getvalue()).hexdigest()
