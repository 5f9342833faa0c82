"""What a person who waits is shown: nothing of what is over at once, a bar with rate and time left of what lasts."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from quantlr.cli.progress import StageProgressBar, StageProgressCallback, progress_bar
from quantlr.core.progress import ignore_progress
from quantlr.experiment.run import run
from rich.console import Console

from cli.conftest import CONFIG

Look = Callable[..., tuple[StageProgressCallback, Callable[[], str]]]


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
def look(clock: Clock) -> Look:
    """Return a function that makes what hears of stages, and what looks at what is shown of them."""

    def made(width: int = 80) -> tuple[StageProgressCallback, Callable[[], str]]:
        bars = StageProgressBar(Console(file=io.StringIO(), width=width), clock=clock)

        def shown() -> str:
            screen = Console(file=io.StringIO(), width=width, color_system=None)
            screen.print(bars.get_renderable())
            assert isinstance(screen.file, io.StringIO)
            return screen.file.getvalue().strip()

        return StageProgressCallback(bars), shown

    return made


def test_a_stage_is_shown_once_it_has_lasted_a_second(look: Look, clock: Clock) -> None:
    stages, shown = look()
    stages("fitting", done=0, total=1000)
    clock.now += 0.9
    stages("fitting", done=400, total=1000)
    assert shown() == ""
    clock.now += 0.1
    assert shown().startswith("fitting")


def test_a_bar_tells_the_count_the_rate_and_the_time_left(look: Look, clock: Clock) -> None:
    stages, shown = look()
    stages("fitting", done=0, total=4000)
    clock.now += 10
    assert shown().endswith("0:10")
    stages("fitting", done=1000, total=4000)
    assert shown().endswith("1,000/4,000 100/s 0:30 left")
    clock.now += 5
    assert shown().endswith("1,000/4,000 100/s 0:25 left")
    clock.now += 3600
    stages("fitting", done=1001, total=4000)
    assert shown().endswith("4 s each 3:00:30 left")
    stages("fitting", done=4000, total=4000)
    assert shown().endswith("4,000/4,000  1:00:15")


def test_short_stages_between_long_ones_do_not_flicker(look: Look, clock: Clock) -> None:
    stages, shown = look()
    stages("reading", done=0, total=1)
    clock.now += 2
    stages("reading", done=1, total=1)
    stages("checking", done=0, total=3)
    clock.now += 0.5
    assert shown().startswith("reading")
    stages("fitting", done=0, total=1)
    clock.now += 1.5
    assert shown().startswith("fitting")
    assert "\n" not in shown()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_bar_is_one_line_at_any_width(look: Look, clock: Clock, width: int) -> None:
    stages, shown = look(width)
    stages("measuring", done=0, total=96_000)
    clock.now += 7200
    stages("measuring", done=48_000, total=96_000)
    assert shown().endswith("2:00:00 left")
    assert "\n" not in shown()
    assert ("48,000/96,000" in shown()) == (width >= 60)


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
def test_where_nobody_looks_nothing_is_shown(out: Console) -> None:
    with progress_bar(out) as progress:
        assert progress is ignore_progress


def test_every_stage_of_a_run_is_told_from_its_start_to_its_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    heard: list[tuple[str, int, int]] = []
    folder = tmp_path_factory.mktemp("run")
    (folder / "exp.yaml").write_text(CONFIG)
    done = run(
        folder / "exp.yaml", progress=lambda stage, *, done, total: heard.append((stage, done, total)), workers=1
    )
    done.report(progress=lambda stage, *, done, total: heard.append((stage, done, total)))
    stages = list(dict.fromkeys(stage for stage, _, _ in heard))
    assert stages == [
        "reading", "checking", "features", "rows", "fitting", "deciding", "trading", "measuring", "drawing", "writing",
    ]  # fmt: skip
    for stage in stages:
        steps = [(done, total) for name, done, total in heard if name == stage]
        totals = {total for _, total in steps}
        assert (steps[0][0], steps[-1][0], len(totals)) == (0, steps[-1][1], 1), stage
        counts = [done for done, _ in steps]
        assert counts == sorted(counts)
