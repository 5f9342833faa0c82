"""Aggregation of bars by session, against pandas' resampling, and the rules that know of the frequency."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import DataError
from quantlr.core.values import Prices
from quantlr.data.bars import bar_period
from quantlr.data.markets import MarketSources
from quantlr.data.price_rows import PriceRows
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.rule_results import ValidationContext
from quantlr.data.validation import QualitySpec, validate_price_rows
from quantlr.pipeline.stages import load_run_prices

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


DAILY = pd.bdate_range("2018-01-01", "2020-06-26")


def longer_bars(daily: pd.DataFrame, freq: str, *, dated_on_first_day: bool) -> pd.DataFrame:
    """Return bars of whole periods, dated on the period's first day, or on its last session."""
    periods = pd.DatetimeIndex(daily.index).to_period(freq)
    bars = daily.groupby(periods).agg(HOW)
    last_sessions = daily.index.to_series().groupby(periods).max()
    dates = [period.start_time.normalize() for period in bars.index] if dated_on_first_day else list(last_sessions)
    return bars.set_axis(pd.DatetimeIndex(dates, name="Date"))


def load_with_context(folder: Path, traded: pd.DataFrame, context: pd.DataFrame, **data: Any) -> Prices:
    traded.to_csv(folder / "X.csv")
    context.to_csv(folder / "C.csv")
    source = {"kind": "file", "path": str(folder)}
    features = [{"kind": "context_returns", "ticker": "C", "lags": [1], "max_age": 40}]
    config = {"name": "t", "data": {"source": source, "tickers": ["X"], "context": ["C"], **data}, "features": features}
    return load_run_prices(load_config(config).run)


@pytest.mark.parametrize(
    ("freq", "advice"), [("W-SUN", "data.bars: weekly"), ("M", "data.bars: monthly"), ("Q", "give their daily bars")]
)
@pytest.mark.parametrize("dated_on_first_day", [False, True])
def test_daily_bars_do_not_read_longer_ones(tmp_path: Path, freq: str, advice: str, dated_on_first_day: bool) -> None:
    """A weekly bar dated on Monday has Friday's close: by its date, a daily row would know it four days early."""
    daily = random_bars(pd.bdate_range("2015-01-01", "2020-06-30"))
    longer = longer_bars(daily, freq, dated_on_first_day=dated_on_first_day)
    with pytest.raises(DataError, match=rf"X has daily bars and C has .*, and features\.0 reads both.*{advice}"):
        load_with_context(tmp_path, daily, longer)


def test_weekly_bars_dated_on_other_days_are_not_compared(tmp_path: Path) -> None:
    daily = random_bars(DAILY)
    first, last = (longer_bars(daily, "W-SUN", dated_on_first_day=is_first) for is_first in (True, False))
    with pytest.raises(DataError, match=r"dated on Mondays and C has weekly bars dated on Fridays"):
        load_with_context(tmp_path, first, last)
    prices = load_with_context(tmp_path, first, last, bars="weekly")
    assert prices.context is not None
    assert prices.sessions.tolist() == prices.context.sessions.tolist()
    assert load_with_context(tmp_path, first, first).sessions.tolist() == first.index.tolist()


@pytest.mark.parametrize(("bars", "freq"), [("weekly", "W-SUN"), ("monthly", "M")])
def test_bars_dated_on_the_first_day_join_daily_ones_of_the_same_period(tmp_path: Path, bars: str, freq: str) -> None:
    """A weekly bar dated on Monday the 29th, with the close of Friday the 2nd, is one of the month of the 2nd."""
    daily = random_bars(DAILY)
    weekly = longer_bars(daily, "W-SUN", dated_on_first_day=True)
    prices = load_with_context(tmp_path, daily, weekly, bars=bars)
    ends = longer_bars(daily, "W-SUN", dated_on_first_day=False)
    expected = ends["Close"].groupby(pd.DatetimeIndex(ends.index).to_period(freq)).last()
    assert prices.context is not None
    context = prices.context
    found = pd.Series(context.close[:, 0], context.sessions.to_period(freq))
    both = found.index.intersection(expected.index)
    assert len(both) > 25
    np.testing.assert_allclose(found[both], expected[both], rtol=1e-12)
    if bars == "weekly":
        assert prices.sessions.tolist() == context.sessions.tolist()


def test_weekly_bars_dated_on_sundays_are_not_joined_with_others(tmp_path: Path) -> None:
    daily = random_bars(DAILY)
    sundays = longer_bars(daily, "W-SAT", dated_on_first_day=True)
    with pytest.raises(DataError, match="C has weekly bars dated on Sundays, which may be the first or the last day"):
        load_with_context(tmp_path, daily, sundays, bars="weekly")


def test_a_ticker_that_rarely_trades_has_daily_bars() -> None:
    """Its median gap is that of weekly bars, and it has two bars in some weeks."""
    assert bar_period(DAILY[np.cumsum([5, 5, 5, 5] * 30)].to_numpy().astype("datetime64[D]")) is not None
    assert bar_period(DAILY[np.cumsum([5, 5, 1, 5] * 30)].to_numpy().astype("datetime64[D]")) is None
    assert bar_period(DAILY.to_numpy().astype("datetime64[D]")) is None


@pytest.mark.parametrize(
    ("ticker", "freq", "newest", "now", "is_dropped"),
    [
        ("X", "W-MON", "2020-06-01", "2020-06-05 23:59", True),  # Friday
        ("X", "W-MON", "2020-06-01", "2020-06-06 00:01", False),
        ("BTC-USD", "W-MON", "2020-06-01", "2020-06-07 23:59", True),
        ("BTC-USD", "W-MON", "2020-06-01", "2020-06-08 00:01", False),
        ("X", "MS", "2020-06-01", "2020-06-30 12:00", True),
        ("X", "MS", "2020-06-01", "2020-07-01 00:01", False),
        ("X", "W-FRI", "2020-06-05", "2020-06-05 23:59", False),  # dated on the last day
        ("X", "ME", "2020-05-31", "2020-06-01 00:01", False),
    ],
)
def test_a_longer_bar_is_left_out_until_its_period_is_over(
    ticker: str, freq: str, newest: str, now: str, is_dropped: bool
) -> None:
    dates = pd.date_range(end=newest, periods=30, freq=freq).as_unit("us")
    rows = PriceRows.from_bars({ticker: random_bars(dates).rename(columns=str.lower)})
    context = ValidationContext(
        dt.date(2030, 1, 1), {}, dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC), MarketSources()
    )
    kept, notes = validate_price_rows(rows, QualitySpec(), context)
    assert len(kept) == len(dates) - is_dropped
    assert ("data.quality.unfinished" in [note.key for note in notes]) == is_dropped


@pytest.mark.parametrize(("frequency", "bars"), [("W-FRI", "daily"), ("ME", "weekly"), ("QE", "monthly")])
def test_bars_that_are_longer_than_those_asked_for_are_refused(tmp_path: Path, frequency: str, bars: str) -> None:
    frame = random_bars(pd.date_range("2010-01-01", periods=30, freq=frequency))
    with pytest.raises(DataError, match=f"which can't be divided into {bars} ones") as caught:
        load(tmp_path, frame, bars=bars)
    assert caught.value.key == "data.bars"
