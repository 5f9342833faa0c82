"""A sweep from its loaded grid to its report: trials are sent to workers, and their results are stored and compared."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from quantlr.backtest.benchmark import benchmark_name
from quantlr.config.run_config import RunConfig
from quantlr.core.component_errors import classes_not_importable_elsewhere
from quantlr.core.engines.local import Engine, ProcessEngine, SerialEngine, iter_task_results
from quantlr.core.errors import DataError, UserError
from quantlr.core.parallel import allowed_worker_count, available_core_count, end_if_worker_imports_script
from quantlr.core.values import IntArray, Report
from quantlr.data.features import Feature
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.report.pages.sweep import SweepPageContext
from quantlr.report.storage import check_report_target, make_reports_dir, write_report
from quantlr.stats.family_wise import RunningMaxima, TrialFamily
from quantlr.sweeps.analysis import collect_trial_results, compute_sweep_statistics, sweep_verdict
from quantlr.sweeps.grid import Sweep, load_sweep
from quantlr.sweeps.output import SweepReport, make_sweep_files, trial_metric_sections
from quantlr.sweeps.trials import (
    TRIALS_FOLDER_NAME,
    StageDigests,
    TrialRecord,
    TrialStore,
    environment_versions,
    group_trials_into_tasks,
    sha256_of_json,
)
from quantlr.sweeps.winner import WinnerEvaluation, evaluate_winner
from quantlr.sweeps.worker import PriceSummary, evaluate_task, summarize_prices

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection

MAX_LOCAL_PRICE_REQUESTS = 2
"""Sets of prices that this process reads itself; a worker process takes a second to start."""
MAX_UNCONFIRMED_TRIALS = 10_000
"""Trials above which a sweep needs a confirmation."""


class SweepObserver(Protocol):
    """Object that is informed of a sweep's progress."""

    def on_start(self, sweep: Sweep, *, n_waiting: int, dashboard_url: str | None) -> None:
        """Receive the number of trials to evaluate, and the address at which the workers can be watched."""

    def on_progress(self, *, n_done: int, n_total: int, n_failed: int) -> None:
        """Receive the number of trials that are done, and how many of them failed."""


class SilentSweepObserver(SweepObserver):
    """Observer that shows nothing."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a sweep is run; its results do not depend on it.

    Attributes
    ----------
    output_folder : folder of reports, with the ledger and the stored results of trials.
    make_engine : starts the workers.
    offline : whether to do without the network.
    fresh : whether to evaluate trials again whose results are stored.
    observer : is informed of the progress.
    """

    output_folder: Path
    make_engine: Callable[[], Engine]
    offline: bool = False
    fresh: bool = False
    observer: SweepObserver = field(default_factory=SilentSweepObserver)


class SweepScheduler(AbstractContextManager["SweepScheduler"]):
    """Sends the work of one sweep to an engine, which is started when it is first needed."""

    def __init__(self, sweep: Sweep, options: SweepOptions) -> None:
        self.sweep, self.options = sweep, options
        self.required_versions = environment_versions()
        self.store = TrialStore(options.output_folder / TRIALS_FOLDER_NAME)
        self.price_keys_by_digest: dict[str, tuple[int, ...]] = {}
        self._engines = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._engines.close()

    @cached_property
    def engine(self) -> Engine:
        """The workers."""
        return self._engines.enter_context(self.options.make_engine())

    def read_price_summaries_by_digest(self, config_by_digest: Mapping[str, RunConfig]) -> dict[str, PriceSummary]:
        """Return digest and sessions of some prices, by the digest of their request."""
        is_small = len(config_by_digest) <= MAX_LOCAL_PRICE_REQUESTS
        summaries = iter_task_results(
            SerialEngine() if is_small else self.engine,
            partial(summarize_prices, offline=self.options.offline, required_versions=self.required_versions),
            config_by_digest.items(),
            split_task=lambda request: [request],
            make_failed_result=lambda _, error: PriceSummary("", np.zeros(0, dtype=np.int64), error=error),
        )
        return {digest: summary for (digest, _), summary in summaries}

    def find_holdout_start(self, config_by_digest: Mapping[str, RunConfig]) -> dt.date | None:
        """Return the first date of the hold-out; None where there is none."""
        holdout = self.sweep.spec.holdout
        if isinstance(holdout, dt.date):
            return holdout
        if holdout == 0:
            return None
        summaries = self.read_price_summaries_by_digest(config_by_digest).values()
        first = first_holdout_session_day([summary.session_days for summary in summaries], holdout)
        if first is None:
            raise DataError(next(str(summary.error) for summary in summaries))
        return dt.date(1970, 1, 1) + dt.timedelta(days=first)

    def prepare_trial_records(self) -> list[TrialRecord]:
        """Return the trials before they are evaluated; one whose prices can't be read has an error already."""
        config_by_digest: dict[str, RunConfig] = {}
        digests: list[tuple[int, StageDigests]] = []
        for number, config in self.sweep.iter_trial_configs():
            stage_digests = StageDigests.from_config(config.run, session_token=self.sweep.session_token)
            config_by_digest.setdefault(stage_digests.data, config.run)
            digests.append((number, stage_digests))
        summaries = self.read_price_summaries_by_digest(config_by_digest)
        self.price_keys_by_digest = {digest: summary.price_keys for digest, summary in summaries.items()}
        trials, metric_keys = [], list(trial_metric_sections())
        for number, stage_digests in digests:
            prices, values = summaries[stage_digests.data], self.sweep.trial_values_by_key(number)
            model_digest = sha256_of_json(stage_digests.model, prices.data_sha256)
            result_key = sha256_of_json(stage_digests.config, prices.data_sha256, self.required_versions, metric_keys)
            record = TrialRecord(number, values, stage_digests.data, model_digest, prices.data_sha256, result_key)
            trials.append(replace(record, error=prices.error, config_key=prices.config_key))
        return trials

    def ledger_trial(self, record: TrialRecord) -> Trial:
        """Return a trial as the ledger records it, with its result if it is evaluated."""
        result = None
        if record.error is None and record.metrics:
            _, returns = self.store.require_record_and_returns(record)
            sessions = pd.DatetimeIndex(returns.session_days.astype("datetime64[D]"))
            per_year = record.metrics["sessions_per_year"]
            result = TrialResult.from_returns(*returns.excess_returns(np.zeros(0, dtype=np.int64)), sessions, per_year)
        return Trial.from_config(
            self.sweep.trial_config(record.number).run,
            data_sha256=record.data_sha256,
            price_keys=self.price_keys_by_digest[record.data_digest],
            result=result,
            error=record.error,
        )

    def evaluate_trials(self, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Evaluate every trial whose result is not stored yet, and store it.

        Returns the trials, with an error for those of which no result could be stored.
        """
        waiting, n_failed = [], sum(trial.error is not None for trial in trials)
        for trial in trials:
            is_read = trial.error is None and not self.options.fresh
            stored = self.store.read_record_and_returns(trial) if is_read else None
            if stored is not None:
                n_failed += stored[0].error is not None
            elif trial.error is None:
                waiting.append(trial)
        n_done, observer = len(trials) - len(waiting), self.options.observer
        dashboard_url = self.engine.dashboard_url if waiting else None
        observer.on_start(self.sweep, n_waiting=len(waiting), dashboard_url=dashboard_url)
        observer.on_progress(n_done=n_done, n_total=len(trials), n_failed=n_failed)
        not_stored: dict[str, TrialRecord] = {}
        for trial in self._iter_evaluated_trials(waiting) if waiting else ():
            if trial.file_bytes is None:
                not_stored[trial.result_key] = trial
            else:
                self.store.write_result_file(trial.result_key, trial.file_bytes)
            n_done += 1
            n_failed += trial.error is not None
            observer.on_progress(n_done=n_done, n_total=len(trials), n_failed=n_failed)
        return [not_stored.get(trial.result_key, trial) for trial in trials]

    def _iter_evaluated_trials(self, trials: list[TrialRecord]) -> Iterator[TrialRecord]:
        """Yield trials with their result files or errors, in the order in which they are done."""
        evaluate = partial(
            evaluate_task,
            sweep=replace(self.sweep, trial_numbers=()),  # which may be many, and are not needed
            offline=self.options.offline,
            required_versions=self.required_versions,
        )
        results = iter_task_results(
            self.engine,
            evaluate,
            group_trials_into_tasks(trials, workers=self.engine.workers),
            split_task=lambda task: [(trial,) for trial in task],
            make_failed_result=lambda task, error: [replace(trial, error=error) for trial in task],
        )
        for _, evaluated in results:
            yield from evaluated


def first_holdout_session_day(session_arrays: Iterable[IntArray], holdout_fraction: float) -> int | None:
    """Return the first session of the hold-out as days since 1970; None where there are no sessions at all.

    The fraction is of the sessions of all prices together, up to the median of their last sessions: where some tickers
    go on for years after the others have ended, those years do not count.
    """
    arrays = [sessions for sessions in session_arrays if len(sessions)]
    if not arrays:
        return None
    last = sorted(int(sessions[-1]) for sessions in arrays)[(len(arrays) - 1) // 2]
    sessions = np.unique(np.concatenate([sessions[sessions <= last] for sessions in arrays]))
    return int(sessions[min(math.ceil((1 - holdout_fraction) * len(sessions)), len(sessions) - 1)])


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """Result of a sweep.

    Attributes
    ----------
    name : of the sweep.
    summary : statistics of all trials together, keyed as in ``sweep.json``.
    trials : one row per trial, the best first, with the columns of ``trials.csv``.
    folder : of its report.
    page_context : what its page shows.
    """

    name: str
    summary: dict[str, Any]
    trials: pd.DataFrame
    folder: Path
    page_context: SweepPageContext

    def __repr__(self) -> str:
        return f"<SweepResult {self.name}: {self.verdict}>"

    @property
    def verdict(self) -> str:
        """Verdict on the best trial, in one sentence."""
        return str(self.summary["verdict"]["sentence"])

    @property
    def figures(self) -> FigureCollection:
        """The panels of ``sweep.png`` as figures of matplotlib, by name, as `Run.figures`."""
        from quantlr.report.figures import FigureCollection
        from quantlr.report.pages.sweep import sweep_panels

        return FigureCollection((placed.panel, self.page_context) for placed in sweep_panels(self.page_context))


def sweep(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    name: str | None = None,
    output: str | Path = "reports",
    engine: Literal["process", "dask"] = "process",
    scheduler: str | None = None,
    scheduler_file: str | Path | None = None,
    workers: int | None = None,
    fresh: bool = False,
    offline: bool = False,
    max_trials: int | None = MAX_UNCONFIRMED_TRIALS,
) -> SweepResult:
    """Try every combination of a grid, and judge the best one with all trials counted.

    Parameters
    ----------
    config : path of a YAML file, or the mapping that it would contain: that of a sweep, with the config that is varied
        under ``base`` and the values to try under ``grid``.
    overrides : values by dotted key that replace those of the config under ``base``: ``{"policy.long_above": 0.52}``.
    features : feature objects of your own, added to the config's unless it lists them already, in every trial. Stored
        results are used again only while the files that define their classes stay the same.
    data : prices to use instead of the config's source, as in `quantlr.load_config`; each process
        gets a copy.
    name : name of the report, instead of the config's.
    output : folder of reports. The report is written into ``output/NAME``; the folder's ledger records every trial,
        and the results of trials are stored in ``output/.trials``, so that an interrupted sweep is resumed.
    engine : "process" for processes on this machine, "dask" for a cluster.
    scheduler : address of a running Dask scheduler; without one and without its file, "dask" starts a cluster on this
        machine.
    scheduler_file : file that a running Dask scheduler wrote its address to.
    workers : number of processes; results do not depend on it. With more than one, a script must call this under
        ``if __name__ == "__main__":``, since each process imports the script. None takes the number of cores; one if
        an object's class is defined in a notebook or inside a function, where other processes can't import it.
    fresh : whether to evaluate trials again whose results are stored.
    offline : whether to use stored prices only, without the network.
    max_trials : number of trials above which an error is raised; None for no limit.

    Returns
    -------
    result : the table of trials, the best first, with the statistics of all trials together.

    Raises
    ------
    UserError : an error in the sweep, a config or the data; a trial that fails is a row and raises nothing.
    Fault : the network, the disk, the cluster or another program prevents the sweep.

    Examples
    --------
    >>> import quantlr
    >>> result = quantlr.sweep("configs/sweeps/lags.yaml")  # doctest: +SKIP
    >>> result.trials.head()  # doctest: +SKIP
    """
    end_if_worker_imports_script()  # before anything is written
    loaded = load_sweep(config, overrides=overrides, features=features, data=data, name=name)
    n_trials = len(loaded.trial_numbers)
    if max_trials is not None and n_trials > max_trials:
        raise UserError(
            f"{n_trials:,} trials, over the limit of {max_trials:,}; raise max_trials, or draw a sample with sample"
        )
    file = None if scheduler_file is None else Path(scheduler_file)
    if names := classes_not_importable_elsewhere(loaded.iter_user_defined_components()):
        if engine == "dask" or (workers or 1) > 1:
            raise UserError(
                f"other processes can't import {', '.join(names)}, defined in a notebook or inside a function; move "
                "it into a module of its own and import it from there, or use workers=1"
            )
        workers = 1
    make_engine = make_engine_factory(engine, workers=workers, scheduler=scheduler, scheduler_file=file)
    return run_sweep(loaded, SweepOptions(Path(output), make_engine, offline=offline, fresh=fresh))


def make_engine_factory(
    engine_name: Literal["process", "dask"], *, workers: int | None, scheduler: str | None, scheduler_file: Path | None
) -> Callable[[], Engine]:
    """Return a function that starts the workers.

    Raises
    ------
    UserError : a scheduler is named for processes of this machine.
    """
    workers = allowed_worker_count(workers or available_core_count())
    if engine_name == "process":
        if scheduler or scheduler_file:
            raise UserError("--scheduler and --scheduler-file are for --engine dask; add it")
        return SerialEngine if workers == 1 else partial(ProcessEngine, workers)
    from quantlr.core.engines.dask import DaskEngine

    start_engine = partial(DaskEngine, workers, required_versions=environment_versions())
    return partial(start_engine, scheduler=scheduler, scheduler_file=scheduler_file)


def run_sweep(sweep: Sweep, options: SweepOptions) -> SweepResult:
    """Run a loaded sweep, and write its report."""
    spec, output_folder = sweep.spec, options.output_folder
    ledger = Ledger.from_output_folder(output_folder)
    check_report_target(output_folder, spec.name)
    ledger.require_usable()
    config_by_digest: dict[str, RunConfig] = {}
    benchmark_names, config_digests = set(), []
    for _, config in sweep.iter_trial_configs():
        digests = StageDigests.from_config(config.run, session_token=sweep.session_token)
        config_by_digest[digests.data] = config.run
        config_digests.append(digests.config)
        benchmark_names.add(benchmark_name(config.run.report.benchmark))
    sweep_sha256 = sha256_of_json(sorted(config_digests))
    benchmark = benchmark_names.pop() if len(benchmark_names) == 1 else "the benchmark"
    make_reports_dir(output_folder, spec.name)
    with SweepScheduler(sweep, options) as scheduler:
        holdout_start = scheduler.find_holdout_start(config_by_digest)
        if holdout_start is not None:
            scheduler.sweep = replace(sweep, last_date=holdout_start - dt.timedelta(days=1))
        trials = scheduler.prepare_trial_records()
        ledger.record_pending_trials(map(scheduler.ledger_trial, trials))
        trials = scheduler.evaluate_trials(trials)
        results = collect_trial_results(scheduler.store, sweep, trials)
        ledger.record_trial_results(map(scheduler.ledger_trial, results.trials))
    winner, per_year = results.winner_index, 252.0
    family, evaluation = TrialFamily(len(trials), RunningMaxima.of_trials(())), WinnerEvaluation()
    if winner is not None:
        record = results.trials[winner]
        per_year = float(record.metrics["sessions_per_year"])
        family = ledger.read_family([scheduler.ledger_trial(record)])
        evaluation = evaluate_winner(
            scheduler.sweep, record.number, family, ledger, sweep_sha256=sweep_sha256, offline=options.offline
        )
    statistics = compute_sweep_statistics(results, family, seed=spec.seed, sessions_per_year=per_year)
    verdict = sweep_verdict(results, statistics, evaluation.verdict, evaluation.holdout, per_year, benchmark)
    files, summary, table, page_context = make_sweep_files(
        SweepReport(
            sweep,
            holdout_start,
            results,
            statistics,
            evaluation.result,
            evaluation.error,
            evaluation.holdout,
            verdict,
            per_year,
            benchmark,
        ),
        output_folder / spec.name,
    )
    folder = write_report(Report(spec.name, files), output_folder)
    if evaluation.holdout is not None:
        ledger.record_holdout_look(evaluation.price_keys, evaluation.holdout.last, sweep_sha256=sweep_sha256)
    from quantlr.report.gallery import write_gallery

    write_gallery(output_folder)
    return SweepResult(spec.name, summary, table, folder, page_context)
