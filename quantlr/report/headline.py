"""The headline numbers as tables of text: skill first, then profit beside buy and hold, each with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quantlr.report.style import number_text, percent_text

FILL_LABELS = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of numbers as text.

    Attributes
    ----------
    title : what it answers.
    columns : heads of the columns of numbers.
    rows : each a label and as many cells; an empty one says nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def headline_tables(metrics: dict[str, Any]) -> tuple[TextTable, ...]:
    """Return the tables that a run is judged by, from the numbers of ``metrics.json``."""
    return (
        _forecast_skill_table(metrics["forecast"]),
        _performance_table(metrics),
        _fills_table(metrics["backtest"]["fills"]),
    )


def _forecast_skill_table(forecast_metrics: dict[str, Any]) -> TextTable:
    test = forecast_metrics["pesaran_timmermann"]
    rows = (
        (
            "Right calls",
            (
                percent_text(forecast_metrics["accuracy"]),
                _interval_text(forecast_metrics["accuracy_ci95"], percent_text),
            ),
        ),
        ("Right calls of the base rate", (percent_text(forecast_metrics["accuracy_base_rate"]), "")),
        (
            "Area under the ROC curve",
            (
                _format_3_decimals(forecast_metrics["auc"]),
                _interval_text(forecast_metrics["auc_ci95"], _format_3_decimals),
            ),
        ),
        ("Log loss", (_format_5_decimals(forecast_metrics["log_loss"]), "")),
        ("Log loss of the base rate", (_format_5_decimals(forecast_metrics["log_loss_base_rate"]), "")),
        ("Pesaran-Timmermann p value", (_format_3_decimals(test["p_value"] if test else None), "")),
    )
    return TextTable("Did it know?", ("", "95% interval"), rows)


def _performance_table(metrics: dict[str, Any]) -> TextTable:
    significance, found = metrics["significance"], metrics["backtest"]
    own, held = found["strategy"], found["benchmark"]

    def strategy_and_benchmark_row(
        label: str, metric_key: str, formatter: Callable[[Any], str]
    ) -> tuple[str, tuple[str, str]]:
        return label, (formatter(own[metric_key]), formatter(held[metric_key]))

    trials = significance["trials"]
    rows = (
        strategy_and_benchmark_row("Growth a year, after costs", "cagr", percent_text),
        strategy_and_benchmark_row("Volatility a year", "volatility", percent_text),
        strategy_and_benchmark_row("Sharpe ratio", "sharpe", number_text),
        strategy_and_benchmark_row("95% interval", "sharpe_ci95", lambda bounds: _interval_text(bounds, number_text)),
        ("Probabilistic Sharpe ratio", (percent_text(significance["probabilistic_sharpe"]), "")),
        (f"Deflated, {trials:,} trial{'s'[: trials > 1]}", (percent_text(significance["deflated_sharpe"]), "")),
        strategy_and_benchmark_row("Largest drawdown", "max_drawdown", percent_text),
        strategy_and_benchmark_row(
            "Longest drawdown, sessions", "longest_drawdown_sessions", lambda value: number_text(value, decimals=0)
        ),
        strategy_and_benchmark_row("Invested, on average", "exposure", lambda value: percent_text(value, decimals=0)),
        strategy_and_benchmark_row("Traded a year, times equity", "turnover_per_year", number_text),
        strategy_and_benchmark_row("Costs, total", "cost_total", percent_text),
        ("Breaks even at, bps a trade", (number_text(found["break_even_cost_bps"], decimals=1), "")),
    )
    return TextTable("Did it pay?", ("strategy", "buy and hold"), rows)


def _fills_table(metrics_by_fill: dict[str, Any]) -> TextTable:
    rows = tuple(
        (_fill_label(place, metrics_by_fill[fill]), _fill_cells(metrics_by_fill[fill]))
        for fill, place in FILL_LABELS.items()
    )
    return TextTable("If filled at", ("Sharpe ratio", "growth a year"), rows)


def _fill_label(label: str, fill_metrics: dict[str, Any] | None) -> str:
    return label if fill_metrics is None or fill_metrics["tradable"] else f"{label}, not tradable"


def _fill_cells(fill_metrics: dict[str, Any] | None) -> tuple[str, str]:
    """Return what the same decisions earn at another price; nothing where there is no such price."""
    return (
        ("–", "–")
        if fill_metrics is None
        else (number_text(fill_metrics["sharpe"]), percent_text(fill_metrics["cagr"]))
    )


def _interval_text(bounds: Any, formatter: Callable[[Any], str]) -> str:
    return f"{formatter(bounds[0])} to {formatter(bounds[1])}" if bounds else "–"


def _format_3_decimals(value: float | None) -> str:
    return number_text(value, decimals=3)


def _format_5_decimals(value: float | None) -> str:
    return number_text(value, decimals=5)
