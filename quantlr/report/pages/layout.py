"""What every page has: its size, its head, and bytes that repeat exactly."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quantlr.report.context import PageContext
from quantlr.report.style import BLACK, GREY, NORMAL_SIZE

DPI = 150
PAGE_SIZE_INCHES = (14.0, 9.4)
"""Width and height of a page, in inches."""
PNG_COMPRESSION_LEVEL = 2
"""Of 1 to 9: a tenth more bytes than the default, in two thirds of its time."""
HEADER_BOTTOM_FRACTION = 0.80
"""Where the head of a page ends, as a fraction of its height: pictures and their headings stand below."""
NON_STYLE_RCPARAMS = ("backend", "backend_fallback", "date.epoch", "interactive")
"""Of matplotlib's settings those that say where it draws, and not how."""
TITLE_GID, SUBTITLE_GID = "finding", "basis"
"""What marks the two texts of a head that say what is seen."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as it is written and shown.

    Attributes
    ----------
    question : what it answers.
    finding : the answer, the page's title.
    text : what is seen, for who can't see it: the finding, what it rests on, and the headings of the figures.
    png : its bytes.
    width, height : in pixels.
    """

    question: str
    title: str
    alt_text: str
    png_bytes: bytes
    width: int
    height: int


@contextmanager
def default_style() -> Iterator[None]:
    """Draw by matplotlib's defaults, however a user's own figures are to look."""
    default = matplotlib.rcParamsDefault
    changed = {
        key: default[key] for key in default.keys() - NON_STYLE_RCPARAMS if matplotlib.rcParams[key] != default[key]
    }
    with matplotlib.rc_context(changed):
        yield


def new_page(context: PageContext, title: str, subtitle: str) -> Figure:
    """Return an empty page with its head: what was found, what that rests on, what was run, what a reader should know.

    Parameters
    ----------
    shown : the run.
    title : the page's finding, in few words.
    text : what it rests on; up to about 330 letters.
    """
    return page_header(
        title,
        subtitle,
        setup_text=f"{context.config.name}   {context.setup_text}",
        notes=context.notes,
        notes_file="provenance.json",
    )


def page_header(title: str, subtitle: str, *, setup_text: str, notes: tuple[str, ...], notes_file: str) -> Figure:
    """Return an empty page with a head of these words.

    Parameters
    ----------
    title, text : as of a run's page.
    under : one line of up to about 200 letters, in grey.
    notes : what a reader should know; more than two are counted.
    file : of the report, that has them all.
    """
    figure = Figure(figsize=PAGE_SIZE_INCHES, dpi=DPI, facecolor="white")
    figure.text(0.02, 0.968, title, fontsize=19, fontweight="bold", color=BLACK, va="center", gid=TITLE_GID)
    wrapped = "\n".join(textwrap.wrap(subtitle, width=165))
    figure.text(0.02, 0.946, wrapped, fontsize=10.5, color=BLACK, va="top", linespacing=1.35, gid=SUBTITLE_GID)
    figure.text(0.02, 0.889, setup_text, fontsize=NORMAL_SIZE, color=GREY, va="center")
    lines = "\n".join(_truncated_note_lines(notes, notes_file))
    figure.text(0.02, 0.877, lines, fontsize=8.2, color=GREY, va="top", linespacing=1.2, parse_math=False)
    return figure


def _truncated_note_lines(notes: tuple[str, ...], notes_file: str) -> list[str]:
    """Return the notes as at most two lines."""
    lines = [textwrap.shorten(f"Note: {note}", width=200, placeholder=" …") for note in notes]
    return lines if len(lines) <= 2 else [lines[0], f"and {len(lines) - 1} more notes in {notes_file}"]


def to_picture(figure: Figure, *, question: str) -> Picture:
    """Return a page as it is written and shown, with the question that it answers."""
    said = {text.get_gid(): " ".join(text.get_text().split()) for text in figure.texts}
    width, height = figure.canvas.get_width_height()
    headings = [heading for ax in figure.axes if (heading := ax.get_title(loc="left"))]
    return Picture(
        question=question,
        title=said[TITLE_GID],
        alt_text=" ".join(f"{part.rstrip('.')}." for part in (said[TITLE_GID], said[SUBTITLE_GID], *headings) if part),
        png_bytes=figure_png(figure),
        width=width,
        height=height,
    )


def figure_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes that are the same for the same drawing."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(
        stream, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": PNG_COMPRESSION_LEVEL}
    )
    return stream.getvalue()


def warm_up_fonts() -> None:
    """Find the letters, once a process, by drawing some."""
    figure = Figure(figsize=(1.0, 1.0), dpi=DPI)
    ax = figure.add_subplot()
    ax.set_title("Aa", fontweight="bold")
    figure_png(figure)
