"""What the shell completes when Tab is pressed: configs, the keys of ``--set``, and the names of reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click import Context, Parameter
from click.shell_completion import CompletionItem

SHELL_SETUP_LINES = {
    "~/.bashrc": 'eval "$(_QUANTLR_COMPLETE=bash_source quantlr)"',
    "~/.zshrc": 'eval "$(_QUANTLR_COMPLETE=zsh_source quantlr)"',
    "~/.config/fish/config.fish": "_QUANTLR_COMPLETE=fish_source quantlr | source",
}
"""The file that a shell reads when it starts, and the line there that has it complete what is typed here."""
YAML_SUFFIXES = (".yaml", ".yml")


def complete_config_path(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a config: the YAML files there, or what the shell itself finds where there are folders to go through."""
    folder, start = _split_folder_and_prefix(incomplete)
    try:
        there = sorted(path for path in Path(folder or ".").expanduser().iterdir() if path.name.startswith(start))
    except OSError:
        there = []
    files = [path.name for path in there if path.suffix in YAML_SUFFIXES and path.is_file()]
    folders = [path for path in there if path.is_dir() and (start or not path.name.startswith("."))]
    if folders or not files:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(folder + name) for name in files]


def _split_folder_and_prefix(incomplete_path: str) -> tuple[str, str]:
    folder, slash, start = incomplete_path.rpartition("/")
    return folder + slash, start


def complete_setting_key(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a key of ``--set``: those of the config that stands before it, or of any where none does."""
    if "=" in incomplete:
        return []
    # What stands before an option without a value is left over where a line is not finished.
    given = ctx.params.get("configs") or ctx.params.get("config") or tuple(ctx.args)
    first: Any = given[0] if isinstance(given, tuple) and given else given
    keys = _iter_config_keys(Path(first) if first else None)
    return [CompletionItem(f"{key}=") for key in dict.fromkeys(keys) if key.startswith(incomplete)]


def _iter_config_keys(config_path: Path | None) -> Iterator[str]:
    from quantlr.config.run_config import RunConfig, load_config
    from quantlr.core.errors import QuantlrError

    if config_path is not None:
        try:
            yield from _iter_leaf_keys(load_config(config_path).run.model_dump(mode="json"), "")
        except QuantlrError:
            pass  # what is wrong with it is told when it is run
        else:
            return
    for section, field in RunConfig.model_fields.items():
        parts = getattr(field.annotation, "model_fields", None)
        if parts:
            yield from (f"{section}.{key}" for key in parts)
        elif hasattr(field.default, "model_dump"):
            yield from _iter_leaf_keys(field.default.model_dump(mode="json"), f"{section}.")
        else:
            yield section


def _iter_leaf_keys(value: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted key of everything that is neither a mapping nor a list of mappings."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        nested = isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(item, dict) for item in inner))
        if nested:
            yield from _iter_leaf_keys(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def complete_report_name(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a report that is there already."""
    output = Path(ctx.params.get("output") or "reports")
    try:
        found = sorted(path.parent.name for path in output.glob("*/metrics.json"))
    except OSError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete) and not name.startswith(".")]
