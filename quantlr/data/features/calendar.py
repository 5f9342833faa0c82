"""Features of the date: day of the week and month.

A day of the week is encoded by dummy columns, one per day less the day that the intercept stands for: a number from 0
to 4 would make the effect of Friday four times that of Tuesday, and each day has two hundred rows in four years. A
dummy per month has only eighty rows in four years, so the default is a sine and a cosine of the month.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import AfterValidator, Field

from quantlr.core.components import ChoiceDescriptions
from quantlr.core.values import Array, FeatureColumns, IntArray, Prices
from quantlr.data.features.base import Feature, require_unique

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAY_NAMES: tuple[str, ...] = get_args(Day)
TRADING_DAY_NAMES = frozenset(DAY_NAMES[:5])
MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
DayName = Annotated[Day, ChoiceDescriptions({day: f"a column that is 1 on a {day.title()}" for day in DAY_NAMES})]
MonthEncoding = Annotated[
    Literal["wave", "levels"],
    ChoiceDescriptions(
        {"wave": "a sine and a cosine through the year", "levels": "a column each from February to December"}
    ),
]


def _require_valid_days(days: tuple[str, ...]) -> tuple[str, ...]:
    if set(require_unique(days)) >= TRADING_DAY_NAMES:
        raise ValueError("leave one day out: the columns of all days add up to the intercept")
    return days


class DayOfWeek(Feature):
    """Day of the week of the session that has just closed, as dummy columns."""

    kind: Literal["day_of_week"] = "day_of_week"
    days: Annotated[tuple[DayName, ...], Field(min_length=1), AfterValidator(_require_valid_days)] = Field(
        ("tuesday", "wednesday", "thursday", "friday"),
        description="Days with a column each; the intercept stands for those left out.",
    )

    example_parameters = ({}, {"days": ("monday", "friday")})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per day: 1 on that day, 0 on others."""
        day = _session_numbers_to_bars(prices, prices.sessions.day_of_week.to_numpy())
        return {f"day_of_week_{name}": _dummy_column(day, DAY_NAMES.index(name)) for name in self.days}

    def warm_up(self) -> int:
        """None."""
        return 0


class Month(Feature):
    """Month of the session that has just closed, as a sine and a cosine or as a dummy column per month."""

    kind: Literal["month"] = "month"
    encoding: MonthEncoding = Field("wave", description="How the month is encoded.")

    example_parameters = ({}, {"encoding": "levels"})

    def compute(self, prices: Prices) -> FeatureColumns:
        """From -1 to 1, the cosine highest in January and the sine in April; or 1 in a month and 0 in others."""
        month = _session_numbers_to_bars(prices, prices.sessions.month.to_numpy())
        if self.encoding == "levels":
            return {f"month_{name}": _dummy_column(month, n) for n, name in enumerate(MONTH_NAMES[1:], start=2)}
        angle = (month - 1.0) * (2.0 * math.pi / 12.0)
        return {"month_sine": np.sin(angle), "month_cosine": np.cos(angle)}

    def warm_up(self) -> int:
        """None."""
        return 0


def _session_numbers_to_bars(prices: Prices, session_numbers: IntArray) -> Array:
    """Return (sessions,) numbers as (bars, tickers), NaN after a ticker's last bar."""
    return np.where(prices.session >= 0, session_numbers[np.maximum(prices.session, 0)].astype(np.float64), np.nan)


def _dummy_column(values: Array, category: int) -> Array:
    return np.where(np.isnan(values), np.nan, values == category)


FEATURES: tuple[type[Feature], ...] = (DayOfWeek, Month)
