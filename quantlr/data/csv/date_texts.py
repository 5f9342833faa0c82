"""Texts of dates in the formats that exporters write, rewritten as ISO 8601: bare numbers, names of months, others.

A bare number is a date by its size: 20000 to 60000 counts days as Excel does, one of 9 or 10 digits seconds and one of
12 or 13 digits milliseconds since 1970 in UTC. One of 8 digits is YYYYMMDD, and any other is not read as a date.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

BARE_NUMBER_UNITS = {"excel": 86_400_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""Microseconds in the unit of a bare number; "excel" counts days from 1899-12-30, the others from 1970-01-01."""
EXCEL_SERIAL_RANGE = (20_000, 60_000)
UNIT_BY_DIGITS = {9: "s", 10: "s", 12: "ms", 13: "ms"}
BARE_NUMBER_PATTERN = r"(\d+)(\.\d+)?"
ISO_DATE_PATTERN = r"\d{4}-\d\d-\d\d([ T].*)?"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_ENDINGS = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "t|tember", "ober", "ember", "ember")
MONTH_NAMES_PATTERN = "|".join(f"{name}(?:{ending})?" for name, ending in zip(MONTHS, MONTH_ENDINGS, strict=True))
MONTH_PATTERN = rf"(?P<month>{MONTH_NAMES_PATTERN})\.?"
TIME_PATTERN = r"(?P<time>[ T]\d\d?:.*)?"
NAMED_MONTH_PATTERNS = (
    rf"(?i)^(?P<day>\d\d?)[-/. ]{MONTH_PATTERN}[-/., ]+(?P<year>\d{{4}}){TIME_PATTERN}$",
    rf"(?i)^{MONTH_PATTERN}[-/. ](?P<day>\d\d?)[-/., ]+(?P<year>\d{{4}}){TIME_PATTERN}$",
    rf"(?i)^(?P<year>\d{{4}})[-/. ]{MONTH_PATTERN}[-/. ](?P<day>\d\d?){TIME_PATTERN}$",
    r"^(?P<year>\d{4})[年년] ?(?P<month>\d\d?)[月월] ?(?P<day>\d\d?)[日일](?P<time>)$",
)
MAX_MICROSECONDS = 250_000_000_000_000_000
"""Since 1970 up to the year 9892, the largest that a bare number is taken for."""
EPOCHS = {"excel": np.datetime64("1899-12-30", "us")}


def to_iso_texts(texts: pd.Index[str], date_format: str | None, *, reads_serials: bool) -> pd.Index[str]:
    """Return texts of dates as ISO 8601 where they are in one of these formats, and all others as they are.

    Where the format is named, all others are "".

    Parameters
    ----------
    texts : the different texts of a column.
    date_format : the format of all of them, for strptime, or a key of `BARE_NUMBER_UNITS`; None finds it by the first.
    reads_serials : whether numbers may count days as Excel does from 1900.
    """
    if date_format is None and re.fullmatch(ISO_DATE_PATTERN, texts[0]):
        return texts
    if date_format and date_format not in BARE_NUMBER_UNITS:
        dates = pd.to_datetime(texts.to_series(), format=date_format, errors="coerce")
        return pd.Index(dates.dt.strftime("%Y-%m-%dT%H:%M:%S%z").where(dates.notna(), ""))
    if date_format or re.fullmatch(BARE_NUMBER_PATTERN, texts[0]):
        return _numbers_to_iso(texts, date_format, reads_serials=reads_serials)
    pattern = next((pattern for pattern in NAMED_MONTH_PATTERNS if re.search(pattern, texts[0])), None)
    return texts if pattern is None else _named_months_to_iso(texts, pattern)


def _bare_number_unit(text: str, *, reads_serials: bool) -> str:
    """Return the unit of a bare number by its size, "" if it is none of a date."""
    match = re.fullmatch(BARE_NUMBER_PATTERN, text)
    if match is None:
        return ""
    low, high = EXCEL_SERIAL_RANGE
    if len(match[1]) == 5 and low <= float(text) <= high:
        return "excel" if reads_serials else ""
    return UNIT_BY_DIGITS.get(len(match[1]), "")


def _numbers_to_iso(texts: pd.Index[str], unit: str | None, *, reads_serials: bool) -> pd.Index[str]:
    if unit is None and re.fullmatch(r"\d{8}(\.0)?", texts[0]):
        return pd.Index([text.removesuffix(".0") for text in texts])
    is_found_unit = unit is None
    if unit:
        is_number = np.array([bool(re.fullmatch(BARE_NUMBER_PATTERN, text)) for text in texts])
    else:
        unit = _bare_number_unit(texts[0], reads_serials=reads_serials)
        is_number = np.array([_bare_number_unit(text, reads_serials=reads_serials) == unit for text in texts])
    if not unit:
        return texts
    numbers = pd.to_numeric(pd.Series(np.where(is_number, texts, "0"))).to_numpy(dtype=np.float64)
    microseconds = np.round(numbers * BARE_NUMBER_UNITS[unit])
    is_number &= microseconds < MAX_MICROSECONDS
    spans = np.where(is_number, microseconds, 0.0).astype(np.int64).astype("timedelta64[us]")
    iso = np.datetime_as_string(EPOCHS.get(unit, np.datetime64(0, "us")) + spans, unit="s")
    zone = "" if unit == "excel" else "+00:00"
    others = texts if is_found_unit else [""] * len(texts)
    return pd.Index(
        [f"{date}{zone}" if known else text for date, known, text in zip(iso, is_number, others, strict=True)]
    )


def _named_months_to_iso(texts: pd.Index[str], pattern: str) -> pd.Index[str]:
    groups = texts.to_series().str.extract(pattern)
    months = {name: f"{number:02}" for number, name in enumerate(MONTHS, start=1)}
    month = groups["month"].str.lower().map(lambda name: months.get(name[:3], str(name).zfill(2)), na_action="ignore")
    iso = groups["year"] + "-" + month + "-" + groups["day"].str.zfill(2) + groups["time"].fillna("")
    return pd.Index(iso.where(iso.notna(), texts.to_series()), dtype="str")
