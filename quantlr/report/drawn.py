"""The pictures of a report as files."""

from __future__ import annotations

from quantlr.report.encoding import json_bytes
from quantlr.report.pages import pages_of
from quantlr.report.pages.frame import png
from quantlr.report.shown import Shown
from quantlr.report.ticker_files import FOLDER, INDEX, ticker_files
from quantlr.types import Progress, no_progress


def drawn(shown: Shown, *, progress: Progress = no_progress) -> dict[str, bytes]:
    """Return each page of a run as PNG, by its place in the report's folder, with the index of the tickers' pages."""
    pages = pages_of(shown)
    files = {}
    for done, page in enumerate(pages):
        progress("drawing", done=done, total=len(pages))
        files[page.file] = png(page.draw(shown))
    progress("drawing", done=len(pages), total=len(pages))
    return {**files, **_index(shown, files)}


def _index(shown: Shown, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return which ticker is on which page, where there are such pages."""
    places = ticker_files(shown.traded)
    of = {path.removeprefix(f"{FOLDER}/"): ticker for ticker, path in places.items() if path in files}
    return {INDEX: json_bytes(of)} if of else {}
