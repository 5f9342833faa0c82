"""Configs that someone has got wrong: the shipped ones, damaged in what they say or in how they are written."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

import yaml_core
from refusals import CONFIGS

TEXTS = tuple(path.read_text() for path in CONFIGS)
TREES = tuple(yaml_core.read(text) for text in TEXTS)
Path_ = tuple[str | int, ...]
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 10**12, 0.5, 1.5, -0.1, 1e-12, 1e30, "", "x", "never", "auto", "null", "down",
    "2020-01-02", "2020-13-45", "12:30:00", "../up", "é" * 90, "AAPL", [], {}, [1], [[1]], [1, 1], ["AAPL"], [None],
    {"kind": "rsi"}, {"kind": "nothing"}, {"kind": 3}, {"a": {"b": {}}},
)  # fmt: skip
NAMES = (
    "kind",
    "of",
    "windows",
    "lags",
    "l2",
    "zzz",
    "",
    "no such key",
    "ключ",
    "extends",
    "name",
    "seed",
    "ties",
    "source",
)
SCRAPS = (
    "[", "]", "{", "}", ":", ": ", ",", "- ", "#", "&a ", "*a", "!!python/object:os.system ", "!x ", "|\n", ">\n", "'",
    '"', "%YAML 1.1\n", "---\n", "...\n", "? ", "<<: ", "`", "@", "\t", "\r", "\r\n", "\n", "  ", "\x00", "\x07",
    "\x85", "\u2028", "\ufeff", "\u202e", "🦊", "é", "0" * 400, "~", "null", "true", ".nan", ".inf", "1e999", "-",
    "[" * 60, "{a: " * 60,
)  # fmt: skip


@st.composite
def mistaken_trees(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a shipped config says after one to three mistakes."""
    tree: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if places:
            draw(st.sampled_from((_remove, _rename, _replace, _repeat, _wrap, _swap)))(draw, tree, places)
    return tree


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Draw the text of a shipped config after one to four accidents."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from((_scrap, _cut, _line)))(draw, text)
    return text


def _places(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _holder(draw: st.DrawFn, tree: Any, places: list[Path_]) -> tuple[Any, Any]:
    """Draw a place, and return what holds it and its key there."""
    *outer, key = draw(st.sampled_from(places))
    for part in outer:
        tree = tree[part]
    return tree, key


def _remove(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    holder, key = _holder(draw, tree, places)
    del holder[key]


def _rename(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    """Rename a key, by a letter or wholly; of a list's entry there is none, and another is added."""
    holder, key = _holder(draw, tree, places)
    if isinstance(holder, list):
        holder.append(draw(st.sampled_from(ODD)))
        return
    at = draw(st.integers(0, len(key)))
    name = draw(st.sampled_from((*NAMES, key[:at] + key[at + 1 :], key[:at] + "e" + key[at:])))
    holder[name] = holder.pop(key)


def _replace(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    holder, key = _holder(draw, tree, places)
    holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))


def _repeat(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    """Write an entry of a list twice, or what is under a key under another one too."""
    holder, key = _holder(draw, tree, places)
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[draw(st.sampled_from(NAMES))] = copy.deepcopy(holder[key])


def _wrap(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    holder, key = _holder(draw, tree, places)
    holder[key] = draw(st.sampled_from(([holder[key]], {"kind": holder[key]}, {str(key): holder[key]})))


def _swap(draw: st.DrawFn, tree: Any, places: list[Path_]) -> None:
    """Write one value in the place of another."""
    holder, key = _holder(draw, tree, places)
    other, name = _holder(draw, tree, places)
    holder[key] = copy.deepcopy(other[name])


def _scrap(draw: st.DrawFn, text: str) -> str:
    """Put a scrap, or any letters, in the place of some of the text."""
    at = draw(st.integers(0, len(text)))
    scrap = draw(st.sampled_from(SCRAPS) | st.text(st.characters(codec="utf-8"), max_size=3))
    return text[:at] + scrap + text[at + draw(st.integers(0, 12)) :]


def _cut(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(len(text) // 4, len(text)))]


def _line(draw: st.DrawFn, text: str) -> str:
    """Lose a line, write it twice, or indent it otherwise."""
    lines = text.splitlines(keepends=True) or [""]
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = draw(st.sampled_from(("", lines[at] * 2, f"  {lines[at]}", lines[at].lstrip(), f"\t{lines[at]}")))
    return "".join(lines)
