"""Source of daily prices from Yahoo Finance: cached sessions are reused, missing ones are downloaded."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from threading import Event
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, PrivateAttr, StrictFloat

from quantlr.core.components import ChoiceDescriptions, Unit
from quantlr.core.errors import DataError, Fault
from quantlr.core.progress import ProgressCounter
from quantlr.core.values import Note
from quantlr.data.cache import CachedHistory, CacheIndexEntry, DamagedFileError, FetchResponse, PriceCache
from quantlr.data.corporate_actions import find_history_revision, with_adjusted_close_and_volume
from quantlr.data.csv.reader import BarFrame
from quantlr.data.source import FetchedPrices, FetchRequest, Source, combine_digests, sha256_hex
from quantlr.data.yahoo_client import (
    CALENDAR_BY_EXCHANGE_CODE,
    FetchError,
    FetchErrorKind,
    HttpEnvironment,
    ResultTimeoutError,
    YahooClient,
    iter_in_background,
    last_finished_date,
    open_yahoo_client,
)

OVERLAP_SESSIONS = 8
"""Number of cached sessions that are requested again with the new ones, to detect a revision of history."""
DOWNLOAD_TIMEOUT_SECONDS = 30.0
OUTAGE_KINDS: tuple[FetchErrorKind, ...] = ("limited", "network")
"""Errors that requests for all other tickers would meet too."""
SYMBOL_PATTERN = re.compile(r"[A-Za-z0-9.^=&_-]+")


class YahooSource(Source):
    """Daily prices from Yahoo Finance, cached on this machine as quoted; splits and dividends are adjusted here."""

    kind: Literal["yahoo"] = "yahoo"
    on_failure: Annotated[
        Literal["error", "drop"],
        ChoiceDescriptions(
            {"error": "the run ends and names them", "drop": "the run goes on without them, and says so"}
        ),
    ] = Field("error", description="What becomes of a run if Yahoo has no prices of some of its tickers.")
    deadline: Annotated[StrictFloat, Unit("seconds"), Field(gt=0, le=3600)] = Field(
        60.0, description="How long without an answer until the network is given up."
    )
    _environment: HttpEnvironment = PrivateAttr(default_factory=HttpEnvironment)

    example_parameters = ({}, {"on_failure": "drop", "deadline": 20.0})

    def with_environment(self, environment: HttpEnvironment) -> YahooSource:
        """Return the same source with another network and clock."""
        other = self.model_copy()
        other._environment = environment
        return other

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return the bars between the request's dates, adjusted by the splits and dividends between them.

        The prices of a config with an `end` therefore never change with a later split or dividend. Only sessions that
        are over and not cached are downloaded.

        Raises
        ------
        DataError : Yahoo does not know a ticker or has no bars of it; offline, a ticker is not cached.
        Fault : the network, Yahoo or the disk failed.
        """
        tickers = request.tickers
        for ticker in tickers:
            if not SYMBOL_PATTERN.fullmatch(ticker):
                raise DataError(f"{ticker!r} is no symbol of Yahoo's, like SPY or ^GSPC or BRK-B", key="data.tickers")
        cache = PriceCache.in_user_cache_dir()
        histories: dict[str, CachedHistory] = {}
        damages: dict[str, str] = {}
        for ticker in tickers:
            try:
                if history := cache.ticker_cache(self.kind, ticker).read_history():
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
        return _histories_to_fetched_prices(used, notes, request.start, request.end)

    def last_date_by_due_ticker(self, tickers: Sequence[str], *, end: dt.date | None) -> dict[str, dt.date | None]:
        """Return the last cached session of each ticker that lacks newer ones; see `Source`."""
        now, cache = self._environment.clock(), PriceCache.in_user_cache_dir()
        entries: dict[str, CacheIndexEntry | None] = dict.fromkeys(tickers)
        for ticker in tickers:
            with suppress(DamagedFileError):
                entries[ticker] = cache.ticker_cache(self.kind, ticker).read_cache_index()
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
        timeout = min(self.deadline, DOWNLOAD_TIMEOUT_SECONDS)
        with open_yahoo_client(self._environment, timeout_seconds=timeout) as client:
            request_all = partial(_iter_tickers_and_responses, client, due, histories, now)
            counter = ProgressCounter("fetching", len(due), request.progress)
            try:
                with closing(iter_in_background(request_all, timeout_seconds=self.deadline)) as responses:
                    for ticker, response in responses:
                        if isinstance(response, FetchError):
                            failures[ticker] = response
                        else:
                            ticker_cache = cache.ticker_cache(self.kind, ticker)
                            downloads[ticker] = ticker_cache.merge_response(self.kind, ticker, response)
                        counter.step()
            except ResultTimeoutError:
                ticker = due[len(downloads) + len(failures)]
                failures[ticker] = FetchError("network", f"Yahoo gave no answer for {self.deadline:g} seconds")
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


def _needs_download(index_entry: CacheIndexEntry | None, *, end: dt.date | None, now: dt.datetime) -> bool:
    """Return whether a session up to `end`, or one that is over, has not been downloaded."""
    if index_entry is None or (end is not None and end <= index_entry.complete_through_date):
        return index_entry is None
    return index_entry.complete_through_date < last_finished_date(index_entry.exchange_info, now=now)


def _iter_tickers_and_responses(
    client: YahooClient, tickers: Sequence[str], histories: Mapping[str, CachedHistory], now: dt.datetime, stop: Event
) -> Iterator[tuple[str, FetchResponse | FetchError]]:
    """Yield Yahoo's response for each ticker, one after the other, until an outage or the event."""
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


def _histories_to_fetched_prices(
    histories: Mapping[str, CachedHistory], notes: Sequence[Note], start: dt.date | None, end: dt.date | None
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
        digests[ticker] = sha256_hex(days.tobytes() + np.ascontiguousarray(raw_bars.to_numpy(dtype="<f8")).tobytes())
        all_notes += _history_notes(ticker, history.index_entry, start, end)
        if exchange_code in CALENDAR_BY_EXCHANGE_CODE:
            calendars[ticker] = CALENDAR_BY_EXCHANGE_CODE[exchange_code]
    return FetchedPrices(bars, "yahoo", combine_digests(digests), tuple(all_notes), calendars)


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
