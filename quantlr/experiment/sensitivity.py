"""Sensitivity of a result to what no forecast depends on: the costs, a delay of every fill, and the scored span.

The forecasts and the decisions of a run stay as they are, and there is no verdict on a variation. Each is recorded in
the ledger as a trial, and counts as a duplicate of the run: it raises the number of trials and no p value. To adopt
one, run it as a config, which counts on its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.config.run_config import RunConfig
from quantlr.core.errors import DataError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult, Positions, RunData
from quantlr.experiment.trial import Trial, TrialResult, excess_returns_with_benchmark
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.sharpe import sharpe_per_session

COST_FACTORS = {"half the costs": 0.5, "double the costs": 2.0}
ADDED_COST_BPS = 5.0
DELAYS_IN_SESSIONS = (1, 2)
SPAN_NAMES = ("first third", "second third", "last third")
SCALED_COSTS = (
    "commission_bps", "slippage_bps", "per_share", "min_per_order", "borrow_bps_per_year", "financing_bps_per_year",
)  # fmt: skip
MAX_COST_BPS = 1_000.0
"""Largest cost that a config may have."""


@dataclass(frozen=True, slots=True)
class Variation:
    """The same decisions under other costs, with a delay, or over a part of the sessions.

    Attributes
    ----------
    text : what differs from the run.
    sessions : (sessions,) dates that end the returns.
    excess_returns, benchmark_excess_returns : (sessions,) net returns in excess of cash.
    sessions_per_year : for annual figures.
    """

    text: str
    sessions: pd.DatetimeIndex
    excess_returns: Array
    benchmark_excess_returns: Array
    sessions_per_year: float

    @property
    def annual_sharpe(self) -> float | None:
        """Annual Sharpe ratio; None where undefined."""
        sharpe = sharpe_per_session(self.excess_returns)
        return None if sharpe is None else sharpe * float(np.sqrt(self.sessions_per_year))

    def to_dict(self) -> dict[str, Any]:
        """Return its numbers, keyed as in ``metrics.json``: annual Sharpe ratio and alpha, and alpha's p value."""
        alpha = alpha_test(self.excess_returns, self.benchmark_excess_returns)
        return {
            "variation": self.text,
            "first": iso_date(self.sessions[0]),
            "last": iso_date(self.sessions[-1]),
            "sessions": len(self.sessions),
            "sharpe": self.annual_sharpe,
            "alpha": alpha.alpha * self.sessions_per_year,
            "p_value": alpha.test.p_value,
        }

    def to_trial(self, trial: Trial) -> Trial:
        """Return the variation as a trial, given the trial of the run."""
        returns = self.excess_returns, self.benchmark_excess_returns
        result = TrialResult.from_returns(*returns, self.sessions, self.sessions_per_year)
        text = f"{trial.variation}, {self.text}" if trial.variation else self.text
        return replace(trial, variation=text, result=replace(result, returns=None))


def vary_run(config: RunConfig, run_data: RunData) -> tuple[Variation, ...]:
    """Return the run itself and its variations; a delay beyond the end of the prices is left out."""
    execution = config.execution
    per_year = config.report.sessions_in_year(run_data.prices)
    variations = [variation_of_backtest("as configured", run_data.result, per_year)]

    def add_backtest(text: str, positions: Positions, **costs: float) -> None:
        result = backtest_with_benchmark(
            positions,
            run_data.prices,
            execution.model_copy(update=costs),
            sessions_per_year=per_year,
            benchmark=config.report.benchmark,
        )
        variations.append(variation_of_backtest(text, result, per_year))

    for text, factor in COST_FACTORS.items():
        costs = {name: min(factor * getattr(execution, name), MAX_COST_BPS) for name in SCALED_COSTS}
        add_backtest(text, run_data.positions, **costs)
    slippage = min(execution.slippage_bps + ADDED_COST_BPS, MAX_COST_BPS)
    add_backtest(f"{ADDED_COST_BPS:g} bps more per side", run_data.positions, slippage_bps=slippage)
    for delay in DELAYS_IN_SESSIONS:
        with suppress(DataError):
            add_backtest(f"filled {delay} session{'s'[: delay > 1]} later", delay_decisions(run_data.positions, delay))
    edges = np.linspace(0, len(run_data.result.sessions), len(SPAN_NAMES) + 1).astype(int)
    for name, first, last in zip(SPAN_NAMES, edges, edges[1:], strict=False):
        if last > first:
            variations.append(variation_of_backtest(f"{name} only", run_data.result, per_year, slice(first, last)))
    return tuple(variations)


def variation_of_backtest(
    text: str, result: BacktestResult, sessions_per_year: float, rows: slice = slice(None)
) -> Variation:
    """Return a backtest, or a part of its sessions, as a variation."""
    returns = excess_returns_with_benchmark(result)
    return Variation(text, result.sessions[rows], returns[0][rows], returns[1][rows], sessions_per_year)


def delay_decisions(positions: Positions, n_sessions: int) -> Positions:
    """Return positions whose every decision is made some sessions later."""
    weight = np.full_like(positions.weight, np.nan)
    weight[n_sessions:] = positions.weight[:-n_sessions]
    return replace(positions, weight=weight)
