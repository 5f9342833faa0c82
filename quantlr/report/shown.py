"""What pages show: a run's values and numbers, with what is said of them in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from quantlr.backtest.metrics import Scored, scored
from quantlr.config import RunConfig
from quantlr.report.summary import names, note_line, worth_saying
from quantlr.types import Course, Note, day

LONGEST_LIST = 60
"""Letters of a list of tickers in a page's head."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as its pages see it.

    Attributes
    ----------
    config : what was run.
    course : the values that it passed through.
    rows : its forecasts whose outcome is known.
    metrics : as in ``metrics.json``.
    notes : what a reader should know, a line each.
    """

    config: RunConfig
    course: Course
    rows: Scored
    metrics: dict[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig, course: Course, metrics: dict[str, Any], notes: Iterable[Note]) -> Shown:
        """Return what there is to show of a run."""
        lines = tuple(note_line(note) for note in worth_saying(notes))
        return cls(config, course, scored(course.forecasts), metrics, lines)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that it holds."""
        return _nbytes(self)

    @property
    def traded(self) -> list[str]:
        """The tickers that have forecasts, in the config's order."""
        return [self.course.forecasts.tickers[at] for at in np.unique(self.course.forecasts.ticker)]

    @property
    def setting(self) -> str:
        """What was run, in one line."""
        config, course = self.config, self.course
        traded, columns = names(self.traded, longest=LONGEST_LIST), len(course.dataset.columns)
        features = f"{columns} feature{'s'[: columns > 1]}"
        walk, execution, sessions = config.walk_forward, config.execution, course.result.fills
        refit = "fitted once" if walk.refit_every == "never" else f"refitted every {walk.refit_every} sessions"
        pooled = "one model for all, " if config.model.scope == "pooled" else ""
        return (
            f"{traded}, {day(sessions[0])} to {day(sessions[-1])}; {features}, {pooled}{walk.window} "
            f"window, {refit}, horizon {config.label.horizon}; fill {execution.fill}, {execution.in_words()}"
        )


def _nbytes(value: Any) -> int:
    """Return the bytes of the arrays in a value and in the values that it is made of."""
    if is_dataclass(value):
        return sum(_nbytes(getattr(value, field.name)) for field in fields(value))
    return int(getattr(value, "nbytes", 0))
