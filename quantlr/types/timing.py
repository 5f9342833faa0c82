"""The timing rule: which row knows what. The whole of it stands in the docstring of `quantlr.types`."""

from __future__ import annotations

import numpy as np

NEVER = np.iinfo(np.int64).max
"""Position of a session that has not come yet."""


def known_row(row: int, *, horizon: int) -> int:
    """Return the row at whose close the label of `row` is known."""
    return row + horizon


def known_in_time(row: int, *, embargo: int = 0) -> int:
    """Return the newest row at whose close a label may become known that trains a model which forecasts `row`."""
    return row - embargo


def last_trainable(row: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the newest row whose label may train a model that forecasts `row`."""
    return known_in_time(row, embargo=embargo) - horizon


def first_forecast(train: int, *, horizon: int, embargo: int = 0) -> int:
    """Return the first row that a model trained on rows 0 to `train` - 1 may forecast."""
    return train - 1 + horizon + embargo
