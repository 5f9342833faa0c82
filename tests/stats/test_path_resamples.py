"""Resampled paths against another implementation of the stationary bootstrap, and cases by arithmetic."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from quantlr.stats.path_resamples import resample_paths

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from arch.bootstrap import StationaryBootstrap


def test_equity_and_drawdowns_are_distributed_as_those_of_arch() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 0.01, 301)
    returns = 0.0005 + noise[1:] + 0.6 * noise[:-1]
    paths = resample_paths(returns, block_length=8.0, seed=1, n_paths=1500)
    length: Any = 8.0
    final, falls = [], []
    for data in StationaryBootstrap(length, returns, seed=np.random.default_rng(2)).bootstrap(1500):
        level = np.concatenate([[0.0], np.cumsum(data[0][0])])
        final.append(np.exp(level[-1]))
        falls.append(np.expm1(min(level[i] - level[: i + 1].max() for i in range(len(level)))))
    for own, other in ((paths.final_equity, np.array(final)), (paths.max_drawdown, np.array(falls))):
        quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
        np.testing.assert_allclose(np.quantile(own, quantiles), np.quantile(other, quantiles), atol=0.2 * other.std())
    np.testing.assert_allclose(
        paths.equity_quantiles[:, -1], np.quantile(paths.final_equity, [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=0.01
    )


def test_constant_returns_give_one_path_without_drawdown() -> None:
    paths = resample_paths(np.full(10, 0.1), block_length=3.0, seed=0, n_paths=5)
    np.testing.assert_allclose(paths.equity_quantiles, np.tile(np.exp(0.1 * np.arange(11)), (5, 1)), rtol=1e-12)
    assert paths.point_index.tolist() == list(range(11))
    assert (paths.max_drawdown == 0).all()
    np.testing.assert_allclose(paths.final_equity, np.exp(1.0))


def test_same_seed_gives_the_same_paths_and_one_session_is_enough() -> None:
    returns = np.random.default_rng(0).normal(size=50) * 0.01
    first, again, other = (resample_paths(returns, block_length=5.0, seed=seed, n_paths=20) for seed in (1, 1, 2))
    assert (first.final_equity == again.final_equity).all()
    assert (first.final_equity != other.final_equity).any()
    assert resample_paths(np.array([-0.5]), block_length=1.0, seed=0).max_drawdown[0] == pytest.approx(np.expm1(-0.5))
