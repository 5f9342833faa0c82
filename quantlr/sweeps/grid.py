"""The settings that a sweep tries: a base config, and a grid of values for some of its keys, read from YAML.

Combinations are counted by arithmetic and numbered from 0, the last key varying fastest. Each is built only when it is
needed, so that a grid of a thousand million combinations can be declared and sampled at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
from pydantic import Field, StrictFloat, StrictInt, ValidationError

from quantlr.config.grid import (
    GridAxis,
    axis_value_indices,
    is_same_or_subkey,
    make_combination,
    n_combinations,
    overlapping_key_problems,
    read_grid_axes,
    values_by_key,
)
from quantlr.config.loader import apply_overrides, parse_setting, require_file_kind
from quantlr.config.messages import problems_from_validation_error, sort_problems_by_line
from quantlr.config.run_config import (
    LoadedConfig,
    ReportName,
    overrides_from_data,
    read_unvalidated_config,
    validate_config,
)
from quantlr.config.yaml_tree import ConfigProblem, ParsedYaml, SourceLocation
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.components import Component, ConfigSection, IsoDate, resolve_config_path
from quantlr.core.errors import ConfigError
from quantlr.data.features import Feature

MAX_TRIALS = 1_000_000
"""Trials of one sweep: the metrics of all of them are in memory together at the end."""
MAX_COMBINATIONS_SAMPLED = 2**63
MAX_REPORTED_PROBLEMS = 20
"""Problems of combinations after which no further combination is validated."""
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
HoldoutFraction = Annotated[StrictFloat, Field(ge=0.0, lt=1.0)]


class SweepSpec(ConfigSection):
    """Contents of a sweep's YAML file."""

    name: ReportName = Field(description="Name of the report's folder.")
    base: Any = Field(description="The config that is varied: a path relative to the sweep's file, or a mapping.")
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        min_length=1, description="Values to try, by dotted key of the config."
    )
    sample: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="Combinations to draw from the grid; null tries them all."
    )
    seed: Seed = Field(0, description="Seed of the sample and of the statistics.")
    holdout: HoldoutFraction | IsoDate = Field(
        0.2,
        description="Hold-out: newest sessions that no trial uses, as a fraction or by their first date; 0 for none.",
    )


@dataclass(frozen=True, slots=True)
class Sweep:
    """A base config, a grid over some of its keys, and the combinations to try.

    Attributes
    ----------
    spec : contents of the sweep's file.
    base_config : the config that is varied, as it is written.
    axes : keys of the grid with their values.
    trial_numbers : numbers of the combinations to try, ascending.
    last_date : date at which the data of every combination end at the latest; None for no limit.
    features : feature objects that are added to every combination.
    session_token : differs between two sweeps, to tell apart the code of classes that have no file.
    """

    spec: SweepSpec
    base_config: ParsedYaml
    axes: tuple[GridAxis, ...]
    trial_numbers: Sequence[int]
    last_date: dt.date | None = None
    features: tuple[Feature, ...] = ()
    session_token: str = field(default_factory=lambda: uuid4().hex)

    def iter_user_defined_components(self) -> Iterator[Component]:
        """Yield the components in base config, grid and features that are objects of classes outside quantlr."""
        values = [axis.values for axis in self.axes]
        return iter_user_defined_components([self.base_config.value, values, self.features])

    @property
    def n_combinations(self) -> int:
        """Number of combinations in the grid."""
        return n_combinations(self.axes)

    def axis_value_indices(self, trial_number: int) -> tuple[int, ...]:
        """Return the index of each key's value in a combination."""
        return axis_value_indices(self.axes, trial_number)

    def trial_values_by_key(self, trial_number: int) -> dict[str, Any]:
        """Return a combination's values by key."""
        return values_by_key(self.axes, trial_number)

    def trial_config(self, trial_number: int) -> LoadedConfig:
        """Return a combination as a config, with data that end at `last_date`.

        Raises
        ------
        ConfigError : with every problem.
        """
        parsed, problems = make_combination(self.base_config, self.axes, trial_number)
        parsed.value["name"] = f"{self.spec.name:.60}.{trial_number}"
        try:
            config = validate_config(parsed, features=self.features)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError("\n".join(problems))
        data, last_date = config.run.data, self.last_date
        if last_date is None or (data.end is not None and data.end <= last_date):
            return config
        data = data.model_copy(update={"end": last_date})
        return replace(config, run=config.run.model_copy(update={"data": data}))

    def iter_trial_configs(self) -> Iterator[tuple[int, LoadedConfig]]:
        """Yield every combination to try as a config, with its number.

        Raises
        ------
        ConfigError : after the last one, with the problems of all combinations, each reported once.
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
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    name: str | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
) -> Sweep:
    """Load a sweep from a YAML file or a mapping.

    Parameters
    ----------
    config : path of a YAML file, or the mapping that it would contain.
    overrides : values by dotted key that replace those of the config under ``base``.
    settings : the same as text, ``key=value``, the value in YAML.
    name : name of the report, instead of the config's.
    features : feature objects, added to the config's unless it lists them already.
    data : prices to use instead of the config's source, as in `quantlr.load_config`.

    Raises
    ------
    ConfigError : with every problem of the file, its base config and the values of its grid, one line each. The
        combinations of a file without such problems are validated by `Sweep.iter_trial_configs`.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ConfigError(f"overrides are a mapping of dotted keys to values, found {type(overrides).__name__}")
    parsed, problems = read_unvalidated_config(config)
    require_file_kind(parsed, config, verb="sweep")
    if name is not None:
        apply_overrides(parsed, {"name": name}, source_name="--name")
    parsed.value.setdefault("name", Path(config).stem if isinstance(config, (str, Path)) else "sweep")
    try:
        spec = SweepSpec.model_validate(parsed.value)
    except ValidationError as error:
        problems += problems_from_validation_error(error, parsed, SweepSpec)
        spec = SweepSpec.model_construct(name="sweep", base=None, grid={})
    axes, axis_problems = read_grid_axes(parsed, ("grid",))
    fixed_keys = [axis for axis in axes if axis.key in ("name", "extends")]
    problems += [
        *axis_problems,
        *(
            ConfigProblem(axis.key_place, f"grid.{axis.key}", "can't be varied by a grid; remove it")
            for axis in fixed_keys
        ),
        *overlapping_key_problems(axes, ("grid",)),
    ]
    base, lines = ParsedYaml({}), list(map(str, sort_problems_by_line(problems)))
    try:
        base = _read_base_config(parsed)
        _override_base(base, axes, [*(overrides or {}).items(), *map(parse_setting, settings)], source_name="--set")
        if data is not None:
            values = overrides_from_data(base, data)
            if any(axis.key == "data.tickers" for axis in axes):
                values.pop("data.tickers", None)
            _override_base(base, axes, values.items(), source_name="data=")
    except ConfigError as error:
        lines += error.problems
    base.value.pop("name", None)
    sweep = Sweep(spec, base, axes, (), features=tuple(features))
    if not lines:
        return replace(sweep, trial_numbers=_sample_trial_numbers(sweep, parsed))
    if axes and base.value:
        lines += _grid_value_problem_texts(sweep)
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def _read_base_config(parsed: ParsedYaml) -> ParsedYaml:
    """Return the base config, from its own file or the sweep's; an empty one where the sweep's file has no such key.

    Raises
    ------
    ConfigError : there is no such file, or it can't be read.
    """
    base, place = parsed.value.get("base", {}), parsed.value_locations.get(("base",), SourceLocation("sweep"))
    if isinstance(base, dict):
        value_locations, key_locations = (
            {path[1:]: location for path, location in locations.items() if path[:1] == ("base",)}
            for locations in (parsed.value_locations, parsed.key_locations)
        )
        return ParsedYaml(base, value_locations, key_locations)
    if not isinstance(base, (str, Path)):
        raise ConfigError(str(ConfigProblem(place, "base", "needs the path of a config, or a mapping")))
    path = resolve_config_path(base)
    if not path.is_file():
        text = f"{path} is no config; name a YAML file, relative to this one"
        raise ConfigError(str(ConfigProblem(place, "base", text)))
    config, problems = read_unvalidated_config(path)
    if problems:
        raise ConfigError("\n".join(map(str, sort_problems_by_line(problems))))
    return config


def _override_base(
    base: ParsedYaml, axes: Sequence[GridAxis], values: Iterable[tuple[str, Any]], *, source_name: str
) -> None:
    """Replace values of a base config, by dotted key.

    Raises
    ------
    ConfigError : the grid varies such a key, or a part of it.
    """
    for key, value in values:
        for axis in axes:
            if is_same_or_subkey(key, axis.key) or is_same_or_subkey(axis.key, key):
                raise ConfigError(f"{source_name}: {key}: the grid varies {axis.key}; change the sweep's file")
        apply_overrides(base, {key: value}, source_name=source_name)


def _grid_value_problem_texts(sweep: Sweep) -> tuple[str, ...]:
    """Return the problems of every value of the grid, each combined with the first value of the other keys."""
    stride, numbers = sweep.n_combinations, {0}
    for axis in sweep.axes:
        stride //= len(axis.values)
        numbers |= {stride * index for index in range(len(axis.values))}
    try:
        for _ in replace(sweep, trial_numbers=sorted(numbers)).iter_trial_configs():
            pass
    except ConfigError as error:
        return error.problems
    return ()


def _sample_trial_numbers(sweep: Sweep, parsed: ParsedYaml) -> Sequence[int]:
    """Return the numbers of the combinations to try, ascending."""
    sample, n_all = sweep.spec.sample, sweep.n_combinations
    n_trials = n_all if sample is None else min(sample, n_all)
    if n_trials == n_all <= MAX_TRIALS:
        return range(n_all)
    if n_trials <= MAX_TRIALS and n_all < MAX_COMBINATIONS_SAMPLED:
        rng = np.random.default_rng(sweep.spec.seed)
        return tuple(sorted(rng.choice(n_all, size=n_trials, replace=False, shuffle=False).tolist()))
    place = parsed.value_locations.get(("sample",)) or parsed.key_locations.get(("grid",), SourceLocation("sweep"))
    key, text = "grid", f"{n_all:.1e} combinations; a sample can be drawn from at most 9.2e+18"
    if n_trials > MAX_TRIALS:
        key = "sample" if sample else "grid"
        text = f"{n_trials:,} combinations; a sweep tries at most {MAX_TRIALS:,}: shorten the grid, or set sample"
    raise ConfigError(str(ConfigProblem(place, key, text)))
