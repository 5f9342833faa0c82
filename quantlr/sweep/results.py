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
from quantlr.report.encoding import defined, json_bytes
from quantlr.sweep.grid import Sweep, label
from quantlr.sweep.summary import Judged, Results, Untouched
from quantlr.types import BacktestResult

OF_STRATEGY = (
    "cagr", "volatility", "sortino", "max_drawdown", "exposure", "turnover_per_year", "cost_total",
)  # fmt: skip
OF_FORECAST = ("accuracy", "accuracy_base_rate", "log_loss", "log_loss_base_rate")


@dataclass(frozen=True, slots=True)
class Shown:
    """The winner over all dates.

    Attributes
    ----------
    result : its backtest; None where there is none.
    error : why there is none, though there is a winner.
    """

    result: BacktestResult | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Finding:
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
    cut: dt.date | None
    numbers: Sequence[int]
    results: Results
    judgement: Judged
    shown: Shown
    untouched: Untouched | None
    verdict: Verdict
    per_year: float

    @property
    def root(self) -> float:
        """What a Sharpe ratio per session is multiplied by to be one per year."""
        return math.sqrt(self.per_year)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        results, notes = self.results, []
        failed = np.flatnonzero(~results.good)
        if len(failed):
            first, error = self.numbers[int(failed[0])], results.about[int(failed[0])]["error"]
            notes.append(f"{len(failed):,} of {len(results.good):,} trials failed; trial {first}: {error}")
        if self.shown.error is not None:
            notes.append(f"the winner can't be run over all dates: {self.shown.error}")
        if results.good.any() and not len(results.common):
            notes.append("the trials have too few sessions in common, and are judged each on its own")
        return tuple(notes)

    def named(self, at: int) -> dict[str, str]:
        """Return a trial's values as text, by key."""
        return {key: label(value) for key, value in self.sweep.values_of(self.numbers[at]).items()}


def files_of(finding: Finding) -> tuple[dict[str, bytes], dict[str, Any], pd.DataFrame]:
    """Return a sweep's files, its summary, and its table of trials."""
    from quantlr.report.pages.sweep import sweep_page
    from quantlr.sweep.shown import shown_of

    summary, table = summary_of(finding), table_of(finding)
    files = {
        "sweep.json": json_bytes(summary),
        "trials.csv": table.to_csv(index=False, lineterminator="\n").encode(),
        "sweep.png": sweep_page(shown_of(finding)),
    }
    winner = finding.results.winner
    if winner is not None:
        files["winner.yaml"] = finding.sweep.config(finding.numbers[winner]).run.to_yaml().encode()
    return files, summary, table


def table_of(finding: Finding) -> pd.DataFrame:
    """Return one row per trial, the best first; what is undefined is NaN."""
    results, judgement = finding.results, finding.judgement
    better = set() if judgement.superior is None else set(results.compared[judgement.superior.better].tolist())
    rows = []
    for rank, at in enumerate(results.ranked.tolist(), start=1):
        about = results.about[at]
        strategy, forecast = about.get("strategy", {}), about.get("forecast", {})
        rows.append(
            {
                "rank": rank,
                "trial": finding.numbers[at],
                **finding.named(at),
                "sharpe": results.ratio[at] * finding.root,
                "sharpe_low95": results.low[at] * finding.root,
                "sharpe_high95": results.high[at] * finding.root,
                "deflated_sharpe": judgement.deflated[at],
                "beats_buy_and_hold": at in better if results.good[at] else None,
                "benchmark_sharpe": about.get("benchmark", {}).get("sharpe"),
                **{name: strategy.get(name) for name in OF_STRATEGY},
                **{name: forecast.get(name) for name in OF_FORECAST},
                "sessions": about.get("sessions"),
                "error": about.get("error"),
            }
        )
    return pd.DataFrame(rows)


def summary_of(finding: Finding) -> dict[str, Any]:
    """Return what all trials together show, keyed as in ``sweep.json``; Sharpe ratios are per year."""
    results, judgement, root = finding.results, finding.judgement, finding.root
    found = {
        "name": finding.sweep.spec.name,
        "grid": {axis.key: [label(value) for value in axis.choices] for axis in finding.sweep.axes},
        "combinations": finding.sweep.combinations,
        "trials": {
            "tried": len(results.about),
            "evaluated": int(results.good.sum()),
            "failed": int((~results.good).sum()),
        },
        "common": _common(results),
        "luck": {
            "trials": judgement.trials,
            "best_of_luck": None if judgement.luck is None else judgement.luck * root,
        },
        "overfitting": {"probability": judgement.overfitting, "blocks": judgement.blocks},
        "superior": _superior(finding),
        "winner": None if results.winner is None else _winner(finding, results.winner),
        "untouched": {"from": None if finding.cut is None else str(finding.cut)}
        | (asdict(finding.untouched) if finding.untouched else {"error": finding.shown.error}),
        "verdict": asdict(finding.verdict),
        "notes": list(finding.notes),
    }
    return dict(defined(found))


def _common(results: Results) -> dict[str, Any]:
    if not len(results.common):
        return {"first": None, "last": None, "sessions": 0}
    first, last = (str(np.datetime64(int(at), "D")) for at in results.common[[0, -1]])
    return {"first": first, "last": last, "sessions": len(results.common)}


def _superior(finding: Finding) -> dict[str, Any] | None:
    found = finding.judgement.superior
    if found is None:
        return None
    named = finding.results.compared[found.better].tolist()
    return {
        "p_value": found.p_value,
        "p_lower": found.p_lower,
        "p_upper": found.p_upper,
        "better": [finding.numbers[at] for at in named],
        "compared": len(finding.results.compared),
    }


def _winner(finding: Finding, at: int) -> dict[str, Any]:
    results = finding.results
    about = results.about[at]
    return {
        "trial": finding.numbers[at],
        "values": finding.named(at),
        "sharpe": results.ratio[at] * finding.root,
        "sharpe_ci95": [float(bound[at]) * finding.root for bound in (results.low, results.high)],
        "deflated_sharpe": float(finding.judgement.deflated[at]),
        "benchmark_sharpe": about["benchmark"]["sharpe"],
        **{name: about["strategy"][name] for name in OF_STRATEGY},
        **{name: about["forecast"][name] for name in OF_FORECAST},
    }
