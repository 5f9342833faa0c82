"""A plan against the run that it foretells: every date and every count, for configs that walk in different ways."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantlr.core.errors import DataError, DegenerateFold, NotEnoughHistory, OutputError
from quantlr.experiment.plan import PlannedModel, RunPlan, WalkForwardPlan, plan
from quantlr.experiment.run import Run, run
from quantlr.model.batched import fit

CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility"}],
    "walk_forward": {"train": 250},
}
WAYS: dict[str, dict[str, Any]] = {
    "a day ahead": {},
    "a week ahead": {"label.horizon": 5, "execution.fill": "close"},
    "rolling, with an embargo": {"walk_forward.window": "rolling", "walk_forward.embargo": 3, "label.horizon": 2},
    "fitted once": {"walk_forward.refit_every": "never", "execution.fill": "next_open"},
    "ties dropped": {"label.ties": "drop", "data.tickers": ["IBM"]},
    "a dead band": {"label": {"kind": "dead_band", "band": 0.01}, "walk_forward.refit_every": 100},
    "several tickers, one too short": {
        "data.tickers": ["AAPL", "FB", "GOOG"], "data.end": "2013-03-01", "walk_forward.train": 1000,
        "label.horizon": 5,
    },
    "pooled": {
        "data.tickers": ["AAPL", "FB", "GOOG"], "data.start": "2003-01-01", "data.end": "2013-03-01",
        "model.scope": "pooled", "walk_forward.train": 500, "label.horizon": 3, "label.ties": "drop",
        "walk_forward.window": "rolling",
    },
}  # fmt: skip


def walk_of(found: RunPlan) -> WalkForwardPlan:
    assert found.walk is not None
    return found.walk


def forecasts_of(done: Run, name: str) -> Any:
    return done.forecasts if name == "pooled" else done.forecasts[done.forecasts["ticker"] == name]


@pytest.mark.parametrize("changed", WAYS.values(), ids=WAYS)
def test_a_plan_says_what_the_run_then_does(changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    honest = fit.fit_many

    def watched(trainings: Any, *arguments: Any, **keys: Any) -> Any:
        seen.extend(trainings)
        return honest(trainings, *arguments, **keys)

    monkeypatch.setattr("quantlr.model.walk_forward.fit_many", watched)
    planned, done = walk_of(plan(CONFIG, overrides=changed)), run(CONFIG, overrides=changed)
    course = done.run_data
    assert planned.columns == course.dataset.columns
    assert planned.sha256 == course.prices.sha256
    assert (planned.refits, planned.forecasts) == (done.metrics["model"]["refits"], len(done.forecasts))
    assert planned.scored == done.metrics["forecast"]["n"]
    assert planned.first_fill == str(course.result.fill_dates[0].date())
    assert planned.sessions.rows == done.metrics["data"]["sessions"]
    assert planned.notes == done.notes[: len(planned.notes)]
    assert {ticker.name: ticker.warm_up for ticker in planned.tickers if ticker.warm_up} == {
        note.ticker: note.count for note in course.dataset.notes
    }
    assert [model.name for model in planned.models] == list(done.metrics["model"]["coefficients"])
    for model, training in zip(planned.models, seen, strict=True):
        require_forecasts(model, done)
        require_training(model, done, training, gap=planned.gap)


def require_forecasts(model: PlannedModel, done: Run) -> None:
    """Compare with the forecasts that came out, and with what the refits say of themselves."""
    found = forecasts_of(done, model.name).groupby("fold")["date"].agg(["min", "max", "size"])
    told = [(fold.test.first, fold.test.last, fold.test.rows) for fold in model.folds]
    assert told == [(str(low.date()), str(high.date()), size) for low, high, size in found.to_numpy()]
    refits, prices = done.run_data.forecasts.refits, done.run_data.prices
    ticker = -1 if model.name == "pooled" else prices.tickers.index(model.name)
    starts = prices.sessions[refits.session[refits.ticker == ticker]]
    assert [fold.test.first for fold in model.folds] == [str(start.date()) for start in starts]


def require_training(model: PlannedModel, done: Run, training: Any, *, gap: int) -> None:
    """Compare with the rows that reached the step that fits."""
    dataset = done.run_data.dataset
    first = 0 if model.name == "pooled" else dataset.ticker_slice(dataset.tickers.index(model.name)).start
    learnt, _ = training.counts()
    for at, fold in enumerate(model.folds):
        rows = np.concatenate([np.arange(each.train_start[at], each.train_stop[at]) for each in training.folds])
        dates = dataset.sessions[dataset.session[first + rows]]
        assert fold.train.rows == len(rows)
        assert (fold.train.first, fold.train.last) == (str(dates.min().date()), str(dates.max().date()))
        assert fold.learnt == learnt[at] == (~np.isnan(training.y[rows])).sum()
    if model.name != "pooled":
        (folds,) = training.folds
        assert set(folds.test_start - folds.train_stop) == {gap}


def test_dates_of_a_plan_by_hand() -> None:
    """20 bars of warm-up, 250 rows of training, and two more rows until the last of their labels is known."""
    planned = walk_of(plan(CONFIG, overrides={"label.horizon": 3}))
    sessions = run(CONFIG).run_data.prices.sessions.strftime("%Y-%m-%d")
    fold = planned.models[0].folds[0]
    assert (fold.train.first, fold.train.last) == (sessions[20], sessions[269])
    assert (fold.test.first, fold.test.last, planned.gap) == (sessions[272], sessions[292], 2)
    assert planned.first_fill == sessions[273]
    assert (planned.tickers[0].bars.rows, planned.tickers[0].warm_up, planned.tickers[0].rows) == (836, 20, 816)


def test_nothing_is_fitted_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr("quantlr.model.walk_forward.fit_many", never)
    monkeypatch.setattr("quantlr.model.batched.fit.fit_folds", never)
    found = plan(CONFIG, output=tmp_path / "reports")
    assert found.folder == str(tmp_path / "reports" / "run")
    assert not found.replaces
    assert list(tmp_path.iterdir()) == []


def test_trials_are_counted_and_not_made(tmp_path: Path) -> None:
    run(CONFIG, overrides={"name": "one"}).record_in_ledger(tmp_path)
    run(CONFIG, overrides={"name": "two", "policy.long_above": 0.6}).record_in_ledger(tmp_path)
    (tmp_path / "one").mkdir()
    before = (tmp_path / "trials.db").read_bytes()
    again, new, other = (
        plan(CONFIG, output=tmp_path, overrides=changed)
        for changed in ({"name": "one"}, {"policy.long_above": 0.7}, {"label.horizon": 2})
    )
    assert [(walk_of(found).trials, walk_of(found).tried) for found in (again, new, other)] == [
        (2, True), (2, False), (0, False),
    ]  # fmt: skip
    assert [found.replaces for found in (again, new)] == [True, False]
    assert (tmp_path / "trials.db").read_bytes() == before


def test_the_resolved_config_is_in_it() -> None:
    found = plan(CONFIG)
    assert asdict(found)["config"]["model"]["solver"] == "newton"
    assert walk_of(plan(found.config)) == walk_of(found)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"walk_forward.train": 5000}, NotEnoughHistory, "MSFT: the first fold needs 5001 rows"),
        ({"walk_forward.train": 815}, NotEnoughHistory, "what came is not known yet for any"),
        ({"data.tickers": ["MSTF"]}, DataError, "the sample has no ticker 'MSTF'"),
    ],
)
def test_what_a_run_would_refuse_a_plan_refuses(changed: dict[str, Any], error: type[Exception], said: str) -> None:
    for act in (plan, run):
        with pytest.raises(error, match=said):
            act(CONFIG, overrides=changed)


def test_a_place_that_no_report_can_go_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"):
        plan(CONFIG, output=tmp_path / "file")
    (tmp_path / "trials.db").write_bytes(b"broken" * 1000)
    with pytest.raises(OutputError, match="is damaged or no ledger of trials"):
        plan(CONFIG, output=tmp_path)


def test_a_ticker_without_any_label_is_refused_unless_it_may_go_unfitted() -> None:
    beaten = {"data.tickers": ["MSFT", "IBM"], "label": {"kind": "outperformance", "benchmark": "MSFT"}}
    for verb in (plan, run):
        with pytest.raises(DegenerateFold, match="MSFT: none of its rows has a label"):
            verb(CONFIG, overrides=beaten)
    assert walk_of(plan(CONFIG, overrides={**beaten, "model.scope": "pooled"})).models[0].name == "pooled"
    allowed = walk_of(plan(CONFIG, overrides={**beaten, "model.degenerate": "base_rate"}))
    assert [model.folds[0].learnt for model in allowed.models] == [0, 250]
