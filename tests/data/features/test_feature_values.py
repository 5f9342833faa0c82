"""Values of each feature against plain Python, bar by bar, or against TA-Lib; values during trading halts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from quantlr.core.components import component_kind
from quantlr.core.errors import DataError
from quantlr.core.values import Array, Prices
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import FEATURES, Feature, LaggedReturns, Momentum, Volume
from quantlr.data.features.calendar import DayOfWeek, Month
from quantlr.data.features.transforms import CrossSectionalRank, row_percentile_ranks
from quantlr.data.labels import Direction
from quantlr.data.scenarios import bar_range_mask, with_halted_bars

from markets import random_walk_prices

KINDS = {component_kind(part): part for part in FEATURES}
Bar = dict[str, float]


def compute(prices: Prices, **parameters: Any) -> dict[str, Array]:
    return KINDS[parameters["kind"]].model_validate(parameters).compute(prices)


def column(prices: Prices, name: str, **parameters: Any) -> Array:
    """Return a column's values for the first ticker."""
    return compute(prices, **parameters)[name][: prices.n_bars[0], 0]


def bars_of(prices: Prices, ticker: int = 0) -> list[Bar]:
    names = ("open", "high", "low", "close", "volume")
    return [
        {name: float(getattr(prices, name)[bar, ticker]) for name in names} for bar in range(int(prices.n_bars[ticker]))
    ]


def return_of(before: float, after: float, returns: str = "log") -> float:
    return math.log(after / before) if returns == "log" else after / before - 1


def log_returns(bars: list[Bar]) -> list[float]:
    return [return_of(before["close"], after["close"]) for before, after in pairwise(bars)]


def z_score(values: list[float]) -> float:
    return (values[-1] - statistics.mean(values)) / statistics.stdev(values)


GK = 2 * math.log(2) - 1
LAST_BAR: list[tuple[dict[str, Any], str, Callable[[list[Bar]], float]]] = [
    ({"kind": "lagged_returns", "lags": [1]}, "lagged_returns_1", lambda b: return_of(b[-2]["close"], b[-1]["close"])),
    ({"kind": "lagged_returns", "lags": [3]}, "lagged_returns_3", lambda b: return_of(b[-4]["close"], b[-3]["close"])),
    (
        {"kind": "lagged_returns", "lags": [2], "returns": "simple"}, "lagged_returns_2",
        lambda b: return_of(b[-3]["close"], b[-2]["close"], "simple"),
    ),
    ({"kind": "momentum", "windows": [7]}, "momentum_7", lambda b: return_of(b[-8]["close"], b[-1]["close"])),
    (
        {"kind": "momentum", "windows": [7], "returns": "simple"}, "momentum_7",
        lambda b: return_of(b[-8]["close"], b[-1]["close"], "simple"),
    ),
    ({"kind": "overnight_gap"}, "overnight_gap_1", lambda b: return_of(b[-2]["close"], b[-1]["open"])),
    (
        {"kind": "overnight_gap", "lags": [2], "returns": "simple"}, "overnight_gap_2",
        lambda b: return_of(b[-3]["close"], b[-2]["open"], "simple"),
    ),
    ({"kind": "volatility", "windows": [9]}, "volatility_9", lambda b: statistics.stdev(log_returns(b[-10:]))),
    (
        {"kind": "volatility", "windows": [9], "estimator": "parkinson"}, "volatility_parkinson_9",
        lambda b: math.sqrt(sum(math.log(x["high"] / x["low"]) ** 2 for x in b[-9:]) / (4 * 9 * math.log(2))),
    ),
    (
        {"kind": "volatility", "windows": [9], "estimator": "garman_klass"}, "volatility_garman_klass_9",
        lambda b: math.sqrt(
            sum(
                math.log(x["high"] / x["low"]) ** 2 / 2 - GK * math.log(x["close"] / x["open"]) ** 2 for x in b[-9:]
            ) / 9
        ),
    ),
    (
        {"kind": "high_low_range", "windows": [4]}, "high_low_range_4",
        lambda b: statistics.mean((x["high"] - x["low"]) / x["close"] for x in b[-4:]),
    ),
    (
        {"kind": "moving_average_gap", "windows": [6]}, "moving_average_gap_6",
        lambda b: b[-1]["close"] / statistics.mean(x["close"] for x in b[-6:]) - 1,
    ),
    (
        {"kind": "bollinger", "windows": [8], "deviations": 1.5}, "bollinger_8_1.5",
        lambda b: 0.5 + (b[-1]["close"] - statistics.mean(x["close"] for x in b[-8:]))
        / (3 * statistics.pstdev([x["close"] for x in b[-8:]])),
    ),
    (
        {"kind": "drawdown", "windows": [12]}, "drawdown_12",
        lambda b: b[-1]["close"] / max(x["close"] for x in b[-12:]) - 1,
    ),
    (
        {"kind": "distance_from_extreme", "windows": [12]}, "distance_from_high_12",
        lambda b: b[-1]["close"] / max(x["high"] for x in b[-12:]) - 1,
    ),
    (
        {"kind": "distance_from_extreme", "windows": [12], "extreme": "low"}, "distance_from_low_12",
        lambda b: b[-1]["close"] / min(x["low"] for x in b[-12:]) - 1,
    ),
    ({"kind": "volume", "unit": "millions"}, "volume", lambda b: b[-1]["volume"] / 1e6),
    (
        {"kind": "relative_volume", "windows": [6]}, "relative_volume_6",
        lambda b: b[-1]["volume"] / statistics.fmean(x["volume"] for x in b[-6:]) - 1,
    ),
    ({"kind": "volume_change"}, "volume_change_1", lambda b: math.log(b[-1]["volume"] / b[-2]["volume"])),
    (
        {"kind": "volume_zscore", "windows": [6]}, "volume_zscore_6",
        lambda b: z_score([math.log(x["volume"]) for x in b[-6:]]),
    ),
    (
        {"kind": "zscore", "of": {"kind": "lagged_returns", "lags": [2]}, "window": 6}, "zscore_6(lagged_returns_2)",
        lambda b: z_score(log_returns(b[-8:-1])),
    ),
    (
        {"kind": "lag", "of": {"kind": "momentum", "windows": [5]}, "bars": [3]}, "lag_3(momentum_5)",
        lambda b: return_of(b[-9]["close"], b[-4]["close"]),
    ),
    (
        {"kind": "clip", "of": {"kind": "lagged_returns", "lags": [1]}, "low": -0.005, "high": 0.004},
        "clip_-0.005_0.004(lagged_returns_1)", lambda b: min(max(log_returns(b[-2:])[0], -0.005), 0.004),
    ),
    (
        {"kind": "clip", "of": {"kind": "lagged_returns", "lags": [1]}, "low": None, "high": 0.0},
        "clip_-inf_0(lagged_returns_1)", lambda b: min(log_returns(b[-2:])[0], 0.0),
    ),
    ({"kind": "square", "of": {"kind": "momentum"}}, "square(momentum_10)", lambda b: sum(log_returns(b[-11:])) ** 2),
    (
        {"kind": "product", "of": [{"kind": "overnight_gap"}, {"kind": "square", "of": {"kind": "momentum"}}]},
        "product(overnight_gap_1,square(momentum_10))",
        lambda b: return_of(b[-2]["close"], b[-1]["open"]) * sum(log_returns(b[-11:])) ** 2,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "name", "expected"), LAST_BAR, ids=[case[1] for case in LAST_BAR])
def test_values_equal_plain_python_on_the_bars_so_far(
    parameters: dict[str, Any], name: str, expected: Callable[[list[Bar]], float]
) -> None:
    """For a ticker with missing sessions, so that lags count its own bars."""
    prices = random_walk_prices(11, n_sessions=70, n_tickers=2, with_gaps=True)
    bars = bars_of(prices, 1)
    values = compute(prices, **parameters)[name][:, 1]
    for last in range(15, len(bars)):
        assert values[last] == pytest.approx(expected(bars[: last + 1]), rel=1e-9, abs=1e-13)


def test_recursive_averages_equal_talib() -> None:
    prices = random_walk_prices(12, n_sessions=300)
    high, low, close = (getattr(prices, name)[:, 0] for name in ("high", "low", "close"))
    for window in (2, 14):
        rsi = column(prices, f"rsi_{window}", kind="rsi", windows=[window])
        np.testing.assert_allclose(rsi, talib.RSI(close, window), rtol=1e-9)
        atr = column(prices, f"atr_{window}", kind="atr", windows=[window])
        np.testing.assert_allclose(atr, talib.ATR(high, low, close, window) / close, rtol=1e-9)
    for fast, slow, signal in ((12, 26, 9), (3, 10, 5)):
        line, average, histogram = talib.MACD(close, fast, slow, signal)
        parameters = {"kind": "macd", "fast": fast, "slow": slow, "signal": signal}
        first = slow + signal - 2
        for name, theirs in (("line", line), ("signal", average), ("histogram", histogram)):
            ours = column(prices, f"macd_{name}_{fast}_{slow}_{signal}", **parameters, lines=[name])
            np.testing.assert_allclose(ours[first:], theirs[first:] / close[first:], rtol=1e-7, atol=1e-12)


def test_rolling_features_equal_talib() -> None:
    prices = random_walk_prices(13, n_sessions=300)
    high, low, close = (getattr(prices, name)[:, 0] for name in ("high", "low", "close"))
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    np.testing.assert_allclose(
        column(prices, "bollinger_20_2", kind="bollinger"), (close - lower) / (upper - lower), rtol=1e-6
    )
    gap = column(prices, "moving_average_gap_50", kind="moving_average_gap")
    np.testing.assert_allclose(gap, close / talib.SMA(close, 50) - 1, atol=1e-12)
    parameters = {"kind": "distance_from_extreme", "windows": [30]}
    np.testing.assert_allclose(column(prices, "distance_from_high_30", **parameters), close / talib.MAX(high, 30) - 1)
    np.testing.assert_allclose(
        column(prices, "distance_from_low_30", **parameters, extreme="low"), close / talib.MIN(low, 30) - 1
    )


def test_days_and_months_equal_the_calendar() -> None:
    prices = random_walk_prices(14, n_sessions=300, n_tickers=2, with_gaps=True)
    days = DayOfWeek().compute(prices)
    dummies, cosine_and_sine = Month(encoding="levels").compute(prices), Month().compute(prices)
    for bar in range(int(prices.n_bars[1])):
        date = prices.sessions[prices.session[bar, 1]]
        on = [name for name, values in days.items() if values[bar, 1] == 1.0]
        assert on == ([] if date.day_name() == "Monday" else [f"day_of_week_{date.day_name().lower()}"])
        on = [name for name, values in dummies.items() if values[bar, 1] == 1.0]
        assert on == ([] if date.month == 1 else [f"month_{date.month_name().lower()}"])
        month = (
            math.atan2(cosine_and_sine["month_sine"][bar, 1], cosine_and_sine["month_cosine"][bar, 1])
            / math.tau
            * 12
            % 12
        )
        assert round(month) % 12 == date.month - 1


def test_cross_sectional_ranks_equal_pandas() -> None:
    prices = random_walk_prices(15, n_sessions=120, n_tickers=6, with_gaps=True)
    inner = Momentum(windows=(3,))
    grid = pd.DataFrame(prices.bars_to_sessions(inner.compute(prices)["momentum_3"]))
    expected = grid.rank(axis=1).sub(0.5).div(grid.notna().sum(axis=1), axis=0).to_numpy()
    values = CrossSectionalRank(of=inner).compute(prices)["rank(momentum_3)"]
    np.testing.assert_allclose(prices.bars_to_sessions(values), expected)
    assert np.isnan(expected).any()


def test_ties_share_their_mean_rank_and_a_single_ticker_has_one_half() -> None:
    nan = np.nan
    rows = np.array([[3.0, 1.0, 3.0, 2.0], [nan, 7.0, nan, nan], [nan] * 4, [0.0, 0.0, 0.0, 0.0]])
    expected = [[0.75, 0.125, 0.75, 0.375], [nan, 0.5, nan, nan], [nan] * 4, [0.5] * 4]
    np.testing.assert_array_equal(row_percentile_ranks(rows), expected)
    many = np.random.default_rng(0).integers(0, 9, (40_000, 7)).astype(float)
    np.testing.assert_allclose(row_percentile_ranks(many), (pd.DataFrame(many).rank(axis=1) - 0.5) / 7)


VALUES_IN_HALT = {
    "lagged_returns_1": 0.0, "momentum_10": 0.0, "overnight_gap_1": 0.0, "volatility_5": 0.0,
    "volatility_parkinson_5": 0.0, "volatility_garman_klass_5": 0.0, "high_low_range_1": 0.0,
    "moving_average_gap_5": 0.0, "bollinger_5_2": 0.5, "volume": 0.0, "volume_change_1": 0.0, "volume_zscore_5": 0.0,
    "zscore_5(volatility_5)": 0.0, "square(lagged_returns_1)": 0.0,
}  # fmt: skip


def test_values_during_a_halt_are_the_documented_ones() -> None:
    prices = random_walk_prices(16, n_sessions=80)
    prices = with_halted_bars(prices, bar_range_mask(prices, 30, 60))
    volatility = {"kind": "volatility", "windows": [5]}
    columns: dict[str, Array] = {}
    for parameters in (
        {"kind": "lagged_returns"}, {"kind": "momentum"}, {"kind": "overnight_gap"}, volatility,
        {**volatility, "estimator": "parkinson"}, {**volatility, "estimator": "garman_klass"},
        {"kind": "high_low_range"}, {"kind": "moving_average_gap", "windows": [5]}, {"kind": "volume"},
        {"kind": "bollinger", "windows": [5]}, {"kind": "volume_change"}, {"kind": "volume_zscore", "windows": [5]},
        {"kind": "zscore", "of": volatility, "window": 5}, {"kind": "square", "of": {"kind": "lagged_returns"}},
    ):  # fmt: skip
        columns.update(compute(prices, **parameters))
    assert {name: pytest.approx(columns[name][50, 0], abs=1e-14) for name in VALUES_IN_HALT} == VALUES_IN_HALT
    resumed = columns["volume_change_1"][61, 0]
    assert resumed == pytest.approx(math.log(prices.volume[61, 0] / prices.volume[29, 0]))


def test_values_of_a_constant_price() -> None:
    prices = random_walk_prices(17, n_sessions=60)
    prices = with_halted_bars(prices, bar_range_mask(prices, 1, 59))
    for name, parameters, value in (
        ("rsi_14", {"kind": "rsi"}, 50.0),
        ("bollinger_20_2", {"kind": "bollinger"}, 0.5),
        ("macd_histogram_12_26_9", {"kind": "macd"}, 0.0),
        ("drawdown_20", {"kind": "drawdown", "windows": [20]}, 0.0),
    ):
        values = column(prices, name, **parameters)
        assert values[-1] == pytest.approx(value, abs=1e-15)


def test_a_feature_that_overflows_is_infinite_without_a_warning() -> None:
    (values,) = compute(random_walk_prices(17, n_sessions=60), kind="bollinger", deviations=1e-320).values()
    assert np.isinf(values[-1]).all()


@pytest.mark.parametrize("kind", ["volume", "relative_volume", "volume_change", "volume_zscore"])
def test_a_missing_volume_is_refused_with_its_date(kind: str) -> None:
    prices = random_walk_prices(18, n_sessions=60)
    volume = prices.volume.copy()
    volume[40] = np.nan
    broken = replace(prices, volume=volume)
    feature = KINDS[kind].model_validate({"kind": kind})
    date = prices.sessions[40].strftime("%Y-%m-%d")
    with pytest.raises(DataError, match=rf"T0 {date}: the feature {kind}\w* is nan"):
        build_dataset(broken, compute_feature_columns(broken, [feature]), Direction().compute_labels(broken), horizon=1)


def test_leading_sessions_without_volume_are_warm_up() -> None:
    prices = random_walk_prices(19, n_sessions=60)
    volume = prices.volume.copy()
    volume[:12] = 0.0
    late = replace(prices, volume=volume)
    assert np.isfinite(column(late, "volume_change_1", kind="volume_change")).argmax() == 13
    assert np.isfinite(column(late, "volume_zscore_5", kind="volume_zscore", windows=[5])).argmax() == 16


def test_missing_opens_are_an_error_for_all_tickers_and_a_note_for_one() -> None:
    prices = random_walk_prices(20, n_sessions=60, n_tickers=2)
    feature: Feature = KINDS["overnight_gap"].model_validate({"kind": "overnight_gap"})
    label = Direction()
    without_opens = replace(prices, open=np.full_like(prices.open, np.nan))
    with pytest.raises(DataError, match="overnight_gap_1 has no value on any of 60 bars: the prices lack"):
        build_dataset(
            without_opens,
            compute_feature_columns(without_opens, [feature]),
            label.compute_labels(without_opens),
            horizon=1,
        )
    one_without_opens = replace(prices, open=np.where([[True, False]], prices.open, np.nan))
    notes = build_dataset(
        one_without_opens,
        compute_feature_columns(one_without_opens, [feature]),
        label.compute_labels(one_without_opens),
        horizon=1,
    ).notes
    assert [(note.ticker, note.text, note.count) for note in notes] == [
        ("T0", "warm-up rows were dropped", 1),
        ("T1", "no row has all features: overnight_gap_1 has no value on any bar", 60),
    ]


def test_columns_are_named_by_parameters_and_duplicates_are_refused() -> None:
    prices = random_walk_prices(21, n_sessions=40)
    inner = LaggedReturns(lags=(1,))
    nested = KINDS["zscore"].model_validate({"of": {"kind": "rank", "of": inner.model_dump()}, "window": 5})
    assert list(nested.compute(prices)) == ["zscore_5(rank(lagged_returns_1))"]
    square = KINDS["square"].model_validate({"of": {"kind": "volume"}})
    with pytest.raises(DataError, match=r"a second column 'square\(volume\)'") as caught:
        compute_feature_columns(prices, [square, Volume(), square])
    assert caught.value.key == "features.2"
