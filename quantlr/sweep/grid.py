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

from quantlr.config import Config, Name, RunConfig, checked, copied, parse_setting, written_config
from quantlr.config.problems import in_order, problems_of
from quantlr.config.resolve import override, parse_key
from quantlr.config.written import Path_, Place, Problem, Written
from quantlr.data.universe import Date
from quantlr.errors import ConfigError
from quantlr.types import Number, Spec, Whole, beside_the_config

MOST = 1_000_000
"""Trials of one sweep: what every one of them leaves behind has to be held at once in the end."""
MOST_PROBLEMS = 20
"""Problems of combinations that are told at a time."""
Share = Annotated[Number, Field(ge=0.0, lt=1.0)]


class SweepSpec(Spec):
    """One sweep, as its file has it."""

    name: Name = Field(description="Name of the report's folder.")
    base: Any = Field(description="The config that is varied: a path relative to the sweep's file, or a mapping.")
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        min_length=1, description="Values to try, by dotted key of the config."
    )
    sample: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="Combinations to draw from the grid; null tries them all."
    )
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = Field(0, description="Seed of the sample and of the statistics.")
    untouched: Share | Date = Field(
        0.2, description="Newest sessions that no trial sees: a share of them, or their first date; 0 for none."
    )


@dataclass(frozen=True, slots=True)
class Axis:
    """One key of a grid.

    Attributes
    ----------
    key : dotted, as in ``--set``.
    choices : its values, as they are written.
    places : of each value, by the path below the key, where it was written.
    written : where the key was.
    """

    key: str
    choices: tuple[Any, ...]
    places: tuple[tuple[tuple[Path_, Place], ...], ...]
    written: Place


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
    base: Written
    axes: tuple[Axis, ...]
    chosen: Sequence[int]

    @property
    def combinations(self) -> int:
        """How many the grid has."""
        return math.prod(len(axis.choices) for axis in self.axes)

    def indices(self, number: int) -> tuple[int, ...]:
        """Return which value of each key a combination has."""
        found = []
        for axis in reversed(self.axes):
            number, at = divmod(number, len(axis.choices))
            found.append(at)
        return tuple(reversed(found))

    def values_of(self, number: int) -> dict[str, Any]:
        """Return a combination's values by key."""
        return {axis.key: axis.choices[at] for axis, at in zip(self.axes, self.indices(number), strict=True)}

    def config(self, number: int) -> Config:
        """Return a combination as a config.

        Raises
        ------
        ConfigError : with every problem.
        """
        written = Written(copied(self.base.value), dict(self.base.places), dict(self.base.keys))
        for axis, at in zip(self.axes, self.indices(number), strict=True):
            override(written, {axis.key: axis.choices[at]}, source=str(axis.written))
            path = parse_key(axis.key)
            written.keys[path] = axis.written
            written.places.update((path + below, place) for below, place in axis.places[at])
        written.value["name"] = f"{self.spec.name:.60}.{number}"
        return checked(written)

    def configs(self) -> Iterator[tuple[int, Config]]:
        """Yield every combination that is tried, with its number.

        Raises
        ------
        ConfigError : at the end, with the problems of all combinations, each told once.
        """
        problems: dict[str, None] = {}
        for number in self.chosen:
            try:
                yield number, self.config(number)
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
            if len(problems) >= MOST_PROBLEMS:
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
    written, problems = written_config(source)
    written.value.setdefault("name", "sweep" if isinstance(source, Mapping) else Path(source).stem)
    try:
        spec = SweepSpec.model_validate(written.value)
    except ValidationError as error:
        problems += problems_of(error, written, SweepSpec)
    if problems:
        raise ConfigError("\n".join(map(str, in_order(problems))))
    axes = tuple(_axis(key, written) for key in spec.grid)
    _refuse_overlaps(axes)
    base = _base(written)
    on_top = [*(overrides or {}).items(), *map(parse_setting, settings)]
    for key, value in on_top:
        _refuse_swept(key, axes)
        override(base, {key: value}, source="--set")
    base.value.pop("name", None)
    return Sweep(spec, base, axes, _chosen(spec, math.prod(len(axis.choices) for axis in axes), written))


def _axis(key: str, written: Written) -> Axis:
    """Return one key of the grid with what it may be; each value once."""
    values = written.value["grid"][key]
    path = ("grid", key)
    here = written.keys.get(path, Place("grid"))
    for at, value in enumerate(values):
        if value in values[:at]:
            place = written.places.get((*path, at), here)
            raise ConfigError(str(Problem(place, f"grid.{key}.{at}", "the value is there already; write each once")))
    places: list[list[tuple[Path_, Place]]] = [[] for _ in values]
    for where, place in written.places.items():
        if where[:2] == path and len(where) > 2 and isinstance(where[2], int):
            places[where[2]].append((where[3:], place))
    return Axis(key, tuple(values), tuple(map(tuple, places)), here)


def _refuse_overlaps(axes: Sequence[Axis]) -> None:
    """Refuse a key that lies within another one: which of them would have the last word?"""
    for axis in axes:
        path = parse_key(axis.key)
        for other in axes:
            if other is not axis and path[: len(parse_key(other.key))] == parse_key(other.key):
                text = f"lies within {other.key}, which the grid varies too; keep one of them"
                raise ConfigError(str(Problem(axis.written, f"grid.{axis.key}", text)))
        if axis.key in ("name", "extends"):
            raise ConfigError(str(Problem(axis.written, f"grid.{axis.key}", "is nothing that can be tried")))


def _refuse_swept(key: str, axes: Sequence[Axis]) -> None:
    path = parse_key(key)
    for axis in axes:
        other = parse_key(axis.key)
        if path[: len(other)] == other or other[: len(path)] == path:
            raise ConfigError(f"--set: {key}: the grid varies {axis.key}; change the sweep's file")


def _base(written: Written) -> Written:
    """Return the config that a sweep varies, read from its file or as it stands in the sweep's own."""
    base, place = written.value["base"], written.places.get(("base",), Place("sweep"))
    if isinstance(base, dict):
        return Written(
            base,
            {path[1:]: at for path, at in written.places.items() if path[:1] == ("base",)},
            {path[1:]: at for path, at in written.keys.items() if path[:1] == ("base",)},
        )
    if not isinstance(base, (str, Path)):
        raise ConfigError(str(Problem(place, "base", "needs the path of a config, or a mapping")))
    path = beside_the_config(base)
    if not path.is_file():
        raise ConfigError(str(Problem(place, "base", f"{path} is no config; name a YAML file, relative to this one")))
    found, problems = written_config(path)
    if problems:
        raise ConfigError("\n".join(map(str, in_order(problems))))
    return found


def _chosen(spec: SweepSpec, combinations: int, written: Written) -> Sequence[int]:
    """Return the numbers of the combinations that are tried, ascending."""
    place = written.places.get(("sample",), written.keys.get(("grid",), Place("sweep")))
    wanted = combinations if spec.sample is None else min(spec.sample, combinations)
    if wanted > MOST:
        text = f"{wanted:,} combinations; a sweep tries at most {MOST:,}: shorten the grid, or draw some with sample"
        raise ConfigError(str(Problem(place, "sample" if spec.sample else "grid", text)))
    if wanted == combinations:
        return range(combinations)
    if combinations >= 2**63:
        raise ConfigError(str(Problem(place, "grid", f"{combinations:.1e} combinations; 9.2e+18 can be drawn from")))
    drawn = np.random.default_rng(spec.seed).choice(combinations, size=wanted, replace=False, shuffle=False)
    return tuple(sorted(drawn.tolist()))


def varied(base: Mapping[str, Any], values: Mapping[str, Any], last: dt.date | None) -> RunConfig:
    """Return a config that is known to be right, with values by dotted key put in, up to a last date."""
    written = Written({**copied(base), "name": "trial"})
    override(written, values, source="grid")
    return until(checked(written).run, last)


def until(config: RunConfig, last: dt.date | None) -> RunConfig:
    """Return a config whose data end at `last` at the latest; as it is where that is None."""
    end = config.data.end
    if last is None or (end is not None and end <= last):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"end": last})})


def label(value: Any) -> str:
    """Return a value of the grid in few letters: as it is written, a part by its kind and parameters."""
    if isinstance(value, dict):
        rest = [f"{key}={label(item)}" for key, item in value.items() if key != "kind"]
        return " ".join([*([str(value["kind"])] if "kind" in value else []), *rest])
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(label, value))
        return inner if len(value) == 1 and isinstance(value[0], (str, dict)) else f"[{inner}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "text", value))
