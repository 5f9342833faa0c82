"""How far a stage has come, for who waits: a bar with its rate and the time left, once it has lasted a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from quantlr.core.progress import Progress as Heard
from quantlr.core.progress import ignore_progress

MIN_STAGE_SECONDS = 1.0
"""Seconds that a stage has to last before anything is said of it: what comes and goes at once only flickers."""
MIN_WIDTH_FOR_COUNTS = 60
"""Columns below which a bar tells no counts."""


@contextmanager
def progress_bar(console: Console) -> Iterator[Heard]:
    """Show one bar for the stage that is going on; nothing where the output is not a terminal."""
    if console.quiet or not (console.is_interactive and console.file.isatty()):
        yield ignore_progress
        return
    with StageProgressBar(console) as bars:
        yield StageProgressCallback(bars)


class StageProgressCallback:
    """Hears how far the stages have come, and has the one that is going on shown."""

    def __init__(self, bar: StageProgressBar) -> None:
        self._bar = bar
        self._stage: str | None = None
        self._task = TaskID(0)

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Hear that `done` of `total` steps of `stage` are over; a stage begins where another is told of before."""
        if stage != self._stage:
            self._finish_stage()
            self._stage, self._task = stage, self._bar.add_task(stage, total=None, since=0.0)
        # Without a step, nothing can be foretold: the bar then moves to and fro.
        elapsed = self._bar.tasks[-1].elapsed or 0.0
        self._bar.update(self._task, completed=done, total=total if done else None, since=elapsed)
        if done >= total:
            self._finish_stage()

    def _finish_stage(self) -> None:
        if self._stage is not None:
            self._bar.stop_task(self._task)
            self._stage = None


class StageProgressBar(Progress):
    """The bar of the newest stage that has lasted long enough; that of a stage before stays until then."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = monotonic) -> None:
        count, rate = (
            (_StepCountColumn(), _StepRateColumn())
            if console.width >= MIN_WIDTH_FOR_COUNTS
            else (_EmptyColumn(), _EmptyColumn())
        )
        bar = BarColumn(bar_width=max(min(console.width - 50, 40), 10))
        name = TextColumn("{task.description:<9}")
        super().__init__(
            name,
            bar,
            count,
            rate,
            _TimeLeftColumn(),
            console=console,
            transient=True,
            get_time=clock,
            refresh_per_second=5,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the one bar that there is, if there is one."""
        shown = [task for task in self.tasks if (task.elapsed or 0.0) >= MIN_STAGE_SECONDS]
        if shown:
            yield self.make_tasks_table(shown[-1:])


class _EmptyColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text()


class _StepCountColumn(ProgressColumn):
    """Steps done, of how many."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total else "")


class _StepRateColumn(ProgressColumn):
    """Steps a second, or seconds a step."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.fields["since"] or task.finished:
            return Text()
        rate = task.completed / task.fields["since"]
        said = f"{1 / rate:,.0f} s each" if rate < 0.5 else f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s"
        return Text(said, style="dim")


class _TimeLeftColumn(ProgressColumn):
    """Time left, at the rate so far; where there is no rate yet, the time that has gone."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        if not task.completed or task.total is None or task.finished:
            return Text(_format_duration(elapsed), style="dim")
        since = task.fields["since"]
        left = since * (task.total - task.completed) / task.completed - (elapsed - since)
        return Text(f"{_format_duration(max(left, 0.0))} left", style="cyan")


def _format_duration(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
