"""The catalogues of features and labels as plain values: kinds, parameters, columns, warm-up, what each is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from quantlr.core.annotations import append_units, units_and_choice_descriptions
from quantlr.core.components import Component, component_kind, installed_kinds, load_installed_component
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.features import FEATURES, Feature
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import SampleSource

FEATURE_BASE: Any = Feature
"""What installed features derive from; abstract itself."""


@dataclass(frozen=True, slots=True)
class ComponentParameter:
    """A key of a part.

    Attributes
    ----------
    name : the key.
    default : its value where it is left out; None where it is `needed`.
    choices : the words that it allows, and what they mean; empty where it allows more than words.
    description : what it is, and in which unit.
    """

    name: str
    default: Any
    is_required: bool
    choices: dict[str, str]
    description: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A part of a catalogue.

    Attributes
    ----------
    kind : its name in a config.
    summary : what it is, in a line.
    parameters : its keys, but for `kind`.
    values : columns, unit and sign; of a label what is up.
    example : a mapping that a config may hold.
    columns : those that the example makes; () for a label.
    warm_up : bars that the example needs before its first row; None for a label.
    problem : why it can't be used here, "" where it can.
    """

    kind: str
    summary: str
    parameters: tuple[ComponentParameter, ...]
    values_description: str
    example: dict[str, Any]
    columns: tuple[str, ...] = ()
    warm_up: int | None = None
    unavailable_reason: str = ""


def feature_catalog_entries() -> list[CatalogEntry]:
    """Return the features, those of installed packages last; columns are what an example makes of the sample."""
    spec = DataSpec(source=SampleSource(), tickers=("AAPL", "IBM"), context=("^GSPC",))
    prices = load_prices(spec)
    found = [_feature_catalog_entry(part, prices) for part in FEATURES]
    for kind in installed_kinds(Feature):
        try:
            part = load_installed_component(kind, FEATURE_BASE)
        except ValueError as error:
            found.append(CatalogEntry(kind, "", (), "", {"kind": kind}, unavailable_reason=str(error)))
        else:
            found += [_feature_catalog_entry(part, prices)] if part else []
    return found


def component_entries(classes: Sequence[type[Component]], *, method: str = "") -> list[CatalogEntry]:
    """Return the components of a catalogue, each with its first example; `method` is described where it is named."""
    return [
        CatalogEntry(
            component_kind(component),
            _docstring_summary(component),
            _describe_parameters(component),
            _docstring_first_paragraph(getattr(component, method)) if method else "",
            _to_config_value(component.examples()[0]),
        )
        for component in classes
    ]


def _feature_catalog_entry(feature_class: type[Feature], prices: Prices) -> CatalogEntry:
    kind, values = (
        component_kind(feature_class),
        _docstring_first_paragraph(getattr(feature_class, "transform_column", feature_class.compute)),
    )
    try:
        example = cast("Feature", feature_class.examples()[0])
        columns = tuple(example.compute(prices))
    except (ValueError, DataError) as error:
        return CatalogEntry(
            kind,
            _docstring_summary(feature_class),
            _describe_parameters(feature_class),
            values,
            {"kind": kind},
            unavailable_reason=_first_error_message(error),
        )
    return CatalogEntry(
        kind,
        _docstring_summary(feature_class),
        _describe_parameters(feature_class),
        values,
        _to_config_value(example),
        columns=columns,
        warm_up=example.warm_up(),
    )


def _describe_parameters(component_class: type[Component]) -> tuple[ComponentParameter, ...]:
    return tuple(
        _describe_parameter(name, field) for name, field in component_class.model_fields.items() if name != "kind"
    )


def _describe_parameter(name: str, field: FieldInfo) -> ComponentParameter:
    needed = field.default is PydanticUndefined
    units, choices = units_and_choice_descriptions(field)
    described = append_units(field.description or "", units)
    return ComponentParameter(name, None if needed else field.default, needed, choices, described)


def _to_config_value(value: Any) -> Any:
    """Return a value as a config would write it; of a part its kind and what differs from its defaults."""
    if isinstance(value, Component):
        fields = type(value).model_fields
        differs = {name: item for name, item in value if name not in fields or item != fields[name].default}
        return {"kind": value.kind, **{name: _to_config_value(item) for name, item in differs.items()}}
    if isinstance(value, Path):
        return value.name
    return [_to_config_value(item) for item in value] if isinstance(value, tuple) else value


def _docstring_summary(component_class: type[Component]) -> str:
    return " ".join(inspect.cleandoc(component_class.__doc__ or "").split("\n\n")[0].split())


def _docstring_first_paragraph(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _first_error_message(error: Exception) -> str:
    return str(error.errors()[0]["msg"] if hasattr(error, "errors") else error).removeprefix("Value error, ")
