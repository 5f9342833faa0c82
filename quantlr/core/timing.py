"""The timing rule: which row knows what. The whole of it stands in the docstring of `quantlr.types`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantlr.core.arrays import IntArray

if TYPE_CHECKING:
    import pandas as pd

NOT_YET_KNOWN = np.iinfo(np.int64).max
"""Position of a session that has not come yet."""


def label_known_row(row: int, *, horizon: int) -> int:
    """Return the row at whose close the label of `row` is known."""
    return row + horizon


def label_cutoff_row(forecast_row: int, *, embargo: int = 0) -> int:
    """Return the newest row at whose close a label may become known that trains a model which forecasts `row`."""
    return forecast_row - embargo


def last_training_row(forecast_row: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the newest row whose label may train a model that forecasts `row`."""
    return label_cutoff_row(forecast_row, embargo=embargo) - horizon


def first_forecast_row(n_train: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the first row that a model trained on rows 0 to `train` - 1 may forecast."""
    return n_train - 1 + horizon + embargo


def latest_known_bar_index(bar_dates: pd.DatetimeIndex, dates: pd.DatetimeIndex) -> IntArray:
    """Return the position of the newest of `bars`, ascending, that is known at the close of each date; -1 for none.

    A bar of the same date is known: dates are all that prices say. Of a market that closes later on the same date the
    newest known bar is the one before it.
    """
    return np.asarray(bar_dates.searchsorted(dates, side="right") - 1, dtype=np.int64)
