"""The verdict: the first of six rules, in their order, that applies; one sentence with the numbers that decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.backtest.inference.levels import SIGNIFICANT
from quantlr.backtest.inference.sharpe import probabilistic_sharpe, sharpe_per_session
from quantlr.types import Array

ENOUGH = 1 - SIGNIFICANT


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
    best_of_luck : Sharpe ratio that the best of so many without skill is expected to show.
    deflated_sharpe : as the probabilistic one, against that.
    """

    n: int
    accuracy: float
    accuracy_base_rate: float
    log_loss: float
    log_loss_base_rate: float
    p_value: float | None
    years_needed: float | None
    sharpe_gross: float | None
    sharpe_net: float | None
    probabilistic_sharpe_gross: float | None
    probabilistic_sharpe_net: float | None
    break_even_cost_bps: float | None
    above_benchmark: float | None
    above_benchmark_low95: float | None
    trials: int
    counted: bool
    best_of_luck: float | None
    deflated_sharpe: float | None

    @classmethod
    def of(cls, found: dict[str, Any], gross_excess: Array, *, per_year: int, counted: bool) -> Evidence:
        """Return what a verdict rests on.

        Parameters
        ----------
        found : the numbers, keyed as in ``metrics.json``.
        gross_excess : (sessions,) returns before costs, in excess of cash.
        per_year : sessions in a year.
        counted : whether a ledger of trials was there.
        """
        skill, carried = found["forecast"], found["significance"]
        test, ahead, gross = skill["pesaran_timmermann"], carried["above_benchmark"], sharpe_per_session(gross_excess)
        return cls(
            n=skill["n"],
            accuracy=skill["accuracy"],
            accuracy_base_rate=skill["accuracy_base_rate"],
            log_loss=skill["log_loss"],
            log_loss_base_rate=skill["log_loss_base_rate"],
            p_value=test["p_value"] if test else None,
            years_needed=carried["years_needed"],
            sharpe_gross=None if gross is None else gross * float(np.sqrt(per_year)),
            sharpe_net=found["backtest"]["strategy"]["sharpe"],
            probabilistic_sharpe_gross=probabilistic_sharpe(gross_excess),
            probabilistic_sharpe_net=carried["probabilistic_sharpe"],
            break_even_cost_bps=found["backtest"]["break_even_cost_bps"],
            above_benchmark=ahead["mean"] if ahead else None,
            above_benchmark_low95=ahead["low95"] if ahead else None,
            trials=carried["trials"],
            counted=counted,
            best_of_luck=carried["best_of_luck"],
            deflated_sharpe=carried["deflated_sharpe"],
        )


def verdict(found: Evidence) -> Verdict:
    """Return the first rule that applies; to find no evidence is what most ideas come to, and no failure."""
    for rule in (_no_skill, _no_profit, _costs_eat_it, _not_above_benchmark, _not_after_trials):
        decided = rule(found)
        if decided is not None:
            return decided
    return _evidence(found)


def significant(p_value: float | None) -> bool:
    """Return whether a test rejects its null hypothesis; one that is undefined does not."""
    return p_value is not None and p_value < SIGNIFICANT


def compared(log_loss: float, log_loss_base_rate: float) -> str:
    """Return in words how a log loss compares with the base rate's."""
    same = f"{log_loss:.5f}" == f"{log_loss_base_rate:.5f}"
    better = log_loss < log_loss_base_rate
    return ("hardly better" if same else "better") if better else "no better"


def _no_skill(found: Evidence) -> Verdict | None:
    if significant(found.p_value) and found.log_loss < found.log_loss_base_rate:
        return None
    years = found.years_needed
    needed = (
        f"; to tell such an accuracy from the base rate's would take about {years:,.0f} years"
        if years is not None
        else ""
    )
    return Verdict("no_evidence_of_skill", f"No evidence of skill: {_skill(found)}{needed}.")


def _no_profit(found: Evidence) -> Verdict | None:
    if _shown(found.probabilistic_sharpe_gross):
        return None
    return Verdict(
        "skill_no_profit",
        f"Skill, no profit: {_skill(found)}, but what trading on them earned before costs may be luck ("
        f"{_sharpe(found.sharpe_gross, found.probabilistic_sharpe_gross)}).",
    )


def _costs_eat_it(found: Evidence) -> Verdict | None:
    if _shown(found.probabilistic_sharpe_net):
        return None
    return Verdict(
        "costs_eat_it",
        f"Costs eat it: {_skill(found)}; trading on them pays before costs "
        f"({_sharpe(found.sharpe_gross, found.probabilistic_sharpe_gross)}), but what is left after them may be luck "
        f"({_sharpe(found.sharpe_net, found.probabilistic_sharpe_net)}); it breaks even at "
        f"{_number(found.break_even_cost_bps, '.1f')} basis points a trade.",
    )


def _not_above_benchmark(found: Evidence) -> Verdict | None:
    if found.above_benchmark_low95 is not None and found.above_benchmark_low95 > 0:
        return None
    return Verdict(
        "not_shown_to_beat_buy_and_hold",
        f"Not shown to beat buy and hold: {_skill(found)}; trading on them pays after costs "
        f"({_sharpe(found.sharpe_net, found.probabilistic_sharpe_net)}), but {_above(found)}.",
    )


def _not_after_trials(found: Evidence) -> Verdict | None:
    if _shown(found.deflated_sharpe):
        return None
    return Verdict(
        "not_after_trials",
        f"Not shown after {_trials(found)}: {_skill(found)}; trading on them pays after costs (Sharpe ratio "
        f"{_number(found.sharpe_net, '.2f')}), and {_above(found)}; but the best of so many without skill is expected "
        f"to show a Sharpe ratio of {_number(found.best_of_luck, '.2f')}, and {_deflated(found)}.",
    )


def _evidence(found: Evidence) -> Verdict:
    counted = _trials(found) if found.counted else "this trial alone, since no ledger was there to count others"
    return Verdict(
        "evidence",
        f"Evidence of an edge: {_skill(found)}; trading on them pays after costs "
        f"({_sharpe(found.sharpe_net, found.probabilistic_sharpe_net)}), and {_above(found)}; {_deflated(found)}, "
        f"counting {counted}.",
    )


def _skill(found: Evidence) -> str:
    comparison = compared(found.log_loss, found.log_loss_base_rate)
    return (
        f"{found.accuracy:.1%} of {found.n:,} calls were right where the base rate's call scored "
        f"{found.accuracy_base_rate:.1%} ({tested(found.p_value)}; log loss {found.log_loss:.5f}, {comparison} than "
        f"the base rate's {found.log_loss_base_rate:.5f})"
    )


def _above(found: Evidence) -> str:
    if found.above_benchmark is None or found.above_benchmark_low95 is None:
        return "there is no buy and hold to compare it with"
    side = "above" if found.above_benchmark >= 0 else "below"
    return (
        f"the mean return is {abs(found.above_benchmark):.1%} a year {side} buy and hold's (lower 95% bound "
        f"{found.above_benchmark_low95:+.1%})"
    )


def _trials(found: Evidence) -> str:
    return f"{found.trials:,} trial{'s'[: found.trials > 1]}"


def _deflated(found: Evidence) -> str:
    return f"the deflated Sharpe ratio is {_percent(found.deflated_sharpe)}"


def _sharpe(ratio: float | None, confidence: float | None) -> str:
    return f"Sharpe ratio {_number(ratio, '.2f')}, probabilistic Sharpe ratio {_percent(confidence)}"


def tested(p_value: float | None) -> str:
    """Return in words what Pesaran and Timmermann's test found."""
    if p_value is None:
        return "calls or outcomes never changed"
    return "Pesaran-Timmermann " + ("p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}")


def _shown(confidence: float | None) -> bool:
    return confidence is not None and confidence >= ENOUGH


def _percent(confidence: float | None) -> str:
    """Return a confidence as percent that is never rounded up, to certainty or to the level it missed."""
    if confidence is None:
        return "undefined"
    if confidence >= 0.9995:
        return "over 99.9%"
    return f"{confidence:.1%}" if confidence >= ENOUGH or confidence < 0.9495 else f"{confidence:.3%}"


def _number(value: float | None, form: str) -> str:
    return "undefined" if value is None else format(value, form)
