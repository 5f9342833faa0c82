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

from quantlr.types.arrays import Array, BoolArray, FeatureColumns, IntArray, Float32Array
from quantlr.types.messages import Note, Progress, ProgressCounter, Told, iso_date, ignore_progress
from quantlr.types.parts import (
    ConfigRelativePath,
    StrictFloat,
    Component,
    ConfigSection,
    StrictInt,
    resolve_config_path,
    installed_kinds,
    component_kind,
    load_installed_component,
    component_union,
)
from quantlr.types.timing import (
    NOT_YET_KNOWN,
    first_forecast_row,
    label_cutoff_row,
    label_known_row,
    last_training_row,
    latest_known_bar_index,
)
from quantlr.types.values import (
    MAX_STALE_OPEN_FRACTION,
    BacktestResult,
    RunData,
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
from quantlr.types.wording import (
    ENUM_DESCRIPTIONS_KEY,
    UNIT_KEY,
    ChoiceDescriptions,
    Unit,
    to_inline_yaml,
    append_units,
    units_and_choice_descriptions,
)

__all__ = [
    "ENUM_DESCRIPTIONS_KEY",
    "NOT_YET_KNOWN",
    "MAX_STALE_OPEN_FRACTION",
    "UNIT_KEY",
    "Array",
    "BacktestResult",
    "BoolArray",
    "FeatureColumns",
    "ConfigRelativePath",
    "RunData",
    "Dataset",
    "Fold",
    "Folds",
    "Forecasts",
    "IntArray",
    "Labels",
    "ChoiceDescriptions",
    "Note",
    "StrictFloat",
    "Component",
    "Positions",
    "Prices",
    "Progress",
    "Refits",
    "Report",
    "Float32Array",
    "ConfigSection",
    "ProgressCounter",
    "Told",
    "Unit",
    "StrictInt",
    "resolve_config_path",
    "iso_date",
    "first_forecast_row",
    "to_inline_yaml",
    "installed_kinds",
    "component_kind",
    "label_cutoff_row",
    "label_known_row",
    "last_training_row",
    "load_installed_component",
    "latest_known_bar_index",
    "ignore_progress",
    "component_union",
    "append_units",
    "units_and_choice_descriptions",
]
