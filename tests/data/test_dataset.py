from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quantlr.core.errors import DataError
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns, Volatility, Volume
from quantlr.data.labels import Direction

from markets import random_walk_prices


def test_rows_are_in_the_order_of_tickers_without_warm_up() -> None:
    prices = random_walk_prices(1, n_sessions=100, n_tickers=3, with_gaps=True)
    label = Direction(horizon=3)
    dataset = build_dataset(
        prices, compute_feature_columns(prices, [LaggedReturns(lags=(1, 2)), Volatility(windows=(20,))]),
        label.compute_labels(prices), horizon=3,
    )  # fmt: skip
    assert dataset.columns == ("lagged_returns_1", "lagged_returns_2", "volatility_20")
    assert [note.count for note in dataset.notes] == [20, 20, 20]
    for ticker in range(3):
        rows = dataset.ticker_slice(ticker)
        sessions = prices.session[20 : prices.n_bars[ticker], ticker]
        np.testing.assert_array_equal(dataset.session[rows], sessions)
        np.testing.assert_array_equal(dataset.label_known_at[rows][:-3], sessions[3:])
        assert (dataset.label_known_at[rows][-3:] == NOT_YET_KNOWN).all()
        assert not np.isnan(dataset.features[rows]).any()


def test_duplicate_columns_are_an_error() -> None:
    prices = random_walk_prices(2, n_sessions=30)
    with pytest.raises(DataError, match="a second column 'lagged_returns_1'") as caught:
        compute_feature_columns(prices, [LaggedReturns(lags=(1,)), Volume(), LaggedReturns(lags=(1,))])
    assert caught.value.key == "features.2"


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e200])
def test_a_feature_missing_after_warm_up_is_an_error_with_ticker_date_and_column(value: float) -> None:
    prices = random_walk_prices(3, n_sessions=30, n_tickers=2)
    volume = prices.volume.copy()
    volume[12, 1] = value
    broken = replace(prices, volume=volume)
    label = Direction()
    date = prices.sessions[12].strftime("%Y-%m-%d")
    with pytest.raises(DataError, match=rf"T1 {date}: the feature volume is \S+ \(1 such rows\)"):
        build_dataset(broken, compute_feature_columns(broken, [Volume()]), label.compute_labels(broken), horizon=1)


def test_a_feature_without_any_value_is_an_error() -> None:
    prices = random_walk_prices(4, n_sessions=30)
    bare = replace(prices, volume=np.full_like(prices.volume, np.nan))
    for broken, feature, name in ((bare, Volume(), "volume"), (prices, LaggedReturns(lags=(40,)), "lagged_returns_40")):
        with pytest.raises(DataError, match=f"the feature {name} has no value on any of 30 bars"):
            build_dataset(
                broken, compute_feature_columns(broken, [feature]), Direction().compute_labels(broken), horizon=1
            )
