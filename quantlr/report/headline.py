"""The headline numbers as tables of text: skill first, then profit beside buy and hold, each with its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quantlr.report.figures.style import number, percent

FILLED = {"next_close": "the next close", "next_open": "the next open", "close": "the same close"}


@dataclass(frozen=True, slots=True)
class Headline:
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


def headline_tables(metrics: dict[str, Any]) -> tuple[Headline, ...]:
    """Return the tables that a run is judged by, from the numbers of ``metrics.json``."""
    return _knew(metrics["forecast"]), _paid(metrics), _filled(metrics["backtest"]["fills"])


def _knew(skill: dict[str, Any]) -> Headline:
    test = skill["pesaran_timmermann"]
    rows = (
        ("Right calls", (percent(skill["accuracy"]), _interval(skill["accuracy_ci95"], percent))),
        ("Right calls of the base rate", (percent(skill["accuracy_base_rate"]), "")),
        ("Area under the ROC curve", (_three(skill["auc"]), _interval(skill["auc_ci95"], _three))),
        ("Log loss", (_five(skill["log_loss"]), "")),
        ("Log loss of the base rate", (_five(skill["log_loss_base_rate"]), "")),
        ("Pesaran-Timmermann p value", (_three(test["p_value"] if test else None), "")),
    )
    return Headline("Did it know?", ("", "95% interval"), rows)


def _paid(metrics: dict[str, Any]) -> Headline:
    significance, found = metrics["significance"], metrics["backtest"]
    own, held = found["strategy"], found["benchmark"]

    def pair(label: str, key: str, style: Callable[[Any], str]) -> tuple[str, tuple[str, str]]:
        return label, (style(own[key]), style(held[key]))

    trials = significance["trials"]
    rows = (
        pair("Growth a year, after costs", "cagr", percent),
        pair("Volatility a year", "volatility", percent),
        pair("Sharpe ratio", "sharpe", number),
        pair("95% interval", "sharpe_ci95", lambda bounds: _interval(bounds, number)),
        ("Probabilistic Sharpe ratio", (percent(significance["probabilistic_sharpe"]), "")),
        (f"Deflated, {trials:,} trial{'s'[: trials > 1]}", (percent(significance["deflated_sharpe"]), "")),
        pair("Largest drawdown", "max_drawdown", percent),
        pair("Longest drawdown, sessions", "longest_drawdown_sessions", lambda value: number(value, decimals=0)),
        pair("Invested, on average", "exposure", lambda value: percent(value, decimals=0)),
        pair("Traded a year, times equity", "turnover_per_year", number),
        pair("Costs, total", "cost_total", percent),
        ("Breaks even at, bps a trade", (number(found["break_even_cost_bps"], decimals=1), "")),
    )
    return Headline("Did it pay?", ("strategy", "buy and hold"), rows)


def _filled(fills: dict[str, Any]) -> Headline:
    rows = tuple((_place(place, fills[fill]), _earned(fills[fill])) for fill, place in FILLED.items())
    return Headline("If filled at", ("Sharpe ratio", "growth a year"), rows)


def _place(place: str, numbers: dict[str, Any] | None) -> str:
    return place if numbers is None or numbers["tradable"] else f"{place}, not tradable"


def _earned(numbers: dict[str, Any] | None) -> tuple[str, str]:
    """Return what the same decisions earn at another price; nothing where there is no such price."""
    return ("–", "–") if numbers is None else (number(numbers["sharpe"]), percent(numbers["cagr"]))


def _interval(bounds: Any, style: Callable[[Any], str]) -> str:
    return f"{style(bounds[0])} to {style(bounds[1])}" if bounds else "–"


def _three(value: float | None) -> str:
    return number(value, decimals=3)


def _five(value: float | None) -> str:
    return number(value, decimals=5)
