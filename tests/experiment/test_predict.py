"""What `predict` says on a day is what the backtest used that day, and it says why and how old it is."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.policies import Threshold
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.errors import UserError
from quantlr.core.values import Prices
from quantlr.data.prices import load_prices
from quantlr.experiment.predict import position_text, predict, predict_newest_rows
from quantlr.pipeline.stages import forecast_and_decide

from markets import random_walk_prices

TODAY = dt.date(2030, 1, 1)


def config(tickers: int, **sections: dict[str, Any]) -> RunConfig:
    return load_config(
        {
            "name": "said",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{at}" for at in range(tickers)]},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [10]}],
            "model": {"tol": 1e-12, "l2": 0.01, **sections.pop("model", {})},
            "policy": {"long_above": 0.51, "short_below": 0.49},
            "walk_forward": {"train": 120, **sections.pop("walk_forward", {})},
            **sections,
        }
    ).run


REPLAYED = [
    {"label": {"horizon": 1}},
    {"label": {"horizon": 5}},
    {"label": {"horizon": 1}, "model": {"scope": "pooled"}},
    {"label": {"horizon": 5}, "model": {"scope": "pooled", "half_life": 60}, "walk_forward": {"window": "rolling"}},
]


@pytest.mark.parametrize("sections", REPLAYED, ids=["alone-1", "alone-5", "pooled-1", "pooled-5"])
def test_what_was_said_on_250_days_or_every_fifth_of_them_is_what_the_backtest_used(sections: dict[str, Any]) -> None:
    tickers = 1 if sections == REPLAYED[0] else 2
    prices = random_walk_prices(7, n_sessions=400, n_tickers=tickers, with_gaps=True)
    walk = {"refit_every": 84, **sections.get("walk_forward", {})}
    setting = config(tickers, **{**sections, "walk_forward": walk})
    used = forecast_and_decide(setting, prices)
    forecasts, weight = used.forecasts, used.positions.weight
    at = {key: row for row, key in enumerate(zip(forecasts.ticker, forecasts.session, strict=True))}
    compared, near = 0, 0
    for session in range(150, 400, 1 if sections == REPLAYED[0] else 5):
        for said in predict_newest_rows(setting, prices.before_session(session + 1), today=TODAY).tickers:
            ticker, then = prices.tickers.index(said.ticker), prices.sessions.get_loc(said.as_of)
            row = at[ticker, then]
            assert said.probability == pytest.approx(forecasts.probability[row], abs=1e-7, rel=0)
            held = range(max(row - forecasts.horizon + 1, 0), row + 1)
            if any(np.abs(forecasts.probability[at_] - edge) < 1e-6 for at_ in held for edge in (0.49, 0.51)):
                near += 1
                continue
            assert said.weight == weight[then, ticker]
            compared += 1
    assert compared > (200 if tickers == 1 else 40 * tickers)
    assert near < 10
    assert len(np.unique(weight[~np.isnan(weight)])) > 2


@pytest.mark.parametrize("calibration", [None, "platt"])
@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_contributions_and_the_rest_add_up_to_the_log_odds(scope: str, calibration: str | None) -> None:
    prices = random_walk_prices(3, n_sessions=700, n_tickers=2)
    setting = config(2, model={"scope": scope, "calibration": calibration, "l2": 0.01})
    found = forecast_and_decide(setting, prices)
    for said in predict_newest_rows(setting, prices, today=TODAY).tickers:
        total = said.at_the_mean + sum(part.log_odds for part in said.contributions)
        assert total == pytest.approx(said.log_odds, abs=1e-12, rel=0)
        assert said.probability == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-12, rel=0)
        mine = slice(None) if scope == "pooled" else found.dataset.ticker_slice(prices.tickers.index(said.ticker))
        dates = found.dataset.sessions[found.dataset.session[mine]]
        first, last = pd.Timestamp(said.trained.first), pd.Timestamp(said.trained.last)
        trains = np.asarray((dates >= first) & (dates <= last))
        mean = found.dataset.features[mine][trains].mean(axis=0)
        assert said.trained.rows == trains.sum()
        np.testing.assert_allclose([part.mean for part in said.contributions], mean, rtol=1e-12)
        for part in said.contributions:
            assert part.log_odds == pytest.approx(part.coefficient * (part.value - part.mean), abs=1e-15)


def test_the_newest_value_and_the_newest_label_that_is_known_are_the_ones_of_the_timing_rule() -> None:
    prices = random_walk_prices(5, n_sessions=300)
    said = predict_newest_rows(
        config(1, label={"horizon": 5}, walk_forward={"refit_every": 1}), prices, today=TODAY
    ).tickers[0]
    lag = said.contributions[0]
    assert lag.feature == "lagged_returns_1"
    assert lag.value == pytest.approx(math.log(prices.close[-1, 0] / prices.close[-2, 0]))
    assert said.as_of == said.trained.refit == str(prices.sessions[-1].date())
    assert said.trained.last == str(prices.sessions[-1 - 5].date())


@pytest.mark.parametrize(
    ("weight", "words"),
    [(0.0, "flat"), (1.0, "long 100% of equity"), (0.2, "long 20% of equity"), (-1 / 3, "short 33.33% of equity")],
)
def test_a_position_is_said_in_words(weight: float, words: str) -> None:
    assert position_text(weight) == words


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        ("next_close", "at the close of the session after 2011-02-25"),
        ("next_open", "at the open of the session after 2011-02-25"),
        ("close", "at the close of 2011-02-25 itself, which nobody"),
    ],
)
def test_it_says_when_the_position_would_be_traded(fill: str, words: str) -> None:
    prices = random_walk_prices(5, n_sessions=300)
    said = predict_newest_rows(config(1, execution={"fill": fill}), prices, today=TODAY).tickers[0]
    assert said.filled.startswith(words)


@pytest.mark.parametrize(
    ("today", "warned"),
    [
        ("2011-02-25", None),
        ("2011-03-02", None),
        ("2011-03-03", "stale: 2011-02-25 is 6 days before today, 2011-03-03; fetch newer prices, or move data.end"),
        ("2011-02-24", "2011-02-25 is after today, 2011-02-24: the clock or the prices' dates are wrong"),
    ],
)
def test_prices_older_than_some_days_are_called_stale(today: str, warned: str | None) -> None:
    prices = random_walk_prices(5, n_sessions=300)
    (said,) = predict_newest_rows(config(1), prices, today=dt.date.fromisoformat(today)).tickers
    assert said.age == (dt.date.fromisoformat(today) - dt.date(2011, 2, 25)).days
    assert said.warnings == ((warned,) if warned else ())


def ends_early(prices: Prices, *, ticker: int, by: int) -> Prices:
    """Return prices without the newest `by` bars of one ticker."""
    session = prices.session.copy()
    session[len(session) - by :, ticker] = -1
    fields: dict[str, Any] = {
        name: np.where(session >= 0, getattr(prices, name), np.nan)
        for name in ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
    }
    return replace(prices, session=session, **fields)


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_a_ticker_that_lacks_the_newest_session_is_said_to_be_behind(scope: str) -> None:
    prices = ends_early(random_walk_prices(5, n_sessions=300, n_tickers=2), ticker=1, by=2)
    fresh, behind = predict_newest_rows(config(2, model={"scope": scope}), prices, today=dt.date(2011, 2, 26)).tickers
    assert (fresh.as_of, fresh.warnings) == ("2011-02-25", ())
    assert behind.as_of == "2011-02-23"
    (warned,) = behind.warnings
    assert warned == (
        "no bar after 2011-02-23, while others go on to 2011-02-25 (2 sessions later); a backtest takes it to be sold "
        "at its last bar"
    )


def test_the_first_forecast_there_is_can_be_asked_for_though_nothing_is_known_of_it() -> None:
    setting = config(1).model_copy(update={"policy": Threshold()})
    prices = random_walk_prices(5, n_sessions=300)
    (first,) = predict_newest_rows(setting, prices.before_session(10 + 120 + 1), today=TODAY).tickers
    assert first.as_of == first.trained.refit
    with pytest.raises(UserError, match="the first fold needs 121 rows"):
        predict_newest_rows(setting, prices.before_session(10 + 120), today=TODAY)


def test_a_mapping_will_do_for_a_config() -> None:
    bare: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["FB"]},
        "features": [{"kind": "lagged_returns"}],
    }
    said = predict(bare, overrides={"walk_forward.train": 100}, today=TODAY)
    assert [one.ticker for one in said.tickers] == ["FB"]
    assert said.sha256 == load_prices(load_config(bare).run.data).sha256
    with pytest.raises(UserError, match=r"^overrides: walk_forward.train: FB: the first fold needs 501 rows"):
        predict(bare, overrides={"walk_forward.train": 500}, today=TODAY)
