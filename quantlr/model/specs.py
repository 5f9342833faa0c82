"""What a config may say about the model: its descent, its weights, its penalty, and when to stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from quantlr.types import Number, Part, Spec, Whole

Positive = Annotated[Number, Field(gt=0, le=1e6)]


class ClassWeights(Spec):
    """How much a row counts by what came."""

    up: Positive = Field(1.0, description="Weight of a row that went up.")
    down: Positive = Field(1.0, description="Weight of a row that did not.")


class LogisticRegression(Part):
    """The classifier: its descent, its penalty, and when to stop."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    descent: Literal["plain", "accelerated", "preconditioned"] = Field(
        "preconditioned", description="The way downhill; all three reach the same weights."
    )
    learning_rate: Literal["auto"] | Annotated[Number, Field(gt=0)] = Field(
        "auto",
        description="Step size of the plain and the accelerated descent; auto derives 1/L from the data.",
    )

    @field_validator("learning_rate")
    @classmethod
    def _of_use(cls, learning_rate: str | float, info: ValidationInfo) -> str | float:
        if learning_rate != "auto" and info.data.get("descent") == "preconditioned":
            raise ValueError("is for the plain and the accelerated descent; write auto, or set model.descent to plain")
        return learning_rate

    l2: Annotated[Number, Field(ge=0)] = Field(
        0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares."
    )
    tol: Annotated[Number, Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the descent stops."
    )
    max_iter: Annotated[Whole, Field(ge=1)] = Field(1000, description="Updates after which it stops all the same.")
    scope: Literal["per_ticker", "pooled"] = Field(
        "per_ticker", description="A model for each ticker, or one for all that learns from all their rows."
    )
    class_weight: Literal["balanced"] | ClassWeights | None = Field(
        None,
        description="How much a row counts by what came; balanced lets ups and downs weigh the same. It moves the "
        "probabilities away from the frequencies.",
    )
    half_life: Annotated[Number, Field(ge=1, le=1e9)] | None = Field(
        None, description="Sessions after which a training row counts half; null lets all count the same."
    )
    calibration: Literal["platt"] | None = Field(
        None,
        description="Platt's sigmoid, fitted at each refit on the earlier refits' forecasts whose outcome is known; "
        "below 250 of them forecasts stay as they are.",
    )
    degenerate: Literal["error", "base_rate"] = Field(
        "error",
        description="What to do where no best fit exists (one class, or classes that a plane separates): stop, or "
        "forecast the share of ups among the training rows.",
    )

    @property
    def class_weights(self) -> Literal["balanced"] | tuple[float, float] | None:
        """The weights of downs and of ups."""
        weight = self.class_weight
        return (weight.down, weight.up) if isinstance(weight, ClassWeights) else weight
