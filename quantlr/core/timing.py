"""The timing rule: which features, labels and prices are known at the close of which session.

- Row t of a dataset holds what is known at the close of session t, that close included: lag 1 is the return of session
  t itself. "Known" is an instant: a bar of another market is known where that market closes no later than the row's own
  (`latest_known_bar_index`). Within a market, and where no market is known, dates decide.
- The label of row t says whether the price at the end of its horizon is above the price at its start. With a horizon of
  h sessions from t's close it is known at the close of row t + h: its lag is h. A label of fills (`label.of: fill`)
  starts at the price at which the decision of row t is filled, d sessions later: its lag is d + h.
- A row may train a model that forecasts row t only if its own label is known at t's close, less the embargo: with a lag
  of l, the newest training row is t - embargo - l (the l rows before t are purged). Scaling and statistics of the
  training rows use the same rows and no others.
- A position decided at t's close is filled at the next close (default) or open, and earns returns from that price on.
  So with a horizon of 1 and the next close, the session that a label of closes is about is never held: it ends at the
  fill.

Purge, embargo and training rows follow from the label's lag and the embargo through the functions below and nowhere
else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from quantlr.core.known_series import DateArray
    from quantlr.core.values import IntArray

    Dates: TypeAlias = pd.DatetimeIndex | DateArray

NOT_YET_KNOWN = np.iinfo(np.int64).max
"""Session position that stands for a session after the last one."""
SECONDS_PER_DAY = 86_400


def _no_days() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Market:
    """When a market closes, by date.

    Attributes
    ----------
    name : tickers of one name are of one market; "" if the market is not known.
    days : (n,) dates with a recorded close as days since 1970, ascending; empty where closes are not needed.
    earliest_close, latest_close : (n,) seconds since 1970, UTC, between which the market closes; equal where the close
        itself is known.
    """

    name: str = ""
    days: IntArray = field(default_factory=_no_days, compare=False, repr=False)
    earliest_close: IntArray = field(default_factory=_no_days, compare=False, repr=False)
    latest_close: IntArray = field(default_factory=_no_days, compare=False, repr=False)

    def close_bounds(self, dates: Dates) -> tuple[IntArray, IntArray]:
        """Return the earliest and the latest close of each date, (dates,) each, in seconds since 1970.

        A date without a recorded close has the time of day of the recorded date before it, or of the first.
        """
        days = np.asarray(dates).astype("datetime64[D]").astype(np.int64)
        index = np.maximum(self.days.searchsorted(days, side="right") - 1, 0)
        shift = (days - self.days[index]) * SECONDS_PER_DAY
        return self.earliest_close[index] + shift, self.latest_close[index] + shift


UNKNOWN_MARKET = Market()


def label_lag(horizon: int, *, label_delay: int) -> int:
    """Return the rows from a row to that at whose close its label is known.

    Parameters
    ----------
    horizon : rows that the label spans.
    label_delay : rows from a decision to the price at which its label starts; 0 where that is the decision's close.
    """
    return label_delay + horizon


def label_known_row(row: int, *, lag: int) -> int:
    """Return the row at whose close the label of `row` is known."""
    return row + lag


def label_cutoff_row(forecast_row: int, *, embargo: int = 0) -> int:
    """Return the last row at whose close a label may become known and still train a model for `forecast_row`."""
    return forecast_row - embargo


def first_row_using_label(known_row: IntArray, *, embargo: int = 0) -> IntArray:
    """Return the first rows whose forecasts may use labels that become known at the close of `known_row`."""
    return known_row - label_cutoff_row(0, embargo=embargo)


def last_training_row(forecast_row: int, *, lag: int, embargo: int = 0) -> int:
    """Return the newest row whose label may train a model that forecasts `forecast_row`."""
    return label_cutoff_row(forecast_row, embargo=embargo) - lag


def first_forecast_row(n_train: int, *, lag: int, embargo: int = 0) -> int:
    """Return the first row that a model trained on rows 0 to `n_train` - 1 may forecast."""
    return n_train - 1 + lag + embargo


def latest_known_bar_index(
    bar_dates: Dates,
    dates: Dates,
    *,
    bar_market: Market = UNKNOWN_MARKET,
    market: Market = UNKNOWN_MARKET,
) -> IntArray:
    """Return the position of the newest of `bar_dates`, ascending, that is known at each date's close; -1 for none.

    Parameters
    ----------
    bar_dates : dates of the bars, in `bar_market`.
    dates : dates at whose close in `market` the bars are known, or not.

    Notes
    -----
    A bar is known if its market closes no later than the other one, as instants. Within one market a bar of the same
    date is known; if one of two markets is not known, a bar of an earlier date.
    """
    if bar_market == market:
        position = bar_dates.searchsorted(dates, side="right")
    elif not (bar_market.name and market.name):
        position = bar_dates.searchsorted(dates, side="left")
    else:
        latest_close, (earliest_close, _) = bar_market.close_bounds(bar_dates)[1], market.close_bounds(dates)
        position = latest_close.searchsorted(earliest_close, side="right")
    return np.asarray(position - 1, dtype=np.int64)


def iso_date(date: Any) -> str:
    """Return a date as ``YYYY-MM-DD``."""
    return str(np.datetime64(date).astype("datetime64[D]"))
