"""`quantlr data` and runs on cached prices; once over TLS and a proxy."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import quantlr
from click.testing import CliRunner, Result
from quantlr.cli import main
from quantlr.core.errors import DataError
from quantlr.data.cache import FetchResponse, PriceCache
from quantlr.data.corporate_actions import RawBarFrame

from yahoo_server import Yahoo, days, serving, share, throwaway_authority

ROOT = Path(__file__).parents[2]
CONFIG = """\
data: {source: {kind: yahoo, deadline: 20.0}, tickers: [AAA, BBB], end: 2024-05-03}
features:
  - {kind: lagged_returns, lags: [1, 2]}
walk_forward: {train: 250}
"""
ABOUT = {"exchange": "NYQ", "timezone": "America/New_York", "closes": "16:00"}
Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that runs the program in a folder with exp.yaml and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "home"))
    (tmp_path / "exp.yaml").write_text(CONFIG)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def add_to_cache(seed: int, ticker: str) -> RawBarFrame:
    """Add 400 sessions to the cache, and return them."""
    close = pd.Series(share(seed, days(400)).close)
    table = pd.DataFrame({"open": close - 0.1, "high": close + 0.2, "low": close - 0.2, "close": close})
    table = table.assign(volume=1e6, dividend=0.0, capital_gain=0.0, split=1.0)
    table.index = pd.DatetimeIndex(pd.to_datetime(close.index), name="date").as_unit("us")
    fetched = dt.datetime(2024, 5, 4, 12, tzinfo=dt.UTC)
    answer = FetchResponse(table, True, fetched, dt.date(2024, 5, 3), ABOUT)
    PriceCache.in_user_cache_dir().ticker_cache("yahoo", ticker).merge_response("yahoo", ticker, answer)
    return table


def test_run_on_cached_prices_needs_no_network(call: Call) -> None:
    for seed, ticker in enumerate(("AAA", "BBB")):
        add_to_cache(seed, ticker)
    offline = call("run", "exp.yaml", "--json", "--offline")
    assert (offline.exit_code, call("run", "exp.yaml", "--json").stdout) == (0, offline.stdout)
    digest = json.loads(offline.stdout)["data"]["sha256"]
    assert quantlr.run("exp.yaml", offline=True).metrics["data"]["sha256"] == digest
    fetched = call("data", "fetch", "exp.yaml", "--json", "--quiet")
    assert (fetched.exit_code, fetched.stderr) == (0, "")
    assert json.loads(fetched.stdout) == {
        "name": "exp",
        "source": "yahoo",
        "sha256": digest,
        "tickers": {name: {"bars": 400, "first": str(days(400)[0]), "last": "2024-05-03"} for name in ("AAA", "BBB")},
        "notes": [],
    }


def test_uncached_ticker_offline_is_an_error_at_its_place(call: Call) -> None:
    add_to_cache(0, "AAA")
    for verb in (("run",), ("data", "fetch")):
        result = call(*verb, "exp.yaml", "--offline")
        assert result.exit_code == 2
        assert result.stderr.startswith("exp.yaml:1:56: data.tickers: BBB: not stored in ")
        assert result.stderr.endswith("run once without --offline\n")
    with pytest.raises(DataError, match="run once without --offline"):
        quantlr.run("exp.yaml", offline=True)


def test_fetch_of_a_local_source_lists_its_prices(call: Call) -> None:
    result = call("data", "fetch", "exp.yaml", "--set", "data.source={kind: sample}", "--set", "data.tickers=[MSFT]")
    assert result.exit_code == 0
    assert "MSFT  3,270  2000-03-01  2013-03-01" in result.output


def test_fetch_includes_reference_series_and_the_benchmark(call: Call) -> None:
    settings = ["data.source={kind: sample}", "data.tickers=[MSFT]", "data.context=[IBM]", "data.end=null"]
    arguments = [text for setting in settings for text in ("--set", setting)]
    for benchmark, expected in (("{ticker: ^GSPC}", ["MSFT", "IBM", "^GSPC"]), ("cash", ["MSFT", "IBM"])):
        result = call("data", "fetch", "exp.yaml", *arguments, "--set", f"report.benchmark={benchmark}", "--json")
        assert list(json.loads(result.stdout)["tickers"]) == expected
    result = call("data", "fetch", "exp.yaml", *arguments, "--set", "report.benchmark={ticker: SPY}")
    assert result.exit_code == 2
    assert "report.benchmark: the sample has no ticker 'SPY'" in result.stderr


def test_list_shows_cached_tickers(call: Call) -> None:
    assert "0 tickers in" in call("data", "list").output
    table = add_to_cache(0, "AAA")
    add_to_cache(1, "AAA")
    assert "AAA   400  2022-10-24  2024-05-03  2024-05-04 12:00 UTC        2          1" in call("data", "list").output
    assert "AAA: sessions from " in call("data", "list", "-v").output
    assert call("data", "list", "--quiet").output == ""
    listed = json.loads(call("data", "list", "--json").stdout)
    assert listed["tickers"]["AAA"] == {
        "bars": 400, "first": str(table.index[0].date()), "last": "2024-05-03", "fetched": "2024-05-04 12:00 UTC",
        "answers": 2, "revisions": 1, "exchange": "NYQ",
    }  # fmt: skip


def test_verify_finds_damaged_files(call: Call) -> None:
    add_to_cache(0, "AAA")
    assert "1 tickers in" in call("data", "verify").output
    (path,) = (PriceCache.in_user_cache_dir().folder / "yahoo-AAA").glob("*.parquet")
    path.write_bytes(b"not what it was")
    result = call("data", "verify", "--json")
    assert result.exit_code == 1
    assert "the next run that needs them downloads them again" in result.output
    (line,) = json.loads(result.stdout)["damaged"]
    assert line.startswith(f"{path} has the checksum ")
    (path.parent / "index.json").write_text("[]")
    assert "is no index of prices" in call("data", "list").output


def test_download_through_a_proxy(tmp_path: Path) -> None:
    """Nothing in the program knows of the server: proxy, certificate authority and home are in the environment."""
    now = dt.datetime.now(dt.UTC)
    yahoo = Yahoo()
    yahoo.now = now
    yahoo.shares = {name: share(at, days(400, last=str(now.date()))) for at, name in enumerate(("AAA", "BBB"))}
    (tmp_path / "exp.yaml").write_text(CONFIG.replace(", end: 2024-05-03", ""))
    script = (
        "import sys\n"
        "from quantlr.cli import main\n"
        "from quantlr.report import pages\n"
        "pages.PAGES = pages.PAGES[:1]\n"  # the others say nothing of prices that come through a proxy
        "for arguments in sys.argv[1:]:\n"
        "    try: main(arguments.split())\n"
        "    except SystemExit as end: print('status', end.code, file=sys.stderr)\n"
    )
    calls = (
        "run exp.yaml --jobs 1 --set data.tickers=[AAA,GONE]",
        "run exp.yaml --jobs 1 --json --set data.source.on_failure=drop --set data.tickers=[AAA,GONE,BBB]",
        "run exp.yaml --jobs 1 --json --quiet --offline",
        "data list --json --quiet",
    )
    tls, authority = throwaway_authority(tmp_path)
    with serving(yahoo, tls=tls) as address:
        environment = {
            **{name: value for name, value in os.environ.items() if name.upper() != "NO_PROXY"},
            "HTTPS_PROXY": address, "https_proxy": address, "QUANTLR_HOME": str(tmp_path / "home"),
            "CURL_CA_BUNDLE": str(authority), "REQUESTS_CA_BUNDLE": str(authority), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        command = [sys.executable, "-c", script, *calls]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if line.startswith("status")] == ["status 2", *["status 0"] * 3]
    assert "exp.yaml" not in done.stderr.splitlines()[0]
    assert done.stderr.startswith("--set: data.tickers: GONE: Yahoo says 'No data found, symbol may be delisted'")
    assert "note GONE: left out: Yahoo says 'No data found" in done.stderr
    assert "Warning" not in done.stderr
    online, offline, listed = (json.loads(line) for line in done.stdout.splitlines())
    assert online["data"]["tickers"] == offline["data"]["tickers"] == ["AAA", "BBB"]
    # Each is a trial of its own: the first names a ticker more.
    assert (online.pop("significance")["trials"], offline.pop("significance")["trials"]) == (1, 2)
    assert online == offline
    assert set(listed["tickers"]) == {"AAA", "BBB"}


def test_verify_does_not_pass_a_folder_that_it_can_not_list(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    add_to_cache(1, "AAA")
    add_to_cache(2, "BBB")
    prices = PriceCache.in_user_cache_dir().folder
    scandir, locked = os.scandir, ""

    def refuse_locked(path: Any) -> Any:
        if Path(path).name == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_locked)
    for locked in (prices.name, "yahoo-BBB"):
        for verb in ("verify", "list"):
            result = call("data", verb)
            assert result.exit_code == 1
            assert f"{locked} can't be listed: Permission denied; make it readable" in result.stderr
            assert "all checksums match" not in result.stdout


def test_verify_sets_aside_what_is_no_table_or_no_regular_file(call: Call) -> None:
    for ticker in ("AAA", "BBB"):
        add_to_cache(1, ticker)
    cache = PriceCache.in_user_cache_dir()
    not_parquet = b"not Parquet"
    aaa, bbb = (cache.ticker_cache("yahoo", ticker).folder for ticker in ("AAA", "BBB"))
    (aaa / f"{hashlib.sha256(not_parquet).hexdigest()}.parquet").write_bytes(not_parquet)
    (bbb / "index.json").unlink()
    os.mkfifo(bbb / "index.json")
    result = call("data", "verify")
    assert result.exit_code == 1
    assert "can't be read: needed a table of prices, found: ArrowInvalid" in result.stderr
    assert "can't be read (needed a regular file, found a named pipe (FIFO)); it was set aside" in result.stderr
