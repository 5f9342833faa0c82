"""The report of a sweep: its summary, its table of trials, and the values that its page shows."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import find_metric, metrics_shown_in
from quantlr.config.grid import grid_value_text
from quantlr.core.text import hide_home_folder
from quantlr.core.values import BacktestResult
from quantlr.report.file_formats import csv_bytes, json_bytes, nonfinite_to_none
from quantlr.report.pages.layout import Table
from quantlr.report.pages.sweep import ParameterSurface, SweepPageContext
from quantlr.report.style import TableRow, number_text, p_value_number_text, percent_text, shorten_end
from quantlr.report.summary import metric_text
from quantlr.stats.verdict import Verdict
from quantlr.sweeps.analysis import Holdout, SweepStatistics, TrialResults
from quantlr.sweeps.grid import Sweep
from quantlr.sweeps.trials import TrialRecord

MAX_LISTED_TRIALS = 8
"""Trials that the page lists."""
MIN_ABBREVIATED_INTEGERS = 4
"""Length from which a list of consecutive integers is shown by its ends."""
MAX_TRIAL_TEXT_LENGTH = 50
"""Characters of a listed trial's values."""
MAX_ERROR_TEXT_LENGTH = 112
"""Characters of a listed trial's error."""
MAX_GRID_TEXT_LENGTH = 190


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


def make_files_summary_and_table(
    report: SweepReport, folder: Path
) -> tuple[dict[str, bytes], dict[str, Any], pd.DataFrame]:
    """Return a sweep's files, its summary, and its table of trials; paths in files are relative to `folder`."""
    from quantlr.report.pages.sweep import sweep_page_png

    report = _without_home_folder(report)
    table = trials_frame(report)
    summary = sweep_summary_dict(report, table)
    files = {
        "sweep.json": json_bytes(summary),
        "trials.csv": csv_bytes(table),
        "sweep.png": sweep_page_png(sweep_page_context(report, summary, table)),
    }
    winner = report.results.winner_index
    if winner is not None:
        config = report.sweep.trial_config(report.results.trials[winner].number)
        files["winner.yaml"] = config.run.to_yaml(folder=folder).encode()
    return files, summary, table


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


def sweep_page_context(report: SweepReport, summary: dict[str, Any], table: pd.DataFrame) -> SweepPageContext:
    """Return the values that a sweep's page shows; `summary` and `table` are the report's."""
    title, _, text = report.verdict.sentence.partition(": ")
    n_combinations, n_trials = summary["combinations"], summary["trials"]["tried"]
    keys = " x ".join(f"{len(values)} {key}" for key, values in summary["grid"].items())
    sampled = "" if n_trials == n_combinations else f", {n_trials:,} drawn by seed {report.sweep.spec.seed}"
    setup_text = f"{summary['name']}   {n_combinations:,} combinations: {keys}{sampled}"
    surface = parameter_surface(report, summary)
    marginals = [_sharpe_marginal_table(surface, index) for index in range(len(surface.grid_keys))]
    return SweepPageContext(
        title=title,
        subtitle=text[:1].upper() + text[1:],
        setup_text=shorten_end(setup_text, max_chars=MAX_GRID_TEXT_LENGTH),
        notes=report.notes,
        surface=surface,
        marginals=tuple(sorted(marginals, key=lambda marginal: -_range_of_medians(marginal))),
        winner_curve=_winner_curve_table(report, summary),
        failure_rows=_failure_rows(report),
        statistics_rows=_statistics_rows(summary, report.holdout),
        best_trial_rows=_best_trial_rows(report, table),
    )


def parameter_surface(report: SweepReport, summary: dict[str, Any]) -> ParameterSurface:
    """Return the trials' Sharpe ratios per year over the grid; keys with a single value are left out."""
    axes, results, factor = report.sweep.axes, report.results, report.annualization_factor
    low, high = results.sharpe_interval95
    varied = [index for index, axis in enumerate(axes) if len(axis.values) > 1] or [0]
    indices = np.array([report.sweep.axis_value_indices(trial.number) for trial in results.trials], dtype=np.int64)
    return ParameterSurface(
        grid_keys=tuple(axes[index].key for index in varied),
        value_labels=tuple(tuple(map(short_grid_value_text, axes[index].values)) for index in varied),
        value_index=indices[:, varied],
        sharpe=results.sharpe_per_session * factor,
        sharpe_low=low * factor,
        sharpe_high=high * factor,
        failed_mask=~results.evaluated_mask,
        winner_index=results.winner_index,
        expected_max_sharpe=summary["no_skill"]["expected_max_sharpe"],
        benchmark_sharpe=summary["winner"]["benchmark_sharpe"] if summary["winner"] else None,
        benchmark_name=report.benchmark_name,
    )


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


def _sharpe_marginal_table(surface: ParameterSurface, key_index: int) -> Table:
    """Return 5, 50 and 95 % quantiles and maximum of the ratios of trials by value of one key; NaN without trials."""
    labels, value_index = surface.value_labels[key_index], surface.value_index[:, key_index]
    quantiles = np.full((4, len(labels)), np.nan)
    for index in range(len(labels)):
        ratios = surface.sharpe[(value_index == index) & ~np.isnan(surface.sharpe)]
        if len(ratios):
            quantiles[:, index] = *np.quantile(ratios, [0.05, 0.5, 0.95]), ratios.max()
    winner = None if surface.winner_index is None else int(value_index[surface.winner_index])
    names = ("sharpe_q05", "sharpe_median", "sharpe_q95", "best_sharpe")
    table = {"grid_key": surface.grid_keys[key_index], "value_labels": labels, "winner_index": winner}
    return table | dict(zip(names, quantiles, strict=True))


def _range_of_medians(marginal: Table) -> float:
    """Return the largest difference between the medians of a key's values."""
    medians = marginal["sharpe_median"][~np.isnan(marginal["sharpe_median"])]
    return float(np.ptp(medians)) if len(medians) else 0.0


def _winner_curve_table(report: SweepReport, summary: dict[str, Any]) -> Table | None:
    result, holdout = report.winner_result, report.holdout
    if result is None:
        return None
    after = "" if holdout is None else f", then {number_text(holdout.sharpe)}"
    return {
        "dates": result.fill_dates,
        "winner_equity": np.concatenate([[1.0], result.equity]),
        "benchmark_equity": np.concatenate([[1.0], (result.benchmark or result).equity]),
        "benchmark_name": report.benchmark_name,
        "holdout_start": None if holdout is None else pd.Timestamp(summary["holdout"]["from"]),
        "summary_text": f"Sharpe in sample {number_text(summary['winner']['sharpe'])}{after}",
    }


def _failure_rows(report: SweepReport) -> tuple[TableRow, ...]:
    texts = [f"no. {trial.number}: {trial.error}" for trial in report.results.trials if trial.error is not None]
    rows = [TableRow(shorten_end(text, max_chars=MAX_ERROR_TEXT_LENGTH)) for text in texts[:MAX_LISTED_TRIALS]]
    return (TableRow("Failed", is_heading=True), *rows) if rows else ()


def _interval_text(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{number_text(low)} to {number_text(high)}"


def _statistics_rows(summary: dict[str, Any], holdout: Holdout | None) -> tuple[TableRow, ...]:
    trials, expected, winner, spa = (summary[key] or {} for key in ("trials", "no_skill", "winner", "superior"))
    superior = f"{len(spa['better']):,} of {spa['compared']:,}" if spa else "–"
    interval = _interval_text(*winner.get("sharpe_ci95", (None, None)))
    overfitting = percent_text(summary["overfitting"]["probability"], decimals=0)
    trial_values = [
        ("Trials, failed", f"{trials['tried']:,}, {trials['failed']:,}"),
        ("Sessions in common", f"{summary['common']['sessions']:,}"),
        ("Maximum Sharpe ratio", number_text(winner.get("sharpe"))),
        ("95% interval, without correction for selection", interval),
        (f"Expected maximum of {expected['trials']:,} without skill", number_text(expected["expected_max_sharpe"])),
        ("Deflated Sharpe ratio", metric_text(find_metric("deflated_sharpe"), winner.get("deflated_sharpe"))),
        ("Family-wise p value of alpha", p_value_number_text(winner.get("family_wise_p"))),
        ("Probability of backtest overfitting", overfitting),
        (f"None beats {summary['benchmark_name']}: p, Hansen", p_value_number_text(spa.get("p_value"))),
        (f"Better than {summary['benchmark_name']} by StepM", superior),
    ]
    rows = [TableRow("All trials", is_heading=True), *(TableRow(label, (text,)) for label, text in trial_values)]
    if holdout is not None:
        heading = f"Hold-out, {holdout.sessions:,} sessions from {holdout.first}"
        holdout_values = [
            ("Sharpe ratio of the winner", number_text(holdout.sharpe)),
            ("95% interval", _interval_text(holdout.low95, holdout.high95)),
            ("Total return", percent_text(holdout.growth)),
            (f"Total return of {summary['benchmark_name']}", percent_text(holdout.benchmark_growth)),
            (
                "Sweeps and trials on it before",
                f"{holdout.earlier_sweeps:,}, {holdout.earlier_trials:,}",
            ),
        ]
        rows += [TableRow(""), TableRow(heading, is_heading=True)]
        rows += [TableRow(label, (text,)) for label, text in holdout_values]
    return tuple(rows)


def _best_trial_rows(report: SweepReport, table: pd.DataFrame) -> tuple[TableRow, ...]:
    """Return the best trials as rows: values of the varied keys, Sharpe ratio, and half the width of its interval."""
    results, varied = report.results, [len(axis.values) > 1 for axis in report.sweep.axes]
    rows = []
    for index, (_, row) in zip(results.ranked_indices.tolist(), table.head(MAX_LISTED_TRIALS).iterrows(), strict=False):
        if not math.isnan(row["sharpe"]):
            texts = list(map(short_grid_value_text, results.trials[index].settings.values()))
            label = f"no. {row['trial']}  {'; '.join(itertools.compress(texts, varied)) or texts[0]}"
            cells = number_text(row["sharpe"]), number_text(row["sharpe_high95"] - row["sharpe"])
            rows.append(TableRow(shorten_end(label, max_chars=MAX_TRIAL_TEXT_LENGTH), cells))
    return (
        (TableRow("Best trials", (find_metric("sharpe").column_heading, "±95%"), is_heading=True), *rows)
        if rows
        else ()
    )
