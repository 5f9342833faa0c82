"""One config from several writings: the file, what it extends, and what is set on top."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantlr.config.written import (
    MAX_CONFIG_BYTES,
    KeyPath,
    SourceLocation,
    ConfigProblem,
    ParsedYaml,
    format_key_path,
    parse_yaml,
)
from quantlr.errors import ConfigError, Fault


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
