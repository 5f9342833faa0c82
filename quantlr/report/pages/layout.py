"""Panels, pages of panels, and pages as PNG bytes that repeat exactly."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quantlr.report.context import PageContext
from quantlr.report.fonts import draw_with_fallback_fonts, fit_text
from quantlr.report.style import (
    BLACK,
    GREY,
    NORMAL_SIZE,
    Axes,
    add_subtitle,
    draw_message,
    format_date_axis,
    set_panel_title,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PAGE_WIDTH_POINTS, PAGE_HEIGHT_POINTS, DPI = 1008.0, 676.8, 150
"""Size of a page in points, 1/72 of an inch, and pixels per inch."""
THUMBNAIL_WIDTH_PIXELS, THUMBNAIL_COLORS = 640, 64
TEXT_LEFT, MAX_TEXT_RIGHT = 0.02, 0.985
"""Where the header begins and all text ends, as fractions of the page's width."""
PANEL_GAP, HEADING_HEIGHT = 0.012, 0.06
"""Room between a title and the panel at its right, and room above a panel for its heading, as fractions of the page."""
NON_STYLE_RCPARAMS = ("backend", "backend_fallback", "date.epoch", "interactive")
"""Settings of matplotlib that say where it draws, and not how."""

Table = Mapping[str, Any]
"""Numbers and texts of a panel by name: arrays, dates, scalars and strings.

Some names have a meaning for every panel: `subtitle` is written below the title, with its formulas if `has_formula` is
true, `message` replaces the chart, and the horizontal axis shows the `dates`, from the first to the last, or those of
`date_range`.
"""
Rectangle = tuple[float, float, float, float]
"""Left, bottom, width and height of axes, as fractions of a page of the standard height; negative below its bottom."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart or table of a page.

    Attributes
    ----------
    key : its name in tables and files, unique among all panels.
    title : the heading above it; names in braces are replaced by values of the table.
    make_table : returns the panel's numbers for a context, without importing matplotlib.
    draw : draws such numbers on axes, and computes none.
    title_padding : points between the title and the axes, the room of subtitle and legend.
    is_interactive : whether ``report.html`` draws its table too, in the browser.
    """

    key: str
    title: str
    make_table: Callable[[Any], Table]
    draw: Callable[[Axes, Table], None]
    title_padding: float = 6.0
    is_interactive: bool = False


def panel(
    title: str, make_table: Callable[[Any], Table], title_padding: float = 6.0, *, is_interactive: bool = False
) -> Callable[[Callable[[Axes, Table], None]], Panel]:
    """Return a decorator that makes a panel of a drawing function, whose name without `_panel` is the key."""
    return lambda draw: Panel(
        draw.__name__.removesuffix("_panel"), title, make_table, draw, title_padding, is_interactive
    )


@dataclass(frozen=True, slots=True)
class PlacedPanel:
    """A panel and where on the page its axes are.

    `has_x_labels` is False where a panel below has the same dates, `has_x_offset` where that one has the date that is
    common to all labels, which is written below them.
    """

    panel: Panel
    rectangle: Rectangle
    has_x_labels: bool = True
    has_x_offset: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a report.

    Attributes
    ----------
    file_name : of the picture in the report's folder.
    heading : the page's subject in few words, its heading in the HTML report.
    title_and_text : returns the page's finding, and the numbers that it rests on, of about 330 characters.
    place_panels : returns the panels with their positions.
    how_to_read : one sentence for the HTML report.
    is_applicable : returns whether a run has such a page; every run unless given.
    make_context : returns what the three functions above are given, made from the run's context, by default itself.
    extra_height : height of the page below that of a standard page, as a fraction of it.
    thumbnail_area : left, top, right and bottom of what the run's thumbnail shows, as fractions of a standard page;
        None for a page that is not in it.
    """

    file_name: str
    heading: str
    title_and_text: Callable[[Any], tuple[str, str]]
    place_panels: Callable[[Any], Sequence[PlacedPanel]]
    how_to_read: str = ""
    is_applicable: Callable[[PageContext], bool] = field(default=lambda _: True)
    make_context: Callable[[PageContext], Any] = field(default=lambda context: context)
    extra_height: float = 0.0
    thumbnail_area: Rectangle | None = None

    @property
    def name(self) -> str:
        """The page's name in `report.pages` and on the command line."""
        return self.file_name.removesuffix(".png")

    def draw_figure(self, context: PageContext) -> Figure:
        """Return the page of a run as a figure."""
        return self._draw(context)[0]

    def _draw(self, context: PageContext) -> tuple[Figure, dict[str, Table]]:
        """Return the page of a run as a figure, and the tables of the panels that are interactive."""
        page_context = self.make_context(context)
        title, subtitle = self.title_and_text(page_context)
        setup, notes = f"{context.config.name}   {context.setup_text}", context.notes
        figure = page_figure(
            title, subtitle, setup_text=setup, notes=notes, notes_file="provenance.json", extra_height=self.extra_height
        )
        panels = [_place_in_figure(figure, placed) for placed in self.place_panels(page_context)]
        return figure, draw_panels(figure, panels, page_context)

    def render_picture(self, context: PageContext) -> Picture:
        """Return the page of a run as it is written; the bytes are the same for the same run."""
        with use_matplotlib_defaults(), garbage_collection_paused():
            figure, tables = self._draw(context)
            picture = figure_to_picture(figure, heading=self.heading, thumbnail_area=self.thumbnail_area)
            return replace(picture, how_to_read=self.how_to_read, tables=tables)


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as it is written.

    Attributes
    ----------
    heading : the page's subject.
    title : the page's finding.
    subtitle : what it rests on.
    alt_text : the finding, what it rests on, and the titles of the panels, for readers who cannot see the picture.
    png_bytes : the file.
    width, height : in pixels.
    how_to_read : one sentence; empty where the picture is not in the HTML report.
    tables : of the panels that are interactive, by key.
    thumbnail_png : a part of the page, small; empty where the page is not in the run's thumbnail.
    """

    header_height: ClassVar[int] = 223
    """Pixels at the top of a page with its title, subtitle, setup and notes."""

    heading: str
    title: str
    subtitle: str
    alt_text: str
    png_bytes: bytes
    width: int
    height: int
    how_to_read: str = ""
    tables: Mapping[str, Table] = field(default_factory=dict, compare=False)
    thumbnail_png: bytes = b""

    @property
    def is_tall(self) -> bool:
        """Whether it is printed on a sheet in portrait format."""
        return self.height > 0.8 * self.width


def fields_table(instance: Any, prefix: str = "", /, **others: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by their names after a prefix, and other values by theirs."""
    return {prefix + item.name: getattr(instance, item.name) for item in fields(instance)} | others


def grid_rectangles(
    area: Rectangle, n_rows: int, n_columns: int, *, wspace: float, hspace: float = 0.0, width_ratios: Any = None
) -> list[Rectangle]:
    """Return the cells of a grid row by row; gaps are fractions of the mean cell, as in matplotlib's GridSpec."""
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    left, bottom, width, height = area
    sides: dict[str, Any] = {"left": left, "bottom": bottom, "right": left + width, "top": bottom + height}
    grid = GridSpec(n_rows, n_columns, wspace=wspace, hspace=hspace, width_ratios=width_ratios, **sides)
    return [grid[index].get_position(Figure()).bounds for index in range(n_rows * n_columns)]


def draw_panels(figure: Figure, panels: Iterable[PlacedPanel], context: Any) -> dict[str, Table]:
    """Compute and draw panels at their positions; titles and subtitles end before the next panel at their height.

    Returns the tables of the panels that are interactive, by key.
    """
    panels, tables = tuple(panels), dict[str, Table]()
    for placed in panels:
        max_width = _room_to_the_right(placed, panels) * figure.get_figwidth() * 72.0
        table, padding = placed.panel.make_table(context), placed.panel.title_padding
        if placed.panel.is_interactive:
            tables[placed.panel.key] = table
        ax = figure.add_axes(placed.rectangle)
        style_axes(ax)
        if placed.panel.title:
            title = placed.panel.title.format_map(table)
            set_panel_title(ax, title, max_width=max_width, padding_points=padding)
        if table.get("subtitle"):
            has_formula = table.get("has_formula", False)
            style: dict[str, Any] = {"max_width": max_width, "has_formula": has_formula}
            add_subtitle(ax, table["subtitle"], padding_points=padding - 3.0, **style)
        if "message" in table:
            draw_message(ax, table["message"])
            continue
        placed.panel.draw(ax, table)
        date_range = table.get("date_range", table.get("dates"))
        if date_range is not None:
            format_date_axis(ax, date_range)
        if not placed.has_x_labels:
            ax.set_xlabel("")
            ax.tick_params(axis="x", labelbottom=False)
        if not (placed.has_x_labels and placed.has_x_offset):
            ax.xaxis.get_offset_text().set_visible(False)
    return tables


def _place_in_figure(figure: Figure, placed: PlacedPanel) -> PlacedPanel:
    """Return a panel with its rectangle as fractions of a figure that may be taller than a standard page."""
    left, bottom, width, height = placed.rectangle
    bottom, top = page_fraction(figure, bottom), page_fraction(figure, bottom + height)
    return replace(placed, rectangle=(left, bottom, width, top - bottom))


def page_fraction(figure: Figure, y: float) -> float:
    """Return a height, given as a fraction of a page of the standard height, as a fraction of the figure."""
    standard_height = PAGE_HEIGHT_POINTS / (72.0 * figure.get_figheight())
    return 1.0 - (1.0 - y) * standard_height


def _room_to_the_right(placed: PlacedPanel, panels: Iterable[PlacedPanel]) -> float:
    """Return the room from the left of a panel to the next panel beside its top, or to the end of the page.

    It is a fraction of the page's width.
    """
    left, bottom, _, height = placed.rectangle
    top = bottom + height
    rights = [MAX_TEXT_RIGHT]
    for other_left, other_bottom, _, other_height in (other.rectangle for other in panels):
        is_beside = other_bottom < top + HEADING_HEIGHT and other_bottom + other_height + HEADING_HEIGHT > top
        if other_left > left and is_beside:
            rights.append(other_left - PANEL_GAP)
    return min(rights) - left


def page_figure(
    title: str,
    subtitle: str,
    *,
    setup_text: str,
    notes: tuple[str, ...],
    notes_file: str,
    extra_height: float = 0.0,
) -> Figure:
    """Return an empty page with its header.

    Parameters
    ----------
    title : the page's finding; in smaller letters, and two lines, where it is long.
    subtitle : what it rests on, in two lines, or three of smaller letters.
    setup_text : one line in grey.
    notes : two are written; of more, the first and how many there are.
    notes_file : file of the report that contains all notes.
    extra_height : of the page, as a fraction of the standard height.
    """
    from matplotlib.figure import Figure

    lines = [f"Note: {' '.join(note.split())}" for note in notes]
    if len(lines) > 2:
        lines = [lines[0], f"and {len(lines) - 1} more notes in {notes_file}"]
    figsize = (PAGE_WIDTH_POINTS / 72.0, (1.0 + extra_height) * PAGE_HEIGHT_POINTS / 72.0)
    figure = Figure(figsize=figsize, dpi=DPI, facecolor="white")
    width = (MAX_TEXT_RIGHT - TEXT_LEFT) * PAGE_WIDTH_POINTS
    header: tuple[tuple[str, float, tuple[tuple[float, int], ...], dict[str, Any]], ...] = (
        (title, 0.968, ((19.0, 1), (16.0, 1), (13.0, 2)), {"color": BLACK, "va": "center", "fontweight": "bold"}),
        (subtitle, 0.946, ((10.5, 2), (9.2, 2), (8.8, 3), (7.8, 3)), {"color": BLACK, "va": "top"}),
        (setup_text, 0.889, ((NORMAL_SIZE, 1), (8.2, 1), (7.2, 1)), {"color": GREY, "va": "center"}),
    )
    for text, y, sizes, style in header:
        fitted, size = fit_text(text, max_width=width, sizes=sizes, is_bold="fontweight" in style)
        linespacing = 1.05 if text is title else 1.2 if fitted.count("\n") > 1 else 1.35
        figure.text(TEXT_LEFT, page_fraction(figure, y), fitted, fontsize=size, linespacing=linespacing, **style)
    notes_text = "\n".join(fit_text(line, max_width=width, sizes=((8.2, 1),))[0] for line in lines)
    figure.text(
        TEXT_LEFT, page_fraction(figure, 0.877), notes_text, fontsize=8.2, color=GREY, va="top", linespacing=1.2
    )
    return figure


def figure_to_picture(figure: Figure, *, heading: str, thumbnail_area: Rectangle | None = None) -> Picture:
    """Return a page as it is written; the first two texts of the figure are its title and subtitle."""
    title, subtitle = (" ".join(text.get_text().split()) for text in figure.texts[:2])
    parts = (title, subtitle, *(ax.get_title(loc="left") for ax in figure.axes))
    alt_text = " ".join(f"{part.rstrip('.')}." for part in parts if part)
    image = _draw_image(figure)
    thumbnail = _png_bytes(_thumbnail(image, thumbnail_area)) if thumbnail_area else b""
    return Picture(heading, title, subtitle, alt_text, _png_bytes(image), *image.size, thumbnail_png=thumbnail)


def figure_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes that are the same for the same drawing."""
    return _png_bytes(_draw_image(figure))


def _draw_image(figure: Figure) -> Image:
    """Return a figure without transparent parts as a picture of Pillow."""
    from PIL.Image import fromarray

    from quantlr.report.canvas import PageCanvas, one_tick_per_axis

    canvas = PageCanvas(figure)

    def draw() -> None:
        with one_tick_per_axis(figure):
            canvas.draw()  # type: ignore[no-untyped-call]

    draw_with_fallback_fonts(figure, draw)
    return fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]


def _thumbnail(page: Image, area: Rectangle) -> Image:
    """Return a part of a page, small and in few colours; `area` as in `Page`."""
    from PIL.Image import Dither, Resampling

    sides = (page.width, page.width * PAGE_HEIGHT_POINTS / PAGE_WIDTH_POINTS) * 2
    left, top, right, bottom = (round(part * side) for part, side in zip(area, sides, strict=True))
    part = page.crop((left, top, right, bottom))
    size = (THUMBNAIL_WIDTH_PIXELS, round(THUMBNAIL_WIDTH_PIXELS * part.height / part.width))
    return part.resize(size, Resampling.LANCZOS).quantize(THUMBNAIL_COLORS, dither=Dither.NONE)


def _png_bytes(image: Image) -> bytes:
    # Compression level 2 of 9 writes a tenth more bytes than the default, in two thirds of its time.
    stream = io.BytesIO()
    image.save(stream, format="png", compress_level=2, dpi=(DPI, DPI))
    return stream.getvalue()


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Collect no garbage meanwhile: the many objects of a figure are all in use, and looking finds none.

    Drawing the four pages of the S&P 500 takes 3.46 CPU seconds in place of 3.81, a tenth less.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def use_matplotlib_defaults() -> Iterator[None]:
    """Draw with matplotlib's defaults, whatever settings the user has for figures of their own."""
    import matplotlib

    default, current = matplotlib.rcParamsDefault, matplotlib.rcParams
    style_keys = default.keys() - NON_STYLE_RCPARAMS
    style = {key: default[key] for key in style_keys if current[key] != default[key]}
    # A ticker like BAC$L is text; a text with a formula says so.
    with matplotlib.rc_context({**style, "text.parse_math": False}):
        yield


def warm_up_fonts() -> None:
    """Import matplotlib and find its fonts by drawing some letters, once per process."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0, 1.0), dpi=DPI)
    figure.add_subplot().set_title("Aa", fontweight="bold")
    figure_png(figure)
