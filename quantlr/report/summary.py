"""What the terminal shows of a run: a short table, the notes, and one honest sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from quantlr.core.progress import Note

MAX_TICKERS_PER_NOTE_KEY = 3
"""Tickers of which one and the same thing is said one by one."""
MAX_TICKER_LIST_CHARS = 100
"""Letters of a list of tickers."""


@dataclass(frozen=True, slots=True)
class _HeadlineMetric:
    """A line of the short table.

    Attributes
    ----------
    label : what it is, for people.
    form : how its numbers are written.
    own, to_beat : where they stand in the metrics.
    better : 1 where more is better, -1 where less is, 0 where it is neither.
    whose : whose number is to be beaten; empty where it is that of the line above.
    """

    label: str
    number_format: str
    metrics_path: tuple[str, ...]
    baseline_path: tuple[str, ...]
    better_sign: Literal[-1, 0, 1]
    baseline_label: str = ""


def _forecast_headline_metric(
    label: str, metric_key: str, number_format: str, better_sign: Literal[-1, 0, 1], baseline_label: str
) -> _HeadlineMetric:
    return _HeadlineMetric(
        label,
        number_format,
        ("forecast", metric_key),
        ("forecast", f"{metric_key}_base_rate"),
        better_sign,
        baseline_label,
    )


def _backtest_headline_metric(
    label: str, metric_key: str, number_format: str, better_sign: Literal[-1, 0, 1], baseline_label: str = ""
) -> _HeadlineMetric:
    return _HeadlineMetric(
        label,
        number_format,
        ("backtest", "strategy", metric_key),
        ("backtest", "benchmark", metric_key),
        better_sign,
        baseline_label,
    )


HEADLINE_METRICS = (
    _forecast_headline_metric("right calls", "accuracy", "{:.1%}", 1, "always the base rate's call"),
    _forecast_headline_metric("log loss", "log_loss", "{:.5f}", -1, "the base rate as forecast"),
    _backtest_headline_metric("growth a year", "cagr", "{:.1%}", 1, "buy and hold"),
    _backtest_headline_metric("volatility a year", "volatility", "{:.1%}", 0),
    _backtest_headline_metric("Sharpe ratio", "sharpe", "{:.2f}", 1),
    _backtest_headline_metric("largest drawdown", "max_drawdown", "{:.1%}", 1),
    _backtest_headline_metric("traded a year, x equity", "turnover_per_year", "{:.1f}", 0),
    _backtest_headline_metric("round trips", "trades", "{:,}", 0),
)


def headline_text_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return label, this run's number, the number to beat, and whose that is, as text for people."""
    return [
        (
            row.label,
            _format_value(row.number_format, _value_at_path(metrics, row.metrics_path)),
            _format_value(row.number_format, _value_at_path(metrics, row.baseline_path)),
            row.baseline_label,
        )
        for row in HEADLINE_METRICS
    ]


@dataclass(frozen=True, slots=True)
class HeadlineChange:
    """What became of one of the headline's numbers since the run before.

    Attributes
    ----------
    before : the former number, as text for people.
    by : the difference between the two as they are shown, with its sign; empty where there is none to speak of.
    verdict : "better", "worse" or "same"; empty where more is neither.
    """

    previous_text: str
    difference_text: str
    assessment: Literal["better", "worse", "same", ""]


def headline_changes(metrics: dict[str, Any], previous_metrics: dict[str, Any]) -> list[HeadlineChange]:
    """Return what became of the numbers of `headline_rows`, in their order.

    Raises
    ------
    LookupError, TypeError, ValueError, ArithmeticError : `former` is not laid out as metrics are.
    """
    return [
        _headline_change(
            row, _value_at_path(metrics, row.metrics_path), _value_at_path(previous_metrics, row.metrics_path)
        )
        for row in HEADLINE_METRICS
    ]


def _headline_change(metric: _HeadlineMetric, value: float | None, previous_value: float | None) -> HeadlineChange:
    here, before = _format_value(metric.number_format, value), _format_value(metric.number_format, previous_value)
    if here == before:
        return HeadlineChange(before, "", "same")
    if value is None or previous_value is None:
        return HeadlineChange(before, "", "")
    difference = _parse_formatted_number(here) - _parse_formatted_number(before)
    unit = " pp" if here.endswith("%") else ""
    better = metric.better_sign * difference
    return HeadlineChange(before, f"{difference:+,}{unit}", "better" if better > 0 else "worse" if better < 0 else "")


def _parse_formatted_number(text: str) -> Decimal:
    return Decimal(text.rstrip("%").replace(",", ""))


def _value_at_path(metrics: dict[str, Any], key_path: Sequence[str]) -> Any:
    found: Any = metrics
    for key in key_path:
        found = found[key]
    return found


def _format_value(number_format: str, value: float | None) -> str:
    return "-" if value is None else number_format.format(value)


def confidence_interval_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and 95 % interval, as text for people; a dash where it is undefined."""
    skill, own = metrics["forecast"], metrics["backtest"]["strategy"]
    return [
        (label, " to ".join(form.format(bound) for bound in bounds) if bounds else "-")
        for label, bounds, form in (
            ("right calls", skill["accuracy_ci95"], "{:.1%}"),
            ("area under the ROC curve", skill["auc_ci95"], "{:.3f}"),
            ("Sharpe ratio", own["sharpe_ci95"], "{:.2f}"),
        )
    ]


def ticker_list_text(tickers: Sequence[str], *, max_chars: int) -> str:
    """Return tickers as one text; the first and how many more, where that would be longer than so many letters."""
    text = ", ".join(tickers)
    return text if len(text) <= max_chars else f"{tickers[0]:.{max_chars}} and {len(tickers) - 1} more tickers"


def note_text(note: Note) -> str:
    """Return a note as one line: what it is about, what happened, how often."""
    about = " ".join(part for part in (note.ticker, note.date) if part)
    count = f" ({note.count:,})" if note.count > 1 else ""
    return f"{about}: {note.text}{count}" if about else f"{note.text}{count}"


def condense_notes(notes: Iterable[Note]) -> list[Note]:
    """Return the notes that a person should see at once.

    Warm-up rows are as expected, and in the report; what one rule says of many tickers is said of the first.
    """
    shown: list[Note] = []
    by_key: dict[str | None, list[Note]] = {}
    for note in notes:
        if note.stage != "features":
            by_key.setdefault(note.key, []).append(note)
    for key, alike in by_key.items():
        tickers = list(dict.fromkeys(note.ticker for note in alike if note.ticker))
        if key is None or len(tickers) <= MAX_TICKERS_PER_NOTE_KEY:
            shown += alike
            continue
        names = textwrap.shorten(", ".join(tickers[1:]), width=MAX_TICKER_LIST_CHARS, placeholder=" …")
        text = f"{key}: {len(tickers) - 1} more tickers, all in provenance.json: {names}"
        shown += [alike[0], Note(alike[0].stage, text, key=key)]
    return shown


def sweep_summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return what all trials of a sweep show together, a line each, as text for people."""
    trials, luck, common = summary["trials"], summary["luck"], summary["common"]
    lines = [f"{trials['evaluated']:,} of {trials['tried']:,} trials evaluated"]
    if trials["failed"]:
        lines[0] += f", {trials['failed']:,} failed"
    if common["sessions"]:
        lines.append(f"compared on {common['sessions']:,} sessions, {common['first']} to {common['last']}")
    if luck["expected_max_sharpe"] is not None:
        text = f"the best of {luck['trials']:,} without skill would show a Sharpe ratio of {luck['expected_max_sharpe']:.2f}"
        lines.append(text)
    if summary["overfitting"]["probability"] is not None:
        lines.append(f"probability of backtest overfitting: {summary['overfitting']['probability']:.0%}")
    if summary["superior"] is not None:
        found = summary["superior"]
        lines.append(
            f"none beats buy and hold: p = {found['p_value']:.2f} (Hansen); named by StepM: "
            f"{len(found['better']):,} of {found['compared']:,}"
        )
    return lines
