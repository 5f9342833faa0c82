"""TA-Lib's functions as features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from quantlr.core.errors import did_you_mean_text
from quantlr.core.values import Array, BoolArray, FeatureColumns, Prices
from quantlr.data.features.base import Feature

INPUT_NAMES = ("open", "high", "low", "close", "volume")
INDEX_FUNCTIONS = ("MAXINDEX", "MININDEX", "MINMAXINDEX")
"""Functions that return positions in their input array, which are no features."""
N_PROBE_BARS = 60
"""Bars beyond the warm-up in the synthetic prices that determine a function's units."""

ParameterItems = tuple[tuple[str, float], ...]


class TALib(Feature):
    """A function of TA-Lib, with its own parameters beside `function`; needs the extra `ta`.

    The function is computed on each ticker's bars from the first that has all inputs, where recursions start. Outputs
    in units of the price (an average, a band, a range, MACD) are divided by the close: price levels are not comparable
    over time, and adjusted levels depend on later dividends. Functions whose value depends on the currency's unit in
    another way (SIN, VAR, LINEARREG_ANGLE) and positions in an array (MAXINDEX) are refused. After a missing input the
    output is missing.
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
        description="Name of the function; its parameters are keys beside it.",
        examples=["ADX", "BBANDS"],
    )

    @model_validator(mode="before")
    @classmethod
    def _normalize_config(cls, raw_config: Any) -> Any:
        """Fill in the function's default parameters; ValueError for unknown ones, or a function that is no feature."""
        if not isinstance(raw_config, dict) or not isinstance(raw_config.get("function"), str):
            return raw_config
        name = str(raw_config["function"]).upper()
        given = {key: value for key, value in raw_config.items() if key not in cls.model_fields}
        parameters = _parameters_with_defaults(name, given)
        _output_in_price_units_mask(name, tuple(parameters.items()))
        return {"kind": "talib", **raw_config, "function": name, **parameters}

    example_parameters = (
        {"function": "ADX", "timeperiod": 5},
        {"function": "BBANDS", "timeperiod": 5, "nbdevup": 1.5},
        {"function": "CDLENGULFING"},
        {"function": "MFI", "timeperiod": 5},
    )

    @property
    def parameters(self) -> dict[str, float]:
        """The function's parameters, in its order."""
        return dict(self.model_extra or {})

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column per output, as TA-Lib documents it; as a fraction of the close where it is in units of price."""
        function = _load_talib_function(self.function, self.parameters)
        in_price_units = _output_in_price_units_mask(self.function, tuple(self.parameters.items()))
        outputs = np.full((len(in_price_units), *prices.close.shape), np.nan)
        for ticker, bars in enumerate(prices.n_bars):
            inputs = {name: np.ascontiguousarray(getattr(prices, name)[:bars, ticker]) for name in INPUT_NAMES}
            outputs[:, :bars, ticker] = _compute_talib_outputs(function, inputs)
        suffix = "".join(f"_{value:g}" for value in self.parameters.values())
        columns: FeatureColumns = {}
        for output_name, values, is_price in zip(function.output_names, outputs, in_price_units, strict=True):
            name = f"{self.function.lower()}_{output_name}" if len(outputs) > 1 else self.function.lower()
            columns[f"talib_{name}{suffix}"] = values / prices.close if is_price else values
        return columns

    def warm_up(self) -> int:
        """The function's lookback in TA-Lib."""
        return int(_load_talib_function(self.function, self.parameters).lookback)


def _load_talib_function(function_name: str, parameters: Mapping[str, float]) -> Any:
    """Return TA-Lib's function of that name.

    Raises
    ------
    ValueError : TA-Lib is not installed, or has no such function.
    """
    try:
        from talib import abstract, get_functions
    except ImportError as error:
        raise ValueError("needs TA-Lib, which is not installed: pip install 'quantlr[ta]'") from error
    names = get_functions()
    if function_name not in names:
        raise ValueError(f"TA-Lib has no function {function_name!r}{did_you_mean_text(function_name, names)}")
    return abstract.Function(function_name, **parameters)


def _parameters_with_defaults(function_name: str, given_parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return all parameters of a function, defaults filled in; ValueError for an unknown name or a wrong type."""
    parameters: dict[str, float] = dict(_load_talib_function(function_name, {}).parameters)
    for key, value in given_parameters.items():
        if key not in parameters:
            names = ", ".join(parameters) or "no parameters"
            raise ValueError(f"{key}: {function_name} takes {names}{did_you_mean_text(key, parameters)}")
        number_type = int if isinstance(parameters[key], int) else float
        if isinstance(value, bool) or not isinstance(value, (int, number_type)):
            raise ValueError(f"{key}: needs a {'whole ' if number_type is int else ''}number, found {value!r}")
        parameters[key] = number_type(value)
    return parameters


@lru_cache(maxsize=256)
def _output_in_price_units_mask(function_name: str, parameters: ParameterItems) -> tuple[bool, ...]:
    """Return which outputs are in units of the price, by computing them on synthetic prices and on twice those.

    Raises
    ------
    ValueError : the function can't be a feature: its inputs are not prices, its parameters are out of range, or its
        outputs depend on the currency's unit in another way.
    """
    function = _load_talib_function(function_name, dict(parameters))
    other_inputs = [name for name in _talib_input_names(function) if name not in INPUT_NAMES]
    if other_inputs or function_name in INDEX_FUNCTIONS:
        reason = f"it needs {', '.join(other_inputs)}" if other_inputs else "its outputs are positions in an array"
        raise ValueError(f"{function_name} can't be a feature: {reason}")
    try:
        bars = _synthetic_bars(int(function.lookback) + N_PROBE_BARS)
        outputs = _compute_talib_outputs(function, bars)
        doubled_bars = {name: values * (1 if name == "volume" else 2) for name, values in bars.items()}
        outputs_of_doubled = _compute_talib_outputs(function, doubled_bars)
        outputs_of_split = _compute_talib_outputs(function, {**bars, "volume": 2 * bars["volume"]})
    except Exception as error:
        values = ", ".join(f"{key} {value:g}" for key, value in parameters)
        raise ValueError(f"{function_name} does not take {values or 'these inputs'}: {error}") from error
    known = np.isfinite(outputs)
    is_same, is_doubled = (
        (np.isclose(outputs_of_doubled, outputs * factor, rtol=1e-7, atol=1e-9) | ~known).all(axis=1)
        for factor in (1, 2)
    )
    if not (known.any(axis=1) & (is_same | is_doubled)).all():
        raise ValueError(f"{function_name} can't be a feature: of a price, its value depends on the currency's unit")
    if not np.allclose(outputs_of_split[known], outputs[known], rtol=1e-7, atol=1e-9):
        raise ValueError(
            f"{function_name} can't be a feature: its value depends on the level of volume, and so on later splits"
        )
    return tuple(np.asarray(is_doubled & ~is_same).tolist())


def _talib_input_names(function: Any) -> list[str]:
    """Return the names of all inputs of one of TA-Lib's functions, which it lists singly or in groups."""
    return [name for names in function.input_names.values() for name in ([names] if isinstance(names, str) else names)]


def _compute_talib_outputs(talib_function: Any, inputs: Mapping[str, Array]) -> Array:
    """Return a function's (outputs, bars), NaN during the warm-up and from a missing input on.

    TA-Lib itself returns 0 during the warm-up of integer outputs, and continues some recursions after a NaN.
    """
    inputs_used = np.stack([inputs[name] for name in _talib_input_names(talib_function)])
    missing: BoolArray = np.asarray(np.isnan(inputs_used).any(axis=0))
    n_bars = len(missing)
    first = next(iter(np.flatnonzero(~missing)), n_bars)
    stop = next(iter(first + np.flatnonzero(missing[first:])), n_bars)
    outputs = np.full((len(talib_function.output_names), n_bars), np.nan)
    output_start = first + int(talib_function.lookback)
    if output_start < stop:
        results = np.atleast_2d(talib_function({name: values[first:stop] for name, values in inputs.items()}))
        outputs[:, output_start:stop] = results[:, output_start - first :]
    return outputs


def _synthetic_bars(n_bars: int) -> dict[str, Array]:
    """Return deterministic bars whose price rises and falls and changes at every bar."""
    bar = np.arange(n_bars, dtype=np.float64)
    close = 50.0 + 5.0 * np.sin(bar / 3.0) + 2.0 * np.sin(bar * 1.7) + 0.01 * bar
    opens = close + 0.4 * np.sin(bar * 2.3)
    return {
        "open": opens,
        "high": np.maximum(opens, close) + 0.3 + 0.1 * np.sin(bar),
        "low": np.minimum(opens, close) - 0.3 - 0.1 * np.cos(bar),
        "close": close,
        "volume": 1000.0 + 300.0 * np.sin(bar * 0.9),
    }


FEATURES: tuple[type[Feature], ...] = (TALib,)
