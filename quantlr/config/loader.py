"""YAML as it was written: values that keep their text, and the place of each.

Nodes are composed, never loaded, so nothing in a file can make anything but text, numbers, yes and no, nothing, lists
and mappings. A ticker stays the text it is: 0700 is not 700, NO is not false.
"""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterable, Mapping
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

from quantlr.core.errors import ConfigError, Fault

_SYNTAX_ERROR_TEXTS = tuple(
    (re.compile(found), words)
    for found, words in (
        (r"'\\t'", "a tab can't indent YAML; use spaces"),
        ("single document", "a second document (---); a config is one document"),
        (
            r"expected ',' or '([]}])'",
            "the bracket that is opened at {opened} is not closed; {0} or a comma is missing here",
        ),
        (r"while scanning a quoted scalar", "the quote that is opened at {opened} is not closed"),
        (
            r"unknown escape character '(.)'",
            "a backslash begins an escape in double quotes, and \\{0} is none; use single quotes",
        ),
        (r"character '(.)' that cannot start", "a value can't begin with {0}; quote it"),
        (
            r"mapping values are not allowed",
            "a key can't stand here: quote text that holds ': ', or mend the line's indent",
        ),
        (r"could not find expected ':'", "a key needs a ': ' after it"),
        (r"expected the node content, but found '(.)'", "a value is missing before {0}"),
        (r"sequence entries are not allowed", "a list can't begin here; give each entry a line of its own"),
        (
            r"expected (<block end>|'<document start>')",
            "does not go on from what is above: mend the line's indent, or quote the whole text",
        ),
    )
)


def yaml_syntax_error_text(error: MarkedYAMLError) -> str:
    """Return what a parser's error says to someone who writes a config."""
    what = " ".join(str(part) for part in (error.problem, error.context) if part)
    opened = f"{error.context_mark.line + 1}:{error.context_mark.column + 1}" if error.context_mark else ""
    for pattern, words in _SYNTAX_ERROR_TEXTS:
        if found := pattern.search(what):
            return words.format(*found.groups(), opened=opened)
    return what


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


def read_config_file(path: Path, *, default_kinds: Mapping[str, str]) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return the tree of a config file, merged over what it extends, and what is wrong with it but can be read.

    Raises
    ------
    ConfigError : with every problem of a file that can't be read as a mapping.
    """
    return _read_with_extends(path, default_kinds=default_kinds, extends_location=None, visited_paths=())


def _read_with_extends(
    path: Path,
    *,
    default_kinds: Mapping[str, str],
    extends_location: SourceLocation | None,
    visited_paths: tuple[Path, ...],
) -> tuple[ParsedYaml, list[ConfigProblem]]:
    text = _read_config_text(path, extends_location)
    real = path.resolve()
    if real in visited_paths:
        circle = " -> ".join(file.name for file in (*visited_paths[visited_paths.index(real) :], real))
        raise ConfigError(
            str(ConfigProblem(extends_location or SourceLocation(str(path)), "extends", f"goes in a circle: {circle}"))
        )
    written, problems = parse_yaml(text, file_name=str(path), base_folder=path.parent)
    if not isinstance(written.value, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(written.value), "a single value")
        said = f"a config is a mapping of keys, like 'name: my_run'; found {found}"
        raise ConfigError("\n".join(map(str, problems or [ConfigProblem(SourceLocation(str(path), 1, 1), "", said)])))
    if "extends" not in written.value:
        return written, problems
    base_name, place = written.value.pop("extends"), written.value_locations[("extends",)]
    if not isinstance(base_name, str):
        raise ConfigError(str(ConfigProblem(place, "extends", "needs the path of a config")))
    base, others = _read_with_extends(
        path.parent / base_name,
        default_kinds=default_kinds,
        extends_location=place,
        visited_paths=(*visited_paths, real),
    )
    base.value.pop("name", None)
    merge_parsed_yaml(base, written, default_kinds=default_kinds)
    return base, [*others, *problems]


def _read_config_text(path: Path, extends_location: SourceLocation | None) -> str:
    """Return a file's text; `origin` is where it was named, None if on the command line."""

    def make_config_error(message: str) -> ConfigError:
        return ConfigError(
            str(
                ConfigProblem(extends_location, "extends", f"{path} {message}")
                if extends_location
                else f"{path}: {message}"
            )
        )

    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise make_config_error("does not exist" if extends_location else "no such config; name a YAML file") from None
    except IsADirectoryError:
        raise make_config_error("is a folder; name a YAML file in it") from None
    except (ValueError, UnicodeError):
        raise make_config_error("can't be a path") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise make_config_error("is too long for a path") from None
        raise Fault(f"{path}: can't be read: {error.strerror}") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: {len(content):,} bytes; a config has at most {MAX_CONFIG_BYTES:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"{path}:{line}:{column}: not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from None


def merge_parsed_yaml(base: ParsedYaml, child: ParsedYaml, *, default_kinds: Mapping[str, str]) -> None:
    """Merge `over` into `base`: mappings merge; lists, and a mapping whose kind differs, replace whole.

    `kinds` are the kinds that sections have where none is written.
    """
    for key, value in child.value.items():
        _merge_value(base, (key,), base.value, value, child, default_kinds)


def _merge_value(
    base: ParsedYaml,
    key_path: KeyPath,
    base_mapping: dict[str, Any],
    value: Any,
    child: ParsedYaml,
    default_kinds: Mapping[str, str],
) -> None:
    key = str(key_path[-1])
    there = base_mapping.get(key)
    if isinstance(there, dict) and isinstance(value, dict):
        kind = there.get("kind", default_kinds.get(format_key_path(key_path)))
        if value.get("kind", kind) == kind:
            base.value_locations[key_path], base.key_locations[key_path] = (
                child.value_locations[key_path],
                child.key_locations[key_path],
            )
            for inner, content in value.items():
                _merge_value(base, (*key_path, inner), there, content, child, default_kinds)
            return
    base_mapping[key] = value
    for places, new in ((base.value_locations, child.value_locations), (base.key_locations, child.key_locations)):
        for old in [where for where in places if where[: len(key_path)] == key_path]:
            del places[old]
        places.update({where: place for where, place in new.items() if where[: len(key_path)] == key_path})


def parse_setting(setting: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``, the value read as YAML.

    Raises
    ------
    ConfigError : there is no =, or the value is not YAML; the text begins with ``--set:``.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set: {setting}: needs key=value, like features.0.lags=[1,2]")
    written, problems = parse_yaml(text, file_name="--set", base_folder=Path())
    if problems:
        raise ConfigError("\n".join(f"--set: {key}: {problem.text}" for problem in problems))
    return key.strip(), written.value


def parse_key_path(dotted_key: str) -> KeyPath:
    """Return the path that a dotted key names; whole numbers count entries of a list."""
    return tuple(int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in dotted_key.split("."))


def apply_overrides(
    parsed_yaml: ParsedYaml, overrides: Mapping[str, Any] | Iterable[tuple[str, Any]], *, source_name: str
) -> None:
    """Set values by dotted key, in place.

    Raises
    ------
    ConfigError : a key that leads through something that is neither a mapping nor a list, or past a list's end.
    """
    for key, value in dict(overrides).items():
        target: Any = parsed_yaml.value
        path: KeyPath = ()
        for part in parse_key_path(str(key))[:-1]:
            part, path = _resolve_key_part(target, part, path, source_name)
            if isinstance(target, dict) and part not in target:
                target[part] = {}
                parsed_yaml.value_locations[path] = parsed_yaml.key_locations[path] = SourceLocation(source_name)
            target = target[part]
        last, path = _resolve_key_part(target, parse_key_path(str(key))[-1], path, source_name)
        target[last] = value
        for places in (parsed_yaml.value_locations, parsed_yaml.key_locations):
            for old in [where for where in places if where[: len(path)] == path]:
                del places[old]
            places[path] = SourceLocation(source_name)


def _resolve_key_part(container: Any, key_part: str | int, key_path: KeyPath, source_name: str) -> tuple[Any, KeyPath]:
    """Return one part of a key as what it leads into is indexed by, and the path so far."""
    if isinstance(container, dict):
        return str(key_part), (*key_path, str(key_part))
    if isinstance(container, list) and isinstance(key_part, int) and key_part < len(container):
        return key_part, (*key_path, key_part)
    held = f"the list has {len(container)} entries; they count from 0" if isinstance(container, list) else None
    raise ConfigError(
        str(
            ConfigProblem(
                SourceLocation(source_name),
                format_key_path((*key_path, key_part)),
                held or "there is nothing below this key",
            )
        )
    )
