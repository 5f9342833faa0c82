"""One question to Yahoo through yfinance, and its answer as quotes; whatever goes wrong is told apart.

yfinance is imported, and its settings are touched, only while `connected`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from quantlr.data.quotes import COLUMNS, PRICES, Quotes, as_quoted
from quantlr.data.store import Answer

SETTLING = dt.timedelta(minutes=30)
"""Time after the close until a session's bar is taken for final."""
NAMES = {
    "Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume", "Dividends": "dividend",
    "Capital Gains": "capital_gain", "Stock Splits": "split",
}  # fmt: skip
_CHART = "/v8/finance/chart/"
_SILENCE = logging.NullHandler()

Kind = Literal["unknown", "empty", "limited", "network", "server", "unstored"]


class Refusal(Exception):
    """There are no prices.

    Attributes
    ----------
    kind : Yahoo says that it does not know the ticker ("unknown") or has no bars of it ("empty"); it limits the rate
        of requests ("limited"); it can't be reached ("network"); it answers with something else ("server"); or it may
        not be asked, and nothing is stored ("unstored").
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Client:
    """yfinance with a session, which remembers how Yahoo last answered for a chart."""

    def __init__(self, yfinance: Any, session: Any, *, timeout: float) -> None:
        self._yfinance = yfinance
        self._timeout = timeout
        self._status: int | None = None
        self._said: str | None = None
        # Any ticker makes a session of the kind that yfinance prefers; none is asked for here.
        self._session = session or yfinance.Ticker("SPY").session
        self._listen()

    def ask(self, ticker: str, *, since: dt.date | None, now: dt.datetime) -> Answer:
        """Return what Yahoo says of a ticker, from a session on or of all times.

        Raises
        ------
        Refusal : it says nothing of use.
        """
        from yfinance.data import YfData

        YfData.cache_get.cache_clear()  # it keeps errors too, and would answer a second attempt with the first one's
        self._status = self._said = None
        span = {"period": "max"} if since is None else {"start": since}
        try:
            share = self._yfinance.Ticker(ticker, session=self._session)
            table = share.history(**span, auto_adjust=False, keepna=True, timeout=self._timeout)
            facts = share.history_metadata
        except Exception as error:  # whatever the client raises, something is wrong with the answer
            raise self._refusal(error) from error
        return answer_from(table, facts, whole=since is None, now=now)

    def _listen(self) -> None:
        """Have the session tell of every chart: its status and Yahoo's own words tell an outage from a delisting."""
        request = self._session.request

        def listening(method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            response = request(method, url, *args, **kwargs)
            if _CHART in str(url):
                self._status, self._said = response.status_code, _own_words(response)
            return response

        self._session.request = listening

    def _refusal(self, error: Exception) -> Refusal:
        from yfinance.exceptions import YFRateLimitError, YFTickerMissingError

        if isinstance(error, YFRateLimitError) or self._status == 429:
            return Refusal("limited", "Yahoo limits the rate of requests (status 429)")
        if self._status in (400, 404) and self._said:
            return Refusal("unknown", f"Yahoo says {self._said!r} (status {self._status})")
        if self._status == 200 and isinstance(error, YFTickerMissingError):
            return Refusal("empty", "Yahoo knows the ticker and has no bars of it")
        if isinstance(error, OSError) and (self._status or 200) < 400:
            return Refusal("network", f"Yahoo can't be reached: {_reason(error)}")
        if self._status is None:
            return Refusal("server", f"the request failed: {type(error).__name__}: {_reason(error)}")
        words = f": {self._said}" if self._said else ", and with no prices"
        return Refusal("server", f"Yahoo answers with status {self._status}{words}")


@contextmanager
def connected(session: Any, *, folder: Path, timeout: float) -> Iterator[Client]:
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
        logging.getLogger("yfinance").addHandler(_SILENCE)  # what it logs, it raises as well
        yfinance.set_tz_cache_location(str(folder))
        hiding = yfinance.config.debug.hide_exceptions
        yfinance.config.debug.hide_exceptions = False
        try:
            yield Client(yfinance, session, timeout=timeout)
        finally:
            yfinance.config.debug.hide_exceptions = hiding


def answer_from(table: pd.DataFrame, facts: Mapping[str, Any], *, whole: bool, now: dt.datetime) -> Answer:
    """Return a table of yfinance, adjusted for splits as Yahoo's are, as an answer in quotes.

    Raises
    ------
    Refusal : no session in it is over and has all its prices, or what it says can't be.
    """
    if table.empty:
        raise Refusal("empty", "Yahoo knows the ticker and has no bars of it")
    zone = str(facts.get("exchangeTimezoneName") or pd.DatetimeIndex(table.index).tz)
    closing = _closing(facts)
    about = {
        "exchange": str(facts.get("exchangeName") or ""),
        "exchange_name": str(facts.get("fullExchangeName") or ""),
        "timezone": zone,
        "currency": str(facts.get("currency") or ""),
        "closes": f"{closing:%H:%M}" if closing else "",
    }
    quotes = as_quoted(_plain(table))
    over = last_over(about, now=now)
    unfinished = quotes.index[quotes.index > pd.Timestamp(over)]
    lacking = quotes.index[quotes[list(PRICES)].isna().any(axis=1) & (quotes.index <= pd.Timestamp(over))]
    kept = _without(quotes, unfinished.union(lacking))
    if kept.empty:
        raise Refusal("empty", "Yahoo knows the ticker and has no bars of it that are complete")
    last = kept.index[-1].date()
    expected = [date.date() for date in lacking if date.date() > last]
    if closing and closing.date() == over and last < over:
        expected.append(over)
    return Answer(
        quotes=kept,
        whole=whole,
        fetched=now,
        through=min([over, *(date - dt.timedelta(days=1) for date in expected)]),
        about=about,
        unfinished=unfinished[0].date() if len(unfinished) else None,
        incomplete=tuple(date.date() for date in lacking),
    )


def last_over(about: Mapping[str, str], *, now: dt.datetime) -> dt.date:
    """Return the newest day on which no trading is to come, by the exchange's clock."""
    local = now.astimezone(ZoneInfo(about["timezone"]))
    if about["closes"]:
        close = dt.datetime.combine(local.date(), dt.time.fromisoformat(about["closes"]), tzinfo=local.tzinfo)
        if local >= close + SETTLING:
            return local.date()
    return local.date() - dt.timedelta(days=1)


def _plain(table: pd.DataFrame) -> Quotes:
    """Return yfinance's columns by our names, dates without time zone, and 1 where nothing was split."""
    found = {ours: table[theirs].to_numpy(dtype=np.float64) for theirs, ours in NAMES.items() if theirs in table}
    found.setdefault("capital_gain", np.zeros(len(table)))
    found["split"] = np.where(found["split"] == 0.0, 1.0, found["split"])
    if not (np.isfinite(found["split"]) & (found["split"] > 0)).all():
        raise Refusal("server", "Yahoo tells of a split that can't be")
    dates = pd.DatetimeIndex(table.index).tz_localize(None).normalize().to_numpy(dtype="datetime64[us]")
    return pd.DataFrame(found, index=pd.DatetimeIndex(dates, name="date"))[list(COLUMNS)]


def _without(quotes: Quotes, dates: pd.Index[Any]) -> Quotes:
    """Return quotes without some sessions, whose dividends and splits the next session has."""
    keep = ~quotes.index.isin(dates)
    heir = np.append(0, np.cumsum(keep)[:-1])  # the number of sessions kept before each one
    kept = quotes[keep].copy()
    there = heir < len(kept)
    for name, together in (("dividend", np.add), ("capital_gain", np.add), ("split", np.multiply)):
        whole = np.full(len(kept), 1.0 if name == "split" else 0.0)
        together.at(whole, heir[there], quotes[name].to_numpy()[there])
        kept[name] = whole
    return kept


def _closing(facts: Mapping[str, Any]) -> dt.datetime | None:
    """Return when the session that goes on, or the last one, closes, in the exchange's time."""
    period = facts.get("currentTradingPeriod")
    end = period.get("regular", {}).get("end") if isinstance(period, Mapping) else None
    return end.to_pydatetime() if isinstance(end, pd.Timestamp) else None


def _own_words(response: Any) -> str | None:
    """Return the error that Yahoo itself describes in a response, None where it is a page or holds no error."""
    if response.status_code < 400:
        return None
    try:
        error = json.loads(response.text)["chart"]["error"]
        return str(error.get("description") or error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _reason(error: Exception) -> str:
    """Return the one sentence of an error that is for people."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    found = re.search(r"curl: \(\d+\) (.*?)\.? See https", text)
    return (found.group(1) if found else text)[:200]
