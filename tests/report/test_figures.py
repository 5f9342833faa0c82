"""Panels as figures: every one at several sizes and themes, and the files that they are written to."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread
from matplotlib.text import Text
from quantlr.core.errors import UserError
from quantlr.report.figures import (
    DARK_BACKGROUND,
    THEMES,
    FigureCollection,
    applicable_pages,
    check_pixels,
    figure_bytes,
    parse_size,
    pdf_bytes,
)
from quantlr.report.pages import PAGES

from report.cases import USER_RCPARAMS, case_context
from report.drawn_text import text_collisions


@cache
def figures(case: str) -> FigureCollection:
    return FigureCollection.from_run(case_context(case))


def test_every_panel_of_every_page_is_a_figure_by_its_name() -> None:
    context = case_context("three tickers, five sessions ahead")
    keys = [
        placed.panel.key
        for page in PAGES
        if page.is_applicable(context)
        for placed in page.place_panels(page.make_context(context))
    ]
    collection = FigureCollection.from_run(context)
    assert list(collection) == list(dict.fromkeys(keys))
    assert len(collection) == len(list(collection))
    assert {"ticker_price", "ticker_growth"} <= set(collection.names(context.forecast_tickers[1]))


@pytest.mark.parametrize(
    ("case", "size", "theme", "first_panel"),
    [
        ("ten very long names", (6.0, 4.0), "dark", 0),
        ("three tickers, five sessions ahead", (13.3, 7.5), "slides", 1),
    ],
)
def test_texts_of_figures_do_not_overlap_and_do_not_leave_them(
    case: str, size: tuple[float, float], theme: str, first_panel: int
) -> None:
    """Every second panel of each case, and so each panel of both."""
    collection = figures(case)
    for name in list(collection)[first_panel::2]:
        collisions = text_collisions(collection.draw(name, size=size, theme=theme))
        assert not collisions, (name, collisions)


@pytest.mark.parametrize("theme", list(THEMES))
def test_png_has_the_pixels_of_size_and_dpi_in_every_theme(theme: str) -> None:
    for size, dpi, shape in (((10.0, 5.0), 60, (300, 600)), ((3.3, 4.7), 100, (470, 330))):
        figure = figures("three years").draw("drawdown", size=size, theme=theme)
        content = figure_bytes(figure, "png", size=size, dpi=dpi)
        picture = imread(io.BytesIO(content))
        assert picture.shape[:2] == shape
        assert 0.005 < (abs(picture[..., :3] - picture[0, 0, :3]).max(axis=2) > 0.1).mean() < 0.6


def test_vector_files_have_their_size_and_the_same_bytes_whatever_the_users_settings() -> None:
    size, draw = (6.0, 4.0), figures("three years").draw
    svg = figure_bytes(draw("growth", size=size), "svg", size=size, dpi=100)
    head = re.search(r'<svg [^>]*width="(.+?)pt" height="(.+?)pt"|<svg ', svg.decode())
    assert head is not None
    attributes = svg.partition(b"<svg ")[2].partition(b">")[0].decode()
    width, height = (float(re.search(rf'{name}="([\d.]+)pt"', attributes)[1]) for name in ("width", "height"))  # type: ignore[index]
    assert (width, height) == pytest.approx((432.0, 288.0), abs=0.01)
    pdf = figure_bytes(draw("growth", size=size), "pdf", size=size, dpi=100)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    assert float(box[1]) / float(box[2]) == pytest.approx(1.5, rel=1e-3)
    with matplotlib.rc_context(USER_RCPARAMS):
        assert figure_bytes(draw("growth", size=size), "svg", size=size, dpi=100) == svg
        assert figure_bytes(draw("growth", size=size), "pdf", size=size, dpi=100) == pdf


@pytest.mark.parametrize("file_format", ["png", "svg", "pdf"])
def test_letters_that_the_usual_font_lacks_are_drawn_or_escaped_without_a_warning(file_format: str) -> None:
    figure = figures("three years").draw("growth")
    figure.axes[0].set_title("贵州茅台")
    assert len(figure_bytes(figure, file_format, size=(10.0, 5.0), dpi=50)) > 1000


def test_legend_of_a_dark_figure_has_the_colours_of_its_cells() -> None:
    ax = figures("three tickers, five sessions ahead").draw("weights", theme="dark").axes[0]
    cells = ax.images[0].get_cmap()
    legend = [patch.get_facecolor() for patch in ax.get_legend().get_patches()]  # type: ignore[union-attr]
    expected = [cells(level) for level in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(np.array(legend), np.array(expected), atol=0.01)


def test_dark_figure_has_light_texts_on_a_dark_background_and_the_same_data() -> None:
    light, dark = (figures("three years").draw("monthly_returns", theme=theme) for theme in ("light", "dark"))
    assert to_hex(dark.get_facecolor()) == DARK_BACKGROUND.lower()
    texts = [text for text in dark.findobj(Text) if text.get_text()]
    assert texts
    assert all(sum(matplotlib.colors.to_rgb(text.get_color())) > 1.5 for text in texts)
    assert [text.get_text() for text in texts] == [text.get_text() for text in light.findobj(Text) if text.get_text()]


def test_unknown_names_sizes_and_tickers_are_errors_that_say_what_there_is() -> None:
    collection = figures("three years")
    calls: tuple[tuple[Any, str], ...] = (
        (lambda: collection.draw("grwth"), "did you mean growth.*there are growth, drawdown"),
        (lambda: collection.draw("equitty"), "did you mean equity"),
        (lambda: collection.draw("growth", theme="drak"), "no theme 'drak'; did you mean dark"),
        (lambda: collection.draw("ticker_price", ticker="none"), "no ticker with forecasts 'none'"),
        (lambda: collection.draw("growth", size=(0.0, 5.0)), "from 1 to 60"),
        (lambda: parse_size("10"), "needed WIDTHxHEIGHT"),
        (lambda: parse_size("axb"), "needed WIDTHxHEIGHT"),
        (lambda: parse_size("nanx5"), "from 1 to 60"),
        (lambda: check_pixels((60.0, 60.0), 2400), "pixels are more than"),
    )
    for call, message in calls:
        with pytest.raises(UserError, match=message):
            call()
    assert parse_size("13.3X7.5") == (13.3, 7.5)
    assert "nothing" not in collection
    assert collection["equity"] is not collection["growth"]


def test_pdf_has_every_page_whatever_the_report_draws_and_names_in_any_script() -> None:
    context = case_context("four sessions")
    report = context.config.report.model_copy(update={"pages": ("tearsheet",)})
    config = context.config.model_copy(update={"report": report, "name": "贵州茅台"})
    named = replace(context, config=config)
    content = pdf_bytes(page.draw_figure(named) for page in applicable_pages(named))
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == sum(page.is_applicable(context) for page in PAGES)
