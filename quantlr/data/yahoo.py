"""Source of daily prices from Yahoo Finance through yfinance: raw bars, and errors by kind.

yfinance is imported, and its settings are changed, only within `open_yahoo_client`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from quantlr.core.atomic import cache_dir
from quantlr.core.values import BoolArray
from quantlr.data.cache import FetchResponse
from quantlr.data.corporate_actions import RAW_BAR_COLUMNS, RAW_PRICE_COLUMNS, RawBarFrame, undo_split_adjustment
from quantlr.data.download import (
    DownloadClient,
    DownloadedSource,
    FetchError,
    HttpEnvironment,
    last_finished_date,
)
from quantlr.data.network import BACKGROUND_THREAD_NAME

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

COLUMN_BY_YFINANCE_NAME = {
    "Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume", "Dividends": "dividend",
    "Capital Gains": "capital_gain", "Stock Splits": "split",
}  # fmt: skip
NULL_LOG_HANDLER = logging.NullHandler()
CHART_URL_PATH = "/v8/finance/chart/"


@dataclass(slots=True)
class YahooClient(DownloadClient):
    """yfinance with a session that keeps the last response to a request for a chart.

    yfinance raises the same errors for an outage and for a delisting; the response distinguishes them.

    Attributes
    ----------
    http_session : the session for all requests.
    last_chart_response : the session's last response to a request for a chart, None if there was none.
    """

    http_session: Any
    last_chart_response: Any = None

    def request_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        """Return the sessions of a ticker from `since` on, or all of them, by one request."""
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
        client = YahooClient(environment, timeout_seconds, session)
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


class YahooSource(DownloadedSource):
    """Daily prices from Yahoo Finance, cached on this machine as quoted; splits and dividends are adjusted here."""

    service_name: ClassVar[str] = "Yahoo"
    symbol_pattern: ClassVar[re.Pattern[str]] = re.compile(r"[A-Za-z0-9.^=&_-]+")
    symbol_examples: ClassVar[str] = "SPY or ^GSPC or BRK-B"

    kind: Literal["yahoo"] = "yahoo"

    example_parameters = ({}, {"on_failure": "drop", "deadline": 20.0})

    def open_client(self, *, timeout_seconds: float) -> AbstractContextManager[DownloadClient]:
        """Return a context manager of yfinance's client, which restores the settings of yfinance."""
        return open_yahoo_client(self._environment, timeout_seconds=timeout_seconds)

    def calendar_of_ticker(self, ticker: str, exchange_code: str) -> str | None:
        """Return the calendar of the exchange that Yahoo names."""
        return CALENDAR_BY_EXCHANGE_CODE.get(exchange_code)
