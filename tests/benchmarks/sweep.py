"""What a sweep costs: trials a minute, what two workers gain on one, memory, and the same grid done by others.

python tests/benchmarks/sweep.py [--quick]

A thousand settings on the sample (50 policies over 20 models) by one and by two workers; a panel of made-up stocks by
20 settings, with the memory of this process and of its workers; the models' part beside scikit-learn's GridSearchCV
over TimeSeriesSplit, which fits each model 5 times where a walk-forward refits it every 21 sessions; and the policies'
part beside backtesting.py's optimiser on the same probabilities. From the seconds of a trial follows what a cluster
takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import quantlr
from quantlr.config import load_config
from quantlr.sweep.desk import Setting
from quantlr.sweep.executors import Engine, Processes
from quantlr.sweep.grid import load_sweep
from quantlr.sweep.runs import run_sweep
from quantlr.testing import random_bars

from benchmarks.measures import _resident

BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"]},
    "features": [{"kind": "lagged_returns"}, {"kind": "volatility", "windows": [20]}],
}
LAGS = [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5], [1, 5, 10]]
PENALTIES = [0.0, 0.001, 0.01, 0.1]
SETTINGS, ALL_TICKERS, CLUSTER = 1000, 8000, 100


class Measured:
    """Hears how a sweep goes on, and notes when its first trials are there and how much memory it takes."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.peak = 0
        self.trials = 0

    def begun(self, sweep: Any, *, waiting: int, dashboard: str | None) -> None:
        """Begin to count."""

    def done(self, *, done: int, total: int, failed: int) -> None:
        """Note the time and the memory of this process with all its workers."""
        import os

        self.last, self.trials = time.perf_counter(), done
        if done and self.first is None:
            self.first = self.last
        if done % 20 == 0:
            self.peak = max(self.peak, _resident(os.getpid()))


def swept(sweep: dict[str, Any], *, workers: int) -> tuple[float, Measured]:
    """Return the seconds that a sweep takes, its interpreters' start included, and what was noted meanwhile."""
    measured = Measured()

    def engine() -> Engine:
        return Processes(workers)

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_sweep(load_sweep(sweep), Setting(Path(folder), engine, watch=measured))
        return time.perf_counter() - started, measured


def grid(policies: int) -> dict[str, Any]:
    """Return a sweep of so many policies over twenty models."""
    levels = np.linspace(0.47, 0.56, policies).round(4).tolist()
    axes = {"features.0.lags": LAGS, "model.l2": PENALTIES, "policy.long_above": levels}
    return {"name": "benchmark", "base": BASE, "grid": axes}


def panel(folder: Path, *, tickers: int, settings: int) -> dict[str, Any]:
    """Return a sweep over a file of made-up stocks of ten years each."""
    dates = pd.bdate_range("2005-01-03", periods=2520)
    names = [f"T{at:03d}" for at in range(tickers)]
    tables = [random_bars(np.random.default_rng(at), dates).assign(ticker=name) for at, name in enumerate(names)]
    pd.concat(tables).rename_axis("date").reset_index().to_parquet(folder / "panel.parquet", index=False)
    base = {
        "data": {"source": {"kind": "file", "path": str(folder / "panel.parquet")}, "tickers": names},
        "features": [{"kind": "lagged_returns"}],
    }
    levels = np.linspace(0.48, 0.52, settings // 2).round(4).tolist()
    return {"name": "panel", "base": base, "grid": {"model.l2": [0.001, 0.01], "policy.long_above": levels}}


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_scikit_learn() -> float:
    """Return the seconds of the twenty models by GridSearchCV over TimeSeriesSplit of five, on two processes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    run = quantlr.run(BASE)
    X, up = run.course.dataset.features, run.course.dataset.up
    known = ~np.isnan(up)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        model, {"logisticregression__C": np.logspace(-3, 3, 20).tolist()}, cv=TimeSeriesSplit(5), n_jobs=2
    )
    return seconds_of(lambda: search.fit(X[known], up[known]))


def by_backtesting(levels: list[float]) -> float:
    """Return the seconds that backtesting.py's optimiser takes for some policies on given probabilities."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from backtesting import Backtest, Strategy

        run = quantlr.run(BASE)
        probability = run.forecasts.set_index("date")["probability"]
        prices = run.course.prices
        bars = pd.DataFrame(
            {name.title(): getattr(prices, name)[:, 0] for name in ("open", "high", "low", "close", "volume")},
            index=prices.sessions,
        ).assign(Probability=probability)

        class Threshold(Strategy):  # type: ignore[misc]  # it has no types
            level = 0.5

            def init(self) -> None:
                """Have nothing to prepare."""

            def next(self) -> None:
                up = self.data.Probability[-1] > self.level
                if up and not self.position:
                    self.buy()
                elif not up and self.position:
                    self.position.close()

        test = Backtest(bars, Threshold, cash=1e7, commission=3e-4, finalize_trades=True)
        return seconds_of(lambda: test.optimize(level=levels))


def main() -> None:
    """Measure all of it, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the policies and of the tickers")
    quick = parser.parse_args().quick
    policies, tickers = (10, 50) if quick else (50, 500)
    load_config(BASE)
    taken: dict[int, float] = {}
    rate = 0.0
    for workers in (1, 2):
        seconds, seen = swept(grid(policies), workers=workers)
        working = seen.last - (seen.first or seen.last)
        taken[workers] = working
        rate = max(rate, seen.trials / working)
        print(
            f"{20 * policies:,} settings, {workers} workers: {seconds:.1f} s in all, {working:.1f} s from the first "
            f"trial to the last, {seen.peak / 2**20:,.0f} MB"
        )
    print(f"two workers are {taken[1] / taken[2]:.2f} times one")
    each = 2 / rate
    total = each * ALL_TICKERS * SETTINGS
    print(f"a trial takes {each * 1000:.1f} ms of a core; {ALL_TICKERS:,} tickers x {SETTINGS:,} settings: "
          f"{total / 3600:,.0f} core hours, {total / CLUSTER / 60:,.0f} minutes on {CLUSTER} workers")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sweep = panel(Path(folder), tickers=tickers, settings=20)
        for workers in (1, 2):
            seconds, seen = swept(sweep, workers=workers)
            print(f"{tickers} tickers x 20 settings, {workers} workers: {seconds:.1f} s, {seen.peak / 2**20:,.0f} MB")
    print(f"scikit-learn's GridSearchCV, 20 models x 5 folds: {by_scikit_learn():.1f} s")
    levels = np.linspace(0.47, 0.56, policies).round(4).tolist()
    print(f"backtesting.py's optimiser, {policies} policies on one model: {by_backtesting(levels):.1f} s")


if __name__ == "__main__":
    main()
