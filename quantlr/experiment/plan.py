"""The plan of a run: its dates, rows and folds, without fitting or writing anything.

Rows, folds and dates come from the functions that a run calls, so that a plan and the run agree. Prices are read from
where they are stored: a plan never uses the network, and lists what a run would download.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.config.candidates import Candidate
from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.component_errors import name_component_in_errors
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.timing import first_forecast_row, label_lag
from quantlr.core.values import Dataset, IntArray, Note, Prices
from quantlr.data.csv.description import FileReading
from quantlr.data.features import Feature
from quantlr.data.prices import tickers_to_fetch
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.trial import Trial
from quantlr.model.splits import fold_sums
from quantlr.model.walk_forward import ModelSplit, gather_forecast_rows, make_model_splits
from quantlr.pipeline.resources import ResourceEstimate, estimate_resources
from quantlr.pipeline.scored_span import first_scored_session
from quantlr.pipeline.selection import SharedDataset
from quantlr.pipeline.stages import (
    DEFAULT_STAGES,
    dataset_from_config,
    load_run_prices,
    require_known_outcome,
    walk_forward_spec,
)
from quantlr.report.storage import check_report_target


@dataclass(frozen=True, slots=True)
class SessionRange:
    """A number of rows, and the first and last of their sessions."""

    first: str
    last: str
    rows: int


@dataclass(frozen=True, slots=True)
class PlannedFold:
    """One refit.

    Attributes
    ----------
    train, test : its training rows, over all tickers of the model, and the rows that it forecasts.
    labelled_rows : number of training rows that have a label.
    """

    train: SessionRange
    test: SessionRange
    labelled_rows: int


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """The refits of one model: that of a ticker, or "pooled"."""

    name: str
    folds: tuple[PlannedFold, ...]

    @property
    def n_forecasts(self) -> int:
        """Number of forecasts."""
        return sum(fold.test.rows for fold in self.folds)


@dataclass(frozen=True, slots=True)
class PlannedTicker:
    """A ticker's bars, and the numbers of those that are left out and of the rows that are left.

    Attributes
    ----------
    name, bars : the ticker and its bars.
    outside_membership : number of bars at which it is no member of the universe.
    warm_up : number of the others without all features.
    rows : number of rows.
    """

    name: str
    bars: SessionRange
    outside_membership: int
    warm_up: int
    rows: int


@dataclass(frozen=True, slots=True)
class WalkForwardPlan:
    """The part of a plan that needs prices.

    Attributes
    ----------
    source, sha256 : where prices are read, and their digest.
    sessions : union of the tickers' sessions.
    tickers : in the config's order.
    columns : names of the features' columns.
    models : what is fitted.
    refits, forecasts : totals over the models.
    scored : number of forecasts with a known outcome, from `report.score_from` on if there is one.
    gap : rows between the last training row and the first forecast, from the label's horizon and the embargo.
    first_fill : date of the first fill; None where prices end before it.
    trials : number of trials in the ledger on overlapping prices.
    tried : whether this run is one of them.
    resources : the memory and the time of the fits that a run would need, roughly.
    notes : what was repaired, dropped or left out of the prices.
    files : how the first files of prices were read; () for another source.
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
    resources: ResourceEstimate
    notes: tuple[Note, ...]
    files: tuple[FileReading, ...]


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of a run.

    Attributes
    ----------
    name : of the run.
    config : with every default.
    to_ask : tickers that a run would download, and the last stored session of each; None where none is stored.
    walk_forward : dates, rows and folds; None where some prices are not stored yet.
    folder : where the report would go.
    replaces : whether a report is there.
    ledger : where the run would be recorded as a trial.
    """

    name: str
    config: dict[str, Any]
    to_ask: dict[str, str | None]
    walk_forward: WalkForwardPlan | None
    folder: str
    replaces: bool
    ledger: str


def plan(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    output: str | Path = "reports",
    offline: bool = False,
    progress: Progress = ignore_progress,
) -> RunPlan:
    """Return the plan of a run: its dates, rows and folds. Nothing is fitted, written or downloaded.

    Parameters
    ----------
    config, overrides, features, data, progress : as in `quantlr.run`.
    output : folder of reports. The plan says what would be written there, and counts the trials of its ledger.
    offline : whether to use stored prices only, without the network; a plan never uses it, but lists what a run would
        download.

    Returns
    -------
    plan : the tickers to download and, if all prices are stored, every refit with its rows and dates.

    Raises
    ------
    UserError : what a run would refuse before it fits anything.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.plan("configs/sp500_daily.yaml").walk_forward.refits  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    run, folder = loaded.run, Path(output) / loaded.run.name
    ledger = Ledger.from_output_folder(Path(output))
    check_report_target(Path(output), run.name)
    ledger.require_usable()
    with loaded.add_location_to_errors():
        tickers = tickers_to_fetch(run.data, run.report.benchmark_ticker)
        with name_component_in_errors(run.data.source, key="data.source"):
            last_stored = {} if offline else run.data.source.last_date_by_due_ticker(tickers, end=run.data.end)
        walk_forward = None
        if None not in last_stored.values():
            walk_forward = _make_walk_forward_plan(run, load_run_prices(run, offline=True, progress=progress), ledger)
    return RunPlan(
        name=run.name,
        config=run.model_dump(mode="json"),
        to_ask={ticker: last.isoformat() if last else None for ticker, last in last_stored.items()},
        walk_forward=walk_forward,
        folder=str(folder),
        replaces=folder.exists(),
        ledger=str(ledger.path),
    )


def _make_walk_forward_plan(config: RunConfig, prices: Prices, ledger: Ledger) -> WalkForwardPlan:
    dataset, candidates = dataset_from_config(config, prices), config.candidates()
    planned = _latest_candidate(candidates, prices).config if candidates else config
    spec = walk_forward_spec(planned, prices)
    splits, split_notes = make_model_splits(dataset, spec, planned.model, DEFAULT_STAGES.walk_forward_steps)
    if candidates:
        text = f"{len(candidates)} candidates; shown are the refits of one that starts last, as the forecasts do"
        split_notes.append(Note("model", text, key="select"))
    iso_dates = prices.sessions.strftime("%Y-%m-%d").tolist()
    models = tuple(_make_planned_model(split, dataset, iso_dates) for split in splits)
    tickers = []
    for index, n_bars in enumerate(prices.n_bars.tolist()):
        first, last = prices.session[[0, n_bars - 1], index]
        rows, bars = dataset.ticker_slice(index), SessionRange(iso_dates[first], iso_dates[last], n_bars)
        n_rows = rows.stop - rows.start
        n_outside = 0 if prices.member_mask is None else n_bars - int(prices.member_mask[:, index].sum())
        tickers.append(PlannedTicker(prices.tickers[index], bars, n_outside, n_bars - n_outside - n_rows, n_rows))
    up, session = gather_forecast_rows(splits, dataset.up), gather_forecast_rows(splits, dataset.session)
    first_session, score_from = int(session.min()), config.report.score_from
    require_known_outcome(up, first_date=iso_dates[first_session])
    fill_delay = config.execution.fill_delay_sessions
    if score_from is not None:
        first_session = first_scored_session(score_from, prices.sessions, session=session, up=up, fill_delay=fill_delay)
    fill_session = first_session + fill_delay
    trial = Trial.from_prices(config, prices)
    related_trials = ledger.read_trial_keys(trial.price_keys)
    return WalkForwardPlan(
        source=prices.source,
        sha256=prices.sha256,
        sessions=SessionRange(iso_dates[0], iso_dates[-1], len(iso_dates)),
        tickers=tuple(tickers),
        columns=_column_names(dataset),
        models=models,
        refits=sum(len(model.folds) for model in models),
        forecasts=len(up),
        scored=int((~np.isnan(up[session >= first_session])).sum()),
        gap=first_forecast_row(
            0, lag=label_lag(dataset.horizon, label_delay=dataset.label_delay), embargo=spec.embargo
        ),
        first_fill=iso_dates[fill_session] if fill_session < len(iso_dates) else None,
        trials=len(related_trials),
        tried=trial.key in related_trials,
        resources=estimate_resources(config, prices),
        notes=(*prices.notes, *dataset.notes, *split_notes),
        files=tuple(config.data.source.describe_files(prices.tickers)),
    )


def _column_names(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the columns, each once where several candidates have columns of the same name."""
    if not isinstance(dataset, SharedDataset):
        return dataset.columns
    return tuple(dict.fromkeys(name for names in dataset.entry_names for name in names))


def _latest_candidate(candidates: Sequence[Candidate], prices: Prices) -> Candidate:
    """Return the candidate with the longest first training window and embargo: when it starts, all have started."""

    def rows_before_first_forecast(candidate: Candidate) -> int:
        spec = walk_forward_spec(candidate.config, prices)
        return spec.fold_sizes()[0] + spec.embargo

    return max(candidates, key=rows_before_first_forecast)


def _make_planned_model(split: ModelSplit, dataset: Dataset, iso_dates: Sequence[str]) -> PlannedModel:
    session = dataset.session[split.first_row :]
    n_labelled = fold_sums(lambda rows: ~np.isnan(split.up[None, rows]), split.folds)[0].astype(int).tolist()
    planned = []
    for ticker_folds, n_rows in zip(zip(*split.folds, strict=True), n_labelled, strict=True):
        train = _session_range([fold.train for fold in ticker_folds], session, iso_dates)
        test = _session_range([fold.test for fold in ticker_folds], session, iso_dates)
        planned.append(PlannedFold(train, test, n_rows))
    return PlannedModel(split.name, tuple(planned))


def _session_range(row_slices: Iterable[slice], row_session: IntArray, iso_dates: Sequence[str]) -> SessionRange:
    """Return sessions and number of rows of one refit, given each ticker's rows and the session of every row."""
    filled = [rows for rows in row_slices if rows.stop > rows.start]
    first, last = min(row_session[rows.start] for rows in filled), max(row_session[rows.stop - 1] for rows in filled)
    return SessionRange(iso_dates[first], iso_dates[last], sum(rows.stop - rows.start for rows in filled))
