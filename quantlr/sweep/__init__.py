"""Sweeps, from a laptop to a cluster: every setting of a grid tried, counted, and judged together.

`grid` is what is tried, `jobs` what each trial depends on, `work` what a worker does, `executors` and `cluster` where
the workers are, `store` what is kept of each trial, `summary` what all of them show, `results` what is written of it,
`runs` the sweep as a whole.
"""

from __future__ import annotations

import sys
from types import ModuleType

from quantlr.sweep.desk import Setting
from quantlr.sweep.grid import Sweep, load_sweep
from quantlr.sweep.runs import ASK, Swept, engine_of, run_sweep, sweep

__all__ = ["ASK", "Setting", "Sweep", "Swept", "engine_of", "load_sweep", "run_sweep", "sweep"]


class _Verb(ModuleType):
    """A module that is called by its name, as `quantlr.run` is: importing it puts it in the function's place."""

    __call__ = staticmethod(sweep)


sys.modules[__name__].__class__ = _Verb
