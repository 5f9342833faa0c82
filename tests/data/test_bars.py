"""Aggregation of bars by session, against pandas' resampling, and the rules that know of the frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.prices import DataSpec, load_prices

HOW = {"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"}


def random_bars(index: pd.DatetimeIndex, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(index))))
    opens = close * np.exp(rng.normal(0, 0.004, len(index)))
    high, low = np.maximum(opens, close) * 1.003, np.minimum(opens, close) * 0.997
    columns = {"Open": opens, "High": high, "Low": low, "Close": close, "Volume": rng.integers(1, 99, len(index))}
    return pd.DataFrame(columns, index=index.rename("Date"))


def load(folder: Path, frame: pd.DataFrame, **keys: Any) -> Prices:
    frame.to_csv(folder / "x.csv")
    source = {"kind": "file", "path": str(folder / "x.csv")}
    return load_prices(DataSpec.model_validate({"source": source, "tickers": ["X"], **keys}))


def assert_same_bars(prices: Prices, expected: pd.DataFrame) -> None:
    assert prices.sessions.tolist() == expected.index.tolist()
    for name in HOW:
        np.testing.assert_allclose(getattr(prices, name.lower())[:, 0], expected[name], rtol=1e-12)


@pytest.mark.parametrize(("bars", "rule"), [("weekly", "W-SUN"), ("monthly", "ME")])
def test_aggregated_bars_equal_pandas_resampling(tmp_path: Path, bars: str, rule: str) -> None:
    """Dated by the last session; the last period, to Wednesday 2012-02-15, is not over and is left out."""
    days = pd.bdate_range("2010-01-04", "2012-02-15")
    daily = random_bars(days[np.arange(len(days)) % 13 != 4])
    expected = daily.resample(rule).agg(HOW)
    expected.index = pd.DatetimeIndex(daily.index.to_series().resample(rule).last())
    prices = load(tmp_path, daily, bars=bars)
    assert_same_bars(prices, expected.iloc[:-1])
    assert [note.key for note in prices.notes] == ["data.bars"]
    assert prices.counted_sessions_per_year == {"weekly": 52, "monthly": 12}[bars]


@pytest.mark.parametrize("newest_first", [False, True])
def test_intraday_bars_are_named_and_joined_to_days(tmp_path: Path, newest_first: bool) -> None:
    times = [
        day + pd.Timedelta(hours=hour) for day in pd.bdate_range("2020-01-06", "2020-03-06") for hour in range(10, 16)
    ]
    hourly = random_bars(pd.DatetimeIndex(times))
    expected = hourly.resample("D").agg(HOW).dropna()
    written = hourly[::-1] if newest_first else hourly
    with pytest.raises(DataError, match=r"intraday bars, 6 of this date; write data\.bars: daily"):
        load(tmp_path, written)
    assert_same_bars(load(tmp_path, written, bars="daily"), expected)


def test_split_within_a_week_is_no_move(tmp_path: Path) -> None:
    """Raw prices halve on Wednesday, adjusted ones stay: the week's high and low are those of adjusted prices."""
    daily = random_bars(pd.bdate_range("2020-01-06", "2020-02-07"))
    adjusted = daily.resample("W-SUN").agg(HOW)
    before = daily.index < pd.Timestamp("2020-01-22")
    raw = daily.assign(**{"Adj Close": daily["Close"]})
    raw.loc[before, ["Open", "High", "Low", "Close"]] *= 2.0
    prices = load(tmp_path, raw, bars="weekly")
    for name in ("Open", "High", "Low", "Close"):
        np.testing.assert_allclose(getattr(prices, name.lower())[:, 0], adjusted[name], rtol=1e-12)


@pytest.mark.parametrize(("freq", "missing_gap"), [("W-FRI", 14), ("MS", 61), ("BME", 61)])
def test_gaps_are_judged_by_the_frequency(tmp_path: Path, freq: str, missing_gap: int) -> None:
    """With a calendar of sessions too, weekly and monthly bars are complete; one missing bar is a gap."""
    dates = pd.date_range("2010-01-01", "2014-12-31", freq=freq)
    for keys in ({}, {"calendar": "XNYS"}):
        assert not load(tmp_path, random_bars(dates), **keys).notes
    (note,) = load(tmp_path, random_bars(dates.delete(20))).notes
    assert note.key == "data.quality.gaps"
    assert abs((dates[21] - dates[19]).days - missing_gap) <= 3
