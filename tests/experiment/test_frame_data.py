"""Prices passed as ``data=``, and the tables of features, labels and coefficients of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import quantlr
from quantlr.core.errors import QuantlrError
from quantlr.core.values import Prices
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import FrameSource

from markets import random_walk_bars

CONFIG = {
    "name": "t",
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 60, "refit_every": 20},
}


def history(seed: int) -> pd.DataFrame:
    """Return the bars of one ticker, as yfinance's `history` returns them."""
    bars = random_walk_bars(np.random.default_rng(seed), pd.bdate_range("2020-01-01", periods=120, tz="Asia/Tokyo"))
    bars = bars.drop(columns="adj_close", errors="ignore").rename(columns=str.title).rename_axis("Date")
    return bars.assign(**{"Dividends": 0.0, "Stock Splits": 0.0})


A, B = history(0), history(1)
BY_TICKER = pd.concat({"A": A, "B": B}, axis=1, names=["Ticker", "Price"])
LONG = pd.concat([A.assign(Ticker="A"), B.assign(Ticker="B")]).reset_index()
WIDE = pd.DataFrame({"A": A["Close"], "B": B["Close"]})
SHAPES: dict[str, Any] = {
    "download": BY_TICKER.swaplevel(axis=1).sort_index(axis=1),
    "download grouped by ticker": BY_TICKER,
    "long": LONG,
    "long in the index": pd.concat({"A": A, "B": B}, names=["Ticker"]),
    "long, filtered": LONG.set_axis(np.arange(1, 2 * len(LONG), 2)),
    "wide": WIDE,
    "wide without a name": WIDE.rename_axis(None),
    "histories by ticker": {"A": A, "B": B},
    "polars long": pl.from_pandas(LONG),
    "polars wide": pl.from_pandas(WIDE.reset_index()),
    "Arrow": pl.from_pandas(LONG).to_arrow(),
}


def load(data: Any, *tickers: str) -> Prices:
    source = FrameSource.from_data(data)
    return load_prices(DataSpec(source=source, tickers=tickers or "all"))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_of_each_shape_holds_the_same_prices(shape: str) -> None:
    prices = load(SHAPES[shape])
    assert prices.tickers == ("A", "B")
    np.testing.assert_array_equal(prices.close, WIDE.to_numpy())
    assert list(prices.sessions) == list(pd.DatetimeIndex(WIDE.index).tz_localize(None))


@pytest.mark.parametrize(
    "closes", [A["Close"].rename("A"), A["Close"], A["Close"].rename(None)], ids=["A", "Close", ""]
)
def test_a_series_of_closes_is_read(closes: Any) -> None:
    np.testing.assert_array_equal(load(closes, "A").close, A[["Close"]].to_numpy())


def test_a_history_needs_the_name_of_its_ticker() -> None:
    np.testing.assert_array_equal(load(A, "X").close[:, 0], A["Close"])
    np.testing.assert_array_equal(load(A, "X").volume[:, 0], A["Volume"])
    with pytest.raises(QuantlrError, match="names no ticker; name it"):
        quantlr.plan(CONFIG, data=A)


@pytest.mark.parametrize("data", [5, [1.0], "prices.csv", pl.from_pandas(LONG).lazy()])
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(QuantlrError, match="data= needed a table of prices, found ") as caught:
        quantlr.plan(CONFIG, data=data)
    assert caught.value.exit_status == 2


def test_later_changes_of_the_table_do_not_reach_the_run() -> None:
    table = WIDE.copy()
    source = FrameSource.from_data(table)
    table.loc[:, "A"] = 1.0
    assert load_prices(DataSpec(source=source, tickers=("A",))).close[0, 0] != 1.0


def test_the_digest_follows_every_value_and_heading() -> None:
    digest = FrameSource.from_data(WIDE).sha256
    assert FrameSource.from_data(WIDE.copy()).sha256 == digest
    row = np.arange(len(WIDE))
    changed = [
        WIDE.assign(B=np.where(row == changed_row, WIDE["B"] + 1e-9, WIDE["B"])) for changed_row in (0, 5, row[-1])
    ]
    for table in (*changed, WIDE.rename(columns={"A": "C"}), WIDE.iloc[1:]):
        assert FrameSource.from_data(table).sha256 != digest


def test_a_written_config_asks_for_the_same_prices(tmp_path: Path) -> None:
    run = quantlr.run(CONFIG, data=WIDE)
    path = tmp_path / "c.yaml"
    path.write_text(run.config.to_yaml())
    with pytest.raises(QuantlrError, match="passed as data= from Python; pass them again"):
        quantlr.run(path)
    assert quantlr.run(path, data=WIDE).metrics == run.metrics
    with pytest.raises(QuantlrError, match="the config was run on others"):
        quantlr.run(path, data=LONG)
    assert quantlr.predict(path, data=WIDE).sha256 == run.run_data.prices.sha256
    loaded = quantlr.load_config(CONFIG, data=WIDE)
    assert quantlr.run(loaded, overrides={"seed": 1}).metrics["data"] == run.metrics["data"]


def test_features_labels_and_coefficients_are_tables_of_dates_and_tickers() -> None:
    run = quantlr.run(CONFIG, data=WIDE)
    features, labels, coefficients = run.features, run.labels, run.coefficients
    log_returns = WIDE.apply(np.log).diff().tz_localize(None)
    for ticker in ("A", "B"):
        rows = features[features["ticker"] == ticker].set_index("date")
        np.testing.assert_allclose(rows["lagged_returns_1"], log_returns[ticker].loc[rows.index], rtol=1e-9)
        label = labels[labels["ticker"] == ticker].set_index("date")
        returns = WIDE[ticker].tz_localize(None).pct_change().shift(-1).loc[label.index]
        np.testing.assert_allclose(label["horizon_return"], returns, rtol=1e-9)
        assert (label["up"].iloc[:-1] == (returns.iloc[:-1] > 0)).all()
        assert label["up"].isna().tolist() == [False] * (len(label) - 1) + [True]
        assert list(label["known_at"].iloc[:-1]) == list(label.index[1:])
        assert pd.isna(label["known_at"].iloc[-1])
    assert list(coefficients.columns) == ["date", "ticker", "intercept", "lagged_returns_1", "lagged_returns_2"]
    first = run.forecasts.iloc[0]
    row = features[(features["date"] == first["date"]) & (features["ticker"] == first["ticker"])].iloc[0]
    fit = coefficients[coefficients["ticker"] == first["ticker"]].iloc[0]
    log_odds = fit["intercept"] + sum(fit[name] * row[name] for name in ("lagged_returns_1", "lagged_returns_2"))
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(first["probability"], rel=1e-9)
    assert fit["date"] == first["date"]
    pooled = quantlr.run(CONFIG, data=WIDE, overrides={"model.scope": "pooled"}).coefficients
    assert pooled["ticker"].isna().all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_tries_its_grid_on_the_same_prices(workers: int, tmp_path: Path) -> None:
    grid = {"policy.long_above": [0.5, 0.52], "data.tickers": [["A"], ["A", "B"]]}
    config = {"name": "s", "base": CONFIG, "grid": grid, "holdout": 0}
    result = quantlr.sweep(config, data=WIDE, workers=workers, output=tmp_path)
    assert result.trials["error"].isna().all()
    for row in result.trials.to_dict("records"):
        tickers = ["A", "B"] if row["data.tickers"] == "[A, B]" else ["A"]
        values = {"policy.long_above": float(row["policy.long_above"]), "data.tickers": tickers}
        run = quantlr.run(CONFIG, data=WIDE, overrides=values)
        assert row["sharpe"] == pytest.approx(run.metrics["backtest"]["strategy"]["sharpe"], rel=1e-9)
    whole = quantlr.sweep({**config, "grid": {"seed": [0]}}, data=WIDE, workers=1, output=tmp_path / "whole")
    assert whole.trials["error"].isna().all()


def test_a_sweep_that_varies_the_source_takes_no_data(tmp_path: Path) -> None:
    config = {"name": "s", "base": CONFIG, "grid": {"data.source.path": ["a.csv", "b.csv"]}}
    with pytest.raises(QuantlrError, match=r"data=: data\.source: the grid varies data\.source\.path"):
        quantlr.sweep(config, data=WIDE, output=tmp_path)
