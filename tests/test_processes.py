"""Pages drawn by several processes: the same as by one, and no process is left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import active_children
from pathlib import Path

import pytest
from PIL import Image
from quantlr.core.progress import ignore_progress
from quantlr.experiment.run import Run
from quantlr.report.pages import pages_to_draw
from quantlr.report.render import MAX_TRANSFER_BYTES, open_page_renderer, render_pages_serially

from report.cases import case_context, case_tear_sheet

ROOT = Path(__file__).parents[1]


@pytest.mark.usefixtures("without_drawing")
def test_all_applicable_pages_are_rendered() -> None:
    context = case_context("four sessions")
    assert list(dict(render_pages_serially(context, ignore_progress))) == [
        page.file_name for page in pages_to_draw(context)
    ]


def test_pages_are_equal_in_parallel_and_after_a_process_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two pages, the other process renders the first, and this one the second while the other starts."""
    page_context = case_context("four sessions")
    monkeypatch.setattr("quantlr.report.pages.pages_to_draw", lambda context: pages_to_draw(context)[:2])
    expected = dict(render_pages_serially(page_context, ignore_progress))
    assert len(expected) == 2
    with open_page_renderer(2) as render:
        assert dict(render(page_context, ignore_progress)) == expected
        (helper,) = active_children()
        helper.kill()
        helper.join()
        assert dict(render(page_context, ignore_progress)) == expected
    assert not active_children()


def test_large_runs_are_rendered_serially(monkeypatch: pytest.MonkeyPatch) -> None:
    context = case_context("three years")
    data = context.run_data
    assert data.prices.close.nbytes * 8 + data.dataset.features.nbytes < context.nbytes < MAX_TRANSFER_BYTES
    calls = []
    monkeypatch.setattr("quantlr.report.render.MAX_TRANSFER_BYTES", context.nbytes - 1)
    monkeypatch.setattr("quantlr.report.render.render_pages_serially", lambda *_: calls.append("serial"))
    monkeypatch.setattr("quantlr.report.render.parallel_map", lambda *_, **__: calls.append("parallel"))
    monkeypatch.setattr("quantlr.report.render.process_pool", lambda *_, **__: nullcontext())
    with open_page_renderer(2) as render:
        render(context, ignore_progress)
    assert calls == ["serial"]


@pytest.mark.skipif(sys.platform != "linux", reason="child processes are read from /proc")
def test_ctrl_c_while_processes_start_leaves_none_and_prints_one_line(tmp_path: Path) -> None:
    code = (  # a run that does not end by itself, however late the signal arrives
        "import time\n"
        "from quantlr.cli import main\n"
        "from quantlr.experiment import run\n"
        "def wait_for_ever(*_, **__):\n"
        "    while True:\n"
        "        time.sleep(0.05)\n"
        "run.run_config = wait_for_ever\n"
        "main(prog_name='quantlr')\n"
    )
    command = [sys.executable, "-c", code, "run", "configs/sp500_daily.yaml", "--jobs", "2", "--output"]
    with subprocess.Popen(
        [*command, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        # The rendering process and the resource tracker.
        while process.poll() is None and len(children.read_text().split()) < 2:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130
    assert stderr == "interrupted; existing files were not changed\n"
    while _is_running(process.pid):  # the resource tracker ends a moment later
        time.sleep(0.005)


def _is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_report_uses_the_given_renderer() -> None:
    context = case_context("three years")
    run = Run(context.config, context.metrics, (), context.run_data)
    picture = case_tear_sheet("three years")
    files = run.report(draw=lambda *_: [("tearsheet.png", picture)]).files
    assert files["tearsheet.png"] == picture.png_bytes
    assert files["thumbnail.png"] == picture.thumbnail_png
    assert Image.open(io.BytesIO(picture.thumbnail_png)).size == (640, 301)
    assert len(picture.thumbnail_png) < 100_000
