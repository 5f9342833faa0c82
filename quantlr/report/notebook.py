"""A run as a notebook shows it: its verdict, its numbers, its notes and its tear sheet, in one piece of HTML."""

from __future__ import annotations

import base64

from quantlr.report.pages.frame import own_looks, png
from quantlr.report.pages.tearsheet import tear_sheet
from quantlr.report.shown import Shown
from quantlr.report.summary import headline_rows
from quantlr.report.templating import rendered


@own_looks()
def notebook_html(shown: Shown) -> str:
    """Return HTML that needs nothing but itself; the tear sheet is drawn for it."""
    return rendered(
        "notebook.html",
        name=shown.config.name,
        setting=shown.setting,
        rows=headline_rows(shown.metrics),
        verdict=shown.metrics["verdict"]["sentence"],
        notes=shown.notes,
        picture=base64.b64encode(png(tear_sheet(shown))).decode(),
    )
