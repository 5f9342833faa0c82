"""The progress bar: stages of more than a second, with rate and time left."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from quantlr.cli.terminal import StageProgressBar, progress_bar
from quantlr.core.progress import Progress, ignore_progress
from quantlr.experiment.run import run
from rich.console import Console

from cli.conftest import CONFIG

MakeBar = Callable[..., tuple[Progress, Callable[[], str]]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_bar(clock: Clock) -> MakeBar:
    """Return a function that makes a progress callback, and a function that returns the text of its bar."""

    def make(width: int = 80) -> tuple[Progress, Callable[[], str]]:
        bars = StageProgressBar(Console(file=io.StringIO(), width=width), clock=clock)

        def bar_text() -> str:
            screen = Console(file=io.StringIO(), width=width, color_system=None)
            screen.print(bars.get_renderable())
            assert isinstance(screen.file, io.StringIO)
            return screen.file.getvalue().strip()

        return bars.show_progress, bar_text

    return make


def test_stage_appears_after_one_second(make_bar: MakeBar, clock: Clock) -> None:
    progress, bar_text = make_bar()
    progress("fitting", done=0, total=1000)
    clock.now += 0.9
    progress("fitting", done=400, total=1000)
    assert bar_text() == ""
    clock.now += 0.1
    assert bar_text().startswith("fitting")


def test_bar_has_count_rate_and_time_left(make_bar: MakeBar, clock: Clock) -> None:
    progress, bar_text = make_bar()
    progress("fitting", done=0, total=4000)
    clock.now += 10
    assert bar_text().endswith("0:10")
    progress("fitting", done=1000, total=4000)
    assert bar_text().endswith("1,000/4,000 100/s 0:30 left")
    clock.now += 5
    assert bar_text().endswith("1,000/4,000 100/s 0:25 left")
    clock.now += 3600
    progress("fitting", done=1001, total=4000)
    assert bar_text().endswith("4 s each 3:00:30 left")
    progress("fitting", done=4000, total=4000)
    assert bar_text().endswith("4,000/4,000  1:00:15")


def test_short_stages_between_long_ones_do_not_flicker(make_bar: MakeBar, clock: Clock) -> None:
    progress, bar_text = make_bar()
    progress("reading", done=0, total=1)
    clock.now += 2
    progress("reading", done=1, total=1)
    progress("checking", done=0, total=3)
    clock.now += 0.5
    assert bar_text().startswith("reading")
    progress("fitting", done=0, total=1)
    clock.now += 1.5
    assert bar_text().startswith("fitting")
    assert "\n" not in bar_text()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_bar_is_one_line_at_any_width(make_bar: MakeBar, clock: Clock, width: int) -> None:
    progress, bar_text = make_bar(width)
    progress("measuring", done=0, total=96_000)
    clock.now += 7200
    progress("measuring", done=48_000, total=96_000)
    assert bar_text().endswith("2:00:00 left")
    assert "\n" not in bar_text()
    assert ("48,000/96,000" in bar_text()) == (width >= 60)


@pytest.mark.parametrize(
    "out",
    [
        Console(file=io.StringIO()),
        Console(file=io.StringIO(), force_terminal=True),
        Console(file=Terminal(), force_terminal=True, quiet=True),
        Console(file=Terminal(), force_terminal=True, force_interactive=False),
    ],
    ids=["a pipe", "a pipe with colour", "quiet", "a dumb terminal"],
)
def test_no_bar_outside_a_terminal(out: Console) -> None:
    with progress_bar(out) as progress:
        assert progress is ignore_progress


def test_every_stage_of_a_run_reports_start_and_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    calls: list[tuple[str, int, int]] = []
    folder = tmp_path_factory.mktemp("run")
    (folder / "exp.yaml").write_text(CONFIG)
    done = run(
        folder / "exp.yaml", progress=lambda stage, *, done, total: calls.append((stage, done, total)), workers=1
    )
    done.report(progress=lambda stage, *, done, total: calls.append((stage, done, total)))
    stages = list(dict.fromkeys(stage for stage, _, _ in calls))
    assert stages == [
        "reading", "checking", "features", "rows", "fitting", "deciding", "trading", "measuring", "drawing", "writing",
    ]  # fmt: skip
    for stage in stages:
        steps = [(done, total) for name, done, total in calls if name == stage]
        totals = {total for _, total in steps}
        assert (steps[0][0], steps[-1][0], len(totals)) == (0, steps[-1][1], 1), stage
        counts = [done for done, _ in steps]
        assert counts == sorted(counts)
