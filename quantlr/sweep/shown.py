"""A sweep's findings in the words and numbers of its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantlr.report.figures.landscape import ParameterSurface, ParameterMarginal, shorten_end
from quantlr.report.figures.style import number_text, percent_text
from quantlr.report.figures.tables import TableRow
from quantlr.report.pages.sweep import TrialCurve, SweepPageContext
from quantlr.sweep.grid import grid_value_text
from quantlr.sweep.results import SweepReport
from quantlr.types import Array, IntArray

MAX_LISTED_TRIALS = 8
"""Trials that the page lists."""
MIN_ABBREVIATED_INTEGERS = 4
"""Numbers that follow one another from which on only the ends are told."""
MAX_TRIAL_TEXT_LENGTH = 50
"""Letters of a listed trial's values."""
MAX_ERROR_TEXT_LENGTH = 112
"""Letters of a listed trial's error."""


def sweep_page_context(report: SweepReport) -> SweepPageContext:
    """Return a sweep as its page shows it."""
    title, _, text = report.verdict.sentence.partition(": ")
    landscape = parameter_surface(report)
    marginals = sorted(_marginals_by_key(landscape), key=lambda found: -_range_of_medians(found))
    return SweepPageContext(
        title=title,
        subtitle=text[:1].upper() + text[1:],
        setup_text=_grid_text(report),
        notes=report.notes,
        surface=landscape,
        marginals=tuple(marginals),
        winner_curve=_winner_curve(report),
        failure_rows=_failure_rows(report),
        statistics_rows=_statistics_rows(report),
        best_trial_rows=_best_trial_rows(report),
    )


def parameter_surface(report: SweepReport) -> ParameterSurface:
    """Return the trials' Sharpe ratios per year over the grid; keys of a single value are left out."""
    axes = report.sweep.axes
    several = [at for at, axis in enumerate(axes) if len(axis.values) > 1] or [0]
    at = np.array([report.sweep.value_indices(number) for number in report.trial_numbers], dtype=np.int64)
    results, root, winner = report.results, report.annualization_factor, report.results.winner_index
    return ParameterSurface(
        grid_keys=tuple(axes[each].key for each in several),
        value_labels=tuple(tuple(map(short_grid_value_text, axes[each].values)) for each in several),
        value_index=at[:, several],
        sharpe=results.sharpe_per_session * root,
        sharpe_low=results.sharpe_low95 * root,
        sharpe_high=results.sharpe_high95 * root,
        failed_mask=~results.evaluated_mask,
        winner_index=winner,
        expected_max_sharpe=None
        if report.sweep_statistics.expected_max_sharpe is None
        else report.sweep_statistics.expected_max_sharpe * root,
        benchmark_sharpe=None if winner is None else results.metrics[winner]["benchmark"]["sharpe"],
    )


def short_grid_value_text(value: Any) -> str:
    """Return a value of the grid in fewer letters than `label`: a run of numbers by its ends, parts without keys."""
    if isinstance(value, dict):
        rest = "/".join(short_grid_value_text(item) for key, item in value.items() if key != "kind")
        return " ".join(part for part in (str(value.get("kind", "")), rest) if part)
    if (
        isinstance(value, (list, tuple))
        and len(value) >= MIN_ABBREVIATED_INTEGERS
        and list(value) == list(_consecutive_integers(value))
    ):
        return f"[{value[0]} … {value[-1]}]"
    if isinstance(value, (list, tuple)) and len(value) == 1 and not isinstance(value[0], (int, float)):
        return short_grid_value_text(value[0])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(short_grid_value_text, value))}]"
    return grid_value_text(value)


def _consecutive_integers(values: Sequence[Any]) -> Sequence[Any]:
    """Return the whole numbers that follow one another from the first entry on; nothing if it is no whole number."""
    return range(values[0], values[0] + len(values)) if isinstance(values[0], int) else ()


def _marginals_by_key(surface: ParameterSurface) -> list[ParameterMarginal]:
    return [_marginal_of_key(surface, at) for at in range(len(surface.grid_keys))]


def _marginal_of_key(surface: ParameterSurface, key_index: int) -> ParameterMarginal:
    values = [_sharpe_quantiles(surface, key_index, value) for value in range(len(surface.value_labels[key_index]))]
    low, middle, high, best = np.array(values).T
    winner = None if surface.winner_index is None else int(surface.value_index[surface.winner_index, key_index])
    return ParameterMarginal(
        surface.grid_keys[key_index], surface.value_labels[key_index], low, middle, high, best, winner
    )


def _sharpe_quantiles(surface: ParameterSurface, key_index: int, value_index: int) -> Array:
    """Return quantiles and the highest of the ratios of trials with a value; NaN where there are none."""
    ratios = surface.sharpe[(surface.value_index[:, key_index] == value_index) & ~np.isnan(surface.sharpe)]
    return np.append(np.quantile(ratios, [0.05, 0.5, 0.95]), ratios.max()) if len(ratios) else np.full(4, np.nan)


def _range_of_medians(marginal: ParameterMarginal) -> float:
    """Return by how much the middle changes from value to value."""
    there = marginal.sharpe_median[~np.isnan(marginal.sharpe_median)]
    return float(np.ptp(there)) if len(there) else 0.0


def _grid_text(report: SweepReport) -> str:
    keys = " x ".join(f"{len(axis.values)} {axis.key}" for axis in report.sweep.axes)
    tried = len(report.trial_numbers)
    drawn = "" if tried == report.sweep.n_combinations else f", {tried:,} drawn by seed {report.sweep.spec.seed}"
    return shorten_end(
        f"{report.sweep.spec.name}   {report.sweep.n_combinations:,} combinations: {keys}{drawn}", max_chars=190
    )


def _winner_curve(report: SweepReport) -> TrialCurve | None:
    result, untouched, winner = report.winner_backtest.result, report.holdout, report.results.winner_index
    if result is None or winner is None:
        return None
    held = result.benchmark or result
    then = "" if untouched is None else f", then {number_text(untouched.sharpe)}"
    return TrialCurve(
        dates=result.fill_dates,
        winner_equity=np.concatenate([[1.0], result.equity]),
        benchmark_equity=np.concatenate([[1.0], held.equity]),
        holdout_start=None if untouched is None or report.holdout_start is None else pd.Timestamp(report.holdout_start),
        summary_text=f"chosen for {number_text(report.results.sharpe_per_session[winner] * report.annualization_factor)}{then}",
    )


def _failure_rows(report: SweepReport) -> tuple[TableRow, ...]:
    failed = np.flatnonzero(~report.results.evaluated_mask)[:MAX_LISTED_TRIALS].tolist()
    lines = [f"no. {report.trial_numbers[at]}: {report.results.metrics[at]['error']}" for at in failed]
    return (
        (TableRow("FAILED"), *(TableRow(shorten_end(line, max_chars=MAX_ERROR_TEXT_LENGTH)) for line in lines))
        if lines
        else ()
    )


def _statistics_rows(report: SweepReport) -> tuple[TableRow, ...]:
    results, judgement, untouched = report.results, report.sweep_statistics, report.holdout
    winner = results.winner_index
    found = judgement.spa_result
    at = -1 if winner is None else winner

    def annualized_winner_value(values_per_session: Array) -> float | None:
        return None if winner is None else float(values_per_session[at] * report.annualization_factor)

    named = f"{len(found.superior_indices):,} of {len(results.compared_indices):,}" if found else "–"
    rows = [
        TableRow("ALL TRIALS TOGETHER", ("",)),
        TableRow("Tried, and failed", (f"{len(results.evaluated_mask):,}, {int((~results.evaluated_mask).sum()):,}",)),
        TableRow("Sessions in common", (f"{len(results.common_session_days):,}",)),
        TableRow("Highest Sharpe ratio", (number_text(annualized_winner_value(results.sharpe_per_session)),)),
        TableRow("95% interval, as if it were the only one", (
            "–" if winner is None else f"{number_text(annualized_winner_value(results.sharpe_low95))} to {number_text(annualized_winner_value(results.sharpe_high95))}",)),
        TableRow(f"Best of luck in {judgement.n_trials:,} trials", (
            number_text(None if judgement.expected_max_sharpe is None else judgement.expected_max_sharpe * report.annualization_factor),)),
        TableRow("Deflated Sharpe ratio", (percent_text(None if winner is None else judgement.deflated_sharpe[at]),)),
        TableRow("Probability of backtest overfitting", (percent_text(judgement.overfitting_probability, decimals=0),)),
        TableRow("None beats buy and hold: p, Hansen", (number_text(found.p_value if found else None, decimals=3),)),
        TableRow("Named as better by StepM", (named,)),
    ]  # fmt: skip
    if untouched is not None:
        interval = (
            "–" if untouched.low95 is None else f"{number_text(untouched.low95)} to {number_text(untouched.high95)}"
        )
        rows += [
            TableRow(f"UNTOUCHED, {untouched.sessions:,} SESSIONS FROM {untouched.first}", ("",)),
            TableRow("Sharpe ratio of the winner", (number_text(untouched.sharpe),)),
            TableRow("95% interval", (interval,)),
            TableRow("Gain, and that of buy and hold", (
                f"{percent_text(untouched.growth)}, {percent_text(untouched.benchmark_growth)}",)),
        ]  # fmt: skip
    return tuple(rows)


def _best_trial_rows(report: SweepReport) -> tuple[TableRow, ...]:
    """Return the best trials as rows: what they set, the ratio, and how far its interval reaches."""
    results = report.results
    several: IntArray = np.array([len(axis.values) > 1 for axis in report.sweep.axes]).nonzero()[0]
    if report.results.winner_index is None:
        return ()
    rows = [TableRow("THE BEST TRIALS", ("Sharpe", "±95%"))]
    for at in results.ranked_indices[:MAX_LISTED_TRIALS].tolist():
        if np.isnan(results.sharpe_per_session[at]):
            continue
        values = tuple(map(short_grid_value_text, report.sweep.trial_values(report.trial_numbers[at]).values()))
        text = "; ".join(values[key] for key in several.tolist()) or values[0]
        cells = (
            number_text(results.sharpe_per_session[at] * report.annualization_factor),
            number_text((results.sharpe_high95[at] - results.sharpe_per_session[at]) * report.annualization_factor),
        )
        rows.append(
            TableRow(shorten_end(f"no. {report.trial_numbers[at]}  {text}", max_chars=MAX_TRIAL_TEXT_LENGTH), cells)
        )
    return tuple(rows)
