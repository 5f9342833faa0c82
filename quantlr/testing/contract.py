"""The contract of a feature, as checks that raise AssertionError where a feature breaks it, and synthetic prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.core.components import component_kind
from quantlr.core.known_series import FileColumn, KnownSeries
from quantlr.core.timing import iso_date
from quantlr.core.values import PRICE_ARRAYS, Array, BoolArray, FeatureColumns, Prices
from quantlr.data.csv.reader import BarFrame
from quantlr.data.features import Feature
from quantlr.data.prices import prices_from_ticker_bars
from quantlr.data.scenarios import FEATURE_SCENARIOS, apply_scenario, bar_range_mask, with_halted_bars

EXTRA_SESSIONS = 60
"""Sessions of the synthetic prices beyond a feature's warm-up."""
CONTEXT_TICKERS = ("^GSPC",)
"""Reference series of the synthetic prices."""
SERIES_NAME = "RATE"
"""Series other than prices that the synthetic prices have beside the reference series."""


def check_feature(feature: Feature, *, context: tuple[str, ...] = CONTEXT_TICKERS, seed: int = 0) -> None:
    """Check the whole contract of a feature on synthetic prices.

    Parameters
    ----------
    feature : the feature, with the parameters to check it with.
    context : names of the reference series that it may use.
    seed : random seed of the prices.

    Raises
    ------
    AssertionError : for the first violation; the message has column, ticker, date and value.
    """
    sessions = feature.warm_up() + EXTRA_SESSIONS
    prices = random_walk_prices(seed, n_sessions=2 * sessions, n_tickers=3, with_gaps=True, context_tickers=context)
    prices = with_random_file_columns(prices, feature.file_columns, seed=seed)
    for check in FEATURE_CHECKS:
        check(feature, prices)


def check_documentation(feature: Feature, prices: Prices) -> None:
    """The class and its `compute` have docstrings, each parameter a description, and `kind` a default."""
    cls = type(feature)
    kind = component_kind(cls)
    _require(feature, bool(kind) and feature.kind == kind, "kind needs a default: its name")
    _require(feature, bool((cls.__doc__ or "").strip()), "the class needs a docstring: what it is, in plain words")
    _require(feature, bool((cls.compute.__doc__ or "").strip()), "compute needs a docstring: columns, unit and sign")
    for name, field in cls.model_fields.items():
        _require(feature, name == "kind" or bool(field.description), f"the parameter {name} needs a description")


def check_config_round_trip(feature: Feature, prices: Prices) -> None:
    """A feature written to the resolved config and read again is equal."""
    again = type(feature).model_validate(feature.model_dump())
    _require(feature, again == feature, f"written out and read again it is {again!r}, not {feature!r}")


def check_shape_and_dtype(feature: Feature, prices: Prices) -> None:
    """Each column is a float64 array, (bars, tickers)."""
    columns = feature.compute(prices)
    _require(feature, bool(columns), "it has no columns")
    for name, values in columns.items():
        shape, needed = np.shape(values), prices.close.shape
        _require(feature, shape == needed, f"{name} has the shape {shape}, and needs {needed}: bars and tickers")
        _require(feature, values.dtype == np.float64, f"{name} is of {values.dtype}, and needs float64")


def check_warm_up(feature: Feature, prices: Prices) -> None:
    """The longest run of leading NaN is `warm_up()` bars, and all later values are finite."""
    columns = feature.compute(prices)
    warm_up = feature.warm_up()
    leading = {name: _count_leading_nans(values[: prices.n_bars[0], 0]) for name, values in columns.items()}
    longest = max(leading, key=leading.__getitem__)
    message = f"warm_up() is {warm_up}, but {longest} starts after {leading[longest]} bars of {prices.tickers[0]}"
    _require(feature, leading[longest] == warm_up, message)
    _require_finite(feature, columns, prices, first_bar=warm_up)


def check_finite_during_halts(feature: Feature, prices: Prices) -> None:
    """Values are finite over bars of constant price and no volume."""
    warm_up = feature.warm_up()
    for first, last in ((warm_up + 2, warm_up + 25), (5, 10)):
        halted = with_halted_bars(prices, bar_range_mask(prices, first, last))
        _require_finite(feature, feature.compute(halted), halted, first_bar=warm_up)


def check_determinism(feature: Feature, prices: Prices) -> None:
    """Computing twice gives identical values and leaves the prices unchanged."""
    close = prices.close.copy()
    columns, again = feature.compute(prices), feature.compute(prices)
    _require(feature, np.array_equal(close, prices.close, equal_nan=True), "it changed the prices that it was given")
    _require(feature, list(columns) == list(again), "its columns differ between two calls")
    for name, values in columns.items():
        same = np.array_equal(values, again[name], equal_nan=True)
        _require(feature, same, f"{name} differs between two calls")


def check_no_look_ahead(feature: Feature, prices: Prices) -> None:
    """Values up to a session are the same in every scenario for later prices, at ten random sessions."""
    columns = feature.compute(prices)
    rng = np.random.default_rng(len(prices.sessions))
    first = min(feature.warm_up() + 1, len(prices.sessions) - 3)
    for cut in rng.integers(first, len(prices.sessions) - 1, size=10).tolist():
        past = (prices.session >= 0) & (prices.session <= cut)
        for scenario in FEATURE_SCENARIOS:
            others = feature.compute(apply_scenario(prices, scenario, after_session=cut, seed=cut))
            difference = f"if prices after {iso_date(prices.sessions[cut])} differ"
            _require_equal(feature, columns, others, prices, past, difference)


def check_independence_of_other_tickers(feature: Feature, prices: Prices) -> None:
    """A ticker's values don't depend on the other tickers, unless the feature is `cross_sectional`."""
    if feature.cross_sectional:
        return
    columns = feature.compute(prices)
    for ticker, n_bars in enumerate(prices.n_bars):
        single = single_ticker_prices(prices, ticker)
        among_others = {name: values[:n_bars, ticker : ticker + 1] for name, values in columns.items()}
        has_bar = single.session >= 0
        _require_equal(feature, among_others, feature.compute(single), single, has_bar, "without the other tickers")


def check_price_scale_invariance(feature: Feature, prices: Prices) -> None:
    """Values don't depend on the currency's unit. Price levels would: they depend on later dividends."""
    fields = {name: getattr(prices, name) * 128.0 for name in ("open", "high", "low", "close", "raw_close")}
    scaled = feature.compute(replace(prices, **fields))
    has_bar = prices.session >= 0
    _require_equal(feature, feature.compute(prices), scaled, prices, has_bar, "in another unit of the currency")


def check_volume_scale_invariance(feature: Feature, prices: Prices) -> None:
    """Values don't depend on the level of volume, which depends on later splits, unless `has_volume_level` says so."""
    if feature.has_volume_level:
        return
    scaled = feature.compute(replace(prices, volume=prices.volume * 128.0))
    has_bar = prices.session >= 0
    _require_equal(feature, feature.compute(prices), scaled, prices, has_bar, "if all volumes are 128 times as large")


FEATURE_CHECKS: tuple[Callable[[Feature, Prices], None], ...] = (
    check_documentation,
    check_config_round_trip,
    check_shape_and_dtype,
    check_warm_up,
    check_finite_during_halts,
    check_determinism,
    check_no_look_ahead,
    check_independence_of_other_tickers,
    check_price_scale_invariance,
    check_volume_scale_invariance,
)


def _count_leading_nans(values: Array) -> int:
    known = ~np.isnan(values)
    return int(known.argmax()) if known.any() else len(values)


def _require_finite(feature: Feature, columns: FeatureColumns, prices: Prices, *, first_bar: int) -> None:
    row = np.arange(len(prices.close))[:, None]
    needed = (prices.session >= 0) & (row >= first_bar)
    for name, values in columns.items():
        for bar, ticker in np.argwhere(needed & ~np.isfinite(values))[:1]:
            place = _ticker_and_date_text(prices, int(bar), int(ticker))
            _require(feature, False, f"{name} is {values[bar, ticker]} at {place}, after its warm-up")


def _require_equal(
    feature: Feature, columns: FeatureColumns, others: FeatureColumns, prices: Prices, mask: BoolArray, difference: str
) -> None:
    """Require equal columns at the bars in the mask; `difference` states how the computation of the others differs."""
    for name, values in columns.items():
        rows = min(len(values), len(others[name]))
        equal = np.isclose(others[name][:rows], values[:rows], rtol=1e-9, atol=1e-9, equal_nan=True)
        for bar, ticker in np.argwhere(mask[:rows] & ~equal)[:1]:
            value, other = values[bar, ticker], others[name][bar, ticker]
            place = _ticker_and_date_text(prices, int(bar), int(ticker))
            _require(feature, False, f"{name} at {place} is {value}, but {other} {difference}")


def _ticker_and_date_text(prices: Prices, bar_index: int, ticker_index: int) -> str:
    return f"{prices.tickers[ticker_index]} {iso_date(prices.sessions[prices.session[bar_index, ticker_index]])}"


def _require(feature: Feature, condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"{feature.kind}: {message}")


def random_walk_bars(rng: np.random.Generator, dates: pd.DatetimeIndex) -> BarFrame:
    """Return bars of a geometric random walk; about 5 % of the days have no change."""
    steps = rng.normal(0, 0.01, len(dates)) * (rng.random(len(dates)) > 0.05)
    close = 50.0 * np.exp(np.cumsum(steps))
    opens = close * np.exp(rng.normal(0, 0.003, len(dates)))
    spread = np.exp(np.abs(rng.normal(0, 0.004, len(dates))))
    columns = {
        "open": opens,
        "high": np.maximum(opens, close) * spread,
        "low": np.minimum(opens, close) / spread,
        "close": close,
        "adj_close": close,
        "volume": rng.integers(1_000, 9_000, len(dates)).astype(float),
    }
    return pd.DataFrame(columns, index=dates)


def random_walk_prices(
    seed: int, *, n_sessions: int, n_tickers: int = 1, with_gaps: bool = False, context_tickers: Sequence[str] = ()
) -> Prices:
    """Return random walks of tickers T0, T1, ...

    With `with_gaps`, all but T0 start late, end early and miss about a tenth of the sessions. Context tickers have a
    bar on every session and on Saturdays.
    """
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=n_sessions).as_unit("us")
    bars: dict[str, BarFrame] = {}
    for index in range(n_tickers):
        ticker_bars = random_walk_bars(rng, dates)
        if with_gaps and index:
            has_bar = rng.random(n_sessions) > 0.1
            has_bar[: rng.integers(0, n_sessions // 4)] = False
            has_bar[n_sessions - int(rng.integers(0, n_sessions // 5)) :] = False
            ticker_bars = ticker_bars[has_bar]
        bars[f"T{index}"] = ticker_bars
    prices = prices_from_ticker_bars(bars, source="synthetic", sha256="", notes=[])
    if not context_tickers:
        return prices
    days = pd.date_range(dates[0], dates[-1], freq="D").as_unit("us")
    context = {name: random_walk_bars(rng, days[days.day_of_week != 6]) for name in context_tickers}
    context_prices = prices_from_ticker_bars(context, source="synthetic", sha256="", notes=[])
    return replace(prices, context=context_prices, series=(random_monthly_series(rng, dates),))


def random_monthly_series(rng: np.random.Generator, dates: pd.DatetimeIndex) -> KnownSeries:
    """Return a random walk of months, of which each is released two weeks after its end, and a third revised later."""
    months = pd.date_range(dates[0] - pd.DateOffset(years=2), dates[-1], freq="MS")
    value = 5.0 + rng.normal(0.0, 0.5, len(months)).cumsum()
    release = months + pd.DateOffset(months=1) + pd.Timedelta(days=14)
    is_revised = rng.random(len(months)) < 0.3
    date = np.append(months, months[is_revised]).astype("datetime64[D]")
    known_from = np.append(release, release[is_revised] + pd.Timedelta(days=20)).astype("datetime64[D]")
    value = np.append(value, value[is_revised] + rng.normal(0.0, 0.2, int(is_revised.sum())))
    return KnownSeries(SERIES_NAME, date, value, known_from)


def with_random_file_columns(prices: Prices, columns: Sequence[FileColumn], *, seed: int) -> Prices:
    """Return prices with columns of each ticker's file, which have a value at each bar.

    With `release_date` a value is known from the next day, and a tenth of them is revised twenty days later.
    """
    rng = np.random.default_rng([seed, len(columns)])
    series = []
    for column in columns:
        for index, ticker in enumerate(prices.tickers):
            date = prices.sessions[prices.session[: prices.n_bars[index], index]].to_numpy().astype("datetime64[D]")
            known_from = date
            if column.known != "same_close":
                known_from = (date + np.timedelta64(1, "D")).astype("datetime64[D]")
            is_revised = (rng.random(len(date)) < 0.1) & (column.known == "release_date")
            date = np.append(date, date[is_revised])
            known_from = np.append(known_from, known_from[is_revised] + np.timedelta64(20, "D"))
            value = rng.normal(0.0, 1.0, len(date)).cumsum()
            series.append(KnownSeries(column.name, date, value, known_from, ticker=ticker, column=column))
    return replace(prices, series=(*prices.series, *series))


def single_ticker_prices(prices: Prices, ticker_index: int) -> Prices:
    """Return the prices of one ticker, on its own sessions, with the same context."""
    n_bars = int(prices.n_bars[ticker_index])
    column = slice(ticker_index, ticker_index + 1)
    fields: dict[str, Any] = {name: getattr(prices, name)[:n_bars, column] for name in PRICE_ARRAYS}
    sessions = prices.sessions[prices.session[:n_bars, ticker_index]]
    session = np.arange(n_bars, dtype=np.int64)[:, None]
    markets = prices.markets[column]
    return replace(
        prices, tickers=prices.tickers[column], sessions=sessions, session=session, markets=markets, **fields
    )
