"""Simulated markets for the size and power of the test of skill, and the models that are run on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from quantlr.core.values import Array, Prices

from markets import from_log_returns

DAILY_STD = 0.01
LAST_RETURN = [{"kind": "lagged_returns", "lags": [1]}]
WEEKDAY = [{"kind": "day_of_week"}]
VOLUME = [{"kind": "volume_zscore", "windows": [250]}]
ROLLING = {"window": "rolling", "train": 250, "refit_every": 21}
EXPANDING = {"train": 1000, "refit_every": 21}
SHORT = {"train": 250, "refit_every": 21}


def noise_market(rng: np.random.Generator, *, sessions: int, drifts: tuple[float, ...] = (0.0003,)) -> Prices:
    """Return prices without predictability: Student t returns with a drift per ticker, correlated by 0.4."""
    shape = sessions, len(drifts)
    own = rng.standard_t(5, shape) / np.sqrt(5 / 3)
    mixed = own if len(drifts) == 1 else np.sqrt(0.4) * own[:, :1] + np.sqrt(0.6) * rng.standard_t(5, shape)
    return from_log_returns(np.array(drifts) + DAILY_STD * mixed)


def autoregressive_market(rng: np.random.Generator, *, sessions: int, phi: float) -> Prices:
    """Return prices whose returns are a Gaussian AR(1) about a drift of 8 % a year."""
    return from_log_returns((0.0003 + DAILY_STD * autoregression(rng, sessions, phi=phi))[:, None])


def autoregression(rng: np.random.Generator, n: int, *, phi: float) -> Array:
    """Return a Gaussian AR(1) of variance 1, from its stationary distribution."""
    shocks, values = rng.normal(size=n) * np.sqrt(1 - phi**2), np.empty(n)
    last = float(rng.normal())
    for index, shock in enumerate(shocks.tolist()):
        last = values[index] = phi * last + shock
    return values


def shifting_market(rng: np.random.Generator, *, sessions: int, volume_phi: float = 0.0) -> Prices:
    """Return prices whose drift changes after about 500 sessions, and a volume that is independent of them.

    The logarithm of the volume is an AR(1) with coefficient `volume_phi`.
    """
    lengths = rng.geometric(1 / 500, size=sessions // 100)
    drift = np.repeat(rng.choice([-0.0012, 0.0016], size=len(lengths)), lengths)[:sessions]
    prices = from_log_returns((drift + DAILY_STD * rng.standard_t(5, len(drift)) / np.sqrt(5 / 3))[:, None])
    return replace(prices, volume=np.exp(autoregression(rng, len(drift) + 1, phi=volume_phi))[:, None])


@dataclass(frozen=True, slots=True)
class SkillCell:
    """A market and a model, and how often the test of skill must reject.

    Attributes
    ----------
    label : description.
    market : returns the prices from a generator.
    tickers : number of tickers.
    sections : of the config.
    min_rate, max_rate : bounds of the true rate of rejection.
    """

    label: str
    market: Callable[[np.random.Generator], Prices]
    tickers: int = 1
    sections: dict[str, Any] = field(default_factory=dict)
    min_rate: float = 0.0
    max_rate: float = 0.05


LONG_NOISE = partial(noise_market, sessions=5000)
UNEQUAL_DRIFTS = partial(noise_market, sessions=2500, drifts=(-0.0008, -0.0002, 0.0003, 0.0009, 0.0015))
SHIFTING = partial(shifting_market, sessions=4000)

SKILL_CELLS = {
    "skill, 60 forecasts": SkillCell(
        "noise, 60 forecasts", partial(noise_market, sessions=320), sections={"walk_forward": SHORT}
    ),
    "skill, a week": SkillCell(
        "noise, h = 5, 250 forecasts",
        partial(noise_market, sessions=520),
        sections={"walk_forward": SHORT, "label": {"horizon": 5}},
    ),
    "skill, a month": SkillCell(
        "noise, h = 21, 250 forecasts",
        partial(noise_market, sessions=550),
        sections={"walk_forward": SHORT, "label": {"horizon": 21}},
    ),
    "skill, balanced": SkillCell(
        "noise, balanced classes",
        LONG_NOISE,
        sections={"walk_forward": EXPANDING, "model": {"class_weight": "balanced"}},
    ),
    "skill, half-life": SkillCell(
        "noise, half-life of a year", LONG_NOISE, sections={"walk_forward": EXPANDING, "model": {"half_life": 250.0}}
    ),
    "skill, Platt": SkillCell(
        "noise, Platt's calibration",
        LONG_NOISE,
        sections={"walk_forward": EXPANDING, "model": {"calibration": "platt"}},
    ),
    "skill, rolling": SkillCell("noise, rolling year", LONG_NOISE, sections={"walk_forward": ROLLING}),
    "skill, pooled": SkillCell(
        "five unequal drifts, pooled",
        UNEQUAL_DRIFTS,
        tickers=5,
        sections={"walk_forward": EXPANDING, "model": {"scope": "pooled"}},
    ),
    "skill, shifting drift": SkillCell(
        "shifting drift, weekday, l2 = 100",
        SHIFTING,
        sections={"walk_forward": ROLLING, "features": WEEKDAY, "model": {"l2": 100.0}},
    ),
    "skill, slow feature": SkillCell(
        "shifting drift, slow volume",
        partial(SHIFTING, volume_phi=0.99),
        sections={"walk_forward": ROLLING, "features": VOLUME},
    ),
    "power, AR(1) of .05": SkillCell(
        "AR(1) of .05, 4,000 forecasts",
        partial(autoregressive_market, sessions=5000, phi=0.05),
        sections={"walk_forward": EXPANDING, "features": LAST_RETURN},
        min_rate=0.7,
        max_rate=1.0,
    ),
    "power, AR(1) of .1": SkillCell(
        "AR(1) of .1, 1,000 forecasts",
        partial(autoregressive_market, sessions=2000, phi=0.1),
        sections={"walk_forward": EXPANDING, "features": LAST_RETURN},
        min_rate=0.7,
        max_rate=1.0,
    ),
}
"""Cells by the name of their experiment."""
