"""Keys of prices: two sets of prices overlap where they share a key.

The trials whose prices overlap are counted together, however their tickers are called.
"""

from __future__ import annotations

import hashlib

import numpy as np

from quantlr.core.values import Prices

MIN_MOVES_EACH_WAY = 12
"""Rises, and falls, of a quarter from which their order identifies the prices: that of daily bars of a stock does, not
that of weekly bars or of a fund that only rises."""


def price_overlap_keys(prices: Prices) -> tuple[int, ...]:
    """Return the sorted keys of the traded tickers, 64-bit signed integers.

    Each ticker has two keys for each calendar quarter with bars: one of its name, and, where there are
    `MIN_MOVES_EACH_WAY`, one of the directions of its moves from close to close, whatever its name and currency.
    Neither depends on adjustments, on rounding, or on the dates at which prices begin and end, but for the quarters in
    which they do.
    """
    sessions = prices.sessions.to_numpy().astype("datetime64[M]").astype(np.int64) // 3
    keys: set[int] = set()
    for column, ticker in enumerate(prices.tickers):
        bars = prices.session[:, column] >= 0
        quarter = sessions[prices.session[bars, column]]
        is_up = np.diff(prices.close[bars, column], prepend=np.nan) > 0
        starts = np.flatnonzero(np.diff(quarter, prepend=-(2**31)))
        for start, moves in zip(starts.tolist(), np.split(is_up, starts[1:]), strict=True):
            keys.add(_key("ticker", quarter[start], ticker.encode()))
            if min(moves.sum(), (~moves).sum()) >= MIN_MOVES_EACH_WAY:
                keys.add(_key("moves", quarter[start], np.packbits(moves).tobytes()))
    return tuple(sorted(keys))


def _key(kind: str, quarter: int, content: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8, person=f"{kind} {quarter}".encode()[:16])
    return int.from_bytes(digest.digest(), "big", signed=True)
