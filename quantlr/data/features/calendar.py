"""Features of the date alone: the day of the week, the month.

A number from 0 to 4 would tell a linear model that Friday is four times Tuesday. A day of the week gets a column of its
own, 0 or 1, less one day that the intercept stands for: what a Monday does says nothing of a Tuesday, and each day has
two hundred rows in four years. Eleven such columns for months have eighty rows each and little to learn from; a season
comes and goes, so its sine and cosine say it in two.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from quantlr.core.annotations import ChoiceDescriptions
from quantlr.core.arrays import Array, FeatureColumns
from quantlr.core.values import Prices
from quantlr.data.features.base import Feature, require_unique

DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TRADING_DAY_NAMES = frozenset(DAY_NAMES[:5])
MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
DayName = Annotated[
    Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
    ChoiceDescriptions({day: f"a column that is 1 on a {day.title()}" for day in DAY_NAMES}),
]
MonthEncoding = Annotated[
    Literal["wave", "levels"],
    ChoiceDescriptions(
        {"wave": "a sine and a cosine through the year", "levels": "a column each from February to December"}
    ),
]


class DayOfWeek(Feature):
    """Whether the session that has just closed was of a day of the week: after a Friday, a forecast spans a weekend."""

    kind: Literal["day_of_week"] = "day_of_week"
    days: tuple[DayName, ...] = Field(
        ("tuesday", "wednesday", "thursday", "friday"),
        min_length=1,
        description="Days with a column each; the intercept stands for those left out.",
    )

    _require_unique = field_validator("days")(require_unique)

    @field_validator("days")
    @classmethod
    def _reject_all_trading_days(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        if set(days) >= TRADING_DAY_NAMES:
            raise ValueError("leave one day out: columns of all days add up to 1, which is what the intercept is")
        return days

    @classmethod
    def examples(cls) -> tuple[DayOfWeek, ...]:
        """Return the default, and the ends of the week."""
        return (cls(), cls(days=("monday", "friday")))

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per day: 1 on that day, 0 on others."""
        found = _session_numbers_to_bars(prices, prices.sessions.day_of_week.to_numpy())
        return {f"day_of_week_{name}": _dummy_column(found, DAY_NAMES.index(name)) for name in self.days}

    def warm_up(self) -> int:
        """None."""
        return 0


class Month(Feature):
    """The month of the session that has just closed, as a wave through the year or as a column per month."""

    kind: Literal["month"] = "month"
    encoding: MonthEncoding = Field("wave", description="How a month is told to the model.")

    @classmethod
    def examples(cls) -> tuple[Month, ...]:
        """Return both encodings."""
        return (cls(), cls(encoding="levels"))

    def compute(self, prices: Prices) -> FeatureColumns:
        """From -1 to 1, the cosine highest in January and the sine in April; or 1 in a month and 0 in others."""
        found = _session_numbers_to_bars(prices, prices.sessions.month.to_numpy())
        if self.encoding == "levels":
            return {f"month_{name}": _dummy_column(found, at) for at, name in enumerate(MONTH_NAMES[1:], start=2)}
        angle = (found - 1.0) * (2.0 * math.pi / 12.0)
        return {"month_sine": np.sin(angle), "month_cosine": np.cos(angle)}

    def warm_up(self) -> int:
        """None."""
        return 0


def _session_numbers_to_bars(prices: Prices, session_numbers: np.ndarray) -> Array:
    """Return a number of each session as that of each bar, NaN below a ticker's last bar."""
    return np.where(prices.session >= 0, session_numbers[np.maximum(prices.session, 0)].astype(np.float64), np.nan)


def _dummy_column(values: Array, category: int) -> Array:
    return np.where(np.isnan(values), np.nan, values == category)


FEATURES: tuple[type[Feature], ...] = (DayOfWeek, Month)
