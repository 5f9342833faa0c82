"""Client of Yahoo Finance through yfinance: one request per ticker, its response as raw bars, its errors by kind.

yfinance is imported, and its settings are changed, only within `open_yahoo_client`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import queue
import re
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from quantlr.core.atomic import cache_dir
from quantlr.core.values import BoolArray
from quantlr.data.cache import FetchResponse
from quantlr.data.corporate_actions import RAW_BAR_COLUMNS, RAW_PRICE_COLUMNS, RawBarFrame, undo_split_adjustment

T = TypeVar("T")

US_EXCHANGE_CODES = "NMS NGM NCM NAS NYQ NYS PCX ASE BTS PNK OQX OQB OEM OID SNP DJI NIM NASDAQ"
"""Nasdaq, New York with Arca and American, Cboe's, over the counter, and the indices of S&P, Dow Jones and Nasdaq."""

CALENDAR_BY_EXCHANGE_CODE: dict[str, str] = {
    **dict.fromkeys(US_EXCHANGE_CODES.split(), "XNYS"),
    "TOR": "XTSE", "VAN": "XTSE",
    "MEX": "XMEX", "SAO": "BVMF", "BUE": "XBUE", "SGO": "XSGO",
    "LSE": "XLON", "IOB": "XLON", "FGI": "XLON", "ISE": "XDUB",
    "GER": "XETR", "FRA": "XFRA", "STU": "XSTU", "HAM": "XHAM", "DUS": "XDUS",
    "PAR": "XPAR", "AMS": "XAMS", "BRU": "XBRU", "LIS": "XLIS", "MIL": "XMIL", "MCE": "XMAD",
    "EBS": "XSWX", "VIE": "XWBO",
    "STO": "XSTO", "CPH": "XCSE", "HEL": "XHEL", "OSL": "XOSL", "ICE": "XICE",
    "WSE": "XWAR", "PRA": "XPRA", "BUD": "XBUD", "IST": "XIST",
    "JPX": "XTKS", "OSA": "XTKS", "HKG": "XHKG", "SHH": "XSHG", "SHZ": "XSHG",
    "KSC": "XKRX", "KOE": "XKRX", "TAI": "XTAI", "TWO": "XTAI", "SES": "XSES",
    "SET": "XBKK", "KLS": "XKLS", "JKT": "XIDX",
    "BSE": "XBOM", "NSI": "XBOM", "ASX": "XASX", "NZE": "XNZE",
    "SAU": "XSAU", "JNB": "XJSE",
    "CCC": "24/7", "CCY": "24/5",
}  # fmt: skip
"""Calendar in exchange_calendars by the `exchangeName` of a chart; exchanges without a calendar are left out."""

SETTLEMENT_DELAY_AFTER_CLOSE = dt.timedelta(minutes=30)
"""Time after the close from which on a session's bar is final."""
COLUMN_BY_YFINANCE_NAME = {
    "Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume", "Dividends": "dividend",
    "Capital Gains": "capital_gain", "Stock Splits": "split",
}  # fmt: skip
NULL_LOG_HANDLER = logging.NullHandler()
CHART_URL_PATH = "/v8/finance/chart/"
BACKGROUND_THREAD_NAME = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""

MAX_ATTEMPTS = 4
"""Number of requests for a ticker while Yahoo can't be reached or fails."""

UTC_CLOCK = partial(dt.datetime.now, dt.UTC)

FetchErrorKind = Literal["unknown", "empty", "limited", "network", "server", "unstored"]


@dataclass(frozen=True, slots=True)
class HttpEnvironment:
    """The network and the clock of a source, which tests replace.

    Attributes
    ----------
    http_session : session of curl_cffi or requests for all requests; None for yfinance's own.
    clock : returns the time; called once per fetch.
    pause_seconds : pause between tickers, to limit the rate of requests.
    backoff_seconds : pause before the second attempt; doubled before each further one.
    """

    http_session: Any = None
    clock: Callable[[], dt.datetime] = UTC_CLOCK
    pause_seconds: float = 0.2
    backoff_seconds: float = 1.0


class FetchError(Exception):
    """There are no prices of a ticker.

    Attributes
    ----------
    kind : Yahoo does not know the ticker ("unknown") or has no bars of it ("empty"); it limits the rate of requests
        ("limited"); it can't be reached ("network"); its response is another error ("server"); or the network must not
        be used and nothing is cached ("unstored").
    """

    def __init__(self, kind: FetchErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ResultTimeoutError(Exception):
    """A background iterator yielded nothing within the time-out."""


def iter_in_background(
    make_items: Callable[[Event], Iterator[T]], *, timeout_seconds: float
) -> Generator[T, None, None]:
    """Yield the items of an iterator that runs in a thread of its own, ahead of the caller, and can be abandoned.

    The thread is a daemon: a request that hangs blocks neither the caller nor the end of the program.

    Parameters
    ----------
    make_items : is called in the thread with an event that is set once the items are no longer wanted.
    timeout_seconds : how long to wait for an item.

    Raises
    ------
    ResultTimeoutError : there was no item for `timeout_seconds`.
    """
    stop_event = Event()
    results: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()

    def put_items_on_queue() -> None:
        try:
            for item in make_items(stop_event):
                results.put((item,))
                if stop_event.is_set():
                    return
            results.put(None)
        except BaseException as error:
            results.put(error)

    Thread(target=put_items_on_queue, name=BACKGROUND_THREAD_NAME, daemon=True).start()
    try:
        while (result := results.get(timeout=timeout_seconds)) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result[0]
    except queue.Empty:
        raise ResultTimeoutError from None
    finally:
        stop_event.set()


@dataclass(slots=True)
class YahooClient:
    """yfinance with a session that keeps the last response to a request for a chart.

    yfinance raises the same errors for an outage and for a delisting; the response distinguishes them.

    Attributes
    ----------
    environment : the network and the clock.
    http_session : the session for all requests.
    timeout_seconds : time-out per download.
    last_chart_response : the session's last response to a request for a chart, None if there was none.
    """

    environment: HttpEnvironment
    http_session: Any
    timeout_seconds: float
    last_chart_response: Any = None

    def fetch_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime, stop_event: Event) -> FetchResponse:
        """Return the sessions of a ticker from `since` on, or all of them, after several attempts if necessary.

        Raises
        ------
        FetchError : there are no usable prices, and another attempt can't change that or is not left.
        """
        for attempt in range(MAX_ATTEMPTS - 1):
            try:
                return self._request_ticker(ticker, since, now)
            except FetchError as error:
                is_final = error.kind in ("unknown", "empty")
                if is_final or stop_event.wait(self.environment.backoff_seconds * 2**attempt):
                    raise
        return self._request_ticker(ticker, since, now)

    def _request_ticker(self, ticker: str, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        import yfinance
        from yfinance.data import YfData

        YfData.cache_get.cache_clear()  # it caches errors too, which a second attempt must not get
        self.last_chart_response = None
        dates = {"period": "max"} if since is None else {"start": since}
        try:
            yahoo_ticker = yfinance.Ticker(ticker, session=self.http_session)
            table = yahoo_ticker.history(**dates, auto_adjust=False, keepna=True, timeout=self.timeout_seconds)
            metadata = yahoo_ticker.history_metadata
        except Exception as error:  # yfinance raises many types
            raise self._to_fetch_error(error) from error
        return yfinance_table_to_response(table, metadata, is_full_history=since is None, now=now)

    def _to_fetch_error(self, error: Exception) -> FetchError:
        from yfinance.exceptions import YFRateLimitError, YFTickerMissingError

        response = self.last_chart_response
        status = response.status_code if response is not None else None
        yahoo_text = _yahoo_error_text(response)
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        curl_text = re.search(r"curl: \(\d+\) (.*?)\.? See https", text)
        text = (curl_text.group(1) if curl_text else text)[:200]
        if isinstance(error, YFRateLimitError) or status == 429:
            return FetchError("limited", "Yahoo limits the rate of requests (status 429)")
        if status in (400, 404) and yahoo_text:
            return FetchError("unknown", f"Yahoo says {yahoo_text!r} (status {status})")
        if status == 200 and isinstance(error, YFTickerMissingError):
            return FetchError("empty", "Yahoo lists the ticker and has no bars of it")
        if isinstance(error, OSError) and (status or 200) < 400:
            return FetchError("network", f"Yahoo can't be reached: {text}")
        if status is None:
            return FetchError("server", f"the request failed: {type(error).__name__}: {text}")
        reason = f": {yahoo_text}" if yahoo_text else ", and with no prices"
        return FetchError("server", f"Yahoo answers with status {status}{reason}")


def _yahoo_error_text(response: Any) -> str | None:
    """Return the error that Yahoo describes in a response, None if there is none or the response is not JSON."""
    if response is None or response.status_code < 400:
        return None
    try:
        error = json.loads(response.text)["chart"]["error"]
        return str(error.get("description") or error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def open_yahoo_client(environment: HttpEnvironment, *, timeout_seconds: float) -> Iterator[YahooClient]:
    """Yield a client with a time-out per download, and restore yfinance's settings at the end of the block."""
    with warnings.catch_warnings():
        import yfinance

        warnings.simplefilter("ignore")  # warnings about its use of pandas; its import sets a filter of its own
        _leave_locks_to_abandoned_threads()
        logging.getLogger("yfinance").addHandler(NULL_LOG_HANDLER)  # it raises what it logs
        debug = yfinance.config.debug
        yfinance.set_tz_cache_location(str(cache_dir() / "yfinance"))
        hide_exceptions = debug.hide_exceptions
        debug.hide_exceptions = False
        # Any ticker has the session of the library that yfinance uses; nothing is requested here.
        session = environment.http_session or yfinance.Ticker("SPY").session
        client = YahooClient(environment, session, timeout_seconds)
        request = session.request

        def request_and_record(method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            response = request(method, url, *args, **kwargs)
            if CHART_URL_PATH in str(url):
                client.last_chart_response = response
            return response

        session.request = request_and_record
        try:
            yield client
        finally:
            session.request = request
            debug.hide_exceptions = hide_exceptions


def _leave_locks_to_abandoned_threads() -> None:
    """Give yfinance new locks if a thread still waits for an answer: it may hold one of them as long as that takes.

    yfinance keeps one object for all requests, which locks its cookie while it asks for one.
    """
    if any(thread.name == BACKGROUND_THREAD_NAME for thread in threading.enumerate()):
        from yfinance.data import SingletonMeta

        SingletonMeta._lock, SingletonMeta._instances = threading.Lock(), {}


def yfinance_table_to_response(
    table: pd.DataFrame, metadata: Mapping[str, Any], *, is_full_history: bool, now: dt.datetime
) -> FetchResponse:
    """Return the finished and complete sessions of a table of yfinance, which is adjusted for splits, as raw bars.

    Raises
    ------
    FetchError : there is no such session, or a split is impossible.
    """
    if table.empty:
        raise FetchError("empty", "Yahoo lists the ticker and has no bars of it")
    period = metadata.get("currentTradingPeriod")  # the session that goes on, or the last one
    end = period.get("regular", {}).get("end") if isinstance(period, Mapping) else None
    closing = end if isinstance(end, pd.Timestamp) else None
    exchange_info = {
        "exchange": str(metadata.get("exchangeName") or ""),
        "exchange_name": str(metadata.get("fullExchangeName") or ""),
        "timezone": str(metadata.get("exchangeTimezoneName") or pd.DatetimeIndex(table.index).tz),
        "currency": str(metadata.get("currency") or ""),
        "closes": f"{closing:%H:%M}" if closing else "",
    }
    raw_bars = undo_split_adjustment(_yfinance_table_to_raw_bars(table))
    finished = last_finished_date(exchange_info, now=now)
    is_unfinished = np.asarray(raw_bars.index > pd.Timestamp(finished))
    is_incomplete = raw_bars[list(RAW_PRICE_COLUMNS)].isna().any(axis=1).to_numpy() & ~is_unfinished
    unfinished, incomplete = ([date.date() for date in raw_bars.index[mask]] for mask in (is_unfinished, is_incomplete))
    complete_bars = _keep_sessions_and_move_actions(raw_bars, ~(is_unfinished | is_incomplete))
    if complete_bars.empty:
        raise FetchError("empty", "Yahoo lists the ticker and has no bars of it that are complete")
    last = complete_bars.index[-1].date()
    # Sessions after the last complete one that Yahoo may still complete: they are requested again.
    pending = [date for date in incomplete if date > last]
    if closing and closing.date() == finished and last < finished:
        pending.append(finished)
    return FetchResponse(
        raw_bars=complete_bars,
        is_full_history=is_full_history,
        fetched_at=now,
        complete_through_date=min([finished, *(date - dt.timedelta(days=1) for date in pending)]),
        exchange_info=exchange_info,
        unfinished_session=unfinished[0] if unfinished else None,
        incomplete_sessions=tuple(incomplete),
    )


def last_finished_date(exchange_info: Mapping[str, str], *, now: dt.datetime) -> dt.date:
    """Return the latest date on which trading is over, by the exchange's clock."""
    local = now.astimezone(ZoneInfo(exchange_info["timezone"]))
    if exchange_info["closes"]:
        close = dt.datetime.combine(local.date(), dt.time.fromisoformat(exchange_info["closes"]), tzinfo=local.tzinfo)
        if local >= close + SETTLEMENT_DELAY_AFTER_CLOSE:
            return local.date()
    return local.date() - dt.timedelta(days=1)


def _yfinance_table_to_raw_bars(table: pd.DataFrame) -> RawBarFrame:
    """Return yfinance's columns under our names, dates without time zone, and a split of 1 on days without one."""
    renamed = table.rename(columns=COLUMN_BY_YFINANCE_NAME)
    raw_bars = renamed.reindex(columns=list(RAW_BAR_COLUMNS), fill_value=0.0).astype(np.float64)
    raw_bars["split"] = raw_bars["split"].replace(0.0, 1.0)
    if not (np.isfinite(raw_bars["split"]) & (raw_bars["split"] > 0)).all():
        raise FetchError("server", "Yahoo states a split that is impossible")
    dates = pd.DatetimeIndex(table.index).tz_localize(None).normalize().to_numpy(dtype="datetime64[us]")
    return raw_bars.set_axis(pd.DatetimeIndex(dates, name="date"))


def _keep_sessions_and_move_actions(raw_bars: RawBarFrame, session_mask: BoolArray) -> RawBarFrame:
    """Return some sessions; dividends and splits of the others are moved to the next session that is kept."""
    kept = raw_bars[session_mask].copy()
    next_kept = np.append(0, np.cumsum(session_mask)[:-1])  # index in `kept` of each session, or of the next one kept
    groups = raw_bars.groupby(next_kept)
    for name, reduction in (("dividend", "sum"), ("capital_gain", "sum"), ("split", "prod")):
        kept[name] = groups[name].agg(reduction).to_numpy()[: len(kept)]
    return kept
