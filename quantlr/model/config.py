"""What a config may say about the model: its descent, its weights, its penalty, and when to stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.components import Component, ConfigSection, StrictFloat, StrictInt

PositiveWeight = Annotated[StrictFloat, Unit("none (rows count in this proportion)"), Field(gt=0, le=1e6)]


class ClassWeights(ConfigSection):
    """How much a row counts by what came."""

    up: PositiveWeight = Field(1.0, description="Weight of a row that went up.")
    down: PositiveWeight = Field(1.0, description="Weight of a row that did not.")


class LogisticRegression(Component):
    """The classifier: its descent, its penalty, and when to stop."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    solver: Annotated[
        Literal["gradient_descent", "nesterov", "newton"],
        ChoiceDescriptions(
            {
                "gradient_descent": "gradient descent as in a textbook: thousands of steps",
                "nesterov": "Nesterov's momentum with restarts: hundreds",
                "newton": "the same step in coordinates in which the valley is round: a few",
            }
        ),
    ] = Field("newton", description="The way downhill; all three reach the same weights.")
    learning_rate: (
        Annotated[Literal["auto"], ChoiceDescriptions({"auto": "1/L, the step that the data's curvature allows"})]
        | Annotated[StrictFloat, Unit("weight per gradient, of standardised features"), Field(gt=0)]
    ) = Field("auto", description="Step size of the plain and the accelerated descent.")

    @field_validator("learning_rate")
    @classmethod
    def _validate_learning_rate(cls, learning_rate: str | float, info: ValidationInfo) -> str | float:
        if learning_rate != "auto" and info.data.get("solver") == "newton":
            raise ValueError(
                "is for gradient_descent and nesterov; write auto, or set model.solver to gradient_descent"
            )
        return learning_rate

    l2: Annotated[StrictFloat, Unit("nats per squared standardised weight"), Field(ge=0)] = Field(
        0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares; 0 is none."
    )
    tol: Annotated[StrictFloat, Unit("nats per standardised weight"), Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the descent stops."
    )
    max_iter: Annotated[StrictInt, Unit("updates"), Field(ge=1)] = Field(
        1000, description="How many there may be until it stops all the same, and says so."
    )
    scope: Annotated[
        Literal["per_ticker", "pooled"],
        ChoiceDescriptions(
            {"per_ticker": "a model for each ticker", "pooled": "one for all, which learns from all their rows"}
        ),
    ] = Field("per_ticker", description="Whose rows a model learns from.")
    class_weight: (
        Annotated[Literal["balanced"], ChoiceDescriptions({"balanced": "ups and downs weigh the same"})]
        | ClassWeights
        | None
    ) = Field(
        None,
        description="How much a row counts by what came; null: all the same. Anything else moves the probabilities "
        "away from the frequencies.",
        examples=["balanced", {"up": 1.0, "down": 2.0}],
    )
    half_life: Annotated[StrictFloat, Unit("sessions"), Field(ge=1, le=1e9)] | None = Field(
        None, description="Age at which a training row counts half; null lets all count the same.", examples=[500]
    )
    calibration: (
        Annotated[
            Literal["platt"],
            ChoiceDescriptions(
                {
                    "platt": "Platt's sigmoid, fitted at each refit on the earlier refits' forecasts whose outcome is "
                    "known; below 250 of them forecasts stay as they are"
                }
            ),
        ]
        | None
    ) = Field(None, description="How forecasts are corrected by what came of the earlier ones; null leaves them.")
    degenerate: Annotated[
        Literal["error", "base_rate"],
        ChoiceDescriptions({"error": "stop", "base_rate": "forecast the share of ups among the training rows"}),
    ] = Field("error", description="What to do where no best fit exists: one class, or classes that a plane separates.")

    @property
    def resolved_class_weight(self) -> Literal["balanced"] | tuple[float, float] | None:
        """The weights of downs and of ups."""
        weight = self.class_weight
        return (weight.down, weight.up) if isinstance(weight, ClassWeights) else weight
