"""What a sweep tries: a base config, and a grid of values for some of its keys, read from YAML.

The combinations are counted by arithmetic and numbered from 0, the last key turning fastest; none is made before it is
needed, so that a grid of a thousand million can be stated, and sampled, at once.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from quantlr.config.loader import ConfigProblem, KeyPath, ParsedYaml, SourceLocation, apply_overrides, parse_key_path
from quantlr.config.messages import problems_from_validation_error, sort_problems
from quantlr.config.run_config import (
    LoadedConfig,
    ReportName,
    RunConfig,
    copy_nested,
    parse_config_source,
    parse_setting,
    validate_config,
)
from quantlr.core.components import ConfigSection, StrictFloat, StrictInt, resolve_config_path
from quantlr.core.errors import ConfigError
from quantlr.data.prices import IsoDate

MAX_TRIALS = 1_000_000
"""Trials of one sweep: what every one of them leaves behind has to be held at once in the end."""
MAX_REPORTED_PROBLEMS = 20
"""Problems of combinations that are told at a time."""
HoldoutFraction = Annotated[StrictFloat, Field(ge=0.0, lt=1.0)]


class SweepSpec(ConfigSection):
    """One sweep, as its file has it."""

    name: ReportName = Field(description="Name of the report's folder.")
    base: Any = Field(description="The config that is varied: a path relative to the sweep's file, or a mapping.")
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        min_length=1, description="Values to try, by dotted key of the config."
    )
    sample: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="Combinations to draw from the grid; null tries them all."
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the sample and of the statistics."
    )
    holdout: HoldoutFraction | IsoDate = Field(
        0.2, description="Newest sessions that no trial sees: a share of them, or their first date; 0 for none."
    )


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One key of a grid.

    Attributes
    ----------
    key : dotted, as in ``--set``.
    choices : its values, as they are written.
    places : of each value, by the path below the key, where it was written.
    written : where the key was.
    """

    key: str
    values: tuple[Any, ...]
    value_places: tuple[tuple[tuple[KeyPath, SourceLocation], ...], ...]
    key_place: SourceLocation


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep that has been read.

    Attributes
    ----------
    spec : as its file has it.
    base : the config that is varied, as it is written.
    axes : the keys of the grid.
    chosen : numbers of the combinations that are tried, ascending.
    """

    spec: SweepSpec
    base_config: ParsedYaml
    axes: tuple[GridAxis, ...]
    trial_numbers: Sequence[int]

    @property
    def n_combinations(self) -> int:
        """How many the grid has."""
        return math.prod(len(axis.values) for axis in self.axes)

    def value_indices(self, trial_number: int) -> tuple[int, ...]:
        """Return which value of each key a combination has."""
        found = []
        for axis in reversed(self.axes):
            trial_number, at = divmod(trial_number, len(axis.values))
            found.append(at)
        return tuple(reversed(found))

    def trial_values(self, trial_number: int) -> dict[str, Any]:
        """Return a combination's values by key."""
        return {axis.key: axis.values[at] for axis, at in zip(self.axes, self.value_indices(trial_number), strict=True)}

    def trial_config(self, trial_number: int) -> LoadedConfig:
        """Return a combination as a config.

        Raises
        ------
        ConfigError : with every problem.
        """
        written = ParsedYaml(
            copy_nested(self.base_config.value),
            dict(self.base_config.value_locations),
            dict(self.base_config.key_locations),
        )
        for axis, at in zip(self.axes, self.value_indices(trial_number), strict=True):
            apply_overrides(written, {axis.key: axis.values[at]}, source_name=str(axis.key_place))
            path = parse_key_path(axis.key)
            written.key_locations[path] = axis.key_place
            written.value_locations.update((path + below, place) for below, place in axis.value_places[at])
        written.value["name"] = f"{self.spec.name:.60}.{trial_number}"
        return validate_config(written)

    def iter_trial_configs(self) -> Iterator[tuple[int, LoadedConfig]]:
        """Yield every combination that is tried, with its number.

        Raises
        ------
        ConfigError : at the end, with the problems of all combinations, each told once.
        """
        problems: dict[str, None] = {}
        for number in self.trial_numbers:
            try:
                yield number, self.trial_config(number)
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
            if len(problems) >= MAX_REPORTED_PROBLEMS:
                break
        if problems:
            raise ConfigError("\n".join(problems))


def load_sweep(
    source: str | Path | Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None, settings: Sequence[str] = ()
) -> Sweep:
    """Return the sweep in a YAML file or a mapping.

    Parameters
    ----------
    source : path of a YAML file, or the mapping that it would hold.
    overrides : values by dotted key, set on top of the base config.
    settings : the same as text, ``key=value``, the value in YAML.

    Raises
    ------
    ConfigError : with every problem, one line each, but for those of combinations.
    """
    written, problems = parse_config_source(source)
    written.value.setdefault("name", "sweep" if isinstance(source, Mapping) else Path(source).stem)
    try:
        spec = SweepSpec.model_validate(written.value)
    except ValidationError as error:
        problems += problems_from_validation_error(error, written, SweepSpec)
    if problems:
        raise ConfigError("\n".join(map(str, sort_problems(problems))))
    axes = tuple(_make_grid_axis(key, written) for key in spec.grid)
    _validate_grid_keys(axes)
    base = _read_base_config(written)
    on_top = [*(overrides or {}).items(), *map(parse_setting, settings)]
    for key, value in on_top:
        _require_key_outside_grid(key, axes)
        apply_overrides(base, {key: value}, source_name="--set")
    base.value.pop("name", None)
    return Sweep(spec, base, axes, _sample_trial_numbers(spec, math.prod(len(axis.values) for axis in axes), written))


def _make_grid_axis(key: str, parsed_yaml: ParsedYaml) -> GridAxis:
    """Return one key of the grid with what it may be; each value once."""
    values = parsed_yaml.value["grid"][key]
    path = ("grid", key)
    here = parsed_yaml.key_locations.get(path, SourceLocation("grid"))
    for at, value in enumerate(values):
        if value in values[:at]:
            place = parsed_yaml.value_locations.get((*path, at), here)
            raise ConfigError(
                str(ConfigProblem(place, f"grid.{key}.{at}", "the value is there already; write each once"))
            )
    places: list[list[tuple[KeyPath, SourceLocation]]] = [[] for _ in values]
    for where, place in parsed_yaml.value_locations.items():
        if where[:2] == path and len(where) > 2 and isinstance(where[2], int):
            places[where[2]].append((where[3:], place))
    return GridAxis(key, tuple(values), tuple(map(tuple, places)), here)


def _validate_grid_keys(axes: Sequence[GridAxis]) -> None:
    """Refuse a key that lies within another one: which of them would have the last word?"""
    for axis in axes:
        path = parse_key_path(axis.key)
        for other in axes:
            if other is not axis and path[: len(parse_key_path(other.key))] == parse_key_path(other.key):
                text = f"lies within {other.key}, which the grid varies too; keep one of them"
                raise ConfigError(str(ConfigProblem(axis.key_place, f"grid.{axis.key}", text)))
        if axis.key in ("name", "extends"):
            raise ConfigError(str(ConfigProblem(axis.key_place, f"grid.{axis.key}", "is nothing that can be tried")))


def _require_key_outside_grid(key: str, axes: Sequence[GridAxis]) -> None:
    path = parse_key_path(key)
    for axis in axes:
        other = parse_key_path(axis.key)
        if path[: len(other)] == other or other[: len(path)] == path:
            raise ConfigError(f"--set: {key}: the grid varies {axis.key}; change the sweep's file")


def _read_base_config(parsed_yaml: ParsedYaml) -> ParsedYaml:
    """Return the config that a sweep varies, read from its file or as it stands in the sweep's own."""
    base, place = parsed_yaml.value["base"], parsed_yaml.value_locations.get(("base",), SourceLocation("sweep"))
    if isinstance(base, dict):
        return ParsedYaml(
            base,
            {path[1:]: at for path, at in parsed_yaml.value_locations.items() if path[:1] == ("base",)},
            {path[1:]: at for path, at in parsed_yaml.key_locations.items() if path[:1] == ("base",)},
        )
    if not isinstance(base, (str, Path)):
        raise ConfigError(str(ConfigProblem(place, "base", "needs the path of a config, or a mapping")))
    path = resolve_config_path(base)
    if not path.is_file():
        raise ConfigError(
            str(ConfigProblem(place, "base", f"{path} is no config; name a YAML file, relative to this one"))
        )
    found, problems = parse_config_source(path)
    if problems:
        raise ConfigError("\n".join(map(str, sort_problems(problems))))
    return found


def _sample_trial_numbers(spec: SweepSpec, n_combinations: int, parsed_yaml: ParsedYaml) -> Sequence[int]:
    """Return the numbers of the combinations that are tried, ascending."""
    place = parsed_yaml.value_locations.get(
        ("sample",), parsed_yaml.key_locations.get(("grid",), SourceLocation("sweep"))
    )
    wanted = n_combinations if spec.sample is None else min(spec.sample, n_combinations)
    if wanted > MAX_TRIALS:
        text = (
            f"{wanted:,} combinations; a sweep tries at most {MAX_TRIALS:,}: shorten the grid, or draw some with sample"
        )
        raise ConfigError(str(ConfigProblem(place, "sample" if spec.sample else "grid", text)))
    if wanted == n_combinations:
        return range(n_combinations)
    if n_combinations >= 2**63:
        raise ConfigError(
            str(ConfigProblem(place, "grid", f"{n_combinations:.1e} combinations; 9.2e+18 can be drawn from"))
        )
    drawn = np.random.default_rng(spec.seed).choice(n_combinations, size=wanted, replace=False, shuffle=False)
    return tuple(sorted(drawn.tolist()))


def make_trial_run_config(
    base_config: Mapping[str, Any], trial_values: Mapping[str, Any], last_date: dt.date | None
) -> RunConfig:
    """Return a config that is known to be right, with values by dotted key put in, up to a last date."""
    written = ParsedYaml({**copy_nested(base_config), "name": "trial"})
    apply_overrides(written, trial_values, source_name="grid")
    return with_last_data_date(validate_config(written).run, last_date)


def with_last_data_date(config: RunConfig, last_date: dt.date | None) -> RunConfig:
    """Return a config whose data end at `last` at the latest; as it is where that is None."""
    end = config.data.end
    if last_date is None or (end is not None and end <= last_date):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"end": last_date})})


def grid_value_text(value: Any) -> str:
    """Return a value of the grid in few letters: as it is written, a part by its kind and parameters."""
    if isinstance(value, dict):
        rest = [f"{key}={grid_value_text(item)}" for key, item in value.items() if key != "kind"]
        return " ".join([*([str(value["kind"])] if "kind" in value else []), *rest])
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(grid_value_text, value))
        return inner if len(value) == 1 and isinstance(value[0], (str, dict)) else f"[{inner}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "text", value))
