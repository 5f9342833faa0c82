"""Universes of many tickers: lists in files, gaps, and survivorship bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given
from hypothesis import strategies as st
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError
from quantlr.core.values import Note
from quantlr.data.prices import DataSpec, load_prices, prices_from_ticker_bars
from quantlr.data.sources import FileSource
from quantlr.data.ticker_list import read_ticker_list

from markets import random_walk_bars

pytestmark = pytest.mark.usefixtures("without_drawing")

CONFIG = """\
data: {source: {kind: file, path: prices.csv}, tickers_file: lists/members.txt}
features:
  - {kind: lagged_returns, lags: [1]}
walk_forward: {train: 100}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a config, a list of three tickers, and the prices of five."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2018-01-01", periods=160)
    tables = [random_walk_bars(rng, dates).assign(ticker=name) for name in ("A", "B", "C", "0700", "NULL")]
    pd.concat(tables).to_csv(tmp_path / "prices.csv", index_label="date")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "members.txt").write_text("# drawn up today\nB\n0700   # stays text\n\nNULL\n")
    (tmp_path / "exp.yaml").write_text(CONFIG)
    return tmp_path


def test_tickers_are_read_from_a_file_and_written_into_the_resolved_config(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = quantlr.run(home / "exp.yaml", output=home / "out")
    assert done.metrics["data"]["tickers"] == ["B", "0700", "NULL"]
    resolved = (home / "out" / "exp" / "config.yaml").read_text()
    assert "tickers: [B, '0700', 'NULL']" in resolved
    assert "tickers_file" not in resolved
    (home / "lists" / "members.txt").write_text("C\n")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = quantlr.run(home / "out" / "exp" / "config.yaml")
    assert again.report().files == done.report().files


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("A\nB\n", ("A", "B")),
        ("\ufeffSymbol\r\nA\r\nB\r\n", ("A", "B")),
        ('Name,Symbol,Sector\n"Foods, Inc.",A,"x"\nBank,BRK.B,y\n', ("A", "BRK.B")),
        ("A, Alpha\n^GSPC, an index\n", ("A", "^GSPC")),
        ("  0700 # text\n#B\nTRUE", ("0700", "TRUE")),
    ],
)
def test_formats_of_ticker_lists(tmp_path: Path, text: str, tickers: tuple[str, ...]) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert tuple(read_ticker_list(str(tmp_path / "m.csv"))) == tickers


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("tickers_file: none.txt", "exp.yaml:1:62: data.tickers_file: {home}/none.txt can't be read: No such file or directory; a path is relative to its config"),
        ("tickers_file: empty.txt", "exp.yaml:1:62: data.tickers_file: {home}/empty.txt lists no ticker; write one a line"),
        ("tickers_file: twice.txt", "exp.yaml:1:62: data.tickers_file: {home}/twice.txt:4: A is there already, in line 1"),
        ("tickers_file: latin.txt", "exp.yaml:1:62: data.tickers_file: {home}/latin.txt is not UTF-8 text (byte 0)"),
        ("tickers_file: long.txt", "exp.yaml:1:62: data.tickers_file: {home}/long.txt:2: needs at most 40 characters, found 50"),
        ("tickers_file: cell.txt", "exp.yaml:1:62: data.tickers_file: {home}/cell.txt:2: needs a line of at most 100,000 characters, found 200,002; leave out the column of long text"),
        ("tickers_file: gap.csv", "exp.yaml:1:62: data.tickers_file: {home}/gap.csv:2: names no ticker: ',x'"),
        ("tickers_file: [A]", "exp.yaml:1:62: data.tickers_file: needs the path of a file with one ticker a line, found list"),
        ("tickers_file: lists", "exp.yaml:1:62: data.tickers_file: {home}/lists can't be read: Is a directory"),
        ("tickers: [A], tickers_file: lists/members.txt", "exp.yaml:1:57: data.tickers: is there, and data.tickers_file too; keep one of them, or write null for the other"),
        ("tickers_file: null", "exp.yaml:1:7: data.tickers: is needed, and missing"),
        ("tickers: null", "exp.yaml:1:57: data.tickers: is needed, and missing"),
        ("tickers: []", "exp.yaml:1:57: data.tickers: needs at least one entry, found none"),
    ],
)  # fmt: skip
def test_errors_of_a_ticker_list_name_their_place(home: Path, data: str, message: str) -> None:
    (home / "empty.txt").write_text("# none\n")
    (home / "twice.txt").write_text("A\nB\n\nA\n")
    (home / "latin.txt").write_bytes(b"\xe9\n")
    (home / "long.txt").write_text("A\n" + 50 * "x")
    (home / "cell.txt").write_text("A\nB," + 200_000 * "x")
    (home / "gap.csv").write_text("Symbol,Name\n,x\n")
    (home / "exp.yaml").write_text(CONFIG.replace("tickers_file: lists/members.txt", data))
    with pytest.raises(ConfigError) as caught:
        load_config(home / "exp.yaml")
    (problem,) = caught.value.problems
    assert problem.replace(f"{home}/exp.yaml", "exp.yaml").startswith(message.format(home=home))


def test_one_list_may_replace_the_other(home: Path) -> None:
    config = load_config(home / "exp.yaml", settings=["data.tickers_file=null", "data.tickers=[A]"])
    assert config.run.data.tickers == ("A",)
    mapping = {"source": {"kind": "sample"}, "tickers": ["A"], "tickers_file": None}
    assert DataSpec.model_validate(mapping).tickers == ("A",)


def test_quality_actions_survive_writing_and_reading(home: Path) -> None:
    config = load_config(home / "exp.yaml", settings=["data.quality.gaps=error", "data.calendar=XNYS"]).run
    text = config.to_yaml()
    assert "gaps: error" in text
    assert "scale: error" in text
    (home / "again.yaml").write_text(text)
    again = load_config(home / "again.yaml", name="exp").run
    assert again.to_yaml() == text
    assert (again.data.calendar, again.data.quality) == ("XNYS", config.data.quality)
    with pytest.raises(ConfigError, match=r"data\.quality\.gaps: needs 'error' or 'warn', found 'drop'"):
        load_config(home / "exp.yaml", settings=["data.quality.gaps=drop"])
    with pytest.raises(ConfigError, match=r"data\.quality\.gpas: unknown key; did you mean gaps\?"):
        load_config(home / "exp.yaml", settings=["data.quality.gpas=warn"])


@given(st.integers(0, 2**32 - 1))
def test_gaps_are_not_filled(seed: int) -> None:
    """Where a ticker has no bar it has no price, on no other day and of no other ticker."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=40)
    frames = {}
    for index in range(4):
        has_bar = rng.random(40) > 0.3
        has_bar[:2] |= index == 0
        has_bar[[10 * index, 10 * index + 1]] = True
        frames[f"T{index}"] = random_walk_bars(rng, dates)[has_bar]
    prices = prices_from_ticker_bars(frames, source="", sha256="", notes=[])
    truth = pd.concat({name: frame["close"] for name, frame in frames.items()}, axis=1, sort=True)
    assert list(prices.sessions) == list(truth.index)
    np.testing.assert_array_equal(prices.bars_to_sessions(prices.close), truth.to_numpy())
    np.testing.assert_array_equal(prices.n_bars, [len(frame) for frame in frames.values()])


def survivorship_notes(home: Path, *tickers: str, **keys: object) -> list[Note]:
    notes = load_prices(DataSpec(source=FileSource(path=home / "prices.csv"), tickers=tickers, **keys)).notes
    return [note for note in notes if "survivorship" in note.text]


def test_survivorship_bias_is_noted_only_if_all_of_many_tickers_survive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2000-01-03", periods=1300)
    tables = [random_walk_bars(rng, dates).assign(ticker=name) for name in "ABC"]
    gone = random_walk_bars(rng, dates)[:900].assign(ticker="GONE")
    pd.concat([*tables, gone]).to_csv(tmp_path / "prices.csv", index_label="date")
    (note,) = survivorship_notes(tmp_path, "A", "B", "C")
    assert note.text == (
        "all 3 tickers still trade on the last session, 5 years after the first: a list drawn up with hindsight lacks "
        "those that were delisted, which flatters holding it (survivorship bias)"
    )
    assert note.date == "2004-12-24"
    assert not survivorship_notes(tmp_path, "A", "B", "C", "GONE")
    assert not survivorship_notes(tmp_path, "A", "B")
    assert not survivorship_notes(tmp_path, "A", "B", "C", start="2003-06-01")
