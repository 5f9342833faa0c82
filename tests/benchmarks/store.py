"""How long a run on stored prices takes before its model starts.

python tests/benchmarks/store.py

Made-up prices of 5,000 sessions are put into a store for more and more tickers, and loaded as a second run would load
them: read, checked against their SHA-256, adjusted, checked and aligned. The bar: 50 tickers in under 2 seconds, with
imports, and a time per ticker that does not grow.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from quantlr.data.cache import FetchResponse, PriceCache
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.yahoo import YahooSource

ROOT = Path(__file__).parents[2]
SESSIONS = 5_000
TICKERS = (25, 50, 100, 200)
REPEATS = 5
ABOUT = {"exchange": "NYQ", "timezone": "America/New_York", "closes": "16:00"}


def put(store: PriceCache, ticker: str, seed: int) -> None:
    """Store a random walk with a split every four years and a dividend every quarter."""
    dates = pd.bdate_range(end="2024-05-03", periods=SESSIONS)
    rng = np.random.default_rng(seed)
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0002, 0.01, SESSIONS))), 2)
    table = pd.DataFrame({"open": close, "high": close + 0.5, "low": close - 0.5, "close": close})
    table["volume"] = rng.integers(100_000, 9_000_000, SESSIONS).astype(float)
    table["dividend"] = np.where(np.arange(SESSIONS) % 63 == 0, 0.2, 0.0)
    table["capital_gain"] = 0.0
    table["split"] = np.where(np.arange(SESSIONS) % 1_000 == 999, 2.0, 1.0)
    table.index = pd.DatetimeIndex(dates.to_numpy("datetime64[us]"), name="date")
    fetched = dt.datetime(2024, 5, 4, 12, tzinfo=dt.UTC)
    store.ticker_cache("yahoo", ticker).merge_response(
        "yahoo", ticker, FetchResponse(table, True, fetched, dt.date(2024, 5, 3), ABOUT)
    )


def seconds(tickers: tuple[str, ...]) -> tuple[float, float]:
    """Return the time to load so many tickers, by the clock and by the processor: medians of several."""
    spec = DataSpec(source=YahooSource(), tickers=tickers)
    taken = []
    for _ in range(REPEATS):
        started, busy = time.perf_counter(), time.process_time()
        load_prices(spec, offline=True)
        taken.append((time.perf_counter() - started, time.process_time() - busy))
    return statistics.median(clock for clock, _ in taken), statistics.median(busy for _, busy in taken)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["QUANTLR_HOME"] = home
        names = tuple(f"T{at:03}" for at in range(max(TICKERS)))
        started = time.perf_counter()
        for seed, name in enumerate(names):
            put(PriceCache.in_user_cache_dir(), name, seed)
        each = (time.perf_counter() - started) / len(names)
        print(f"kept {len(names)} answers of {SESSIONS:,} sessions: {1000 * each:.0f} ms each")
        for count in TICKERS:
            clock, busy = seconds(names[:count])
            print(f"{count:4} tickers {clock:6.2f} s, {busy:6.2f} s of a core   {1000 * busy / count:5.1f} ms a ticker")
        code = (
            "import sys, quantlr.experiment.run as pipeline\n"
            "from quantlr.data.prices import DataSpec\n"
            "from quantlr.data.yahoo import Yahoo\n"
            "pipeline.load_prices(DataSpec(source=Yahoo(), tickers=tuple(sys.argv[1:])), offline=True)"
        )
        whole = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, *names[:50]], cwd=ROOT, check=True)
            whole.append(time.perf_counter() - started)
        print(f"  50 tickers {statistics.median(whole):6.2f} s   from nothing, imports included")


if __name__ == "__main__":
    main()
