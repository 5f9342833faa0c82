"""Metrics of calibration: what they pass to the tests, and the warning that rests on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.backtest.forecast_metrics import calibration_notes, calibration_test, recalibration
from quantlr.backtest.metric_types import EvaluatedForecasts, evaluate_forecasts

from markets import forecasts


def exaggerated(n: int = 4000, *, factor: float = 3.0) -> EvaluatedForecasts:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0.1, 0.4, n)
    up = (rng.random(n) < 1 / (1 + np.exp(-log_odds / factor))).astype(np.float64)
    values = forecasts(1 / (1 + np.exp(-log_odds)), ticker=np.zeros(n, dtype=np.int64), session=np.arange(n))
    return evaluate_forecasts(replace(values, log_odds=log_odds, up=up))


def test_calibration_metrics_of_dependent_forecasts_allow_for_dependence() -> None:
    independent = exaggerated()
    overlapping = replace(independent, has_dependent_outcomes=True, horizon=5)
    for metric in (recalibration, calibration_test):
        first, second = metric(independent), metric(overlapping)
        assert first is not None
        assert second is not None
        assert first["p_value"] != second["p_value"]
    fits = [recalibration(values) for values in (independent, overlapping)]
    assert [fit["slope"] for fit in fits if fit] == pytest.approx([1 / 3, 1 / 3], abs=0.25)


def test_warning_where_the_policy_sizes_by_exaggerated_probabilities() -> None:
    def n_notes(values: EvaluatedForecasts | None, *, sizes: bool) -> int:
        metrics: dict[str, Any] = {"calibration": None if values is None else recalibration(values)}
        notes = calibration_notes(metrics, sizes_by_probability=sizes)
        assert all(note.key == "model.calibration" for note in notes)
        return len(notes)

    assert n_notes(exaggerated(), sizes=True) == 1
    assert n_notes(exaggerated(), sizes=False) == 0
    assert n_notes(exaggerated(factor=1.0), sizes=True) == 0
    assert n_notes(None, sizes=True) == 0
    undefined = {"calibration": {"slope": 0.2, "p_value": None}}
    assert calibration_notes(undefined, sizes_by_probability=True) == ()


def test_warning_names_the_slope() -> None:
    fit = recalibration(exaggerated())
    assert fit is not None
    (note,) = calibration_notes({"calibration": fit}, sizes_by_probability=True)
    assert f"{fit['slope']:.2f}" in note.text
