"""What pydantic found wrong, as one line per key that says what was needed, what was found, and a near name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from quantlr.config.written import Path_, Place, Problem, Written, dotted

_TEXTS = {
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
LONGEST_NAME = 60
"""Characters of a name that near ones are looked for."""
_LIMITS = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("a number of at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("a number of at most", "le"),
}


def problems_of(error: ValidationError, written: Written, model: type[BaseModel]) -> list[Problem]:
    """Return what is wrong with `written`, one problem per key."""
    found: dict[Path_, list[str]] = {}
    places: dict[Path_, Place] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts only the entries that are right, and has named the others
        path = _real(detail["loc"], written.value, detail["type"])
        if detail["type"].startswith("union_tag") and isinstance(detail["input"], dict):
            path = (*path, "kind")
        text = _text(detail, path, written, model)
        texts = found.setdefault(path, [])
        if text not in texts:
            texts.append(text)
        places[path] = _place(path, written, unknown_key=detail["type"] == "extra_forbidden")
    return [Problem(places[path], dotted(path), _joined(texts)) for path, texts in found.items()]


def in_order(problems: list[Problem]) -> list[Problem]:
    """Return problems file by file, in the order of their lines."""
    return sorted(problems, key=lambda problem: (problem.place.file, problem.place.line, problem.place.column))


def _joined(texts: list[str]) -> str:
    """Return the alternatives of a union as one sentence: needs a whole number or 'never', found 'often'."""
    needs = [text.removeprefix("needs ").partition(", found ") for text in texts if text.startswith("needs ")]
    if len(texts) < 2 or len(needs) < len(texts):
        return "; ".join(texts)
    return f"needs {' or '.join(need for need, _, _ in needs)}, found {needs[0][2]}"


def _real(loc: tuple[int | str, ...], tree: Any, kind: str) -> Path_:
    """Return pydantic's location without what names the members of a union and not the config."""
    path: list[int | str] = []
    for at, part in enumerate(loc):
        if isinstance(tree, dict) and part == tree.get("kind") and at and loc[at - 1] == path[-1]:
            continue  # the member of a union, not a key of the same name
        if isinstance(tree, dict) and part in tree:
            path.append(part)
            tree = tree[str(part)]
        elif isinstance(tree, (list, tuple)) and isinstance(part, int) and part < len(tree):
            path.append(part)
            tree = tree[part]
        elif kind == "missing" and at == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _place(path: Path_, written: Written, *, unknown_key: bool) -> Place:
    if unknown_key and path in written.keys:
        return written.keys[path]
    while path not in written.places and path:
        path = path[:-1]
    return written.places.get(path, Place("config"))


def _text(detail: Any, path: Path_, written: Written, model: type[BaseModel]) -> str:
    """Return what one of pydantic's findings says in words of this program."""
    if detail["type"] == "extra_forbidden":
        known = list(_section(model, path[:-1], written.value).model_fields)
        return f"unknown key{_near(str(path[-1]), known) or '; known here: ' + ', '.join(known)}"
    if detail["type"] == "union_tag_not_found":
        kinds = ", ".join(_kinds(model, path[:-1] if path[-1] == "kind" else path, written.value))
        if isinstance(detail["input"], dict):
            return f"is needed, and missing: one of {kinds}"
        return f"needs a mapping with one of {kinds} as its kind, found {_shown(detail['input'])}"
    if detail["type"] in ("value_error", "assertion_error"):
        return str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        return "is needed, and missing"
    return _needed(detail["type"], detail.get("ctx", {}), detail)


def _needed(kind: str, context: dict[str, Any], detail: Any) -> str:
    """Return what a value needs to be and what it is."""
    found = _shown(detail["input"])
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"needs one of {', '.join(known)}, found {context['tag']!r}{_near(context['tag'], known)}"
    if kind == "literal_error":
        known = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"needs {context['expected']}, found {found}{_near(str(detail['input']), known)}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"needs {words} {context[name]:g}, found {found}"
    if kind in ("string_too_long", "too_long") and isinstance(detail["input"], str):
        return f"needs at most {context['max_length']} characters, found {len(detail['input'])}"
    if kind == "too_short" and not isinstance(detail["input"], str):
        return "needs at least one entry, found none"
    needed = _TEXTS.get(kind) or str(detail["msg"]).replace("Input should", "should", 1)
    return f"{needed}, found {found}"


def _shown(value: Any) -> str:
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


def _near(word: str, known: list[str]) -> str:
    if len(word) > LONGEST_NAME:
        return ""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that an annotation can be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _members(argument)


def _section(model: type[BaseModel], path: Path_, tree: Any) -> type[BaseModel]:
    """Return the section that stands at a path, chosen by its kind where there are several."""
    for part in path:
        tree = tree[part]
        if isinstance(part, int):
            continue
        members = list(_members(model.model_fields[part].annotation))
        members += [member for extra in model.model_fields[part].metadata for member in _members(extra)]
        model = members[0] if members else model
        options = members
    if not path:
        return model
    kind = tree.get("kind") if isinstance(tree, dict) else None
    named = [option for option in options if "kind" in option.model_fields]
    return next((option for option in named if option.model_fields["kind"].default == kind), model) if kind else model


def _kinds(model: type[BaseModel], path: Path_, tree: Any) -> list[str]:
    """Return the kinds that may stand at a path: a key, or an entry of the list under it."""
    parent = _section(model, tuple(part for part in path if not isinstance(part, int))[:-1], tree)
    name = next(str(part) for part in reversed(path) if not isinstance(part, int))
    return [str(member.model_fields["kind"].default) for member in _members(parent.model_fields[name].annotation)]
