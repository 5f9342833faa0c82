"""Sums by session and their variance, against statsmodels and loops over the definition."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.core.values import Array, IntArray
from quantlr.stats.hac import (
    clustered_mean_variance,
    horizon_block_index,
    newey_west_variance,
    pivot_sums,
    sum_by_session,
    weighted_pivot_sums,
)


def panel() -> tuple[Array, IntArray]:
    """Return 200 values, and sessions of which some have no value and some several."""
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1, 200), rng.integers(0, 90, 200)


def test_blocks_of_a_horizon_count_the_sessions_that_occur() -> None:
    session = np.array([7, 3, 3, 9, 20])
    assert horizon_block_index(session, horizon=1).tolist() == [1, 0, 0, 2, 3]
    assert horizon_block_index(session, horizon=3).tolist() == [0, 0, 0, 0, 1]


def test_sums_equal_a_loop() -> None:
    values, session = panel()
    expected = [[values[session == name].sum(), (session == name).sum()] for name in sorted(set(session.tolist()))]
    np.testing.assert_allclose(sum_by_session(session, values, np.ones(200)), expected)
    column = np.arange(200) % 4
    pivot = pivot_sums(session, column, values)
    assert pivot.shape == (session.max() + 1, 4)
    for row in range(len(pivot)):
        for index in range(4):
            assert pivot[row, index] == pytest.approx(values[(session == row) & (column == index)].sum())


@pytest.mark.parametrize("n_rows", [150, 12])
def test_weighted_sums_of_columns_equal_a_loop_with_few_values_a_row_and_with_many(n_rows: int) -> None:
    rng = np.random.default_rng(1)
    values, row, column = rng.normal(size=200), rng.integers(0, n_rows, 200), rng.permutation(np.arange(200) % 7)
    weights = rng.normal(size=(3, n_rows))
    expected = np.zeros((3, 7))
    for value, row_index, column_index in zip(values, row, column, strict=True):
        expected[:, column_index] += weights[:, row_index] * value
    np.testing.assert_allclose(weighted_pivot_sums(weights, row, column, values), expected)


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_variance_of_the_mean_equals_statsmodels(horizon: int) -> None:
    values, _ = panel()
    options = {"maxlags": 2 * horizon, "use_correction": False}
    fit = sm.OLS(values, np.ones(200)).fit(cov_type="HAC", cov_kwds=options)
    assert clustered_mean_variance(values, np.arange(200), horizon=horizon) == pytest.approx(fit.bse[0] ** 2)
    both = newey_west_variance(
        np.column_stack([values, 2 * values]) - [values.mean(), 2 * values.mean()], horizon=horizon
    )
    assert both == pytest.approx([200**2 * fit.bse[0] ** 2, 4 * 200**2 * fit.bse[0] ** 2])


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_variance_of_the_mean_of_clusters_equals_a_loop_over_pairs_of_rows(horizon: int) -> None:
    values, session = panel()
    _, position = np.unique(session, return_inverse=True)
    deviation, expected = values - values.mean(), 0.0
    for row, place in enumerate(position.tolist()):
        for other, other_place in enumerate(position.tolist()):
            weight = max(1 - abs(place - other_place) / (2 * horizon + 1), 0.0)
            expected += weight * deviation[row] * deviation[other]
    assert clustered_mean_variance(values, session, horizon=horizon) == pytest.approx(expected / 200**2)


def test_lags_beyond_the_sessions_are_left_out() -> None:
    assert newey_west_variance(np.array([[1.0], [-1.0]]), horizon=9) == pytest.approx(2 - 2 * (1 - 1 / 19))
