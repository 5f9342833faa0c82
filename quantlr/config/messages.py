"""Error messages of configs: one line per key, with its location, what it needs, what was found, and a similar name."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from quantlr.config.yaml_tree import (
    ConfigProblem,
    KeyPath,
    ParsedYaml,
    SourceLocation,
    format_key_path,
    nearest_location,
)
from quantlr.core.components import (
    Component,
    catalog_base_class,
    component_kind,
    load_installed_component,
    nested_annotations,
)

RENAMED_KEYS = {"model.descent": "model.solver", "untouched": "holdout"}
"""Former dotted keys of configs and sweeps, and their present names."""
RENAMED_VALUES = {"model.solver": {"plain": "gradient_descent", "accelerated": "nesterov", "preconditioned": "newton"}}
"""Former values by dotted key, and their present names."""
_ERROR_TYPES_BY_TEMPLATE = {
    "needs a whole number": ("int_type", "int_parsing", "int_from_float"),
    "needs a number": ("float_type", "float_parsing"),
    "needs text": ("string_type", "string_unicode", "too_short", "string_too_short"),
    "needs true or false": ("bool_type", "bool_parsing"),
    "needs a list, like [a, b]": ("tuple_type", "list_type"),
    "needs a mapping, like {{key: value}}": ("dict_type", "model_type", "model_attributes_type"),
    "needs a date as YYYY-MM-DD": (
        "date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact",
    ),
    "needs a path": ("path_type",),
    "needs a finite number": ("finite_number",),
    "needs a number above {gt:g}": ("greater_than",),
    "needs a number of at least {ge:g}": ("greater_than_equal",),
    "needs a number below {lt:g}": ("less_than",),
    "needs a number of at most {le:g}": ("less_than_equal",),
    "needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot": ("string_pattern_mismatch",),
}  # fmt: skip
_TEMPLATE_BY_ERROR_TYPE = {
    error_type: template for template, error_types in _ERROR_TYPES_BY_TEMPLATE.items() for error_type in error_types
}
MAX_SUGGESTION_CHARS = 60
"""Longest word for which similar names are looked up."""
MAX_NAMES_LISTED = 20
NAMES_SHOWN_WHEN_SHORTENED = 6
"""Names shown of a list longer than `MAX_NAMES_LISTED`."""


def problems_from_validation_error(
    error: ValidationError, parsed_yaml: ParsedYaml, model: type[BaseModel]
) -> list[ConfigProblem]:
    """Return the problems of a config or sweep that pydantic found, one per key."""
    texts_by_path: dict[KeyPath, dict[str, None]] = {}
    locations: dict[KeyPath, SourceLocation] = {}
    details = error.errors(include_url=False)
    for detail in details:
        loc = detail["loc"]
        if detail["type"] == "too_short" and any(other["loc"][: len(loc)] == loc != other["loc"] for other in details):
            continue  # pydantic counts valid entries only, and reports the invalid ones itself
        is_word_for_list = detail["type"] == "literal_error" and isinstance(detail["input"], (list, tuple))
        if is_word_for_list and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc) - 1] == loc[:-1] for other in details
        ):
            continue  # an entry of the list is invalid, and reported itself
        path = _key_path_from_pydantic_loc(loc, parsed_yaml.value, detail["type"])
        if detail["type"] == "union_tag_invalid" and isinstance(detail["input"], dict):
            path = (*path, "kind")
        texts_by_path.setdefault(path, {})[_problem_text(detail, path, parsed_yaml, model)] = None
        locations[path] = _location_of_key_path(path, parsed_yaml, is_unknown_key=detail["type"] == "extra_forbidden")
    return [
        ConfigProblem(locations[path], format_key_path(path), _join_problem_texts(list(texts)))
        for path, texts in texts_by_path.items()
    ]


def sort_problems_by_line(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    """Return problems ordered by file, line and column."""
    return sorted(problems, key=lambda problem: (problem.location.file, problem.location.line, problem.location.column))


def _join_problem_texts(texts: list[str]) -> str:
    """Return the errors of a union's members as one sentence: needs a whole number or 'never', found 'often'."""
    for text in texts:
        if text.startswith("renamed to "):
            return text
    needs = [text.removeprefix("needs ").partition(", found ") for text in texts if text.startswith("needs ")]
    if len(texts) < 2 or len(needs) < len(texts):
        return "; ".join(texts)
    return f"needs {' or '.join(need for need, _, _ in needs)}, found {needs[0][2]}"


def _key_path_from_pydantic_loc(loc: tuple[int | str, ...], config_values: Any, error_type: str) -> KeyPath:
    """Return pydantic's location as a key path: without the names of union members."""
    path: list[int | str] = []
    for index, part in enumerate(loc):
        is_mapping, is_last = isinstance(config_values, dict), index == len(loc) - 1
        if is_mapping and index and part == config_values.get("kind") and loc[index - 1] == path[-1]:
            continue  # a union member, not a key of the same name
        is_entry = isinstance(config_values, (list, tuple)) and isinstance(part, int) and part < len(config_values)
        if is_entry or (is_mapping and part in config_values):
            path.append(part)
            config_values = config_values[part]
        elif is_last and (error_type == "missing" or (error_type == "value_error" and str(part).isidentifier())):
            path.append(part)  # not in the file: a required key, or a default that contradicts other keys
    return tuple(path)


def _location_of_key_path(key_path: KeyPath, parsed_yaml: ParsedYaml, *, is_unknown_key: bool) -> SourceLocation:
    if is_unknown_key and key_path in parsed_yaml.key_locations:
        return parsed_yaml.key_locations[key_path]
    return nearest_location(parsed_yaml.value_locations, key_path) or SourceLocation("config")


def _problem_text(detail: Any, key_path: KeyPath, parsed_yaml: ParsedYaml, model: type[BaseModel]) -> str:
    """Return the message for one of pydantic's errors."""
    error_type, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if error_type == "extra_forbidden":
        section = _section_class_at(model, key_path[:-1], parsed_yaml.value)
        return _unknown_key_text(key_path, list(section.model_fields) if section else [])
    if error_type == "union_tag_invalid":
        return _missing_or_unknown_kind_text(value, [tag.strip(" '") for tag in context["expected_tags"].split(",")])
    if error_type in ("value_error", "assertion_error"):
        return str(detail["msg"]).removeprefix("Value error, ")
    if error_type == "missing":
        return "is needed, and missing"
    if error_type == "literal_error":
        if renamed := RENAMED_VALUES.get(format_key_path(key_path), {}).get(str(value)):
            return f"renamed to {renamed}"
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"needs {context['expected']}, found {_value_text(value)}{suggestion_text(str(value), choices)}"
    return _needed_and_found_text(error_type, value, context, str(detail["msg"]))


def _needed_and_found_text(error_type: str, value: Any, context: dict[str, Any], message: str) -> str:
    """Return the message for a value of a wrong type, size or length."""
    if error_type in ("string_too_long", "too_long") and isinstance(value, str):
        return f"needs at most {context['max_length']} characters, found {len(value)}"
    if error_type in ("too_short", "too_long") and not isinstance(value, str):
        need, name = ("at least", "min_length") if error_type == "too_short" else ("at most", "max_length")
        entries = "one entry" if context[name] == 1 else f"{context[name]} entries"
        return f"needs {need} {entries}, found {context['actual_length'] or 'none'}"
    template = _TEMPLATE_BY_ERROR_TYPE.get(error_type)
    needed = template.format(**context) if template else message.replace("Input should", "should", 1)
    return f"{needed}, found {_value_text(value)}"


def _unknown_key_text(key_path: KeyPath, known_keys: list[str]) -> str:
    renamed = RENAMED_KEYS.get(format_key_path(key_path), "")
    if renamed.rpartition(".")[2] in known_keys:
        return f"renamed to {renamed}"
    if str(key_path[-1]).isdecimal():
        return "unknown key; a number is written with a decimal point: after a comma another key begins"
    listed = f"; known here: {_name_list_text(known_keys)}" if known_keys else ""
    return f"unknown key{suggestion_text(str(key_path[-1]), known_keys) or listed}"


def _missing_or_unknown_kind_text(section: Any, known_kinds: list[str]) -> str:
    kind = section.get("kind") if isinstance(section, dict) else getattr(section, "kind", None)
    listed = _name_list_text(known_kinds)
    if kind is None and not isinstance(section, dict):
        return f"needs a mapping with a kind, found {_value_text(section)}; the kind is one of {listed}"
    if kind is None:
        return f"is needed, and missing: one of {listed}"
    if not isinstance(kind, str):
        return f"needs the name of a kind, found {_value_text(kind)}; one of {listed}"
    return f"unknown kind {_value_text(kind)}{suggestion_text(kind, known_kinds) or f'; known here: {listed}'}"


def _value_text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(getattr(value, "text", value))
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(text) if isinstance(value, str) else text


def _name_list_text(names: list[str]) -> str:
    """Return names separated by commas; a long list, which only the catalogue of features is, is shortened."""
    if len(names) <= MAX_NAMES_LISTED:
        return ", ".join(names)
    n_more = len(names) - NAMES_SHOWN_WHEN_SHORTENED
    return f"{', '.join(names[:NAMES_SHOWN_WHEN_SHORTENED])} and {n_more} more, which `quantlr features` lists"


def suggestion_text(word: str, known_words: Sequence[str]) -> str:
    """Return a question for the most similar known word, whatever its case; "" if none is similar."""
    if len(word) > MAX_SUGGESTION_CHARS:
        return ""
    by_lower_case = {known.lower(): known for known in known_words}
    similar = get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.5)
    return f"; did you mean {by_lower_case[similar[0]]}?" if similar else ""


def _allowed_section_classes(section_class: type[BaseModel] | None, key: str) -> list[type[BaseModel]]:
    """Return the section classes that a key of a section may have."""
    if section_class is None:
        return []
    section_class.model_rebuild()  # resolves annotations that name the catalogue of features
    field = section_class.model_fields.get(key)
    annotations = nested_annotations(field) if field else []
    return [item for item in annotations if isinstance(item, type) and issubclass(item, BaseModel)]


def _select_section_class(section_classes: list[type[BaseModel]], value: Any) -> type[BaseModel] | None:
    """Return the section class of a value, by its kind; None for an unknown kind."""
    kind = value.get("kind") if isinstance(value, dict) else None
    components = {component_kind(option): option for option in section_classes if issubclass(option, Component)}
    if kind is None or not components:
        return section_classes[0] if section_classes else None
    first = next(iter(components.values()))
    if str(kind) in components or not first.entry_point_group:
        return components.get(str(kind), first)
    return load_installed_component(str(kind), catalog_base_class(first))


def _section_class_at(model: type[BaseModel], key_path: KeyPath, config_values: Any) -> type[BaseModel] | None:
    """Return the section class at a key path, selected by `kind` where there are several."""
    section: type[BaseModel] | None = model
    options: list[type[BaseModel]] = []
    for part in key_path:
        config_values = config_values[part]
        if isinstance(part, str):
            options = _allowed_section_classes(section, part)
        section = _select_section_class(options, config_values)
    return section
