"""The catalogue's contract, walked part by part, and that each of its checks catches who breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from quantlr.core.arrays import FeatureColumns
from quantlr.core.components import StrictInt, component_kind
from quantlr.core.values import Prices
from quantlr.data.features import FEATURES, Feature
from quantlr.data.scenarios import FEATURE_SCENARIOS
from quantlr.testing.contract import FEATURE_CHECKS, check_feature

from markets import apply_scenario, random_walk_prices

EXAMPLES = [example for feature in FEATURES for example in feature.examples() if isinstance(example, Feature)]
walk = pytest.mark.parametrize("feature", EXAMPLES, ids=[f"{example.kind}-{at}" for at, example in enumerate(EXAMPLES)])


@walk
def test_a_feature_keeps_what_every_feature_promises(feature: Feature) -> None:
    check_feature(feature)


@walk
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(20, 88), future=st.sampled_from(FEATURE_SCENARIOS))
def test_the_past_is_the_same_to_the_last_bit_whatever_comes(
    feature: Feature, seed: int, cut: int, future: str
) -> None:
    prices = random_walk_prices(seed, n_sessions=90, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    then = feature.compute(apply_scenario(prices, future, after_session=cut, seed=seed))
    past = (prices.session >= 0) & (prices.session <= cut)
    for name, values in feature.compute(prices).items():
        rows = min(len(values), len(then[name]))
        np.testing.assert_array_equal(then[name][:rows][past[:rows]], values[:rows][past[:rows]])
        assert not past[rows:].any()


def test_kinds_are_told_apart_and_documented_in_a_line() -> None:
    kinds = [component_kind(feature) for feature in FEATURES]
    assert len(set(kinds)) == len(kinds) >= 25
    assert not any(kind in kinds for kind in ("", "None"))


class Honest(Feature):
    """Yesterday's close over today's."""

    kind: Literal["honest"] = "honest"
    by: StrictInt = Field(1, description="How far back, in sessions.")

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        found = np.full(prices.close.shape, np.nan)
        found[self.by :] = prices.close[: -self.by] / prices.close[self.by :]
        return {"honest": found}

    def warm_up(self) -> int:
        """As far as it looks back."""
        return self.by


def altered(change: Callable[[Prices, Any], Any]) -> Callable[[Any, Prices], FeatureColumns]:
    def compute(self: Any, prices: Prices) -> FeatureColumns:
        """One column."""
        found = Honest(by=self.by).compute(prices)["honest"]
        return {"honest": change(prices, found)}

    return compute


def tomorrow(prices: Prices, found: Any) -> Any:
    return np.where(np.isnan(found), found, np.vstack([prices.close[1:], prices.close[-1:]]) / prices.close)


def one_far_future_bar(prices: Prices, found: Any) -> Any:
    """A mean over the whole history, the leak that a scaler makes."""
    return found - np.nanmean(found, axis=0)


def blind(prices: Prices, found: Any) -> Any:
    return np.where(np.arange(len(found))[:, None] == 30, np.nan, found)


def infinite_in_a_halt(prices: Prices, found: Any) -> Any:
    return np.where(np.isnan(found), found, np.log(np.where(prices.volume > 0, prices.volume, 1e-300)) / 600)


def on_its_head(prices: Prices, found: Any) -> Any:
    np.multiply(prices.close, 1.0000001, out=prices.close)
    return found


BROKEN: dict[str, tuple[Callable[[Prices, Any], Any], str]] = {
    "looks at tomorrow": (tomorrow, "differs|after its warm-up"),
    "mean of all": (one_far_future_bar, "where only what is after .* differs"),
    "NaN later on": (blind, "is nan at T0 .*, after its warm-up"),
    "divides by volume": (lambda prices, found: found / (prices.volume > 0), "is inf at T0 .*, after its warm-up"),
    "whole numbers": (lambda prices, found: np.nan_to_num(found).astype(int), "is of int64, and needs float64"),
    "another shape": (lambda prices, found: found[:, 0], "and needs .*: bars and tickers"),
    "the others' mean": (lambda prices, found: found - found[:, :1], "among other tickers"),
    "a level": (lambda prices, found: prices.close + 0 * found, "in another currency's unit differs"),
    "no two alike": (lambda prices, found: found + np.random.default_rng().random(), "from one time to the next"),
    "changes the prices": (on_its_head, "changed the prices|from one time to the next"),
    "begins too early": (lambda prices, found: np.nan_to_num(found), r"warm_up\(\) says 1, and honest begins after 0"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_who_breaks_the_contract_is_found(name: str) -> None:
    change, said = BROKEN[name]
    dishonest = type("Dishonest", (Honest,), {"compute": altered(change), "__doc__": "Broken."})
    with pytest.raises(AssertionError, match=said):
        check_feature(dishonest())


def test_what_is_not_documented_is_found() -> None:
    silent = type("Silent", (Honest,), {"compute": lambda self, prices: Honest.compute(self, prices), "__doc__": "S."})
    with pytest.raises(AssertionError, match="compute needs a docstring"):
        check_feature(silent())


def test_an_honest_feature_passes_every_check() -> None:
    check_feature(Honest(by=3))
    assert len(FEATURE_CHECKS) == 9
