"""Base class of models: what a walk-forward, the audit and the pages ask of a classifier, whatever its kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, StrictFloat

from quantlr.core.components import ChoiceDescriptions, Component, ConfigSection, Unit
from quantlr.core.values import Array, BoolArray, IntArray

if TYPE_CHECKING:
    from quantlr.model.config import LogisticRegression
    from quantlr.model.training import TrainingData

DescribeRefit = Callable[[int], str]
"""Takes the index of a refit and returns its description for a message."""
RefitProgressCallback = Callable[[int], None]
"""Receives the number of refits that have just been fitted."""


PositiveWeight = Annotated[StrictFloat, Unit("none (rows count in this proportion)"), Field(gt=0, le=1e6)]


class ClassWeights(ConfigSection):
    """Weight of a training row by its label."""

    up: PositiveWeight = Field(1.0, description="Weight of a row labelled up.")
    down: PositiveWeight = Field(1.0, description="Weight of a row labelled down.")


ClassWeightSetting = (
    Annotated[Literal["balanced"], ChoiceDescriptions({"balanced": "ups and downs have the same total weight"})]
    | ClassWeights
    | None
)
HalfLife = Annotated[StrictFloat, Unit("sessions"), Field(ge=1, le=1e9)] | None


def class_weight_field() -> Any:
    """Return the field of a model that weighs its training rows by their label."""
    text = "Weights of ups and downs; null: all 1. Others move the probabilities away from the observed frequencies."
    return Field(None, description=text, examples=["balanced", {"up": 1.0, "down": 2.0}])


def half_life_field() -> Any:
    """Return the field of a model that weighs its training rows by their age."""
    text = "Age at which the weight of a training row has halved; null: no decay."
    return Field(None, description=text, examples=[500])


def ignore_refit_progress(n_refits: int) -> None:
    """Do nothing; the default progress callback."""


@dataclass(frozen=True)
class FittedModel:
    """What one model has learnt in all refits of a walk-forward, and whether the fits converged.

    A kind of model whose log odds are not linear in the features derives from this class, adds its own parameters, and
    overrides `log_odds`.

    Attributes
    ----------
    converged : (refits,) whether the fit has converged.
    degenerate : (refits,) whether no best fit exists; the base rate is forecast instead.
    coefficients : (refits, 1 + k) intercept and coefficients of log odds = intercept + coefficients . x, in units of
        the raw features; empty if the log odds are not linear in the features.
    iterations : (refits,) number of solver iterations; empty for a fit without iterations.
    max_abs_gradient : (refits,) largest absolute component of the last gradient, of standardised features; empty for a
        fit without a gradient.
    condition_number : ratio of the largest to the smallest singular value of the last refit's standardised features;
        NaN if it was not computed.
    lipschitz : the largest curvature that the loss of that refit can have; NaN of a fit without a gradient descent.
    learning_rate : of that refit, of standardised features; NaN of a fit without a number as learning rate.
    """

    converged: BoolArray
    degenerate: BoolArray
    coefficients: Array = field(default_factory=lambda: np.empty((0, 0)))
    iterations: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    max_abs_gradient: Array = field(default_factory=lambda: np.empty(0))
    condition_number: float = np.nan
    lipschitz: float = np.nan
    learning_rate: float = np.nan

    def log_odds(self, X: Array, refit_index: IntArray) -> Array:
        """Return the log odds (rows,) of an up move for rows X (rows, k), each by the refit `refit_index` (rows,).

        This is that of a model with coefficients; any other overrides it.
        """
        if not self.coefficients.size:
            raise NotImplementedError(f"{type(self).__name__} has no coefficients; it needs a method log_odds")
        weights = self.coefficients.take(refit_index, axis=0)
        return np.asarray(weights[:, 0] + np.einsum("ij,ij->i", weights[:, 1:], X))


class Model(Component):
    """A classifier that the walk-forward fits anew at every refit.

    To write a model, derive from this class, give `kind` a default that is its name, and write `fit_many`. Its fields
    are its parameters, which the resolved config writes out. Pass an instance as the `model` of a config that is a
    mapping, or in `overrides`; a class that an installed package names under the entry points `quantlr.models`, by its
    kind, can be used in any config.
    """

    entry_point_group: ClassVar[str] = "quantlr.models"
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that the fits depend on besides quantlr's own; ``provenance.json`` lists their versions."""

    scope: Annotated[
        Literal["per_ticker", "pooled"],
        ChoiceDescriptions(
            {"per_ticker": "one model per ticker", "pooled": "one model for all tickers, trained on all their rows"}
        ),
    ] = Field("per_ticker", description="Tickers whose rows train a model.")
    calibration: (
        Annotated[
            Literal["platt"],
            ChoiceDescriptions(
                {
                    "platt": "Platt's sigmoid, fitted at each refit to the forecasts of earlier refits with a known "
                    "outcome; with fewer than 250 of them forecasts are not changed"
                }
            ),
        ]
        | None
    ) = Field(None, description="Calibration of the probabilities by the outcomes of earlier forecasts; null: none.")
    degenerate: Annotated[
        Literal["error", "base_rate"],
        ChoiceDescriptions({"error": "stop", "base_rate": "forecast the share of ups among the training rows"}),
    ] = Field("error", description="Action where no best fit exists: one class only, or separated classes.")

    @abstractmethod
    def fit_many(
        self,
        training_sets: Sequence[TrainingData],
        *,
        describe_refits: Sequence[DescribeRefit],
        on_refits_done: RefitProgressCallback = ignore_refit_progress,
    ) -> list[FittedModel]:
        """Return what is learnt in all refits of several tickers, or of one pooled model.

        Parameters
        ----------
        training_sets : for each ticker rows, labels and folds; `TrainingData.refit_rows` returns those of a refit. A
            refit may learn from its own training rows only, and start at the weights of earlier refits.
        describe_refits : for each ticker the function that describes a refit for a message.
        on_refits_done : receives the number of refits that have just been fitted.

        Raises
        ------
        DegenerateFold : no best fit exists, and `degenerate` is "error".
        """

    def for_audit(self) -> Model:
        """Return the model as an audit compares it: so exact that equal rows give equal probabilities to 1e-7.

        An audit replaces prices by unrealistic ones, where `degenerate` refits forecast the base rate.
        """
        return self.model_copy(update={"degenerate": "base_rate"})

    @property
    def display_name(self) -> str:
        """Name on pages and in tables: the kind, unless the model overrides it."""
        return str(getattr(self, "kind", ""))

    def as_logistic_regression(self) -> LogisticRegression | None:
        """Return the logistic regression that is fitted, whose descent the pages show; None of any other model."""
        return None
