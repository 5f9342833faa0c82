"""Validation rules on jumps of the close: changes of unit, misplaced decimal points, and splits not adjusted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from quantlr.core.values import Array
from quantlr.data.price_rows import PriceRows
from quantlr.data.rule_results import RuleResult, ValidationContext

LARGE_RETURN = 0.40
"""Absolute return of one session above which a price is suspect."""
HUNDREDFOLD_RATIO_RANGE = (75.0, 133.0)
"""Ratio of two closes that suggests a change of unit by a factor of 100, as between dollars and cents."""
SPLIT_FACTORS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)
SPLITS = (*((factor, 1) for factor in SPLIT_FACTORS), (5, 2), (7, 2), *((1, factor) for factor in SPLIT_FACTORS))
SPLIT_RATIOS = {f"{new}:{old}": new / old for new, old in SPLITS}
"""New shares per old share of the splits that move the price by more than `LARGE_RETURN`."""
SPIKE_FACTOR = 4.0
"""Factor by which a close differs from the one before and the one after that no market price has shown."""
SPLIT_RATIO_TOLERANCE = 0.03
"""Relative difference up to which a ratio of prices looks like a split's."""


def flag_hundredfold_prices(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Prices 100 times as large or as small as most of the ticker's, as cents among dollars; adjusted where they are.

    A reverse split of that size is none where the adjusted closes are continuous. Which are most is known only at the
    end: those that are dropped differ from the ticker's first row instead.
    """
    close = _adjusted_closes(rows)
    ratio = _ratio_to_previous_row(rows, close)
    smallest, largest = HUNDREDFOLD_RATIO_RANGE
    jump = ((ratio > smallest) & (ratio < largest)).astype(np.int64)
    jump -= (ratio > 1 / largest) & (ratio < 1 / smallest)
    if not jump.any():
        return RuleResult(jump != 0, lambda row: "")
    level = pd.Series(np.cumsum(jump))  # the power of 100 relative to the first row of all
    levels_by_ticker = level.groupby(rows.ticker_index)
    to_drop = _hundredfold_result(close, level - levels_by_ticker.transform("first"), "the ticker's first close")
    most_frequent = levels_by_ticker.transform(lambda levels: levels.mode()[0])
    return replace(_hundredfold_result(close, level - most_frequent, "most of the ticker's"), to_drop=to_drop)


def _hundredfold_result(close: Array, excess_level: pd.Series[int], reference: str) -> RuleResult:
    """Return the rows whose power of 100 exceeds that of a reference, which the text names, or is below it."""
    excess = excess_level.to_numpy()

    def reason_text(row: int) -> str:
        size = f"a hundred times as {'large' if excess[row] > 0 else 'small'}"
        return f"close {close[row]:g} is {size} as {reference}: other units, or a split"

    return RuleResult(excess != 0, reason_text)


def flag_spikes(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Closes of a single bar that are several times both adjacent closes, or a fraction: a misplaced decimal."""
    close = _adjusted_closes(rows)
    ratio = _ratio_to_previous_row(rows, close)
    next_ratio = np.append(ratio[1:], 1.0)
    suspect = (ratio > SPIKE_FACTOR) & (next_ratio < 1 / SPIKE_FACTOR)
    suspect |= (ratio < 1 / SPIKE_FACTOR) & (next_ratio > SPIKE_FACTOR)

    def reason_text(row: int) -> str:
        before, at, after = close[row - 1 : row + 2]
        return f"the close is {at:g} between {before:g} and {after:g}: an error, as of a decimal point"

    return RuleResult(suspect, reason_text)


def flag_large_moves(rows: PriceRows, context: ValidationContext) -> RuleResult:
    """Returns of a session so large that they may be unadjusted splits, or errors."""
    opens, close, adj_close = (rows.columns[name] for name in ("open", "close", "adj_close"))
    returns = _ratio_to_previous_row(rows, _adjusted_closes(rows)) - 1.0
    is_unadjusted = np.isnan(adj_close) | (adj_close == close)

    def reason_text(row: int) -> str:
        # A split shows in the close before over the open or, after a move within the session, over the close.
        ratios = close[row - 1] / np.array([opens[row], close[row]])
        splits = [
            name
            for ratio in ratios
            for name, split in SPLIT_RATIOS.items()
            if abs(ratio / split - 1.0) < SPLIT_RATIO_TOLERANCE
        ]
        cause = "a crash, a split that was not adjusted, or an error"
        if splits and is_unadjusted[row]:
            cause = f"looks like a {splits[0]} split that was not adjusted; use adjusted closes"
        return f"moved by {returns[row]:+.0%} in a session: {cause}"

    return RuleResult(np.abs(returns) > LARGE_RETURN, reason_text)


def _adjusted_closes(rows: PriceRows) -> Array:
    """(rows,) adjusted closes, and closes where there are none."""
    close, adj_close = rows.columns["close"], rows.columns["adj_close"]
    return np.where(np.isnan(adj_close), close, adj_close)


def _ratio_to_previous_row(rows: PriceRows, values: Array) -> Array:
    """(rows,) value over that of the ticker's row before; 1 for its first row."""
    ratio = np.ones(len(rows))
    ratio[1:] = np.where(rows.same_ticker_as_previous_row[1:], values[1:] / values[:-1], 1.0)
    return ratio
