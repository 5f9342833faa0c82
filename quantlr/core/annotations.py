"""What the values of a config mean, said beside their types: an editor shows it where the value is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

UNIT_KEY = "unit"
"""Where a JSON Schema says what a number counts."""
ENUM_DESCRIPTIONS_KEY = "enumDescriptions"
"""Where a JSON Schema says what its words mean: an editor's own keyword, which validators pass over."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number of a config counts or measures; "none" and in words what it is, where there is no unit."""

    name: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Write the unit into the number's schema."""
        return {**handler(core_schema), UNIT_KEY: self.name}


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceDescriptions:
    """What each word that a key allows stands for; a word without a meaning is an error."""

    descriptions: Mapping[str, str]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Write the meanings into the schema of the words, in their order."""
        schema = handler(core_schema)
        words = schema.get("enum") or [schema.pop("const")]
        return {**schema, "enum": words, ENUM_DESCRIPTIONS_KEY: [self.descriptions[word] for word in words]}


def units_and_choice_descriptions(field: FieldInfo) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the units of a key's numbers, and the meanings of its words, as its annotation says them."""
    found = [field.annotation, *field.metadata]
    for annotation in found:  # which grows while what is inside of it is found
        found += get_args(annotation)
    units = dict.fromkeys(word.name for word in found if isinstance(word, Unit))
    words = [word for word in found if isinstance(word, str)]
    meanings = {word: one.descriptions[word] for one in found if isinstance(one, ChoiceDescriptions) for word in words}
    return tuple(units), meanings


def append_units(description: str, units: Sequence[str]) -> str:
    """Return a key's description and in which unit its numbers are."""
    return f"{description} Unit: {' or '.join(units)}." if units else description


def to_inline_yaml(value: Any) -> str:
    """Return a value as YAML writes it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {to_inline_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_inline_yaml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
