"""One trial of a sweep as a job, keyed by what it depends on, and jobs put together so that nothing is done twice.

A forecast depends on prices, features, label, folds and model; a backtest on the forecast, the policy and the
execution besides. Each is named by the digest of what it depends on: trials of the same forecast stand in one task,
which loads the prices and fits the model once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import platform
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.config.run_config import RunConfig
from quantlr.core.arrays import Array, IntArray
from quantlr.core.atomic import atomic_write_without_fsync
from quantlr.core.errors import Fault

MAX_JOBS_PER_TASK = 500
"""Jobs of one task: with more trials of one model than that, fitting it once more is no matter."""
MAX_MODELS_PER_TASK = 8
"""Models of one task: they take seconds in all, and are done again if a worker is lost."""
MIN_TASKS_PER_WORKER = 4
"""Tasks that each worker gets at least, where there are so many, so that all end at about the same time."""
TRIAL_VERSIONED_PACKAGES = ("quantlr", "numpy", "pandas")
"""Packages on whose versions a trial's numbers depend."""


def environment_versions() -> dict[str, str]:
    """Return the versions of what a trial's numbers depend on, in this process."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in TRIAL_VERSIONED_PACKAGES},
    }


def json_digest(*values: Any) -> str:
    """Return the digest of values as JSON has them."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StageDigests:
    """What the stages of a config depend on, as digests.

    Attributes
    ----------
    data : which prices.
    dataset : prices, features and label.
    model : dataset, folds and model.
    known : model and execution, and how many sessions a year has.
    whole : all of it but the name.
    """

    data: str
    dataset: str
    model: str
    decision_context: str
    config: str

    @classmethod
    def from_config(cls, config: RunConfig) -> StageDigests:
        """Return the keys of a config."""
        plain = config.model_dump(mode="json")
        data = json_digest(plain["data"])
        dataset = json_digest(data, plain["features"], plain["label"])
        model = json_digest(dataset, plain["walk_forward"], plain["model"])
        known = json_digest(model, plain["execution"], plain["report"]["sessions_per_year"])
        plain.pop("name")
        return cls(data, dataset, model, known, json_digest(plain))


@dataclass(frozen=True, slots=True)
class TrialJob:
    """One trial to be evaluated.

    Attributes
    ----------
    number : of the combination.
    key : digest of the config without its name, of the prices and of the versions: what its result is kept under.
    data, model : what it shares with other trials, as in `Keys`.
    """

    trial_number: int
    result_key: str
    data_digest: str
    model_digest: str


@dataclass(frozen=True, slots=True)
class TrialTask:
    """Jobs that a worker does one after the other, as they travel to it.

    Attributes
    ----------
    keys : of the jobs; those of one model stand together.
    base : the config that is varied, as it is written.
    values : of each job, its own by dotted key.
    last : date that no trial sees beyond; None where all see everything.
    offline : whether to do without the network.
    versions : that the worker must have.
    """

    result_keys: tuple[str, ...]
    base_config: dict[str, Any]
    trial_values: tuple[dict[str, Any], ...]
    last_date: dt.date | None
    offline: bool
    required_versions: dict[str, str]

    def iter_single_trial_tasks(self) -> Iterator[TrialTask]:
        """Yield each job as a task of its own."""
        for key, values in zip(self.result_keys, self.trial_values, strict=True):
            yield replace(self, result_keys=(key,), trial_values=(values,))


def group_jobs(jobs: Iterable[TrialJob], *, workers: int) -> list[tuple[TrialJob, ...]]:
    """Return jobs as they are best done together: those of one model, and neighbouring models of the same prices.

    A task takes several models only where every worker gets some tasks, so that it lasts longer than its way there.
    """
    by_model: dict[tuple[str, str], list[TrialJob]] = {}
    for job in jobs:
        by_model.setdefault((job.data_digest, job.model_digest), []).append(job)
    together = max(1, min(MAX_MODELS_PER_TASK, len(by_model) // (workers * MIN_TASKS_PER_WORKER)))
    by_data: dict[str, list[list[TrialJob]]] = {}
    for (data, _), alike in by_model.items():
        by_data.setdefault(data, []).append(alike)
    return [task for models in by_data.values() for task in _iter_task_jobs(models, together)]


def _iter_task_jobs(jobs_by_model: Sequence[list[TrialJob]], max_models: int) -> Iterator[tuple[TrialJob, ...]]:
    """Yield the tasks of some models of the same prices."""
    waiting: list[TrialJob] = []
    fitted = 0
    for alike in jobs_by_model:
        for first in range(0, len(alike), MAX_JOBS_PER_TASK):
            part = alike[first : first + MAX_JOBS_PER_TASK]
            if waiting and (fitted == max_models or len(waiting) + len(part) > MAX_JOBS_PER_TASK):
                yield tuple(waiting)
                waiting, fitted = [], 0
            waiting += part
            fitted += 1
    if waiting:
        yield tuple(waiting)


TRIALS_FOLDER_NAME = ".trials"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What is kept of a trial.

    Attributes
    ----------
    about : its numbers; ``error`` and ``key`` where it failed.
    session : (sessions,) dates that end each return, as days since 1970; empty where it failed.
    net_return, benchmark_return : (sessions,) as fractions.
    """

    metrics: dict[str, Any]
    session_days: IntArray
    net_return: Array
    benchmark_return: Array

    @property
    def error(self) -> str | None:
        """Why it failed, None where it did not."""
        found = self.metrics.get("error")
        return None if found is None else str(found)

    @property
    def excess_return(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return np.asarray(self.net_return - self.metrics["cash"])


@dataclass(frozen=True, slots=True)
class TrialStore:
    """The results of one folder of reports.

    Attributes
    ----------
    folder : that holds them.
    """

    folder: Path

    @classmethod
    def from_output_folder(cls, output_folder: Path) -> TrialStore:
        """Return the store of a folder of reports."""
        return cls(output_folder / TRIALS_FOLDER_NAME)

    def record_path(self, result_key: str) -> Path:
        """Return where a trial's file is, or would be."""
        return self.folder / result_key[:2] / f"{result_key}.npz"

    def write(self, result_key: str, file_bytes: bytes) -> None:
        """Write a trial's file.

        Raises
        ------
        Fault : the disk is full or read-only.
        """
        path = self.record_path(result_key)
        try:
            try:
                atomic_write_without_fsync(
                    path, file_bytes
                )  # thousands of them: what a power cut damages is done again
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write_without_fsync(path, file_bytes)
        except OSError as error:
            raise Fault(
                f"{path} could not be written: {error.strerror or error}; what is done so far is kept"
            ) from error

    def read(self, result_key: str) -> TrialRecord | None:
        """Return what is kept of a trial, None where there is nothing whole."""
        try:
            content = self.record_path(result_key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Fault(f"{self.record_path(result_key)} can't be read: {error.strerror or error}") from error
        try:
            return decode_trial_record(content)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None


def decode_trial_record(file_bytes: bytes) -> TrialRecord:
    """Return what a trial's file says; the checksums within are compared on the way."""
    # Plain numbers, each with a checksum; an object in their place is refused and never loaded.
    with np.load(io.BytesIO(file_bytes), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        if "error" in about:
            nothing: Array = np.zeros(0)
            return TrialRecord(about, np.zeros(0, dtype=np.int64), nothing, nothing)
        net, benchmark = file["returns"]
        return TrialRecord(about, file["session"].astype(np.int64), net, benchmark)
