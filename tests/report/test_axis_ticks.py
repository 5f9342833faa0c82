"""Ticks drawn by one object an axis look as those that matplotlib draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from quantlr.core.values import Array
from quantlr.report.canvas import PageCanvas, one_tick_per_axis
from quantlr.report.pages.layout import figure_png
from quantlr.report.style import format_date_axis, label_rows, set_fixed_ticks, style_axes


def dates(ax: Axes) -> None:
    ax.plot(pd.date_range("2001-01-31", periods=60, freq="ME"), np.arange(60.0))
    format_date_axis(ax)


def labels_of_both_axes(ax: Axes) -> None:
    ax.plot([1.0, 2.0], [-400.0, 3000.0])
    ax.set_xlabel("two\nlines")
    ax.set_ylabel("beside the widest label")


def rows(ax: Axes) -> None:
    ax.barh([0, 1, 2], [3.0, 1.0, 2.0])
    ax.set_ylim(2.5, -0.5)
    label_rows(ax, range(3), ["one", "two", "three"])
    ax.tick_params(axis="x", labelbottom=False)
    ax.set_xlabel("no labels above")


def logarithm(ax: Axes) -> None:
    ax.plot([1.0, 2.0], [0.5, 90.0])
    ax.set(yscale="log", ylim=(0.4, 100.0))
    set_fixed_ticks(ax.yaxis, [0.1, 1.0, 10.0, 100.0])
    ax.yaxis.minorticks_off()


def minor_ticks_and_an_offset(ax: Axes) -> None:
    ax.plot([1e9, 2e9], [1.0, 90.0])
    ax.set(yscale="log", xlabel="large")


def without_an_axis(ax: Axes) -> None:
    ax.set_axis_off()
    labels_of_both_axes(ax.inset_axes((0.2, 0.2, 0.6, 0.6)))


def pixels(figure: Figure) -> Array:
    canvas = PageCanvas(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "plot", [dates, labels_of_both_axes, rows, logarithm, minor_ticks_and_an_offset, without_an_axis]
)
def test_the_picture_is_the_same(plot: object) -> None:
    figure = Figure(figsize=(4.0, 3.0), dpi=100)
    ax = figure.add_axes((0.3, 0.3, 0.6, 0.6))
    style_axes(ax)
    plot(ax)  # type: ignore[operator]
    with one_tick_per_axis(figure):
        with_one_tick = pixels(figure)
        n_ticks = len(ax.xaxis.get_major_ticks())
    assert n_ticks == 0 or plot in (minor_ticks_and_an_offset, rows, without_an_axis)
    before = pixels(figure)
    assert (with_one_tick == before).all()
    assert (before < 200).any()


def test_a_tick_label_without_a_font_is_an_escape() -> None:
    figure = Figure(figsize=(4.0, 3.0), dpi=100)
    rows(ax := figure.add_axes((0.3, 0.3, 0.6, 0.6)))
    label_rows(ax, range(3), ["one", "\u0378", "three"])
    assert figure_png(figure)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "\\u0378", "three"]
