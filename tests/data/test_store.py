"""The store of prices is whole at every moment, whatever ends the writing and whoever else writes."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.atomic import TEMP_FILE_SUFFIX
from quantlr.core.errors import Fault
from quantlr.data.cache import DamagedFileError, FetchResponse, PriceCache, TickerCache
from quantlr.data.corporate_actions import (
    RAW_BAR_COLUMNS,
    RawBarFrame,
    adjust_for_splits_and_dividends,
    find_history_revision,
    merge_raw_bars,
    subsequent_split_factors,
    undo_split_adjustment,
)

ROOT = Path(__file__).parents[2]
ABOUT = {"exchange": "NYQ", "timezone": "America/New_York", "closes": "16:00"}


def quotes(seed: int, sessions: int, *, first: str = "2020-01-01") -> RawBarFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(50 + rng.random((sessions, len(RAW_BAR_COLUMNS))), columns=list(RAW_BAR_COLUMNS))
    table["volume"] = rng.integers(1_000, 9_000, sessions).astype(float)
    table["split"] = np.where(rng.random(sessions) < 0.1, rng.choice([0.5, 2.0, 3.0], sessions), 1.0)
    table["dividend"] = np.where(rng.random(sessions) < 0.1, 0.5, 0.0)
    table["capital_gain"] = 0.0
    table.index = pd.DatetimeIndex(pd.bdate_range(first, periods=sessions).to_numpy("datetime64[us]"), name="date")
    return table


def answer(table: RawBarFrame, *, whole: bool = True, day: int = 1) -> FetchResponse:
    last = table.index[-1].date()
    return FetchResponse(table, whole, dt.datetime(2024, 5, day, tzinfo=dt.UTC), last, ABOUT)


def shelf(folder: Path) -> TickerCache:
    return PriceCache(folder).ticker_cache("yahoo", "AAA")


def test_what_is_kept_is_found_as_it_was(tmp_path: Path) -> None:
    table = quotes(0, 30)
    assert shelf(tmp_path).read_history() is None
    kept = shelf(tmp_path).add_response("yahoo", "AAA", answer(table))
    found = shelf(tmp_path).read_history()
    assert found
    assert found.index_entry == kept.index_entry
    pd.testing.assert_frame_equal(found.raw_bars, table)
    assert not list(tmp_path.glob(f"**/*{TEMP_FILE_SUFFIX}"))


def test_an_extension_keeps_every_answer_and_one_history(tmp_path: Path) -> None:
    table = quotes(0, 30)
    for day, (first, last) in enumerate(((0, 20), (15, 24), (19, 30)), start=1):
        got = shelf(tmp_path).add_response("yahoo", "AAA", answer(table[first:last], whole=day == 1, day=day))
    pd.testing.assert_frame_equal(got.raw_bars, table)
    assert [str(kept.first) for kept in got.index_entry.answers] == ["2020-01-01", "2020-01-22", "2020-01-28"]
    assert {path.stem for path in shelf(tmp_path).folder.glob("*.parquet")} == got.index_entry.file_digests
    assert len(got.index_entry.file_digests) == 4, "three answers and the history of all"
    assert not got.index_entry.revisions
    same = shelf(tmp_path).add_response("yahoo", "AAA", answer(table[19:], whole=False, day=4))
    assert same.index_entry.file_digests == got.index_entry.file_digests


def test_an_extension_that_says_otherwise_leaves_the_former_history_there(tmp_path: Path) -> None:
    table = quotes(0, 30)
    before = shelf(tmp_path).add_response("yahoo", "AAA", answer(table[:20]))
    other = table[15:].copy()
    other["close"] *= np.where(np.arange(15) == 2, 1.5, 1.0)
    got = shelf(tmp_path).add_response("yahoo", "AAA", answer(other, whole=False))
    assert got.index_entry.revisions[0].before == before.index_entry.sha256
    assert got.index_entry.revisions[0].text == (
        "sessions from 2020-01-24 to 2020-01-24 were revised: close of 1 changed, closes by up to 50.00%"
    )
    assert (shelf(tmp_path).folder / f"{before.index_entry.sha256}.parquet").exists()
    assert got.raw_bars["close"].to_numpy()[17] == other["close"].to_numpy()[2]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 38))
def test_undoing_splits_is_the_inverse_of_adjusting_for_them(seed: int, cut: int) -> None:
    told = quotes(seed, 40)
    later = [float(np.prod(told["split"].to_numpy()[at + 1 :])) for at in range(len(told))]
    adjusted = told.copy()
    for name in ("open", "high", "low", "close", "dividend", "capital_gain"):
        adjusted[name] = told[name] / later
    adjusted["volume"] = told["volume"] * later
    pd.testing.assert_frame_equal(undo_split_adjustment(adjusted), told)
    assert find_history_revision(told[:cut], undo_split_adjustment(adjusted.round(6))) is None
    pd.testing.assert_frame_equal(merge_raw_bars(told[:cut], told[max(cut - 5, 0) :]), told)
    assert subsequent_split_factors(np.empty(0)).size == 0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_an_adjusted_close_earns_what_a_holder_earns_who_buys_more_for_every_dividend(seed: int) -> None:
    told = quotes(seed, 40)
    bars = adjust_for_splits_and_dividends(told, ticker="X")
    close, split, dividend = (told[name].to_numpy() for name in ("close", "split", "dividend"))
    shares, worth = 1.0, [close[0]]
    for at in range(1, len(told)):
        shares *= split[at]
        paid = shares * dividend[at]
        # bought at what the close before was worth without the dividend: the convention of the multipliers
        shares *= 1 + dividend[at] / (close[at - 1] / split[at] - dividend[at]) if paid else 1.0
        worth.append(shares * close[at])
    np.testing.assert_allclose(bars["adj_close"] / bars["adj_close"].iloc[0], np.array(worth) / worth[0])
    assert bars["adj_close"].iloc[-1] == close[-1]


def test_damage_is_found_set_aside_and_told(tmp_path: Path) -> None:
    kept = shelf(tmp_path).add_response("yahoo", "AAA", answer(quotes(0, 30)))
    folder = shelf(tmp_path).folder
    path = folder / f"{kept.index_entry.sha256}.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    (said,) = shelf(tmp_path).set_aside_damaged_files()
    found = hashlib.sha256(path.with_suffix(".damaged").read_bytes()).hexdigest()
    assert said == (
        f"{path} has the checksum {found[:12]}… and not that of its name; it was set aside as {path.stem}.damaged"
    )
    assert not path.exists()
    with pytest.raises(DamagedFileError, match="is missing"):
        shelf(tmp_path).read_history()
    assert shelf(tmp_path).set_aside_damaged_files() == []
    again = shelf(tmp_path).add_response("yahoo", "AAA", answer(quotes(0, 30), day=2))
    assert again.index_entry.answers[0] == kept.index_entry.answers[0]
    (folder / "index.json").write_text("{}")
    with pytest.raises(
        DamagedFileError, match=r"index\.json is no index of prices; it was set aside as index\.damaged"
    ):
        shelf(tmp_path).read_history()
    assert shelf(tmp_path).read_history() is None
    path.unlink()
    (folder / "index.damaged").replace(folder / "index.json")
    (folder / "index.json").write_text(again.index_entry.model_dump_json(by_alias=True))
    path.with_suffix(".damaged").unlink()
    assert shelf(tmp_path).set_aside_damaged_files() == [f"{path} is missing"]


def test_what_a_program_left_half_written_is_cleared_away_in_time(tmp_path: Path) -> None:
    shelf(tmp_path).add_response("yahoo", "AAA", answer(quotes(0, 30)))
    for name, age in (("old", 7_200), ("new", 0)):
        left = shelf(tmp_path).folder / f".{name}{TEMP_FILE_SUFFIX}"
        left.write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    shelf(tmp_path).remove_abandoned_files()
    assert [path.name for path in shelf(tmp_path).folder.glob(".*.new")] == [".new.new"]


@pytest.mark.parametrize("ticker", ["^GSPC", "BRK-B", "0700.HK", "M&M.NS", "CON", "EURUSD=X", "..", "a/b"])
def test_every_ticker_has_a_folder_of_its_own(tmp_path: Path, ticker: str) -> None:
    place = PriceCache(tmp_path).ticker_cache("yahoo", ticker).folder
    assert place.resolve().parent == tmp_path.resolve()
    assert place.name.startswith("yahoo-")


def test_a_disk_that_can_not_be_written_is_a_fault_that_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Fault, match=r"could not be written: Not a directory.*environment variable QUANTLR_HOME"):
        shelf(tmp_path / "file").add_response("yahoo", "AAA", answer(quotes(0, 30)))


@pytest.mark.parametrize(("number", "said"), [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    table = quotes(0, 30)
    before = shelf(tmp_path).add_response("yahoo", "AAA", answer(table[:20]))
    files = sorted(shelf(tmp_path).folder.iterdir())
    with monkeypatch.context() as patched:

        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        patched.setattr(os, "fsync", fail)
        with pytest.raises(Fault, match=said):
            shelf(tmp_path).add_response("yahoo", "AAA", answer(table))
    assert sorted(shelf(tmp_path).folder.iterdir()) == files
    found = shelf(tmp_path).read_history()
    assert found
    assert found.index_entry == before.index_entry


def test_threads_that_read_and_write_at_once_see_whole_histories(tmp_path: Path) -> None:
    table = quotes(0, 60)
    shelf(tmp_path).add_response("yahoo", "AAA", answer(table[:10]))

    def write(last: int) -> int:
        return len(shelf(tmp_path).add_response("yahoo", "AAA", answer(table[5:last], whole=False)).raw_bars)

    def read(_: int) -> int:
        found = shelf(tmp_path).read_history()
        assert found
        pd.testing.assert_frame_equal(found.raw_bars, table[: len(found.raw_bars)])
        return found.index_entry.bars

    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(write, last) for last in range(11, 61, 3)]
        seen = [pool.submit(read, at) for at in range(20)]
        assert max(future.result() for future in written) == 59
        assert all(10 <= future.result() <= 59 for future in seen)
    entry = shelf(tmp_path).read_index_entry()
    assert entry
    assert len(entry.answers) == 1 + len(written), "no writer undid what another had written"
    assert shelf(tmp_path).set_aside_damaged_files() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_kill_9_at_any_moment_leaves_a_whole_store(tmp_path: Path) -> None:
    """For real: a child writes on and on, and is killed at moments spread over the writing."""
    script = (
        "import os, signal, sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_store import answer, quotes, shelf\n"
        "folder = Path(sys.argv[1]); table = quotes(0, 3_000); seen = set()\n"
        "shelf(folder).add_response('yahoo', 'AAA', answer(table[:500]))\n"
        "for trial in range(8):\n"
        "    before = len(shelf(folder).read_history().raw_bars)\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        for last in range(before + 1, 3_000):\n"
        "            shelf(folder).add_response('yahoo', 'AAA', answer(table[last - 9 : last], whole=False))\n"
        "        os._exit(1)\n"
        "    while len(shelf(folder).read_history().raw_bars) == before:\n"
        "        assert os.waitpid(child, os.WNOHANG) == (0, 0), 'the child failed'\n"
        "        time.sleep(0.001)\n"
        "    time.sleep(0.006 * trial)\n"
        "    os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "    found = shelf(folder).read_history()\n"
        "    assert found.raw_bars.equals(table[: len(found.raw_bars)]), 'history'\n"
        "    assert shelf(folder).set_aside_damaged_files() == [], 'files'\n"
        "    seen.add(len(found.raw_bars))\n"
        "print(len(seen))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3, "each child wrote before it was killed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_four_processes_that_fetch_at_once_agree(tmp_path: Path) -> None:
    """Each with the real client, from one server, into one store; the clock moves on between two rounds."""
    from yahoo_server import Yahoo, days, serving, share

    script = (
        "import datetime as dt, json, os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from quantlr.data.yahoo import HttpEnvironment, YahooSource\n"
        "from yahoo_server import session_to\n"
        "import yfinance\n"
        "os.environ['QUANTLR_HOME'] = sys.argv[1]\n"
        "def fetch(now):\n"
        "    session = session_to(sys.argv[3])\n"
        "    environment = HttpEnvironment(session, lambda: now, pause_seconds=0.0, backoff_seconds=0.01)\n"
        "    return YahooSource(deadline=60.0).with_environment(environment).fetch(['AAA', 'BBB']).sha256\n"
        "for now in (dt.datetime(2024, 4, 30, 12, tzinfo=dt.UTC), dt.datetime(2024, 5, 4, 12, tzinfo=dt.UTC)):\n"
        "    pipes = []\n"
        "    for _ in range(4):\n"
        "        read, write = os.pipe()\n"
        "        if os.fork() == 0:\n"
        "            try: os.write(write, fetch(now).encode())\n"
        "            finally: os._exit(0)\n"
        "        os.close(write); pipes.append(read)\n"
        "    print(json.dumps([os.read(pipe, 100).decode() for pipe in pipes]))\n"
    )
    yahoo = Yahoo()
    yahoo.shares = {name: share(at, days(300)) for at, name in enumerate(("AAA", "BBB"))}
    with serving(yahoo) as address:
        arguments = [sys.executable, "-c", script, str(tmp_path), str(ROOT / "tests"), address]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(set(digests)) for digests in rounds] == [1, 1], done.stderr
    assert all(digests[0] for digests in rounds), done.stderr
    assert [
        line
        for place in PriceCache(tmp_path / "prices").list_ticker_caches()
        for line in place.set_aside_damaged_files()
    ] == []
