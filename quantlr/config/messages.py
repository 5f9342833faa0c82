"""What pydantic found wrong, as one line per key that says what was needed, what was found, and a near name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from quantlr.config.loader import ConfigProblem, KeyPath, ParsedYaml, SourceLocation, format_key_path
from quantlr.core.components import Component, load_installed_component

_TEXT_BY_ERROR_TYPE = {
    "int_type": "needs a whole number",
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_type": "needs a number",
    "float_parsing": "needs a number",
    "string_type": "needs text",
    "bool_type": "needs true or false",
    "bool_parsing": "needs true or false",
    "tuple_type": "needs a list, like [a, b]",
    "list_type": "needs a list, like [a, b]",
    "dict_type": "needs a mapping, like {key: value}",
    "model_type": "needs a mapping, like {key: value}",
    "model_attributes_type": "needs a mapping, like {key: value}",
    "date_type": "needs a date as YYYY-MM-DD",
    "date_parsing": "needs a date as YYYY-MM-DD",
    "date_from_datetime_parsing": "needs a date as YYYY-MM-DD",
    "date_from_datetime_inexact": "needs a date as YYYY-MM-DD",
    "path_type": "needs a path",
    "finite_number": "needs a finite number",
    "too_short": "needs text",
    "string_too_short": "needs text",
    "string_pattern_mismatch": "needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot",
}
MAX_SUGGESTION_CHARS = 60
"""Characters of a name that near ones are looked for."""
MAX_NAMES_LISTED = 20
NAMES_SHOWN_WHEN_SHORTENED = 6
"""Names that are shown of a longer list."""
_BOUND_TEXTS = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("a number of at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("a number of at most", "le"),
}


def problems_from_validation_error(
    error: ValidationError, parsed_yaml: ParsedYaml, model: type[BaseModel]
) -> list[ConfigProblem]:
    """Return what is wrong with `written`, one problem per key."""
    found: dict[KeyPath, list[str]] = {}
    places: dict[KeyPath, SourceLocation] = {}
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_is_nested_loc(other["loc"], detail["loc"]) for other in details):
            continue  # pydantic counts only the entries that are right, and has named the others
        path = _key_path_from_loc(detail["loc"], parsed_yaml.value, detail["type"])
        if detail["type"].startswith("union_tag") and isinstance(detail["input"], dict):
            path = (*path, "kind")
        text = _problem_text(detail, path, parsed_yaml, model)
        texts = found.setdefault(path, [])
        if text not in texts:
            texts.append(text)
        places[path] = _find_location(path, parsed_yaml, is_unknown_key=detail["type"] == "extra_forbidden")
    return [
        ConfigProblem(places[path], format_key_path(path), _join_problem_texts(texts)) for path, texts in found.items()
    ]


def _is_nested_loc(loc: tuple[int | str, ...], outer_loc: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer_loc) and loc[: len(outer_loc)] == outer_loc


def sort_problems(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    """Return problems file by file, in the order of their lines."""
    return sorted(problems, key=lambda problem: (problem.location.file, problem.location.line, problem.location.column))


def _join_problem_texts(texts: list[str]) -> str:
    """Return the alternatives of a union as one sentence: needs a whole number or 'never', found 'often'."""
    needs = [text.removeprefix("needs ").partition(", found ") for text in texts if text.startswith("needs ")]
    if len(texts) < 2 or len(needs) < len(texts):
        return "; ".join(texts)
    return f"needs {' or '.join(need for need, _, _ in needs)}, found {needs[0][2]}"


def _key_path_from_loc(loc: tuple[int | str, ...], config_values: Any, error_type: str) -> KeyPath:
    """Return pydantic's location without what names the members of a union and not the config."""
    path: list[int | str] = []
    for at, part in enumerate(loc):
        if isinstance(config_values, dict) and part == config_values.get("kind") and at and loc[at - 1] == path[-1]:
            continue  # the member of a union, not a key of the same name
        if isinstance(config_values, dict) and part in config_values:
            path.append(part)
            config_values = config_values[str(part)]
        elif isinstance(config_values, (list, tuple)) and isinstance(part, int) and part < len(config_values):
            path.append(part)
            config_values = config_values[part]
        elif at == len(loc) - 1 and (
            error_type == "missing" or (error_type == "value_error" and str(part).isidentifier())
        ):
            path.append(part)  # what is not written: a key that is needed, or a default that does not fit the others
    return tuple(path)


def _find_location(key_path: KeyPath, parsed_yaml: ParsedYaml, *, is_unknown_key: bool) -> SourceLocation:
    if is_unknown_key and key_path in parsed_yaml.key_locations:
        return parsed_yaml.key_locations[key_path]
    while key_path not in parsed_yaml.value_locations and key_path:
        key_path = key_path[:-1]
    return parsed_yaml.value_locations.get(key_path, SourceLocation("config"))


def _problem_text(error_detail: Any, key_path: KeyPath, parsed_yaml: ParsedYaml, model: type[BaseModel]) -> str:
    """Return what one of pydantic's findings says in words of this program."""
    if error_detail["type"] == "extra_forbidden":
        section = _section_class_at(model, key_path[:-1], parsed_yaml.value)
        known = list(section.model_fields) if section else []
        listed = f"; known here: {_name_list_text(known)}" if known else ""
        return f"unknown key{_suggestion_text(str(key_path[-1]), known) or listed}"
    if error_detail["type"] == "union_tag_not_found":
        kinds = _name_list_text(
            _allowed_kinds(model, key_path[:-1] if key_path[-1] == "kind" else key_path, parsed_yaml.value)
        )
        if isinstance(error_detail["input"], dict):
            return f"is needed, and missing: one of {kinds}"
        return f"needs a mapping with a kind, found {_value_text(error_detail['input'])}; the kind is one of {kinds}"
    if error_detail["type"] in ("value_error", "assertion_error"):
        return str(error_detail["msg"]).removeprefix("Value error, ")
    if error_detail["type"] == "missing":
        return "is needed, and missing"
    return _needed_and_found_text(error_detail["type"], error_detail.get("ctx", {}), error_detail)


def _needed_and_found_text(error_type: str, error_context: dict[str, Any], error_detail: Any) -> str:
    """Return what a value needs to be and what it is."""
    found = _value_text(error_detail["input"])
    if error_type == "union_tag_invalid":
        return _unknown_kind_text(
            error_detail["input"], [tag.strip(" '") for tag in error_context["expected_tags"].split(",")]
        )
    if error_type == "literal_error":
        known = error_context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"needs {error_context['expected']}, found {found}{_suggestion_text(str(error_detail['input']), known)}"
    if error_type in _BOUND_TEXTS:
        words, name = _BOUND_TEXTS[error_type]
        return f"needs {words} {error_context[name]:g}, found {found}"
    if error_type in ("string_too_long", "too_long") and isinstance(error_detail["input"], str):
        return f"needs at most {error_context['max_length']} characters, found {len(error_detail['input'])}"
    if error_type in ("too_short", "too_long") and not isinstance(error_detail["input"], str):
        return _entry_count_text(error_context, error_type)
    needed = _TEXT_BY_ERROR_TYPE.get(error_type) or str(error_detail["msg"]).replace("Input should", "should", 1)
    return f"{needed}, found {found}"


def _unknown_kind_text(section: Any, known_kinds: list[str]) -> str:
    kind = section.get("kind") if isinstance(section, dict) else getattr(section, "kind", None)
    if not isinstance(kind, str):
        return f"needs the name of a kind, found {_value_text(kind)}; one of {_name_list_text(known_kinds)}"
    return f"unknown kind {_value_text(kind)}{_suggestion_text(kind, known_kinds) or f'; known here: {_name_list_text(known_kinds)}'}"


def _entry_count_text(error_context: dict[str, Any], error_type: str) -> str:
    """Return how many entries a list needs, and how many it has."""
    words, limit = ("at least", "min_length") if error_type == "too_short" else ("at most", "max_length")
    entries = "one entry" if error_context[limit] == 1 else f"{error_context[limit]} entries"
    return f"needs {words} {entries}, found {error_context['actual_length'] or 'none'}"


def _value_text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(getattr(value, "text", value))
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(text) if isinstance(value, str) else text


def _name_list_text(names: list[str]) -> str:
    """Return names as a list that can be read; only the catalogue of features is longer than that."""
    if len(names) <= MAX_NAMES_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:NAMES_SHOWN_WHEN_SHORTENED])} and {len(names) - NAMES_SHOWN_WHEN_SHORTENED} more, which `quantlr features` lists"


def _suggestion_text(word: str, known_words: list[str]) -> str:
    if len(word) > MAX_SUGGESTION_CHARS:
        return ""
    near = get_close_matches(word, known_words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _iter_section_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that an annotation can be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _iter_section_classes(argument)


def _allowed_section_classes(section_class: type[BaseModel] | None, key: str) -> list[type[BaseModel]]:
    """Return the sections that may stand under a key of a section."""
    field = section_class.model_fields.get(key) if section_class else None
    if field is None:
        return []
    return [member for place in (field.annotation, *field.metadata) for member in _iter_section_classes(place)]


def _select_section_class(section_classes: list[type[BaseModel]], value: Any) -> type[BaseModel] | None:
    """Return which of the sections a value is, by its kind; None where no one knows the kind."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not section_classes or kind is None:
        return section_classes[0] if section_classes else None
    for option in section_classes:
        if "kind" in option.model_fields and option.model_fields["kind"].default == kind:
            return option
    base = next((ancestor for ancestor in section_classes[0].__mro__ if "entry_point_group" in vars(ancestor)), Component)
    return (
        load_installed_component(str(kind), base)
        if issubclass(base, Component) and base.entry_point_group
        else section_classes[0]
    )


def _section_class_at(model: type[BaseModel], key_path: KeyPath, config_values: Any) -> type[BaseModel] | None:
    """Return the section that stands at a path, chosen by its kind where there are several."""
    section: type[BaseModel] | None = model
    options: list[type[BaseModel]] = []
    for part in key_path:
        config_values = config_values[part]
        if isinstance(part, str):
            options = _allowed_section_classes(section, part)
        section = _select_section_class(options, config_values)
    return section


def _allowed_kinds(model: type[BaseModel], key_path: KeyPath, config_values: Any) -> list[str]:
    """Return the kinds that may stand at a path: a key, or an entry of the list under it."""
    while isinstance(key_path[-1], int):
        key_path = key_path[:-1]
    options = _allowed_section_classes(_section_class_at(model, key_path[:-1], config_values), str(key_path[-1]))
    return [str(option.model_fields["kind"].default) for option in options]
