"""The tables of metrics on the tear sheet and in ``report.html``: forecast skill, performance, and fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quantlr.report.style import number_text, percent_text
from quantlr.report.summary import DISPLAYED_METRICS

FILL_LABELS = {"next_close": "Next close", "next_open": "Next open", "close": "Same close"}
TableRows = list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of numbers as text.

    Attributes
    ----------
    title : of the table.
    columns : heads of the columns of numbers.
    rows : each a label and as many cells as there are columns; an undefined number is a dash.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def metric_text(key: str, value: float | None) -> str:
    """Return a metric's value as pages show it: a real minus sign, a dash where it is undefined."""
    metric = DISPLAYED_METRICS[key]
    return (percent_text if metric.is_percent else number_text)(value, decimals=metric.decimals)


def interval_text(key: str, bounds: Any, *, undefined: str = "–") -> str:
    """Return an interval of a metric as pages show it."""
    if not bounds:
        return undefined
    low, high = bounds
    return f"{metric_text(key, low)} to {metric_text(key, high)}"


def metric_label(key: str) -> str:
    """Return a metric's label, its first letter a capital."""
    label = DISPLAYED_METRICS[key].label
    return label[0].upper() + label[1:]


def headline_tables(metrics: dict[str, Any]) -> tuple[TextTable, ...]:
    """Return the tables of a run's metrics, from the numbers of ``metrics.json``."""
    forecast, fills = metrics["forecast"], metrics["backtest"]["fills"]
    skill: TableRows = []
    for key in ("accuracy", "auc", "log_loss"):
        interval = interval_text(key, forecast[f"{key}_ci95"]) if f"{key}_ci95" in forecast else ""
        skill.append((metric_label(key), (metric_text(key, forecast[key]), interval)))
        baseline = DISPLAYED_METRICS[key].baseline_name
        if baseline:
            skill.append((f"{metric_label(key)}, {baseline}", (metric_text(key, forecast[f"{key}_base_rate"]), "")))
    test = forecast["pesaran_timmermann"]
    skill.append(("Pesaran-Timmermann p value", (number_text(test["p_value"] if test else None, decimals=3), "")))
    fill_rows = []
    for fill, label in FILL_LABELS.items():
        values = fills[fill]
        cells = tuple(metric_text(key, values[key]) if values else "–" for key in ("sharpe", "cagr"))
        fill_rows.append((label if values is None or values["tradable"] else f"{label}, not tradable", cells))
    return (
        TextTable("Forecast skill", ("", "95% interval"), tuple(skill)),
        TextTable("Performance", ("strategy", "buy and hold"), tuple(_performance_rows(metrics))),
        TextTable("Performance by fill", ("Sharpe ratio", "CAGR"), tuple(fill_rows)),
    )


def _performance_rows(metrics: dict[str, Any]) -> TableRows:
    significance, backtest = metrics["significance"], metrics["backtest"]
    trials = significance["trials"]

    def compared(key: str, text: Callable[[str, Any], str] = metric_text, suffix: str = "") -> tuple[str, str]:
        strategy, benchmark = (backtest[side][f"{key}{suffix}"] for side in ("strategy", "benchmark"))
        return text(key, strategy), text(key, benchmark)

    rows: TableRows = [(f"{metric_label('cagr')} after costs", compared("cagr"))]
    rows += [(metric_label(key), compared(key)) for key in ("volatility", "sharpe")]
    rows.append(("95% interval", compared("sharpe", interval_text, "_ci95")))
    for key, detail in (("probabilistic_sharpe", ""), ("deflated_sharpe", f", {trials:,} trial{'s'[: trials > 1]}")):
        rows.append((f"{metric_label(key)}{detail}", (metric_text(key, significance[key]), "")))
    risk_and_costs = ("max_drawdown", "longest_drawdown_sessions", "exposure", "turnover_per_year", "cost_total")
    rows += [(metric_label(key), compared(key)) for key in risk_and_costs]
    key = "break_even_cost_bps"
    return [*rows, (metric_label(key), (metric_text(key, backtest[key]), ""))]
