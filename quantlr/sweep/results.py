"""What a sweep writes: ``sweep.json``, ``trials.csv``, ``sweep.png`` and ``winner.yaml``."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.inference.verdict import Verdict
from quantlr.report.encoding import nonfinite_to_none, json_bytes
from quantlr.sweep.grid import Sweep, grid_value_text
from quantlr.sweep.summary import SweepStatistics, TrialResults, Holdout
from quantlr.types import BacktestResult

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
    from quantlr.sweep.shown import sweep_page_context

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
        "grid": {axis.key: [grid_value_text(value) for value in axis.values] for axis in report.sweep.axes},
        "combinations": report.sweep.n_combinations,
        "trials": {
            "tried": len(results.metrics),
            "evaluated": int(results.evaluated_mask.sum()),
            "failed": int((~results.evaluated_mask).sum()),
        },
        "common": _common_sessions_summary(results),
        "luck": {
            "trials": judgement.n_trials,
            "best_of_luck": None if judgement.expected_max_sharpe is None else judgement.expected_max_sharpe * root,
        },
        "overfitting": {"probability": judgement.overfitting_probability, "blocks": judgement.n_overfitting_blocks},
        "superior": _spa_summary(report),
        "winner": None if results.winner_index is None else _winner_summary(report, results.winner_index),
        "untouched": {"from": None if report.holdout_start is None else str(report.holdout_start)}
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
