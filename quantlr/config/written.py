"""YAML as it was written: values that keep their text, and the place of each.

Nodes are composed, never loaded, so nothing in a file can make anything but text, numbers, yes and no, nothing, lists
and mappings. A ticker stays the text it is: 0700 is not 700, NO is not false.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    NodeEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from quantlr.config.syntax import yaml_syntax_error_text

MAX_CONFIG_BYTES = 1_000_000
MAX_NESTING_LEVELS = 50
MAX_INT_DIGITS = 400

KeyPath = tuple[str | int, ...]
_INT_PATTERN = re.compile(r"[-+]?[0-9]+")
_FLOAT_PATTERN = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SCALAR_CONSTANTS = {"": None, "null": None, "~": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where something was written; line and column count from 1, and are 0 where there are none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong: where, under which key, and what."""

    location: SourceLocation
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.location), self.key, self.text) if part)


class IntWithText(int):
    """A whole number and its text."""

    text: str


class FloatWithText(float):
    """A number and its text."""

    text: str


class TextWithFolder(str):
    """Text, and the folder of the file that it was written in."""

    __slots__ = ("folder",)
    folder: Path


@dataclass(slots=True)
class ParsedYaml:
    """A tree of values, and the places of its values and keys, by path."""

    value: Any
    value_locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    key_locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)


def format_key_path(key_path: KeyPath) -> str:
    """Return a path as it is written in messages and after --set: features.0.lags."""
    return ".".join(str(part) for part in key_path)


def parse_yaml(text: str, *, file_name: str, base_folder: Path) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return what a YAML document says, and everything in it that a config may not contain.

    Parameters
    ----------
    text : the document.
    file : its name in messages.
    folder : what relative paths in it are relative to.
    """
    try:
        problems = _find_forbidden_yaml(text, file_name)
        node = None if problems else YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        return ParsedYaml(None), [_syntax_problem(error, file_name)]
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return ParsedYaml(None), [
            ConfigProblem(SourceLocation(file_name, line, 1), "", f"a character that YAML forbids: {error.character!r}")
        ]
    written = ParsedYaml(None)
    if node is not None:
        written.value = _value_from_node(
            node, (), file_name=file_name, base_folder=base_folder, parsed_yaml=written, problems=problems
        )
    return written, problems


def _syntax_problem(error: MarkedYAMLError, file_name: str) -> ConfigProblem:
    mark = error.problem_mark or error.context_mark
    return ConfigProblem(
        SourceLocation(file_name, mark.line + 1, mark.column + 1) if mark else SourceLocation(file_name),
        "",
        yaml_syntax_error_text(error),
    )


def _find_forbidden_yaml(text: str, file_name: str) -> list[ConfigProblem]:
    """Return what is refused before anything is built from it, so that an alias bomb never goes off."""
    problems, depth, documents = [], 0, 0
    for event in YAML(typ="rt", pure=True).parse(text):
        place = SourceLocation(file_name, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                problems.append(ConfigProblem(place, "", "a second document (---); a config is one document"))
                break
        elif isinstance(event, AliasEvent):
            problems.append(ConfigProblem(place, "", f"the alias *{event.anchor} is not allowed; write the value out"))
        elif isinstance(event, NodeEvent):
            if event.anchor:
                problems.append(ConfigProblem(place, "", f"the anchor &{event.anchor} is not allowed; remove it"))
            tag = getattr(event, "tag", None)
            if tag:
                problems.append(ConfigProblem(place, "", f"the tag {tag} is not allowed; remove it"))
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > MAX_NESTING_LEVELS:
            return [
                *problems,
                ConfigProblem(place, "", f"more than {MAX_NESTING_LEVELS} levels deep; a config has at most six"),
            ]
    return problems


def _value_from_node(
    node: Node,
    key_path: KeyPath,
    *,
    file_name: str,
    base_folder: Path,
    parsed_yaml: ParsedYaml,
    problems: list[ConfigProblem],
) -> Any:
    parsed_yaml.value_locations[key_path] = SourceLocation(
        file_name, node.start_mark.line + 1, node.start_mark.column + 1
    )
    if isinstance(node, ScalarNode):
        return (
            parse_scalar(node.value, base_folder=base_folder)
            if node.style is None
            else _text_with_folder(node.value, base_folder)
        )
    if isinstance(node, MappingNode):
        return _mapping_from_node(
            node, key_path, file_name=file_name, base_folder=base_folder, parsed_yaml=parsed_yaml, problems=problems
        )
    return [
        _value_from_node(
            item,
            (*key_path, at),
            file_name=file_name,
            base_folder=base_folder,
            parsed_yaml=parsed_yaml,
            problems=problems,
        )
        for at, item in enumerate(node.value)
    ]


def _mapping_from_node(
    node: MappingNode,
    key_path: KeyPath,
    *,
    file_name: str,
    base_folder: Path,
    parsed_yaml: ParsedYaml,
    problems: list[ConfigProblem],
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = SourceLocation(file_name, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, ScalarNode):
            problems.append(ConfigProblem(place, format_key_path(key_path), "a key must be a word"))
            continue
        key = key_node.value
        here = (*key_path, key)
        if key in mapping:
            problems.append(
                ConfigProblem(
                    place, format_key_path(here), f"the key is there already, at {parsed_yaml.key_locations[here]}"
                )
            )
            continue
        parsed_yaml.key_locations[here] = place
        mapping[key] = _value_from_node(
            value_node, here, file_name=file_name, base_folder=base_folder, parsed_yaml=parsed_yaml, problems=problems
        )
        if isinstance(value_node, ScalarNode) and value_node.value == "" and value_node.style is None:
            parsed_yaml.value_locations[here] = place
    return mapping


def parse_scalar(text: str, *, base_folder: Path) -> Any:
    """Return what an unquoted scalar means in YAML 1.2's core schema, less its words in capitals, which stay text."""
    if text in _SCALAR_CONSTANTS:
        return _SCALAR_CONSTANTS[text]
    if _INT_PATTERN.fullmatch(text) and len(text) <= MAX_INT_DIGITS:
        whole = IntWithText(text)
        whole.text = text
        return whole
    if _FLOAT_PATTERN.fullmatch(text):
        number = FloatWithText(text.replace(".i", "i").replace(".I", "I").replace(".n", "n").replace(".N", "N"))
        number.text = text
        return number
    return _text_with_folder(text, base_folder)


def _text_with_folder(text: str, base_folder: Path) -> TextWithFolder:
    kept = TextWithFolder(text)
    kept.folder = base_folder
    return kept


def dump_yaml(mapping: dict[str, Any]) -> str:
    """Return a mapping as YAML, its inner lists and mappings on one line each where they are short."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    stream = io.StringIO()
    yaml.dump(_to_block_style(yaml, mapping), stream)
    return stream.getvalue()


def _to_block_style(yaml: YAML, mapping: dict[str, Any]) -> Any:
    """Return the mapping with block style outside and flow style inside, as the shipped configs are laid out."""
    outer = yaml.map()
    for key, value in mapping.items():
        if key == "data":
            outer[key] = yaml.map()
            for inner, content in value.items():
                outer[key][inner] = _to_flow_style(yaml, content)
        elif isinstance(value, list):
            outer[key] = yaml.seq(_to_flow_style(yaml, item) for item in value)
        else:
            outer[key] = _to_flow_style(yaml, value)
    return outer


def _to_flow_style(yaml: YAML, value: Any) -> Any:
    if isinstance(value, dict):
        laid = yaml.map()
        laid.update({key: _to_flow_style(yaml, item) for key, item in value.items()})
        laid.fa.set_flow_style()
        return laid
    if isinstance(value, list):
        listed = yaml.seq(_to_flow_style(yaml, item) for item in value)
        listed.fa.set_flow_style()
        return listed
    return value
