"""Time from a save to the painted page of `quantlr watch`, in a real browser; and memory over many saves.

    python tests/benchmarks/watch.py [--saves 10] [--memory-saves 1000] [--output DIR]
    python tests/benchmarks/watch.py --cpu

For each kind of change: the processor's time of the calculation alone, from the saved file to the point estimates and
the data of the charts, the least of the saves; and the median time from the save to the frame with the new curves in
the window and the point estimates, and to that with the verdict and the comparison with the former result. For the last
two the machine has to be idle: the browser, the server and the calculation share its cores, and the page, which notes
when it is painted, is asked for it every 50 ms. One save before them is not measured. With --cpu they are left out.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from quantlr.config.run_config import load_config
from quantlr.core.progress import ignore_progress
from quantlr.report.interactive import interactive_data, json_for_html
from quantlr.watch.evaluation import evaluate

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from benchmarks.measured import Row, parse_options, report_rows, rounded  # noqa: E402
from chromium import BROWSER, NO_BROWSER_REASON, ChromiumTab, open_chromium  # noqa: E402

STATUS = "document.querySelector('[data-live=status]').textContent"
SAMPLE_CONFIG = (TESTS.parent / "configs" / "sp500_daily.yaml").read_text()
STOCKS_CONFIG = """\
name: stocks
data: {source: {kind: file, path: prices}, tickers: all}
features:
  - {kind: lagged_returns, lags: [1, 2, 3, 4, 5]}
  - {kind: volatility, windows: [20]}
policy: {kind: threshold, long_above: 0.5}
execution: {commission_bps: 1.0}
"""
N_TICKERS, N_SESSIONS = 100, 2520


def write_prices(folder: Path) -> None:
    """Write random walks of 100 tickers over ten years, a file each."""
    folder.mkdir()
    dates = pd.bdate_range("2010-01-04", periods=N_SESSIONS)
    close = 100 * np.exp(np.random.default_rng(0).normal(2e-4, 0.015, (N_SESSIONS, N_TICKERS)).cumsum(axis=0))
    for index, column in enumerate(close.T):
        pd.DataFrame({"Date": dates, "Close": column}).to_csv(folder / f"T{index:03d}.csv", index=False)


@contextmanager
def watched_page(folder: Path, text: str) -> Iterator[tuple[ChromiumTab, Path, int]]:
    """Yield a browser that shows a config, the config's path, and the id of the program's process."""
    path = folder / "my.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "quantlr", "watch", path.name]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
    ):
        try:
            assert process.stdout
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address
            time.sleep(1.0)
            with open_chromium(Path(profile) / "profile") as tab:
                tab.resize(1300, 1600)
                tab.open(address[0])
                tab.wait_for(f"{STATUS}.startsWith('up to date')")
                tab.send("Performance.enable")
                yield tab, path, process.pid
        finally:
            process.terminate()


def save_times(tab: ChromiumTab, path: Path, texts: Sequence[str]) -> list[tuple[float, float]]:
    """Return the milliseconds from each save but the first to the painted curves, and to the painted verdict."""
    times = []
    for text in texts:
        saved_at = time.time() * 1000
        path.write_text(text)
        while not tab.evaluate(f"window.chartsPaintedAt > {saved_at} && {STATUS} === 'up to date'"):
            time.sleep(0.05)
        painted = tab.evaluate("[window.chartsPaintedAt, window.paintedAt]")
        times.append((painted[0] - saved_at, painted[1] - saved_at))
        time.sleep(0.2)
    return times[1:]


def changed_texts(text: str, pattern: str, values: Sequence[str]) -> list[str]:
    """Return a config with the text that a pattern finds replaced by each value."""
    assert re.search(pattern, text)
    return [re.sub(pattern, value, text) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=10)
    parser.add_argument("--memory-saves", type=int, default=0)
    parser.add_argument("--cpu", action="store_true")
    options = parse_options(parser)
    n = options.saves
    changes = {
        "threshold": (r"long_above: [\d.]+", [f"long_above: {0.49 + 0.001 * i:.3f}" for i in range(n + 1)]),
        "cost": (r"commission_bps: [\d.]+", [f"commission_bps: {2 + 0.1 * i:.1f}" for i in range(n + 1)]),
        "feature": (r"windows: \[\d+\]", [f"windows: [{21 + i}]" for i in range(n + 1)]),
    }
    if BROWSER is None and not options.cpu:
        sys.exit(NO_BROWSER_REASON)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prices(folder / "prices")
        for prices, text in (("S&P 500 sample", SAMPLE_CONFIG), ("100 tickers of ten years", STOCKS_CONFIG)):
            saves = {kind: changed_texts(text, pattern, values) for kind, (pattern, values) in changes.items()}
            found: list[Row] = [
                {"prices": prices, "change": kind, "calculation (CPU ms)": calculation_milliseconds(folder, texts)}
                for kind, texts in saves.items()
            ]
            rows += found
            if options.cpu:
                continue
            with watched_page(folder, text) as (tab, path, pid):
                for row, texts in zip(found, saves.values(), strict=True):
                    columns = zip(*save_times(tab, path, texts), strict=True)
                    curves, verdict = (rounded(statistics.median(column) / 1000) for column in columns)
                    row |= {"curves (seconds)": curves, "verdict (seconds)": verdict}
                if options.memory_saves and text == SAMPLE_CONFIG:
                    print_memory(tab, path, pid, n_saves=options.memory_saves)
    report_rows("watch", rows, options)


def calculation_milliseconds(folder: Path, texts: Sequence[str]) -> float:
    """Return the least processor time of the calculation after the saves of some texts."""
    path, times = folder / "my.yaml", []
    for text in texts:
        path.write_text(text)
        start = time.thread_time()
        loaded = load_config(path)
        evaluation = evaluate(loaded, data_files_digest="", offline=True, progress=ignore_progress)
        context = evaluation.context
        json_for_html(interactive_data(context, only_ticker=context.forecast_tickers[0]))
        times.append(time.thread_time() - start)
    return rounded(1000 * min(times))


def print_memory(tab: ChromiumTab, path: Path, pid: int, *, n_saves: int) -> None:
    """Print the resident memory of the program, and what the page keeps, at first and after each tenth of many saves.

    On Linux. Of the page: bytes of JavaScript, DOM nodes and listeners, after a collection of its garbage.
    """
    pattern = r"long_above: [\d.]+"
    for tenth in range(11):
        n_before = tenth * n_saves // 10
        if tenth:
            values = [f"long_above: {0.4 + 0.2 * (n_before - i) / n_saves:.5f}" for i in range(n_saves // 10)]
            save_times(tab, path, changed_texts(SAMPLE_CONFIG, pattern, values))
        resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        tab.send("HeapProfiler.collectGarbage")
        metrics = {item["name"]: item["value"] for item in tab.send("Performance.getMetrics")["metrics"]}
        print(
            f"after {n_before} saves: program {int(resident[1]) / 1024 if resident else 0:.0f} MB, page "
            f"{metrics['JSHeapUsedSize'] / 1e6:.1f} MB, {metrics['Nodes']:.0f} nodes, "
            f"{metrics['JSEventListeners']:.0f} listeners",
            flush=True,
        )


if __name__ == "__main__":
    main()
