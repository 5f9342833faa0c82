"""What verbs share: the console, the progress bar, and how an error ends the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from quantlr.errors import QuantlrError
from quantlr.types import Progress as Heard
from quantlr.types import no_progress


def console(*, quiet: bool = False) -> Console:
    """Return the console for people, on stderr; rich leaves colour out where NO_COLOR says so."""
    return Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(out: Console) -> Iterator[Heard]:
    """Show one bar for the stage that is going on; nothing where the output is not a terminal."""
    if not out.is_terminal or out.quiet:
        yield no_progress
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def hear(stage: str, *, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield hear


def status_of(action: Callable[[], None], out: Console) -> int:
    """Do something and return the exit status it ends with; an error that was expected is told in its own words."""
    try:
        action()
    except QuantlrError as error:
        for line in error.message.splitlines():
            out.print(Text(line, style="red"))
        return error.exit_status
    return 0
