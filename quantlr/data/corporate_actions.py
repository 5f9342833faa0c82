"""Prices as they were quoted on the day, with the dividends and splits between them, and what follows from the two.

What was quoted on a day never changes, while a price that is adjusted for splits changes with every later split.
Quotes are therefore what is stored and compared; prices are adjusted when they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.core.arrays import Array, BoolArray
from quantlr.core.errors import DataError
from quantlr.core.progress import iso_date
from quantlr.data.csv.bars import BarFrame

RawBarFrame = pd.DataFrame
"""One ticker's sessions: index of dates without time zone, ascending, each once.

Columns open, high, low and close in the quote's currency; volume in shares of that day; dividend and capital_gain, what
a share of that day is the first to trade without; split, shares after per share before, 1 on most days.
"""

RAW_PRICE_COLUMNS = ("open", "high", "low", "close")
PER_SHARE_COLUMNS = (*RAW_PRICE_COLUMNS, "dividend", "capital_gain")
RAW_BAR_COLUMNS = (*RAW_PRICE_COLUMNS, "volume", "dividend", "capital_gain", "split")

PRICE_ROUNDING = 1e-6
"""What a vendor's rounding may change in a price after it was adjusted for splits."""
PRICE_RELATIVE_TOLERANCE = 1e-6
"""Relative change that is no revision of a price: single precision on the way."""
VOLUME_RELATIVE_TOLERANCE = 1e-3
"""The same of a volume, which is corrected by a few trades for days."""


@dataclass(frozen=True, slots=True)
class HistoryRevision:
    """What a newer answer says otherwise about sessions that an older one had told of.

    Attributes
    ----------
    first, last : the sessions it begins and ends with, as YYYY-MM-DD.
    changed, gone, added : sessions with other values, no longer there, and new between old ones.
    columns : what changed in them.
    largest : the largest relative change of a close.
    """

    first_session: str
    last_session: str
    n_changed_sessions: int
    n_removed_sessions: int
    n_added_sessions: int
    changed_columns: tuple[str, ...]
    max_relative_close_change: float

    @property
    def n_sessions(self) -> int:
        """How many sessions it touches."""
        return self.n_changed_sessions + self.n_removed_sessions + self.n_added_sessions

    def __str__(self) -> str:
        parts = []
        if self.n_changed_sessions:
            by = f", closes by up to {self.max_relative_close_change:.2%}" if "close" in self.changed_columns else ""
            parts.append(f"{', '.join(self.changed_columns)} of {self.n_changed_sessions} changed{by}")
        parts += [
            f"{count} {what}"
            for count, what in ((self.n_removed_sessions, "gone"), (self.n_added_sessions, "added"))
            if count
        ]
        return f"sessions from {self.first_session} to {self.last_session} were revised: {'; '.join(parts)}"


def subsequent_split_factors(raw_bars: RawBarFrame) -> Array:
    """(sessions,) shares that a share of each session has become by the last one."""
    return _product_of_later_splits(raw_bars["split"].to_numpy())


def _product_of_later_splits(split_ratios: Array) -> Array:
    since = np.cumprod(split_ratios[::-1])[::-1]
    return np.append(since[1:], 1.0)[: len(split_ratios)]


def undo_split_adjustment(split_adjusted_bars: RawBarFrame) -> RawBarFrame:
    """Return quotes from a table that is adjusted for all the splits in it, and for none that it lacks."""
    quotes = split_adjusted_bars.copy()
    later = subsequent_split_factors(split_adjusted_bars)
    for name in PER_SHARE_COLUMNS:
        quotes[name] = split_adjusted_bars[name] * later
    quotes["volume"] = split_adjusted_bars["volume"] / later
    return quotes


def adjust_for_splits_and_dividends(raw_bars: RawBarFrame, *, ticker: str) -> BarFrame:
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
    quoted = dict(zip(raw_bars.columns, raw_bars.to_numpy(dtype=np.float64).T, strict=True))
    close, split, dividend, gain = (quoted[name] for name in ("close", "split", "dividend", "capital_gain"))
    paid = np.where(dividend >= gain, dividend, dividend + gain)
    left = (close[:-1] / split[1:] - paid[1:]) / close[:-1]
    if (left <= 0).any():
        at = int(np.argmax(left <= 0)) + 1
        raise DataError(
            f"{ticker} {iso_date(raw_bars.index[at])}: a dividend of {paid[at]:g} on a close of {close[at - 1]:g} the session "
            "before; one of them is wrong: leave the ticker out, or begin after that day",
            key="data.start",
        )
    factor = np.append(np.cumprod(left[::-1])[::-1], 1.0)
    values = {name: quoted[name] for name in RAW_PRICE_COLUMNS}
    values["adj_close"] = close * factor[: len(close)]
    values["volume"] = quoted["volume"] * _product_of_later_splits(split)
    return pd.DataFrame(values, index=raw_bars.index)


def find_history_revision(old_bars: RawBarFrame, new_bars: RawBarFrame) -> HistoryRevision | None:
    """Return what `new` says otherwise about the span that both tell of, None if nothing."""
    before, after = _slice_to_date_range_of(old_bars, new_bars), _slice_to_date_range_of(new_bars, old_bars)
    both = before.index.intersection(after.index)
    differs = _changed_values_mask(
        before.loc[both], after.loc[both], subsequent_split_factors(new_bars)[new_bars.index.get_indexer(both)]
    )
    changed = both[np.flatnonzero(differs.any(axis=1))]
    gone, added = before.index.difference(after.index), after.index.difference(before.index)
    touched = changed.union(gone).union(added)
    if touched.empty:
        return None
    closes = before.loc[changed, "close"], after.loc[changed, "close"]
    return HistoryRevision(
        first_session=iso_date(touched[0]),
        last_session=iso_date(touched[-1]),
        n_changed_sessions=len(changed),
        n_removed_sessions=len(gone),
        n_added_sessions=len(added),
        changed_columns=tuple(np.array(RAW_BAR_COLUMNS)[differs.any(axis=0)].tolist()),
        max_relative_close_change=float((closes[1] / closes[0] - 1.0).abs().max()) if len(changed) else 0.0,
    )


def merge_raw_bars(old_bars: RawBarFrame, new_bars: RawBarFrame) -> RawBarFrame:
    """Return `old` with what `new` says about its own span; where they agree, to the digit as it was in `old`."""
    both = old_bars.index.intersection(new_bars.index)
    differs = _changed_values_mask(
        old_bars.loc[both], new_bars.loc[both], subsequent_split_factors(new_bars)[new_bars.index.get_indexer(both)]
    )
    same = both[np.flatnonzero(~differs.any(axis=1))]
    inside: RawBarFrame = new_bars.copy()
    inside.loc[same] = old_bars.loc[same]
    before, after = old_bars.loc[old_bars.index < new_bars.index[0]], old_bars.loc[old_bars.index > new_bars.index[-1]]
    together: RawBarFrame = pd.concat([before, inside, after])
    return together


def _slice_to_date_range_of(raw_bars: RawBarFrame, other_bars: RawBarFrame) -> RawBarFrame:
    """Return the quotes between another table's first session and its last."""
    found: RawBarFrame = raw_bars.loc[other_bars.index[0] : other_bars.index[-1]]
    return found


def _changed_values_mask(old_bars: RawBarFrame, new_bars: RawBarFrame, split_factors: Array) -> BoolArray:
    """(sessions, columns) where a value changed by more than rounding, `later` being the splits that were undone."""
    before, after = old_bars[list(RAW_BAR_COLUMNS)].to_numpy(), new_bars[list(RAW_BAR_COLUMNS)].to_numpy()
    relative = np.array(
        [VOLUME_RELATIVE_TOLERANCE if name == "volume" else PRICE_RELATIVE_TOLERANCE for name in RAW_BAR_COLUMNS]
    )
    rounding = np.outer(
        split_factors, [PRICE_ROUNDING if name in PER_SHARE_COLUMNS else 0.0 for name in RAW_BAR_COLUMNS]
    )
    rounding[:, RAW_BAR_COLUMNS.index("volume")] = np.maximum(1.0, 1.0 / split_factors)
    return np.asarray(np.abs(after - before) > relative * np.abs(before) + rounding)
