"""Forecasts and positions of a config whose components from outside the catalogue are audited."""

from __future__ import annotations

from quantlr.config.run_config import RunConfig
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import Prices
from quantlr.pipeline.stages import DEFAULT_STAGES, Decisions, PipelineStages, forecast_and_decide


def forecast_and_decide_audited(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Decisions:
    """Return `forecast_and_decide`; components from outside the catalogue are audited before and after their use.

    Raises
    ------
    LookAheadError : a component depends on later values; the message names it.
    """
    if not any(iter_user_defined_components(config)):
        return forecast_and_decide(config, prices, stages, workers=workers, progress=progress)
    from quantlr.audits.user_components import audit_user_decisions, audit_user_inputs

    audit_user_inputs(config, prices)
    decisions = forecast_and_decide(config, prices, stages, workers=workers, progress=progress)
    audit_user_decisions(config, prices, decisions)
    return decisions
