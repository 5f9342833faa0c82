"""The verdict: the first of six rules, in their order, that applies; one sentence with the numbers that decided."""

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
    """What a run shows.

    Attributes
    ----------
    rule : the first of the rules, in their order, that decided.
    sentence : the same for a person, with the numbers that decided.
    """

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers that a verdict rests on; Sharpe ratios are annual, None is undefined.

    Attributes
    ----------
    n, accuracy, accuracy_base_rate, log_loss, log_loss_base_rate, years_needed, break_even_cost_bps : see `metrics`.
    p_value : of Pesaran and Timmermann's test.
    sharpe_gross, sharpe_net : before and after costs.
    probabilistic_sharpe_gross, probabilistic_sharpe_net : against 0.
    above_benchmark, above_benchmark_low95 : mean net return less the benchmark's, per year, and its lower bound.
    trials : configs tried on a ticker and label of this one, itself included.
    counted : whether a ledger of trials was there to count them.
    expected_max_sharpe : Sharpe ratio that the best of so many without skill is expected to show.
    deflated_sharpe : as the probabilistic one, against that.
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
        """Return what a verdict rests on.

        Parameters
        ----------
        found : the numbers, keyed as in ``metrics.json``.
        gross_excess : (sessions,) returns before costs, in excess of cash.
        per_year : sessions in a year.
        counted : whether a ledger of trials was there.
        """
        skill, carried = metrics["forecast"], metrics["significance"]
        test, ahead, gross = (
            skill["pesaran_timmermann"],
            carried["above_benchmark"],
            sharpe_per_session(gross_excess_returns),
        )
        return cls(
            n_forecasts=skill["n"],
            accuracy=skill["accuracy"],
            accuracy_base_rate=skill["accuracy_base_rate"],
            log_loss=skill["log_loss"],
            log_loss_base_rate=skill["log_loss_base_rate"],
            directional_p_value=test["p_value"] if test else None,
            years_needed=carried["years_needed"],
            sharpe_gross=None if gross is None else gross * float(np.sqrt(sessions_per_year)),
            sharpe_net=metrics["backtest"]["strategy"]["sharpe"],
            probabilistic_sharpe_gross=probabilistic_sharpe(gross_excess_returns),
            probabilistic_sharpe_net=carried["probabilistic_sharpe"],
            break_even_cost_bps=metrics["backtest"]["break_even_cost_bps"],
            mean_excess_over_benchmark=ahead["mean"] if ahead else None,
            mean_excess_over_benchmark_low95=ahead["low95"] if ahead else None,
            n_trials=carried["trials"],
            has_trial_ledger=has_trial_ledger,
            expected_max_sharpe=carried["expected_max_sharpe"],
            deflated_sharpe=carried["deflated_sharpe"],
        )


def decide_verdict(evidence: Evidence) -> Verdict:
    """Return the first rule that applies; to find no evidence is what most ideas come to, and no failure."""
    for rule in (
        _no_skill_verdict,
        _no_profit_verdict,
        _costs_exceed_profit_verdict,
        _not_above_benchmark_verdict,
        _not_significant_after_trials_verdict,
    ):
        decided = rule(evidence)
        if decided is not None:
            return decided
    return _evidence_of_edge_verdict(evidence)


def is_significant(p_value: float | None) -> bool:
    """Return whether a test rejects its null hypothesis; one that is undefined does not."""
    return p_value is not None and p_value < SIGNIFICANCE_LEVEL


def log_loss_comparison_text(log_loss: float, log_loss_base_rate: float) -> str:
    """Return in words how a log loss compares with the base rate's."""
    same = f"{log_loss:.5f}" == f"{log_loss_base_rate:.5f}"
    better = log_loss < log_loss_base_rate
    return ("hardly better" if same else "better") if better else "no better"


def _no_skill_verdict(evidence: Evidence) -> Verdict | None:
    if is_significant(evidence.directional_p_value) and evidence.log_loss < evidence.log_loss_base_rate:
        return None
    years = evidence.years_needed
    needed = (
        f"; to tell such an accuracy from the base rate's would take about {years:,.0f} years"
        if years is not None
        else ""
    )
    return Verdict("no_evidence_of_skill", f"No evidence of skill: {_skill_text(evidence)}{needed}.")


def _no_profit_verdict(evidence: Evidence) -> Verdict | None:
    if _is_confident(evidence.probabilistic_sharpe_gross):
        return None
    return Verdict(
        "skill_no_profit",
        f"Skill, no profit: {_skill_text(evidence)}, but what trading on them earned before costs may be luck ("
        f"{_sharpe_text(evidence.sharpe_gross, evidence.probabilistic_sharpe_gross)}).",
    )


def _costs_exceed_profit_verdict(evidence: Evidence) -> Verdict | None:
    if _is_confident(evidence.probabilistic_sharpe_net):
        return None
    return Verdict(
        "costs_eat_it",
        f"Costs eat it: {_skill_text(evidence)}; trading on them pays before costs "
        f"({_sharpe_text(evidence.sharpe_gross, evidence.probabilistic_sharpe_gross)}), but what is left after them may be luck "
        f"({_sharpe_text(evidence.sharpe_net, evidence.probabilistic_sharpe_net)}); it breaks even at "
        f"{_number_text(evidence.break_even_cost_bps, '.1f')} basis points a trade.",
    )


def _not_above_benchmark_verdict(evidence: Evidence) -> Verdict | None:
    if evidence.mean_excess_over_benchmark_low95 is not None and evidence.mean_excess_over_benchmark_low95 > 0:
        return None
    return Verdict(
        "not_shown_to_beat_buy_and_hold",
        f"Not shown to beat buy and hold: {_skill_text(evidence)}; trading on them pays after costs "
        f"({_sharpe_text(evidence.sharpe_net, evidence.probabilistic_sharpe_net)}), but {_benchmark_comparison_text(evidence)}.",
    )


def _not_significant_after_trials_verdict(evidence: Evidence) -> Verdict | None:
    if _is_confident(evidence.deflated_sharpe):
        return None
    return Verdict(
        "not_after_trials",
        f"Not shown after {_n_trials_text(evidence)}: {_skill_text(evidence)}; trading on them pays after costs (Sharpe ratio "
        f"{_number_text(evidence.sharpe_net, '.2f')}), and {_benchmark_comparison_text(evidence)}; but the best of so many without skill is expected "
        f"to show a Sharpe ratio of {_number_text(evidence.expected_max_sharpe, '.2f')}, and {_deflated_sharpe_text(evidence)}.",
    )


def _evidence_of_edge_verdict(evidence: Evidence) -> Verdict:
    counted = (
        _n_trials_text(evidence)
        if evidence.has_trial_ledger
        else "this trial alone, since no ledger was there to count others"
    )
    return Verdict(
        "evidence",
        f"Evidence of an edge: {_skill_text(evidence)}; trading on them pays after costs "
        f"({_sharpe_text(evidence.sharpe_net, evidence.probabilistic_sharpe_net)}), and {_benchmark_comparison_text(evidence)}; {_deflated_sharpe_text(evidence)}, "
        f"counting {counted}.",
    )


def _skill_text(evidence: Evidence) -> str:
    comparison = log_loss_comparison_text(evidence.log_loss, evidence.log_loss_base_rate)
    return (
        f"{evidence.accuracy:.1%} of {evidence.n_forecasts:,} calls were right where the base rate's call scored "
        f"{evidence.accuracy_base_rate:.1%} ({pesaran_timmermann_text(evidence.directional_p_value)}; log loss {evidence.log_loss:.5f}, {comparison} than "
        f"the base rate's {evidence.log_loss_base_rate:.5f})"
    )


def _benchmark_comparison_text(evidence: Evidence) -> str:
    if evidence.mean_excess_over_benchmark is None or evidence.mean_excess_over_benchmark_low95 is None:
        return "there is no buy and hold to compare it with"
    side = "above" if evidence.mean_excess_over_benchmark >= 0 else "below"
    return (
        f"the mean return is {abs(evidence.mean_excess_over_benchmark):.1%} a year {side} buy and hold's (lower 95% bound "
        f"{evidence.mean_excess_over_benchmark_low95:+.1%})"
    )


def _n_trials_text(evidence: Evidence) -> str:
    return f"{evidence.n_trials:,} trial{'s'[: evidence.n_trials > 1]}"


def _deflated_sharpe_text(evidence: Evidence) -> str:
    return f"the deflated Sharpe ratio is {_confidence_text(evidence.deflated_sharpe)}"


def _sharpe_text(sharpe: float | None, confidence: float | None) -> str:
    return f"Sharpe ratio {_number_text(sharpe, '.2f')}, probabilistic Sharpe ratio {_confidence_text(confidence)}"


def pesaran_timmermann_text(p_value: float | None) -> str:
    """Return in words what Pesaran and Timmermann's test found."""
    if p_value is None:
        return "calls or outcomes never changed"
    return "Pesaran-Timmermann " + ("p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}")


def _is_confident(confidence: float | None) -> bool:
    return confidence is not None and confidence >= MIN_CONFIDENCE


def _confidence_text(confidence: float | None) -> str:
    """Return a confidence as percent that is never rounded up, to certainty or to the level it missed."""
    if confidence is None:
        return "undefined"
    if confidence >= 0.9995:
        return "over 99.9%"
    return f"{confidence:.1%}" if confidence >= MIN_CONFIDENCE or confidence < 0.9495 else f"{confidence:.3%}"


def _number_text(value: float | None, format_spec: str) -> str:
    return "undefined" if value is None else format(value, format_spec)
