"""The sensitivity of a run: each variation equals a run whose config says the same, and no forecast changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import quantlr
import statsmodels.api as sm
from quantlr.experiment.sensitivity import Variation, vary_run

COSTS = {
    "commission_bps": 2.0, "slippage_bps": 3.0, "per_share": 0.01, "min_per_order": 0.5, "borrow_bps_per_year": 40.0,
    "financing_bps_per_year": 300.0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "name": "one",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 250, "refit_every": 63},
    "policy": {"kind": "threshold", "long_above": 0.5, "short_below": 0.48},
    "overlays": [{"kind": "volatility_target", "target": 0.6, "max_leverage": 2.0}],
    "execution": {"fill": "close", "cash_rate": 0.02, **COSTS},
}


@pytest.fixture(scope="module")
def run() -> quantlr.Run:
    return quantlr.run(CONFIG, sensitivity=True)


@pytest.fixture(scope="module")
def variations(run: quantlr.Run) -> dict[str, Variation]:
    return {variation.text: variation for variation in vary_run(run.config, run.run_data)}


def excess_returns(run: quantlr.Run) -> Any:
    return (run.backtest["net_return"] - run.backtest["cash_rate"]).to_numpy()


@pytest.mark.parametrize(
    ("text", "execution"),
    [
        ("as configured", {}),
        ("half the costs", {key: 0.5 * value for key, value in COSTS.items()}),
        ("double the costs", {key: 2 * value for key, value in COSTS.items()}),
        ("5 bps more per side", {"slippage_bps": 8.0}),
        ("filled 1 session later", {"fill": "next_close"}),
    ],
)
def test_variation_equals_the_run_of_its_config(
    variations: dict[str, Variation], text: str, execution: dict[str, Any]
) -> None:
    other = quantlr.run(CONFIG, overrides={f"execution.{key}": value for key, value in execution.items()})
    variation = variations[text]
    assert variation.sessions.equals(other.run_data.result.sessions)
    np.testing.assert_allclose(variation.excess_returns, excess_returns(other), atol=1e-12)


def test_later_fills_lose_one_session_each(variations: dict[str, Variation]) -> None:
    n_sessions = len(variations["as configured"].sessions)
    for delay, text in enumerate(("filled 1 session later", "filled 2 sessions later"), start=1):
        assert len(variations[text].sessions) == n_sessions - delay
        assert variations[text].sessions[-1] == variations["as configured"].sessions[-1]


def test_thirds_are_the_sessions_of_the_run_in_order(run: quantlr.Run, variations: dict[str, Variation]) -> None:
    thirds = [variations[f"{name} third only"].excess_returns for name in ("first", "second", "last")]
    np.testing.assert_array_equal(np.concatenate(thirds), excess_returns(run))
    assert max(map(len, thirds)) - min(map(len, thirds)) <= 1


def test_numbers_are_those_of_a_regression_on_the_benchmark(run: quantlr.Run, variations: dict[str, Variation]) -> None:
    listed = {values["variation"]: values for values in run.metrics["sensitivity"]}
    assert list(listed) == list(variations)
    for text, variation in variations.items():
        excess = variation.excess_returns
        fit = sm.OLS(excess, sm.add_constant(variation.benchmark_excess_returns)).fit()
        assert listed[text]["alpha"] == pytest.approx(fit.params[0] * 252)
        assert listed[text]["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * 252**0.5)
        assert listed[text]["sessions"] == len(excess)
    assert listed["as configured"]["sharpe"] == pytest.approx(run.metrics["backtest"]["strategy"]["sharpe"])
    assert listed["as configured"]["p_value"] == pytest.approx(run.metrics["significance"]["alpha_test"]["p_value"])


def test_nothing_but_the_sensitivity_and_the_number_of_trials_differs(run: quantlr.Run) -> None:
    plain, varied = quantlr.run(CONFIG), dict(run.metrics)
    del varied["sensitivity"]
    assert varied == plain.metrics
    assert run.forecasts.equals(plain.forecasts)
