"""For the test suite of whoever writes a feature of their own: the contract that the catalogue's features meet.

>>> from quantlr.testing import check_feature
>>> from quantlr.data.features import Momentum
>>> check_feature(Momentum(windows=(5, 20)))
"""

from __future__ import annotations

from quantlr.testing.contract import CHECKS, check_feature
from quantlr.testing.markets import ADVERSARIES, FUTURES, alone, halted, random_bars, random_walk, with_future

__all__ = [
    "ADVERSARIES",
    "CHECKS",
    "FUTURES",
    "alone",
    "check_feature",
    "halted",
    "random_bars",
    "random_walk",
    "with_future",
]
