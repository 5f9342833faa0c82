"""Results beyond any on record are suspected, whole intervals only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.stats.plausibility import MAX_ACCURACY_GAIN, MAX_SHARPE, implausible_result_text


def metrics(accuracy: float, accuracy_low: float, sharpe: float, sharpe_low: float) -> dict[str, Any]:
    forecast = {"accuracy": accuracy, "accuracy_ci95": [accuracy_low, 1.0], "accuracy_base_rate": 0.5}
    return {"forecast": forecast, "backtest": {"strategy": {"sharpe": sharpe, "sharpe_ci95": [sharpe_low, 9.0]}}}


def test_limits_are_above_the_records() -> None:
    assert np.arcsin(0.431) / np.pi < MAX_ACCURACY_GAIN
    assert MAX_SHARPE > (0.661 - 0.03) / 0.317


@pytest.mark.parametrize(
    ("numbers", "parts"),
    [
        ((0.7, 0.64, 4.0, 2.9), ()),
        ((0.7, 0.66, 1.0, 0.5), ("accuracy 70.0% is 20 points above", "(daily prices have shown 15 at")),
        ((0.7, 0.65, 4.0, 3.0), ()),
        ((0.55, 0.53, 4.2, 3.6), ("Sharpe ratio is 4.20",)),
        ((0.9, 0.88, 9.0, 8.0), ("accuracy 90.0%", "at most), and the Sharpe ratio is 9.00")),
    ],
)
def test_numbers_beyond_their_limit_are_named(
    numbers: tuple[float, float, float, float], parts: tuple[str, ...]
) -> None:
    text = implausible_result_text(metrics(*numbers))
    assert (text is None) == (not parts)
    assert all(part in str(text) for part in parts)


def test_undefined_numbers_are_not_suspected() -> None:
    undefined = metrics(0.5, 0.5, 0.0, 0.0)
    undefined["forecast"]["accuracy_ci95"] = undefined["backtest"]["strategy"]["sharpe_ci95"] = None
    assert implausible_result_text(undefined) is None


@pytest.mark.usefixtures("without_drawing")
def test_label_that_the_features_contain_is_suspected_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leak in the catalogue's own feature, which a run does not audit."""
    from quantlr.data.features import LaggedReturns

    compute = LaggedReturns.compute

    def compute_with_leak(feature: LaggedReturns, prices: Any) -> Any:
        noise = np.random.default_rng(0).normal(0.0, 0.01, prices.close.shape)
        return {name: np.vstack([v[1:], v[-1:]]) + noise for name, v in compute(feature, prices).items()}

    monkeypatch.setattr(LaggedReturns, "compute", compute_with_leak)
    config = {
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"]},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
    }
    verdict = quantlr.run(config).metrics["verdict"]
    assert verdict["rule"] == "look_ahead_suspected"
    assert "look-ahead" in verdict["sentence"].lower()
    assert "quantlr audit" in verdict["sentence"]
