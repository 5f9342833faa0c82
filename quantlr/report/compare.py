"""Comparison of several runs over their common sessions and forecasts, every pair tested by the paired bootstrap."""

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
from quantlr.core.errors import OutputError, UserError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array
from quantlr.report.pairs import (
    MetricValues,
    RunPair,
    backtest_result_on_dates,
    benchmark_result_on_dates,
    common_dates,
    common_evaluated_forecasts,
    compared_metric_values,
    config_differences,
    forecast_log_losses,
    pair_sentence,
    shared_baseline_metric_values,
)
from quantlr.report.storage import SavedRun, check_report_target, find_run_dir, nonfinite_to_none, read_saved_run
from quantlr.stats.paired import (
    PairDifferences,
    PairedDifference,
    holm_adjusted_p_values,
    n_draws_for_tests,
    paired_forecast_differences,
    paired_return_differences,
)

MIN_RUNS, MAX_RUNS = 2, 12
"""Number of runs that a page can show."""
MIN_COMMON_SESSIONS = 60
"""Common sessions below which nothing is tested: a quarter of a year has too little power."""
BENCHMARK_RTOL = 0.01
"""Relative difference up to which equities of buy and hold count as one; costs and the first fill may differ."""
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs over the sessions and forecasts that all of them have.

    Attributes
    ----------
    run_names : as the runs were given.
    run_dirs : folders of their reports.
    dates : (sessions,) the common sessions.
    equity : (sessions, runs) growth of 1 from before the first common session.
    benchmark : (sessions,) equity of buy and hold, as of the first run; None where the runs' benchmarks differ.
    metrics_by_run : metrics over the common sessions and forecasts, keyed as in ``metrics.json``.
    baseline_metrics : of buy and hold and of the base rate; None where they are not the same for all runs.
    n_common_forecasts : with a known outcome; 0 where the runs forecast different labels.
    pairs : every pair of runs.
    n_tests : number of p values that were adjusted together.
    n_bootstrap_draws : number of draws.
    config_differences : dotted keys of the config that differ, to their value in each run; None where a run has none.
    caveats : other differences between the runs, a sentence each.
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
    config_differences: dict[str, tuple[str | None, ...]]
    caveats: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``compare.json``; undefined numbers are None."""
        runs = zip(self.run_names, self.run_dirs, self.metrics_by_run, strict=True)
        first, last = iso_date(self.dates[0]), iso_date(self.dates[-1])
        method = {"bootstrap": "stationary, paired", "draws": self.n_bootstrap_draws, "adjustment": "Holm"}
        content = {
            "runs": [{"name": name, "folder": folder.as_posix(), **metrics} for name, folder, metrics in runs],
            "baseline": self.baseline_metrics,
            "sessions": {"first": first, "last": last, "common": len(self.dates)},
            "forecasts": self.n_common_forecasts,
            "method": method | {"tests": self.n_tests},
            "pairs": [self._pair_dict(pair) for pair in self.pairs],
            "settings": self.config_differences,
            "cautions": self.caveats,
        }
        return dict(nonfinite_to_none(content))

    def _pair_dict(self, pair: RunPair) -> dict[str, Any]:
        sharpe, log_loss = pair.sharpe_difference, pair.log_loss_difference
        mean_return, accuracy = pair.mean_return_difference, pair.accuracy_difference
        return {
            "first": self.run_names[pair.first_index],
            "second": self.run_names[pair.second_index],
            "sharpe": sharpe and {**asdict(sharpe), "adjusted_p_value": pair.sharpe_adjusted_p},
            "log_loss": log_loss and {**asdict(log_loss), "adjusted_p_value": pair.log_loss_adjusted_p},
            "mean_return": mean_return and asdict(mean_return),
            "accuracy": accuracy and asdict(accuracy),
            "sentence": pair_sentence(pair, self.run_names),
        }


def compare_runs(run_names_or_paths: Sequence[str], *, reports_dir: Path) -> Comparison:
    """Return a comparison of runs, given as folders of reports or by name in `reports_dir`.

    Raises
    ------
    UserError : fewer than two runs, more than twelve, a run twice, one without a report, or runs that cannot be
        compared.
    Fault : the disk cannot be read.
    """
    n_runs = len(run_names_or_paths)
    if n_runs < MIN_RUNS:
        raise UserError(f"a comparison needs two runs or more, found {n_runs}; name another")
    if n_runs > MAX_RUNS:
        raise UserError(
            f"a page of {n_runs} runs can't be read; compare up to {MAX_RUNS}; the gallery, index.html in "
            f"{reports_dir}, sorts any number of them"
        )
    folders = [find_run_dir(run, reports_dir) for run in run_names_or_paths]
    for (run, folder), (other, other_folder) in combinations(zip(run_names_or_paths, folders, strict=True), 2):
        if folder.resolve() == other_folder.resolve():
            raise UserError(f"{other} and {run} are the same report, {other_folder}; name each once")
    names = _unique_run_names(folders)
    return compare_saved_runs([read_saved_run(folder, name=name) for folder, name in zip(folders, names, strict=True)])


def check_comparison_target(name: str, reports_dir: Path) -> None:
    """Refuse a name that a comparison cannot be written under: an invalid one, or that of a run's report.

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


def _unique_run_names(run_dirs: list[Path]) -> list[str]:
    """Return the folders' names; with the parent folder's name, or as whole paths, where two would be the same."""
    paths = [folder.resolve() for folder in run_dirs]
    for n_parts in (1, 2):
        names = [Path(*path.parts[-n_parts:]).as_posix() for path in paths]
        if len(set(names)) == len(names):
            return names
    return [path.as_posix() for path in paths]


def compare_saved_runs(runs: Sequence[SavedRun]) -> Comparison:
    """Return the comparison of runs over their common sessions and forecasts.

    Raises
    ------
    UserError : the runs have no session in common, or count a different number of sessions per year.
    """
    per_year = runs[0].sessions_per_year
    if any(run.sessions_per_year != per_year for run in runs):
        counts = ", ".join(f"{run.name} {run.sessions_per_year}" for run in runs)
        raise UserError(f"numbers per year can't be compared where years differ: report.sessions_per_year is {counts}")
    dates = common_dates(runs)
    results = [backtest_result_on_dates(run, dates) for run in runs]
    is_same_label = all(run.config["label"] == runs[0].config["label"] for run in runs)
    evaluated = common_evaluated_forecasts(runs) if is_same_label else []
    benchmarks = [benchmark_result_on_dates(run, dates) for run in runs]
    is_close = [np.allclose(benchmarks[0].equity, other.equity, rtol=BENCHMARK_RTOL, atol=0) for other in benchmarks]
    benchmark = benchmarks[0] if all(is_close) else None
    n_draws = n_draws_for_tests(len(runs) * (len(runs) - 1))
    log_losses = forecast_log_losses(evaluated) if evaluated else np.zeros((0, len(runs)))
    forecast_caveat = _untested_forecasts_caveat(evaluated, log_losses)
    returns = np.stack([result.net_return - result.session_cash_rate for result in results], axis=1)
    tested = [] if forecast_caveat else evaluated
    pairs = _make_run_pairs(returns, log_losses, tested, sessions_per_year=per_year, n_draws=n_draws)
    return Comparison(
        run_names=tuple(run.name for run in runs),
        run_dirs=tuple(run.report_dir for run in runs),
        dates=dates,
        equity=np.stack([result.equity for result in results], axis=1),
        benchmark=benchmark.equity if benchmark else None,
        metrics_by_run=tuple(
            compared_metric_values(result, evaluated[index] if evaluated else None, sessions_per_year=per_year)
            for index, result in enumerate(results)
        ),
        baseline_metrics=shared_baseline_metric_values(benchmark, evaluated, sessions_per_year=per_year),
        n_common_forecasts=len(log_losses),
        pairs=pairs,
        n_tests=sum((pair.sharpe_adjusted_p is not None) + (pair.log_loss_adjusted_p is not None) for pair in pairs),
        n_bootstrap_draws=n_draws,
        config_differences=config_differences([run.config for run in runs]),
        caveats=_caveat_texts(runs, len(dates), forecast_caveat),
    )


def _make_run_pairs(
    returns: Array, log_losses: Array, tested: Sequence[EvaluatedForecasts], *, sessions_per_year: int, n_draws: int
) -> tuple[RunPair, ...]:
    """Return all pairs of runs with their differences, those of returns annualised, and p values adjusted by Holm.

    The p values of Sharpe ratios and log losses are adjusted together. Pairs with the same returns or forecasts are not
    tested and do not count.

    Parameters
    ----------
    returns : (sessions, runs) per session, over cash.
    log_losses : (forecasts, runs) of the common forecasts, in nats.
    tested : forecasts of each run; empty where they are not tested.
    """
    means: PairDifferences = {}
    sharpes, losses, accuracies = means, means, means
    if len(returns) >= MIN_COMMON_SESSIONS:
        means, sharpes = paired_return_differences(returns, n_draws=n_draws, seed=BOOTSTRAP_SEED)
    if tested:
        hits = np.stack([run.hits for run in tested], axis=1)
        session, options = tested[0].session, {"horizon": tested[0].horizon, "n_draws": n_draws, "seed": BOOTSTRAP_SEED}
        losses, accuracies = paired_forecast_differences(log_losses, hits, session=session, **options)

    def difference(differences: PairDifferences, pair: tuple[int, int], factor: float = 1) -> PairedDifference | None:
        unscaled = differences.get(pair)
        return unscaled and unscaled.scaled(factor)

    def is_same(columns: Array, pair: tuple[int, int]) -> bool:
        return len(columns) > 0 and bool((columns[:, pair[0]] == columns[:, pair[1]]).all())

    tests = (("sharpe", sharpes, returns), ("log_loss", losses, log_losses))
    p_values = {
        (key, pair): test.p_value
        for key, differences, columns in tests
        for pair, test in differences.items()
        if test is not None and not is_same(columns, pair)
    }
    adjusted_p = dict(zip(p_values, holm_adjusted_p_values(list(p_values.values())), strict=True))
    return tuple(
        RunPair(
            *pair,
            sharpe_difference=difference(sharpes, pair, float(np.sqrt(sessions_per_year))),
            mean_return_difference=difference(means, pair, sessions_per_year),
            log_loss_difference=difference(losses, pair),
            accuracy_difference=difference(accuracies, pair),
            has_same_returns=is_same(returns, pair),
            has_same_forecasts=is_same(log_losses, pair),
            sharpe_adjusted_p=adjusted_p.get(("sharpe", pair)),
            log_loss_adjusted_p=adjusted_p.get(("log_loss", pair)),
        )
        for pair in combinations(range(returns.shape[1]), 2)
    )


def _untested_forecasts_caveat(evaluated_by_run: Sequence[EvaluatedForecasts], log_losses: Array) -> str:
    """Return why forecasts are not compared; "" where they are."""
    if not evaluated_by_run:
        return "runs forecast different labels: their forecasts are not compared"
    if len(np.unique(evaluated_by_run[0].session)) < MIN_COMMON_SESSIONS:
        return "no forecast is common to all, or too few are: forecasts are not compared"
    if not np.isfinite(log_losses).all():
        return "a forecast of probability 0 or 1 was wrong: its log loss is infinite, and forecasts are not compared"
    return ""


def _caveat_texts(runs: Sequence[SavedRun], n_dates: int, forecast_caveat: str) -> tuple[str, ...]:
    """Return differences between the runs other than their settings, a sentence each."""
    longest = max(runs, key=lambda run: len(run.backtest_frame))
    n_longest = len(longest.backtest_frame)
    versions = ", ".join(f"{run.name} {run.quantlr_version}" for run in runs)
    same_data = all(run.config["data"] == runs[0].config["data"] for run in runs)
    applies = {
        f"{n_dates:,} of the {n_longest:,} sessions of {longest.name} are common to all; all else is left out":
            n_dates < n_longest,
        f"{n_dates} common sessions are too few to test a difference; {MIN_COMMON_SESSIONS} are needed":
            n_dates < MIN_COMMON_SESSIONS,
        "runs are filled at different prices (execution.fill): a difference may come from a price that is not tradable":
            len({run.fill for run in runs}) > 1,
        forecast_caveat: bool(forecast_caveat),
        "the prices have changed from one run to another, though their data are configured alike":
            same_data and len({run.price_digest for run in runs}) > 1,
        f"written by different versions: {versions}": len({run.quantlr_version for run in runs}) > 1,
    }  # fmt: skip
    return tuple(text for text, is_true in applies.items() if is_true)
