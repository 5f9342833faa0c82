"""Panels of pages as figures of their own, by name, at any size and in several themes; and pages as one PDF."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from quantlr.config.messages import suggestion_text
from quantlr.core.errors import UserError
from quantlr.report.context import PageContext
from quantlr.report.fonts import draw_with_fallback_fonts
from quantlr.report.pages import PAGES
from quantlr.report.pages.layout import Page, Panel, PlacedPanel, Rectangle, draw_panels, use_matplotlib_defaults
from quantlr.report.pages.ticker import TickerContext, ticker_panels
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    LOSS_GAIN_COLORS,
    POINTS_PER_INCH,
    SKY,
    VERMILION,
    loss_gain_colormap,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "svg", "pdf")
DEFAULT_SIZE_INCHES = (10.0, 5.0)
SIZE_LIMITS_INCHES, MAX_PIXELS = (1.0, 60.0), 200_000_000
MIN_LAYOUT_INCHES = (9.0, 4.4)
"""Width and height that every panel has room in; a smaller figure is this one made smaller, letters included."""
FIRST_MARGINS_INCHES = (2.2, 0.6, 0.6, 0.9)
"""Room at the left, bottom, right and top of the axes, before texts are measured."""
EDGE_INCHES = (0.26, 0.1, 0.14, 0.12)
"""Empty room at the left, bottom, right and top of a figure."""
FIGURE_ALIASES = {"equity": "growth"}
"""Other names of figures."""
DARK_BACKGROUND = "#14181C"
DARK_LOSS_GAIN_COLORS = ("#A8532A", DARK_BACKGROUND, "#2F6F96")
DARK_COLORS = {
    BLACK: "#E8E8E8", "#000000": "#E8E8E8", GREY: "#A6A6A6", BAND_GREY: "#8A8A8A", LIGHT_GREY: "#33393F",
    BLUE: "#2E93D6", SKY: "#A9DCFB", VERMILION: "#F07A2B",
    **dict(zip(LOSS_GAIN_COLORS, DARK_LOSS_GAIN_COLORS, strict=True)),
}  # fmt: skip
"""By colour of a page, the one in its place on a dark background; others are visible on both."""


@dataclass(frozen=True, slots=True)
class Theme:
    """How a figure looks.

    Attributes
    ----------
    scale : size of letters, lines and marks, relative to a page's.
    is_dark : whether the background is dark.
    """

    scale: float = 1.0
    is_dark: bool = False


THEMES = {"light": Theme(), "dark": Theme(is_dark=True), "slides": Theme(scale=1.6)}
"""By name, the themes of a figure: as on the pages, on a dark background, and with larger letters and lines."""
NamedPanels = dict[str, tuple[Panel, Any]]
"""Panels by name, each with the context that its table is made from."""


class FigureCollection(Mapping[str, "Figure"]):
    """Panels as figures of matplotlib, by the name of the panel; each is drawn when it is asked for.

    Parameters
    ----------
    panels : each panel with the context that its table is made from. They are taken one after the other, no further
        than up to the one that is asked for.
    ticker_panels : from the name of a ticker to the panels of its own page; None where there are no such pages.
    """

    def __init__(
        self, panels: Iterable[tuple[Panel, Any]], ticker_panels: Callable[[str], NamedPanels] | None = None
    ) -> None:
        self._known: NamedPanels = {}
        self._others = iter(panels)
        self._ticker_panels = ticker_panels

    @classmethod
    def from_run(cls, context: PageContext, further_pages: Iterable[Page] = ()) -> FigureCollection:
        """Return the panels of a run's pages, of other pages of the run, and of those of its tickers."""
        pages = itertools.chain(applicable_pages(context), further_pages)
        return cls(iter_page_panels(pages, context), partial(ticker_figures, context))

    def __repr__(self) -> str:
        return f"<figures: {', '.join(self)}>"

    def __iter__(self) -> Iterator[str]:
        yield from list(self._known)
        for panel, context in self._others:
            if panel.key not in self._known:
                self._known[panel.key] = panel, context
                yield panel.key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return any(known in (name, FIGURE_ALIASES.get(str(name))) for known in self)

    def __getitem__(self, name: str) -> Figure:
        if name not in self:
            raise KeyError(name)
        return self.draw(name)

    def names(self, ticker: str | None = None) -> tuple[str, ...]:
        """Return the names of the figures, or of those of a ticker's own page."""
        return tuple(iter(self if ticker is None else self._panels_of_ticker(ticker)))

    def draw(
        self,
        name: str,
        *,
        size: tuple[float, float] = DEFAULT_SIZE_INCHES,
        theme: str = "light",
        ticker: str | None = None,
    ) -> Figure:
        """Return one panel as a figure.

        Parameters
        ----------
        name : of the panel.
        size : width and height in inches. Letters have the size of a page's; they are smaller in a figure of less than
            9 x 4.4 inches, which is drawn larger: `figure_bytes` scales it.
        theme : "light", "dark", or "slides" with larger letters and lines.
        ticker : for the panels of a ticker's own page; None for the others.

        Raises
        ------
        UserError : there is no such panel, ticker or theme, or the size is out of bounds.
        """
        require_known(theme, tuple(THEMES), noun="theme")
        check_size(size)
        panels = self._known if ticker is None else self._panels_of_ticker(ticker)
        key = FIGURE_ALIASES.get(name, name)
        if ticker is not None or key not in self:
            aliases = [alias for alias, own in FIGURE_ALIASES.items() if own in panels]
            require_known(name, (*panels, *aliases), noun="figure")
        panel, page_context = panels[key]
        with use_matplotlib_defaults():
            return _draw_panel(panel, page_context, layout_size(size, theme), is_dark=THEMES[theme].is_dark)

    def _panels_of_ticker(self, ticker: str) -> NamedPanels:
        if self._ticker_panels is None:
            raise UserError(f"there is no page of the ticker {ticker!r}: it is of a run that a ticker has a page")
        return self._ticker_panels(ticker)


def applicable_pages(context: PageContext) -> tuple[Page, ...]:
    """Return the pages that apply to a run, whatever pages its report draws."""
    return tuple(page for page in PAGES if page.is_applicable(context))


def iter_page_panels(pages: Iterable[Page], context: PageContext) -> Iterator[tuple[Panel, Any]]:
    """Yield each panel of pages of a run, with the context of its page."""
    for page in pages:
        page_context = page.make_context(context)
        yield from ((placed.panel, page_context) for placed in page.place_panels(page_context))


def ticker_figures(context: PageContext, ticker: str) -> NamedPanels:
    """Return the panels of a ticker's own page; UserError if it has no forecasts."""
    require_known(ticker, tuple(context.forecast_tickers), noun="ticker with forecasts")
    page_context = TickerContext(context, context.run_data.forecasts.tickers.index(ticker))
    return {placed.panel.key: (placed.panel, page_context) for placed in ticker_panels(page_context)}


def require_known(name: str, known: tuple[str, ...], *, noun: str) -> None:
    """Raise a UserError with the nearest known name and all of them, if a name is none of them."""
    if name not in known:
        raise UserError(f"no {noun} {name!r}{suggestion_text(name, known)}; there are {', '.join(known)}")


def check_pixels(size: tuple[float, float], dpi: int) -> None:
    """Raise a UserError if a picture would have too many pixels."""
    n_pixels = math.prod(size) * dpi**2
    if n_pixels > MAX_PIXELS:
        raise UserError(f"{n_pixels:,.0f} pixels are more than {MAX_PIXELS:,}; choose a smaller --size or --dpi")


def check_size(size: tuple[float, float]) -> None:
    """Raise a UserError if a size in inches is not two numbers within bounds."""
    low, high = SIZE_LIMITS_INCHES
    if len(size) != 2 or not all(low <= side <= high for side in size):
        raise UserError(f"the size of a figure is two numbers of inches from {low:g} to {high:g}, found {size}")


def layout_size(size: tuple[float, float], theme: str) -> tuple[float, float]:
    """Return the size in inches that a figure of some size is laid out at, in letters of a page's size."""
    width, height = (side / THEMES[theme].scale for side in size)
    growth = max(1.0, MIN_LAYOUT_INCHES[0] / width, MIN_LAYOUT_INCHES[1] / height)
    return width * growth, height * growth


def _draw_panel(panel: Panel, context: Any, size: tuple[float, float], *, is_dark: bool) -> Figure:
    """Return a panel as a figure, whose margins are those that its texts need."""
    from matplotlib.figure import Figure

    table = panel.make_table(context)
    panel = replace(panel, make_table=lambda _: table)  # not computed again
    margins = FIRST_MARGINS_INCHES
    for _ in range(3):  # with other axes, ticks and cut texts may change
        figure = Figure(figsize=size, dpi=POINTS_PER_INCH, facecolor="white")
        rectangle = _rectangle_in_margins(size, margins)
        draw_panels(figure, [PlacedPanel(panel, rectangle)], context)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        excess = box.x0, box.y0, size[0] - box.x1, size[1] - box.y1
        needed = tuple(margin - room + edge for margin, room, edge in zip(margins, excess, EDGE_INCHES, strict=True))
        if all(abs(new - margin) < 0.02 for new, margin in zip(needed, margins, strict=True)):
            break
        margins = needed
    if is_dark:
        apply_dark_colors(figure)
        figure.set_facecolor(DARK_BACKGROUND)
    return figure


def apply_dark_colors(figure: Figure) -> None:
    """Replace the colours of a drawn figure by those for a dark background."""
    from matplotlib.collections import Collection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    figure.draw_without_rendering()  # which makes the ticks
    properties: tuple[tuple[Callable[[Any], bool], tuple[str, ...]], ...] = (
        (lambda artist: isinstance(artist, (Text, Line2D)), ("color",)),
        (lambda artist: isinstance(artist, Line2D), ("markerfacecolor", "markeredgecolor")),
        (lambda artist: isinstance(artist, (Patch, Collection)), ("facecolor", "edgecolor")),
    )
    for is_meant, names in properties:
        for artist in figure.findobj(is_meant):
            for name in names:
                _replace_color(artist, name)
    gains = loss_gain_colormap()
    for ax in figure.axes:
        ax.tick_params(labelcolor=DARK_COLORS[BLACK], color=DARK_COLORS[GREY])
        for image in ax.images:
            if image.get_cmap().name == gains.name:
                image.set_cmap(LinearSegmentedColormap.from_list(gains.name, DARK_LOSS_GAIN_COLORS))


def _replace_color(artist: Any, name: str) -> None:
    """Set a colour of an artist to its dark one, with the same opacity."""
    from matplotlib.colors import to_hex, to_rgba_array

    former = getattr(artist, f"get_{name}")()
    if isinstance(former, str) and former in ("none", "auto"):
        return
    colors = to_rgba_array(former)
    changed = [DARK_COLORS.get(to_hex(color).upper()) if color[3] else None for color in colors]
    if any(changed):
        new = [
            (*to_rgba_array(dark)[0][:3], color[3]) if dark else tuple(color)
            for dark, color in zip(changed, colors, strict=True)
        ]
        getattr(artist, f"set_{name}")(new[0] if len(new) == 1 else new)


def _rectangle_in_margins(size: tuple[float, float], margins: tuple[float, ...]) -> Rectangle:
    """Return the axes within margins at the left, bottom, right and top, in inches, as fractions of a figure."""
    (width, height), (left, bottom, right, top) = size, margins
    return left / width, bottom / height, 1.0 - (left + right) / width, 1.0 - (bottom + top) / height


def figure_bytes(figure: Figure, file_format: str, *, size: tuple[float, float], dpi: int) -> bytes:
    """Return a figure as a file, the same bytes for the same drawing; letters are drawn in fonts that have them.

    Parameters
    ----------
    figure : as drawn at its `layout_size`.
    file_format : one of `FIGURE_FORMATS`.
    size : width and height in inches of a PNG or SVG. A PDF has the size that the figure is laid out at, with the same
        proportions: it can be scaled without loss.
    dpi : pixels per inch of a PNG.
    """
    import matplotlib

    stream, scale = io.BytesIO(), size[0] / figure.get_figwidth()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[file_format]
    # So little larger than the number that no side is rounded to a pixel less.
    options: dict[str, Any] = {"dpi": dpi * scale * (1.0 + 1e-9)} if file_format == "png" else {}
    with use_matplotlib_defaults(), matplotlib.rc_context({"svg.hashsalt": "quantlr"}):
        draw_with_fallback_fonts(figure, figure.draw_without_rendering)
        figure.savefig(stream, format=file_format, metadata=metadata, facecolor=figure.get_facecolor(), **options)
    content = stream.getvalue()
    if file_format == "svg" and not math.isclose(scale, 1.0):
        content = _scale_svg(content, figure, size)
    return content


def _scale_svg(content: bytes, figure: Figure, size: tuple[float, float]) -> bytes:
    """Return an SVG with another width and height; its coordinates stay, so that all in it is scaled."""
    head, tag, body = content.partition(b"<svg ")
    attributes, end, rest = body.partition(b">")
    for name, side, laid_out in zip((b"width", b"height"), size, figure.get_size_inches(), strict=True):
        former = f'"{laid_out * POINTS_PER_INCH:g}pt"'.encode()
        attributes = attributes.replace(name + b"=" + former, name + f'="{side * POINTS_PER_INCH:g}pt"'.encode())
    return head + tag + attributes + end + rest


def pdf_bytes(pages: Iterable[Figure]) -> bytes:
    """Return pages as one PDF; they are drawn in fonts that have their letters."""
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    with use_matplotlib_defaults(), PdfPages(stream, metadata={"CreationDate": None}) as pdf:
        for figure in pages:
            draw_with_fallback_fonts(figure, figure.draw_without_rendering)
            pdf.savefig(figure)
    return stream.getvalue()


def parse_size(text: str) -> tuple[float, float]:
    """Return the width and height in inches of a text such as 10x5.

    Raises
    ------
    UserError : it is no such text, or a side is out of bounds.
    """
    sides = text.lower().split("x")
    with suppress(ValueError):
        if len(sides) == 2:
            size = float(sides[0]), float(sides[1])
            check_size(size)
            return size
    raise UserError(f"--size {text!r}: needed WIDTHxHEIGHT in inches, such as 10x5")
