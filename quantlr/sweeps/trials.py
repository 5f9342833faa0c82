"""One trial of a sweep, from its settings to its stored results, and the grouping of trials into tasks.

A forecast depends on prices, features, label, folds and model; a backtest on the forecast, the policy and the execution
besides. Each stage is identified by a digest of what it depends on. Trials with the same forecast are put into the same
task, so that the prices are loaded and the model is fitted once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.config.run_config import RunConfig
from quantlr.core.atomic import atomic_write_without_fsync
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.engines.local import installed_versions
from quantlr.core.errors import Fault
from quantlr.core.file_reading import UnreadableContentError, library_errors_translated, read_file
from quantlr.core.source_files import source_digests
from quantlr.core.values import Array, IntArray
from quantlr.stats.benchmark_test import benchmark_adjusted_returns

MAX_TRIALS_PER_TASK = 500
"""Trials of one task. Where more trials share a model, fitting it once more costs little."""
MAX_MODELS_PER_TASK = 8
"""Models of one task: they take seconds in all, and are fitted again if the worker is lost."""
MIN_TASKS_PER_WORKER = 4
"""Tasks that each worker gets at least, where there are enough models, so that all workers end at about one time."""
TRIAL_VERSIONED_PACKAGES = ("python", "quantlr", "numpy", "pandas")
"""Packages on whose versions a trial's numbers depend."""
MAX_RESULT_FILE_BYTES = 256 << 20
"""Size above which a file is no result of a trial: a century of daily returns needs 1 MB."""
TRIALS_FOLDER_NAME = ".trials"
"""Folder of the result files, in the folder of reports."""


def environment_versions() -> dict[str, str]:
    """Return the versions of the packages on which a trial's numbers depend, in this process."""
    return installed_versions(TRIAL_VERSIONED_PACKAGES)


def sha256_of_json(*values: Any) -> str:
    """Return the SHA-256 of values in their JSON form."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StageDigests:
    """Digests of the parts of a config that the stages of a run depend on.

    Attributes
    ----------
    data : data section, ticker of the benchmark, and the columns of files that features need.
    dataset : data, features, label and choice among candidates, and the fill if the label is of fills.
    model : dataset, folds and model.
    decision_context : model, execution, sessions per year, and the overlay that needs betas.
    config : the whole config without its name.
    """

    data: str
    dataset: str
    model: str
    decision_context: str
    config: str

    @classmethod
    def from_config(cls, config: RunConfig, *, session_token: str = "") -> StageDigests:
        """Return the digests of a config; `session_token` identifies the code of classes without a file."""
        sections = config.model_dump(mode="json")
        # The parameters of a user-defined component do not determine its values: its code does, too.
        sources = source_digests(iter_user_defined_components(config), session_token=session_token)
        sections |= {"sources": sources} if sources else {}
        columns = map(asdict, config.file_columns)
        data = sha256_of_json(sections["data"], config.report.benchmark_ticker, *sources, *columns)
        label = sections["label"], *([config.execution.fill] if config.label.of == "fill" else [])
        chosen = [config.selection.model_dump(mode="json")] if config.selection else []
        dataset = sha256_of_json(data, sections["features"], *label, *chosen)
        per_year = sections["report"]["sessions_per_year"]
        model = sha256_of_json(dataset, sections["walk_forward"], sections["model"], per_year)
        betas = [overlay for overlay in sections["overlays"] if overlay["kind"] == "beta_neutral"]
        context = sha256_of_json(model, sections["execution"], per_year, betas)
        sections.pop("name")
        return cls(data, dataset, model, context, sha256_of_json(sections))


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial of a sweep: its settings and digests and, once it is evaluated, its metrics or its error.

    Attributes
    ----------
    number : of the combination in the grid.
    settings : values by dotted key.
    data_digest, model_digest : digests shared with other trials, as in `StageDigests`, the second with the prices'.
    data_sha256 : digest of the prices; empty where they could not be read.
    result_key : digest of config, prices, versions and keys of the metrics, under which the result is stored.
    metrics : numbers of the evaluated trial, as in ``metrics.json``; empty before, and where it failed.
    error : why the trial failed; None where it did not.
    config_key : key of the config to change against the error; None where it is not known.
    file_bytes : result file on its way from the worker to the store; None where a later attempt may succeed.
    """

    number: int
    settings: dict[str, Any]
    data_digest: str = ""
    model_digest: str = ""
    data_sha256: str = ""
    result_key: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    config_key: str | None = None
    file_bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class TrialReturns:
    """Daily returns of one evaluated trial; empty where it failed.

    Attributes
    ----------
    session_days : (sessions,) dates that end each return, as days since 1970.
    net_return, benchmark_return : (sessions,) simple returns after costs, of the strategy and of its benchmark.
    cash_return : simple return of cash per session; (sessions,), or one number.
    """

    session_days: IntArray
    net_return: Array
    benchmark_return: Array
    cash_return: Array | float

    def excess_returns(self, session_days: IntArray) -> tuple[Array, Array]:
        """Return the returns in excess of cash of strategy and benchmark on some sessions, on all if none are given."""
        rows = np.searchsorted(self.session_days, session_days) if len(session_days) else slice(None)
        return (self.net_return - self.cash_return)[rows], (self.benchmark_return - self.cash_return)[rows]

    def excess_and_adjusted_returns(self, session_days: IntArray) -> tuple[Array, Array]:
        """Return net returns in excess of cash, and the same less beta times the benchmark's, on some sessions.

        On all sessions if none are given. The mean of the second is alpha (see `benchmark_adjusted_returns`).
        """
        excess, benchmark = self.excess_returns(session_days)
        return excess, benchmark_adjusted_returns(excess, benchmark)


def group_trials_into_tasks(trials: Iterable[TrialRecord], *, workers: int) -> list[tuple[TrialRecord, ...]]:
    """Return trials grouped into tasks: those of one model, and several models of the same prices.

    A task takes several models only where every worker still gets some tasks, so that a task takes longer than sending
    it does.
    """
    by_data: dict[str, dict[str, list[TrialRecord]]] = {}
    for trial in trials:
        by_data.setdefault(trial.data_digest, {}).setdefault(trial.model_digest, []).append(trial)
    n_models = sum(map(len, by_data.values()))
    max_models = max(1, min(MAX_MODELS_PER_TASK, n_models // (workers * MIN_TASKS_PER_WORKER)))
    return [task for models in by_data.values() for task in _iter_model_tasks(models.values(), max_models)]


def _iter_model_tasks(model_trials: Iterable[list[TrialRecord]], max_models: int) -> Iterator[tuple[TrialRecord, ...]]:
    """Yield tasks of trials that use the same prices, given by model."""
    task: list[TrialRecord] = []
    n_models = 0
    for trials in model_trials:
        for first in range(0, len(trials), MAX_TRIALS_PER_TASK):
            chunk = trials[first : first + MAX_TRIALS_PER_TASK]
            if task and (n_models == max_models or len(task) + len(chunk) > MAX_TRIALS_PER_TASK):
                yield tuple(task)
                task, n_models = [], 0
            task += chunk
            n_models += 1
    yield tuple(task)


@dataclass(frozen=True, slots=True)
class TrialStore:
    """Result files of trials in one folder of reports.

    Attributes
    ----------
    folder : of the files.
    """

    folder: Path

    def result_path(self, result_key: str) -> Path:
        """Return the path of a trial's result file, which need not exist."""
        return self.folder / result_key[:2] / f"{result_key}.npz"

    def write_result_file(self, result_key: str, file_bytes: bytes) -> None:
        """Write a trial's result file.

        Raises
        ------
        Fault : the disk is full or read-only.
        """
        path = self.result_path(result_key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # There are thousands of files; one that a power cut damages is evaluated again.
            atomic_write_without_fsync(path, file_bytes)
        except OSError as error:
            raise Fault(
                f"{path} could not be written: {error.strerror or error}; results written so far are kept"
            ) from error

    def require_record_and_returns(self, trial: TrialRecord) -> tuple[TrialRecord, TrialReturns]:
        """Return the same of a trial that was evaluated.

        Raises
        ------
        Fault : its file was removed or damaged since.
        """
        stored = self.read_record_and_returns(trial)
        if stored is None:
            path = self.result_path(trial.result_key)
            raise Fault(f"{path} was removed while the sweep was running; start the sweep again")
        return stored

    def read_record_and_returns(self, trial: TrialRecord) -> tuple[TrialRecord, TrialReturns] | None:
        """Return a trial with its stored results, and its returns; None where no undamaged file is stored."""
        path = self.result_path(trial.result_key)
        try:
            content = read_file(path, max_bytes=MAX_RESULT_FILE_BYTES)
            with library_errors_translated("the result of a trial"):
                return decode_result_file(trial, content)
        except (FileNotFoundError, UnreadableContentError):
            return None
        except OSError as error:
            raise Fault(f"{path} can't be read: {error.strerror or error}") from error


def encode_result_file(metadata: dict[str, Any], **arrays: Any) -> bytes:
    """Return the bytes of a result file, the same for the same values; ``numpy.load`` reads it.

    It is not compressed: that would save a third of the returns, and take longer than the trial.
    """
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(metadata, sort_keys=True, allow_nan=False).encode(), dtype=np.uint8)
    np.savez(stream, about=text, **arrays)
    return stream.getvalue()


def decode_result_file(trial: TrialRecord, file_bytes: bytes) -> tuple[TrialRecord, TrialReturns]:
    """Return a trial with the results in its file, and its returns; the file's checksums are verified."""
    with np.load(io.BytesIO(file_bytes), allow_pickle=False) as file:  # plain arrays; a pickled object is refused
        metadata = json.loads(file["about"].tobytes())
        if "error" in metadata:
            failed = replace(trial, error=metadata["error"], config_key=metadata["key"])
            return failed, TrialReturns(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), 0.0)
        net, benchmark = file["returns"]
        returns = TrialReturns(
            file["session"].astype(np.int64), net, benchmark, np.asarray(metadata["cash"], dtype=np.float64)
        )
        return replace(trial, metrics=metadata), returns
