"""The stages of a run, from prices to the backtest, each a function that can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from quantlr.backtest.engine import backtest_with_benchmark, drop_earlier_decisions
from quantlr.backtest.overlays import BetaNeutral, apply_overlays
from quantlr.backtest.policies import DecisionContext, decide_positions, make_decision_context
from quantlr.config.run_config import RunConfig
from quantlr.core.component_errors import name_component_in_errors, require_returned
from quantlr.core.errors import NotEnoughHistory
from quantlr.core.market_views import market_views
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import iso_date
from quantlr.core.values import (
    Array,
    BacktestResult,
    Dataset,
    FeatureColumns,
    Forecasts,
    Labels,
    Positions,
    Prices,
    RunData,
)
from quantlr.data.bars import require_equal_periods
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.labels import Label, labels_of_fills
from quantlr.data.markets import check_unknown_markets
from quantlr.data.prices import load_prices
from quantlr.model.candidates import WeighFunction
from quantlr.model.selection import weigh_candidates
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS, WalkForwardFunctions, walk_forward
from quantlr.pipeline.resources import require_resources
from quantlr.pipeline.scored_span import first_scored_session, mask_earlier_outcomes
from quantlr.pipeline.selection import (
    ColumnNames,
    SharedDataset,
    choose_function,
    compute_shared_columns,
    distinct_features,
    share_dataset,
    walk_forward_candidates,
)


def load_run_prices(config: RunConfig, *, offline: bool = False, progress: Progress = ignore_progress) -> Prices:
    """Return the prices of a run, those of its benchmark's ticker included; see `data.prices.load_prices`.

    Raises
    ------
    DataError : prices can't be used, or a part looks across tickers of different markets that are not known.
    """
    benchmark = config.report.benchmark_ticker
    prices = load_prices(
        config.data, benchmark=benchmark, file_columns=config.file_columns, offline=offline, progress=progress
    )
    parts = parts_across_tickers(config)
    require_equal_periods(prices, parts)
    notes = check_unknown_markets(prices, parts)
    return replace(prices, notes=(*prices.notes, *notes)) if notes else prices


def parts_across_tickers(config: RunConfig) -> list[str]:
    """Return the keys of the parts of a config whose result for a ticker depends on other tickers."""
    configs = [candidate.config for candidate in config.candidates()] or [config]
    keys = [
        f"features.{index}"
        for one in configs
        for index, feature in enumerate(one.features)
        if feature.reads_other_tickers
    ]
    keys = list(dict.fromkeys(keys))
    keys += ["label"] if config.label.reads_other_tickers else []
    keys += ["model.scope: pooled"] if any(one.model.scope == "pooled" for one in configs) else []
    # Candidates are weighted by the outcomes of all tickers together.
    keys += ["select"] if config.selection and len(config.data.tickers) > 1 else []
    keys += ["policy"] if config.policy.compares_tickers else []
    return keys + [f"overlays.{index}" for index, overlay in enumerate(config.overlays) if overlay.compares_tickers]


def compute_label(prices: Prices, label: Label) -> Labels:
    """Return the label of every bar, each ticker's by the closes that its market knows."""
    parts = [(_compute_label_of_view(view.prices, label), view.is_own) for view in market_views(prices)]
    labels = parts[0][0]
    for part, is_own in parts[1:]:
        up, horizon_return = (
            np.where(is_own, getattr(part, name), getattr(labels, name)) for name in ("up", "horizon_return")
        )
        labels = Labels(up, horizon_return)
    return labels


def _compute_label_of_view(prices: Prices, label: Label) -> Labels:
    with name_component_in_errors(label, key="label"):
        labels = label.compute_labels(prices)
    shape = prices.close.shape
    is_valid = isinstance(labels, Labels) and shape == np.shape(labels.up) == np.shape(labels.horizon_return)
    needed = f"Labels whose arrays have one value per bar and ticker, {shape}"
    require_returned(label, "compute_labels", is_valid, needed=needed, found=labels, key="label")
    return labels


@dataclass(frozen=True, slots=True)
class PipelineStages:
    """The functions of a run, in their order; the audit and tests replace one to see its effect.

    Attributes
    ----------
    compute_features : (prices, features) to columns.
    compute_label : (prices, label) to labels.
    walk_forward_steps : the functions of the walk-forward: folds, scaling and fit.
    weigh_candidates : (log_odds, rows, spec, refit_every, lag) to the weights of candidates, where a config has some.
    decision_context : (prices, forecasts, execution) to what policies may use besides the forecasts.
    decide_positions : (policy, forecasts, context) to positions.
    apply_overlays : (positions, overlays, forecasts, context) to positions.
    execute : (positions, prices, execution) to a backtest with its benchmark.
    """

    compute_features: Callable[..., Any] = compute_feature_columns
    compute_label: Callable[..., Labels] = compute_label
    walk_forward_steps: WalkForwardFunctions = DEFAULT_FUNCTIONS
    weigh_candidates: WeighFunction = weigh_candidates
    decision_context: Callable[..., DecisionContext] = make_decision_context
    decide_positions: Callable[..., Positions] = decide_positions
    apply_overlays: Callable[..., Positions] = apply_overlays
    execute: Callable[..., BacktestResult] = backtest_with_benchmark


DEFAULT_STAGES = PipelineStages()


def replaced_stage_names(stages: PipelineStages) -> dict[str, str]:
    """Return the module and name of each function that replaces a stage or a function of the walk-forward."""

    def functions_by_stage(used: PipelineStages) -> dict[str, Any]:
        return {
            field.name: getattr(part, field.name)
            for part in (used, used.walk_forward_steps)
            for field in fields(part)
            if field.name != "walk_forward_steps"
        }

    defaults, replaced = functions_by_stage(DEFAULT_STAGES), {}
    for stage, function in functions_by_stage(stages).items():
        if function is not defaults[stage]:
            named = function if hasattr(function, "__qualname__") else type(function)
            replaced[stage] = f"{named.__module__}.{named.__qualname__}"
    return replaced


def labels_from_config(config: RunConfig, prices: Prices, stages: PipelineStages = DEFAULT_STAGES) -> Labels:
    """Return a config's label of every bar, which starts at the bar's close or at the fill of its decision."""
    if config.label.of == "close":
        return stages.compute_label(prices, config.label)
    return labels_of_fills(
        lambda fill_prices: stages.compute_label(fill_prices, config.label),
        prices,
        at_open=config.execution.fill == "next_open",
        label_delay=config.label_delay,
    )


def dataset_from_config(
    config: RunConfig, prices: Prices, stages: PipelineStages = DEFAULT_STAGES, *, progress: Progress = ignore_progress
) -> Dataset:
    """Return the rows of a config's features and label; UserError if the run needs too much memory or time."""
    require_resources(config, prices)
    counter = ProgressCounter("features", 1, progress)
    columns, entry_names = feature_columns_from_config(config, prices, stages)
    counter.step()
    counter = ProgressCounter("rows", 2, progress)
    labels = labels_from_config(config, prices, stages)
    counter.step()
    horizon, label_delay = config.label.horizon, config.label_delay
    dataset = build_dataset(prices, columns, labels, horizon=horizon, label_delay=label_delay)
    counter.step()
    return share_dataset(dataset, entry_names) if entry_names else dataset


def feature_columns_from_config(
    config: RunConfig, prices: Prices, stages: PipelineStages = DEFAULT_STAGES
) -> tuple[FeatureColumns, ColumnNames]:
    """Return the columns of a config's features, or of those of all its candidates, with the names they give them."""
    candidates = config.candidates()
    if not candidates:
        return stages.compute_features(prices, config.features), ()
    return compute_shared_columns(prices, distinct_features(candidates), stages.compute_features)


def forecasts_from_config(
    config: RunConfig,
    prices: Prices,
    dataset: Dataset,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Forecasts:
    """Return the walk-forward forecasts of a config, `SelectedForecasts` if it chooses among candidates."""
    steps = stages.walk_forward_steps
    if not isinstance(dataset, SharedDataset):
        spec = walk_forward_spec(config, prices)
        return walk_forward(dataset, spec, config.model, steps, workers=workers, progress=progress)
    per_year, candidates = config.report.sessions_in_year(prices), config.candidates()
    forecasts = walk_forward_candidates(
        candidates, dataset, steps, sessions_per_year=per_year, workers=workers, progress=progress
    )
    choose = choose_function(config, dataset.entry_names, stages.weigh_candidates, sessions_per_year=per_year)
    return choose(dataset, forecasts)


def walk_forward_spec(config: RunConfig, prices: Prices) -> WalkForwardSpec:
    """Return the walk-forward of a config, with numbers of rows by the frequency of the bars where it has none."""
    return config.walk_forward.resolve(config.report.sessions_in_year(prices))


def decision_context(
    config: RunConfig, prices: Prices, forecasts: Forecasts, stages: PipelineStages = DEFAULT_STAGES
) -> DecisionContext:
    """Return what a config's policy and overlays may use besides the forecasts."""
    per_year = config.report.sessions_in_year(prices)
    context = stages.decision_context(prices, forecasts, config.execution, sessions_per_year=per_year)
    for overlay in config.overlays:  # one at most
        if isinstance(overlay, BetaNeutral):
            betas = overlay.market_betas(prices)[forecasts.session, forecasts.ticker]
            context = replace(context, market_beta=betas)
    return context


def positions_from_forecasts(
    config: RunConfig, forecasts: Forecasts, context: DecisionContext, stages: PipelineStages = DEFAULT_STAGES
) -> Positions:
    """Return the weights of a config's policy, after its overlays."""
    positions = stages.decide_positions(config.policy, forecasts, context)
    return stages.apply_overlays(positions, config.overlays, forecasts, context)


@dataclass(frozen=True, slots=True)
class Decisions:
    """The values of a run up to its positions, before the backtest."""

    dataset: Dataset
    forecasts: Forecasts
    positions: Positions


def forecast_and_decide(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Decisions:
    """Return dataset, forecasts and positions of a config, those of the newest close included."""
    dataset = dataset_from_config(config, prices, stages, progress=progress)
    forecasts = forecasts_from_config(config, prices, dataset, stages, workers=workers, progress=progress)
    return decide(config, prices, dataset, forecasts, stages, progress=progress)


def decide(
    config: RunConfig,
    prices: Prices,
    dataset: Dataset,
    forecasts: Forecasts,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    progress: Progress = ignore_progress,
) -> Decisions:
    """Return the positions of a config's policy and overlays, with the forecasts that they are decided by."""
    counter = ProgressCounter("deciding", 2, progress)
    context = decision_context(config, prices, forecasts, stages)
    counter.step()
    positions = positions_from_forecasts(config, forecasts, context, stages)
    counter.step()
    return Decisions(dataset, forecasts, positions)


def require_known_outcome(up: Array, *, first_date: str) -> None:
    """Refuse forecasts without any known outcome.

    Parameters
    ----------
    up : (forecasts,) outcomes, NaN where not known.
    first_date : of the first forecast.

    Raises
    ------
    NotEnoughHistory : all outcomes are unknown, and nothing can be scored.
    """
    if np.isnan(up).all():
        raise NotEnoughHistory(
            f"the first forecast is of {first_date}, and no forecast has a known outcome yet; fetch a longer history "
            "or shorten walk_forward.train",
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
    """Return the values of a run with the backtest of its positions.

    With `report.score_from`, the outcomes of earlier forecasts are NaN, and earlier decisions are left out; both are
    dropped only here, when all are made, so that no forecast or decision depends on the date.

    Raises
    ------
    NotEnoughHistory : no forecast has a known outcome yet.
    DataError : `report.score_from` is outside the sessions that can be scored.
    """
    forecasts, positions = decisions.forecasts, decisions.positions
    require_known_outcome(forecasts.up, first_date=iso_date(prices.sessions[forecasts.session[0]]))
    if config.report.score_from is not None:
        first = first_scored_session(
            config.report.score_from,
            prices.sessions,
            session=forecasts.session,
            up=forecasts.up,
            fill_delay=config.execution.fill_delay_sessions,
        )
        forecasts, positions = mask_earlier_outcomes(forecasts, first), drop_earlier_decisions(positions, first)
    per_year = config.report.sessions_in_year(prices)
    counter = ProgressCounter("trading", 1, progress)
    benchmark = config.report.benchmark
    result = stages.execute(positions, prices, config.execution, sessions_per_year=per_year, benchmark=benchmark)
    counter.step()
    replaced = replaced_stage_names(stages)
    return RunData(prices, decisions.dataset, forecasts, positions, result, replaced)


def run_stages(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> RunData:
    """Return the values of a run, stage by stage, from prices to the backtest."""
    decisions = forecast_and_decide(config, prices, stages, workers=workers, progress=progress)
    return run_backtest(config, prices, decisions, stages, progress=progress)
