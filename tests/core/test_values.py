"""Values that pass between the layers: folds carried by forecasts, prices before a session."""

from __future__ import annotations

import numpy as np
import pytest
from quantlr.core.values import PRICE_ARRAYS, Folds
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.labels import Direction
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward

from markets import random_walk_prices


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_forecasts_carry_the_folds_that_made_them(scope: str) -> None:
    prices = random_walk_prices(3, n_sessions=160, n_tickers=3, with_gaps=True)
    columns = compute_feature_columns(prices, [LaggedReturns(lags=(1, 2))])
    dataset = build_dataset(prices, columns, Direction().compute_labels(prices), horizon=1)
    model = LogisticRegression.model_validate({"scope": scope, "l2": 0.1})
    forecasts = walk_forward(dataset, WalkForwardSpec(train=60, refit_every=7), model)
    assert len(forecasts.folds) == 3
    rows = np.concatenate([np.arange(folds.test_start[0], folds.test_stop[-1]) for folds in forecasts.folds])
    np.testing.assert_array_equal(dataset.ticker[rows], forecasts.ticker)
    np.testing.assert_array_equal(dataset.session[rows], forecasts.session)
    for ticker, folds in enumerate(forecasts.folds):
        ticker_rows = dataset.ticker_slice(ticker)
        for fold in folds:
            assert ticker_rows.start <= fold.train.start <= fold.train.stop <= ticker_rows.stop
        numbers = forecasts.fold[forecasts.ticker == ticker]
        np.testing.assert_array_equal(numbers, np.repeat(np.arange(len(folds)), folds.test_stop - folds.test_start))


def test_shifted_folds_have_shifted_rows() -> None:
    folds = Folds(*(np.array([first, first + 1]) for first in (0, 5, 6, 9))).shift_rows(10)
    assert [(fold.train, fold.test) for fold in folds] == [
        (slice(10, 15), slice(16, 19)), (slice(11, 16), slice(17, 20)),
    ]  # fmt: skip


def test_prices_before_a_session_are_those_of_the_earlier_bars() -> None:
    prices = random_walk_prices(4, n_sessions=60, n_tickers=2, with_gaps=True)
    earlier = prices.before_session(30)
    assert list(earlier.sessions) == list(prices.sessions[:30])
    for name in PRICE_ARRAYS:
        grid = prices.bars_to_sessions(getattr(prices, name))
        np.testing.assert_array_equal(earlier.bars_to_sessions(getattr(earlier, name)), grid[:30])
