"""Runs whose pages are easy or hard to draw, each quick to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from quantlr.config.run_config import load_config
from quantlr.core.values import Prices
from quantlr.experiment.evaluate import compute_metrics
from quantlr.pipeline.stages import run_stages
from quantlr.report.context import PageContext
from quantlr.report.pages import PAGES, Picture

from markets import random_walk_prices

CONFIG: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["T0"]},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}


USER_RCPARAMS: dict[Any, Any] = {
    "figure.facecolor": "black",
    "axes.facecolor": "black",
    "axes.prop_cycle": "cycler('color', ['red'])",
    "axes.grid": True,
    "font.size": 20,
    "lines.linewidth": 5,
    "savefig.bbox": "tight",
    "savefig.dpi": 40,
    "text.color": "red",
    "timezone": "Asia/Tokyo",
    "xtick.labelsize": 20,
}
"""Settings of matplotlib that a user may have."""


def random_walk_maker(**options: Any) -> Callable[[], Prices]:
    """Return a function that makes random-walk prices."""
    return lambda: random_walk_prices(1, **options)


def ruinous() -> Prices:
    """Return prices that triple in one session."""
    prices = random_walk_prices(1, n_sessions=400)
    later = np.where(np.arange(400)[:, None] >= 300, 3.0, 1.0)
    fields = ("open", "high", "low", "close", "raw_close")
    return replace(prices, **{name: getattr(prices, name) * later for name in fields})


def with_holes() -> Prices:
    """Return prices of one ticker without sessions from May to July 2011 and in February 2012."""
    prices = random_walk_prices(1, n_sessions=900)
    months = prices.sessions.to_period("M")
    keep = ~np.isin(months.astype(str), ["2011-05", "2011-06", "2011-07", "2012-02"])
    fields = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
    return replace(
        prices,
        sessions=prices.sessions[keep],
        session=np.arange(int(keep.sum()), dtype=np.int64)[:, None],
        **{name: getattr(prices, name)[keep] for name in fields},
    )


LONG_TICKER = "VERYLONGTICKERNAME-WITH-SUFFIX.XETRA"
PRODUCT_FEATURES: list[dict[str, Any]] = [
    {"kind": "product", "of": [{"kind": "momentum", "windows": [126]}, {"kind": "volatility", "windows": [20]}]},
    {"kind": "product", "of": [{"kind": "lagged_returns", "lags": [1]}, {"kind": "volatility", "windows": [21]}]},
    {"kind": "lagged_returns", "lags": list(range(1, 13))},
]


def very_long_names(n_tickers: int, n_sessions: int) -> Callable[[], Prices]:
    """Return a function that makes prices of tickers whose long names differ at the end."""

    def make_prices() -> Prices:
        prices = random_walk_prices(1, n_sessions=n_sessions, n_tickers=n_tickers)
        return replace(prices, tickers=tuple(f"{LONG_TICKER}{index:02d}" for index in range(n_tickers)))

    return make_prices


def falling() -> Prices:
    """Return prices that lose nearly everything."""
    prices = random_walk_prices(1, n_sessions=700)
    factor = np.exp(-0.01 * np.arange(700))[:, None]
    fields = ("open", "high", "low", "close", "raw_close")
    return replace(prices, **{name: getattr(prices, name) * factor for name in fields})


def weekly() -> Prices:
    """Return bars of a week each."""
    prices = random_walk_prices(1, n_sessions=500)
    return replace(prices, sessions=pd.date_range("2005-01-07", periods=500, freq="W-FRI").as_unit("us"))


SHORT = {"policy.long_above": 1.0, "policy.short_below": 1.0}
FITTED_ONCE = {"walk_forward.refit_every": "never"}
CASES: dict[str, tuple[Callable[[], Prices], dict[str, Any]]] = {
    "three years": (random_walk_maker(n_sessions=1000), {"policy.short_below": 0.5}),
    "one year": (random_walk_maker(n_sessions=505), {}),
    "four sessions": (random_walk_maker(n_sessions=258), {}),
    "no trades": (random_walk_maker(n_sessions=600), {"policy.long_above": 1.0}),
    "all long": (random_walk_maker(n_sessions=600), {"policy.long_above": 0.0}),
    "three tickers, five sessions ahead": (random_walk_maker(n_sessions=700, n_tickers=3), {"label.horizon": 5}),
    "missing months": (with_holes, {}),
    "ruin": (ruinous, SHORT),
    "500 tickers": (
        random_walk_maker(n_sessions=160, n_tickers=500),
        {"walk_forward.train": 100, "model.scope": "pooled", **FITTED_ONCE},
    ),
    "very long names, many features": (very_long_names(1, 500), {"features": PRODUCT_FEATURES}),
    "ten very long names": (very_long_names(10, 500), {"policy.short_below": 0.5}),
    "ten very long names, fitted once": (
        very_long_names(10, 500),
        {"model.scope": "pooled", "features": PRODUCT_FEATURES, **FITTED_ONCE},
    ),
    "60 very long names": (very_long_names(60, 300), FITTED_ONCE),
    "many features, many refits": (
        random_walk_maker(n_sessions=1000, n_tickers=2),
        {"features": PRODUCT_FEATURES, "label.horizon": 5, "walk_forward.refit_every": 10, "model.l2": 0.01},
    ),
    "losses": (falling, {"policy.long_above": 0.0}),
    "weekly": (weekly, {"features": PRODUCT_FEATURES, "label.horizon": 4}),
    "without coefficients": (
        random_walk_maker(n_sessions=500),
        {"model": {"kind": "sklearn", "estimator": "GaussianNB"}},
    ),
    "a choice": (
        random_walk_maker(n_sessions=700),
        {"select.over": {"features.0.lags": [[1], [1, 2], [1, 2, 3, 4, 5]], "model.l2": [0.0, 0.01, 0.1, 1.0]}},
    ),
    "high costs": (
        random_walk_maker(n_sessions=700),
        {"policy.short_below": 0.5, "execution.commission_bps": 50.0, "execution.spread": "corwin_schultz"},
    ),
}


@cache
def case_tear_sheet(case: str) -> Picture:
    """Return the tear sheet of a case."""
    return PAGES[0].render_picture(case_context(case))


@cache
def case_context(case: str) -> PageContext:
    """Return the page context of a case."""
    make_prices, overrides = CASES[case]
    prices = make_prices()
    config = load_config(CONFIG, overrides={"data.tickers": list(prices.tickers), **overrides}).run
    data = run_stages(config, prices)
    notes = (*data.dataset.notes, *data.forecasts.notes, *data.result.notes)
    return PageContext.from_run(config, data, compute_metrics(config, data), notes)
