"""Models, the classifiers of a walk-forward: one class per kind; `MODELS` is the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictInt, ValidationInfo, field_validator

from quantlr.core.components import ChoiceDescriptions, Unit, component_union
from quantlr.model.base import (
    ClassWeightSetting,
    DescribeRefit,
    FittedModel,
    HalfLife,
    Model,
    RefitProgressCallback,
    class_weight_field,
    half_life_field,
    ignore_refit_progress,
)
from quantlr.model.batched.fit import fit_many
from quantlr.model.sklearn_classifier import SklearnClassifier

if TYPE_CHECKING:
    from quantlr.model.training import TrainingData

AUDIT_TOLERANCE, MIN_AUDIT_NEWTON_UPDATES = 1e-12, 1000
"""Tolerance and number of updates of a fit whose probabilities are compared to 1e-7."""


class LogisticRegression(Model):
    """Logistic regression with an L2 penalty."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    solver: Annotated[
        Literal["gradient_descent", "nesterov", "newton"],
        ChoiceDescriptions(
            {
                "gradient_descent": "gradient descent with a fixed learning rate: thousands of steps",
                "nesterov": "gradient descent with Nesterov's momentum and restarts: hundreds",
                "newton": "the same update with the inverse Hessian as learning rate: a few",
            }
        ),
    ] = Field("newton", description="Solver of the fit; all three converge to the same weights.")
    learning_rate: (
        Annotated[Literal["auto"], ChoiceDescriptions({"auto": "1/L, with L the largest curvature of the loss"})]
        | Annotated[StrictFloat, Unit("weight per gradient, of standardised features"), Field(gt=0)]
    ) = Field("auto", description="Step size of gradient_descent and nesterov.")

    @field_validator("learning_rate")
    @classmethod
    def _validate_learning_rate(cls, learning_rate: str | float, info: ValidationInfo) -> str | float:
        if learning_rate != "auto" and info.data.get("solver") == "newton":
            hint = "write auto, or set model.solver to gradient_descent"
            raise ValueError(f"is for gradient_descent and nesterov; {hint}")
        return learning_rate

    l2: (
        Annotated[StrictFloat, Unit("nats per squared standardised weight"), Field(ge=0, le=1e12)]
        | Annotated[
            Literal["auto"], ChoiceDescriptions({"auto": "a selection over 0.001, 0.01, 0.1, 1 and 10; see `select`"})
        ]
    ) = Field(0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares; 0 is none.")
    tol: Annotated[StrictFloat, Unit("nats per standardised weight"), Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the solver stops."
    )
    max_iter: Annotated[StrictInt, Unit("updates"), Field(ge=1)] = Field(
        1000, description="Largest number of updates; a note says if it was reached before tol."
    )
    class_weight: ClassWeightSetting = class_weight_field()
    half_life: HalfLife = half_life_field()

    @property
    def resolved_l2(self) -> float:
        """The penalty as a number; ValueError of `auto`, which stands for several candidates."""
        if isinstance(self.l2, str):
            raise ValueError("model.l2 is auto: each candidate has a number of its own")
        return self.l2

    def fit_many(
        self,
        training_sets: Sequence[TrainingData],
        *,
        describe_refits: Sequence[DescribeRefit],
        on_refits_done: RefitProgressCallback = ignore_refit_progress,
    ) -> list[FittedModel]:
        """Return the weights of all refits; see `quantlr.model.batched.fit.fit_many`."""
        return fit_many(training_sets, self, describe_refits=describe_refits, on_refits_done=on_refits_done)

    def for_audit(self) -> LogisticRegression:
        """Return the model with a tight tolerance, which forecasts the base rate where no best fit exists."""
        changes: dict[str, Any] = {"tol": min(self.tol, AUDIT_TOLERANCE), "degenerate": "base_rate"}
        if self.solver == "newton":
            changes["max_iter"] = max(self.max_iter, MIN_AUDIT_NEWTON_UPDATES)
        return self.model_copy(update=changes)

    def as_logistic_regression(self) -> LogisticRegression:
        """Return the model itself."""
        return self


MODELS: tuple[type[Model], ...] = (LogisticRegression, SklearnClassifier)

if TYPE_CHECKING:
    AnyModel = Model
else:
    AnyModel = component_union(MODELS, default_kind="logistic_regression", base_class=Model)
