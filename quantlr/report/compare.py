"""Several runs side by side, over what they share, and which of their differences are larger than luck."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.config.run_config import REPORT_NAME_PATTERN
from quantlr.core.arrays import Array
from quantlr.core.errors import OutputError, UserError
from quantlr.core.progress import iso_date
from quantlr.core.values import BacktestResult, Report
from quantlr.report.pairs import (
    ConfigDifference,
    MetricValues,
    RunPair,
    baseline_metric_values,
    benchmark_on_dates,
    common_dates,
    common_evaluated_forecasts,
    config_differences,
    forecast_log_losses,
    has_same_label,
    headline_metrics,
    pair_sentence,
    result_on_dates,
    with_adjusted_p_values,
)
from quantlr.report.storage import check_report_target, json_bytes, nonfinite_to_none, write_report
from quantlr.report.stored import SavedRun, find_run_dir, read_saved_run
from quantlr.stats.paired import (
    PairDifferences,
    PairedDifference,
    n_draws_for_tests,
    paired_forecast_differences,
    paired_return_differences,
)

MIN_RUNS, MAX_RUNS = 2, 12
"""Runs that a page can show."""
MIN_COMMON_SESSIONS = 60
"""Common sessions below which nothing is tested: a quarter of a year says nothing of luck."""
BENCHMARK_RTOL = 0.01
"""How far buying and holding may come apart, by costs and the first fill, and still be shown as one."""
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs over the sessions and the forecasts that all of them share.

    Attributes
    ----------
    names : of the runs, as they were given.
    folders : of their reports.
    dates : (sessions,) the common sessions.
    equity : (sessions, runs) what one unit became, from before the first common session.
    benchmark : (sessions,) the same of buying and holding, as the first run reckons it; None where runs hold others.
    numbers : for each run its numbers over the common sessions and forecasts, keyed as in ``metrics.json``.
    to_beat : the same of that, and of the base rate; None where they are not the same for all runs.
    forecasts : common forecasts with a known outcome; 0 where the runs answer different questions.
    pairs : of any two runs.
    tests : how many p values were adjusted together.
    draws : how many.
    settings : keys of the config that are not the same for all.
    cautions : what else keeps the runs apart.
    """

    run_names: tuple[str, ...]
    run_dirs: tuple[Path, ...]
    dates: pd.DatetimeIndex
    equity: Array
    benchmark: Array | None
    metrics_by_run: tuple[MetricValues, ...]
    baseline_metrics: MetricValues
    n_common_forecasts: int
    pairs: tuple[RunPair, ...]
    n_tests: int
    n_bootstrap_draws: int
    config_differences: tuple[ConfigDifference, ...]
    caveats: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as ``compare.json`` has it; what is undefined is None."""
        return dict(
            nonfinite_to_none(
                {
                    "runs": [
                        {"name": name, "folder": folder.as_posix(), **numbers}
                        for name, folder, numbers in zip(
                            self.run_names, self.run_dirs, self.metrics_by_run, strict=True
                        )
                    ],
                    "to_beat": self.baseline_metrics,
                    "sessions": {
                        "first": iso_date(self.dates[0]),
                        "last": iso_date(self.dates[-1]),
                        "common": len(self.dates),
                    },
                    "forecasts": self.n_common_forecasts,
                    "method": {
                        "bootstrap": "stationary, paired",
                        "draws": self.n_bootstrap_draws,
                        "adjustment": "Holm",
                        "tests": self.n_tests,
                    },
                    "pairs": [self._pair_dict(pair) for pair in self.pairs],
                    "settings": {found.key: list(found.values_by_run) for found in self.config_differences},
                    "cautions": list(self.caveats),
                }
            )
        )

    def _pair_dict(self, pair: RunPair) -> dict[str, Any]:
        found: dict[str, Any] = {"first": self.run_names[pair.first_index], "second": self.run_names[pair.second_index]}
        for name, difference, p_value in (
            ("sharpe", pair.sharpe_difference, pair.sharpe_adjusted_p),
            ("log_loss", pair.log_loss_difference, pair.log_loss_adjusted_p),
        ):
            found[name] = None if difference is None else {**asdict(difference), "adjusted_p_value": p_value}
        for name, difference in (("mean_return", pair.mean_return_difference), ("accuracy", pair.accuracy_difference)):
            found[name] = None if difference is None else asdict(difference)
        return found | {"sentence": pair_sentence(pair, self.run_names)}


def compare_runs(run_names_or_paths: Sequence[str], *, reports_dir: Path) -> Comparison:
    """Return a comparison of runs that are named by their reports' folders, or by their names in a folder of reports.

    Raises
    ------
    UserError : fewer than two runs, more than twelve, the same one twice, one that is no report, or runs that can't be
        compared.
    Fault : the disk is in the way.
    """
    if len(run_names_or_paths) < MIN_RUNS:
        raise UserError(f"a comparison needs two runs or more, found {len(run_names_or_paths)}; name another")
    if len(run_names_or_paths) > MAX_RUNS:
        raise UserError(
            f"a page of {len(run_names_or_paths)} runs can't be read; compare up to {MAX_RUNS}; the gallery, index.html in {reports_dir}, "
            "sorts any number of them"
        )
    folders = [find_run_dir(run, reports_dir) for run in run_names_or_paths]
    seen: dict[Path, str] = {}
    for run, folder in zip(run_names_or_paths, folders, strict=True):
        place = folder.resolve()
        if place in seen:
            raise UserError(f"{run} and {seen[place]} are the same report, {folder}; name each once")
        seen[place] = run
    return compare_saved_runs(
        [read_saved_run(folder, name=name) for folder, name in zip(folders, _unique_run_names(folders), strict=True)]
    )


def check_comparison_target(name: str, reports_dir: Path) -> None:
    """Refuse a place that no comparison can be written to: a name that is none, or that of a run's report.

    Raises
    ------
    OutputError : with what to choose instead.
    """
    if not re.fullmatch(REPORT_NAME_PATTERN, name):
        raise OutputError(f"--name {name!r}: needed 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot")
    check_report_target(reports_dir, name)
    if (reports_dir / name / "metrics.json").exists():
        raise OutputError(
            f"{reports_dir / name} is the report of a run, which a comparison would replace; choose another --name"
        )


def write_comparison(comparison: Comparison, name: str, reports_dir: Path) -> Path:
    """Write ``compare.png`` and ``compare.json`` to ``output/NAME`` and return that folder; the gallery names it.

    Raises
    ------
    OutputError, Fault : as for a report.
    """
    from quantlr.report.gallery import write_gallery
    from quantlr.report.pages.comparison import comparison_page

    check_comparison_target(name, reports_dir)
    files = {"compare.png": comparison_page(comparison), "compare.json": json_bytes(comparison.to_dict())}
    folder = write_report(Report(name, files), reports_dir)
    write_gallery(reports_dir)
    return folder


def _unique_run_names(run_dirs: list[Path]) -> list[str]:
    """Return the names of folders, with that of the folder around where two are named alike, or the whole path."""
    whole = [folder.resolve() for folder in run_dirs]
    for parts in (1, 2):
        names = [Path(*folder.parts[-parts:]).as_posix() for folder in whole]
        if len(set(names)) == len(names):
            return names
    return [folder.as_posix() for folder in whole]


def compare_saved_runs(runs: Sequence[SavedRun]) -> Comparison:
    """Set runs side by side over what they share.

    Raises
    ------
    UserError : no session is common to all, or years are counted differently.
    """
    per_year = _common_sessions_per_year(runs)
    dates = common_dates(runs)
    results = [result_on_dates(run, dates) for run in runs]
    rows = common_evaluated_forecasts(runs) if has_same_label(runs) else []
    benchmarks = [benchmark_on_dates(run, dates).equity for run in runs]
    alike = all(np.allclose(benchmarks[0], one, rtol=BENCHMARK_RTOL, atol=0) for one in benchmarks)
    draws = n_draws_for_tests(len(runs) * (len(runs) - 1))
    pairs = _compare_all_pairs(results, rows, sessions_per_year=per_year, n_draws=draws)
    return Comparison(
        run_names=tuple(run.name for run in runs),
        run_dirs=tuple(run.report_dir for run in runs),
        dates=dates,
        equity=np.stack([result.equity for result in results], axis=1),
        benchmark=benchmarks[0] if alike else None,
        metrics_by_run=tuple(
            headline_metrics(result, rows[at] if rows else None, sessions_per_year=per_year)
            for at, result in enumerate(results)
        ),
        baseline_metrics=baseline_metric_values(
            benchmark_on_dates(runs[0], dates) if alike else None, rows, sessions_per_year=per_year
        ),
        n_common_forecasts=len(rows[0].up) if rows else 0,
        pairs=pairs,
        n_tests=sum((pair.sharpe_adjusted_p is not None) + (pair.log_loss_adjusted_p is not None) for pair in pairs),
        n_bootstrap_draws=draws,
        config_differences=config_differences([run.config for run in runs]),
        caveats=_caveat_texts(runs, dates, rows),
    )


def _common_sessions_per_year(runs: Sequence[SavedRun]) -> int:
    """Return the sessions of a year; refuse runs that do not agree on it."""
    counted = {run.name: run.sessions_per_year for run in runs}
    if len(set(counted.values())) > 1:
        told = ", ".join(f"{name} {sessions}" for name, sessions in counted.items())
        raise UserError(f"numbers per year can't be compared where years differ: report.sessions_per_year is {told}")
    return runs[0].sessions_per_year


def _compare_all_pairs(
    results: Sequence[BacktestResult],
    evaluated_by_run: Sequence[EvaluatedForecasts],
    *,
    sessions_per_year: int,
    n_draws: int,
) -> tuple[RunPair, ...]:
    """Return all pairs with their differences, per year where they are of returns."""
    excess = np.stack([found.net_return - found.session_cash_rate for found in results], axis=1)
    means: PairDifferences = {}
    ratios, loss, hits = means, means, means
    if len(excess) >= MIN_COMMON_SESSIONS:
        means, ratios = paired_return_differences(excess, n_draws=n_draws, seed=BOOTSTRAP_SEED)
    lost = forecast_log_losses(evaluated_by_run) if evaluated_by_run else np.zeros((0, len(results)))
    if _can_test_forecasts(evaluated_by_run, lost):
        calls = np.stack([one.hits for one in evaluated_by_run], axis=1)
        loss, hits = paired_forecast_differences(
            lost,
            calls,
            session=evaluated_by_run[0].session,
            horizon=evaluated_by_run[0].horizon,
            n_draws=n_draws,
            seed=BOOTSTRAP_SEED,
        )
    return with_adjusted_p_values(
        [
            RunPair(
                *pair,
                sharpe_difference=_scaled_difference(ratios, pair, factor=float(np.sqrt(sessions_per_year))),
                mean_return_difference=_scaled_difference(means, pair, factor=sessions_per_year),
                log_loss_difference=_scaled_difference(loss, pair),
                accuracy_difference=_scaled_difference(hits, pair),
                has_same_returns=_are_columns_equal(excess, pair),
                has_same_forecasts=_are_columns_equal(lost, pair),
            )
            for pair in combinations(range(len(results)), 2)
        ]
    )


def _are_columns_equal(values: Array, column_pair: tuple[int, int]) -> bool:
    """Whether two columns are one and the same, and not empty."""
    return len(values) > 0 and bool((values[:, column_pair[0]] == values[:, column_pair[1]]).all())


def _can_test_forecasts(evaluated_by_run: Sequence[EvaluatedForecasts], log_losses: Array) -> bool:
    """Whether there are forecasts of enough sessions, and none that was sure and wrong, whose loss has no end."""
    return (
        bool(evaluated_by_run)
        and len(np.unique(evaluated_by_run[0].session)) >= MIN_COMMON_SESSIONS
        and bool(np.isfinite(log_losses).all())
    )


def _scaled_difference(
    differences: PairDifferences, pair: tuple[int, int], *, factor: float = 1.0
) -> PairedDifference | None:
    """Return a pair's difference in another unit; None where there is none."""
    one = differences.get(pair)
    return one and one.scaled(factor)


def _caveat_texts(
    runs: Sequence[SavedRun], dates: pd.DatetimeIndex, evaluated_by_run: Sequence[EvaluatedForecasts]
) -> tuple[str, ...]:
    """Return what keeps the runs apart beside their settings, a sentence each."""
    longest = max(runs, key=lambda run: len(run.backtest_frame))
    said = {
        f"{len(dates):,} of the {len(longest.backtest_frame):,} sessions of {longest.name} are common to all; all else is "
        "left out": len(dates) < len(longest.backtest_frame),
        f"{len(dates)} common sessions are too few to tell a difference from luck; {MIN_COMMON_SESSIONS} are needed":
            len(dates) < MIN_COMMON_SESSIONS,
        "runs are filled at different prices (execution.fill): a difference may be that of a price nobody could trade "
        "at": len({run.fill for run in runs}) > 1,
        "runs forecast different things (label): their forecasts are not compared": not evaluated_by_run,
        "no forecast is common to all, or too few are: forecasts are not compared":
            bool(evaluated_by_run) and len(np.unique(evaluated_by_run[0].session)) < MIN_COMMON_SESSIONS,
        "a forecast was sure and wrong: its log loss has no end, and forecasts are not compared":
            bool(evaluated_by_run) and not bool(np.isfinite(forecast_log_losses(evaluated_by_run)).all()),
        "the prices have changed from one run to another, though their data are configured alike":
            len({run.price_digest for run in runs}) > 1 and all(run.config["data"] == runs[0].config["data"] for run in runs),
        f"written by different versions: {', '.join(f'{run.name} {run.quantlr_version}' for run in runs)}":
            len({run.quantlr_version for run in runs}) > 1,
    }  # fmt: skip
    return tuple(text for text, applies in said.items() if applies)
