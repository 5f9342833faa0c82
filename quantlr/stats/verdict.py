"""The verdict on a run: the first of six rules that applies, and one sentence with the numbers that decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.core.arrays import Array
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.sharpe import probabilistic_sharpe, sharpe_per_session

MIN_CONFIDENCE = 1 - SIGNIFICANCE_LEVEL


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion of a run.

    Attributes
    ----------
    rule : name of the rule that decided.
    sentence : the conclusion in words, with the numbers that decided.
    """

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers that a verdict depends on; Sharpe ratios are annual, None is undefined.

    Attributes
    ----------
    n_forecasts, accuracy, accuracy_base_rate, log_loss, log_loss_base_rate, years_needed, break_even_cost_bps : see
        ``backtest/metrics.py``.
    directional_p_value : of the Pesaran-Timmermann test.
    sharpe_gross, sharpe_net : before and after costs.
    probabilistic_sharpe_gross, probabilistic_sharpe_net : probability that the true ratio exceeds 0.
    mean_excess_over_benchmark, mean_excess_over_benchmark_low95 : mean net return less the benchmark's, per year, and
        its lower 95 % bound.
    n_trials : configs tried on the same tickers and label, this one included.
    has_trial_ledger : whether a ledger counted the trials.
    expected_max_sharpe : expected maximum Sharpe ratio of so many trials under no skill.
    deflated_sharpe : probability that the true ratio exceeds that maximum.
    """

    n_forecasts: int
    accuracy: float
    accuracy_base_rate: float
    log_loss: float
    log_loss_base_rate: float
    directional_p_value: float | None
    years_needed: float | None
    sharpe_gross: float | None
    sharpe_net: float | None
    probabilistic_sharpe_gross: float | None
    probabilistic_sharpe_net: float | None
    break_even_cost_bps: float | None
    mean_excess_over_benchmark: float | None
    mean_excess_over_benchmark_low95: float | None
    n_trials: int
    has_trial_ledger: bool
    expected_max_sharpe: float | None
    deflated_sharpe: float | None

    @classmethod
    def from_metrics(
        cls, metrics: dict[str, Any], gross_excess_returns: Array, *, sessions_per_year: int, has_trial_ledger: bool
    ) -> Evidence:
        """Return the evidence of a run.

        Parameters
        ----------
        metrics : the numbers, keyed as in ``metrics.json``.
        gross_excess_returns : (sessions,) returns before costs, in excess of cash.
        sessions_per_year : for the annual Sharpe ratio before costs.
        has_trial_ledger : whether a ledger counted the trials.
        """
        forecast, backtest, significance = (metrics[key] for key in ("forecast", "backtest", "significance"))
        test, above = forecast["pesaran_timmermann"] or {}, significance["above_benchmark"] or {}
        sharpe_gross = sharpe_per_session(gross_excess_returns)
        return cls(
            n_forecasts=forecast["n"],
            directional_p_value=test.get("p_value"),
            sharpe_gross=None if sharpe_gross is None else sharpe_gross * float(np.sqrt(sessions_per_year)),
            sharpe_net=backtest["strategy"]["sharpe"],
            probabilistic_sharpe_gross=probabilistic_sharpe(gross_excess_returns),
            probabilistic_sharpe_net=significance["probabilistic_sharpe"],
            break_even_cost_bps=backtest["break_even_cost_bps"],
            mean_excess_over_benchmark=above.get("mean"),
            mean_excess_over_benchmark_low95=above.get("low95"),
            n_trials=significance["trials"],
            has_trial_ledger=has_trial_ledger,
            **{key: forecast[key] for key in ("accuracy", "accuracy_base_rate", "log_loss", "log_loss_base_rate")},
            **{key: significance[key] for key in ("years_needed", "expected_max_sharpe", "deflated_sharpe")},
        )


def decide_verdict(evidence: Evidence) -> Verdict:
    """Return the first rule that applies; no evidence of skill is the usual outcome, and no failure."""
    skill = _skill_text(evidence)
    gross = _sharpe_text(evidence.sharpe_gross, evidence.probabilistic_sharpe_gross)
    net = _sharpe_text(evidence.sharpe_net, evidence.probabilistic_sharpe_net)
    benchmark = _benchmark_text(evidence)
    deflated = f"the deflated Sharpe ratio is {_confidence_text(evidence.deflated_sharpe)}"
    trials = f"{evidence.n_trials:,} trial{'s'[: evidence.n_trials > 1]}"
    if not (is_significant(evidence.directional_p_value) and evidence.log_loss < evidence.log_loss_base_rate):
        return Verdict("no_evidence_of_skill", f"No evidence of skill: {skill}{_years_text(evidence)}.")
    if not _is_confident(evidence.probabilistic_sharpe_gross):
        text = (
            f"{skill}, but the return of trading on the forecasts before costs is not significantly above 0 ({gross})"
        )
        return Verdict("skill_no_profit", f"Skill, no profit: {text}.")
    if not _is_confident(evidence.probabilistic_sharpe_net):
        text = f"{skill}; trading on the forecasts pays before costs ({gross}), but the return after costs is not "
        text += f"significantly above 0 ({net}); the break-even cost is "
        text += f"{_number_text(evidence.break_even_cost_bps, '.1f')} bps per side"
        return Verdict("costs_eat_it", f"Costs exceed the profit: {text}.")
    pays = f"{skill}; trading on the forecasts pays after costs"
    low95 = evidence.mean_excess_over_benchmark_low95
    if low95 is None or not low95 > 0:
        text = f"{pays} ({net}), but {benchmark}"
        return Verdict("not_shown_to_beat_buy_and_hold", f"Not shown to beat buy and hold: {text}.")
    if not _is_confident(evidence.deflated_sharpe):
        sharpe, expected_max = (
            _number_text(value, ".2f") for value in (evidence.sharpe_net, evidence.expected_max_sharpe)
        )
        text = f"{pays} (Sharpe ratio {sharpe}), and {benchmark}; but the expected maximum Sharpe ratio under no skill "
        text += f"is {expected_max}, and {deflated}"
        return Verdict("not_after_trials", f"Not significant after {trials}: {text}.")
    counting = trials if evidence.has_trial_ledger else "this trial only, because there is no ledger of trials"
    return Verdict(
        "evidence", f"Evidence of an edge: {pays} ({net}), and {benchmark}; {deflated}, counting {counting}."
    )


def is_significant(p_value: float | None) -> bool:
    """Return whether a test rejects its null hypothesis at the 5 % level; an undefined one does not."""
    return p_value is not None and p_value < SIGNIFICANCE_LEVEL


def log_loss_comparison_text(log_loss: float, log_loss_base_rate: float) -> str:
    """Return "better", "hardly better" (equal to five decimals) or "no better": the log loss against the baseline's."""
    same = f"{log_loss:.5f}" == f"{log_loss_base_rate:.5f}"
    better = log_loss < log_loss_base_rate
    return ("hardly better" if same else "better") if better else "no better"


def pesaran_timmermann_text(p_value: float | None) -> str:
    """Return the result of the Pesaran-Timmermann test in words."""
    if p_value is None:
        return "forecasts or outcomes are constant"
    return "Pesaran-Timmermann " + ("p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}")


def _skill_text(evidence: Evidence) -> str:
    comparison = log_loss_comparison_text(evidence.log_loss, evidence.log_loss_base_rate)
    return (
        f"accuracy {evidence.accuracy:.1%} on {evidence.n_forecasts:,} forecasts, majority-class baseline "
        f"{evidence.accuracy_base_rate:.1%} ({pesaran_timmermann_text(evidence.directional_p_value)}; log loss "
        f"{evidence.log_loss:.5f}, {comparison} than the base-rate forecast's {evidence.log_loss_base_rate:.5f})"
    )


def _years_text(evidence: Evidence) -> str:
    if evidence.years_needed is None:
        return ""
    return f"; to distinguish such an accuracy from the baseline's would take about {evidence.years_needed:,.0f} years"


def _benchmark_text(evidence: Evidence) -> str:
    mean, low95 = evidence.mean_excess_over_benchmark, evidence.mean_excess_over_benchmark_low95
    if mean is None or low95 is None:
        return "there is no buy and hold to compare with"
    side = "above" if mean >= 0 else "below"
    return f"the mean return is {abs(mean):.1%} a year {side} buy and hold's (lower 95% bound {low95:+.1%})"


def _sharpe_text(sharpe: float | None, confidence: float | None) -> str:
    return f"Sharpe ratio {_number_text(sharpe, '.2f')}, probabilistic Sharpe ratio {_confidence_text(confidence)}"


def _is_confident(confidence: float | None) -> bool:
    return confidence is not None and confidence >= MIN_CONFIDENCE


def _confidence_text(confidence: float | None) -> str:
    """Return a probability as percent that is never rounded up to 100 % or to the level that it missed."""
    if confidence is None:
        return "undefined"
    if confidence >= 0.9995:
        return "over 99.9%"
    return f"{confidence:.1%}" if confidence >= MIN_CONFIDENCE or confidence < 0.9495 else f"{confidence:.3%}"


def _number_text(value: float | None, format_spec: str) -> str:
    return "undefined" if value is None else format(value, format_spec)
