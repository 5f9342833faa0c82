"""quantlr: can the direction of tomorrow's close be predicted, and would it pay?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlr.experiment.run import Run, run
    from quantlr.model.estimator import GradientDescentClassifier as GradientDescentClassifier
    from quantlr.sweeps.scheduler import SweepResult, sweep

# The estimator is left out: `from quantlr import *` would import scikit-learn, and fail where it is not installed.
__all__ = ["Run", "SweepResult", "__version__", "run", "sweep"]

_MODULES = {
    "Run": "quantlr.experiment.run",
    "run": "quantlr.experiment.run",
    "SweepResult": "quantlr.sweeps.scheduler",
    "sweep": "quantlr.sweeps.scheduler",
    "GradientDescentClassifier": "quantlr.model.estimator",
}


def __dir__() -> list[str]:
    return [*__all__, "GradientDescentClassifier"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `quantlr --help` needs no pandas."""
    if name == "__version__":
        from importlib.metadata import version

        return version("quantlr")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'quantlr' has no attribute {name!r}")
