"""quantlr: can the direction of tomorrow's close be predicted, and would it pay?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlr.model.classifier import GradientDescentClassifier as GradientDescentClassifier
    from quantlr.pipeline import Run, run
    from quantlr.sweep import SweepResult
    from quantlr.sweep import sweep as sweep

# The estimator is no part of it: `from quantlr import *` would then import scikit-learn, and fail without it.
__all__ = ["Run", "SweepResult", "__version__", "run", "sweep"]


def __dir__() -> list[str]:
    return [*__all__, "GradientDescentClassifier"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: pandas is not needed to print a help text."""
    if name == "__version__":
        from importlib.metadata import version

        return version("quantlr")
    if name in ("Run", "run"):
        from quantlr import pipeline

        return getattr(pipeline, name)
    if name in ("Swept", "sweep"):
        sweeps = import_module("quantlr.sweep")
        return sweeps if name == "sweep" else sweeps.Swept
    if name == "GradientDescentClassifier":
        from quantlr.model import classifier

        return classifier.GradientDescentClassifier
    raise AttributeError(f"module 'quantlr' has no attribute {name!r}")
