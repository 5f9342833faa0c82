"""What the pages of a report are made of: a run's config, data and metrics, and values that several panels share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from quantlr.backtest.attribution import TickerAttribution, ticker_attribution
from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts, evaluate_forecasts
from quantlr.config.candidates import fitted_config_and_dataset
from quantlr.config.run_config import RunConfig
from quantlr.core.frequency import bar_unit
from quantlr.core.timing import iso_date
from quantlr.core.values import Note, RunData
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.config import LogisticRegression
from quantlr.model.diagnostics import ModelDiagnostics, diagnose_model
from quantlr.model.permutation_importance import PermutationImportance, permutation_importance
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.report.style import count_text, percent_text
from quantlr.report.summary import condense_notes, note_text, ticker_list_text

MAX_PLOTTED_REFITS, MAX_LOSS_CURVES, MAX_LOSS_ITERATIONS = 60, 5, 150
"""Refits whose coefficients are drawn, refits whose loss is, and iterations after which its curve is cut, at most."""


@dataclass(frozen=True)
class PageContext:
    """A run and what is derived from it for its pages; the derived values are computed when first asked for.

    Attributes
    ----------
    config : of the run.
    run_data : prices, dataset, forecasts, positions and backtest.
    evaluated_forecasts : its forecasts with a known outcome.
    metrics : as in ``metrics.json``.
    notes : one line each.
    candidate : of a run that chooses among candidates, the one whose model is shown, with its weight; else empty.
    """

    config: RunConfig
    run_data: RunData
    evaluated_forecasts: EvaluatedForecasts
    metrics: dict[str, Any]
    notes: tuple[str, ...]
    candidate: str = ""

    @classmethod
    def from_run(cls, config: RunConfig, run_data: RunData, metrics: dict[str, Any], notes: Iterable[Note]) -> Self:
        """Return the context of a run; notes of one kind are condensed to one line, and replaced stages come first."""
        replaced = (f"stage {stage} was replaced by {name}" for stage, name in run_data.replaced_stages.items())
        lines = (*replaced, *(note_text(note) for note in condense_notes(notes)))
        return cls(config, run_data, evaluate_forecasts(run_data.forecasts), metrics, lines)

    def of_leader(self) -> PageContext:
        """Return the context of the candidate with the largest weight in the end; the same one without a choice."""
        data, forecasts = self.run_data, self.run_data.forecasts
        if not isinstance(forecasts, SelectedForecasts):
            return self
        config, dataset = fitted_config_and_dataset(self.config, data.dataset, forecasts)
        selection = forecasts.selection
        own, leader = forecasts.of_candidate(selection.leader), self.config.candidates()[selection.leader]
        weight = percent_text(float(selection.weights[-1, selection.leader]), decimals=0)
        return replace(
            self,
            config=config,
            run_data=replace(data, dataset=dataset, forecasts=own),
            evaluated_forecasts=evaluate_forecasts(own),
            candidate=f"{leader.name} (weight {weight})",
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the run's arrays."""
        return _array_nbytes(self)

    @property
    def sessions_per_year(self) -> int:
        """Sessions in a year, of the config or counted from the prices."""
        return self.config.report.sessions_in_year(self.run_data.prices)

    @property
    def forecast_tickers(self) -> list[str]:
        """The tickers that have forecasts, in the config's order."""
        forecasts = self.run_data.forecasts
        return [forecasts.tickers[index] for index in np.unique(forecasts.ticker)]

    @cached_property
    def strategy(self) -> BacktestView:
        """The strategy's backtest, for its metrics."""
        return BacktestView(self.run_data.result, self.sessions_per_year)

    @property
    def trades(self) -> pd.DataFrame:
        """The trades of the backtest, one row each."""
        return self.strategy.trades

    @cached_property
    def attribution(self) -> TickerAttribution:
        """Contribution, accuracy and Sharpe ratio of each ticker that has forecasts."""
        data, per_year = self.run_data, self.sessions_per_year
        return ticker_attribution(data.result, data.forecasts, self.evaluated_forecasts, sessions_per_year=per_year)

    @property
    def plotted_model_ticker_index(self) -> int:
        """Index of the ticker whose model is drawn: the first with the most refits; negative for a pooled model."""
        tickers, counts = np.unique(self.run_data.forecasts.refits.ticker, return_counts=True)
        return int(tickers[counts.argmax()])

    @property
    def replaced_fit_stages(self) -> list[str]:
        """The functions of the walk-forward that were replaced, so that the config does not say how it was fitted."""
        names = {field.name for field in fields(WalkForwardFunctions)}
        return [stage for stage in self.run_data.replaced_stages if stage in names]

    @property
    def model_name(self) -> str:
        """The name of the model, and the function that replaces its fit, if any."""
        replaced = self.run_data.replaced_stages.get("fit_refits")
        name = self.config.model.display_name
        return f"{name}, its fit replaced by {replaced.rpartition('.')[2]}" if replaced else name

    @property
    def logistic_regression(self) -> LogisticRegression | None:
        """The logistic regression that was fitted; None if another model was, or a stage of the fit was replaced."""
        return None if self.replaced_fit_stages else self.config.model.as_logistic_regression()

    @cached_property
    def model_diagnostics(self) -> ModelDiagnostics:
        """Coefficients, loss curves and learning-rate study of the model that is drawn, as far as it has them.

        If a stage of the fit was replaced there are none, since they would be those of another fit.
        """
        data, ticker = self.run_data, self.plotted_model_ticker_index
        if self.replaced_fit_stages:
            refits = data.forecasts.refits
            name = "pooled" if ticker < 0 else data.forecasts.tickers[ticker]
            return ModelDiagnostics(name, refits.columns, refits.session[refits.ticker == ticker])
        return diagnose_model(
            data.dataset,
            data.forecasts,
            self.config.model,
            ticker=None if ticker < 0 else data.forecasts.tickers[ticker],
            max_loss_curves=MAX_LOSS_CURVES,
            max_iterations=MAX_LOSS_ITERATIONS,
            max_coefficient_refits=MAX_PLOTTED_REFITS,
        )

    @cached_property
    def permutation_importance(self) -> PermutationImportance | None:
        """Of the features of the model that is drawn; None if it has coefficients, or its fit was replaced."""
        data = self.run_data
        if data.forecasts.refits.has_coefficients or self.replaced_fit_stages:
            return None
        ticker, seed = self.plotted_model_ticker_index, self.config.seed
        return permutation_importance(data.dataset, data.forecasts, self.config.model, ticker_index=ticker, seed=seed)

    @property
    def bar_unit(self) -> str:
        """The word for one bar: session, week or month."""
        return bar_unit(self.sessions_per_year)

    @property
    def setup_text(self) -> str:
        """The setup of the run in one line: tickers, dates, features, refits and execution."""
        config, data = self.config, self.run_data
        tickers = ticker_list_text(self.forecast_tickers, max_chars=60)
        splits, execution, dates = (
            config.walk_forward.resolve(self.sessions_per_year),
            config.execution,
            data.result.fill_dates,
        )
        unit = bar_unit(self.sessions_per_year)
        refits = "fitted once" if splits.refit_every == "never" else f"refitted every {splits.refit_every} {unit}s"
        horizon = str(config.label.horizon) if unit == "session" else count_text(config.label.horizon, unit)
        pooled = "one model for all, " if config.model.scope == "pooled" else ""
        model = "" if config.model.as_logistic_regression() else f"{config.model.display_name}, "
        model += "fit replaced, " if self.replaced_fit_stages else ""
        features = count_text(len(data.dataset.columns), "feature")
        fits = f"{features}, {pooled}{splits.window} window, {refits}"
        if isinstance(data.forecasts, SelectedForecasts):
            selection = data.forecasts.selection
            model, fits = "", f"{selection.spec.how} of {count_text(len(selection.candidates), 'candidate')}"
        scored = f" (scored from {config.report.score_from})" if config.report.score_from else ""
        return (
            f"{model}{tickers}, {iso_date(dates[0])} to {iso_date(dates[-1])}{scored}; {fits}, "
            f"horizon {horizon}; fill {execution.fill}, "
            f"{execution.trading_costs_text()}"
        )


def _array_nbytes(value: Any) -> int:
    """Return the bytes of the arrays in a value and, for a dataclass, in its fields."""
    if is_dataclass(value):
        return sum(_array_nbytes(getattr(value, field.name)) for field in fields(value))
    return int(getattr(value, "nbytes", 0))
