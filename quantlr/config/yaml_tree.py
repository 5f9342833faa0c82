"""YAML documents as trees of values with the location of each, and YAML text of config values.

Nodes are composed and never loaded, so a file can only give text, numbers, true and false, null, lists and mappings.
Numbers keep their text, so that a ticker such as 0700 stays 0700, and NO is text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from quantlr.core.file_reading import UnreadableContentError, library_errors_translated

BYTE_ORDER_MARK = "\ufeff"
"""Character with which some editors begin a file; it is no part of the document."""
MAX_NESTING_LEVELS = 50
MAX_INT_DIGITS = 400
_SYNTAX_ERROR_TEXTS = (
    (r"'\\t'", "a tab can't indent YAML; use spaces"),
    (r"expected ',' or '([]}])'", "the bracket opened at {opened} is not closed; {0} or a comma is missing here"),
    ("while scanning a quoted scalar", "the quote opened at {opened} is not closed"),
    (
        "unknown escape character '(.)'",
        "a backslash begins an escape in double quotes, and \\{0} is none; use single quotes",
    ),
    ("character '(.)' that cannot start", "a value can't start with {0}; quote it"),
    (
        "mapping values are not allowed",
        "a key is not allowed here: quote text that contains ': ', or correct the indentation",
    ),
    ("could not find expected ':'", "a key needs a ': ' after it"),
    ("expected the node content, but found '(.)'", "a value is missing before {0}"),
    ("sequence entries are not allowed", "a list is not allowed here; put each entry on its own line"),
    (
        "expected (<block end>|'<document start>')",
        "does not continue the lines above: correct the indentation, or quote the whole text",
    ),
)
"""Patterns of the parser's messages, and the messages shown instead."""
_INT_PATTERN = re.compile(r"[-+]?[0-9]+")
_FLOAT_PATTERN = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SCALAR_CONSTANTS = {"": None, "null": None, "~": None, "true": True, "false": False}

KeyPath = tuple[str | int, ...]
"""Keys of mappings and indices of lists from the root of a config to a value."""


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Location of a key or value in a file; line and column count from 1, and are 0 where there are none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One error in a config: its location, its dotted key and a message."""

    location: SourceLocation
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.location), self.key, self.text) if part)


class IntWithText(int):
    """An integer and its text in the file."""

    text: str


class FloatWithText(float):
    """A float and its text in the file."""

    text: str


class StringWithSourceFolder(str):
    """Text, and the folder of the file that contains it."""

    __slots__ = ("folder",)
    folder: Path


@dataclass(slots=True)
class ParsedYaml:
    """A tree of values, and the locations of its values and keys by key path."""

    value: Any
    value_locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    key_locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)

    def remove_locations(self, key_path: KeyPath) -> None:
        """Remove the locations of a key path and of everything below it."""
        for locations in (self.value_locations, self.key_locations):
            for path in [path for path in locations if path[: len(key_path)] == key_path]:
                del locations[path]


def format_key_path(key_path: KeyPath) -> str:
    """Return a key path as a dotted key: features.0.lags."""
    return ".".join(map(str, key_path))


def parse_key_path(dotted_key: str) -> KeyPath:
    """Return the key path of a dotted key; integers are indices of a list."""
    return tuple(int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in dotted_key.split("."))


def nearest_location(locations: Mapping[KeyPath, SourceLocation], key_path: KeyPath) -> SourceLocation | None:
    """Return the location of a key path, or of the innermost section around it that has one."""
    while key_path and key_path not in locations:
        key_path = key_path[:-1]
    return locations.get(key_path)


def parse_yaml(text: str, *, file_name: str, base_folder: Path) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return the tree of a YAML document, and everything in it that a config may not contain.

    Parameters
    ----------
    text : the document.
    file_name : its name in error messages.
    base_folder : the folder that relative paths in it refer to.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    builder = _TreeBuilder(file_name, base_folder)
    try:
        with library_errors_translated("YAML", unless=(MarkedYAMLError, ReaderError)):
            builder.problems.extend(_iter_forbidden_syntax_problems(text, file_name))
            node = None if builder.problems else YAML(typ="safe", pure=True).compose(text)
            if node is not None:
                builder.parsed.value = builder.build_value(node, ())
    except UnreadableContentError as error:
        problem = ConfigProblem(SourceLocation(file_name), "", f"{error}; correct the file's syntax")
        return ParsedYaml(None), [problem]
    except MarkedYAMLError as error:
        location = _location_from_mark(error.problem_mark or error.context_mark, file_name)
        return ParsedYaml(None), [ConfigProblem(location, "", yaml_syntax_error_text(error))]
    except ReaderError as error:
        location = SourceLocation(file_name, text.count("\n", 0, error.position) + 1, 1)
        return ParsedYaml(None), [ConfigProblem(location, "", f"a character that YAML forbids: {error.character!r}")]
    return builder.parsed, builder.problems


def yaml_syntax_error_text(error: MarkedYAMLError) -> str:
    """Return a parser's error as a message for the author of a config."""
    message = " ".join(str(part) for part in (error.problem, error.context) if part)
    opened = f"{error.context_mark.line + 1}:{error.context_mark.column + 1}" if error.context_mark else ""
    for pattern, text in _SYNTAX_ERROR_TEXTS:
        if match := re.search(pattern, message):
            return text.format(*match.groups(), opened=opened)
    return message


def _location_from_mark(mark: Any, file_name: str) -> SourceLocation:
    return SourceLocation(file_name, mark.line + 1, mark.column + 1) if mark else SourceLocation(file_name)


def _iter_forbidden_syntax_problems(text: str, file_name: str) -> Iterator[ConfigProblem]:
    """Yield what is refused before any value is built, so that nested aliases are never expanded."""
    depth = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        location = _location_from_mark(event.start_mark, file_name)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                yield ConfigProblem(location, "", "a second document (---); a config is one document")
                return
        elif isinstance(event, AliasEvent):
            yield ConfigProblem(location, "", f"the alias *{event.anchor} is not allowed; write the value out")
        elif isinstance(event, NodeEvent):
            if event.anchor:
                yield ConfigProblem(location, "", f"the anchor &{event.anchor} is not allowed; remove it")
            if tag := getattr(event, "tag", None):
                yield ConfigProblem(location, "", f"the tag {tag} is not allowed; remove it")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_NESTING_LEVELS:
            yield ConfigProblem(location, "", f"more than {MAX_NESTING_LEVELS} levels deep; a config has at most six")
            return


class _TreeBuilder:
    """Builds the values of composed YAML nodes, and collects their locations and problems."""

    def __init__(self, file_name: str, base_folder: Path) -> None:
        self.file_name, self.base_folder = file_name, base_folder
        self.parsed = ParsedYaml(None)
        self.problems: list[ConfigProblem] = []

    def build_value(self, node: Node, key_path: KeyPath) -> Any:
        self.parsed.value_locations[key_path] = _location_from_mark(node.start_mark, self.file_name)
        if isinstance(node, ScalarNode):
            parse = parse_scalar if node.style is None else _text_with_folder
            return parse(node.value, base_folder=self.base_folder)
        if isinstance(node, MappingNode):
            return self._build_mapping(node, key_path)
        return [self.build_value(item, (*key_path, index)) for index, item in enumerate(node.value)]

    def _build_mapping(self, node: MappingNode, key_path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            location = _location_from_mark(key_node.start_mark, self.file_name)
            if not isinstance(key_node, ScalarNode):
                self.problems.append(ConfigProblem(location, format_key_path(key_path), "a key must be a word"))
                continue
            path = (*key_path, key_node.value)
            if key_node.value in mapping:
                text = f"duplicate key, first at {self.parsed.key_locations[path]}"
                self.problems.append(ConfigProblem(location, format_key_path(path), text))
                continue
            self.parsed.key_locations[path] = location
            mapping[key_node.value] = self.build_value(value_node, path)
            if isinstance(value_node, ScalarNode) and value_node.value == "" and value_node.style is None:
                self.parsed.value_locations[path] = location
        return mapping


def parse_scalar(text: str, *, base_folder: Path) -> Any:
    """Return the value of an unquoted scalar in YAML 1.2's core schema; NULL and True in capitals stay text."""
    if text in _SCALAR_CONSTANTS:
        return _SCALAR_CONSTANTS[text]
    number: IntWithText | FloatWithText
    if _INT_PATTERN.fullmatch(text) and len(text) <= MAX_INT_DIGITS:
        number = IntWithText(text)
    elif _FLOAT_PATTERN.fullmatch(text):
        number = FloatWithText(re.sub(r"\.(?=[inIN])", "", text))
    else:
        return _text_with_folder(text, base_folder=base_folder)
    number.text = text
    return number


def _text_with_folder(text: str, *, base_folder: Path) -> StringWithSourceFolder:
    value = StringWithSourceFolder(text)
    value.folder = base_folder
    return value


def dump_yaml(mapping: dict[str, Any]) -> str:
    """Return a config as YAML in the layout of the shipped ones: block style outside, flow style within."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    config: dict[str, Any] = {}
    for key, value in mapping.items():
        if key == "data":
            config[key] = {inner_key: _to_flow_style(content) for inner_key, content in value.items()}
        else:
            config[key] = [*map(_to_flow_style, value)] if isinstance(value, list) else _to_flow_style(value)
    stream = io.StringIO()
    yaml.dump(config, stream)
    return stream.getvalue()


def _to_flow_style(value: Any) -> Any:
    """Return a mapping or list that is written on one line, {a: 1} or [1, 2], and another value as it is."""
    if not isinstance(value, (dict, list)):
        return value
    flow = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow
