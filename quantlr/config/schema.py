"""The JSON Schema of a config, for editors: its keys, their descriptions, and the values they take.

It is pydantic's schema of the config's sections, rearranged so that an editor can use it: a section with a `kind` has
the keys of that kind only, numbers have their unit, choices a description, and a config that ``extends`` another may
leave out whatever the other may contain.

The draft is 07, which every editor supports. It can't express constraints between the values of two keys, or on the
text of a number (1.0 is an integer in JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from pydantic.json_schema import models_json_schema

from quantlr.backtest.overlays import Overlay
from quantlr.backtest.policies import Policy
from quantlr.config.run_config import RunConfig
from quantlr.core.components import (
    ENUM_DESCRIPTIONS_KEY,
    UNIT_KEY,
    Component,
    append_units,
    installed_kinds,
    load_installed_component,
    to_inline_yaml,
)
from quantlr.data.features import Feature
from quantlr.data.labels import Label
from quantlr.data.source import Source
from quantlr.model.base import Model

JsonSchema = dict[str, Any]

EXTENDS_SCHEMA: JsonSchema = {
    "title": "extends",
    "description": "Path of another config, relative to this file, whose keys this one inherits: mappings merge; "
    "lists, and a mapping of another kind, replace. The name is not inherited.",
    "type": "string",
    "examples": ["sp500_daily.yaml"],
}
EXTENSIBLE_CATALOGS: dict[str, type[Component]] = {
    "features": Feature,
    "label": Label,
    "model": Model,
    "overlays": Overlay,
    "policy": Policy,
    "source": Source,
}
"""By key, the base class of each catalogue to which installed packages add kinds."""
EXTENSIBLE_KIND_DESCRIPTION = (
    "Kind of the {name}; the other keys are its parameters. The schema that `quantlr schema` prints includes the "
    "kinds of installed packages."
)
LIST_KEYS = ("features", "overlays")
"""Keys whose values are lists of components, which are never merged."""
VALUE_KEYWORDS = (
    "type", "const", "enum", ENUM_DESCRIPTIONS_KEY, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "pattern", "format", "minItems", "maxItems",
)  # fmt: skip
"""Keywords that constrain a single value."""
CONDITION_KEYWORDS = ("required", "if", "then", "else")
"""Keywords that constrain the keys of a section together."""
NO_EDITOR_SUGGESTION = {"doNotSuggest": True}
"""Keyword that keeps an editor from suggesting a key twice; ignored by validators."""
REF_PREFIX = "#/definitions/"
"""What comes before the name of a definition in a reference to it."""
KIND_REQUIRED: JsonSchema = {"required": ["kind"]}


def schema_text(*, include_installed: bool = True) -> str:
    """Return the schema as the text of a file; with the components of installed packages by default."""
    return json.dumps(config_schema(include_installed=include_installed), indent=1, ensure_ascii=False) + "\n"


def config_schema(*, include_installed: bool = True) -> JsonSchema:
    """Return the JSON Schema of a config; `include_installed` adds the components of installed packages."""
    bases = EXTENSIBLE_CATALOGS if include_installed else {}
    load_errors: dict[str, dict[str, str]] = {key: {} for key in bases}
    installed = {key: _load_installed_components(base, load_errors[key]) for key, base in bases.items()}
    models: list[Any] = [(model, "validation") for model in (RunConfig, *chain.from_iterable(installed.values()))]
    refs, schema = models_json_schema(models, ref_template=f"{REF_PREFIX}{{model}}")
    installed_refs = {
        key: [refs[component, "validation"] for component in components] for key, components in installed.items()
    }
    raw_definitions = {REF_PREFIX + name: definition for name, definition in schema["$defs"].items()}
    return _SchemaWriter(raw_definitions, installed_refs, load_errors).full_schema()


def _load_installed_components(base_class: type[Component], load_errors: dict[str, str]) -> list[type[Component]]:
    """Return the components that installed packages add to a catalogue; add the errors of others by kind."""
    components: list[type[Component]] = []
    for kind in installed_kinds(base_class):
        try:
            if component := load_installed_component(kind, base_class):
                components.append(component)
        except ValueError as error:
            load_errors[kind] = str(error)
    return components


class _SchemaWriter:
    """Rewrites pydantic's schema, definition by definition.

    Attributes
    ----------
    raw_definitions : pydantic's definitions by reference; a component's has the constant `kind`.
    installed_refs, load_errors : by key of the catalogue, references to installed components, and the errors of others
        by kind.
    mergeable_section_refs : references to the sections whose missing keys may be inherited from the config that is
        extended; the others are in lists, which are never merged, and must be complete.
    definitions : the rewritten definitions by reference.
    catalog_ref_by_kinds : references to the definitions of component unions by their kinds.
    """

    def __init__(
        self,
        raw_definitions: dict[str, JsonSchema],
        installed_refs: Mapping[str, list[JsonSchema]],
        load_errors: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.raw_definitions = raw_definitions
        self.root_schema = raw_definitions[REF_PREFIX + RunConfig.__name__]
        self.installed_refs = installed_refs
        self.load_errors = load_errors
        self.mergeable_section_refs: set[str] = set()
        self._add_mergeable_section_refs(self.root_schema["properties"])
        for key, refs in installed_refs.items():
            self._add_mergeable_section_refs(refs if key not in LIST_KEYS else [])
        self.definitions: dict[str, JsonSchema] = {}
        self.catalog_ref_by_kinds: dict[tuple[str, ...], str] = {}

    def _add_mergeable_section_refs(self, schema: Any) -> None:
        """Add the sections that are reached without passing through a list."""
        for key, inner in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if key == "$ref" and inner not in self.mergeable_section_refs:
                self.mergeable_section_refs.add(inner)
                self._add_mergeable_section_refs(self.raw_definitions[inner].get("properties", {}))
            elif isinstance(inner, (dict, list)) and key != "items":
                self._add_mergeable_section_refs(inner)

    def full_schema(self) -> JsonSchema:
        """Return the whole schema; the required keys depend on whether the config extends another."""
        properties = self._property_schemas(self.root_schema, "")
        requirements = self._section_requirements_schema(self.root_schema)
        # A config without a name is named by its file.
        requirements["required"] = [key for key in requirements["required"] if key != "name"]
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "quantlr config",
            "description": "One run: prices, features, a classifier fitted walk-forward, a policy, and trading costs. "
            "`quantlr schema` prints this file.",
            "type": "object",
            "properties": {"extends": EXTENDS_SCHEMA, **properties},
            "additionalProperties": False,
            "if": {"required": ["extends"]},
            "then": {"properties": self._inherited_kind_schemas(self.root_schema)},
            "else": requirements,
            "definitions": {ref.removeprefix(REF_PREFIX): body for ref, body in sorted(self.definitions.items())},
        }

    def _property_schemas(self, raw: JsonSchema, dotted_key: str) -> dict[str, JsonSchema]:
        return {
            key: {"title": f"{dotted_key}.kind", "description": _docstring_first_paragraph(raw), "const": body["const"]}
            if key == "kind"
            else self._property_schema(key, body, f"{dotted_key}.{key}" if dotted_key else key)
            for key, body in raw["properties"].items()
        }

    def _property_schema(self, key: str, raw: JsonSchema, dotted_key: str) -> JsonSchema:
        """Return the schema of a key: title, description with unit and default, examples, and values."""
        value = self._rewritten_value_schema(key, raw, dotted_key)
        if "$ref" in value:  # draft 07 ignores keywords beside $ref; pydantic omits a description that the section has
            description = raw.get("description") or _docstring_first_paragraph(self.raw_definitions[raw["$ref"]])
            return {"title": dotted_key, "description": description, "type": "object", "allOf": [value]}
        description = append_units(raw.get("description", ""), list(dict.fromkeys(_iter_units(raw))))
        schema = {"title": dotted_key, "description": description, **value}
        if "default" in raw:
            schema["description"] += f" Default: {to_inline_yaml(raw['default'])}."
            schema |= {"default": raw["default"]} if raw["default"] != [] else {}
        return schema | {keyword: raw[keyword] for keyword in ("examples",) if keyword in raw}

    def _rewritten_value_schema(self, key: str, raw: JsonSchema, dotted_key: str) -> JsonSchema:
        """Return the schema of a key's values."""
        options = raw.get("oneOf", [])
        if options and all("kind" in self._referenced_section_properties(option) for option in options):
            return {"$ref": self._catalog_definition_ref(key, options)}
        if self._referenced_section_properties(raw):
            return {"$ref": self._section_definition_ref(raw["$ref"], dotted_key)}
        if "$ref" in raw:
            return self._rewritten_value_schema(key, self.raw_definitions[raw["$ref"]], dotted_key)
        if "anyOf" in raw:
            alternatives = [self._rewritten_value_schema(key, option, dotted_key) for option in raw["anyOf"]]
            return _alternatives_schema(alternatives, dotted_key)
        value = {keyword: raw[keyword] for keyword in VALUE_KEYWORDS if keyword in raw}
        if "items" in raw:
            value["items"] = self._rewritten_value_schema(key, raw["items"], dotted_key)
            if "enum" in value["items"] or value["items"].get("type") == "integer":
                value["uniqueItems"] = True  # each entry makes a column
        return value

    def _referenced_section_properties(self, raw: JsonSchema) -> JsonSchema:
        """Return the keys of the section that a schema refers to, {} if it refers to none."""
        properties: JsonSchema = self.raw_definitions[raw["$ref"]].get("properties", {}) if "$ref" in raw else {}
        return properties

    def _section_definition_ref(self, ref: str, dotted_key: str) -> str:
        """Add the definition of a section or component, and return its reference."""
        if ref in self.definitions:
            return ref
        raw = self.raw_definitions[ref]
        definition = {"title": dotted_key, "description": raw.get("description", ""), "type": "object"}
        self.definitions[ref] = definition  # before its properties, which may refer to it
        definition["properties"] = self._property_schemas(raw, dotted_key)
        definition["additionalProperties"] = raw.get("additionalProperties", False)
        if ref not in self.mergeable_section_refs:
            definition |= _conditions_schema(raw)
        return ref

    def _catalog_definition_ref(self, key: str, ref_schemas: list[JsonSchema]) -> str:
        """Add the definition of a union of components, and return its reference."""
        refs = self._component_ref_by_kind(ref_schemas)
        ref = self.catalog_ref_by_kinds.setdefault(tuple(refs), REF_PREFIX + key)
        if ref in self.definitions:
            return ref
        description, load_errors = "Kind of the section; the other keys are its parameters.", dict[str, str]()
        if key in EXTENSIBLE_CATALOGS:
            description = EXTENSIBLE_KIND_DESCRIPTION.format(name=EXTENSIBLE_CATALOGS[key].__name__.lower())
            load_errors |= self.load_errors.get(key, {})
            refs |= self._component_ref_by_kind(self.installed_refs.get(key, []))
        definition = self.definitions[ref] = {"type": "object"}
        branches = [
            {"if": _kind_equals_schema(kind), "then": {"$ref": self._section_definition_ref(component, kind)}}
            for kind, component in refs.items()
        ]
        summaries = [_docstring_first_paragraph(self.raw_definitions[component]) for component in refs.values()]
        kind_schema = {
            "title": f"{key}: kind",
            "description": description,
            "enum": [*refs, *load_errors],
            ENUM_DESCRIPTIONS_KEY: [*summaries, *load_errors.values()],
        }
        definition["properties"] = {"kind": kind_schema}
        if self.mergeable_section_refs.isdisjoint(refs.values()):
            definition |= KIND_REQUIRED
        definition["allOf"] = branches
        return ref

    def _component_ref_by_kind(self, ref_schemas: list[JsonSchema]) -> dict[str, str]:
        """Return the references to components, given as schemas {"$ref": reference}, by their kinds."""
        refs = [schema["$ref"] for schema in ref_schemas]
        return {self.raw_definitions[ref]["properties"]["kind"]["const"]: ref for ref in refs}

    def _section_requirements_schema(self, raw: JsonSchema) -> JsonSchema:
        """Return the requirements of a section that inherits nothing, and of the sections in it."""
        inner = {key: self._value_requirements_schema(body) for key, body in raw["properties"].items()}
        inner = {key: {**NO_EDITOR_SUGGESTION, **needs} for key, needs in inner.items() if needs}
        return _conditions_schema(raw) | ({"properties": inner} if inner else {})

    def _value_requirements_schema(self, raw: JsonSchema) -> JsonSchema:
        """Return the requirements of a key's value that inherits nothing; without a kind, those of the default kind."""
        if "$ref" in raw:
            return self._section_requirements_schema(self.raw_definitions[raw["$ref"]])
        sections = [option for option in raw.get("anyOf", []) if self._referenced_section_properties(option)]
        if sections:
            return {"if": {"type": "object"}, "then": self._value_requirements_schema(sections[0])}
        if "oneOf" not in raw:
            return {}
        refs = self._component_ref_by_kind(raw["oneOf"])
        by_kind = {kind: self._section_requirements_schema(self.raw_definitions[ref]) for kind, ref in refs.items()}
        branches = [{"if": _kind_equals_schema(kind), "then": needs} for kind, needs in by_kind.items() if needs]
        conditions: JsonSchema = {"allOf": branches} if branches else {}
        if "default" not in raw:
            return KIND_REQUIRED | conditions
        return {"if": KIND_REQUIRED, "else": {"$ref": refs[raw["default"]["kind"]]}, **conditions}

    def _inherited_kind_schemas(self, raw: JsonSchema) -> dict[str, JsonSchema]:
        """Return the sections, by key, whose kind may be inherited: they may have the keys of any kind."""
        schemas: dict[str, JsonSchema] = {}
        for key, body in raw["properties"].items():
            if "oneOf" in body:
                refs = self._component_ref_by_kind([*body["oneOf"], *self.installed_refs.get(key, [])])
                keys = self._merged_property_schemas(refs.values())
                then = {"properties": keys, "additionalProperties": False}
                schemas[key] = {**NO_EDITOR_SUGGESTION, "if": {"not": KIND_REQUIRED}, "then": then}
            elif "$ref" in body and (inner := self._inherited_kind_schemas(self.raw_definitions[body["$ref"]])):
                schemas[key] = {**NO_EDITOR_SUGGESTION, "properties": inner}
        return schemas

    def _merged_property_schemas(self, section_refs: Iterable[str]) -> dict[str, JsonSchema]:
        """Return the keys of several components; a key that differs between them takes any of its schemas."""
        schemas_by_key: dict[str, list[JsonSchema]] = {}
        for ref in section_refs:
            for key, schema in self.definitions[ref]["properties"].items():
                body = {keyword: content for keyword, content in schema.items() if keyword != "title"}
                if key != "kind" and body not in schemas_by_key.setdefault(key, []):
                    schemas_by_key[key].append(body)
        return {key: bodies[0] if len(bodies) == 1 else {"anyOf": bodies} for key, bodies in schemas_by_key.items()}


def _conditions_schema(raw: JsonSchema) -> JsonSchema:
    return {keyword: raw[keyword] for keyword in CONDITION_KEYWORDS if keyword in raw}


def _kind_equals_schema(kind: str) -> JsonSchema:
    return {"type": "object", "properties": {"kind": {"const": kind}}, **KIND_REQUIRED}


def _docstring_first_paragraph(raw: JsonSchema) -> str:
    """Return the first paragraph of a section's docstring."""
    return " ".join(raw.get("description", "").partition("\n\n")[0].split())


def _iter_units(raw: Any) -> Iterator[str]:
    """Yield the units of a value, of its alternatives and of its items."""
    if isinstance(raw, dict):
        if UNIT_KEY in raw:
            yield raw[UNIT_KEY]
        for inner in [*raw.get("anyOf", []), raw.get("items")]:
            yield from _iter_units(inner)


def _alternatives_schema(options: list[JsonSchema], dotted_key: str) -> JsonSchema:
    """Return the schema of a value that is one of several; one with null becomes a single schema."""
    not_null = [option for option in options if option != {"type": "null"}]
    if len(not_null) == 1 < len(options):
        (option,) = not_null
        if "enum" in option:
            descriptions = option.get(ENUM_DESCRIPTIONS_KEY, [""] * len(option["enum"]))
            return {"enum": [*option["enum"], None], ENUM_DESCRIPTIONS_KEY: [*descriptions, "see the description"]}
        if isinstance(option.get("type"), str):
            return {**option, "type": [option["type"], "null"]}

    def option_title(option: JsonSchema) -> JsonSchema:
        label = " or ".join(map(str, option["enum"])) if "enum" in option else option.get("type", "other")
        return {"title": f"{dotted_key}: {label}"}

    return {"anyOf": [option if "$ref" in option else option_title(option) | option for option in options]}
