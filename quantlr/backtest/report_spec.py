"""The `report` section of a config: the benchmark, the sessions of a year, and the pages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, StrictInt

from quantlr.backtest.benchmark import Benchmark, BenchmarkTicker
from quantlr.core.components import ConfigSection, IsoDate, Unit
from quantlr.core.errors import DataError
from quantlr.core.frequency import MAX_COUNT_DIFFERENCE, count_sessions
from quantlr.core.timing import iso_date
from quantlr.core.values import Prices

PageName = Literal["tearsheet", "forecast", "model", "selection", "positions", "tickers"]
SessionsPerYear = Literal["auto"] | Annotated[StrictInt, Unit("sessions per year"), Field(ge=1, le=366)]


class ReportSpec(ConfigSection):
    """The benchmark of a run, how annual figures are computed, and which pages are drawn."""

    benchmark: Benchmark = Field(
        "buy_and_hold", description="The strategy's benchmark.", examples=["buy_and_hold", {"ticker": "SPY"}]
    )
    sessions_per_year: SessionsPerYear = Field(
        "auto",
        description="Sessions in a year, for annual figures, interest and borrow; auto counts them from the dates of "
        "the prices, and measures CAGR, interest and borrow by the calendar.",
    )
    score_from: IsoDate | None = Field(
        None,
        description="Session from which on forecasts and returns are scored, as YYYY-MM-DD; earlier forecasts are made "
        "as without it, and are trained on as theirs would be, but enter no metric, verdict or page. Null scores all.",
        examples=["2010-01-04"],
    )
    pages: Literal["all"] | tuple[PageName, ...] = Field(
        ("tearsheet", "forecast", "model", "selection", "positions", "tickers"),
        description="Pages that are drawn, as far as they apply to the run; all draws every page.",
        examples=["all", ["tearsheet"]],
    )
    per_ticker: Annotated[bool, Strict()] = Field(
        False, description="Whether to draw a page for each ticker as well, in the report's folder tickers/."
    )

    @property
    def benchmark_ticker(self) -> str | None:
        """The ticker of the benchmark; None for another benchmark."""
        return self.benchmark.ticker if isinstance(self.benchmark, BenchmarkTicker) else None

    def sessions_in_year(self, prices: Prices) -> int:
        """Return the sessions in a year: the config's number, or those counted from the dates of the prices.

        Raises
        ------
        DataError : the config's number is over 10 % from the count.
        """
        counted = prices.counted_sessions_per_year or count_sessions(prices.sessions, prices.session)
        number = self.sessions_per_year
        if number == "auto":
            return counted
        if abs(number - counted.count) > MAX_COUNT_DIFFERENCE * counted.count:
            dates = f"{iso_date(prices.sessions[0])} to {iso_date(prices.sessions[-1])}"
            text = f"report.sessions_per_year is {number}, and the prices have {counted.count:.1f} sessions a year"
            raise DataError(f"{text} ({dates}); write auto or about {int(counted)}", key="report.sessions_per_year")
        return number
