"""The policy `threshold` as a strategy of backtesting.py, in a module of its own, where its processes find it."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from backtesting import Strategy


class Threshold(Strategy):  # type: ignore[misc]  # it has no types
    """Long while the probability of a bar is above a level, flat otherwise."""

    level = 0.5

    def init(self) -> None:
        """Have nothing to prepare."""

    def next(self) -> None:
        """Enter or leave at the next open."""
        up = self.data.Probability[-1] > self.level
        if up and not self.position:
            self.buy()
        elif not up and self.position:
            self.position.close()
