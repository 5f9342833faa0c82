"""Pages drawn by several processes: the same as by one, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import active_children
from pathlib import Path

import pytest
from quantlr.core.progress import ignore_progress
from quantlr.experiment.run import Run
from quantlr.report.pages import applicable_pages
from quantlr.report.render import MAX_TRANSFER_BYTES, open_page_renderer, render_pages_serially

from report.cases import shown, tear_sheet_of

ROOT = Path(__file__).parents[1]


@pytest.mark.usefixtures("undrawn")
def test_every_page_of_a_run_is_drawn() -> None:
    seen = shown("four sessions")
    assert list(render_pages_serially(seen, ignore_progress)) == [page.file_name for page in applicable_pages(seen)]


def test_pages_are_the_same_whoever_draws_and_are_drawn_even_if_the_helper_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two pages: the first is the helper's, the second is drawn here while the helper gets ready."""
    seen = shown("four sessions")
    monkeypatch.setattr("quantlr.report.pages.applicable_pages", lambda shown: applicable_pages(shown)[:2])
    here = render_pages_serially(seen, ignore_progress)
    assert len(here) == 2
    with open_page_renderer(2) as draw:
        assert draw(seen, ignore_progress) == here
        (helper,) = active_children()
        helper.kill()
        helper.join()
        assert draw(seen, ignore_progress) == here
    assert not active_children()


def test_what_is_too_large_to_travel_is_drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = shown("three years")
    course = seen.run_data
    of_arrays = course.prices.close.nbytes * 8 + course.dataset.features.nbytes
    assert of_arrays < seen.nbytes < MAX_TRANSFER_BYTES
    asked = []
    monkeypatch.setattr("quantlr.report.render.MAX_TRANSFER_BYTES", seen.nbytes - 1)
    monkeypatch.setattr("quantlr.report.render.render_pages_serially", lambda *_: asked.append("here"))
    monkeypatch.setattr("quantlr.report.render.parallel_map", lambda *_, **__: asked.append("sent"))
    monkeypatch.setattr("quantlr.report.render.process_pool", lambda *_, **__: nullcontext())
    with open_page_renderer(2) as draw:
        draw(seen, ignore_progress)
    assert asked == ["here"]


@pytest.mark.skipif(sys.platform != "linux", reason="whose child is whose is read from /proc")
def test_ctrl_c_while_the_helper_starts_leaves_no_process_and_says_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "quantlr", "run", "configs/sp500_daily.yaml", "--jobs", "2", "--output"]
    with subprocess.Popen(
        [*command, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 2:  # the helper, and what tracks its resources
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert said == "interrupted; what was there before is untouched\n"
    while _lives(process.pid):  # what tracks resources leaves a moment later
        time.sleep(0.005)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_is_drawn_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = shown("three years")
    done = Run(seen.config, seen.metrics, (), seen.run_data)
    pictures = {"tearsheet.png": tear_sheet_of("three years")}
    assert done.report(draw=lambda *_: pictures).files["tearsheet.png"] == pictures["tearsheet.png"].png_bytes
