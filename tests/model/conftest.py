from __future__ import annotations

import pytest
from quantlr.core.values import Dataset
from quantlr.data.features import LaggedReturns, Volatility
from quantlr.data.prices import DataSpec, load_prices

from model.reference_fits import dataset_from


@pytest.fixture(scope="session")
def sp500() -> Dataset:
    """Return the index with five lags and its volatility; nobody may change it."""
    prices = load_prices(DataSpec.model_validate({"source": {"kind": "sample"}, "tickers": ["^GSPC"]}))
    return dataset_from(prices, [LaggedReturns(lags=(1, 2, 3, 4, 5)), Volatility(windows=(20,))])
