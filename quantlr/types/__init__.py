"""The values that flow from prices to a report, and the one timing rule. Read this first.

The timing rule
---------------
Row t is what is known at the close of session t. Lag 1 is the return of session t itself, the newest that is known;
lag k is k - 1 sessions older. The label of row t says whether the close of t + h is above the close of t, h being the
`horizon`, and is known at the close of t + h (`known_row`). A row may train a model that forecasts row t only if its
own label is known at t's close (`last_trainable`). The purge, the scaling window and the first forecast all follow
from that one horizon; nobody types a second date.

Rows count a ticker's own bars: where a ticker did not trade, it has no row. Of a context ticker, which is fetched but
not traded, row t knows the bars of its own date and of older ones (`newest_known`).
"""

from __future__ import annotations

from quantlr.types.arrays import Array, BoolArray, Columns, IntArray, SingleArray
from quantlr.types.messages import Note, Progress, Tally, Told, day, no_progress
from quantlr.types.parts import (
    ConfigPath,
    Number,
    Part,
    Spec,
    Whole,
    beside_the_config,
    installed,
    kind_named,
    load_installed,
    one_of,
)
from quantlr.types.timing import NEVER, first_forecast, known_in_time, known_row, last_trainable, newest_known
from quantlr.types.values import (
    STALE_OPENS,
    BacktestResult,
    Course,
    Dataset,
    Fold,
    Folds,
    Forecasts,
    Labels,
    Positions,
    Prices,
    Refits,
    Report,
)
from quantlr.types.wording import MEANINGS, UNIT, Meanings, Unit, flow, with_unit, words_of

__all__ = [
    "MEANINGS",
    "NEVER",
    "STALE_OPENS",
    "UNIT",
    "Array",
    "BacktestResult",
    "BoolArray",
    "Columns",
    "ConfigPath",
    "Course",
    "Dataset",
    "Fold",
    "Folds",
    "Forecasts",
    "IntArray",
    "Labels",
    "Meanings",
    "Note",
    "Number",
    "Part",
    "Positions",
    "Prices",
    "Progress",
    "Refits",
    "Report",
    "SingleArray",
    "Spec",
    "Tally",
    "Told",
    "Unit",
    "Whole",
    "beside_the_config",
    "day",
    "first_forecast",
    "flow",
    "installed",
    "kind_named",
    "known_in_time",
    "known_row",
    "last_trainable",
    "load_installed",
    "newest_known",
    "no_progress",
    "one_of",
    "with_unit",
    "words_of",
]
