"""Text that fits: its width is measured before it is placed, and letters that matplotlib's font lacks are replaced.

Tickers and names of a user may be in any script. A page is drawn once; only if matplotlib warns of missing letters is
it drawn again, in fonts of the machine that have them, and with escapes in place of letters that none has.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from quantlr.core.values import Note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING_GLYPH_PATTERN = re.compile(r"Glyph (\d+) \(")
ESCAPE_PATTERN = re.compile(r"\\[uU][0-9a-f]{4}")
EDGE_PIXELS = 10.0
"""Width of the margin that texts with escapes keep from the edges of a figure."""
DEFAULT_FONT = "DejaVu Sans"
"""Matplotlib's font, which it brings along."""
MAX_CACHED_CHARACTERS = 4096
MAX_HINTING_FACTOR = 1.05
"""Factor by which hinting makes small digits wider, of which escapes consist; in other texts it averages out."""


def draw_with_fallback_fonts(figure: Figure, draw: Callable[[], None]) -> bool:
    """Draw a figure, and again with other fonts or escapes if letters were missing; return whether it was drawn again.

    Parameters
    ----------
    draw : draws the figure; what it has written by then is replaced by the second call.
    """
    missing = _draw_and_find_missing_letters(draw)
    if not missing:
        return False
    families, without_font = fonts_with_letters(missing)
    _replace_texts(figure, [DEFAULT_FONT, *families], without_font)
    _draw_and_find_missing_letters(draw)
    return True


def _draw_and_find_missing_letters(draw: Callable[[], None]) -> frozenset[str]:
    """Draw, and return the letters that matplotlib warns about; other warnings are passed on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw()
    missing = set()
    for warning in caught:
        match = MISSING_GLYPH_PATTERN.match(str(warning.message))
        if match:
            missing.add(chr(int(match[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return frozenset(missing)


@cache
def fonts_with_letters(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the families of the machine's fonts that have some letters, and the letters that none has.

    Each family is the one with the most letters that those before it lack; of equal ones the first by name.
    """
    from matplotlib.font_manager import fontManager

    code_points = {ord(letter) for letter in letters}
    found_by_family: dict[str, set[int]] = {}
    for entry in fontManager.ttflist:
        if entry.style == "normal" and not entry.name.startswith("Last Resort"):
            found_by_family.setdefault(entry.name, set()).update(_code_points_of_font(entry.fname) & code_points)
    families: list[str] = []
    while code_points:
        best = max(sorted(found_by_family), key=lambda name: len(found_by_family[name] & code_points), default=None)
        if best is None or not found_by_family[best] & code_points:
            break
        families.append(best)
        code_points -= found_by_family[best]
    return tuple(families), frozenset(map(chr, code_points))


@cache
def _code_points_of_font(path: str) -> frozenset[int]:
    """Return the code points of a font file; none if it can't be read, as a font of coloured pictures."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _letters_of_default_font() -> frozenset[str]:
    from matplotlib import get_data_path

    return frozenset(map(chr, _code_points_of_font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")))


def _replace_texts(figure: Figure, families: list[str], without_font: frozenset[str]) -> None:
    """Set the fonts of all texts of a figure, and write letters without a font as escapes."""
    from matplotlib.text import Text

    for ax in figure.axes if without_font else ():
        axis: Any
        for axis in (ax.xaxis, ax.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if without_font & set("".join(labels)):
                axis.set_ticks(axis.get_ticklocs(), [escape_letters(label, without_font) for label in labels])
    text: Any
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
        if without_font & set(text.get_text()):
            text.set_text(escape_letters(text.get_text(), without_font))
    for text in figure.findobj(Text) if without_font else ():
        if ESCAPE_PATTERN.search(text.get_text()):
            _shrink_into_figure(text, figure)


def _shrink_into_figure(text: Any, figure: Figure) -> None:
    """Make a text smaller if escapes have made it run over an edge of the figure."""
    box, width = text.get_window_extent(), figure.bbox.width
    anchor = {"left": box.x0, "right": box.x1}.get(text.get_horizontalalignment(), (box.x0 + box.x1) / 2)
    sides = ((anchor - EDGE_PIXELS, anchor - box.x0), (width - EDGE_PIXELS - anchor, box.x1 - anchor))
    scale = min((room / needed for room, needed in sides if needed > 0), default=1.0)
    if 0 < scale < 1:
        text.set_fontsize(text.get_fontsize() * scale)


def escape_letters(text: str, letters: frozenset[str]) -> str:
    r"""Return text with some letters written as in Python's text literals: \u8d35."""
    return "".join(letter.encode("unicode_escape").decode() if letter in letters else letter for letter in text)


def missing_font_notes(words: Iterable[str]) -> tuple[Note, ...]:
    """Return a note if words of a user have letters that no font of this machine has."""
    affected = [word for word in dict.fromkeys(words) if not word.isascii()]
    if not affected:
        return ()
    _, without_font = fonts_with_letters(frozenset("".join(affected)) - _letters_of_default_font())
    affected = [word for word in affected if without_font & set(word)]
    if not affected:
        return ()
    subject = ", ".join(affected[:3]) + (f" and {len(affected) - 3} more" if len(affected) > 3 else "")
    text = f"no font of this machine has the letters of {subject}: the pictures show them as escapes, like"
    example = escape_letters(affected[0], without_font)
    return (Note("data", f"{text} {example}; install a font that has them, as Noto Sans CJK", count=len(affected)),)


@lru_cache(maxsize=MAX_CACHED_CHARACTERS)
def _relative_advance(character: str, is_bold: bool) -> float:
    """Return the width of a character as a fraction of the font's size; other fonts' are as wide as most are.

    A character that no font of the machine has is as wide as the escape that is drawn in its place.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ft2font import LoadFlags

    font = get_font(findfont(FontProperties(family=DEFAULT_FONT, weight="bold" if is_bold else "normal")))
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
