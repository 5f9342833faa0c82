"""Rolling statistics against pandas and exact fractions, and their accuracy where a running sum fails."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.values import Array
from quantlr.data.features.rolling import (
    recursive_average,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    rolling_zscore,
)

PANDAS: dict[str, tuple[Callable[..., Array], Callable[[pd.DataFrame, int], pd.DataFrame]]] = {
    "mean": (rolling_mean, lambda table, w: table.rolling(w).mean()),
    "max": (rolling_max, lambda table, w: table.rolling(w).max()),
    "min": (rolling_min, lambda table, w: table.rolling(w).min()),
    "std": (rolling_std, lambda table, w: table.rolling(w).std(ddof=1)),
    "zscore": (rolling_zscore, lambda table, w: (table - table.rolling(w).mean()) / table.rolling(w).std(ddof=1)),
}


@pytest.mark.parametrize("name", PANDAS)
@given(
    window=st.integers(2, 70),
    bars=st.integers(1, 130),
    tickers=st.integers(1, 3),
    missing=st.integers(0, 140),
    seed=st.integers(0, 999),
)
def test_rolling_statistics_equal_pandas(
    name: str, window: int, bars: int, tickers: int, missing: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(3.0, 1.0, (bars, tickers))
    values[missing : missing + 1] = np.nan
    ours, pandas_statistic = PANDAS[name]
    expected = pandas_statistic(pd.DataFrame(values), window).to_numpy()
    np.testing.assert_allclose(ours(values, window=window), expected, rtol=1e-8, atol=1e-9)


def test_a_window_of_one_returns_the_values() -> None:
    values = np.random.default_rng(0).random((9, 2))
    for rolled in (rolling_mean, rolling_max, rolling_min):
        np.testing.assert_array_equal(rolled(values, window=1), values)


def test_blocks_of_tickers_give_the_same_values() -> None:
    values = np.random.default_rng(1).random((40_000, 5))
    np.testing.assert_allclose(
        rolling_std(values, window=9), pd.DataFrame(values).rolling(9).std().to_numpy(), atol=1e-10
    )


def test_an_outlier_leaves_no_rounding_error() -> None:
    """Against exact fractions; a running sum of squares would lose eight digits."""
    values = np.random.default_rng(2).normal(1.0, 1e-3, (60, 1))
    values[10] = 1e9
    std = rolling_std(values, window=7)[:, 0]
    for row in range(17, 60):
        window = [Fraction(value) for value in values[row - 6 : row + 1, 0].tolist()]
        mean = sum(window) / 7
        exact = float(sum((value - mean) ** 2 for value in window) / 6) ** 0.5
        assert std[row] == pytest.approx(exact, rel=1e-13)


def test_standard_deviation_and_zscore_of_a_constant_window_are_zero() -> None:
    values = np.full((50, 1), 0.1 + 0.2)
    values[:10, 0] += np.arange(10)
    for window in (3, 7, 20):
        assert (rolling_std(values, window=window)[9 + window :] == 0.0).all()
        assert (rolling_zscore(values, window=window)[9 + window :] == 0.0).all()


def test_zscore_is_bounded() -> None:
    values = np.zeros((30, 1))
    values[-1] = 1e6
    assert rolling_zscore(values, window=10)[-1, 0] == pytest.approx(9 / 10**0.5)


@given(
    bars=st.integers(1, 300),
    window=st.integers(1, 20),
    weight=st.floats(0.01, 1.0),
    late=st.integers(0, 30),
    seed=st.integers(0, 999),
)
def test_recursive_average_equals_a_loop_over_the_bars(
    bars: int, window: int, weight: float, late: int, seed: int
) -> None:
    values = np.exp(np.random.default_rng(seed).normal(0.0, 1.0, (bars, 3)))
    first = window - 1 + late
    expected = np.full(values.shape, np.nan)
    for row in range(first, bars):
        last = expected[row - 1]
        mean = values[row - window + 1 : row + 1].mean(axis=0)
        expected[row] = mean if row == first else last + weight * (values[row] - last)
    averages = recursive_average(values, window=window, weight=weight, first_row=first)
    np.testing.assert_allclose(averages, expected, rtol=1e-11)
    for part in (slice(0, 1), slice(1, 3)):
        single = recursive_average(values[:, part], window=window, weight=weight, first_row=first)
        np.testing.assert_array_equal(single, averages[:, part])
    earlier = recursive_average(values[: bars // 2], window=window, weight=weight, first_row=first)
    np.testing.assert_array_equal(earlier, averages[: bars // 2])


def test_recursive_average_is_exact_where_nothing_moves_and_missing_from_a_missing_value_on() -> None:
    values = np.full((200, 2), 0.3)
    values[90, 1] = np.nan
    averages = recursive_average(values, window=4, weight=0.1, first_row=3)
    assert (averages[3:, 0] == 0.3).all()
    assert (averages[3:90, 1] == 0.3).all()
    assert np.isnan(averages[90:, 1]).all()
