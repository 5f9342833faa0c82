"""Tickers that are looked at and not traded: what of them is known when, and how old it may be."""

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
from quantlr.data.prices import DataSpec, load_prices, prices_from_bars
from quantlr.data.sources import SampleSource
from quantlr.testing.markets import random_walk_bars

from markets import random_walk_prices

pytestmark = pytest.mark.usefixtures("undrawn")


def market(seed: int, *, missing: float = 0.3) -> Prices:
    """Return two tickers with holes, beside an index that keeps other holidays."""
    rng = np.random.default_rng(seed)
    prices = random_walk_prices(seed, n_sessions=80, n_tickers=2, with_gaps=True)
    days = pd.date_range(prices.sessions[0] - pd.Timedelta(days=9), periods=120).as_unit("us")
    index = random_walk_bars(rng, days[rng.random(len(days)) > missing])
    return replace(prices, context=prices_from_bars({"IX": index}, source="", sha256="", notes=[]))


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), lag=st.integers(1, 4))
def test_a_bar_is_given_the_newest_of_its_date_or_before(seed: int, lag: int) -> None:
    """Bar by bar, through a list of dates."""
    prices = market(seed)
    context = prices.context
    assert context is not None
    found = ContextReturns(ticker="IX", lags=(lag,), max_age=60).compute(prices)[f"context_returns_IX_{lag}"]
    dates, close = list(context.sessions), context.close[:, 0]
    for ticker, bars in enumerate(prices.n_bars):
        for bar in range(bars):
            date = prices.sessions[prices.session[bar, ticker]]
            known = [at for at, other in enumerate(dates) if other <= date]
            if len(known) <= lag:
                assert np.isnan(found[bar, ticker])
            else:
                newest = known[-lag]
                assert found[bar, ticker] == pytest.approx(math.log(close[newest] / close[newest - 1]), abs=1e-13)


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), cut=st.integers(0, 80))
def test_prices_before_a_session_have_the_context_up_to_the_session_before(seed: int, cut: int) -> None:
    prices = market(seed)
    then = prices.before_session(cut)
    assert prices.context is not None
    assert then.context is not None
    last = prices.sessions[cut - 1] if cut else pd.Timestamp.min
    kept = [date for date in prices.context.sessions if date <= last]
    assert list(then.context.sessions) == kept
    assert then.context.n_bars[0] == len(kept)
    assert then.context.close.shape == (len(kept), 1)


def test_a_value_too_old_stops_the_run_and_names_its_date() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    context = random_walk_bars(np.random.default_rng(1), prices.sessions.delete([20, 21]))
    beside = replace(prices, context=prices_from_bars({"IX": context}, source="", sha256="", notes=[]))
    date, before = (prices.sessions[at].strftime("%Y-%m-%d") for at in (20, 19))
    with pytest.raises(
        DataError, match=rf"^{date}: the newest bar of IX is of {before}, \d days older, and max_age allows 0 \(2 such"
    ):
        ContextReturns(ticker="IX").compute(beside)
    found = ContextReturns(ticker="IX", max_age=4).compute(beside)["context_returns_IX_1"][:, 0]
    assert found[20] == found[21] == found[19]
    assert np.isfinite(found[1:]).all()


def test_an_age_is_counted_in_calendar_days_and_may_be_as_large_as_allowed() -> None:
    prices = random_walk_prices(1, n_sessions=40)
    friday, monday = prices.sessions[4], prices.sessions[5]
    assert (monday - friday).days == 3
    context = random_walk_bars(np.random.default_rng(1), prices.sessions.delete(5))
    beside = replace(prices, context=prices_from_bars({"IX": context}, source="", sha256="", notes=[]))
    ContextReturns(ticker="IX", max_age=3).compute(beside)
    with pytest.raises(DataError, match="3 days older, and max_age allows 2"):
        ContextReturns(ticker="IX", max_age=2).compute(beside)


def test_a_context_that_begins_later_is_warm_up() -> None:
    prices = random_walk_prices(2, n_sessions=40)
    context = random_walk_bars(np.random.default_rng(2), prices.sessions[10:])
    beside = replace(prices, context=prices_from_bars({"IX": context}, source="", sha256="", notes=[]))
    found = ContextReturns(ticker="IX", lags=(2,)).compute(beside)["context_returns_IX_2"][:, 0]
    assert np.isfinite(found).argmax() == 12


def test_a_traded_ticker_may_be_looked_at_too() -> None:
    prices = random_walk_prices(3, n_sessions=40, n_tickers=2)
    found = ContextReturns(ticker="T1", lags=(1,)).compute(prices)["context_returns_T1_1"]
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_allclose(found[1:, 0], np.log(prices.close[1:, 1] / prices.close[:-1, 1]))


def test_newest_known() -> None:
    dates = pd.DatetimeIndex(["2020-01-02", "2020-01-04"])
    at = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2021-01-01"])
    assert latest_known_bar_index(dates, at).tolist() == [-1, 0, 0, 1, 1]


def test_context_is_fetched_checked_and_cut_to_the_dates_like_what_is_traded() -> None:
    written: dict[str, Any] = {"source": SampleSource(), "tickers": ("AAPL", "IBM"), "start": "2003-01-02"}
    prices = load_prices(DataSpec.model_validate({**written, "context": ("^GSPC",)}))
    bare = load_prices(DataSpec.model_validate(written))
    assert prices.context is not None
    assert (prices.tickers, prices.context.tickers) == (("AAPL", "IBM"), ("^GSPC",))
    assert prices.context.sessions[0] == pd.Timestamp("2003-01-02")
    np.testing.assert_array_equal(prices.close, bare.close)
    assert prices.sha256 != bare.sha256, "what a run was made of includes the context"
    assert not any("opens not tradable" in note.text and note.ticker == "^GSPC" for note in prices.notes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"context": ["AAPL"]}, r"data\.context: traded already, and features may look at what is traded: AAPL"),
        ({"context": ["^GSPC", "^GSPC"]}, r"data\.context: each ticker once; twice here: \^GSPC"),
        ({"context": [None]}, r"data\.context\.0: a ticker is text, and this reads as a YAML word; quote it"),
    ],
)
def test_a_context_that_can_not_be(data: dict[str, Any], said: str) -> None:
    written = {"data": {"source": {"kind": "sample"}, "tickers": ["AAPL"], **data}, "features": [{"kind": "rsi"}]}
    with pytest.raises(ConfigError, match=said):
        quantlr.run(written)


def stocks(**data: Any) -> dict[str, Any]:
    return {
        "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "IBM"], "end": "2005-12-30", **data},
        "features": [{"kind": "lagged_returns", "lags": [1]}, {"kind": "context_returns", "ticker": "^GSPC"}],
        "walk_forward": {"train": 500, "refit_every": 250},
    }


def test_context_is_in_no_fold_no_position_and_no_benchmark() -> None:
    done = quantlr.run({**stocks(context=["^GSPC"]), "label": {"kind": "outperformance", "benchmark": "^GSPC"}})
    assert set(done.forecasts["ticker"]) == set(done.positions["ticker"]) == {"AAPL", "IBM"}
    assert done.metrics["data"]["tickers"] == ["AAPL", "IBM"]
    assert done.run_data.result.benchmark is not None
    assert done.run_data.result.benchmark.tickers == ("AAPL", "IBM")
    assert list(done.run_data.dataset.columns) == ["lagged_returns_1", "context_returns_^GSPC_1"]


def test_a_context_that_was_not_asked_for_is_an_error_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "data: {source: {kind: sample}, tickers: [AAPL, IBM]}\nfeatures:\n  - {kind: context_returns, ticker: ^GSPC}\n"
    )
    with pytest.raises(UserError) as caught:
        quantlr.run(path)
    assert caught.value.message == (
        f"{path}:1:7: data.context: '^GSPC' is looked at and was not fetched, AAPL, IBM were; add it"
    )
