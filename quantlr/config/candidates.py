"""The candidates that a config chooses among: one config for each combination of the values under `select.over`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from quantlr.config.grid import (
    grid_value_text,
    make_combination,
    n_combinations,
    overlapping_key_problems,
    read_grid_axes,
    values_by_key,
)
from quantlr.config.loader import copy_nested
from quantlr.config.messages import problems_from_validation_error
from quantlr.config.yaml_tree import ConfigProblem, ParsedYaml, SourceLocation, nearest_location, parse_key_path
from quantlr.model.candidates import SelectedForecasts, take_columns
from quantlr.model.selection import MAX_CANDIDATES

if TYPE_CHECKING:
    from quantlr.config.run_config import RunConfig
    from quantlr.core.values import Dataset, Forecasts

SELECTABLE_SECTIONS = ("features", "model", "walk_forward")
"""Sections whose values `select` chooses among."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination of the values that `select` chooses among.

    Attributes
    ----------
    values : by dotted key.
    config : of a run with these values and without a choice.
    """

    values: dict[str, Any]
    config: RunConfig

    @property
    def name(self) -> str:
        """The values in one line."""
        return candidate_text(self.values)


def candidate_text(values: dict[str, Any]) -> str:
    """Return a candidate's values by dotted key in one line."""
    return ", ".join(f"{key} = {grid_value_text(value)}" for key, value in values.items())


def iter_candidates(
    config: RunConfig, config_values: Any, parsed_yaml: ParsedYaml
) -> Iterator[tuple[Candidate | None, list[ConfigProblem]]]:
    """Yield the candidates of a config, each with its problems or None and its problems.

    Parameters
    ----------
    config : with or without a choice.
    config_values : the same as nested mappings and lists, with components from outside the catalogue as objects.
    parsed_yaml : the tree that it was validated from, for the places of its values; it may be empty.
    """
    spec = config.selection
    if spec is None:
        return
    section = ("select", "over")
    values, config_class = copy_nested(config_values), type(config)
    locations, key_locations = dict(parsed_yaml.value_locations), dict(parsed_yaml.key_locations)
    tree = ParsedYaml({"select": {"over": spec.over}}, locations, key_locations)
    axes, problems = read_grid_axes(tree, section)
    problems += overlapping_key_problems(axes, section)
    for axis in axes:
        if parse_key_path(axis.key)[0] not in SELECTABLE_SECTIONS:
            text = f"select chooses among values of {', '.join(SELECTABLE_SECTIONS)}; a sweep varies other keys"
            problems.append(ConfigProblem(axis.key_place, f"select.over.{axis.key}", text))
    place = nearest_location(locations, section) or SourceLocation("config")
    n_candidates = n_combinations(axes)
    if not axes:
        problems.append(ConfigProblem(place, "select.over", "needs values to choose among, like {model.l2: [0.01, 1]}"))
    elif n_candidates > MAX_CANDIDATES:
        text = f"needs at most {MAX_CANDIDATES:,} candidates, found {n_candidates:,}; list fewer values"
        problems.append(ConfigProblem(place, "select.over", text))
    if problems:
        yield None, problems
        return
    values.pop("select")
    for number in range(n_candidates):
        combination, texts = make_combination(ParsedYaml(values, locations, key_locations), axes, number)
        problems = [ConfigProblem(SourceLocation(""), "", text) for text in texts]
        candidate = None
        try:
            run = config_class.model_validate(combination.value)
            candidate = Candidate(values_by_key(axes, number), run)
            if run.selection is not None:
                text = "auto is a choice of its own; write numbers here"
                where = nearest_location(combination.value_locations, ("model", "l2")) or place
                problems.append(ConfigProblem(where, "model.l2", text))
        except ValidationError as error:
            problems += problems_from_validation_error(error, combination, config_class)
        yield None if problems else candidate, problems


def fitted_config_and_dataset(config: RunConfig, dataset: Dataset, forecasts: Forecasts) -> tuple[RunConfig, Dataset]:
    """Return config and dataset of the refits that some forecasts have: of a choice, those of the leading candidate."""
    if not isinstance(forecasts, SelectedForecasts):
        return config, dataset
    index = forecasts.selection.leader
    return config.candidates()[index].config, take_columns(dataset, *forecasts.selection.dataset_columns[index])
