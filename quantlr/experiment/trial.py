"""A trial: one config on one set of prices with its result, as the ledger records it and statistics count it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quantlr.config.run_config import RunConfig
from quantlr.core.text import hide_home_folder
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult, Prices
from quantlr.experiment.price_overlap import price_overlap_keys
from quantlr.stats.family_wise import MonthlyReturns, sum_unexplained_returns_by_month
from quantlr.stats.sharpe import sharpe_per_session


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What the ledger keeps of a trial's backtest.

    Attributes
    ----------
    sharpe : Sharpe ratio per session of net returns in excess of cash; None where undefined.
    n_sessions : number of returns.
    sessions_per_year : for annual figures.
    first_session, last_session : dates that end the first and the last return, ISO 8601.
    returns : by calendar month, without what the benchmark explains; None for a variation, which is counted with those
        of its run.
    """

    sharpe: float | None
    n_sessions: int
    sessions_per_year: float
    first_session: str
    last_session: str
    returns: MonthlyReturns | None

    @classmethod
    def from_returns(
        cls, excess_returns: Array, benchmark_excess_returns: Array, sessions: pd.DatetimeIndex, per_year: float
    ) -> TrialResult:
        """Return the result of net returns (sessions,) of strategy and benchmark, both in excess of cash."""
        returns = sum_unexplained_returns_by_month(
            excess_returns, benchmark_excess_returns, sessions, sessions_per_year=per_year
        )
        first, last = (iso_date(date) for date in sessions[[0, -1]])
        return cls(sharpe_per_session(excess_returns), len(sessions), float(per_year), first, last, returns)

    @classmethod
    def from_backtest(cls, result: BacktestResult, sessions_per_year: float) -> TrialResult:
        """Return the result of a backtest, without its benchmark where it has none."""
        return cls.from_returns(*excess_returns_with_benchmark(result), result.sessions, sessions_per_year)


def excess_returns_with_benchmark(result: BacktestResult) -> tuple[Array, Array]:
    """Return net returns of a strategy and of its benchmark in excess of cash; 0 for the second without a benchmark."""
    excess = result.net_return - result.session_cash_rate
    if result.benchmark is None or np.isnan(result.benchmark.net_return).any():
        return excess, np.zeros_like(excess)
    return excess, result.benchmark.net_return - result.benchmark.session_cash_rate


@dataclass(frozen=True, slots=True)
class Trial:
    """One config on one set of prices.

    Attributes
    ----------
    config_sha256 : digest of the config, as `RunConfig.results_sha256` returns it.
    name : of the run.
    config : as JSON with sorted keys; the home folder is written as ~.
    data_sha256 : digest of the prices; empty where it failed before they were read.
    price_keys : of the prices, by which the trials on overlapping prices are found; empty like `data_sha256`.
    variation : how it differs from the config, for a variation of the sensitivity analysis, or a run that scores a part
        of the sessions; empty for the config's run.
    result : None for a trial that was not evaluated.
    error : why it failed; None for a trial that was evaluated.
    selection_sha256 : of a run that chooses among candidates, the digest of what it chooses among; else empty.
    shown_by : of a candidate that such a run has shown, and that was not run itself, that digest; else empty.
    """

    config_sha256: str
    name: str
    config: str
    data_sha256: str
    price_keys: tuple[int, ...] = field(default=(), repr=False)
    variation: str = ""
    result: TrialResult | None = None
    error: str | None = None
    selection_sha256: str = ""
    shown_by: str = ""

    @classmethod
    def from_config(
        cls,
        config: RunConfig,
        *,
        data_sha256: str = "",
        price_keys: tuple[int, ...] = (),
        result: TrialResult | None = None,
        error: str | None = None,
    ) -> Trial:
        """Return the trial of a config on prices, given by their digest and keys."""
        text = hide_home_folder(canonical_json(config.model_dump(mode="json")))
        digest = config.results_sha256()
        error = None if error is None else hide_home_folder(error)
        first = config.report.score_from
        return cls(
            config_sha256=digest,
            name=config.name,
            config=text,
            data_sha256=data_sha256,
            price_keys=price_keys,
            variation=f"scored from {first}" if first else "",
            result=result,
            error=error,
            selection_sha256=_selection_sha256(config),
        )

    @classmethod
    def from_prices(cls, config: RunConfig, prices: Prices) -> Trial:
        """Return the trial of a config on prices, without its result."""
        return cls.from_config(config, data_sha256=prices.sha256, price_keys=price_overlap_keys(prices))

    @property
    def key(self) -> tuple[str, str]:
        """Digest of the config, and variation: what tells two trials on overlapping prices apart."""
        return self.config_sha256, self.variation


def _selection_sha256(config: RunConfig) -> str:
    """Return the digest of what a config chooses among and how, whatever its data, policy and costs; "" for nothing."""
    if config.selection is None:
        return ""
    sections = {"features", "model", "walk_forward"}
    candidates = [candidate.config.model_dump(mode="json", include=sections) for candidate in config.candidates()]
    values = canonical_json([config.selection.model_dump(mode="json", exclude={"over"}), candidates])
    return hashlib.sha256(values.encode()).hexdigest()


def monthly_returns(results: Iterable[TrialResult | None]) -> list[MonthlyReturns]:
    """Return the monthly returns of the results that have them."""
    return [result.returns for result in results if result is not None and result.returns is not None]


def canonical_json(value: object) -> str:
    """Return JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
