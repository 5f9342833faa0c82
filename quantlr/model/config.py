"""The `model` section of a config: solver, penalty, sample weights, calibration and scope of the classifier."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt, ValidationInfo, field_validator

from quantlr.core.components import ChoiceDescriptions, Component, ConfigSection, Unit

PositiveWeight = Annotated[StrictFloat, Unit("none (rows count in this proportion)"), Field(gt=0, le=1e6)]


class ClassWeights(ConfigSection):
    """Weight of a training row by its label."""

    up: PositiveWeight = Field(1.0, description="Weight of a row labelled up.")
    down: PositiveWeight = Field(1.0, description="Weight of a row labelled down.")


class LogisticRegression(Component):
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

    l2: Annotated[StrictFloat, Unit("nats per squared standardised weight"), Field(ge=0)] = Field(
        0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares; 0 is none."
    )
    tol: Annotated[StrictFloat, Unit("nats per standardised weight"), Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the solver stops."
    )
    max_iter: Annotated[StrictInt, Unit("updates"), Field(ge=1)] = Field(
        1000, description="Largest number of updates; a note says if it was reached before tol."
    )
    scope: Annotated[
        Literal["per_ticker", "pooled"],
        ChoiceDescriptions(
            {"per_ticker": "one model per ticker", "pooled": "one model for all tickers, trained on all their rows"}
        ),
    ] = Field("per_ticker", description="Tickers whose rows train a model.")
    class_weight: (
        Annotated[Literal["balanced"], ChoiceDescriptions({"balanced": "ups and downs have the same total weight"})]
        | ClassWeights
        | None
    ) = Field(
        None,
        description="Weights of ups and downs; null: all 1. Others move the probabilities away from the observed "
        "frequencies.",
        examples=["balanced", {"up": 1.0, "down": 2.0}],
    )
    half_life: Annotated[StrictFloat, Unit("sessions"), Field(ge=1, le=1e9)] | None = Field(
        None, description="Age at which the weight of a training row has halved; null: no decay.", examples=[500]
    )
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

    @property
    def resolved_class_weight(self) -> Literal["balanced"] | tuple[float, float] | None:
        """The weights of downs and of ups, "balanced", or None."""
        weight = self.class_weight
        return (weight.down, weight.up) if isinstance(weight, ClassWeights) else weight
