"""What the terminal shows of a run: a short table, the notes, and one honest sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from quantlr.types import Note

MOST_ALIKE = 3
"""Tickers of which one and the same thing is said one by one."""
LONGEST_LIST = 100
"""Letters of a list of tickers."""


@dataclass(frozen=True, slots=True)
class _Row:
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
    form: str
    own: tuple[str, ...]
    to_beat: tuple[str, ...]
    better: Literal[-1, 0, 1]
    whose: str = ""


def _of_forecast(label: str, key: str, form: str, better: Literal[-1, 0, 1], whose: str) -> _Row:
    return _Row(label, form, ("forecast", key), ("forecast", f"{key}_base_rate"), better, whose)


def _of_backtest(label: str, key: str, form: str, better: Literal[-1, 0, 1], whose: str = "") -> _Row:
    return _Row(label, form, ("backtest", "strategy", key), ("backtest", "benchmark", key), better, whose)


HEADLINES = (
    _of_forecast("right calls", "accuracy", "{:.1%}", 1, "always the base rate's call"),
    _of_forecast("log loss", "log_loss", "{:.5f}", -1, "the base rate as forecast"),
    _of_backtest("growth a year", "cagr", "{:.1%}", 1, "buy and hold"),
    _of_backtest("volatility a year", "volatility", "{:.1%}", 0),
    _of_backtest("Sharpe ratio", "sharpe", "{:.2f}", 1),
    _of_backtest("largest drawdown", "max_drawdown", "{:.1%}", 1),
    _of_backtest("traded a year, x equity", "turnover_per_year", "{:.1f}", 0),
    _of_backtest("round trips", "trades", "{:,}", 0),
)


def headline_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return label, this run's number, the number to beat, and whose that is, as text for people."""
    return [
        (row.label, _form(row.form, _at(metrics, row.own)), _form(row.form, _at(metrics, row.to_beat)), row.whose)
        for row in HEADLINES
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one of the headline's numbers since the run before.

    Attributes
    ----------
    before : the former number, as text for people.
    by : the difference between the two as they are shown, with its sign; empty where there is none to speak of.
    verdict : "better", "worse" or "same"; empty where more is neither.
    """

    before: str
    by: str
    verdict: Literal["better", "worse", "same", ""]


def headline_changes(metrics: dict[str, Any], former: dict[str, Any]) -> list[Change]:
    """Return what became of the numbers of `headline_rows`, in their order.

    Raises
    ------
    LookupError, TypeError, ValueError, ArithmeticError : `former` is not laid out as metrics are.
    """
    return [_change(row, _at(metrics, row.own), _at(former, row.own)) for row in HEADLINES]


def _change(row: _Row, now: float | None, then: float | None) -> Change:
    here, before = _form(row.form, now), _form(row.form, then)
    if here == before:
        return Change(before, "", "same")
    if now is None or then is None:
        return Change(before, "", "")
    difference = _shown(here) - _shown(before)
    unit = " pp" if here.endswith("%") else ""
    better = row.better * difference
    return Change(before, f"{difference:+,}{unit}", "better" if better > 0 else "worse" if better < 0 else "")


def _shown(text: str) -> Decimal:
    return Decimal(text.rstrip("%").replace(",", ""))


def _at(metrics: dict[str, Any], path: Sequence[str]) -> Any:
    found: Any = metrics
    for key in path:
        found = found[key]
    return found


def _form(form: str, value: float | None) -> str:
    return "-" if value is None else form.format(value)


def interval_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
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


def names(tickers: Sequence[str], *, longest: int) -> str:
    """Return tickers as one text; the first and how many more, where that would be longer than so many letters."""
    text = ", ".join(tickers)
    return text if len(text) <= longest else f"{tickers[0]:.{longest}} and {len(tickers) - 1} more tickers"


def note_line(note: Note) -> str:
    """Return a note as one line: what it is about, what happened, how often."""
    about = " ".join(part for part in (note.ticker, note.date) if part)
    count = f" ({note.count:,})" if note.count > 1 else ""
    return f"{about}: {note.text}{count}" if about else f"{note.text}{count}"


def worth_saying(notes: Iterable[Note]) -> list[Note]:
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
        if key is None or len(tickers) <= MOST_ALIKE:
            shown += alike
            continue
        names = textwrap.shorten(", ".join(tickers[1:]), width=LONGEST_LIST, placeholder=" …")
        text = f"{key}: {len(tickers) - 1} more tickers, all in provenance.json: {names}"
        shown += [alike[0], Note(alike[0].stage, text, key=key)]
    return shown


def sweep_lines(summary: dict[str, Any]) -> list[str]:
    """Return what all trials of a sweep show together, a line each, as text for people."""
    trials, luck, common = summary["trials"], summary["luck"], summary["common"]
    lines = [f"{trials['evaluated']:,} of {trials['tried']:,} trials evaluated"]
    if trials["failed"]:
        lines[0] += f", {trials['failed']:,} failed"
    if common["sessions"]:
        lines.append(f"compared on {common['sessions']:,} sessions, {common['first']} to {common['last']}")
    if luck["best_of_luck"] is not None:
        text = f"the best of {luck['trials']:,} without skill would show a Sharpe ratio of {luck['best_of_luck']:.2f}"
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
