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

from quantlr.config.run_config import LoadedConfig, RunConfig, load_config
from quantlr.core.arrays import IntArray
from quantlr.core.progress import Note, Progress, ignore_progress
from quantlr.core.timing import first_forecast_row
from quantlr.core.values import Dataset, Prices
from quantlr.data.prices import load_prices
from quantlr.experiment.ledger import Ledger, Trial
from quantlr.model.splits import fold_sums
from quantlr.model.walk_forward import ModelSplit, gather_forecast_rows, make_model_splits
from quantlr.pipeline.stages import DEFAULT_STAGES, dataset_from_config, require_known_outcome
from quantlr.report.storage import check_report_target


@dataclass(frozen=True, slots=True)
class SessionRange:
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

    train: SessionRange
    test: SessionRange
    learnt: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """The refits of one model: a ticker's own, or "pooled"."""

    name: str
    folds: tuple[PlannedFold, ...]

    @property
    def n_forecasts(self) -> int:
        """Number of forecasts."""
        return sum(fold.test.rows for fold in self.folds)


@dataclass(frozen=True, slots=True)
class PlannedTicker:
    """A ticker's bars, how many of the first ones some feature lacks, and the rows that are left."""

    name: str
    bars: SessionRange
    warm_up: int
    rows: int


@dataclass(frozen=True, slots=True)
class WalkForwardPlan:
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
    sessions: SessionRange
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
class RunPlan:
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
    walk: WalkForwardPlan | None
    folder: str
    replaces: bool
    ledger: str


def plan(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    output: str | Path = "reports",
    offline: bool = False,
    progress: Progress = ignore_progress,
) -> RunPlan:
    """Return what `quantlr.run` would do with the same arguments.

    Raises
    ------
    UserError : what a run would refuse before it fits anything.
    """
    loaded = load_config(config, overrides=overrides)
    return plan_config(loaded, output=output, offline=offline, progress=progress)


def plan_config(
    config: LoadedConfig, *, output: str | Path = "reports", offline: bool = False, progress: Progress = ignore_progress
) -> RunPlan:
    """Return the plan of a loaded config; an error of a layer comes back with the place of its key."""
    run, output = config.run, Path(output)
    ledger = Ledger.from_output_folder(output)
    check_report_target(output, run.name)
    ledger.require_usable()
    with config.add_location_to_errors():
        asked = (
            {}
            if offline
            else run.data.source.tickers_to_download((*run.data.tickers, *run.data.context), end=run.data.end)
        )
        unstored = any(last is None for last in asked.values())
        walk = (
            None
            if unstored
            else _plan_walk_forward(run, load_prices(run.data, offline=True, progress=progress), ledger)
        )
    return RunPlan(
        name=run.name,
        config=run.model_dump(mode="json"),
        to_ask={ticker: _iso_date_text(last) for ticker, last in asked.items()},
        walk=walk,
        folder=str(output / run.name),
        replaces=(output / run.name).exists(),
        ledger=str(ledger.path),
    )


def _iso_date_text(date: dt.date | None) -> str | None:
    return None if date is None else date.isoformat()


def _plan_walk_forward(config: RunConfig, prices: Prices, ledger: Ledger) -> WalkForwardPlan:
    dataset = dataset_from_config(config, prices)
    walkers, notes = make_model_splits(dataset, config.walk_forward, config.model, DEFAULT_STAGES.walk_forward_steps)
    dates = prices.sessions.strftime("%Y-%m-%d").tolist()
    models = tuple(_planned_model(journey, dataset, dates) for journey in walkers)
    up, first = gather_forecast_rows(walkers, dataset.up), int(gather_forecast_rows(walkers, dataset.session).min())
    require_known_outcome(up, first_date=dates[first])
    filled = first + config.execution.fill_delay_sessions
    trials, tried = ledger.count_related_trials(Trial.from_config(config, data_sha256=prices.sha256))
    rows = [dataset.ticker_slice(ticker) for ticker in range(len(prices.tickers))]
    return WalkForwardPlan(
        source=prices.source,
        sha256=prices.sha256,
        sessions=SessionRange(dates[0], dates[-1], len(dates)),
        tickers=tuple(_planned_ticker(prices, at, dates, n_rows=own.stop - own.start) for at, own in enumerate(rows)),
        columns=dataset.columns,
        models=models,
        refits=sum(len(model.folds) for model in models),
        forecasts=len(up),
        scored=int((~np.isnan(up)).sum()),
        gap=_training_gap_rows(config),
        first_fill=dates[filled] if filled < len(dates) else None,
        trials=trials,
        tried=tried,
        notes=(*prices.notes, *dataset.notes, *notes),
    )


def _training_gap_rows(config: RunConfig) -> int:
    spec = config.walk_forward
    return first_forecast_row(spec.train, horizon=config.label.horizon, embargo=spec.embargo) - spec.train


def _planned_ticker(prices: Prices, ticker_index: int, session_dates: Sequence[str], *, n_rows: int) -> PlannedTicker:
    bars = int(prices.n_bars[ticker_index])
    session = prices.session[:bars, ticker_index]
    return PlannedTicker(
        prices.tickers[ticker_index],
        SessionRange(session_dates[session[0]], session_dates[session[-1]], bars),
        bars - n_rows,
        n_rows,
    )


def _planned_model(model_split: ModelSplit, dataset: Dataset, session_dates: Sequence[str]) -> PlannedModel:
    train = [
        (model_split.first_row + folds.train_start, model_split.first_row + folds.train_stop)
        for folds in model_split.folds
    ]
    test = [
        (model_split.first_row + folds.test_start, model_split.first_row + folds.test_stop)
        for folds in model_split.folds
    ]
    learnt = fold_sums(lambda rows: ~np.isnan(model_split.up[None, rows]), model_split.folds)[0]
    folds = zip(
        _session_ranges(train, dataset, session_dates),
        _session_ranges(test, dataset, session_dates),
        learnt.astype(int).tolist(),
        strict=True,
    )
    return PlannedModel(model_split.name, tuple(PlannedFold(*each) for each in folds))


def _session_ranges(
    row_ranges: Sequence[tuple[IntArray, IntArray]], dataset: Dataset, session_dates: Sequence[str]
) -> list[SessionRange]:
    """Return the sessions and the number of rows from starts to stops, (refits,) each for every ticker."""
    first = np.full(len(row_ranges[0][0]), len(session_dates), dtype=np.int64)
    last = np.full_like(first, -1)
    rows = np.zeros_like(first)
    for start, stop in row_ranges:
        some = stop > start
        first[some] = np.minimum(first[some], dataset.session[start[some]])
        last[some] = np.maximum(last[some], dataset.session[stop[some] - 1])
        rows += stop - start
    return [
        SessionRange(session_dates[a], session_dates[b], n)
        for a, b, n in zip(first.tolist(), last.tolist(), rows.tolist(), strict=True)
    ]
