"""``quantlr features``: list the features and labels that a config may use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import telling_options
from quantlr.errors import ConfigError

if TYPE_CHECKING:
    from quantlr.data.described import Entry, Parameter

WIDTH = 80


@click.command("features")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@telling_options
def command(kinds: tuple[str, ...], *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the features and labels that a config may use, or those KINDs alone.

    Parameters are told with their defaults and units, then the columns that an example makes, and how many of a
    ticker's first bars it needs before its first row.
    """
    from quantlr.cli.terminal import console, status_of

    out = console(quiet=quiet)

    def show() -> None:
        from rich.text import Text

        from quantlr.data.described import features, labels

        found = {"features": _named(features(), kinds), "labels": _named(labels(), kinds)}
        _require_all(kinds, found)
        if as_json:
            click.echo(json.dumps({part: [asdict(entry) for entry in listed] for part, listed in found.items()}))
            return
        for part, listed in found.items():
            for entry in listed:
                out.print(Text(f"{entry.kind}", style="bold"), Text(f"({part[:-1]})", style="dim"))
                for line in _lines(entry, verbose=verbose):
                    out.print(Text(line))

    sys.exit(status_of(show, console()))


def _named(entries: Sequence[Entry], kinds: Sequence[str]) -> list[Entry]:
    return [entry for entry in entries if not kinds or entry.kind in kinds]


def _require_all(kinds: Sequence[str], found: dict[str, list[Entry]]) -> None:
    from difflib import get_close_matches

    from quantlr.data.features import FEATURES
    from quantlr.data.labels import LABELS
    from quantlr.types import kind_named

    there = {entry.kind for listed in found.values() for entry in listed}
    known = [kind_named(part) for part in (*FEATURES, *LABELS)]
    for kind in kinds:
        if kind not in there:
            near = get_close_matches(kind, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(f"no feature or label is of kind {kind!r}{guess}")


def _lines(entry: Entry, *, verbose: bool) -> Iterator[str]:
    """Yield an entry's lines, none longer than the page is wide."""
    from quantlr.types import flow

    yield from _paragraph(entry.summary)
    for parameter in entry.parameters:
        yield from _paragraph(_told(parameter), hanging=4)
    if entry.problem:
        yield from _paragraph(f"! {entry.problem}", hanging=2)
    elif entry.warm_up is not None:
        columns = ", ".join(entry.columns if verbose else entry.columns[:3])
        more = "" if verbose or len(entry.columns) <= 3 else f" and {len(entry.columns) - 3} more"
        bars = f"{entry.warm_up} bar{'s'[: entry.warm_up != 1]}"
        yield from _paragraph(f"{flow(entry.example)} makes {columns}{more}; warm-up {bars}", hanging=4)
    if entry.values and (verbose or not entry.problem):
        yield from _paragraph(entry.values)
    yield ""


def _told(parameter: Parameter) -> str:
    from quantlr.types import flow

    default = "" if parameter.needed else f" = {flow(parameter.default)}"
    choices = "; ".join(f"{word}: {meaning}" if meaning else word for word, meaning in parameter.choices.items())
    choices = f" ({choices})" if choices else ""
    return f"{parameter.name}{default}: {parameter.description}{choices}"


def _paragraph(text: str, *, hanging: int = 0) -> list[str]:
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent=" " * (2 + hanging), break_long_words=False)
