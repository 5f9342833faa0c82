"""Stale opens, by SciPy's regression in a loop, the sample's index and stocks, and made-up markets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.core.values import Array
from quantlr.stats.stale_opens import stale_open_windows
from scipy import stats

SAMPLES = Path(quantlr.__file__).parent / "data" / "samples"


def sample_opens_and_closes(file: str, ticker: str, first: str, last: str) -> tuple[Array, Array]:
    """Return a sample's adjusted opens and closes from one year to another."""
    frame = pd.read_parquet(SAMPLES / file)
    frame = frame[frame["ticker"] == ticker].set_index("date")
    frame.index = pd.to_datetime(frame.index)
    frame = frame.loc[first:last]
    return (frame["open"] * frame["adj_close"] / frame["close"]).to_numpy(), frame["adj_close"].to_numpy()


def market(seed: int, *, bars: int = 1000, night_share: float = 0.3) -> tuple[Array, Array]:
    """Return opens and closes of a market with this share of the variance at night."""
    rng = np.random.default_rng(seed)
    night = 0.01 * math.sqrt(night_share) * rng.standard_t(5, bars)
    day = 0.01 * math.sqrt(1 - night_share) * rng.standard_t(5, bars)
    closes = 100 * np.exp(np.cumsum(night + day))
    return np.concatenate([[100.0], closes[:-1]]) * np.exp(night), closes


def stale_windows_by_loop(opens: Array, closes: Array, *, sessions_per_bar: float = 1.0) -> list[bool]:
    """Return the same window by window, with SciPy."""
    night, full = np.log(opens[1:] / closes[:-1]), np.log(closes[1:] / closes[:-1])
    stale = []
    for start in range(0, len(night) - 251, 126):
        clipped = []
        for values in (night[start : start + 252], full[start : start + 252]):
            median = np.median(values)
            limit = 5 * stats.median_abs_deviation(values)
            clipped.append(np.array([min(max(value, median - limit), median + limit) for value in values]))
        ratio = sessions_per_bar * clipped[0].var() / clipped[1].var()
        fit = stats.linregress(clipped[0], clipped[1])
        stale.append(bool(ratio < 0.05 or (ratio < 0.15 and fit.slope - 2 * fit.stderr > 1.5)))
    return stale


@pytest.mark.parametrize("night_share", [0.02, 0.045, 0.05, 0.055, 0.1, 0.3])
@pytest.mark.parametrize("part_of_move", [1.0, 0.5])
def test_windows_equal_a_loop_with_scipy(night_share: float, part_of_move: float) -> None:
    """Opens that hold half of the night's move have a small variance and a slope of 2."""
    opens, closes = market(1, bars=2000, night_share=night_share)
    previous = np.concatenate([[100.0], closes[:-1]])
    opens = previous * (opens / previous) ** part_of_move
    expected = stale_windows_by_loop(opens, closes)
    assert len(expected) == 14
    assert stale_open_windows(opens, closes, sessions_per_year=252).tolist() == expected


@pytest.mark.parametrize(("first", "last", "stale"), [("1999", "2015", True), ("2017", "2018", False)])
def test_opens_of_the_index_are_stale_until_2016(first: str, last: str, stale: bool) -> None:
    opens, closes = sample_opens_and_closes("sp500_1999_2018.parquet", "^GSPC", first, last)
    windows = stale_open_windows(opens, closes, sessions_per_year=252)
    assert len(windows) > 1
    assert (windows == stale).all()


@pytest.mark.parametrize("ticker", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_opens_of_stocks_are_not_stale(ticker: str) -> None:
    opens, closes = sample_opens_and_closes("stocks5_2000_2013.parquet", ticker, "2000", "2013")
    windows = stale_open_windows(opens, closes, sessions_per_year=252)
    assert len(windows) > 1
    assert not windows.any()


def test_opens_near_the_close_before_are_stale() -> None:
    rng = np.random.default_rng(2)
    _, closes = market(2)
    previous = np.concatenate([[100.0], closes[:-1]])
    for jitter in (0.0, 0.0005):
        opens = previous * np.exp(rng.normal(0, jitter, len(closes)))
        assert stale_open_windows(opens, closes, sessions_per_year=252).all()


def test_a_market_that_never_closes_has_no_stale_opens() -> None:
    _, closes = market(3)
    opens = np.concatenate([[100.0], closes[:-1]])
    assert not stale_open_windows(opens, closes, sessions_per_year=365).any()


def test_weekly_bars_are_judged_by_the_variance_of_a_session() -> None:
    """A weekend with a tenth of a session's variance is a fiftieth of a week's."""
    opens, closes = market(4, night_share=0.02)
    assert not stale_open_windows(opens, closes, sessions_per_year=52).any()
    assert stale_windows_by_loop(opens, closes, sessions_per_bar=252 / 52) == [False] * 6
    opens, closes = market(4, night_share=0.005)
    assert stale_open_windows(opens, closes, sessions_per_year=52).all()


def test_bars_without_an_open_are_left_out() -> None:
    opens, closes = market(5, bars=700)
    opens[1::2] = np.nan
    assert len(stale_open_windows(opens, closes, sessions_per_year=252)) == 1
    assert len(stale_open_windows(opens[:200], closes[:200], sessions_per_year=252)) == 0
    assert len(stale_open_windows(np.full_like(opens, np.nan), closes, sessions_per_year=252)) == 0
