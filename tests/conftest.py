from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from quantlr.report.context import PageContext
    from quantlr.report.pages import Page, Picture

# The tests run in parallel on all cores, so BLAS gets one thread; worker processes inherit the setting.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Modules are compiled once, not by every process that the tests start, as the environment of many containers asks.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No deadlines, since machines differ in speed, and the same examples on every run.
settings.register_profile(
    "quantlr", deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quantlr")
# For mutation testing, to which it is all one which example fails: the search for the smallest takes seconds.
settings.register_profile("mutation", settings.get_profile("quantlr"), phases=[Phase.explicit, Phase.generate])

PAGE_SIZE = (2100, 1410)
"""Width and height of a page, in pixels."""


SLOW_TEST_FILES = ("test_docs.py", "test_house.py", "test_processes.py")
"""Test files that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest test files first, so that no core waits for them at the end."""
    items.sort(key=lambda item: item.path.name not in SLOW_TEST_FILES)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs use one process by default, since the tests run in parallel on all cores."""
    monkeypatch.setattr("quantlr.core.parallel.available_core_count", lambda: 1)


@pytest.fixture(scope="session")
def blank_pages() -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager that replaces all pages by blank pictures, for fixtures of wider scope."""
    return _blank_pages


@pytest.fixture
def without_drawing() -> Iterator[None]:
    """Replace the pages of reports, comparisons and sweeps by blank pictures, which saves seconds per test."""
    with _blank_pages():
        yield


@contextmanager
def _blank_pages() -> Iterator[None]:
    # Imported here, since the process that distributes the tests loads this file too and needs no drawing.
    from quantlr.report.pages import Page, Picture

    def blank_picture(page: Page, context: PageContext) -> Picture:
        png = _blank_png(page.file_name)
        return Picture(page.heading, page.file_name, "subtitle", "white", png, *PAGE_SIZE, thumbnail_png=png)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "render_picture", blank_picture)
        patch.setattr("quantlr.report.pages.sweep.sweep_page_png", lambda _: _blank_png("sweep"))
        patch.setattr("quantlr.report.pages.comparison.comparison_page_png", lambda _: _blank_png("comparison"))
        yield


@cache
def _blank_png(name: str) -> bytes:
    """Return a blank picture, with the page's name in its metadata so that the bytes of pages differ."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    stream, metadata = io.BytesIO(), PngInfo()
    metadata.add_text("page", name)
    Image.new("RGB", (560, 376), "white").save(stream, format="png", pnginfo=metadata)
    return stream.getvalue()


@pytest.fixture(autouse=True, scope="session")
def _temporary_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTLR_HOME", str(tmp_path_factory.mktemp("home")))
        yield
