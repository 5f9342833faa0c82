"""Every page of runs that are hard to draw: all text is within the page."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from quantlr.report.pages import PAGES, Page, applicable_pages

from report.cases import CASES, case_context

MARGIN_PIXELS = 1.0
"""Pixels by which text may leave the page."""
PAGES_WITH_OWN_CASES = {"forecast.png", "model.png"}
"""Pages whose other tests have hard cases of their own."""


def page_texts(figure: Figure) -> list[Text]:
    """Return the visible texts of a page: header, titles, labels and legends."""
    texts = list(figure.texts)
    for ax in (*figure.axes, *(child for parent in figure.axes for child in parent.child_axes)):
        legend = ax.get_legend()
        texts += [*ax.texts, ax.title, *(legend.get_texts() if legend else [])]
        texts += [text for text in (ax.xaxis.label, ax.yaxis.label) if text.get_text()]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.file_name not in PAGES_WITH_OWN_CASES], ids=lambda page: page.file_name
)
def test_text_is_within_the_page(page: Page, case: str) -> None:
    context = case_context(case)
    if not page.is_applicable(context):
        assert page not in applicable_pages(context)
        return
    figure = page.draw_figure(context)
    figure.set_dpi(50)
    FigureCanvasAgg(figure).draw()
    right, top = figure.bbox.width + MARGIN_PIXELS, figure.bbox.height + MARGIN_PIXELS
    outside = {
        text.get_text(): box.bounds
        for text in page_texts(figure)
        if not text.get_clip_on()
        for box in [text.get_window_extent()]
        if min(box.x0, box.y0) < -MARGIN_PIXELS or box.x1 > right or box.y1 > top
    }
    assert not outside
