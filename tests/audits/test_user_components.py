"""A run audits components from outside the catalogue: a leak is an error that names it, others get a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import quantlr
from click.testing import CliRunner
from quantlr.audits.user_components import audit_user_inputs
from quantlr.backtest.overlays import Overlay
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.core.errors import ComponentError, LookAheadError
from quantlr.core.values import Array, FeatureColumns, Labels, Prices
from quantlr.data.labels import Direction
from quantlr.model.base import FittedModel, Model
from quantlr.model.batched.fit import fit_many
from quantlr.model.config import LogisticRegression

from markets import random_walk_prices
from user_components import SMALL, import_user_module, install_user_module

pytestmark = pytest.mark.usefixtures("without_drawing")
COMPUTE: dict[str, Callable[[Prices, pd.DataFrame], Any]] = {
    "next return": lambda prices, returns: returns.shift(-1).fillna(0.0),
    "centred mean": lambda prices, returns: returns.rolling(5, center=True, min_periods=1).mean(),
    "full-sample z-score": lambda prices, returns: (returns - returns.mean()) / returns.std(),
    "warm-up filled backward": lambda prices, returns: returns.rolling(20).mean().bfill(),
    "return of a year ahead": lambda prices, returns: returns.shift(-252).fillna(0.0),
    "volume": lambda prices, returns: prices.volume,
    "close": lambda prices, returns: prices.close,
    "next gap in the calendar": lambda prices, returns: np.append(np.diff(prices.sessions.to_numpy()), 0)[:, None]
    / np.timedelta64(1, "D") * np.ones((1, len(prices.tickers))),
    "bars to the end": lambda prices, returns: prices.n_bars - np.arange(len(returns))[:, None] + 0.0,
}  # fmt: skip


class Computed(quantlr.Feature):
    """A feature of the user's own, computed by one of the functions above."""

    kind: Literal["computed"] = "computed"
    name: str = ""

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        close = pd.DataFrame(prices.close)
        values = np.asarray(COMPUTE[self.name](prices, close / close.shift() - 1.0), dtype=np.float64)
        return {"computed": np.where(prices.session >= 0, values, np.nan)}

    def warm_up(self) -> int:
        """Of the longest."""
        return 20


class Trailing(Computed):
    """The mean of the last five returns."""

    kind: Literal["trailing"] = "trailing"  # type: ignore[assignment]

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        close = pd.DataFrame(prices.close)
        return {"trailing": (close / close.shift() - 1.0).rolling(5).mean().to_numpy()}


class PickyTrailing(Trailing):
    """The same, which does not accept a price above 1,000 or jumps of it."""

    kind: Literal["picky"] = "picky"  # type: ignore[assignment]
    highest: float = 1000.0

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        if np.nanmax(prices.close) > self.highest:
            raise RuntimeError("price too high")
        return super().compute(prices)


class AboveMedian(Direction):
    """Whether the return is above the median of the full sample."""

    kind: Literal["above_median"] = "above_median"  # type: ignore[assignment]

    def compute_labels(self, prices: Prices) -> Labels:
        """By the full sample."""
        returns = super().compute_labels(prices).horizon_return
        return Labels(np.where(np.isnan(returns), np.nan, returns > np.nanmedian(returns)), returns)


class KnownEarly(Direction):
    """The direction of the past session, called that of the next five."""

    kind: Literal["known_early"] = "known_early"  # type: ignore[assignment]

    def compute_labels(self, prices: Prices) -> Labels:
        """Known at once."""
        labels = super().compute_labels(prices)
        up = np.where(np.isnan(labels.up), np.nan, np.vstack([[[0.0]] * 1, np.diff(prices.close, axis=0) > 0]))
        return Labels(up, labels.horizon_return)


class SeesLaterRows(Model):
    """Logistic regression whose training windows are one row too long."""

    kind: Literal["sees_later_rows"] = "sees_later_rows"
    n_rows: int = 1

    def fit_many(self, training_sets: Sequence[Any], **callbacks: Any) -> list[FittedModel]:
        """The weights of longer windows."""
        from dataclasses import replace

        longer = [
            replace(
                data,
                folds=[
                    replace(folds, train_stop=np.minimum(folds.train_stop + self.n_rows, len(data.X)))
                    for folds in data.folds
                ],
            )
            for data in training_sets
        ]
        return fit_many(longer, LogisticRegression(tol=1e-12), **callbacks)


class NextForecast(quantlr.Policy):
    """Long where the next forecast is above one half."""

    kind: Literal["next_forecast"] = "next_forecast"

    def decide(self, forecasts: Any, context: Any) -> Array:
        """By the next row."""
        return np.where(np.append(forecasts.probability[1:], 0.5) > 0.5, 1.0, 0.0)


class NextVolatility(Overlay):
    """Half of the weight where the next volatility is higher."""

    kind: Literal["next_volatility"] = "next_volatility"

    def apply(self, weight: Array, forecasts: Any, context: Any) -> Array:
        """By the next row."""
        rises = np.append(np.diff(context.volatility) > 0, False)
        return np.where(rises, weight / 2, weight)


@pytest.mark.parametrize("name", COMPUTE)
@pytest.mark.parametrize("tickers", [["MSFT"], ["MSFT", "IBM", "AAPL"]], ids=len)
def test_feature_with_look_ahead_is_an_error_that_names_it_and_the_session(name: str, tickers: list[str]) -> None:
    config = {**SMALL, "data": {**SMALL["data"], "tickers": tickers}, "model": {"l2": 0.01}}
    with pytest.raises(LookAheadError, match="feature 'computed' looks ahead: computed of ") as caught:
        quantlr.run(config, features=[Computed(name=name)])
    assert (caught.value.exit_status, caught.value.key) == (3, "features.1")
    assert "after 200" in caught.value.message
    is_level = name in ("volume", "close")
    assert ("use a ratio" in caught.value.message) == is_level


def test_feature_inside_a_transform_is_audited() -> None:
    config = {**SMALL, "features": [{"kind": "rank", "of": Computed(name="centred mean")}]}
    with pytest.raises(LookAheadError, match="feature 'computed' looks ahead"):
        quantlr.run({**config, "data": {**SMALL["data"], "tickers": ["MSFT", "IBM"]}})


@pytest.mark.parametrize(
    ("key", "component", "text"),
    [
        ("label", AboveMedian(), "label 'above_median' looks ahead: up of MSFT "),
        ("label", KnownEarly(horizon=5), "label 'known_early' looks ahead: up was never pending"),
        ("model", SeesLaterRows(), "model 'sees_later_rows' looks ahead: weights of MSFT "),
        ("policy", NextForecast(), "policy 'next_forecast' looks ahead: weight of MSFT "),
        ("overlays", [NextVolatility()], "overlay 'next_volatility' looks ahead: weight of MSFT "),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_other_components_with_look_ahead_are_named(key: str, component: Any, text: str) -> None:
    for use in (quantlr.run, quantlr.predict):
        with pytest.raises(LookAheadError, match=text) as caught:
            use(SMALL, overrides={key: component})
        assert key in caught.value.message


def test_honest_components_get_a_verdict() -> None:
    for feature in (Trailing(), PickyTrailing()):
        assert quantlr.run(SMALL, features=[feature], overrides={"model": SeesLaterRows(n_rows=0)}).verdict


def test_feature_that_accepts_no_replaced_price_is_an_error() -> None:
    config = {**SMALL, "features": [PickyTrailing(highest=-1.0)]}
    with pytest.raises(ComponentError, match="price too high"):
        quantlr.run(config)


@pytest.mark.parametrize("seed", range(20))
def test_centred_feature_is_convicted_in_every_market(seed: int) -> None:
    config = load_config({**SMALL, "features": [Computed(name="centred mean")]}).run
    prices = random_walk_prices(seed, n_sessions=400, n_tickers=2, with_gaps=True)
    with pytest.raises(LookAheadError):
        audit_user_inputs(config, prices)
    audit_user_inputs(config.model_copy(update={"features": (Trailing(),)}), prices)


@pytest.mark.parametrize(("n_sessions", "n_tickers"), [(1250, 1), (5000, 1), (2500, 60), (1250, 300)])
def test_number_of_values_that_an_audit_computes_is_bounded(
    n_sessions: int, n_tickers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def last_return(prices: Prices, returns: pd.DataFrame) -> pd.DataFrame:
        sizes.append(prices.close.size)
        return returns

    monkeypatch.setitem(COMPUTE, "last return", last_return)
    config = load_config({**SMALL, "features": [Computed(name="last return")]}).run
    audit_user_inputs(config, random_walk_prices(1, n_sessions=n_sessions, n_tickers=n_tickers))
    assert len(sizes) <= 20
    assert sum(sizes) <= min(20 * n_sessions * n_tickers, 800_000)


def test_installed_feature_with_look_ahead_ends_the_run_with_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = import_user_module(tmp_path)
    monkeypatch.setattr(
        module.Change, "compute", lambda self, prices: {"change": -np.roll(prices.close, -1) / prices.close}
    )
    install_user_module(tmp_path, {"features": {"change": "Change"}})
    Path("own.yaml").write_text(json.dumps({**SMALL, "features": [{"kind": "change"}]}))
    for verb in ("run", "audit", "predict"):
        result = CliRunner().invoke(main, [verb, "own.yaml"])
        assert result.exit_code == 3, result.output
    result = CliRunner().invoke(main, ["run", "own.yaml"])
    assert result.stderr.startswith("own.yaml:1:")
    assert "feature 'change' looks ahead" in result.stderr
    assert not Path("reports/small/metrics.json").exists()
    sweep = {"name": "own", "base": {**SMALL, "features": [{"kind": "change"}]}, "grid": {"seed": [0, 1]}, "holdout": 0}
    trials = quantlr.sweep(sweep, workers=1).trials
    assert trials["error"].str.contains("looks ahead").all()
