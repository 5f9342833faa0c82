"""The benchmarks that a strategy can be compared with, and their names for people."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantlr.core.components import ChoiceDescriptions, ConfigSection, Ticker

BENCHMARK_DESCRIPTIONS = {
    "buy_and_hold": "buy the tickers with a forecast in equal parts, and keep them",
    "cash": "hold cash only, at execution.cash_rate",
    "equal_weight": "hold the tickers with a forecast in equal parts, made equal again every session",
}


class BenchmarkTicker(ConfigSection):
    """One ticker, bought at the first fill and held, with the run's costs; in cash where it has no bar yet."""

    ticker: Ticker = Field(
        description="Its symbol, as the source writes it; it need not be traded, and no model sees it.",
        examples=["SPY"],
    )


Benchmark = (
    Annotated[Literal["buy_and_hold", "cash", "equal_weight"], ChoiceDescriptions(BENCHMARK_DESCRIPTIONS)]
    | BenchmarkTicker
)


def benchmark_name(benchmark: Benchmark) -> str:
    """Return the name of a benchmark in terminal, pages and sentences."""
    return benchmark.ticker if isinstance(benchmark, BenchmarkTicker) else benchmark.replace("_", " ")
