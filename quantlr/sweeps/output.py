"""A sweep's findings in the words and numbers of its page."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.arrays import Array, IntArray
from quantlr.core.values import BacktestResult
from quantlr.report.pages.sweep import ParameterMarginal, ParameterSurface, SweepPageContext, TrialCurve
from quantlr.report.storage import json_bytes, nonfinite_to_none
from quantlr.report.style import number_text, percent_text, shorten_end
from quantlr.report.tables import TableRow
from quantlr.stats.verdict import Verdict
from quantlr.sweeps.analysis import Holdout, SweepStatistics, TrialResults
from quantlr.sweeps.grid import Sweep, grid_value_text

STRATEGY_METRIC_KEYS = (
    "cagr", "volatility", "sortino", "max_drawdown", "exposure", "turnover_per_year", "cost_total",
)  # fmt: skip
FORECAST_METRIC_KEYS = ("accuracy", "accuracy_base_rate", "log_loss", "log_loss_base_rate")


@dataclass(frozen=True, slots=True)
class WinnerBacktest:
    """The winner over all dates.

    Attributes
    ----------
    result : its backtest; None where there is none.
    error : why there is none, though there is a winner.
    """

    result: BacktestResult | None
    error: str | None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """All that a sweep has found.

    Attributes
    ----------
    sweep : what was tried.
    cut : first date that no trial has seen; None where there is none.
    numbers : (trials,) of the combinations.
    results : of the trials.
    judgement : what they show together.
    shown : the winner over all dates.
    untouched : what it did from the cut on.
    verdict : in one sentence.
    per_year : sessions, for annual figures.
    """

    sweep: Sweep
    holdout_start: dt.date | None
    trial_numbers: Sequence[int]
    results: TrialResults
    sweep_statistics: SweepStatistics
    winner_backtest: WinnerBacktest
    holdout: Holdout | None
    verdict: Verdict
    sessions_per_year: float

    @property
    def annualization_factor(self) -> float:
        """What a Sharpe ratio per session is multiplied by to be one per year."""
        return math.sqrt(self.sessions_per_year)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        results, notes = self.results, []
        failed = np.flatnonzero(~results.evaluated_mask)
        if len(failed):
            first, error = self.trial_numbers[int(failed[0])], results.metrics[int(failed[0])]["error"]
            notes.append(f"{len(failed):,} of {len(results.evaluated_mask):,} trials failed; trial {first}: {error}")
        if self.winner_backtest.error is not None:
            notes.append(f"the winner can't be run over all dates: {self.winner_backtest.error}")
        if results.evaluated_mask.any() and not len(results.common_session_days):
            notes.append("the trials have too few sessions in common, and are judged each on its own")
        return tuple(notes)

    def trial_value_texts(self, trial_index: int) -> dict[str, str]:
        """Return a trial's values as text, by key."""
        return {
            key: grid_value_text(value)
            for key, value in self.sweep.trial_values(self.trial_numbers[trial_index]).items()
        }


def make_sweep_files(report: SweepReport) -> tuple[dict[str, bytes], dict[str, Any], pd.DataFrame]:
    """Return a sweep's files, its summary, and its table of trials."""
    from quantlr.report.pages.sweep import sweep_page

    summary, table = sweep_summary(report), trials_frame(report)
    files = {
        "sweep.json": json_bytes(summary),
        "trials.csv": table.to_csv(index=False, lineterminator="\n").encode(),
        "sweep.png": sweep_page(sweep_page_context(report)),
    }
    winner = report.results.winner_index
    if winner is not None:
        files["winner.yaml"] = report.sweep.trial_config(report.trial_numbers[winner]).run.to_yaml().encode()
    return files, summary, table


def trials_frame(report: SweepReport) -> pd.DataFrame:
    """Return one row per trial, the best first; what is undefined is NaN."""
    results, judgement = report.results, report.sweep_statistics
    better = (
        set()
        if judgement.spa_result is None
        else set(results.compared_indices[judgement.spa_result.superior_indices].tolist())
    )
    rows = []
    for rank, at in enumerate(results.ranked_indices.tolist(), start=1):
        about = results.metrics[at]
        strategy, forecast = about.get("strategy", {}), about.get("forecast", {})
        rows.append(
            {
                "rank": rank,
                "trial": report.trial_numbers[at],
                **report.trial_value_texts(at),
                "sharpe": results.sharpe_per_session[at] * report.annualization_factor,
                "sharpe_low95": results.sharpe_low95[at] * report.annualization_factor,
                "sharpe_high95": results.sharpe_high95[at] * report.annualization_factor,
                "deflated_sharpe": judgement.deflated_sharpe[at],
                "beats_buy_and_hold": at in better if results.evaluated_mask[at] else None,
                "benchmark_sharpe": about.get("benchmark", {}).get("sharpe"),
                **{name: strategy.get(name) for name in STRATEGY_METRIC_KEYS},
                **{name: forecast.get(name) for name in FORECAST_METRIC_KEYS},
                "sessions": about.get("sessions"),
                "error": about.get("error"),
            }
        )
    return pd.DataFrame(rows)


def sweep_summary(report: SweepReport) -> dict[str, Any]:
    """Return what all trials together show, keyed as in ``sweep.json``; Sharpe ratios are per year."""
    results, judgement, root = report.results, report.sweep_statistics, report.annualization_factor
    found = {
        "name": report.sweep.spec.name,
        "grid": {axis.key: [grid_value_text(value) for value in axis.values] for axis in report.sweep.axes},  # noqa: PD011
        "combinations": report.sweep.n_combinations,
        "trials": {
            "tried": len(results.metrics),
            "evaluated": int(results.evaluated_mask.sum()),
            "failed": int((~results.evaluated_mask).sum()),
        },
        "common": _common_sessions_summary(results),
        "luck": {
            "trials": judgement.n_trials,
            "expected_max_sharpe": None
            if judgement.expected_max_sharpe is None
            else judgement.expected_max_sharpe * root,
        },
        "overfitting": {"probability": judgement.overfitting_probability, "blocks": judgement.n_overfitting_blocks},
        "superior": _spa_summary(report),
        "winner": None if results.winner_index is None else _winner_summary(report, results.winner_index),
        "holdout": {"from": None if report.holdout_start is None else str(report.holdout_start)}
        | (asdict(report.holdout) if report.holdout else {"error": report.winner_backtest.error}),
        "verdict": asdict(report.verdict),
        "notes": list(report.notes),
    }
    return dict(nonfinite_to_none(found))


def _common_sessions_summary(results: TrialResults) -> dict[str, Any]:
    if not len(results.common_session_days):
        return {"first": None, "last": None, "sessions": 0}
    first, last = (str(np.datetime64(int(at), "D")) for at in results.common_session_days[[0, -1]])
    return {"first": first, "last": last, "sessions": len(results.common_session_days)}


def _spa_summary(report: SweepReport) -> dict[str, Any] | None:
    found = report.sweep_statistics.spa_result
    if found is None:
        return None
    named = report.results.compared_indices[found.superior_indices].tolist()
    return {
        "p_value": found.p_value,
        "p_lower": found.p_value_lower,
        "p_upper": found.p_value_upper,
        "better": [report.trial_numbers[at] for at in named],
        "compared": len(report.results.compared_indices),
    }


def _winner_summary(report: SweepReport, winner_index: int) -> dict[str, Any]:
    results = report.results
    about = results.metrics[winner_index]
    return {
        "trial": report.trial_numbers[winner_index],
        "values": report.trial_value_texts(winner_index),
        "sharpe": results.sharpe_per_session[winner_index] * report.annualization_factor,
        "sharpe_ci95": [
            float(bound[winner_index]) * report.annualization_factor
            for bound in (results.sharpe_low95, results.sharpe_high95)
        ],
        "deflated_sharpe": float(report.sweep_statistics.deflated_sharpe[winner_index]),
        "benchmark_sharpe": about["benchmark"]["sharpe"],
        **{name: about["strategy"][name] for name in STRATEGY_METRIC_KEYS},
        **{name: about["forecast"][name] for name in FORECAST_METRIC_KEYS},
    }


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
