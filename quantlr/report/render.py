"""Rendering of a report's pages, in parallel processes where there are several cores.

The processes are started before the run is computed, so that they import matplotlib meanwhile. The bytes do not depend
on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from quantlr.core.parallel import WorkerPool, allowed_worker_count, parallel_map, process_pool
from quantlr.core.progress import Progress, ProgressCounter

if TYPE_CHECKING:
    from quantlr.report.context import PageContext
    from quantlr.report.pages import Picture

PageRenderer = Callable[["PageContext", "Progress"], "Iterable[tuple[str, Picture]]"]
"""Function that begins to render the pages of a run where it has other processes for that.

What it returns gives each page's file name and picture, and reports the progress.
"""
MAX_RENDERING_PROCESSES = 4
"""Processes that render, this one included."""
MAX_TRANSFER_BYTES = 64 * 2**20
"""Bytes of a run up to which it is sent to another process for each page, in a tenth of the page's rendering time."""


@contextmanager
def open_page_renderer(max_processes: int) -> Iterator[PageRenderer]:
    """Yield a renderer that uses at most `max_processes` processes, this one included; with one, it starts none."""
    n_helpers = min(allowed_worker_count(max_processes), MAX_RENDERING_PROCESSES) - 1
    if n_helpers < 1:
        yield render_pages_serially
        return
    with process_pool(n_helpers, initializer=_import_and_warm_up) as pool:
        yield partial(_render_pages_in_parallel, pool, n_helpers)


def render_pages_serially(context: PageContext, progress: Progress) -> Iterator[tuple[str, Picture]]:
    """Yield the pictures of a run with their file names, rendered by this process."""
    from quantlr.report.pages import pages_to_draw

    pages = pages_to_draw(context)
    counter = ProgressCounter("drawing", len(pages), progress)
    yield from counter.iter_items((page.file_name, page.render_picture(context)) for page in pages)


def _render_pages_in_parallel(
    pool: WorkerPool, n_helpers: int, context: PageContext, progress: Progress
) -> Iterator[tuple[str, Picture]]:
    """Return an iterator over the pictures of a run, rendered serially if the run is large or a process was killed."""
    from quantlr.report.pages import pages_to_draw

    if context.nbytes > MAX_TRANSFER_BYTES:
        return render_pages_serially(context, progress)
    indices = range(len(pages_to_draw(context)))
    pictures = parallel_map(partial(_render_page, context), indices, pool, pool_size=n_helpers, n_queued=1)

    def iter_pictures() -> Iterator[tuple[str, Picture]]:
        try:
            yield from ProgressCounter("drawing", len(indices), progress).iter_items(pictures)
        except BrokenProcessPool:
            pool.context.require_main_guard()
            yield from render_pages_serially(context, progress)

    return iter_pictures()


def _render_page(context: PageContext, page_index: int) -> tuple[str, Picture]:
    from quantlr.report.pages import pages_to_draw

    page = pages_to_draw(context)[page_index]
    return page.file_name, page.render_picture(context)


def _import_and_warm_up() -> None:
    from quantlr.report.pages import warm_up_fonts

    warm_up_fonts()
