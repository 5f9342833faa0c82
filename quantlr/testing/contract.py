"""What every feature promises, as checks that raise AssertionError where one is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quantlr.data.features import Feature
from quantlr.testing.futures import ADVERSARIES, bars_between, halted, with_future
from quantlr.testing.markets import alone, random_walk
from quantlr.types import Array, BoolArray, Columns, Prices, day, kind_named

SPARE = 60
"""Sessions of the made-up markets beyond a feature's warm-up."""
CONTEXT = ("^GSPC",)
"""Context tickers of the made-up markets."""


def check_feature(feature: Feature, *, context: tuple[str, ...] = CONTEXT, seed: int = 0) -> None:
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
    sessions = feature.warm_up() + SPARE
    prices = random_walk(seed, sessions=2 * sessions, tickers=3, holes=True, context=context)
    for check in CHECKS:
        check(feature, prices)


def is_documented(feature: Feature, prices: Prices) -> None:
    """The class, its `compute` and each parameter say what they are; its kind is the default of `kind`."""
    part = type(feature)
    _require(feature, bool(kind_named(part)) and feature.kind == kind_named(part), "kind needs a default: its name")
    _require(feature, bool((part.__doc__ or "").strip()), "the class needs a docstring: what it is, in plain words")
    _require(feature, bool((part.compute.__doc__ or "").strip()), "compute needs a docstring: columns, unit and sign")
    for name, field in part.model_fields.items():
        _require(feature, name == "kind" or bool(field.description), f"the parameter {name} needs a description")


def survives_being_written(feature: Feature, prices: Prices) -> None:
    """What the resolved config says of it makes the same feature again."""
    again = type(feature).model_validate(feature.model_dump())
    _require(feature, again == feature, f"written out and read again it is {again!r}, not {feature!r}")


def has_the_shape_of_prices(feature: Feature, prices: Prices) -> None:
    """Each column is an array of floats, one value per bar and ticker; below a ticker's last bar nothing is read."""
    columns = feature.compute(prices)
    _require(feature, bool(columns), "no column at all")
    for name, values in columns.items():
        shape, needed = np.shape(values), prices.close.shape
        _require(feature, shape == needed, f"{name} has the shape {shape}, and needs {needed}: bars and tickers")
        _require(feature, values.dtype == np.float64, f"{name} is of {values.dtype}, and needs float64")


def warms_up_as_it_says(feature: Feature, prices: Prices) -> None:
    """NaN for `warm_up()` bars of a whole history, for no more of others, and a finite number ever after."""
    columns = feature.compute(prices)
    needed = feature.warm_up()
    leading = {name: _leading(values[: prices.bars[0], 0]) for name, values in columns.items()}
    longest = max(leading, key=lambda name: leading[name])
    _require(
        feature,
        leading[longest] == needed,
        f"warm_up() says {needed}, and {longest} begins after {leading[longest]} bars of {prices.tickers[0]}",
    )
    _require_numbers(feature, columns, prices, from_bar=needed)


def does_not_mind_a_halt(feature: Feature, prices: Prices) -> None:
    """Sessions of one price and no volume give a finite number."""
    needed = feature.warm_up()
    for first, last in ((needed + 2, needed + 25), (5, 10)):
        still = halted(prices, bars_between(prices, first, last))
        _require_numbers(feature, feature.compute(still), still, from_bar=needed)


def is_the_same_twice(feature: Feature, prices: Prices) -> None:
    """The same prices give the same bits, and stay as they were."""
    before = prices.close.copy()
    once, twice = feature.compute(prices), feature.compute(prices)
    _require(feature, np.array_equal(before, prices.close, equal_nan=True), "it changed the prices that it was given")
    _require(feature, list(once) == list(twice), "its columns differ from one time to the next")
    for name, values in once.items():
        same = np.array_equal(values, twice[name], equal_nan=True)
        _require(feature, same, f"{name} differs from one time to the next")


def never_looks_ahead(feature: Feature, prices: Prices) -> None:
    """Nothing up to a session changes with what comes after it, at ten sessions and in five other futures."""
    now = feature.compute(prices)
    rng = np.random.default_rng(len(prices.sessions))
    first = min(feature.warm_up() + 1, len(prices.sessions) - 3)
    for cut in rng.integers(first, len(prices.sessions) - 1, size=10).tolist():
        for future in ADVERSARIES:
            then = feature.compute(with_future(prices, future, after=cut, seed=cut))
            past = (prices.session >= 0) & (prices.session <= cut)
            for name, values in now.items():
                _require_same(
                    feature, name, values, then[name], prices, where=past, why=f"after {day(prices.sessions[cut])}"
                )


def is_the_same_alone(feature: Feature, prices: Prices) -> None:
    """A ticker's values do not depend on which others are there, unless the feature is `cross_sectional`."""
    if feature.cross_sectional:
        return
    among = feature.compute(prices)
    for ticker, bars in enumerate(prices.bars):
        lone = alone(prices, ticker)
        for name, values in feature.compute(lone).items():
            _require_same(
                feature,
                name,
                among[name][:bars, ticker : ticker + 1],
                values,
                lone,
                where=lone.session >= 0,
                why="among other tickers",
            )


def does_not_know_the_currency(feature: Feature, prices: Prices) -> None:
    """Prices in cents give what prices in dollars do. A level would know the dividends that adjust it later on."""
    fields = {name: getattr(prices, name) * 128.0 for name in ("open", "high", "low", "close", "raw_close")}
    dearer = feature.compute(replace(prices, **fields))
    for name, values in feature.compute(prices).items():
        _require_same(
            feature, name, values, dearer[name], prices, where=prices.session >= 0, why="in another currency's unit"
        )


CHECKS: tuple[Callable[[Feature, Prices], None], ...] = (
    is_documented,
    survives_being_written,
    has_the_shape_of_prices,
    warms_up_as_it_says,
    does_not_mind_a_halt,
    is_the_same_twice,
    never_looks_ahead,
    is_the_same_alone,
    does_not_know_the_currency,
)


def _leading(values: Array) -> int:
    there = ~np.isnan(values)
    return int(there.argmax()) if there.any() else len(values)


def _require_numbers(feature: Feature, columns: Columns, prices: Prices, *, from_bar: int) -> None:
    row = np.arange(len(prices.close))[:, None]
    needed = (prices.session >= 0) & (row >= from_bar)
    for name, values in columns.items():
        for bar, ticker in np.argwhere(needed & ~np.isfinite(values))[:1]:
            place = _place(prices, int(bar), int(ticker))
            _require(feature, False, f"{name} is {values[bar, ticker]} at {place}, after its warm-up")


def _require_same(
    feature: Feature, name: str, values: Array, others: Array, prices: Prices, *, where: BoolArray, why: str
) -> None:
    rows = min(len(values), len(others))
    same = np.isclose(others[:rows], values[:rows], rtol=1e-9, atol=1e-9, equal_nan=True)
    for bar, ticker in np.argwhere(where[:rows] & ~same)[:1]:
        found, other = values[bar, ticker], others[bar, ticker]
        place = _place(prices, int(bar), int(ticker))
        _require(feature, False, f"{name} at {place} is {found}, and {other} where only what is {why} differs")


def _place(prices: Prices, bar: int, ticker: int) -> str:
    return f"{prices.tickers[ticker]} {day(prices.sessions[prices.session[bar, ticker]])}"


def _require(feature: Feature, kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(f"{feature.kind}: {broken}")
