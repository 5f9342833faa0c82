"""What a sweep costs: seconds a trial, what two workers gain on one, memory, and the same grid done by others.

python tests/benchmarks/sweep.py [--quick]

A thousand settings on the sample, once as many policies over few models and once as few policies over many models, by
one and by two workers: from their start to the report, and with workers that have started, from the first task that is
sent to the last result that is kept; likewise by Dask. A panel of made-up stocks by 10 and by 40 settings, with the
memory of this process and of its workers. The models' part beside scikit-learn's GridSearchCV over TimeSeriesSplit,
which fits each model 5 times where a walk-forward refits it every 21 sessions; and the policies' part beside
backtesting.py's optimiser on the same probabilities. From the seconds of a trial, and from what the process that hands
them out spends on each, follows what a cluster takes.
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
from quantlr.testing.markets import random_walk_bars

from benchmarks.measures import _resident, seconds_of

BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"]},
    "features": [{"kind": "lagged_returns"}, {"kind": "volatility", "windows": [20]}],
}
LAGS = [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5], [1, 5, 10]]
SETTINGS, ALL_TICKERS, CLUSTER = 1000, 8000, 100


class Stopwatch(SilentSweepObserver):
    """Hears how a sweep goes on, and notes when its work begins and ends and what of it this process does itself."""

    def __init__(self) -> None:
        self.began, self.ended = (0.0, 0.0), (0.0, 0.0)
        self.trials = 0

    def begun(self, sweep: Sweep, *, waiting: int, dashboard: str | None) -> None:
        """Note the time."""
        self.began = time.perf_counter(), time.process_time()

    def done(self, *, done: int, total: int, failed: int) -> None:
        """Note the time again, once all are over."""
        if done == total:  # to ask for the time of a process takes a third of a millisecond itself
            self.ended, self.trials = (time.perf_counter(), time.process_time()), done

    @property
    def working(self) -> float:
        """Milliseconds a trial, from the first task to the last result."""
        return (self.ended[0] - self.began[0]) / self.trials * 1000

    @property
    def handing(self) -> float:
        """Milliseconds a trial that this process spends on handing it out and keeping what comes back."""
        return (self.ended[1] - self.began[1]) / self.trials * 1000


class Peak:
    """The most memory that this process and those it started take meanwhile, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every 50 ms."""
        over = Event()

        def look() -> None:
            while not over.wait(0.05):
                self.bytes = max(self.bytes, _resident(os.getpid()))

        thread = Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _who() -> int:
    require_versions({})
    time.sleep(0.02)
    return os.getpid()


def swept(sweep: dict[str, Any], engine: Callable[[], Engine]) -> tuple[float, Stopwatch]:
    """Return the seconds that a sweep takes, and what was noted meanwhile."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        setting = SweepOptions(Path(folder), engine, observer=watch)
        return seconds_of(lambda: run_sweep(load_sweep(sweep), setting)), watch


def once_started(sweep: dict[str, Any], engine: Engine) -> Stopwatch:
    """Return what is noted of a sweep whose workers have imported what they need before it begins."""
    while (
        len({future.result() for future in [engine.submit(_who) for _ in range(4 * engine.workers)]}) < engine.workers
    ):
        pass
    return swept(sweep, lambda: engine)[1]


def grid(*, models: int, policies: int) -> dict[str, Any]:
    """Return a sweep of so many policies over so many models."""
    penalties = np.logspace(-4, 0, models // len(LAGS)).tolist()
    levels = np.linspace(0.47, 0.56, policies).round(4).tolist()
    axes = {"features.0.lags": LAGS, "model.l2": penalties, "policy.long_above": levels}
    return {"name": "benchmark", "base": BASE, "grid": axes}


def panel(folder: Path, *, tickers: int, settings: int) -> dict[str, Any]:
    """Return a sweep over a file of made-up stocks of ten years each."""
    dates = pd.bdate_range("2005-01-03", periods=2520)
    names = [f"T{at:03d}" for at in range(tickers)]
    tables = [random_walk_bars(np.random.default_rng(at), dates).assign(ticker=name) for at, name in enumerate(names)]
    pd.concat(tables).rename_axis("date").reset_index().to_parquet(folder / "panel.parquet", index=False)
    base = {
        "data": {"source": {"kind": "file", "path": str(folder / "panel.parquet")}, "tickers": names},
        "features": [{"kind": "lagged_returns"}],
    }
    levels = np.linspace(0.48, 0.52, settings // 2).round(4).tolist()
    return {"name": "panel", "base": base, "grid": {"model.l2": [0.001, 0.01], "policy.long_above": levels}}


def by_scikit_learn() -> float:
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


def by_backtesting(levels: list[float]) -> float:
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


def by_one_and_by_two(name: str, sweep: dict[str, Any]) -> Stopwatch:
    """Print what a sweep takes by one and by two workers; return what two did once they had started."""
    found = {}
    for workers in (1, 2):
        cold, _ = swept(sweep, partial(ProcessEngine, workers))
        watch = found[workers] = once_started(sweep, ProcessEngine(workers))
        print(
            f"{watch.trials:,} settings, {name}, {workers} workers: {cold:.1f} s from their start to the report; once "
            f"they have started {watch.working:.2f} ms a trial, {watch.handing:.2f} of it this process's own",
            flush=True,
        )
    print(f"  two workers are {found[1].working / found[2].working:.2f} times one", flush=True)
    return found[2]


def told_of_a_cluster(watch: Stopwatch) -> None:
    """Print what follows for many tickers and settings on many workers."""
    each, total = 2 * watch.working, ALL_TICKERS * SETTINGS
    apart, own = total * each / CLUSTER / 60_000, total * watch.handing / 60_000
    print(
        f"{ALL_TICKERS:,} tickers x {SETTINGS:,} settings: {total * each / 3.6e6:,.0f} core hours, {apart:,.0f} "
        f"minutes on {CLUSTER} workers; handing them out and keeping them is {own:,.0f} minutes of one process"
    )


def main() -> None:
    """Measure all of it, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the settings and a tenth of the tickers")
    quick = parser.parse_args().quick
    share, tickers = (5, 50) if quick else (1, 500)
    load_config(BASE)
    few, many = grid(models=20, policies=50 // share), grid(models=200 // share, policies=5)
    told_of_a_cluster(by_one_and_by_two("many policies", few))
    told_of_a_cluster(by_one_and_by_two("many models", many))
    for name, sweep in (("many policies", few), ("many models", many)):
        watch = once_started(sweep, DaskEngine(2))
        print(f"the same by Dask, {name}, 2 workers: {watch.working:.2f} ms a trial, {watch.handing:.2f} of it this "
              "process's own, its scheduler included", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for workers, settings in ((1, 10), (2, 10), (2, 40)):
            sweep, peak = panel(Path(folder), tickers=tickers, settings=settings), Peak()
            with peak.watched():
                seconds, _ = swept(sweep, partial(ProcessEngine, workers))
            print(
                f"{tickers} tickers x {settings} settings, {workers} workers: {seconds:.1f} s, "
                f"{peak.bytes / 2**20:,.0f} MB",
                flush=True,
            )
    print(f"scikit-learn's GridSearchCV, 20 models x 5 folds: {by_scikit_learn():.1f} s", flush=True)
    levels = np.linspace(0.47, 0.56, 50 // share).round(4).tolist()
    print(f"backtesting.py's optimiser, {len(levels)} policies on one model: {by_backtesting(levels):.1f} s")


if __name__ == "__main__":
    main()
