"""Every feature of the catalogue meets the contract, and each check of the contract finds a violation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, StrictInt
from quantlr.core.components import component_kind
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.features import FEATURES, Feature
from quantlr.data.scenarios import FEATURE_SCENARIOS
from quantlr.testing.contract import FEATURE_CHECKS, check_feature, with_random_file_columns

from markets import apply_scenario, random_walk_prices

EXAMPLES = [example for feature in FEATURES for example in feature.examples() if isinstance(example, Feature)]
every_example = pytest.mark.parametrize(
    "feature", EXAMPLES, ids=[f"{example.kind}-{index}" for index, example in enumerate(EXAMPLES)]
)


@every_example
def test_every_feature_meets_the_contract(feature: Feature) -> None:
    check_feature(feature)


@every_example
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(20, 88), scenario=st.sampled_from(FEATURE_SCENARIOS))
def test_values_up_to_a_session_are_identical_in_every_scenario(
    feature: Feature, seed: int, cut: int, scenario: str
) -> None:
    prices = random_walk_prices(seed, n_sessions=90, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    prices = with_random_file_columns(prices, feature.file_columns, seed=seed)
    other = feature.compute(apply_scenario(prices, scenario, after_session=cut, seed=seed))
    past = (prices.session >= 0) & (prices.session <= cut)
    for name, values in feature.compute(prices).items():
        rows = min(len(values), len(other[name]))
        np.testing.assert_array_equal(other[name][:rows][past[:rows]], values[:rows][past[:rows]])
        assert not past[rows:].any()


def test_kinds_are_unique_and_not_empty() -> None:
    kinds = [component_kind(feature) for feature in FEATURES]
    assert len(set(kinds)) == len(kinds) >= 25
    assert not any(kind in kinds for kind in ("", "None"))


class ValidFeature(Feature):
    """An earlier close over the current one."""

    kind: Literal["valid"] = "valid"
    lag: StrictInt = Field(1, description="How far back, in sessions.")

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        values = np.full(prices.close.shape, np.nan)
        values[self.lag :] = prices.close[: -self.lag] / prices.close[self.lag :]
        return {"valid": values}

    def warm_up(self) -> int:
        """The lag."""
        return self.lag


def compute_with(change: Callable[[Prices, Any], Any]) -> Callable[[Any, Prices], FeatureColumns]:
    def compute(self: Any, prices: Prices) -> FeatureColumns:
        """One column."""
        values = ValidFeature(lag=self.lag).compute(prices)["valid"]
        return {"valid": change(prices, values)}

    return compute


def next_return(prices: Prices, values: Any) -> Any:
    return np.where(np.isnan(values), values, np.vstack([prices.close[1:], prices.close[-1:]]) / prices.close)


def full_sample_demeaned(prices: Prices, values: Any) -> Any:
    """A mean over the whole history, the leak that a scaler makes."""
    return values - np.nanmean(values, axis=0)


def missing_later(prices: Prices, values: Any) -> Any:
    return np.where(np.arange(len(values))[:, None] == 30, np.nan, values)


def log_of_volume(prices: Prices, values: Any) -> Any:
    return np.where(np.isnan(values), values, np.log(np.where(prices.volume > 0, prices.volume, 1e-300)) / 600)


def changes_the_prices(prices: Prices, values: Any) -> Any:
    np.multiply(prices.close, 1.0000001, out=prices.close)
    return values


VIOLATIONS: dict[str, tuple[Callable[[Prices, Any], Any], str]] = {
    "uses the next return": (next_return, "differ|after its warm-up"),
    "mean of all": (full_sample_demeaned, "but .* if prices after .* differ"),
    "NaN later on": (missing_later, "is nan at T0 .*, after its warm-up"),
    "divides by volume": (lambda prices, values: values / (prices.volume > 0), "is inf at T0 .*, after its warm-up"),
    "integers": (lambda prices, values: np.nan_to_num(values).astype(int), "is of int64, and needs float64"),
    "another shape": (lambda prices, values: values[:, 0], "and needs .*: bars and tickers"),
    "the others' mean": (lambda prices, values: values - values[:, :1], "without the other tickers"),
    "a level": (lambda prices, values: prices.close + 0 * values, "in another unit of the currency"),
    "random": (lambda prices, values: values + np.random.default_rng().random(), "between two calls"),
    "changes the prices": (changes_the_prices, "changed the prices|between two calls"),
    "too short a warm-up": (
        lambda prices, values: np.nan_to_num(values),
        r"warm_up\(\) is 1, but valid starts after 0",
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_violation_is_found(name: str) -> None:
    change, message = VIOLATIONS[name]
    invalid = type("InvalidFeature", (ValidFeature,), {"compute": compute_with(change), "__doc__": "Invalid."})
    with pytest.raises(AssertionError, match=message):
        check_feature(invalid())


def test_missing_documentation_is_found() -> None:
    undocumented = type(
        "Undocumented",
        (ValidFeature,),
        {"compute": lambda self, prices: ValidFeature.compute(self, prices), "__doc__": "S."},
    )
    with pytest.raises(AssertionError, match="compute needs a docstring"):
        check_feature(undocumented())


def test_a_valid_feature_passes_every_check() -> None:
    check_feature(ValidFeature(lag=3))
    assert len(FEATURE_CHECKS) == 10
