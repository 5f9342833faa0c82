"""Simulated markets for the size and power of the verdict against the benchmark, and the strategies run on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from quantlr.core.values import Array, Prices

from benchmarks.skill_markets import (
    DAILY_STD,
    EXPANDING,
    LAST_RETURN,
    WEEKDAY,
    autoregression,
    bounce_market,
    garch_volatility,
    shifting_market,
    with_stale_opens,
)
from markets import from_log_returns

DRIFT = 0.0005
"""Mean log return per session: 12 % a year, with a volatility of 16 %."""
TWO_RETURNS = [{"kind": "lagged_returns", "lags": [1, 2]}]
ALWAYS_LONG = {"kind": "threshold", "long_above": 0.3}
LONG_SHORT = {"kind": "threshold", "long_above": 0.5, "short_below": 0.5}


def untradable_market(
    rng: np.random.Generator, *, sessions: int, tickers: int = 1, volatility_std: float = 0.0, asymmetry: float = 0.0
) -> Prices:
    """Return prices whose next session can be forecast, and whose session after that, the one held, cannot.

    Returns are a moving average of two shocks about a constant drift, times a volatility. The logarithm of the
    volatility is an AR(1) with coefficient .98 and the standard deviation `volatility_std`; or the variance reacts to
    negative shocks by `asymmetry`. The correlation of tickers is 0.4.
    """
    shocks = rng.normal(size=(sessions + 1, tickers))
    if tickers > 1:
        shocks = np.sqrt(0.4) * rng.normal(size=(sessions + 1, 1)) + np.sqrt(0.6) * shocks
    returns = (shocks[1:] + 0.15 * shocks[:-1]) / np.sqrt(1 + 0.15**2)
    if asymmetry:
        volatility = garch_volatility(shocks, reaction=0.01, asymmetry=asymmetry)[1:]
    else:
        volatility = np.exp(volatility_std * autoregression(rng, sessions, phi=0.98) - volatility_std**2)[:, None]
    return from_log_returns(DRIFT + DAILY_STD * volatility * returns)


def stale_index_market(rng: np.random.Generator, *, sessions: int) -> Prices:
    """Return prices whose next session can be forecast, and whose opens are stale: the close before, about."""
    return with_stale_opens(rng, untradable_market(rng, sessions=sessions), night_std=5e-4)


def tradable_market(rng: np.random.Generator, *, sessions: int, coefficient: float = 0.12) -> Prices:
    """Return prices whose returns are an AR(2) about the drift: the session held can be forecast, too."""
    values: Array = rng.normal(size=sessions)
    for index in range(2, sessions):
        values[index] += coefficient * (values[index - 1] + values[index - 2])
    return from_log_returns((DRIFT + DAILY_STD * values)[:, None])


def held_session_market(rng: np.random.Generator, *, sessions: int, coefficient: float = 0.1) -> Prices:
    """Return prices whose session after the next can be forecast, which a fill at the next close holds."""
    values: Array = rng.normal(size=sessions)
    for index in range(2, sessions):
        values[index] += coefficient * values[index - 2]
    return from_log_returns((0.0003 + DAILY_STD * values)[:, None])


@dataclass(frozen=True, slots=True)
class EdgeCell:
    """A market and a strategy, and how often the verdict must be "evidence of an edge".

    Attributes
    ----------
    label : description.
    market : returns the prices from a generator.
    sections : of the config.
    tickers : number of tickers.
    min_rate, max_rate : bounds of the true rate.
    max_significant_rate : upper bound of the true rate at which alpha and timing are both significant.

    Notes
    -----
    In most cells the next session can be forecast, so that the rule of skill stops nothing: leverage and volatility
    targets then must be stopped by alpha and timing. Where a strategy is as often short as long, and pays no costs, it
    has no beta, and both are one test.
    """

    label: str
    market: Callable[[np.random.Generator], Prices]
    sections: dict[str, Any] = field(default_factory=dict)
    tickers: int = 1
    min_rate: float = 0.0
    max_rate: float = 0.01
    max_significant_rate: float = 0.05


def _targeting(target: float, max_leverage: float) -> list[dict[str, Any]]:
    return [{"kind": "volatility_target", "target": target, "max_leverage": max_leverage}]


UNTRADABLE = partial(untradable_market, sessions=5000)
LEARNING_LAST_RETURN = {"walk_forward": EXPANDING, "features": LAST_RETURN}
FREE = {"commission_bps": 0, "slippage_bps": 0}
"""Execution without costs, which would hide what a gate lets pass."""

EDGE_CELLS = {
    "edge, leverage": EdgeCell(
        "long at twice the equity",
        UNTRADABLE,
        LEARNING_LAST_RETURN | {"policy": ALWAYS_LONG, "overlays": _targeting(0.32, 2.0)},
    ),
    "edge, leverage of a part-time rule": EdgeCell(
        "long above .5 at three times the equity",
        UNTRADABLE,
        LEARNING_LAST_RETURN | {"policy": ALWAYS_LONG | {"long_above": 0.5}, "overlays": _targeting(0.6, 3.0)},
    ),
    "edge, volatility target": EdgeCell(
        "long at a volatility target",
        partial(UNTRADABLE, volatility_std=0.5),
        LEARNING_LAST_RETURN | {"policy": ALWAYS_LONG, "overlays": _targeting(0.16, 2.0)},
    ),
    "edge, leverage effect": EdgeCell(
        "leverage effect, long above .5 at a volatility target",
        partial(UNTRADABLE, asymmetry=0.14),
        LEARNING_LAST_RETURN | {"policy": ALWAYS_LONG | {"long_above": 0.5}, "overlays": _targeting(0.16, 2.0)},
    ),
    "edge, ten tickers": EdgeCell(
        "ten tickers, long above .5 at a volatility target",
        partial(UNTRADABLE, tickers=10),
        LEARNING_LAST_RETURN | {"policy": ALWAYS_LONG | {"long_above": 0.5}, "overlays": _targeting(0.32, 2.0)},
        tickers=10,
    ),
    "edge, regimes": EdgeCell(
        "regimes, weekday, part-time",
        partial(shifting_market, sessions=5000),
        {"walk_forward": EXPANDING, "features": WEEKDAY, "policy": ALWAYS_LONG | {"long_above": 0.51}},
    ),
    "edge, bid-ask bounce": EdgeCell(
        "bid-ask bounce, long and short, twice the equity, no costs",
        partial(bounce_market, sessions=5000, half_spread=0.003),
        LEARNING_LAST_RETURN | {"policy": LONG_SHORT, "overlays": _targeting(0.32, 2.0), "execution": FREE},
        max_rate=0.05,  # alpha and timing are one test
    ),
    "edge, stale opens": EdgeCell(
        "stale opens, long and short at the next open, no costs",
        partial(stale_index_market, sessions=5000),
        LEARNING_LAST_RETURN | {"policy": LONG_SHORT, "execution": FREE | {"fill": "next_open"}},
        max_significant_rate=1.0,
    ),
    "edge, true": EdgeCell(
        "AR(2) of .12 at a volatility target of 8 %",
        partial(tradable_market, sessions=5000),
        {"walk_forward": EXPANDING, "features": TWO_RETURNS, "policy": LONG_SHORT, "overlays": _targeting(0.08, 1.0)},
        min_rate=0.8,
        max_rate=1.0,
        max_significant_rate=1.0,
    ),
    "edge, between fills": EdgeCell(
        "AR of .1 between fills, label of fills, 3 bps a side",
        partial(held_session_market, sessions=5000),
        LEARNING_LAST_RETURN
        | {"label": {"of": "fill"}, "policy": LONG_SHORT, "execution": {"commission_bps": 1, "slippage_bps": 2}},
        min_rate=0.8,
        max_rate=1.0,
        max_significant_rate=1.0,
    ),
}
"""Cells by the name of their experiment."""
