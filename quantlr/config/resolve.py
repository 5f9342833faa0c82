"""One config from several writings: the file, what it extends, and what is set on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantlr.config.written import MAX_BYTES, Path_, Place, Problem, Written, dotted, read_written
from quantlr.errors import ConfigError, Fault


def read_config(path: Path) -> Written:
    """Return the tree of a config file, merged over what it extends.

    Raises
    ------
    ConfigError : with every problem of the file at fault.
    """
    return _read(path, origin=None, seen=())


def _read(path: Path, *, origin: Place | None, seen: tuple[Path, ...]) -> Written:
    real = path.resolve()
    if real in seen:
        circle = " -> ".join(file.name for file in (*seen[seen.index(real) :], real))
        raise ConfigError(str(Problem(origin or Place(str(path)), "extends", f"goes in a circle: {circle}")))
    written, problems = read_written(_text_of(path, origin), file=str(path), folder=path.parent)
    if not problems and not isinstance(written.value, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(written.value), "a single value")
        text = f"a config is a mapping of keys, like 'name: my_run'; found {found}"
        problems.append(Problem(Place(str(path), 1, 1), "", text))
    if problems:
        raise ConfigError("\n".join(map(str, problems)))
    if "extends" not in written.value:
        return written
    base_name = written.value.pop("extends")
    place = written.places[("extends",)]
    if not isinstance(base_name, str):
        raise ConfigError(str(Problem(place, "extends", "needs the path of a config")))
    base = _read(path.parent / base_name, origin=place, seen=(*seen, real))
    base.value.pop("name", None)
    merge(base, written)
    return base


def _text_of(path: Path, origin: Place | None) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if origin:
            raise ConfigError(str(Problem(origin, "extends", f"{path} does not exist"))) from None
        raise ConfigError(f"{path}: no such config; name a YAML file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder; name a YAML file in it") from None
    except OSError as error:
        raise Fault(f"{path}: can't be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: {len(content):,} bytes; a config has at most {MAX_BYTES:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}:1: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None


def merge(base: Written, over: Written) -> None:
    """Merge `over` into `base`: mappings merge; lists, and a mapping whose kind differs, replace whole."""
    for key, value in over.value.items():
        _merge_at(base, (key,), base.value, key, value, over)


def _merge_at(base: Written, path: Path_, parent: dict[str, Any], key: str, value: Any, over: Written) -> None:
    there = parent.get(key)
    if (
        isinstance(there, dict)
        and isinstance(value, dict)
        and value.get("kind", there.get("kind")) == there.get("kind")
    ):
        base.places[path], base.keys[path] = over.places[path], over.keys[path]
        for inner, content in value.items():
            _merge_at(base, (*path, inner), there, inner, content, over)
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


def override(written: Written, settings: Mapping[str, Any] | Iterable[tuple[str, Any]], *, source: str) -> None:
    """Set values by dotted key, in place.

    Raises
    ------
    ConfigError : a key that leads through something that is neither a mapping nor a list, or past a list's end.
    """
    for key, value in dict(settings).items():
        path = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        target = written.value
        for depth, part in enumerate(path[:-1]):
            here = path[: depth + 1]
            if isinstance(target, dict) and part not in target:
                target[str(part)] = {}
                written.places[here] = written.keys[here] = Place(source)
            target = _inner(target, part, here, source)
        last = path[-1]
        if isinstance(target, dict):
            target[str(last)] = value
        elif isinstance(target, list) and isinstance(last, int) and last < len(target):
            target[last] = value
        else:
            raise ConfigError(f"{source}: {key}: {_dead_end(target)}")
        for places in (written.places, written.keys):
            for old in [where for where in places if where[: len(path)] == path]:
                del places[old]
            places[path] = Place(source)


def _inner(target: Any, part: str | int, path: Path_, source: str) -> Any:
    if isinstance(target, dict):
        return target[str(part)]
    if isinstance(target, list) and isinstance(part, int) and part < len(target):
        return target[part]
    raise ConfigError(f"{source}: {dotted(path)}: {_dead_end(target)}")


def _dead_end(target: Any) -> str:
    if isinstance(target, list):
        return f"the list has {len(target)} entries; they count from 0"
    return "there is nothing below this key"
