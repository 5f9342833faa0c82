"""What a metric is: its entry in the registry, and the values that the functions of metrics take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from quantlr.backtest.trades import trade_table
from quantlr.core.errors import Fault
from quantlr.core.frequency import DAYS_PER_YEAR, CountedSessionsPerYear
from quantlr.core.values import Array, BacktestResult, BoolArray, Forecasts, IntArray
from quantlr.stats.benchmark_test import AlphaTest, alpha_test
from quantlr.stats.clark_west import clark_west_test
from quantlr.stats.directional import clustered_accuracy_and_auc_intervals
from quantlr.stats.family_wise import TrialFamily
from quantlr.stats.hac import Interval
from quantlr.stats.return_resamples import ReturnResamples
from quantlr.stats.sharpe_difference import SharpeDifference, sharpe_difference

Section = Literal["forecast", "backtest", "strategy_only", "by_ticker", "against_benchmark", "significance", "model"]
Place = Literal[
    "terminal",
    "tear_sheet",
    "report",
    "risk",
    "by_fill",
    "fills",
    "ticker",
    "gallery",
    "comparison",
    "sweep",
    "trials",
    "model_fit",
    "competitors",
]
SECTION_PATHS: Mapping[Section, tuple[str, ...]] = {
    "forecast": ("forecast",),
    "backtest": ("backtest", "strategy"),
    "strategy_only": ("backtest",),
    "by_ticker": ("backtest", "by_ticker"),
    "against_benchmark": ("significance",),
    "significance": ("significance",),
    "model": ("model",),
}
"""Where ``metrics.json`` has the metrics of each section."""
SECTIONS_OF_PLACES: Mapping[Place, tuple[Section, ...]] = {
    "by_fill": ("backtest",),
    "fills": ("backtest",),
    "ticker": ("backtest",),
    "comparison": ("backtest", "against_benchmark", "forecast"),
    "sweep": ("backtest", "strategy_only", "forecast"),
    "trials": ("backtest", "strategy_only", "forecast"),
    "model_fit": ("model",),
    "competitors": ("forecast", "backtest"),
}
"""Sections whose metrics can be computed for a place; for the places that are not listed, all of them."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a run: how it is computed, where ``metrics.json`` has it, and how and where people read it.

    Attributes
    ----------
    key : its key in ``metrics.json``.
    section : what it is computed from, and where ``metrics.json`` has it: "forecast", from `EvaluatedForecasts`;
        "backtest", from a `BacktestView`, once of the strategy and once of its benchmark; "strategy_only", from the
        strategy's `BacktestView`; "by_ticker", from a `TickerAttribution`, a list in the order of its tickers;
        "against_benchmark", from the same with its benchmark; "significance", from a
        `BacktestAndTrials`; "model", from a `FitView`.
    compute : returns the value; None where it is undefined.
    name : in the field's words, without unit; empty for a metric that only ``metrics.json`` has.
    decimals : digits after the decimal point.
    unit : shown in parentheses behind the name; empty where the name says all.
    is_percent : whether the value is a fraction that is shown as percent.
    is_probability : whether it is a p value or a confidence, which is never shown as 0 or 1: "< 0.001", "> 99.9%".
    better : which values are better.
    short_name : for the head of a narrow column; the name where it is empty.
    shown_in : where people read it, besides ``metrics.json``. "terminal": the table of a run in the terminal and in a
        notebook; "tear_sheet": the tables of the tear sheet and of ``report.html``, and "report": of the second only;
        "risk": the table of risk of both;
        "by_fill": the table by fill there, and "fills": by fill in ``metrics.json`` only; "ticker": the page of a
        ticker; "gallery": the cards; "comparison": the tables of a comparison, without those of which neither value is
        better in the terminal; "sweep": the terminal's table of a sweep, ``trials.csv`` and ``sweep.json``; "trials":
        these two files only; "model_fit": the table of the fits in ``report.html``; "competitors": the
        naive rules beside the run, and the entries of a race.
    interval : returns the 95 % interval, which is in ``metrics.json`` as ``KEY_ci95``.
    baseline : of a forecast metric, returns the baseline's value, which is in ``metrics.json`` as ``KEY_base_rate``.
    baseline_name : of that baseline. The baseline of a backtest metric is the benchmark.
    shown_key : where the value is a mapping, the key of the number in it that people read.
    shown_range : lowest and highest value that has a meaning; others are shown as undefined.
    count_key : key of a count of the same section that is written beside the value, as the number of trials.

    Raises
    ------
    ValueError : the metric is shown without a name, or in a place that metrics of its section are not computed for.
    """

    key: str
    section: Section
    compute: Callable[[Any], Any]
    name: str = ""
    decimals: int = 0
    unit: str = ""
    is_percent: bool = False
    is_probability: bool = False
    better: Literal["higher", "lower", "neither"] = "neither"
    short_name: str = ""
    shown_in: tuple[Place, ...] = ()
    interval: Callable[[Any], Interval | None] | None = None
    baseline: Callable[[Any], float] | None = None
    baseline_name: str = ""
    shown_key: str = ""
    shown_range: tuple[float, float] = (-np.inf, np.inf)
    count_key: str = ""

    def __post_init__(self) -> None:
        if self.shown_in and not self.name:
            raise ValueError(f"metric {self.key}: needed a name to be shown in {', '.join(self.shown_in)}, found none")
        for place in self.shown_in:
            possible = SECTIONS_OF_PLACES.get(place, tuple(SECTION_PATHS))
            if self.section not in possible:
                raise ValueError(
                    f"metric {self.key}: {place!r} shows metrics of the sections {', '.join(possible)}, found section "
                    f"{self.section}; leave {place!r} out of shown_in"
                )

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def column_heading(self) -> str:
        """Head of a narrow column."""
        return self.short_name or self.name

    @property
    def better_sign(self) -> Literal[-1, 0, 1]:
        """1 where a higher value is better, -1 where a lower one is, 0 where neither is."""
        return 1 if self.better == "higher" else -1 if self.better == "lower" else 0

    @property
    def interval_key(self) -> str:
        """Key of the 95 % interval in ``metrics.json``."""
        return f"{self.key}_ci95"

    @property
    def baseline_key(self) -> str:
        """Key of the baseline's value in ``metrics.json``."""
        return f"{self.key}_base_rate"

    def compute_values(self, source: Any) -> dict[str, Any]:
        """Return the value, its interval and its baseline's value as ``metrics.json`` has them, by key."""
        values = {self.key: self.compute(source)}
        if self.interval:
            values[self.interval_key] = self.interval(source)
        return values | self.compute_baseline_value(source)

    def compute_baseline_value(self, source: Any) -> dict[str, Any]:
        """Return the baseline's value by its key; empty where the metric has no baseline."""
        return {self.baseline_key: self.baseline(source)} if self.baseline else {}

    def value(self, metrics: Mapping[str, Any]) -> Any:
        """Return the number that people read from ``metrics.json``; None where it is undefined or not there."""
        return self.shown_value(self._read(metrics, self.key))

    def shown_value(self, value: Any) -> Any:
        """Return the number that people read from a computed value."""
        return (value or {}).get(self.shown_key) if self.shown_key else value

    def interval_value(self, metrics: Mapping[str, Any]) -> Any:
        """Return the interval from ``metrics.json``; None where it is undefined or not there."""
        return self._read(metrics, self.interval_key)

    def baseline_value(self, metrics: Mapping[str, Any]) -> Any:
        """Return the value of the baseline or benchmark from ``metrics.json``; None where there is none."""
        if self.section == "backtest":
            return metrics["backtest"]["benchmark"].get(self.key)
        return self._read(metrics, self.baseline_key)

    def _read(self, metrics: Mapping[str, Any], key: str) -> Any:
        section: Any = metrics
        for name in SECTION_PATHS[self.section]:
            section = section[name]
        return section.get(key)  # a report of before the metric was added does not have it

    def plain_text(self, value: Any) -> str:
        """Return a value as plain text; a hyphen where it is undefined."""
        if not self.has_meaning(value):
            return "-"
        return self.bound_text(value) or f"{value:,.{self.decimals}{'%' if self.is_percent else 'f'}}"

    def has_meaning(self, value: float | None) -> bool:
        """Return whether a value is defined and within `shown_range`."""
        return value is not None and self.shown_range[0] <= value <= self.shown_range[1]

    def bound_text(self, value: float | None) -> str:
        """Return the bound that a probability is shown by if its digits would be those of 0 or 1; else ""."""
        if value is None or not self.is_probability:
            return ""
        kind, smallest = ("%", 10.0 ** -(self.decimals + 2)) if self.is_percent else ("f", 10.0**-self.decimals)
        if value < smallest / 2 if self.is_percent else value < smallest:
            return f"< {smallest:.{self.decimals}{kind}}"
        return f"> {1 - smallest:.{self.decimals}{kind}}" if value >= 1 - smallest / 2 else ""


@dataclass(frozen=True)
class EvaluatedForecasts:
    """Forecasts whose outcome is known.

    Attributes
    ----------
    log_odds, probability, up, base_rate : (n,) as in `Forecasts`, without the rows that have no outcome.
    ticker, session : (n,) position of the ticker, and of the session at whose close the forecast was made.
    has_dependent_outcomes : whether forecasts overlap in time or share a session.
    horizon : sessions that a forecast spans.
    seed : of everything random; each metric has a generator of its own, whichever others are computed.
    all_forecasts : the forecasts that these were taken from, those without an outcome included; None if only some of
        their rows were taken, or they were read from the files of a report.
    """

    log_odds: Array
    probability: Array
    up: Array
    base_rate: Array
    ticker: IntArray
    session: IntArray
    has_dependent_outcomes: bool
    horizon: int
    seed: int = 0
    all_forecasts: Forecasts | None = None

    @cached_property
    def clark_west(self) -> Mapping[str, float | int | None]:
        """The test of skill, as `clark_west_test` returns it; made when first asked for.

        Raises
        ------
        Fault : `all_forecasts` is None.
        """
        if self.all_forecasts is None:
            raise Fault("the Clark-West test needs all forecasts of a run, and what their refits were trained on")
        return clark_west_test(self.all_forecasts)

    @cached_property
    def clustered_intervals(self) -> tuple[Interval, Interval | None]:
        """The 95 % intervals of accuracy and AUC by the bootstrap of whole sessions, drawn once for both."""
        return clustered_accuracy_and_auc_intervals(
            self.probability,
            self.hits,
            self.up,
            session=self.session,
            horizon=self.horizon,
            rng=np.random.default_rng(self.seed),
        )

    @property
    def predicted_up(self) -> BoolArray:
        """(n,) whether an up move is forecast: the probability is above one half, whatever the policy."""
        return np.asarray(self.probability > 0.5)

    @property
    def hits(self) -> BoolArray:
        """(n,) whether the forecast was right."""
        return np.asarray(self.predicted_up == (self.up == 1))

    @property
    def log_losses(self) -> Array:
        """(n,) log loss of each forecast, in nats; infinite where one was certain and wrong."""
        return np.asarray(np.logaddexp(0.0, np.where(self.up > 0, -self.log_odds, self.log_odds)))

    @property
    def baseline_hits(self) -> BoolArray:
        """(n,) whether the majority-class baseline, the majority of the training rows, was right."""
        return np.asarray((self.base_rate > 0.5) == (self.up == 1))


def evaluate_forecasts(forecasts: Forecasts, *, seed: int = 0) -> EvaluatedForecasts:
    """Return the forecasts whose outcome is known."""
    columns = forecast_columns(forecasts, ~np.isnan(forecasts.up))
    return EvaluatedForecasts(
        **columns,
        has_dependent_outcomes=forecasts.has_dependent_outcomes,
        horizon=forecasts.horizon,
        seed=seed,
        all_forecasts=forecasts,
    )


def forecast_columns(forecasts: Forecasts | EvaluatedForecasts, row_mask: BoolArray) -> dict[str, Any]:
    """Return the columns of `EvaluatedForecasts` by name, of the forecasts that the mask selects."""
    names = ("log_odds", "probability", "up", "base_rate", "ticker", "session")
    return {name: getattr(forecasts, name)[row_mask] for name in names}


@dataclass(frozen=True)
class BacktestView:
    """A backtest, its trades, and what annual and random metrics need.

    Attributes
    ----------
    result : the strategy's or the benchmark's.
    sessions_per_year : for annual figures.
    seed : of everything random; each metric has a generator of its own, whichever others are computed.
    strategy : of a benchmark's backtest, the strategy that it is compared with; both share their resamples.
    """

    result: BacktestResult
    sessions_per_year: int
    seed: int = 0
    strategy: BacktestView | None = None

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Its trades, as `trade_table` returns them; found when first asked for, which takes longer than all else.

        Raises
        ------
        Fault : the backtest has no single tickers, because it was read from the files of a report.
        """
        if not self.result.tickers:
            raise Fault(
                "a metric of trades needs the tickers of a backtest, and the files of a report do not have them"
            )
        return trade_table(self.result)

    @property
    def years(self) -> float:
        """Length in years: by the calendar, unless the config states the sessions per year."""
        if isinstance(self.sessions_per_year, CountedSessionsPerYear):
            dates = self.result.fill_dates
            return float((dates[-1] - dates[0]).days / DAYS_PER_YEAR)
        return len(self.result.equity) / self.sessions_per_year

    @property
    def excess_returns(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return self.result.net_return - self.result.session_cash_rate

    @property
    def gross_excess_returns(self) -> Array:
        """(sessions,) gross returns in excess of cash."""
        return self.result.gross_return - self.result.session_cash_rate

    @property
    def ticker_excess_returns(self) -> Array:
        """(sessions, tickers) returns of the tickers in excess of cash; NaN before a first bar and after a last one."""
        excess = self.result.ticker_return - np.reshape(self.result.session_cash_rate, (-1, 1))
        return np.where(self.result.ticker_listed_mask, excess, np.nan)

    @property
    def benchmark_excess_returns(self) -> Array | None:
        """(sessions,) net returns of the benchmark in excess of cash; None without one in each session."""
        benchmark = self.result.benchmark
        if benchmark is None or np.isnan(benchmark.net_return).any():
            return None
        return benchmark.net_return - benchmark.session_cash_rate

    @cached_property
    def alpha_test(self) -> AlphaTest | None:
        """Regression on the benchmark's returns, with its test; None without a benchmark."""
        benchmark = self.benchmark_excess_returns
        return None if benchmark is None else alpha_test(self.excess_returns, benchmark)

    @cached_property
    def sharpe_difference(self) -> SharpeDifference | None:
        """Sharpe ratio less the benchmark's, per session; None without a benchmark, or where one is undefined."""
        benchmark = self.benchmark_excess_returns
        return None if benchmark is None else sharpe_difference(self.excess_returns, benchmark)

    @cached_property
    def return_resamples(self) -> ReturnResamples:
        """Resamples of the sessions of the strategy and, where there is one, of its benchmark; drawn once."""
        if self.strategy is not None:
            return self.strategy.return_resamples
        return ReturnResamples(self.excess_returns, self.benchmark_excess_returns, seed=self.seed)

    @property
    def annual_factor(self) -> float:
        """Factor from a Sharpe ratio or a volatility per session to the annual one: sqrt(sessions per year)."""
        return float(np.sqrt(self.sessions_per_year))


@dataclass(frozen=True, slots=True)
class BacktestAndTrials:
    """A strategy's backtest and forecasts, and the trials that it is one of.

    Attributes
    ----------
    backtest, forecasts : the strategy's.
    family : the trials on the same prices, this one included.
    """

    backtest: BacktestView
    forecasts: EvaluatedForecasts
    family: TrialFamily
