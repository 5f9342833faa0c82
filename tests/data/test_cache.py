"""Cache of prices: atomic writes, damaged files, concurrent readers and writers, and killed programs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    find_history_revision,
    merge_raw_bars,
    subsequent_split_factors,
    undo_split_adjustment,
    with_adjusted_close_and_volume,
)

ROOT = Path(__file__).parents[2]
EXCHANGE_INFO = {"exchange": "NYQ", "timezone": "America/New_York", "closes": "16:00"}


def raw_bars(seed: int, sessions: int, *, first: str = "2020-01-01") -> RawBarFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(50 + rng.random((sessions, len(RAW_BAR_COLUMNS))), columns=list(RAW_BAR_COLUMNS))
    table["volume"] = rng.integers(1_000, 9_000, sessions).astype(float)
    table["split"] = np.where(rng.random(sessions) < 0.1, rng.choice([0.5, 2.0, 3.0], sessions), 1.0)
    table["dividend"] = np.where(rng.random(sessions) < 0.1, 0.5, 0.0)
    table["capital_gain"] = 0.0
    table.index = pd.DatetimeIndex(pd.bdate_range(first, periods=sessions).to_numpy("datetime64[us]"), name="date")
    return table


def response(table: RawBarFrame, *, whole: bool = True, day: int = 1) -> FetchResponse:
    last = table.index[-1].date()
    return FetchResponse(table, whole, dt.datetime(2024, 5, day, tzinfo=dt.UTC), last, EXCHANGE_INFO)


def ticker_cache(folder: Path) -> TickerCache:
    return PriceCache(folder).ticker_cache("yahoo", "AAA")


def test_a_cached_history_is_read_unchanged(tmp_path: Path) -> None:
    table = raw_bars(0, 30)
    assert ticker_cache(tmp_path).read_history() is None
    added = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table))
    history = ticker_cache(tmp_path).read_history()
    assert history
    assert history.index_entry == added.index_entry
    pd.testing.assert_frame_equal(history.raw_bars, table)
    assert not list(tmp_path.glob(f"**/*{TEMP_FILE_SUFFIX}"))


def test_an_extension_keeps_every_response_and_one_history(tmp_path: Path) -> None:
    table = raw_bars(0, 30)
    for day, (first, last) in enumerate(((0, 20), (15, 24), (19, 30)), start=1):
        updated = ticker_cache(tmp_path).merge_response(
            "yahoo", "AAA", response(table[first:last], whole=day == 1, day=day)
        )
    pd.testing.assert_frame_equal(updated.raw_bars, table)
    assert [str(added.first) for added in updated.index_entry.responses] == ["2020-01-01", "2020-01-22", "2020-01-28"]
    assert {path.stem for path in ticker_cache(tmp_path).folder.glob("*.parquet")} == updated.index_entry.file_digests
    assert len(updated.index_entry.file_digests) == 4, "three answers and the history of all"
    assert not updated.index_entry.revisions
    same = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table[19:], whole=False, day=4))
    assert same.index_entry.file_digests == updated.index_entry.file_digests


def test_a_revision_keeps_the_previous_history(tmp_path: Path) -> None:
    table = raw_bars(0, 30)
    before = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table[:20]))
    other = table[15:].copy()
    other["close"] *= np.where(np.arange(15) == 2, 1.5, 1.0)
    updated = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(other, whole=False))
    assert updated.index_entry.revisions[0].before == before.index_entry.sha256
    assert updated.index_entry.revisions[0].text == (
        "sessions from 2020-01-24 to 2020-01-24 were revised: close of 1 changed, closes by up to 50.00%"
    )
    assert (ticker_cache(tmp_path).folder / f"{before.index_entry.sha256}.parquet").exists()
    assert updated.raw_bars["close"].to_numpy()[17] == other["close"].to_numpy()[2]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 38))
def test_undoing_split_adjustment_is_its_inverse(seed: int, cut: int) -> None:
    bars_of_seed = raw_bars(seed, 40)
    later = [float(np.prod(bars_of_seed["split"].to_numpy()[index + 1 :])) for index in range(len(bars_of_seed))]
    adjusted = bars_of_seed.copy()
    for name in ("open", "high", "low", "close", "dividend", "capital_gain"):
        adjusted[name] = bars_of_seed[name] / later
    adjusted["volume"] = bars_of_seed["volume"] * later
    pd.testing.assert_frame_equal(undo_split_adjustment(adjusted), bars_of_seed)
    assert find_history_revision(bars_of_seed[:cut], undo_split_adjustment(adjusted.round(6))) is None
    pd.testing.assert_frame_equal(merge_raw_bars(bars_of_seed[:cut], bars_of_seed[max(cut - 5, 0) :]), bars_of_seed)
    assert subsequent_split_factors(np.empty(0)).size == 0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_adjusted_close_returns_equal_returns_with_dividends_reinvested(seed: int) -> None:
    bars_of_seed = raw_bars(seed, 40)
    bars = with_adjusted_close_and_volume(bars_of_seed, ticker="X")
    close, split, dividend = (bars_of_seed[name].to_numpy() for name in ("close", "split", "dividend"))
    shares, worth = 1.0, [close[0]]
    for index in range(1, len(bars_of_seed)):
        shares *= split[index]
        paid = shares * dividend[index]
        # bought at what the close before was worth without the dividend: the convention of the multipliers
        shares *= 1 + dividend[index] / (close[index - 1] / split[index] - dividend[index]) if paid else 1.0
        worth.append(shares * close[index])
    np.testing.assert_allclose(bars["adj_close"] / bars["adj_close"].iloc[0], np.array(worth) / worth[0])
    assert bars["adj_close"].iloc[-1] == close[-1]


def test_damaged_files_are_set_aside(tmp_path: Path) -> None:
    added = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(raw_bars(0, 30)))
    folder = ticker_cache(tmp_path).folder
    path = folder / f"{added.index_entry.sha256}.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    (message,) = ticker_cache(tmp_path).set_aside_damaged_files()
    history = hashlib.sha256(path.with_suffix(".damaged").read_bytes()).hexdigest()
    assert message == (
        f"{path} has the checksum {history[:12]}… and not that of its name; it was set aside as {path.stem}.damaged"
    )
    assert not path.exists()
    with pytest.raises(DamagedFileError, match="is missing"):
        ticker_cache(tmp_path).read_history()
    assert ticker_cache(tmp_path).set_aside_damaged_files() == []
    again = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(raw_bars(0, 30), day=2))
    assert again.index_entry.responses[0] == added.index_entry.responses[0]
    (folder / "index.json").write_text("{}")
    with pytest.raises(
        DamagedFileError, match=r"index\.json is no index of prices; it was set aside as index\.damaged"
    ):
        ticker_cache(tmp_path).read_history()
    assert ticker_cache(tmp_path).read_history() is None
    path.unlink()
    (folder / "index.damaged").replace(folder / "index.json")
    (folder / "index.json").write_text(again.index_entry.model_dump_json(by_alias=True))
    path.with_suffix(".damaged").unlink()
    assert ticker_cache(tmp_path).set_aside_damaged_files() == [f"{path} is missing"]


def test_abandoned_files_are_removed_after_an_hour(tmp_path: Path) -> None:
    ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(raw_bars(0, 30)))
    for name, age in (("old", 7_200), ("new", 0)):
        left = ticker_cache(tmp_path).folder / f".{name}{TEMP_FILE_SUFFIX}"
        left.write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    ticker_cache(tmp_path).remove_abandoned_files()
    assert [path.name for path in ticker_cache(tmp_path).folder.glob(".*.new")] == [".new.new"]


@pytest.mark.parametrize("ticker", ["^GSPC", "BRK-B", "0700.HK", "M&M.NS", "CON", "EURUSD=X", "..", "a/b"])
def test_every_ticker_has_its_own_folder(tmp_path: Path, ticker: str) -> None:
    place = PriceCache(tmp_path).ticker_cache("yahoo", ticker).folder
    assert place.resolve().parent == tmp_path.resolve()
    assert place.name.startswith("yahoo-")


def test_a_folder_that_can_not_be_written_is_a_fault_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Fault, match=r"could not be written: Not a directory.*environment variable QUANTLR_HOME"):
        ticker_cache(tmp_path / "file").merge_response("yahoo", "AAA", response(raw_bars(0, 30)))


@pytest.mark.parametrize(("number", "message"), [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_full_or_read_only_disk_leaves_the_cache_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    table = raw_bars(0, 30)
    before = ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table[:20]))
    files = sorted(ticker_cache(tmp_path).folder.iterdir())
    with monkeypatch.context() as patched:

        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        patched.setattr(os, "fsync", fail)
        with pytest.raises(Fault, match=message):
            ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table))
    assert sorted(ticker_cache(tmp_path).folder.iterdir()) == files
    history = ticker_cache(tmp_path).read_history()
    assert history
    assert history.index_entry == before.index_entry


def test_concurrent_readers_see_whole_histories(tmp_path: Path) -> None:
    table = raw_bars(0, 60)
    ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table[:10]))

    def write(last: int) -> int:
        return len(ticker_cache(tmp_path).merge_response("yahoo", "AAA", response(table[5:last], whole=False)).raw_bars)

    def read(_: int) -> int:
        history = ticker_cache(tmp_path).read_history()
        assert history
        pd.testing.assert_frame_equal(history.raw_bars, table[: len(history.raw_bars)])
        return history.index_entry.bars

    with ThreadPoolExecutor(8) as pool:
        written = [pool.submit(write, last) for last in range(11, 61, 3)]
        seen = [pool.submit(read, index) for index in range(20)]
        assert max(future.result() for future in written) == 59
        assert all(10 <= future.result() <= 59 for future in seen)
    entry = ticker_cache(tmp_path).read_cache_index()
    assert entry
    assert len(entry.responses) == 1 + len(written), "no writer undid what another had written"
    assert ticker_cache(tmp_path).set_aside_damaged_files() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")
def test_kill_9_at_any_moment_leaves_a_valid_cache(tmp_path: Path) -> None:
    """For real: a child writes on and on, and is killed at moments spread over the writing."""
    script = (
        "import os, signal, sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_cache import response, raw_bars, ticker_cache\n"
        "folder = Path(sys.argv[1]); table = raw_bars(0, 3_000); seen = set()\n"
        "ticker_cache(folder).merge_response('yahoo', 'AAA', response(table[:500]))\n"
        "for trial in range(8):\n"
        "    before = len(ticker_cache(folder).read_history().raw_bars)\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        for last in range(before + 1, 3_000):\n"
        "            new = response(table[last - 9 : last], whole=False)\n"
        "            ticker_cache(folder).merge_response('yahoo', 'AAA', new)\n"
        "        os._exit(1)\n"
        "    while len(ticker_cache(folder).read_history().raw_bars) == before:\n"
        "        assert os.waitpid(child, os.WNOHANG) == (0, 0), 'the child failed'\n"
        "        time.sleep(0.001)\n"
        "    time.sleep(0.006 * trial)\n"
        "    os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "    history = ticker_cache(folder).read_history()\n"
        "    assert history.raw_bars.equals(table[: len(history.raw_bars)]), 'history'\n"
        "    assert ticker_cache(folder).set_aside_damaged_files() == [], 'files'\n"
        "    seen.add(len(history.raw_bars))\n"
        "print(len(seen))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3, "each child wrote before it was killed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_four_concurrent_processes_agree(tmp_path: Path) -> None:
    """Each with the real client, from one server, into one store; the clock moves on between two rounds."""
    from yahoo_server import Yahoo, days, serving, share

    script = (
        "import datetime as dt, json, os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from quantlr.data.source import FetchRequest\n"
        "from quantlr.data.yahoo import YahooSource\n"
        "from quantlr.data.download import HttpEnvironment\n"
        "from yahoo_server import session_to\n"
        "import yfinance\n"
        "os.environ['QUANTLR_HOME'] = sys.argv[1]\n"
        "def fetch(now):\n"
        "    session = session_to(sys.argv[3])\n"
        "    request = FetchRequest(['AAA', 'BBB'])\n"
        "    environment = HttpEnvironment(session, lambda: now, pause_seconds=0.0, backoff_seconds=0.01)\n"
        "    return YahooSource(deadline=60.0).with_environment(environment).fetch(request).sha256\n"
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
    yahoo.shares = {name: share(index, days(300)) for index, name in enumerate(("AAA", "BBB"))}
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


@pytest.mark.parametrize(
    "change",
    [
        {"about": {"exchange": "NYQ", "timezone": "No/Zone", "closes": "16:00"}},
        {"about": {"exchange": "NYQ", "timezone": "../../etc/passwd", "closes": "16:00"}},
        {"about": {"exchange": "NYQ", "timezone": "UTC", "closes": "noon"}},
        {"about": {}},
        {"sha256": "../../victim"},
        {"bars": [[]]},
    ],
)
def test_an_index_edited_by_hand_is_set_aside_and_names_no_file_outside(tmp_path: Path, change: dict[str, Any]) -> None:
    cache, victim = ticker_cache(tmp_path / "cache"), tmp_path / "victim.parquet"
    cache.merge_response("yahoo", "AAA", response(raw_bars(0, 30)))
    victim.write_bytes(b"another program's")
    index = cache.folder / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(DamagedFileError, match="is no index of prices; it was set aside"):
        cache.read_history()
    assert victim.read_bytes() == b"another program's"
    assert cache.read_history() is None
