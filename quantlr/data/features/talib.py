"""TA-Lib's functions as features."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from quantlr.core.arrays import Array, BoolArray, FeatureColumns
from quantlr.core.values import Prices
from quantlr.data.features.base import Feature

INPUT_NAMES = ("open", "high", "low", "close", "volume")
INDEX_FUNCTIONS = ("MAXINDEX", "MININDEX", "MINMAXINDEX")
"""Functions that return positions in the array that they were given, which say nothing of a market."""
N_PROBE_BARS = 60
"""Bars beyond the warm-up on which a function is tried out."""

ParameterItems = tuple[tuple[str, float], ...]


class TALib(Feature):
    """A function of TA-Lib, with its own parameters beside `function`; needs the extra `ta`.

    Each ticker's bars are given to the function from the first that has all its inputs; recursions begin there. What it
    returns in units of the price (an average, a band, a range, MACD) is divided by the close: a level says nothing from
    one year to the next, and that of adjusted prices knows of dividends to come. Functions of the price whose value
    depends on the currency's unit otherwise (SIN, VAR, LINEARREG_ANGLE) and positions in an array (MAXINDEX) are
    refused. From a missing input on, the output is missing too.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": {
                "type": "number",
                "description": "A parameter of the function, like timeperiod. Unit: TA-Lib's; of periods, sessions.",
            }
        },
    )

    kind: Literal["talib"] = "talib"
    function: str = Field(
        min_length=1,
        max_length=40,
        description="Its name; its parameters are keys beside it.",
        examples=["ADX", "BBANDS"],
    )

    @model_validator(mode="before")
    @classmethod
    def _normalize_config(cls, raw_config: Any) -> Any:
        """Write the function's parameters out, and refuse what it does not take or can't be a feature."""
        if not isinstance(raw_config, dict) or not isinstance(raw_config.get("function"), str):
            return raw_config
        name = str(raw_config["function"]).upper()
        own = {key: value for key, value in raw_config.items() if key not in cls.model_fields}
        parameters = _complete_parameters(name, own)
        _price_unit_mask(name, tuple(parameters.items()))
        return {"kind": "talib", **raw_config, "function": name, **parameters}

    @classmethod
    def examples(cls) -> tuple[TALib, ...]:
        """Return an index of strength, bands in units of the price, a pattern, and one that needs volume."""
        return tuple(
            cls.model_validate(written)
            for written in (
                {"function": "ADX", "timeperiod": 5},
                {"function": "BBANDS", "timeperiod": 5, "nbdevup": 1.5},
                {"function": "CDLENGULFING"},
                {"function": "MFI", "timeperiod": 5},
            )
        )

    @property
    def parameters(self) -> dict[str, float]:
        """The function's parameters, in its order."""
        return dict(self.model_extra or {})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per output, as TA-Lib documents it; as a fraction of the close where it is in units of price."""
        function = _load_talib_function(self.function, self.parameters)
        relative = _price_unit_mask(self.function, tuple(self.parameters.items()))
        names = self._column_names(function.output_names)
        columns = {name: np.full(prices.close.shape, np.nan) for name in names}
        for ticker, bars in enumerate(prices.n_bars):
            inputs = {name: np.ascontiguousarray(getattr(prices, name)[:bars, ticker]) for name in INPUT_NAMES}
            for column, values in zip(columns.values(), _compute_outputs(function, inputs), strict=True):
                column[:bars, ticker] = values
        return {
            name: values / prices.close if of_price else values
            for (name, values), of_price in zip(columns.items(), relative, strict=True)
        }

    def warm_up(self) -> int:
        """What TA-Lib calls the function's lookback."""
        return int(_load_talib_function(self.function, self.parameters).lookback)

    def _column_names(self, output_names: list[str]) -> list[str]:
        parameters = "".join(f"_{value:g}" for value in self.parameters.values())
        several = len(output_names) > 1
        return [
            f"talib_{self.function.lower()}{f'_{output}' if several else ''}{parameters}" for output in output_names
        ]


def _load_talib_function(function_name: str, parameters: Mapping[str, float]) -> Any:
    """Return TA-Lib's function of that name.

    Raises
    ------
    ValueError : TA-Lib is not there, or has no such function.
    """
    try:
        from talib import abstract, get_functions
    except ImportError as error:
        raise ValueError("needs TA-Lib, which is not installed: pip install 'quantlr[ta]'") from error
    known = get_functions()
    if function_name not in known:
        near = get_close_matches(function_name, known, n=1)
        raise ValueError(f"TA-Lib has no function {function_name!r}{f'; did you mean {near[0]}?' if near else ''}")
    return abstract.Function(function_name, **parameters)


def _complete_parameters(function_name: str, given_parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return a function's parameters, its defaults filled in and each a number of the right sort."""
    found: dict[str, float] = dict(_load_talib_function(function_name, {}).parameters)
    for key, value in given_parameters.items():
        if key not in found:
            near = get_close_matches(key, found, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{key}: {function_name} takes {', '.join(found) or 'no parameters'}{guess}")
        whole = isinstance(found[key], int)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and not isinstance(value, int)):
            raise ValueError(f"{key}: needs a {'whole ' if whole else ''}number, found {value!r}")
        found[key] = int(value) if whole else float(value)
    return found


@lru_cache(maxsize=256)
def _price_unit_mask(function_name: str, parameters: ParameterItems) -> tuple[bool, ...]:
    """Return which of a function's outputs are in units of the price, tried out on prices and on twice the prices.

    Raises
    ------
    ValueError : it can't be a feature: its inputs are not prices, its parameters are out of range, or its outputs
        depend on the unit of the price in another way.
    """
    function = _load_talib_function(function_name, dict(parameters))
    foreign = [text for text in _input_names_of_function(function) if text not in INPUT_NAMES]
    if foreign or function_name in INDEX_FUNCTIONS:
        why = f"it needs {', '.join(foreign)}" if foreign else "its outputs are positions in an array"
        raise ValueError(f"{function_name} can't be a feature: {why}")
    try:
        inputs = _synthetic_bars(int(function.lookback) + N_PROBE_BARS)
        once = _compute_outputs(function, inputs)
        twice = _compute_outputs(function, {key: values * (1 + (key != "volume")) for key, values in inputs.items()})
    except Exception as error:
        written = ", ".join(f"{key} {value:g}" for key, value in parameters)
        raise ValueError(f"{function_name} does not take {written or 'these inputs'}: {error}") from error
    found = []
    for one, two in zip(once, twice, strict=True):
        there = np.isfinite(one)
        same, doubled = (np.allclose(two[there], one[there] * factor, rtol=1e-7, atol=1e-9) for factor in (1, 2))
        if not there.any() or not (same or doubled):
            raise ValueError(
                f"{function_name} can't be a feature: of a price, its value depends on the currency's unit"
            )
        found.append(bool(doubled and not same))
    return tuple(found)


def _input_names_of_function(talib_function: Any) -> list[str]:
    """Return the names of all inputs of a function, which TA-Lib lists one by one or in groups."""
    return [
        name for value in talib_function.input_names.values() for name in ([value] if isinstance(value, str) else value)
    ]


def _compute_outputs(talib_function: Any, inputs: Mapping[str, Array]) -> list[Array]:
    """Return a function's outputs, NaN before its warm-up is over and from a missing input on.

    TA-Lib itself returns 0 in the warm-up of whole numbers, and lets some recursions run past a NaN.
    """
    needed = np.stack([inputs[name] for name in _input_names_of_function(talib_function)])
    missing: BoolArray = np.asarray(np.isnan(needed).any(axis=0))
    bars = len(missing)
    first = int(np.argmin(missing)) if bars and not missing.all() else bars
    gone = np.flatnonzero(missing[first:])
    last = first + int(gone[0]) if len(gone) else bars
    outputs = [np.full(bars, np.nan) for _ in talib_function.output_names]
    begins = first + int(talib_function.lookback)
    if begins < last:
        given = talib_function({name: values[first:last] for name, values in inputs.items()})
        for output, values in zip(outputs, [given] if isinstance(given, np.ndarray) else given, strict=True):
            output[begins:last] = values[begins - first :]
    return outputs


def _synthetic_bars(n_bars: int) -> dict[str, Array]:
    """Return bars on which to try a function out: the same every time, rising and falling, never still."""
    at = np.arange(n_bars, dtype=np.float64)
    close = 50.0 + 5.0 * np.sin(at / 3.0) + 2.0 * np.sin(at * 1.7) + 0.01 * at
    opens = close + 0.4 * np.sin(at * 2.3)
    return {
        "open": opens,
        "high": np.maximum(opens, close) + 0.3 + 0.1 * np.sin(at),
        "low": np.minimum(opens, close) - 0.3 - 0.1 * np.cos(at),
        "close": close,
        "volume": 1000.0 + 300.0 * np.sin(at * 0.9),
    }


FEATURES: tuple[type[Feature], ...] = (TALib,)
