"""Series of FRED with all their vintages, over HTTPS; the catalogue of all sources of series closes the file.

The server of the Federal Reserve Bank of St. Louis states for every value from which date on it was the published one
(``realtime_start``); a value is known from the session after that date. A response is kept for a day.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import build_opener

import numpy as np
from pydantic import Field, PrivateAttr

from quantlr.core.atomic import atomic_write, cache_dir
from quantlr.core.errors import DataError, Fault
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_json
from quantlr.data.download import DOWNLOAD_TIMEOUT_SECONDS, HttpEnvironment
from quantlr.data.network import network_error_text, read_error_text, read_response
from quantlr.data.series import FileSeries, KnownRule, Observations, SeriesSource
from quantlr.data.source import sha256_hex

FRED_ADDRESS = "https://api.stlouisfed.org/fred/series/observations"
KEY_VARIABLE = "FRED_API_KEY"
"""Environment variable with the key that the server asks for."""
FIRST_DATE, LAST_DATE = "1776-07-04", "9999-12-31"
"""The dates between which the server knows all vintages."""
PAGE_ROWS = 100_000
MAX_PAGES = 100
MAX_RESPONSE_BYTES = 256 << 20
MISSING_VALUE = "."


class FredSeries(SeriesSource):
    """A series of FRED, as it was published on each date, from the session after; its key is in FRED_API_KEY."""

    kind: Literal["fred"] = "fred"
    id: str = Field(
        pattern="^[A-Za-z0-9_.]{1,60}$", description="The series, by its name at FRED.", examples=["UNRATE"]
    )
    _environment: HttpEnvironment = PrivateAttr(default_factory=HttpEnvironment)

    example_parameters = ({"id": "UNRATE"},)

    def with_environment(self, environment: HttpEnvironment) -> FredSeries:
        """Return the same series with another network and clock."""
        other = self.model_copy()
        other._environment = environment
        return other

    @property
    def known_rule(self) -> KnownRule:
        """The date of the release, which the server states."""
        return "release_date"

    def read(self, name: str, *, offline: bool) -> Observations:
        """Return every value with the date from which it was the published one."""
        path, today = cache_dir() / "series" / f"fred-{self.id}.json", str(self._environment.clock().date())
        table, fetched = _read_kept(path)
        if table is not None and (offline or fetched == today):
            return table
        if offline:
            text = f"{name}: the series {self.id} of FRED is not stored, and --offline does not use the network"
            raise DataError(f"{text}; run once without --offline", key=f"data.series.{name}")
        rows = self._download(name, is_kept=table is not None)
        try:
            table = _observations(rows)
        except UnreadableContentError as error:
            raise Fault(f"{name}: FRED answers with no observations: {error}; try again later") from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps({"fetched": today, "rows": rows}).encode())
        except OSError as error:
            raise Fault(f"{path} can't be written: {error.strerror or error}") from error
        return table

    def _download(self, name: str, *, is_kept: bool) -> list[list[str]]:
        """Return date, value and date of the release of every value, page by page."""
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            text = f"{name}: FRED asks for a key; get one at fred.stlouisfed.org, and set it as {KEY_VARIABLE}"
            raise DataError(text, key=f"data.series.{name}")
        query = {"series_id": self.id, "api_key": key, "file_type": "json"}
        query |= {"realtime_start": FIRST_DATE, "realtime_end": LAST_DATE, "limit": str(PAGE_ROWS)}
        advice = "; try again later" + (", or use what is stored by --offline" if is_kept else "")
        rows: list[list[str]] = []
        for _ in range(MAX_PAGES):
            page = self._request(name, {**query, "offset": str(len(rows))}, advice)
            rows += page
            if len(page) < PAGE_ROWS:
                break
        return rows

    def _request(self, name: str, query: Mapping[str, str], advice: str) -> list[list[str]]:
        """Return the rows of one page; no message names the key."""
        opener = self._environment.http_session or build_opener()
        url, limits = f"{FRED_ADDRESS}?{urlencode(query)}", {"max_bytes": MAX_RESPONSE_BYTES}
        try:
            content = read_response(opener, url, timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS, **limits)
            with library_errors_translated("observations"):
                rows = json.loads(content)["observations"]
                return [[str(row[part]) for part in ("date", "value", "realtime_start")] for row in rows]
        except HTTPError as error:
            text, status = read_error_text(error), error.code
            if status == 400 and "does not exist" in text:
                text = f"{name}: FRED knows no series {self.id!r}; correct its id"
                raise DataError(text, key=f"data.series.{name}") from None
            reason = f"the key in {KEY_VARIABLE} is not valid" if "api_key" in text else f"status {status}"
            raise Fault(f"{name}: FRED refuses the request ({reason}){advice}") from None
        except UnreadableContentError:
            raise Fault(f"{name}: FRED answers with no observations{advice}") from None
        except OSError as error:
            raise Fault(f"{name}: FRED can't be reached: {network_error_text(error)}{advice}") from None


def _read_kept(path: Path) -> tuple[Observations | None, str]:
    """Return the observations of a stored response, and the date on which it was fetched; None if it is damaged."""
    try:
        with library_errors_translated("a response of FRED", unless=(OSError,)):
            kept = read_json(path, max_bytes=MAX_RESPONSE_BYTES)
            return _observations(kept["rows"]), str(kept["fetched"])
    except (OSError, UnreadableContentError):
        return None, ""


def _observations(rows: list[list[str]]) -> Observations:
    """Return observations of rows of date, value and date of the release; those without a value are left out.

    Raises
    ------
    UnreadableContentError : a date is no date, or a value no finite number.
    """
    with library_errors_translated("rows of date, value and date of the release"):
        kept = [row for row in rows if row[1] != MISSING_VALUE]
        columns = list(zip(*kept, strict=True)) if kept else [(), (), ()]
        date, release = (
            np.array([dt.date.fromisoformat(text) for text in columns[index]], dtype="datetime64[D]")
            for index in (0, 2)
        )
        value = np.array(columns[1], dtype=np.float64)
    if not np.isfinite(value).all():
        raise UnreadableContentError("needed finite values, found others")
    # The server's first vintages may be dated before the end of the period that they are of.
    return Observations(date, value, np.maximum(release, date), None, sha256_hex(json.dumps(rows).encode()))


SERIES_SOURCES: tuple[type[SeriesSource], ...] = (FileSeries, FredSeries)
