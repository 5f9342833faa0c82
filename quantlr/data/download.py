"""Base of the sources that download prices and keep them: cached sessions are reused, missing ones are requested.

A source names its client, which requests one ticker. Requests run in a thread of their own that can be abandoned, so
that a server that does not answer costs no more than the deadline.
"""

from __future__ import annotations

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pydantic import Field, PrivateAttr, StrictFloat

from quantlr.core.components import ChoiceDescriptions, Unit
from quantlr.core.errors import DataError, Fault
from quantlr.core.progress import ProgressCounter
from quantlr.core.values import Note
from quantlr.data.cache import CachedHistory, CacheIndexEntry, DamagedFileError, FetchResponse, PriceCache
from quantlr.data.corporate_actions import (
    RAW_PRICE_COLUMNS,
    RawBarFrame,
    find_history_revision,
    with_adjusted_close_and_volume,
)
from quantlr.data.csv.reader import BarFrame
from quantlr.data.markets import SETTLEMENT_DELAY_AFTER_CLOSE
from quantlr.data.network import ResultTimeoutError, iter_in_background
from quantlr.data.source import FetchedPrices, FetchRequest, Source, combine_digests, sha256_hex

OVERLAP_SESSIONS = 8
"""Number of cached sessions that are requested again with the new ones, to detect a revision of history."""
DOWNLOAD_TIMEOUT_SECONDS = 30.0
MAX_ATTEMPTS = 4
"""Number of requests for a ticker while the server can't be reached or fails."""
UTC_CLOCK = partial(dt.datetime.now, dt.UTC)

FetchErrorKind = Literal["unknown", "empty", "limited", "network", "server", "unstored"]
OUTAGE_KINDS: tuple[FetchErrorKind, ...] = ("limited", "network")
"""Errors that requests for all other tickers would meet too."""


@dataclass(frozen=True, slots=True)
class HttpEnvironment:
    """The network and the clock of a source, which tests replace.

    Attributes
    ----------
    http_session : session for all requests, of the library that the client uses; None for the library's own.
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
    kind : the server does not know the ticker ("unknown") or has no bars of it ("empty"); it limits the rate of
        requests ("limited"); it can't be reached ("network"); its response is another error ("server"); or the network
        must not be used and nothing is cached ("unstored").
    """

    def __init__(self, kind: FetchErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class DownloadClient(ABC):
    """What requests the prices of one ticker.

    Attributes
    ----------
    environment : the network and the clock.
    timeout_seconds : time-out per download.
    """

    environment: HttpEnvironment
    timeout_seconds: float

    @abstractmethod
    def request_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> FetchResponse:
        """Return the sessions of a ticker from `since` on, or all of them, by one request.

        Raises
        ------
        FetchError : there are no usable prices.
        """

    def fetch_ticker(self, ticker: str, *, since: dt.date | None, now: dt.datetime, stop_event: Event) -> FetchResponse:
        """Return the sessions of a ticker from `since` on, or all of them, after several attempts if necessary.

        Raises
        ------
        FetchError : there are no usable prices, and another attempt can't change that or is not left.
        """
        for attempt in range(MAX_ATTEMPTS - 1):
            try:
                return self.request_ticker(ticker, since=since, now=now)
            except FetchError as error:
                is_final = error.kind in ("unknown", "empty")
                if is_final or stop_event.wait(self.environment.backoff_seconds * 2**attempt):
                    raise
        return self.request_ticker(ticker, since=since, now=now)


class DownloadedSource(Source):
    """A source of prices on a server.

    Attributes
    ----------
    service_name : name of the server in messages.
    symbol_pattern, symbol_examples : what a ticker may look like there.
    """

    service_name: ClassVar[str]
    symbol_pattern: ClassVar[re.Pattern[str]]
    symbol_examples: ClassVar[str]

    on_failure: Annotated[
        Literal["error", "drop"],
        ChoiceDescriptions(
            {"error": "the run ends and names them", "drop": "the run goes on without them, and says so"}
        ),
    ] = Field("error", description="What becomes of a run if the server has no prices of some of its tickers.")
    deadline: Annotated[StrictFloat, Unit("seconds"), Field(gt=0, le=3600)] = Field(
        60.0, description="How long without an answer until the network is given up."
    )
    _environment: HttpEnvironment = PrivateAttr(default_factory=HttpEnvironment)

    @property
    def cache_name(self) -> str:
        """Name of the source in the cache, and for people."""
        return str(self.kind)

    @abstractmethod
    def open_client(self, *, timeout_seconds: float) -> AbstractContextManager[DownloadClient]:
        """Return a context manager of the client."""

    def calendar_of_ticker(self, ticker: str, exchange_code: str) -> str | None:
        """Return the calendar in exchange_calendars of a ticker, None where it is not known.

        Parameters
        ----------
        exchange_code : as the response states it.
        """
        return None

    def with_environment(self, environment: HttpEnvironment) -> Self:
        """Return the same source with another network and clock."""
        other = self.model_copy()
        other._environment = environment
        return other

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars between the request's dates, adjusted by the splits and dividends between them.

        The prices of a config with an `end` therefore never change with a later split or dividend, if the server has
        unadjusted prices. Only sessions that are over and not cached are downloaded.

        Raises
        ------
        DataError : the server does not know a ticker or has no bars of it; offline, a ticker is not cached.
        Fault : the network, the server or the disk failed.
        """
        tickers = request.tickers
        for ticker in tickers:
            if not self.symbol_pattern.fullmatch(ticker):
                name, examples = self.service_name, self.symbol_examples
                raise DataError(f"{ticker!r} is no symbol of {name}'s, like {examples}", key="data.tickers")
        cache = PriceCache.in_user_cache_dir()
        histories: dict[str, CachedHistory] = {}
        damages: dict[str, str] = {}
        for ticker in tickers:
            try:
                if history := cache.ticker_cache(self.cache_name, ticker).read_history():
                    histories[ticker] = history
            except DamagedFileError as error:
                damages[ticker] = str(error)
        failures: dict[str, FetchError] = {}
        if request.offline:
            for ticker in [ticker for ticker in tickers if ticker not in histories]:
                text = damages.get(ticker, f"not stored in {cache.folder}")
                failures[ticker] = FetchError("unstored", f"{text}, and --offline does not use the network")
        else:
            downloads, failures = self._download_missing_histories_and_errors(request, histories)
            histories |= downloads
        notes = self._dropped_ticker_notes(failures, histories, n_tickers=len(tickers))
        used = {ticker: histories[ticker] for ticker in tickers if ticker not in failures}
        texts = {ticker: f"{damage}; it was fetched again" for ticker, damage in damages.items()}
        notes += [Note("data", text, ticker=ticker) for ticker, text in texts.items() if ticker in used]
        return self._histories_to_fetched_prices(used, notes, request.start, request.end)

    def last_date_by_due_ticker(self, tickers: Sequence[str], *, end: dt.date | None) -> dict[str, dt.date | None]:
        """Return the last cached session of each ticker that lacks newer ones; see `Source`."""
        now, cache = self._environment.clock(), PriceCache.in_user_cache_dir()
        entries: dict[str, CacheIndexEntry | None] = dict.fromkeys(tickers)
        for ticker in tickers:
            with suppress(DamagedFileError):
                entries[ticker] = cache.ticker_cache(self.cache_name, ticker).read_cache_index()
        due = {ticker: entry for ticker, entry in entries.items() if _needs_download(entry, end=end, now=now)}
        return {ticker: entry.last if entry else None for ticker, entry in due.items()}

    def _download_missing_histories_and_errors(
        self, request: FetchRequest, histories: Mapping[str, CachedHistory]
    ) -> tuple[dict[str, CachedHistory], dict[str, FetchError]]:
        """Download the missing sessions; return the completed histories and the errors, by ticker."""
        now, cache = self._environment.clock(), PriceCache.in_user_cache_dir()
        entries = {ticker: history.index_entry for ticker, history in histories.items()}
        due = [ticker for ticker in request.tickers if _needs_download(entries.get(ticker), end=request.end, now=now)]
        downloads: dict[str, CachedHistory] = {}
        failures: dict[str, FetchError] = {}
        if not due:
            return downloads, failures
        with self.open_client(timeout_seconds=min(self.deadline, DOWNLOAD_TIMEOUT_SECONDS)) as client:
            request_all = partial(_iter_tickers_and_responses, client, due, histories, now)
            counter = ProgressCounter("fetching", len(due), request.progress)
            try:
                with closing(iter_in_background(request_all, timeout_seconds=self.deadline)) as responses:
                    for ticker, response in responses:
                        if isinstance(response, FetchError):
                            failures[ticker] = response
                        else:
                            ticker_cache = cache.ticker_cache(self.cache_name, ticker)
                            downloads[ticker] = ticker_cache.merge_response(self.cache_name, ticker, response)
                        counter.step()
            except ResultTimeoutError:
                ticker = due[len(downloads) + len(failures)]
                text = f"{self.service_name} gave no answer for {self.deadline:g} seconds"
                failures[ticker] = FetchError("network", text)
        for ticker, error in failures.items():
            if error.kind in OUTAGE_KINDS:
                message = f"{ticker}: {error}"
                if downloads:
                    message += f" ({len(downloads)} of {len(due)} tickers were fetched, and are stored)"
                raise Fault(f"{message}; {_outage_advice_text({**histories, **downloads}, request.tickers, now)}")
        return downloads, failures

    def _dropped_ticker_notes(
        self, failures: Mapping[str, FetchError], histories: Mapping[str, CachedHistory], *, n_tickers: int
    ) -> list[Note]:
        """Return a note on each ticker that is dropped; raise an error if tickers must not be, or none is left."""
        if self.on_failure == "drop" and len(failures) < n_tickers:
            return [Note("data", f"left out: {error}", ticker=ticker) for ticker, error in failures.items()]
        if not failures:
            return []
        texts = {ticker: f"{ticker}: {error}" for ticker, error in failures.items()}
        for ticker in texts.keys() & histories.keys():
            last = histories[ticker].index_entry.last
            texts[ticker] += f" (stored up to {last}: --offline uses that, or data.end: {last})"
        text = "; ".join(texts.values())
        kinds = {error.kind for error in failures.values()}
        if "unstored" in kinds:
            raise DataError(f"{text}; run once without --offline", key="data.tickers")
        alternative = "or go on without by data.source.on_failure: drop"
        if "server" in kinds:
            raise Fault(f"{text}; try again later, {alternative}")
        raise DataError(f"{text}; correct data.tickers, {alternative}", key="data.tickers")

    def _histories_to_fetched_prices(
        self,
        histories: Mapping[str, CachedHistory],
        notes: Sequence[Note],
        start: dt.date | None,
        end: dt.date | None,
    ) -> FetchedPrices:
        """Return histories cut to the dates, and adjusted by the splits and dividends between them."""
        dates = slice(*(None if date is None else pd.Timestamp(date) for date in (start, end)))
        bars: dict[str, BarFrame] = {}
        digests: dict[str, str] = {}
        calendars: dict[str, str] = {}
        all_notes = [*notes]
        for ticker, history in histories.items():
            raw_bars, exchange_code = history.raw_bars.loc[dates], history.index_entry.exchange_info["exchange"]
            bars[ticker] = with_adjusted_close_and_volume(raw_bars, ticker=ticker)
            # The digest depends on dates and values only.
            days = raw_bars.index.to_numpy(dtype="datetime64[s]").astype("<i8")
            content = days.tobytes() + np.ascontiguousarray(raw_bars.to_numpy(dtype="<f8")).tobytes()
            digests[ticker] = sha256_hex(content)
            all_notes += _history_notes(ticker, history.index_entry, start, end)
            if calendar := self.calendar_of_ticker(ticker, exchange_code):
                calendars[ticker] = calendar
        return FetchedPrices(bars, self.cache_name, combine_digests(digests), tuple(all_notes), calendars)


def _needs_download(index_entry: CacheIndexEntry | None, *, end: dt.date | None, now: dt.datetime) -> bool:
    """Return whether a session up to `end`, or one that is over, has not been downloaded."""
    if index_entry is None or (end is not None and end <= index_entry.complete_through_date):
        return index_entry is None
    return index_entry.complete_through_date < last_finished_date(index_entry.exchange_info, now=now)


def _iter_tickers_and_responses(
    client: DownloadClient,
    tickers: Sequence[str],
    histories: Mapping[str, CachedHistory],
    now: dt.datetime,
    stop: Event,
) -> Iterator[tuple[str, FetchResponse | FetchError]]:
    """Yield the server's response for each ticker, one after the other, until an outage or the event."""
    for index, ticker in enumerate(tickers):
        if index and stop.wait(client.environment.pause_seconds):
            return
        fetch = partial(client.fetch_ticker, ticker, now=now, stop_event=stop)
        raw_bars = histories[ticker].raw_bars if ticker in histories else None
        try:
            if raw_bars is None or len(raw_bars) <= OVERLAP_SESSIONS:
                response = fetch(since=None)
            else:
                response = fetch(since=raw_bars.index[-OVERLAP_SESSIONS].date())
                if find_history_revision(raw_bars, response.raw_bars):
                    response = fetch(since=None)
            yield ticker, response
        except FetchError as error:
            yield ticker, error
            if error.kind in OUTAGE_KINDS:
                return


def _outage_advice_text(histories: Mapping[str, CachedHistory], tickers: Sequence[str], now: dt.datetime) -> str:
    """Return what can be done while the network fails: which tickers are cached, and how old their prices are."""
    entries = [histories[ticker].index_entry for ticker in tickers if ticker in histories]
    if not entries:
        return "try again later; nothing is stored yet that --offline could use"
    subject = "its prices are" if len(tickers) == 1 else f"{len(entries)} of {len(tickers)} tickers are"
    seconds = int((now - min(entry.fetched for entry in entries)).total_seconds())
    counts = [(seconds // length, unit) for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60))]
    ages = [f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in counts if count > 0]
    age = ages[0] if ages else "less than a minute"
    last = min(entry.last for entry in entries)
    use = ": --offline uses that" if len(entries) == len(tickers) else "; --offline needs all of them"
    return f"try again later; {subject} stored, fetched {age} ago, to {last}{use}"


def _history_notes(ticker: str, entry: CacheIndexEntry, start: dt.date | None, end: dt.date | None) -> Iterator[Note]:
    """Yield notes on sessions between two dates that were left out or revised; they depend on the cache only."""
    first, last = start or dt.date.min, end or dt.date.max
    unfinished = entry.unfinished_session
    if unfinished and first <= unfinished <= last:
        yield Note("data", "the session was not over and was left out", ticker=ticker, date=str(unfinished))
    incomplete = [date for date in entry.incomplete_sessions if first <= date <= last]
    if incomplete:
        text = "sessions that lack a price were left out"
        yield Note("data", text, ticker=ticker, date=str(incomplete[-1]), count=len(incomplete))
    for revision in entry.revisions[-1:]:
        if revision.first <= last and revision.last >= first:
            text = f"{revision.text}; the former version is kept in the store"
            yield Note("data", text, ticker=ticker, date=str(revision.first), count=revision.sessions)


def full_days_response(
    raw_bars: RawBarFrame, *, exchange: str, is_full_history: bool, now: dt.datetime
) -> FetchResponse:
    """Return the response of a server whose bars are days that end, at the latest, at midnight UTC.

    Parameters
    ----------
    raw_bars : by date; the newest may be of a day that is not over, and is left out.

    Raises
    ------
    FetchError : no day is over.
    """
    exchange_info = {"exchange": exchange, "timezone": "UTC", "closes": ""}
    finished = last_finished_date(exchange_info, now=now)
    is_unfinished = raw_bars.index > pd.Timestamp(finished)
    if is_unfinished.all():
        raise FetchError("empty", "there is no bar of a day that is over")
    return FetchResponse(
        raw_bars=raw_bars[~is_unfinished],
        is_full_history=is_full_history,
        fetched_at=now,
        complete_through_date=finished,
        exchange_info=exchange_info,
        unfinished_session=raw_bars.index[is_unfinished][0].date() if is_unfinished.any() else None,
    )


def raw_bars_from_columns(dates: pd.DatetimeIndex, columns: Mapping[str, Any]) -> RawBarFrame:
    """Return raw bars, sorted and each date once, of prices without dividends and splits.

    Raises
    ------
    FetchError : a price or a date is missing, or no finite number.
    """
    values = {name: np.asarray(columns[name], dtype=np.float64) for name in (*RAW_PRICE_COLUMNS, "volume")}
    index = pd.DatetimeIndex(dates.to_numpy(dtype="datetime64[us]"), name="date")
    raw_bars = pd.DataFrame({**values, "dividend": 0.0, "capital_gain": 0.0, "split": 1.0}, index=index).sort_index()
    if index.hasnans or not np.isfinite(raw_bars[list(RAW_PRICE_COLUMNS)]).all(axis=None):
        raise FetchError("server", "a bar of the response lacks a date or a price")
    return raw_bars[~raw_bars.index.duplicated(keep="last")]


def last_finished_date(exchange_info: Mapping[str, str], *, now: dt.datetime) -> dt.date:
    """Return the latest date on which trading is over, by the exchange's clock."""
    local = now.astimezone(ZoneInfo(exchange_info["timezone"]))
    if exchange_info["closes"]:
        close = dt.datetime.combine(local.date(), dt.time.fromisoformat(exchange_info["closes"]), tzinfo=local.tzinfo)
        if local >= close + SETTLEMENT_DELAY_AFTER_CLOSE:
            return local.date()
    return local.date() - dt.timedelta(days=1)
