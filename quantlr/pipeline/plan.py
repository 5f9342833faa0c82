"""What a run would do, down to the dates and the row counts of its folds; nothing is fitted and nothing is written.

The rows, the folds and the dates come from the functions that a run itself calls, so that a plan can't be wrong by
itself. Prices are taken from where they are stored: a plan never asks the network, and says what a run would ask.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.config import Config, RunConfig, load_config
from quantlr.data.universe import load_prices
from quantlr.model.folds import training_sums
from quantlr.model.journey import Journey, forecast_of, journeys
from quantlr.pipeline.stages import STAGES, dataset_of, require_outcome
from quantlr.report.folder import require_place
from quantlr.trials import Ledger, Trial
from quantlr.types import Dataset, IntArray, Note, Prices, Progress, first_forecast, no_progress


@dataclass(frozen=True, slots=True)
class Span:
    """Rows, and the sessions of the first and the last of them."""

    first: str
    last: str
    rows: int


@dataclass(frozen=True, slots=True)
class PlannedFold:
    """One refit.

    Attributes
    ----------
    train, test : the rows that train it, of all its tickers, and those that it forecasts.
    learnt : how many of the training rows have a label; the others are dropped ones.
    """

    train: Span
    test: Span
    learnt: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """The refits of one model: a ticker's own, or "pooled"."""

    name: str
    folds: tuple[PlannedFold, ...]

    @property
    def forecasts(self) -> int:
        """Number of forecasts."""
        return sum(fold.test.rows for fold in self.folds)


@dataclass(frozen=True, slots=True)
class PlannedTicker:
    """A ticker's bars, how many of the first ones some feature lacks, and the rows that are left."""

    name: str
    bars: Span
    warm_up: int
    rows: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What is known of a run once its prices are there.

    Attributes
    ----------
    source, sha256 : where prices are read, and their digest.
    sessions : the union of all tickers' dates.
    tickers : in the config's order.
    columns : names of the features' columns.
    models : what is fitted.
    refits, forecasts : of all models together.
    scored : forecasts whose outcome is known.
    gap : rows between the newest that trains a model and the first that it forecasts, since labels take time.
    first_fill : date of the first trade, None where prices end before.
    trials : that share a ticker and the label, in the ledger so far; the deflated Sharpe ratio counts them.
    tried : whether this run is one of them.
    notes : what was found in the prices, dropped, or left out.
    """

    source: str
    sha256: str
    sessions: Span
    tickers: tuple[PlannedTicker, ...]
    columns: tuple[str, ...]
    models: tuple[PlannedModel, ...]
    refits: int
    forecasts: int
    scored: int
    gap: int
    first_fill: str | None
    trials: int
    tried: bool
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes
    ----------
    name : of the run.
    config : with every default.
    to_ask : tickers that a run would ask the network for, and the last session stored of each; None for none.
    walk : what it would do with the prices; None where some are not stored yet.
    folder : where the report would go.
    replaces : whether one is there already.
    ledger : where it would be counted as a trial.
    """

    name: str
    config: dict[str, Any]
    to_ask: dict[str, str | None]
    walk: Walk | None
    folder: str
    replaces: bool
    ledger: str


def plan(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    output: str | Path = "reports",
    offline: bool = False,
    progress: Progress = no_progress,
) -> Plan:
    """Return what `quantlr.run` would do with the same arguments.

    Raises
    ------
    UserError : what a run would refuse before it fits anything.
    """
    loaded = load_config(config, overrides=overrides)
    return plan_config(loaded, output=output, offline=offline, progress=progress)


def plan_config(
    config: Config, *, output: str | Path = "reports", offline: bool = False, progress: Progress = no_progress
) -> Plan:
    """Return the plan of a loaded config; an error of a layer comes back with the place of its key."""
    run, output = config.run, Path(output)
    ledger = Ledger.of(output)
    require_place(output, run.name)
    ledger.check()
    with config.locating():
        asked = {} if offline else run.data.source.to_ask((*run.data.tickers, *run.data.context), end=run.data.end)
        unstored = any(last is None for last in asked.values())
        walk = None if unstored else _walk(run, load_prices(run.data, offline=True, progress=progress), ledger)
    return Plan(
        name=run.name,
        config=run.model_dump(mode="json"),
        to_ask={ticker: _iso(last) for ticker, last in asked.items()},
        walk=walk,
        folder=str(output / run.name),
        replaces=(output / run.name).exists(),
        ledger=str(ledger.path),
    )


def _iso(date: dt.date | None) -> str | None:
    return None if date is None else date.isoformat()


def _walk(config: RunConfig, prices: Prices, ledger: Ledger) -> Walk:
    dataset = dataset_of(config, prices)
    walkers, notes = journeys(dataset, config.walk_forward, config.model, STAGES.walk)
    dates = prices.sessions.strftime("%Y-%m-%d").tolist()
    models = tuple(_model(journey, dataset, dates) for journey in walkers)
    up, first = forecast_of(walkers, dataset.up), int(forecast_of(walkers, dataset.session).min())
    require_outcome(up, first=dates[first])
    filled = first + config.execution.delay
    trials, tried = ledger.so_far(Trial.of(config, data_sha256=prices.sha256))
    rows = [dataset.rows(ticker) for ticker in range(len(prices.tickers))]
    return Walk(
        source=prices.source,
        sha256=prices.sha256,
        sessions=Span(dates[0], dates[-1], len(dates)),
        tickers=tuple(_ticker(prices, at, dates, rows=own.stop - own.start) for at, own in enumerate(rows)),
        columns=dataset.columns,
        models=models,
        refits=sum(len(model.folds) for model in models),
        forecasts=len(up),
        scored=int((~np.isnan(up)).sum()),
        gap=_gap(config),
        first_fill=dates[filled] if filled < len(dates) else None,
        trials=trials,
        tried=tried,
        notes=(*prices.notes, *dataset.notes, *notes),
    )


def _gap(config: RunConfig) -> int:
    spec = config.walk_forward
    return first_forecast(spec.train, horizon=config.label.horizon, embargo=spec.embargo) - spec.train


def _ticker(prices: Prices, at: int, dates: Sequence[str], *, rows: int) -> PlannedTicker:
    bars = int(prices.bars[at])
    session = prices.session[:bars, at]
    return PlannedTicker(prices.tickers[at], Span(dates[session[0]], dates[session[-1]], bars), bars - rows, rows)


def _model(journey: Journey, dataset: Dataset, dates: Sequence[str]) -> PlannedModel:
    train = [(journey.first + folds.train_start, journey.first + folds.train_stop) for folds in journey.folds]
    test = [(journey.first + folds.test_start, journey.first + folds.test_stop) for folds in journey.folds]
    learnt = training_sums(lambda rows: ~np.isnan(journey.up[None, rows]), journey.folds)[0]
    folds = zip(_spans(train, dataset, dates), _spans(test, dataset, dates), learnt.astype(int).tolist(), strict=True)
    return PlannedModel(journey.name, tuple(PlannedFold(*each) for each in folds))


def _spans(ranges: Sequence[tuple[IntArray, IntArray]], dataset: Dataset, dates: Sequence[str]) -> list[Span]:
    """Return the sessions and the number of rows from starts to stops, (refits,) each for every ticker."""
    first = np.full(len(ranges[0][0]), len(dates), dtype=np.int64)
    last = np.full_like(first, -1)
    rows = np.zeros_like(first)
    for start, stop in ranges:
        some = stop > start
        first[some] = np.minimum(first[some], dataset.session[start[some]])
        last[some] = np.maximum(last[some], dataset.session[stop[some] - 1])
        rows += stop - start
    return [Span(dates[a], dates[b], n) for a, b, n in zip(first.tolist(), last.tolist(), rows.tolist(), strict=True)]
