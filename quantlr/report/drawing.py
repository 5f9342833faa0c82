"""The pages of a report, drawn side by side on the cores there are.

The processes that help are started before anything else is done, so that what they import overlaps with the
calculation. Bytes are the same whoever draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from quantlr.processes import shared_out, spawned

if TYPE_CHECKING:
    from quantlr.report.pages import Page, Picture
    from quantlr.report.shown import Shown
    from quantlr.types import Progress

Draw = Callable[["Shown", "Progress"], "dict[str, Picture]"]
"""What makes a run's pictures, by the names of their files, and tells how far it has come."""
MOST = 4
"""Processes that draw, this one included: one for each page."""
LARGEST = 64 * 2**20
"""Bytes of a run up to which it is sent to another process for each page: a tenth of what the page takes to draw."""


@contextmanager
def drawing(workers: int) -> Iterator[Draw]:
    """Give what draws a run's pages, with the help of other processes that get ready meanwhile.

    Parameters
    ----------
    workers : processes at most, this one included; with one, all is drawn here.
    """
    others = min(workers, MOST) - 1
    if others < 1:
        yield draw_here
        return
    with spawned(others, ready=_ready) as pool:
        yield partial(_draw_together, pool, others)


def draw_here(shown: Shown, progress: Progress) -> dict[str, Picture]:
    """Return a run's pictures, drawn one after the other by this process."""
    from quantlr.report.pages import pages_of  # matplotlib costs half a second: only who draws pays it

    pages = pages_of(shown)
    return _heard(pages, (page.picture(shown) for page in pages), progress)


def _draw_together(pool: ProcessPoolExecutor, others: int, shown: Shown, progress: Progress) -> dict[str, Picture]:
    """Return a run's pictures; one that is too large to travel is drawn here, and all are if a process was killed."""
    if shown.nbytes > LARGEST:
        return draw_here(shown, progress)
    from quantlr.report.pages import pages_of

    pages = pages_of(shown)
    try:
        pictures = shared_out(partial(_picture, shown), range(len(pages)), pool, others=others, ahead=1)
        return _heard(pages, pictures, progress)
    except BrokenProcessPool:
        return draw_here(shown, progress)


def _heard(pages: Sequence[Page], pictures: Iterable[Picture], progress: Progress) -> dict[str, Picture]:
    """Return pictures by file, and tell of each as it comes."""
    found = {}
    progress("drawing", done=0, total=len(pages))
    for page, picture in zip(pages, pictures, strict=True):
        found[page.file] = picture
        progress("drawing", done=len(found), total=len(pages))
    return found


def _picture(shown: Shown, at: int) -> Picture:
    from quantlr.report.pages import pages_of

    return pages_of(shown)[at].picture(shown)


def _ready() -> None:
    """Import what draws, and have it find its letters."""
    from quantlr.report.pages import warm_up

    warm_up()
