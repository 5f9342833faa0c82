"""Metrics of calibration and stability: one short function each, for the registry in `quantlr.backtest.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quantlr.backtest.metric_types import EvaluatedForecasts
from quantlr.core.errors import Fault
from quantlr.core.values import Note
from quantlr.stats.recalibration import recalibrate, spiegelhalter_test
from quantlr.stats.stability import skill_stability
from quantlr.stats.verdict import is_significant


def recalibration(forecasts: EvaluatedForecasts) -> dict[str, float | None] | None:
    """Slope and intercept of the outcome's log odds on the forecast's (Cox 1958), and the test of a slope below 1."""
    fit = recalibrate(forecasts.log_odds, forecasts.up, **_dependence(forecasts))
    return None if fit is None else asdict(fit)


def calibration_test(forecasts: EvaluatedForecasts) -> dict[str, float] | None:
    """Two-sided test that the probabilities are calibrated (Spiegelhalter 1986)."""
    return spiegelhalter_test(forecasts.probability, forecasts.up, **_dependence(forecasts))


def stability(forecasts: EvaluatedForecasts) -> dict[str, Any]:
    """Skill by thirds of the span, a test for a break, and the shares of the best year and the best ticker."""
    if forecasts.all_forecasts is None:
        raise Fault("the stability of skill needs all forecasts of a run, and what their refits were trained on")
    return skill_stability(forecasts.all_forecasts)


def _dependence(forecasts: EvaluatedForecasts) -> dict[str, Any]:
    """Return what the tests need to know about dependent outcomes."""
    is_dependent = forecasts.has_dependent_outcomes
    return {"session": forecasts.session, "horizon": forecasts.horizon, "is_dependent": is_dependent}


def calibration_notes(forecast_metrics: Mapping[str, Any], *, sizes_by_probability: bool) -> tuple[Note, ...]:
    """Return a warning where the policy sizes positions by probabilities that are too far from the base rate."""
    fit = forecast_metrics["calibration"]
    if not sizes_by_probability or fit is None or not is_significant(fit["p_value"]):
        return ()
    text = (
        f"the policy sizes positions by probabilities that are too far from the base rate: calibration slope "
        f"{fit['slope']:.2f}, significantly below 1; calibration platt or a larger model.l2 brings them nearer"
    )
    return (Note("model", text, key="model.calibration"),)
