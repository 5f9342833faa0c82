"""One question to Yahoo through yfinance, and its answer as quotes; whatever goes wrong is told apart.

yfinance is imported, and its settings are touched, only while `connected`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from quantlr.data.cache import FetchResponse
from quantlr.data.corporate_actions import RAW_BAR_COLUMNS, RAW_PRICE_COLUMNS, RawBarFrame, undo_split_adjustment

T = TypeVar("T")


class ResultTimeoutError(Exception):
    """Nothing came for so long that the rest was abandoned."""


BACKGROUND_THREAD_NAME = "quantlr: waiting for an answer"
"""Name of the threads that may be abandoned."""


@dataclass(frozen=True, slots=True)
class _QueuedResult(Generic[T]):
    """A result, which may itself be None or an error."""

    value: T


class BackgroundIterator(Generic[T]):
    """An iterator that runs in a thread of its own, ahead of the one who reads it, and can be abandoned.

    The thread is a daemon: a call that hangs holds up neither the reader nor the end of the program. It is abandoned
    where its `with` block ends.
    """

    def __init__(self, make_iterator: Callable[[threading.Event], Iterator[T]]) -> None:
        """Begin; `produce` gets an event that is set once nobody waits any more."""
        self._stop_event = threading.Event()
        self._result_queue: queue.SimpleQueue[_QueuedResult[T] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(
            target=self._put_results_on_queue, args=(make_iterator,), name=BACKGROUND_THREAD_NAME, daemon=True
        ).start()

    def _put_results_on_queue(self, make_iterator: Callable[[threading.Event], Iterator[T]]) -> None:
        try:
            for item in make_iterator(self._stop_event):
                self._result_queue.put(_QueuedResult(item))
                if self._stop_event.is_set():
                    return
            self._result_queue.put(None)
        except BaseException as error:
            self._result_queue.put(error)

    def __enter__(self) -> BackgroundIterator[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop_event.set()

    def iter_results(self, *, timeout_seconds: float) -> Iterator[T]:
        """Yield what comes, until it is over.

        Raises
        ------
        OutOfPatience : nothing came for `patience` seconds.
        """
        try:
            while True:
                came = self._result_queue.get(timeout=timeout_seconds)
                if came is None:
                    return
                if isinstance(came, BaseException):
                    raise came
                yield came.value
        except queue.Empty:
            raise ResultTimeoutError from None


_US_EXCHANGE_CODES = "NMS NGM NCM NAS NYQ NYS PCX ASE BTS PNK OQX OQB OEM OID SNP DJI NIM NASDAQ"
"""Nasdaq, New York with Arca and American, Cboe's, over the counter, and the indices of S&P, Dow Jones and Nasdaq."""

CALENDAR_BY_EXCHANGE_CODE: dict[str, str] = {
    **dict.fromkeys(_US_EXCHANGE_CODES.split(), "XNYS"),
    "TOR": "XTSE", "VAN": "XTSE",
    "MEX": "XMEX", "SAO": "BVMF", "BUE": "XBUE", "SGO": "XSGO",
    "LSE": "XLON", "IOB": "XLON", "FGI": "XLON", "ISE": "XDUB",
    "GER": "XETR", "FRA": "XFRA", "STU": "XSTU", "HAM": "XHAM", "DUS": "XDUS",
    "PAR": "XPAR", "AMS": "XAMS", "BRU": "XBRU", "LIS": "XLIS", "MIL": "XMIL", "MCE": "XMAD",
    "EBS": "XSWX", "VIE": "XWBO",
    "STO": "XSTO", "CPH": "XCSE", "HEL": "XHEL", "OSL": "XOSL", "ICE": "XICE",
    "WSE": "XWAR", "PRA": "XPRA", "BUD": "XBUD", "ATH": "ASEX", "IST": "XIST",
    "JPX": "XTKS", "OSA": "XTKS", "HKG": "XHKG", "SHH": "XSHG", "SHZ": "XSHG",
    "KSC": "XKRX", "KOE": "XKRX", "TAI": "XTAI", "TWO": "XTAI", "SES": "XSES",
    "SET": "XBKK", "KLS": "XKLS", "JKT": "XIDX",
    "BSE": "XBOM", "NSI": "XBOM", "ASX": "XASX", "NZE": "XNZE",
    "TLV": "XTAE", "SAU": "XSAU", "JNB": "XJSE",
    "CCC": "24/7", "CCY": "24/5",
}  # fmt: skip
"""Calendar of exchange_calendars by the `exchangeName` of a chart; exchanges that it does not know are left out."""


SETTLEMENT_DELAY_AFTER_CLOSE = dt.timedelta(minutes=30)
"""Time after the close until a session's bar is taken for final."""
COLUMN_BY_YFINANCE_NAME = {
    "Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume", "Dividends": "dividend",
    "Capital Gains": "capital_gain", "Stock Splits": "split",
}  # fmt: skip
_CHART_URL_PATH = "/v8/finance/chart/"
_NULL_LOG_HANDLER = logging.NullHandler()

FetchErrorKind = Literal["unknown", "empty", "limited", "network", "server", "unstored"]


class FetchError(Exception):
    """There are no prices.

    Attributes
    ----------
    kind : Yahoo says that it does not know the ticker ("unknown") or has no bars of it ("empty"); it limits the rate
        of requests ("limited"); it can't be reached ("network"); it answers with something else ("server"); or it may
        not be asked, and nothing is stored ("unstored").
    """

    def __init__(self, kind: FetchErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class YahooClient:
    """yfinance with a session, which remembers how Yahoo last answered for a chart."""

    def __init__(self, yfinance: Any, http_session: Any, *, timeout_seconds: float) -> None:
        self._yfinance = yfinance
        self._timeout_seconds = timeout_seconds
        self._last_status_code: int | None = None
        self._last_error_text: str | None = None
        # Any ticker makes a session of the kind that yfinance prefers; none is asked for here.
        self._http_session = http_session or yfinance.Ticker("SPY").session
        self._record_chart_responses()

    def fetch_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        """Return what Yahoo says of a ticker, from a session on or of all times.

        Raises
        ------
        Refusal : it says nothing of use.
        """
        from yfinance.data import YfData

        YfData.cache_get.cache_clear()  # it keeps errors too, and would answer a second attempt with the first one's
        self._last_status_code = self._last_error_text = None
        span = {"period": "max"} if since is None else {"start": since}
        try:
            share = self._yfinance.Ticker(ticker, session=self._http_session)
            table = share.history(**span, auto_adjust=False, keepna=True, timeout=self._timeout_seconds)
            facts = share.history_metadata
        except Exception as error:  # whatever the client raises, something is wrong with the answer
            raise self._to_fetch_error(error) from error
        return yfinance_table_to_response(table, facts, is_full_history=since is None, now=now)

    def _record_chart_responses(self) -> None:
        """Have the session tell of every chart: its status and Yahoo's own words tell an outage from a delisting."""
        request = self._http_session.request

        def request_and_record_response(method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            response = request(method, url, *args, **kwargs)
            if _CHART_URL_PATH in str(url):
                self._last_status_code, self._last_error_text = response.status_code, _yahoo_error_text(response)
            return response

        self._http_session.request = request_and_record_response

    def _to_fetch_error(self, error: Exception) -> FetchError:
        from yfinance.exceptions import YFRateLimitError, YFTickerMissingError

        if isinstance(error, YFRateLimitError) or self._last_status_code == 429:
            return FetchError("limited", "Yahoo limits the rate of requests (status 429)")
        if self._last_status_code in (400, 404) and self._last_error_text:
            return FetchError("unknown", f"Yahoo says {self._last_error_text!r} (status {self._last_status_code})")
        if self._last_status_code == 200 and isinstance(error, YFTickerMissingError):
            return FetchError("empty", "Yahoo knows the ticker and has no bars of it")
        if isinstance(error, OSError) and (self._last_status_code or 200) < 400:
            return FetchError("network", f"Yahoo can't be reached: {_short_error_text(error)}")
        if self._last_status_code is None:
            return FetchError("server", f"the request failed: {type(error).__name__}: {_short_error_text(error)}")
        words = f": {self._last_error_text}" if self._last_error_text else ", and with no prices"
        return FetchError("server", f"Yahoo answers with status {self._last_status_code}{words}")


@contextmanager
def open_yahoo_client(
    http_session: Any, *, yfinance_cache_folder: Path, timeout_seconds: float
) -> Iterator[YahooClient]:
    """Give a client, and leave yfinance's settings as they were.

    Parameters
    ----------
    session : what requests go through; None for one of yfinance's own.
    folder : where yfinance may keep time zones and cookies between runs.
    timeout : seconds for one download.
    """
    with warnings.catch_warnings():
        import yfinance

        warnings.simplefilter("ignore")  # of what it does with pandas; its import sets a filter of its own
        logging.getLogger("yfinance").addHandler(_NULL_LOG_HANDLER)  # what it logs, it raises as well
        yfinance.set_tz_cache_location(str(yfinance_cache_folder))
        hiding = yfinance.config.debug.hide_exceptions
        yfinance.config.debug.hide_exceptions = False
        try:
            yield YahooClient(yfinance, http_session, timeout_seconds=timeout_seconds)
        finally:
            yfinance.config.debug.hide_exceptions = hiding


def yfinance_table_to_response(
    table: pd.DataFrame, metadata: Mapping[str, Any], *, is_full_history: bool, now: dt.datetime
) -> FetchResponse:
    """Return a table of yfinance, adjusted for splits as Yahoo's are, as an answer in quotes.

    Raises
    ------
    Refusal : no session in it is over and has all its prices, or what it says can't be.
    """
    if table.empty:
        raise FetchError("empty", "Yahoo knows the ticker and has no bars of it")
    zone = str(metadata.get("exchangeTimezoneName") or pd.DatetimeIndex(table.index).tz)
    closing = _session_close_time(metadata)
    about = {
        "exchange": str(metadata.get("exchangeName") or ""),
        "exchange_name": str(metadata.get("fullExchangeName") or ""),
        "timezone": zone,
        "currency": str(metadata.get("currency") or ""),
        "closes": f"{closing:%H:%M}" if closing else "",
    }
    quotes = undo_split_adjustment(_yfinance_table_to_raw_bars(table))
    over = last_finished_date(about, now=now)
    unfinished = quotes.index[quotes.index > pd.Timestamp(over)]
    lacking = quotes.index[quotes[list(RAW_PRICE_COLUMNS)].isna().any(axis=1) & (quotes.index <= pd.Timestamp(over))]
    kept = _drop_sessions(quotes, unfinished.union(lacking))
    if kept.empty:
        raise FetchError("empty", "Yahoo knows the ticker and has no bars of it that are complete")
    last = kept.index[-1].date()
    expected = [date.date() for date in lacking if date.date() > last]
    if closing and closing.date() == over and last < over:
        expected.append(over)
    return FetchResponse(
        raw_bars=kept,
        is_full_history=is_full_history,
        fetched_at=now,
        complete_through=min([over, *(date - dt.timedelta(days=1) for date in expected)]),
        exchange_info=about,
        unfinished_session=unfinished[0].date() if len(unfinished) else None,
        incomplete_sessions=tuple(date.date() for date in lacking),
    )


def last_finished_date(exchange_info: Mapping[str, str], *, now: dt.datetime) -> dt.date:
    """Return the newest day on which no trading is to come, by the exchange's clock."""
    local = now.astimezone(ZoneInfo(exchange_info["timezone"]))
    if exchange_info["closes"]:
        close = dt.datetime.combine(local.date(), dt.time.fromisoformat(exchange_info["closes"]), tzinfo=local.tzinfo)
        if local >= close + SETTLEMENT_DELAY_AFTER_CLOSE:
            return local.date()
    return local.date() - dt.timedelta(days=1)


def _yfinance_table_to_raw_bars(table: pd.DataFrame) -> RawBarFrame:
    """Return yfinance's columns by our names, dates without time zone, and 1 where nothing was split."""
    found = {
        ours: table[theirs].to_numpy(dtype=np.float64)
        for theirs, ours in COLUMN_BY_YFINANCE_NAME.items()
        if theirs in table
    }
    found.setdefault("capital_gain", np.zeros(len(table)))
    found["split"] = np.where(found["split"] == 0.0, 1.0, found["split"])
    if not (np.isfinite(found["split"]) & (found["split"] > 0)).all():
        raise FetchError("server", "Yahoo tells of a split that can't be")
    dates = pd.DatetimeIndex(table.index).tz_localize(None).normalize().to_numpy(dtype="datetime64[us]")
    return pd.DataFrame(found, index=pd.DatetimeIndex(dates, name="date"))[list(RAW_BAR_COLUMNS)]


def _drop_sessions(raw_bars: RawBarFrame, dates: pd.Index[Any]) -> RawBarFrame:
    """Return quotes without some sessions, whose dividends and splits the next session has."""
    keep = ~raw_bars.index.isin(dates)
    heir = np.append(0, np.cumsum(keep)[:-1])  # the number of sessions kept before each one
    kept = raw_bars[keep].copy()
    there = heir < len(kept)
    for name, together in (("dividend", np.add), ("capital_gain", np.add), ("split", np.multiply)):
        whole = np.full(len(kept), 1.0 if name == "split" else 0.0)
        together.at(whole, heir[there], raw_bars[name].to_numpy()[there])
        kept[name] = whole
    return kept


def _session_close_time(metadata: Mapping[str, Any]) -> dt.datetime | None:
    """Return when the session that goes on, or the last one, closes, in the exchange's time."""
    period = metadata.get("currentTradingPeriod")
    end = period.get("regular", {}).get("end") if isinstance(period, Mapping) else None
    return end.to_pydatetime() if isinstance(end, pd.Timestamp) else None


def _yahoo_error_text(response: Any) -> str | None:
    """Return the error that Yahoo itself describes in a response, None where it is a page or holds no error."""
    if response.status_code < 400:
        return None
    try:
        error = json.loads(response.text)["chart"]["error"]
        return str(error.get("description") or error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _short_error_text(error: Exception) -> str:
    """Return the one sentence of an error that is for people."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    found = re.search(r"curl: \(\d+\) (.*?)\.? See https", text)
    return (found.group(1) if found else text)[:200]
