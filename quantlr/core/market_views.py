"""What is known at the closes of one market: prices and forecasts of several markets as that market sees them.

A part of a run that compares tickers, or reads another one, is given such a view for each market, and its result is
kept for the tickers of that market. In a view, each bar of another market has the session at whose close it is known,
so that dates can be compared as within one market. With one market there is no view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.known_series import DateArray, series_for_market, with_values_of
from quantlr.core.timing import NOT_YET_KNOWN, UNKNOWN_MARKET, Market, latest_known_bar_index
from quantlr.core.values import PRICE_ARRAYS, REFERENCE_PRICES, BoolArray, IntArray, Prices

MAX_CURRENT_DAYS = 45
"""Age in days up to which a bar of another market counts as its newest: a month, and a holiday."""


def market_of(prices: Prices, ticker_index: int) -> Market:
    """Return the market of a ticker."""
    return prices.markets[ticker_index] if prices.markets else UNKNOWN_MARKET


def traded_markets(prices: Prices) -> list[Market]:
    """Return the markets of the traded tickers, each once."""
    return list({market.name: market for market in prices.markets}.values()) or [UNKNOWN_MARKET]


def has_several_markets(prices: Prices) -> bool:
    """Return whether the tickers and the reference series that features use are of more than one market."""
    context = prices.context.markets if prices.context else ()
    return len({market.name for market in (*prices.markets, *context)}) > 1


@dataclass(frozen=True, slots=True)
class MarketView:
    """Prices as known at the closes of one market.

    Attributes
    ----------
    prices : the prices; bars of other markets have the session at whose close they are known, and several may share
        one. Bars that are never known are left out.
    is_own : (tickers,) whether the ticker is of the market.
    """

    prices: Prices
    is_own: BoolArray


def market_views(prices: Prices) -> list[MarketView]:
    """Return the prices as each market of the traded tickers sees them; as they are if there is one market only."""
    if not has_several_markets(prices):
        return [MarketView(prices, np.ones(len(prices.tickers), dtype=np.bool_))]
    return [_view_from(prices, market) for market in traded_markets(prices)]


def _view_from(prices: Prices, market: Market) -> MarketView:
    is_own = np.array([market_of(prices, index) == market for index in range(len(prices.tickers))])
    own_sessions = np.unique(prices.session[:, is_own])
    own_sessions = own_sessions[own_sessions >= 0]
    references: dict[str, Any] = {
        name: _redate_bars(reference, prices.sessions, own_sessions, market)
        for name in REFERENCE_PRICES
        if (reference := getattr(prices, name)) is not None
    }
    references |= series_for_market(prices.series, market.name)
    return MarketView(replace(_redate_bars(prices, prices.sessions, own_sessions, market), **references), is_own)


def _redate_bars(prices: Prices, sessions: pd.DatetimeIndex, own_sessions: IntArray, market: Market) -> Prices:
    """Return prices whose bars have the session, among `own_sessions` of a market, at whose close they are known."""
    dates, all_dates = sessions.to_numpy()[own_sessions], prices.sessions.to_numpy()
    session = np.full_like(prices.session, -1)
    newest_bar = np.full((len(sessions), len(prices.tickers)), -1, dtype=np.int64)
    newest_dates = {m.name: _newest_dates(prices, m, dates, market) for m in traded_markets(prices) if m != market}
    for ticker, n_bars in enumerate(prices.n_bars.tolist()):
        own_market = market_of(prices, ticker)
        bar_dates = all_dates[prices.session[:n_bars, ticker]]
        latest = latest_known_bar_index(bar_dates, dates, bar_market=own_market, market=market)
        first_known = latest.searchsorted(np.arange(n_bars))
        session[:n_bars, ticker] = np.append(own_sessions, -1)[first_known]
        needed = dates if own_market == market else newest_dates[own_market.name]
        is_newest = (latest >= 0) & (bar_dates[np.maximum(latest, 0)] == needed)
        newest_bar[own_sessions, ticker] = np.where(is_newest, latest, -1)
    arrays: dict[str, Any] = {name: np.where(session >= 0, getattr(prices, name), np.nan) for name in PRICE_ARRAYS}
    arrays["member_mask"] = None if prices.member_mask is None else prices.member_mask & (session >= 0)
    return replace(prices, sessions=sessions, session=session, newest_bar=newest_bar, markets=(), **arrays)


def _newest_dates(prices: Prices, bar_market: Market, dates: DateArray, market: Market) -> DateArray:
    """Return the newest session of one market that is known at each date's close in another; NaT if it is too old."""
    is_of_market = [market_of(prices, index) == bar_market for index in range(len(prices.tickers))]
    session = np.unique(prices.session[:, is_of_market])
    bar_dates = prices.sessions.to_numpy()[session[session >= 0]]
    latest = latest_known_bar_index(bar_dates, dates, bar_market=bar_market, market=market)
    newest = bar_dates[np.maximum(latest, 0)]
    is_current = (latest >= 0) & (dates - newest <= np.timedelta64(MAX_CURRENT_DAYS, "D"))
    return np.where(is_current, newest, np.datetime64("NaT", "us"))


def sessions_known_in_view(view: Prices, prices: Prices, session: IntArray, ticker: IntArray) -> IntArray:
    """Return the session at whose close a market knows what other sessions of tickers hold, (n,).

    Parameters
    ----------
    view : the prices as the market sees them.
    prices : the prices that it is a view of.
    session, ticker : (n,) positions of the sessions, each with a bar of the ticker; a session may be `NOT_YET_KNOWN`,
        and so may the result.
    """
    known = np.full((len(prices.sessions) + 1, len(prices.tickers)), NOT_YET_KNOWN, dtype=np.int64)
    bars, tickers = np.nonzero(prices.session >= 0)
    sessions = view.session[bars, tickers]
    known[prices.session[bars, tickers], tickers] = np.where(sessions >= 0, sessions, NOT_YET_KNOWN)
    return known[np.minimum(session, len(prices.sessions)), ticker]


def with_own_dates(altered: Prices, view: Prices, original: Prices) -> Prices:
    """Return a view whose later prices were altered, with the dates of the prices that it is a view of.

    Bars that the view lacks are the original ones, unless the altered prices end before.
    """
    n_bars = len(altered.session)
    is_cut = n_bars < len(view.session) or len(altered.sessions) < len(view.sessions)
    has_bar = altered.session >= 0
    session = np.where(has_bar, original.session[:n_bars], -1) if is_cut else original.session
    sessions = _moved_dates(altered, view, original)
    arrays: dict[str, Any] = {
        name: np.where(has_bar | is_cut, getattr(altered, name), getattr(original, name)[:n_bars])
        for name in PRICE_ARRAYS
    }
    if original.member_mask is not None:
        arrays["member_mask"] = original.member_mask[:n_bars] & (session >= 0)
    if is_cut:
        sessions = sessions[: int(session.max(initial=-1)) + 1]
    for name in REFERENCE_PRICES:
        parts = [getattr(prices, name) for prices in (altered, view, original)]
        if parts[0] is not None:
            arrays[name] = with_own_dates(*parts)
    arrays["series"] = with_values_of(original.series, altered.series)
    return replace(original, sessions=sessions, session=session, **arrays)


def _moved_dates(altered: Prices, view: Prices, original: Prices) -> pd.DatetimeIndex:
    """Return the original dates, those after the newest bar that the view's scenario left moved as far as it moves."""
    moved = altered.sessions - view.sessions[: len(altered.sessions)]
    bar, ticker = np.nonzero(altered.session >= 0)
    is_left = moved.to_numpy()[altered.session[bar, ticker]] == np.timedelta64(0, "s")
    newest_left = int(original.session[bar, ticker][is_left].max(initial=-1))
    is_later = np.arange(len(original.sessions)) > newest_left
    longest = moved.max() if len(moved) else pd.Timedelta(0)
    return pd.DatetimeIndex(
        original.sessions.where(~is_later, original.sessions + longest), name=original.sessions.name
    )


def sessions_known_to_all(prices: Prices) -> IntArray:
    """Return the newest session of each ticker that is known by each session's earliest close.

    (sessions, tickers); -1 for none. The earliest close is that of any traded market, with a bar or without.
    """
    markets, known = traded_markets(prices), np.empty((len(prices.sessions), len(prices.tickers)), dtype=np.int64)
    by_market = {
        own.name: np.min(
            [latest_known_bar_index(prices.sessions, prices.sessions, bar_market=own, market=m) for m in markets],
            axis=0,
        )
        for own in markets
    }
    for ticker in range(len(prices.tickers)):
        known[:, ticker] = by_market[market_of(prices, ticker).name]
    return known


def first_session_known_to_all(prices: Prices, session: IntArray, ticker: IntArray) -> IntArray:
    """Return the first session by whose earliest close a session of each row's ticker is known, (rows,).

    Parameters
    ----------
    session, ticker : (rows,) positions; a session may be `NOT_YET_KNOWN`, and so may the result.
    """
    if len(traded_markets(prices)) == 1:
        return session
    known = sessions_known_to_all(prices)
    result = np.empty_like(session)
    for index in np.unique(ticker).tolist():
        rows = ticker == index
        result[rows] = known[:, index].searchsorted(session[rows])
    return np.where(result < len(known), result, NOT_YET_KNOWN)


@dataclass(frozen=True, slots=True)
class MarketRows:
    """Rows of forecasts as known at the closes of one market: its own, and other markets' newest at each session.

    Attributes
    ----------
    row : (n,) position of each among all rows; in the order of tickers, then of sessions.
    session : (n,) position of the session at whose close it is known.
    is_own : (n,) whether its ticker is of the market.
    """

    row: IntArray
    session: IntArray
    is_own: BoolArray


def market_rows(prices: Prices, ticker: IntArray, session: IntArray) -> tuple[MarketRows, ...]:
    """Return the rows as each traded market sees them; () if there is one market only.

    Parameters
    ----------
    ticker, session : (rows,) position of each row's ticker and session.
    """
    if len(traded_markets(prices)) == 1:
        return ()
    return tuple(_iter_market_rows(prices, ticker, session))


def _iter_market_rows(prices: Prices, ticker: IntArray, session: IntArray) -> Iterable[MarketRows]:
    row_of_bar = np.full(prices.session.shape, -1, dtype=np.int64)
    bar_at_session = np.full((len(prices.sessions), len(prices.tickers)), -1, dtype=np.int64)
    bars, tickers = np.nonzero(prices.session >= 0)
    bar_at_session[prices.session[bars, tickers], tickers] = bars
    row_of_bar[bar_at_session[session, ticker], ticker] = np.arange(len(ticker))
    for view in market_views(prices):
        newest_bar = view.prices.newest_bar
        if newest_bar is None or not view.is_own.any():
            continue
        rows = np.where(newest_bar >= 0, np.take_along_axis(row_of_bar, newest_bar, axis=0), -1)
        rows[(rows[:, view.is_own] < 0).all(axis=1)] = -1  # sessions at which the market forecasts nothing
        row_ticker, row_session = np.nonzero(rows.T >= 0)
        yield MarketRows(rows[row_session, row_ticker], row_session.astype(np.int64), view.is_own[row_ticker])
