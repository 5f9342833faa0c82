"""Every page of every run that is hard to draw: it is drawn, and no letter of it leaves the page."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from quantlr.report.pages import PAGES, Page, applicable_pages

from report.cases import CASES, shown

SLACK = 1.0
"""Pixels that a letter may stand out."""
ELSEWHERE = {"forecast.png", "model.png"}
"""Pages that are walked through hard cases of their own, beside their other tests."""


def texts(figure: Figure) -> list[Text]:
    """Return what is written on a page: heads, headings, labels and legends."""
    found = list(figure.texts)
    for ax in figure.axes:
        legend = ax.get_legend()
        found += [*ax.texts, ax.title, *(legend.get_texts() if legend else [])]
        found += [text for text in (ax.xaxis.label, ax.yaxis.label) if text.get_text()]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.file_name not in ELSEWHERE], ids=lambda page: page.file
)
def test_no_letter_leaves_the_page(page: Page, case: str) -> None:
    seen = shown(case)
    if not page.is_applicable(seen):
        assert page not in applicable_pages(seen)
        return
    figure = page.draw_figure(seen)
    figure.set_dpi(50)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert canvas.buffer_rgba()
    width, height = figure.bbox.width, figure.bbox.height
    outside = {
        text.get_text(): box.bounds
        for text in texts(figure)
        if not text.get_clip_on()
        for box in [text.get_window_extent()]
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK
    }
    assert not outside
