"""The rules of the verdict, their order, and the numbers in their sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantlr.stats.sharpe import probabilistic_sharpe
from quantlr.stats.verdict import decide_verdict

from stats.verdict_cases import (
    COSTS,
    FEW_SESSIONS,
    NO_ALPHA,
    NO_BENCHMARK,
    NO_PROFIT,
    NO_SKILL,
    NO_TIMING,
    PROFIT,
    SAME_CLOSE,
    SAME_RETURNS,
    SEARCHED,
    SIZED,
    SKILLED,
    STALE_OPENS,
    TOO_SHORT,
    UNKNOWN,
    WEAK_PROFIT,
    two_point_returns,
    verdict_of,
)


@pytest.mark.parametrize(
    ("changes", "rule", "text"),
    [
        ({"forecast.clark_west.p_value": None}, "no_evidence_of_skill", "forecasts or outcomes are constant"),
        ({"forecast.clark_west.p_value": None}, "no_evidence_of_skill", "(no Clark-West test: forecasts"),
        ({"forecast.clark_west.sessions": 32}, "evidence", "(Clark-West p = 0.001; "),
        (TOO_SHORT, "no_evidence_of_skill", "too short for the Clark-West test: 30 sessions, needed 40"),
        (NO_SKILL, "no_evidence_of_skill", "p = 0.050; log loss 0.68500, better than"),
        (NO_SKILL | {"forecast.log_loss": 0.691999}, "no_evidence_of_skill", "log loss 0.69200, hardly better than"),
        ({"forecast.clark_west.p_value": 1e-9}, "evidence", "Clark-West p < 0.001"),
        ({"forecast.log_loss": 0.692}, "evidence", "no better than the base rate's 0.69200"),
        (
            SIZED | {"forecast.log_loss": 0.692},
            "no_evidence_of_skill",
            "no better than the base rate's 0.69200",
        ),
        (SIZED | {"forecast.log_loss": 0.692}, "no_evidence_of_skill", "sizes positions by probabilities"),
        (SIZED | {"forecast.log_loss": float("nan")}, "no_evidence_of_skill", "log loss nan"),
        (SIZED, "evidence", "better than the base rate's"),
        (NO_PROFIT, "skill_no_profit", "(Sharpe ratio 1.20, probabilistic Sharpe ratio 90.0%)"),
        ({"gross": np.zeros(90)}, "skill_no_profit", "Sharpe ratio undefined, probabilistic Sharpe ratio undefined"),
        (COSTS, "costs_eat_it", "(Sharpe ratio 2.15, probabilistic Sharpe ratio 98.9%)"),
        (COSTS, "costs_eat_it", "(Sharpe ratio 0.10, probabilistic Sharpe ratio 60"),
        (COSTS, "costs_eat_it", "12.0 bps per side"),
        (STALE_OPENS, "not_tradable_as_filled", "hardly move from the close before, in 89% of windows of 252 bars."),
        (SAME_CLOSE, "not_tradable_as_filled", "(Sharpe ratio 1.00, probabilistic Sharpe ratio 97.0%)"),
        (SAME_CLOSE, "not_tradable_as_filled", "where nobody can trade (at the next close: 0.62)."),
        (SAME_CLOSE | {"backtest.fills.next_close": None}, "not_tradable_as_filled", "where nobody can trade."),
        ({"backtest.only_at_the_close": True}, "not_tradable_as_filled", "where nobody can trade"),
        ({"backtest.fill": "next_open"}, "evidence", "alpha"),
        ({"backtest.fill": "next_open", "backtest.fills.next_open": None}, "evidence", "alpha"),
        (NO_ALPHA, "not_shown_to_beat_benchmark", "Not shown to beat buy and hold: "),
        (NO_ALPHA, "not_shown_to_beat_benchmark", "+5.2% a year (t = 1.66, p = 0.050; beta 0.70)."),
        (NO_ALPHA | {"backtest.benchmark_name": "SPY"}, "not_shown_to_beat_benchmark", "Not shown to beat SPY: "),
        (NO_ALPHA | {"backtest.benchmark_name": "SPY"}, "not_shown_to_beat_benchmark", "alpha over SPY is"),
        (FEW_SESSIONS, "not_shown_to_beat_benchmark", "not tested: 30 sessions, needed 32"),
        ({"significance.alpha_test.sessions": 32}, "evidence", "(t = 2.31, p = 0.011; beta"),
        (SAME_RETURNS, "not_shown_to_beat_benchmark", "(not tested: it is constant; beta"),
        (NO_BENCHMARK, "not_shown_to_beat_benchmark", "there is no buy and hold"),
        (NO_TIMING, "better_risk_scaling", "Better risk scaling, not direction: accuracy 55.0%"),
        (NO_TIMING, "better_risk_scaling", "beta 0.70), but the return above holding the average position is -0.4%"),
        (SEARCHED, "not_after_trials", "after 12 trials: accuracy 55.0% on 2,500 forecasts"),
        (SEARCHED, "not_after_trials", "over 12 trials, alpha has p = 0.050"),
        (SEARCHED, "not_after_trials", "is 0.31, and the deflated Sharpe ratio is 96.1%"),
        (SEARCHED | {"significance.trials": 1}, "not_after_trials", "after 1 trial: "),
        (SEARCHED | {"significance.trials": 2}, "not_after_trials", "after 2 trials: "),
        (UNKNOWN, "not_after_trials", "deflated Sharpe ratio is undefined"),
        (UNKNOWN, "not_after_trials", "alpha has no p value; "),
        (
            {},
            "evidence",
            "probabilistic Sharpe ratio 97.0%), alpha over buy and hold is +5.2% a year (t = 2.31, p = 0.011",
        ),
        ({}, "evidence", "over 12 trials, alpha has p = 0.032; the deflated Sharpe ratio is 96.1%."),
        ({"significance.deflated_sharpe": 0.9499}, "evidence", "the deflated Sharpe ratio is 94.990%"),
        ({"significance.deflated_sharpe": 0.9495}, "evidence", "the deflated Sharpe ratio is 94.950%"),
        ({"significance.deflated_sharpe": 0.95}, "evidence", "the deflated Sharpe ratio is 95.0%"),
        ({"significance.deflated_sharpe": 0.9995}, "evidence", "the deflated Sharpe ratio is over 99.9%"),
        ({"significance.trials": 1, "has_trial_ledger": False}, "evidence", "this trial only (there is no ledger)"),
        ({"significance.probabilistic_sharpe": 0.99999}, "evidence", "probabilistic Sharpe ratio over 99.9%"),
        ({"significance.trials": 1}, "evidence", "(the ledger of this folder has no other on these prices)"),
    ],
)
def test_first_rule_that_applies_decides(changes: dict[str, Any], rule: str, text: str) -> None:
    verdict = verdict_of(changes)
    assert verdict.rule == rule
    assert text in verdict.sentence
    assert verdict.sentence.endswith(".")


def test_probabilities_worse_than_the_base_rate_do_not_matter_to_positions_of_one_size() -> None:
    metrics = SKILLED | {"forecast": SKILLED["forecast"] | {"log_loss": 0.7}}
    assert decide_verdict(metrics, PROFIT, sessions_per_year=252, has_trial_ledger=True).rule == "evidence"


def test_rules_apply_in_order() -> None:
    """The verdict is that of the first rule that fails."""
    in_order = [NO_SKILL, NO_PROFIT, COSTS, SAME_CLOSE, NO_ALPHA, NO_TIMING, SEARCHED]
    rules = []
    for first in range(len(in_order)):
        changes: dict[str, Any] = {}
        for change in in_order[first:]:
            changes |= change
        rules.append(verdict_of(changes).rule)
    assert rules == [
        "no_evidence_of_skill", "skill_no_profit", "costs_eat_it", "not_tradable_as_filled",
        "not_shown_to_beat_benchmark", "better_risk_scaling", "not_after_trials",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "at_the_level",
    [{"forecast.clark_west.p_value": 0.0499}, {"gross": two_point_returns(1.6448537)},
     {"significance.probabilistic_sharpe": 0.95}, {"significance.alpha_test.p_value": 0.0499},
     {"significance.timing_test.p_value": 0.0499},
     {"significance.family_wise_p": 0.0499}],
)  # fmt: skip
def test_values_at_the_level_pass(at_the_level: dict[str, Any]) -> None:
    assert verdict_of(at_the_level).rule == "evidence"


@pytest.mark.parametrize(
    ("years", "text"),
    [
        ({"estimate": 6.0, "low": 2.0, "high": None}, "would take about 6 years (90% interval: at least 2)."),
        ({"estimate": 6.4, "low": 2.0, "high": 1234.5}, "would take about 6 years (90% interval: 2 to 1,234)."),
        ({"estimate": None, "low": 31.0, "high": None}, "would take at least 31 years."),
        ({"estimate": None, "low": 1.2, "high": None}, "would take at least 1 year."),
        ({"estimate": 0.94, "low": 0.28, "high": None}, "would take about 0.9 years (90% interval: at least 0.3)."),
        ({"estimate": None, "low": None, "high": None}, "base rate's 0.69200)."),
        (None, "base rate's 0.69200)."),
    ],
)
def test_no_evidence_states_the_years_needed_if_defined(years: Any, text: str) -> None:
    assert verdict_of(NO_SKILL | {"significance.years_needed": years}).sentence.endswith(text)


@pytest.mark.parametrize("changes", [NO_SKILL, NO_PROFIT, COSTS, SAME_CLOSE, NO_ALPHA, NO_TIMING, SEARCHED])
def test_fits_that_did_not_converge_are_named_first(changes: dict[str, Any]) -> None:
    converged, unconverged = verdict_of(changes), verdict_of(changes | {"model.unconverged": 1900})
    assert unconverged.rule == converged.rule
    assert unconverged.sentence == f"1,900 of 1,910 fits did not converge. {converged.sentence}"


def test_fits_that_did_not_converge_are_no_evidence_of_an_edge() -> None:
    unconverged = verdict_of({"model.unconverged": 1})
    assert unconverged.rule == "fits_not_converged"
    assert unconverged.sentence.startswith("Fits did not converge: 1 of 1,910 fits did not converge (raise")
    assert unconverged.sentence.endswith(verdict_of({}).sentence.partition(": ")[2])


def test_two_point_returns_have_the_probabilistic_sharpe_stated() -> None:
    assert probabilistic_sharpe(WEAK_PROFIT) == pytest.approx(0.9, abs=1e-7)
