"""What every feature promises, as checks that raise AssertionError where one is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quantlr.core.arrays import Array, BoolArray, FeatureColumns
from quantlr.core.components import component_kind
from quantlr.core.progress import iso_date
from quantlr.core.values import Prices
from quantlr.data.features import Feature
from quantlr.data.scenarios import FEATURE_SCENARIOS, apply_scenario, bar_range_mask, with_halted_bars
from quantlr.testing.markets import random_walk_prices, single_ticker_prices

EXTRA_SESSIONS = 60
"""Sessions of the made-up markets beyond a feature's warm-up."""
CONTEXT_TICKERS = ("^GSPC",)
"""Context tickers of the made-up markets."""


def check_feature(feature: Feature, *, context: tuple[str, ...] = CONTEXT_TICKERS, seed: int = 0) -> None:
    """Check all that a feature promises on made-up prices.

    Parameters
    ----------
    feature : the feature, with the parameters it is to be checked with.
    context : names of the context tickers that it may look at.
    seed : of the made-up prices.

    Raises
    ------
    AssertionError : the first promise that is broken: which column, ticker and date, and what was found there.
    """
    sessions = feature.warm_up() + EXTRA_SESSIONS
    prices = random_walk_prices(seed, n_sessions=2 * sessions, n_tickers=3, with_gaps=True, context_tickers=context)
    for check in FEATURE_CHECKS:
        check(feature, prices)


def check_documentation(feature: Feature, prices: Prices) -> None:
    """The class, its `compute` and each parameter say what they are; its kind is the default of `kind`."""
    part = type(feature)
    _require(
        feature, bool(component_kind(part)) and feature.kind == component_kind(part), "kind needs a default: its name"
    )
    _require(feature, bool((part.__doc__ or "").strip()), "the class needs a docstring: what it is, in plain words")
    _require(feature, bool((part.compute.__doc__ or "").strip()), "compute needs a docstring: columns, unit and sign")
    for name, field in part.model_fields.items():
        _require(feature, name == "kind" or bool(field.description), f"the parameter {name} needs a description")


def check_config_round_trip(feature: Feature, prices: Prices) -> None:
    """What the resolved config says of it makes the same feature again."""
    again = type(feature).model_validate(feature.model_dump())
    _require(feature, again == feature, f"written out and read again it is {again!r}, not {feature!r}")


def check_shape_and_dtype(feature: Feature, prices: Prices) -> None:
    """Each column is an array of floats, one value per bar and ticker; below a ticker's last bar nothing is read."""
    columns = feature.compute(prices)
    _require(feature, bool(columns), "no column at all")
    for name, values in columns.items():
        shape, needed = np.shape(values), prices.close.shape
        _require(feature, shape == needed, f"{name} has the shape {shape}, and needs {needed}: bars and tickers")
        _require(feature, values.dtype == np.float64, f"{name} is of {values.dtype}, and needs float64")


def check_warm_up(feature: Feature, prices: Prices) -> None:
    """NaN for `warm_up()` bars of a whole history, for no more of others, and a finite number ever after."""
    columns = feature.compute(prices)
    needed = feature.warm_up()
    leading = {name: _count_leading_nans(values[: prices.n_bars[0], 0]) for name, values in columns.items()}
    longest = max(leading, key=lambda name: leading[name])
    _require(
        feature,
        leading[longest] == needed,
        f"warm_up() says {needed}, and {longest} begins after {leading[longest]} bars of {prices.tickers[0]}",
    )
    _require_finite(feature, columns, prices, first_bar=needed)


def check_finite_during_halts(feature: Feature, prices: Prices) -> None:
    """Sessions of one price and no volume give a finite number."""
    needed = feature.warm_up()
    for first, last in ((needed + 2, needed + 25), (5, 10)):
        still = with_halted_bars(prices, bar_range_mask(prices, first, last))
        _require_finite(feature, feature.compute(still), still, first_bar=needed)


def check_determinism(feature: Feature, prices: Prices) -> None:
    """The same prices give the same bits, and stay as they were."""
    before = prices.close.copy()
    once, twice = feature.compute(prices), feature.compute(prices)
    _require(feature, np.array_equal(before, prices.close, equal_nan=True), "it changed the prices that it was given")
    _require(feature, list(once) == list(twice), "its columns differ from one time to the next")
    for name, values in once.items():
        same = np.array_equal(values, twice[name], equal_nan=True)
        _require(feature, same, f"{name} differs from one time to the next")


def check_no_look_ahead(feature: Feature, prices: Prices) -> None:
    """Nothing up to a session changes with what comes after it, at ten sessions and in five other futures."""
    now = feature.compute(prices)
    rng = np.random.default_rng(len(prices.sessions))
    first = min(feature.warm_up() + 1, len(prices.sessions) - 3)
    for cut in rng.integers(first, len(prices.sessions) - 1, size=10).tolist():
        for future in FEATURE_SCENARIOS:
            then = feature.compute(apply_scenario(prices, future, after_session=cut, seed=cut))
            past = (prices.session >= 0) & (prices.session <= cut)
            for name, values in now.items():
                _require_equal(
                    feature,
                    name,
                    values,
                    then[name],
                    prices,
                    mask=past,
                    circumstance=f"after {iso_date(prices.sessions[cut])}",
                )


def check_independence_of_other_tickers(feature: Feature, prices: Prices) -> None:
    """A ticker's values do not depend on which others are there, unless the feature is `cross_sectional`."""
    if feature.cross_sectional:
        return
    among = feature.compute(prices)
    for ticker, bars in enumerate(prices.n_bars):
        lone = single_ticker_prices(prices, ticker)
        for name, values in feature.compute(lone).items():
            _require_equal(
                feature,
                name,
                among[name][:bars, ticker : ticker + 1],
                values,
                lone,
                mask=lone.session >= 0,
                circumstance="among other tickers",
            )


def check_price_scale_invariance(feature: Feature, prices: Prices) -> None:
    """Prices in cents give what prices in dollars do. A level would know the dividends that adjust it later on."""
    fields = {name: getattr(prices, name) * 128.0 for name in ("open", "high", "low", "close", "raw_close")}
    dearer = feature.compute(replace(prices, **fields))
    for name, values in feature.compute(prices).items():
        _require_equal(
            feature,
            name,
            values,
            dearer[name],
            prices,
            mask=prices.session >= 0,
            circumstance="in another currency's unit",
        )


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
)


def _count_leading_nans(values: Array) -> int:
    there = ~np.isnan(values)
    return int(there.argmax()) if there.any() else len(values)


def _require_finite(feature: Feature, columns: FeatureColumns, prices: Prices, *, first_bar: int) -> None:
    row = np.arange(len(prices.close))[:, None]
    needed = (prices.session >= 0) & (row >= first_bar)
    for name, values in columns.items():
        for bar, ticker in np.argwhere(needed & ~np.isfinite(values))[:1]:
            place = _ticker_and_date_text(prices, int(bar), int(ticker))
            _require(feature, False, f"{name} is {values[bar, ticker]} at {place}, after its warm-up")


def _require_equal(
    feature: Feature,
    column_name: str,
    values: Array,
    other_values: Array,
    prices: Prices,
    *,
    mask: BoolArray,
    circumstance: str,
) -> None:
    rows = min(len(values), len(other_values))
    same = np.isclose(other_values[:rows], values[:rows], rtol=1e-9, atol=1e-9, equal_nan=True)
    for bar, ticker in np.argwhere(mask[:rows] & ~same)[:1]:
        found, other = values[bar, ticker], other_values[bar, ticker]
        place = _ticker_and_date_text(prices, int(bar), int(ticker))
        _require(
            feature,
            False,
            f"{column_name} at {place} is {found}, and {other} where only what is {circumstance} differs",
        )


def _ticker_and_date_text(prices: Prices, bar_index: int, ticker_index: int) -> str:
    return f"{prices.tickers[ticker_index]} {iso_date(prices.sessions[prices.session[bar_index, ticker_index]])}"


def _require(feature: Feature, condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"{feature.kind}: {message}")
