"""Comparison of several runs over their common sessions and forecasts, pair by pair, by the paired bootstrap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.metric_types import EvaluatedForecasts
from quantlr.backtest.metrics import find_metric
from quantlr.config.run_config import REPORT_NAME_PATTERN
from quantlr.core.errors import OutputError, UserError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.report.pairs import (
    MetricTest,
    MetricValues,
    RunPair,
    adjust_tests,
    backtest_result_on_dates,
    benchmark_result_on_dates,
    common_dates,
    common_evaluated_forecasts,
    compared_metric_values,
    config_differences,
    forecast_log_loss_matrix,
    pair_sentence,
    saved_benchmark_name,
    shared_baseline_metric_values,
)
from quantlr.report.saved_runs import SavedRun, find_run_dir, read_saved_run
from quantlr.report.storage import check_report_target
from quantlr.stats.paired import (
    PairDifferences,
    RunIndices,
    n_draws_for_tests,
    paired_return_differences,
    paired_score_differences,
)

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection

MIN_RUNS, MAX_RUNS = 2, 12
"""Number of runs that a page can show."""
MIN_COMMON_SESSIONS = 60
"""Common sessions below which nothing is tested: a quarter of a year has too little power."""
BENCHMARK_RTOL = 0.01
"""Relative difference up to which equities of benchmarks count as one; costs and the first fill may differ."""
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Comparison:
    """Several runs over the sessions and forecasts that all of them have.

    Attributes
    ----------
    run_names : as the runs were given.
    run_dirs : folders of their reports.
    dates : (sessions,) the common sessions.
    results : the backtest of each run over the common sessions.
    evaluated_forecasts : the common forecasts of each run; none where the runs forecast different labels.
    benchmark_result : the benchmark over the common sessions, as of the first run; None where the runs' benchmarks
        differ.
    benchmark_name : of the first run's benchmark.
    sessions_per_year : of each run.
    n_common_forecasts : with a known outcome; 0 where the runs forecast different labels.
    pairs : every pair of runs; with a baseline run, which is the first, it and each other run.
    has_baseline_run : whether only pairs with the first run are tested.
    n_tests : number of p values that were adjusted together.
    n_bootstrap_draws : number of draws.
    config_differences : dotted keys of the config that differ, to their value in each run; None where a run has none.
    caveats : other differences between the runs, a sentence each.
    """

    run_names: tuple[str, ...]
    run_dirs: tuple[Path, ...]
    dates: pd.DatetimeIndex
    results: tuple[BacktestResult, ...]
    evaluated_forecasts: tuple[EvaluatedForecasts, ...]
    benchmark_result: BacktestResult | None
    benchmark_name: str
    sessions_per_year: int
    n_common_forecasts: int
    pairs: tuple[RunPair, ...]
    has_baseline_run: bool
    n_tests: int
    n_bootstrap_draws: int
    config_differences: dict[str, tuple[str | None, ...]]
    caveats: tuple[str, ...]

    @cached_property
    def equity(self) -> Array:
        """(sessions, runs) growth of 1 from before the first common session."""
        return np.stack([result.equity for result in self.results], axis=1)

    @property
    def benchmark_equity(self) -> Array | None:
        """(sessions,) equity of the benchmark; None where the runs' benchmarks differ."""
        return None if self.benchmark_result is None else self.benchmark_result.equity

    @cached_property
    def metrics_by_run(self) -> tuple[MetricValues, ...]:
        """Metrics over the common sessions and forecasts, keyed as in ``metrics.json``."""
        forecasts: Sequence[EvaluatedForecasts | None] = self.evaluated_forecasts or [None] * len(self.results)
        return tuple(
            compared_metric_values(result, evaluated, sessions_per_year=self.sessions_per_year)
            for result, evaluated in zip(self.results, forecasts, strict=True)
        )

    @cached_property
    def baseline_metrics(self) -> MetricValues:
        """Metrics of the benchmark and of the base rate; None where they are not the same for all runs."""
        return shared_baseline_metric_values(
            self.benchmark_result, self.evaluated_forecasts, sessions_per_year=self.sessions_per_year
        )

    @property
    def figures(self) -> FigureCollection:
        """The panels of ``compare.png`` as figures of matplotlib, by name, as `Run.figures`."""
        from quantlr.report.figures import FigureCollection
        from quantlr.report.pages.comparison import comparison_panels

        return FigureCollection((placed.panel, self) for placed in comparison_panels(self))

    @property
    def baseline_name(self) -> str:
        """What `baseline_metrics` are of: the benchmark, the base rate of the forecasts, or both; "" for neither."""
        has_forecasts = self.baseline_metrics["log_loss"] is not None
        names = (self.benchmark_name if self.benchmark_equity is not None else "", "base rate" if has_forecasts else "")
        return ", ".join(filter(None, names))

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``compare.json``; undefined numbers are None."""
        runs = [
            {"name": name, "folder": folder.as_posix(), "final_equity": equity, **metrics}
            for name, folder, equity, metrics in zip(
                self.run_names, self.run_dirs, self.equity[-1].tolist(), self.metrics_by_run, strict=True
            )
        ]
        benchmark_final_equity = None if self.benchmark_equity is None else float(self.benchmark_equity[-1])
        first, last = iso_date(self.dates[0]), iso_date(self.dates[-1])
        method: dict[str, Any] = {
            "bootstrap": "stationary, paired",
            "draws": self.n_bootstrap_draws,
            "adjustment": "Holm",
        }
        method["baseline_run"] = self.run_names[0] if self.has_baseline_run else None
        content = {
            "runs": runs,
            "baseline": {"final_equity": benchmark_final_equity, **self.baseline_metrics},
            "sessions": {"first": first, "last": last, "common": len(self.dates)},
            "forecasts": self.n_common_forecasts,
            "method": method | {"tests": self.n_tests},
            "pairs": [self._pair_to_dict(pair) for pair in self.pairs],
            "settings": self.config_differences,
            "cautions": self.caveats,
        }
        return dict(nonfinite_to_none(content))

    def _pair_to_dict(self, pair: RunPair) -> dict[str, Any]:
        mean_return, accuracy = pair.mean_return_difference, pair.accuracy_difference
        return {
            "first": self.run_names[pair.first_index],
            "second": self.run_names[pair.second_index],
            "sharpe": pair.sharpe.to_dict(),
            "log_loss": pair.log_loss.to_dict(),
            "mean_return": mean_return and mean_return.to_dict(),
            "accuracy": accuracy and accuracy.to_dict(),
            "sentence": pair_sentence(pair, self.run_names),
        }


def compare(
    runs: Sequence[str | Path], *, baseline: str | Path | None = None, output: str | Path = "reports"
) -> Comparison:
    """Return the comparison of runs over their common sessions, every pair tested by the paired bootstrap.

    Parameters
    ----------
    runs : two to twelve runs: folders of their reports, or their names in `output`.
    baseline : the run that each other one is compared with, one of `runs` or a further one, which becomes the first.
        Only these pairs are tested, so that p values are adjusted for fewer tests. By default all pairs are.
    output : folder of reports. Nothing is written there; `quantlr compare` writes a page.

    Returns
    -------
    comparison : metrics over the common sessions, and the difference of every pair with its p value.

    Raises
    ------
    UserError : fewer than two runs, more than twelve, a run twice, one without a report, or runs that cannot be
        compared.
    Fault : the disk cannot be read.

    Examples
    --------
    >>> import quantlr
    >>> comparison = quantlr.compare(["sp500_daily", "sp500_textbook"])  # doctest: +SKIP
    >>> comparison.pairs[0].sharpe.adjusted_p_value  # doctest: +SKIP
    """
    run_names_or_paths, reports_dir = _checked_run_names_or_paths(runs), Path(output)
    folders = [find_run_dir(run, reports_dir) for run in run_names_or_paths]
    if baseline is not None:
        first = find_run_dir(_checked_run_names_or_paths([baseline])[0], reports_dir)
        folders = [first, *(folder for folder in folders if folder.resolve() != first.resolve())]
        run_names_or_paths = [str(folder) for folder in folders]
    n_runs = len(folders)
    if n_runs < MIN_RUNS:
        raise UserError(f"a comparison needs two runs or more, found {n_runs}; name another")
    if n_runs > MAX_RUNS:
        raise UserError(
            f"a page of {n_runs} runs can't be read; compare up to {MAX_RUNS}; the gallery, index.html in "
            f"{reports_dir}, sorts any number of them"
        )
    for (run, folder), (other, other_folder) in combinations(zip(run_names_or_paths, folders, strict=True), 2):
        if folder.resolve() == other_folder.resolve():
            raise UserError(f"{other} and {run} are the same report, {other_folder}; name each once")
    names = _unique_run_names(folders)
    saved_runs = [read_saved_run(folder, name=name) for folder, name in zip(folders, names, strict=True)]
    return compare_saved_runs(saved_runs, has_baseline_run=baseline is not None)


def _checked_run_names_or_paths(runs: Any) -> list[str]:
    """Return runs as text; UserError if they are no list of names and folders."""
    if isinstance(runs, (str, Path)):
        raise UserError(
            f"runs are a list of names or folders of reports, found {str(runs)!r}; write [{str(runs)!r}, ...]"
        )
    for run in runs:
        if not isinstance(run, (str, Path)):
            text = f"a run is the name or the folder of its report, found {type(run).__name__}"
            raise UserError(f"{text}; save it, and give the folder that save returns")
    return [str(run) for run in runs]


def check_comparison_target(comparison_name: str, reports_dir: Path) -> None:
    """Refuse a name that a comparison cannot be written under: an invalid one, or that of a run's report.

    Raises
    ------
    OutputError : with what to choose instead.
    """
    if not re.fullmatch(REPORT_NAME_PATTERN, comparison_name):
        raise OutputError(f"--name {comparison_name!r}: needed 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot")
    check_report_target(reports_dir, comparison_name)
    target = reports_dir / comparison_name
    if (target / "metrics.json").exists():
        raise OutputError(f"{target} is the report of a run, which a comparison would replace; choose another --name")


def _unique_run_names(run_dirs: list[Path]) -> list[str]:
    """Return the folders' names; with the parent folder's name, or as whole paths, where two would be the same."""
    paths = [folder.resolve() for folder in run_dirs]
    for n_parts in (1, 2):
        names = [Path(*path.parts[-n_parts:]).as_posix() for path in paths]
        if len(set(names)) == len(names):
            return names
    return [path.as_posix() for path in paths]


def compare_saved_runs(runs: Sequence[SavedRun], *, has_baseline_run: bool = False) -> Comparison:
    """Return the comparison of runs over their common sessions and forecasts.

    Parameters
    ----------
    runs : of which all pairs are tested.
    has_baseline_run : whether only the pairs with the first run are tested.

    Raises
    ------
    UserError : the runs have no session in common, or count a different number of sessions per year.
    """
    per_year = runs[0].sessions_per_year
    if any(run.sessions_per_year != per_year for run in runs):
        counts = ", ".join(f"{run.name} {run.sessions_per_year}" for run in runs)
        raise UserError(f"numbers per year can't be compared where years differ: report.sessions_per_year is {counts}")
    dates = common_dates(runs)
    benchmarks = [benchmark_result_on_dates(run, dates) for run in runs]
    results = [
        replace(backtest_result_on_dates(run, dates), benchmark=benchmark)
        for run, benchmark in zip(runs, benchmarks, strict=True)
    ]
    is_same_label = all(run.config["label"] == runs[0].config["label"] for run in runs)
    evaluated = common_evaluated_forecasts(runs) if is_same_label else []
    is_close = [np.allclose(benchmarks[0].equity, other.equity, rtol=BENCHMARK_RTOL, atol=0) for other in benchmarks]
    names = [saved_benchmark_name(run.config) for run in runs]
    benchmark = benchmarks[0] if all(is_close) and len(set(names)) == 1 else None
    indices = [pair for pair in combinations(range(len(runs)), 2) if not (has_baseline_run and pair[0])]
    n_draws = n_draws_for_tests(2 * len(indices))
    log_losses = forecast_log_loss_matrix(evaluated) if evaluated else np.zeros((0, len(runs)))
    forecast_caveat = _untested_forecasts_caveat(evaluated, log_losses)
    returns = np.stack([result.net_return - result.session_cash_rate for result in results], axis=1)
    tested_forecasts = [] if forecast_caveat else evaluated
    pairs = _make_run_pairs(indices, returns, log_losses, tested_forecasts, sessions_per_year=per_year, n_draws=n_draws)
    return Comparison(
        run_names=tuple(run.name for run in runs),
        run_dirs=tuple(run.report_dir for run in runs),
        dates=dates,
        results=tuple(results),
        evaluated_forecasts=tuple(evaluated),
        benchmark_result=benchmark,
        benchmark_name=names[0],
        sessions_per_year=per_year,
        n_common_forecasts=len(log_losses),
        pairs=pairs,
        has_baseline_run=has_baseline_run,
        n_tests=sum(test.adjusted_p_value is not None for pair in pairs for test in pair.metric_tests),
        n_bootstrap_draws=n_draws,
        config_differences=config_differences([run.config for run in runs]),
        caveats=_caveat_texts(runs, len(dates), forecast_caveat),
    )


def _make_run_pairs(
    indices: Sequence[RunIndices],
    returns: Array,
    log_losses: Array,
    forecasts: Sequence[EvaluatedForecasts],
    *,
    sessions_per_year: int,
    n_draws: int,
) -> tuple[RunPair, ...]:
    """Return pairs of runs with their differences, those of returns annualised, and tests adjusted by Holm.

    The p values of Sharpe ratios and log losses are adjusted together. Pairs with the same returns or forecasts are not
    tested and do not count.

    Parameters
    ----------
    indices : positions of the two runs of each pair.
    returns : (sessions, runs) per session, over cash.
    log_losses : (forecasts, runs) of the common forecasts, in nats.
    forecasts : forecasts of each run; empty where they are not tested.
    """
    means: PairDifferences = {}
    sharpes, losses, accuracies = means, means, means
    options: dict[str, Any] = {"n_draws": n_draws, "seed": BOOTSTRAP_SEED, "pairs": indices}
    if len(returns) >= MIN_COMMON_SESSIONS:
        means, sharpes = paired_return_differences(returns, **options)
    if forecasts:
        scores = log_losses, np.stack([run.hits for run in forecasts], axis=1).astype(np.float64)
        session, horizon = forecasts[0].session, forecasts[0].horizon
        losses, accuracies = paired_score_differences(scores, session=session, horizon=horizon, **options)
    tests: dict[tuple[str, int, int], MetricTest] = {}
    samples = (("sharpe", sharpes, returns, float(np.sqrt(sessions_per_year))), ("log_loss", losses, log_losses, 1.0))
    for key, differences, columns, factor in samples:
        for a, b in indices:
            difference = differences.get((a, b))
            is_identical = len(columns) > 0 and bool((columns[:, a] == columns[:, b]).all())
            scaled = difference and difference.scaled(factor)
            tests[key, a, b] = MetricTest(find_metric(key), scaled, is_identical)
    tests = adjust_tests(tests)
    pairs = []
    for a, b in indices:
        mean, accuracy = means.get((a, b)), accuracies.get((a, b))
        mean_per_year = mean and mean.scaled(sessions_per_year)
        pairs.append(RunPair(a, b, tests["sharpe", a, b], tests["log_loss", a, b], mean_per_year, accuracy))
    return tuple(pairs)


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
