"""Runs whose pages are easy or hard to draw, each quick to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
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


def long_names() -> Prices:
    prices = random_walk_prices(1, n_sessions=600, n_tickers=12, with_gaps=True)
    return replace(prices, tickers=tuple(f"LONGNAME{index:02d}" for index in range(12)))


SHORT = {"policy.long_above": 1.0, "policy.short_below": 1.0}
FITTED_ONCE = {"walk_forward.refit_every": "never"}
CASES: dict[str, tuple[Callable[[], Prices], dict[str, Any]]] = {
    "three years": (random_walk_maker(n_sessions=1000), {"policy.short_below": 0.5}),
    "one year": (random_walk_maker(n_sessions=505), {}),
    "four sessions": (random_walk_maker(n_sessions=258), {}),
    "no trades": (random_walk_maker(n_sessions=600), {"policy.long_above": 1.0}),
    "all long": (random_walk_maker(n_sessions=600), {"policy.long_above": 0.0}),
    "three tickers, five sessions ahead": (random_walk_maker(n_sessions=700, n_tickers=3), {"label.horizon": 5}),
    "ten-letter names": (long_names, {"policy.short_below": 0.5}),
    "missing months": (with_holes, {}),
    "ruin": (ruinous, SHORT),
    "500 tickers": (
        random_walk_maker(n_sessions=160, n_tickers=500),
        {"walk_forward.train": 100, "model.scope": "pooled", **FITTED_ONCE},
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
