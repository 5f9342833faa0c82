"""Features of reference series: which bar is known at which session, and how old it may be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import ConfigError, DataError, UserError
from quantlr.core.timing import latest_known_bar_index
from quantlr.core.values import Prices
from quantlr.data.features.returns import ContextReturns
from quantlr.data.prices import DataSpec, load_prices, prices_from_ticker_bars
from quantlr.data.sources import SampleSource
from quantlr.testing.contract import random_walk_bars

from markets import random_walk_prices

pytestmark = pytest.mark.usefixtures("without_drawing")


def market(seed: int, *, missing: float = 0.3) -> Prices:
    """Return two tickers with missing sessions, and an index with other holidays as context."""
    rng = np.random.default_rng(seed)
    prices = random_walk_prices(seed, n_sessions=80, n_tickers=2, with_gaps=True)
    days = pd.date_range(prices.sessions[0] - pd.Timedelta(days=9), periods=120).as_unit("us")
    index = random_walk_bars(rng, days[rng.random(len(days)) > missing])
    return replace(prices, context=prices_from_ticker_bars({"IX": index}, source="", sha256="", notes=[]))


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), lag=st.integers(1, 4))
def test_a_bar_uses_the_newest_bar_of_its_date_or_earlier(seed: int, lag: int) -> None:
    """Against a search through the list of dates, bar by bar."""
    prices = market(seed)
    context = prices.context
    assert context is not None
    values = ContextReturns(ticker="IX", lags=(lag,), max_age=60).compute(prices)[f"context_returns_IX_{lag}"]
    dates, close = list(context.sessions), context.close[:, 0]
    for ticker, bars in enumerate(prices.n_bars):
        for bar in range(bars):
            date = prices.sessions[prices.session[bar, ticker]]
            known = [index for index, other in enumerate(dates) if other <= date]
            if len(known) <= lag:
                assert np.isnan(values[bar, ticker])
            else:
                newest = known[-lag]
                assert values[bar, ticker] == pytest.approx(math.log(close[newest] / close[newest - 1]), abs=1e-13)


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), cut=st.integers(0, 80))
def test_prices_before_a_session_include_the_context_known_by_then(seed: int, cut: int) -> None:
    prices = market(seed)
    then = prices.before_session(cut)
    assert prices.context is not None
    assert then.context is not None
    last = prices.sessions[cut - 1] if cut else pd.Timestamp.min
    expected = [date for date in prices.context.sessions if date <= last]
    assert list(then.context.sessions) == expected
    assert then.context.n_bars[0] == len(expected)
    assert then.context.close.shape == (len(expected), 1)


def test_a_bar_older_than_max_age_is_an_error_with_its_date() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    context = random_walk_bars(np.random.default_rng(1), prices.sessions.delete([20, 21]))
    prices_with_context = replace(
        prices, context=prices_from_ticker_bars({"IX": context}, source="", sha256="", notes=[])
    )
    date, before = (prices.sessions[index].strftime("%Y-%m-%d") for index in (20, 19))
    with pytest.raises(
        DataError, match=rf"^{date}: the newest bar of IX is of {before}, \d days older, and max_age allows 0 \(2 such"
    ):
        ContextReturns(ticker="IX").compute(prices_with_context)
    values = ContextReturns(ticker="IX", max_age=4).compute(prices_with_context)["context_returns_IX_1"][:, 0]
    assert values[20] == values[21] == values[19]
    assert np.isfinite(values[1:]).all()


def test_age_is_in_calendar_days_and_may_equal_max_age() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    friday, monday = prices.sessions[4], prices.sessions[5]
    assert (monday - friday).days == 3
    context = random_walk_bars(np.random.default_rng(1), prices.sessions.delete(5))
    prices_with_context = replace(
        prices, context=prices_from_ticker_bars({"IX": context}, source="", sha256="", notes=[])
    )
    ContextReturns(ticker="IX", max_age=3).compute(prices_with_context)
    with pytest.raises(DataError, match="3 days older, and max_age allows 2"):
        ContextReturns(ticker="IX", max_age=2).compute(prices_with_context)


def test_sessions_before_the_context_starts_are_warm_up() -> None:
    prices = random_walk_prices(2, n_sessions=40)
    context = random_walk_bars(np.random.default_rng(2), prices.sessions[10:])
    prices_with_context = replace(
        prices, context=prices_from_ticker_bars({"IX": context}, source="", sha256="", notes=[])
    )
    values = ContextReturns(ticker="IX", lags=(2,)).compute(prices_with_context)["context_returns_IX_2"][:, 0]
    assert np.isfinite(values).argmax() == 12


def test_a_traded_ticker_can_be_the_reference() -> None:
    prices = random_walk_prices(3, n_sessions=40, n_tickers=2)
    values = ContextReturns(ticker="T1", lags=(1,)).compute(prices)["context_returns_T1_1"]
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    np.testing.assert_allclose(values[1:, 0], np.log(prices.close[1:, 1] / prices.close[:-1, 1]))


def test_latest_known_bar_index() -> None:
    bar_dates = pd.DatetimeIndex(["2020-01-02", "2020-01-04"])
    dates = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2021-01-01"])
    assert latest_known_bar_index(bar_dates, dates).tolist() == [-1, 0, 0, 1, 1]


def test_context_is_fetched_and_limited_to_the_dates_like_traded_tickers() -> None:
    spec: dict[str, Any] = {"source": SampleSource(), "tickers": ("AAPL", "IBM"), "start": "2003-01-02"}
    prices = load_prices(DataSpec.model_validate({**spec, "context": ("^GSPC",)}))
    without_context = load_prices(DataSpec.model_validate(spec))
    assert prices.context is not None
    assert (prices.tickers, prices.context.tickers) == (("AAPL", "IBM"), ("^GSPC",))
    assert prices.context.sessions[0] == pd.Timestamp("2003-01-02")
    np.testing.assert_array_equal(prices.close, without_context.close)
    assert prices.sha256 != without_context.sha256, "the digest includes the context"
    assert not any("opens not tradable" in note.text and note.ticker == "^GSPC" for note in prices.notes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"context": ["AAPL"]}, r"data\.context: traded already, and features may look at what is traded: AAPL"),
        ({"context": ["^GSPC", "^GSPC"]}, r"data\.context: each ticker once; twice here: \^GSPC"),
        ({"context": [None]}, r"data\.context\.0: a ticker is text, and this reads as a YAML word; quote it"),
    ],
)
def test_invalid_context_is_refused(data: dict[str, Any], message: str) -> None:
    spec = {"data": {"source": {"kind": "sample"}, "tickers": ["AAPL"], **data}, "features": [{"kind": "rsi"}]}
    with pytest.raises(ConfigError, match=message):
        quantlr.run(spec)


def stocks(**data: Any) -> dict[str, Any]:
    return {
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "IBM"], "end": "2005-12-30", **data},
        "features": [{"kind": "lagged_returns", "lags": [1]}, {"kind": "context_returns", "ticker": "^GSPC"}],
        "walk_forward": {"train": 500, "refit_every": 250},
    }


def test_context_is_neither_forecast_nor_traded_nor_in_the_benchmark() -> None:
    run = quantlr.run({**stocks(context=["^GSPC"]), "label": {"kind": "outperformance", "benchmark": "^GSPC"}})
    assert set(run.forecasts["ticker"]) == set(run.positions["ticker"]) == {"AAPL", "IBM"}
    assert run.metrics["data"]["tickers"] == ["AAPL", "IBM"]
    assert run.run_data.result.benchmark is not None
    assert run.run_data.result.benchmark.tickers == ("AAPL", "IBM")
    assert list(run.run_data.dataset.columns) == ["lagged_returns_1", "context_returns_^GSPC_1"]


def test_a_context_ticker_missing_from_data_context_is_an_error_with_its_location(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "data: {source: {kind: sample}, tickers: [AAPL, IBM]}\nfeatures:\n  - {kind: context_returns, ticker: ^GSPC}\n"
    )
    with pytest.raises(UserError) as caught:
        quantlr.run(path)
    assert caught.value.message == (
        f"{path}:1:7: data.context: '^GSPC' is needed and was not fetched, AAPL, IBM were; add it"
    )
