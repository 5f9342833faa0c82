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

PageRenderer = Callable[["PageContext", "Progress"], "dict[str, Picture]"]
"""Function that renders the pages of a run, by file name, and reports its progress."""
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


def render_pages_serially(context: PageContext, progress: Progress) -> dict[str, Picture]:
    """Return the pictures of a run by file name, rendered by this process."""
    from quantlr.report.pages import pages_to_draw

    pages = pages_to_draw(context)
    pictures = (page.render_picture(context) for page in pages)
    return _collect_pictures([page.file_name for page in pages], pictures, progress)


def _render_pages_in_parallel(
    pool: WorkerPool, n_helpers: int, context: PageContext, progress: Progress
) -> dict[str, Picture]:
    """Return the pictures of a run; they are rendered serially if the run is large, or if a process was killed.

    Raises
    ------
    UserError : the processes have ended because the script lacks ``if __name__ == "__main__":``.
    """
    from quantlr.report.pages import pages_to_draw

    if context.nbytes > MAX_TRANSFER_BYTES:
        return render_pages_serially(context, progress)
    file_names = [page.file_name for page in pages_to_draw(context)]
    render = partial(_render_page, context)
    try:
        pictures = parallel_map(render, range(len(file_names)), pool, pool_size=n_helpers, n_queued=1)
        return _collect_pictures(file_names, pictures, progress)
    except BrokenProcessPool:
        pool.context.require_main_guard()
        return render_pages_serially(context, progress)


def _collect_pictures(file_names: list[str], pictures: Iterable[Picture], progress: Progress) -> dict[str, Picture]:
    counter = ProgressCounter("drawing", len(file_names), progress)
    return dict(counter.iter_items(zip(file_names, pictures, strict=True)))


def _render_page(context: PageContext, page_index: int) -> Picture:
    from quantlr.report.pages import pages_to_draw

    return pages_to_draw(context)[page_index].render_picture(context)


def _import_and_warm_up() -> None:
    from quantlr.report.pages import warm_up_fonts

    warm_up_fonts()
