"""What pages show: a run's values and numbers, with what is said of them in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from quantlr.backtest.metrics import EvaluatedForecasts, evaluate_forecasts
from quantlr.config.run_config import RunConfig
from quantlr.core.progress import Note, iso_date
from quantlr.core.values import RunData
from quantlr.report.summary import condense_notes, note_text, ticker_list_text

MAX_TICKER_LIST_CHARS = 60
"""Letters of a list of tickers in a page's head."""


@dataclass(frozen=True, slots=True)
class PageContext:
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
    run_data: RunData
    evaluated: EvaluatedForecasts
    metrics: dict[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def from_run(
        cls, config: RunConfig, run_data: RunData, metrics: dict[str, Any], notes: Iterable[Note]
    ) -> PageContext:
        """Return what there is to show of a run."""
        lines = tuple(note_text(note) for note in condense_notes(notes))
        return cls(config, run_data, evaluate_forecasts(run_data.forecasts), metrics, lines)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that it holds."""
        return _array_nbytes(self)

    @property
    def forecast_tickers(self) -> list[str]:
        """The tickers that have forecasts, in the config's order."""
        return [self.run_data.forecasts.tickers[at] for at in np.unique(self.run_data.forecasts.ticker)]

    @property
    def setup_text(self) -> str:
        """What was run, in one line."""
        config, course = self.config, self.run_data
        traded, columns = (
            ticker_list_text(self.forecast_tickers, max_chars=MAX_TICKER_LIST_CHARS),
            len(course.dataset.columns),
        )
        features = f"{columns} feature{'s'[: columns > 1]}"
        walk, execution, sessions = config.walk_forward, config.execution, course.result.fill_dates
        refit = "fitted once" if walk.refit_every == "never" else f"refitted every {walk.refit_every} sessions"
        pooled = "one model for all, " if config.model.scope == "pooled" else ""
        return (
            f"{traded}, {iso_date(sessions[0])} to {iso_date(sessions[-1])}; {features}, {pooled}{walk.window} "
            f"window, {refit}, horizon {config.label.horizon}; fill {execution.fill}, {execution.trading_costs_text()}"
        )


def _array_nbytes(value: Any) -> int:
    """Return the bytes of the arrays in a value and in the values that it is made of."""
    if is_dataclass(value):
        return sum(_array_nbytes(getattr(value, field.name)) for field in fields(value))
    return int(getattr(value, "nbytes", 0))
