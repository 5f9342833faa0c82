"""Time and memory of sweeps: milliseconds per trial, two workers against one, and the same grid by other libraries.

python tests/benchmarks/sweep.py [--quick] [--output DIR]

A thousand settings on the sample, as many policies over few models and as few policies over many models, with one and
with two workers: from their start to the report, and with started workers, from the first task to the last stored
result; likewise with Dask. A panel of simulated stocks with 10 and with 40 settings, and the memory of this process and
its workers. The models' part beside scikit-learn's GridSearchCV over TimeSeriesSplit, which fits each model 5 times
where a walk-forward refits it every 21 sessions; and the policies' part beside backtesting.py's optimiser on the same
probabilities. From the time per trial, and this process's share of it, follows the time of a cluster.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.engines.dask import DaskEngine
from quantlr.core.engines.local import Engine, ProcessEngine
from quantlr.sweeps.grid import Sweep, load_sweep
from quantlr.sweeps.scheduler import SilentSweepObserver, SweepOptions, run_sweep
from quantlr.sweeps.worker import require_versions
from quantlr.testing.contract import random_walk_bars

from benchmarks.measured import Row, parse_options, report_rows, rounded
from benchmarks.measures import _resident, seconds_of

BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"]},
    "features": [{"kind": "lagged_returns"}, {"kind": "volatility", "windows": [20]}],
}
LAGS = [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5], [1, 5, 10]]
SETTINGS, ALL_TICKERS, CLUSTER = 1000, 8000, 100


class Stopwatch(SilentSweepObserver):
    """Observer that measures wall time and CPU time of this process from the first task to the last result."""

    def __init__(self) -> None:
        self.start, self.end = (0.0, 0.0), (0.0, 0.0)
        self.n_trials = 0

    def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
        """Read the clocks."""
        self.start = time.perf_counter(), time.process_time()

    def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
        """Read the clocks once all trials are done."""
        if n_done == n_total:  # reading the CPU time takes a third of a millisecond
            self.end, self.n_trials = (time.perf_counter(), time.process_time()), n_done

    @property
    def wall_ms(self) -> float:
        """Milliseconds of wall time per trial."""
        return (self.end[0] - self.start[0]) / self.n_trials * 1000

    @property
    def scheduling_ms(self) -> float:
        """Milliseconds per trial of this process's CPU time, which sends trials and stores their results."""
        return (self.end[1] - self.start[1]) / self.n_trials * 1000


class PeakMemory:
    """Maximum memory of this process and of those it started, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Read the memory every 50 ms."""
        stopped = Event()

        def poll() -> None:
            while not stopped.wait(0.05):
                self.bytes = max(self.bytes, _resident(os.getpid()))

        thread = Thread(target=poll)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def _worker_pid() -> int:
    require_versions({})
    time.sleep(0.02)
    return os.getpid()


def time_sweep(sweep: dict[str, Any], engine: Callable[[], Engine]) -> tuple[float, Stopwatch]:
    """Return the seconds that a sweep takes, and its stopwatch."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        options = SweepOptions(Path(folder), engine, observer=watch)
        return seconds_of(lambda: run_sweep(load_sweep(sweep), options)), watch


def time_started_workers(sweep: dict[str, Any], engine: Engine) -> Stopwatch:
    """Return the stopwatch of a sweep whose workers were started before."""
    pids: set[int] = set()
    while len(pids) < engine.workers:
        futures = [engine.submit(_worker_pid) for _ in range(4 * engine.workers)]
        pids = {future.result() for future in futures}
    return time_sweep(sweep, lambda: engine)[1]


def policy_grid(*, models: int, policies: int) -> dict[str, Any]:
    """Return a sweep over a number of models with a number of policies each."""
    penalties = np.logspace(-4, 0, models // len(LAGS)).tolist()
    levels = np.linspace(0.47, 0.56, policies).round(4).tolist()
    axes = {"features.0.lags": LAGS, "model.l2": penalties, "policy.long_above": levels}
    return {"name": "benchmark", "base": BASE, "grid": axes}


def panel_sweep(folder: Path, *, tickers: int, settings: int) -> dict[str, Any]:
    """Return a sweep over a file of simulated stocks of ten years each."""
    dates = pd.bdate_range("2005-01-03", periods=2520)
    names = [f"T{index:03d}" for index in range(tickers)]
    tables = [
        random_walk_bars(np.random.default_rng(seed), dates).assign(ticker=name) for seed, name in enumerate(names)
    ]
    pd.concat(tables).rename_axis("date").reset_index().to_parquet(folder / "panel.parquet", index=False)
    base = {
        "data": {"source": {"kind": "file", "path": str(folder / "panel.parquet")}, "tickers": names},
        "features": [{"kind": "lagged_returns"}],
    }
    levels = np.linspace(0.48, 0.52, settings // 2).round(4).tolist()
    return {"name": "panel", "base": base, "grid": {"model.l2": [0.001, 0.01], "policy.long_above": levels}}


def grid_search_seconds() -> float:
    """Return the seconds of the twenty models by GridSearchCV over TimeSeriesSplit of five, on two processes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    run = quantlr.run(BASE)
    X, up = run.run_data.dataset.features, run.run_data.dataset.up
    known = ~np.isnan(up)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        model, {"logisticregression__C": np.logspace(-3, 3, 20).tolist()}, cv=TimeSeriesSplit(5), n_jobs=2
    )
    return seconds_of(lambda: search.fit(X[known], up[known]))


def backtesting_py_seconds(levels: list[float]) -> float:
    """Return the seconds that backtesting.py's optimiser takes for some policies on given probabilities."""
    os.environ["TQDM_DISABLE"] = "1"
    from benchmarks.threshold import Threshold

    run = quantlr.run(BASE)
    prices = run.run_data.prices
    bars = pd.DataFrame(
        {name.title(): getattr(prices, name)[:, 0] for name in ("open", "high", "low", "close", "volume")},
        index=prices.sessions,
    ).assign(Probability=run.forecasts.set_index("date")["probability"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from backtesting import Backtest

        test = Backtest(bars, Threshold, cash=1e7, commission=3e-4, finalize_trades=True)
        return seconds_of(lambda: test.optimize(level=levels))


def local_rows(grid: str, sweep: dict[str, Any]) -> Iterator[Row]:
    """Yield the times of a sweep with one and with two workers, and the estimate of a cluster from those of two."""
    for workers in (1, 2):
        cold, _ = time_sweep(sweep, partial(ProcessEngine, workers))
        watch = time_started_workers(sweep, ProcessEngine(workers))
        yield {"job": grid, "workers": workers, "seconds": rounded(cold), **trial_times(watch)}
    yield cluster_estimate(grid, watch)


def trial_times(watch: Stopwatch) -> Row:
    """Return the times of a trial once workers have started."""
    return {"ms a trial": rounded(watch.wall_ms), "of it scheduling (CPU ms)": rounded(watch.scheduling_ms)}


def cluster_estimate(grid: str, watch: Stopwatch) -> Row:
    """Return the estimated time of many tickers and settings: that of the workers, or of the one that schedules."""
    n_trials = ALL_TICKERS * SETTINGS
    seconds = max(n_trials * 2 * watch.wall_ms / CLUSTER, n_trials * watch.scheduling_ms) / 1000
    text = f"estimate: {ALL_TICKERS:,} tickers, each with {SETTINGS:,} settings ({grid.partition(': ')[2]})"
    return {"job": text, "workers": CLUSTER, "seconds": rounded(seconds)}


def panel_rows(tickers: int) -> Iterator[Row]:
    """Yield the time and the memory of sweeps over a panel of simulated stocks."""
    with tempfile.TemporaryDirectory() as folder:
        for settings in (10, 40):
            sweep, peak = panel_sweep(Path(folder), tickers=tickers, settings=settings), PeakMemory()
            with peak.measure():
                seconds, _ = time_sweep(sweep, partial(ProcessEngine, 2))
            yield {
                "job": f"{settings} settings, {tickers} tickers of ten years",
                "workers": 2,
                "seconds": rounded(seconds),
                "memory (MB)": rounded(peak.bytes / 2**20),
            }


def main() -> None:
    """Measure everything, and report a row each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the settings and a tenth of the tickers")
    options = parse_options(parser)
    share = 5 if options.quick else 1
    load_config(BASE)
    rows: list[Row] = []
    for models, policies in ((20, 50 // share), (200 // share, 5)):
        grid = f"{models * policies:,} settings: {policies} policies of each of {models} models"
        sweep = policy_grid(models=models, policies=policies)
        rows += local_rows(grid, sweep)
        dask = time_started_workers(sweep, DaskEngine(2))
        rows.append({"job": grid, "workers": "2 (Dask)", **trial_times(dask)})
    rows += panel_rows(500 // (10 if options.quick else 1))
    levels = np.linspace(0.47, 0.56, 50 // share).round(4).tolist()
    peers = {
        "scikit-learn's `GridSearchCV`: 20 models, 5 splits each, no backtest": grid_search_seconds(),
        f"backtesting.py's optimiser: {len(levels)} policies of one model": backtesting_py_seconds(levels),
    }
    rows += [{"job": job, "workers": 2, "seconds": rounded(seconds)} for job, seconds in peers.items()]
    report_rows("sweep", rows, options)


if __name__ == "__main__":
    main()
