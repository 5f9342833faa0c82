"""Raw prices, as quoted on the day, with dividends and splits; adjustment for them, and comparison of two versions.

A raw price never changes, while a price adjusted for splits changes with every later split. Raw prices are therefore
cached and compared, and adjusted when they are used.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.core.errors import DataError
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BoolArray
from quantlr.data.csv.reader import BarFrame

RawBarFrame = pd.DataFrame
"""One ticker's raw bars: index of dates without time zone, ascending, unique.

Columns open, high, low and close in the quote's currency; volume in shares of that day; dividend and capital_gain per
share of that day, from which it first trades without them; split, new shares per old share, 1 on most days.
"""

RAW_PRICE_COLUMNS = ("open", "high", "low", "close")
PER_SHARE_COLUMNS = (*RAW_PRICE_COLUMNS, "dividend", "capital_gain")
RAW_BAR_COLUMNS = (*RAW_PRICE_COLUMNS, "volume", "dividend", "capital_gain", "split")

PRICE_ROUNDING = 1e-6
"""Absolute change of a split-adjusted price that is due to the vendor's rounding."""
PRICE_RELATIVE_TOLERANCE = 1e-6
"""Relative change of a price that is due to single precision and is no revision."""
VOLUME_RELATIVE_TOLERANCE = 1e-3
"""Relative change of a volume that is no revision: volumes are corrected slightly for days."""


@dataclass(frozen=True, slots=True)
class HistoryRevision:
    """Differences between a newer and an older version of the sessions that both cover.

    Attributes
    ----------
    first, last : the first and the last session that differ.
    sessions : number of sessions that changed, were removed or were added.
    text : one sentence on them.
    """

    first: dt.date
    last: dt.date
    sessions: int
    text: str


def subsequent_split_factors(split_ratios: Array) -> Array:
    """Return the number of shares that a share of each session has become by the last session, (sessions,)."""
    factors = np.cumprod(split_ratios[::-1])[::-1]
    return np.append(factors[1:], 1.0)[: len(split_ratios)]


def undo_split_adjustment(split_adjusted_bars: RawBarFrame) -> RawBarFrame:
    """Return raw bars from bars that are adjusted for exactly the splits among them."""
    raw_bars = split_adjusted_bars.copy()
    factors = subsequent_split_factors(split_adjusted_bars["split"].to_numpy())
    for name in PER_SHARE_COLUMNS:
        raw_bars[name] *= factors
    raw_bars["volume"] /= factors
    return raw_bars


def with_adjusted_close_and_volume(raw_bars: RawBarFrame, *, ticker: str) -> BarFrame:
    """Return bars with `adj_close` adjusted for splits and dividends and with volume adjusted for splits.

    With c the raw close, s the split and d the dividend of a session, the factor of the last session is 1 and

        factor[t-1] = factor[t] * (c[t-1] / s[t] - d[t]) / c[t-1]

    that is, the close without the dividend, in shares of the next session: the multipliers of the Center for Research
    in Security Prices, as Yahoo describes its adjusted close ("What is the adjusted close?", help page SLN28256). Yahoo
    includes a fund's capital gain in the dividend of its day; where the dividend is smaller than the gain, the gain is
    added.

    Raises
    ------
    DataError : a dividend is larger than the price of the share.
    """
    # One conversion of the whole table: with hundreds of tickers, selecting columns takes most of the time.
    columns = dict(zip(raw_bars.columns, raw_bars.to_numpy(dtype=np.float64).T, strict=True))
    close, split, dividend, gain = (columns[name] for name in ("close", "split", "dividend", "capital_gain"))
    paid = np.where(dividend >= gain, dividend, dividend + gain)
    with np.errstate(divide="ignore", invalid="ignore"):  # a close of 0 is refused with the other prices
        ratios = (close[:-1] / split[1:] - paid[1:]) / close[:-1]
    if (ratios <= 0).any():
        index = int(np.argmax(ratios <= 0)) + 1
        amounts = f"a dividend of {paid[index]:g} on a close of {close[index - 1]:g} the session before"
        advice = "one of them is wrong: leave the ticker out, or begin after that day"
        text = f"{ticker} {iso_date(raw_bars.index[index])}: {amounts}; {advice}"
        raise DataError(text, key="data.start")
    factors = np.append(np.cumprod(ratios[::-1])[::-1], 1.0)
    values = {name: columns[name] for name in RAW_PRICE_COLUMNS}
    values["adj_close"] = close * factors[: len(close)]
    values["volume"] = columns["volume"] * subsequent_split_factors(split)
    return pd.DataFrame(values, index=raw_bars.index)


def find_history_revision(old_bars: RawBarFrame, new_bars: RawBarFrame) -> HistoryRevision | None:
    """Return how `new_bars` differ from `old_bars` on the sessions that both cover, None if they do not."""
    common, differs = _common_dates_and_changes(old_bars, new_bars)
    changed = common[np.flatnonzero(differs.any(axis=1))]
    # Sessions of one version between the first and the last session of the other, which lacks them.
    removed = old_bars.loc[new_bars.index[0] : new_bars.index[-1]].index.difference(common)
    added = new_bars.loc[old_bars.index[0] : old_bars.index[-1]].index.difference(common)
    sessions = changed.union(removed).union(added)
    if sessions.empty:
        return None
    parts = []
    if len(changed):
        columns = np.array(RAW_BAR_COLUMNS)[differs.any(axis=0)].tolist()
        parts.append(f"{', '.join(columns)} of {len(changed)} changed")
        if "close" in columns:
            change = float((new_bars.loc[changed, "close"] / old_bars.loc[changed, "close"] - 1.0).abs().max())
            parts[0] += f", closes by up to {change:.2%}"
    parts += [f"{len(dates)} {verb}" for dates, verb in ((removed, "removed"), (added, "added")) if len(dates)]
    first, last = sessions[0].date(), sessions[-1].date()
    text = f"sessions from {first} to {last} were revised: {'; '.join(parts)}"
    return HistoryRevision(first, last, len(sessions), text)


def merge_raw_bars(old_bars: RawBarFrame, new_bars: RawBarFrame) -> RawBarFrame:
    """Return `old_bars` replaced by `new_bars` where these cover them; where both agree, to the old digit."""
    common, differs = _common_dates_and_changes(old_bars, new_bars)
    unchanged = common[np.flatnonzero(~differs.any(axis=1))]
    covered: RawBarFrame = new_bars.copy()
    covered.loc[unchanged] = old_bars.loc[unchanged]
    before, after = old_bars.loc[old_bars.index < new_bars.index[0]], old_bars.loc[old_bars.index > new_bars.index[-1]]
    merged: RawBarFrame = pd.concat([before, covered, after])
    return merged


def _common_dates_and_changes(old_bars: RawBarFrame, new_bars: RawBarFrame) -> tuple[pd.Index[pd.Timestamp], BoolArray]:
    """Return the sessions in both versions, and where a value changed by more than rounding, (sessions, columns)."""
    common = old_bars.index.intersection(new_bars.index)
    columns = list(RAW_BAR_COLUMNS)
    old, new = old_bars.loc[common, columns].to_numpy(), new_bars.loc[common, columns].to_numpy()
    factors = subsequent_split_factors(new_bars["split"].to_numpy())[new_bars.index.get_indexer(common)]
    relative = np.full(len(columns), PRICE_RELATIVE_TOLERANCE)
    relative[columns.index("volume")] = VOLUME_RELATIVE_TOLERANCE
    # A split-adjusted price is rounded, and undoing the adjustment multiplies the rounding.
    rounding = np.outer(factors, [PRICE_ROUNDING if name in PER_SHARE_COLUMNS else 0.0 for name in columns])
    rounding[:, columns.index("volume")] = np.maximum(1.0, 1.0 / factors)
    return common, np.asarray(np.abs(new - old) > relative * np.abs(old) + rounding)
