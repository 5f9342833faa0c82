"""The metrics of the section `model` of ``metrics.json``: what the model is, and how its fits ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.backtest.metric_types import Metric
from quantlr.core.values import Refits


@dataclass(frozen=True, slots=True)
class FitView:
    """The fits of a run, and the settings of their solver.

    Attributes
    ----------
    refits : of all models.
    tickers : names, as in `Forecasts`.
    kind : of the model.
    solver, tol : of a logistic regression; None of another model, or where the fit was replaced.
    learning_rate_limit : takes L, the largest curvature, and returns the limit of the solver's learning rate; None
        where `solver` is.
    """

    refits: Refits
    tickers: tuple[str, ...]
    kind: str
    solver: str | None = None
    tol: float | None = None
    learning_rate_limit: Callable[[float], Any] | None = None

    @property
    def steepest_model_index(self) -> int:
        """Position of the model whose learning rate has the lowest limit."""
        lipschitz = self.refits.lipschitz
        return int(np.argmax(np.where(np.isnan(lipschitz), -np.inf, lipschitz)))


def model_kind(fits: FitView) -> str:
    """Kind of the model."""
    return fits.kind


def n_refits(fits: FitView) -> int:
    """Number of refits of all models."""
    return len(fits.refits.converged)


def solver(fits: FitView) -> str | None:
    """Solver of the fit."""
    return fits.solver


def learning_rate(fits: FitView) -> float:
    """Learning rate of the model where its limit is lowest, in standardised units; NaN for Newton's method."""
    return float(fits.refits.learning_rate[fits.steepest_model_index])


def learning_rate_limit(fits: FitView) -> float | None:
    """Limit of that learning rate: 2/L, or 1/L with Nesterov's momentum."""
    lipschitz = float(fits.refits.lipschitz[fits.steepest_model_index])
    return fits.learning_rate_limit(lipschitz) if fits.learning_rate_limit else None


def mean_iterations(fits: FitView) -> float | None:
    """Mean number of solver iterations per refit."""
    return float(fits.refits.iterations.mean()) if len(fits.refits.iterations) else None


def max_iterations(fits: FitView) -> int | None:
    """Largest number of solver iterations of a refit."""
    return int(fits.refits.iterations.max()) if len(fits.refits.iterations) else None


def n_unconverged(fits: FitView) -> int:
    """Number of refits that did not converge."""
    return int((~fits.refits.converged).sum())


def max_abs_gradient(fits: FitView) -> float | None:
    """Largest component of the gradient that a refit left, in standardised units."""
    return float(fits.refits.max_abs_gradient.max()) if len(fits.refits.max_abs_gradient) else None


def tolerance(fits: FitView) -> float | None:
    """Largest component of the gradient at which the solver stops."""
    return fits.tol


def n_degenerate(fits: FitView) -> int:
    """Number of refits whose loss has no minimum."""
    return int(fits.refits.degenerate.sum())


def largest_condition_number(fits: FitView) -> float:
    """Largest condition number of the standardised features of a model's last refit."""
    return float(np.fmax.reduce(fits.refits.condition_number))


def last_coefficients_by_ticker(fits: FitView) -> dict[str, dict[str, float]] | None:
    """Last refit's coefficients by ticker or "pooled": intercept, then features, in raw units; None without any."""
    refits, names = fits.refits, ("intercept", *fits.refits.columns)
    if not refits.has_coefficients:
        return None
    last_refits = {ticker: index for index, ticker in enumerate(refits.ticker.tolist())}
    coefficients = refits.coefficients[list(last_refits.values())].tolist()
    tickers = ("pooled" if ticker < 0 else fits.tickers[ticker] for ticker in last_refits)
    return {ticker: dict(zip(names, row, strict=True)) for ticker, row in zip(tickers, coefficients, strict=True)}


FIT_METRICS: tuple[Metric, ...] = (
    Metric("kind", "model", model_kind),
    Metric("refits", "model", n_refits, "refits", shown_in=("model_fit",)),
    Metric("solver", "model", solver),
    Metric("learning_rate", "model", learning_rate, "learning rate", 3),
    Metric("learning_rate_limit", "model", learning_rate_limit, "limit of the learning rate", 3),
    Metric("iterations_mean", "model", mean_iterations, "solver iterations per refit, mean", 1, better="lower",
           shown_in=("model_fit",)),
    Metric("iterations_max", "model", max_iterations, "solver iterations per refit, largest", better="lower",
           shown_in=("model_fit",)),
    Metric("unconverged", "model", n_unconverged, "refits that did not converge", better="lower",
           shown_in=("model_fit",)),
    Metric("max_abs_gradient", "model", max_abs_gradient, "largest gradient left", 10, better="lower"),
    Metric("tol", "model", tolerance, "tolerance", 10),
    Metric("degenerate", "model", n_degenerate, "refits without an optimum (degenerate)", better="lower",
           shown_in=("model_fit",)),
    Metric("condition_number", "model", largest_condition_number, "condition number of the features", 1,
           better="lower", shown_in=("model_fit",)),
    Metric("coefficients", "model", last_coefficients_by_ticker),
)  # fmt: skip
"""The metrics of the section, in the order in which they are shown."""
