"""The one place that knows all the layers: from a config to a run, and from a run to its report.

`stages` are what a run is made of, `numbers` what is measured of it, `runs` the experiment as a person has it.
"""

from __future__ import annotations

from quantlr.pipeline.numbers import compute_metrics
from quantlr.pipeline.runs import Run, run, run_config
from quantlr.pipeline.stages import (
    DEFAULT_STAGES,
    Decisions,
    PipelineStages,
    run_stages,
    compute_label,
    dataset_from_config,
    run_backtest,
    walk_forward_forecasts,
    forecast_and_decide,
    decision_context,
    positions_from_forecasts,
)

__all__ = [
    "DEFAULT_STAGES",
    "Decisions",
    "Run",
    "PipelineStages",
    "run_stages",
    "compute_label",
    "dataset_from_config",
    "run_backtest",
    "walk_forward_forecasts",
    "forecast_and_decide",
    "decision_context",
    "compute_metrics",
    "positions_from_forecasts",
    "run",
    "run_config",
]
