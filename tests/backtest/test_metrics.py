from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.backtest import benchmark_metrics, metrics
from quantlr.backtest.attribution import TickerAttribution
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.drawdowns import deepest_drawdowns, longest_drawdown_sessions, max_drawdown
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.backtest.fit_metrics import FitView
from quantlr.backtest.metric_types import (
    SECTION_PATHS,
    BacktestAndTrials,
    BacktestView,
    EvaluatedForecasts,
    Metric,
    evaluate_forecasts,
)
from quantlr.backtest.metrics import METRICS, find_metric, metrics_of_section, metrics_shown_in
from quantlr.backtest.rolling import rolling_accuracy, rolling_sharpe, trailing_window_length
from quantlr.core.errors import Fault
from quantlr.core.frequency import CountedSessionsPerYear
from quantlr.core.values import BacktestResult, Positions, Refits
from quantlr.stats import sharpe as sharpe_stats
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.family_wise import MonthlyReturns, RunningMaxima, TrialFamily
from quantlr.stats.return_resamples import ReturnResamples
from sklearn import metrics as sk

from markets import forecasts, random_walk_prices


def backtest_of(net: list[float], *, cost: float = 0.0, weight: float = 1.0, cash: float = 0.0) -> BacktestResult:
    """Return a result of one ticker with these net returns."""
    returns = np.array(net)
    n = len(net)
    column = np.full((n, 1), weight)
    return BacktestResult(
        tickers=("X",),
        fill_dates=pd.bdate_range("2019-12-31", periods=n + 1).as_unit("us"),
        price=np.concatenate([[1.0], np.cumprod(1 + returns + cost)])[:, None],
        weight=column,
        ticker_return=(returns + cost)[:, None] / weight if weight else np.zeros((n, 1)),
        ticker_gross_return=(returns + cost)[:, None],
        ticker_cost=np.full((n, 1), cost),
        gross_return=returns + cost,
        cash_return=np.zeros(n),
        cost=np.full(n, cost),
        net_return=returns,
        equity=np.cumprod(1 + returns),
        exposure=np.abs(column).sum(axis=1),
        turnover=np.full(n, 0.5),
        session_cash_rate=cash,
    )


def view_of(net: list[float], **keys: Any) -> BacktestView:
    return BacktestView(backtest_of(net, **keys), sessions_per_year=252)


def random_evaluated(seed: int, n: int = 300) -> EvaluatedForecasts:
    rng = np.random.default_rng(seed)
    up = (rng.random(n) < 0.55).astype(np.float64)
    log_odds = 0.4 * (up - 0.5) + rng.normal(0, 0.4, n)
    probability = 1 / (1 + np.exp(-log_odds))
    base_rate = np.clip(0.55 + rng.normal(0, 0.03, n), 0.1, 0.9)
    values = forecasts(probability, ticker=np.zeros(n, dtype=np.int64), session=np.arange(n))
    return evaluate_forecasts(replace(values, log_odds=log_odds, up=up, base_rate=base_rate))


@given(seed=st.integers(0, 10_000))
def test_forecast_metrics_equal_scikit_learn(seed: int) -> None:
    forecasts = random_evaluated(seed)
    predicted_up = forecasts.probability > 0.5
    assert metrics.accuracy(forecasts) == pytest.approx(sk.accuracy_score(forecasts.up, predicted_up))
    assert metrics.majority_class_accuracy(forecasts) == pytest.approx(
        sk.accuracy_score(forecasts.up, forecasts.base_rate > 0.5)
    )
    assert metrics.up_rate(forecasts) == pytest.approx(forecasts.up.mean())
    assert find_metric("accuracy_always_up").compute(forecasts) == metrics.up_rate(forecasts)
    assert metrics.log_loss(forecasts) == pytest.approx(sk.log_loss(forecasts.up, forecasts.probability), abs=1e-12)
    assert metrics.base_rate_log_loss(forecasts) == pytest.approx(
        sk.log_loss(forecasts.up, forecasts.base_rate), abs=1e-12
    )
    assert metrics.brier_score(forecasts) == pytest.approx(
        sk.brier_score_loss(forecasts.up, forecasts.probability), abs=1e-12
    )
    assert metrics.area_under_roc(forecasts) == pytest.approx(
        sk.roc_auc_score(forecasts.up, forecasts.probability), abs=1e-12
    )


def test_clustered_forecasts_use_clustered_inference() -> None:
    overlapping = replace(random_evaluated(1), has_dependent_outcomes=True, horizon=5)
    for interval in (metrics.accuracy_interval, metrics.auc_interval):
        assert interval(overlapping) != interval(random_evaluated(1))
        assert interval(overlapping) == interval(overlapping)
        assert interval(overlapping) != interval(replace(overlapping, seed=1))
    single, clustered = metrics.directional_skill_test(random_evaluated(1)), metrics.directional_skill_test(overlapping)
    assert single is not None
    assert clustered is not None
    assert single["statistic"] != clustered["statistic"]


def test_log_loss_is_finite_where_a_probability_rounds_to_one() -> None:
    sure = replace(
        random_evaluated(1, 2),
        log_odds=np.array([800.0, -800.0]),
        probability=np.array([1.0, 0.0]),
        up=np.array([0.0, 0.0]),
    )
    assert metrics.log_loss(sure) == 400.0


def test_score_decompositions_add_up() -> None:
    parts = metrics.score_decompositions(random_evaluated(1))
    for name, score in (
        ("log_loss", metrics.log_loss(random_evaluated(1))),
        ("brier", metrics.brier_score(random_evaluated(1))),
    ):
        computed = parts[name]
        assert computed["miscalibration"] - computed["discrimination"] + computed["uncertainty"] == pytest.approx(
            score, abs=1e-14
        )


def test_sharpe_metrics_are_annual() -> None:
    run = view_of(np.random.default_rng(3).normal(0.001, 0.01, 900).tolist(), cash=0.0001)
    excess, root = run.excess_returns, np.sqrt(252)
    interval, error = metrics.sharpe_interval(run), metrics.annual_sharpe_standard_error(run)
    per_session = ReturnResamples(excess, seed=0).sharpe_interval()
    assert interval is not None
    assert per_session is not None
    assert interval == pytest.approx((per_session[0] * root, per_session[1] * root))
    assert metrics.sharpe_interval(replace(run, seed=1)) != interval
    assert error == pytest.approx((sharpe_stats.sharpe_standard_error_per_session(excess) or 0) * root)
    assert metrics.autocorrelation_adjusted_sharpe(run) == sharpe_stats.lo_sharpe(excess, n_periods=252)


def random_family(n_trials: int) -> TrialFamily:
    """Return independent trials of five years."""
    sums = np.random.default_rng(0).normal(size=(n_trials, 60)).astype(np.float32)
    return TrialFamily(n_trials, RunningMaxima.of_trials(MonthlyReturns(24_000, row, 5.0) for row in sums))


def test_significance_metrics_by_trials_and_benchmark() -> None:
    net = np.random.default_rng(3).normal(0.001, 0.01, 900)
    benchmark_net = net - np.random.default_rng(4).normal(0.0004, 0.002, 900)
    benchmark = backtest_of(benchmark_net.tolist(), cost=0.002)
    run = replace(view_of(net.tolist()), result=replace(backtest_of(net.tolist(), cost=0.001), benchmark=benchmark))
    significance = metrics_of_section("significance")
    families = random_family(1), random_family(9)
    single, several = (
        {metric.key: metric.compute(BacktestAndTrials(run, random_evaluated(1), family)) for metric in significance}
        for family in families
    )
    assert (single["trials"], several["trials"]) == (1, 9)
    assert single["deflated_sharpe"] == pytest.approx(single["probabilistic_sharpe"])
    assert single["expected_max_sharpe"] == pytest.approx(0.0, abs=1e-9)
    expected_max = several["expected_max_sharpe"]
    assert expected_max == families[1].maxima.expected_max_sharpe
    assert several["deflated_sharpe"] == pytest.approx(
        sharpe_stats.probabilistic_sharpe(net, benchmark_sharpe=expected_max / np.sqrt(252))
    )
    p_value = alpha_test(net, benchmark_net).test.p_value
    for values, family in zip((single, several), families, strict=True):
        assert values["family_wise_p"] == family.maxima.family_wise_p_value(p_value)
    without_benchmark = BacktestAndTrials(view_of(net.tolist()), random_evaluated(1), families[0])
    assert metrics.family_wise_p_value(without_benchmark) is None


def test_sharpe_interval_of_the_benchmark_shares_the_resamples() -> None:
    """A benchmark equal to its strategy has the same interval; another one has its own."""
    net, benchmark_net = np.random.default_rng(3).normal(0.001, 0.01, (2, 900)).tolist()
    result = backtest_of(net)
    for returns, is_same in ((net, True), (benchmark_net, False)):
        strategy = replace(view_of(net), result=replace(result, benchmark=backtest_of(returns)))
        benchmark = BacktestView(backtest_of(returns), 252, strategy=strategy)
        assert (metrics.sharpe_interval(benchmark) == metrics.sharpe_interval(strategy)) is is_same
    without_return = replace(result, net_return=np.full(900, np.nan))
    strategy = replace(view_of(net), result=replace(result, benchmark=without_return))
    assert metrics.sharpe_interval(BacktestView(without_return, 252, strategy=strategy)) is None
    assert metrics.sharpe_interval(strategy) == metrics.sharpe_interval(view_of(net))


def test_growth_by_arithmetic() -> None:
    run = view_of([0.1, -0.2, 0.5])
    assert metrics.final_equity(run) == pytest.approx(1.32)
    assert metrics.total_return(run) == pytest.approx(0.32)
    assert metrics.cagr(run) == pytest.approx(1.32 ** (252 / 3) - 1)


def test_risk_by_arithmetic() -> None:
    net = [0.01, -0.02, 0.03, 0.0]
    run = view_of(net, cash=0.001)
    excess = np.array(net) - 0.001
    deviation = np.sqrt(np.sum((excess - excess.mean()) ** 2) / 3)
    assert metrics.annual_volatility(run) == pytest.approx(deviation * np.sqrt(252))
    assert metrics.annual_sharpe(run) == pytest.approx(excess.mean() / deviation * np.sqrt(252))
    downside = np.sqrt((0.021**2 + 0.001**2) / 4)
    assert metrics.sortino_ratio(run) == pytest.approx(excess.mean() / downside * np.sqrt(252))


@pytest.mark.parametrize(
    ("net", "worst", "longest"),
    [
        ([-0.5, 1.0], -0.5, 1),
        ([0.25, -0.2, 0.0, 0.25, 0.1], -0.2, 2),
        ([0.1, 0.1], 0.0, 0),
        ([-0.1, -0.1, -0.1], 0.9**3 - 1, 3),
        ([0.5, -0.5, 0.2, 3.0, -0.75, 0.1], -0.75, 2),
    ],
)
def test_drawdowns_include_the_start_of_one(net: list[float], worst: float, longest: int) -> None:
    run = view_of(net)
    assert max_drawdown(run) == pytest.approx(worst)
    assert longest_drawdown_sessions(run) == longest
    calmar = metrics.calmar_ratio(run)
    assert calmar is None if worst == 0 else calmar == pytest.approx(metrics.cagr(run) / -worst)


def test_break_even_cost_makes_the_total_net_return_zero() -> None:
    prices = random_walk_prices(3, n_sessions=200)
    weight = np.random.default_rng(0).choice([0.0, 1.0], (200, 1))
    positions = Positions(prices.tickers, prices.sessions, weight)

    def net(bps: float) -> float:
        execution = ExecutionSpec(commission_bps=abs(bps), slippage_bps=0, borrow_bps_per_year=0)
        result = backtest_with_benchmark(positions, prices, execution, sessions_per_year=252)
        return float((result.gross_return - np.sign(bps) * result.cost).sum())

    free = backtest_with_benchmark(
        positions, prices, ExecutionSpec(commission_bps=0, slippage_bps=0), sessions_per_year=252
    )
    even = metrics.break_even_cost_bps(BacktestView(free, 252))
    assert even is not None
    assert net(even) == pytest.approx(0.0, abs=1e-12)


@given(seed=st.integers(0, 10_000))
def test_timing_break_even_cost_equals_the_holding_of_average_weights(seed: int) -> None:
    """At this cost per side the strategy earns as much as holding each ticker's average weight, by a loop."""
    prices = random_walk_prices(seed, n_sessions=90, n_tickers=3, with_gaps=True)
    weight = np.random.default_rng(seed).choice([-0.3, 0.0, 0.3], (90, 3))
    execution = ExecutionSpec(commission_bps=0, slippage_bps=0, borrow_bps_per_year=0, cash_rate=0.03)
    positions = Positions(prices.tickers, prices.sessions, weight)
    result = backtest_with_benchmark(positions, prices, execution, sessions_per_year=CountedSessionsPerYear(252))
    even = benchmark_metrics.timing_break_even_cost_bps(BacktestView(result, 252))
    assert even is not None
    holding = 0.0
    for ticker in range(3):
        price = pd.Series(result.price[:, ticker])
        first, last = price.first_valid_index(), price.last_valid_index()
        assert isinstance(first, int)
        assert isinstance(last, int)
        growth = price.ffill().pct_change().to_numpy()[first + 1 : last + 1]
        cash = np.broadcast_to(result.session_cash_rate, len(price) - 1)[first:last]
        holding += float(result.weight[first:last, ticker].mean() * (growth - cash).sum())
    strategy = (result.gross_return - result.session_cash_rate).sum() - even * 1e-4 * result.turnover.sum()
    assert strategy == pytest.approx(holding, abs=1e-12)


def test_timing_break_even_cost_of_a_constant_weight_is_zero() -> None:
    assert benchmark_metrics.timing_break_even_cost_bps(view_of([0.01, -0.03, 0.02, 0.04])) == pytest.approx(
        0.0, abs=1e-9
    )


def test_accuracy_on_the_sessions_held_counts_the_side_of_each_return() -> None:
    """Long into +, -, 0 and short into -; a flat session and one without a move do not count."""
    held = np.array([1.0, 1.0, 1.0, -1.0, 0.0])[:, None]
    gains = np.array([0.02, -0.01, 0.0, 0.03, 0.0])[:, None]
    result = replace(backtest_of([0.02, -0.01, 0.0, 0.03, 0.0]), weight=held, ticker_gross_return=gains)
    assert metrics.accuracy_on_sessions_held(BacktestView(result, 252)) == pytest.approx(2 / 3)
    assert metrics.accuracy_on_sessions_held(view_of([0.0, 0.0])) is None


def test_profit_factor_adds_up_the_profits_of_sessions() -> None:
    """A trade that gains 50 % and then loses 50 % has a profit of 0, whatever a compounded return would be."""
    returns = [0.5, -0.5, 0.0, 0.1, 0.0, -0.04, 0.0, -0.01]
    held = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])[:, None]
    run = BacktestView(replace(backtest_of(returns), weight=held), 252)
    assert run.trades["profit"].tolist() == pytest.approx([0.0, 0.1, -0.04, -0.01])
    assert metrics.profit_factor(run) == pytest.approx(2.0)


def test_undefined_metrics_are_none() -> None:
    flat = view_of([0.0] * 30, weight=0.0)
    for ratio in (
        metrics.annual_sharpe,
        metrics.sharpe_interval,
        metrics.annual_sharpe_standard_error,
        metrics.autocorrelation_adjusted_sharpe,
    ):
        assert ratio(flat) is None
    assert metrics.sortino_ratio(flat) is None
    assert metrics.calmar_ratio(flat) is None
    assert metrics.win_rate(flat) is None
    assert metrics.profit_factor(flat) is None
    assert metrics.n_round_trips(flat) == 0
    assert metrics.break_even_cost_bps(BacktestView(replace(flat.result, turnover=np.zeros(30)), 252)) is None
    assert metrics.annual_volatility(view_of([0.01])) is None
    one_class = replace(random_evaluated(1), up=np.ones(300))
    assert metrics.area_under_roc(one_class) is None
    assert metrics.auc_interval(one_class) is None
    assert metrics.directional_skill_test(one_class) is None


def test_every_metric_is_documented() -> None:
    for metric in METRICS:
        for function in filter(None, (metric.compute, metric.interval, metric.baseline)):
            assert (function.__doc__ or "").strip()


def random_fits() -> FitView:
    """Three refits of a pooled model, then two of the ticker B, with numbers to compute by hand."""
    refits = Refits(
        columns=("x", "y"),
        ticker=np.array([-1, -1, -1, 1, 1]),
        session=np.arange(5),
        coefficients=np.arange(15.0).reshape(5, 3),
        iterations=np.array([1, 2, 3, 4, 10]),
        max_abs_gradient=np.array([1e-9, 1e-3, 1e-9, 1e-9, 1e-9]),
        converged=np.array([True, False, True, True, True]),
        degenerate=np.array([False, False, True, True, False]),
        platt_coefficients=np.tile([0.0, 1.0], (5, 1)),
        condition_number=np.array([np.nan, 7.0]),
        lipschitz=np.array([np.nan, 0.5]),
        learning_rate=np.array([0.1, 0.2]),
    )
    return FitView(refits, ("A", "B"), "probit", "gradient_descent", 1e-8, lambda lipschitz: 2.0 / lipschitz)


def test_fit_metrics_by_arithmetic() -> None:
    values = {metric.key: metric.compute(random_fits()) for metric in metrics_of_section("model")}
    assert values.pop("coefficients") == {
        "pooled": {"intercept": 6.0, "x": 7.0, "y": 8.0},
        "B": {"intercept": 12.0, "x": 13.0, "y": 14.0},
    }
    assert values == {
        "kind": "probit",
        "refits": 5,
        "solver": "gradient_descent",
        "learning_rate": 0.2,
        "learning_rate_limit": 4.0,
        "iterations_mean": 4.0,
        "iterations_max": 10,
        "unconverged": 1,
        "max_abs_gradient": 1e-3,
        "tol": 1e-8,
        "degenerate": 2,
        "condition_number": 7.0,
    }
    none = np.zeros(0, dtype=np.int64)
    bare = replace(random_fits().refits, coefficients=np.zeros((0, 0)), iterations=none, max_abs_gradient=np.zeros(0))
    other = FitView(bare, ("A", "B"), "probit")
    for key in ("coefficients", "solver", "tol", "learning_rate_limit", "iterations_mean", "max_abs_gradient"):
        assert find_metric(key).compute(other) is None


def test_every_value_is_where_its_section_says_with_interval_and_baseline() -> None:
    """A forecast by the base rate itself has the baseline's accuracy and log loss."""
    forecasts = random_evaluated(1)
    as_base_rate = replace(
        forecasts, probability=forecasts.base_rate, log_odds=np.log(forecasts.base_rate / (1 - forecasts.base_rate))
    )
    run = view_of(np.random.default_rng(3).normal(0.001, 0.01, 300).tolist())
    sources = {
        "forecast": as_base_rate, "backtest": run, "strategy_only": run,
        "against_benchmark": run, "significance": BacktestAndTrials(run, forecasts, random_family(2)),
        "model": random_fits(), "by_ticker": TickerAttribution(np.array([0]), *np.full((9, 1), 0.5)),
    }  # fmt: skip
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTION_PATHS}
    for metric in METRICS:
        values[metric.section] |= metric.compute_values(sources[metric.section])
    assert sum(map(len, values.values())) == len(METRICS) + sum(
        (metric.interval is not None) + (metric.baseline is not None) for metric in METRICS
    ), "no key stands for two numbers"
    strategy = values["backtest"]
    backtest = {"strategy": strategy, "benchmark": dict.fromkeys(strategy, "benchmark"), **values["strategy_only"]}
    backtest["by_ticker"] = values["by_ticker"]
    written = {
        "forecast": values["forecast"],
        "backtest": backtest,
        "significance": values["significance"] | values["against_benchmark"],
        "model": values["model"],
    }
    for metric in METRICS:
        value, baseline = values[metric.section][metric.key], metric.baseline_value(written)
        assert metric.value(written) == (value[metric.shown_key] if metric.shown_key and value else value)
        if metric.baseline:
            assert baseline == pytest.approx(value)
        else:
            assert baseline == ("benchmark" if metric.section == "backtest" else None)
        if metric.interval and value is not None:
            low, high = metric.interval_value(written)
            assert low <= value <= high


@pytest.mark.parametrize(
    ("section", "options", "words"),
    [
        ("backtest", {"shown_in": ("terminal",)}, ["needed a name", "terminal"]),
        ("significance", {"name": "x", "shown_in": ("sweep",)}, ["'sweep' shows", "strategy_only, forecast"]),
        ("forecast", {"name": "x", "shown_in": ("ticker",)}, ["'ticker' shows", "backtest", "found section forecast"]),
    ],
)  # fmt: skip
def test_entry_that_cannot_be_shown_is_refused(section: Any, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match="metric own: ") as refusal:
        Metric("own", section, metrics.cagr, **options)
    assert all(word in str(refusal.value) for word in words)


def test_trades_of_a_backtest_without_tickers_are_refused() -> None:
    result = backtest_of([0.01, -0.01])
    nothing: dict[str, Any] = {
        name: np.empty((len(getattr(result, name)), 0)) for name in ("price", "weight", "ticker_gross_return")
    }
    with pytest.raises(Fault, match="a metric of trades"):
        metrics.n_round_trips(BacktestView(replace(result, tickers=(), **nothing), 252))


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (find_metric("cagr"), 0.0598, "6.0%"), (find_metric("sharpe"), -0.456, "-0.46"),
        (find_metric("n"), 4010, "4,010"), (find_metric("sharpe"), None, "-"), (find_metric("cagr"), float("nan"), "-"),
    ],
)  # fmt: skip
def test_value_as_plain_text(metric: Metric, value: float | None, text: str) -> None:
    assert metric.plain_text(value) == text


def test_metrics_are_shown_in_the_order_of_the_registry() -> None:
    terminal, either = metrics_shown_in("terminal"), metrics_shown_in("terminal", "trials")
    assert list(terminal) == sorted(terminal, key=METRICS.index)
    assert set(either) == {*terminal, *metrics_shown_in("trials")}
    assert len(either) == len(set(either))


@pytest.mark.parametrize(("n", "window"), [(2000, 252), (400, 100), (60, 20), (3, 3)])
def test_rolling_accuracy_equals_means_over_windows(n: int, window: int) -> None:
    forecasts = random_evaluated(4, n)
    sessions = pd.bdate_range("2000-01-03", periods=n)
    computed = rolling_accuracy(forecasts, sessions, sessions_per_year=252)
    assert computed.window == window
    assert computed.dates[0] == sessions[window - 1]
    hits = (forecasts.probability > 0.5) == (forecasts.up == 1)
    assert computed.accuracy[0] == pytest.approx(hits[:window].mean())
    assert computed.accuracy[-1] == pytest.approx(hits[-window:].mean())
    base = computed.baseline_accuracy[-1]
    assert computed.band_high[-1] == pytest.approx(
        min(base + 1.959963984540054 * np.sqrt(base * (1 - base) / window), 1)
    )
    assert (computed.band_low <= computed.band_high).all()


@given(seed=st.integers(0, 10_000), sessions=st.integers(1, 60), most=st.integers(1, 5))
def test_deepest_drawdowns_equal_session_by_session_loop(seed: int, sessions: int, most: int) -> None:
    result = backtest_of(list(np.random.default_rng(seed).choice([-0.02, -0.01, 0.0, 0.01, 0.015], sessions)))
    equity, expected_periods = [1.0, *result.equity.tolist()], []
    high, low = 0, 0
    for index, value in enumerate(equity):
        if value >= equity[high]:
            if equity[low] < equity[high]:
                expected_periods.append((equity[low] / equity[high] - 1, high, low, index))
            high = low = index
        elif value < equity[low]:
            low = index
    if equity[low] < equity[high]:
        expected_periods.append((equity[low] / equity[high] - 1, high, low, len(equity)))
    expected_periods = sorted(expected_periods)[:most]
    computed = deepest_drawdowns(result, max_count=most)
    assert computed["depth"].tolist() == pytest.approx([depth for depth, *_ in expected_periods])
    for period, (_, first, lowest, after) in zip(computed.itertuples(), expected_periods, strict=True):
        if [depth for depth, *_ in expected_periods].count(period.depth) == 1:
            assert (period.peak_date, period.trough_date) == (result.fill_dates[first], result.fill_dates[lowest])
            recovery_date = result.fill_dates[after] if after < len(equity) else pd.NaT
            assert period.recovery_date is recovery_date or period.recovery_date == recovery_date


def test_no_drawdown_without_a_fall_and_ruin_has_no_recovery() -> None:
    assert deepest_drawdowns(backtest_of([0.01, 0.0, 0.02]), max_count=3).empty
    ruined = replace(backtest_of([0.5, -1.0, 0.0]), equity=np.array([1.5, 0.0, 0.0]))
    periods = deepest_drawdowns(ruined, max_count=3)
    assert (periods["depth"].tolist(), periods["recovery_date"].tolist()) == ([-1.0], [pd.NaT])


@pytest.mark.parametrize("sessions", [1, 2, 4, 90, 800])
@pytest.mark.parametrize("cash", [0.0, 0.0002])
def test_rolling_sharpe_equals_pandas(sessions: int, cash: float) -> None:
    rng = np.random.default_rng(sessions)
    strategy, benchmark_net = (
        backtest_of(list(rng.normal(0, 0.01, sessions)), cash=cash),
        backtest_of(list(rng.normal(0, 0.02, sessions))),
    )
    computed = rolling_sharpe(replace(strategy, benchmark=benchmark_net), sessions_per_year=250)
    assert (
        computed.window
        == trailing_window_length(sessions, sessions_per_year=250)
        == {1: 1, 2: 2, 4: 4, 90: 22, 800: 250}[sessions]
    )
    for values, result in ((computed.strategy_sharpe, strategy), (computed.benchmark_sharpe, benchmark_net)):
        excess = pd.Series(result.net_return - result.session_cash_rate, index=result.sessions)
        windows = excess.rolling(computed.window)
        expected = (windows.mean() / windows.std() * 250**0.5).iloc[computed.window - 1 :]
        np.testing.assert_allclose(values, expected, rtol=1e-8)
        np.testing.assert_array_equal(computed.dates, expected.index)


def test_rolling_sharpe_of_constant_returns_is_nan() -> None:
    computed = rolling_sharpe(backtest_of([0.0] * 30 + [0.01, -0.01] * 30), sessions_per_year=252)
    assert computed.window == 22
    assert np.isnan(computed.strategy_sharpe[:9]).all()
    assert np.isfinite(computed.strategy_sharpe[9:]).all()


def test_rolling_sharpe_band_holds_95_percent_under_no_skill() -> None:
    rng = np.random.default_rng(0)
    computed = [
        rolling_sharpe(backtest_of(list(rng.normal(0, 0.01, 252 * 3))), sessions_per_year=252) for _ in range(400)
    ]
    inside = np.mean([abs(rolling.strategy_sharpe[-1]) <= rolling.band_half_width for rolling in computed])
    assert inside == pytest.approx(0.95, abs=0.03)
