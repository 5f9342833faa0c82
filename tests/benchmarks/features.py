"""How long features take on a large panel, against the same columns written by hand in NumPy, and their memory.

python tests/benchmarks/features.py [--quick] [--feature KIND]...

A panel of 5,000 sessions and 500 tickers, 20 columns a feature. What is timed is all of it: from prices to the rows of
a dataset, labels included; by hand it is from prices to a matrix of rows and columns, and nothing else. Answers are
compared before anything is timed. Each is done in turns, and the fastest of each is compared: a bar of 5 times. The
peak of memory beyond the panel, as tracemalloc sees it, is compared with the size of the matrix: a bar of 3 times.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from quantlr.core.values import Array, Dataset, Prices
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import Feature, LaggedReturns, Momentum, Volatility
from quantlr.data.features.transforms import CrossSectionalRank, RollingZScore
from quantlr.data.features.trend import BollingerPercentB, MovingAverageGap, RelativeStrengthIndex, TrailingDrawdown
from quantlr.data.features.volatility import AverageTrueRange
from quantlr.data.features.volumes import VolumeZScore
from quantlr.data.labels import Direction

COLUMNS = 20
REPEATS = 3
SLOWER, LARGER = 5.0, 3.0
WINDOWS = tuple(int(window) for window in np.linspace(5, 252, COLUMNS))
LAGS = tuple(range(1, COLUMNS + 1))
LONG = 60

Column = Callable[[Prices, int], Array]


def lag(prices: Prices, k: int) -> Array:
    return moved(steps(prices.close), k - 1)


def momentum(prices: Prices, w: int) -> Array:
    return np.log(prices.close / moved(prices.close, w))


def volatility(prices: Prices, w: int) -> Array:
    return deviation(steps(prices.close), w, ddof=1)


def gap(prices: Prices, w: int) -> Array:
    return prices.close / mean(prices.close, w) - 1.0


def bollinger(prices: Prices, w: int) -> Array:
    return 0.5 + (prices.close - mean(prices.close, w)) / (4.0 * deviation(prices.close, w, ddof=0))


def drawdown(prices: Prices, w: int) -> Array:
    highest, length = prices.close, 1
    while length < w:
        by = min(length, w - length)
        highest = np.maximum(highest, moved(highest, by))
        length += by
    return prices.close / highest - 1.0


def strength(prices: Prices, w: int) -> Array:
    step = prices.close - moved(prices.close, 1)
    rise, fall = recursive(np.maximum(step, 0.0), w), recursive(np.maximum(-step, 0.0), w)
    return 100.0 * rise / (rise + fall)


def true_range(prices: Prices, w: int) -> Array:
    before = moved(prices.close, 1)
    return recursive(np.maximum(prices.high, before) - np.minimum(prices.low, before), w) / prices.close


def volume(prices: Prices, w: int) -> Array:
    values = np.log(prices.volume)
    return (values - mean(values, w)) / deviation(values, w, ddof=1)


def score(prices: Prices, k: int) -> Array:
    values = lag(prices, k)
    return (values - mean(values, LONG)) / deviation(values, LONG, ddof=1)


def rank(prices: Prices, k: int) -> Array:
    values = lag(prices, k)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, np.argsort(values, axis=1), np.arange(values.shape[1], dtype=np.float64), axis=1)
    return np.where(np.isnan(values), np.nan, (ranks + 0.5) / values.shape[1])


def moved(values: Array, by: int) -> Array:
    found = np.full_like(values, np.nan)
    found[by:] = values[: len(values) - by]
    return found


def steps(close: Array) -> Array:
    return np.log(close / moved(close, 1))


def mean(values: Array, w: int) -> Array:
    return summed(values, w) / w


def deviation(values: Array, w: int, *, ddof: int) -> Array:
    centred = values - np.nanmean(values, axis=0)
    total = summed(centred, w)
    return np.sqrt(np.maximum((summed(centred * centred, w) - total * total / w) / (w - ddof), 0.0))


def summed(values: Array, w: int) -> Array:
    first = int(np.isnan(values[:, 0]).sum())
    running = np.zeros((len(values) - first + 1, values.shape[1]))
    np.cumsum(values[first:], axis=0, out=running[1:])
    found = np.full_like(values, np.nan)
    found[first + w - 1 :] = running[w:] - running[:-w]
    return found


def recursive(values: Array, w: int) -> Array:
    found = np.full_like(values, np.nan)
    found[w] = values[1 : w + 1].mean(axis=0)
    for row in range(w + 1, len(values)):
        found[row] = found[row - 1] + (values[row] - found[row - 1]) / w
    return found


@dataclass(frozen=True)
class Job:
    """A feature of 20 columns, and each of them by hand."""

    feature: Feature
    by_hand: Column
    parameters: Sequence[int]


JOBS = (
    Job(LaggedReturns(lags=LAGS), lag, LAGS),
    Job(Momentum(windows=WINDOWS), momentum, WINDOWS),
    Job(Volatility(windows=WINDOWS), volatility, WINDOWS),
    Job(MovingAverageGap(windows=WINDOWS), gap, WINDOWS),
    Job(BollingerPercentB(windows=WINDOWS), bollinger, WINDOWS),
    Job(TrailingDrawdown(windows=WINDOWS), drawdown, WINDOWS),
    Job(RelativeStrengthIndex(windows=WINDOWS), strength, WINDOWS),
    Job(AverageTrueRange(windows=WINDOWS), true_range, WINDOWS),
    Job(VolumeZScore(windows=WINDOWS), volume, WINDOWS),
    Job(RollingZScore(of=LaggedReturns(lags=LAGS), window=LONG), score, LAGS),
    Job(CrossSectionalRank(of=LaggedReturns(lags=LAGS)), rank, LAGS),
)


def panel(sessions: int, tickers: int) -> Prices:
    """Return made-up prices without a hole, and without a move of exactly nothing."""
    rng = np.random.default_rng(0)
    close = 50.0 * np.exp(np.cumsum(0.012 * rng.standard_t(4, (sessions, tickers)), axis=0))
    opens = close * np.exp(0.003 * rng.standard_normal(close.shape))
    return Prices(
        tickers=tuple(f"T{at:03}" for at in range(tickers)),
        sessions=pd.bdate_range("1999-01-04", periods=sessions).as_unit("us"),
        session=np.repeat(np.arange(sessions)[:, None], tickers, axis=1),
        open=opens,
        high=np.maximum(opens, close) * 1.002,
        low=np.minimum(opens, close) * 0.997,
        close=close,
        volume=np.exp(12.0 + 0.4 * rng.standard_normal(close.shape)),
        raw_close=close,
        adjustment=np.ones_like(close),
    )


def ours(prices: Prices, job: Job) -> Dataset:
    """Return the dataset of a job's feature, as a run makes it."""
    label = Direction()
    return build_dataset(
        prices, compute_feature_columns(prices, [job.feature]), label.compute_labels(prices), horizon=label.horizon
    )


def theirs(prices: Prices, job: Job) -> Array:
    """Return the same rows and columns by hand, ticker by ticker, less the warm-up."""
    bars, tickers = prices.close.shape
    rows = np.empty((tickers, bars, COLUMNS))
    for at, parameter in enumerate(job.parameters):
        rows[:, :, at] = job.by_hand(prices, parameter).T
    return rows[:, job.feature.warm_up() :].reshape(-1, COLUMNS)


def measure(prices: Prices, job: Job) -> tuple[float, float, float]:
    """Return the seconds of quantlr and by hand, and the peak of memory over the size of the matrix."""
    mine = ours(prices, job).features
    np.testing.assert_allclose(mine, theirs(prices, job), rtol=1e-6, atol=1e-6)
    size = mine.nbytes
    del mine
    taken = {ours: math.inf, theirs: math.inf}
    for _ in range(REPEATS):
        for work in taken:
            started = time.perf_counter()
            made = work(prices, job)
            taken[work] = min(taken[work], time.perf_counter() - started)
            del made
    tracemalloc.start()
    ours(prices, job)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return taken[ours], taken[theirs], peak / size


def main() -> int:
    parser = argparse.ArgumentParser(description="How long features take, against NumPy by hand.")
    parser.add_argument("--quick", action="store_true", help="a panel of 1,000 sessions and 100 tickers")
    parser.add_argument("--feature", action="append", metavar="KIND", help="only this; may be repeated")
    options = parser.parse_args()
    prices = panel(1_000, 100) if options.quick else panel(5_000, 500)
    bars, tickers = prices.close.shape
    print(f"{bars:,} sessions, {tickers} tickers, {COLUMNS} columns each")
    print(f"{'feature':22}{'quantlr':>10}{'by hand':>10}{'ratio':>8}{'peak / matrix':>15}")
    missed = 0
    for job in JOBS:
        if options.feature and job.feature.kind not in options.feature:
            continue
        mine, hand, memory = measure(prices, job)
        met = mine < SLOWER * hand and memory < LARGER
        missed += not met
        verdict = "" if met else "  MISSED"
        print(f"{job.feature.kind:22}{mine:>8.2f} s{hand:>8.2f} s{mine / hand:>7.2f}x{memory:>14.2f}x{verdict}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
