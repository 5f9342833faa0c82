"""What the page of a sweep shows, made of the files of its report: its summary and its table of trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import find_metric
from quantlr.core.values import BacktestResult, IntArray
from quantlr.report.pages.layout import Table
from quantlr.report.pages.sweep import ParameterSurface, SweepPageContext
from quantlr.report.style import TableRow, number_text, p_value_number_text, percent_text, shorten_end
from quantlr.report.summary import metric_text

MAX_LISTED_TRIALS = 8
"""Trials that the page lists."""
MAX_TRIAL_TEXT_LENGTH = 50
"""Characters of a listed trial's values."""
MAX_ERROR_TEXT_LENGTH = 112
"""Characters of a listed trial's error."""
MAX_GRID_TEXT_LENGTH = 190


def sweep_page_context(
    summary: dict[str, Any], table: pd.DataFrame, winner_result: BacktestResult | None
) -> SweepPageContext:
    """Return the values that a sweep's page shows.

    Parameters
    ----------
    summary : as in ``sweep.json``.
    table : of `trials_frame`, or as ``trials.csv`` has it, the keys of the grid as text.
    winner_result : backtest of the winner over all dates; None where there is none.
    """
    title, _, text = summary["verdict"]["sentence"].partition(": ")
    n_combinations, n_trials = summary["combinations"], summary["trials"]["tried"]
    keys = " x ".join(f"{len(values)} {key}" for key, values in summary["grid"].items())
    sampled = "" if n_trials == n_combinations else f", {n_trials:,} drawn by seed {summary['seed']}"
    setup_text = f"{summary['name']}   {n_combinations:,} combinations: {keys}{sampled}"
    surface = parameter_surface(summary, table)
    marginals = [_sharpe_marginal_table(surface, index) for index in range(len(surface.grid_keys))]
    return SweepPageContext(
        title=title,
        subtitle=text[:1].upper() + text[1:],
        setup_text=shorten_end(setup_text, max_chars=MAX_GRID_TEXT_LENGTH),
        notes=tuple(summary["notes"]),
        surface=surface,
        marginals=tuple(sorted(marginals, key=lambda marginal: -_range_of_medians(marginal))),
        winner_curve=_winner_curve_table(summary, winner_result),
        failure_rows=_failure_rows(table),
        statistics_rows=_statistics_rows(summary),
        best_trial_rows=_best_trial_rows(summary, table),
    )


def _varied_keys(summary: dict[str, Any]) -> list[str]:
    """Return the keys of the grid with several values; the first where there are none."""
    return [key for key, values in summary["grid"].items() if len(values) > 1] or list(summary["grid"])[:1]


def parameter_surface(summary: dict[str, Any], table: pd.DataFrame) -> ParameterSurface:
    """Return the trials' Sharpe ratios per year over the grid; keys with a single value are left out."""
    keys, table = _varied_keys(summary), table.sort_values("trial")
    sharpe, low, high = (
        table[name].to_numpy(dtype=np.float64, copy=True) for name in ("sharpe", "sharpe_low95", "sharpe_high95")
    )
    winner = summary["winner"]
    return ParameterSurface(
        grid_keys=tuple(keys),
        value_labels=tuple(tuple(summary["grid_labels"][key]) for key in keys),
        value_index=np.stack([_value_indices(summary, table, key) for key in keys], axis=1),
        sharpe=sharpe,
        sharpe_low=low,
        sharpe_high=high,
        failed_mask=table["error"].notna().to_numpy(),
        winner_index=None if winner is None else int((table["trial"] == winner["trial"]).to_numpy().argmax()),
        expected_max_sharpe=summary["no_skill"]["expected_max_sharpe"],
        benchmark_sharpe=winner["benchmark_sharpe"] if winner else None,
        benchmark_name=summary["benchmark_name"],
    )


def _value_indices(summary: dict[str, Any], table: pd.DataFrame, key: str) -> IntArray:
    """Return the position of each trial's value among the values of a key of the grid, (trials,)."""
    return np.array([summary["grid"][key].index(text) for text in table[key]], dtype=np.int64)


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


def _winner_curve_table(summary: dict[str, Any], result: BacktestResult | None) -> Table | None:
    if result is None:
        return None
    holdout = summary["holdout"]
    has_holdout = "sharpe" in holdout
    after = f", then {number_text(holdout['sharpe'])}" if has_holdout else ""
    return {
        "dates": result.fill_dates,
        "winner_equity": np.concatenate([[1.0], result.equity]),
        "benchmark_equity": np.concatenate([[1.0], (result.benchmark or result).equity]),
        "benchmark_name": summary["benchmark_name"],
        "holdout_start": pd.Timestamp(holdout["from"]) if has_holdout else None,
        "summary_text": f"Sharpe in sample {number_text(summary['winner']['sharpe'])}{after}",
    }


def _failure_rows(table: pd.DataFrame) -> tuple[TableRow, ...]:
    failed = table[table["error"].notna()].sort_values("trial").head(MAX_LISTED_TRIALS)
    texts = [f"no. {number}: {error}" for number, error in zip(failed["trial"], failed["error"], strict=True)]
    rows = [TableRow(shorten_end(text, max_chars=MAX_ERROR_TEXT_LENGTH)) for text in texts]
    return (TableRow("Failed", is_heading=True), *rows) if rows else ()


def _interval_text(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{number_text(low)} to {number_text(high)}"


def _statistics_rows(summary: dict[str, Any]) -> tuple[TableRow, ...]:
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
    holdout = summary["holdout"]
    if "sharpe" in holdout:
        heading = f"Hold-out, {holdout['sessions']:,} sessions from {holdout['first']}"
        holdout_values = [
            ("Sharpe ratio of the winner", number_text(holdout["sharpe"])),
            ("95% interval", _interval_text(holdout["low95"], holdout["high95"])),
            ("Total return", percent_text(holdout["growth"])),
            (f"Total return of {summary['benchmark_name']}", percent_text(holdout["benchmark_growth"])),
            ("Sweeps and trials on it before", f"{holdout['earlier_sweeps']:,}, {holdout['earlier_trials']:,}"),
        ]
        rows += [TableRow(""), TableRow(heading, is_heading=True)]
        rows += [TableRow(label, (text,)) for label, text in holdout_values]
    return tuple(rows)


def _best_trial_rows(summary: dict[str, Any], table: pd.DataFrame) -> tuple[TableRow, ...]:
    """Return the best trials as rows: values of the varied keys, Sharpe ratio, and half the width of its interval."""
    best = table[table["sharpe"].notna()].head(MAX_LISTED_TRIALS)
    keys, rows = _varied_keys(summary), []
    indices = np.stack([_value_indices(summary, best, key) for key in keys], axis=1).tolist()
    for own_indices, (_, row) in zip(indices, best.iterrows(), strict=True):
        texts = (summary["grid_labels"][key][index] for key, index in zip(keys, own_indices, strict=True))
        cells = number_text(row["sharpe"]), number_text(row["sharpe_high95"] - row["sharpe"])
        label = f"no. {row['trial']}  {'; '.join(texts)}"
        rows.append(TableRow(shorten_end(label, max_chars=MAX_TRIAL_TEXT_LENGTH), cells))
    heading = TableRow("Best trials", (find_metric("sharpe").column_heading, "±95%"), is_heading=True)
    return (heading, *rows) if rows else ()
