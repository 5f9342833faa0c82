"""What verbs share: the console for people, links in it, and how an error ends the program.

A terminal gets colour, links, and text wrapped between words; what is piped or logged gets the same words without,
one line for each, however long, and no progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

from quantlr.core.errors import QuantlrError

MAX_WIDTH = 120
"""Columns beyond which lines are no longer read with ease."""
UNWRAPPED_WIDTH = 100_000
"""Columns of what is not a terminal: nothing is wrapped there."""
TERMS_WITHOUT_LINKS = ("linux", "dumb", "unknown", "")
"""Values of TERM that say of a terminal that links are beyond it."""


def make_console(*, quiet: bool = False) -> Console:
    """Return the console for people, on stderr; rich leaves colour out where NO_COLOR says so."""
    out = Console(stderr=True, quiet=quiet, highlight=False, emoji=False)
    if not out.is_terminal:
        out.width = UNWRAPPED_WIDTH
    elif out.width > MAX_WIDTH:
        out.width = MAX_WIDTH
    return out


def path_link(path: Path, *, text: str | None = None, style: str = "") -> Text:
    """Return a path, or another text for it, as text that a terminal may open."""
    plain = os.environ.get("TERM", "") in TERMS_WITHOUT_LINKS and os.name == "posix"
    target = None if plain else path.absolute().as_uri()
    return Text(str(path) if text is None else text, style=Style.parse(style) + Style(link=target))


def has_room_for_table(table: Table, console: Console) -> bool:
    """Return whether there is room for a table without a word of it broken."""
    wanted = Measurement.get(console, console.options.update(max_width=UNWRAPPED_WIDTH), table).maximum
    return wanted <= console.width


def print_table(table: Table, console: Console) -> None:
    """Print a table; where there is no room for it, each of its lines as a sentence of headings and cells."""
    if has_room_for_table(table, console):
        console.print(table)
        return
    if table.title:
        console.print(Text(str(table.title), style="bold"))
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        name, *rest = (cell.plain if isinstance(cell, Text) else str(cell) for cell in cells)
        headings = (str(column.header) for column in table.columns[1:])
        said = ", ".join(f"{heading} {cell}".strip() for heading, cell in zip(headings, rest, strict=True) if cell)
        console.print(Text.assemble((name, "bold"), f"  {said}"))


def run_for_exit_status(action: Callable[[], None], console: Console) -> int:
    """Do something and return the exit status it ends with; an error that was expected is told in its own words."""
    try:
        action()
    except QuantlrError as error:
        for line in error.message.splitlines():
            console.print(Text(line, style="red"), soft_wrap=True)
        return error.exit_status
    return 0
