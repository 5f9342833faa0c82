"""What prices must be before anything is computed from them, and what is done where they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from quantlr.core.annotations import ChoiceDescriptions
from quantlr.core.components import ConfigSection
from quantlr.core.errors import DataError
from quantlr.core.progress import Note
from quantlr.data.price_rows import PriceRows
from quantlr.data.validation_rules import (
    RULES_IN_DATE_ORDER,
    RULES_IN_FILE_ORDER,
    RuleResult,
    ValidationContext,
    ValidationRule,
)

MIN_BARS_PER_TICKER = 2
"""Bars without which there is no return."""

ACTION_DESCRIPTIONS = ChoiceDescriptions({
    "error": "stop, and name the first of them",
    "warn": "keep them, and say so",
    "drop": "leave them out, and say so",
})  # fmt: skip
ErrorOrWarn = Annotated[Literal["error", "warn"], ACTION_DESCRIPTIONS]
ErrorOrDrop = Annotated[Literal["error", "drop"], ACTION_DESCRIPTIONS]
ErrorWarnOrDrop = Annotated[Literal["error", "warn", "drop"], ACTION_DESCRIPTIONS]

_ACTION_PURPOSES = {"warn": "to keep such rows", "drop": "to leave such rows out"}
_REPAIR_TEXT_BY_RULE = {"order": "; they were sorted", "time_zones": "; the dates as written are used"}


class QualitySpec(ConfigSection):
    """What to do with bars that may be wrong: stop, keep them and tell, or drop them and tell."""

    empty_rows: ErrorOrDrop = Field("drop", description="Rows without any price.")
    time_zones: ErrorOrWarn = Field(
        "error", description="A ticker's times in several zones; the date as written is used."
    )
    order: ErrorOrWarn = Field("warn", description="Rows not in the order of their dates; they are sorted.")
    repeated_rows: ErrorOrDrop = Field("drop", description="The same row twice; one is kept.")
    conflicting_rows: ErrorOrDrop = Field(
        "error", description="Different rows of one date; drop leaves all of them out."
    )
    future: ErrorOrWarn = Field("error", description="Bars of days that have not come.")
    unfinished: ErrorOrDrop = Field("drop", description="A last bar that has no close yet.")
    positive: ErrorOrDrop = Field("error", description="A price missing beside others, zero, negative or infinite.")
    volume: ErrorOrDrop = Field("error", description="A volume that is negative or infinite.")
    off_calendar: ErrorWarnOrDrop = Field("warn", description="Bars of days on which the calendar has no session.")
    ohlc: ErrorWarnOrDrop = Field("warn", description="A low above, or a high below, another price of its bar.")
    scale: ErrorWarnOrDrop = Field(
        "error", description="Prices a hundred times as large or small as most of the ticker's."
    )
    stale: ErrorWarnOrDrop = Field("warn", description="A close that stays the same for ten bars or more.")
    gaps: ErrorOrWarn = Field("warn", description="Missing sessions of the calendar; without one, over ten days.")
    large_moves: ErrorOrWarn = Field("warn", description="Moves of over 40 % in a session.")
    opens: ErrorOrWarn = Field("warn", description="Over a tenth of the opens equal to the close before.")
    short: ErrorOrDrop = Field("drop", description="Tickers with fewer than two bars; the last one is never dropped.")


def validate(
    rows: PriceRows, spec: QualitySpec, context: ValidationContext, *, date_range_text: str = ""
) -> tuple[PriceRows, list[Note]]:
    """Return the rows that a run uses, in order, and what was found and done.

    Parameters
    ----------
    rows : as they were read, within the dates asked for.
    spec : what to do with what each rule finds.
    world : today, and the calendars of exchanges.
    span : the dates asked for, for messages.

    Raises
    ------
    DataError : naming ticker and date, its file and line where they are known, and the key that would change it.
    """
    notes: list[Note] = []
    for name, rule in RULES_IN_FILE_ORDER.items():
        rows = _apply_rule(rows, name, rule, spec, context, notes)
    rows = rows.sort()
    for name, rule in RULES_IN_DATE_ORDER.items():
        rows = _apply_rule(rows, name, rule, spec, context, notes)
    return _drop_short_tickers(rows, spec, date_range_text, notes), notes


def _apply_rule(
    rows: PriceRows, name: str, rule: ValidationRule, spec: QualitySpec, context: ValidationContext, notes: list[Note]
) -> PriceRows:
    """Return the rows that a rule leaves, what it found told in `notes`."""
    if not len(rows):
        return rows
    with np.errstate(invalid="ignore", divide="ignore"):
        found = rule(rows, context)
    if not found.suspect_mask.any():
        return rows
    action = getattr(spec, name)
    if action == "error":
        raise _rule_violation_error(rows, found, name)
    done = "; dropped" if action == "drop" else _REPAIR_TEXT_BY_RULE.get(name, "")
    notes.extend(_iter_rule_notes(rows, found, f"data.quality.{name}", action_text=done))
    return rows.take(~found.suspect_mask) if action == "drop" else rows


def _rule_violation_error(rows: PriceRows, result: RuleResult, rule_name: str) -> DataError:
    """Return the error for the first suspect row: where it is, what is wrong, how often, and what to change."""
    suspect = np.flatnonzero(result.suspect_mask)
    row, tickers = int(suspect[0]), len(np.unique(rows.ticker[suspect]))
    often = f" ({len(suspect)} such rows" + (f" in {tickers} tickers)" if tickers > 1 else ")")
    others = [action for action in get_args(QualitySpec.model_fields[rule_name].annotation) if action != "error"]
    choices = " or ".join(f"write data.quality.{rule_name}: {action} {_ACTION_PURPOSES[action]}" for action in others)
    return DataError(
        f"{rows.row_location_text(row)}: {result.describe_row(row)}{often if len(suspect) > 1 else ''}; mend the data, or {choices}",
        key=f"data.quality.{rule_name}",
    )


def _iter_rule_notes(rows: PriceRows, result: RuleResult, config_key: str, *, action_text: str) -> Iterator[Note]:
    """Yield one note per ticker, about its first suspect row."""
    suspect = np.flatnonzero(result.suspect_mask)
    for row, count in zip(*np.unique(rows.ticker[suspect], return_index=True, return_counts=True)[1:], strict=True):
        first = int(suspect[row])
        yield Note(
            "data",
            result.describe_row(first) + action_text,
            ticker=rows.row_ticker(first),
            date=rows.row_date_text(first) if result.is_row_specific else None,
            count=int(count),
            key=config_key,
        )


def _drop_short_tickers(rows: PriceRows, spec: QualitySpec, date_range_text: str, notes: list[Note]) -> PriceRows:
    """Return the rows of the tickers that have a return."""
    short = rows.n_rows_by_ticker < MIN_BARS_PER_TICKER
    if not short.any():
        return rows
    first = int(short.argmax())
    said = f"{rows.n_rows_by_ticker[first]} bars{date_range_text}; at least {MIN_BARS_PER_TICKER} are needed for one return"
    others = f" ({int(short.sum())} such tickers)" if short.sum() > 1 else ""
    if short.all():
        raise DataError(f"{rows.tickers[first]} has {said}{others}", key="data.tickers")
    if spec.short == "error":
        raise DataError(
            f"{rows.tickers[first]} has {said}{others}; leave it out, or write data.quality.short: drop",
            key="data.quality.short",
        )
    for ticker in np.flatnonzero(short).tolist():
        text = f"left out, too short: {rows.n_rows_by_ticker[ticker]} bars{date_range_text}"
        notes.append(Note("data", text, ticker=rows.tickers[ticker], key="data.quality.short"))
    return rows.for_tickers(~short)
