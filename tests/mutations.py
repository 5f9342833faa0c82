"""Hypothesis strategies of wrong configs: shipped ones with mistaken values, or with damaged text."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

import yaml_core
from refusals import CONFIGS

TEXTS = tuple(path.read_text() for path in CONFIGS)
TREES = tuple(yaml_core.read(text) for text in TEXTS)
KeyPath = tuple[str | int, ...]
UNUSUAL_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 10**12, 0.5, 1.5, -0.1, 1e-12, 1e30, "", "x", "never", "auto", "null", "down",
    "2020-01-02", "2020-13-45", "12:30:00", "../up", "é" * 90, "AAPL", [], {}, [1], [[1]], [1, 1], ["AAPL"], [None],
    {"kind": "rsi"}, {"kind": "nothing"}, {"kind": 3}, {"a": {"b": {}}},
)  # fmt: skip
KEY_NAMES = (
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
TEXT_FRAGMENTS = (
    "[", "]", "{", "}", ":", ": ", ",", "- ", "#", "&a ", "*a", "!!python/object:os.system ", "!x ", "|\n", ">\n", "'",
    '"', "%YAML 1.1\n", "---\n", "...\n", "? ", "<<: ", "`", "@", "\t", "\r", "\r\n", "\n", "  ", "\x00", "\x07",
    "\x85", "\u2028", "\ufeff", "\u202e", "🦊", "é", "0" * 400, "~", "null", "true", ".nan", ".inf", "1e999", "-",
    "[" * 60, "{a: " * 60,
)  # fmt: skip


@st.composite
def mistaken_trees(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the contents of a shipped config with one to three mistakes."""
    tree: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(_value_paths(tree))
        if paths:
            draw(st.sampled_from((_remove, _rename, _replace, _repeat, _wrap, _swap)))(draw, tree, paths)
    return tree


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Draw the text of a shipped config with one to four damages."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from((_insert_fragment, _truncate, _damage_line)))(draw, text)
    return text


def _value_paths(tree: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _value_paths(inner, (*path, key))


def _draw_container(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> tuple[Any, Any]:
    """Draw a path, and return the container of its value and its key in it."""
    *outer, key = draw(st.sampled_from(paths))
    for part in outer:
        tree = tree[part]
    return tree, key


def _remove(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    container, key = _draw_container(draw, tree, paths)
    del container[key]


def _rename(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    """Rename a key, by a letter or completely; add an entry to a list instead."""
    container, key = _draw_container(draw, tree, paths)
    if isinstance(container, list):
        container.append(draw(st.sampled_from(UNUSUAL_VALUES)))
        return
    position = draw(st.integers(0, len(key)))
    name = draw(
        st.sampled_from((*KEY_NAMES, key[:position] + key[position + 1 :], key[:position] + "e" + key[position:]))
    )
    container[name] = container.pop(key)


def _replace(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    container, key = _draw_container(draw, tree, paths)
    container[key] = copy.deepcopy(draw(st.sampled_from(UNUSUAL_VALUES)))


def _repeat(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    """Repeat an entry of a list, or the value of a key under another key."""
    container, key = _draw_container(draw, tree, paths)
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[draw(st.sampled_from(KEY_NAMES))] = copy.deepcopy(container[key])


def _wrap(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    container, key = _draw_container(draw, tree, paths)
    container[key] = draw(st.sampled_from(([container[key]], {"kind": container[key]}, {str(key): container[key]})))


def _swap(draw: st.DrawFn, tree: Any, paths: list[KeyPath]) -> None:
    """Replace one value by another."""
    container, key = _draw_container(draw, tree, paths)
    other, name = _draw_container(draw, tree, paths)
    container[key] = copy.deepcopy(other[name])


def _insert_fragment(draw: st.DrawFn, text: str) -> str:
    """Replace some of the text by a fragment or random characters."""
    position = draw(st.integers(0, len(text)))
    fragment = draw(st.sampled_from(TEXT_FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=3))
    return text[:position] + fragment + text[position + draw(st.integers(0, 12)) :]


def _truncate(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(len(text) // 4, len(text)))]


def _damage_line(draw: st.DrawFn, text: str) -> str:
    """Remove a line, repeat it, or change its indentation."""
    lines = text.splitlines(keepends=True) or [""]
    position = draw(st.integers(0, len(lines) - 1))
    lines[position] = draw(
        st.sampled_from(
            ("", lines[position] * 2, f"  {lines[position]}", lines[position].lstrip(), f"\t{lines[position]}")
        )
    )
    return "".join(lines)
