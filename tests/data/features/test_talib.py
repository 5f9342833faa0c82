"""TA-Lib's functions as features: the contract for all of them, error_text functions, and missing inputs."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import talib
from pydantic import ValidationError
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.errors import ConfigError
from quantlr.core.values import Array
from quantlr.data.features.talib import TALib

from markets import random_walk_prices

REFUSED_FUNCTIONS = {
    "MAXINDEX", "MININDEX", "MINMAXINDEX", "MAVP", "ACOS", "ASIN", "ATAN", "CEIL", "COS", "COSH", "EXP", "FLOOR", "LN",
    "LOG10", "SIN", "SINH", "SQRT", "TAN", "TANH", "MULT", "LINEARREG_ANGLE", "VAR",
    "AD", "ADOSC", "EFI", "MARKETFI", "OBV", "PVT",
}  # fmt: skip


def config(**parameters: Any) -> RunConfig:
    return load_config(
        {"data": {"source": {"kind": "sample"}, "tickers": ["IBM"]}, "features": [{"kind": "talib", **parameters}]}
    ).run


def error_text(**parameters: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**parameters)
    return caught.value.problems[0]


def test_every_accepted_function_is_free_of_look_ahead_and_of_the_currency() -> None:
    prices = random_walk_prices(5, n_sessions=220)
    scaled_prices = replace(
        prices, **{name: getattr(prices, name) * 128.0 for name in ("open", "high", "low", "close")}
    )
    n_accepted = 0
    for name in talib.get_functions():
        try:
            feature = TALib.model_validate({"function": name})
        except ValidationError as error:
            assert "can't be a feature" in str(error)
            assert name in REFUSED_FUNCTIONS
            continue
        n_accepted += 1
        columns, truncated, scaled = (
            feature.compute(bars) for bars in (prices, prices.before_session(150), scaled_prices)
        )
        first = feature.warm_up()
        for column, values in columns.items():
            assert np.isnan(values[:first]).all()
            assert np.isfinite(values[first:]).all(), column
            np.testing.assert_allclose(truncated[column][:150], values[:150], rtol=1e-9, atol=1e-9, err_msg=column)
            np.testing.assert_allclose(scaled[column], values, rtol=1e-9, atol=1e-9, err_msg=column)
    assert n_accepted > 120


def test_values_equal_talib_on_a_single_ticker() -> None:
    prices = random_walk_prices(6, n_sessions=120, n_tickers=2, with_gaps=True)
    bars = int(prices.n_bars[1])
    high, low, close = (getattr(prices, name)[:bars, 1].copy() for name in ("high", "low", "close"))
    values = TALib.model_validate({"function": "adx", "timeperiod": 9}).compute(prices)["talib_adx_9"][:bars, 1]
    np.testing.assert_allclose(values, talib.ADX(high, low, close, 9), rtol=1e-12)
    bands = TALib.model_validate({"function": "BBANDS", "timeperiod": 7}).compute(prices)
    assert list(bands) == [f"talib_bbands_{name}band_7_2_2_0" for name in ("upper", "middle", "lower")]
    for values, theirs in zip(bands.values(), talib.BBANDS(close, 7, 2.0, 2.0), strict=True):
        np.testing.assert_allclose(values[:bars, 1], theirs / close, rtol=1e-9)


def test_integer_outputs_are_missing_during_the_warm_up() -> None:
    prices = random_walk_prices(7, n_sessions=60)
    feature = TALib.model_validate({"function": "CDLDOJI"})
    values = feature.compute(prices)["talib_cdldoji"][:, 0]
    assert np.isnan(values[: feature.warm_up()]).all()
    assert set(values[feature.warm_up() :]) <= {-100.0, 0.0, 100.0}
    assert feature.warm_up() == 10


@pytest.mark.parametrize("function", ["MFI", "TRIX", "SMA"])
def test_output_is_missing_from_a_missing_input_on(function: str) -> None:
    """TA-Lib itself continues some recursions after a NaN."""
    prices = random_walk_prices(8, n_sessions=80)

    def with_missing_value(values: Array) -> Array:
        return np.where(np.arange(80)[:, None] == 50, np.nan, values)

    broken = replace(prices, volume=with_missing_value(prices.volume), close=with_missing_value(prices.close))
    feature = TALib.model_validate({"function": function})
    (values,) = feature.compute(broken).values()
    assert np.isfinite(values[feature.warm_up() : 50]).all()
    assert np.isnan(values[50:]).all()


def test_a_history_shorter_than_the_warm_up_has_no_values() -> None:
    prices = random_walk_prices(9, n_sessions=12)
    (values,) = TALib.model_validate({"function": "ADX"}).compute(prices).values()
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"function": "ADXX"}, "TA-Lib has no function 'ADXX'; did you mean ADX?"),
        ({"function": "ADX", "timeperod": 3}, "timeperod: ADX takes timeperiod; did you mean timeperiod?"),
        ({"function": "OBV", "timeperiod": 3}, "timeperiod: OBV takes no parameters"),
        ({"function": "ADX", "timeperiod": 2.5}, "timeperiod: needs a whole number, found 2.5"),
        ({"function": "ADX", "timeperiod": True}, "timeperiod: needs a whole number, found True"),
        ({"function": "BBANDS", "nbdevup": "wide"}, "nbdevup: needs a number, found 'wide'"),
        ({"function": "ADX", "timeperiod": 1}, "ADX does not take timeperiod 1: "),
        ({"function": "SIN"}, "SIN can't be a feature: of a price, its value depends on the currency's unit"),
        ({"function": "MAVP"}, "MAVP can't be a feature: it needs periods"),
        ({"function": "MAXINDEX"}, "MAXINDEX can't be a feature: its outputs are positions in an array"),
    ],
)
def test_invalid_functions_and_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    assert error_text(**parameters).startswith(f"config: features.0: {message}")


def test_function_is_a_required_key() -> None:
    assert error_text() == "config: features.0.function: is needed, and missing"
    assert error_text(function=3) == "config: features.0.function: needs text, found 3"


def test_the_resolved_config_has_all_parameters(tmp_path: Any) -> None:
    run = config(function="bbands", timeperiod=5)
    text = "{kind: talib, function: BBANDS, timeperiod: 5, nbdevup: 2.0, nbdevdn: 2.0, matype: 0}"
    assert text in run.to_yaml()
    path = tmp_path / "again.yaml"
    path.write_text(run.to_yaml())
    again = load_config(path, name="run").run
    assert again == run
    assert again.to_yaml() == run.to_yaml()


def test_without_talib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "talib", None)
    assert error_text(function="ADX") == (
        "config: features.0: needs TA-Lib, which is not installed: pip install 'quantlr[ta]'"
    )
