"""The stages of a run, from prices to the backtest, each a function that can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.overlays import apply_overlays
from quantlr.backtest.policies import DecisionContext, decide_positions, make_decision_context
from quantlr.config.run_config import RunConfig
from quantlr.core.arrays import Array
from quantlr.core.errors import NotEnoughHistory
from quantlr.core.progress import Progress, ProgressCounter, Told, ignore_progress, iso_date
from quantlr.core.values import BacktestResult, Dataset, Forecasts, Labels, Positions, Prices, RunData
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.labels import Label
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS, WalkForwardFunctions, walk_forward


def compute_label(prices: Prices, label: Label) -> Labels:
    """Return the label of every bar."""
    return label.compute(prices)


@dataclass(frozen=True, slots=True)
class PipelineStages:
    """The functions that a run is made of, in their order; whoever replaces one sees what becomes of a run.

    Attributes
    ----------
    features : (prices, features) to columns; `data.dataset.feature_columns`.
    label : (prices, label) to labels.
    walk : those of the walk-forward: folds, scaling, fit; see `model.journey.Steps`.
    known : (prices, forecasts, execution) to what policies may use besides; `backtest.policies.known_at_close`.
    decide : (policy, forecasts, known) to positions; `backtest.policies.decide_positions`.
    overlay : (positions, overlays, forecasts, known) to positions; `backtest.overlays.overlaid`.
    execute : (positions, prices, execution) to a backtest; `backtest.engine.execute`.
    """

    compute_features: Callable[..., Any] = compute_feature_columns
    compute_label: Callable[..., Labels] = compute_label
    walk_forward_steps: WalkForwardFunctions = DEFAULT_FUNCTIONS
    decision_context: Callable[..., DecisionContext] = make_decision_context
    decide_positions: Callable[..., Positions] = decide_positions
    apply_overlays: Callable[..., Positions] = apply_overlays
    execute: Callable[..., BacktestResult] = backtest_with_benchmark


DEFAULT_STAGES = PipelineStages()
"""The stages of every run, unless someone replaces one."""


def dataset_from_config(
    config: RunConfig, prices: Prices, stages: PipelineStages = DEFAULT_STAGES, *, progress: Progress = ignore_progress
) -> Dataset:
    """Return the rows that a config's features and label make of prices."""
    columns = stages.compute_features(prices, Told(config.features, "features", progress))
    steps = ProgressCounter("rows", 2, progress)
    labels = stages.compute_label(prices, config.label)
    steps.step()
    dataset = build_dataset(prices, columns, labels, horizon=config.label.horizon)
    steps.step()
    return dataset


def decision_context(
    config: RunConfig, prices: Prices, forecasts: Forecasts, stages: PipelineStages = DEFAULT_STAGES
) -> DecisionContext:
    """Return what a config's policy and overlays may use besides the forecasts."""
    return stages.decision_context(
        prices, forecasts, config.execution, sessions_per_year=config.report.sessions_per_year
    )


def positions_from_forecasts(
    config: RunConfig, forecasts: Forecasts, context: DecisionContext, stages: PipelineStages = DEFAULT_STAGES
) -> Positions:
    """Return the weights that a config's policy decides on, with its overlays upon them."""
    return stages.apply_overlays(
        stages.decide_positions(config.policy, forecasts, context), config.overlays, forecasts, context
    )


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a config expects and decides, before any of it has earned or lost."""

    dataset: Dataset
    forecasts: Forecasts
    positions: Positions


def walk_forward_forecasts(
    config: RunConfig,
    dataset: Dataset,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Forecasts:
    """Return what a config's model, walking forward, forecasts of each row."""
    return walk_forward(
        dataset, config.walk_forward, config.model, stages.walk_forward_steps, workers=workers, progress=progress
    )


def forecast_and_decide(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Decisions:
    """Return what a config makes of prices up to its decisions, the one of the newest close included."""
    dataset = dataset_from_config(config, prices, stages, progress=progress)
    forecasts = walk_forward_forecasts(config, dataset, stages, workers=workers, progress=progress)
    steps = ProgressCounter("deciding", 2, progress)
    known = decision_context(config, prices, forecasts, stages)
    steps.step()
    positions = positions_from_forecasts(config, forecasts, known, stages)
    steps.step()
    return Decisions(dataset, forecasts, positions)


def require_known_outcome(up: Array, *, first_date: str) -> None:
    """Refuse forecasts of which none has an outcome yet, (forecasts,); `first` is the date of the first.

    Raises
    ------
    NotEnoughHistory : there is nothing to score.
    """
    if np.isnan(up).all():
        raise NotEnoughHistory(
            f"the first forecast is of {first_date}, and what came is not known yet for any; fetch a longer history or "
            "shorten walk_forward.train",
            key="walk_forward.train",
        )


def run_backtest(
    config: RunConfig,
    prices: Prices,
    decisions: Decisions,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    progress: Progress = ignore_progress,
) -> RunData:
    """Return what a config's decisions came to.

    Raises
    ------
    NotEnoughHistory : of no forecast is it known yet what came.
    """
    forecasts = decisions.forecasts
    require_known_outcome(forecasts.up, first_date=iso_date(prices.sessions[forecasts.session[0]]))
    per_year = config.report.sessions_per_year
    steps = ProgressCounter("trading", 1, progress)
    result = stages.execute(decisions.positions, prices, config.execution, sessions_per_year=per_year)
    steps.step()
    return RunData(prices, decisions.dataset, forecasts, decisions.positions, result)


def run_stages(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> RunData:
    """Return what a config makes of prices, stage by stage."""
    found = forecast_and_decide(config, prices, stages, workers=workers, progress=progress)
    return run_backtest(config, prices, found, stages, progress=progress)
