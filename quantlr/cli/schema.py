"""``quantlr schema``: print the JSON Schema of a config, for editors."""

from __future__ import annotations

import json
import sys

import click

from quantlr.cli.options import display_options


@click.command("schema")
@display_options
def command(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print the JSON Schema of a config, for editors.

    It is what configs/schema.json holds; where installed packages add features of their own, theirs are in it too. An
    editor that speaks to yaml-language-server uses it for files that begin with

      # yaml-language-server: $schema=schema.json
    """
    from quantlr.cli.terminal import make_console, run_for_exit_status

    def print_schema() -> None:
        from quantlr.config.schema import config_schema, schema_text

        click.echo(json.dumps(config_schema()) if as_json else schema_text(), nl=as_json)

    sys.exit(run_for_exit_status(print_schema, make_console()))
