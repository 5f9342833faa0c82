"""The metrics of a run as text, with the labels and formats of their registry, and its tables, notes and lines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from quantlr.backtest.metric_types import Metric, Place
from quantlr.backtest.metrics import METRICS, find_metric, metrics_shown_in
from quantlr.backtest.naive_rules import NAIVE_RULES
from quantlr.core.frequency import bar_unit
from quantlr.core.values import Note
from quantlr.report.style import count_text, number_text, p_value_number_text, p_value_text, percent_text

FILL_LABELS = {"next_close": "Next close", "next_open": "Next open", "close": "Same close"}
MAX_TICKERS_PER_NOTE_KIND = 3
"""Tickers above which notes of one kind are joined into one note."""
MAX_NOTE_TICKERS_CHARS = 100
"""Characters of the list of tickers in a note."""


def headline_text_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return label, value, baseline's value and baseline's name of each metric of the terminal's table, as text.

    A name that several metrics share is given with the first; without a baseline, both are empty.
    """
    rows, named = [], set()
    for metric in metrics_shown_in("terminal"):
        name = baseline_name(metric, metrics)
        baseline_text = metric.plain_text(metric.baseline_value(metrics)) if name else ""
        rows.append(
            (
                label_in_bars(metric, metrics),
                metric.plain_text(metric.value(metrics)),
                baseline_text,
                "" if name in named else name,
            )
        )
        named.add(name)
    return rows


def baseline_name(metric: Metric, metrics: Mapping[str, Any]) -> str:
    """Return whose value a metric is compared with in ``metrics.json``; empty where there is none."""
    return benchmark_label(metrics) if metric.section == "backtest" else metric.baseline_name


def benchmark_label(metrics: Mapping[str, Any]) -> str:
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
    LookupError, TypeError, AttributeError, ValueError, ArithmeticError : `previous_metrics` is laid out differently.
    """
    return [_headline_change(metric, metrics, previous_metrics) for metric in metrics_shown_in("terminal")]


def _headline_change(metric: Metric, metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> HeadlineChange:
    value, previous_value = metric.value(metrics), metric.value(previous_metrics)
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
    return Decimal(text.strip("<>% ").replace(",", ""))


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


def metric_text(metric: Metric, value: float | None) -> str:
    """Return a metric's value as pages show it: a real minus sign, a dash where it is undefined."""
    format_value = percent_text if metric.is_percent else number_text
    if not metric.has_meaning(value):
        value = None
    return metric.bound_text(value) or format_value(value, decimals=metric.decimals)


def interval_text(metric: Metric, bounds: Any, *, undefined: str = "–") -> str:
    """Return an interval of a metric as pages show it."""
    if not bounds:
        return undefined
    low, high = bounds
    return f"{metric_text(metric, low)} to {metric_text(metric, high)}"


def metric_label(metric: Metric, metrics: Mapping[str, Any] | None = None) -> str:
    """Return a metric's label, its first letter a capital; with the `metrics` of a run, in the unit of its bars."""
    label = metric.label if metrics is None else label_in_bars(metric, metrics)
    return label[0].upper() + label[1:]


def label_in_bars(metric: Metric, metrics: Mapping[str, Any]) -> str:
    """Return a metric's label with week or month in place of session where the bars of a run are such."""
    return metric.label.replace("session", bar_unit(metrics["data"].get("sessions_per_year", 252)))


def metric_count_text(metric: Metric, metrics: dict[str, Any]) -> str:
    """Return the count that is written beside a metric's value, such as "12 trials"; empty where there is none."""
    if not metric.count_key:
        return ""
    count = find_metric(metric.count_key)
    return count_text(count.value(metrics), count.name.removesuffix("s"))


def headline_tables(metrics: dict[str, Any], *places: Place) -> tuple[TextTable, ...]:
    """Return the tables of a run's metrics that are shown in some places, from the numbers of ``metrics.json``."""
    shown, by_fill = metrics_shown_in(*places), metrics_shown_in("by_fill")
    skill = [row for metric in shown if metric.section == "forecast" for row in _skill_rows(metric, metrics)]
    performance = [
        row for metric in shown if metric.section != "forecast" for row in _performance_rows(metric, metrics)
    ]
    fill_rows = []
    for fill, label in FILL_LABELS.items():
        values = metrics["backtest"]["fills"][fill]
        cells = tuple(metric_text(metric, values[metric.key]) if values else "–" for metric in by_fill)
        fill_rows.append((label if values is None or values["tradable"] else f"{label}, not tradable", cells))
    return (
        TextTable("Forecast skill", ("", "95% interval"), skill),
        TextTable("Performance after costs", ("strategy", benchmark_label(metrics)), performance),
        TextTable("Performance by fill", tuple(metric.name for metric in by_fill), fill_rows),
    )


def risk_table(metrics: dict[str, Any]) -> TextTable:
    """Return the table of risk, tails, and the best and the worst periods; of equal labels the first row."""
    rows = dict(row for metric in metrics_shown_in("risk") for row in _performance_rows(metric, metrics))
    return TextTable("Risk after costs", ("strategy", benchmark_label(metrics)), list(rows.items()))


def drawdown_table(metrics: dict[str, Any]) -> TextTable:
    """Return the deepest drawdowns by depth, with their dates; no rows where equity never fell."""
    keys = ("peak", "trough", "recovery")
    rows = [
        (percent_text(fall["depth"]), tuple(fall[key] or "not yet" for key in keys))
        for fall in metrics["backtest"]["strategy"]["deepest_drawdowns"]
    ]
    return TextTable("Deepest drawdowns", keys, rows)


def basis_text(metrics: Mapping[str, Any]) -> str:
    """Return how the numbers of the tables are computed: costs, cash, annual figures, arithmetic or geometric."""
    per_year = metrics["data"]["sessions_per_year"]
    return (
        "Returns are net of costs. Sharpe, Sortino and information ratios, alpha and beta are of returns in excess of "
        f"cash. Annual figures count {per_year} {bar_unit(per_year)}s a year. CAGR and returns of months and years "
        "are compound (geometric), alpha and contributions are arithmetic means."
    )


def yearly_return_table(metrics: dict[str, Any]) -> TextTable:
    """Return the returns of each calendar year after costs: of the strategy, its benchmark and the naive rules."""
    strategy, benchmark = (metrics["backtest"][side]["returns_by_year"] for side in ("strategy", "benchmark"))
    columns = {"strategy": strategy, benchmark_label(metrics): benchmark}
    columns |= {rule.name: metrics["naive_rules"][rule.key]["returns_by_year"] for rule in NAIVE_RULES}
    rows = [(year, tuple(percent_text(values.get(year)) for values in columns.values())) for year in strategy]
    return TextTable("Returns by year after costs", tuple(columns), rows)


def _skill_rows(metric: Metric, metrics: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the row of a forecast metric and its interval, and the row of its baseline."""
    label, interval = metric_label(metric, metrics), metric.interval_value(metrics)
    yield (
        label,
        (metric_text(metric, metric.value(metrics)), interval_text(metric, interval) if metric.interval else ""),
    )
    if metric.baseline:
        yield f"{label}, {metric.baseline_name}", (metric_text(metric, metric.baseline_value(metrics)), "")


def _performance_rows(metric: Metric, metrics: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the row of a metric of strategy and benchmark, or of the strategy alone, and the row of its interval."""
    count = metric_count_text(metric, metrics)
    has_benchmark = metric.section == "backtest"
    benchmark_text = metric_text(metric, metric.baseline_value(metrics)) if has_benchmark else ""
    label = metric_label(metric, metrics) + (f", {count}" if count else "")
    yield label, (metric_text(metric, metric.value(metrics)), benchmark_text)
    if metric.interval:
        benchmark_interval = metrics["backtest"]["benchmark"].get(metric.interval_key)
        benchmark_text = interval_text(metric, benchmark_interval) if has_benchmark else ""
        yield "95% interval", (interval_text(metric, metric.interval_value(metrics)), benchmark_text)


def confidence_interval_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and 95 % interval as text; a hyphen where the interval is undefined."""
    rows = []
    for metric in METRICS:
        if metric.interval:
            bounds = metric.interval_value(metrics)
            rows.append(
                (label_in_bars(metric, metrics), " to ".join(map(metric.plain_text, bounds)) if bounds else "-")
            )
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
        lines.append(
            f"Sharpe ratios over the {common['sessions']:,} sessions in common, {common['first']} to {common['last']}; "
            "those over each trial's own sessions are in trials.csv"
        )
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


def sensitivity_table(metrics: dict[str, Any]) -> TextTable:
    """Return a run and its variations, which share every decision; no rows where they were not asked for."""
    columns = ("sessions", "Sharpe ratio", "alpha (annual)", "p value of alpha")
    rows = [
        (
            values["variation"],
            (
                f"{values['sessions']:,}",
                number_text(values["sharpe"]),
                percent_text(values["alpha"]),
                p_value_number_text(values["p_value"]),
            ),
        )
        for values in metrics.get("sensitivity", ())
    ]
    return TextTable("Sensitivity, the same decisions", columns, rows)


def naive_rules_table(metrics: Mapping[str, Any], keys: Sequence[str] = ()) -> TextTable:
    """Return a run beside the naive rules, and beside its own positions shifted in time.

    Parameters
    ----------
    metrics : as in ``metrics.json``; a report of before the naive rules were added has no rows.
    keys : of the metrics that are columns; () for all that competitors are shown by.
    """
    shown = [metric for metric in metrics_shown_in("competitors") if not keys or metric.key in keys]
    title, columns = "Naive rules", tuple(metric.column_heading for metric in shown)
    if "naive_rules" not in metrics:
        return TextTable(title, columns, [])
    rules, shifted = metrics["naive_rules"], find_metric("shifted_positions")
    values = {"this run": {metric.key: metric.value(metrics) for metric in shown}}
    values |= {rule.name: rules[rule.key] for rule in NAIVE_RULES}
    rows = [
        (name, tuple(metric_text(metric, numbers[metric.key]) for metric in shown)) for name, numbers in values.items()
    ]
    p_value = shifted.value(metrics)
    p_text = "no test" if p_value is None else p_value_text(p_value)
    rows.append(("same positions, shifted in time", (*[""] * (len(shown) - 1), p_text)))
    return TextTable(title, columns, rows)


def new_ledger_text(path: Path) -> str:
    """Return what a user should know about a ledger that was empty before this run."""
    return f"{path} is a new ledger of trials: those recorded in other folders are not counted"


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
