"""What the descent is timed on: data, walks, and the bars that it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from quantlr.core.parallel import available_core_count
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import Array, Dataset, Folds, Forecasts, IntArray
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.labels import Direction
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import SampleSource
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec, make_folds, make_pooled_folds
from quantlr.model.walk_forward import walk_forward

LAGS = 10
DAILY, MONTHLY = 1, 21
MEGABYTE = 1e6
ARRAYS = ("ticker", "session", "features", "up", "span_return", "known_at")
"""What a dataset holds for each of its rows."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of a walk and of the processes that it starts, in bytes.

    Attributes
    ----------
    panel, features, forecasts : size of the dataset's arrays, of its features alone, and of what the walk returns.
    before : with the panel made and the libraries imported, before the walk.
    peak : the most during the walk; what processes share counts for each.
    """

    panel: int
    features: int
    forecasts: int
    before: int
    peak: int


@dataclass(frozen=True, slots=True)
class Job:
    """A walk to time, and its bars.

    Attributes
    ----------
    text : what it is, for people.
    data : makes the dataset.
    walk, model : how to walk and how to descend.
    bars : for each peer, how many times faster than its loop the walk must be; None compares without a bar.
    sample : refits at which answers are compared, and that stand for a peer's loop where it is long.
    whole : seconds that a peer's loop may take to be timed from its first fit to its last.
    repeats : times that each contender is timed.
    cores : processes that share out the models, quantlr's and a peer's alike; one model is walked on one.
    gradient : what the mean loss's gradient may still be in any component, where that is compared too.
    seconds : bar of the walk.
    peak : bar of the peak memory in bytes, from what the memory is compared with.
    curve : tickers whose cost is followed over a growing number of refits; 0 follows none.
    """

    text: str
    data: Callable[[], Dataset]
    walk: WalkForwardSpec
    bars: Mapping[str, float | None]
    model: LogisticRegression = field(default_factory=LogisticRegression)
    sample: int = 60
    whole: float = 20.0
    repeats: int = 3
    cores: int = 1
    gradient: float | None = None
    seconds: float | None = None
    peak: Callable[[Memory], float] | None = None
    curve: int = 0


@dataclass(frozen=True, slots=True)
class Refit:
    """One refit: X (rows, k) and y (rows,) that train it, and the rows ahead (forecasts, k) that it forecasts."""

    X: Array
    y: Array
    ahead: Array


def catalogue(*, quick: bool) -> dict[str, Job]:
    """Return the jobs by name; the quick ones are smaller, and only those on the S&P 500 keep their bars."""
    cores = 1 if quick else min(2, available_core_count())
    panel = partial(made_up_panel, tickers=12, sessions=2020) if quick else partial(made_up_panel, tickers=500)
    million = 100_000 if quick else 1_000_000
    daily = WalkForwardSpec(refit_every=DAILY)
    monthly = WalkForwardSpec(refit_every=MONTHLY)
    lone = {
        "scikit-learn lbfgs": 80.0,
        "scikit-learn newton-cholesky": 60.0,
        "statsmodels Logit": 60.0,
        "glum": None,
        "skglm": None,
    }
    jobs = {
        "expanding": Job("S&P 500, expanding window, a refit a day", sp500, daily, lone),
        "rolling": Job(
            "S&P 500, rolling window, a refit a day",
            sp500,
            WalkForwardSpec(window="rolling", refit_every=DAILY),
            {**dict.fromkeys(lone), "scikit-learn lbfgs": 50.0},
        ),
        "panel_monthly": Job(
            "panel, a model for each ticker, a refit a month",
            panel,
            monthly,
            {"scikit-learn lbfgs": 50.0, "scikit-learn newton-cholesky": None},
            cores=cores,
            seconds=5.0,
            peak=lambda memory: 2 * memory.panel + 300 * MEGABYTE,
        ),
        "panel_daily": Job(
            "panel, a model for each ticker, a refit a day",
            panel,
            daily,
            {"scikit-learn lbfgs": None},
            repeats=1,
            cores=cores,
            seconds=180.0,
            curve=4,
        ),
        "pooled": Job(
            "panel, one model for all tickers, a refit a month",
            panel,
            monthly,
            {"scikit-learn lbfgs": 20.0, "scikit-learn newton-cholesky": None},
            model=LogisticRegression(scope="pooled"),
            sample=5,
            # A walk that copied the features beside what it returns would need more.
            peak=lambda memory: memory.before + memory.forecasts + memory.features,
        ),
        "one_fit": Job(
            f"one fit of {million:,} rows and 20 features",
            partial(planted, rows=million),
            WalkForwardSpec(train=million, refit_every="never"),
            {"scikit-learn lbfgs, no scaler": 2.0, "scikit-learn newton-cholesky": None},
            sample=1,
            repeats=5,
            gradient=1e-8,
        ),
    }
    return {name: _quick(job) for name, job in jobs.items()} if quick else jobs


def walked(job: Job, dataset: Dataset) -> Forecasts:
    """Return what the walk of a job forecasts."""
    return walk_forward(dataset, job.walk, job.model, workers=job.cores)


def models_of(job: Job, dataset: Dataset) -> list[list[Folds]]:
    """Return for each model of a job the rows that train and test it, one entry per ticker that trains with it."""
    if job.model.scope == "pooled":
        return [make_pooled_folds(dataset, job.walk)]
    found = []
    for ticker in range(len(dataset.tickers)):
        rows = dataset.ticker_slice(ticker)
        folds = make_folds(rows.stop - rows.start, job.walk, horizon=dataset.horizon)
        found.append([Folds(*(rows.start + getattr(folds, name) for name in Folds.__slots__))])
    return found


def spread(models: Sequence[Sequence[Folds]], count: int) -> list[tuple[int, int]]:
    """Return model and number of `count` refits spread evenly over each model's walk, and over the models."""
    refits = len(models[0][0])
    number = np.linspace(0, refits - 1, min(count, refits * len(models))).round().astype(np.int64)
    model = np.linspace(0, len(models) - 1, len(number)).round().astype(np.int64)
    # Mixed, lest the first models be sampled at their first refits only.
    model = np.random.default_rng(0).permutation(model)
    return list(zip(model.tolist(), number.tolist(), strict=True))


def refit_of(dataset: Dataset, folds: Sequence[Folds], at: int) -> Refit:
    """Return what trains refit number `at` of a model, and what it forecasts."""
    train = [ticker[at].train for ticker in folds]
    test = [ticker[at].test for ticker in folds]
    return Refit(_joined(dataset.features, train), _joined(dataset.up, train), _joined(dataset.features, test))


def pairs_of(models: Sequence[Sequence[Folds]]) -> int:
    """Return the number of pairs of a refit and a row that trains it."""
    return sum(int((ticker.train_stop - ticker.train_start).sum()) for folds in models for ticker in folds)


def bytes_of(dataset: Dataset) -> int:
    """Return the size of a dataset's arrays."""
    return sum(int(getattr(dataset, name).nbytes) for name in ARRAYS)


def first_tickers(dataset: Dataset, count: int) -> Dataset:
    """Return the dataset of the first tickers alone."""
    rows = slice(0, dataset.ticker_slice(count - 1).stop)
    arrays = {name: getattr(dataset, name)[rows] for name in ARRAYS}
    return replace(dataset, tickers=dataset.tickers[:count], **arrays)


def sp500() -> Dataset:
    """Return ten lagged returns of the S&P 500 sample."""
    prices = load_prices(DataSpec(source=SampleSource(), tickers=("^GSPC",)))
    columns = compute_feature_columns(prices, [LaggedReturns(lags=tuple(range(1, LAGS + 1)))])
    return build_dataset(prices, columns, Direction().compute_labels(prices), horizon=1)


def made_up_panel(*, tickers: int, sessions: int = 5020, seed: int = 0) -> Dataset:
    """Return lagged returns of made-up tickers: a market that each follows in its own measure, and fat tails."""
    rng = np.random.default_rng(seed)
    length = sessions + LAGS
    market = 0.006 * rng.standard_t(4, length)
    beta, deviation = rng.uniform(0.3, 1.2, (tickers, 1)), rng.uniform(0.006, 0.02, (tickers, 1))
    returns = beta * market + deviation * rng.standard_t(4, (tickers, length))
    lagged = np.lib.stride_tricks.sliding_window_view(returns[:, :-1], LAGS, axis=1)[:, :, ::-1]
    known = returns[:, LAGS:]
    return _dataset(
        lagged.reshape(-1, LAGS),
        known,
        columns=tuple(f"return_{lag}" for lag in range(1, LAGS + 1)),
        freq="B",
    )


def planted(*, rows: int, k: int = 20, seed: int = 0) -> Dataset:
    """Return standard normal features and labels drawn from planted weights; the row after the last is forecast."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows + 1, k))
    up = rng.random(rows + 1) < sigmoid(X @ rng.normal(0.0, 0.3, k))
    return _dataset(X, np.where(up, 0.01, -0.01)[None], columns=tuple(f"x{at}" for at in range(k)), freq="min")


def _dataset(features: Array, span: Array, *, columns: tuple[str, ...], freq: str) -> Dataset:
    """Return a dataset from features (rows, k) and what came after each row, (tickers, sessions)."""
    tickers, sessions = span.shape
    session: IntArray = np.arange(sessions)
    known = np.where(session + 1 < sessions, session + 1, NOT_YET_KNOWN)
    span = span.copy()
    span[:, -1] = np.nan
    return Dataset(
        tickers=tuple(f"T{at:03}" for at in range(tickers)),
        sessions=pd.date_range("1999-01-04", periods=sessions, freq=freq).as_unit("us"),
        columns=columns,
        ticker=np.repeat(np.arange(tickers), sessions),
        session=np.tile(session, tickers),
        features=features,
        up=np.where(np.isnan(span), np.nan, span > 0).ravel(),
        horizon_return=span.ravel(),
        label_known_at=np.tile(known, tickers),
        label_known_to_all_at=np.tile(known, tickers),
        horizon=1,
    )


def _joined(values: Array, rows: Sequence[slice]) -> Array:
    return values[rows[0]] if len(rows) == 1 else np.concatenate([values[part] for part in rows])


def _quick(job: Job) -> Job:
    bars = job.bars if job.data is sp500 else dict.fromkeys(job.bars)
    few = min(job.sample, 20)
    return replace(job, bars=bars, sample=few, whole=0.0, repeats=1, seconds=None, peak=None, curve=min(job.curve, 1))
