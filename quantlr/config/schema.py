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

from quantlr.config import RunConfig
from quantlr.data.features import Feature
from quantlr.types import MEANINGS, UNIT, flow, installed, load_installed, with_unit

Schema = dict[str, Any]

DESCRIPTION = (
    "One experiment: prices, features, a classifier that walks forward through them, a policy, and what trading costs. "
    "`quantlr schema` prints this file."
)
EXTENDS: Schema = {
    "title": "extends",
    "description": "Another config, relative to this one, that this one is written over: mappings merge; lists, and a "
    "mapping whose kind differs, replace whole. The name is not inherited.",
    "type": "string",
    "examples": ["sp500_daily.yaml"],
}
OPEN = "features"
"""The catalogue that installed packages add kinds to."""
OPEN_KINDS = (
    "Which feature it is; the other keys are its parameters. A kind of an installed package is known to the schema "
    "that `quantlr schema` prints where it is installed."
)
NEEDLESS = "name"
"""The key without a default that may be left out all the same: a config is named by its file."""
LIMITS = (
    "type", "const", "enum", MEANINGS, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems",
)  # fmt: skip
"""What is said of a value by itself."""
CLAUSES = ("required", "if", "then", "else")
"""What is said of a section's keys together."""
UNSUGGESTED = {"doNotSuggest": True}
"""Keeps an editor from suggesting a key a second time, without its description; validators pass it over."""
HAS_KIND: Schema = {"required": ["kind"]}


def schema_text(*, others: bool = True) -> str:
    """Return the schema as the text of a file; `others`, with the features of installed packages."""
    return json.dumps(config_schema(others=others), indent=1, ensure_ascii=False) + "\n"


def config_schema(*, others: bool = True) -> Schema:
    """Return the JSON Schema of a config; `others`, with the features of installed packages."""
    found, broken = _of_others() if others else ([], {})
    models: list[Any] = [(model, "validation") for model in (RunConfig, *found)]
    refs, whole = models_json_schema(models, ref_template="#/definitions/{model}")
    return _Writer(whole["$defs"], [refs[part, "validation"] for part in found], broken).whole()


def _of_others() -> tuple[list[type[Feature]], dict[str, str]]:
    """Return the features of installed packages, and by kind what is wrong with those that can't be loaded."""
    base: Any = Feature
    found: list[type[Feature]] = []
    broken: dict[str, str] = {}
    for kind in installed(base):
        try:
            part = load_installed(kind, base)
        except ValueError as error:
            broken[kind] = str(error)
        else:
            found += [part] if part else []
    return found, broken


class _Writer:
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

    def __init__(self, raw: dict[str, Schema], others: list[Schema], broken: Mapping[str, str]) -> None:
        self.raw = raw
        self.root = raw[RunConfig.__name__]
        self.others = others
        self.broken = broken
        self.merged: set[str] = set()
        self._find_merged(self.root["properties"])
        self.definitions: dict[str, Schema] = {}
        self.catalogues: dict[tuple[str, ...], str] = {}

    def _find_merged(self, schema: Any) -> None:
        """Gather the sections that are reached without going through a list."""
        for key, inner in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if key == "$ref" and _name(inner) not in self.merged:
                self.merged.add(_name(inner))
                self._find_merged(self.raw[_name(inner)]["properties"])
            elif isinstance(inner, (dict, list)) and key != "items":
                self._find_merged(inner)

    def whole(self) -> Schema:
        """Return the schema; what must be there depends on whether the config extends another."""
        properties = self._properties(self.root, "")
        needs = self._needs(self.root)
        needs["required"] = [key for key in needs["required"] if key != NEEDLESS]
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "quantlr config",
            "description": DESCRIPTION,
            "type": "object",
            "properties": {"extends": EXTENDS, **properties},
            "additionalProperties": False,
            "if": {"required": ["extends"]},
            "then": {"properties": self._kinds_inherited(self.root)},
            "else": needs,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _properties(self, raw: Schema, path: str) -> dict[str, Schema]:
        return {
            key: {"title": f"{path}.kind", "description": _summary(raw), "const": body["const"]}
            if key == "kind"
            else self._property(key, body, f"{path}.{key}" if path else key)
            for key, body in raw["properties"].items()
        }

    def _property(self, key: str, raw: Schema, path: str) -> Schema:
        """Return what an editor is told of a key: title, description, unit, default, examples, and its values."""
        value = self._value(key, raw, path)
        if "$ref" in value:  # beside which draft 07 reads nothing; pydantic leaves out what the section itself says
            told = raw.get("description") or _summary(self.raw[_name(raw["$ref"])])
            return {"title": path, "description": told, "type": "object", "allOf": [value]}
        told = with_unit(raw.get("description", ""), list(dict.fromkeys(_units(raw))))
        found = {"title": path, "description": told, **value}
        if "default" in raw:
            found["description"] += f" Default: {flow(raw['default'])}."
            found |= {"default": raw["default"]} if raw["default"] != [] else {}
        if "examples" in raw:
            found["examples"] = raw["examples"]
        return found

    def _value(self, key: str, raw: Schema, path: str) -> Schema:
        """Return which values there may be."""
        options = raw.get("oneOf", [])
        if options and all("kind" in self._properties_of(option) for option in options):
            return {"$ref": self._catalogue(key, options)}
        if self._properties_of(raw):
            return {"$ref": self._section(raw["$ref"], path)}
        if "$ref" in raw:
            return self._value(key, self.raw[_name(raw["$ref"])], path)
        if "anyOf" in raw:
            return _alternatives([self._value(key, option, path) for option in raw["anyOf"]], path)
        value = {limit: raw[limit] for limit in LIMITS if limit in raw}
        if "items" in raw:
            value["items"] = self._value(key, raw["items"], path)
            if "enum" in value["items"] or value["items"].get("type") == "integer":
                value["uniqueItems"] = True  # each makes a column
        return value

    def _properties_of(self, raw: Schema) -> Schema:
        """Return the keys of the section that is referred to; none where there is no section."""
        found: Schema = self.raw[_name(raw["$ref"])].get("properties", {}) if "$ref" in raw else {}
        return found

    def _section(self, ref: str, path: str) -> str:
        """Write the definition of a section or a part, and return its reference."""
        name = _name(ref)
        if name in self.definitions:
            return ref
        raw = self.raw[name]
        written = self.definitions[name] = {"title": path, "description": raw.get("description", ""), "type": "object"}
        written["properties"] = self._properties(raw, path)
        written["additionalProperties"] = raw.get("additionalProperties", False)
        if name not in self.merged:
            written.update({clause: raw[clause] for clause in CLAUSES if clause in raw})
        return ref

    def _catalogue(self, key: str, options: list[Schema]) -> str:
        """Write the definition of what is one of several kinds, and return its reference."""
        parts = self._by_kind(options)
        kinds = tuple(parts)
        ref = f"#/definitions/{self.catalogues.setdefault(kinds, key)}"
        if _name(ref) in self.definitions:
            return ref
        broken = self.broken if key == OPEN else {}
        if key == OPEN:
            parts |= self._by_kind(self.others)
        written: Schema = {"type": "object"}
        self.definitions[_name(ref)] = written
        branches = [{"if": _of_kind(kind), "then": {"$ref": self._section(part, kind)}} for kind, part in parts.items()]
        meanings = [_summary(self.raw[_name(part)]) for part in parts.values()]
        written["properties"] = {
            "kind": {
                "title": f"{key}: kind",
                "description": OPEN_KINDS if key == OPEN else "Which one it is; the other keys are its parameters.",
                "enum": [*parts, *broken],
                MEANINGS: [*meanings, *broken.values()],
            }
        }
        if not self.merged & {_name(part) for part in parts.values()}:
            written |= HAS_KIND
        written["allOf"] = branches
        return ref

    def _by_kind(self, options: list[Schema]) -> dict[str, str]:
        """Return the references of a catalogue's parts by their kinds."""
        return {self.raw[_name(option["$ref"])]["properties"]["kind"]["const"]: option["$ref"] for option in options}

    def _needs(self, raw: Schema) -> Schema:
        """Return what a section that inherits nothing must say, and those within it."""
        needs = {clause: raw[clause] for clause in CLAUSES if clause in raw}
        inner = {key: self._needs_of(body) for key, body in raw["properties"].items()}
        inner = {key: {**UNSUGGESTED, **found} for key, found in inner.items() if found}
        return needs | ({"properties": inner} if inner else {})

    def _needs_of(self, raw: Schema) -> Schema:
        """Return what the value of a key must say, where it inherits nothing; without a kind it is of the default."""
        if "$ref" in raw:
            return self._needs(self.raw[_name(raw["$ref"])])
        if "oneOf" not in raw:
            return {}
        parts = self._by_kind(raw["oneOf"])
        needs = {kind: self._needs(self.raw[_name(part)]) for kind, part in parts.items()}
        branches = [{"if": _of_kind(kind), "then": need} for kind, need in needs.items() if need]
        found: Schema = {"allOf": branches} if branches else {}
        if "default" not in raw:
            return HAS_KIND | found
        return {"if": HAS_KIND, "else": {"$ref": parts[raw["default"]["kind"]]}, **found}

    def _kinds_inherited(self, raw: Schema) -> dict[str, Schema]:
        """Return by key the sections whose kind may stand in what is extended: they may have any kind's keys."""
        found: dict[str, Schema] = {}
        for key, body in raw["properties"].items():
            if "oneOf" in body:
                keys = self._keys_of_any(self._by_kind(body["oneOf"]).values())
                found[key] = {"if": {"not": HAS_KIND}, "then": {"properties": keys, "additionalProperties": False}}
            elif "$ref" in body and (inner := self._kinds_inherited(self.raw[_name(body["$ref"])])):
                found[key] = {"properties": inner}
        return {key: {**UNSUGGESTED, **body} for key, body in found.items()}

    def _keys_of_any(self, parts: Iterable[str]) -> dict[str, Schema]:
        """Return the keys of several parts; where they differ, what any of them takes."""
        found: dict[str, list[Schema]] = {}
        for part in parts:
            for key, told in self.definitions[_name(part)]["properties"].items():
                body = {word: content for word, content in told.items() if word != "title"}
                if key != "kind" and body not in found.setdefault(key, []):
                    found[key].append(body)
        return {key: bodies[0] if len(bodies) == 1 else {"anyOf": bodies} for key, bodies in found.items()}


def _name(ref: str) -> str:
    return ref.rpartition("/")[2]


def _of_kind(kind: str) -> Schema:
    return {"type": "object", "properties": {"kind": {"const": kind}}, **HAS_KIND}


def _summary(raw: Schema) -> str:
    """Return the first paragraph of what a section says of itself."""
    return " ".join(raw.get("description", "").partition("\n\n")[0].split())


def _units(raw: Any) -> Iterator[str]:
    """Yield the units of a value and of what it is made of."""
    if isinstance(raw, dict) and UNIT in raw:
        yield raw[UNIT]
    for inner in [*raw.get("anyOf", []), raw.get("items")] if isinstance(raw, dict) else []:
        yield from _units(inner)


def _alternatives(options: list[Schema], path: str) -> Schema:
    """Return which values several alternatives allow; one and null as one, so that an editor has one thing to say."""
    others = [option for option in options if option != {"type": "null"}]
    if len(others) == 1 < len(options) and "enum" in others[0]:
        (words,) = others
        meanings = words.get(MEANINGS, [""] * len(words["enum"]))
        return {"enum": [*words["enum"], None], MEANINGS: [*meanings, "as the description says"]}
    if len(others) == 1 < len(options) and isinstance(others[0].get("type"), str):
        return {**others[0], "type": [others[0]["type"], "null"]}
    return {
        "anyOf": [option if "$ref" in option else {"title": f"{path}: {_sort(option)}"} | option for option in options]
    }


def _sort(option: Schema) -> str:
    """Return what tells one of several alternatives from the others, in an editor's words."""
    return " or ".join(map(str, option["enum"])) if "enum" in option else str(option.get("type", "other"))
