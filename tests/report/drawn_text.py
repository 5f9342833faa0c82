"""The texts of a figure as they would be drawn, and where they collide."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from unittest.mock import patch

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from quantlr.report.pages.layout import use_matplotlib_defaults

TOUCHING_PIXELS = 2.0
"""Pixels at each side of a text that may lie over another one: they are empty."""


def drawn_text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return each text that is drawn with its box in pixels; tick labels outside the limits of an axis are not."""
    drawn: list[tuple[Text, Any]] = []

    def record(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append((text, renderer))

    with patch.object(Text, "draw", record), use_matplotlib_defaults():
        figure.draw_without_rendering()
        # A text that is asked for its extent without a renderer makes one, with an empty picture of the whole page.
        return [(text.get_text(), text.get_window_extent(renderer)) for text, renderer in drawn]


def text_collisions(figure: Figure) -> list[str]:
    """Return a line for each two texts of a page that overlap, and for each that leaves the page."""
    boxes = [(text, box.padded(-TOUCHING_PIXELS)) for text, box in drawn_text_boxes(figure)]
    width, height = figure.bbox.width, figure.bbox.height
    lines = [
        f"outside the page: {text!r}"
        for text, box in boxes
        if min(box.x0, box.y0) < 0 or box.x1 > width or box.y1 > height
    ]
    pairs = combinations(boxes, 2)
    return lines + [f"{first!r} over {second!r}" for (first, box), (second, other) in pairs if box.overlaps(other)]
