"""Scoring from a date on: the numbers of the forecasts and decisions cut there, by hand and by loops; the ledger."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.metric_types import evaluate_forecasts
from quantlr.config.run_config import load_config
from quantlr.config.yaml_tree import dump_yaml
from quantlr.core.values import Forecasts, RunData
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.robustness import _ticker_rows, robustness_of_run
from quantlr.experiment.run import Run
from quantlr.experiment.sensitivity import variation_of_backtest
from quantlr.experiment.worth import worth_of_run
from quantlr.model.candidates import SelectedForecasts
from quantlr.pipeline.stages import Decisions, run_backtest
from quantlr.report.pages import pages_to_draw
from quantlr.report.pages.selection import SelectionContext, cumulative_selection_table
from quantlr.stats.clark_west import base_rate_forecasts

CONFIG: dict[str, Any] = {
    "name": "part",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 3]}],
    "label": {"horizon": 2},
    "walk_forward": {"train": 250, "refit_every": 63},
    "policy": {"kind": "threshold", "long_above": 0.5, "short_below": 0.49},
    "execution": {"fill": "next_close", "commission_bps": 3.0, "slippage_bps": 2.0, "borrow_bps_per_year": 0.0},
}
DATE = "2002-05-18"  # a Saturday: scored from the Monday on


@pytest.fixture(scope="module")
def whole() -> Run:
    return quantlr.run(CONFIG)


@pytest.fixture(scope="module")
def part() -> Run:
    return quantlr.run(CONFIG, overrides={"report.score_from": DATE})


def scored_from(run: Run, date: str) -> tuple[Any, RunData]:
    """Return config and values of a run scored from a date on, without fitting again."""
    report = run.config.report.model_copy(update={"score_from": dt.date.fromisoformat(date)})
    config, data = run.config.model_copy(update={"report": report}), run.run_data
    return config, run_backtest(config, data.prices, Decisions(data.dataset, data.forecasts, data.positions))


def cut_by_hand(run: Run, date: str) -> RunData:
    """Return the values of a run whose earlier forecasts and decisions are taken out, row by row."""
    data = run.run_data
    sessions, forecasts = data.prices.sessions, data.forecasts
    rows = [row for row, session in enumerate(forecasts.session) if sessions[session] >= pd.Timestamp(date)]
    columns: Any = {
        field.name: values[rows]
        for field in fields(Forecasts)
        if isinstance(values := getattr(forecasts, field.name), np.ndarray)
    }
    weight = data.positions.weight.copy()
    weight[sessions < pd.Timestamp(date)] = np.nan
    positions = replace(data.positions, weight=weight)
    result = backtest_with_benchmark(
        positions, data.prices, run.config.execution,
        sessions_per_year=run.config.report.sessions_in_year(data.prices), benchmark=run.config.report.benchmark,
    )  # fmt: skip
    return replace(data, forecasts=replace(forecasts, **columns), positions=positions, result=result)


@pytest.mark.parametrize("date", ["2001-03-05", "2001-10-31", DATE, "2003-01-02"])
def test_numbers_are_those_of_forecasts_and_decisions_cut_at_the_date(whole: Run, date: str) -> None:
    config, data = scored_from(whole, date)
    expected = compute_metrics(whole.config, cut_by_hand(whole, date))
    metrics = compute_metrics(config, data)
    assert metrics["data"].pop("score_from") == date
    assert expected["data"].pop("score_from") is None
    # With overlapping portfolios, the rules hold what they decided before the date, too.
    assert metrics.pop("naive_rules").keys() == expected.pop("naive_rules").keys()
    assert metrics == expected


def test_numbers_equal_loops_over_forecasts_and_sessions(whole: Run, part: Run) -> None:
    data, forecast = whole.run_data, part.metrics["forecast"]
    first = next(i for i, session in enumerate(data.prices.sessions) if session >= pd.Timestamp(DATE))
    n = hits = 0
    loss = 0.0
    for session, p, up in zip(data.forecasts.session, data.forecasts.probability, data.forecasts.up, strict=True):
        if session >= first and not math.isnan(up):
            n, hits = n + 1, hits + ((p > 0.5) == (up == 1))
            loss -= math.log(p if up == 1 else 1 - p)
    assert (forecast["n"], forecast["accuracy"]) == (n, hits / n)
    assert forecast["log_loss"] == pytest.approx(loss / n, abs=1e-12)

    close = data.prices.bars_to_sessions(data.prices.close)
    equity, drifted, returns = 1.0, [0.0, 0.0], []
    for session in range(first + 1, len(close) - 1):  # filled one session after the decision
        weight = data.positions.weight[session - 1]
        cost = 5e-4 * sum(abs(w - d) for w, d in zip(weight, drifted, strict=True))
        gains = [w * (close[session + 1, i] / close[session, i] - 1) for i, w in enumerate(weight)]
        drifted = [(w + g) / (1 + sum(gains)) for w, g in zip(weight, gains, strict=True)]
        returns.append(sum(gains) - cost)
        equity *= 1 + returns[-1]
    strategy = part.metrics["backtest"]["strategy"]
    assert strategy["final_equity"] == pytest.approx(equity, rel=1e-12)
    per_year = part.metrics["data"]["sessions_per_year"]
    assert strategy["sharpe"] == pytest.approx(np.mean(returns) / np.std(returns, ddof=1) * per_year**0.5)
    assert part.metrics["data"]["first_fill"] == str(data.prices.sessions[first + 1].date())


def test_forecasts_and_decisions_do_not_depend_on_the_date(whole: Run, part: Run) -> None:
    columns = ["date", "ticker", "probability", "base_rate", "fold"]
    pd.testing.assert_frame_equal(whole.forecasts[columns], part.forecasts[columns], check_exact=True)
    is_scored = part.forecasts["date"] >= pd.Timestamp(DATE)
    assert part.forecasts.loc[~is_scored, "up"].isna().all()
    assert part.forecasts.loc[is_scored, "up"].equals(whole.forecasts.loc[is_scored, "up"])
    decided = part.run_data.prices.sessions >= pd.Timestamp(DATE)
    assert np.isnan(part.run_data.positions.weight[~decided]).all()
    np.testing.assert_array_equal(part.run_data.positions.weight[decided], whole.run_data.positions.weight[decided])
    assert part.coefficients.equals(whole.coefficients)


def test_naive_rules_are_traded_from_the_date_as_they_were_decided(whole: Run, part: Run) -> None:
    for rule, metrics in part.metrics["naive_rules"].items():
        assert metrics.keys() == whole.metrics["naive_rules"][rule].keys()
    always_up = part.forecasts["up"].mean()
    assert part.metrics["naive_rules"]["majority_class"]["accuracy"] in (
        pytest.approx(always_up), part.metrics["forecast"]["accuracy_base_rate"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("date", "is_allowed"),
    [("2001-03-05", True), ("2001-03-02", False), ("2003-06-26", True), ("2003-06-27", False), ("2040-01-01", False)],
)
def test_date_outside_the_scored_span_is_refused_with_its_place(
    whole: Run, tmp_path: Path, date: str, is_allowed: bool
) -> None:
    path = tmp_path / "dated.yaml"
    config = {**CONFIG, "report": {"score_from": date}}
    path.write_text(dump_yaml(config), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    row = next(i for i, line in enumerate(lines, 1) if "score_from" in line)
    loaded = load_config(path)
    try:
        with loaded.add_location_to_errors():
            scored_from(whole, date)
    except quantlr.DataError as error:
        assert not is_allowed
        assert f"{path}:{row}:{lines[row - 1].rindex(': ') + 3}:" in str(error)
        assert str(whole.forecasts["date"].iloc[0].date()) in str(error)
    else:
        assert is_allowed


def test_part_is_a_further_trial_of_the_same_family(tmp_path: Path, whole: Run, part: Run) -> None:
    from quantlr.experiment.ledger import Ledger

    ledger = Ledger(tmp_path / "trials.db")
    ledger.record_trials(whole.trials)
    before = ledger.read_entries()[0]
    alone = part.metrics["significance"]
    family = ledger.read_family(part.trials)
    counted = compute_metrics(part.config, part.run_data, family)["significance"]
    assert (alone["trials"], counted["trials"]) == (1, 2)
    assert counted["family_wise_p"] >= alone["family_wise_p"]
    ledger.record_trials(part.trials)
    earlier = quantlr.run(CONFIG, overrides={"report.score_from": "2001-10-31"})
    ledger.record_trials(earlier.trials)
    entries = ledger.read_entries()
    assert [entry.n_related_trials for entry in entries] == [3, 3, 3]
    assert len({entry.trial.variation for entry in entries}) == 3
    assert {entry.trial.config_sha256 for entry in entries} == {before.trial.config_sha256}
    # The result of the whole run, and so the p values of all others, stay as they were.
    kept = next(entry for entry in entries if entry.id == before.id)
    assert kept.trial.result is not None
    assert before.trial.result is not None
    assert kept.trial.result.sharpe == before.trial.result.sharpe
    assert ledger.read_family(part.trials).n_trials == 3


def test_chosen_forecasts_are_scored_from_the_date(whole: Run) -> None:
    select = {"how": "mixture", "over": {"model.l2": [0.001, 1.0]}}
    run = quantlr.run(CONFIG, overrides={"select": select, "report.score_from": DATE})
    forecasts, metrics = run.run_data.forecasts, run.metrics["selection"]
    assert isinstance(forecasts, SelectedForecasts)
    known = ~np.isnan(forecasts.up)
    for index, candidate in enumerate(metrics["candidates"]):
        p = forecasts.of_candidate(index).probability[known]
        expected = -np.mean(np.log(np.where(forecasts.up[known] == 1, p, 1 - p)))
        assert candidate["log_loss"] == pytest.approx(expected, abs=1e-12)
    assert forecasts.sessions[forecasts.selection.session[0]] >= pd.Timestamp(DATE)
    assert metrics["regret_bound"] is None
    assert run.trials[1].variation == run.trials[0].variation
    table = cumulative_selection_table(SelectionContext(run.page_context))
    base, chosen = (evaluate_forecasts(one).log_losses for one in (base_rate_forecasts(forecasts), forecasts))
    by_session = pd.Series(base - chosen).groupby(forecasts.session[known]).sum()
    n_tickers = pd.Series(1.0, range(len(known))).groupby(forecasts.session).sum()
    expected_curve = (by_session / n_tickers.loc[by_session.index]).sum()
    assert table["curves"]["chosen"][-1] == pytest.approx(expected_curve, abs=1e-9)


def test_every_verb_scores_the_same_part(part: Run) -> None:
    loaded = load_config(CONFIG, overrides={"report.score_from": DATE})
    n = part.metrics["forecast"]["n"]
    planned = quantlr.plan(loaded).walk_forward
    assert planned is not None
    assert (planned.scored, planned.first_fill) == (n, part.metrics["data"]["first_fill"])
    race = quantlr.race(loaded)
    assert race.entries[0].metrics["accuracy"] == part.metrics["forecast"]["accuracy"]
    assert race.trials[0].variation == part.trials[0].variation
    worth = worth_of_run(part)
    assert worth.worth.known.sum() == n
    assert all(len(item.loss_reduction) == n for item in worth.worth.sets)
    n_sessions = part.metrics["forecast"]["clark_west"]["sessions"]
    assert {item.alone_test["sessions"] for item in worth.worth.sets} == {n_sessions}
    assert quantlr.predict(loaded, today=dt.date(2003, 7, 1)).verdict == part.verdict


def test_robustness_of_a_part_is_of_its_sessions(part: Run) -> None:
    result = robustness_of_run(part)
    sessions = len(part.run_data.result.sessions)
    assert result.table.query("group == 'setting'")["sessions"].max() == sessions
    assert result.table.query("group == 'year'")["sessions"].sum() == sessions
    assert all(trial.variation.startswith(part.trials[0].variation) for trial in result.trials)


def test_ticker_that_ended_before_the_date_has_no_numbers() -> None:
    dates = pd.bdate_range("2010-01-01", periods=900)
    steps = np.random.default_rng(4).normal(0, 0.01, (900, 3))
    closes = pd.DataFrame(100 * np.exp(steps.cumsum(axis=0)), index=dates, columns=["AAA", "BBB", "CCC"])
    closes.loc[dates[500] :, "CCC"] = np.nan
    config = {"name": "ended", "features": CONFIG["features"], "walk_forward": {"train": 250}}
    run = quantlr.run(
        config, data=closes, overrides={"report.score_from": str(dates[600].date()), "report.per_ticker": True}
    )
    by_ticker = run.metrics["backtest"]["by_ticker"]
    index = by_ticker["tickers"].index("CCC")
    assert by_ticker["contribution"][index] == 0.0
    assert _ticker_rows(variation_of_backtest("", run.run_data.result, 252), run.run_data, run.config)[-1].name == "BBB"
    for page in pages_to_draw(run.page_context):
        context = page.make_context(run.page_context)
        assert page.title_and_text(context)
        assert all(placed.panel.make_table(context) for placed in page.place_panels(context))
    pages_to_draw(run.page_context)[-1].draw_figure(run.page_context)
