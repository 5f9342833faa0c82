"""What the page of a ticker is called: a name that every system takes, and no two tickers share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from quantlr.report.encoding import json_bytes

TICKER_PAGES_DIR = "tickers"
"""Folder of these pages, in that of the report."""
TICKER_INDEX_FILE = f"{TICKER_PAGES_DIR}/index.json"
"""Which ticker is on which page: file names there to tickers."""
MAX_FILE_STEM_CHARS = 80
"""Letters of a name without its ending."""
WINDOWS_DEVICE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))}
)
"""Names that Windows keeps for devices, whatever stands after a dot."""


def ticker_page_paths(tickers: Iterable[str]) -> dict[str, str]:
    """Return the path of each ticker's page within the report, by ticker, in their order.

    Letters that some system refuses are written as in a URL, BRK/B as BRK%2FB. A digest tells apart what is too long,
    and what differs in upper and lower case only; it depends on the ticker alone where it is long, and else on whether
    such a pair is there, never on their order.
    """
    stems = {ticker: _safe_file_stem(ticker) for ticker in tickers}
    alike = Counter(stem.casefold() for stem in stems.values())
    return {
        ticker: f"{TICKER_PAGES_DIR}/{stem if alike[stem.casefold()] == 1 else _stem_with_digest(stem, ticker)}.png"
        for ticker, stem in stems.items()
    }


def make_ticker_index_file(tickers: Iterable[str], report_files: Iterable[str]) -> dict[str, bytes]:
    """Return the index of those tickers' pages that are among the files of a report; nothing where there are none."""
    there = frozenset(report_files)
    pages = {
        path.removeprefix(f"{TICKER_PAGES_DIR}/"): ticker
        for ticker, path in ticker_page_paths(tickers).items()
        if path in there
    }
    return {TICKER_INDEX_FILE: json_bytes(pages)} if pages else {}


def _safe_file_stem(ticker: str) -> str:
    """Return a ticker in letters that are safe, cut where it is too long."""
    stem = quote(ticker, safe="^=&").replace("~", "%7E")  # that sign is the digest's
    if not stem or stem.startswith(".") or stem.partition(".")[0].casefold() in WINDOWS_DEVICE_NAMES:
        stem = f"_{stem}"
    return stem if len(stem) <= MAX_FILE_STEM_CHARS else _stem_with_digest(stem, ticker)


def _stem_with_digest(stem: str, ticker: str) -> str:
    digest = hashlib.sha256(ticker.encode()).hexdigest()[:8]
    return f"{stem[: MAX_FILE_STEM_CHARS - len(digest) - 1]}~{digest}"
