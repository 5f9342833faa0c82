"""The desk of a sweep: what is to be done, handed out to workers, and what they bring back put away."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from quantlr.config.run_config import LoadedConfig
from quantlr.core.arrays import IntArray
from quantlr.core.engines.local import Engine, ProcessEngine, SerialEngine, iter_task_results
from quantlr.core.errors import DataError, QuantlrError, UserError
from quantlr.core.parallel import available_cores
from quantlr.core.values import Report
from quantlr.data.prices import load_prices
from quantlr.experiment.ledger import Ledger, Trial, TrialStatistics
from quantlr.pipeline.stages import run_stages
from quantlr.report.storage import check_report_target, make_reports_dir, write_report
from quantlr.sweeps.analysis import (
    TrialResults,
    collect_trial_results,
    compute_sweep_statistics,
    evaluate_holdout,
    sweep_verdict,
)
from quantlr.sweeps.grid import Sweep, load_sweep, with_last_data_date
from quantlr.sweeps.jobs import (
    StageDigests,
    TrialJob,
    TrialStore,
    TrialTask,
    environment_versions,
    group_jobs,
    json_digest,
)
from quantlr.sweeps.output import SweepReport, WinnerBacktest, make_sweep_files
from quantlr.sweeps.worker import PriceRequest, PriceSummary, TrialOutcome, evaluate_task, summarize_prices

MAX_LOCAL_PRICE_REQUESTS = 2
"""Sets of prices that this process looks at itself: others take a second to start."""


class SweepObserver(Protocol):
    """Hears how far a sweep has come."""

    def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
        """Hear that `waiting` of the sweep's trials are to be evaluated, and where that can be watched."""

    def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
        """Hear that `done` of `total` trials are over, `failed` of them without a result."""


class SilentSweepObserver:
    """Hears it and does nothing."""

    def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
        """Do nothing."""

    def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a sweep is done; its results depend on nothing of it.

    Attributes
    ----------
    output : folder of reports, with its ledger and the results of trials.
    engine : opens the workers.
    offline : whether to do without the network.
    fresh : whether to evaluate anew what is kept already.
    watch : hears how far it has come.
    """

    output_folder: Path
    make_engine: Callable[[], Engine]
    offline: bool = False
    fresh: bool = False
    observer: SweepObserver = field(default_factory=SilentSweepObserver)


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """The trials of a sweep, ready to be evaluated.

    Attributes
    ----------
    cut : first date that no trial sees; None where all see everything.
    numbers : (trials,) of the combinations.
    jobs : (trials,) None where the prices can't be had.
    sha256 : (trials,) of the prices; empty where they can't be had.
    failures : why a trial has no job, by position.
    """

    holdout_start: dt.date | None
    trial_numbers: Sequence[int]
    jobs: tuple[TrialJob | None, ...]
    data_sha256: tuple[str, ...]
    errors_by_index: dict[int, str]

    @property
    def result_keys(self) -> list[str | None]:
        """(trials,) what each one's result is kept under; None where there is no job."""
        return [None if job is None else job.result_key for job in self.jobs]


class SweepScheduler:
    """Where a sweep's work is handed out: one engine, opened when it is first needed."""

    def __init__(self, sweep: Sweep, options: SweepOptions, ledger: Ledger) -> None:
        self.sweep, self.options, self.ledger = sweep, options, ledger
        self.required_versions = environment_versions()
        self.store = TrialStore.from_output_folder(options.output_folder)
        self._engine: Engine | None = None

    def __enter__(self) -> SweepScheduler:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.stop()

    @property
    def engine(self) -> Engine:
        """The workers."""
        if self._engine is None:
            self._engine = self.options.make_engine()
        return self._engine

    def price_summaries(self, data_configs: Mapping[str, dict[str, Any]]) -> dict[str, PriceSummary]:
        """Return what there is of some prices, by their key."""
        inquiries = [
            PriceRequest(key, plain, self.options.offline, self.required_versions)
            for key, plain in data_configs.items()
        ]
        engine: Engine = SerialEngine() if len(inquiries) <= MAX_LOCAL_PRICE_REQUESTS else self.engine

        def make_failed_summary(_: PriceRequest, reason: str) -> PriceSummary:
            return PriceSummary("", np.zeros(0, dtype=np.int64), reason)

        answers = iter_task_results(
            engine,
            summarize_prices,
            inquiries,
            split_task=lambda inquiry: [inquiry],
            make_failed_result=make_failed_summary,
        )
        return {inquiry.data_digest: answer for inquiry, answer in answers}

    def find_holdout_start(self, data_configs: Mapping[str, dict[str, Any]]) -> dt.date | None:
        """Return the first date that no trial sees; None where none is kept back."""
        wanted = self.sweep.spec.holdout
        if isinstance(wanted, dt.date):
            return wanted
        if wanted == 0:
            return None
        answers = self.price_summaries(data_configs)
        first = first_holdout_session(
            [answer.session_days for answer in answers.values() if len(answer.session_days)], wanted
        )
        if first is None:
            raise DataError(next(str(answer.error) for answer in answers.values()))
        return dt.date(1970, 1, 1) + dt.timedelta(days=first)

    def iter_configs_before_holdout(self, holdout_start: dt.date | None) -> Iterator[tuple[int, LoadedConfig]]:
        """Yield the trials' configs, which end before the cut."""
        for number, config in self.sweep.iter_trial_configs():
            yield number, replace(config, run=with_last_data_date(config.run, _day_before(holdout_start)))

    def make_plan(self, holdout_start: dt.date | None) -> SweepPlan:
        """Return the trials as jobs, each under the digest of all that it depends on."""
        specs: dict[str, dict[str, Any]] = {}
        keys: list[StageDigests] = []
        for _, config in self.iter_configs_before_holdout(holdout_start):
            found = StageDigests.from_config(config.run)
            specs.setdefault(found.data, config.run.model_dump(mode="json")["data"])
            keys.append(found)
        seen = self.price_summaries(specs)
        jobs: list[TrialJob | None] = []
        failures: dict[int, str] = {}
        for at, (number, key) in enumerate(zip(self.sweep.trial_numbers, keys, strict=True)):
            answer = seen[key.data]
            if answer.error is not None:
                failures[at] = self.trial_error_text(number, answer.error, answer.config_key)
                jobs.append(None)
                continue
            whole = json_digest(key.config, answer.data_sha256, self.required_versions)
            jobs.append(TrialJob(number, whole, key.data, json_digest(key.model, answer.data_sha256)))
        sha256 = tuple(seen[key.data].data_sha256 for key in keys)
        return SweepPlan(holdout_start, self.sweep.trial_numbers, tuple(jobs), sha256, failures)

    def trial_error_text(self, trial_number: int, error: str, config_key: str | None) -> str:
        """Return why a trial failed, with the place of the key that would mend it."""
        return self.sweep.trial_config(trial_number).with_location(QuantlrError(error, key=config_key)).message

    def iter_ledger_trials(self, plan: SweepPlan, results: TrialResults | None = None) -> Iterator[Trial]:
        """Yield the trials as the ledger has them, with what came of them once there are results."""
        for at, (_, config) in enumerate(self.iter_configs_before_holdout(plan.holdout_start)):
            about = results.metrics[at] if results else {}
            yield Trial.from_config(
                config.run,
                data_sha256=plan.data_sha256[at],
                sharpe=about.get("sharpe_per_session"),
                sessions=about.get("sessions"),
                error=about.get("error"),
            )

    def evaluate_trials(self, plan: SweepPlan) -> dict[int, str]:
        """Evaluate every trial whose result is not kept yet; return why nothing is kept of some, by position."""
        positions = {job.result_key: at for at, job in enumerate(plan.jobs) if job is not None}
        failures, total = dict(plan.errors_by_index), len(plan.jobs)
        waiting, failed = [], len(failures)
        for job in plan.jobs:
            kept = None if job is None or self.options.fresh else self.store.read(job.result_key)
            if job is not None and kept is None:
                waiting.append(job)
            failed += kept is not None and kept.error is not None
        over, watch = total - len(waiting), self.options.observer
        watch.on_start(self.sweep, n_waiting=len(waiting), dashboard_url=self.engine.dashboard_url if waiting else None)
        watch.on_progress(n_done=over, n_total=total, n_failed=failed)
        for outcome in self._iter_outcomes(waiting, plan.holdout_start) if waiting else ():
            at = positions[outcome.result_key]
            if outcome.file_bytes is not None:
                self.store.write(outcome.result_key, outcome.file_bytes)
            elif outcome.error is not None:
                failures[at] = self.trial_error_text(plan.trial_numbers[at], outcome.error, outcome.config_key)
            over += 1
            failed += outcome.error is not None
            watch.on_progress(n_done=over, n_total=total, n_failed=failed)
        return failures

    def _iter_outcomes(self, pending_jobs: Sequence[TrialJob], holdout_start: dt.date | None) -> Iterator[TrialOutcome]:
        """Yield what comes of jobs, in the order in which they are done."""

        def make_failed_outcomes(task: TrialTask, reason: str) -> list[TrialOutcome]:
            return [TrialOutcome(key, None, reason) for key in task.result_keys]

        tasks = (self._make_task(jobs, holdout_start) for jobs in group_jobs(pending_jobs, workers=self.engine.workers))
        for _, outcomes in iter_task_results(
            self.engine,
            evaluate_task,
            tasks,
            split_task=TrialTask.iter_single_trial_tasks,
            make_failed_result=make_failed_outcomes,
        ):
            yield from outcomes

    def _make_task(self, jobs: Sequence[TrialJob], holdout_start: dt.date | None) -> TrialTask:
        keys, values = (job.result_key for job in jobs), (self.sweep.trial_values(job.trial_number) for job in jobs)
        base = self.sweep.base_config.value
        return TrialTask(
            tuple(keys), base, tuple(values), _day_before(holdout_start), self.options.offline, self.required_versions
        )


def _day_before(date: dt.date | None) -> dt.date | None:
    return None if date is None else date - dt.timedelta(days=1)


def first_holdout_session(session_arrays: Sequence[IntArray], holdout_fraction: float) -> int | None:
    """Return the first session that no trial sees, None where there are no sessions at all.

    The sessions of all prices together count, up to the end of the median of them: where some tickers go on for years
    after the others have ended, the share is not of years that only those have.
    """
    if not session_arrays:
        return None
    last = sorted(int(sessions[-1]) for sessions in session_arrays)[(len(session_arrays) - 1) // 2]
    together: IntArray = np.zeros(0, dtype=np.int64)
    for sessions in session_arrays:
        together = np.union1d(together, sessions[sessions <= last])
    return int(together[min(math.ceil((1 - holdout_fraction) * len(together)), len(together) - 1)])


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
    from quantlr.core.engines.dask import DaskEngine

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
    from quantlr.report.gallery import write_gallery

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
