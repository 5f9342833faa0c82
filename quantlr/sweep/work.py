"""What a worker does: evaluates the trials of a task, each stage once for all that share it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from quantlr.backtest.inference.sharpe import sharpe_per_session
from quantlr.backtest.known import Known
from quantlr.backtest.metrics import (
    BACKTEST_METRICS,
    FORECAST_METRICS,
    Measured,
    accuracy_ci95,
    auc_ci95,
    cagr,
    max_drawdown,
    profit_factor,
    reliability,
    scored,
    sharpe,
    sharpe_ci95,
    trades,
    win_rate,
)
from quantlr.config import RunConfig
from quantlr.data.universe import DataSpec, load_prices
from quantlr.errors import QuantlrError, UserError
from quantlr.pipeline.stages import STAGES, Outlook, Stages, dataset_of, earn, forecasts_of, known_to, positions_of
from quantlr.report.encoding import defined
from quantlr.sweep.grid import varied
from quantlr.sweep.jobs import Keys, Task, versions
from quantlr.types import Course, Dataset, Forecasts, IntArray, Prices

T = TypeVar("T")
SLOW = (accuracy_ci95, auc_ci95, reliability, sharpe_ci95, trades, win_rate, profit_factor)
"""Numbers that take longer than a trial: the winner's are in the report of its own run."""
OF_FORECASTS = tuple(metric for metric in FORECAST_METRICS if metric not in SLOW)
OF_BACKTESTS = tuple(metric for metric in BACKTEST_METRICS if metric not in SLOW)
OF_BENCHMARKS = (cagr, sharpe, max_drawdown)
NO_TRADES = pd.DataFrame()
"""Round trips are not told apart: that would take longer than all else."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    key : the job's.
    content : its file, None where it may well succeed another time.
    error : why it failed, None where it did not.
    mends : the key of the config that would mend it, None where it is not known.
    """

    key: str
    content: bytes | None
    error: str | None = None
    mends: str | None = None


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What there is of some prices.

    Attributes
    ----------
    sha256 : digest of what was read; empty where it could not be.
    sessions : (sessions,) dates, as days since 1970.
    error, mends : as in `Outcome`.
    """

    sha256: str
    sessions: IntArray
    error: str | None = None
    mends: str | None = None


@dataclass(slots=True)
class Bench:
    """What a worker has at hand: the newest of each stage, and no more, so that memory does not grow.

    Attributes
    ----------
    stages : the functions of a run.
    held : by stage, its key and what came of it.
    """

    stages: Stages = STAGES
    held: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def prices(self, spec: DataSpec, key: str, *, offline: bool) -> Prices:
        """Return prices, read again only if others were asked for meanwhile."""
        return self._once("prices", key, partial(load_prices, spec, offline=offline))

    def dataset(self, config: RunConfig, key: str, prices: Prices) -> Dataset:
        """Return rows, likewise."""
        return self._once("dataset", key, lambda: dataset_of(config, prices, self.stages))

    def forecasts(self, config: RunConfig, key: str, dataset: Dataset) -> Forecasts:
        """Return forecasts, likewise."""
        return self._once("forecasts", key, lambda: forecasts_of(config, dataset, self.stages))

    def known(self, config: RunConfig, key: str, prices: Prices, forecasts: Forecasts) -> Known:
        """Return what policies may use besides forecasts, likewise."""
        return self._once("known", key, lambda: known_to(config, prices, forecasts, self.stages))

    def skill(self, key: str, forecasts: Forecasts) -> dict[str, Any]:
        """Return the numbers of forecasts, likewise."""
        return self._once("skill", key, lambda: _skill(forecasts))

    def _once(self, stage: str, key: str, make: Callable[[], T]) -> T:
        if stage in self.held and self.held[stage][0] == key:
            kept: T = self.held[stage][1]
            return kept
        self.held.pop(stage, None)  # before the next is made, so that there are never two
        made = make()
        self.held[stage] = key, made
        return made


BENCH = Bench()
"""What this process has at hand."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question for what there is of some prices, as it travels to a worker.

    Attributes
    ----------
    key : of the prices, as in `Keys`.
    data : a config's data section, as JSON has it.
    offline, versions : as in `Task`.
    """

    key: str
    data: dict[str, Any]
    offline: bool
    versions: dict[str, str]


def survey(inquiry: Inquiry) -> Surveyed:
    """Return what there is of some prices."""
    require_versions(inquiry.versions)
    try:
        prices = BENCH.prices(DataSpec.model_validate(inquiry.data), inquiry.key, offline=inquiry.offline)
    except QuantlrError as error:
        return Surveyed("", np.zeros(0, dtype=np.int64), error.message, error.key)
    return Surveyed(prices.sha256, prices.sessions.to_numpy().astype("datetime64[D]").astype(np.int64))


def evaluate(task: Task) -> list[Outcome]:
    """Return what comes of a task's jobs; one that fails does not keep the others from it."""
    require_versions(task.versions)
    return [_outcome(key, values, BENCH, task) for key, values in zip(task.keys, task.values, strict=True)]


def require_versions(needed: dict[str, str]) -> None:
    """Refuse to work where a package on which numbers depend has another version.

    Raises
    ------
    UserError : naming what is there and what is needed.
    """
    here = versions()
    wrong = [f"{name} {here[name]} (needed {wanted})" for name, wanted in needed.items() if here[name] != wanted]
    if wrong:
        raise UserError(
            f"a worker has other versions than this program: {', '.join(wrong)}; its numbers could differ. Give all "
            "workers the same environment"
        )


def _outcome(key: str, values: dict[str, Any], bench: Bench, task: Task) -> Outcome:
    try:
        config = varied(task.base, values, task.last)
        course, skill = course_of(config, bench, offline=task.offline)
        return Outcome(key, encoded(numbers_of(config, course, skill), course))
    except UserError as error:
        content = written_out({"error": error.message, "key": error.key})
        return Outcome(key, content, error.message, error.key)
    except QuantlrError as error:
        return Outcome(key, None, error.message, error.key)
    except MemoryError:
        return Outcome(key, None, "there was not enough memory for it; try fewer --jobs")
    except Exception as error:  # a bug in one combination must not lose the others
        return Outcome(key, None, f"{type(error).__name__}: {error}")


def course_of(config: RunConfig, bench: Bench, *, offline: bool) -> tuple[Course, dict[str, Any]]:
    """Return what a config makes of its prices, stage by stage, and the numbers of its forecasts."""
    keys = Keys.of(config)
    prices = bench.prices(config.data, keys.data, offline=offline)
    dataset = bench.dataset(config, keys.dataset, prices)
    forecasts = bench.forecasts(config, keys.model, dataset)
    known = bench.known(config, keys.known, prices, forecasts)
    positions = positions_of(config, forecasts, known, bench.stages)
    course = earn(config, prices, Outlook(dataset, forecasts, positions), bench.stages)
    return course, bench.skill(keys.model, forecasts)


def _skill(forecasts: Forecasts) -> dict[str, Any]:
    rows = scored(forecasts)
    return {metric.__name__: metric(rows) for metric in OF_FORECASTS}


def numbers_of(config: RunConfig, course: Course, skill: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a trial, keyed as in ``metrics.json``, with what statistics over trials need."""
    per_year = config.report.sessions_per_year
    own = Measured(course.result, NO_TRADES, per_year)
    held = Measured(course.result.benchmark or course.result, NO_TRADES, per_year)
    refits = course.forecasts.refits
    found = {
        "forecast": skill,
        "strategy": {metric.__name__: metric(own) for metric in OF_BACKTESTS},
        "benchmark": {metric.__name__: metric(held) for metric in OF_BENCHMARKS},
        "unconverged": int((~refits.converged).sum()),
        "sharpe_per_session": sharpe_per_session(own.excess),
        "sessions": len(own.excess),
        "sessions_per_year": per_year,
        "cash": course.result.cash,
        "data_sha256": course.prices.sha256,
    }
    return dict(defined(found))


def encoded(numbers: dict[str, Any], course: Course) -> bytes:
    """Return a trial's file: its numbers, and its net returns beside buy and hold's by session."""
    result = course.result
    held = result.benchmark or result
    return written_out(
        numbers,
        session=result.sessions.to_numpy().astype("datetime64[D]").astype(np.int32),
        returns=np.stack([result.net_return, held.net_return]),
    )


def written_out(about: dict[str, Any], **arrays: Any) -> bytes:
    """Return the bytes of a file, the same for the same values; ``numpy.load`` reads it.

    Nothing is compressed: of returns that would save a third, and take longer than the trial.
    """
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(about, sort_keys=True, allow_nan=False).encode(), dtype=np.uint8)
    np.savez(stream, about=text, **arrays)
    return stream.getvalue()
