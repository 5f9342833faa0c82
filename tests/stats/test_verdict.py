"""The six rules of the verdict, their order, and the numbers in their sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.stats.sharpe import probabilistic_sharpe, sharpe_per_session
from quantlr.stats.verdict import Evidence, decide_verdict

SKILLED = Evidence(
    n_forecasts=2500, accuracy=0.55, accuracy_base_rate=0.52, log_loss=0.685, log_loss_base_rate=0.692,
    directional_p_value=0.001, years_needed=6.0, sharpe_gross=1.2, sharpe_net=1.0, probabilistic_sharpe_gross=0.99,
    probabilistic_sharpe_net=0.97, break_even_cost_bps=12.0, mean_excess_over_benchmark=0.052,
    mean_excess_over_benchmark_low95=0.011,
    n_trials=12, has_trial_ledger=True, expected_max_sharpe=0.31, deflated_sharpe=0.961,
)  # fmt: skip

NO_SKILL: dict[str, Any] = {"directional_p_value": 0.05}
NO_PROFIT: dict[str, Any] = {"probabilistic_sharpe_gross": 0.9}
COSTS: dict[str, Any] = {"probabilistic_sharpe_net": 0.6, "sharpe_net": 0.1}
NOT_ABOVE: dict[str, Any] = {"mean_excess_over_benchmark_low95": 0.0}
BELOW: dict[str, Any] = {"mean_excess_over_benchmark": -0.02, "mean_excess_over_benchmark_low95": -0.041}
NO_BENCHMARK: dict[str, Any] = {"mean_excess_over_benchmark": None, "mean_excess_over_benchmark_low95": None}
SEARCHED: dict[str, Any] = {"deflated_sharpe": 0.9499}
UNKNOWN: dict[str, Any] = {"deflated_sharpe": None, "expected_max_sharpe": None}


@pytest.mark.parametrize(
    ("change", "rule", "text"),
    [
        ({"directional_p_value": None}, "no_evidence_of_skill", "forecasts or outcomes are constant"),
        (NO_SKILL, "no_evidence_of_skill", "p = 0.050; log loss 0.68500, better than"),
        ({"log_loss": 0.691999, "directional_p_value": 0.2}, "no_evidence_of_skill", "loss 0.69200, hardly better"),
        ({"directional_p_value": 1e-9, "log_loss": 0.7}, "no_evidence_of_skill", "p < 0.001"),
        ({"log_loss": 0.692}, "no_evidence_of_skill", "no better than the base-rate forecast's 0.69200"),
        ({"log_loss": float("nan")}, "no_evidence_of_skill", "log loss nan"),
        (NO_PROFIT, "skill_no_profit", "(Sharpe ratio 1.20, probabilistic Sharpe ratio 90.0%)"),
        ({"probabilistic_sharpe_gross": None, "sharpe_gross": None}, "skill_no_profit", "Sharpe ratio undefined"),
        (COSTS, "costs_eat_it", "(Sharpe ratio 0.10, probabilistic Sharpe ratio 60"),
        (COSTS, "costs_eat_it", "12.0 bps per side"),
        (NOT_ABOVE, "not_shown_to_beat_buy_and_hold", "5.2% a year above buy and hold's (lower 95% bound +0.0%)"),
        (BELOW, "not_shown_to_beat_buy_and_hold", "2.0% a year below buy and hold's (lower 95% bound -4.1%)"),
        (NO_BENCHMARK, "not_shown_to_beat_buy_and_hold", "there is no buy and hold"),
        (SEARCHED, "not_after_trials", "after 12 trials: accuracy 55.0% on 2,500 forecasts"),
        (SEARCHED, "not_after_trials", "is 0.31, and the deflated Sharpe ratio is 94.990%"),
        (UNKNOWN, "not_after_trials", "deflated Sharpe ratio is undefined"),
        ({}, "evidence", "probabilistic Sharpe ratio 97.0%), and the mean return is 5.2% a year above"),
        ({}, "evidence", "the deflated Sharpe ratio is 96.1%, counting 12 trials."),
        ({"n_trials": 1, "has_trial_ledger": False}, "evidence", "no ledger"),
        ({"probabilistic_sharpe_net": 0.99999}, "evidence", "probabilistic Sharpe ratio over 99.9%"),
        ({"n_trials": 1}, "evidence", "counting 1 trial."),
    ],
)  # fmt: skip
def test_first_rule_that_applies_decides(change: dict[str, Any], rule: str, text: str) -> None:
    verdict = decide_verdict(replace(SKILLED, **change))
    assert verdict.rule == rule
    assert text in verdict.sentence
    assert verdict.sentence.endswith(".")


def test_rules_apply_in_order() -> None:
    """The verdict is that of the first rule that fails."""
    in_order = [NO_SKILL, NO_PROFIT, COSTS, NOT_ABOVE, SEARCHED]
    rules = []
    for first in range(len(in_order)):
        changes: dict[str, Any] = {}
        for change in in_order[first:]:
            changes |= change
        rules.append(decide_verdict(replace(SKILLED, **changes)).rule)
    assert rules == [
        "no_evidence_of_skill", "skill_no_profit", "costs_eat_it", "not_shown_to_beat_buy_and_hold", "not_after_trials",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "at_the_level",
    [{"directional_p_value": 0.0499}, {"probabilistic_sharpe_gross": 0.95}, {"probabilistic_sharpe_net": 0.95},
     {"mean_excess_over_benchmark_low95": 1e-9}, {"deflated_sharpe": 0.95}],
)  # fmt: skip
def test_values_at_the_level_pass(at_the_level: dict[str, Any]) -> None:
    assert decide_verdict(replace(SKILLED, **at_the_level)).rule == "evidence"


def test_no_evidence_states_the_years_needed_if_defined() -> None:
    no_skill = replace(SKILLED, directional_p_value=0.3)
    assert "would take about 6 years" in decide_verdict(no_skill).sentence
    assert "years" not in decide_verdict(replace(no_skill, years_needed=None)).sentence


def test_evidence_from_metrics() -> None:
    gross = np.random.default_rng(0).normal(0.001, 0.01, 500)
    numbers: dict[str, Any] = {
        "forecast": {
            "n": 500, "accuracy": 0.5, "accuracy_base_rate": 0.51, "log_loss": 0.7, "log_loss_base_rate": 0.69,
            "pesaran_timmermann": None,
        },
        "backtest": {"strategy": {"sharpe": 0.4}, "break_even_cost_bps": 3.0},
        "significance": {
            "years_needed": None, "probabilistic_sharpe": 0.7, "trials": 3, "expected_max_sharpe": 0.2,
            "deflated_sharpe": 0.5, "above_benchmark": {"mean": 0.01, "low95": -0.02},
        },
    }  # fmt: skip
    verdict = Evidence.from_metrics(numbers, gross, sessions_per_year=252, has_trial_ledger=True)
    ratio = sharpe_per_session(gross)
    assert ratio is not None
    assert verdict.sharpe_gross == pytest.approx(ratio * np.sqrt(252))
    assert verdict.probabilistic_sharpe_gross == probabilistic_sharpe(gross)
    assert (
        verdict.directional_p_value,
        verdict.mean_excess_over_benchmark,
        verdict.mean_excess_over_benchmark_low95,
    ) == (
        None,
        0.01,
        -0.02,
    )
    assert (verdict.n_trials, verdict.expected_max_sharpe, verdict.deflated_sharpe, verdict.sharpe_net) == (
        3,
        0.2,
        0.5,
        0.4,
    )
