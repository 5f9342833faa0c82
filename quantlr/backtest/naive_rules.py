"""Naive rules, which need no model: their forecasts of direction, traded as a threshold policy trades probabilities.

They are baselines of a model. None has a parameter to be chosen, so that they are no trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.engine import backtest_positions, drop_earlier_decisions, truncate_backtest
from quantlr.backtest.metric_types import BacktestView, EvaluatedForecasts, evaluate_forecasts
from quantlr.backtest.metrics import metrics_shown_in
from quantlr.backtest.policies import Policy, Threshold, decide_positions, make_decision_context
from quantlr.backtest.return_metrics import returns_by_year
from quantlr.core.values import Array, BoolArray, Forecasts, Prices, RunData
from quantlr.stats.clark_west import base_rate_forecasts


@dataclass(frozen=True, slots=True)
class NaiveRule:
    """A rule that forecasts the direction without a model.

    Attributes
    ----------
    key : in ``metrics.json``.
    name : on pages.
    description : one clause that says what is forecast.
    make_forecasts : from the forecasts of a run, prices and the sessions in a year to the rule's forecasts of the same
        rows. A rule without probabilities forecasts 0 or 1.
    has_probabilities : whether the rule's probabilities can be scored, as its directions can.
    """

    key: str
    name: str
    description: str
    make_forecasts: Callable[[Forecasts, Prices, int], Forecasts]
    has_probabilities: bool = False


def trailing_returns(forecasts: Forecasts, prices: Prices, n_bars: int) -> Array:
    """Return each forecast's ticker's simple return over the last bars up to the forecast's close, (rows,).

    Where a ticker has fewer bars before, the return since its first one.
    """
    earlier = np.maximum(np.arange(len(prices.close)) - n_bars, 0)
    returns = prices.bars_to_sessions(prices.close / prices.close[earlier] - 1.0)
    return np.asarray(returns[forecasts.session, forecasts.ticker])


def _certain_forecasts(forecasts: Forecasts, is_up: BoolArray) -> Forecasts:
    return replace(forecasts, probability=is_up.astype(np.float64), log_odds=np.where(is_up, np.inf, -np.inf))


def _last_sign(forecasts: Forecasts, prices: Prices, _: int) -> Forecasts:
    return _certain_forecasts(forecasts, trailing_returns(forecasts, prices, forecasts.horizon) > 0)


def _reversal(forecasts: Forecasts, prices: Prices, _: int) -> Forecasts:
    return _certain_forecasts(forecasts, trailing_returns(forecasts, prices, forecasts.horizon) <= 0)


def _twelve_month_momentum(forecasts: Forecasts, prices: Prices, sessions_per_year: int) -> Forecasts:
    return _certain_forecasts(forecasts, trailing_returns(forecasts, prices, int(sessions_per_year)) > 0)


NAIVE_RULES = (
    NaiveRule(
        "majority_class", "majority class", "the majority of the training rows",
        lambda forecasts, prices, sessions_per_year: base_rate_forecasts(forecasts), has_probabilities=True,
    ),
    NaiveRule("last_sign", "last sign (momentum)", "the direction of the last return continues", _last_sign),
    NaiveRule("reversal", "reversal", "the direction of the last return reverses", _reversal),
    NaiveRule(
        "twelve_month_momentum", "12-month momentum", "the direction of the last 12 months continues",
        _twelve_month_momentum,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NaiveRuleResult:
    """A naive rule's forecasts and backtest.

    Attributes
    ----------
    rule : the rule.
    forecasts : its forecasts with a known outcome.
    backtest : of its positions, over the sessions of the run's.
    """

    rule: NaiveRule
    forecasts: EvaluatedForecasts
    backtest: BacktestView

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics that are shown of several competing forecasts, and the returns by year; None where it has none.

        The keys are those of ``metrics.json``.
        """
        shown = competitor_metrics(self.forecasts, self.backtest, has_probabilities=self.rule.has_probabilities)
        return {**shown, "returns_by_year": returns_by_year(self.backtest)}


def competitor_metrics(
    forecasts: EvaluatedForecasts, backtest: BacktestView, *, has_probabilities: bool = True
) -> dict[str, Any]:
    """Return the metrics that are shown of competing forecasts of the same rows, by key.

    Without probabilities, the log loss is None, and the area under the ROC curve is that of the directions.
    """
    values: dict[str, Any] = {}
    for metric in metrics_shown_in("competitors"):
        if metric.key == "log_loss" and not has_probabilities:
            values[metric.key] = None
        else:
            values[metric.key] = metric.compute(forecasts if metric.section == "forecast" else backtest)
    return values


def evaluate_naive_rules(
    run_data: RunData, policy: Policy, execution: ExecutionSpec, *, sessions_per_year: int
) -> Iterator[NaiveRuleResult]:
    """Yield each naive rule's forecasts of a run's rows, and the backtest of its positions over the run's sessions.

    A rule is long where it forecasts up, and else short if the run's policy may be, or flat. The tickers of a session
    share the capital equally, at a horizon of h in h overlapping portfolios; overlays are not applied.

    Parameters
    ----------
    run_data, policy, execution : of the run.
    sessions_per_year : for annual figures, and the length of 12 months in bars.
    """
    forecasts, prices, n_sessions = run_data.forecasts, run_data.prices, len(run_data.result.equity)
    first_session = int((~np.isnan(run_data.positions.weight)).any(axis=1).argmax())
    threshold = Threshold(long_above=0.5, short_below=0.5 if policy.may_be_short else None)
    context = make_decision_context(prices, forecasts, execution, sessions_per_year=sessions_per_year)
    for rule in NAIVE_RULES:
        rule_forecasts = rule.make_forecasts(forecasts, prices, sessions_per_year)
        positions = drop_earlier_decisions(decide_positions(threshold, rule_forecasts, context), first_session)
        result = backtest_positions(positions, prices, execution, sessions_per_year=sessions_per_year)
        backtest = BacktestView(truncate_backtest(result, n_sessions), sessions_per_year)
        yield NaiveRuleResult(rule, evaluate_forecasts(rule_forecasts), backtest)
