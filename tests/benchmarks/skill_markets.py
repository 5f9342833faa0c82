"""Simulated markets for the size and power of the test of skill, and the models that are run on them.

No market but an autoregressive one has skill to find: the features say nothing of the sign of the next return, though
volatility, drift or the noise in the prices may depend on the past.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from quantlr.core.values import Array, Prices

from markets import from_log_returns

DAILY_STD = 0.01
MEAN_TO_VOLATILITY = 0.03
"""Mean over standard deviation of a session's return where volatility varies: ups are as likely at any volatility."""
LAST_RETURN = [{"kind": "lagged_returns", "lags": [1]}]
OLDER_RETURNS = [{"kind": "lagged_returns", "lags": [2, 3, 4, 5, 6]}]
NIGHT_AND_RETURNS = [{"kind": "overnight_gap"}, {"kind": "lagged_returns", "lags": [1, 2, 3]}]
WEEKDAY = [{"kind": "day_of_week"}]
VOLUME = [{"kind": "volume_zscore", "windows": [250]}]
ROLLING = {"window": "rolling", "train": 250, "refit_every": 21}
EXPANDING = {"train": 1000, "refit_every": 21}
SHORT = {"train": 250, "refit_every": 21}


def student_t(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Return draws of Student's t with 5 degrees of freedom, of variance 1."""
    return np.asarray(rng.standard_t(5, shape) / np.sqrt(5 / 3))


def noise_market(rng: np.random.Generator, *, sessions: int, drifts: tuple[float, ...] = (0.0003,)) -> Prices:
    """Return prices without predictability: Student t returns with a drift per ticker, correlated by 0.4."""
    shape = sessions, len(drifts)
    own = student_t(rng, shape)
    mixed = own if len(drifts) == 1 else np.sqrt(0.4) * own[:, :1] + np.sqrt(0.6) * student_t(rng, shape)
    return from_log_returns(np.array(drifts) + DAILY_STD * mixed)


def garch_market(
    rng: np.random.Generator, *, sessions: int, tickers: int = 1, reaction: float = 0.08, asymmetry: float = 0.0
) -> Prices:
    """Return prices with the GARCH(1, 1) volatility of Glosten, Jagannathan and Runkle, of persistence .98.

    The variance reacts to the square of the last shock by `reaction`, and by `asymmetry` more if it was negative (the
    leverage effect). The mean return is in proportion to the volatility, so that the sign of a return is independent of
    the past.
    """
    shocks = student_t(rng, (sessions, tickers))
    volatility = garch_volatility(shocks, reaction=reaction, asymmetry=asymmetry)
    return from_log_returns(DAILY_STD * volatility * (MEAN_TO_VOLATILITY + shocks))


def garch_volatility(shocks: Array, *, reaction: float, asymmetry: float) -> Array:
    """Return the volatility of GARCH(1, 1) shocks, of mean square 1; see `garch_market`.

    Parameters
    ----------
    shocks : (sessions, tickers) of variance 1.
    """
    decay = 0.98 - reaction - asymmetry / 2
    variance = np.empty_like(shocks)
    for ticker, ticker_shocks in enumerate(shocks.T.tolist()):
        current = 1.0
        for session, shock in enumerate(ticker_shocks):
            variance[session, ticker] = current
            current *= decay + (reaction + asymmetry * (shock < 0)) * shock**2
            current += 0.02
    return np.sqrt(variance)


def bounce_market(rng: np.random.Generator, *, sessions: int, tickers: int = 1, half_spread: float = 0.0015) -> Prices:
    """Return prices that are at the bid or the ask, each by chance.

    Consecutive returns are correlated by -.04, and a return is independent of all but the one before it.
    """
    value = np.cumsum(0.0003 + DAILY_STD * student_t(rng, (sessions + 1, tickers)), axis=0)
    return from_log_returns(np.diff(value + half_spread * rng.choice([-1.0, 1.0], value.shape), axis=0))


def stale_open_market(rng: np.random.Generator, *, sessions: int, tickers: int = 1, night_std: float = 5e-4) -> Prices:
    """Return noise whose opens are the close before, give or take 5 basis points."""
    return with_stale_opens(rng, noise_market(rng, sessions=sessions, drifts=(0.0003,) * tickers), night_std=night_std)


def with_stale_opens(rng: np.random.Generator, prices: Prices, *, night_std: float) -> Prices:
    """Return prices with opens that are the close before times a random factor near 1, from Monday to Friday.

    A market that trades every day never closes, and its opens may be the close before.
    """
    opens = prices.close.copy()
    opens[1:] = prices.close[:-1] * np.exp(night_std * rng.normal(size=prices.close[1:].shape))
    high, low = np.maximum(opens, prices.close), np.minimum(opens, prices.close)
    weekdays = pd.bdate_range(prices.sessions[0], periods=len(prices.sessions)).as_unit("us")
    return replace(prices, sessions=weekdays, counted_sessions_per_year=None, open=opens, high=high, low=low)


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


def shifting_market(
    rng: np.random.Generator, *, sessions: int, tickers: int = 1, volume_phi: float = 0.0, has_one_break: bool = False
) -> Prices:
    """Return prices whose drift shifts, and volumes that are independent of them.

    The drift of each ticker changes after about 500 sessions, or once, after half of them. The logarithm of the volume
    is an AR(1) with coefficient `volume_phi`.
    """
    drift = np.empty((sessions, tickers))
    for ticker in range(tickers):
        lengths = rng.geometric(1 / 500, size=sessions // 100)
        levels = rng.choice([-0.0012, 0.0016], size=len(lengths))
        if has_one_break:
            lengths, levels = np.array([sessions // 2, sessions]), rng.permutation([-0.0012, 0.0016])
        drift[:, ticker] = np.repeat(levels, lengths)[:sessions]
    prices = from_log_returns(drift + DAILY_STD * student_t(rng, drift.shape))
    volumes = [autoregression(rng, sessions + 1, phi=volume_phi) for _ in range(tickers)]
    return replace(prices, volume=np.exp(np.stack(volumes, axis=1)))


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
    divisor : a slow cell simulates a fraction of the number of markets.
    """

    label: str
    market: Callable[[np.random.Generator], Prices]
    tickers: int = 1
    sections: dict[str, Any] = field(default_factory=dict)
    min_rate: float = 0.0
    max_rate: float = 0.05
    divisor: int = 1


RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"walk_forward": EXPANDING},
    "l2 = 100": {"walk_forward": EXPANDING, "model": {"l2": 100.0}},
    "balanced": {"walk_forward": EXPANDING, "model": {"class_weight": "balanced"}},
    "half-life": {"walk_forward": EXPANDING, "model": {"half_life": 250.0}},
    "Platt": {"walk_forward": EXPANDING, "model": {"calibration": "platt"}},
    "rolling": {"walk_forward": ROLLING},
    "pooled": {"walk_forward": EXPANDING, "model": {"scope": "pooled"}},
}
"""Sections of the config by the name of what is particular about the model."""
POOLED_TICKERS = 5
CROSSED_MARKETS: dict[str, tuple[Callable[..., Prices], dict[str, Any]]] = {
    "GARCH": (garch_market, {}),
    "leverage effect": (partial(garch_market, reaction=0.01, asymmetry=0.14), {}),
    "bid-ask bounce": (bounce_market, {"features": OLDER_RETURNS}),
    "stale opens": (stale_open_market, {"features": NIGHT_AND_RETURNS}),
    "regimes": (partial(shifting_market, volume_phi=0.5), {"features": [*WEEKDAY, *VOLUME]}),
    "one break": (partial(shifting_market, volume_phi=0.5, has_one_break=True), {"features": [*WEEKDAY, *VOLUME]}),
}
"""Markets without skill that every recipe is run on, and the sections that they need; pooled with five tickers."""
CROSSED_SESSIONS = 3000


def _crossed_cells() -> dict[str, SkillCell]:
    """Return noise, ten correlated tickers and each of the other markets under each recipe."""
    cells = {}
    for name, recipe in RECIPES.items():
        is_pooled = name == "pooled"
        n_tickers = POOLED_TICKERS if is_pooled else 1
        for market_name, (market, sections) in CROSSED_MARKETS.items():
            simulate = partial(market, sessions=CROSSED_SESSIONS, tickers=n_tickers)
            cells[f"{market_name}, {name}"] = SkillCell(
                f"{market_name}, {name}", simulate, n_tickers, sections | recipe, divisor=2 if is_pooled else 1
            )
        ten = partial(noise_market, sessions=CROSSED_SESSIONS, drifts=(0.0003,) * 10)
        cells[f"ten tickers, {name}"] = SkillCell(f"ten tickers, {name}", ten, 10, recipe, divisor=2)
        if not is_pooled:
            one = partial(noise_market, sessions=CROSSED_SESSIONS)
            for horizon in (1, 5, 21):
                label = f"noise, h = {horizon}, {name}"
                cells[label] = SkillCell(label, one, sections=recipe | {"label": {"horizon": horizon}})
    return cells


def _length_cells() -> dict[str, SkillCell]:
    """Return noise of every horizon and length; 60 forecasts of a month are too few for the test."""
    cells = {}
    for horizon in (1, 5, 21):
        for n_forecasts in (60, 250, 1000, 4000):
            if (horizon, n_forecasts) == (21, 60):
                continue
            label = f"noise, h = {horizon}, {n_forecasts:,} forecasts"
            market = partial(noise_market, sessions=SHORT["train"] + 4 + 2 * horizon + n_forecasts)
            cells[label] = SkillCell(label, market, sections={"walk_forward": SHORT, "label": {"horizon": horizon}})
    return cells


UNEQUAL_DRIFTS = partial(noise_market, sessions=2500, drifts=(-0.0008, -0.0002, 0.0003, 0.0009, 0.0015))
SHIFTING = partial(shifting_market, sessions=4000)

SKILL_CELLS = {
    **_length_cells(),
    **_crossed_cells(),
    "unequal drifts, pooled": SkillCell(
        "five unequal drifts, pooled", UNEQUAL_DRIFTS, POOLED_TICKERS, RECIPES["pooled"], divisor=2
    ),
    "regimes, weekday": SkillCell(
        "regimes, weekday, rolling, l2 = 100",
        SHIFTING,
        sections={"walk_forward": ROLLING, "features": WEEKDAY, "model": {"l2": 100.0}},
    ),
    **{
        f"regimes, volume of {phi}": SkillCell(
            f"regimes, volume an AR(1) of {phi}, rolling",
            partial(SHIFTING, volume_phi=phi),
            sections={"walk_forward": ROLLING, "features": VOLUME},
        )
        for phi in (0.5, 0.8, 0.9, 0.95, 0.99)
    },
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
