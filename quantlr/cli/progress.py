"""The progress bar of the stage that is running, with rate and time left, once it has lasted a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from quantlr.core import progress as core_progress

MIN_STAGE_SECONDS = 1.0
"""Seconds that a stage lasts before its bar is shown, so that short ones do not flicker."""
MIN_WIDTH_FOR_COUNTS = 60
"""Columns of the narrowest console with counts and rates beside the bar."""


@contextmanager
def progress_bar(console: Console) -> Iterator[core_progress.Progress]:
    """Show one bar for the stage that is running; show nothing where the output is not a terminal."""
    if console.quiet or not (console.is_interactive and console.file.isatty()):
        yield core_progress.ignore_progress
        return
    with StageProgressBar(console) as bar:
        yield StageProgressCallback(bar)


class StageProgressCallback:
    """A progress callback that shows the stage that is running on a bar."""

    def __init__(self, bar: StageProgressBar) -> None:
        self._bar = bar
        self._stage: str | None = None
        self._task = TaskID(0)

    def __call__(self, stage: str, *, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are complete; another stage begins a new bar."""
        if stage != self._stage:
            self._finish_stage()
            self._stage, self._task = stage, self._bar.add_task(stage, total=None, since=0.0)
        # Before the first step is complete there is no rate, and the bar pulses.
        elapsed = self._bar.tasks[-1].elapsed or 0.0
        self._bar.update(self._task, completed=done, total=total if done else None, since=elapsed)
        if done >= total:
            self._finish_stage()

    def _finish_stage(self) -> None:
        if self._stage is not None:
            self._bar.stop_task(self._task)
            self._stage = None


class StageProgressBar(Progress):
    """The bar of the newest stage that has lasted `MIN_STAGE_SECONDS`; the bar of the stage before stays until then."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = monotonic) -> None:
        counts = (_StepRateColumn(),) if console.width >= MIN_WIDTH_FOR_COUNTS else ()
        bar = BarColumn(bar_width=max(min(console.width - 50, 40), 10))
        columns = (TextColumn("{task.description:<9}"), bar, *counts, _TimeLeftColumn())
        super().__init__(*columns, console=console, transient=True, get_time=clock, refresh_per_second=5)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the one bar, if a stage has lasted long enough."""
        tasks = [task for task in self.tasks if (task.elapsed or 0.0) >= MIN_STAGE_SECONDS]
        if tasks:
            yield self.make_tasks_table(tasks[-1:])


class _StepRateColumn(ProgressColumn):
    """Steps done of how many, and steps a second or seconds a step."""

    def render(self, task: Task) -> Text:
        count = f"{task.completed:,.0f}/{task.total:,.0f} " if task.total else ""
        if not task.completed or not task.fields["since"] or task.finished:
            return Text(count)
        rate = task.completed / task.fields["since"]
        text = f"{1 / rate:,.0f} s each" if rate < 0.5 else f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s"
        return Text.assemble(count, (text, "dim"))


class _TimeLeftColumn(ProgressColumn):
    """Time left at the rate so far; before the first step is complete, the time elapsed."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        if not task.completed or task.total is None or task.finished:
            return Text(_format_duration(elapsed), style="dim")
        since = task.fields["since"]
        left = since * (task.total - task.completed) / task.completed - (elapsed - since)
        return Text(f"{_format_duration(max(left, 0.0))} left", style="cyan")


def _format_duration(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
