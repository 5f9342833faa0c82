"""Grids of config values: the keys that a sweep or a selection varies, and the configs of their combinations.

Combinations are counted by arithmetic and numbered from 0, the last key varying fastest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantlr.config.loader import apply_overrides, copy_nested
from quantlr.config.yaml_tree import (
    ConfigProblem,
    KeyPath,
    ParsedYaml,
    SourceLocation,
    format_key_path,
    parse_key_path,
)
from quantlr.core.components import Component, component_kind
from quantlr.core.errors import ConfigError
from quantlr.core.text import hide_home_folder
from quantlr.model.config import MODELS


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One key of a grid.

    Attributes
    ----------
    key : dotted, as in ``--set``.
    values : to try, as they are written.
    value_places : (values,) where each was written, by the path below the key.
    key_place : where the key was written.
    """

    key: str
    values: tuple[Any, ...]
    value_places: tuple[tuple[tuple[KeyPath, SourceLocation], ...], ...]
    key_place: SourceLocation


def n_combinations(axes: Sequence[GridAxis]) -> int:
    """Return the number of combinations of the values of some keys."""
    return math.prod(len(axis.values) for axis in axes)


def axis_value_indices(axes: Sequence[GridAxis], number: int) -> tuple[int, ...]:
    """Return the index of each key's value in a combination."""
    indices = []
    for axis in reversed(axes):
        number, index = divmod(number, len(axis.values))
        indices.append(index)
    return tuple(reversed(indices))


def values_by_key(axes: Sequence[GridAxis], number: int) -> dict[str, Any]:
    """Return a combination's values by key."""
    indices = axis_value_indices(axes, number)
    return {axis.key: axis.values[index] for axis, index in zip(axes, indices, strict=True)}


def make_combination(base: ParsedYaml, axes: Sequence[GridAxis], number: int) -> tuple[ParsedYaml, list[str]]:
    """Return a config with the values of a combination, and the problems of keys that can't be set.

    Where `model.kind` changes, keys of the model that the new kind does not have are left out.
    """
    parsed = ParsedYaml(copy_nested(base.value), dict(base.value_locations), dict(base.key_locations))
    problems: list[str] = []
    for axis, index in zip(axes, axis_value_indices(axes, number), strict=True):
        value, path = axis.values[index], parse_key_path(axis.key)
        if axis.key == "model.kind":
            _drop_keys_of_other_kind(parsed.value, value)
        try:
            apply_overrides(parsed, {axis.key: value}, source_name=str(axis.key_place))
        except ConfigError as error:
            problems += error.problems
            continue
        parsed.key_locations[path] = axis.key_place
        parsed.value_locations.update((path + below, place) for below, place in axis.value_places[index])
    return parsed, problems


def _drop_keys_of_other_kind(config_values: dict[str, Any], kind: Any) -> None:
    """Remove the keys of the section `model` that some other kind has and this one has not."""
    fields_by_kind = {component_kind(model): set(model.model_fields) for model in MODELS}
    model = config_values.get("model")
    if kind in fields_by_kind and isinstance(model, dict):
        foreign = set().union(*fields_by_kind.values()) - fields_by_kind[kind]
        config_values["model"] = {key: value for key, value in model.items() if key not in foreign}


def read_grid_axes(parsed: ParsedYaml, section: KeyPath) -> tuple[tuple[GridAxis, ...], list[ConfigProblem]]:
    """Return the keys of a grid whose values are a list, and the problems of repeated values.

    Parameters
    ----------
    parsed : the file.
    section : key path of the grid in it.
    """
    grid: Any = parsed.value
    for part in section:
        grid = grid.get(part) if isinstance(grid, Mapping) else None
    axes: list[GridAxis] = []
    problems = []
    for key, values in grid.items() if isinstance(grid, Mapping) else ():
        if not isinstance(values, (list, tuple)) or not values:
            continue  # reported by the validation of the file
        path = (*section, key)
        key_place = parsed.key_locations.get(path, SourceLocation(format_key_path(section)))
        places: list[list[tuple[KeyPath, SourceLocation]]] = [[] for _ in values]
        for value_path, place in parsed.value_locations.items():
            below = value_path[len(path) :]
            if value_path[: len(path)] == path and below and isinstance(below[0], int):
                places[below[0]].append((below[1:], place))
        for index, value in enumerate(values):
            if value in values[:index]:
                place = parsed.value_locations.get((*path, index), key_place)
                text = "duplicate value; write each value once"
                problems.append(ConfigProblem(place, format_key_path((*path, index)), text))
        axes.append(GridAxis(key, tuple(values), tuple(map(tuple, places)), key_place))
    return tuple(axes), problems


def overlapping_key_problems(axes: Sequence[GridAxis], section: KeyPath) -> list[ConfigProblem]:
    """Return the problems of keys that are part of another key of the grid."""
    return [
        ConfigProblem(
            axis.key_place,
            format_key_path((*section, axis.key)),
            f"is part of {other.key}, which the grid varies too; keep one of them",
        )
        for axis, other in itertools.permutations(axes, 2)
        if is_same_or_subkey(axis.key, other.key)
    ]


def is_same_or_subkey(key: str, outer_key: str) -> bool:
    """Return whether a dotted key is another one, or below it."""
    path, outer_path = parse_key_path(key), parse_key_path(outer_key)
    return path[: len(outer_path)] == outer_path


def grid_value_text(value: Any) -> str:
    """Return a value of the grid as short text: as it is written, a component by its kind and parameters.

    The home folder is written as ~.
    """
    if isinstance(value, Component):
        value = dict(value)
    if isinstance(value, dict):
        parameters = [f"{key}={grid_value_text(item)}" for key, item in value.items() if key != "kind"]
        return " ".join([*([str(value["kind"])] if "kind" in value else []), *parameters])
    if isinstance(value, (list, tuple)):
        items = ", ".join(map(grid_value_text, value))
        return items if len(value) == 1 and isinstance(value[0], (str, dict)) else f"[{items}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return hide_home_folder(str(getattr(value, "text", value)))
