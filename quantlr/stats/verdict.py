"""The verdict on a run: the first rule that applies, and one sentence with the numbers that decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.core.values import Array
from quantlr.stats.hac import SIGNIFICANCE_LEVEL
from quantlr.stats.plausibility import implausible_result_text
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


def decide_verdict(
    metrics: dict[str, Any],
    gross_excess_returns: Array,
    *,
    sessions_per_year: int,
    has_trial_ledger: bool,
    sizes_by_probability: bool = False,
) -> Verdict:
    """Return the verdict of the first rule that applies; no evidence of skill is the usual outcome, and no failure.

    Fits that did not converge are named first, and rule out evidence of an edge.

    Parameters
    ----------
    metrics : the numbers of a run, keyed as in ``metrics.json``; None is undefined.
    gross_excess_returns : (sessions,) returns before costs, in excess of cash.
    sessions_per_year : for the annual Sharpe ratio before costs.
    has_trial_ledger : whether a ledger counted the trials.
    sizes_by_probability : whether the size of a position depends on the probability; skill then needs a log loss below
        the base-rate forecast's as well, in a point comparison.
    """
    returns = gross_excess_returns
    verdict = _verdict_of_first_rule(metrics, returns, sessions_per_year, has_trial_ledger, sizes_by_probability)
    n_unconverged, n_refits = metrics["model"]["unconverged"], metrics["model"]["refits"]
    if not n_unconverged:
        return verdict
    unconverged = f"{n_unconverged:,} of {n_refits:,} fits did not converge"
    if verdict.rule != "evidence":
        return Verdict(verdict.rule, f"{unconverged}. {verdict.sentence}")
    basis = verdict.sentence.partition(": ")[2]
    text = f"{unconverged} (raise model.max_iter or model.tol), and the forecasts are not those of the model; {basis}"
    return Verdict("fits_not_converged", f"Fits did not converge: {text}")


def _verdict_of_first_rule(
    metrics: dict[str, Any],
    gross_excess_returns: Array,
    sessions_per_year: int,
    has_trial_ledger: bool,
    sizes_by_probability: bool,
) -> Verdict:
    """Return the verdict as if all fits had converged."""
    forecast, backtest, significance = (metrics[key] for key in ("forecast", "backtest", "significance"))
    implausible = implausible_result_text(metrics)
    if implausible is not None:
        advice = "run quantlr audit, and check how prices and features were made, before anything else"
        return Verdict("look_ahead_suspected", f"Look-ahead suspected: {implausible}; {advice}.")
    skill = _skill_text(forecast)
    is_skilled = is_significant(forecast["clark_west"]["p_value"])
    if is_skilled and sizes_by_probability and not forecast["log_loss"] < forecast["log_loss_base_rate"]:
        text = f"{skill}; the policy sizes positions by probabilities, which are no better than the base rate"
        return Verdict("no_evidence_of_skill", f"No evidence of skill in the probabilities: {text}.")
    if not is_skilled:
        return Verdict("no_evidence_of_skill", f"No evidence of skill: {skill}{_years_text(significance)}.")
    session_sharpe = sharpe_per_session(gross_excess_returns)
    sharpe = None if session_sharpe is None else session_sharpe * float(np.sqrt(sessions_per_year))
    confidence = probabilistic_sharpe(gross_excess_returns)
    gross = _sharpe_text(sharpe, confidence)
    if not _is_confident(confidence):
        text = f"the return of trading on the forecasts before costs is not significantly above 0 ({gross})"
        return Verdict("skill_no_profit", f"Skill, no profit: {skill}, but {text}.")
    sharpe, confidence = backtest["strategy"]["sharpe"], significance["probabilistic_sharpe"]
    net = _sharpe_text(sharpe, confidence)
    if not _is_confident(confidence):
        break_even = _number_text(backtest["break_even_cost_bps"], ".1f")
        text = f"{skill}; trading on the forecasts pays before costs ({gross}), but the return after costs is not "
        text += f"significantly above 0 ({net}); the break-even cost is {break_even} bps per side"
        return Verdict("costs_eat_it", f"Costs exceed the profit: {text}.")
    pays = f"{skill}; trading on the forecasts pays after costs ({net})"
    untradable = _untradable_fill_text(backtest)
    if untradable:
        return Verdict("not_tradable_as_filled", f"Not tradable as filled: {pays}, but {untradable}.")
    beats, verdict = _benchmark_text_and_verdict(pays, significance, backtest.get("benchmark_name", "buy and hold"))
    return verdict or _verdict_after_trials(f"{pays}, {beats}", significance, has_trial_ledger)


def _untradable_fill_text(backtest: dict[str, Any]) -> str:
    """Return why nobody can trade at the prices of the fills; "" where one can."""
    fill, fills = backtest["fill"], backtest["fills"]
    is_tradable = fills[fill] is None or fills[fill]["tradable"]
    if is_tradable and not backtest["only_at_the_close"]:
        return ""
    if fill == "next_open" and not is_tradable:
        share = f"{fills[fill]['stale_open_share']:.0%}"
        return (
            f"positions are filled at opens that hardly move from the close before, in {share} of windows of 252 bars"
        )
    next_close = fills["next_close"]
    sharpe = "" if next_close is None else f" (at the next close: {_number_text(next_close['sharpe'], '.2f')})"
    return f"positions are filled at the close that they are decided at, where nobody can trade{sharpe}"


def _benchmark_text_and_verdict(pays: str, significance: dict[str, Any], name: str) -> tuple[str, Verdict | None]:
    """Return how the strategy beats its benchmark, in words, and the verdict if it does not."""
    alpha, alpha_test, timing_test = (significance[key] for key in ("alpha", "alpha_test", "timing_test"))
    title = f"Not shown to beat {name}"
    if alpha is None:
        text = f"{title}: {pays}, but there is no {name} to compare with."
        return "", Verdict("not_shown_to_beat_benchmark", text)
    alpha_text = f"alpha over {name} is {alpha['annual']:+.1%} a year ({_test_text(alpha_test)}; "
    alpha_text += f"beta {significance['beta']:.2f})"
    if not is_significant(alpha_test["p_value"]):
        return alpha_text, Verdict("not_shown_to_beat_benchmark", f"{title}: {pays}, but {alpha_text}.")
    timing_text = f"the return above holding the average position is {significance['timing']:+.1%} a year "
    timing_text += f"({_test_text(timing_test)})"
    beats = f"{alpha_text}, and {timing_text}"
    if is_significant(timing_test["p_value"]):
        return beats, None
    text = f"Better risk scaling, not direction: {pays}, and {alpha_text}, but {timing_text}."
    return beats, Verdict("better_risk_scaling", text)


def _verdict_after_trials(beats: str, significance: dict[str, Any], has_trial_ledger: bool) -> Verdict:
    """Return the verdict on a strategy that beats its benchmark, by the p value of alpha corrected for all trials."""
    n_trials, p_value = significance["trials"], significance["family_wise_p"]
    trials = f"{n_trials:,} trial{'s'[: n_trials > 1]}"
    deflated = f"the deflated Sharpe ratio is {_confidence_text(significance['deflated_sharpe'])}"
    p_text = "no p value" if p_value is None else _p_value_text(p_value)
    if not is_significant(p_value):
        text = (
            f"{beats}; but family-wise, over {trials}, alpha has {p_text}; the expected maximum Sharpe ratio under no "
        )
        text += f"skill is {_number_text(significance['expected_max_sharpe'], '.2f')}, and {deflated}"
        return Verdict("not_after_trials", f"Not significant after {trials}: {text}.")
    if n_trials == 1:
        reason = "the ledger of this folder has no other on these prices" if has_trial_ledger else "there is no ledger"
        trials = f"this trial only ({reason})"
    text = f"{beats}; family-wise, over {trials}, alpha has {p_text}; {deflated}"
    return Verdict("evidence", f"Evidence of an edge: {text}.")


def is_significant(p_value: float | None) -> bool:
    """Return whether a test rejects its null hypothesis at the 5 % level; an undefined one does not."""
    return p_value is not None and p_value < SIGNIFICANCE_LEVEL


def log_loss_comparison_text(log_loss: float, log_loss_base_rate: float) -> str:
    """Return how a log loss compares with the baseline's: "better", "no better", or "hardly better"."""
    same = f"{log_loss:.5f}" == f"{log_loss_base_rate:.5f}"
    better = log_loss < log_loss_base_rate
    return ("hardly better" if same else "better") if better else "no better"


def clark_west_text(test: Mapping[str, Any]) -> str:
    """Return the result of the Clark-West test in words, from its fields in ``metrics.json``."""
    if test["sessions"] < test["min_sessions"]:
        return f"too short for the Clark-West test: {test['sessions']:,} sessions, needed {test['min_sessions']:,}"
    if test["p_value"] is None:
        return "no Clark-West test: forecasts or outcomes are constant"
    return f"Clark-West {_p_text(test)}"


def _skill_text(forecast: dict[str, Any]) -> str:
    log_loss, base_log_loss = forecast["log_loss"], forecast["log_loss_base_rate"]
    text = f"accuracy {forecast['accuracy']:.1%} on {forecast['n']:,} forecasts, majority-class baseline "
    text += (
        f"{forecast['accuracy_base_rate']:.1%} ({clark_west_text(forecast['clark_west'])}; log loss {log_loss:.5f}, "
    )
    return f"{text}{log_loss_comparison_text(log_loss, base_log_loss)} than the base rate's {base_log_loss:.5f})"


def _years_text(significance: dict[str, Any]) -> str:
    """Return how many years of forecasts it takes to find skill of the size found, if that is defined."""
    years = significance["years_needed"]
    if years is None or years["low"] is None:
        return ""
    low, high, estimate = (years[name] for name in ("low", "high", "estimate"))
    if estimate is None:
        text = f"would take at least {_years_number(low)} {'year' if _years_number(low) == '1' else 'years'}"
        return f"; any skill is so small that finding it with 80% power {text}"
    interval = f"at least {_years_number(low)}" if high is None else f"{_years_number(low)} to {_years_number(high)}"
    text = f"about {_years_number(estimate)} years (90% interval: {interval})"
    return f"; finding skill of this size with 80% power would take {text}"


def _years_number(years: float) -> str:
    return f"{years:,.0f}" if years >= 1 else f"{years:.1f}"


def _test_text(test: Mapping[str, Any]) -> str:
    """Return a t statistic and its p value in words, from the fields of `CosineTest`."""
    if test["sessions"] < test["min_sessions"]:
        return f"not tested: {test['sessions']:,} sessions, needed {test['min_sessions']:,}"
    return "not tested: it is constant" if test["p_value"] is None else f"t = {test['statistic']:.2f}, {_p_text(test)}"


def _p_text(test: Mapping[str, Any]) -> str:
    return _p_value_text(test["p_value"])


def _p_value_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


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
