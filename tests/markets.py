"""The made-up markets that tests share."""

from __future__ import annotations

from quantlr.testing import ADVERSARIES, FUTURES, random_bars, random_walk, with_future

__all__ = ["ADVERSARIES", "FUTURES", "random_bars", "random_walk", "with_future"]
