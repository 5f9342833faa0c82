"""Text of users reaches terminal and files without control characters, and without the name of a home folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.cli.terminal import EscapingConsole, make_table, print_table
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError
from quantlr.core.text import escape_unsafe_characters, hide_home_folder, path_for_sharing
from quantlr.report.file_formats import csv_bytes, json_bytes
from quantlr.report.html import render_template
from rich.text import Text

ATTACK = "\x1b]0;PWN\x1b\\\x9b31m\u202ered[red]bold[/]\r\x7f"
UNSAFE = ("\x1b", "\x9b", "\u202e", "\r", "\x7f")


@given(st.text())
def test_escaped_text_is_safe_and_escaping_it_again_changes_nothing(text: str) -> None:
    escaped = escape_unsafe_characters(text)
    assert all(character in "\t\n" or character.isprintable() or ord(character) > 0x9F for character in escaped)
    escaped.encode()
    assert escape_unsafe_characters(escaped) == escaped
    assert json.loads(escape_unsafe_characters(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_terminal_shows_control_characters_and_markup_as_they_are_written(is_terminal: bool) -> None:
    stream = io.StringIO()
    console = EscapingConsole(file=stream, force_terminal=is_terminal, color_system=None, width=200, markup=False)
    console.print(ATTACK)
    console.print(Text(ATTACK))
    print_table(make_table(ATTACK, ("", ATTACK), [(ATTACK, Text(ATTACK))]), console)
    shown = stream.getvalue()
    assert not [character for character in UNSAFE if character in shown]
    assert shown.count("[red]bold[/]") == 6
    assert shown.count("\\u001b]0;PWN") == 6


def test_files_have_control_characters_as_escapes() -> None:
    html = render_template(
        "gallery.html", signature="", script="", script_digest="", cards=[], orders={"x": ATTACK}, other_pages={}
    )
    texts = [json_bytes({"a": ATTACK}).decode(), csv_bytes(pd.DataFrame({"a": [ATTACK]})).decode(), html]
    for text in texts:
        assert "PWN" in text
        assert not [character for character in UNSAFE if character in text]
    assert json.loads(texts[0]) == {"a": ATTACK}


def test_tickers_with_control_characters_are_refused() -> None:
    config = {
        "data": {"source": {"kind": "sample"}, "tickers": ["\x1b[31mX"]},
        "features": [{"kind": "lagged_returns"}],
    }
    with pytest.raises(ConfigError, match="control characters") as error:
        load_config(config)
    assert "\x1b" not in str(error.value)


def test_paths_for_sharing_are_relative_or_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, report = tmp_path / "alice", tmp_path / "alice" / "work" / "reports" / "exp"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    report.mkdir(parents=True)
    cases = [
        (home / "work" / "P.csv", report, "../../P.csv"),
        (home / "P.csv", tmp_path / "out" / "exp", "~/P.csv"),
        (tmp_path / "data" / "P.csv", tmp_path / "out" / "exp", "../../data/P.csv"),
        (tmp_path / "~x" / "P.csv", tmp_path, "./~x/P.csv"),
    ]
    for path, folder, shown in cases:
        assert path_for_sharing(path, base_folder=folder) == shown
    assert hide_home_folder(f"{home}/P.csv and {home}ette/P.csv") == f"~/P.csv and {home}ette/P.csv"


def test_a_resolved_config_reads_the_same_file_and_names_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "alice"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    source = {"kind": "file", "path": str(home / "work" / "P.csv")}
    config = {"data": {"source": source, "tickers": ["P"]}, "features": [{"kind": "lagged_returns"}]}
    run = load_config(config).run
    for folder in (home / "work" / "reports" / "exp", tmp_path / "elsewhere" / "exp"):
        folder.mkdir(parents=True)
        text = run.to_yaml(folder=folder)
        assert "alice" not in text
        (folder / "config.yaml").write_text(text)
        assert load_config(folder / "config.yaml", name=run.name).run == run


def test_a_path_of_an_unknown_user_is_an_error_with_its_place() -> None:
    source = {"kind": "file", "path": "~no-such-user/P.csv"}
    config = {"data": {"source": source, "tickers": ["P"]}, "features": [{"kind": "lagged_returns"}]}
    with pytest.raises(ConfigError, match=r"data\.source\.path: .*no user"):
        load_config(config)
