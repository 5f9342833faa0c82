"""A plan equals the run in every date and count, for different windows, horizons, labels and scopes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantlr.core.errors import DataError, DegenerateFold, NotEnoughHistory, OutputError
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.plan import PlannedModel, RunPlan, WalkForwardPlan, plan
from quantlr.experiment.run import Run, run
from quantlr.model import walk_forward
from quantlr.model.batched.loss import BatchedLoss
from quantlr.model.logistic import LogisticLoss

CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility"}],
    "walk_forward": {"train": 250},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "a day ahead": {},
    "a week ahead": {"label.horizon": 5, "execution.fill": "close"},
    "rolling, with an embargo": {"walk_forward.window": "rolling", "walk_forward.embargo": 3, "label.horizon": 2},
    "fitted once": {"walk_forward.refit_every": "never", "execution.fill": "next_open"},
    "between fills": {"label.of": "fill", "label.horizon": 2, "execution.fill": "next_open"},
    "ties dropped": {"label.ties": "drop", "data.tickers": ["IBM"]},
    "a dead band": {"label": {"kind": "dead_band", "band": 0.01}, "walk_forward.refit_every": 100},
    "several tickers, one too short": {
        "data.tickers": ["AAPL", "FB", "GOOG"], "data.end": "2013-03-01", "walk_forward.train": 1000,
        "label.horizon": 5,
    },
    "pooled, between fills": {
        "data.tickers": ["AAPL", "IBM"], "model.scope": "pooled", "label.of": "fill", "walk_forward.window": "rolling",
    },
    "pooled": {
        "data.tickers": ["AAPL", "FB", "GOOG"], "data.start": "2003-01-01", "data.end": "2013-03-01",
        "model.scope": "pooled", "walk_forward.train": 500, "label.horizon": 3, "label.ties": "drop",
        "walk_forward.window": "rolling",
    },
}  # fmt: skip


def walk_forward_plan(run_plan: RunPlan) -> WalkForwardPlan:
    assert run_plan.walk_forward is not None
    return run_plan.walk_forward


def model_forecasts(result: Run, name: str) -> Any:
    return result.forecasts if name == "pooled" else result.forecasts[result.forecasts["ticker"] == name]


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_plan_equals_the_run(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[Any] = []
    forecast_models = walk_forward.forecast_models

    def record_and_forecast(model_splits: Any, *arguments: Any) -> Any:
        fitted.extend(split.make_training_data() for split in model_splits)
        return forecast_models(model_splits, *arguments)

    monkeypatch.setattr("quantlr.model.walk_forward.forecast_models", record_and_forecast)
    planned, result = walk_forward_plan(plan(CONFIG, overrides=overrides)), run(CONFIG, overrides=overrides)
    run_data = result.run_data
    assert planned.columns == run_data.dataset.columns
    assert planned.sha256 == run_data.prices.sha256
    assert (planned.refits, planned.forecasts) == (result.metrics["model"]["refits"], len(result.forecasts))
    assert planned.scored == result.metrics["forecast"]["n"]
    assert planned.first_fill == str(run_data.result.fill_dates[0].date())
    assert planned.sessions.rows == result.metrics["data"]["sessions"]
    assert planned.notes == result.notes[: len(planned.notes)]
    assert {ticker.name: ticker.warm_up for ticker in planned.tickers if ticker.warm_up} == {
        note.ticker: note.count for note in run_data.dataset.notes
    }
    assert [model.name for model in planned.models] == list(result.metrics["model"]["coefficients"])
    for model, training in zip(planned.models, fitted, strict=True):
        check_forecasts(model, result)
        check_training(model, result, training, gap=planned.gap)


def check_forecasts(model: PlannedModel, result: Run) -> None:
    """Compare with the run's forecasts and refits."""
    dates = model_forecasts(result, model.name).groupby("fold")["date"].agg(["min", "max", "size"])
    planned = [(fold.test.first, fold.test.last, fold.test.rows) for fold in model.folds]
    assert planned == [(str(low.date()), str(high.date()), size) for low, high, size in dates.to_numpy()]
    refits, prices = result.run_data.forecasts.refits, result.run_data.prices
    ticker = -1 if model.name == "pooled" else prices.tickers.index(model.name)
    starts = prices.sessions[refits.session[refits.ticker == ticker]]
    assert [fold.test.first for fold in model.folds] == [str(start.date()) for start in starts]


def check_training(model: PlannedModel, result: Run, training: Any, *, gap: int) -> None:
    """Compare with the training rows that were passed to the fit."""
    dataset = result.run_data.dataset
    first = 0 if model.name == "pooled" else dataset.ticker_slice(dataset.tickers.index(model.name)).start
    n_labelled, _ = training.row_and_up_counts()
    for index, fold in enumerate(model.folds):
        rows = np.concatenate(
            [np.arange(folds.train_start[index], folds.train_stop[index]) for folds in training.folds]
        )
        dates = dataset.sessions[dataset.session[first + rows]]
        assert fold.train.rows == len(rows)
        assert (fold.train.first, fold.train.last) == (str(dates.min().date()), str(dates.max().date()))
        assert fold.labelled_rows == n_labelled[index] == (~np.isnan(training.y[rows])).sum()
    if model.name != "pooled":
        (folds,) = training.folds
        assert set(folds.test_start - folds.train_stop) == {gap}


def test_plan_dates_computed_by_hand() -> None:
    """20 bars of warm-up, 250 rows of training, and two more rows until the last of their labels is known."""
    planned = walk_forward_plan(plan(CONFIG, overrides={"label.horizon": 3}))
    sessions = run(CONFIG).run_data.prices.sessions.strftime("%Y-%m-%d")
    fold = planned.models[0].folds[0]
    assert (fold.train.first, fold.train.last) == (sessions[20], sessions[269])
    assert (fold.test.first, fold.test.last, planned.gap) == (sessions[272], sessions[292], 2)
    assert planned.first_fill == sessions[273]
    assert (planned.tickers[0].bars.rows, planned.tickers[0].warm_up, planned.tickers[0].rows) == (836, 20, 816)


def test_nothing_is_fitted_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr(LogisticLoss, "gradient", fail)
    monkeypatch.setattr(BatchedLoss, "gradient", fail)
    run_plan = plan(CONFIG, output=tmp_path / "reports")
    assert run_plan.folder == str(tmp_path / "reports" / "run")
    assert not run_plan.replaces
    assert list(tmp_path.iterdir()) == []


def test_plan_counts_trials_and_records_none(tmp_path: Path) -> None:
    trials = (*run(CONFIG).trials, *run(CONFIG, overrides={"policy.long_above": 0.6}).trials)
    Ledger.from_output_folder(tmp_path).record_trials(trials)
    (tmp_path / "one").mkdir()
    before = (tmp_path / "trials.db").read_bytes()
    again, new, other = (
        plan(CONFIG, output=tmp_path, overrides=overrides)
        for overrides in ({"name": "one"}, {"label.horizon": 2}, {"data.tickers": ["IBM"]})
    )
    plans = [walk_forward_plan(run_plan) for run_plan in (again, new, other)]
    assert [(planned.trials, planned.tried) for planned in plans] == [(2, True), (2, False), (0, False)]
    assert [run_plan.replaces for run_plan in (again, new)] == [True, False]
    assert (tmp_path / "trials.db").read_bytes() == before


def test_plan_contains_the_resolved_config() -> None:
    run_plan = plan(CONFIG)
    assert asdict(run_plan)["config"]["model"]["solver"] == "newton"
    assert walk_forward_plan(plan(run_plan.config)) == walk_forward_plan(run_plan)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"walk_forward.train": 5000}, NotEnoughHistory, "MSFT: the first fold needs 5001 rows"),
        ({"walk_forward.train": 815}, NotEnoughHistory, "no forecast has a known outcome yet"),
        ({"data.tickers": ["MSTF"]}, DataError, "the sample has no ticker 'MSTF'"),
    ],
)
def test_plan_refuses_what_a_run_refuses(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    for function in (plan, run):
        with pytest.raises(error, match=message):
            function(CONFIG, overrides=overrides)


def test_invalid_output_or_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        plan(CONFIG, output=tmp_path / "file")
    (tmp_path / "trials.db").write_bytes(b"broken" * 1000)
    with pytest.raises(OutputError, match="is damaged or no ledger of trials"):
        plan(CONFIG, output=tmp_path)


def test_ticker_without_labels_is_refused_unless_degenerate_fits_are_allowed() -> None:
    outperformance = {"data.tickers": ["MSFT", "IBM"], "label": {"kind": "outperformance", "benchmark": "MSFT"}}
    for function in (plan, run):
        with pytest.raises(DegenerateFold, match="MSFT: none of its rows has a label"):
            function(CONFIG, overrides=outperformance)
    assert (
        walk_forward_plan(plan(CONFIG, overrides={**outperformance, "model.scope": "pooled"})).models[0].name
        == "pooled"
    )
    allowed = walk_forward_plan(plan(CONFIG, overrides={**outperformance, "model.degenerate": "base_rate"}))
    assert [model.folds[0].labelled_rows for model in allowed.models] == [0, 250]
