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

from quantlr.core.parallel import parallel_map, process_pool

if TYPE_CHECKING:
    from quantlr.core.progress import Progress
    from quantlr.report.context import PageContext
    from quantlr.report.pages import Page, Picture

PageRenderer = Callable[["PageContext", "Progress"], "dict[str, Picture]"]
"""What makes a run's pictures, by the names of their files, and tells how far it has come."""
MAX_RENDERING_PROCESSES = 4
"""Processes that draw, this one included: one for each page."""
MAX_TRANSFER_BYTES = 64 * 2**20
"""Bytes of a run up to which it is sent to another process for each page: a tenth of what the page takes to draw."""


@contextmanager
def open_page_renderer(max_processes: int) -> Iterator[PageRenderer]:
    """Give what draws a run's pages, with the help of other processes that get ready meanwhile.

    Parameters
    ----------
    workers : processes at most, this one included; with one, all is drawn here.
    """
    others = min(max_processes, MAX_RENDERING_PROCESSES) - 1
    if others < 1:
        yield render_pages_serially
        return
    with process_pool(others, initializer=_warm_up_worker) as pool:
        yield partial(_render_pages_in_parallel, pool, others)


def render_pages_serially(context: PageContext, progress: Progress) -> dict[str, Picture]:
    """Return a run's pictures, drawn one after the other by this process."""
    from quantlr.report.pages import applicable_pages

    pages = applicable_pages(context)
    return _collect_pictures(pages, (page.render_picture(context) for page in pages), progress)


def _render_pages_in_parallel(
    pool: ProcessPoolExecutor, n_helpers: int, context: PageContext, progress: Progress
) -> dict[str, Picture]:
    """Return a run's pictures; one that is too large to travel is drawn here, and all are if a process was killed."""
    if context.nbytes > MAX_TRANSFER_BYTES:
        return render_pages_serially(context, progress)
    from quantlr.report.pages import applicable_pages

    pages = applicable_pages(context)
    try:
        pictures = parallel_map(
            partial(_render_page, context), range(len(pages)), pool, pool_size=n_helpers, queued_per_process=1
        )
        return _collect_pictures(pages, pictures, progress)
    except BrokenProcessPool:
        return render_pages_serially(context, progress)


def _collect_pictures(pages: Sequence[Page], pictures: Iterable[Picture], progress: Progress) -> dict[str, Picture]:
    """Return pictures by file, and tell of each as it comes."""
    found = {}
    progress("drawing", done=0, total=len(pages))
    for page, picture in zip(pages, pictures, strict=True):
        found[page.file_name] = picture
        progress("drawing", done=len(found), total=len(pages))
    return found


def _render_page(context: PageContext, page_index: int) -> Picture:
    from quantlr.report.pages import applicable_pages

    return applicable_pages(context)[page_index].render_picture(context)


def _warm_up_worker() -> None:
    """Import what draws, and have it find its letters."""
    from quantlr.report.pages import warm_up_fonts

    warm_up_fonts()
