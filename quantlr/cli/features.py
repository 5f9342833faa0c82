"""``quantlr features``: list the features and labels that a config may use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import display_options
from quantlr.core.errors import ConfigError

if TYPE_CHECKING:
    from quantlr.data.catalog import CatalogEntry, ComponentParameter

LINE_WIDTH = 80


@click.command("features")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@display_options
def command(kinds: tuple[str, ...], *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the features and labels that a config may use, or those KINDs alone.

    Parameters are told with their defaults and units, then the columns that an example makes, and how many of a
    ticker's first bars it needs before its first row.
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    out = make_console(quiet=quiet)

    def print_feature_catalog() -> None:
        from rich.text import Text

        from quantlr.data.catalog import feature_catalog_entries, label_catalog_entries

        found = {
            "features": _filter_by_kind(feature_catalog_entries(), kinds),
            "labels": _filter_by_kind(label_catalog_entries(), kinds),
        }
        _require_known_kinds(kinds, found)
        if as_json:
            click.echo(json.dumps({part: [asdict(entry) for entry in listed] for part, listed in found.items()}))
            return
        for part, listed in found.items():
            for entry in listed:
                out.print(Text(f"{entry.kind}", style="bold"), Text(f"({part[:-1]})", style="dim"))
                for line in _iter_entry_lines(entry, verbose=verbose):
                    out.print(Text(line))

    sys.exit(run_for_exit_status(print_feature_catalog, make_console()))


def _filter_by_kind(entries: Sequence[CatalogEntry], kinds: Sequence[str]) -> list[CatalogEntry]:
    return [entry for entry in entries if not kinds or entry.kind in kinds]


def _require_known_kinds(kinds: Sequence[str], entries_by_section: dict[str, list[CatalogEntry]]) -> None:
    from difflib import get_close_matches

    from quantlr.core.components import component_kind
    from quantlr.data.features import FEATURES
    from quantlr.data.labels import LABELS

    there = {entry.kind for listed in entries_by_section.values() for entry in listed}
    known = [component_kind(part) for part in (*FEATURES, *LABELS)]
    for kind in kinds:
        if kind not in there:
            near = get_close_matches(kind, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(f"no feature or label is of kind {kind!r}{guess}")


def _iter_entry_lines(entry: CatalogEntry, *, verbose: bool) -> Iterator[str]:
    """Yield an entry's lines, none longer than the page is wide."""
    from quantlr.core.annotations import to_inline_yaml

    yield from _wrap_paragraph(entry.summary)
    for parameter in entry.parameters:
        yield from _wrap_paragraph(_parameter_text(parameter), hanging_indent=4)
    if entry.unavailable_reason:
        yield from _wrap_paragraph(f"! {entry.unavailable_reason}", hanging_indent=2)
    elif entry.warm_up is not None:
        columns = ", ".join(entry.columns if verbose else entry.columns[:3])
        more = "" if verbose or len(entry.columns) <= 3 else f" and {len(entry.columns) - 3} more"
        bars = f"{entry.warm_up} bar{'s'[: entry.warm_up != 1]}"
        yield from _wrap_paragraph(
            f"{to_inline_yaml(entry.example)} makes {columns}{more}; warm-up {bars}", hanging_indent=4
        )
    if entry.values_description and (verbose or not entry.unavailable_reason):
        yield from _wrap_paragraph(entry.values_description)
    yield ""


def _parameter_text(parameter: ComponentParameter) -> str:
    from quantlr.core.annotations import to_inline_yaml

    default = "" if parameter.is_required else f" = {to_inline_yaml(parameter.default)}"
    choices = "; ".join(f"{word}: {meaning}" if meaning else word for word, meaning in parameter.choices.items())
    choices = f" ({choices})" if choices else ""
    return f"{parameter.name}{default}: {parameter.description}{choices}"


def _wrap_paragraph(text: str, *, hanging_indent: int = 0) -> list[str]:
    return wrap(
        text, LINE_WIDTH, initial_indent="  ", subsequent_indent=" " * (2 + hanging_indent), break_long_words=False
    )
