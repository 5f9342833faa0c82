"""quantlr: can the direction of tomorrow's close be predicted, and would it pay?

| name | what it is |
| --- | --- |
| `run` | runs one experiment, from prices to the verdict; a `Run` has its tables, metrics and report |
| `plan` | the dates, rows and refits of a run, without fitting |
| `predict` | forecast and position after the newest close |
| `worth` | what each feature adds to the forecasts; a `WorthResult` has the table and the page |
| `race` | the model against other classifiers and naive rules; a `RaceResult` has the table and the page |
| `robustness` | what the result depends on; a `RobustnessResult` has the table, the page and a sentence |
| `audit` | whether anything in a run depends on the future |
| `export` | figures, tables and pages of a saved report, in the formats of other programs |
| `compare` | tests the differences between saved runs |
| `sweep` | tries a grid of settings; a `SweepResult` has all trials and the verdict on the best |
| `load_config` | a config with every default, validated |
| `Feature`, `Policy` | base classes of features and policies of your own; features are computed from `Prices` |
| `GradientDescentClassifier` | the same model as a scikit-learn estimator |
| `QuantlrError` and below | every error, see `quantlr.core.errors` |
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing would take most of this module's time
if TYPE_CHECKING:
    from typing import Any

    from quantlr.audits.auditor import audit
    from quantlr.backtest.policies import Policy
    from quantlr.config.run_config import load_config
    from quantlr.core.errors import (
        ComponentError,
        ConfigError,
        DataError,
        DegenerateFold,
        Fault,
        LearningRateTooLarge,
        LookAheadError,
        ModelError,
        NotEnoughHistory,
        OutputError,
        QuantlrError,
        UserError,
    )
    from quantlr.core.values import Prices
    from quantlr.data.features.base import Feature
    from quantlr.experiment.export import export
    from quantlr.experiment.plan import plan
    from quantlr.experiment.predict import predict
    from quantlr.experiment.race import RaceResult, race
    from quantlr.experiment.robustness import RobustnessResult, robustness
    from quantlr.experiment.run import Run, run
    from quantlr.experiment.worth import WorthResult, worth
    from quantlr.model.estimator import GradientDescentClassifier as GradientDescentClassifier
    from quantlr.report.compare import compare
    from quantlr.sweeps.scheduler import SweepResult, sweep

# The estimator is left out, since `from quantlr import *` would import scikit-learn, which takes a second.
__all__ = [
    "ComponentError",
    "ConfigError",
    "DataError",
    "DegenerateFold",
    "Fault",
    "Feature",
    "LearningRateTooLarge",
    "LookAheadError",
    "ModelError",
    "NotEnoughHistory",
    "OutputError",
    "Policy",
    "Prices",
    "QuantlrError",
    "RaceResult",
    "RobustnessResult",
    "Run",
    "SweepResult",
    "UserError",
    "WorthResult",
    "__version__",
    "audit",
    "compare",
    "export",
    "load_config",
    "plan",
    "predict",
    "race",
    "robustness",
    "run",
    "sweep",
    "worth",
]

_NAMES_BY_MODULE = {
    "quantlr.audits.auditor": ("audit",),
    "quantlr.backtest.policies": ("Policy",),
    "quantlr.config.run_config": ("load_config",),
    "quantlr.core.errors": (
        "ComponentError",
        "ConfigError",
        "DataError",
        "DegenerateFold",
        "Fault",
        "LearningRateTooLarge",
        "LookAheadError",
        "ModelError",
        "NotEnoughHistory",
        "OutputError",
        "QuantlrError",
        "UserError",
    ),
    "quantlr.core.values": ("Prices",),
    "quantlr.data.features.base": ("Feature",),
    "quantlr.experiment.export": ("export",),
    "quantlr.experiment.plan": ("plan",),
    "quantlr.experiment.predict": ("predict",),
    "quantlr.experiment.race": ("RaceResult", "race"),
    "quantlr.experiment.robustness": ("RobustnessResult", "robustness"),
    "quantlr.experiment.run": ("Run", "run"),
    "quantlr.experiment.worth": ("WorthResult", "worth"),
    "quantlr.model.estimator": ("GradientDescentClassifier",),
    "quantlr.report.compare": ("compare",),
    "quantlr.sweeps.scheduler": ("SweepResult", "sweep"),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `quantlr --help` needs no pandas."""
    if name == "__version__":
        from importlib.metadata import version

        return version("quantlr")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'quantlr' has no attribute {name!r}")
