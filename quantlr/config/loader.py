"""Reading of config files: what they extend is merged in, and values given on the command line are set on top."""

from __future__ import annotations

import datetime as dt
import errno
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd

from quantlr.config.yaml_tree import (
    ConfigProblem,
    KeyPath,
    ParsedYaml,
    SourceLocation,
    format_key_path,
    parse_key_path,
    parse_yaml,
)
from quantlr.core.errors import ConfigError, Fault
from quantlr.core.file_reading import UnreadableContentError, read_file

MAX_CONFIG_BYTES = 256 * 1024
"""Size of a config file; the YAML parser needs 22 seconds for a megabyte."""
MAX_EXTENDED_FILES = 50


PLAIN_TYPES = (str, int, float, bool, type(None))
"""Types of values that are as YAML gives them."""


def copy_nested(value: Any) -> Any:
    """Return a copy of nested mappings and lists with the values that YAML could give.

    Keys and paths become text; arrays, indexes, Series and ranges lists; scalars of NumPy and pandas those of Python;
    timestamps at midnight dates. Other objects stay as they are.
    """
    if type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, Mapping):
        return {str(key): copy_nested(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [copy_nested(item) for item in value]
    if isinstance(value, (np.ndarray, pd.Index, pd.Series, pd.api.extensions.ExtensionArray)):
        return copy_nested(np.asarray(value, dtype=object).tolist() if value.ndim else value.item())
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, dt.datetime) and value is not pd.NaT:
        return value.date() if value.time() == dt.time() else value
    if isinstance(value, np.generic):
        return value.item()
    return value.as_posix() if isinstance(value, Path) else value


def parse_and_merge_config_files(
    path: Path, *, default_kinds: Mapping[str, str], text: str | None = None
) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return the tree of a config file, merged over those it extends, and the problems that don't prevent reading.

    Parameters
    ----------
    path : the file.
    default_kinds : kinds of sections without a `kind`, by dotted key.
    text : text to use instead of the file's own; None to read it.

    Raises
    ------
    ConfigError : a file can't be read as a mapping; with all its problems.
    """
    files: list[Path] = []
    configs: list[ParsedYaml] = []
    problems: list[ConfigProblem] = []
    extends_location: SourceLocation | None = None
    while True:
        if text is None or files:
            text = read_config_text(path, extends_location)
        file = path.resolve()
        if file in files:
            circle = " -> ".join(other.name for other in (*files[files.index(file) :], file))
            _raise_config_error(extends_location or SourceLocation(str(path)), "extends", f"is circular: {circle}")
        parsed, file_problems = parse_yaml(text, file_name=str(path), base_folder=path.parent)
        if not isinstance(parsed.value, dict):
            found = {type(None): "nothing", list: "a list"}.get(type(parsed.value), "a single value")
            message = f"a config is a mapping of keys, like 'name: my_run'; found {found}"
            problem = ConfigProblem(SourceLocation(str(path), 1, 1), "", message)
            raise ConfigError("\n".join(map(str, file_problems or [problem])))
        files.append(file)
        if len(files) > MAX_EXTENDED_FILES:
            needed = f"needs at most {MAX_EXTENDED_FILES} files that extend one another, found more; merge some of them"
            _raise_config_error(extends_location or SourceLocation(str(path)), "extends", needed)
        configs.append(parsed)
        problems += file_problems
        if "extends" not in parsed.value:
            break
        base_name, extends_location = parsed.value.pop("extends"), parsed.value_locations.pop(("extends",))
        if not isinstance(base_name, str):
            _raise_config_error(extends_location, "extends", "needs the path of a config")
        path = path.parent / base_name
    merged = configs.pop()
    for config in reversed(configs):
        merged.value.pop("name", None)
        merge_child_into_base(merged, config, default_kinds=default_kinds)
    return merged, problems


SWEEP_FILE_TEMPLATE = """\
base: {}
grid:
  walk_forward.train: [500, 1000]
  walk_forward.refit_every: [21, 63]
"""
"""A sweep that varies two keys of any config, whose file name is filled in."""


def require_file_kind(parsed_yaml: ParsedYaml, source: Any, *, verb: Literal["run", "sweep"]) -> None:
    """Raise a ConfigError that names the other verb if the top-level keys are those of the file that it runs."""
    keys_by_verb = {"sweep": ("grid", "base"), "run": ("data", "features")}
    found_verb, key = next(
        ((verb, key) for verb, keys in keys_by_verb.items() for key in keys if key in parsed_yaml.value), (verb, "")
    )
    if found_verb != verb:
        call = f"quantlr.{found_verb}(...)" if isinstance(source, Mapping) else f"quantlr {found_verb} {source}"
        location = parsed_yaml.key_locations.get((key,), SourceLocation("config"))
        file_kind = "sweep file" if found_verb == "sweep" else "run config"
        text = f"this is a {file_kind}; `{call}` runs it"
        if verb == "sweep" and not isinstance(source, Mapping):
            template = SWEEP_FILE_TEMPLATE.format(Path(source).name)
            text += f"; a sweep is a file beside it, such as:\n{template}"
        _raise_config_error(location, key, text)


def _raise_config_error(location: SourceLocation, key: str, text: str) -> NoReturn:
    raise ConfigError(str(ConfigProblem(location, key, text)))


def read_config_text(path: Path, extends_location: SourceLocation | None = None) -> str:
    """Return the text of a file; `extends_location` is None for one that is named on the command line.

    Raises
    ------
    ConfigError : it can't be read as text.
    Fault : the system can't read it.
    """
    subject = f"{extends_location}: extends: {path}" if extends_location else f"{path}:"
    try:
        content = read_file(path, max_bytes=MAX_CONFIG_BYTES)
    except UnreadableContentError as error:
        advice = "a config is a small YAML file; a long list of tickers has its own (data.tickers_file)"
        raise ConfigError(f"{subject.removesuffix(':')}: {error}; {advice}") from None
    except (FileNotFoundError, NotADirectoryError):
        text = "does not exist" if extends_location else "no such config; name a YAML file"
        raise ConfigError(f"{subject} {text}") from None
    except IsADirectoryError:
        raise ConfigError(f"{subject} is a folder; name a YAML file in it") from None
    except ValueError:
        raise ConfigError(f"{subject} can't be a path") from None
    except OSError as error:
        unusable = {errno.ENAMETOOLONG: "is too long for a path", errno.ELOOP: "is a link that leads back to itself"}
        if error.errno in unusable:
            raise ConfigError(f"{subject} {unusable[error.errno]}") from None
        raise Fault(f"{subject} can't be read: {error.strerror}") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        location = SourceLocation(str(path), line, error.start - content.rfind(b"\n", 0, error.start))
        text = f"not UTF-8 text (byte {error.start}); save the file as UTF-8"
        raise ConfigError(str(ConfigProblem(location, "", text))) from None


def merge_child_into_base(base: ParsedYaml, child: ParsedYaml, *, default_kinds: Mapping[str, str]) -> None:
    """Merge `child` into `base`, in place: mappings merge; lists, and a mapping of another kind, replace.

    `default_kinds` are the kinds of sections without a `kind`, by dotted key.
    """

    def merge(key_path: KeyPath, base_mapping: dict[str, Any], child_mapping: dict[str, Any]) -> None:
        for key, value in child_mapping.items():
            path, base_value = (*key_path, key), base_mapping.get(key)
            if isinstance(base_value, dict) and isinstance(value, dict):
                kind = base_value.get("kind", default_kinds.get(format_key_path(path)))
                if value.get("kind", kind) == kind:
                    merge(path, base_value, value)
                    continue
            base_mapping[key] = value
            base.remove_locations(path)

    merge((), base.value, child.value)
    base.value_locations |= {path: location for path, location in child.value_locations.items() if path}
    base.key_locations |= child.key_locations


def parse_setting(setting: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``; the value is YAML.

    Raises
    ------
    ConfigError : there is no =, or the value is not YAML; the message starts with ``--set:``.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set: {setting}: needs key=value, like features.0.lags=[1,2]")
    parsed, problems = parse_yaml(text, file_name="--set", base_folder=Path())
    if problems:
        raise ConfigError("\n".join(f"--set: {key}: {problem.text}" for problem in problems))
    return key.strip(), parsed.value


def apply_overrides(
    parsed_yaml: ParsedYaml, overrides: Mapping[str, Any] | Iterable[tuple[str, Any]], *, source_name: str
) -> None:
    """Set values by dotted key, in place; `source_name` becomes their location.

    Raises
    ------
    ConfigError : a key leads through a value that is neither a mapping nor a list, or past the end of a list.
    """
    location = SourceLocation(source_name)
    for key, value in dict(overrides).items():
        container: Any = parsed_yaml.value
        *outer_parts, last_part = parse_key_path(str(key))
        path: KeyPath = ()
        for key_part in outer_parts:
            path = _key_path_with_part(path, key_part, container, location)
            if isinstance(container, dict) and path[-1] not in container:
                container[path[-1]] = {}
                parsed_yaml.value_locations[path] = parsed_yaml.key_locations[path] = location
            container = container[path[-1]]
        path = _key_path_with_part(path, last_part, container, location)
        container[path[-1]] = copy_nested(value)
        parsed_yaml.remove_locations(path)
        parsed_yaml.value_locations[path] = parsed_yaml.key_locations[path] = location


def _key_path_with_part(key_path: KeyPath, key_part: str | int, container: Any, location: SourceLocation) -> KeyPath:
    """Return the path with one more part, of the type that indexes the container; ConfigError if nothing can."""
    if isinstance(container, dict):
        return (*key_path, str(key_part))
    path = (*key_path, key_part)
    if not isinstance(container, list):
        _raise_config_error(location, format_key_path(path), "this key has no keys below it")
    if not isinstance(key_part, int) or key_part >= len(container):
        text = f"the list has {len(container)} entries; they count from 0"
        _raise_config_error(location, format_key_path(path), text)
    return path
