"""What the page of a ticker is called: a name that every system takes, and no two tickers share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from quantlr.report.encoding import json_bytes

FOLDER = "tickers"
"""Folder of these pages, in that of the report."""
INDEX = f"{FOLDER}/index.json"
"""Which ticker is on which page: file names there to tickers."""
LONGEST = 80
"""Letters of a name without its ending."""
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))})
"""Names that Windows keeps for devices, whatever stands after a dot."""


def ticker_files(tickers: Iterable[str]) -> dict[str, str]:
    """Return the path of each ticker's page within the report, by ticker, in their order.

    Letters that some system refuses are written as in a URL, BRK/B as BRK%2FB. A digest tells apart what is too long,
    and what differs in upper and lower case only; it depends on the ticker alone where it is long, and else on whether
    such a pair is there, never on their order.
    """
    stems = {ticker: _stem(ticker) for ticker in tickers}
    alike = Counter(stem.casefold() for stem in stems.values())
    return {
        ticker: f"{FOLDER}/{stem if alike[stem.casefold()] == 1 else _told_apart(stem, ticker)}.png"
        for ticker, stem in stems.items()
    }


def index_of(tickers: Iterable[str], files: Iterable[str]) -> dict[str, bytes]:
    """Return the index of those tickers' pages that are among the files of a report; nothing where there are none."""
    there = frozenset(files)
    pages = {path.removeprefix(f"{FOLDER}/"): ticker for ticker, path in ticker_files(tickers).items() if path in there}
    return {INDEX: json_bytes(pages)} if pages else {}


def _stem(ticker: str) -> str:
    """Return a ticker in letters that are safe, cut where it is too long."""
    stem = quote(ticker, safe="^=&").replace("~", "%7E")  # that sign is the digest's
    if not stem or stem.startswith(".") or stem.partition(".")[0].casefold() in RESERVED:
        stem = f"_{stem}"
    return stem if len(stem) <= LONGEST else _told_apart(stem, ticker)


def _told_apart(stem: str, ticker: str) -> str:
    digest = hashlib.sha256(ticker.encode()).hexdigest()[:8]
    return f"{stem[: LONGEST - len(digest) - 1]}~{digest}"
