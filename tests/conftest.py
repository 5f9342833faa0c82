from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from quantlr.report.context import PageContext
    from quantlr.report.pages import Page, Picture

# The suite keeps all cores busy itself: threads of BLAS would only wait for one another. The workers of this session
# inherit it, and so do processes that tests start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Machines differ in speed, and a test that is slow is not wrong; the same examples on every run.
settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

SIZE = (2100, 1410)
"""Of a page, in pixels."""


LONGEST = ("test_readme.py", "test_house.py", "test_processes.py")
"""Files with tests of many seconds, which would come last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end no core is to wait for it."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs inside tests start no process unless they are told how many: the suite keeps all cores busy itself."""
    monkeypatch.setattr("quantlr.core.parallel.available_cores", lambda: 1)


@pytest.fixture(scope="session")
def leaving_white() -> Callable[[], AbstractContextManager[None]]:
    """Return what leaves all pages white in a block: for fixtures that several tests share."""
    return _leaving_white


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Leave pages of reports, comparisons and sweeps white, where a test is about something else: they take seconds."""
    with _leaving_white():
        yield


@contextmanager
def _leaving_white() -> Iterator[None]:
    # The process that hands tests out loads this file too, before all others can start: it draws nothing.
    from quantlr.report.pages import Page, Picture

    def white(page: Page, shown: PageContext) -> Picture:
        return Picture(page.question, page.file_name, "white", _white(page.file_name), *SIZE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Page, "render_picture", white)
        patch.setattr("quantlr.report.pages.sweep.sweep_page", lambda _: _white("sweep"))
        patch.setattr("quantlr.report.pages.comparison.comparison_page", lambda _: _white("comparison"))
        yield


@cache
def _white(name: str) -> bytes:
    """Return a white picture that says in its bytes, and nowhere else, which page it stands for."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    stream, said = io.BytesIO(), PngInfo()
    said.add_text("page", name)
    # As wide as its thumbnail: to make a whole page small takes longer than all else that is written of a run.
    Image.new("RGB", (560, 376), "white").save(stream, format="png", pnginfo=said)
    return stream.getvalue()


@pytest.fixture(autouse=True, scope="session")
def _a_home_that_is_not_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTLR_HOME", str(tmp_path_factory.mktemp("home")))
        yield
