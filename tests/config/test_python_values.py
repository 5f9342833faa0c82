"""Configs as mappings and overrides with values of NumPy and pandas: the same config as from YAML's values."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.config.loader import copy_nested
from quantlr.core.errors import ConfigError
from quantlr.sweeps.grid import load_sweep

PLAIN: dict[str, Any] = {
    "name": "values",
    "seed": 3,
    "data": {"source": {"kind": "sample"}, "tickers": ["AAPL", "MSFT"], "start": "2001-01-02", "end": "2004-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2, 3]}],
    "walk_forward": {"train": 250},
    "policy": {"kind": "threshold", "long_above": 0.5},
    "report": {"per_ticker": True},
}
VALUES: dict[str, list[Any]] = {
    "seed": [np.int64(3), np.uint8(3), pd.Series([3]).iloc[0], np.array(3)],
    "data.tickers": [
        np.array(["AAPL", "MSFT"]), pd.Index(["AAPL", "MSFT"]), pd.Series(["AAPL", "MSFT"]), ("AAPL", np.str_("MSFT")),
        pd.array(["AAPL", "MSFT"], dtype="string"),
    ],
    "data.start": [
        pd.Timestamp("2001-01-02"), np.datetime64("2001-01-02"), dt.datetime(2001, 1, 2), dt.date(2001, 1, 2),  # noqa: DTZ001
        pd.Timestamp("2001-01-02", tz="America/New_York"), pd.to_datetime(["2001-01-02"])[0],
        np.array(["2001-01-02"], dtype="datetime64[D]")[0],
    ],
    "data.end": [pd.date_range("2004-12-01", "2004-12-31")[-1]],
    "features.0.lags": [np.arange(1, 4), range(1, 4), pd.RangeIndex(1, 4), pd.Series([1, 2, 3]), [np.int32(1), 2, 3]],
    "walk_forward.train": [np.int16(250)],
    "policy.long_above": [np.float64(0.5), np.float32(0.5), np.array(0.5)],
    "report.per_ticker": [np.bool_(True), pd.Series([True]).iloc[0]],
}  # fmt: skip
CASES = [(key, value) for key, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("key", "value"), CASES, ids=lambda value: f"{type(value).__name__}")
def test_value_is_read_as_the_python_value(key: str, value: Any) -> None:
    expected = quantlr.load_config(PLAIN).run
    by_override = quantlr.load_config(PLAIN, overrides={key: value}).run
    assert by_override == expected
    assert by_override.to_yaml() == expected.to_yaml()
    section, *rest = key.split(".")
    if len(rest) < 2:
        nested = {**PLAIN, section: {**PLAIN[section], rest[0]: value} if rest else value}
        assert quantlr.load_config(nested).run == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.end", pd.Timestamp("2004-12-31 10:00"), "data.end: needs a date as YYYY-MM-DD, found 2004-12-31 10:00"),
        ("data.end", pd.NaT, "data.end: needs a date as YYYY-MM-DD, found NaT"),
        ("data.end", np.datetime64("NaT", "D"), "data.end: needs a date as YYYY-MM-DD, found NaT"),
        ("policy.long_above", np.float64("nan"), "policy.long_above: needs a finite number, found nan"),
        ("policy.long_above", pd.NA, "policy.long_above: needs a number, found <NA>"),
        ("walk_forward.train", np.float64(2.5), "walk_forward.train: needs a whole number"),
        ("features.0.lags", np.array([1.5, 2.0]), "features.0.lags.0: needs a whole number, found 1.5"),
    ],
)  # fmt: skip
def test_value_that_is_none_is_refused_as_from_yaml(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        quantlr.load_config(PLAIN, overrides={key: value})
    assert f"overrides: {message}" in caught.value.message


def test_grid_of_a_sweep_takes_them_too() -> None:
    grid = {"walk_forward.train": np.arange(200, 401, 100), "policy.long_above": np.linspace(0.5, 0.75, 2)}
    sweep = load_sweep({"base": PLAIN, "grid": grid}, overrides={"data.end": pd.Timestamp("2003-12-31")})
    config = sweep.trial_config(5).run
    assert (config.walk_forward.train, config.policy.model_dump()["long_above"]) == (400, 0.75)
    assert config.data.end == dt.date(2003, 12, 31)
    assert {type(value) for axis in sweep.axes for value in axis.values} == {int, float}


def test_copy_is_deep_and_keeps_other_objects() -> None:
    other = object()
    value = {"a": [np.array([[1, 2], [3, 4]]), {"b": other}], 3: None}
    copied = copy_nested(value)
    assert copied == {"a": [[[1, 2], [3, 4]], {"b": other}], "3": None}
    copied["a"][1]["b"] = None
    assert value["a"][1]["b"] is other  # type: ignore[index]
