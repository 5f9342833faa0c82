"""The stages of a run, from prices to the backtest, each a function that can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.backtest.engine import execute
from quantlr.backtest.known import Known, known_at_close
from quantlr.backtest.overlays import overlaid
from quantlr.backtest.policies import decide_positions
from quantlr.config import RunConfig
from quantlr.data.dataset import build_dataset, feature_columns
from quantlr.data.labels import Label
from quantlr.errors import NotEnoughHistory
from quantlr.model.journey import STEPS, Steps
from quantlr.model.walk_forward import walk_forward
from quantlr.types import (
    Array,
    BacktestResult,
    Course,
    Dataset,
    Forecasts,
    Labels,
    Positions,
    Prices,
    Progress,
    Tally,
    Told,
    day,
    no_progress,
)


def compute_label(prices: Prices, label: Label) -> Labels:
    """Return the label of every bar."""
    return label.compute(prices)


@dataclass(frozen=True, slots=True)
class Stages:
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

    features: Callable[..., Any] = feature_columns
    label: Callable[..., Labels] = compute_label
    walk: Steps = STEPS
    known: Callable[..., Known] = known_at_close
    decide: Callable[..., Positions] = decide_positions
    overlay: Callable[..., Positions] = overlaid
    execute: Callable[..., BacktestResult] = execute


STAGES = Stages()
"""The stages of every run, unless someone replaces one."""


def dataset_of(
    config: RunConfig, prices: Prices, stages: Stages = STAGES, *, progress: Progress = no_progress
) -> Dataset:
    """Return the rows that a config's features and label make of prices."""
    columns = stages.features(prices, Told(config.features, "features", progress))
    steps = Tally("rows", 2, progress)
    labels = stages.label(prices, config.label)
    steps.step()
    dataset = build_dataset(prices, columns, labels, horizon=config.label.horizon)
    steps.step()
    return dataset


def known_to(config: RunConfig, prices: Prices, forecasts: Forecasts, stages: Stages = STAGES) -> Known:
    """Return what a config's policy and overlays may use besides the forecasts."""
    return stages.known(prices, forecasts, config.execution, sessions_per_year=config.report.sessions_per_year)


def positions_of(config: RunConfig, forecasts: Forecasts, known: Known, stages: Stages = STAGES) -> Positions:
    """Return the weights that a config's policy decides on, with its overlays upon them."""
    return stages.overlay(stages.decide(config.policy, forecasts, known), config.overlays, forecasts, known)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a config expects and decides, before any of it has earned or lost."""

    dataset: Dataset
    forecasts: Forecasts
    positions: Positions


def forecasts_of(
    config: RunConfig,
    dataset: Dataset,
    stages: Stages = STAGES,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Forecasts:
    """Return what a config's model, walking forward, forecasts of each row."""
    return walk_forward(dataset, config.walk_forward, config.model, stages.walk, workers=workers, progress=progress)


def foresee(
    config: RunConfig,
    prices: Prices,
    stages: Stages = STAGES,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Outlook:
    """Return what a config makes of prices up to its decisions, the one of the newest close included."""
    dataset = dataset_of(config, prices, stages, progress=progress)
    forecasts = forecasts_of(config, dataset, stages, workers=workers, progress=progress)
    steps = Tally("deciding", 2, progress)
    known = known_to(config, prices, forecasts, stages)
    steps.step()
    positions = positions_of(config, forecasts, known, stages)
    steps.step()
    return Outlook(dataset, forecasts, positions)


def require_outcome(up: Array, *, first: str) -> None:
    """Refuse forecasts of which none has an outcome yet, (forecasts,); `first` is the date of the first.

    Raises
    ------
    NotEnoughHistory : there is nothing to score.
    """
    if np.isnan(up).all():
        raise NotEnoughHistory(
            f"the first forecast is of {first}, and what came is not known yet for any; fetch a longer history or "
            "shorten walk_forward.train",
            key="walk_forward.train",
        )


def earn(
    config: RunConfig,
    prices: Prices,
    outlook: Outlook,
    stages: Stages = STAGES,
    *,
    progress: Progress = no_progress,
) -> Course:
    """Return what a config's decisions came to.

    Raises
    ------
    NotEnoughHistory : of no forecast is it known yet what came.
    """
    forecasts = outlook.forecasts
    require_outcome(forecasts.up, first=day(prices.sessions[forecasts.session[0]]))
    per_year = config.report.sessions_per_year
    steps = Tally("trading", 1, progress)
    result = stages.execute(outlook.positions, prices, config.execution, sessions_per_year=per_year)
    steps.step()
    return Course(prices, outlook.dataset, forecasts, outlook.positions, result)


def calculate(
    config: RunConfig,
    prices: Prices,
    stages: Stages = STAGES,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Course:
    """Return what a config makes of prices, stage by stage."""
    found = foresee(config, prices, stages, workers=workers, progress=progress)
    return earn(config, prices, found, stages, progress=progress)
