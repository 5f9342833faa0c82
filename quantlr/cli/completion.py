"""Shell completion of configs, of the keys of ``--set``, and of the names of reports."""

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
"""By start-up file of a shell, the line in it that switches completion on."""
YAML_SUFFIXES = (".yaml", ".yml")


def complete_config_path(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a config: the YAML files of the folder, or whatever the shell finds where the folder has subfolders."""
    folder, start = _split_folder_and_prefix(incomplete)
    try:
        paths = sorted(path for path in Path(folder or ".").expanduser().iterdir() if path.name.startswith(start))
    except OSError:
        paths = []
    files = [path.name for path in paths if path.suffix in YAML_SUFFIXES and path.is_file()]
    folders = [path for path in paths if path.is_dir() and (start or not path.name.startswith("."))]
    if folders or not files:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(folder + name) for name in files]


def _split_folder_and_prefix(incomplete_path: str) -> tuple[str, str]:
    folder, slash, start = incomplete_path.rpartition("/")
    return folder + slash, start


def complete_setting_key(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a key of ``--set``: the keys of the config on the line, or of any config where none is given."""
    if "=" in incomplete:
        return []
    # On an unfinished line, click leaves the arguments before an option without a value in `ctx.args`.
    given = ctx.params.get("config_paths") or ctx.params.get("config_path") or tuple(ctx.args)
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
            pass  # running the config shows its errors
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
    """Yield the dotted key of every value that is neither a mapping nor a list of mappings."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        nested = isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(item, dict) for item in inner))
        if nested:
            yield from _iter_leaf_keys(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def complete_report_name(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of an existing report."""
    output = Path(ctx.params.get("output") or "reports")
    try:
        names = sorted(path.parent.name for path in output.glob("*/metrics.json"))
    except OSError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and not name.startswith(".")]
