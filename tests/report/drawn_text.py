"""The texts of a figure as they would be drawn, and where they collide."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from quantlr.report.canvas import one_tick_per_axis
from quantlr.report.pages.layout import use_matplotlib_defaults

TOUCHING_PIXELS = 2.0
"""Pixels at each side of a text that may lie over another one: they are empty."""


def drawn_text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return each text that is drawn with its box in pixels; tick labels outside the limits of an axis are not.

    Lines, areas and images are not drawn, since no text is placed by them.
    """
    boxes: list[tuple[str, Bbox]] = []

    def record(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            boxes.append((text.get_text(), text.get_window_extent(renderer)))

    with ExitStack() as stack, use_matplotlib_defaults():
        stack.enter_context(patch.object(Text, "draw", record))
        for artist in (AxesImage, Collection, Line2D, Patch):
            stack.enter_context(patch.object(artist, "draw", lambda *_: None))
        stack.enter_context(one_tick_per_axis(figure))
        figure.draw_without_rendering()
    return boxes


def text_collisions(figure: Figure) -> list[str]:
    """Return a line for each two texts of a page that overlap, and for each that leaves the page."""
    boxes = drawn_text_boxes(figure)
    texts = [text for text, _ in boxes]
    corners = np.array([box.padded(-TOUCHING_PIXELS).get_points() for _, box in boxes]).reshape(-1, 2, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)  # (texts, 2), horizontal and vertical
    is_outside = (low < 0).any(axis=1) | (high > figure.bbox.size).any(axis=1)
    is_over = ((low[:, None] <= high) & (high[:, None] >= low)).all(axis=2)
    return [
        *(f"outside the page: {texts[index]!r}" for index in np.flatnonzero(is_outside)),
        *(f"{texts[first]!r} over {texts[second]!r}" for first, second in np.argwhere(np.triu(is_over, 1))),
    ]
