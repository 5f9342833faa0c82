"""One config from several writings: the file, what it extends, and what is set on top."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantlr.config.written import MAX_BYTES, Path_, Place, Problem, Written, dotted, read_written
from quantlr.errors import ConfigError, Fault


def read_config(path: Path, *, kinds: Mapping[str, str]) -> tuple[Written, list[Problem]]:
    """Return the tree of a config file, merged over what it extends, and what is wrong with it but can be read.

    Raises
    ------
    ConfigError : with every problem of a file that can't be read as a mapping.
    """
    return _read(path, kinds=kinds, origin=None, seen=())


def _read(
    path: Path, *, kinds: Mapping[str, str], origin: Place | None, seen: tuple[Path, ...]
) -> tuple[Written, list[Problem]]:
    text = _text_of(path, origin)
    real = path.resolve()
    if real in seen:
        circle = " -> ".join(file.name for file in (*seen[seen.index(real) :], real))
        raise ConfigError(str(Problem(origin or Place(str(path)), "extends", f"goes in a circle: {circle}")))
    written, problems = read_written(text, file=str(path), folder=path.parent)
    if not isinstance(written.value, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(written.value), "a single value")
        said = f"a config is a mapping of keys, like 'name: my_run'; found {found}"
        raise ConfigError("\n".join(map(str, problems or [Problem(Place(str(path), 1, 1), "", said)])))
    if "extends" not in written.value:
        return written, problems
    base_name, place = written.value.pop("extends"), written.places[("extends",)]
    if not isinstance(base_name, str):
        raise ConfigError(str(Problem(place, "extends", "needs the path of a config")))
    base, others = _read(path.parent / base_name, kinds=kinds, origin=place, seen=(*seen, real))
    base.value.pop("name", None)
    merge(base, written, kinds=kinds)
    return base, [*others, *problems]


def _text_of(path: Path, origin: Place | None) -> str:
    """Return a file's text; `origin` is where it was named, None if on the command line."""

    def refused(text: str) -> ConfigError:
        return ConfigError(str(Problem(origin, "extends", f"{path} {text}") if origin else f"{path}: {text}"))

    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise refused("does not exist" if origin else "no such config; name a YAML file") from None
    except IsADirectoryError:
        raise refused("is a folder; name a YAML file in it") from None
    except (ValueError, UnicodeError):
        raise refused("can't be a path") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise refused("is too long for a path") from None
        raise Fault(f"{path}: can't be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: {len(content):,} bytes; a config has at most {MAX_BYTES:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"{path}:{line}:{column}: not UTF-8 text (byte {error.start}); save the file as UTF-8"
        ) from None


def merge(base: Written, over: Written, *, kinds: Mapping[str, str]) -> None:
    """Merge `over` into `base`: mappings merge; lists, and a mapping whose kind differs, replace whole.

    `kinds` are the kinds that sections have where none is written.
    """
    for key, value in over.value.items():
        _merge_at(base, (key,), base.value, value, over, kinds)


def _merge_at(
    base: Written, path: Path_, parent: dict[str, Any], value: Any, over: Written, kinds: Mapping[str, str]
) -> None:
    key = str(path[-1])
    there = parent.get(key)
    if isinstance(there, dict) and isinstance(value, dict):
        kind = there.get("kind", kinds.get(dotted(path)))
        if value.get("kind", kind) == kind:
            base.places[path], base.keys[path] = over.places[path], over.keys[path]
            for inner, content in value.items():
                _merge_at(base, (*path, inner), there, content, over, kinds)
            return
    parent[key] = value
    for places, new in ((base.places, over.places), (base.keys, over.keys)):
        for old in [where for where in places if where[: len(path)] == path]:
            del places[old]
        places.update({where: place for where, place in new.items() if where[: len(path)] == path})


def parse_setting(setting: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``, the value read as YAML.

    Raises
    ------
    ConfigError : there is no =, or the value is not YAML; the text begins with ``--set:``.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set: {setting}: needs key=value, like features.0.lags=[1,2]")
    written, problems = read_written(text, file="--set", folder=Path())
    if problems:
        raise ConfigError("\n".join(f"--set: {key}: {problem.text}" for problem in problems))
    return key.strip(), written.value


def parse_key(key: str) -> Path_:
    """Return the path that a dotted key names; whole numbers count entries of a list."""
    return tuple(int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part for part in key.split("."))


def override(written: Written, settings: Mapping[str, Any] | Iterable[tuple[str, Any]], *, source: str) -> None:
    """Set values by dotted key, in place.

    Raises
    ------
    ConfigError : a key that leads through something that is neither a mapping nor a list, or past a list's end.
    """
    for key, value in dict(settings).items():
        target: Any = written.value
        path: Path_ = ()
        for part in parse_key(str(key))[:-1]:
            part, path = _step(target, part, path, source)
            if isinstance(target, dict) and part not in target:
                target[part] = {}
                written.places[path] = written.keys[path] = Place(source)
            target = target[part]
        last, path = _step(target, parse_key(str(key))[-1], path, source)
        target[last] = value
        for places in (written.places, written.keys):
            for old in [where for where in places if where[: len(path)] == path]:
                del places[old]
            places[path] = Place(source)


def _step(target: Any, part: str | int, path: Path_, source: str) -> tuple[Any, Path_]:
    """Return one part of a key as what it leads into is indexed by, and the path so far."""
    if isinstance(target, dict):
        return str(part), (*path, str(part))
    if isinstance(target, list) and isinstance(part, int) and part < len(target):
        return part, (*path, part)
    held = f"the list has {len(target)} entries; they count from 0" if isinstance(target, list) else None
    raise ConfigError(str(Problem(Place(source), dotted((*path, part)), held or "there is nothing below this key")))
