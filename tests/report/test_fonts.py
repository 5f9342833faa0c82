"""Letters that matplotlib's font lacks are drawn in another font, or written as escapes, with one note."""

from __future__ import annotations

import io
import warnings

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from quantlr.report.fonts import draw_with_fallback_fonts, escape_letters, fonts_with_letters, missing_font_notes

FONTS = f"{matplotlib.get_data_path()}/fonts/ttf"
NOWHERE = "\U000f0000"
"""A letter for private use, which no font has."""


def letter_of_stix_alone() -> str:
    """Return a letter that another font of matplotlib has, and its default font lacks."""
    default, other = (FT2Font(f"{FONTS}/{name}.ttf").get_charmap() for name in ("DejaVuSans", "STIXGeneral"))
    return chr(next(code for code in sorted(other) if code > 0x2000 and code not in default))


def draw(text: str) -> tuple[Figure, bytes, bool, list[str]]:
    """Return a figure with a title and tick labels of some text, its picture, whether it was redrawn, and warnings."""
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.set_title(text)
    ax.set_yticks([0, 1], [text, "plain"])
    ax.set_ylim(-1, 2)
    stream = io.BytesIO()

    def save() -> None:
        stream.seek(0)
        stream.truncate()
        figure.savefig(stream, format="png")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_redrawn = draw_with_fallback_fonts(figure, save)
    return figure, stream.getvalue(), is_redrawn, [str(warning.message) for warning in caught]


def test_latin_text_is_drawn_once() -> None:
    _, picture, is_redrawn, texts = draw("Société Générale − 5 %")
    assert not is_redrawn
    assert not texts
    assert picture.startswith(b"\x89PNG")


def test_letters_are_drawn_in_a_font_that_has_them() -> None:
    letter = letter_of_stix_alone()
    families, without_font = fonts_with_letters(frozenset(letter))
    assert len(families) == 1
    assert not without_font
    figure, _, is_redrawn, texts = draw(f"A{letter}")
    assert is_redrawn
    assert not texts
    assert figure.axes[0].get_title() == f"A{letter}"
    assert figure.axes[0].title.get_fontfamily() == ["DejaVu Sans", *families]


def test_letters_without_a_font_are_escaped_in_titles_and_tick_labels() -> None:
    figure, _, is_redrawn, texts = draw(f"A{NOWHERE}")
    assert is_redrawn
    assert not texts
    ax = figure.axes[0]
    assert ax.get_title() == r"A\U000f0000"
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"A\U000f0000", "plain"]


def test_one_note_names_the_words_without_a_font() -> None:
    assert not missing_font_notes(["SPY", "Société", letter_of_stix_alone()])
    words = ["SPY", *(f"{NOWHERE}{number}" for number in range(5))]
    (note,) = missing_font_notes([*words, *words])
    assert note.count == 5
    assert r"\U000f00000" in note.text
    assert escape_letters("a贵b", frozenset("贵")) == r"a\u8d35b"


def test_other_warnings_are_passed_on() -> None:
    def save() -> None:
        warnings.warn("something else", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        assert not draw_with_fallback_fonts(Figure(), save)


def test_texts_with_escapes_stay_inside_the_figure() -> None:
    figure, *_ = draw(NOWHERE * 3)
    ax = figure.axes[0]
    for text in (ax.title, *ax.get_yticklabels()):
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
