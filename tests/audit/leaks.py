"""Leaks of every kind that people make, each planted into one stage of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.policies import DecisionContext, decide_positions, make_decision_context
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import Dataset, Folds, Forecasts, Labels, Positions, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.labels import Label
from quantlr.model.batched.fit import FitResults, fit_folds
from quantlr.model.batched.training import TrainingData
from quantlr.model.calibration import Calibration, fit_platt_calibration
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec, fold_target_stats, make_folds, make_pooled_folds
from quantlr.model.standardize import Scaling, fold_scaling
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages, compute_label


@dataclass(frozen=True)
class Planted:
    """A leak: the stages that have it, which of them and which words an audit must name, and the config to show it."""

    stages: PipelineStages
    stage: str
    what: str
    sections: dict[str, Any] = field(default_factory=dict)


def _feature(compute: Callable[[Prices, pd.DataFrame], Any], **sections: Any) -> Planted:
    """Plant one more column, made of prices and the simple returns of their closes."""

    def features(prices: Prices, specs: Any) -> FeatureColumns:
        close = pd.DataFrame(prices.close)
        values = np.asarray(compute(prices, close / close.shift() - 1.0), dtype=np.float64)
        values = np.where(prices.session >= 0, values, np.nan)
        return {**compute_feature_columns(prices, specs), "planted": values}

    return Planted(PipelineStages(compute_features=features), "features", "planted", sections)


def _gaps(returns: pd.DataFrame) -> pd.DataFrame:
    """Keep the large moves only, as a feature that is reported now and then."""
    return returns.where(returns.abs() > 0.01)


def _every(prices: Prices, values: Array) -> Array:
    return np.broadcast_to(values, prices.close.shape)


def _days_to_next(prices: Prices) -> Array:
    days = np.diff(prices.sessions.to_numpy()) / np.timedelta64(1, "D")
    return _every(prices, np.append(days, 1.0)[:, None])


def _trend(returns: pd.DataFrame) -> Array:
    """Return what is left of the first ticker's returns when a line through all of them is taken away."""
    y = returns.fillna(0.0).to_numpy()
    t = np.arange(len(y))
    return y - np.stack([np.polyval(np.polyfit(t, column, 1), t) for column in y.T], axis=1)


FEATURES: dict[str, Planted] = {
    "tomorrow's return": _feature(lambda prices, returns: returns.shift(-1).fillna(0.0)),
    "centred mean": _feature(lambda prices, returns: returns.rolling(5, center=True, min_periods=1).mean()),
    "centred volatility": _feature(lambda prices, returns: returns.rolling(21, center=True, min_periods=2).std()),
    "scaled by the full sample": _feature(lambda prices, returns: (returns - returns.mean()) / returns.std()),
    "full-sample mean imputed": _feature(lambda prices, returns: _gaps(returns).fillna(_gaps(returns).mean())),
    "filled backward": _feature(lambda prices, returns: _gaps(returns).bfill().fillna(0.0)),
    "warm-up filled backward": _feature(lambda prices, returns: returns.rolling(20).mean().bfill()),
    "future volume": _feature(lambda prices, returns: pd.DataFrame(prices.volume).shift(-1).fillna(0.0)),
    "sorted by outcome": _feature(lambda prices, returns: returns.shift(-1).rank().fillna(0.0)),
    "calendar of the future": _feature(lambda prices, returns: _days_to_next(prices)),
    "rank over time": _feature(lambda prices, returns: returns.rank(pct=True)),
    "normalised by the last price": _feature(
        lambda prices, returns: prices.close / pd.DataFrame(prices.close).ffill().to_numpy()[-1]
    ),
    "adjusted by a future maximum": _feature(lambda prices, returns: prices.close / np.nanmax(prices.close, axis=0)),
    "full-sample quantile": _feature(lambda prices, returns: (returns > returns.quantile(0.9)).astype(float)),
    "detrended over the full sample": _feature(lambda prices, returns: _trend(returns)),
    "bars to come": _feature(lambda prices, returns: prices.n_bars - np.arange(len(returns))[:, None]),
    "level of an adjusted price": _feature(lambda prices, returns: prices.close),
    "tomorrow's open": _feature(
        lambda prices, returns: (pd.DataFrame(prices.open).shift(-1) / pd.DataFrame(prices.close)).fillna(1.0)
    ),
}


def _late_label(prices: Prices, label: Label) -> Labels:
    return compute_label(prices, label.model_copy(update={"horizon": label.horizon + 1}))


def _early_label(prices: Prices, label: Label) -> Labels:
    return compute_label(prices, label.model_copy(update={"horizon": label.horizon - 1}))


def _median_label(prices: Prices, label: Label) -> Labels:
    """Ask whether the return is above the median of all that there will ever be."""
    span = compute_label(prices, label).horizon_return
    return Labels(np.where(np.isnan(span), np.nan, span > np.nanmedian(span)), span)


def _unpurged(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    return make_folds(rows, spec, horizon=1)


def _unpurged_pool(dataset: Dataset, spec: WalkForwardSpec) -> list[Folds]:
    return make_pooled_folds(
        replace(
            dataset, label_known_at=np.where(dataset.label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, dataset.session)
        ),
        spec,
    )


def _longer(by: Callable[[Folds], Any]) -> Callable[..., Folds]:
    def folds(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
        found = make_folds(rows, spec, horizon=horizon)
        return replace(found, train_stop=np.minimum(found.train_stop + by(found), rows))

    return folds


def _no_embargo(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    found = make_folds(rows, spec, horizon=horizon)
    return replace(found, train_stop=found.train_stop + spec.embargo)


def _from_the_end(rows: int, spec: WalkForwardSpec, *, horizon: int) -> Folds:
    """Count the schedule of refits from the last row."""
    skipped = (rows - spec.train - horizon) % 7
    found = make_folds(rows - skipped, spec, horizon=horizon)
    return Folds(*(getattr(found, name) + skipped for name in ("train_start", "train_stop", "test_start", "test_stop")))


def _full_scaler(X: Array, folds: Sequence[Folds], *, trained: Any) -> Scaling:
    shape = fold_scaling(X, folds, has_label=trained).mean.shape
    return Scaling(np.broadcast_to(X.mean(axis=0), shape), np.broadcast_to(X.std(axis=0), shape))


def _scaler_sees_the_test(X: Array, folds: Sequence[Folds], *, trained: Any) -> Scaling:
    return fold_scaling(X, [replace(ticker, train_stop=ticker.test_stop) for ticker in folds], has_label=trained)


def fit_each(fit: Callable[..., FitResults]) -> Callable[..., list[FitResults]]:
    """Return a function that fits the refits of several models, one model after another."""

    def fit_refits(
        training_sets: Sequence[TrainingData], model: LogisticRegression, *, describe_refits: Any, **callbacks: Any
    ) -> list[FitResults]:
        return [
            fit(training, model, describe_refit=describe_refit, **callbacks)
            for training, describe_refit in zip(training_sets, describe_refits, strict=True)
        ]

    return fit_refits


@fit_each
def _early_stopping(training: TrainingData, model: LogisticRegression, **told: Any) -> FitResults:
    """Shrink each refit's weights by the factor that scores best on the rows that it is tested on."""
    fits = fit_folds(training, model, **told)
    coefficients = fits.coefficients.copy()
    (folds,) = training.folds
    for refit, fold in enumerate(folds):
        X, up = training.X[fold.test], np.nan_to_num(training.y[fold.test])
        shrunk = [np.r_[coefficients[refit, 0], part * coefficients[refit, 1:]] for part in (0.25, 0.5, 1.0, 2.0)]
        scores = [np.mean(np.abs(1 / (1 + np.exp(-(w[0] + X @ w[1:]))) - up)) for w in shrunk]
        coefficients[refit] = shrunk[int(np.argmin(scores))]
    return replace(fits, coefficients=coefficients)


@fit_each
def _full_class_weights(training: TrainingData, model: LogisticRegression, **told: Any) -> FitResults:
    ups = np.nanmean(training.y)
    weight = np.where(training.y > 0, 0.5 / ups, 0.5 / (1.0 - ups))
    return fit_folds(replace(training, sample_weight=weight), model, **told)


def fit_sees_more(by: int, *, rows: int | None = None) -> Callable[..., list[FitResults]]:
    """Learn from some rows more than the folds say: every refit, or the one that has so many rows to train on."""

    @fit_each
    def fit(training: TrainingData, model: LogisticRegression, **told: Any) -> FitResults:
        (folds,) = training.folds
        wrong = np.ones(len(folds), dtype=np.bool_) if rows is None else folds.train_stop - folds.train_start == rows
        longer = replace(folds, train_stop=np.minimum(folds.train_stop + by * wrong, len(training.X)))
        return fit_folds(replace(training, folds=(longer,)), model, **told)

    return fit


@fit_each
def _smoothed_ahead(training: TrainingData, model: LogisticRegression, **told: Any) -> FitResults:
    """Take the mean of each refit's weights and the next one's."""
    fits = fit_folds(training, model, **told)
    later = np.vstack([fits.coefficients[1:], fits.coefficients[-1:]])
    return replace(fits, coefficients=0.5 * (fits.coefficients + later))


def _full_base_rate(up: Array, span: Array, folds: Sequence[Folds]) -> Array:
    found = fold_target_stats(up, span, folds)
    found[0] = np.nanmean(up)
    return found


def _full_mean_gain(up: Array, span: Array, folds: Sequence[Folds]) -> Array:
    found = fold_target_stats(up, span, folds)
    found[1] = np.nanmean(span[up == 1])
    return found


def _platt_on_all(log_odds: Array, up: Array, folds: Sequence[Folds], model: LogisticRegression) -> Calibration:
    found = fit_platt_calibration(log_odds, up, folds, model)
    slope, intercept = np.polyfit(log_odds, np.nan_to_num(up), 1)
    return replace(found, platt_coefficients=np.tile([intercept, slope], (len(found.platt_coefficients), 1)))


def _centred_known(prices: Prices, forecasts: Forecasts, execution: Any, *, sessions_per_year: int) -> DecisionContext:
    close = pd.DataFrame(prices.close)
    centred = (close / close.shift() - 1.0).rolling(20, center=True, min_periods=2).std().to_numpy()
    found = make_decision_context(prices, forecasts, execution, sessions_per_year=sessions_per_year)
    return replace(found, volatility=prices.bars_to_sessions(centred)[forecasts.session, forecasts.ticker])


def _tomorrows_probability(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    weight = decide_positions(policy, forecasts, known).weight
    return replace(decide_positions(policy, forecasts, known), weight=np.vstack([weight[1:], weight[-1:]]))


def _full_threshold(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    median = float(np.median(forecasts.probability))
    return decide_positions(policy.model_copy(update={"long_above": median}), forecasts, known)


def _by_outcome(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    knows = np.where(np.isnan(forecasts.up), forecasts.probability, forecasts.up)
    return decide_positions(policy, replace(forecasts, probability=knows), known)


def _best_size(policy: Any, forecasts: Forecasts, known: DecisionContext) -> Positions:
    """Hold more, the more all decisions together have earned."""
    found = decide_positions(policy, forecasts, known)
    earned = np.nansum(found.weight[forecasts.session, forecasts.ticker] * forecasts.horizon_return)
    return replace(found, weight=found.weight * (0.5 if earned < 0 else 0.9))


def _same_bar(positions: Positions, prices: Prices, execution: Any, **told: Any) -> Any:
    return backtest_with_benchmark(positions, prices, execution.model_copy(update={"fill": "close"}), **told)


def _backdated(positions: Positions, prices: Prices, execution: Any, **told: Any) -> Any:
    """Book each decision as if it had been made the session before."""
    weight = np.vstack([positions.weight[1:], positions.weight[-1:]])
    return backtest_with_benchmark(replace(positions, weight=weight), prices, execution, **told)


def _leaves_losses_out(positions: Positions, prices: Prices, execution: Any, **told: Any) -> Any:
    """Book nothing on sessions that lost."""
    found = backtest_with_benchmark(positions, prices, execution, **told)
    won = found.ticker_gross_return >= 0
    return replace(found, weight=found.weight * won, gross_return=(found.ticker_gross_return * won).sum(axis=1))


H5 = {"label": {"horizon": 5}}
OTHERS: dict[str, Planted] = {
    "label known a session late": Planted(PipelineStages(compute_label=_late_label), "label", "span_return"),
    "label known a session early": Planted(PipelineStages(compute_label=_early_label), "label", "never open", H5),
    "label from the full sample's median": Planted(PipelineStages(compute_label=_median_label), "label", "up"),
    "unpurged labels": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=_unpurged)),
        "folds",
        "whose label is known on",
        H5,
    ),
    "unpurged pool": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_folds_for_all_tickers=_unpurged_pool)),
        "folds",
        "whose label is known on",
        {**H5, "model": {"scope": "pooled"}},
    ),
    "one training row too many": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=_longer(lambda folds: 1))),
        "folds",
        "trains on",
    ),
    "test rows in training": Planted(
        PipelineStages(
            walk_forward_steps=WalkForwardFunctions(
                make_ticker_folds=_longer(lambda folds: folds.test_stop - folds.train_stop)
            )
        ),
        "folds",
        "trains on",
    ),
    "embargo ignored": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=_no_embargo)),
        "folds",
        "embargo of 4",
        {"walk_forward": {"embargo": 4}},
    ),
    "schedule counted from the end": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=_from_the_end)), "folds", "folds"
    ),
    "full-sample scaler": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=_full_scaler)),
        "scale",
        "mean of lagged_returns_1",
    ),
    "scaler sees the test rows": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_scaling=_scaler_sees_the_test)),
        "scale",
        "deviation of",
    ),
    "early stopping on the test rows": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=_early_stopping)), "fit", "weights"
    ),
    "class weights of the full sample": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=_full_class_weights)), "fit", "weights"
    ),
    "weights smoothed over the next refit": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=_smoothed_ahead)), "fit", "weights"
    ),
    "fit on one row more": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1))), "fit", "weights"
    ),
    "fit on the one label that is not known yet": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(1))), "fit", "weights", H5
    ),
    "fit without a purge": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=fit_sees_more(4))), "fit", "weights", H5
    ),
    "base rate of the full sample": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_target_stats=_full_base_rate)),
        "knowledge",
        "base_rate",
    ),
    "mean gain of the full sample": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(compute_target_stats=_full_mean_gain)),
        "knowledge",
        "mean_gain",
    ),
    "calibration on all forecasts": Planted(
        PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_calibration=_platt_on_all)),
        "calibrate",
        "sigmoid",
        {"model": {"calibration": "platt"}},
    ),
    "volatility with a centred window": Planted(PipelineStages(decision_context=_centred_known), "known", "volatility"),
    "tomorrow's probability": Planted(PipelineStages(decide_positions=_tomorrows_probability), "decide", "weight"),
    "threshold of the full sample": Planted(PipelineStages(decide_positions=_full_threshold), "decide", "weight"),
    "decided by what came": Planted(PipelineStages(decide_positions=_by_outcome), "decide", "weight"),
    "sized by what all of it earned": Planted(PipelineStages(decide_positions=_best_size), "decide", "weight"),
    "same-bar fill": Planted(PipelineStages(execute=_same_bar), "execute", "other decisions"),
    "backdated fill": Planted(PipelineStages(execute=_backdated), "execute", "other decisions"),
    "losses left out": Planted(PipelineStages(execute=_leaves_losses_out), "execute", "weight"),
}
LEAKS = {**FEATURES, **OTHERS}
