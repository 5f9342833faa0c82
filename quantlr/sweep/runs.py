"""A sweep from its file to its report: counted, checked, registered, evaluated, and only then judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from quantlr.config import LoadedConfig
from quantlr.data.universe import load_prices
from quantlr.errors import UserError
from quantlr.pipeline import run_stages
from quantlr.processes import available_cores
from quantlr.report.folder import make_reports_dir, check_report_target, write_report
from quantlr.sweep.desk import SweepScheduler, SweepPlan, SweepOptions
from quantlr.sweep.executors import Engine, SerialEngine, ProcessEngine
from quantlr.sweep.grid import Sweep, load_sweep
from quantlr.sweep.jobs import StageDigests
from quantlr.sweep.results import SweepReport, WinnerBacktest, make_sweep_files
from quantlr.sweep.summary import (
    TrialResults,
    collect_trial_results,
    compute_sweep_statistics,
    evaluate_holdout,
    sweep_verdict,
)
from quantlr.trials import Ledger, Trial, TrialStatistics
from quantlr.types import Report

MAX_UNCONFIRMED_TRIALS = 10_000
"""Trials from which on a sweep asks before it begins."""


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """A sweep, done.

    Attributes
    ----------
    name : of the sweep.
    summary : what all trials together show, keyed as in ``sweep.json``.
    trials : one row per trial, the best first, with the columns of ``trials.csv``.
    folder : where its report is.
    """

    name: str
    summary: dict[str, Any]
    trials: pd.DataFrame
    folder: Path

    def __repr__(self) -> str:
        return f"<Swept {self.name}: {self.verdict}>"

    @property
    def verdict(self) -> str:
        """Whether the winner is worth anything, in one sentence."""
        return str(self.summary["verdict"]["sentence"])


def sweep(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    output: str | Path = "reports",
    engine: Literal["process", "dask"] = "process",
    scheduler: str | None = None,
    scheduler_file: str | Path | None = None,
    workers: int | None = None,
    fresh: bool = False,
    offline: bool = False,
    max_trials: int | None = MAX_UNCONFIRMED_TRIALS,
) -> SweepResult:
    """Try every combination of a grid, and judge the best with all of them counted.

    Parameters
    ----------
    source : path of a sweep's YAML file, or the mapping that it would hold.
    overrides : values by dotted key, set on top of the base config.
    output : folder to write the report into, as ``output/NAME``; its ledger has every trial, and what each came to is
        kept in ``output/.trials``, so that a sweep that was interrupted goes on where it was.
    engine : "process" for processes on this machine, "dask" for a cluster. A script must call this under
        ``if __name__ == "__main__":``, since each process reads the script anew.
    scheduler, scheduler_file : a running Dask scheduler; without one, "dask" starts a cluster on this machine.
    jobs : number of processes on this machine; as many as there are cores unless told. Results don't depend on it.
    fresh : whether to evaluate anew what is kept already.
    offline : whether to do without the network.
    limit : most trials that are done without asking; None for no limit.

    Raises
    ------
    UserError : what can be mended in the sweep, a config or the data; a trial that fails is a row and no error.
    Fault : the network, the disk, the cluster or another program is in the way.

    Examples
    --------
    >>> import quantlr
    >>> found = quantlr.sweep("configs/sweeps/lags.yaml")  # doctest: +SKIP
    >>> found.trials.head()  # doctest: +SKIP
    """
    loaded = load_sweep(source, overrides=overrides)
    trials = len(loaded.trial_numbers)
    if max_trials is not None and trials > max_trials:
        raise UserError(
            f"{trials:,} trials, over the limit of {max_trials:,}; raise the limit, or draw some with sample"
        )
    file = None if scheduler_file is None else Path(scheduler_file)
    opened = make_engine_factory(engine, workers=workers, scheduler=scheduler, scheduler_file=file)
    return run_sweep(loaded, SweepOptions(Path(output), opened, offline=offline, fresh=fresh))


def make_engine_factory(
    engine_name: Literal["process", "dask"], *, workers: int | None, scheduler: str | None, scheduler_file: Path | None
) -> Callable[[], Engine]:
    """Return what opens the workers.

    Raises
    ------
    UserError : a scheduler is named for processes of this machine.
    """
    workers = workers or available_cores()
    if engine_name == "process":
        if scheduler or scheduler_file:
            raise UserError("--scheduler and --scheduler-file are for --engine dask; add it")
        return SerialEngine if workers == 1 else partial(ProcessEngine, workers)
    from quantlr.sweep.cluster import DaskEngine

    return partial(DaskEngine, workers, scheduler=scheduler, scheduler_file=scheduler_file)


def run_sweep(sweep: Sweep, options: SweepOptions) -> SweepResult:
    """Do a loaded sweep, and write its report."""
    ledger = Ledger.from_output_folder(options.output_folder)
    check_report_target(options.output_folder, sweep.spec.name)
    ledger.require_usable()
    data = {
        StageDigests.from_config(config.run).data: config.run.model_dump(mode="json")["data"]
        for _, config in sweep.iter_trial_configs()
    }
    make_reports_dir(options.output_folder, sweep.spec.name)
    with SweepScheduler(sweep, options, ledger) as desk:
        cut = desk.find_holdout_start(data)
        plan = desk.make_plan(cut)
        ledger.record_pending_trials(desk.iter_ledger_trials(plan))
        failures = desk.evaluate_trials(plan)
        results = collect_trial_results(
            desk.store,
            plan.trial_numbers,
            plan.result_keys,
            failures,
            make_error_text=desk.trial_error_text,
            seed=sweep.spec.seed,
        )
        ledger.record_trial_results(desk.iter_ledger_trials(plan, results))
    finding = _make_sweep_report(sweep, options, ledger, plan, results)
    files, summary, table = make_sweep_files(finding)
    folder = write_report(Report(sweep.spec.name, files), options.output_folder)
    from quantlr.report.gallery import write_gallery  # matplotlib: no worker needs it

    write_gallery(options.output_folder)
    return SweepResult(sweep.spec.name, summary, table, folder)


def _make_sweep_report(
    sweep: Sweep, options: SweepOptions, ledger: Ledger, plan: SweepPlan, results: TrialResults
) -> SweepReport:
    """Name the winner, show it the span that no trial has seen, and count luck out."""
    winner = results.winner_index
    tried, shown = TrialStatistics(len(results.metrics), None), WinnerBacktest(None, None)
    per_year = 252.0
    if winner is not None:
        config = sweep.trial_config(plan.trial_numbers[winner])
        per_year = float(config.run.report.sessions_per_year)
        tried = _collect_trial_statistics(sweep, options, ledger, plan, results, winner)
        shown = _backtest_winner(config, options)
    judgement = compute_sweep_statistics(results, tried, seed=sweep.spec.seed)
    untouched = (
        None
        if plan.holdout_start is None or shown.result is None
        else evaluate_holdout(shown.result, plan.holdout_start, per_year)
    )
    verdict = sweep_verdict(results, judgement, untouched, per_year)
    return SweepReport(
        sweep, plan.holdout_start, plan.trial_numbers, results, judgement, shown, untouched, verdict, per_year
    )


def _backtest_winner(winner_config: LoadedConfig, options: SweepOptions) -> WinnerBacktest:
    """Return what the winner comes to over all dates, those that no trial has seen included."""
    try:
        with winner_config.add_location_to_errors():
            prices = load_prices(winner_config.run.data, offline=options.offline)
            return WinnerBacktest(run_stages(winner_config.run, prices).result, None)
    except UserError as error:
        return WinnerBacktest(None, error.message)


def _collect_trial_statistics(
    sweep: Sweep, options: SweepOptions, ledger: Ledger, plan: SweepPlan, results: TrialResults, winner_index: int
) -> TrialStatistics:
    """Return what is known of all trials of the sweep, and of those of the ledger that are like the winner.

    The winner's own run over all dates is no further trial.
    """
    ratios: dict[str, float | None] = {}
    others: dict[str, float | None] = {}
    desk = SweepScheduler(sweep, options, ledger)
    for at, trial in enumerate(desk.iter_ledger_trials(plan, results)):
        ratios[trial.id] = trial.sharpe
        if at == winner_index:
            own = Trial.from_config(sweep.trial_config(plan.trial_numbers[at]).run, data_sha256=trial.data_sha256)
            others = {key: ratio for key, ratio in ledger.related_sharpe_ratios(trial).items() if key != own.id}
    every = others | ratios
    return TrialStatistics.from_sharpe_ratios(every[key] for key in sorted(every))
