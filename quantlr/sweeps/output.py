"""The report of a sweep: its summary, its table of trials, and the values that its page shows."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import metrics_shown_in
from quantlr.config.grid import grid_value_text
from quantlr.core.text import hide_home_folder
from quantlr.core.values import BacktestResult
from quantlr.report.file_formats import csv_bytes, json_bytes, nonfinite_to_none
from quantlr.report.pages.sweep import SweepPageContext
from quantlr.report.sweep_context import sweep_page_context
from quantlr.stats.verdict import Verdict
from quantlr.sweeps.analysis import Holdout, SweepStatistics, TrialResults
from quantlr.sweeps.grid import Sweep
from quantlr.sweeps.trials import TrialRecord

MIN_ABBREVIATED_INTEGERS = 4
"""Length from which a list of consecutive integers is shown by its ends."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Contents of a sweep's report.

    Attributes
    ----------
    sweep : grid and base config.
    holdout_start : first date of the hold-out; None where there is none.
    results : of the trials.
    statistics : of all trials together.
    winner_result : backtest of the winner over all dates; None where there is none.
    winner_error : why there is none, though there is a winner.
    holdout : the winner's performance in the hold-out.
    verdict : in one sentence.
    sessions_per_year : for annual figures.
    benchmark_name : of the trials' benchmark.
    """

    sweep: Sweep
    holdout_start: dt.date | None
    results: TrialResults
    statistics: SweepStatistics
    winner_result: BacktestResult | None
    winner_error: str | None
    holdout: Holdout | None
    verdict: Verdict
    sessions_per_year: float
    benchmark_name: str

    @property
    def annualization_factor(self) -> float:
        """Factor from a Sharpe ratio per session to one per year."""
        return math.sqrt(self.sessions_per_year)

    @property
    def notes(self) -> tuple[str, ...]:
        """Failures and limits that a reader should know."""
        results, notes = self.results, []
        failed = [trial for trial in results.trials if trial.error is not None]
        if failed:
            counts = f"{len(failed):,} of {len(results.trials):,} trials failed"
            notes.append(f"{counts}; trial {failed[0].number}: {failed[0].error}")
        if self.winner_error is not None:
            notes.append(f"the winner can't be run over all dates: {self.winner_error}")
        if len(failed) < len(results.trials) and not len(results.common_session_days):
            notes.append("the trials have too few sessions in common, and each is judged on its own sessions")
        return tuple(notes)


def make_sweep_files(
    report: SweepReport, folder: Path
) -> tuple[dict[str, bytes], dict[str, Any], pd.DataFrame, SweepPageContext]:
    """Return a sweep's files, its summary, its table of trials and what its page shows.

    Paths in files are relative to `folder`.
    """
    from quantlr.report.pages.sweep import sweep_page_png

    report = _without_home_folder(report)
    table = trials_frame(report)
    summary = sweep_summary_dict(report, table)
    context = sweep_page_context(summary, table, report.winner_result)
    files = {
        "sweep.json": json_bytes(summary),
        "trials.csv": csv_bytes(table),
        "sweep.png": sweep_page_png(context),
    }
    winner = report.results.winner_index
    if winner is not None:
        config = report.sweep.trial_config(report.results.trials[winner].number)
        files["winner.yaml"] = config.run.to_yaml(folder=folder).encode()
    return files, summary, table, context


def _without_home_folder(report: SweepReport) -> SweepReport:
    """Return the same report with the home folder written as ~ in all errors."""

    def hide(error: str | None) -> str | None:
        return None if error is None else hide_home_folder(error)

    trials = tuple(replace(trial, error=hide(trial.error)) for trial in report.results.trials)
    return replace(report, results=replace(report.results, trials=trials), winner_error=hide(report.winner_error))


def trials_frame(report: SweepReport) -> pd.DataFrame:
    """Return one row per trial, the best first; what is undefined is NaN."""
    results, statistics, factor = report.results, report.statistics, report.annualization_factor
    order, spa, (low, high) = results.ranked_indices, statistics.spa_result, results.sharpe_interval95
    superior = set() if spa is None else set(results.compared_indices[spa.superior_indices].tolist())
    trials = [results.trials[index] for index in order]
    return pd.DataFrame(
        {
            "rank": range(1, len(trials) + 1),
            "trial": [trial.number for trial in trials],
            **{axis.key: [grid_value_text(trial.settings[axis.key]) for trial in trials] for axis in report.sweep.axes},
            "sharpe": results.sharpe_per_session[order] * factor,
            "sharpe_low95": low[order] * factor,
            "sharpe_high95": high[order] * factor,
            "deflated_sharpe": statistics.deflated_sharpe[order],
            "family_wise_p": statistics.family_wise_p[order],
            "beats_buy_and_hold": [
                index in superior if trial.error is None else None
                for index, trial in zip(order.tolist(), trials, strict=True)
            ],
            "benchmark_sharpe": [trial.metrics.get("benchmark_sharpe") for trial in trials],
            **{
                key: [trial.metrics.get(section, {}).get(key) for trial in trials]
                for key, section in trial_metric_sections().items()
            },
            "sessions": [trial.metrics.get("sessions") for trial in trials],
            "sharpe_all_sessions": [_sharpe_over_all_sessions(trial) for trial in trials],
            "error": [trial.error for trial in trials],
        }
    )


def _sharpe_over_all_sessions(trial: TrialRecord) -> float | None:
    """Return the annual Sharpe ratio over a trial's own sessions, as `quantlr trials` shows it; None if undefined."""
    sharpe = trial.metrics.get("sharpe_per_session")
    return None if sharpe is None else float(sharpe) * math.sqrt(trial.metrics["sessions_per_year"])


def trial_metric_sections() -> dict[str, str]:
    """Return the keys of the metrics in the table of trials, performance first, and the section that has each."""
    metrics = metrics_shown_in("sweep", "trials")
    sections = {metric.key: "strategy" for metric in metrics if metric.section != "forecast"}
    for metric in metrics:
        if metric.section == "forecast":
            keys = (metric.key, metric.baseline_key) if metric.baseline else (metric.key,)
            sections |= dict.fromkeys(keys, "forecast")
    return sections


def sweep_summary_dict(report: SweepReport, table: pd.DataFrame) -> dict[str, Any]:
    """Return the statistics of all trials together, keyed as in ``sweep.json``; Sharpe ratios are per year.

    Parameters
    ----------
    report : the trials and their statistics.
    table : of `trials_frame`.
    """
    results, statistics, axes = report.results, report.statistics, report.sweep.axes
    n_evaluated, spa, days = int(results.evaluated_mask.sum()), statistics.spa_result, results.common_session_days
    first, last = (str(np.datetime64(int(day), "D")) for day in days[[0, -1]]) if len(days) else (None, None)
    winner = superior = None
    if results.winner_index is not None:
        row, names = table.iloc[0], ("benchmark_sharpe", *trial_metric_sections())
        winner = {
            "trial": results.trials[results.winner_index].number,
            "values": {axis.key: row[axis.key] for axis in axes},
            "sharpe": row["sharpe"],
            "sharpe_ci95": [row["sharpe_low95"], row["sharpe_high95"]],
            "deflated_sharpe": row["deflated_sharpe"],
            "family_wise_p": row["family_wise_p"],
            **{name: row[name] for name in names},
        }
    if spa is not None:
        indices = results.compared_indices[spa.superior_indices].tolist()
        superior = {
            "p_value": spa.p_value,
            "p_lower": spa.p_value_lower,
            "p_upper": spa.p_value_upper,
            "better": [results.trials[index].number for index in indices],
            "compared": len(results.compared_indices),
        }
    summary = {
        "name": report.sweep.spec.name,
        "grid": {axis.key: list(map(grid_value_text, axis.values)) for axis in axes},
        "grid_labels": {axis.key: list(map(short_grid_value_text, axis.values)) for axis in axes},
        "seed": report.sweep.spec.seed,
        "combinations": report.sweep.n_combinations,
        "trials": {"tried": len(results.trials), "evaluated": n_evaluated, "failed": len(results.trials) - n_evaluated},
        "benchmark_name": report.benchmark_name,
        "common": {"first": first, "last": last, "sessions": len(days)},
        "no_skill": {
            "trials": statistics.n_trials,
            "expected_max_sharpe": statistics.expected_max_sharpe,
        },
        "overfitting": {"probability": statistics.overfitting_probability, "blocks": statistics.n_overfitting_blocks},
        "superior": superior,
        "winner": winner,
        "holdout": {"from": None if report.holdout_start is None else str(report.holdout_start)}
        | (asdict(report.holdout) if report.holdout else {"error": report.winner_error}),
        "verdict": asdict(report.verdict),
        "notes": list(report.notes),
    }
    return dict(nonfinite_to_none(summary))


def short_grid_value_text(value: Any) -> str:
    """Return a grid value in shorter text: a component without parameter names, consecutive integers by their ends."""
    if isinstance(value, dict):
        parameters = "/".join(short_grid_value_text(item) for key, item in value.items() if key != "kind")
        return " ".join(part for part in (str(value.get("kind", "")), parameters) if part)
    if not isinstance(value, (list, tuple)):
        return grid_value_text(value)
    if len(value) == 1 and not isinstance(value[0], (int, float)):
        return short_grid_value_text(value[0])
    is_long = len(value) >= MIN_ABBREVIATED_INTEGERS and isinstance(value[0], int)
    if is_long and list(value) == list(range(value[0], value[0] + len(value))):
        return f"[{value[0]} … {value[-1]}]"
    return f"[{', '.join(map(short_grid_value_text, value))}]"
