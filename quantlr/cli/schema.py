"""``quantlr schema``: print the JSON Schema of a config, for editors."""

from __future__ import annotations

import json

import click

from quantlr.cli.options import Options, verb


@verb("schema")
def command(options: Options) -> None:
    """Print the JSON Schema of a config, for editors.

    It is what configs/schema.json holds, with the features of installed packages added. An editor with
    yaml-language-server uses it for files that begin with

      # yaml-language-server: $schema=schema.json
    """
    from quantlr.config.schema import config_schema, schema_text

    click.echo(json.dumps(config_schema()) if options.as_json else schema_text(), nl=options.as_json)
