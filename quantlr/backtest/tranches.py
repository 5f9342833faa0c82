"""A horizon's tranches: each decision is a position of its own, held until its span is over.

With a horizon of h, the decision of a close fills one of h tranches, and stands until that tranche comes round again,
h of the ticker's forecasts later. What a rule calls "held" is therefore what the same tranche held, by the decision of
h rows earlier; the tranches in between know nothing of it. With h = 1 there is one tranche, decided at every close.
"""

from __future__ import annotations

import numpy as np

from quantlr.types import Array, BoolArray, IntArray


def average_over_tranches(decision: Array, *, horizon: int) -> Array:
    """Return the mean of each decision and the `horizon` - 1 before it, counting those that are missing as 0."""
    held = decision.copy()
    for age in range(1, min(horizon, len(decision))):
        held[age:] += decision[:-age]
    return held / horizon


def first_row_of_ticker(ticker_index: IntArray) -> IntArray:
    """Return the first row of each row's ticker, (rows,); a ticker's rows stand together."""
    at = np.arange(len(ticker_index))
    new = np.append(True, ticker_index[1:] != ticker_index[:-1])[: len(ticker_index)]
    return np.asarray(np.maximum.accumulate(np.where(new, at, 0)), dtype=np.int64)


def hysteresis_positions(
    entry_side: IntArray, *, may_stay_long: BoolArray, may_stay_short: BoolArray, ticker_index: IntArray, horizon: int
) -> Array:
    """Return the side that each tranche is on after each decision, (rows,): 1, -1 or 0.

    A tranche takes the side that it is told to enter, whatever it held, and keeps it until a decision at which that
    side may not stay; each tranche starts flat.

    Parameters
    ----------
    enter : (rows,) 1 enters long, -1 short, 0 neither.
    stays_long, stays_short : (rows,) whether a position of that side may stay.
    ticker : (rows,) ascending; a ticker's rows are in the order of time.
    """
    first = first_row_of_ticker(ticker_index)
    at = np.arange(len(ticker_index))
    if horizon > 1:
        tranche = (at - first) % horizon
        order = np.lexsort((tranche, ticker_index))
        start = first_row_of_ticker(ticker_index[order] * horizon + tranche[order])
    else:
        order, start = at, first
    entered = np.maximum.accumulate(np.where(entry_side[order] != 0, at, -1))
    side = np.where(entered >= start, entry_side[order][entered], 0)
    left = [np.maximum.accumulate(np.where(stays[order], -1, at)) for stays in (may_stay_long, may_stay_short)]
    kept = np.where(side > 0, left[0], left[1]) <= entered
    held = np.empty(len(ticker_index))
    held[order] = np.where(kept, side, 0)
    return held
