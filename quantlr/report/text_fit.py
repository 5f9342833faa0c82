"""Text measured before it is placed: the width of a text, and the text that fits a width."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from quantlr.report.fonts import escape_letters, fonts_with_letters

MAX_CACHED_CHARACTERS = 4096
MAX_HINTING_FACTOR = 1.05
"""Factor by which hinting makes small digits wider, of which escapes consist; in other texts it averages out."""
PAGE_WIDTH_POINTS, PAGE_HEIGHT_POINTS = 1008.0, 676.8
"""Size of a page in points, 1/72 of an inch."""


@lru_cache(maxsize=MAX_CACHED_CHARACTERS)
def _relative_advance(character: str, is_bold: bool) -> float:
    """Return the width of a character as a fraction of the font's size; other fonts' are as wide as most are.

    A character that no font of the machine has is as wide as the escape that is drawn in its place.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ft2font import LoadFlags

    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if is_bold else "normal")))
    if not font.get_char_index(ord(character)):
        _, without_font = fonts_with_letters(frozenset(character))
        if without_font:
            escape = escape_letters(character, without_font)
            return MAX_HINTING_FACTOR * text_width(escape, font_size=1.0, is_bold=is_bold)
        return 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.65
    font.set_size(1000.0, 72.0)
    return float(font.load_char(ord(character), LoadFlags.NO_HINTING).linearHoriAdvance) / 65_536_000.0


def text_width(text: str, *, font_size: float, is_bold: bool = False) -> float:
    """Return the width of one line of text in points, without kerning, which makes lines hardly shorter."""
    return font_size * sum(_relative_advance(character, is_bold) for character in text)


def fit_text(
    text: str, *, max_width: float, sizes: Sequence[tuple[float, int]], is_bold: bool = False
) -> tuple[str, float]:
    """Return text broken into lines of at most `max_width` points, and the size of its font.

    Parameters
    ----------
    text : words; line breaks in it are kept.
    max_width : of a line, in points.
    sizes : font sizes with the number of lines for which there is room at each, the most readable first. The first one
        at which the whole text fits is taken; if there is none, the last one, and "…" is in place of what is cut off.
    is_bold : whether the text is drawn in bold type.
    """
    for font_size, max_lines in sizes:
        lines = _break_lines(text, max_width / font_size, is_bold)
        widest = max(text_width(line, font_size=font_size, is_bold=is_bold) for line in lines)
        if len(lines) <= max_lines and widest <= max_width:
            return "\n".join(lines), font_size
    lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    return "\n".join(_cut_end(line, max_width / font_size, is_bold) for line in lines), font_size


def _break_lines(text: str, max_width: float, is_bold: bool) -> list[str]:
    """Return the lines of text in which words are not divided; widths are fractions of the font's size."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, font_size=1.0, is_bold=is_bold) > max_width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _cut_end(line: str, max_width: float, is_bold: bool) -> str:
    """Return the beginning of a line that fits a width, with "…" after it; a line that fits as it is."""
    if text_width(line, font_size=1.0, is_bold=is_bold) <= max_width:
        return line
    while line and text_width(f"{line}…", font_size=1.0, is_bold=is_bold) > max_width:
        line = line[:-1]
    return f"{line.rstrip()}…"
