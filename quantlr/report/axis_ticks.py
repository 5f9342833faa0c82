"""Ticks of an axis, drawn by one object of matplotlib that is moved from tick to tick.

Matplotlib makes three lines and two texts for each tick, copies the style of the first into them, and measures all
labels twice. The pages of the S&P 500 take 2.6 CPU seconds in place of 2.96 without that, an eighth less, and look the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import XAxis, YAxis
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

POINTS_PER_INCH = 72.0


class TickDrawing(Artist):
    """The grid, tick marks and tick labels of an axis, whose own ticks are not drawn while it has a `NullLocator`.

    Parameters
    ----------
    axis : with limits, major ticks and labels as they will be drawn.
    """

    def __init__(self, axis: XAxis | YAxis) -> None:
        super().__init__()
        self._axis, (self._tick,) = axis, axis.get_major_ticks(1)
        locations = axis.get_majorticklocs().tolist()
        labels = axis.get_major_formatter().format_ticks(locations)
        transform = axis.get_transform()
        low, high = sorted(transform.transform(np.array(axis.get_view_interval())))
        margin = 1e-10 * (high - low)
        positions = transform.transform(np.array(locations, dtype=np.float64))
        self._ticks = [
            (location, label)
            for location, label, position in zip(locations, labels, positions, strict=True)
            if low - margin <= position <= high + margin
        ]
        self.has_labels = bool(self._tick.label1.get_visible())
        self.set_zorder(axis.get_zorder())

    def draw(self, renderer: RendererBase) -> None:
        """Draw each tick, and keep the axis' label away from the labels of the ticks."""
        tick, axis = self._tick, self._axis
        boxes = []
        for location, label in self._ticks:
            tick.update_position(location)
            tick.label1.set_text(label)
            tick.draw(renderer)
            if axis.get_label_text():
                boxes.append(tick.label1.get_window_extent(renderer))
        if boxes:
            side, edge = ("bottom", "y0") if isinstance(axis, XAxis) else ("left", "x0")
            spine_edge = getattr(axis.axes.spines[side].get_window_extent(), edge)
            pixels = max(spine_edge - min(getattr(box, edge) for box in boxes), 0.0)
            axis.labelpad += pixels * POINTS_PER_INCH / axis.axes.figure.dpi


@contextmanager
def one_tick_per_axis(figure: Figure) -> Iterator[None]:
    """Draw the ticks of a figure's axes by one object each; not with minor ticks, an offset, or a label alone."""
    replaced = []
    for ax in figure.axes:
        for axis in (axis for one in (ax, *ax.child_axes) if one.axison for axis in (one.xaxis, one.yaxis)):
            locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
            if isinstance(locator, NullLocator) or not isinstance(axis.get_minor_locator(), NullLocator):
                continue
            drawing = TickDrawing(axis)
            if not formatter.get_offset() and (drawing.has_labels or not axis.get_label_text()):
                axis.axes.add_artist(drawing)
                replaced.append((axis, locator, axis.labelpad, drawing))
                axis.set_major_locator(NullLocator())
    try:
        yield
    finally:
        for axis, locator, padding, drawing in replaced:
            drawing.remove()
            axis.set_major_locator(locator)
            axis.labelpad = padding
