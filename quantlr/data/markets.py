"""The market of each ticker, and the instants at which it closes.

A market is a calendar of exchange_calendars or a regular close in a time zone. It is taken, in this order, from
`data.calendars`, `data.calendar`, the source, the ticker's suffix, or the offset from UTC that a file's times have. Of
an offset alone it is known that the market closes between local 12:00 and 24:00. Closes are computed only where tickers
are of several markets.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from quantlr.core.errors import DataError
from quantlr.core.known_series import DateArray
from quantlr.core.timing import SECONDS_PER_DAY, UNKNOWN_MARKET, Market
from quantlr.core.values import IntArray, Note, Prices
from quantlr.data.bars import bar_period
from quantlr.data.calendars import RegularClose, load_sessions
from quantlr.data.price_rows import PriceRows

CALENDAR_BY_SUFFIX = {
    "us": "XNYS", "to": "XTSE", "v": "XTSE", "mx": "XMEX", "sa": "BVMF", "ba": "XBUE", "sn": "XSGO",
    "l": "XLON", "uk": "XLON", "ir": "XDUB", "de": "XETR", "f": "XFRA", "pa": "XPAR", "as": "XAMS", "br": "XBRU",
    "ls": "XLIS", "mi": "XMIL", "mc": "XMAD", "sw": "XSWX", "vi": "XWBO", "at": "ASEX",
    "st": "XSTO", "co": "XCSE", "he": "XHEL", "ol": "XOSL", "ic": "XICE", "wa": "XWAR", "pr": "XPRA", "bd": "XBUD",
    "is": "XIST", "ta": "XTAE", "sr": "XSAU", "jo": "XJSE",
    "t": "XTKS", "jp": "XTKS", "hk": "XHKG", "ss": "XSHG", "sz": "XSHG", "sh": "XSHG", "ks": "XKRX", "kq": "XKRX",
    "tw": "XTAI", "two": "XTAI", "si": "XSES", "bk": "XBKK", "kl": "XKLS", "jk": "XIDX", "bo": "XBOM", "ns": "XBOM",
    "ax": "XASX", "nz": "XNZE",
}  # fmt: skip
"""Calendar by what follows the last dot of a ticker, as Yahoo, Stooq and tushare write it, in lower case."""
CALENDAR_ALIASES = {"NYSE": "XNYS", "NASDAQ": "XNYS", "XNAS": "XNYS", "ARCX": "XNYS", "BATS": "XNYS", "XASE": "XNYS"}
"""Calendars that are another one under a second name."""
CRYPTO_CLOSE = RegularClose(zone="UTC", minutes=24 * 60)
FOREX_AND_FUTURES_CLOSE = RegularClose(zone="America/New_York", minutes=17 * 60)
CRYPTO_PATTERN = re.compile(r".+-(USD|USDT|USDC|EUR|GBP|JPY|BTC|ETH)", re.IGNORECASE)
FALLBACK_CLOSES = {
    "ASEX": RegularClose(zone="Europe/Athens", minutes=17 * 60 + 20),
    "XBEL": RegularClose(zone="Europe/Belgrade", minutes=14 * 60),
    "XBSE": RegularClose(zone="Europe/Bucharest", minutes=17 * 60 + 45),
    "XCYS": RegularClose(zone="Asia/Nicosia", minutes=17 * 60 + 20),
    "XTAE": RegularClose(zone="Asia/Jerusalem", minutes=17 * 60 + 25),
}
"""Regular closes of the calendars that the library may fail to compute."""
UNCOMPUTED_CALENDAR_TEXT = (
    "exchange_calendars can't compute the calendar {}: its market's regular close is used, and no session is compared"
)
SUNDAY_MARKET_ZONES = {"XTAE": "Asia/Jerusalem", "XSAU": "Asia/Riyadh"}
"""Time zones of the calendars of exchanges that are open on Sundays and closed on Fridays."""
EARLIEST_CLOSE_SECONDS, LATEST_CLOSE_SECONDS = SECONDS_PER_DAY // 2, SECONDS_PER_DAY
"""Local time of day between which a market closes of which only the offset is known."""
MIN_MISSING_DATES, MIN_MISSING_DATES_PER_YEAR = 3, 1.0
"""Dates that two tickers each lack of the other's, from which on they are of different markets."""

RECENT_DAYS = np.timedelta64(3, "D")
"""Age of a last bar above which its session is over in any zone."""
SETTLEMENT_DELAY_AFTER_CLOSE = dt.timedelta(minutes=30)
"""Time after the close from which on a session's bar is final."""

MarketHours = str | RegularClose
"""A calendar's code, or a regular close."""


@dataclass(frozen=True, slots=True)
class MarketSources:
    """What is stated about the market of each ticker; calendars by their code in exchange_calendars.

    Attributes
    ----------
    by_ticker : from `data.calendars`.
    calendar : from `data.calendar`, for all others.
    of_source : what the source states.
    """

    by_ticker: Mapping[str, str] = field(default_factory=dict)
    calendar: str | None = None
    of_source: Mapping[str, str] = field(default_factory=dict)

    def hours(self, ticker: str) -> MarketHours | None:
        """Return the calendar or the regular close of a ticker, None if neither is known."""
        stated = self.by_ticker.get(ticker) or self.calendar or self.of_source.get(ticker)
        return hours_of_suffix(ticker) if stated is None else _canonical_hours(stated)

    def sunday_zone(self, ticker: str) -> str | None:
        """Return the time zone of a ticker whose market is open on Sundays and closed on Fridays, None for others."""
        hours = self.hours(ticker)
        return SUNDAY_MARKET_ZONES.get(hours) if isinstance(hours, str) else None


def _canonical_hours(calendar: str) -> MarketHours:
    return CRYPTO_CLOSE if calendar == "24/7" else CALENDAR_ALIASES.get(calendar, calendar)


def hours_of_suffix(ticker: str) -> MarketHours | None:
    """Return what a ticker's ending says about its market: .T, -USD, =X, =F; None if it says nothing."""
    if ticker.endswith(("=X", "=F")):
        return FOREX_AND_FUTURES_CLOSE
    if CRYPTO_PATTERN.fullmatch(ticker):
        return CRYPTO_CLOSE
    stem, dot, suffix = ticker.rpartition(".")
    return CALENDAR_BY_SUFFIX.get(suffix.casefold()) if stem and dot else None


def find_markets(rows: PriceRows, sources: MarketSources) -> tuple[dict[str, Market], list[Note]]:
    """Return the market of each ticker, with closes if there are several, and a note on each that was replaced."""
    hours = {ticker: sources.hours(ticker) for ticker in rows.tickers}
    offsets = {ticker: _utc_offsets(rows, index) for index, ticker in enumerate(rows.tickers) if hours[ticker] is None}
    markets = {ticker: Market(_hours_name(value)) for ticker, value in hours.items() if value is not None}
    markets |= _offset_markets({ticker: offset for ticker, offset in offsets.items() if offset is not None})
    markets |= dict.fromkeys([ticker for ticker in rows.tickers if ticker not in markets], UNKNOWN_MARKET)
    if len({market.name for market in markets.values()}) < 2:
        return markets, []
    notes: list[Note] = []
    for name, value in {_hours_name(value): value for value in hours.values() if value is not None}.items():
        is_of_market = np.array([markets[ticker].name == name for ticker in rows.tickers])
        market, note = market_with_closes(name, value, np.unique(rows.date[is_of_market[rows.ticker_index]]))
        markets |= {ticker: market for ticker, of_market in zip(rows.tickers, is_of_market, strict=True) if of_market}
        notes += note
    return markets, notes


def _hours_name(hours: MarketHours) -> str:
    return hours if isinstance(hours, str) else f"{hours.minutes // 60:02d}:{hours.minutes % 60:02d} {hours.zone}"


def market_with_closes(name: str, hours: MarketHours, dates: DateArray) -> tuple[Market, list[Note]]:
    """Return a market with its close on each date, and a note if its calendar can't be computed or ends before."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    notes: list[Note] = []
    if isinstance(hours, RegularClose):
        closes = hours.closes(dates)
    else:
        try:
            sessions = load_sessions(hours, first_date=dates.min(), last_date=dates.max())
            closes = sessions.hours.closes(dates)
            is_session = np.isin(dates, sessions.dates)
            closes[is_session] = sessions.closes[np.searchsorted(sessions.dates, dates[is_session])]
            n_unrecorded = int((~sessions.recorded_dates_mask(dates)).sum())
            text = f"the calendar {hours} has no record of these dates; its regular close is used"
        except DataError:
            if hours not in FALLBACK_CLOSES:
                raise
            closes, n_unrecorded = FALLBACK_CLOSES[hours].closes(dates), len(dates)
            text = UNCOMPUTED_CALENDAR_TEXT.format(hours)
        if n_unrecorded:
            notes = [Note("data", text, count=n_unrecorded, key="data.calendars")]
    return Market(name, days, closes, closes), notes


def computed_calendars(calendars: Mapping[str, str], dates: DateArray) -> tuple[dict[str, str], list[Note]]:
    """Return the calendars by ticker without those that the library can't compute, and a note on each of these."""
    failed = []
    for name in sorted({*calendars.values()} & FALLBACK_CLOSES.keys()):
        try:
            load_sessions(name, first_date=dates.min(), last_date=dates.max())
        except DataError:
            failed.append(name)
    notes = [Note("data", UNCOMPUTED_CALENDAR_TEXT.format(name), key="data.calendars") for name in failed]
    return {ticker: name for ticker, name in calendars.items() if name not in failed}, notes


def unfinished_reason(rows: PriceRows, row: int, sources: MarketSources, now: dt.datetime) -> str:
    """Return why the last bar of a ticker is not over at a time, "" if it is or if that is not known."""
    first = int(np.searchsorted(rows.ticker_index, rows.ticker_index[row]))
    dates = rows.date[first : row + 1].astype("datetime64[D]")
    period, has_weekends = bar_period(dates), sources.hours(rows.ticker_of_row(row)) == CRYPTO_CLOSE
    if period is not None and period.starts_on_date:
        is_over = np.datetime64(now.date()) > period.last_days(dates[-1:], has_weekends=has_weekends)[0]
        return "" if is_over else f"its {period.unit} is not over"
    close = _latest_close(rows, row, sources) if np.datetime64(now.date()) - dates[-1] <= RECENT_DAYS else None
    is_open = close is not None and now < close + SETTLEMENT_DELAY_AFTER_CLOSE
    return f"the session is not over: its market closes at {close:%Y-%m-%d %H:%M} UTC" if is_open else ""


def _latest_close(rows: PriceRows, row: int, sources: MarketSources) -> dt.datetime | None:
    """Return the latest time at which the market of a row closes on its date, None where the market is not known."""
    hours, date, offset = sources.hours(rows.ticker_of_row(row)), rows.date[row : row + 1], rows.utc_offset_minutes[row]
    if hours is None and not (np.isfinite(offset) and offset):
        return None
    if hours is None:
        close = (date.astype("datetime64[s]").astype(np.int64) - int(offset) * 60 + LATEST_CLOSE_SECONDS)[0]
    else:
        close = market_with_closes(_hours_name(hours), hours, date)[0].latest_close[0]
    return dt.datetime.fromtimestamp(int(close), dt.UTC)


def _utc_offsets(rows: PriceRows, ticker_index: int) -> tuple[IntArray, IntArray] | None:
    """Return days and minutes ahead of UTC of a ticker's rows, by date; None where no zone but UTC is written."""
    is_of_ticker = rows.ticker_index == ticker_index
    minutes = rows.utc_offset_minutes[is_of_ticker]
    if not len(minutes) or np.isnan(minutes).any() or not minutes.any():
        return None
    days, first = np.unique(rows.date[is_of_ticker].astype("datetime64[D]").astype(np.int64), return_index=True)
    return days, minutes[first].astype(np.int64)


def _offset_markets(offsets: Mapping[str, tuple[IntArray, IntArray]]) -> dict[str, Market]:
    """Return the market of each ticker by its offsets; tickers with the same offsets on all common dates share one."""
    markets: dict[str, Market] = {}
    known: list[tuple[Market, IntArray, IntArray]] = []
    for ticker, (days, minutes) in offsets.items():
        for market, other_days, other_minutes in known:
            _, own, other = np.intersect1d(days, other_days, return_indices=True)
            if len(own) and np.array_equal(minutes[own], other_minutes[other]):
                markets[ticker] = market
                break
        else:
            midnight = days * SECONDS_PER_DAY - minutes * 60
            zones = "/".join(sorted({f"{minute / 60:+g}" for minute in minutes.tolist()}))
            name = (
                f"UTC{zones}" if all(market.name != f"UTC{zones}" for market, *_ in known) else f"UTC{zones} {ticker}"
            )
            market = Market(name, days, midnight + EARLIEST_CLOSE_SECONDS, midnight + LATEST_CLOSE_SECONDS)
            known.append((market, days, minutes))
            markets[ticker] = market
    return markets


def check_unknown_markets(prices: Prices, parts: list[str]) -> list[Note]:
    """Return a note if a market is not known that the parts of a run which look across tickers need.

    Parameters
    ----------
    parts : keys of these parts.

    Raises
    ------
    DataError : no market is known, and two tickers each lack dates of the other.
    """
    names, dates_by_ticker = {}, {}
    for container in (prices, prices.context) if prices.context else (prices,):
        for index, ticker in enumerate(container.tickers):
            names[ticker] = container.markets[index].name if container.markets else ""
            session = container.session[: container.n_bars[index], index]
            dates_by_ticker[ticker] = container.sessions.to_numpy()[session]
    unknown = [ticker for ticker, name in names.items() if not name]
    if not parts or not unknown or len(names) < 2:
        return []
    subject = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
    advice = "state them as data.calendars: {TICKER: XNYS}"
    if len(unknown) < len(names):
        text = f"the market of {subject} is not known: between it and the others, a bar counts as known a date late"
        return [Note("data", f"{text}; {advice}", count=len(unknown), key="data.calendars")]
    differing = _tickers_with_other_dates(dates_by_ticker)
    if differing is not None:
        text = f"{differing[0]} and {differing[1]} have other dates, as tickers of different markets, and {parts[0]}"
        raise DataError(f"{text} needs to know which closes first; {advice}", key="data.calendars")
    text = f"the market of {subject} is not known: bars of one date count as known at the same close"
    return [Note("data", f"{text}; {advice} if they are of several", key="data.calendars")]


def _tickers_with_other_dates(dates_by_ticker: Mapping[str, DateArray]) -> tuple[str, str] | None:
    """Return two tickers that each lack dates of the other: the one with the most bars, and the first such."""
    fullest = max(dates_by_ticker, key=lambda ticker: len(dates_by_ticker[ticker]))
    for ticker, dates in dates_by_ticker.items():
        first, last = max(dates[0], dates_by_ticker[fullest][0]), min(dates[-1], dates_by_ticker[fullest][-1])
        own, other = (values[(values >= first) & (values <= last)] for values in (dates, dates_by_ticker[fullest]))
        n_years = (last - first) / np.timedelta64(1, "D") / 365.25
        needed = max(MIN_MISSING_DATES, MIN_MISSING_DATES_PER_YEAR * n_years)
        if min(len(np.setdiff1d(own, other)), len(np.setdiff1d(other, own))) >= needed:
            return fullest, ticker
    return None
