"""What the simulations share: the config of a run, and figures with their standard errors and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from quantlr.config.run_config import RunConfig, load_config
from scipy import stats

TAIL_PROBABILITY = 1e-3
"""Probability that a figure is beyond either bound though the inference is correct."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A simulated figure and its bounds.

    Attributes
    ----------
    label : description of the figure.
    value, standard_error, low, high : the figure, its standard error and its bounds.
    series : number of simulated markets.
    seconds : run time.
    """

    label: str
    value: float
    standard_error: float
    low: float
    high: float
    series: int
    seconds: float = 0.0

    @property
    def is_within_bounds(self) -> bool:
        """Whether the figure is within its bounds."""
        return self.low <= self.value <= self.high


def proportion_figure(label: str, hits: int, n: int, *, min_rate: float = 0.0, max_rate: float = 1.0) -> Figure:
    """Return a proportion with the bounds of a binomial whose rate lies between `min_rate` and `max_rate`."""
    low = float(stats.binom.ppf(TAIL_PROBABILITY, n, min_rate)) / n if min_rate > 0 else 0.0
    high = float(stats.binom.ppf(1 - TAIL_PROBABILITY, n, max_rate)) / n if max_rate < 1 else 1.0
    rate = float(hits) / n
    return Figure(label, rate, (rate * (1 - rate) / n) ** 0.5, low, high, n)


def mean_figure(label: str, value: float, truth: float, error: float, *, series: int, shortfall: float = 0.0) -> Figure:
    """Return a mean with normal bounds; an estimated model may fall short of the truth by `shortfall`.

    Parameters
    ----------
    error : standard error of the mean.
    """
    half_width = float(stats.norm.ppf(1 - TAIL_PROBABILITY)) * float(error)
    low, high = float(truth) - shortfall - half_width, float(truth) + half_width
    return Figure(label, float(value), float(error), low, high, series)


def experiment_config(tickers: int, *, horizon: int = 1, lags: int = 5, **sections: Any) -> RunConfig:
    """Return a config that trades simulated tickers long and short."""
    return load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{index}" for index in range(tickers)]},
            "features": [{"kind": "lagged_returns", "lags": list(range(1, lags + 1))}],
            "label": {"horizon": horizon},
            "policy": {"short_below": 0.5},
            **{"walk_forward": {"train": 250, "refit_every": 125}} | sections,
        }
    ).run


def market_generator(seed: int, label: str, index: int) -> np.random.Generator:
    """Return the generator of a cell's market, independent of those of other cells."""
    return np.random.default_rng([seed, crc32(label.encode()), index])
