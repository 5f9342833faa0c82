"""Metrics of a skilled run, and changes of them that lead to each rule of the verdict."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from quantlr.core.values import Array
from quantlr.stats.verdict import Verdict, decide_verdict

SKILLED: dict[str, Any] = {
    "forecast": {
        "n": 2500, "accuracy": 0.55, "accuracy_base_rate": 0.52, "log_loss": 0.685, "log_loss_base_rate": 0.692,
        "clark_west": {"statistic": 3.1, "p_value": 0.001, "sessions": 2500, "min_sessions": 32},
    },
    "model": {"refits": 1910, "unconverged": 0},
    "backtest": {
        "strategy": {"sharpe": 1.0}, "break_even_cost_bps": 12.0, "fill": "next_close", "only_at_the_close": False,
        "fills": {
            "next_close": {"tradable": True, "sharpe": 0.62}, "close": {"tradable": False, "sharpe": 1.0},
            "next_open": {"tradable": True, "sharpe": 1.1, "stale_open_share": 0.0},
        },
    },
    "significance": {
        "years_needed": {"estimate": 6.0, "low": 2.0, "high": None},
        "probabilistic_sharpe": 0.97, "trials": 12, "family_wise_p": 0.032, "expected_max_sharpe": 0.31,
        "deflated_sharpe": 0.961, "alpha": {"annual": 0.052, "low95": 0.011}, "beta": 0.7, "timing": 0.031,
        "alpha_test": {"statistic": 2.31, "p_value": 0.0113, "sessions": 2500, "min_sessions": 32},
        "timing_test": {"statistic": 1.82, "p_value": 0.0362, "sessions": 2500, "min_sessions": 32},
    },
}  # fmt: skip


def two_point_returns(z: float, *, n: int = 290) -> Array:
    """Return returns of two values whose Sharpe ratio is z / sqrt(n - 1), and probabilistic Sharpe ratio Phi(z)."""
    deviation = np.tile([1.0, -1.0], n // 2)
    return np.asarray(0.01 * (deviation + z / np.sqrt(n - 1) * deviation.std(ddof=1)))


PROFIT, WEAK_PROFIT = two_point_returns(2.3), two_point_returns(1.2815516)
NO_SKILL: dict[str, Any] = {"forecast.clark_west.p_value": 0.05}
TOO_SHORT = {"forecast.clark_west": {"statistic": None, "p_value": None, "sessions": 30, "min_sessions": 40}}
SIZED: dict[str, Any] = {"sizes_by_probability": True}
NO_PROFIT: dict[str, Any] = {"gross": WEAK_PROFIT}
COSTS: dict[str, Any] = {"significance.probabilistic_sharpe": 0.6, "backtest.strategy.sharpe": 0.1}
STALE_OPENS: dict[str, Any] = {
    "backtest.fill": "next_open",
    "backtest.fills.next_open": {"tradable": False, "sharpe": 1.1, "stale_open_share": 0.889},
}
SAME_CLOSE: dict[str, Any] = {"backtest.fill": "close"}
NO_ALPHA: dict[str, Any] = {"significance.alpha_test.p_value": 0.05, "significance.alpha_test.statistic": 1.66}
NO_TIMING: dict[str, Any] = {"significance.timing_test.p_value": 0.05, "significance.timing": -0.004}
FEW_SESSIONS = {"significance.alpha_test": {"statistic": None, "p_value": None, "sessions": 30, "min_sessions": 32}}
SAME_RETURNS = {"significance.alpha_test.p_value": None, "significance.alpha_test.statistic": None}
NO_BENCHMARK: dict[str, Any] = {
    "significance.alpha": None, "significance.alpha_test": None, "significance.beta": None,
}  # fmt: skip
SEARCHED: dict[str, Any] = {"significance.family_wise_p": 0.05}
UNKNOWN: dict[str, Any] = {
    "significance.family_wise_p": None, "significance.deflated_sharpe": None, "significance.expected_max_sharpe": None,
}  # fmt: skip


def verdict_of(changes: dict[str, Any]) -> Verdict:
    """Return the verdict on the metrics of a skilled run with some of them changed, by dotted key."""
    metrics = copy.deepcopy(SKILLED)
    for key, value in changes.items():
        if "." in key:
            *sections, name = key.split(".")
            section = metrics
            for part in sections:
                section = section[part]
            section[name] = value
    gross, has_trial_ledger = changes.get("gross", PROFIT), changes.get("has_trial_ledger", True)
    return decide_verdict(
        metrics,
        gross,
        sessions_per_year=252,
        has_trial_ledger=has_trial_ledger,
        sizes_by_probability=changes.get("sizes_by_probability", False),
    )
