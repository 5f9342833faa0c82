"""Units and descriptions of config values, attached to their types and written into the JSON Schema for editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

UNIT_KEY = "unit"
"""JSON Schema key of a number's unit."""
ENUM_DESCRIPTIONS_KEY = "enumDescriptions"
"""JSON Schema key of the descriptions of an enumeration's values: used by editors, ignored by validators."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a config's number; "none", with a description in words, for a number without a unit."""

    name: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the unit to the number's schema."""
        return {**handler(core_schema), UNIT_KEY: self.name}


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceDescriptions:
    """Descriptions of the values that a `Literal` allows, one for each."""

    descriptions: Mapping[str, str]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the descriptions to the schema of the choices, in their order; KeyError if one is missing."""
        schema = handler(core_schema)
        choices = schema.get("enum") or [schema.pop("const")]
        return {
            **schema, "enum": choices, ENUM_DESCRIPTIONS_KEY: [self.descriptions[choice] for choice in choices],
        }  # fmt: skip


def units_and_choice_descriptions(field: FieldInfo) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the units of a field's numbers and the descriptions of its choices, from its annotation."""
    annotations = [field.annotation, *field.metadata]
    for annotation in annotations:  # the list grows while nested annotations are appended
        annotations += get_args(annotation)
    units = dict.fromkeys(unit.name for unit in annotations if isinstance(unit, Unit))
    descriptions = {
        choice: item.descriptions[choice]
        for item in annotations
        if isinstance(item, ChoiceDescriptions)
        for choice in annotations
        if isinstance(choice, str)
    }
    return tuple(units), descriptions


def append_units(description: str, units: Sequence[str]) -> str:
    """Return a field's description, followed by the units of its numbers."""
    return f"{description} Unit: {' or '.join(units)}." if units else description


def to_inline_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {to_inline_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_inline_yaml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
