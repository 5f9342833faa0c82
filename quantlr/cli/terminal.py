"""Consoles, links, tables, progress bars and errors, as every verb prints them.

A terminal gets colour, links, and text wrapped between words. A pipe or a file gets the same words without these, one
line for each, however long.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from traceback import format_exception
from typing import Any

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from quantlr.core import progress as core_progress
from quantlr.core.errors import ComponentError, QuantlrError
from quantlr.core.file_reading import UnreadableContentError, exception_text
from quantlr.core.text import escape_unsafe_characters

MAX_WIDTH = 120
"""Columns of the widest line."""
UNWRAPPED_WIDTH = 100_000
"""Columns of a pipe or a file, where no line is wrapped."""
ASCII_SIGNS = {ord("−"): "-", ord("–"): "-"}
OUT_OF_MEMORY_EXIT_STATUS = 1
TERMS_WITHOUT_LINKS = ("linux", "dumb", "unknown", "")
"""Values of TERM of terminals that cannot open links."""


class EscapingConsole(Console):
    """A console that shows control characters of any text as escapes, so that no text controls the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text, escaped before its length is measured."""
        return super().render_str(escape_unsafe_characters(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed; rich's own control codes stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_unsafe_characters(segment.text))


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console on stdout or stderr; rich leaves colour out where NO_COLOR is set."""
    console = EscapingConsole(stderr=stderr, quiet=quiet, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = UNWRAPPED_WIDTH
    elif console.width > MAX_WIDTH:
        console.width = MAX_WIDTH
    return console


def path_link(path: Path, *, text: str | None = None, style: str = "") -> Text:
    """Return a path, or another text for it, as a link that a terminal can open."""
    has_no_links = os.environ.get("TERM", "") in TERMS_WITHOUT_LINKS and os.name == "posix"
    target = None if has_no_links else path.absolute().as_uri()
    return Text(str(path) if text is None else text, style=Style.parse(style) + Style(link=target))


def make_table(title: str, headings: Iterable[str], rows: Iterable[Iterable[str | Text]] = ()) -> Table:
    """Return a table without lines; a heading that begins with ">" has its column aligned to the right.

    Only the first column is wrapped where there is too little room. Minus signs and dashes are those of a keyboard, so
    that numbers can be parsed.
    """
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        justify: JustifyMethod = "right" if heading.startswith(">") else "left"
        table.add_column(heading.removeprefix(">"), justify=justify, no_wrap=bool(table.columns))
    for row in rows:
        table.add_row(*(cell.translate(ASCII_SIGNS) if isinstance(cell, str) else cell for cell in row))
    return table


def has_room_for_table(table: Table, console: Console) -> bool:
    """Return whether the console is wide enough for a table without breaking a word."""
    wanted = Measurement.get(console, console.options.update(max_width=UNWRAPPED_WIDTH), table).maximum
    return wanted <= console.width


def print_table(table: Table, console: Console) -> None:
    """Print a table's title and rows; where there is no room for it, each row is one line of headings and cells."""
    if table.title:
        console.print(str(table.title), style=table.title_style or "")
        table.title = None  # rich would wrap it to the width of the table
    if has_room_for_table(table, console):
        console.print(table)
        return
    headings = [str(column.header) for column in table.columns[1:]]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        name, *values = map(str, cells)
        listed = zip(headings, values, strict=True)
        pairs = ", ".join(f"{heading} {value}".strip() for heading, value in listed if value)
        console.print(Text.assemble((name, "bold"), f"  {pairs}"))


def print_notes(texts: Iterable[str], console: Console) -> None:
    """Print notes, one a line."""
    for text in texts:
        console.print(Text.assemble(("note ", "yellow"), text))


def near_match_hint(word: str, known_words: Sequence[str]) -> str:
    """Return "did you mean x?" for the known word that is nearest whatever its case; else the list of known words."""
    from difflib import get_close_matches

    by_lower_case = {name.lower(): name for name in known_words}
    near = get_close_matches(word.lower(), by_lower_case, n=1)
    return f"did you mean {by_lower_case[near[0]]}?" if near else f"known are {', '.join(known_words)}"


def run_for_exit_status(action: Callable[[], int | None], *, verbose: bool = False) -> int:
    """Call a function and return its exit status; print an error of quantlr's own on stderr and return its status.

    With `verbose`, the traceback of an exception in a user-defined component is printed before the error, and the
    exceptions of libraries that led to any other error are printed below it.
    """
    try:
        return action() or 0
    except QuantlrError as error:
        errors = make_console(stderr=True)
        if verbose and isinstance(error, ComponentError) and not isinstance(error.__cause__, QuantlrError | None):
            errors.print("".join(format_exception(error.__cause__)), soft_wrap=True, markup=False, highlight=False)
        for line in error.message.splitlines():
            errors.print(line, style="red", soft_wrap=True)
        for cause in _library_causes(error) if verbose and not isinstance(error, ComponentError) else ():
            errors.print(f"caused by {exception_text(cause)}", style="dim", soft_wrap=True)
        return error.exit_status
    except MemoryError:
        text = "needed more memory than there is; use fewer tickers, features or rows, or fewer processes (--jobs)"
        make_console(stderr=True).print(text, style="red", soft_wrap=True)
        return OUT_OF_MEMORY_EXIT_STATUS


def _library_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that an error was raised from and that are not quantlr's own."""
    cause = error.__cause__
    while cause is not None:
        if not isinstance(cause, (QuantlrError, UnreadableContentError)):
            yield cause
        cause = cause.__cause__


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
        yield bar.show_progress


class StageProgressBar(Progress):
    """The bar of the newest stage that has lasted `MIN_STAGE_SECONDS`; the bar of the stage before stays until then."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = monotonic) -> None:
        counts = (_StepRateColumn(),) if console.width >= MIN_WIDTH_FOR_COUNTS else ()
        bar = BarColumn(bar_width=max(min(console.width - 50, 40), 10))
        columns = (TextColumn("{task.description:<9}"), bar, *counts, _TimeLeftColumn())
        super().__init__(*columns, console=console, transient=True, get_time=clock, refresh_per_second=5)

    def show_progress(self, stage: str, *, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are complete; another stage begins a new bar."""
        running_tasks = [task for task in self.tasks if task.stop_time is None]
        if [task.description for task in running_tasks] != [stage]:
            for task in running_tasks:
                self.stop_task(task.id)
            self.add_task(stage, total=None, since=0.0)
        # Before the first step is complete there is no rate, and the bar pulses.
        task = self.tasks[-1]
        self.update(task.id, completed=done, total=total if done else None, since=task.elapsed or 0.0)
        if done >= total:
            self.stop_task(task.id)

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
