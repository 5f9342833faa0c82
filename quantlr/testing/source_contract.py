"""The contract of a source of prices, as checks that raise AssertionError where a source breaks it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pandas as pd

from quantlr.core.components import component_kind
from quantlr.core.errors import DataError
from quantlr.data.source import FetchedPrices, FetchRequest, Source


def check_source(source: Source, *, tickers: Sequence[str], unknown_ticker: str) -> None:
    """Check the whole contract of a source on some of its tickers.

    Parameters
    ----------
    source : the source, with the parameters to check it with.
    tickers : which it has, each with at least ten bars.
    unknown_ticker : which it does not have, though it might.

    Raises
    ------
    AssertionError : for the first violation; the message names the ticker and what is wrong.
    """
    kind = component_kind(type(source))
    _require(source, bool(kind) and source.kind == kind, "kind needs a default: its name")
    _require(source, bool((type(source).__doc__ or "").strip()), "the class needs a docstring: whose prices it has")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        whole = source.fetch(FetchRequest(tickers))
        again = source.fetch(FetchRequest(tickers))
    _require(source, not output.getvalue(), f"it prints {output.getvalue()[:60]!r}; use request.progress, or notes")
    _require(source, whole.sha256 == again.sha256, "two calls have different sha256")
    _require(source, list(whole.bars) == list(tickers), f"asked for {list(tickers)}, it has {list(whole.bars)}")
    home = str(Path.home())
    _require(source, home not in whole.source, f"its name for people has the home folder: {whole.source}")
    for ticker, bars in whole.bars.items():
        _check_bars(source, ticker, bars)
    _check_parts(source, tickers, whole)
    try:
        source.fetch(FetchRequest([*tickers[:1], unknown_ticker]))
    except DataError as error:
        _require(source, unknown_ticker in error.message, f"the error does not name {unknown_ticker}: {error.message}")
    else:
        _require(source, False, f"it raises no DataError for {unknown_ticker}")
    if hasattr(sys.modules.get(type(source).__module__), type(source).__qualname__):  # else no process can import it
        copy = ForkingPickler.loads(ForkingPickler.dumps(source))
        _require(source, copy.fetch(FetchRequest(tickers)).sha256 == whole.sha256, "another process has other prices")


def _check_bars(source: Source, ticker: str, bars: pd.DataFrame) -> None:
    dates = bars.index
    _require(source, isinstance(dates, pd.DatetimeIndex), f"{ticker}: the index has no dates")
    _require(source, pd.DatetimeIndex(dates).tz is None, f"{ticker}: dates have a time zone")
    _require(source, dates.is_monotonic_increasing and dates.is_unique, f"{ticker}: dates are not ascending and unique")
    _require(source, "close" in bars, f"{ticker}: there is no column close")
    close = bars["close"].to_numpy(dtype=np.float64)
    _require(source, bool((np.isfinite(close) & (close > 0)).all()), f"{ticker}: a close is not above 0")


def _check_parts(source: Source, tickers: Sequence[str], whole: FetchedPrices) -> None:
    """Unadjusted prices between two dates are those of the whole, both dates included."""
    request = FetchRequest(tickers)
    for ticker, bars in whole.bars.items():
        dates = pd.DatetimeIndex(bars.index)
        start, end = (dates[len(dates) * part // 3].date() for part in (1, 2))
        part = source.fetch(replace(request, tickers=[ticker], start=start, end=end)).bars[ticker]
        cut = slice(pd.Timestamp(start), pd.Timestamp(end))
        expected, found = bars.loc[cut, "close"], part.loc[cut, "close"]
        text = f"{ticker}: closes from {start} to {end} are others than those of all dates"
        _require(source, expected.equals(found), text)


def _require(source: Source, condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"{source.kind}: {message}")
