"""The metrics of a report: one short function each, and `METRICS`, the registry of all that is known about them.

A metric that is undefined is None. To add one, write the function and give it an entry in `METRICS`: ``metrics.json``
and every page, table and file that shows metrics takes them from there.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from quantlr.backtest import benchmark_metrics
from quantlr.backtest.attribution import TICKER_METRICS
from quantlr.backtest.costs import BASIS_POINT
from quantlr.backtest.drawdowns import list_deepest_drawdowns, longest_drawdown_sessions, max_drawdown
from quantlr.backtest.fit_metrics import FIT_METRICS
from quantlr.backtest.forecast_metrics import calibration_test, recalibration, stability
from quantlr.backtest.metric_types import BacktestAndTrials, BacktestView, EvaluatedForecasts, Metric, Place, Section
from quantlr.backtest.return_metrics import RETURN_METRICS
from quantlr.backtest.trades import net_trade_returns
from quantlr.stats import sharpe as sharpe_stats
from quantlr.stats.clark_west import years_needed
from quantlr.stats.directional import (
    clustered_pesaran_timmermann_test,
    delong_auc_interval,
    pesaran_timmermann_test,
    roc_auc,
    wilson_interval,
)
from quantlr.stats.hac import Interval
from quantlr.stats.reliability import brier_decomposition, log_loss_decomposition
from quantlr.stats.shifted_positions import shifted_positions_test

BREAK_EVEN_RANGE_BPS = (0.0, 1000.0)
"""Break-even costs that mean something: below, there is no gain to spend; above, hardly anything is traded."""


def n_forecasts(forecasts: EvaluatedForecasts) -> int:
    """Number of forecasts whose outcome is known."""
    return len(forecasts.up)


def up_rate(forecasts: EvaluatedForecasts) -> float:
    """Proportion of ups, which is also the accuracy of always forecasting up."""
    return float(forecasts.up.mean())


def accuracy(forecasts: EvaluatedForecasts) -> float:
    """Proportion of forecasts that were right."""
    return float(forecasts.hits.mean())


def accuracy_interval(forecasts: EvaluatedForecasts) -> Interval:
    """95 % interval of the accuracy: Wilson's, or by the bootstrap of whole sessions where forecasts are clustered."""
    if not forecasts.has_dependent_outcomes:
        return wilson_interval(int(forecasts.hits.sum()), len(forecasts.up))
    return forecasts.clustered_intervals[0]


def majority_class_accuracy(forecasts: EvaluatedForecasts) -> float:
    """Accuracy of the majority-class baseline, which forecasts the majority of the training rows."""
    return float(forecasts.baseline_hits.mean())


def log_loss(forecasts: EvaluatedForecasts) -> float:
    """Mean log loss of the probabilities, in nats."""
    return float(forecasts.log_losses.mean())


def base_rate_log_loss(forecasts: EvaluatedForecasts) -> float:
    """Mean log loss of the base-rate forecast, in nats; infinite if that was 0 or 1 and wrong."""
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(forecasts.up == 1, forecasts.base_rate, 1.0 - forecasts.base_rate)).mean())


def brier_score(forecasts: EvaluatedForecasts) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((forecasts.probability - forecasts.up) ** 2))


def score_decompositions(forecasts: EvaluatedForecasts) -> dict[str, dict[str, float]]:
    """Decomposition of the log loss and the Brier score by isotonic recalibration (Dimitriadis and others 2021).

    Each score is miscalibration - discrimination + uncertainty.
    """
    of_log_loss = log_loss_decomposition(forecasts.probability, forecasts.up, log_loss=log_loss(forecasts))
    of_brier = brier_decomposition(forecasts.probability, forecasts.up, brier=brier_score(forecasts))
    return {"log_loss": asdict(of_log_loss), "brier": asdict(of_brier)}


def area_under_roc(forecasts: EvaluatedForecasts) -> float | None:
    """Area under the ROC curve: the probability that an up has a higher forecast than a not-up; ties count half."""
    return roc_auc(forecasts.probability, forecasts.up)


def auc_interval(forecasts: EvaluatedForecasts) -> Interval | None:
    """95 % interval of the AUC: DeLong's, or by the bootstrap of whole sessions where forecasts are clustered."""
    if not forecasts.has_dependent_outcomes:
        return delong_auc_interval(forecasts.probability, forecasts.up)
    return forecasts.clustered_intervals[1]


def skill_test(forecasts: EvaluatedForecasts) -> dict[str, float | int | None]:
    """One-sided test of skill against the base rate (Clark and West 2007), which the verdict rests on."""
    return dict(forecasts.clark_west)


def directional_skill_test(forecasts: EvaluatedForecasts) -> dict[str, float] | None:
    """One-sided test that forecasts and outcomes are independent; allows for overlap where forecasts are clustered."""
    predicted_up, up, horizon = forecasts.predicted_up, forecasts.up, forecasts.horizon
    if not forecasts.has_dependent_outcomes:
        return pesaran_timmermann_test(predicted_up, up)
    session, ticker = forecasts.session, forecasts.ticker
    return clustered_pesaran_timmermann_test(predicted_up, up, session=session, ticker=ticker, horizon=horizon)


def final_equity(backtest: BacktestView) -> float:
    """Equity at the end, from a start of 1."""
    return float(backtest.result.equity[-1])


def total_return(backtest: BacktestView) -> float:
    """Return over all sessions, as a fraction."""
    return final_equity(backtest) - 1.0


def cagr(backtest: BacktestView) -> float:
    """Compound annual growth rate, as a fraction; by the calendar unless the config states the sessions per year."""
    return float(final_equity(backtest) ** (1.0 / backtest.years) - 1.0)


def annual_volatility(backtest: BacktestView) -> float | None:
    """Annual standard deviation of net returns (ddof 1), as a fraction."""
    returns = backtest.result.net_return
    return float(returns.std(ddof=1) * backtest.annual_factor) if len(returns) > 1 else None


def annual_sharpe(backtest: BacktestView) -> float | None:
    """Annual Sharpe ratio: mean over standard deviation (ddof 1) of net returns in excess of cash."""
    return annualize_sharpe(sharpe_stats.sharpe_per_session(backtest.excess_returns), backtest)


def annualize_sharpe(session_sharpe: float | None, backtest: BacktestView) -> float | None:
    """Return the annual Sharpe ratio of one per session."""
    return None if session_sharpe is None else float(session_sharpe * backtest.annual_factor)


def sharpe_interval(backtest: BacktestView) -> Interval | None:
    """95 % interval of the annual Sharpe ratio by the stationary bootstrap."""
    resamples = backtest.return_resamples
    interval = resamples.sharpe_interval() if backtest.strategy is None else resamples.benchmark_sharpe_interval()
    return (interval[0] * backtest.annual_factor, interval[1] * backtest.annual_factor) if interval else None


def annual_sharpe_standard_error(backtest: BacktestView) -> float | None:
    """Standard error of the annual Sharpe ratio of independent returns (Lo 2002)."""
    return annualize_sharpe(sharpe_stats.sharpe_standard_error_per_session(backtest.excess_returns), backtest)


def autocorrelation_adjusted_sharpe(backtest: BacktestView) -> float | None:
    """Annual Sharpe ratio allowing for autocorrelation (Lo 2002)."""
    return sharpe_stats.lo_sharpe(backtest.excess_returns, n_periods=backtest.sessions_per_year)


def sortino_ratio(backtest: BacktestView) -> float | None:
    """Annual Sortino ratio: mean excess return over the root mean square of the negative ones, over all sessions."""
    excess = backtest.excess_returns
    downside = float(np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))
    return float(excess.mean() / downside * backtest.annual_factor) if downside > 0 else None


def calmar_ratio(backtest: BacktestView) -> float | None:
    """Calmar ratio: CAGR over the size of the max drawdown."""
    largest = max_drawdown(backtest)
    return cagr(backtest) / -largest if largest < 0 else None


def mean_gross_exposure(backtest: BacktestView) -> float:
    """Average exposure: mean over sessions of the sum of absolute weights."""
    return float(backtest.result.exposure.mean())


def annual_turnover(backtest: BacktestView) -> float:
    """Annual turnover, buys and sells counted, in units of equity."""
    return float(backtest.result.turnover.mean() * backtest.sessions_per_year)


def sum_of_session_costs(backtest: BacktestView) -> float:
    """Sum of all costs, each as a fraction of the equity of its session."""
    return float(backtest.result.cost.sum())


def accuracy_on_sessions_held(backtest: BacktestView) -> float | None:
    """Proportion of the sessions with a position, ticker by ticker, whose return had its side.

    The return is the one that the position earns, from fill to fill, before costs; sessions without a move are left
    out.
    """
    gain = backtest.result.ticker_gross_return[backtest.result.ticker_gross_return != 0]
    return float((gain > 0).mean()) if len(gain) else None


def n_round_trips(backtest: BacktestView) -> int:
    """Number of trades (round trips), open ones included."""
    return len(backtest.trades)


def win_rate(backtest: BacktestView) -> float | None:
    """Proportion of trades with a positive return after costs."""
    returns = net_trade_returns(backtest.trades)
    return float((returns > 0).mean()) if len(returns) else None


def profit_factor(backtest: BacktestView) -> float | None:
    """Sum of the profits of winning trades over that of the losses of losing ones, both after costs."""
    profit = backtest.trades["profit"]
    loss = -float(profit[profit < 0].sum())
    return float(profit[profit > 0].sum()) / loss if loss > 0 else None


def break_even_cost_bps(backtest: BacktestView) -> float | None:
    """Break-even cost against cash: the cost per side, in bps of the traded value, that equals the excess return."""
    turnover = float(backtest.result.turnover.sum())
    return float(backtest.gross_excess_returns.sum()) / turnover / BASIS_POINT if turnover > 0 else None


def n_trials(significance: BacktestAndTrials) -> int:
    """Number of configs tried on the same prices, this one included."""
    return significance.family.n_trials


def probabilistic_sharpe(significance: BacktestAndTrials) -> float | None:
    """Probability that the true Sharpe ratio is above 0 (Bailey and Lopez de Prado 2012)."""
    return sharpe_stats.probabilistic_sharpe(significance.backtest.excess_returns)


def deflated_sharpe(significance: BacktestAndTrials) -> float | None:
    """Probability that the true Sharpe ratio is above the expected maximum under no skill (the same 2014)."""
    annual_max = expected_max_sharpe(significance)
    if annual_max is None:
        return None
    backtest = significance.backtest
    threshold = annual_max / backtest.annual_factor
    return sharpe_stats.probabilistic_sharpe(backtest.excess_returns, benchmark_sharpe=threshold)


def expected_max_sharpe(significance: BacktestAndTrials) -> float | None:
    """Expected maximum of the annual Sharpe ratios of all trials under no skill."""
    return significance.family.maxima.expected_max_sharpe


def family_wise_p_value(significance: BacktestAndTrials) -> float | None:
    """Probability that the best of all trials has so significant an alpha under no skill; None without a benchmark."""
    alpha = significance.backtest.alpha_test
    return None if alpha is None else significance.family.maxima.family_wise_p_value(alpha.test.p_value)


def shifted_positions_p_value(significance: BacktestAndTrials) -> dict[str, float | int | None]:
    """Permutation test of the return's timing against the same positions shifted in time; see `ShiftTest`."""
    backtest, horizon = significance.backtest, significance.forecasts.horizon
    weight, returns = backtest.result.weight, backtest.ticker_excess_returns
    return asdict(shifted_positions_test(weight, returns, horizon=horizon))


def years_to_find_skill(significance: BacktestAndTrials) -> dict[str, float | None] | None:
    """Years of forecasts with which the Clark-West test finds skill of the size found, and their 90 % interval."""
    per_year = significance.backtest.sessions_per_year
    return years_needed(significance.forecasts.clark_west, sessions_per_year=per_year)


METRICS: tuple[Metric, ...] = (
    Metric("n", "forecast", n_forecasts, "forecasts"),
    Metric("up_rate", "forecast", up_rate, "up rate", 1, is_percent=True),
    Metric("accuracy_always_up", "forecast", up_rate, "accuracy of always forecasting up", 1, is_percent=True),
    Metric("accuracy", "forecast", accuracy, "accuracy", 1, is_percent=True, better="higher",
           interval=accuracy_interval, baseline=majority_class_accuracy, baseline_name="majority-class baseline",
           shown_in=("terminal", "tear_sheet", "gallery", "comparison", "trials", "competitors")),
    Metric("log_loss", "forecast", log_loss, "log loss", 5, better="lower",
           baseline=base_rate_log_loss, baseline_name="base-rate forecast",
           shown_in=("terminal", "tear_sheet", "comparison", "trials", "competitors")),
    Metric("brier", "forecast", brier_score, "Brier score", 5, better="lower"),
    Metric("auc", "forecast", area_under_roc, "area under the ROC curve", 3, better="higher", short_name="AUC",
           interval=auc_interval, shown_in=("tear_sheet", "competitors")),
    Metric("clark_west", "forecast", skill_test, "Clark-West p value", 3, is_probability=True, shown_key="p_value",
           shown_in=("tear_sheet",)),
    Metric("pesaran_timmermann", "forecast", directional_skill_test, "Pesaran-Timmermann p value", 3,
           is_probability=True, shown_key="p_value", shown_in=("report",)),
    Metric("reliability", "forecast", score_decompositions),
    Metric("calibration", "forecast", recalibration, "calibration slope", 2, shown_key="slope",
           shown_in=("report",)),
    Metric("spiegelhalter", "forecast", calibration_test, "Spiegelhalter p value", 3, shown_key="p_value"),
    Metric("stability", "forecast", stability),
    Metric("final_equity", "backtest", final_equity, "final equity", 2, better="higher"),
    Metric("total_return", "backtest", total_return, "total return", 1, is_percent=True, better="higher",
           shown_in=("fills",)),
    Metric("cagr", "backtest", cagr, "CAGR", 1, is_percent=True, better="higher",
           shown_in=("terminal", "tear_sheet", "by_fill", "gallery", "comparison", "sweep", "competitors")),
    Metric("volatility", "backtest", annual_volatility, "volatility", 1, "annualised", is_percent=True,
           shown_in=("terminal", "tear_sheet", "comparison", "trials")),
    Metric("sharpe", "backtest", annual_sharpe, "Sharpe ratio", 2, "excess of cash", better="higher",
           short_name="Sharpe", interval=sharpe_interval,
           shown_in=("terminal", "tear_sheet", "by_fill", "gallery", "comparison", "competitors")),
    Metric("sharpe_standard_error", "backtest", annual_sharpe_standard_error, "standard error of the Sharpe ratio", 2),
    Metric("sharpe_lo", "backtest", autocorrelation_adjusted_sharpe, "Sharpe ratio, autocorrelation-adjusted", 2,
           "excess of cash", better="higher"),
    Metric("trials", "significance", n_trials, "trials"),
    Metric("probabilistic_sharpe", "significance", probabilistic_sharpe, "probabilistic Sharpe ratio", 1,
           "vs 0", is_percent=True, is_probability=True, better="higher", shown_in=("tear_sheet",)),
    Metric("deflated_sharpe", "significance", deflated_sharpe, "deflated Sharpe ratio", 1, is_percent=True,
           is_probability=True, better="higher", short_name="deflated", count_key="trials",
           shown_in=("tear_sheet", "gallery")),
    Metric("family_wise_p", "significance", family_wise_p_value, "family-wise p value of alpha", 3,
           is_probability=True, better="lower", short_name="family-wise p", count_key="trials", shown_in=("report",)),
    Metric("expected_max_sharpe", "significance", expected_max_sharpe, "expected maximum Sharpe ratio, no skill", 2),
    Metric("alpha", "against_benchmark", benchmark_metrics.alpha, "alpha", 1, "annual, arithmetic", is_percent=True,
           better="higher", shown_key="annual", shown_in=("tear_sheet", "comparison")),
    Metric("alpha_test", "against_benchmark", benchmark_metrics.alpha_test, "alpha, t statistic", 2,
           better="higher", short_name="t", shown_key="statistic", shown_in=("tear_sheet", "comparison")),
    Metric("beta", "against_benchmark", benchmark_metrics.beta, "beta", 2, shown_in=("tear_sheet",)),
    Metric("sharpe_difference", "against_benchmark", benchmark_metrics.sharpe_above_benchmark,
           "Sharpe ratio above the benchmark's", 2, better="higher", shown_in=("report",),
           interval=benchmark_metrics.sharpe_above_benchmark_interval),
    Metric("timing", "against_benchmark", benchmark_metrics.timing, "return above the average holding", 1,
           "annual, arithmetic", is_percent=True, better="higher", shown_in=("report",)),
    Metric("timing_test", "against_benchmark", benchmark_metrics.timing_test, "the same, t statistic", 2,
           better="higher", shown_key="statistic", shown_in=("report",)),
    Metric("shifted_positions", "significance", shifted_positions_p_value,
           "p value among the same positions shifted in time", 3, is_probability=True, better="lower",
           shown_key="p_value", shown_in=("report",)),
    Metric("years_needed", "significance", years_to_find_skill, "years to find such skill with 80% power",
           better="lower", shown_key="estimate"),
    Metric("sortino", "backtest", sortino_ratio, "Sortino ratio", 2, "excess of cash", better="higher",
           shown_in=("risk", "trials")),
    Metric("max_drawdown", "backtest", max_drawdown, "max drawdown", 1, is_percent=True, better="higher",
           short_name="max DD", shown_in=("terminal", "tear_sheet", "comparison", "sweep")),
    Metric("longest_drawdown_sessions", "backtest", longest_drawdown_sessions, "longest drawdown", 0, "sessions",
           better="lower", shown_in=("tear_sheet",)),
    Metric("calmar", "backtest", calmar_ratio, "Calmar ratio", 2, better="higher", shown_in=("risk",)),
    Metric("deepest_drawdowns", "backtest", list_deepest_drawdowns),
    *RETURN_METRICS,
    Metric("correlation", "against_benchmark", benchmark_metrics.benchmark_correlation,
           "correlation with the benchmark", 2, shown_in=("risk",)),
    Metric("information_ratio", "against_benchmark", benchmark_metrics.information_ratio, "information ratio", 2,
           better="higher", shown_in=("risk",)),
    Metric("up_capture", "against_benchmark", benchmark_metrics.up_capture, "up capture", 0, "monthly", is_percent=True,
           better="higher", shown_in=("risk",)),
    Metric("down_capture", "against_benchmark", benchmark_metrics.down_capture, "down capture", 0, "monthly",
           is_percent=True, better="lower", shown_in=("risk",)),
    Metric("volatility_match", "against_benchmark", benchmark_metrics.volatility_match,
           "factor to the benchmark's volatility", 2, shown_in=("risk",)),
    Metric("exposure", "backtest", mean_gross_exposure, "average exposure", 0, is_percent=True,
           shown_in=("tear_sheet", "trials")),
    Metric("accuracy_held", "backtest", accuracy_on_sessions_held, "accuracy on the sessions held", 1, is_percent=True,
           better="higher", shown_in=("tear_sheet",)),
    Metric("turnover_per_year", "backtest", annual_turnover, "turnover", 1, "annual, x equity",
           shown_in=("terminal", "tear_sheet", "ticker", "comparison", "sweep")),
    Metric("cost_total", "backtest", sum_of_session_costs, "total costs", 1, "% of equity, summed",
           is_percent=True, better="lower",
           shown_in=("tear_sheet", "fills", "trials")),
    Metric("trades", "backtest", n_round_trips, "trades", shown_in=("terminal", "ticker")),
    Metric("win_rate", "backtest", win_rate, "win rate", 1, "after costs", is_percent=True, better="higher",
           shown_in=("ticker",)),
    Metric("profit_factor", "backtest", profit_factor, "profit factor", 2, better="higher", shown_in=("ticker",)),
    Metric("break_even_cost_bps", "strategy_only", break_even_cost_bps, "break-even cost vs cash", 1,
           "bps per side", better="higher", short_name="break-even cost", shown_range=BREAK_EVEN_RANGE_BPS,
           shown_in=("tear_sheet", "gallery")),
    Metric("timing_break_even_cost_bps", "strategy_only", benchmark_metrics.timing_break_even_cost_bps,
           "break-even cost vs average holding", 1, "bps per side", better="higher", shown_range=BREAK_EVEN_RANGE_BPS,
           shown_in=("report",)),
    *TICKER_METRICS,
    *FIT_METRICS,
)  # fmt: skip
"""Every metric of ``metrics.json``, in the order in which it is shown."""


def metrics_of_section(section: Section) -> tuple[Metric, ...]:
    """Return the metrics of a section of ``metrics.json``, in order."""
    return tuple(metric for metric in METRICS if metric.section == section)


def metrics_shown_in(*places: Place) -> tuple[Metric, ...]:
    """Return the metrics that are shown in any of some places, in order."""
    return tuple(metric for metric in METRICS if not set(places).isdisjoint(metric.shown_in))


def find_metric(key: str) -> Metric:
    """Return the metric with a key."""
    return next(metric for metric in METRICS if metric.key == key)
