"""A sweep from its file to its report: counted, checked, registered, evaluated, and only then judged."""

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

from quantlr.config import Config
from quantlr.data.universe import load_prices
from quantlr.errors import DataError, QuantlrError, UserError
from quantlr.pipeline import calculate
from quantlr.processes import available
from quantlr.report.folder import make_output, require_place, write_report
from quantlr.sweep.executors import Engine, Here, Processes, done
from quantlr.sweep.grid import Sweep, load_sweep, until
from quantlr.sweep.jobs import Job, Keys, Task, digest, grouped, versions
from quantlr.sweep.results import Finding, Shown, files_of
from quantlr.sweep.store import Store
from quantlr.sweep.summary import Results, gathered, judged, untouched_of, verdict_of
from quantlr.sweep.work import Inquiry, Outcome, Surveyed, evaluate, survey
from quantlr.trials import Ledger, Trial, Tried
from quantlr.types import IntArray, Report

ASK = 10_000
"""Trials from which on a sweep asks before it begins."""
FEW = 2
"""Sets of prices that this process looks at itself: others take a second to start."""


class Watch(Protocol):
    """Hears how far a sweep has come."""

    def begun(self, sweep: Sweep, *, waiting: int, dashboard: str | None) -> None:
        """Hear that `waiting` of the sweep's trials are to be evaluated, and where that can be watched."""

    def done(self, *, done: int, total: int, failed: int) -> None:
        """Hear that `done` of `total` trials are over, `failed` of them without a result."""


class Unwatched:
    """Hears it and does nothing."""

    def begun(self, sweep: Sweep, *, waiting: int, dashboard: str | None) -> None:
        """Do nothing."""

    def done(self, *, done: int, total: int, failed: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a sweep is done; its results depend on nothing of it.

    Attributes
    ----------
    output : folder of reports, with its ledger and the results of trials.
    engine : opens the workers.
    offline : whether to do without the network.
    fresh : whether to evaluate anew what is kept already.
    watch : hears how far it has come.
    """

    output: Path
    engine: Callable[[], Engine]
    offline: bool = False
    fresh: bool = False
    watch: Watch = field(default_factory=Unwatched)


@dataclass(frozen=True, slots=True, repr=False)
class Swept:
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
    jobs: int | None = None,
    fresh: bool = False,
    offline: bool = False,
    limit: int | None = ASK,
) -> Swept:
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
    trials = len(loaded.chosen)
    if limit is not None and trials > limit:
        raise UserError(f"{trials:,} trials, over the limit of {limit:,}; raise the limit, or draw some with sample")
    file = None if scheduler_file is None else Path(scheduler_file)
    opened = engine_of(engine, jobs=jobs, scheduler=scheduler, scheduler_file=file)
    return run_sweep(loaded, Setting(Path(output), opened, offline=offline, fresh=fresh))


def engine_of(
    name: Literal["process", "dask"], *, jobs: int | None, scheduler: str | None, scheduler_file: Path | None
) -> Callable[[], Engine]:
    """Return what opens the workers.

    Raises
    ------
    UserError : a scheduler is named for processes of this machine.
    """
    workers = jobs or available()
    if name == "process":
        if scheduler or scheduler_file:
            raise UserError("--scheduler and --scheduler-file are for --engine dask; add it")
        return Here if workers == 1 else partial(Processes, workers)
    from quantlr.sweep.cluster import Cluster

    return partial(Cluster, workers, scheduler=scheduler, scheduler_file=scheduler_file)


def run_sweep(loaded: Sweep, setting: Setting) -> Swept:
    """Do a loaded sweep, and write its report."""
    ledger = Ledger.of(setting.output)
    require_place(setting.output, loaded.spec.name)
    ledger.check()
    data = {Keys.of(config.run).data: config.run.model_dump(mode="json")["data"] for _, config in loaded.configs()}
    make_output(setting.output, loaded.spec.name)
    with _Desk(loaded, setting, ledger) as desk:
        cut = desk.cut(data)
        plan = desk.planned(cut)
        ledger.begin(desk.trials(plan))
        failures = desk.evaluated(plan)
        results = gathered(desk.store, plan.numbers, plan.keys, failures, told=desk.told, seed=loaded.spec.seed)
        ledger.finish(desk.trials(plan, results))
    finding = _judge(loaded, setting, ledger, plan, results)
    files, summary, table = files_of(finding)
    folder = write_report(Report(loaded.spec.name, files), setting.output)
    from quantlr.report.gallery import write_gallery  # matplotlib: no worker needs it

    write_gallery(setting.output)
    return Swept(loaded.spec.name, summary, table, folder)


@dataclass(frozen=True, slots=True)
class Plan:
    """The trials of a sweep, ready to be evaluated.

    Attributes
    ----------
    cut : first date that no trial sees; None where all see everything.
    numbers : (trials,) of the combinations.
    jobs : (trials,) None where the prices can't be had.
    sha256 : (trials,) of the prices; empty where they can't be had.
    failures : why a trial has no job, by position.
    """

    cut: dt.date | None
    numbers: Sequence[int]
    jobs: tuple[Job | None, ...]
    sha256: tuple[str, ...]
    failures: dict[int, str]

    @property
    def keys(self) -> list[str | None]:
        """(trials,) what each one's result is kept under; None where there is no job."""
        return [None if job is None else job.key for job in self.jobs]


class _Desk:
    """Where a sweep's work is handed out: one engine, opened when it is first needed."""

    def __init__(self, loaded: Sweep, setting: Setting, ledger: Ledger) -> None:
        self.loaded, self.setting, self.ledger = loaded, setting, ledger
        self.versions = versions()
        self.store = Store.of(setting.output)
        self._engine: Engine | None = None

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.stop()

    @property
    def engine(self) -> Engine:
        """The workers."""
        if self._engine is None:
            self._engine = self.setting.engine()
        return self._engine

    def surveyed(self, data: Mapping[str, dict[str, Any]]) -> dict[str, Surveyed]:
        """Return what there is of some prices, by their key."""
        inquiries = [Inquiry(key, plain, self.setting.offline, self.versions) for key, plain in data.items()]
        engine: Engine = Here() if len(inquiries) <= FEW else self.engine

        def lost(_: Inquiry, why: str) -> Surveyed:
            return Surveyed("", np.zeros(0, dtype=np.int64), why)

        answers = done(engine, survey, inquiries, apart=lambda inquiry: [inquiry], failed=lost)
        return {inquiry.key: answer for inquiry, answer in answers}

    def cut(self, data: Mapping[str, dict[str, Any]]) -> dt.date | None:
        """Return the first date that no trial sees; None where none is kept back."""
        wanted = self.loaded.spec.untouched
        if isinstance(wanted, dt.date):
            return wanted
        if wanted == 0:
            return None
        answers = self.surveyed(data)
        first = first_untouched([answer.sessions for answer in answers.values() if len(answer.sessions)], wanted)
        if first is None:
            raise DataError(next(str(answer.error) for answer in answers.values()))
        return dt.date(1970, 1, 1) + dt.timedelta(days=first)

    def configs(self, cut: dt.date | None) -> Iterator[tuple[int, Config]]:
        """Yield the trials' configs, which end before the cut."""
        for number, config in self.loaded.configs():
            last = None if cut is None else cut - dt.timedelta(days=1)
            yield number, config if last is None else replace(config, run=until(config.run, last))

    def planned(self, cut: dt.date | None) -> Plan:
        """Return the trials as jobs, each under the digest of all that it depends on."""
        specs: dict[str, dict[str, Any]] = {}
        keys: list[Keys] = []
        for _, config in self.configs(cut):
            found = Keys.of(config.run)
            specs.setdefault(found.data, config.run.model_dump(mode="json")["data"])
            keys.append(found)
        seen = self.surveyed(specs)
        jobs: list[Job | None] = []
        failures: dict[int, str] = {}
        for at, (number, key) in enumerate(zip(self.loaded.chosen, keys, strict=True)):
            answer = seen[key.data]
            if answer.error is not None:
                failures[at] = self.told(number, answer.error, answer.mends)
                jobs.append(None)
                continue
            whole = digest(key.whole, answer.sha256, self.versions)
            jobs.append(Job(number, whole, key.data, digest(key.model, answer.sha256)))
        sha256 = tuple(seen[key.data].sha256 for key in keys)
        return Plan(cut, self.loaded.chosen, tuple(jobs), sha256, failures)

    def told(self, number: int, error: str, mends: str | None) -> str:
        """Return why a trial failed, with the place of the key that would mend it."""
        return self.loaded.config(number).locate(QuantlrError(error, key=mends)).message

    def trials(self, plan: Plan, results: Results | None = None) -> Iterator[Trial]:
        """Yield the trials as the ledger has them, with what came of them once there are results."""
        for at, (_, config) in enumerate(self.configs(plan.cut)):
            about = results.about[at] if results else {}
            yield Trial.of(
                config.run,
                data_sha256=plan.sha256[at],
                sharpe=about.get("sharpe_per_session"),
                sessions=about.get("sessions"),
                error=about.get("error"),
            )

    def evaluated(self, plan: Plan) -> dict[int, str]:
        """Evaluate every trial whose result is not kept yet; return why nothing is kept of some, by position."""
        positions = {job.key: at for at, job in enumerate(plan.jobs) if job is not None}
        failures, total = dict(plan.failures), len(plan.jobs)
        waiting, failed = [], len(failures)
        for job in plan.jobs:
            kept = None if job is None or self.setting.fresh else self.store.read(job.key)
            if job is not None and kept is None:
                waiting.append(job)
            failed += kept is not None and kept.error is not None
        over, watch = total - len(waiting), self.setting.watch
        watch.begun(self.loaded, waiting=len(waiting), dashboard=self.engine.dashboard if waiting else None)
        watch.done(done=over, total=total, failed=failed)
        for outcome in self._outcomes(waiting, plan.cut) if waiting else ():
            at = positions[outcome.key]
            if outcome.content is not None:
                self.store.keep(outcome.key, outcome.content)
            elif outcome.error is not None:
                failures[at] = self.told(plan.numbers[at], outcome.error, outcome.mends)
            over += 1
            failed += outcome.error is not None
            watch.done(done=over, total=total, failed=failed)
        return failures

    def _outcomes(self, waiting: Sequence[Job], cut: dt.date | None) -> Iterator[Outcome]:
        """Yield what comes of jobs, in the order in which they are done."""

        def lost(task: Task, why: str) -> list[Outcome]:
            return [Outcome(key, None, why) for key in task.keys]

        tasks = (self._task(jobs, cut) for jobs in grouped(waiting, workers=self.engine.workers))
        for _, outcomes in done(self.engine, evaluate, tasks, apart=Task.apart, failed=lost):
            yield from outcomes

    def _task(self, jobs: Sequence[Job], cut: dt.date | None) -> Task:
        last = None if cut is None else cut - dt.timedelta(days=1)
        configs = (self.loaded.config(job.number).run for job in jobs)
        plain = tuple((until(one, last) if last else one).model_dump(mode="json") for one in configs)
        return Task(tuple(job.key for job in jobs), plain, self.setting.offline, self.versions)


def first_untouched(found: Sequence[IntArray], share: float) -> int | None:
    """Return the first session that no trial sees, None where there are no sessions at all.

    The sessions of all prices together count, up to the end of the median of them: where some tickers go on for years
    after the others have ended, the share is not of years that only those have.
    """
    if not found:
        return None
    last = sorted(int(sessions[-1]) for sessions in found)[(len(found) - 1) // 2]
    together: IntArray = np.zeros(0, dtype=np.int64)
    for sessions in found:
        together = np.union1d(together, sessions[sessions <= last])
    return int(together[min(math.ceil((1 - share) * len(together)), len(together) - 1)])


def _judge(loaded: Sweep, setting: Setting, ledger: Ledger, plan: Plan, results: Results) -> Finding:
    """Name the winner, show it the span that no trial has seen, and count luck out."""
    winner = results.winner
    tried, shown = Tried(len(results.about), None), Shown(None, None)
    per_year = 252.0
    if winner is not None:
        config = loaded.config(plan.numbers[winner])
        per_year = float(config.run.report.sessions_per_year)
        tried = _tried(loaded, setting, ledger, plan, results, winner)
        shown = _shown(config, setting)
    judgement = judged(results, tried, seed=loaded.spec.seed)
    untouched = None if plan.cut is None or shown.result is None else untouched_of(shown.result, plan.cut, per_year)
    verdict = verdict_of(results, judgement, untouched, per_year)
    return Finding(loaded, plan.cut, plan.numbers, results, judgement, shown, untouched, verdict, per_year)


def _shown(config: Config, setting: Setting) -> Shown:
    """Return what the winner comes to over all dates, those that no trial has seen included."""
    try:
        with config.locating():
            prices = load_prices(config.run.data, offline=setting.offline)
            return Shown(calculate(config.run, prices).result, None)
    except UserError as error:
        return Shown(None, error.message)


def _tried(loaded: Sweep, setting: Setting, ledger: Ledger, plan: Plan, results: Results, winner: int) -> Tried:
    """Return what is known of all trials of the sweep, and of those of the ledger that are like the winner.

    The winner's own run over all dates is no further trial.
    """
    ratios: dict[str, float | None] = {}
    others: dict[str, float | None] = {}
    desk = _Desk(loaded, setting, ledger)
    for at, trial in enumerate(desk.trials(plan, results)):
        ratios[trial.id] = trial.sharpe
        if at == winner:
            own = Trial.of(loaded.config(plan.numbers[at]).run, data_sha256=trial.data_sha256)
            others = {key: ratio for key, ratio in ledger.together(trial).items() if key != own.id}
    every = others | ratios
    return Tried.of(every[key] for key in sorted(every))
