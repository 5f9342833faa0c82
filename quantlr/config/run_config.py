"""The experiment as one typed value, read from YAML, every error with file:line:column.

`RunConfig` composes the sections; each section's class lives beside the code that obeys it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.metrics import ReportSpec
from quantlr.backtest.overlays import OVERLAYS, Overlay
from quantlr.backtest.policies import POLICIES, Policy, Threshold
from quantlr.config.loader import (
    ConfigProblem,
    KeyPath,
    ParsedYaml,
    SourceLocation,
    apply_overrides,
    dump_yaml,
    parse_key_path,
    parse_setting,
    read_config_file,
)
from quantlr.config.messages import problems_from_validation_error, sort_problems
from quantlr.core.annotations import Unit
from quantlr.core.components import Component, ConfigSection, StrictInt, component_kind, component_union
from quantlr.core.errors import ConfigError, QuantlrError
from quantlr.data.features import AnyFeature, Feature
from quantlr.data.labels import LABELS, Direction, Label
from quantlr.data.prices import DataSpec
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec

if TYPE_CHECKING:
    AnyLabel = Label
    AnyPolicy = Policy
    AnyOverlay = Overlay
else:
    AnyLabel = component_union(LABELS, default_kind="direction")
    AnyPolicy = component_union(POLICIES, default_kind="threshold")
    AnyOverlay = component_union(OVERLAYS)

__all__ = [
    "REPORT_NAME_PATTERN",
    "LoadedConfig",
    "RunConfig",
    "copy_nested",
    "load_config",
    "parse_config_source",
    "parse_setting",
    "validate_config",
]

REPORT_NAME_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$"
"""What a report's folder may be called."""
ReportName = Annotated[str, Field(pattern=REPORT_NAME_PATTERN)]


class RunConfig(ConfigSection):
    """One experiment, complete."""

    name: ReportName = Field(
        description="Name of the report's folder: 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot; the "
        "file's own name where it is left out.",
        examples=["my_run"],
    )
    seed: Annotated[StrictInt, Unit("none (any number will do)"), Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of everything random; the same seed gives the same report."
    )
    data: DataSpec = Field(description="Which prices to use.")
    features: tuple[AnyFeature, ...] = Field(min_length=1, description="What a forecast looks at.")
    label: AnyLabel = Field(Direction(), description="What is forecast.")
    walk_forward: WalkForwardSpec = Field(WalkForwardSpec(), description="How the model walks through time.")
    model: LogisticRegression = Field(LogisticRegression(), description="The classifier and its descent.")
    policy: AnyPolicy = Field(Threshold(), description="From probabilities to positions.")
    overlays: tuple[AnyOverlay, ...] = Field((), description="What is done to the positions, in this order.")
    execution: ExecutionSpec = Field(ExecutionSpec(), description="How decisions become trades.")
    report: ReportSpec = Field(ReportSpec(), description="What the result is measured against.")

    def to_yaml(self) -> str:
        """Return the config with every default written out; running it gives the same bytes."""
        return dump_yaml(_to_yaml_types(self.model_dump()))


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A config and the places where its keys were written."""

    run: RunConfig
    locations: dict[KeyPath, SourceLocation]

    def with_location(self, error: QuantlrError) -> QuantlrError:
        """Return an error of a layer with the place of its key in front; the section's, where the key is a default."""
        if error.key is None:
            return error
        path = parse_key_path(error.key)
        while path and path not in self.locations:
            path = path[:-1]
        place = self.locations.get(path)
        return error.with_location(str(place)) if place else error

    @contextmanager
    def add_location_to_errors(self) -> Iterator[None]:
        """Give errors that layers raise meanwhile the place of their key."""
        try:
            yield
        except QuantlrError as error:
            raise self.with_location(error) from error


def load_config(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    name: str | None = None,
    features: Sequence[Feature] = (),
) -> LoadedConfig:
    """Return the config in a YAML file or a mapping.

    Parameters
    ----------
    source : path of a YAML file, or the mapping that it would hold.
    overrides : values by dotted key, set on top.
    settings : the same as text, ``key=value``, the value in YAML.
    name : name of the report, instead of the config's.
    features : objects that are added to the config's features, but for those it lists already; their kinds are known
        to the config.

    Raises
    ------
    ConfigError : with every problem, one line each.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ConfigError(f"overrides are a mapping of dotted keys to values, found {type(overrides).__name__}")
    written, problems = parse_config_source(source)
    apply_overrides(written, overrides or {}, source_name="overrides")
    apply_overrides(written, [parse_setting(setting) for setting in settings], source_name="--set")
    if name is not None:
        apply_overrides(written, {"name": name}, source_name="--name")
    stem, place = ("run", "config") if isinstance(source, Mapping) else (Path(source).stem, f"{source} (its own name)")
    written.value.setdefault("name", stem)
    written.value_locations.setdefault(("name",), SourceLocation(place))
    return validate_config(written, problems, features=features)


def parse_config_source(source: str | Path | Mapping[str, Any]) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return the config in a YAML file or a mapping as it is written, and what is wrong with it but can be read.

    Raises
    ------
    ConfigError : it can't be read as a mapping.
    """
    if not isinstance(source, (str, Path, Mapping)):
        raise ConfigError(f"a config is a path or a mapping, found {type(source).__name__}")
    if isinstance(source, Mapping):
        return ParsedYaml(copy_nested(source)), []
    kinds = {
        key: field.default.kind for key, field in RunConfig.model_fields.items() if isinstance(field.default, Component)
    }
    return read_config_file(Path(source), default_kinds=kinds)


def validate_config(
    parsed_yaml: ParsedYaml, problems: Sequence[ConfigProblem] = (), *, features: Sequence[Feature] = ()
) -> LoadedConfig:
    """Return what is written as a config.

    Raises
    ------
    ConfigError : with every problem, those that are known already included.
    """
    found = list(problems)
    try:
        brought = _add_feature_objects(parsed_yaml, features)
        config = LoadedConfig(
            RunConfig.model_validate(parsed_yaml.value, context={Feature.entry_point_group: brought}), parsed_yaml.value_locations
        )
    except ValidationError as error:
        found += problems_from_validation_error(error, parsed_yaml, RunConfig)
    if found:
        raise ConfigError("\n".join(map(str, sort_problems(found))))
    return config


def _add_feature_objects(parsed_yaml: ParsedYaml, features: Sequence[Feature]) -> dict[str, type[Feature]]:
    """Add features to those that a config lists, in place, and return their classes by kind.

    A feature that is listed already, as it is in the resolved config of a run that was given the same object, is not
    added again.
    """
    for feature in features:
        if not isinstance(feature, Feature):
            raise ConfigError(f"features are objects of a class derived from Feature, found {feature!r}")
    brought = {component_kind(type(feature)): type(feature) for feature in features}
    listed = parsed_yaml.value.get("features", []) if isinstance(parsed_yaml.value, dict) else None
    if not isinstance(listed, list):
        return brought
    there = [_feature_from_entry(entry, brought) for entry in listed]
    added = [feature for feature in features if feature not in there]
    if added:
        parsed_yaml.value["features"] = [*listed, *added]
    return brought


def _feature_from_entry(entry: Any, feature_classes: Mapping[str, type[Feature]]) -> Feature | None:
    """Return the feature that a mapping of one of these kinds describes, None where it describes none."""
    part = feature_classes.get(str(entry.get("kind"))) if isinstance(entry, dict) else None
    try:
        return part.model_validate(entry) if part else None
    except ValidationError:
        return None  # told with its place when the whole config is read


def copy_nested(value: Any) -> Any:
    """Return nested values in mappings and lists of their own."""
    if isinstance(value, Mapping):
        return {str(key): copy_nested(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copy_nested(item) for item in value]
    return value


def _to_yaml_types(value: Any) -> Any:
    """Return nested values as YAML has them."""
    if isinstance(value, Mapping):
        return {key: _to_yaml_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_yaml_types(item) for item in value]
    return value.as_posix() if isinstance(value, Path) else value
