"""The config as a JSON Schema, for editors: which keys there are, what they mean, and which values they take.

It is made of the sections' own types and descriptions, as pydantic writes them down, arranged so that an editor is of
use: a section with a `kind` has the keys of the kind that is written and of no other, numbers say their unit, words
what they mean, and where a config ``extends`` another nothing is missing that the other may hold.

The draft is 07, which every editor reads. It leaves to the reader how the values of two keys go together, and what only
the text of a value tells (1.0 is no whole number).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from quantlr.config.run_config import RunConfig
from quantlr.core.annotations import ENUM_DESCRIPTIONS_KEY, UNIT_KEY, append_units, to_inline_yaml
from quantlr.core.components import installed_kinds, load_installed_component
from quantlr.data.features import Feature

JsonSchema = dict[str, Any]

SCHEMA_DESCRIPTION = (
    "One experiment: prices, features, a classifier that walks forward through them, a policy, and what trading costs. "
    "`quantlr schema` prints this file."
)
EXTENDS_SCHEMA: JsonSchema = {
    "title": "extends",
    "description": "Another config, relative to this one, that this one is written over: mappings merge; lists, and a "
    "mapping whose kind differs, replace whole. The name is not inherited.",
    "type": "string",
    "examples": ["sp500_daily.yaml"],
}
EXTENSIBLE_CATALOG_KEY = "features"
"""The catalogue that installed packages add kinds to."""
EXTENSIBLE_KIND_DESCRIPTION = (
    "Which feature it is; the other keys are its parameters. A kind of an installed package is known to the schema "
    "that `quantlr schema` prints where it is installed."
)
OMITTABLE_KEY = "name"
"""The key without a default that may be left out all the same: a config is named by its file."""
VALUE_KEYWORDS = (
    "type", "const", "enum", ENUM_DESCRIPTIONS_KEY, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems",
)  # fmt: skip
"""What is said of a value by itself."""
CONDITION_KEYWORDS = ("required", "if", "then", "else")
"""What is said of a section's keys together."""
NO_EDITOR_SUGGESTION = {"doNotSuggest": True}
"""Keeps an editor from suggesting a key a second time, without its description; validators pass it over."""
KIND_REQUIRED: JsonSchema = {"required": ["kind"]}


def schema_text(*, include_installed: bool = True) -> str:
    """Return the schema as the text of a file; `others`, with the features of installed packages."""
    return json.dumps(config_schema(include_installed=include_installed), indent=1, ensure_ascii=False) + "\n"


def config_schema(*, include_installed: bool = True) -> JsonSchema:
    """Return the JSON Schema of a config; `others`, with the features of installed packages."""
    found, broken = _load_installed_features() if include_installed else ([], {})
    models: list[Any] = [(model, "validation") for model in (RunConfig, *found)]
    refs, whole = models_json_schema(models, ref_template="#/definitions/{model}")
    return _SchemaWriter(whole["$defs"], [refs[part, "validation"] for part in found], broken).full_schema()


def _load_installed_features() -> tuple[list[type[Feature]], dict[str, str]]:
    """Return the features of installed packages, and by kind what is wrong with those that can't be loaded."""
    base: Any = Feature
    found: list[type[Feature]] = []
    broken: dict[str, str] = {}
    for kind in installed_kinds(base):
        try:
            part = load_installed_component(kind, base)
        except ValueError as error:
            broken[kind] = str(error)
        else:
            found += [part] if part else []
    return found, broken


class _SchemaWriter:
    """Rewrites pydantic's schema, definition by definition.

    Attributes
    ----------
    raw : pydantic's definitions by name; a part's has the constant `kind`.
    others, broken : references to installed features, and by kind what is wrong with those that can't be loaded.
    merged : names of the sections whose missing keys may stand in what the config extends; all others are of lists,
        which are never merged, and must be complete.
    definitions : what is written, by name.
    catalogues : names of the definitions of what is one of several kinds, by the kinds.
    """

    def __init__(
        self, raw_definitions: dict[str, JsonSchema], installed_refs: list[JsonSchema], load_errors: Mapping[str, str]
    ) -> None:
        self.raw_definitions = raw_definitions
        self.root_schema = raw_definitions[RunConfig.__name__]
        self.installed_refs = installed_refs
        self.load_errors = load_errors
        self.mergeable_sections: set[str] = set()
        self._collect_mergeable_sections(self.root_schema["properties"])
        self.definitions: dict[str, JsonSchema] = {}
        self.catalog_name_by_kinds: dict[tuple[str, ...], str] = {}

    def _collect_mergeable_sections(self, schema: Any) -> None:
        """Gather the sections that are reached without going through a list."""
        for key, inner in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if key == "$ref" and _definition_name(inner) not in self.mergeable_sections:
                self.mergeable_sections.add(_definition_name(inner))
                self._collect_mergeable_sections(self.raw_definitions[_definition_name(inner)]["properties"])
            elif isinstance(inner, (dict, list)) and key != "items":
                self._collect_mergeable_sections(inner)

    def full_schema(self) -> JsonSchema:
        """Return the schema; what must be there depends on whether the config extends another."""
        properties = self._properties_schema(self.root_schema, "")
        needs = self._section_requirements(self.root_schema)
        needs["required"] = [key for key in needs["required"] if key != OMITTABLE_KEY]
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "quantlr config",
            "description": SCHEMA_DESCRIPTION,
            "type": "object",
            "properties": {"extends": EXTENDS_SCHEMA, **properties},
            "additionalProperties": False,
            "if": {"required": ["extends"]},
            "then": {"properties": self._inherited_kind_schemas(self.root_schema)},
            "else": needs,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _properties_schema(self, raw_schema: JsonSchema, dotted_key: str) -> dict[str, JsonSchema]:
        return {
            key: {"title": f"{dotted_key}.kind", "description": _summary_text(raw_schema), "const": body["const"]}
            if key == "kind"
            else self._property_schema(key, body, f"{dotted_key}.{key}" if dotted_key else key)
            for key, body in raw_schema["properties"].items()
        }

    def _property_schema(self, key: str, raw_schema: JsonSchema, dotted_key: str) -> JsonSchema:
        """Return what an editor is told of a key: title, description, unit, default, examples, and its values."""
        value = self._value_schema(key, raw_schema, dotted_key)
        if "$ref" in value:  # beside which draft 07 reads nothing; pydantic leaves out what the section itself says
            told = raw_schema.get("description") or _summary_text(
                self.raw_definitions[_definition_name(raw_schema["$ref"])]
            )
            return {"title": dotted_key, "description": told, "type": "object", "allOf": [value]}
        told = append_units(raw_schema.get("description", ""), list(dict.fromkeys(_iter_units(raw_schema))))
        found = {"title": dotted_key, "description": told, **value}
        if "default" in raw_schema:
            found["description"] += f" Default: {to_inline_yaml(raw_schema['default'])}."
            found |= {"default": raw_schema["default"]} if raw_schema["default"] != [] else {}
        if "examples" in raw_schema:
            found["examples"] = raw_schema["examples"]
        return found

    def _value_schema(self, key: str, raw_schema: JsonSchema, dotted_key: str) -> JsonSchema:
        """Return which values there may be."""
        options = raw_schema.get("oneOf", [])
        if options and all("kind" in self._referenced_properties(option) for option in options):
            return {"$ref": self._add_catalog_definition(key, options)}
        if self._referenced_properties(raw_schema):
            return {"$ref": self._add_section_definition(raw_schema["$ref"], dotted_key)}
        if "$ref" in raw_schema:
            return self._value_schema(key, self.raw_definitions[_definition_name(raw_schema["$ref"])], dotted_key)
        if "anyOf" in raw_schema:
            return _alternatives_schema(
                [self._value_schema(key, option, dotted_key) for option in raw_schema["anyOf"]], dotted_key
            )
        value = {limit: raw_schema[limit] for limit in VALUE_KEYWORDS if limit in raw_schema}
        if "items" in raw_schema:
            value["items"] = self._value_schema(key, raw_schema["items"], dotted_key)
            if "enum" in value["items"] or value["items"].get("type") == "integer":
                value["uniqueItems"] = True  # each makes a column
        return value

    def _referenced_properties(self, raw_schema: JsonSchema) -> JsonSchema:
        """Return the keys of the section that is referred to; none where there is no section."""
        found: JsonSchema = (
            self.raw_definitions[_definition_name(raw_schema["$ref"])].get("properties", {})
            if "$ref" in raw_schema
            else {}
        )
        return found

    def _add_section_definition(self, ref: str, dotted_key: str) -> str:
        """Write the definition of a section or a part, and return its reference."""
        name = _definition_name(ref)
        if name in self.definitions:
            return ref
        raw = self.raw_definitions[name]
        written = self.definitions[name] = {
            "title": dotted_key,
            "description": raw.get("description", ""),
            "type": "object",
        }
        written["properties"] = self._properties_schema(raw, dotted_key)
        written["additionalProperties"] = raw.get("additionalProperties", False)
        if name not in self.mergeable_sections:
            written.update({clause: raw[clause] for clause in CONDITION_KEYWORDS if clause in raw})
        return ref

    def _add_catalog_definition(self, key: str, option_schemas: list[JsonSchema]) -> str:
        """Write the definition of what is one of several kinds, and return its reference."""
        parts = self._refs_by_kind(option_schemas)
        kinds = tuple(parts)
        ref = f"#/definitions/{self.catalog_name_by_kinds.setdefault(kinds, key)}"
        if _definition_name(ref) in self.definitions:
            return ref
        broken = self.load_errors if key == EXTENSIBLE_CATALOG_KEY else {}
        if key == EXTENSIBLE_CATALOG_KEY:
            parts |= self._refs_by_kind(self.installed_refs)
        written: JsonSchema = {"type": "object"}
        self.definitions[_definition_name(ref)] = written
        branches = [
            {"if": _kind_equals_schema(kind), "then": {"$ref": self._add_section_definition(part, kind)}}
            for kind, part in parts.items()
        ]
        meanings = [_summary_text(self.raw_definitions[_definition_name(part)]) for part in parts.values()]
        written["properties"] = {
            "kind": {
                "title": f"{key}: kind",
                "description": EXTENSIBLE_KIND_DESCRIPTION
                if key == EXTENSIBLE_CATALOG_KEY
                else "Which one it is; the other keys are its parameters.",
                "enum": [*parts, *broken],
                ENUM_DESCRIPTIONS_KEY: [*meanings, *broken.values()],
            }
        }
        if not self.mergeable_sections & {_definition_name(part) for part in parts.values()}:
            written |= KIND_REQUIRED
        written["allOf"] = branches
        return ref

    def _refs_by_kind(self, option_schemas: list[JsonSchema]) -> dict[str, str]:
        """Return the references of a catalogue's parts by their kinds."""
        return {
            self.raw_definitions[_definition_name(option["$ref"])]["properties"]["kind"]["const"]: option["$ref"]
            for option in option_schemas
        }

    def _section_requirements(self, raw_schema: JsonSchema) -> JsonSchema:
        """Return what a section that inherits nothing must say, and those within it."""
        needs = {clause: raw_schema[clause] for clause in CONDITION_KEYWORDS if clause in raw_schema}
        inner = {key: self._value_requirements(body) for key, body in raw_schema["properties"].items()}
        inner = {key: {**NO_EDITOR_SUGGESTION, **found} for key, found in inner.items() if found}
        return needs | ({"properties": inner} if inner else {})

    def _value_requirements(self, raw_schema: JsonSchema) -> JsonSchema:
        """Return what the value of a key must say, where it inherits nothing; without a kind it is of the default."""
        if "$ref" in raw_schema:
            return self._section_requirements(self.raw_definitions[_definition_name(raw_schema["$ref"])])
        if "oneOf" not in raw_schema:
            return {}
        parts = self._refs_by_kind(raw_schema["oneOf"])
        needs = {
            kind: self._section_requirements(self.raw_definitions[_definition_name(part)])
            for kind, part in parts.items()
        }
        branches = [{"if": _kind_equals_schema(kind), "then": need} for kind, need in needs.items() if need]
        found: JsonSchema = {"allOf": branches} if branches else {}
        if "default" not in raw_schema:
            return KIND_REQUIRED | found
        return {"if": KIND_REQUIRED, "else": {"$ref": parts[raw_schema["default"]["kind"]]}, **found}

    def _inherited_kind_schemas(self, raw_schema: JsonSchema) -> dict[str, JsonSchema]:
        """Return by key the sections whose kind may stand in what is extended: they may have any kind's keys."""
        found: dict[str, JsonSchema] = {}
        for key, body in raw_schema["properties"].items():
            if "oneOf" in body:
                keys = self._union_of_properties(self._refs_by_kind(body["oneOf"]).values())
                found[key] = {"if": {"not": KIND_REQUIRED}, "then": {"properties": keys, "additionalProperties": False}}
            elif "$ref" in body and (
                inner := self._inherited_kind_schemas(self.raw_definitions[_definition_name(body["$ref"])])
            ):
                found[key] = {"properties": inner}
        return {key: {**NO_EDITOR_SUGGESTION, **body} for key, body in found.items()}

    def _union_of_properties(self, section_refs: Iterable[str]) -> dict[str, JsonSchema]:
        """Return the keys of several parts; where they differ, what any of them takes."""
        found: dict[str, list[JsonSchema]] = {}
        for part in section_refs:
            for key, told in self.definitions[_definition_name(part)]["properties"].items():
                body = {word: content for word, content in told.items() if word != "title"}
                if key != "kind" and body not in found.setdefault(key, []):
                    found[key].append(body)
        return {key: bodies[0] if len(bodies) == 1 else {"anyOf": bodies} for key, bodies in found.items()}


def _definition_name(ref: str) -> str:
    return ref.rpartition("/")[2]


def _kind_equals_schema(kind: str) -> JsonSchema:
    return {"type": "object", "properties": {"kind": {"const": kind}}, **KIND_REQUIRED}


def _summary_text(raw_schema: JsonSchema) -> str:
    """Return the first paragraph of what a section says of itself."""
    return " ".join(raw_schema.get("description", "").partition("\n\n")[0].split())


def _iter_units(raw_schema: Any) -> Iterator[str]:
    """Yield the units of a value and of what it is made of."""
    if isinstance(raw_schema, dict) and UNIT_KEY in raw_schema:
        yield raw_schema[UNIT_KEY]
    for inner in [*raw_schema.get("anyOf", []), raw_schema.get("items")] if isinstance(raw_schema, dict) else []:
        yield from _iter_units(inner)


def _alternatives_schema(option_schemas: list[JsonSchema], dotted_key: str) -> JsonSchema:
    """Return which values several alternatives allow; one and null as one, so that an editor has one thing to say."""
    others = [option for option in option_schemas if option != {"type": "null"}]
    if len(others) == 1 < len(option_schemas) and "enum" in others[0]:
        (words,) = others
        meanings = words.get(ENUM_DESCRIPTIONS_KEY, [""] * len(words["enum"]))
        return {"enum": [*words["enum"], None], ENUM_DESCRIPTIONS_KEY: [*meanings, "as the description says"]}
    if len(others) == 1 < len(option_schemas) and isinstance(others[0].get("type"), str):
        return {**others[0], "type": [others[0]["type"], "null"]}
    return {
        "anyOf": [
            option if "$ref" in option else {"title": f"{dotted_key}: {_alternative_label(option)}"} | option
            for option in option_schemas
        ]
    }


def _alternative_label(option_schema: JsonSchema) -> str:
    """Return what tells one of several alternatives from the others, in an editor's words."""
    return (
        " or ".join(map(str, option_schema["enum"]))
        if "enum" in option_schema
        else str(option_schema.get("type", "other"))
    )
