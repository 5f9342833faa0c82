"""Synthetic prices and forecasts that tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from quantlr.core.values import Array, BoolArray, Forecasts, IntArray, Prices, Refits
from quantlr.data.scenarios import FEATURE_SCENARIOS, apply_scenario
from quantlr.testing.contract import random_walk_bars, random_walk_prices

__all__ = ["FEATURE_SCENARIOS", "apply_scenario", "random_walk_bars", "random_walk_prices"]


def with_unadjusted_quotes(prices: Prices, seed: int) -> Prices:
    """Return the same adjusted prices with other unadjusted closes, as after splits and dividends."""
    rng = np.random.default_rng(seed)
    adjustment = rng.uniform(0.2, 1.0, prices.close.shape)
    return replace(prices, adjustment=adjustment, raw_close=prices.close / adjustment)


def forecasts(
    probability: list[float] | Array,
    *,
    ticker: list[int] | IntArray,
    session: list[int] | IntArray,
    horizon: int = 1,
    gain: float = 0.01,
    loss: float = -0.01,
) -> Forecasts:
    """Return forecasts with these probabilities and the same training statistics in every row."""
    n = len(probability)
    zeros: Array = np.zeros(n)
    none: IntArray = np.zeros(0, dtype=np.int64)
    no: BoolArray = np.zeros(0, dtype=np.bool_)
    refits = Refits(
        (),
        none,
        none,
        np.zeros((0, 1)),
        none,
        np.zeros(0),
        no,
        no,
        np.zeros((0, 2)),
        np.zeros(0),
        np.zeros(0),
        np.zeros(0),
    )
    return Forecasts(
        tickers=tuple(f"T{index}" for index in range(int(max(ticker)) + 1)),
        sessions=pd.date_range("2010-01-04", periods=int(max(session)) + 30).as_unit("us"),
        ticker=np.array(ticker, dtype=np.int64),
        session=np.array(session, dtype=np.int64),
        log_odds=zeros,
        probability=np.array(probability, dtype=np.float64),
        up=zeros,
        horizon_return=zeros,
        base_rate=zeros + 0.5,
        mean_gain=zeros + gain,
        mean_loss=zeros + loss,
        std=zeros + 0.01,
        training_up_rate=zeros + 0.5,
        training_probability_mean=zeros + 0.5,
        training_probability_std=zeros + 0.02,
        fold=np.zeros(n, dtype=np.int64),
        horizon=horizon,
        refits=refits,
        folds=(),
    )


def random_forecasts(seed: int, *, sessions: int = 40, tickers: int = 3, horizon: int = 1) -> Forecasts:
    """Return random forecasts of tickers that start late and skip sessions, with random training statistics."""
    rng = np.random.default_rng(seed)
    has_forecast = rng.random((tickers, sessions)) < 0.8
    has_forecast[:, : int(rng.integers(1, 6))] = False
    has_forecast[0, sessions // 2] = True
    ticker, session = np.nonzero(has_forecast)
    n = len(ticker)
    result = forecasts(
        0.5 + rng.normal(0, 0.05, n).round(2).clip(-0.5, 0.5), ticker=ticker, session=session, horizon=horizon
    )
    return replace(
        result,
        base_rate=rng.uniform(0.45, 0.6, n),
        mean_gain=rng.uniform(0.005, 0.015, n),
        mean_loss=-rng.uniform(0.005, 0.015, n),
        std=rng.uniform(0.005, 0.02, n),
    )


def mirrored(original: Forecasts) -> Forecasts:
    """Return the forecasts if every return had the other sign."""
    return replace(
        original,
        probability=1.0 - original.probability,
        base_rate=1.0 - original.base_rate,
        mean_gain=-original.mean_loss,
        mean_loss=-original.mean_gain,
    )


def from_log_returns(returns: Array) -> Prices:
    """Return prices that start at 100 and have these log returns, (sessions - 1, tickers); opens equal closes."""
    sessions, tickers = returns.shape[0] + 1, returns.shape[1]
    close = 100.0 * np.exp(np.concatenate([np.zeros((1, tickers)), np.cumsum(returns, axis=0)]))
    ones = np.ones_like(close)
    return Prices(
        tickers=tuple(f"T{index}" for index in range(tickers)),
        sessions=pd.date_range("1900-01-01", periods=sessions, unit="us"),
        session=np.repeat(np.arange(sessions)[:, None], tickers, axis=1),
        open=close,
        high=close,
        low=close,
        close=close,
        volume=ones,
        raw_close=close,
        adjustment=ones,
    )
