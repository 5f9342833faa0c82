"""The metrics that people read, each with its label, unit and format, and the tables, notes and lines of text of a run.

`DISPLAYED_METRICS` is the one list of labels and formats: the terminal's table, a notebook, the tear sheet,
``report.html``, the gallery and comparisons all take them from there.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from quantlr.core.values import Note
from quantlr.report.style import number_text, percent_text

FILL_LABELS = {"next_close": "Next close", "next_open": "Next open", "close": "Same close"}
MAX_TICKERS_PER_NOTE_KIND = 3
"""Tickers above which notes of one kind are joined into one note."""
MAX_NOTE_TICKERS_CHARS = 100
"""Characters of the list of tickers in a note."""


@dataclass(frozen=True, slots=True)
class DisplayedMetric:
    """A metric of ``metrics.json``, and how people read it.

    Attributes
    ----------
    key : its key in ``metrics.json``.
    name : in the field's words, without unit.
    decimals : digits after the decimal point.
    unit : shown in parentheses behind the name; empty where the name says all.
    is_percent : whether the value is a fraction that is shown as percent.
    better_sign : 1 where a larger value is better, -1 where a smaller one is, 0 where neither is.
    section : of ``metrics.json``: "forecast", "backtest" or "significance".
    baseline_name : whose value it is compared with; empty where that is the one of the metric listed before.
    short_name : for the head of a narrow column; the name where it is empty.
    """

    key: str
    name: str
    decimals: int
    unit: str = ""
    is_percent: bool = False
    better_sign: Literal[-1, 0, 1] = 0
    section: Literal["forecast", "backtest", "significance"] = "backtest"
    baseline_name: str = ""
    short_name: str = ""

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def column_heading(self) -> str:
        """Head of a narrow column."""
        return self.short_name or self.name

    def plain_text(self, value: float | None) -> str:
        """Return a value as plain text; a hyphen where it is undefined."""
        return "-" if value is None else f"{value:,.{self.decimals}{'%' if self.is_percent else 'f'}}"

    def baseline_label(self, metrics: dict[str, Any]) -> str:
        """Return the baseline's name; that of the run's own benchmark from ``metrics.json``."""
        return benchmark_label(metrics) if self.baseline_name == "benchmark" else self.baseline_name

    def value_and_baseline(self, metrics: dict[str, Any]) -> tuple[Any, Any]:
        """Return the run's value and the baseline's from ``metrics.json``; for metrics that have a baseline."""
        if self.section == "forecast":
            return metrics["forecast"][self.key], metrics["forecast"][f"{self.key}_base_rate"]
        return metrics["backtest"]["strategy"][self.key], metrics["backtest"]["benchmark"][self.key]


DISPLAYED_METRICS = {
    metric.key: metric
    for metric in (
        DisplayedMetric("accuracy", "accuracy", 1, is_percent=True, better_sign=1, section="forecast",
                        baseline_name="majority-class baseline"),
        DisplayedMetric("log_loss", "log loss", 5, better_sign=-1, section="forecast",
                        baseline_name="base-rate forecast"),
        DisplayedMetric("auc", "area under the ROC curve", 3, better_sign=1, section="forecast"),
        DisplayedMetric("cagr", "CAGR", 1, is_percent=True, better_sign=1, baseline_name="benchmark"),
        DisplayedMetric("volatility", "volatility", 1, unit="annualised", is_percent=True),
        DisplayedMetric("sharpe", "Sharpe ratio", 2, better_sign=1, short_name="Sharpe"),
        DisplayedMetric("probabilistic_sharpe", "probabilistic Sharpe ratio", 1, is_percent=True, better_sign=1,
                        section="significance"),
        DisplayedMetric("deflated_sharpe", "deflated Sharpe ratio", 1, is_percent=True, better_sign=1,
                        section="significance"),
        DisplayedMetric("max_drawdown", "max drawdown", 1, is_percent=True, better_sign=1, short_name="max DD"),
        DisplayedMetric("longest_drawdown_sessions", "longest drawdown", 0, unit="sessions", better_sign=-1),
        DisplayedMetric("exposure", "average exposure", 0, is_percent=True),
        DisplayedMetric("turnover_per_year", "turnover", 1, unit="annual, x equity"),
        DisplayedMetric("cost_total", "total costs", 1, is_percent=True, better_sign=-1),
        DisplayedMetric("break_even_cost_bps", "break-even cost", 1, unit="bps per side", better_sign=1),
        DisplayedMetric("trades", "trades", 0),
    )
}  # fmt: skip
"""Every metric that people read, by key."""
HEADLINE_METRICS = tuple(
    DISPLAYED_METRICS[key]
    for key in (
        "accuracy", "log_loss", "cagr", "volatility", "sharpe", "max_drawdown", "turnover_per_year", "trades",
    )
)  # fmt: skip
"""The lines of the terminal's table, in order."""


def headline_text_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return label, value, baseline's value and baseline's name of each headline metric, as text."""
    rows = []
    for metric in HEADLINE_METRICS:
        value_text, baseline_text = map(metric.plain_text, metric.value_and_baseline(metrics))
        rows.append((metric.label, value_text, baseline_text, metric.baseline_label(metrics)))
    return rows


def benchmark_label(metrics: dict[str, Any]) -> str:
    """Return the name of a run's benchmark, from ``metrics.json``; older files have none."""
    return str(metrics["backtest"].get("benchmark_name", "buy and hold"))


@dataclass(frozen=True, slots=True)
class HeadlineChange:
    """The change of a headline metric since the previous run of the same name.

    Attributes
    ----------
    previous_text : the previous value as text.
    difference_text : difference of the two values as they are shown, with its sign; empty where there is none.
    assessment : "better", "worse" or "same"; empty where neither direction is better.
    """

    previous_text: str
    difference_text: str
    assessment: Literal["better", "worse", "same", ""]


def headline_changes(metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> list[HeadlineChange]:
    """Return the change of each headline metric, in the order of `headline_text_rows`.

    Raises
    ------
    LookupError, TypeError, ValueError, ArithmeticError : `previous_metrics` is not laid out as metrics are.
    """
    return [_headline_change(metric, metrics, previous_metrics) for metric in HEADLINE_METRICS]


def _headline_change(
    metric: DisplayedMetric, metrics: dict[str, Any], previous_metrics: dict[str, Any]
) -> HeadlineChange:
    value, previous_value = (metric.value_and_baseline(values)[0] for values in (metrics, previous_metrics))
    text, previous_text = metric.plain_text(value), metric.plain_text(previous_value)
    if text == previous_text:
        return HeadlineChange(previous_text, "", "same")
    if value is None or previous_value is None:
        return HeadlineChange(previous_text, "", "")
    difference = _parse_formatted_number(text) - _parse_formatted_number(previous_text)
    gain = metric.better_sign * difference
    difference_text = f"{difference:+,}{' pp' if metric.is_percent else ''}"
    return HeadlineChange(previous_text, difference_text, "better" if gain > 0 else "worse" if gain < 0 else "")


def _parse_formatted_number(text: str) -> Decimal:
    return Decimal(text.rstrip("%").replace(",", ""))


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
    rows: Sequence[tuple[str, tuple[str, ...]]]


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
    skill: list[tuple[str, tuple[str, ...]]] = []
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
        TextTable("Forecast skill", ("", "95% interval"), skill),
        TextTable("Performance", ("strategy", benchmark_label(metrics)), _performance_rows(metrics)),
        TextTable("Performance by fill", ("Sharpe ratio", "CAGR"), fill_rows),
    )


def _performance_rows(metrics: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    significance, backtest = metrics["significance"], metrics["backtest"]
    trials = significance["trials"]

    def compared(key: str, text: Callable[[str, Any], str] = metric_text, suffix: str = "") -> tuple[str, str]:
        strategy, benchmark = (backtest[side][f"{key}{suffix}"] for side in ("strategy", "benchmark"))
        return text(key, strategy), text(key, benchmark)

    rows: list[tuple[str, tuple[str, ...]]] = [(f"{metric_label('cagr')} after costs", compared("cagr"))]
    rows += [(metric_label(key), compared(key)) for key in ("volatility", "sharpe")]
    rows.append(("95% interval", compared("sharpe", interval_text, "_ci95")))
    for key, detail in (("probabilistic_sharpe", ""), ("deflated_sharpe", f", {trials:,} trial{'s'[: trials > 1]}")):
        rows.append((f"{metric_label(key)}{detail}", (metric_text(key, significance[key]), "")))
    risk_and_costs = ("max_drawdown", "longest_drawdown_sessions", "exposure", "turnover_per_year", "cost_total")
    rows += [(metric_label(key), compared(key)) for key in risk_and_costs]
    key = "break_even_cost_bps"
    return [*rows, (metric_label(key), (metric_text(key, backtest[key]), ""))]


def confidence_interval_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and 95 % interval as text; a hyphen where the interval is undefined."""
    sections = {"accuracy": metrics["forecast"], "auc": metrics["forecast"], "sharpe": metrics["backtest"]["strategy"]}
    rows = []
    for key, section in sections.items():
        metric, bounds = DISPLAYED_METRICS[key], section[f"{key}_ci95"]
        rows.append((metric.label, " to ".join(map(metric.plain_text, bounds)) if bounds else "-"))
    return rows


def ticker_list_text(tickers: Sequence[str], *, max_chars: int) -> str:
    """Return tickers as one text; the first and the number of the others where that is over `max_chars` long."""
    text = ", ".join(tickers)
    return text if len(text) <= max_chars else f"{tickers[0]:.{max_chars}} and {len(tickers) - 1} more tickers"


def note_text(note: Note) -> str:
    """Return a note as one line: ticker and date, what happened, how often."""
    subject = " ".join(part for part in (note.ticker, note.date) if part)
    count = f" ({note.count:,})" if note.count > 1 else ""
    return f"{subject}: {note.text}{count}" if subject else f"{note.text}{count}"


def condense_notes(notes: Iterable[Note]) -> list[Note]:
    """Return the notes that are shown unasked: warm-up left out, one kind over many tickers joined into one note.

    Notes are of one kind where they have the same key, or, without a key, the same text but for its numbers. The
    joined note is that of the first ticker, with the names of the others; ``provenance.json`` has each of them.
    """
    by_kind: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        if note.stage != "features":
            kind = note.key or re.sub(r"\S*\d\S*", "#", note.text)
            by_kind.setdefault((note.stage, kind), []).append(note)
    condensed: list[Note] = []
    for same_kind in by_kind.values():
        first = same_kind[0]
        others = list(dict.fromkeys(note.ticker for note in same_kind if note.ticker))[1:]
        if len(others) < MAX_TICKERS_PER_NOTE_KIND:
            condensed += same_kind
            continue
        names = textwrap.shorten(", ".join(others), width=MAX_NOTE_TICKERS_CHARS, placeholder=" …")
        count = f" ({first.count:,})" if first.count > 1 else ""
        text = f"{first.text}{count}; {len(others):,} more tickers, all in provenance.json: {names}"
        condensed.append(Note(first.stage, text, ticker=first.ticker, date=first.date, key=first.key))
    return condensed


def sweep_summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the results over all trials of a sweep, a line of text each."""
    trials, no_skill, common = summary["trials"], summary["no_skill"], summary["common"]
    lines = [f"{trials['evaluated']:,} of {trials['tried']:,} trials evaluated"]
    if trials["failed"]:
        lines[0] += f", {trials['failed']:,} failed"
    if common["sessions"]:
        lines.append(f"compared on {common['sessions']:,} sessions, {common['first']} to {common['last']}")
    expected, n_trials = no_skill["expected_max_sharpe"], no_skill["trials"]
    if expected is not None:
        lines.append(f"expected maximum Sharpe ratio of {n_trials:,} trials under no skill: {expected:.2f}")
    if summary["overfitting"]["probability"] is not None:
        lines.append(f"probability of backtest overfitting: {summary['overfitting']['probability']:.0%}")
    if (test := summary["superior"]) is not None:
        lines.append(
            f"hypothesis that none beats {summary['benchmark_name']}: p = {test['p_value']:.2f} (Hansen's SPA); "
            f"selected by StepM: {len(test['better']):,} of {test['compared']:,}"
        )
    return lines


def learning_rate_text(model_metrics: dict[str, Any]) -> str:
    """Return the learning rate with its limit, from the `model` section of ``metrics.json`` or its keys alone."""
    rate, limit = model_metrics["learning_rate"], model_metrics["learning_rate_limit"]
    if limit is None:
        return "none, no refit was fitted"
    if model_metrics["solver"] == "nesterov":
        return f"{rate:.4g} (at most 1/L = {limit:.4g})"
    if model_metrics["solver"] == "gradient_descent":
        return f"{rate:.4g} (limit 2/L = {limit:.4g})"
    return f"the inverse Hessian (a number would have to be below 2/L = {limit:.4g})"


def solver_text(model_metrics: dict[str, Any]) -> str:
    """Return one sentence about the fits: solver, learning rate, and how the descent ended."""
    n_refits, n_converged = model_metrics["refits"], model_metrics["refits"] - model_metrics["unconverged"]
    if model_metrics["solver"] is None:
        return f"{n_converged:,} of {n_refits:,} refits converged"
    return (
        f"{model_metrics['solver']}, learning rate {learning_rate_text(model_metrics)}; {n_converged:,} of "
        f"{n_refits:,} refits converged, in {model_metrics['iterations_mean']:.1f} updates on average and "
        f"{model_metrics['iterations_max']:,} at most; largest gradient left {model_metrics['max_abs_gradient']:.1e}, "
        f"tolerance {model_metrics['tol']:.0e}"
    )
