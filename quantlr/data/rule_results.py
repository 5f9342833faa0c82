"""What a validation rule is given beside the bars, and what it returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quantlr.core.values import BoolArray
from quantlr.data.markets import MarketSources
from quantlr.data.price_rows import PriceRows


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """What rules need beside the bars.

    Attributes
    ----------
    latest_date : today's date, the latest of all time zones.
    calendar_by_ticker : name of the exchange's calendar by ticker, where it is known.
    now : the time, by which the last bar's session is over or not; None where all are over.
    market_sources : what is stated about the market of each ticker.
    """

    latest_date: dt.date
    calendar_by_ticker: Mapping[str, str]
    now: dt.datetime | None = None
    market_sources: MarketSources = field(default_factory=MarketSources)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The suspect rows of a rule.

    Attributes
    ----------
    suspect_mask : (rows,) whether the row is suspect.
    reason_text : returns the text on a suspect row.
    is_row_specific : whether the text is about the row rather than about its ticker.
    to_drop : the result where each row is judged by the rows up to it, which decides what is dropped; None: the same.
    """

    suspect_mask: BoolArray
    reason_text: Callable[[int], str]
    is_row_specific: bool = True
    to_drop: RuleResult | None = None


ValidationRule = Callable[[PriceRows, ValidationContext], RuleResult]


def pair_mask_to_row_mask(rows: PriceRows, pair_mask: BoolArray) -> BoolArray:
    """(rows,) `pair_mask` of each row and the one before, (rows - 1,); False for a ticker's first row."""
    row_mask: BoolArray = rows.same_ticker_as_previous_row & np.concatenate([[False], pair_mask])
    return row_mask
