"""Common kinds of look-ahead bias, each planted into one stage of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.policies import DecisionContext, decide_positions, make_decision_context
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import Array, Dataset, FeatureColumns, Folds, Forecasts, Labels, Positions, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.labels import Label
from quantlr.model.base import FittedModel
from quantlr.model.batched.fit import fit_folds
from quantlr.model.calibration import fit_platt_calibration_by_refit
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, fold_target_stats, make_folds, make_pooled_folds
from quantlr.model.standardize import Scaling, fold_scaling
from quantlr.model.training import TrainingData
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages, compute_label


@dataclass(frozen=True)
class PlantedLeak:
    """Stages with a leak, the stage and text that an audit must report, and sections of the config that show it."""

    stages: PipelineStages
    stage: str
    what: str
    sections: dict[str, Any] = field(default_factory=dict)


def feature_leak(compute: Callable[[Prices, pd.DataFrame], Any], **sections: Any) -> PlantedLeak:
    """Return the leak of one additional feature, computed from prices and simple returns of the close."""

    def compute_features(prices: Prices, specs: Any) -> FeatureColumns:
        close = pd.DataFrame(prices.close)
        values = np.asarray(compute(prices, close / close.shift() - 1.0), dtype=np.float64)
        values = np.where(prices.session >= 0, values, np.nan)
        return {**compute_feature_columns(prices, specs), "planted": values}

    return PlantedLeak(PipelineStages(compute_features=compute_features), "features", "planted", sections)


def large_moves(returns: pd.DataFrame) -> pd.DataFrame:
    """Return the large returns only, as a feature that is not published every session."""
    return returns.where(returns.abs() > 0.01)


def for_every_ticker(prices: Prices, values: Array) -> Array:
    return np.broadcast_to(values, prices.close.shape)


def days_to_next_session(prices: Prices) -> Array:
    days = np.diff(prices.sessions.to_numpy()) / np.timedelta64(1, "D")
    return for_every_ticker(prices, np.append(days, 1.0)[:, None])


def detrended(returns: pd.DataFrame) -> Array:
    """Return the residuals of each ticker's returns from a linear trend over the full sample."""
    y = returns.fillna(0.0).to_numpy()
    t = np.arange(len(y))
    return y - np.stack([np.polyval(np.polyfit(t, column, 1), t) for column in y.T], axis=1)


FEATURES: dict[str, PlantedLeak] = {
    "tomorrow's return": feature_leak(lambda prices, returns: returns.shift(-1).fillna(0.0)),
    "centred mean": feature_leak(lambda prices, returns: returns.rolling(5, center=True, min_periods=1).mean()),
    "centred volatility": feature_leak(lambda prices, returns: returns.rolling(21, center=True, min_periods=2).std()),
    "scaled by the full sample": feature_leak(lambda prices, returns: (returns - returns.mean()) / returns.std()),
    "full-sample mean imputed": feature_leak(
        lambda prices, returns: large_moves(returns).fillna(large_moves(returns).mean())
    ),
    "filled backward": feature_leak(lambda prices, returns: large_moves(returns).bfill().fillna(0.0)),
    "warm-up filled backward": feature_leak(lambda prices, returns: returns.rolling(20).mean().bfill()),
    "future volume": feature_leak(lambda prices, returns: pd.DataFrame(prices.volume).shift(-1).fillna(0.0)),
    "sorted by outcome": feature_leak(lambda prices, returns: returns.shift(-1).rank().fillna(0.0)),
    "calendar of the future": feature_leak(lambda prices, returns: days_to_next_session(prices)),
    "rank over time": feature_leak(lambda prices, returns: returns.rank(pct=True)),
    "normalised by the last price": feature_leak(
        lambda prices, returns: prices.close / pd.DataFrame(prices.close).ffill().to_numpy()[-1]
    ),
    "adjusted by a future maximum": feature_leak(
        lambda prices, returns: prices.close / np.nanmax(prices.close, axis=0)
    ),
    "full-sample quantile": feature_leak(lambda prices, returns: (returns > returns.quantile(0.9)).astype(float)),
    "detrended over the full sample": feature_leak(lambda prices, returns: detrended(returns)),
    "number of later bars": feature_leak(lambda prices, returns: prices.n_bars - np.arange(len(returns))[:, None]),
    "level of a split-adjusted volume": feature_leak(lambda prices, returns: prices.volume),
    "product of volume and price": feature_leak(lambda prices, returns: prices.volume * prices.close**2),
    "last bar of all": feature_leak(
        lambda prices, returns: np.broadcast_to(returns.iloc[-1].to_numpy(), returns.shape)
    ),
    "return a month ahead": feature_leak(lambda prices, returns: returns.shift(-21).fillna(0.0)),
    "level of an adjusted price": feature_leak(lambda prices, returns: prices.close),
    "tomorrow's open": feature_leak(
        lambda prices, returns: (pd.DataFrame(prices.open).shift(-1) / pd.DataFrame(prices.close)).fillna(1.0)
    ),
}


DISTANT_FEATURE = feature_leak(lambda prices, returns: returns.shift(-500).fillna(returns).fillna(0.0))
"""The return of 500 sessions ahead or, where there is none, the session's own."""


def late_label(prices: Prices, label: Label) -> Labels:
    return compute_label(prices, label.model_copy(update={"horizon": label.horizon + 1}))


def early_label(prices: Prices, label: Label) -> Labels:
    return compute_label(prices, label.model_copy(update={"horizon": label.horizon - 1}))


def median_label(prices: Prices, label: Label) -> Labels:
    """Label a return by whether it is above the median of the full sample."""
    horizon_return = compute_label(prices, label).horizon_return
    return Labels(
        np.where(np.isnan(horizon_return), np.nan, horizon_return > np.nanmedian(horizon_return)), horizon_return
    )


def unpurged_folds(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    return make_folds(rows, spec, horizon=1)


def unpurged_pooled_folds(dataset: Dataset, spec: WalkForwardSpec) -> list[Folds]:
    return make_pooled_folds(
        replace(
            dataset,
            label_known_to_all_at=np.where(dataset.label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, dataset.session),
        ),
        spec,
    )


def folds_with_longer_training(by: Callable[[Folds], Any]) -> Callable[..., Folds]:
    def folds(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
        result = make_folds(rows, spec, horizon=horizon)
        return replace(result, train_stop=np.minimum(result.train_stop + by(result), rows))

    return folds


def folds_without_embargo(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    result = make_folds(rows, spec, horizon=horizon)
    return replace(result, train_stop=result.train_stop + spec.embargo)


def folds_counted_from_the_end(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    """Return folds whose refits are scheduled from the last row backwards."""
    skipped = (rows - spec.fold_sizes()[0] - horizon) % 7
    result = make_folds(rows - skipped, spec, horizon=horizon)
    return Folds(
        *(getattr(result, name) + skipped for name in ("train_start", "train_stop", "test_start", "test_stop"))
    )


def full_sample_scaling(X: Array, folds: Sequence[Folds], *, has_label: Any) -> Scaling:
    shape = fold_scaling(X, folds, has_label=has_label).mean.shape
    return Scaling(np.broadcast_to(X.mean(axis=0), shape), np.broadcast_to(X.std(axis=0), shape))


def scaling_with_test_rows(X: Array, folds: Sequence[Folds], *, has_label: Any) -> Scaling:
    return fold_scaling(X, [replace(ticker, train_stop=ticker.test_stop) for ticker in folds], has_label=has_label)


def fit_each(fit: Callable[..., FittedModel]) -> Callable[..., list[FittedModel]]:
    """Return a function that fits the refits of several models, one model after another."""

    def fit_models(training_sets: Sequence[TrainingData], model: LogisticRegression, **_: Any) -> list[FittedModel]:
        return [fit(training, model) for training in training_sets]

    return fit_models


@fit_each
def shrinkage_chosen_on_test_rows(training: TrainingData, model: LogisticRegression) -> FittedModel:
    """Shrink each refit's weights by the factor with the smallest error on its test rows."""
    fits = fit_folds(training, model)
    coefficients = fits.coefficients.copy()
    (folds,) = training.folds
    for refit, fold in enumerate(folds):
        X, up = training.X[fold.test], np.nan_to_num(training.y[fold.test])
        shrunk = [np.r_[coefficients[refit, 0], part * coefficients[refit, 1:]] for part in (0.25, 0.5, 1.0, 2.0)]
        scores = [np.mean(np.abs(1 / (1 + np.exp(-(w[0] + X @ w[1:]))) - up)) for w in shrunk]
        coefficients[refit] = shrunk[int(np.argmin(scores))]
    return replace(fits, coefficients=coefficients)


@fit_each
def full_sample_class_weights(training: TrainingData, model: LogisticRegression) -> FittedModel:
    ups = np.nanmean(training.y)
    weight = np.where(training.y > 0, 0.5 / ups, 0.5 / (1.0 - ups))
    return fit_folds(replace(training, sample_weight=weight), model)


def fit_sees_more(by: int, *, rows: int | None = None) -> Callable[..., list[FittedModel]]:
    """Return a fit on `by` more rows than the folds have: of every refit, or of the one with `rows` training rows."""

    @fit_each
    def fit(training: TrainingData, model: LogisticRegression) -> FittedModel:
        (folds,) = training.folds
        wrong = np.ones(len(folds), dtype=np.bool_) if rows is None else folds.train_stop - folds.train_start == rows
        longer = replace(folds, train_stop=np.minimum(folds.train_stop + by * wrong, len(training.X)))
        return fit_folds(replace(training, folds=(longer,)), model)

    return fit


@fit_each
def weights_averaged_with_next_refit(training: TrainingData, model: LogisticRegression) -> FittedModel:
    """Average each refit's weights with the next one's."""
    fits = fit_folds(training, model)
    later = np.vstack([fits.coefficients[1:], fits.coefficients[-1:]])
    return replace(fits, coefficients=0.5 * (fits.coefficients + later))


def full_sample_base_rate(up: Array, horizon_return: Array, folds: Sequence[Folds]) -> Array:
    result = fold_target_stats(up, horizon_return, folds)
    result[0] = np.nanmean(up)
    return result


def full_sample_mean_gain(up: Array, horizon_return: Array, folds: Sequence[Folds]) -> Array:
    result = fold_target_stats(up, horizon_return, folds)
    result[1] = np.nanmean(horizon_return[up == 1])
    return result


def calibration_on_all_forecasts(
    log_odds: Array, up: Array, folds: Sequence[Folds], model: LogisticRegression
) -> FittedModel:
    result = fit_platt_calibration_by_refit(log_odds, up, folds, model)
    slope, intercept = np.polyfit(log_odds, np.nan_to_num(up), 1)
    return replace(result, coefficients=np.tile([intercept, slope], (len(result.coefficients), 1)))


def context_with_centred_volatility(
    prices: Prices, forecasts: Forecasts, execution: Any, *, sessions_per_year: int
) -> DecisionContext:
    close = pd.DataFrame(prices.close)
    centred = (close / close.shift() - 1.0).rolling(20, center=True, min_periods=2).std().to_numpy()
    result = make_decision_context(prices, forecasts, execution, sessions_per_year=sessions_per_year)
    return replace(result, volatility=prices.bars_to_sessions(centred)[forecasts.session, forecasts.ticker])


def positions_of_next_session(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    weight = decide_positions(policy, forecasts, known).weight
    return replace(decide_positions(policy, forecasts, known), weight=np.vstack([weight[1:], weight[-1:]]))


def full_sample_threshold(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    median = float(np.median(forecasts.probability))
    return decide_positions(policy.model_copy(update={"long_above": median}), forecasts, known)


def positions_by_outcome(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    probability = np.where(np.isnan(forecasts.up), forecasts.probability, forecasts.up)
    return decide_positions(policy, replace(forecasts, probability=probability), known)


def size_by_total_return(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    """Scale positions by whether all of them together had a gain."""
    result = decide_positions(policy, forecasts, known)
    earned = np.nansum(result.weight[forecasts.session, forecasts.ticker] * forecasts.horizon_return)
    return replace(result, weight=result.weight * (0.5 if earned < 0 else 0.9))


def same_bar_fill(positions: Positions, prices: Prices, execution: Any, **options: Any) -> Any:
    return backtest_with_benchmark(positions, prices, execution.model_copy(update={"fill": "close"}), **options)


def backdated_fill(positions: Positions, prices: Prices, execution: Any, **options: Any) -> Any:
    """Fill each decision one session before it is made."""
    weight = np.vstack([positions.weight[1:], positions.weight[-1:]])
    return backtest_with_benchmark(replace(positions, weight=weight), prices, execution, **options)


def losses_removed(positions: Positions, prices: Prices, execution: Any, **options: Any) -> Any:
    """Remove the positions of sessions with a loss."""
    result = backtest_with_benchmark(positions, prices, execution, **options)
    won = result.ticker_gross_return >= 0
    return replace(result, weight=result.weight * won, gross_return=(result.ticker_gross_return * won).sum(axis=1))


def benchmark_with_hindsight(positions: Positions, prices: Prices, execution: Any, **options: Any) -> Any:
    """Size the benchmark by its own final equity."""
    result = backtest_with_benchmark(positions, prices, execution, **options)
    benchmark = result.benchmark
    assert benchmark is not None
    return replace(result, benchmark=replace(benchmark, weight=benchmark.weight * benchmark.equity[-1]))


H5 = {"label": {"horizon": 5}}
OTHERS: dict[str, PlantedLeak] = {
    "label one session too late": PlantedLeak(PipelineStages(compute_label=late_label), "label", "horizon_return"),
    "label one session too early": PlantedLeak(PipelineStages(compute_label=early_label), "label", "never pending", H5),
    "label from the full sample's median": PlantedLeak(PipelineStages(compute_label=median_label), "label", "up"),
    "unpurged labels": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=unpurged_folds)),
        "folds",
        "whose label is known on",
        H5,
    ),
    "unpurged pool": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_folds_for_all_tickers=unpurged_pooled_folds)),
        "folds",
        "whose label is known on",
        {**H5, "model": {"scope": "pooled"}},
    ),
    "one training row too many": PlantedLeak(
        PipelineStages(
            walk_forward_steps=WalkForwardFunctions(make_ticker_folds=folds_with_longer_training(lambda folds: 1))
        ),
        "folds",
        "trains on",
    ),
    "test rows in training": PlantedLeak(
        PipelineStages(
            walk_forward_steps=WalkForwardFunctions(
                make_ticker_folds=folds_with_longer_training(lambda folds: folds.test_stop - folds.train_stop)
            )
        ),
        "folds",
        "trains on",
    ),
    "embargo ignored": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=folds_without_embargo)),
        "folds",
        "embargo of 4",
        {"walk_forward": {"embargo": 4}},
    ),
    "schedule counted from the end": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=folds_counted_from_the_end)),
        "folds",
        "folds",
    ),
    "full-sample scaler": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=full_sample_scaling)),
        "scale",
        "mean of lagged_returns_1",
    ),
    "scaler sees the test rows": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=scaling_with_test_rows)),
        "scale",
        "std of",
    ),
    "early stopping on the test rows": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=shrinkage_chosen_on_test_rows)),
        "fit",
        "weights",
    ),
    "class weights of the full sample": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=full_sample_class_weights)), "fit", "weights"
    ),
    "weights smoothed over the next refit": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=weights_averaged_with_next_refit)),
        "fit",
        "weights",
    ),
    "fit on one row more": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1))), "fit", "weights"
    ),
    "fit on one label that is not known yet": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1))), "fit", "weights", H5
    ),
    "fit without a purge": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(4))), "fit", "weights", H5
    ),
    "base rate of the full sample": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_target_stats=full_sample_base_rate)),
        "target_stats",
        "base_rate",
    ),
    "mean gain of the full sample": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_target_stats=full_sample_mean_gain)),
        "target_stats",
        "mean_gain",
    ),
    "calibration on all forecasts": PlantedLeak(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_calibration=calibration_on_all_forecasts)),
        "calibrate",
        "sigmoid",
        {"model": {"calibration": "platt"}},
    ),
    "volatility with a centred window": PlantedLeak(
        PipelineStages(decision_context=context_with_centred_volatility), "decision_context", "volatility"
    ),
    "tomorrow's probability": PlantedLeak(
        PipelineStages(decide_positions=positions_of_next_session), "decide", "weight"
    ),
    "threshold of the full sample": PlantedLeak(
        PipelineStages(decide_positions=full_sample_threshold), "decide", "weight"
    ),
    "decided by the outcome": PlantedLeak(PipelineStages(decide_positions=positions_by_outcome), "decide", "weight"),
    "sized by the total return": PlantedLeak(PipelineStages(decide_positions=size_by_total_return), "decide", "weight"),
    "same-bar fill": PlantedLeak(PipelineStages(execute=same_bar_fill), "execute", "other decisions"),
    "backdated fill": PlantedLeak(PipelineStages(execute=backdated_fill), "execute", "other decisions"),
    "benchmark with hindsight": PlantedLeak(
        PipelineStages(execute=benchmark_with_hindsight), "execute", "benchmark weight"
    ),
    "losses left out": PlantedLeak(PipelineStages(execute=losses_removed), "execute", "weight"),
}
LEAKS = {**FEATURES, **OTHERS}
