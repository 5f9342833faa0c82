"""The rules of the verdict in their order, each with a sentence that the program writes."""

from __future__ import annotations

from typing import Any, NamedTuple

from stats.verdict_cases import WEAK_PROFIT, verdict_of


class Rule(NamedTuple):
    """A rule: when it decides, and metrics to which it applies, as changes of those of a skilled run."""

    key: str
    condition: str
    changes: dict[str, Any]


NO_SKILL_FOUND = {
    "forecast.accuracy": 0.524,
    "forecast.log_loss": 0.69198,
    "forecast.clark_west.p_value": 0.212,
    "significance.years_needed": {"estimate": 10.4, "low": 1.2, "high": None},
}
RULES = (
    Rule(
        "look_ahead_suspected",
        "the whole 95% interval of the accuracy is more than 15 points above the majority-class baseline, or that of "
        "the Sharpe ratio above 3, which is more than daily prices have ever shown",
        {"forecast.accuracy": 0.782, "forecast.accuracy_ci95": (0.766, 0.798)},
    ),
    Rule(
        "no_evidence_of_skill",
        "the test of Clark and West (2007) does not find that the features predict better than the base rate (p is at "
        "least 0.05), or there are too few sessions for it",
        NO_SKILL_FOUND,
    ),
    Rule(
        "no_evidence_of_skill",
        "the policy sizes positions by probabilities (`proportional`, `expected_value`, `kelly`), and the log loss is "
        "no lower than that of the base-rate forecast",
        {"sizes_by_probability": True, "forecast.log_loss": 0.69204, "forecast.clark_west.p_value": 0.012},
    ),
    Rule(
        "skill_no_profit",
        "the probabilistic Sharpe ratio of the returns before costs, against 0, is below 95%",
        {"gross": WEAK_PROFIT},
    ),
    Rule(
        "costs_eat_it",
        "the probabilistic Sharpe ratio of the returns after costs is below 95%",
        {
            "significance.probabilistic_sharpe": 0.6,
            "backtest.strategy.sharpe": 0.1,
            "backtest.break_even_cost_bps": 3.2,
        },
    ),
    Rule(
        "not_tradable_as_filled",
        "positions are filled at the close that they are decided at, or at stale opens, or the strategy pays at that "
        "close only",
        {"backtest.fill": "close"},
    ),
    Rule(
        "not_shown_to_beat_benchmark",
        "alpha over `report.benchmark` is not significantly above 0 (p is at least 0.05)",
        {
            "significance.alpha": {"annual": 0.015, "low95": -0.02},
            "significance.alpha_test.statistic": 0.7,
            "significance.alpha_test.p_value": 0.243,
        },
    ),
    Rule(
        "better_risk_scaling",
        "alpha is significant, but the return above holding the average position is not",
        {
            "significance.timing": 0.006,
            "significance.timing_test.statistic": 0.38,
            "significance.timing_test.p_value": 0.352,
        },
    ),
    Rule(
        "not_after_trials",
        "the p value of alpha, corrected for all trials in the ledger on overlapping prices (family-wise), is at "
        "least 0.05",
        {"significance.family_wise_p": 0.081, "significance.deflated_sharpe": 0.872},
    ),
    Rule(
        "fits_not_converged",
        "no rule above decides, but some fits did not reach `model.tol`; with any other verdict the sentence begins "
        "with their number",
        {"model.unconverged": 12},
    ),
    Rule("evidence", "no rule above decides", {}),
)


def verdict_rules() -> str:
    """Return the rules as numbered paragraphs: title, key, condition, and the sentence."""
    paragraphs = []
    for number, rule in enumerate(RULES, start=1):
        verdict = verdict_of(rule.changes)
        assert verdict.rule == rule.key, f"{rule.key}: {verdict}"
        title = verdict.sentence.partition(":")[0]
        paragraphs.append(f"{number}. **{title}** (`{rule.key}`), where {rule.condition}:\n\n    > {verdict.sentence}")
    return "\n\n".join(paragraphs) + "\n"
