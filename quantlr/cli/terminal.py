"""Consoles, links, tables and errors, as every verb prints them.

A terminal gets colour, links, and text wrapped between words. A pipe or a file gets the same words without these, one
line for each, however long.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

from quantlr.core.errors import QuantlrError

MAX_WIDTH = 120
"""Columns of the widest line."""
UNWRAPPED_WIDTH = 100_000
"""Columns of a pipe or a file, where no line is wrapped."""
TERMS_WITHOUT_LINKS = ("linux", "dumb", "unknown", "")
"""Values of TERM of terminals that cannot open links."""


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console on stdout or stderr; rich leaves colour out where NO_COLOR is set."""
    console = Console(stderr=stderr, quiet=quiet, highlight=False, emoji=False)
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


def make_table(title: str | Text, columns: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Return an empty table without lines: a title, then for each column its heading and rich's options for it."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading, options in columns:
        table.add_column(heading, **options)
    return table


def has_room_for_table(table: Table, console: Console) -> bool:
    """Return whether the console is wide enough for a table without breaking a word."""
    wanted = Measurement.get(console, console.options.update(max_width=UNWRAPPED_WIDTH), table).maximum
    return wanted <= console.width


def print_table(table: Table, console: Console) -> None:
    """Print a table's title and rows; where there is no room for it, each row is one line of headings and cells."""
    if table.title:
        console.print(Text(str(table.title), style=table.title_style or ""))
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


def near_match_hint(word: str, known: Sequence[str]) -> str:
    """Return "did you mean x?" for the known word that is nearest whatever its case; else the list of known words."""
    from difflib import get_close_matches

    by_lower_case = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower_case, n=1)
    return f"did you mean {by_lower_case[near[0]]}?" if near else f"known are {', '.join(known)}"


def run_for_exit_status(action: Callable[[], int | None]) -> int:
    """Call a function and return its exit status; print an error of quantlr's own on stderr and return its status."""
    try:
        return action() or 0
    except QuantlrError as error:
        errors = make_console(stderr=True)
        for line in error.message.splitlines():
            errors.print(Text(line, style="red"), soft_wrap=True)
        return error.exit_status
