"""The naive rules: their directions by pandas, their positions, and their metrics beside those of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.backtest.naive_rules import NAIVE_RULES, NaiveRuleResult, evaluate_naive_rules, trailing_returns
from quantlr.core.values import Forecasts, Prices
from quantlr.experiment.run import Run

BASE: dict[str, Any] = {
    "name": "naive",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "label": {"horizon": 3},
    "walk_forward": {"train": 200},
}


@pytest.fixture(scope="module")
def run() -> Run:
    return quantlr.run(BASE)


def results_by_key(run: Run, prices: Prices | None = None) -> dict[str, NaiveRuleResult]:
    data = replace(run.run_data, prices=prices or run.run_data.prices)
    results = evaluate_naive_rules(data, run.config.policy, run.config.execution, sessions_per_year=252)
    return {item.rule.key: item for item in results}


def expected_direction(prices: Prices, forecasts: Forecasts, n_bars: int) -> list[bool]:
    """Return whether each forecast's ticker has risen over the last bars, by pandas; since its first bar at most."""
    close = {name: pd.Series(prices.close[:, i]).dropna() for i, name in enumerate(prices.tickers)}
    rises = []
    for ticker, session in zip(forecasts.ticker, forecasts.session, strict=True):
        series = close[prices.tickers[ticker]]
        row = int(np.flatnonzero(prices.session[:, ticker] == session)[0])
        rises.append(bool(series[row] > series[max(row - n_bars, 0)]))
    return rises


@pytest.mark.parametrize(("key", "n_bars"), [("last_sign", 3), ("twelve_month_momentum", 252)])
def test_direction_is_that_of_the_trailing_return(run: Run, key: str, n_bars: int) -> None:
    data = run.run_data
    forecasts = {rule.key: rule.make_forecasts(data.forecasts, data.prices, 252) for rule in NAIVE_RULES}
    assert list(forecasts[key].probability == 1) == expected_direction(data.prices, data.forecasts, n_bars)
    if key == "last_sign":
        np.testing.assert_array_equal(forecasts["reversal"].probability, 1 - forecasts[key].probability)


def test_metrics_of_the_majority_class_are_the_baselines_of_the_run(run: Run) -> None:
    metrics = run.metrics
    rule = metrics["naive_rules"]["majority_class"]
    assert rule["accuracy"] == pytest.approx(metrics["forecast"]["accuracy_base_rate"])
    assert rule["log_loss"] == pytest.approx(metrics["forecast"]["log_loss_base_rate"])


def test_returns_by_year_are_those_of_a_resampled_backtest(run: Run) -> None:
    for key, result in results_by_key(run).items():
        backtest = result.backtest.result
        growth = pd.Series(1.0 + backtest.net_return, index=backtest.sessions).resample("YE").prod()
        expected = {str(date.year): value - 1.0 for date, value in growth.items()}  # type: ignore[attr-defined]
        assert run.metrics["naive_rules"][key]["returns_by_year"] == pytest.approx(expected)


def test_accuracies_of_momentum_and_reversal_add_up_to_1(run: Run) -> None:
    rules = run.metrics["naive_rules"]
    assert rules["last_sign"]["accuracy"] + rules["reversal"]["accuracy"] == pytest.approx(1.0)
    assert rules["last_sign"]["auc"] + rules["reversal"]["auc"] == pytest.approx(1.0)
    assert rules["last_sign"]["log_loss"] is None


def test_positions_are_equal_parts_held_over_the_horizon(run: Run) -> None:
    data = run.run_data
    decision = np.full((len(data.prices.sessions), 2), np.nan)
    rises = expected_direction(data.prices, data.forecasts, 252)
    decision[data.forecasts.session, data.forecasts.ticker] = np.array(rises) / 2
    held = pd.DataFrame(decision).dropna().rolling(3, min_periods=1).sum() / 3
    expected = held.to_numpy()[: len(data.result.equity)]
    weight = results_by_key(run)["twelve_month_momentum"].backtest.result.weight
    np.testing.assert_allclose(weight, expected, atol=1e-12)


def test_rules_are_short_only_where_the_policy_may_be(run: Run) -> None:
    assert min(item.backtest.result.weight.min() for item in results_by_key(run).values()) == 0.0
    both = quantlr.run(BASE, overrides={"policy.short_below": 0.5})
    assert results_by_key(both)["reversal"].backtest.result.weight.min() < -0.4


def test_later_prices_change_no_earlier_position(run: Run) -> None:
    prices, cut = run.run_data.prices, 400
    later = np.where(np.arange(len(prices.close))[:, None] > cut, 0.5, 1.0)
    changed = replace(prices, close=prices.close * later, open=prices.open * later)
    for before, after in zip(results_by_key(run).values(), results_by_key(run, changed).values(), strict=True):
        first = int(run.run_data.forecasts.session[0])
        n = cut - first
        np.testing.assert_array_equal(before.backtest.result.weight[:n], after.backtest.result.weight[:n])


def test_trailing_return_of_a_short_history_is_since_the_first_bar(run: Run) -> None:
    data = run.run_data
    returns = trailing_returns(data.forecasts, data.prices, 10_000)
    row = 7
    close = data.prices.close[:, data.forecasts.ticker[row]]
    assert returns[row] == pytest.approx(close[data.forecasts.session[row]] / close[0] - 1)
