"""Validation of prices: which action each rule takes, the rows and notes that result, and notes on the tickers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from quantlr.core.components import ChoiceDescriptions, ConfigSection
from quantlr.core.errors import DataError
from quantlr.core.timing import iso_date
from quantlr.core.values import Note
from quantlr.data.price_rows import PriceRows
from quantlr.data.rule_results import RuleResult, ValidationContext, ValidationRule
from quantlr.data.ticker_list import MemberDates, member_dates_of_tickers
from quantlr.data.validation_rules import RULES_IN_DATE_ORDER, RULES_IN_FILE_ORDER

MIN_BARS_PER_TICKER = 2
"""Number of bars that one return needs."""
TOTAL_RETURN_INDICES = ("^SP500TR", "^GDAXI", "^XNDX", "^BVSP")
"""Indices with a leading ^ that include dividends."""
MIN_UNIVERSE_TICKERS = 3
"""Number of tickers from which on a list is taken for a universe rather than a choice of single stocks."""
MIN_SURVIVORSHIP_YEARS = 2.0
"""Length of history in years from which on survivorship bias matters."""

ACTION_DESCRIPTIONS = ChoiceDescriptions({
    "error": "stop, and name the first of them",
    "warn": "keep them, and add a note",
    "drop": "leave them out, and add a note",
})  # fmt: skip
ErrorOrWarn = Annotated[Literal["error", "warn"], ACTION_DESCRIPTIONS]
ErrorOrDrop = Annotated[Literal["error", "drop"], ACTION_DESCRIPTIONS]
ErrorWarnOrDrop = Annotated[Literal["error", "warn", "drop"], ACTION_DESCRIPTIONS]

ACTION_PURPOSES = {"warn": "to keep such rows", "drop": "to leave such rows out"}
REPAIR_TEXT_BY_RULE = {"order": "; they were sorted", "time_zones": "; the dates as written are used"}
"""Text of a note on a repair that is made although the rows are kept."""


class QualitySpec(ConfigSection):
    """What to do with suspect bars: stop, keep them and add a note, or drop them and add a note."""

    empty_rows: ErrorOrDrop = Field("drop", description="Rows without any price.")
    time_zones: ErrorOrWarn = Field("error", description="Times in several zones; the date as written is used.")
    order: ErrorOrWarn = Field("warn", description="Rows not in the order of their dates; they are sorted.")
    repeated_rows: ErrorOrDrop = Field("drop", description="Duplicate rows; one is kept.")
    conflicting_rows: ErrorOrDrop = Field(
        "error", description="Rows of one date with different values; drop removes all of them."
    )
    future: ErrorOrWarn = Field("error", description="Bars of dates after today.")
    weekdays: ErrorOrWarn = Field(
        "error", description="Bars on Sundays and none on Fridays, or on Saturdays and none on Mondays: a day off."
    )
    unfinished: ErrorOrDrop = Field(
        "drop", description="A last bar that has no close yet, or whose market, where it is known, has not closed."
    )
    positive: ErrorOrDrop = Field("error", description="A price missing beside others, zero, negative or infinite.")
    volume: ErrorOrDrop = Field("error", description="A volume that is negative or infinite.")
    off_calendar: ErrorWarnOrDrop = Field("warn", description="Bars of days on which the calendar has no session.")
    basis: ErrorOrWarn = Field(
        "error", description="Closes outside low to high on one side for 20 rows: adjusted beside unadjusted prices."
    )
    ohlc: ErrorWarnOrDrop = Field("warn", description="A low above, or a high below, another price of its bar.")
    scale: ErrorWarnOrDrop = Field("error", description="Prices 100 times as large or small as most of the ticker's.")
    spikes: ErrorOrWarn = Field(
        "error", description="A close over 4 times, or below a quarter of, both adjacent closes."
    )
    stale: ErrorWarnOrDrop = Field("warn", description="A close that stays the same for ten bars or more.")
    gaps: ErrorOrWarn = Field(
        "warn", description="Missing sessions of the calendar; without one, gaps of over ten days, or missing bars."
    )
    large_moves: ErrorOrWarn = Field("warn", description="Moves of over 40 % in a session.")
    opens: ErrorOrWarn = Field("warn", description="Over a tenth of the opens equal to the close before.")
    short: ErrorOrDrop = Field("drop", description="Tickers with fewer than two bars; the last one is never dropped.")


def validate_price_rows(
    rows: PriceRows, spec: QualitySpec, context: ValidationContext, *, date_range_text: str = ""
) -> tuple[PriceRows, list[Note]]:
    """Return the rows that a run uses, sorted by date, and notes on what was found and done.

    Parameters
    ----------
    rows : the rows as read, within the dates of the config.
    spec : the action for each rule's suspect rows.
    context : today's date and the exchanges' calendars.
    date_range_text : the dates of the config, for messages.

    Raises
    ------
    DataError : naming ticker and date, file and line where they are known, and the key that would change it.
    """
    notes: list[Note] = []
    for name, rule in RULES_IN_FILE_ORDER.items():
        rows = _apply_rule_and_add_notes(rows, name, rule, spec, context, notes)
    rows = rows.sort_by_date()
    for name, rule in RULES_IN_DATE_ORDER.items():
        rows = _apply_rule_and_add_notes(rows, name, rule, spec, context, notes)
    return _drop_short_tickers(rows, spec, date_range_text, notes), notes


def _apply_rule_and_add_notes(
    rows: PriceRows, name: str, rule: ValidationRule, spec: QualitySpec, context: ValidationContext, notes: list[Note]
) -> PriceRows:
    """Return the rows that a rule keeps, and append to `notes` one note per ticker, on its first suspect row."""
    if not len(rows):
        return rows
    with np.errstate(invalid="ignore", divide="ignore"):
        result = rule(rows, context)
    action = getattr(spec, name)
    if action == "drop":
        result = result.to_drop or result
    suspect_rows = np.flatnonzero(result.suspect_mask)
    if not len(suspect_rows):
        return rows
    if action == "error":
        raise _rule_violation_error(rows, result, name)
    action_text = "; dropped" if action == "drop" else REPAIR_TEXT_BY_RULE.get(name, "")
    _, first_indices, counts = np.unique(rows.ticker_index[suspect_rows], return_index=True, return_counts=True)
    for row, count in zip(suspect_rows[first_indices].tolist(), counts.tolist(), strict=True):
        text = result.reason_text(row) + action_text
        date = rows.date_text_of_row(row) if result.is_row_specific else None
        notes.append(Note("data", text, rows.ticker_of_row(row), date, count, key=f"data.quality.{name}"))
    return rows.take_rows(~result.suspect_mask) if action == "drop" else rows


def _rule_violation_error(rows: PriceRows, result: RuleResult, rule_name: str) -> DataError:
    """Return the error for the first suspect row: its place, the fault, how many there are, and what to change."""
    suspect_rows = np.flatnonzero(result.suspect_mask)
    row, n_tickers = int(suspect_rows[0]), len(np.unique(rows.ticker_index[suspect_rows]))
    count = f"{len(suspect_rows)} such rows" + (f" in {n_tickers} tickers" if n_tickers > 1 else "")
    text = result.reason_text(row) + (f" ({count})" if len(suspect_rows) > 1 else "")
    key = f"data.quality.{rule_name}"
    actions = get_args(QualitySpec.model_fields[rule_name].annotation)
    choices = " or ".join(f"write {key}: {action} {ACTION_PURPOSES[action]}" for action in actions if action != "error")
    return DataError(f"{rows.location_text_of_row(row)}: {text}; correct the data, or {choices}", key=key)


def _drop_short_tickers(rows: PriceRows, spec: QualitySpec, date_range_text: str, notes: list[Note]) -> PriceRows:
    """Return the rows of the tickers that have enough bars for a return."""
    n_bars = rows.n_rows_by_ticker
    is_short = n_bars < MIN_BARS_PER_TICKER
    if not is_short.any():
        return rows
    first, key = int(is_short.argmax()), "data.quality.short"
    text = f"{rows.tickers[first]} has {n_bars[first]} bars{date_range_text}; "
    text += f"at least {MIN_BARS_PER_TICKER} are needed for one return"
    text += f" ({is_short.sum()} such tickers)" if is_short.sum() > 1 else ""
    if is_short.all():
        raise DataError(text, key="data.tickers")
    if spec.short == "error":
        raise DataError(f"{text}; leave it out, or write {key}: drop", key=key)
    for index in np.flatnonzero(is_short).tolist():
        text = f"left out, too short: {n_bars[index]} bars{date_range_text}"
        notes.append(Note("data", text, ticker=rows.tickers[index], key=key))
    return rows.for_ticker_mask(~is_short)


def price_index_notes(tickers: Sequence[str]) -> list[Note]:
    """Return a note if some of the tickers are price indices, which are written with a leading ^."""
    indices = [ticker for ticker in tickers if ticker.startswith("^") and ticker not in TOTAL_RETURN_INDICES]
    if not indices:
        return []
    subject = ", ".join(indices[:3]) + (f" and {len(indices) - 3} more" if len(indices) > 3 else "")
    text = f"{subject}: a price index has no dividends; a long position would earn them, and a short one pay them"
    return [Note("data", text, count=len(indices), key="data.tickers")]


def survivorship_bias_notes(rows: PriceRows, membership: Mapping[str, MemberDates] | None) -> list[Note]:
    """Return a note if all of several tickers still trade, as members, on the last of many sessions.

    A list that was drawn up at the end looks so: it lacks the tickers that were delisted or removed before.
    """
    _, last_member_date = member_dates_of_tickers(rows.tickers, membership or {})
    last = np.minimum(rows.date[np.cumsum(rows.n_rows_by_ticker) - 1], last_member_date)
    n_years = (rows.date.max() - rows.date.min()) / np.timedelta64(1, "D") / 365.25
    if len(rows.tickers) < MIN_UNIVERSE_TICKERS or n_years < MIN_SURVIVORSHIP_YEARS or (last < rows.date.max()).any():
        return []
    text = f"all {len(rows.tickers)} tickers still trade on the last session, {n_years:.0f} years after the first"
    text += ": a list drawn up with hindsight lacks those that were delisted, which flatters holding it"
    return [Note("data", f"{text} (survivorship bias)", date=iso_date(rows.date.max()), key="data.membership")]
