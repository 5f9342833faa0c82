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

from quantlr.data.fetched import Fetched, Source, digest_of, sha256
from quantlr.data.patience import OutOfPatience, Work
from quantlr.data.quotes import Quotes, adjusted_bars, revision_of
from quantlr.data.store import Answer, Damaged, Entry, History, Store
from quantlr.data.yahoo_client import Client, Kind, Refusal, connected, last_over
from quantlr.data.yahoo_exchanges import CALENDARS
from quantlr.disk import home
from quantlr.errors import DataError, Fault
from quantlr.types import Meanings, Note, Number, Progress, Tally, Unit, no_progress

OVERLAP = 8
"""Stored sessions that are asked for again with the new ones, to see whether history was revised."""
ATTEMPTS = 4
"""Times that a ticker is asked for while Yahoo can't be reached or is in trouble."""
DOWNLOAD_SECONDS = 30.0
OUTAGES: tuple[Kind, ...] = ("limited", "network")
"""Refusals that every other ticker would meet too."""
_SYMBOL = re.compile(r"[A-Za-z0-9.^=&_-]+")


def utc_now() -> dt.datetime:
    """Return the time by the machine's clock."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What the source needs from outside; tests bring their own.

    Attributes
    ----------
    session : what requests go through: a session of curl_cffi or requests; None for one of yfinance's own.
    clock : tells the time, once per fetch.
    pause : seconds between tickers, out of politeness.
    backoff : seconds before the second attempt; doubled before each further one.
    """

    session: Any = None
    clock: Callable[[], dt.datetime] = utc_now
    pause: float = 0.2
    backoff: float = 1.0


class Yahoo(Source):
    """Daily prices from Yahoo Finance, stored on this machine as they come; splits and dividends are adjusted here."""

    kind: Literal["yahoo"] = "yahoo"
    on_failure: Annotated[
        Literal["error", "drop"],
        Meanings({"error": "the run ends and names them", "drop": "the run goes on without them, and says so"}),
    ] = Field("error", description="What becomes of a run if Yahoo has no prices of some of its tickers.")
    deadline: Annotated[Number, Unit("seconds"), Field(gt=0, le=3600)] = Field(
        60.0, description="How long without an answer until the network is given up."
    )
    _world: World = PrivateAttr(default_factory=World)

    @classmethod
    def examples(cls) -> tuple[Yahoo, ...]:
        """Return the default, and one that lets go of what is not there."""
        return (cls(), cls(on_failure="drop", deadline=20.0))

    def within(self, world: World) -> Yahoo:
        """Return the same source in another world."""
        other = self.model_copy()
        other._world = world
        return other

    def fetch(
        self,
        tickers: Sequence[str],
        *,
        start: dt.date | None = None,
        end: dt.date | None = None,
        offline: bool = False,
        progress: Progress = no_progress,
    ) -> Fetched:
        """Return the bars of `tickers` between two dates, adjusted by the splits and dividends between them.

        So what a config with an `end` sees never changes with a later split or dividend. The network is asked only for
        sessions that are over and not stored yet.

        Raises
        ------
        DataError : a ticker that Yahoo doesn't know or has no bars of; offline, one that is not stored.
        Fault : the network, Yahoo itself or the disk is in the way.
        """
        for ticker in tickers:
            if not _SYMBOL.fullmatch(ticker):
                raise DataError(f"{ticker!r} is no symbol of Yahoo's, like SPY or ^GSPC or BRK-B", key="data.tickers")
        store = Store.at_home()
        held, damaged = _stored(store, tickers)
        failed: dict[str, Refusal] = {}
        if offline:
            failed = {ticker: _not_stored(store, damaged.get(ticker)) for ticker in tickers if ticker not in held}
        else:
            fresh, failed = self._asked(store, tickers, held, end=end, progress=progress)
            held |= fresh
        notes = self._let_go(failed, held, of=len(tickers))
        used = {ticker: held[ticker] for ticker in tickers if ticker not in failed}
        mended = [ticker for ticker in damaged if ticker in used]
        notes += [Note("data", f"{damaged[ticker]}; it was fetched again", ticker=ticker) for ticker in mended]
        return _fetched(used, notes, start, end)

    def to_ask(self, tickers: Sequence[str], *, end: dt.date | None = None) -> dict[str, dt.date | None]:
        """Return the tickers whose newest sessions, or all of them, are not stored; as `Source.to_ask` says."""
        now, store = self._world.clock(), Store.at_home()
        found: dict[str, dt.date | None] = {}
        for ticker in tickers:
            try:
                entry = store.shelf(self.kind, ticker).entry()
            except Damaged:
                entry = None
            if not _covered(entry, end=end, now=now):
                found[ticker] = entry.last if entry else None
        return found

    def _asked(
        self,
        store: Store,
        tickers: Sequence[str],
        held: Mapping[str, History],
        *,
        end: dt.date | None,
        progress: Progress,
    ) -> tuple[dict[str, History], dict[str, Refusal]]:
        """Ask for what is missing; return the histories that came of it, and what failed, by ticker."""
        now = self._world.clock()
        entries = {ticker: history.entry for ticker, history in held.items()}
        due = [ticker for ticker in tickers if not _covered(entries.get(ticker), end=end, now=now)]
        fresh: dict[str, History] = {}
        failed: dict[str, Refusal] = {}
        if not due:
            return fresh, failed
        jobs = [(ticker, held.get(ticker)) for ticker in due]
        timeout = min(self.deadline, DOWNLOAD_SECONDS)
        with (
            connected(self._world.session, folder=home() / "yfinance", timeout=timeout) as client,
            Work(partial(_answers, client, jobs, self._world, now)) as work,
        ):
            answers = Tally("fetching", len(due), progress)
            try:
                for ticker, said in answers.each(work.results(patience=self.deadline)):
                    if isinstance(said, Answer):
                        fresh[ticker] = store.shelf(self.kind, ticker).keep(self.kind, ticker, said)
                    else:
                        failed[ticker] = said
            except OutOfPatience:
                waited = next(ticker for ticker in due if ticker not in fresh and ticker not in failed)
                failed[waited] = Refusal("network", f"Yahoo gave no answer for {self.deadline:g} seconds")
        for ticker, refusal in failed.items():
            if refusal.kind in OUTAGES:
                raise _outage(f"{ticker}: {refusal}", {**held, **fresh}, tickers, now, came=len(fresh), due=len(due))
        return fresh, failed

    def _let_go(self, failed: Mapping[str, Refusal], held: Mapping[str, History], *, of: int) -> list[Note]:
        """Return a note on each ticker that is left out; refuse where the config or what is left does not allow it."""
        if not failed:
            return []
        if self.on_failure == "drop" and len(failed) < of:
            return [Note("data", f"left out: {refusal}", ticker=ticker) for ticker, refusal in failed.items()]
        said = "; ".join(
            f"{ticker}: {refusal}{_to_fall_back_on(held.get(ticker))}" for ticker, refusal in failed.items()
        )
        kinds = {refusal.kind for refusal in failed.values()}
        if "unstored" in kinds:
            raise DataError(f"{said}; run once without --offline", key="data.tickers")
        if "server" in kinds:
            raise Fault(f"{said}; try again later, or go on without by data.source.on_failure: drop")
        raise DataError(
            f"{said}; correct data.tickers, or go on without by data.source.on_failure: drop", key="data.tickers"
        )


def _stored(store: Store, tickers: Sequence[str]) -> tuple[dict[str, History], dict[str, str]]:
    """Return what is stored, and what was found damaged and set aside, by ticker."""
    held: dict[str, History] = {}
    damaged: dict[str, str] = {}
    for ticker in tickers:
        try:
            history = store.shelf("yahoo", ticker).history()
        except Damaged as error:
            damaged[ticker] = str(error)
        else:
            if history is not None:
                held[ticker] = history
    return held, damaged


def _not_stored(store: Store, damaged: str | None) -> Refusal:
    return Refusal("unstored", f"{damaged or f'not stored in {store.folder}'}, and --offline asks nobody")


def _covered(held: Entry | None, *, end: dt.date | None, now: dt.datetime) -> bool:
    """Whether Yahoo has nothing to add: the sessions up to `end`, or all that are over, have been asked for."""
    if held is None:
        return False
    return (end is not None and end <= held.through) or held.through >= last_over(held.about, now=now)


def _answers(
    client: Client,
    jobs: Sequence[tuple[str, History | None]],
    world: World,
    now: dt.datetime,
    abandoned: threading.Event,
) -> Iterator[tuple[str, Answer | Refusal]]:
    """Yield what Yahoo says of each ticker, one after the other."""
    for at, (ticker, held) in enumerate(jobs):
        if at and abandoned.wait(world.pause):
            return
        ask = partial(_patiently, client, ticker, world=world, now=now, abandoned=abandoned)
        try:
            yield ticker, _newest(ask, held)
        except Refusal as refusal:
            yield ticker, refusal
            if refusal.kind in OUTAGES:
                return


def _newest(ask: Callable[..., Answer], held: History | None) -> Answer:
    """Return the sessions after those that are held, or all of them where none are held or history was revised."""
    if held is None or len(held.quotes) <= OVERLAP:
        return ask(since=None)
    answer = ask(since=held.quotes.index[-OVERLAP].date())
    return ask(since=None) if revision_of(held.quotes, answer.quotes) else answer


def _patiently(
    client: Client,
    ticker: str,
    *,
    since: dt.date | None,
    world: World,
    now: dt.datetime,
    abandoned: threading.Event,
) -> Answer:
    """Ask until there is an answer, or a refusal that another attempt can't change, or no attempt is left."""
    for attempt in range(1, ATTEMPTS):
        try:
            return client.ask(ticker, since=since, now=now)
        except Refusal as refusal:
            if refusal.kind in ("unknown", "empty") or abandoned.wait(world.backoff * 2 ** (attempt - 1)):
                raise
    return client.ask(ticker, since=since, now=now)


def _outage(
    what: str, held: Mapping[str, History], tickers: Sequence[str], now: dt.datetime, *, came: int, due: int
) -> Fault:
    """Return the error for a network that fails, which says what is stored and how old it is."""
    so_far = f" ({came} of {due} tickers had come, and are stored)" if came else ""
    there = [held[ticker].entry for ticker in tickers if ticker in held]
    if not there:
        advice = "try again later; nothing is stored yet that --offline could use"
    else:
        oldest = min(there, key=lambda entry: entry.fetched)
        whose = "its prices are" if len(tickers) == 1 else f"{len(there)} of {len(tickers)} tickers are"
        advice = f"try again later; {whose} stored, fetched {_age(oldest, now)} ago, to {min(e.last for e in there)}"
        advice += ": --offline uses that" if len(there) == len(tickers) else "; --offline needs all of them"
    return Fault(f"{what}{so_far}; {advice}")


def _age(entry: Entry, now: dt.datetime) -> str:
    seconds = max((now - entry.fetched).total_seconds(), 0.0)
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s'[: count > 1]}"
    return "less than a minute"


def _to_fall_back_on(held: History | None) -> str:
    if held is None:
        return ""
    return f" (stored up to {held.entry.last}: --offline uses that, or data.end: {held.entry.last})"


def _fetched(held: Mapping[str, History], notes: Sequence[Note], start: dt.date | None, end: dt.date | None) -> Fetched:
    """Return histories cut to the dates, and adjusted by what lies between them."""
    cut = {ticker: history.quotes.loc[_stamp(start) : _stamp(end)] for ticker, history in held.items()}
    known = {ticker: CALENDARS.get(history.entry.about["exchange"]) for ticker, history in held.items()}
    said = [note for ticker, history in held.items() for note in _notes_on(ticker, history.entry, start, end)]
    return Fetched(
        {ticker: adjusted_bars(quotes, ticker=ticker) for ticker, quotes in cut.items()},
        "yahoo",
        digest_of({ticker: sha256(_bytes(quotes)) for ticker, quotes in cut.items()}),
        (*notes, *said),
        {ticker: calendar for ticker, calendar in known.items() if calendar},
    )


def _stamp(date: dt.date | None) -> pd.Timestamp | None:
    return None if date is None else pd.Timestamp(date)


def _bytes(quotes: Quotes) -> bytes:
    """Return quotes as bytes that depend on their dates and values alone."""
    dates = quotes.index.to_numpy(dtype="datetime64[s]").astype("<i8")
    return dates.tobytes() + np.ascontiguousarray(quotes.to_numpy(dtype="<f8")).tobytes()


def _notes_on(ticker: str, entry: Entry, start: dt.date | None, end: dt.date | None) -> Iterator[Note]:
    """Yield what a reader of the sessions between two dates should know; it depends on what is stored alone."""
    first, last = start or dt.date.min, end or dt.date.max
    if entry.unfinished and first <= entry.unfinished <= last:
        yield Note("data", "the session was not over and was left out", ticker=ticker, date=str(entry.unfinished))
    lacking = [date for date in entry.incomplete if first <= date <= last]
    if lacking:
        text = "sessions that lack a price were left out"
        yield Note("data", text, ticker=ticker, date=str(lacking[-1]), count=len(lacking))
    for revision in entry.revisions[-1:]:
        if revision.first <= last and revision.last >= first:
            text = f"{revision.text}; the former version is kept in the store"
            yield Note("data", text, ticker=ticker, date=str(revision.first), count=revision.sessions)
