"""``quantlr features|labels|models|policies|overlays|sources|schema``: what a config may contain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, verb
from quantlr.core.errors import ConfigError

if TYPE_CHECKING:
    from quantlr.data.catalog import CatalogEntry, ComponentParameter

LINE_WIDTH = 80
COMPONENT_MODULES = {
    "labels": "quantlr.data.labels",
    "models": "quantlr.model.config",
    "policies": "quantlr.backtest.policies",
    "overlays": "quantlr.backtest.overlays",
    "sources": "quantlr.data.sources",
}
"""The module of each catalogue whose tuple of classes has the catalogue's name in capitals."""
MAX_COLUMNS_SHOWN = 3
"""Columns of a feature's example that are listed without -v."""


def _load_catalog_entries(catalog_name: str) -> list[CatalogEntry]:
    """Return the entries of a catalogue; the module that defines its components is imported only now."""
    from quantlr.data.catalog import component_catalog_entries, feature_catalog_entries

    if catalog_name == "features":
        return feature_catalog_entries()
    components = getattr(import_module(COMPONENT_MODULES[catalog_name]), catalog_name.upper())
    method = "compute_labels" if catalog_name == "labels" else ""
    return component_catalog_entries(components, method=method)


def _catalog_command(catalog_name: str, help_text: str) -> click.Command:
    def list_catalog(options: Options, *, kinds: tuple[str, ...]) -> None:
        entries = _load_catalog_entries(catalog_name)
        known = [entry.kind for entry in entries]
        for kind in kinds:
            if kind not in known:
                from quantlr.cli.terminal import near_match_hint

                raise ConfigError(f"no {catalog_name} of kind {kind!r}; {near_match_hint(kind, known)}")
        _print_catalog_entries(options, catalog_name, [entry for entry in entries if not kinds or entry.kind in kinds])

    list_catalog.__doc__ = help_text
    return verb(catalog_name)(click.argument("kinds", nargs=-1, metavar="[KINDS]...")(list_catalog))


features = _catalog_command(
    "features",
    """List the features that a config may use, or those KINDS alone.

    Each has its parameters with defaults and units, the columns that an example makes, and its warm-up: the number of
    a ticker's first bars without a row.
    """,
)
labels = _catalog_command("labels", "List the labels that a config may use, or those KINDS alone.")
models = _catalog_command("models", "List the models, which turn features into probabilities, or KINDS alone.")
policies = _catalog_command("policies", "List the policies, which turn probabilities into positions, or KINDS alone.")
overlays = _catalog_command("overlays", "List the overlays, which change positions after the policy, or KINDS alone.")
sources = _catalog_command("sources", "List the sources of prices, or those KINDS alone.")


def _print_catalog_entries(options: Options, catalog_name: str, entries: Sequence[CatalogEntry]) -> None:

    if options.as_json:
        options.print_json({catalog_name: entries})
        return
    for entry in entries:
        options.results.print(entry.kind, style="bold")
        for line in _iter_entry_lines(entry, show_all_columns=options.verbose):
            options.results.print(line)


def _iter_entry_lines(entry: CatalogEntry, *, show_all_columns: bool) -> Iterator[str]:
    """Yield an entry's lines, none longer than `LINE_WIDTH`."""
    from quantlr.core.components import to_inline_yaml

    yield from _wrap_paragraph(entry.summary)
    for parameter in entry.parameters:
        yield from _wrap_paragraph(_parameter_text(parameter), hanging_indent=4)
    example = to_inline_yaml(entry.example)
    if entry.unavailable_reason:
        yield from _wrap_paragraph(f"! {entry.unavailable_reason}", hanging_indent=2)
    elif entry.warm_up is not None:
        n_columns = len(entry.columns) if show_all_columns else MAX_COLUMNS_SHOWN
        hidden = len(entry.columns) - n_columns
        columns = ", ".join(entry.columns[:n_columns]) + (f" and {hidden} more" if hidden > 0 else "")
        text = f"{example} makes {columns}; warm-up {entry.warm_up} bar{'s'[: entry.warm_up != 1]}"
        yield from _wrap_paragraph(text, hanging_indent=4)
    else:
        yield from _wrap_paragraph(f"example: {example}", hanging_indent=4)
    if entry.values_description and (show_all_columns or not entry.unavailable_reason):
        yield from _wrap_paragraph(entry.values_description)
    yield ""


def _parameter_text(parameter: ComponentParameter) -> str:
    from quantlr.core.components import to_inline_yaml

    default = "" if parameter.is_required else f" = {to_inline_yaml(parameter.default)}"
    choices = "; ".join(f"{word}: {meaning}" if meaning else word for word, meaning in parameter.choices.items())
    return f"{parameter.name}{default}: {parameter.description}{f' ({choices})' if choices else ''}"


def _wrap_paragraph(text: str, *, hanging_indent: int = 0) -> list[str]:
    indent = " " * (2 + hanging_indent)
    return wrap(text, LINE_WIDTH, initial_indent="  ", subsequent_indent=indent, break_long_words=False)


@verb("schema")
def schema(options: Options) -> None:
    """Print the JSON Schema of a config, for editors.

    It is what configs/schema.json holds, with the components of installed packages added. An editor with
    yaml-language-server uses it for files that begin with

      # yaml-language-server: $schema=schema.json
    """
    from quantlr.config.schema import config_schema, schema_text

    click.echo(json.dumps(config_schema()) if options.as_json else schema_text(), nl=options.as_json)
