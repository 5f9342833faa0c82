"""Prices from Yahoo Finance: what is stored is used, what is missing is asked for, and what fails is told apart."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, PrivateAttr

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.atomic import cache_dir
from quantlr.core.components import StrictFloat
from quantlr.core.errors import DataError, Fault
from quantlr.core.progress import Note, Progress, ProgressCounter, ignore_progress
from quantlr.data.cache import CachedHistory, CacheIndexEntry, DamagedFileError, FetchResponse, PriceCache
from quantlr.data.corporate_actions import RawBarFrame, adjust_for_splits_and_dividends, find_history_revision
from quantlr.data.source import FetchedPrices, Source, combine_digests, sha256_hex
from quantlr.data.yahoo_client import (
    CALENDAR_BY_EXCHANGE_CODE,
    BackgroundIterator,
    FetchError,
    FetchErrorKind,
    ResultTimeoutError,
    YahooClient,
    last_finished_date,
    open_yahoo_client,
)

OVERLAP_SESSIONS = 8
"""Stored sessions that are asked for again with the new ones, to see whether history was revised."""
MAX_ATTEMPTS = 4
"""Times that a ticker is asked for while Yahoo can't be reached or is in trouble."""
DOWNLOAD_TIMEOUT_SECONDS = 30.0
OUTAGE_KINDS: tuple[FetchErrorKind, ...] = ("limited", "network")
"""Refusals that every other ticker would meet too."""
_SYMBOL_PATTERN = re.compile(r"[A-Za-z0-9.^=&_-]+")


def utc_now() -> dt.datetime:
    """Return the time by the machine's clock."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class HttpEnvironment:
    """What the source needs from outside; tests bring their own.

    Attributes
    ----------
    session : what requests go through: a session of curl_cffi or requests; None for one of yfinance's own.
    clock : tells the time, once per fetch.
    pause : seconds between tickers, out of politeness.
    backoff : seconds before the second attempt; doubled before each further one.
    """

    http_session: Any = None
    clock: Callable[[], dt.datetime] = utc_now
    pause_seconds: float = 0.2
    backoff_seconds: float = 1.0


class YahooSource(Source):
    """Daily prices from Yahoo Finance, stored on this machine as they come; splits and dividends are adjusted here."""

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

    @classmethod
    def examples(cls) -> tuple[YahooSource, ...]:
        """Return the default, and one that lets go of what is not there."""
        return (cls(), cls(on_failure="drop", deadline=20.0))

    def with_environment(self, environment: HttpEnvironment) -> YahooSource:
        """Return the same source in another world."""
        other = self.model_copy()
        other._environment = environment
        return other

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = ignore_progress,
    ) -> FetchedPrices:
        """Return the bars of `tickers` between two dates, adjusted by the splits and dividends between them.

        So what a config with an `end` sees never changes with a later split or dividend. The network is asked only for
        sessions that are over and not stored yet.

        Raises
        ------
        DataError : a ticker that Yahoo doesn't know or has no bars of; offline, one that is not stored.
        Fault : the network, Yahoo itself or the disk is in the way.
        """
        for ticker in tickers:
            if not _SYMBOL_PATTERN.fullmatch(ticker):
                raise DataError(f"{ticker!r} is no symbol of Yahoo's, like SPY or ^GSPC or BRK-B", key="data.tickers")
        store = PriceCache.in_user_cache_dir()
        held, damaged = _read_cached_histories(store, tickers)
        failed: dict[str, FetchError] = {}
        if offline:
            failed = {ticker: _not_cached_error(store, damaged.get(ticker)) for ticker in tickers if ticker not in held}
        else:
            fresh, failed = self._download_missing_histories(store, tickers, held, end=end, progress=progress)
            held |= fresh
        notes = self._dropped_ticker_notes(failed, held, n_tickers=len(tickers))
        used = {ticker: held[ticker] for ticker in tickers if ticker not in failed}
        mended = [ticker for ticker in damaged if ticker in used]
        notes += [Note("data", f"{damaged[ticker]}; it was fetched again", ticker=ticker) for ticker in mended]
        return _histories_to_fetched_prices(used, notes, start, end)

    def tickers_to_download(self, tickers: Sequence[str], *, end: dt.date | None = None) -> dict[str, dt.date | None]:
        """Return the tickers whose newest sessions, or all of them, are not stored; as `Source.to_ask` says."""
        now, store = self._environment.clock(), PriceCache.in_user_cache_dir()
        found: dict[str, dt.date | None] = {}
        for ticker in tickers:
            try:
                entry = store.ticker_cache(self.kind, ticker).read_index_entry()
            except DamagedFileError:
                entry = None
            if not _is_up_to_date(entry, end=end, now=now):
                found[ticker] = entry.last if entry else None
        return found

    def _download_missing_histories(
        self,
        cache: PriceCache,
        tickers: Sequence[str],
        cached_histories: Mapping[str, CachedHistory],
        *,
        end: dt.date | None,
        progress: Progress,
    ) -> tuple[dict[str, CachedHistory], dict[str, FetchError]]:
        """Ask for what is missing; return the histories that came of it, and what failed, by ticker."""
        now = self._environment.clock()
        entries = {ticker: history.index_entry for ticker, history in cached_histories.items()}
        due = [ticker for ticker in tickers if not _is_up_to_date(entries.get(ticker), end=end, now=now)]
        fresh: dict[str, CachedHistory] = {}
        failed: dict[str, FetchError] = {}
        if not due:
            return fresh, failed
        jobs = [(ticker, cached_histories.get(ticker)) for ticker in due]
        timeout = min(self.deadline, DOWNLOAD_TIMEOUT_SECONDS)
        with (
            open_yahoo_client(
                self._environment.http_session, yfinance_cache_folder=cache_dir() / "yfinance", timeout_seconds=timeout
            ) as client,
            BackgroundIterator(partial(_iter_responses, client, jobs, self._environment, now)) as work,
        ):
            answers = ProgressCounter("fetching", len(due), progress)
            try:
                for ticker, said in answers.iter_items(work.iter_results(timeout_seconds=self.deadline)):
                    if isinstance(said, FetchResponse):
                        fresh[ticker] = cache.ticker_cache(self.kind, ticker).add_response(self.kind, ticker, said)
                    else:
                        failed[ticker] = said
            except ResultTimeoutError:
                waited = next(ticker for ticker in due if ticker not in fresh and ticker not in failed)
                failed[waited] = FetchError("network", f"Yahoo gave no answer for {self.deadline:g} seconds")
        for ticker, refusal in failed.items():
            if refusal.kind in OUTAGE_KINDS:
                raise _network_outage_error(
                    f"{ticker}: {refusal}",
                    {**cached_histories, **fresh},
                    tickers,
                    now,
                    n_received=len(fresh),
                    n_requested=len(due),
                )
        return fresh, failed

    def _dropped_ticker_notes(
        self, failures: Mapping[str, FetchError], cached_histories: Mapping[str, CachedHistory], *, n_tickers: int
    ) -> list[Note]:
        """Return a note on each ticker that is left out; refuse where the config or what is left does not allow it."""
        if not failures:
            return []
        if self.on_failure == "drop" and len(failures) < n_tickers:
            return [Note("data", f"left out: {refusal}", ticker=ticker) for ticker, refusal in failures.items()]
        said = "; ".join(
            f"{ticker}: {refusal}{_offline_alternative_text(cached_histories.get(ticker))}"
            for ticker, refusal in failures.items()
        )
        kinds = {refusal.kind for refusal in failures.values()}
        if "unstored" in kinds:
            raise DataError(f"{said}; run once without --offline", key="data.tickers")
        if "server" in kinds:
            raise Fault(f"{said}; try again later, or go on without by data.source.on_failure: drop")
        raise DataError(
            f"{said}; correct data.tickers, or go on without by data.source.on_failure: drop", key="data.tickers"
        )


def _read_cached_histories(
    cache: PriceCache, tickers: Sequence[str]
) -> tuple[dict[str, CachedHistory], dict[str, str]]:
    """Return what is stored, and what was found damaged and set aside, by ticker."""
    held: dict[str, CachedHistory] = {}
    damaged: dict[str, str] = {}
    for ticker in tickers:
        try:
            history = cache.ticker_cache("yahoo", ticker).read_history()
        except DamagedFileError as error:
            damaged[ticker] = str(error)
        else:
            if history is not None:
                held[ticker] = history
    return held, damaged


def _not_cached_error(cache: PriceCache, damage_text: str | None) -> FetchError:
    return FetchError("unstored", f"{damage_text or f'not stored in {cache.folder}'}, and --offline asks nobody")


def _is_up_to_date(index_entry: CacheIndexEntry | None, *, end: dt.date | None, now: dt.datetime) -> bool:
    """Whether Yahoo has nothing to add: the sessions up to `end`, or all that are over, have been asked for."""
    if index_entry is None:
        return False
    return (end is not None and end <= index_entry.through) or index_entry.through >= last_finished_date(
        index_entry.about, now=now
    )


def _iter_responses(
    client: YahooClient,
    tickers_and_histories: Sequence[tuple[str, CachedHistory | None]],
    environment: HttpEnvironment,
    now: dt.datetime,
    stop_event: threading.Event,
) -> Iterator[tuple[str, FetchResponse | FetchError]]:
    """Yield what Yahoo says of each ticker, one after the other."""
    for at, (ticker, held) in enumerate(tickers_and_histories):
        if at and stop_event.wait(environment.pause_seconds):
            return
        ask = partial(_fetch_with_retries, client, ticker, environment=environment, now=now, stop_event=stop_event)
        try:
            yield ticker, _fetch_new_sessions(ask, held)
        except FetchError as refusal:
            yield ticker, refusal
            if refusal.kind in OUTAGE_KINDS:
                return


def _fetch_new_sessions(
    fetch_since: Callable[..., FetchResponse], cached_history: CachedHistory | None
) -> FetchResponse:
    """Return the sessions after those that are held, or all of them where none are held or history was revised."""
    if cached_history is None or len(cached_history.raw_bars) <= OVERLAP_SESSIONS:
        return fetch_since(since=None)
    answer = fetch_since(since=cached_history.raw_bars.index[-OVERLAP_SESSIONS].date())
    return fetch_since(since=None) if find_history_revision(cached_history.raw_bars, answer.raw_bars) else answer


def _fetch_with_retries(
    client: YahooClient,
    ticker: str,
    *,
    since: dt.date | None,
    environment: HttpEnvironment,
    now: dt.datetime,
    stop_event: threading.Event,
) -> FetchResponse:
    """Ask until there is an answer, or a refusal that another attempt can't change, or no attempt is left."""
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return client.fetch_ticker(ticker, since=since, now=now)
        except FetchError as refusal:
            if refusal.kind in ("unknown", "empty") or stop_event.wait(
                environment.backoff_seconds * 2 ** (attempt - 1)
            ):
                raise
    return client.fetch_ticker(ticker, since=since, now=now)


def _network_outage_error(
    reason: str,
    cached_histories: Mapping[str, CachedHistory],
    tickers: Sequence[str],
    now: dt.datetime,
    *,
    n_received: int,
    n_requested: int,
) -> Fault:
    """Return the error for a network that fails, which says what is stored and how old it is."""
    so_far = f" ({n_received} of {n_requested} tickers had come, and are stored)" if n_received else ""
    there = [cached_histories[ticker].index_entry for ticker in tickers if ticker in cached_histories]
    if not there:
        advice = "try again later; nothing is stored yet that --offline could use"
    else:
        oldest = min(there, key=lambda entry: entry.fetched)
        whose = "its prices are" if len(tickers) == 1 else f"{len(there)} of {len(tickers)} tickers are"
        advice = f"try again later; {whose} stored, fetched {_index_entry_age_text(oldest, now)} ago, to {min(e.last for e in there)}"
        advice += ": --offline uses that" if len(there) == len(tickers) else "; --offline needs all of them"
    return Fault(f"{reason}{so_far}; {advice}")


def _index_entry_age_text(index_entry: CacheIndexEntry, now: dt.datetime) -> str:
    seconds = max((now - index_entry.fetched).total_seconds(), 0.0)
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s'[: count > 1]}"
    return "less than a minute"


def _offline_alternative_text(cached_history: CachedHistory | None) -> str:
    if cached_history is None:
        return ""
    return f" (stored up to {cached_history.index_entry.last}: --offline uses that, or data.end: {cached_history.index_entry.last})"


def _histories_to_fetched_prices(
    histories: Mapping[str, CachedHistory], notes: Sequence[Note], start: dt.date | None, end: dt.date | None
) -> FetchedPrices:
    """Return histories cut to the dates, and adjusted by what lies between them."""
    cut = {
        ticker: history.raw_bars.loc[_date_to_timestamp(start) : _date_to_timestamp(end)]
        for ticker, history in histories.items()
    }
    known = {
        ticker: CALENDAR_BY_EXCHANGE_CODE.get(history.index_entry.about["exchange"])
        for ticker, history in histories.items()
    }
    said = [
        note
        for ticker, history in histories.items()
        for note in _iter_history_notes(ticker, history.index_entry, start, end)
    ]
    return FetchedPrices(
        {ticker: adjust_for_splits_and_dividends(quotes, ticker=ticker) for ticker, quotes in cut.items()},
        "yahoo",
        combine_digests({ticker: sha256_hex(_raw_bars_to_bytes(quotes)) for ticker, quotes in cut.items()}),
        (*notes, *said),
        {ticker: calendar for ticker, calendar in known.items() if calendar},
    )


def _date_to_timestamp(date: dt.date | None) -> pd.Timestamp | None:
    return None if date is None else pd.Timestamp(date)


def _raw_bars_to_bytes(raw_bars: RawBarFrame) -> bytes:
    """Return quotes as bytes that depend on their dates and values alone."""
    dates = raw_bars.index.to_numpy(dtype="datetime64[s]").astype("<i8")
    return dates.tobytes() + np.ascontiguousarray(raw_bars.to_numpy(dtype="<f8")).tobytes()


def _iter_history_notes(
    ticker: str, index_entry: CacheIndexEntry, start: dt.date | None, end: dt.date | None
) -> Iterator[Note]:
    """Yield what a reader of the sessions between two dates should know; it depends on what is stored alone."""
    first, last = start or dt.date.min, end or dt.date.max
    if index_entry.unfinished and first <= index_entry.unfinished <= last:
        yield Note("data", "the session was not over and was left out", ticker=ticker, date=str(index_entry.unfinished))
    lacking = [date for date in index_entry.incomplete if first <= date <= last]
    if lacking:
        text = "sessions that lack a price were left out"
        yield Note("data", text, ticker=ticker, date=str(lacking[-1]), count=len(lacking))
    for revision in index_entry.revisions[-1:]:
        if revision.first <= last and revision.last >= first:
            text = f"{revision.text}; the former version is kept in the store"
            yield Note("data", text, ticker=ticker, date=str(revision.first), count=revision.sessions)
