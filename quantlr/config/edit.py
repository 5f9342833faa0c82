"""Edits of a config file that leave every other byte as it is: one value is replaced, or one key is added."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_IMODE
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from quantlr.config.loader import read_config_text
from quantlr.config.run_config import EditedConfig, read_unvalidated_config
from quantlr.config.yaml_tree import BYTE_ORDER_MARK, KeyPath, format_key_path, parse_key_path, parse_yaml
from quantlr.core.atomic import atomic_write
from quantlr.core.components import to_inline_yaml
from quantlr.core.errors import ConfigError, OutputError

BLOCK_SCALAR_STYLES = ("|", ">")


def edit_config(path: Path, key: str, value_text: str) -> EditedConfig:
    """Return a run config as it would be with another value of one key; nothing is validated or written.

    An inherited value is added to the file itself; of an inherited list, which can't be merged, the whole list is.

    Parameters
    ----------
    path : the config.
    key : dotted key; integers are indices of a list.
    value_text : the new value in YAML, on one line.

    Raises
    ------
    ConfigError : the file can't be read, or the value can't stand in the key's place (see `set_value`).
    """
    text, key_path = read_config_text(path), parse_key_path(key)
    n_own = len(_existing_part(_parse_document(text, file_name=str(path)), key_path))
    if any(isinstance(part, int) for part in key_path[n_own + 1 :]):
        value_text, key_path = _inherited_list(path, key_path, n_own, value_text)
    return EditedConfig(path, set_value(text, key_path, value_text, file_name=str(path)))


def write_config(edited: EditedConfig) -> None:
    """Replace a config file by its edited text at once; its permissions stay, and a link leads where it led.

    Raises
    ------
    OutputError : the file can't be written.
    """
    path = edited.path.resolve()
    try:
        mode = path.stat().st_mode
        if not os.access(path, os.W_OK):
            raise OutputError(f"{edited.path}: can't be written: it is read-only")
        atomic_write(path, edited.text.encode())
        path.chmod(S_IMODE(mode))
    except OSError as error:
        raise OutputError(f"{edited.path}: can't be written: {error.strerror}") from error


def _inherited_list(path: Path, key_path: KeyPath, n_own: int, value_text: str) -> tuple[str, KeyPath]:
    """Return the text of the inherited list that contains a key, with its new value, and the list's key path."""
    n_outer = next(index for index in range(n_own, len(key_path)) if isinstance(key_path[index], int))
    merged, _ = read_unvalidated_config(path)
    value = _parse_value(value_text, key_path, file_name=str(path))
    content = _with_value(merged.value, key_path, value)
    for part in key_path[:n_outer]:
        content = content[part]
    text = to_inline_yaml(content)
    if repr(_parse_value(text, key_path, file_name=str(path))) != repr(content):
        key = format_key_path(key_path[:n_outer])
        raise ConfigError(f"{path}: {key}: the inherited list can't be copied as it is; copy it into the file")
    return text, key_path[:n_outer]


def set_value(text: str, key_path: KeyPath, value_text: str, *, file_name: str) -> str:
    """Return a YAML document with one value replaced, or added with the keys that lead to it.

    Only the characters of the value differ. A new key is added at the end of its mapping: in the braces of one in flow
    style, else on a line of its own.

    Parameters
    ----------
    text : the document.
    key_path : of the value.
    value_text : the value in YAML, on one line.
    file_name : of the document, in errors.

    Raises
    ------
    ConfigError : the document or the value is no YAML, or the document would differ in anything but this value.
    """
    if text.startswith(BYTE_ORDER_MARK):
        edited = set_value(text.removeprefix(BYTE_ORDER_MARK), key_path, value_text, file_name=file_name)
        return BYTE_ORDER_MARK + edited
    key = format_key_path(key_path)
    value = _parse_value(value_text, key_path, file_name=file_name)
    content = _parse_document(text, file_name=file_name)
    key_node, node = None, YAML(typ="rt", pure=True).compose(text)
    existing = _existing_part(content, key_path)
    for part in existing:
        key_node, node = _child(node, part)
    missing = key_path[len(existing) :]
    if not missing:
        start, end = _value_span(text, key_node, node)
        edited = text[:start] + " " * (start == end) + value_text + text[end:]
    elif isinstance(node, MappingNode):
        for part in reversed(missing[1:]):
            value_text = f"{{{part}: {value_text}}}"
        edited = _with_new_entry(text, node, f"{missing[0]}: {value_text}")
    else:
        raise ConfigError(f"{file_name}: {key}: {format_key_path(existing)} is no mapping; edit the file")
    if repr(_parse_document(edited, file_name=file_name)) != repr(_with_value(content, key_path, value)):
        raise ConfigError(f"{file_name}: {key}: {value_text} can't stand in this place; edit the file")
    return edited


def _parse_value(value_text: str, key_path: KeyPath, *, file_name: str) -> Any:
    parsed, problems = parse_yaml(value_text, file_name=file_name, base_folder=Path())
    if problems or len(value_text.splitlines()) != 1:
        text = problems[0].text if problems else "needs a value on one line"
        raise ConfigError(f"{file_name}: {format_key_path(key_path)}: {text}")
    return parsed.value


def _parse_document(text: str, *, file_name: str) -> Any:
    parsed, problems = parse_yaml(text, file_name=file_name, base_folder=Path())
    if problems:
        raise ConfigError("\n".join(map(str, problems)))
    return parsed.value


def _existing_part(value: Any, key_path: KeyPath) -> KeyPath:
    """Return as much of a key path, from its start, as leads to a value."""
    for index, part in enumerate(key_path):
        is_entry = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not is_entry and not (isinstance(value, dict) and part in value):
            return key_path[:index]
        value = value[part]
    return key_path


def _with_value(value: Any, key_path: KeyPath, new: Any) -> Any:
    """Return nested mappings and lists with one value replaced or added."""
    if not key_path:
        return new
    part, inner = key_path[0], key_path[1:]
    if isinstance(value, list):
        return [_with_value(item, inner, new) if index == part else item for index, item in enumerate(value)]
    return {**value, part: _with_value(value.get(part, {}), inner, new)}


def _child(node: Node, part: str | int) -> tuple[Node | None, Node]:
    """Return the node of an entry, and that of its key in a mapping."""
    if isinstance(node, MappingNode):
        return next((key, value) for key, value in node.value if key.value == part)
    return None, node.value[part]


def _value_span(text: str, key: Node | None, value: Node) -> tuple[int, int]:
    """Return where a value begins and ends; `key` is the node of its key in a mapping."""
    start, end = value.start_mark.index, value.end_mark.index
    if start == end and key is not None:  # the marks of an empty value are those of what follows it
        start = end = text.index(":", key.end_mark.index) + 1
    return start, end


def _with_new_entry(text: str, mapping: MappingNode, entry: str) -> str:
    """Return a document with an entry added at the end of one of its mappings."""
    key, last = mapping.value[-1] if mapping.value else (None, mapping)
    if mapping.flow_style:
        end = _value_span(text, key, last)[1] if mapping.value else mapping.start_mark.index + 1
        return text[:end] + ", " * bool(mapping.value) + entry + text[end:]
    while isinstance(last, CollectionNode) and not last.flow_style:
        key, last = last.value[-1] if isinstance(last, MappingNode) else (None, last.value[-1])
    end, newline = _value_span(text, key, last)[1], "\r\n" if "\r\n" in text else "\n"
    if isinstance(last, ScalarNode) and last.style in BLOCK_SCALAR_STYLES:
        end = len(text[:end].rstrip())
    line_end = text.find(newline, end)
    line_end = len(text) if line_end < 0 else line_end
    return f"{text[:line_end]}{newline}{' ' * mapping.start_mark.column}{entry}{text[line_end:]}"
