"""The desk of a sweep: what is to be done, handed out to workers, and what they bring back put away."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quantlr.config import Config
from quantlr.errors import DataError, QuantlrError
from quantlr.sweep.executors import Engine, Here, done
from quantlr.sweep.grid import Sweep, until
from quantlr.sweep.jobs import Job, Keys, Task, digest, grouped, versions
from quantlr.sweep.store import Store
from quantlr.sweep.summary import Results
from quantlr.sweep.work import Inquiry, Outcome, Surveyed, evaluate, survey
from quantlr.trials import Ledger, Trial
from quantlr.types import IntArray

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


class Desk:
    """Where a sweep's work is handed out: one engine, opened when it is first needed."""

    def __init__(self, loaded: Sweep, setting: Setting, ledger: Ledger) -> None:
        self.loaded, self.setting, self.ledger = loaded, setting, ledger
        self.versions = versions()
        self.store = Store.of(setting.output)
        self._engine: Engine | None = None

    def __enter__(self) -> Desk:
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
            yield number, replace(config, run=until(config.run, _before(cut)))

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
        keys, values = (job.key for job in jobs), (self.loaded.values_of(job.number) for job in jobs)
        base = self.loaded.base.value
        return Task(tuple(keys), base, tuple(values), _before(cut), self.setting.offline, self.versions)


def _before(cut: dt.date | None) -> dt.date | None:
    return None if cut is None else cut - dt.timedelta(days=1)


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
