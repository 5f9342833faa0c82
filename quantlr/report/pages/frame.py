"""What every page has: its size, its head, and bytes that repeat exactly."""

from __future__ import annotations

import io
import textwrap

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quantlr.report.figures.style import GREY, INK, NORMAL
from quantlr.report.shown import Shown

DPI = 150
SIZE = (14.0, 9.4)
"""Width and height of a page, in inches."""
TOP = 0.80
"""Where the head of a page ends, as a fraction of its height: pictures and their headings stand below."""


def framed(shown: Shown, title: str, text: str) -> Figure:
    """Return an empty page with its head: what was found, what that rests on, what was run, what a reader should know.

    Parameters
    ----------
    shown : the run.
    title : the page's finding, in few words.
    text : what it rests on; up to about 330 letters.
    """
    return headed(title, text, f"{shown.config.name}   {shown.setting}", shown.notes)


def headed(title: str, text: str, setting: str, notes: tuple[str, ...]) -> Figure:
    """Return an empty page with such a head, of what is no single run.

    Parameters
    ----------
    title, text : as of `framed`.
    setting : what was done, in one line.
    notes : what a reader should know, a line each.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    figure.text(0.02, 0.968, title, fontsize=19, fontweight="bold", color=INK, va="center")
    wrapped = "\n".join(textwrap.wrap(text, width=165))
    figure.text(0.02, 0.946, wrapped, fontsize=10.5, color=INK, va="top", linespacing=1.35)
    figure.text(0.02, 0.889, setting, fontsize=NORMAL, color=GREY, va="center")
    figure.text(0.02, 0.877, "\n".join(_shortened(notes)), fontsize=8.2, color=GREY, va="top", linespacing=1.2)
    return figure


def _shortened(notes: tuple[str, ...]) -> list[str]:
    """Return the notes as at most two lines."""
    lines = [textwrap.shorten(f"Note: {note}", width=200, placeholder=" …") for note in notes]
    return lines if len(lines) <= 2 else [lines[0], f"and {len(lines) - 1} more notes in provenance.json"]


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes that are the same for the same drawing."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
