"""The whole way, in process: what a run returns, writes, and writes again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from markupsafe import escape
from quantlr.core.errors import DataError, UserError
from quantlr.experiment.run import Run

from markets import random_walk_bars

LeavingWhite = Callable[[], AbstractContextManager[None]]
ROOT = Path(__file__).parents[1]
DAILY = ROOT / "configs" / "sp500_daily.yaml"

FILES = {
    "tearsheet.png", "forecast.png", "model.png", "positions.png", "thumbnail.png", "report.html", "metrics.json",
    "forecasts.parquet", "backtest.parquet", "positions.parquet",
    "trades.csv", "config.yaml", "provenance.json",
}  # fmt: skip
STRATEGY = [
    "final_equity", "total_return", "cagr", "volatility", "sharpe", "sharpe_ci95", "sharpe_standard_error",
    "sharpe_lo", "sortino", "max_drawdown", "longest_drawdown_sessions", "calmar", "exposure", "turnover_per_year",
    "cost_total", "trades", "win_rate", "profit_factor",
]  # fmt: skip
KEYS: dict[str, list[str]] = {
    "data": ["tickers", "first", "last", "sessions", "sha256"],
    "forecast": [
        "n", "up_rate", "accuracy", "accuracy_ci95", "accuracy_always_up", "accuracy_base_rate", "log_loss",
        "log_loss_base_rate", "brier", "auc", "auc_ci95", "pesaran_timmermann",
        "reliability",
    ],
    "backtest": ["strategy", "benchmark", "break_even_cost_bps", "fills", "only_at_the_close"],
    "significance": [
        "trials", "probabilistic_sharpe", "deflated_sharpe", "expected_max_sharpe", "above_benchmark", "years_needed",
    ],
    "model": ["refits", "iterations_mean", "unconverged", "degenerate", "condition_number", "coefficients"],
    "verdict": ["rule", "sentence"],
}  # fmt: skip


@pytest.fixture(scope="module")
def daily() -> Run:
    return quantlr.run(DAILY)


@pytest.fixture(scope="module")
def files(daily: Run, leaving_white: LeavingWhite) -> dict[str, bytes]:
    with leaving_white():
        return daily.report().files


def parquet(content: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content))


def test_the_keys_that_other_programs_rely_on(files: dict[str, bytes]) -> None:
    assert set(files) == FILES
    found = json.loads(files["metrics.json"])
    assert {key: list(value) for key, value in found.items()} == KEYS
    assert list(found["backtest"]["strategy"]) == list(found["backtest"]["benchmark"]) == STRATEGY
    assert list(found["forecast"]["pesaran_timmermann"]) == ["statistic", "p_value"]
    assert list(found["model"]["coefficients"]["^GSPC"]) == [
        "intercept", *(f"lagged_returns_{lag}" for lag in range(1, 6)), "volatility_20",
    ]  # fmt: skip
    assert b"NaN" not in files["metrics.json"]


def test_the_tables_have_their_columns(daily: Run, files: dict[str, bytes]) -> None:
    forecasts, backtest = parquet(files["forecasts.parquet"]), parquet(files["backtest.parquet"])
    positions, trades = parquet(files["positions.parquet"]), pd.read_csv(io.BytesIO(files["trades.csv"]))
    assert list(forecasts) == [
        "date", "ticker", "probability", "up", "base_rate", "mean_gain", "mean_loss", "fold",
    ]  # fmt: skip
    assert list(backtest) == [
        "date", "gross_return", "cost", "net_return", "equity", "exposure", "turnover", "benchmark_equity",
    ]  # fmt: skip
    assert list(positions) == ["date", "ticker", "weight", "gross_return", "cost"]
    assert list(trades) == [
        "ticker", "side", "entry", "exit", "entry_price", "exit_price", "sessions", "return", "cost", "size",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(forecasts, daily.forecasts)
    pd.testing.assert_frame_equal(backtest, daily.backtest)
    assert str(forecasts["up"].dtype) == "boolean"
    assert forecasts["up"].isna().sum() == 1, "the newest forecast is there, and what came of it is not known"


def test_dates_are_those_of_the_timing_rule(daily: Run) -> None:
    """20 bars of warm-up and 1,000 of training: row 1,020 is forecast first, filled a session on, and earns to the
    next."""
    sessions = daily.run_data.prices.sessions
    assert daily.forecasts["date"].iloc[0] == sessions[1020]
    assert daily.forecasts["date"].iloc[-1] == sessions[-1]
    assert daily.backtest["date"].iloc[0] == sessions[1022]
    assert daily.backtest["date"].iloc[-1] == sessions[-1]
    assert daily.trades["entry"].iloc[0] >= sessions[1021]


def test_numbers_agree_with_the_tables(daily: Run) -> None:
    metrics, backtest = daily.metrics, daily.backtest
    strategy = metrics["backtest"]["strategy"]
    assert strategy["final_equity"] == backtest["equity"].iloc[-1]
    assert strategy["final_equity"] == pytest.approx((1 + backtest["net_return"]).prod(), rel=1e-12)
    assert metrics["backtest"]["benchmark"]["final_equity"] == backtest["benchmark_equity"].iloc[-1]
    known = daily.forecasts.dropna(subset="up")
    assert metrics["forecast"]["n"] == len(known)
    right = (known["probability"] > 0.5) == known["up"].astype(bool)
    assert metrics["forecast"]["accuracy"] == right.mean()
    positions = daily.positions.groupby("date")
    np.testing.assert_allclose(positions["cost"].sum(), backtest["cost"], atol=1e-15)
    np.testing.assert_allclose(positions["gross_return"].sum(), backtest["gross_return"], atol=1e-15)
    long = daily.forecasts["probability"].to_numpy()[:-2] > 0.5
    np.testing.assert_array_equal(daily.positions["weight"].to_numpy() == 1, long)


def test_a_choice_by_expected_value_can_be_checked_from_the_files() -> None:
    """Six basis points get in and out: in where the gamble is worth more, out where it is worth nothing."""
    done = quantlr.run(DAILY.parent / "expected_value.yaml", overrides={"overlays": []})
    held, weights = False, []
    for p, gain, loss in done.forecasts[["probability", "mean_gain", "mean_loss"]].to_numpy().tolist():
        worth = p * gain + (1 - p) * loss
        held = worth > (0.0 if held else 0.0006)
        weights.append(float(held))
    assert done.positions["weight"].tolist() == weights[:-2]
    assert 0 < sum(weights) < len(weights)
    calmer = quantlr.run(DAILY.parent / "expected_value.yaml")
    ratio = calmer.positions["weight"].to_numpy() / np.where(weights[:-2], 1.0, np.nan)
    assert 0.1 < np.nanmin(ratio) < 0.5 < np.nanmax(ratio) <= 1.0
    assert (calmer.positions["weight"][np.array(weights[:-2]) == 0] == 0).all()


def test_fits_that_did_not_converge_are_counted_and_named() -> None:
    done = quantlr.run(
        DAILY, overrides={"model.solver": "gradient_descent", "model.max_iter": 2, "data.end": "2005-12-31"}
    )
    refits = done.run_data.forecasts.refits
    assert done.metrics["model"]["unconverged"] == int((refits.max_abs_gradient > 1e-8).sum()) > 0
    assert done.metrics["model"]["iterations_mean"] == refits.iterations.mean()
    (note,) = (note for note in done.notes if "did not converge" in note.text)
    assert (note.count, note.stage) == (done.metrics["model"]["unconverged"], "model")


def test_one_model_for_five_stocks_is_reported_once() -> None:
    stocks = DAILY.parent / "stocks5_long_short.yaml"
    done = quantlr.run(
        stocks, overrides={"model.scope": "pooled", "model.calibration": "platt", "model.half_life": 500}
    )
    assert list(done.metrics["model"]["coefficients"]) == ["pooled"]
    assert done.metrics["model"]["refits"] == len(done.forecasts["fold"].unique())
    lines = done.run_data.forecasts.refits.platt_coefficients
    early = (lines == [0.0, 1.0]).all(axis=1)
    assert 0 < early.sum() < len(early)
    (note,) = (note for note in done.notes if "uncalibrated" in note.text)
    assert (note.ticker, note.count) == (None, int(early[done.forecasts["fold"]].sum()))


@pytest.mark.usefixtures("undrawn")
def test_the_same_run_writes_the_same_bytes_and_so_does_its_resolved_config(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    target = quantlr.run(DAILY, output=tmp_path).save(tmp_path)
    written = {path.name: path.read_bytes() for path in target.iterdir()}
    assert written == files  # what is drawn is compared page by page, beside each page's other tests
    again = quantlr.run(target / "config.yaml")
    assert again.report().files == written


def test_the_page_for_a_browser_holds_the_config_as_it_is_written(files: dict[str, bytes]) -> None:
    assert escape(files["config.yaml"].decode()) in files["report.html"].decode()


def test_provenance_says_versions_data_and_notes(files: dict[str, bytes]) -> None:
    found = json.loads(files["provenance.json"])
    assert set(found["versions"]) == {"python", "quantlr", "numpy", "pandas", "pyarrow", "matplotlib"}
    assert found["data"]["source"] == "sample (sp500_1999_2018.parquet)"
    assert [note["text"] for note in found["notes"]] == [
        "opens not tradable: 40% of them equal the close before",
        "warm-up rows were dropped",
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_config_can_be_copied_and_changed(daily: Run, tmp_path: Path) -> None:
    changed = quantlr.run(
        DAILY,
        overrides={
            "features.0.lags": [1, 2],
            "data.end": "2010-12-31",
            "policy.long_above": 0.52,
            "execution.fill": "close",
            "execution.commission_bps": 0.0,
        },
        output=tmp_path,
    )
    assert (tmp_path / "sp500_daily" / "tearsheet.png").exists()
    assert changed.metrics["data"]["last"] == "2010-12-31"
    assert len(changed.metrics["model"]["coefficients"]["^GSPC"]) == 4
    assert changed.backtest["date"].iloc[0] == changed.forecasts["date"].iloc[1]
    assert changed.metrics["backtest"]["strategy"]["cost_total"] != daily.metrics["backtest"]["strategy"]["cost_total"]


@pytest.mark.usefixtures("undrawn")
def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    dates = pd.bdate_range("2015-01-01", periods=400)
    table = random_walk_bars(np.random.default_rng(0), dates).rename(columns={"adj_close": "Adj Close"})
    (tmp_path / "prices").mkdir()
    table.to_csv(tmp_path / "prices" / "mine.csv", index_label="Date")
    config = tmp_path / "mine.yaml"
    config.write_text(
        "data: {source: {kind: file, path: prices/mine.csv}, tickers: [MINE]}\n"
        "features:\n  - {kind: lagged_returns}\n"
        "walk_forward: {train: 200}\n"
    )
    done = quantlr.run(config)
    assert done.metrics["data"]["tickers"] == ["MINE"]
    assert done.metrics["forecast"]["n"] == 400 - 5 - 200 - 1
    written = quantlr.run(done.save(tmp_path / "reports") / "config.yaml")
    assert written.metrics == done.metrics


def test_a_stock_too_short_to_forecast_is_named_and_left_out() -> None:
    done = quantlr.run(ROOT / "configs" / "stocks5_long_short.yaml")
    assert set(done.forecasts["ticker"]) == {"AAPL", "GOOG", "IBM", "MSFT"}
    assert set(done.positions["ticker"]) == {"AAPL", "GOOG", "IBM", "MSFT"}
    assert any("left out, too short: FB: the first fold needs 755 rows" in note.text for note in done.notes)
    low, high = done.metrics["forecast"]["accuracy_ci95"]
    assert high - low > 4 * 0.5 / done.metrics["forecast"]["n"] ** 0.5, "wider than if a week's calls were independent"
    assert {"long", "short"} == set(done.trades["side"])


def test_an_error_of_a_layer_says_where_in_the_config(tmp_path: Path) -> None:
    config = tmp_path / "short.yaml"
    config.write_text(
        "data: {source: {kind: sample}, tickers: [FB]}\nfeatures: [{kind: volume}]\nwalk_forward: {train: 500}\n"
    )
    with pytest.raises(UserError) as caught:
        quantlr.run(config)
    assert caught.value.message == (
        f"{config}:3:23: walk_forward.train: FB: the first fold needs 501 rows (train 500 + gap 0 + test 1), found "
        "196; fetch a longer history or shorten walk_forward.train"
    )


@pytest.mark.parametrize(("train", "said"), [(195, "what came is not known yet"), (196, "needs 197 rows")])
def test_a_history_that_ends_with_the_first_forecast(train: int, said: str) -> None:
    config: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["FB"]},
        "features": [{"kind": "volume"}],
        "walk_forward": {"train": train},
    }
    with pytest.raises(DataError, match=said):
        quantlr.run(config)
