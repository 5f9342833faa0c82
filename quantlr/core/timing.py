"""The timing rule: which features, labels and prices are known at the close of which session.

- Row t of a dataset holds what is known at the close of session t, that close included: lag 1 is the return of session
  t itself. "Known" is an instant, the close of the bar's own market.
- The label of row t says whether the price at the end of its horizon is above the price at its start. With a horizon of
  h sessions it is known at the close of row t + h.
- A row may train a model that forecasts row t only if its own label is known at t's close, less the embargo: the newest
  training row is t - embargo - h (the h rows before t are purged). Scaling and statistics of the training rows use the
  same rows and no others.
- A position decided at t's close is filled at the next close (default) or open, and earns returns from that price on.

Purge, embargo and training rows follow from the horizon and the embargo through the functions below and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from quantlr.core.values import IntArray

NOT_YET_KNOWN = np.iinfo(np.int64).max
"""Session position that stands for a session after the last one."""


def label_known_row(row: int, *, horizon: int) -> int:
    """Return the row at whose close the label of `row` is known."""
    return row + horizon


def label_cutoff_row(forecast_row: int, *, embargo: int = 0) -> int:
    """Return the last row at whose close a label may become known and still train a model for `forecast_row`."""
    return forecast_row - embargo


def last_training_row(forecast_row: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the newest row whose label may train a model that forecasts `forecast_row`."""
    return label_cutoff_row(forecast_row, embargo=embargo) - horizon


def first_forecast_row(n_train: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the first row that a model trained on rows 0 to `n_train` - 1 may forecast."""
    return n_train - 1 + horizon + embargo


def latest_known_bar_index(bar_dates: pd.DatetimeIndex, dates: pd.DatetimeIndex) -> IntArray:
    """Return the position of the newest of `bar_dates`, ascending, that is known at each date's close; -1 for none.

    A bar of the same date counts as known, since prices have dates and no times. If its market closes later on that
    date, the newest known bar is the one before it.
    """
    return np.asarray(bar_dates.searchsorted(dates, side="right") - 1, dtype=np.int64)


def iso_date(date: Any) -> str:
    """Return a date as ``YYYY-MM-DD``."""
    return str(np.datetime64(date).astype("datetime64[D]"))
