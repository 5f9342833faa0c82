"""The config of a run: its sections as one pydantic model, read from YAML with file:line:column in every error.

The class of each section is defined beside the code that uses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, StrictInt, ValidationError, ValidationInfo, field_validator

from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.overlays import OVERLAYS, BetaNeutral, Overlay
from quantlr.backtest.policies import POLICIES, Policy, Threshold
from quantlr.backtest.report_spec import ReportSpec
from quantlr.config.candidates import Candidate, iter_candidates
from quantlr.config.loader import (
    apply_overrides,
    copy_nested,
    parse_and_merge_config_files,
    parse_setting,
    require_file_kind,
)
from quantlr.config.messages import problems_from_validation_error, sort_problems_by_line
from quantlr.config.yaml_tree import (
    ConfigProblem,
    KeyPath,
    ParsedYaml,
    SourceLocation,
    dump_yaml,
    nearest_location,
    parse_key_path,
)
from quantlr.core.component_errors import is_user_defined, name_component_in_errors
from quantlr.core.components import Component, ConfigSection, Unit, component_kind, component_union, require_kind
from quantlr.core.errors import ConfigError, QuantlrError
from quantlr.core.known_series import FileColumn
from quantlr.core.text import path_for_sharing
from quantlr.data.features import AnyFeature, Feature
from quantlr.data.labels import LABELS, Direction, Label
from quantlr.data.prices import DataSpec
from quantlr.data.sources import FrameSource
from quantlr.model.base import Model
from quantlr.model.config import AnyModel, LogisticRegression
from quantlr.model.selection import AUTO_L2_VALUES, SelectSpec
from quantlr.model.sklearn_classifier import SklearnClassifier
from quantlr.model.splits import WalkForwardSpec

if TYPE_CHECKING:
    AnyLabel = Label
    AnyPolicy = Policy
    AnyOverlay = Overlay
else:
    AnyLabel = component_union(LABELS, default_kind="direction", base_class=Label)
    AnyPolicy = component_union(POLICIES, default_kind="threshold", base_class=Policy)
    AnyOverlay = component_union(OVERLAYS, base_class=Overlay)

REPORT_NAME_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$"
"""Valid names of report folders."""
ReportName = Annotated[str, Field(pattern=REPORT_NAME_PATTERN)]


class RunConfig(ConfigSection):
    """The complete config of one run."""

    name: ReportName = Field(
        description="Name of the report's folder: 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot; the "
        "file's own name where it is left out.",
        examples=["my_run"],
    )
    seed: Annotated[StrictInt, Unit("none (any number will do)"), Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of everything random; the same seed gives the same report."
    )
    data: DataSpec = Field(description="Which prices to use.")
    features: tuple[AnyFeature, ...] = Field(min_length=1, description="Inputs of the model.")
    label: AnyLabel = Field(Direction(), description="Target of the forecasts.")
    walk_forward: WalkForwardSpec = Field(
        WalkForwardSpec(), description="Training windows and refits of the walk-forward."
    )
    model: AnyModel = Field(LogisticRegression(), description="The classifier and its solver.")
    select: SelectSpec | None = Field(
        None,
        description="Choice among candidates inside the walk-forward; null: features, model and windows are fixed.",
        examples=[{"over": {"model.l2": [0.01, 0.1, 1.0]}, "how": "mixture"}],
    )
    policy: AnyPolicy = Field(Threshold(), description="Rule that turns probabilities into positions.")
    overlays: tuple[AnyOverlay, ...] = Field((), description="Adjustments of the positions, applied in this order.")
    execution: ExecutionSpec = Field(ExecutionSpec(), description="Fills and trading costs.")
    report: ReportSpec = Field(ReportSpec(), description="Benchmark and contents of the report.")

    @field_validator("features")
    @classmethod
    def _validate_volume_levels_of_one_ticker(
        cls, features: tuple[Feature, ...], info: ValidationInfo
    ) -> tuple[Feature, ...]:
        n_tickers = len(info.data["data"].tickers) if "data" in info.data else 1
        for feature in features if n_tickers > 1 else ():
            if feature.has_volume_level:
                text = "uses the level of volume, in which tickers differ by their later splits"
                raise ValueError(f"{feature.kind} {text}: take a ratio, as relative_volume, or a single ticker")
        return features

    @field_validator("model")
    @classmethod
    def _seed_classifier(cls, model: Model, info: ValidationInfo) -> Model:
        """Give a classifier of scikit-learn without a random state the config's seed."""
        if isinstance(model, SklearnClassifier) and model.random_state is None:
            return model.model_copy(update={"random_state": info.data.get("seed", 0) % 2**32})
        return model

    @field_validator("policy")
    @classmethod
    def _validate_policy_has_enough_tickers(cls, policy: Policy, info: ValidationInfo) -> Policy:
        n_tickers = len(info.data["data"].tickers) if "data" in info.data else policy.min_tickers
        if n_tickers < policy.min_tickers:
            needed = f"needs at least {policy.min_tickers} tickers, to hold that many"
            raise ValueError(f"{needed}, and data.tickers has {n_tickers}: add tickers, or hold fewer")
        return policy

    @property
    def label_delay(self) -> int:
        """Sessions from a decision to the price at which its label starts: to the fill, if the label is of fills."""
        return self.execution.fill_delay_sessions if self.label.of == "fill" else 0

    @field_validator("overlays")
    @classmethod
    def _validate_beta_neutral(cls, overlays: tuple[Overlay, ...], info: ValidationInfo) -> tuple[Overlay, ...]:
        """Require that the overlay is there at most once, and that the policy takes both sides."""
        n_neutral, policy = sum(isinstance(overlay, BetaNeutral) for overlay in overlays), info.data.get("policy")
        if n_neutral > 1:
            raise ValueError("beta_neutral is there twice; keep one")
        if n_neutral and policy is not None and not policy.may_be_short:
            text = "beta_neutral offsets long positions by short ones, and the policy takes none"
            raise ValueError(f"{text}; let it go short, or leave beta_neutral out")
        return overlays

    @field_validator("select")
    @classmethod
    def _validate_has_refits(cls, select: SelectSpec | None, info: ValidationInfo) -> SelectSpec | None:
        walk_forward = info.data.get("walk_forward")
        if select and select.how != "mixture" and walk_forward and walk_forward.refit_every == "never":
            text = f"{select.how} chooses at refits, and walk_forward.refit_every is never"
            raise ValueError(f"{text}: write how: mixture, or a number of rows")
        return select

    @property
    def selection(self) -> SelectSpec | None:
        """The choice among candidates, with the penalties of `model.l2: auto`; None where nothing is chosen."""
        spec, over = self.select, dict(self.select.over) if self.select else {}
        if getattr(self.model, "l2", None) == "auto" and not {"model", "model.kind", "model.l2"} & over.keys():
            over["model.l2"] = AUTO_L2_VALUES
        return (spec or SelectSpec()).model_copy(update={"over": over}) if spec or over else None

    def candidates(self) -> tuple[Candidate, ...]:
        """Return what the walk-forward chooses among, in the order of the grid; () where nothing is chosen."""
        if self.selection is None:
            return ()
        found = iter_candidates(self, _dump_keeping_user_defined(self), ParsedYaml({}))
        return tuple(candidate for candidate, _ in found if candidate)

    @property
    def file_columns(self) -> tuple[FileColumn, ...]:
        """The columns of the tickers' files that features need, those of all candidates, each once."""
        chooses_features = any(key.startswith("features") for key in (self.select.over if self.select else ()))
        configs = [self, *(candidate.config for candidate in (self.candidates() if chooses_features else ()))]
        features = (feature for config in configs for feature in config.features)
        return tuple(dict.fromkeys(column for feature in features for column in feature.file_columns))

    def results_sha256(self) -> str:
        """Return the digest of all that results depend on: the config without its name and the contents of its report.

        Cosmetic differences of the file, as comments and defaults that are written out, do not change it. Nor does
        `label.of` where the fill is at the decision's own close: labels of fills and of closes are the same there.
        """
        values = self.model_dump(mode="json", exclude={"name", "report"})
        if not self.label_delay:
            values["label"].pop("of")
        if not values["data"]["series"]:
            values["data"].pop("series")
        if values["select"] is None:
            values.pop("select")  # as before there was one
        else:
            values["select"]["over"] = list(values["select"]["over"].items())  # their order decides ties
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_yaml(self, *, folder: Path | None = None) -> str:
        """Return the config as YAML with every default; running it gives an identical report.

        Parameters
        ----------
        folder : where the text will be written; paths in it are relative to that folder, and name no home folder.
            Without it they are absolute.
        """
        values = self.model_dump()
        return dump_yaml(copy_nested(values if folder is None else _with_paths_for_sharing(values, folder)))


def _with_paths_for_sharing(value: Any, folder: Path) -> Any:
    """Return nested values of a config with every path as a file in `folder` may name it."""
    if isinstance(value, dict):
        return {key: _with_paths_for_sharing(item, folder) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_with_paths_for_sharing(item, folder) for item in value)
    return path_for_sharing(value, base_folder=folder) if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A validated config, and where its values are from.

    Attributes
    ----------
    run : the config.
    locations : of its keys, in files or arguments.
    features : feature objects that were added to it.
    """

    run: RunConfig
    locations: dict[KeyPath, SourceLocation]
    features: tuple[Feature, ...] = ()

    def error_with_location(self, error: QuantlrError) -> QuantlrError:
        """Return an error with the location of its key in front; that of the section if the key is a default."""
        if error.key is None:
            return error
        location = nearest_location(self.locations, parse_key_path(error.key))
        return error.with_location(str(location)) if location else error

    @contextmanager
    def add_location_to_errors(self) -> Iterator[None]:
        """Add the location of its key to an error raised in the block."""
        try:
            yield
        except QuantlrError as error:
            located = self.error_with_location(error)
            if located is error:
                raise
            raise located from error.__cause__ or error


@dataclass(frozen=True, slots=True)
class EditedConfig:
    """A config file with another text than it has.

    Attributes
    ----------
    path : the file, to whose folder relative paths refer.
    text : read instead of its own.
    """

    path: Path
    text: str


ConfigSource = str | Path | Mapping[str, Any] | RunConfig | LoadedConfig | EditedConfig
"""What a config can be given as."""


def load_config(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    name: str | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
) -> LoadedConfig:
    """Return the validated config of a run, with every default.

    Parameters
    ----------
    config : path of a YAML file, or the mapping that it would contain; or a config that is loaded already.
    overrides : values by dotted key that replace those of the config: ``{"policy.long_above": 0.52}``.
    settings : the same as text, ``key=value``, the value in YAML.
    name : name of the report, instead of the config's.
    features : feature objects of your own, added to the config's unless it lists them already; the config may also
        use their kinds.
    data : prices to use instead of the config's source: a DataFrame as yfinance returns it, one row per bar, or one
        column of closes per ticker, of pandas, polars or any library that Arrow reads. All its tickers are used unless
        the config names tickers.

    Returns
    -------
    loaded config : `run` has its values, ``run.model.l2``; `quantlr.run` and the others take it as a config.

    Raises
    ------
    ConfigError : for all problems together, one line each.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.load_config("configs/sp500_daily.yaml").run.data.tickers  # doctest: +SKIP
    """
    if isinstance(config, LoadedConfig) and data is None and not (overrides or settings or name or features):
        return config
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ConfigError(f"overrides are a mapping of dotted keys to values, found {type(overrides).__name__}")
    parsed, problems = read_unvalidated_config(config)
    require_file_kind(parsed, config, verb="run")
    apply_overrides(parsed, overrides or {}, source_name="overrides")
    apply_overrides(parsed, [parse_setting(setting) for setting in settings], source_name="--set")
    if name is not None:
        apply_overrides(parsed, {"name": name}, source_name="--name")
    if data is not None:
        apply_overrides(parsed, overrides_from_data(parsed, data), source_name="data=")
    stem, place = "run", "config"
    path = config.path if isinstance(config, EditedConfig) else config
    if isinstance(path, (str, Path)):
        stem, place = Path(path).stem, f"{path} (its own name)"
    parsed.value.setdefault("name", stem)
    parsed.value_locations.setdefault(("name",), SourceLocation(place))
    known = config.features if isinstance(config, LoadedConfig) else ()
    return validate_config(parsed, problems, features=(*known, *features))


def overrides_from_data(parsed: ParsedYaml, data: Any) -> dict[str, Any]:
    """Return the keys that prices passed by a program replace.

    Raises
    ------
    ConfigError : the config was written by a run on other prices that were passed so.
    """
    source, section = FrameSource.from_data(data), parsed.value.get("data")
    section = section if isinstance(section, Mapping) else {}
    former = section.get("source")
    former = former if isinstance(former, Mapping) else {}
    if former.get("kind") == source.kind and former.get("sha256") not in (None, source.sha256):
        reason = f"data.source.sha256: data= has the digest {source.sha256}, and the config was run on others"
        raise ConfigError(f"{reason}, {former['sha256']}; remove data.source from it to use these")
    names_tickers = section.get("tickers") or section.get("tickers_file")
    return {"data.source": source} | ({} if names_tickers else {"data.tickers": "all"})


def read_unvalidated_config(config: ConfigSource) -> tuple[ParsedYaml, list[ConfigProblem]]:
    """Return the unvalidated config in a YAML file, a mapping or a loaded config, and the problems met in reading it.

    Raises
    ------
    ConfigError : the config can't be read as a mapping.
    """
    if isinstance(config, RunConfig):
        return ParsedYaml(copy_nested(_dump_keeping_user_defined(config))), []
    if isinstance(config, LoadedConfig):
        parsed, problems = read_unvalidated_config(config.run)
        parsed.value_locations |= config.locations
        return parsed, problems
    if isinstance(config, Mapping):
        return ParsedYaml(copy_nested(config)), []
    if not isinstance(config, (str, Path, EditedConfig)):
        raise ConfigError(f"a config is a path, a mapping or a loaded config, found {type(config).__name__}")
    defaults = {key: field.default for key, field in RunConfig.model_fields.items()}
    kinds = {key: default.kind for key, default in defaults.items() if isinstance(default, Component)}
    if isinstance(config, EditedConfig):
        return parse_and_merge_config_files(config.path, default_kinds=kinds, text=config.text)
    return parse_and_merge_config_files(Path(config), default_kinds=kinds)


def _dump_keeping_user_defined(value: Any) -> Any:
    """Return a section as a mapping, with components that are not part of quantlr, or hold prices, as objects."""
    if isinstance(value, BaseModel) and not is_user_defined(type(value)) and not isinstance(value, FrameSource):
        fields = type(value).model_fields
        return {
            key: _dump_keeping_user_defined(item) for key, item in value if key not in fields or not fields[key].exclude
        }
    return [_dump_keeping_user_defined(item) for item in value] if isinstance(value, tuple) else value


def validate_config(
    parsed_yaml: ParsedYaml, problems: Sequence[ConfigProblem] = (), *, features: Sequence[Feature] = ()
) -> LoadedConfig:
    """Return the validated config of a parsed one.

    Raises
    ------
    ConfigError : for all problems together, the given ones included.
    ComponentError : a validator of a user-defined component fails.
    """
    features = _checked_features(features)
    listed = parsed_yaml.value.get("features", [])
    if features and isinstance(listed, list):
        parsed_yaml.value["features"] = [*listed, *features]
    context = {Feature.entry_point_group: {component_kind(type(feature)): type(feature) for feature in features}}
    all_problems = list(problems)
    try:
        with name_component_in_errors():
            run = RunConfig.model_validate(parsed_yaml.value, context=context)
    except ValidationError as error:
        all_problems += problems_from_validation_error(error, parsed_yaml, RunConfig)
    else:
        if run.selection is not None:
            for _, problems_of_candidate in iter_candidates(run, _dump_keeping_user_defined(run), parsed_yaml):
                all_problems += problems_of_candidate
    if all_problems:
        raise ConfigError("\n".join(dict.fromkeys(map(str, sort_problems_by_line(all_problems)))))
    if features:  # the resolved config of a run with the same objects lists them already
        listed_features, added = run.features[: len(listed)], run.features[len(listed) :]
        new_features = (feature for feature in added if feature not in listed_features)
        run = run.model_copy(update={"features": (*listed_features, *new_features)})
    return LoadedConfig(run, parsed_yaml.value_locations, features)


def _checked_features(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Return feature objects as a tuple, each once.

    Raises
    ------
    ConfigError : something else is among them, or a feature whose class has no kind.
    """
    unique: list[Feature] = []
    for feature in features:
        if isinstance(feature, type) and issubclass(feature, Feature):
            raise ConfigError(f"features are objects, found the class {feature.__name__}; write {feature.__name__}()")
        if not isinstance(feature, Feature):
            raise ConfigError(f"features are objects of a class derived from Feature, found {feature!r}")
        try:
            require_kind(type(feature))
        except ValueError as error:
            raise ConfigError(f"features: {error}") from None
        if feature not in unique:
            unique.append(feature)
    return tuple(unique)
