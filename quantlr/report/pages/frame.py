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

from quantlr.report.figures.style import GREY, INK, NORMAL
from quantlr.report.shown import Shown

DPI = 150
SIZE = (14.0, 9.4)
"""Width and height of a page, in inches."""
COMPRESSION = 2
"""Of 1 to 9: a tenth more bytes than the default, in two thirds of its time."""
TOP = 0.80
"""Where the head of a page ends, as a fraction of its height: pictures and their headings stand below."""
NOT_LOOKS = ("backend", "backend_fallback", "date.epoch", "interactive")
"""Of matplotlib's settings those that say where it draws, and not how."""
FINDING, BASIS = "finding", "basis"
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
    finding: str
    text: str
    png: bytes
    width: int
    height: int


@contextmanager
def own_looks() -> Iterator[None]:
    """Draw by matplotlib's defaults, however a user's own figures are to look."""
    default = matplotlib.rcParamsDefault
    changed = {key: default[key] for key in default.keys() - NOT_LOOKS if matplotlib.rcParams[key] != default[key]}
    with matplotlib.rc_context(changed):
        yield


def framed(shown: Shown, title: str, text: str) -> Figure:
    """Return an empty page with its head: what was found, what that rests on, what was run, what a reader should know.

    Parameters
    ----------
    shown : the run.
    title : the page's finding, in few words.
    text : what it rests on; up to about 330 letters.
    """
    return headed(
        title, text, under=f"{shown.config.name}   {shown.setting}", notes=shown.notes, file="provenance.json"
    )


def headed(title: str, text: str, *, under: str, notes: tuple[str, ...], file: str) -> Figure:
    """Return an empty page with a head of these words.

    Parameters
    ----------
    title, text : as of a run's page.
    under : one line of up to about 200 letters, in grey.
    notes : what a reader should know; more than two are counted.
    file : of the report, that has them all.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    figure.text(0.02, 0.968, title, fontsize=19, fontweight="bold", color=INK, va="center", gid=FINDING)
    wrapped = "\n".join(textwrap.wrap(text, width=165))
    figure.text(0.02, 0.946, wrapped, fontsize=10.5, color=INK, va="top", linespacing=1.35, gid=BASIS)
    figure.text(0.02, 0.889, under, fontsize=NORMAL, color=GREY, va="center")
    lines = "\n".join(_shortened(notes, file))
    figure.text(0.02, 0.877, lines, fontsize=8.2, color=GREY, va="top", linespacing=1.2, parse_math=False)
    return figure


def _shortened(notes: tuple[str, ...], file: str) -> list[str]:
    """Return the notes as at most two lines."""
    lines = [textwrap.shorten(f"Note: {note}", width=200, placeholder=" …") for note in notes]
    return lines if len(lines) <= 2 else [lines[0], f"and {len(lines) - 1} more notes in {file}"]


def pictured(figure: Figure, *, question: str) -> Picture:
    """Return a page as it is written and shown, with the question that it answers."""
    said = {text.get_gid(): " ".join(text.get_text().split()) for text in figure.texts}
    width, height = figure.canvas.get_width_height()
    headings = [heading for ax in figure.axes if (heading := ax.get_title(loc="left"))]
    return Picture(
        question=question,
        finding=said[FINDING],
        text=" ".join(f"{part.rstrip('.')}." for part in (said[FINDING], said[BASIS], *headings) if part),
        png=png(figure),
        width=width,
        height=height,
    )


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes that are the same for the same drawing."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": COMPRESSION})
    return stream.getvalue()


def warm_up() -> None:
    """Find the letters, once a process, by drawing some."""
    figure = Figure(figsize=(1.0, 1.0), dpi=DPI)
    ax = figure.add_subplot()
    ax.set_title("Aa", fontweight="bold")
    png(figure)
