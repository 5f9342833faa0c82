"""A run as a notebook shows it: its verdict, its numbers, its notes and its tear sheet, in one piece of HTML."""

from __future__ import annotations

import base64

from quantlr.report.context import PageContext
from quantlr.report.pages.layout import default_style, figure_png
from quantlr.report.pages.tearsheet import tearsheet_page
from quantlr.report.summary import headline_text_rows
from quantlr.report.templating import render_template


@default_style()
def notebook_html(context: PageContext) -> str:
    """Return HTML that needs nothing but itself; the tear sheet is drawn for it."""
    return render_template(
        "notebook.html",
        name=context.config.name,
        setting=context.setup_text,
        rows=headline_text_rows(context.metrics),
        verdict=context.metrics["verdict"]["sentence"],
        notes=context.notes,
        picture=base64.b64encode(figure_png(tearsheet_page(context))).decode(),
    )
