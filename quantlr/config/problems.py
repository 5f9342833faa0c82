"""What pydantic found wrong, as one line per key that says what was needed, what was found, and a near name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from quantlr.config.written import Path_, Place, Problem, Written, dotted
from quantlr.types import Part, load_installed

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
LONGEST_LIST = 20
SHORTENED = 6
"""Names that are shown of a longer list."""
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
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(_inside(other["loc"], detail["loc"]) for other in details):
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


def _inside(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


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
        elif at == len(loc) - 1 and (kind == "missing" or (kind == "value_error" and str(part).isidentifier())):
            path.append(part)  # what is not written: a key that is needed, or a default that does not fit the others
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
        section = _section(model, path[:-1], written.value)
        known = list(section.model_fields) if section else []
        listed = f"; known here: {_listed(known)}" if known else ""
        return f"unknown key{_near(str(path[-1]), known) or listed}"
    if detail["type"] == "union_tag_not_found":
        kinds = _listed(_kinds(model, path[:-1] if path[-1] == "kind" else path, written.value))
        if isinstance(detail["input"], dict):
            return f"is needed, and missing: one of {kinds}"
        return f"needs a mapping with a kind, found {_shown(detail['input'])}; the kind is one of {kinds}"
    if detail["type"] in ("value_error", "assertion_error"):
        return str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        return "is needed, and missing"
    return _needed(detail["type"], detail.get("ctx", {}), detail)


def _needed(kind: str, context: dict[str, Any], detail: Any) -> str:
    """Return what a value needs to be and what it is."""
    found = _shown(detail["input"])
    if kind == "union_tag_invalid":
        return _unknown_kind(detail["input"], [tag.strip(" '") for tag in context["expected_tags"].split(",")])
    if kind == "literal_error":
        known = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"needs {context['expected']}, found {found}{_near(str(detail['input']), known)}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"needs {words} {context[name]:g}, found {found}"
    if kind in ("string_too_long", "too_long") and isinstance(detail["input"], str):
        return f"needs at most {context['max_length']} characters, found {len(detail['input'])}"
    if kind in ("too_short", "too_long") and not isinstance(detail["input"], str):
        return _counted(context, kind)
    needed = _TEXTS.get(kind) or str(detail["msg"]).replace("Input should", "should", 1)
    return f"{needed}, found {found}"


def _unknown_kind(section: Any, known: list[str]) -> str:
    kind = section.get("kind") if isinstance(section, dict) else getattr(section, "kind", None)
    if not isinstance(kind, str):
        return f"needs the name of a kind, found {_shown(kind)}; one of {_listed(known)}"
    return f"unknown kind {_shown(kind)}{_near(kind, known) or f'; known here: {_listed(known)}'}"


def _counted(context: dict[str, Any], kind: str) -> str:
    """Return how many entries a list needs, and how many it has."""
    words, limit = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
    entries = "one entry" if context[limit] == 1 else f"{context[limit]} entries"
    return f"needs {words} {entries}, found {context['actual_length'] or 'none'}"


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


def _listed(names: list[str]) -> str:
    """Return names as a list that can be read; only the catalogue of features is longer than that."""
    if len(names) <= LONGEST_LIST:
        return ", ".join(names)
    return f"{', '.join(names[:SHORTENED])} and {len(names) - SHORTENED} more, which `quantlr features` lists"


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


def _options(section: type[BaseModel] | None, key: str) -> list[type[BaseModel]]:
    """Return the sections that may stand under a key of a section."""
    field = section.model_fields.get(key) if section else None
    if field is None:
        return []
    return [member for place in (field.annotation, *field.metadata) for member in _members(place)]


def _chosen(options: list[type[BaseModel]], value: Any) -> type[BaseModel] | None:
    """Return which of the sections a value is, by its kind; None where no one knows the kind."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not options or kind is None:
        return options[0] if options else None
    for option in options:
        if "kind" in option.model_fields and option.model_fields["kind"].default == kind:
            return option
    base = next((ancestor for ancestor in options[0].__mro__ if "group" in vars(ancestor)), Part)
    return load_installed(str(kind), base) if issubclass(base, Part) and base.group else options[0]


def _section(model: type[BaseModel], path: Path_, tree: Any) -> type[BaseModel] | None:
    """Return the section that stands at a path, chosen by its kind where there are several."""
    section: type[BaseModel] | None = model
    options: list[type[BaseModel]] = []
    for part in path:
        tree = tree[part]
        if isinstance(part, str):
            options = _options(section, part)
        section = _chosen(options, tree)
    return section


def _kinds(model: type[BaseModel], path: Path_, tree: Any) -> list[str]:
    """Return the kinds that may stand at a path: a key, or an entry of the list under it."""
    while isinstance(path[-1], int):
        path = path[:-1]
    options = _options(_section(model, path[:-1], tree), str(path[-1]))
    return [str(option.model_fields["kind"].default) for option in options]
