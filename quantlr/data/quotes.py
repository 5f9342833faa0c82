"""Prices as they were quoted on the day, with the dividends and splits between them, and what follows from the two.

What was quoted on a day never changes, while a price that is adjusted for splits changes with every later split.
Quotes are therefore what is stored and compared; prices are adjusted when they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.data.tables import Bars
from quantlr.errors import DataError
from quantlr.types import Array, BoolArray, day

Quotes = pd.DataFrame
"""One ticker's sessions: index of dates without time zone, ascending, each once.

Columns open, high, low and close in the quote's currency; volume in shares of that day; dividend and capital_gain, what
a share of that day is the first to trade without; split, shares after per share before, 1 on most days.
"""

PRICES = ("open", "high", "low", "close")
PER_SHARE = (*PRICES, "dividend", "capital_gain")
COLUMNS = (*PRICES, "volume", "dividend", "capital_gain", "split")

SIX_DECIMALS = 1e-6
"""What a vendor's rounding may change in a price after it was adjusted for splits."""
NEARLY = 1e-6
"""Relative change that is no revision of a price: single precision on the way."""
NEARLY_VOLUME = 1e-3
"""The same of a volume, which is corrected by a few trades for days."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a newer answer says otherwise about sessions that an older one had told of.

    Attributes
    ----------
    first, last : the sessions it begins and ends with, as YYYY-MM-DD.
    changed, gone, added : sessions with other values, no longer there, and new between old ones.
    columns : what changed in them.
    largest : the largest relative change of a close.
    """

    first: str
    last: str
    changed: int
    gone: int
    added: int
    columns: tuple[str, ...]
    largest: float

    @property
    def sessions(self) -> int:
        """How many sessions it touches."""
        return self.changed + self.gone + self.added

    def __str__(self) -> str:
        parts = []
        if self.changed:
            by = f", closes by up to {self.largest:.2%}" if "close" in self.columns else ""
            parts.append(f"{', '.join(self.columns)} of {self.changed} changed{by}")
        parts += [f"{count} {what}" for count, what in ((self.gone, "gone"), (self.added, "added")) if count]
        return f"sessions from {self.first} to {self.last} were revised: {'; '.join(parts)}"


def splits_after(quotes: Quotes) -> Array:
    """(sessions,) shares that a share of each session has become by the last one."""
    return _splits_after(quotes["split"].to_numpy())


def _splits_after(split: Array) -> Array:
    since = np.cumprod(split[::-1])[::-1]
    return np.append(since[1:], 1.0)[: len(split)]


def as_quoted(adjusted: Quotes) -> Quotes:
    """Return quotes from a table that is adjusted for all the splits in it, and for none that it lacks."""
    quotes = adjusted.copy()
    later = splits_after(adjusted)
    for name in PER_SHARE:
        quotes[name] = adjusted[name] * later
    quotes["volume"] = adjusted["volume"] / later
    return quotes


def adjusted_bars(quotes: Quotes, *, ticker: str) -> Bars:
    """Return bars whose `adj_close` takes splits and dividends out of the returns, and whose volume knows of splits.

    With c the close as quoted, s the split and d the dividend of a session, the factor of the last session is 1 and

        factor[t-1] = factor[t] * (c[t-1] / s[t] - d[t]) / c[t-1]

    which is what a close would have been without the dividend, in shares of the next session: the multipliers of the
    Center for Research in Security Prices, as Yahoo describes its adjusted close ("What is the adjusted close?", help
    page SLN28256). A fund's capital gain is part of the dividend of its day, as Yahoo has it; where that dividend is
    too small to hold it, it is added.

    Raises
    ------
    DataError : a dividend of more than the share was worth.
    """
    # Of hundreds of tickers, asking a table for one column after another is what takes the time.
    quoted = dict(zip(quotes.columns, quotes.to_numpy(dtype=np.float64).T, strict=True))
    close, split, dividend, gain = (quoted[name] for name in ("close", "split", "dividend", "capital_gain"))
    paid = np.where(dividend >= gain, dividend, dividend + gain)
    left = (close[:-1] / split[1:] - paid[1:]) / close[:-1]
    if (left <= 0).any():
        at = int(np.argmax(left <= 0)) + 1
        raise DataError(
            f"{ticker} {day(quotes.index[at])}: a dividend of {paid[at]:g} on a close of {close[at - 1]:g} the session "
            "before; one of them is wrong: leave the ticker out, or begin after that day",
            key="data.start",
        )
    factor = np.append(np.cumprod(left[::-1])[::-1], 1.0)
    values = {name: quoted[name] for name in PRICES}
    values["adj_close"] = close * factor[: len(close)]
    values["volume"] = quoted["volume"] * _splits_after(split)
    return pd.DataFrame(values, index=quotes.index)


def revision_of(old: Quotes, new: Quotes) -> Revision | None:
    """Return what `new` says otherwise about the span that both tell of, None if nothing."""
    before, after = _span(old, new), _span(new, old)
    both = before.index.intersection(after.index)
    differs = _differs(before.loc[both], after.loc[both], splits_after(new)[new.index.get_indexer(both)])
    changed = both[np.flatnonzero(differs.any(axis=1))]
    gone, added = before.index.difference(after.index), after.index.difference(before.index)
    touched = changed.union(gone).union(added)
    if touched.empty:
        return None
    closes = before.loc[changed, "close"], after.loc[changed, "close"]
    return Revision(
        first=day(touched[0]),
        last=day(touched[-1]),
        changed=len(changed),
        gone=len(gone),
        added=len(added),
        columns=tuple(np.array(COLUMNS)[differs.any(axis=0)].tolist()),
        largest=float((closes[1] / closes[0] - 1.0).abs().max()) if len(changed) else 0.0,
    )


def merged(old: Quotes, new: Quotes) -> Quotes:
    """Return `old` with what `new` says about its own span; where they agree, to the digit as it was in `old`."""
    both = old.index.intersection(new.index)
    differs = _differs(old.loc[both], new.loc[both], splits_after(new)[new.index.get_indexer(both)])
    same = both[np.flatnonzero(~differs.any(axis=1))]
    inside: Quotes = new.copy()
    inside.loc[same] = old.loc[same]
    before, after = old.loc[old.index < new.index[0]], old.loc[old.index > new.index[-1]]
    together: Quotes = pd.concat([before, inside, after])
    return together


def _span(quotes: Quotes, other: Quotes) -> Quotes:
    """Return the quotes between another table's first session and its last."""
    found: Quotes = quotes.loc[other.index[0] : other.index[-1]]
    return found


def _differs(old: Quotes, new: Quotes, later: Array) -> BoolArray:
    """(sessions, columns) where a value changed by more than rounding, `later` being the splits that were undone."""
    before, after = old[list(COLUMNS)].to_numpy(), new[list(COLUMNS)].to_numpy()
    relative = np.array([NEARLY_VOLUME if name == "volume" else NEARLY for name in COLUMNS])
    rounding = np.outer(later, [SIX_DECIMALS if name in PER_SHARE else 0.0 for name in COLUMNS])
    rounding[:, COLUMNS.index("volume")] = np.maximum(1.0, 1.0 / later)
    return np.asarray(np.abs(after - before) > relative * np.abs(before) + rounding)
