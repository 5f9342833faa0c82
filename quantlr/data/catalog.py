"""Descriptions of all features and labels: kind, parameters, columns, warm-up and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from quantlr.core.component_errors import name_component_in_errors
from quantlr.core.components import (
    Component,
    append_units,
    catalog_base_class,
    component_kind,
    installed_kinds,
    load_installed_component,
    units_and_choice_descriptions,
)
from quantlr.core.errors import UserError
from quantlr.core.known_series import FileColumn, KnownSeries
from quantlr.core.values import Prices
from quantlr.data.features import FEATURES, Feature
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import SampleSource


@dataclass(frozen=True, slots=True)
class ComponentParameter:
    """A parameter of a feature or label.

    Attributes
    ----------
    name : its key in a config.
    default : its default value; None if it `is_required`.
    is_required : whether a config must state it.
    choices : the words that it allows, with their descriptions; empty if it allows other values.
    description : its description and unit.
    """

    name: str
    default: Any
    is_required: bool
    choices: dict[str, str]
    description: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """The description of a feature or label.

    Attributes
    ----------
    kind : its kind in a config.
    summary : the first paragraph of its documentation.
    parameters : its parameters, without `kind`.
    values_description : columns, unit and sign of a feature; for a label, what counts as up.
    example : a mapping that a config may contain.
    columns : the columns of the example; () for a label.
    warm_up : bars that the example needs before its first row; None for a label.
    unavailable_reason : why it can't be used on this machine, "" if it can.
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
    """Return the features, those of installed packages last; columns are computed from the sample prices."""
    prices = load_prices(DataSpec(source=SampleSource(), tickers=("AAPL", "IBM"), context=("^GSPC",)))
    days = prices.sessions.to_numpy().astype("datetime64[D]")
    prices = replace(prices, series=(KnownSeries("RATE", days, np.arange(len(days), dtype=np.float64), days),))
    return _catalog_entries(FEATURES, lambda feature_class: _feature_catalog_entry(feature_class, prices))


def component_catalog_entries(classes: Sequence[type[Component]], *, method: str = "") -> list[CatalogEntry]:
    """Return the components of a catalogue, those of installed packages last.

    The documentation of `method`, if it is named, describes their values.
    """

    def make_entry(component: type[Component]) -> CatalogEntry:
        entry = _catalog_entry_without_example(component, getattr(component, method, None))
        return replace(entry, example=_to_config_value(component.examples()[0]))

    return _catalog_entries(classes, make_entry)


def _catalog_entries(
    classes: Sequence[type[Component]], make_entry: Callable[[Any], CatalogEntry]
) -> list[CatalogEntry]:
    entries, base_class = [make_entry(component) for component in classes], catalog_base_class(classes[0])
    for kind in installed_kinds(base_class):
        try:
            with name_component_in_errors():
                component = load_installed_component(kind, base_class)
                entries += [make_entry(component)] if component else []
        except (ValueError, UserError) as error:
            entries.append(CatalogEntry(kind, "", (), "", {"kind": kind}, unavailable_reason=str(error)))
    return entries


def _feature_catalog_entry(feature_class: type[Feature], prices: Prices) -> CatalogEntry:
    """Return the entry of a feature, with the columns of its example, or the reason why it can't be used."""
    transform = getattr(feature_class, "transform_column", feature_class.compute)
    entry = _catalog_entry_without_example(feature_class, transform)
    try:
        with name_component_in_errors():
            example = cast("Feature", feature_class.examples()[0])
            prices = _with_file_columns(prices, example.file_columns)
            columns, warm_up = tuple(example.compute(prices)), example.warm_up()
    except (ValueError, UserError) as error:
        reason = str(error.errors()[0]["msg"] if isinstance(error, ValidationError) else error)
        return replace(entry, unavailable_reason=reason.removeprefix("Value error, "))
    return replace(entry, example=_to_config_value(example), columns=columns, warm_up=warm_up)


def _with_file_columns(prices: Prices, columns: Sequence[FileColumn]) -> Prices:
    """Return prices with columns of each ticker's file, which have the days of all sessions and some values."""
    days = prices.sessions.to_numpy().astype("datetime64[D]")
    values = np.arange(len(days), dtype=np.float64)
    series = [
        KnownSeries(column.name, days, values, days, ticker=ticker, column=column)
        for column in columns
        for ticker in prices.tickers
    ]
    return replace(prices, series=(*prices.series, *series))


def _catalog_entry_without_example(component_class: type[Component], method: Any) -> CatalogEntry:
    """Return the entry of a component whose values are described by the documentation of `method`, if there is one."""
    kind, parameters = component_kind(component_class), _component_parameters(component_class)
    summary, values = _docstring_first_paragraph(component_class), _docstring_first_paragraph(method) if method else ""
    return CatalogEntry(kind, summary, parameters, values, {"kind": kind})


def _component_parameters(component_class: type[Component]) -> tuple[ComponentParameter, ...]:
    parameters = []
    for name, field in component_class.model_fields.items():
        units, choices = units_and_choice_descriptions(field)
        description = append_units(field.description or "", units)
        default = None if field.is_required() else field.default
        parameters.append(ComponentParameter(name, default, field.is_required(), choices, description))
    return tuple(parameter for parameter in parameters if parameter.name != "kind")


def _to_config_value(value: Any) -> Any:
    """Return a value as a config would state it; of a component its kind and what differs from its defaults."""
    if isinstance(value, Component):
        fields = type(value).model_fields
        changed = {name: item for name, item in value if name not in fields or item != fields[name].default}
        return {"kind": value.kind, **{name: _to_config_value(item) for name, item in changed.items()}}
    if isinstance(value, Path):
        return value.name
    return [_to_config_value(item) for item in value] if isinstance(value, tuple) else value


def _docstring_first_paragraph(documented: Any) -> str:
    """Return the first paragraph of the documentation of a class or function, in one line."""
    return " ".join(inspect.cleandoc(documented.__doc__ or "").split("\n\n")[0].split())
