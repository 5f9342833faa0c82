"""The catalogues of features and labels as plain values: kinds, parameters, columns, warm-up, what each is."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, cast

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from quantlr.data.features import FEATURES, Feature
from quantlr.data.labels import LABELS
from quantlr.data.sources import Sample
from quantlr.data.universe import DataSpec, load_prices
from quantlr.errors import DataError
from quantlr.types import Part, Prices, installed, kind_named, load_installed, with_unit, words_of

BASE: Any = Feature
"""What installed features derive from; abstract itself."""


@dataclass(frozen=True, slots=True)
class Parameter:
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
    needed: bool
    choices: dict[str, str]
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
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
    parameters: tuple[Parameter, ...]
    values: str
    example: dict[str, Any]
    columns: tuple[str, ...] = ()
    warm_up: int | None = None
    problem: str = ""


def features() -> list[Entry]:
    """Return the features, those of installed packages last; columns are what an example makes of the sample."""
    spec = DataSpec(source=Sample(), tickers=("AAPL", "IBM"), context=("^GSPC",))
    prices = load_prices(spec)
    found = [_feature(part, prices) for part in FEATURES]
    for kind in installed(Feature):
        try:
            part = load_installed(kind, BASE)
        except ValueError as error:
            found.append(Entry(kind, "", (), "", {"kind": kind}, problem=str(error)))
        else:
            found += [_feature(part, prices)] if part else []
    return found


def labels() -> list[Entry]:
    """Return the labels."""
    return [
        Entry(
            kind_named(part), _summary(part), _parameters(part), _sentence(part.compute), _written(part.examples()[0])
        )
        for part in LABELS
    ]


def _feature(part: type[Feature], prices: Prices) -> Entry:
    kind, values = kind_named(part), _sentence(getattr(part, "transformed", part.compute))
    try:
        example = cast("Feature", part.examples()[0])
        columns = tuple(example.compute(prices))
    except (ValueError, DataError) as error:
        return Entry(kind, _summary(part), _parameters(part), values, {"kind": kind}, problem=_first_problem(error))
    return Entry(
        kind, _summary(part), _parameters(part), values, _written(example), columns=columns, warm_up=example.warm_up()
    )


def _parameters(part: type[Part]) -> tuple[Parameter, ...]:
    return tuple(_parameter(name, field) for name, field in part.model_fields.items() if name != "kind")


def _parameter(name: str, field: FieldInfo) -> Parameter:
    needed = field.default is PydanticUndefined
    units, choices = words_of(field)
    described = with_unit(field.description or "", units)
    return Parameter(name, None if needed else field.default, needed, choices, described)


def _written(value: Any) -> Any:
    """Return a value as a config would write it; of a part its kind and what differs from its defaults."""
    if isinstance(value, Part):
        fields = type(value).model_fields
        differs = {name: item for name, item in value if name not in fields or item != fields[name].default}
        return {"kind": value.kind, **{name: _written(item) for name, item in differs.items()}}
    return [_written(item) for item in value] if isinstance(value, tuple) else value


def _summary(part: type[Part]) -> str:
    return " ".join(inspect.cleandoc(part.__doc__ or "").split("\n\n")[0].split())


def _sentence(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _first_problem(error: Exception) -> str:
    return str(error.errors()[0]["msg"] if hasattr(error, "errors") else error).removeprefix("Value error, ")
