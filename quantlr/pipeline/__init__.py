"""The one place that knows all the layers: from a config to a run, and from a run to its report.

`stages` are what a run is made of, `numbers` what is measured of it, `runs` the experiment as a person has it.
"""

from __future__ import annotations

from quantlr.pipeline.numbers import metrics_of
from quantlr.pipeline.runs import Run, run, run_config
from quantlr.pipeline.stages import (
    STAGES,
    Outlook,
    Stages,
    calculate,
    compute_label,
    dataset_of,
    earn,
    forecasts_of,
    foresee,
    known_to,
    positions_of,
)

__all__ = [
    "STAGES",
    "Outlook",
    "Run",
    "Stages",
    "calculate",
    "compute_label",
    "dataset_of",
    "earn",
    "forecasts_of",
    "foresee",
    "known_to",
    "metrics_of",
    "positions_of",
    "run",
    "run_config",
]
