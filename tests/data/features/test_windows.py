"""Windows against pandas and against exact fractions; what they are better at than a running sum."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.arrays import Array
from quantlr.data.features.rolling import rolling_max, rolling_mean, rolling_min, rolling_std, rolling_zscore

PEERS: dict[str, tuple[Callable[..., Array], Callable[[pd.DataFrame, int], pd.DataFrame]]] = {
    "mean": (rolling_mean, lambda table, w: table.rolling(w).mean()),
    "max": (rolling_max, lambda table, w: table.rolling(w).max()),
    "min": (rolling_min, lambda table, w: table.rolling(w).min()),
    "std": (rolling_std, lambda table, w: table.rolling(w).std(ddof=1)),
    "zscore": (rolling_zscore, lambda table, w: (table - table.rolling(w).mean()) / table.rolling(w).std(ddof=1)),
}


@pytest.mark.parametrize("name", PEERS)
@given(
    window=st.integers(2, 70),
    bars=st.integers(1, 130),
    tickers=st.integers(1, 3),
    missing=st.integers(0, 140),
    seed=st.integers(0, 999),
)
def test_a_window_holds_what_pandas_says(
    name: str, window: int, bars: int, tickers: int, missing: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(3.0, 1.0, (bars, tickers))
    values[missing : missing + 1] = np.nan
    ours, theirs = PEERS[name]
    expected = theirs(pd.DataFrame(values), window).to_numpy()
    np.testing.assert_allclose(ours(values, window=window), expected, rtol=1e-8, atol=1e-9)


def test_a_window_of_one() -> None:
    values = np.random.default_rng(0).random((9, 2))
    for rolled in (rolling_mean, rolling_max, rolling_min):
        np.testing.assert_array_equal(rolled(values, window=1), values)


def test_many_tickers_are_worked_on_in_blocks() -> None:
    values = np.random.default_rng(1).random((40_000, 5))
    np.testing.assert_allclose(
        rolling_std(values, window=9), pd.DataFrame(values).rolling(9).std().to_numpy(), atol=1e-10
    )


def test_a_price_that_is_far_off_leaves_nothing_behind() -> None:
    """Against exact fractions, where a running sum of squares would have lost eight digits."""
    values = np.random.default_rng(2).normal(1.0, 1e-3, (60, 1))
    values[10] = 1e9
    found = rolling_std(values, window=7)[:, 0]
    for row in range(17, 60):
        window = [Fraction(value) for value in values[row - 6 : row + 1, 0].tolist()]
        mean = sum(window) / 7
        exact = float(sum((value - mean) ** 2 for value in window) / 6) ** 0.5
        assert found[row] == pytest.approx(exact, rel=1e-13)


def test_where_nothing_moves_the_deviation_is_zero_and_the_score_too() -> None:
    values = np.full((50, 1), 0.1 + 0.2)
    values[:10, 0] += np.arange(10)
    for window in (3, 7, 20):
        assert (rolling_std(values, window=window)[9 + window :] == 0.0).all()
        assert (rolling_zscore(values, window=window)[9 + window :] == 0.0).all()


def test_a_score_is_never_beyond_its_limit() -> None:
    values = np.zeros((30, 1))
    values[-1] = 1e6
    assert rolling_zscore(values, window=10)[-1, 0] == pytest.approx(9 / 10**0.5)
