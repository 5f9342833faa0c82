"""``quantlr schema``: print the JSON Schema of a config, for editors."""

from __future__ import annotations

import json
import sys

import click

from quantlr.cli.options import telling_options


@click.command("schema")
@telling_options
def command(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print the JSON Schema of a config, for editors.

    It is what configs/schema.json holds; where installed packages add features of their own, theirs are in it too. An
    editor that speaks to yaml-language-server uses it for files that begin with

      # yaml-language-server: $schema=schema.json
    """
    from quantlr.cli.terminal import console, status_of

    def show() -> None:
        from quantlr.config.schema import config_schema, schema_text

        click.echo(json.dumps(config_schema()) if as_json else schema_text(), nl=as_json)

    sys.exit(status_of(show, console()))
