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

from quantlr.config.syntax import in_words

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_DIGITS = 400

Path_ = tuple[str | int, ...]
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "null": None, "~": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written; line and column count from 1, and are 0 where there are none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, under which key, and what."""

    place: Place
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.key, self.text) if part)


class WrittenInt(int):
    """A whole number and its text."""

    text: str


class WrittenFloat(float):
    """A number and its text."""

    text: str


class WrittenText(str):
    """Text, and the folder of the file that it was written in."""

    __slots__ = ("folder",)
    folder: Path


@dataclass(slots=True)
class Written:
    """A tree of values, and the places of its values and keys, by path."""

    value: Any
    places: dict[Path_, Place] = field(default_factory=dict)
    keys: dict[Path_, Place] = field(default_factory=dict)


def dotted(path: Path_) -> str:
    """Return a path as it is written in messages and after --set: features.0.lags."""
    return ".".join(str(part) for part in path)


def read_written(text: str, *, file: str, folder: Path) -> tuple[Written, list[Problem]]:
    """Return what a YAML document says, and everything in it that a config may not contain.

    Parameters
    ----------
    text : the document.
    file : its name in messages.
    folder : what relative paths in it are relative to.
    """
    try:
        problems = _forbidden(text, file)
        node = None if problems else YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        return Written(None), [_syntax_problem(error, file)]
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Written(None), [Problem(Place(file, line, 1), "", f"a character that YAML forbids: {error.character!r}")]
    written = Written(None)
    if node is not None:
        written.value = _value(node, (), file=file, folder=folder, written=written, problems=problems)
    return written, problems


def _syntax_problem(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    return Problem(Place(file, mark.line + 1, mark.column + 1) if mark else Place(file), "", in_words(error))


def _forbidden(text: str, file: str) -> list[Problem]:
    """Return what is refused before anything is built from it, so that an alias bomb never goes off."""
    problems, depth, documents = [], 0, 0
    for event in YAML(typ="rt", pure=True).parse(text):
        place = Place(file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                problems.append(Problem(place, "", "a second document (---); a config is one document"))
                break
        elif isinstance(event, AliasEvent):
            problems.append(Problem(place, "", f"the alias *{event.anchor} is not allowed; write the value out"))
        elif isinstance(event, NodeEvent):
            if event.anchor:
                problems.append(Problem(place, "", f"the anchor &{event.anchor} is not allowed; remove it"))
            tag = getattr(event, "tag", None)
            if tag:
                problems.append(Problem(place, "", f"the tag {tag} is not allowed; remove it"))
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            return [
                *problems,
                Problem(place, "", f"more than {MAX_DEPTH} levels deep; a config has at most six"),
            ]
    return problems


def _value(node: Node, path: Path_, *, file: str, folder: Path, written: Written, problems: list[Problem]) -> Any:
    written.places[path] = Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, ScalarNode):
        return scalar(node.value, folder=folder) if node.style is None else _text(node.value, folder)
    if isinstance(node, MappingNode):
        return _mapping(node, path, file=file, folder=folder, written=written, problems=problems)
    return [
        _value(item, (*path, at), file=file, folder=folder, written=written, problems=problems)
        for at, item in enumerate(node.value)
    ]


def _mapping(
    node: MappingNode, path: Path_, *, file: str, folder: Path, written: Written, problems: list[Problem]
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = Place(file, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, ScalarNode):
            problems.append(Problem(place, dotted(path), "a key must be a word"))
            continue
        key = key_node.value
        here = (*path, key)
        if key in mapping:
            problems.append(Problem(place, dotted(here), f"the key is there already, at {written.keys[here]}"))
            continue
        written.keys[here] = place
        mapping[key] = _value(value_node, here, file=file, folder=folder, written=written, problems=problems)
        if isinstance(value_node, ScalarNode) and value_node.value == "" and value_node.style is None:
            written.places[here] = place
    return mapping


def scalar(text: str, *, folder: Path) -> Any:
    """Return what an unquoted scalar means in YAML 1.2's core schema, less its words in capitals, which stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= MAX_DIGITS:
        whole = WrittenInt(text)
        whole.text = text
        return whole
    if _FLOAT.fullmatch(text):
        number = WrittenFloat(text.replace(".i", "i").replace(".I", "I").replace(".n", "n").replace(".N", "N"))
        number.text = text
        return number
    return _text(text, folder)


def _text(text: str, folder: Path) -> WrittenText:
    kept = WrittenText(text)
    kept.folder = folder
    return kept


def to_yaml(mapping: dict[str, Any]) -> str:
    """Return a mapping as YAML, its inner lists and mappings on one line each where they are short."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    stream = io.StringIO()
    yaml.dump(_laid_out(yaml, mapping), stream)
    return stream.getvalue()


def _laid_out(yaml: YAML, mapping: dict[str, Any]) -> Any:
    """Return the mapping with block style outside and flow style inside, as the shipped configs are laid out."""
    outer = yaml.map()
    for key, value in mapping.items():
        if key == "data":
            outer[key] = yaml.map()
            for inner, content in value.items():
                outer[key][inner] = _flow(yaml, content)
        elif isinstance(value, list):
            outer[key] = yaml.seq(_flow(yaml, item) for item in value)
        else:
            outer[key] = _flow(yaml, value)
    return outer


def _flow(yaml: YAML, value: Any) -> Any:
    if isinstance(value, dict):
        laid = yaml.map()
        laid.update({key: _flow(yaml, item) for key, item in value.items()})
        laid.fa.set_flow_style()
        return laid
    if isinstance(value, list):
        listed = yaml.seq(_flow(yaml, item) for item in value)
        listed.fa.set_flow_style()
        return listed
    return value
