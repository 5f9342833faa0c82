"""One trial of a sweep as a job, keyed by what it depends on, and jobs put together so that nothing is done twice.

A forecast depends on prices, features, label, folds and model; a backtest on the forecast, the policy and the
execution besides. Each is named by the digest of what it depends on: trials of the same forecast stand in one task,
which loads the prices and fits the model once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from quantlr.config import RunConfig

MOST_JOBS = 500
"""Jobs of one task: with more trials of one model than that, fitting it once more is no matter."""
MOST_MODELS = 8
"""Models of one task: they take seconds in all, and are done again if a worker is lost."""
SHARES = 4
"""Tasks that each worker gets at least, where there are so many, so that all end at about the same time."""
VERSIONS_OF = ("quantlr", "numpy", "pandas")
"""Packages on whose versions a trial's numbers depend."""


def versions() -> dict[str, str]:
    """Return the versions of what a trial's numbers depend on, in this process."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), **{name: version(name) for name in VERSIONS_OF}}


def digest(*parts: Any) -> str:
    """Return the digest of values as JSON has them."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
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
    known: str
    whole: str

    @classmethod
    def of(cls, config: RunConfig) -> Keys:
        """Return the keys of a config."""
        plain = config.model_dump(mode="json")
        data = digest(plain["data"])
        dataset = digest(data, plain["features"], plain["label"])
        model = digest(dataset, plain["walk_forward"], plain["model"])
        known = digest(model, plain["execution"], plain["report"]["sessions_per_year"])
        plain.pop("name")
        return cls(data, dataset, model, known, digest(plain))


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to be evaluated.

    Attributes
    ----------
    number : of the combination.
    key : digest of the config without its name, of the prices and of the versions: what its result is kept under.
    data, model : what it shares with other trials, as in `Keys`.
    """

    number: int
    key: str
    data: str
    model: str


@dataclass(frozen=True, slots=True)
class Task:
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

    keys: tuple[str, ...]
    base: dict[str, Any]
    values: tuple[dict[str, Any], ...]
    last: dt.date | None
    offline: bool
    versions: dict[str, str]

    def apart(self) -> Iterator[Task]:
        """Yield each job as a task of its own."""
        for key, values in zip(self.keys, self.values, strict=True):
            yield replace(self, keys=(key,), values=(values,))


def grouped(jobs: Iterable[Job], *, workers: int) -> list[tuple[Job, ...]]:
    """Return jobs as they are best done together: those of one model, and neighbouring models of the same prices.

    A task takes several models only where every worker gets some tasks, so that it lasts longer than its way there.
    """
    by_model: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        by_model.setdefault((job.data, job.model), []).append(job)
    together = max(1, min(MOST_MODELS, len(by_model) // (workers * SHARES)))
    by_data: dict[str, list[list[Job]]] = {}
    for (data, _), alike in by_model.items():
        by_data.setdefault(data, []).append(alike)
    return [task for models in by_data.values() for task in _tasks(models, together)]


def _tasks(models: Sequence[list[Job]], together: int) -> Iterator[tuple[Job, ...]]:
    """Yield the tasks of some models of the same prices."""
    waiting: list[Job] = []
    fitted = 0
    for alike in models:
        for first in range(0, len(alike), MOST_JOBS):
            part = alike[first : first + MOST_JOBS]
            if waiting and (fitted == together or len(waiting) + len(part) > MOST_JOBS):
                yield tuple(waiting)
                waiting, fitted = [], 0
            waiting += part
            fitted += 1
    if waiting:
        yield tuple(waiting)
