"""Themes of exported figures: the colours of a drawn figure replaced by others, for dark pages and for slides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantlr.report.style import BAND_GREY, BLACK, BLUE, GREY, LIGHT_GREY, SKY, VERMILION, loss_gain_colormap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DARK_BACKGROUND = "#14181C"
DARK_COLORS = {
    BLACK: "#E8E8E8", "#000000": "#E8E8E8", GREY: "#A6A6A6", BAND_GREY: "#8A8A8A", LIGHT_GREY: "#33393F",
    "#FFFFFF": DARK_BACKGROUND, BLUE: "#2E93D6", SKY: "#A9DCFB", VERMILION: "#F07A2B",
}  # fmt: skip
"""By colour of a page, the one in its place on a dark background; others are visible on both."""
DARK_LOSS_GAIN_COLORS = ("#A8532A", DARK_BACKGROUND, "#2F6F96")


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
