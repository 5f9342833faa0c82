"""Edits of a config file: one value changes, and every other byte stays."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quantlr.config.edit import edit_config, set_value, write_config
from quantlr.config.run_config import EditedConfig, load_config
from quantlr.config.yaml_tree import parse_key_path
from quantlr.core.errors import ConfigError, OutputError
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

import yaml_core
from refusals import CONFIGS

SWEEPS = tuple(sorted(CONFIGS[0].parent.glob("sweeps/*.yaml")))
OTHER_VALUE = "1.25"


def scalars(node: Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], ScalarNode]]:
    """Yield the path and the node of each scalar that is a value."""
    if isinstance(node, ScalarNode):
        yield path, node
        return
    entries = [(key.value, value) for key, value in node.value] if isinstance(node, MappingNode) else None
    for part, value in entries or enumerate(node.value):
        yield from scalars(value, (*path, part))


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """Return nested lists and mappings with another value at a path."""
    container = value
    for part in path[:-1]:
        container = container[part]
    container[path[-1]] = new
    return value


def set_text(text: str, path: tuple[str | int, ...], value_text: str) -> str:
    return set_value(text, path, value_text, file_name="my.yaml")


def lines_with_comments(text: str) -> list[str]:
    """Return the lines of a config with the comments below each; each is a document of its own."""
    return re.split(r"^(?= *[\w-])", text, flags=re.MULTILINE)[1:]


def values_with_nodes(text: str) -> dict[tuple[str | int, ...], ScalarNode]:
    found = scalars(YAML(typ="rt", pure=True).compose(text))
    return {path: node for path, node in found if node.end_mark.index > node.start_mark.index}


def assert_replaced_alone(text: str, path: tuple[str | int, ...], node: ScalarNode) -> None:
    edited = set_text(text, path, OTHER_VALUE)
    assert edited == text[: node.start_mark.index] + OTHER_VALUE + text[node.end_mark.index :], path
    assert yaml_core.read(edited) == replaced(yaml_core.read(text), path, float(OTHER_VALUE)), path


@pytest.mark.parametrize("file", [*CONFIGS, *SWEEPS], ids=lambda file: file.stem)
def test_every_value_of_the_shipped_configs_is_replaced_alone(file: Path) -> None:
    text = file.read_bytes().decode()
    texts = lines_with_comments(text)
    assert text.endswith("".join(texts))
    for line in texts:
        for path, node in values_with_nodes(line).items():
            assert_replaced_alone(line, path, node)
            assert set_text(line, path, line[node.start_mark.index : node.end_mark.index]) == line


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_value_of_a_whole_file_is_replaced_alone(file: Path) -> None:
    text = file.read_bytes().decode().replace("\n", "\r\n")
    path, node = list(values_with_nodes(text).items())[-3]
    assert_replaced_alone(text, path, node)


@pytest.mark.parametrize(
    ("text", "path", "new", "expected"),
    [
        ("a: {b: 1, c: 'x, y'}  # 'é'\n", "a.c", "2", "a: {b: 1, c: 2}  # 'é'\n"),
        ('a: "quoted: \\" # text" # comment\n', "a", "2", "a: 2 # comment\n"),
        ("ü: 'ß→😀'\na: [1, 2]   # é\n", "a", "[3]", "ü: 'ß→😀'\na: [3]   # é\n"),
        ("a: [1, [2, 3]]\n", "a.1.0", "4", "a: [1, [4, 3]]\n"),
        ("a:\n- 1\n- 2 # two", "a.1", "5", "a:\n- 1\n- 5 # two"),
        ("a:\n  b: 1\n  c:\nd: 2\n", "a.c", "5", "a:\n  b: 1\n  c: 5\nd: 2\n"),
        ("a: |\n  text\n  more\nb: 1\n", "b", "2", "a: |\n  text\n  more\nb: 2\n"),
        ("\ufeffa: 1\r\nb: 2\r\n", "b", "3", "\ufeffa: 1\r\nb: 3\r\n"),
    ],
)
def test_value_is_replaced_within_its_own_characters(text: str, path: str, new: str, expected: str) -> None:
    assert set_text(text, parse_key_path(path), new) == expected


@pytest.mark.parametrize(
    ("text", "path", "new", "expected"),
    [
        ("a: {b: 1}  # note\n", "a.c", "2", "a: {b: 1, c: 2}  # note\n"),
        ("a: {b: 1,}\n", "a.c", "2", "a: {b: 1, c: 2,}\n"),
        ("a: {}\n", "a.c", "2", "a: {c: 2}\n"),
        ("a: {\n  b: 1,  # one\n  c: [1]  # two\n}\n", "a.d", "2", "a: {\n  b: 1,  # one\n  c: [1], d: 2  # two\n}\n"),
        ("{a: 1}", "b.c", "2", "{a: 1, b: {c: 2}}"),
        ("a: 1\n", "b", "2", "a: 1\nb: 2\n"),
        ("a: 1", "b", "2", "a: 1\nb: 2"),
        ("a: 1\r\nb: 2\r\n", "c.d", "[3]", "a: 1\r\nb: 2\r\nc: {d: [3]}\r\n"),
        ("a:\n  b: 1  # one\n\n# end\nc: 2\n", "a.d", "3", "a:\n  b: 1  # one\n  d: 3\n\n# end\nc: 2\n"),
        ("a:\n- b: 1\n  c: [x,\n    y]\n- d: 2\n", "a.0.e", "3", "a:\n- b: 1\n  c: [x,\n    y]\n  e: 3\n- d: 2\n"),
        ("a:\n  b:\n    - 1\n    - {c: 2}\n", "a.d", "3", "a:\n  b:\n    - 1\n    - {c: 2}\n  d: 3\n"),
        ("a:\n  b: |\n    text\n\nc: 2\n", "a.d", "3", "a:\n  b: |\n    text\n  d: 3\n\nc: 2\n"),
        ("a:\n  b:\nc: 2\n", "a.d", "3", "a:\n  b:\n  d: 3\nc: 2\n"),
        ("---\na: 1\n...\n", "b", "2", "---\na: 1\nb: 2\n...\n"),
    ],
)
def test_absent_key_is_added_at_the_end_of_its_mapping(text: str, path: str, new: str, expected: str) -> None:
    assert set_text(text, parse_key_path(path), new) == expected


@pytest.mark.parametrize(
    ("text", "path", "new", "message"),
    [
        ("a: {b: 1}", "a.b", "1, c: 2", "can't stand in this place"),
        ("a: {b: 1}", "a.b", "1, 2", "can't stand in this place"),
        ("a: [1, 2]", "a.0", "3, 4", "can't stand in this place"),
        ("a: 1", "a", "[2,\n3]", "one line"),
        ("a: 1", "a", "[2", "not closed"),
        ("a: 1", "a", "&x 2", "anchor"),
        ("a: 1", "a.b", "2", "a is no mapping"),
        ("a: [1]", "a.3", "2", "a is no mapping"),
        ("a: [1", "a", "2", "my.yaml:1:6: the bracket"),
    ],
)
def test_what_would_change_anything_else_is_refused(text: str, path: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        set_text(text, parse_key_path(path), new)


BASE = """\
data: {source: {kind: sample}, tickers: ["^GSPC"]}
features:
  - {kind: lagged_returns, lags: [1, 2]}
  - {kind: clip, of: {kind: rsi, windows: [20]}, low: -3}
policy: {kind: threshold, long_above: 0.5}
"""


@pytest.mark.parametrize(
    ("key", "new", "added"),
    [
        ("policy.long_above", "0.6", "policy: {long_above: 0.6}"),
        ("model.l2", "0.1", "model: {l2: 0.1}"),
        ("execution.fill", "next_open", "execution: {fill: next_open}"),
        (
            "features.1.of.windows",
            "[30]",
            "features: [{kind: lagged_returns, lags: [1, 2]}, {kind: clip, of: {kind: rsi, windows: [30]}, low: -3}]",
        ),
    ],
)
def test_inherited_value_is_added_to_the_own_file(tmp_path: Path, key: str, new: str, added: str) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    path = tmp_path / "my.yaml"
    path.write_text("extends: base.yaml\nname: mine  # of my own\n")
    edited = edit_config(path, key, new)
    changes = [
        line for line in difflib.ndiff(path.read_text().splitlines(), edited.text.splitlines()) if line[0] != " "
    ]
    assert changes == [f"+ {added}"]
    assert load_config(edited).run == load_config(path, overrides={key: yaml_core.read(new)}).run
    assert (tmp_path / "base.yaml").read_text() == BASE


def test_edited_text_is_validated_in_place_of_the_files_own(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(BASE)
    with pytest.raises(ConfigError, match=r"my.yaml:5:39: policy.long_above: needs a number of at most 1, found 2"):
        load_config(edit_config(path, "policy.long_above", "2"))
    assert load_config(edit_config(path, "policy.long_above", "0.7")).run.name == "my"
    assert path.read_text() == BASE


def test_written_file_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.yaml", tmp_path / "my.yaml"
    target.write_text(BASE)
    target.chmod(0o640)
    link.symlink_to(target)
    write_config(EditedConfig(link, "a: é\r\n"))
    assert link.is_symlink()
    assert target.read_bytes() == "a: é\r\n".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_file_that_has_vanished_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"my.yaml: can't be written"):
        write_config(EditedConfig(tmp_path / "my.yaml", "a: 1"))
