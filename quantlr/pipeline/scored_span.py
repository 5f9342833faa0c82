"""The sessions that a run scores, where it scores a part of them: `report.score_from`."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, Forecasts, IntArray
from quantlr.model.candidates import SelectedForecasts


def first_scored_session(
    score_from: dt.date, sessions: pd.DatetimeIndex, *, session: IntArray, up: Array, fill_delay: int
) -> int:
    """Return the position of the first session whose forecasts are scored: that of the date, or the next one.

    Parameters
    ----------
    score_from : the date.
    sessions : of the prices.
    session, up : (forecasts,) session and outcome of each, as in `Forecasts`; one outcome at least is known.
    fill_delay : sessions from a decision to its fill.

    Raises
    ------
    DataError : the date is before the first forecast, or after the last one with a known outcome and a return.
    """
    first, last = int(session.min()), min(int(session[~np.isnan(up)].max()), len(sessions) - 2 - fill_delay)
    position = int(sessions.searchsorted(pd.Timestamp(score_from)))
    if first <= position <= last and score_from >= sessions[first].date():
        return position
    span = f"{iso_date(sessions[first])} to {iso_date(sessions[last])}"
    text = f"{score_from} is not among the dates of the forecasts that can be scored, {span}"
    raise DataError(f"{text}; choose one of them, or leave score_from out to score all", key="report.score_from")


def mask_earlier_outcomes(forecasts: Forecasts, first_session: int) -> Forecasts:
    """Return forecasts without the outcomes of those made before a session, given by its position: they are NaN.

    The weights and losses of a choice among candidates are kept from that session on.
    """
    is_earlier = forecasts.session < first_session
    up, horizon_return = (np.where(is_earlier, np.nan, one) for one in (forecasts.up, forecasts.horizon_return))
    masked = replace(forecasts, up=up, horizon_return=horizon_return)
    if not isinstance(masked, SelectedForecasts):
        return masked
    return replace(masked, selection=masked.selection.from_session(first_session, masked.up))
