"""Faulty files from end to end: each fault ends in an error with status 2, or in a repair with a note."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from quantlr.cli import main

from markets import random_walk_bars

pytestmark = pytest.mark.usefixtures("without_drawing")

CONFIG = """\
data: {source: {kind: file, path: x.csv}, tickers: [X]}
features:
  - {kind: lagged_returns, lags: [1]}
walk_forward: {train: 60}
"""
Lines = list[str]


@pytest.fixture
def run_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the program on a file of 120 bars, its lines changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.yaml").write_text(CONFIG)
    table = random_walk_bars(np.random.default_rng(0), pd.bdate_range("2020-01-01", periods=120)).round(6)
    lines = table.to_csv(index_label="date").splitlines()

    def run(change: Callable[[Lines], Lines], *arguments: str) -> Result:
        (tmp_path / "x.csv").write_text("".join(f"{line}\n" for line in change(list(lines))))
        return CliRunner().invoke(main, ["run", "exp.yaml", *arguments])

    return run


def replace_cell(line: str, column: int, text: str) -> str:
    return ",".join(text if index == column else old for index, old in enumerate(line.split(",")))


def scale_prices(line: str, by: float) -> str:
    date, *prices, volume = line.split(",")
    return ",".join([date, *(repr(float(price) * by) for price in prices), volume])


def stale(line: str) -> str:
    return f"{line.split(',')[0]},50,50,50,50,50,1000"


def with_slashes(line: str) -> str:
    year, month, day = line[:10].split("-")
    return f"{day}/{month}/{year}{line[10:]}"


def change_lines(change: Callable[[str], str], first: int = 50, last: int = 51) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:first], *map(change, lines[first:last]), *lines[last:]]


# The number of the fault, what is done to the lines, and what the error says. Line n of the file is lines[n - 1].
REFUSED: list[tuple[str, Callable[[Lines], Lines], str]] = [
    ("27 empty", lambda lines: [], "data.source.path: {x} is empty; needed a header line and prices"),
    ("27 a header alone", lambda lines: lines[:1], "{x} has a header line and no rows; needed prices"),
    ("27 blank rows alone", lambda lines: [lines[0], ",,,,,,"], "{x} has a header line and no rows; needed prices"),
    ("28 one row", lambda lines: lines[:2], "data.tickers: X has 1 bars; at least 2 are needed for one return"),
    ("29 a date twice", lambda lines: [*lines[:51], scale_prices(lines[50], 1.01), *lines[51:]], "data.quality.conflicting_rows: {x}:51: X 2020-03-10: two rows of one date, with open "),
    ("31 mixed time zones", lambda lines: [lines[0], *(f"{line[:10]} 00:00:00{'+09:00' if index == 50 else '-05:00'}{line[10:]}" for index, line in enumerate(lines[1:]))], "data.quality.time_zones: {x}:52: X 2020-03-11: time zones are mixed, UTC+09:00 here and UTC-05:00 in the first row"),
    ("33 zero", change_lines(lambda line: replace_cell(line, 4, "0")), "data.quality.positive: {x}:51: X 2020-03-10: close needs a positive number, found 0.0; correct the data, or write data.quality.positive: drop to leave such rows out"),
    ("33 negative", change_lines(lambda line: replace_cell(line, 1, "-4.5")), "{x}:51: X 2020-03-10: open needs a positive number, found -4.5"),
    ("35 cents for dollars", change_lines(lambda line: scale_prices(line, 100), 50, 60), "data.quality.scale: {x}:51: X 2020-03-10: close "),
    ("37 future dates", lambda lines: [*lines[:-1], f"2999-01-01{lines[-1][10:]}"], "data.quality.future: {x}:121: X 2999-01-01: date is after today (20"),
    ("38 one column too many", change_lines(lambda line: f"{line},7"), "data.source.path: {x}:51: needed 7 columns, as the header has, found 8: '2020-03-10,"),
    ("39 a number as text", change_lines(lambda line: replace_cell(line, 4, '"1.234,5"')), "has a decimal point, and '1.234,5' in line 51 a decimal comma; write all numbers alike, or set data.source.decimal"),
    ("40 dd/mm or mm/dd", lambda lines: [lines[0], *(with_slashes(line) for line in lines[1:] if int(line[8:10]) < 13)], "data.source.path: {x}:2: date: found '01/01/2020': day and month can't be distinguished"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_unusable_files_end_with_status_2_place_and_remedy(
    run_cli: Callable[..., Result], tmp_path: Path, change: Callable[[Lines], Lines], message: str
) -> None:
    result = run_cli(change)
    assert result.exit_code == 2
    assert result.stderr.startswith("exp.yaml:1:")
    assert message.format(x=tmp_path / "x.csv") in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "reports").exists()


# What is repaired, and its note: key, text, count, bars left of 120.
REPAIRED: list[tuple[str, Callable[[Lines], Lines], tuple[str, str, int, int]]] = [
    ("29 a row twice", lambda lines: [*lines[:51], lines[50], *lines[51:]], ("repeated_rows", "duplicate row; dropped", 1, 120)),
    ("30 unsorted", lambda lines: [lines[0], *lines[:0:-1]], ("order", "rows were newest first; they were sorted", 119, 120)),
    ("32 a gap", lambda lines: [*lines[:50], *lines[70:]], ("gaps", "no bar until 2020-04-07, 29 days later: a gap in the prices, or a halt", 1, 100)),
    ("34 a split", change_lines(lambda line: scale_prices(line, 0.5), 50, 121), ("large_moves", "in a session: looks like a 2:1 split that was not adjusted", 1, 120)),
    ("36 stale prices", change_lines(stale, 50, 70), ("stale", "the close stays 50 for 20 bars", 19, 120)),
    ("37 an empty last bar", lambda lines: [*lines[:-1], f"{lines[-1][:10]},,,,,,"], ("empty_rows", "has no price; dropped", 1, 119)),
    ("37 an unfinished last bar", lambda lines: [*lines[:-1], replace_cell(replace_cell(lines[-1], 4, "nan"), 5, "")], ("unfinished", "the last bar has no close: it isn't finished; dropped", 1, 119)),
    ("low above close", change_lines(lambda line: replace_cell(line, 3, "60")), ("ohlc", "is below low 60", 1, 120)),
]  # fmt: skip


@pytest.mark.parametrize(("change", "note"), [case[1:] for case in REPAIRED], ids=[case[0] for case in REPAIRED])
def test_repairs_and_warnings_are_in_terminal_and_provenance(
    run_cli: Callable[..., Result], change: Callable[[Lines], Lines], note: tuple[str, str, int, int]
) -> None:
    rule, text, count, bars = note
    result = run_cli(change)
    assert result.exit_code == 0
    assert text in result.stderr
    message = json.loads(Path("reports/exp/provenance.json").read_text())["notes"]
    (note_of_rule,) = [entry for entry in message if entry["key"] == f"data.quality.{rule}"]
    assert text in note_of_rule["text"]
    assert (note_of_rule["ticker"], note_of_rule["count"]) == ("X", count)
    assert json.loads(Path("reports/exp/metrics.json").read_text())["data"]["sessions"] == bars
    strict = run_cli(change, "--set", f"data.quality.{rule}=error")
    assert strict.exit_code == 2
    assert f"--set: data.quality.{rule}: " in strict.stderr


def test_dates_with_a_day_above_twelve_are_read(run_cli: Callable[..., Result]) -> None:
    assert run_cli(lambda lines: [lines[0], *map(with_slashes, lines[1:])]).exit_code == 0
    assert json.loads(Path("reports/exp/metrics.json").read_text())["data"]["last"] == "2020-06-16"


def test_a_fault_of_many_tickers_is_one_line_in_the_terminal_and_all_lines_with_v(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    def many_tickers(lines: Lines) -> Lines:
        lines_with_gap = [*lines[1:50], *lines[70:]]
        return [f"{lines[0]},ticker", *(f"{line},T{index}" for index in range(6) for line in lines_with_gap)]

    (tmp_path / "exp.yaml").write_text(CONFIG.replace("[X]", "[T0, T1, T2, T3, T4, T5]"))
    (line,) = (line for line in run_cli(many_tickers).stderr.splitlines() if "a gap in the prices" in line)
    assert line.startswith("note T0 2020-03-09: no bar until 2020-04-07, 29 days later: a gap in the prices, or a halt")
    assert line.endswith("; 5 more tickers, all in provenance.json: T1, T2, T3, T4, T5")
    assert run_cli(many_tickers, "-v").stderr.count("a gap in the prices") == 6
