"""Robustness: each part and change against a run or a loop that computes the same, and the entries of the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.robustness import (
    RobustnessResult,
    market_regimes,
    neighbouring_settings,
    robustness_of_run,
)
from quantlr.report.pages.robustness import RobustnessRow, make_robustness_page, robustness_sentence
from statsmodels.stats.multitest import multipletests

from report.drawn_text import text_collisions

pytestmark = pytest.mark.usefixtures("without_drawing")

CONFIG: dict[str, Any] = {
    "name": "exp",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2004-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250, "refit_every": 100},
    "policy": {"kind": "threshold", "long_above": 0.5, "short_below": 0.49},
}


@pytest.fixture(scope="module")
def run() -> quantlr.Run:
    return quantlr.run(CONFIG)


@pytest.fixture(scope="module")
def result(run: quantlr.Run) -> RobustnessResult:
    return robustness_of_run(run)


def rows_by_name(result: RobustnessResult) -> dict[str, RobustnessRow]:
    return {row.name: row for row in result.context.rows}


def excess(run: quantlr.Run) -> pd.Series[float]:
    table = run.backtest.set_index("date")
    return table["net_return"] - table["cash_rate"]


def sharpe(returns: Any, per_year: float) -> float:
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(per_year))


def test_years_and_crises_are_the_ratios_of_their_sessions_and_of_the_others(
    run: quantlr.Run, result: RobustnessResult
) -> None:
    returns, rows = excess(run), rows_by_name(result)
    per_year = run.metrics["data"]["sessions_per_year"]
    assert {row.name for row in result.context.rows if row.group == "crisis"} == set(), "none is within the span"
    for year in ("2002", "2003"):
        is_year = pd.DatetimeIndex(returns.index).year == int(year)
        assert rows[year].sharpe == pytest.approx(sharpe(returns[is_year], per_year))
        assert rows[year].sharpe_without == pytest.approx(sharpe(returns[~is_year], per_year))
        assert rows[year].sessions == is_year.sum()


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("costs x 3", {"execution.commission_bps": 3.0, "execution.slippage_bps": 6.0,
                       "execution.borrow_bps_per_year": 150.0, "execution.financing_bps_per_year": 450.0}),
        ("features.0.lags [1]", {"features.0.lags": [1]}),
        ("features.0.lags [1, 2, 3]", {"features.0.lags": [1, 2, 3]}),
        ("policy.short_below 0.48", {"policy.short_below": 0.48}),
        ("walk_forward.train 300", {"walk_forward.train": 300}),
    ],
)  # fmt: skip
def test_changes_are_runs_of_the_changed_config(result: RobustnessResult, name: str, overrides: dict[str, Any]) -> None:
    changed = quantlr.run(CONFIG, overrides=overrides)
    strategy = changed.metrics["backtest"]["strategy"]
    row = rows_by_name(result)[name]
    assert row.sharpe == pytest.approx(strategy["sharpe"], rel=1e-9)
    assert row.sessions == len(changed.backtest)
    assert row.alpha == pytest.approx(changed.metrics["significance"]["alpha"]["annual"], rel=1e-9)


def test_the_parts_of_all_tickers_add_up_to_the_run(run: quantlr.Run, result: RobustnessResult) -> None:
    positions, cash = run.positions, run.backtest.set_index("date")["cash_rate"]
    rates = positions["date"].map(cash)
    parts = positions["gross_return"] - positions["cost"] - positions["weight"] * rates
    by_ticker = positions.assign(part=parts).pivot_table(index="date", columns="ticker", values="part")
    returns = excess(run)
    np.testing.assert_allclose(by_ticker.sum(axis=1), returns, atol=1e-12)
    for ticker in ("MSFT", "IBM"):
        without = sharpe(returns - by_ticker[ticker], run.metrics["data"]["sessions_per_year"])
        assert rows_by_name(result)[ticker].sharpe_without == pytest.approx(without)


def test_p_values_are_adjusted_by_holm(result: RobustnessResult) -> None:
    rows = [row for row in result.context.rows if row.p_value is not None]
    expected = multipletests([row.p_value for row in rows], method="holm")[1]
    np.testing.assert_allclose([float(row.adjusted_p_value or 0.0) for row in rows], expected, rtol=1e-12)


@pytest.mark.parametrize("delay", [0, 1])
def test_regimes_equal_a_loop_over_what_was_known_at_the_decision(delay: int) -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.01, 420) * np.repeat(rng.uniform(0.5, 2.0, 42), 10)
    regimes = market_regimes(returns, delay=delay)
    volatilities: list[float] = []
    for t in range(len(returns)):
        known = returns[: max(t - delay, 0)]
        is_high = is_low = is_rising = is_falling = False
        if len(known) >= 63:
            volatilities.append(float(known[-63:].std(ddof=1)))
            if len(volatilities) >= 126:
                is_high = bool(volatilities[-1] > np.median(volatilities))
                is_low = not is_high
        if len(known) >= 200:
            level = np.log1p(known).cumsum()
            is_rising = bool(level[-1] > level[-200:].mean())
            is_falling = not is_rising
        found = tuple(bool(mask[t]) for mask in regimes.values())
        assert found == (is_high, is_low, is_rising, is_falling), t


def test_neighbours_are_one_step_up_and_down_and_valid(run: quantlr.Run) -> None:
    names = list(neighbouring_settings(run.config, run.run_data))
    expected = (
        "features.0.lags [1]", "features.0.lags [1, 2, 3]", "policy.long_above 0.51", "policy.long_above 0.49",
        "walk_forward.train 200", "walk_forward.train 300", "walk_forward.refit_every 80",
    )  # fmt: skip
    assert set(expected) <= set(names)
    assert "label.horizon 0" not in names
    assert not any(word in name for name in names for word in ("tol", "max_iter", "seed"))


def test_changes_and_neighbours_are_recorded_as_trials(tmp_path: Path) -> None:
    found = quantlr.robustness(CONFIG, output=tmp_path)
    assert {"robustness.png", "robustness.csv", "config.yaml"} == {path.name for path in (tmp_path / "exp").iterdir()}
    table = pd.read_csv(tmp_path / "exp" / "robustness.csv")
    assert table["name"].tolist() == [row.name for row in found.context.rows]
    entries = Ledger.from_output_folder(tmp_path).read_entries()
    variations = [entry.trial.variation for entry in entries]
    assert variations.count("") == 1 + sum(row.group == "setting" for row in found.context.rows)
    assert {"costs x 5", "filled 5 sessions later", "2003 only", "high volatility only"} <= set(variations)
    counted = quantlr.run(CONFIG, output=tmp_path).metrics["significance"]
    assert counted["trials"] == len(entries)


def test_sentence_names_the_part_or_change_with_the_lowest_ratio(result: RobustnessResult) -> None:
    def context_of(*rows: tuple[str, str, float | None, float | None], ratio: float | None = 0.5) -> Any:
        made = tuple(RobustnessRow(group, name, 100, value, rest, 0.0, None) for group, name, value, rest in rows)
        return replace(result.context, rows=made, sharpe=ratio)

    year, best = ("year", "2008", 3.0, 0.1), ("setting", "model.l2 2", 0.7, None)
    costs, far = ("cost", "costs x 2", 0.3, None), ("cost", "costs x 5", -2.0, None)
    text = robustness_sentence(context_of(year, best, costs, far))
    assert "without the year 2008 it is 0.10, and with costs x 2 it is 0.30" in text
    assert "on no part" in robustness_sentence(context_of(best))
    late = ("delay", "filled 3 sessions later", 0.9, None)
    text = robustness_sentence(context_of(year, best, far, late, ratio=-0.1))
    assert "without one part or with one change it is at most 0.90, filled 3 sessions later" in text
    assert "undefined" in robustness_sentence(context_of(ratio=None))


@pytest.mark.parametrize("tickers", [["MSFT"], ["MSFT", "IBM"]])
def test_texts_of_the_page_do_not_overlap(tickers: list[str], result: RobustnessResult) -> None:
    found = result
    if len(tickers) == 1:
        short = {"data.tickers": tickers, "data.end": "2002-03-28"}
        found = robustness_of_run(quantlr.run(CONFIG, overrides=short))
    page = make_robustness_page(found.context)
    assert not text_collisions(page.draw_figure(found.context.run_context))
