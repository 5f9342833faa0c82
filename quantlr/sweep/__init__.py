"""Sweeps, from a laptop to a cluster: every setting of a grid tried, counted, and judged together.

`grid` is what is tried, `jobs` what each trial depends on, `work` what a worker does, `executors` and `cluster` where
the workers are, `store` what is kept of each trial, `summary` what all of them show, `results` what is written of it,
`runs` the sweep as a whole.
"""

from __future__ import annotations

import sys
from types import ModuleType

from quantlr.sweep.desk import SweepOptions
from quantlr.sweep.grid import Sweep, load_sweep
from quantlr.sweep.runs import MAX_UNCONFIRMED_TRIALS, SweepResult, make_engine_factory, run_sweep, sweep

__all__ = [
    "MAX_UNCONFIRMED_TRIALS",
    "SweepOptions",
    "Sweep",
    "SweepResult",
    "make_engine_factory",
    "load_sweep",
    "run_sweep",
    "sweep",
]


class _CallableModule(ModuleType):
    """A module that is called by its name, as `quantlr.run` is: importing it puts it in the function's place."""

    __call__ = staticmethod(sweep)


sys.modules[__name__].__class__ = _CallableModule
