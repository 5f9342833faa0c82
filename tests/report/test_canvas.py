"""The canvas of the pages, held against matplotlib's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from quantlr.core.values import Array
from quantlr.report.canvas import PageCanvas


def drawn_ink(canvas_class: type[FigureCanvasAgg], text: str, x: float, y: float, **style: Any) -> Array:
    """Return how dark each pixel is, 0 to 255, of a text at a place given in pixels from the lower left."""
    figure = Figure(figsize=(2.0, 2.0), dpi=150)
    figure.text(x / 300.0, y / 300.0, text, **style)
    return canvas_ink(canvas_class(figure))


def canvas_ink(canvas: Any) -> Array:
    canvas.draw()
    return np.asarray(255.0 - np.asarray(canvas.buffer_rgba())[..., :3].mean(axis=2))


def ink_center(ink: Array) -> Array:
    return np.array([(position * ink).sum() / ink.sum() for position in np.indices(ink.shape)])


@pytest.mark.parametrize("rotation", [0.0, 90.0])
@pytest.mark.parametrize("text", ["Accuracy 53.3%", "-1.5", "Wf", "−", "fig\ntype"])
def test_a_text_is_drawn_where_agg_draws_it(text: str, rotation: float) -> None:
    rng, differences = np.random.default_rng(7), []
    for x, y, size in zip(*rng.uniform(60.0, 120.0, (2, 12)), rng.uniform(6.0, 12.0, 12), strict=True):
        style = {"fontsize": size, "rotation": rotation, "color": "#D55E00", "va": "center"}
        agg, page = (drawn_ink(kind, text, x, y, **style) for kind in (FigureCanvasAgg, PageCanvas))
        assert page.sum() == pytest.approx(agg.sum(), rel=0.01)
        differences.append(ink_center(page) - ink_center(agg))
    assert np.abs(differences).max() < 0.65  # a whole pixel is at most half of one away
    assert np.abs(np.mean(differences, axis=0)).max() < 0.25


@pytest.mark.parametrize("style", [{"rotation": 30.0}, {"alpha": 0.5}, {"parse_math": True}, {"antialiased": False}])
def test_a_text_that_is_slanted_transparent_or_a_formula_is_agg_s(style: dict[str, Any]) -> None:
    agg, page = (drawn_ink(kind, "$x^2$", 100.0, 80.0, **style) for kind in (FigureCanvasAgg, PageCanvas))
    assert agg.any()
    assert (page == agg).all()


def test_a_text_is_cut_where_its_axes_clip_it() -> None:
    figure = Figure(figsize=(2.0, 2.0), dpi=150)
    ax = figure.add_axes((0.0, 0.0, 0.5, 1.0), frameon=False, xticks=[], yticks=[])
    ax.text(0.5, 0.5, "from one half to the other", clip_on=True)
    ink = canvas_ink(PageCanvas(figure))
    assert ink[:, :150].any()
    assert not ink[:, 151:].any()


def test_a_figure_of_another_size_gets_another_renderer() -> None:
    canvas = PageCanvas(Figure(figsize=(2.0, 1.0), dpi=100))
    former = canvas.get_renderer()
    assert canvas.get_renderer() is former
    canvas.figure.set_size_inches(3.0, 1.0)
    assert canvas.get_renderer().width == 300.0
