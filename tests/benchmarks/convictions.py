"""How often an audit convicts inputs that know the future, in markets without information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from quantlr.audits.auditor import audit_prices
from quantlr.audits.user_components import audit_user_inputs
from quantlr.config.run_config import RunConfig
from quantlr.core.errors import LookAheadError
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.features.base import Feature
from quantlr.data.features.returns import ContextReturns
from quantlr.data.features.transforms import CrossSectionalRank
from quantlr.data.features.volumes import RelativeVolume, Volume
from quantlr.pipeline.stages import DEFAULT_STAGES, PipelineStages

from benchmarks.simulation import Figure, experiment_config, proportion_figure
from markets import random_walk_prices
from two_markets import two_market_prices

CONVICTION_MARKETS = 20


class CentredMean(Feature):
    """Mean of five returns, the next two among them."""

    kind: Literal["centred_mean"] = "centred_mean"
    is_centred: bool = True

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column, as a fraction."""
        close = pd.DataFrame(prices.close)
        mean = (close / close.shift() - 1.0).rolling(5, center=self.is_centred, min_periods=1).mean().to_numpy()
        return {self.kind: np.where(prices.session >= 0, mean, np.nan)}

    def warm_up(self) -> int:
        """The returns."""
        return 5


def conviction_rates(_series: int, seed: int) -> Iterator[Figure]:
    """Yield how often inputs that know the future are convicted, and the same inputs without that.

    They are volume that later splits rescale, its rank, a centred mean, and New York's close of the date in Tokyo. In
    20 markets, whatever the number asked for.
    """
    pooled = experiment_config(3, walk_forward={"train": 60, "refit_every": 10}, model={"scope": "pooled", "l2": 0.01})
    for label, feature, convicted in (
        ("volume of several tickers", Volume(), True),
        ("rank of volume", CrossSectionalRank(of=Volume()), True),
        ("relative volume", RelativeVolume(windows=(5,)), False),
        ("centred mean of returns", CentredMean(), True),
        ("trailing mean of returns", CentredMean(is_centred=False), False),
    ):
        config = pooled.model_copy(update={"features": (feature,)})
        n_convicted = sum(_is_convicted(config, seed * CONVICTION_MARKETS + n) for n in range(CONVICTION_MARKETS))
        rates = {"min_rate": 1.0} if convicted else {"max_rate": 0.0}
        yield proportion_figure(f"{label}: convicted", n_convicted, CONVICTION_MARKETS, **rates)
    for label, stages, rates in (
        ("reference series by date", PipelineStages(compute_features=_features_by_date), {"min_rate": 1.0}),
        ("reference series by the instant of its close", DEFAULT_STAGES, {"max_rate": 0.0}),
    ):
        n_convicted = sum(
            _is_reference_convicted(stages, seed * CONVICTION_MARKETS + n) for n in range(CONVICTION_MARKETS)
        )
        yield proportion_figure(f"{label}: convicted", n_convicted, CONVICTION_MARKETS, **rates)


def _is_convicted(config: RunConfig, seed: int) -> bool:
    """Return whether the run's audit of components from outside the catalogue, or the full audit, finds a leak."""
    if isinstance(config.features[0], CentredMean):
        try:
            audit_user_inputs(config, random_walk_prices(seed, n_sessions=400, n_tickers=3, with_gaps=True))
        except LookAheadError:
            return True
        return False
    prices = random_walk_prices(seed, n_sessions=120, n_tickers=3, with_gaps=True)
    return not audit_prices(config, prices, n_cutoffs=1).is_clean


def _features_by_date(prices: Prices, features: Sequence[Feature]) -> FeatureColumns:
    """Return features as if all markets closed at once, so that a date's bar of any of them is known on that date."""
    context = prices.context and replace(prices.context, markets=())
    return compute_feature_columns(replace(prices, markets=(), context=context), features)


def _is_reference_convicted(stages: PipelineStages, seed: int) -> bool:
    """Return whether the audit of a ticker in Tokyo with a reference series in New York finds a leak."""
    prices = two_market_prices(seed, traded="TK", context="NY")
    config = experiment_config(1, walk_forward={"train": 60, "refit_every": 10}, model={"l2": 0.01})
    config = config.model_copy(update={"features": (ContextReturns(ticker="NY0", max_age=30),)})
    return not audit_prices(config, prices, stages, n_cutoffs=1).is_clean
