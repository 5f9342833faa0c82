"""A sweep from its file to its report: counted, checked, registered, evaluated, and only then judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from quantlr.config import Config
from quantlr.data.universe import load_prices
from quantlr.errors import UserError
from quantlr.pipeline import calculate
from quantlr.processes import available
from quantlr.report.folder import make_output, require_place, write_report
from quantlr.sweep.desk import Desk, Plan, Setting
from quantlr.sweep.executors import Engine, Here, Processes
from quantlr.sweep.grid import Sweep, load_sweep
from quantlr.sweep.jobs import Keys
from quantlr.sweep.results import Finding, Shown, files_of
from quantlr.sweep.summary import Results, gathered, judged, untouched_of, verdict_of
from quantlr.trials import Ledger, Trial, Tried
from quantlr.types import Report

ASK = 10_000
"""Trials from which on a sweep asks before it begins."""


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
    with Desk(loaded, setting, ledger) as desk:
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
    desk = Desk(loaded, setting, ledger)
    for at, trial in enumerate(desk.trials(plan, results)):
        ratios[trial.id] = trial.sharpe
        if at == winner:
            own = Trial.of(loaded.config(plan.numbers[at]).run, data_sha256=trial.data_sha256)
            others = {key: ratio for key, ratio in ledger.together(trial).items() if key != own.id}
    every = others | ratios
    return Tried.of(every[key] for key in sorted(every))
