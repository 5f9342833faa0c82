"""The six rules, in their order, and what each says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantlr.stats.sharpe import probabilistic_sharpe, sharpe_per_session
from quantlr.stats.verdict import Evidence, decide_verdict

SKILLED = Evidence(
    n_forecasts=2500, accuracy=0.55, accuracy_base_rate=0.52, log_loss=0.685, log_loss_base_rate=0.692, directional_p_value=0.001,
    years_needed=6.0, sharpe_gross=1.2, sharpe_net=1.0, probabilistic_sharpe_gross=0.99,
    probabilistic_sharpe_net=0.97, break_even_cost_bps=12.0, mean_excess_over_benchmark=0.052, mean_excess_over_benchmark_low95=0.011,
    n_trials=12, has_trial_ledger=True, expected_max_sharpe=0.31, deflated_sharpe=0.961,
)  # fmt: skip

NO_SKILL: dict[str, Any] = {"p_value": 0.05}
NO_PROFIT: dict[str, Any] = {"probabilistic_sharpe_gross": 0.9}
COSTS: dict[str, Any] = {"probabilistic_sharpe_net": 0.6, "sharpe_net": 0.1}
NO_BETTER: dict[str, Any] = {"above_benchmark_low95": 0.0}
LUCKY: dict[str, Any] = {"deflated_sharpe": 0.9499}


@pytest.mark.parametrize(
    ("change", "rule", "says"),
    [
        ({"p_value": None}, "no_evidence_of_skill", "calls or outcomes never changed"),
        (NO_SKILL, "no_evidence_of_skill", "p = 0.050; log loss 0.68500, better than"),
        ({"log_loss": 0.691999, "p_value": 0.2}, "no_evidence_of_skill", "log loss 0.69200, hardly better than"),
        ({"p_value": 1e-9, "log_loss": 0.7}, "no_evidence_of_skill", "p < 0.001"),
        ({"log_loss": 0.692}, "no_evidence_of_skill", "log loss 0.69200, no better than the base rate's 0.69200"),
        (NO_PROFIT, "skill_no_profit", "may be luck (Sharpe ratio 1.20, probabilistic Sharpe ratio 90.0%)"),
        ({"probabilistic_sharpe_gross": None, "sharpe_gross": None}, "skill_no_profit", "Sharpe ratio undefined"),
        (COSTS, "costs_eat_it", "left after them may be luck (Sharpe ratio 0.10, probabilistic Sharpe ratio 60"),
        (COSTS, "costs_eat_it", "breaks even at 12.0 basis points a trade"),
        (NO_BETTER, "not_shown_to_beat_buy_and_hold", "5.2% a year above buy and hold's (lower 95% bound +0.0%)"),
        (
            {"above_benchmark": -0.02, "above_benchmark_low95": -0.041},
            "not_shown_to_beat_buy_and_hold",
            "the mean return is 2.0% a year below buy and hold's (lower 95% bound -4.1%)",
        ),
        ({"above_benchmark": None, "above_benchmark_low95": None}, "not_shown_to_beat_buy_and_hold", "there is no buy"),
        (LUCKY, "not_after_trials", "Not shown after 12 trials: 55.0% of 2,500 calls"),
        (LUCKY, "not_after_trials", "to show a Sharpe ratio of 0.31, and the deflated Sharpe ratio is 94.990%"),
        ({"deflated_sharpe": None, "expected_max_sharpe": None}, "not_after_trials", "deflated Sharpe ratio is undefined"),
        ({}, "evidence", "probabilistic Sharpe ratio 97.0%), and the mean return is 5.2% a year above"),
        ({}, "evidence", "the deflated Sharpe ratio is 96.1%, counting 12 trials."),
        ({"trials": 1, "counted": False}, "evidence", "counting this trial alone, since no ledger was there"),
        ({"probabilistic_sharpe_net": 0.99999}, "evidence", "probabilistic Sharpe ratio over 99.9%"),
        ({"trials": 1}, "evidence", "counting 1 trial."),
    ],
)  # fmt: skip
def test_the_first_rule_that_applies_gives_the_verdict(change: dict[str, Any], rule: str, says: str) -> None:
    found = decide_verdict(replace(SKILLED, **change))
    assert found.rule == rule
    assert says in found.sentence
    assert found.sentence.endswith(".")


def test_the_rules_stand_in_their_order() -> None:
    """What fails several is told of the first."""
    in_order = [NO_SKILL, NO_PROFIT, COSTS, NO_BETTER, LUCKY]
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
    "at_the_edge",
    [{"p_value": 0.0499}, {"probabilistic_sharpe_gross": 0.95}, {"probabilistic_sharpe_net": 0.95},
     {"above_benchmark_low95": 1e-9}, {"deflated_sharpe": 0.95}],
)  # fmt: skip
def test_what_just_reaches_the_level_passes(at_the_edge: dict[str, Any]) -> None:
    assert decide_verdict(replace(SKILLED, **at_the_edge)).rule == "evidence"


def test_no_evidence_says_how_long_it_would_take_where_it_can() -> None:
    doubtful = replace(SKILLED, directional_p_value=0.3)
    assert "would take about 6 years" in decide_verdict(doubtful).sentence
    assert "years" not in decide_verdict(replace(doubtful, years_needed=None)).sentence


def test_evidence_is_read_from_the_numbers_of_a_run() -> None:
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
    found = Evidence.from_metrics(numbers, gross, sessions_per_year=252, has_trial_ledger=True)
    ratio = sharpe_per_session(gross)
    assert ratio is not None
    assert found.sharpe_gross == pytest.approx(ratio * np.sqrt(252))
    assert found.probabilistic_sharpe_gross == probabilistic_sharpe(gross)
    assert (found.directional_p_value, found.mean_excess_over_benchmark, found.mean_excess_over_benchmark_low95) == (
        None,
        0.01,
        -0.02,
    )
    assert (found.n_trials, found.expected_max_sharpe, found.deflated_sharpe, found.sharpe_net) == (3, 0.2, 0.5, 0.4)
