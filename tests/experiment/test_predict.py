"""A prediction equals the backtest's forecast and position of that day, with its contributions and age."""

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
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.predict import Predictions, position_text, predict, predict_newest_rows
from quantlr.pipeline.stages import forecast_and_decide, run_stages

from markets import random_walk_prices

TODAY = dt.date(2030, 1, 1)


def config(tickers: int, **sections: dict[str, Any]) -> RunConfig:
    return load_config(
        {
            "name": "signals",
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{number}" for number in range(tickers)]},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [10]}],
            "model": {"tol": 1e-12, "l2": 0.01, **sections.pop("model", {})},
            "policy": {"long_above": 0.51, "short_below": 0.49},
            "walk_forward": {"train": 120, **sections.pop("walk_forward", {})},
            **sections,
        }
    ).run


def predict_prices(config: RunConfig, prices: Prices, *, today: dt.date) -> Predictions:
    return predict_newest_rows(config, prices, forecast_and_decide(config, prices), today=today)


VARIANTS = [
    {"label": {"horizon": 1}},
    {"label": {"horizon": 5}},
    {"label": {"horizon": 1}, "model": {"scope": "pooled"}},
    {"label": {"horizon": 5}, "model": {"scope": "pooled", "half_life": 60}, "walk_forward": {"window": "rolling"}},
]


@pytest.mark.parametrize("sections", VARIANTS, ids=["alone-1", "alone-5", "pooled-1", "pooled-5"])
def test_predictions_made_day_by_day_equal_the_backtest(sections: dict[str, Any]) -> None:
    tickers = 1 if sections == VARIANTS[0] else 2
    prices = random_walk_prices(7, n_sessions=400, n_tickers=tickers, with_gaps=True)
    walk = {"refit_every": 84, **sections.get("walk_forward", {})}
    run_config = config(tickers, **{**sections, "walk_forward": walk})
    decisions = forecast_and_decide(run_config, prices)
    forecasts, weight = decisions.forecasts, decisions.positions.weight
    row_by_key = {key: row for row, key in enumerate(zip(forecasts.ticker, forecasts.session, strict=True))}
    n_compared, n_near_threshold = 0, 0
    for session in range(150, 400, 2 if sections == VARIANTS[0] else 5):
        for prediction in predict_prices(run_config, prices.before_session(session + 1), today=TODAY).tickers:
            ticker, as_of = prices.tickers.index(prediction.ticker), prices.sessions.get_loc(prediction.as_of)
            row = row_by_key[ticker, as_of]
            assert prediction.probability == pytest.approx(forecasts.probability[row], abs=1e-7, rel=0)
            averaged = range(max(row - forecasts.horizon + 1, 0), row + 1)
            if any(
                np.abs(forecasts.probability[index] - threshold) < 1e-6
                for index in averaged
                for threshold in (0.49, 0.51)
            ):
                n_near_threshold += 1
                continue
            assert prediction.weight == weight[as_of, ticker]
            n_compared += 1
    assert n_compared > (100 if tickers == 1 else 40 * tickers)
    assert n_near_threshold < 10
    assert len(np.unique(weight[~np.isnan(weight)])) > 2


@pytest.mark.parametrize("calibration", [None, "platt"])
@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_contributions_add_up_to_the_log_odds(scope: str, calibration: str | None) -> None:
    prices = random_walk_prices(3, n_sessions=700, n_tickers=2)
    run_config = config(2, model={"scope": scope, "calibration": calibration, "l2": 0.01})
    decisions = forecast_and_decide(run_config, prices)
    for prediction in predict_prices(run_config, prices, today=TODAY).tickers:
        assert prediction.at_the_mean is not None
        total = prediction.at_the_mean + sum(part.log_odds for part in prediction.contributions)
        assert total == pytest.approx(prediction.log_odds, abs=1e-12, rel=0)
        assert prediction.probability == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-12, rel=0)
        rows = (
            slice(None)
            if scope == "pooled"
            else decisions.dataset.ticker_slice(prices.tickers.index(prediction.ticker))
        )
        dates = decisions.dataset.sessions[decisions.dataset.session[rows]]
        first, last = pd.Timestamp(prediction.trained.first), pd.Timestamp(prediction.trained.last)
        is_training = np.asarray((dates >= first) & (dates <= last))
        mean = decisions.dataset.features[rows][is_training].mean(axis=0)
        assert prediction.trained.rows == is_training.sum()
        np.testing.assert_allclose([part.mean for part in prediction.contributions], mean, rtol=1e-12)
        for part in prediction.contributions:
            assert part.log_odds == pytest.approx(part.coefficient * (part.value - part.mean), abs=1e-15)


def test_newest_feature_and_label_follow_the_timing_rule() -> None:
    prices = random_walk_prices(5, n_sessions=300)
    prediction = predict_prices(
        config(1, label={"horizon": 5}, walk_forward={"refit_every": 1}), prices, today=TODAY
    ).tickers[0]
    lag = prediction.contributions[0]
    assert lag.feature == "lagged_returns_1"
    assert lag.value == pytest.approx(math.log(prices.close[-1, 0] / prices.close[-2, 0]))
    assert prediction.as_of == prediction.trained.refit == str(prices.sessions[-1].date())
    assert prediction.trained.last == str(prices.sessions[-1 - 5].date())


@pytest.mark.parametrize(
    ("weight", "text"),
    [(0.0, "flat"), (1.0, "long 100% of equity"), (0.2, "long 20% of equity"), (-1 / 3, "short 33.33% of equity")],
)
def test_position_text(weight: float, text: str) -> None:
    assert position_text(weight) == text


@pytest.mark.parametrize(
    ("fill", "text"),
    [
        ("next_close", "at the close of the session after 2011-02-25"),
        ("next_open", "at the open of the session after 2011-02-25"),
        ("close", "at the close of 2011-02-25 itself, which is not tradable"),
    ],
)
def test_fill_time_text(fill: str, text: str) -> None:
    prices = random_walk_prices(5, n_sessions=300)
    prediction = predict_prices(config(1, execution={"fill": fill}), prices, today=TODAY).tickers[0]
    assert prediction.filled.startswith(text)


@pytest.mark.parametrize(
    ("today", "warning"),
    [
        ("2011-02-25", "the bar of today, 2011-02-25, counts as finished"),
        ("2011-03-02", None),
        ("2011-03-03", "stale: 2011-02-25 is 6 days before today, 2011-03-03"),
        ("2011-02-24", "2011-02-25 is after today, 2011-02-24"),
    ],
)
def test_stale_and_future_prices_are_warned_about(today: str, warning: str | None) -> None:
    prices = random_walk_prices(5, n_sessions=300)
    (prediction,) = predict_prices(config(1), prices, today=dt.date.fromisoformat(today)).tickers
    assert prediction.age == (dt.date.fromisoformat(today) - dt.date(2011, 2, 25)).days
    assert len(prediction.warnings) == (warning is not None)
    assert all(text.startswith(str(warning)) for text in prediction.warnings)


def without_newest_bars(prices: Prices, *, ticker: int, n_bars: int) -> Prices:
    """Return prices without the newest bars of one ticker."""
    session = prices.session.copy()
    session[len(session) - n_bars :, ticker] = -1
    fields: dict[str, Any] = {
        name: np.where(session >= 0, getattr(prices, name), np.nan)
        for name in ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
    }
    return replace(prices, session=session, **fields)


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_ticker_without_the_newest_sessions_is_warned_about(scope: str) -> None:
    prices = without_newest_bars(random_walk_prices(5, n_sessions=300, n_tickers=2), ticker=1, n_bars=2)
    fresh, behind = predict_prices(config(2, model={"scope": scope}), prices, today=dt.date(2011, 2, 26)).tickers
    assert (fresh.as_of, fresh.warnings) == ("2011-02-25", ())
    assert behind.as_of == "2011-02-23"
    (warning,) = behind.warnings
    assert warning.startswith("no bar after 2011-02-23")
    assert "2011-02-25 (2 sessions later)" in warning


def test_first_forecast_without_known_outcome_is_predicted() -> None:
    run_config = config(1).model_copy(update={"policy": Threshold()})
    prices = random_walk_prices(5, n_sessions=300)
    (first,) = predict_prices(run_config, prices.before_session(10 + 120 + 1), today=TODAY).tickers
    assert first.as_of == first.trained.refit
    with pytest.raises(UserError, match="the first fold needs 121 rows"):
        predict_prices(run_config, prices.before_session(10 + 120), today=TODAY)


def test_predict_takes_a_mapping() -> None:
    minimal: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["FB"]},
        "features": [{"kind": "lagged_returns"}],
    }
    predictions = predict(minimal, overrides={"walk_forward.train": 100}, today=TODAY)
    assert [prediction.ticker for prediction in predictions.tickers] == ["FB"]
    assert predictions.sha256 == load_prices(load_config(minimal).run.data).sha256
    with pytest.raises(UserError, match=r"^overrides: walk_forward.train: FB: the first fold needs 501 rows"):
        predict(minimal, overrides={"walk_forward.train": 500}, today=TODAY)


def test_prediction_before_the_first_return_has_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    run_config, verdicts = config(1, walk_forward={"refit_every": 21}), []
    markets = [random_walk_prices(3, n_sessions=n_sessions) for n_sessions in (131, 132, 400)]
    for prices in markets:
        monkeypatch.setattr("quantlr.experiment.predict.load_run_prices", lambda *_, prices=prices, **__: prices)
        verdicts.append(predict(run_config, today=TODAY).verdict)
    assert verdicts[:2] == [None, None]
    assert verdicts[2] == run_config_verdict(run_config, markets[2])


def run_config_verdict(run_config: RunConfig, prices: Prices) -> str:
    metrics = compute_metrics(run_config, run_stages(run_config, prices))
    return str(metrics["verdict"]["sentence"])
