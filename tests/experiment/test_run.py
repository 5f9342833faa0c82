"""A run: its tables, metrics, report files and reproducibility."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import quantlr
from markupsafe import escape
from quantlr.backtest.naive_rules import NAIVE_RULES
from quantlr.core.errors import DataError, UserError
from quantlr.experiment.run import Run

from markets import random_walk_bars

UndrawnPages = Callable[[], AbstractContextManager[None]]
ROOT = Path(__file__).parents[2]
DAILY = ROOT / "configs" / "sp500_daily.yaml"

FILES = {
    "tearsheet.png", "forecast.png", "model.png", "positions.png", "thumbnail.png", "report.html", "metrics.json",
    "forecasts.parquet", "backtest.parquet", "positions.parquet",
    "trades.csv", "config.yaml", "provenance.json",
}  # fmt: skip
STRATEGY = [
    "final_equity", "total_return", "cagr", "volatility", "sharpe", "sharpe_ci95", "sharpe_standard_error",
    "sharpe_lo", "sortino", "max_drawdown", "longest_drawdown_sessions", "calmar", "deepest_drawdowns",
    "value_at_risk_95", "conditional_value_at_risk_95", "skewness", "excess_kurtosis", "best_session", "worst_session",
    "best_month", "worst_month", "best_year", "worst_year", "returns_by_year", "exposure", "accuracy_held",
    "turnover_per_year", "cost_total", "trades", "win_rate", "profit_factor",
]  # fmt: skip
KEYS: dict[str, list[str]] = {
    "data": ["tickers", "first", "last", "sessions", "sessions_per_year", "score_from", "first_fill", "sha256"],
    "forecast": [
        "n", "up_rate", "accuracy_always_up", "accuracy", "accuracy_ci95", "accuracy_base_rate", "log_loss",
        "log_loss_base_rate", "brier", "auc", "auc_ci95", "clark_west", "pesaran_timmermann",
        "reliability", "calibration", "spiegelhalter", "stability",
    ],
    "backtest": [
        "strategy", "benchmark", "benchmark_name", "break_even_cost_bps", "timing_break_even_cost_bps", "by_ticker",
        "fill", "fills", "only_at_the_close",
    ],
    "significance": [
        "trials", "probabilistic_sharpe", "deflated_sharpe", "family_wise_p", "expected_max_sharpe",
        "shifted_positions", "years_needed",
        "alpha", "alpha_test", "beta", "sharpe_difference", "sharpe_difference_ci95", "timing", "timing_test",
        "correlation", "information_ratio", "up_capture", "down_capture", "volatility_match",
    ],
    "model": [
        "kind", "refits", "solver", "learning_rate", "learning_rate_limit", "iterations_mean", "iterations_max",
        "unconverged", "max_abs_gradient", "tol", "degenerate", "condition_number", "coefficients",
    ],
    "naive_rules": [rule.key for rule in NAIVE_RULES],
    "verdict": ["rule", "sentence"],
}  # fmt: skip


@pytest.fixture(scope="module")
def daily() -> Run:
    return quantlr.run(DAILY)


@pytest.fixture(scope="module")
def files(daily: Run, blank_pages: UndrawnPages) -> dict[str, bytes]:
    with blank_pages():
        return daily.report().files


def read_parquet(content: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content))


def test_files_and_metric_keys(files: dict[str, bytes]) -> None:
    assert set(files) == FILES
    metrics = json.loads(files["metrics.json"])
    assert {key: list(value) for key, value in metrics.items()} == KEYS
    assert list(metrics["backtest"]["strategy"]) == list(metrics["backtest"]["benchmark"]) == STRATEGY
    assert list(metrics["forecast"]["pesaran_timmermann"]) == ["statistic", "p_value"]
    assert list(metrics["forecast"]["clark_west"]) == [
        "statistic", "p_value", "degrees_of_freedom", "sessions", "min_sessions", "local_tickers",
    ]  # fmt: skip
    assert list(metrics["forecast"]["calibration"]) == [
        "slope", "intercept", "slope_standard_error", "intercept_standard_error", "p_value",
    ]  # fmt: skip
    assert list(metrics["forecast"]["stability"]) == ["thirds", "break", "best_year", "best_ticker", "tickers"]
    assert list(metrics["forecast"]["spiegelhalter"]) == ["statistic", "p_value"]
    assert list(metrics["model"]["coefficients"]["^GSPC"]) == [
        "intercept", *(f"lagged_returns_{lag}" for lag in range(1, 6)), "volatility_20",
    ]  # fmt: skip
    assert b"NaN" not in files["metrics.json"]


def test_table_columns(daily: Run, files: dict[str, bytes]) -> None:
    forecasts, backtest = read_parquet(files["forecasts.parquet"]), read_parquet(files["backtest.parquet"])
    positions, trades = read_parquet(files["positions.parquet"]), pd.read_csv(io.BytesIO(files["trades.csv"]))
    assert list(forecasts) == [
        "date", "ticker", "probability", "up", "base_rate", "mean_gain", "mean_loss", "fold",
    ]  # fmt: skip
    assert list(backtest) == [
        "date", "gross_return", "cost", "net_return", "equity", "exposure", "turnover", "benchmark_equity", "cash_rate",
    ]  # fmt: skip
    assert list(positions) == ["date", "ticker", "weight", "gross_return", "cost"]
    assert list(trades) == [
        "ticker", "side", "entry", "exit", "entry_price", "exit_price", "sessions", "return", "cost", "size", "profit",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(forecasts, daily.forecasts)
    pd.testing.assert_frame_equal(backtest, daily.backtest)
    assert str(forecasts["up"].dtype) == "boolean"
    assert forecasts["up"].isna().sum() == 1, "only the newest forecast has no known outcome"


def test_dates_follow_the_timing_rule(daily: Run) -> None:
    """After 20 bars of warm-up and 1,000 of training, row 1,020 is forecast, filled at 1,021, and earns to 1,022."""
    sessions = daily.run_data.prices.sessions
    assert daily.forecasts["date"].iloc[0] == sessions[1020]
    assert daily.forecasts["date"].iloc[-1] == sessions[-1]
    assert daily.backtest["date"].iloc[0] == sessions[1022]
    assert daily.backtest["date"].iloc[-1] == sessions[-1]
    assert daily.trades["entry"].iloc[0] >= sessions[1021]


def test_metrics_agree_with_the_tables(daily: Run) -> None:
    metrics, backtest = daily.metrics, daily.backtest
    strategy = metrics["backtest"]["strategy"]
    assert strategy["final_equity"] == backtest["equity"].iloc[-1]
    assert strategy["final_equity"] == pytest.approx((1 + backtest["net_return"]).prod(), rel=1e-12)
    assert metrics["backtest"]["benchmark"]["final_equity"] == backtest["benchmark_equity"].iloc[-1]
    known = daily.forecasts.dropna(subset="up")
    assert metrics["forecast"]["n"] == len(known)
    is_hit = (known["probability"] > 0.5) == known["up"].astype(bool)
    assert metrics["forecast"]["accuracy"] == is_hit.mean()
    positions = daily.positions.groupby("date")
    np.testing.assert_allclose(positions["cost"].sum(), backtest["cost"], atol=1e-15)
    np.testing.assert_allclose(positions["gross_return"].sum(), backtest["gross_return"], atol=1e-15)
    long = daily.forecasts["probability"].to_numpy()[:-2] > 0.5
    np.testing.assert_array_equal(daily.positions["weight"].to_numpy() == 1, long)


def test_expected_value_policy_recomputed_from_the_forecasts() -> None:
    """The round trip costs 6 bps: enter where the expected return is above that, exit where it is below 0."""
    result = quantlr.run(DAILY.parent / "expected_value.yaml", overrides={"overlays": []})
    is_long, weights = False, []
    for p, gain, loss in result.forecasts[["probability", "mean_gain", "mean_loss"]].to_numpy().tolist():
        expected = p * gain + (1 - p) * loss
        is_long = expected > (0.0 if is_long else 0.0006)
        weights.append(float(is_long))
    assert result.positions["weight"].tolist() == weights[:-2]
    assert 0 < sum(weights) < len(weights)
    with_overlays = quantlr.run(DAILY.parent / "expected_value.yaml")
    ratio = with_overlays.positions["weight"].to_numpy() / np.where(weights[:-2], 1.0, np.nan)
    assert 0.1 < np.nanmin(ratio) < 0.5 < np.nanmax(ratio) <= 1.0
    assert (with_overlays.positions["weight"][np.array(weights[:-2]) == 0] == 0).all()


def test_fits_that_did_not_converge_are_counted_and_noted() -> None:
    result = quantlr.run(
        DAILY, overrides={"model.solver": "gradient_descent", "model.max_iter": 2, "data.end": "2005-12-31"}
    )
    refits = result.run_data.forecasts.refits
    assert result.metrics["model"]["unconverged"] == int((refits.max_abs_gradient > 1e-8).sum()) > 0
    assert result.metrics["model"]["iterations_mean"] == refits.iterations.mean()
    (note,) = (note for note in result.notes if "did not converge" in note.text)
    assert (note.count, note.stage) == (result.metrics["model"]["unconverged"], "model")


def test_pooled_model_is_reported_once() -> None:
    stocks = DAILY.parent / "stocks5_long_short.yaml"
    result = quantlr.run(
        stocks, overrides={"model.scope": "pooled", "model.calibration": "platt", "model.half_life": 500}
    )
    assert list(result.metrics["model"]["coefficients"]) == ["pooled"]
    assert result.metrics["model"]["refits"] == len(result.forecasts["fold"].unique())
    platt = result.run_data.forecasts.refits.platt_coefficients
    is_uncalibrated = (platt == [0.0, 1.0]).all(axis=1)
    assert 0 < is_uncalibrated.sum() < len(is_uncalibrated)
    (note,) = (note for note in result.notes if "uncalibrated" in note.text)
    assert (note.ticker, note.count) == (None, int(is_uncalibrated[result.forecasts["fold"]].sum()))


@pytest.mark.usefixtures("without_drawing")
def test_run_and_its_resolved_config_write_the_same_bytes(files: dict[str, bytes], tmp_path: Path) -> None:
    target = quantlr.run(DAILY, output=tmp_path).save(tmp_path)
    written = {path.name: path.read_bytes() for path in target.iterdir()}
    assert written == files  # the drawings are compared in the tests of the pages
    again = quantlr.run(target / "config.yaml")
    assert again.report().files == written


def test_report_html_contains_the_config(files: dict[str, bytes]) -> None:
    assert escape(files["config.yaml"].decode()) in files["report.html"].decode()


def test_provenance_has_versions_data_and_notes(files: dict[str, bytes]) -> None:
    provenance = json.loads(files["provenance.json"])
    assert set(provenance["versions"]) == {"python", "quantlr", "numpy", "pandas", "pyarrow", "matplotlib", "bokeh"}
    assert provenance["data"]["source"] == "sample (sp500_1999_2018.parquet)"
    assert [note["text"] for note in provenance["notes"]] == [
        "opens not tradable: 40% of them equal the close before",
        "^GSPC: a price index has no dividends; a long position would earn them, and a short one pay them",
        "warm-up rows were dropped",
    ]


@pytest.mark.usefixtures("without_drawing")
def test_overrides_change_the_run(daily: Run, tmp_path: Path) -> None:
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


@pytest.mark.usefixtures("without_drawing")
def test_run_on_a_csv_file(tmp_path: Path) -> None:
    dates = pd.bdate_range("2015-01-01", periods=400)
    table = random_walk_bars(np.random.default_rng(0), dates).rename(columns={"adj_close": "Adj Close"})
    (tmp_path / "prices").mkdir()
    table.to_csv(tmp_path / "prices" / "own.csv", index_label="Date")
    config = tmp_path / "own.yaml"
    config.write_text(
        "data: {source: {kind: file, path: prices/own.csv}, tickers: [OWN]}\n"
        "features:\n  - {kind: lagged_returns}\n"
        "walk_forward: {train: 200}\n"
    )
    result = quantlr.run(config)
    assert result.metrics["data"]["tickers"] == ["OWN"]
    assert result.metrics["forecast"]["n"] == 400 - 5 - 200 - 1
    written = quantlr.run(result.save(tmp_path / "reports") / "config.yaml")
    assert written.metrics == result.metrics


def test_ticker_with_too_little_history_is_left_out_with_a_note() -> None:
    result = quantlr.run(ROOT / "configs" / "stocks5_long_short.yaml")
    assert set(result.forecasts["ticker"]) == {"AAPL", "GOOG", "IBM", "MSFT"}
    assert set(result.positions["ticker"]) == {"AAPL", "GOOG", "IBM", "MSFT"}
    assert any("left out, too short: FB: the first fold needs 755 rows" in note.text for note in result.notes)
    low, high = result.metrics["forecast"]["accuracy_ci95"]
    assert high - low > 4 * 0.5 / result.metrics["forecast"]["n"] ** 0.5, (
        "wider than for independent forecasts, since horizons overlap"
    )
    assert {"long", "short"} == set(result.trades["side"])


def test_error_names_its_place_in_the_config(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("train", "message"), [(195, "no forecast has a known outcome yet"), (196, "needs 197 rows")])
def test_history_too_short_for_a_known_outcome_is_refused(train: int, message: str) -> None:
    config: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["FB"]},
        "features": [{"kind": "volume"}],
        "walk_forward": {"train": train},
    }
    with pytest.raises(DataError, match=message):
        quantlr.run(config)


@pytest.fixture(scope="module")
def returns_run() -> Run:
    config: dict[str, Any] = {
        "name": "returns",
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
        "walk_forward": {"train": 250},
        "execution": {"cash_rate": 0.02},
        "report": {"sessions_per_year": 252},
    }
    return quantlr.run(config)


def test_returns_are_dated_series(returns_run: Run) -> None:
    backtest = returns_run.backtest.set_index("date")
    pd.testing.assert_series_equal(returns_run.returns, backtest["net_return"].rename("returns"))
    assert isinstance(returns_run.returns.index, pd.DatetimeIndex)
    assert returns_run.benchmark_returns.name == "buy_and_hold"
    equity = (1 + returns_run.benchmark_returns).cumprod()
    pd.testing.assert_series_equal(equity, backtest["benchmark_equity"], check_names=False, rtol=1e-12)


def quantstats_functions() -> Any:
    """Return the module of quantstats' statistics."""
    with matplotlib.rc_context():  # importing it changes matplotlib's settings
        from quantstats import stats
    return stats


@pytest.mark.parametrize("side", ["strategy", "benchmark"])
def test_quantstats_computes_the_same_metrics_from_returns(returns_run: Run, side: str) -> None:
    """quantstats compounds an annual risk-free rate; here a session earns 1/252 of it."""
    stats = quantstats_functions()
    returns = returns_run.returns if side == "strategy" else returns_run.benchmark_returns
    expected = returns_run.metrics["backtest"][side]
    excess = returns - 0.02 / 252
    assert stats.sharpe(excess) == pytest.approx(expected["sharpe"], abs=1e-9)
    assert stats.sharpe(returns, rf=(1 + 0.02 / 252) ** 252 - 1) == pytest.approx(expected["sharpe"], abs=1e-9)
    assert stats.cagr(returns) == pytest.approx(expected["cagr"], abs=1e-9)
    assert stats.max_drawdown(returns) == pytest.approx(expected["max_drawdown"], abs=1e-9)
    assert stats.volatility(returns) == pytest.approx(expected["volatility"], abs=1e-9)
    assert stats.sortino(excess) == pytest.approx(expected["sortino"], abs=1e-9)
    assert stats.skew(returns) == pytest.approx(expected["skewness"], abs=1e-9)
    assert stats.kurtosis(returns) == pytest.approx(expected["excess_kurtosis"], abs=1e-9)
    for name, aggregate in (("session", None), ("month", "eom"), ("year", "YE")):
        assert stats.best(returns, aggregate) == pytest.approx(expected[f"best_{name}"], abs=1e-9)
        assert stats.worst(returns, aggregate) == pytest.approx(expected[f"worst_{name}"], abs=1e-9)


def test_quantstats_computes_the_same_alpha_beta_and_information_ratio(returns_run: Run) -> None:
    stats = quantstats_functions()
    significance = returns_run.metrics["significance"]
    excess, benchmark = (returns - 0.02 / 252 for returns in (returns_run.returns, returns_run.benchmark_returns))
    greeks = stats.greeks(excess, benchmark)
    assert greeks["beta"] == pytest.approx(significance["beta"], abs=1e-9)
    assert greeks["alpha"] == pytest.approx(significance["alpha"]["annual"], abs=1e-9)
    ratio = stats.information_ratio(excess, benchmark) * 252**0.5
    assert ratio == pytest.approx(significance["information_ratio"], abs=1e-9)
