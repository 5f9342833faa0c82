from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.core.errors import DataError
from quantlr.core.timing import NOT_YET_KNOWN, label_known_row
from quantlr.data.labels import LABELS, DeadBand, Direction, Label, Outperformance

from markets import FEATURE_SCENARIOS, apply_scenario, random_walk_prices

EXAMPLES = [example for label in LABELS for example in label.examples() if isinstance(example, Label)]
for_each_label = pytest.mark.parametrize("label", EXAMPLES, ids=lambda label: f"{label.kind}-{label.horizon}")


@for_each_label
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(30, 88), scenario=st.sampled_from(FEATURE_SCENARIOS))
def test_known_labels_do_not_depend_on_later_prices(label: Label, seed: int, cut: int, scenario: str) -> None:
    prices = random_walk_prices(seed, n_sessions=90, context_tickers=("^GSPC",))
    before = label.compute_labels(prices)
    after = label.compute_labels(apply_scenario(prices, scenario, after_session=cut, seed=seed))
    known = cut - label.horizon + 1
    np.testing.assert_array_equal(after.up[:known], before.up[:known])
    np.testing.assert_allclose(after.horizon_return[:known], before.horizon_return[:known], rtol=1e-9)


@for_each_label
def test_labels_of_the_newest_rows_are_not_known(label: Label) -> None:
    prices = random_walk_prices(1, n_sessions=50, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    labels = label.compute_labels(prices)
    for ticker, bars in enumerate(prices.n_bars):
        unknown = np.isnan(labels.horizon_return[:bars, ticker])
        assert unknown.sum() == label.horizon
        assert unknown[-label.horizon :].all()


@pytest.mark.parametrize(("ties", "expected"), [("down", 0.0), ("up", 1.0), ("drop", np.nan)])
def test_an_unchanged_close_counts_as_the_config_says(ties: str, expected: float) -> None:
    prices = random_walk_prices(2, n_sessions=200)
    labels = Direction.model_validate({"ties": ties}).compute_labels(prices)
    tie = labels.horizon_return[:, 0] == 0
    assert tie.sum() > 3
    np.testing.assert_array_equal(labels.up[tie, 0], expected)
    rest = ~tie & ~np.isnan(labels.horizon_return[:, 0])
    np.testing.assert_array_equal(labels.up[rest, 0], (prices.close[1:, 0] > prices.close[:-1, 0])[rest[:-1]])


def test_the_span_of_a_label_runs_over_the_tickers_own_bars() -> None:
    prices = random_walk_prices(3, n_sessions=80, n_tickers=2, with_gaps=True)
    span = Direction(horizon=4).compute_labels(prices).horizon_return[:, 1]
    for bar in range(int(prices.n_bars[1]) - 4):
        assert span[bar] == pytest.approx(prices.close[label_known_row(bar, lag=4), 1] / prices.close[bar, 1] - 1)


def test_a_small_move_belongs_to_neither_and_has_a_return_all_the_same() -> None:
    prices = random_walk_prices(4, n_sessions=200)
    labels = DeadBand(band=0.005, horizon=2).compute_labels(prices)
    close = prices.close[:, 0]
    for bar in range(198):
        move = close[bar + 2] / close[bar] - 1
        expected = 1.0 if move > 0.005 else 0.0 if move < -0.005 else math.nan
        np.testing.assert_equal(labels.up[bar, 0], expected)
        assert labels.horizon_return[bar, 0] == pytest.approx(move, abs=1e-15)
    assert {0.0, 1.0} < {*np.nan_to_num(labels.up[:, 0], nan=-1.0)}


@pytest.mark.parametrize("traded", [False, True])
def test_a_ticker_is_measured_against_its_benchmark_between_the_same_dates(traded: bool) -> None:
    """Dates by dictionary, one bar at a time; the benchmark lacks some of them."""
    prices = random_walk_prices(5, n_sessions=80, n_tickers=3, with_gaps=True, context_tickers=("^GSPC",))
    name = "T2" if traded else "^GSPC"
    container = prices if traded else prices.context
    assert container is not None
    column = container.tickers.index(name)
    benchmark = {
        container.sessions[container.session[bar, column]]: container.close[bar, column]
        for bar in range(container.n_bars[column])
    }
    labels = Outperformance(benchmark=name, horizon=3).compute_labels(prices)
    missing = 0
    for ticker, bars in enumerate(prices.n_bars):
        for bar in range(bars):
            ends = [prices.sessions[prices.session[at, ticker]] for at in (bar, bar + 3) if at < bars]
            if len(ends) < 2 or not all(end in benchmark for end in ends) or prices.tickers[ticker] == name:
                assert np.isnan(labels.up[bar, ticker])
                missing += len(ends) == 2
                continue
            growth = prices.close[bar + 3, ticker] / prices.close[bar, ticker]
            assert labels.up[bar, ticker] == (growth > benchmark[ends[1]] / benchmark[ends[0]])
    assert missing > 0 if traded else missing == 0
    np.testing.assert_array_equal(labels.horizon_return, Direction(horizon=3).compute_labels(prices).horizon_return)


def test_a_benchmark_that_was_not_fetched_or_is_all_there_is() -> None:
    prices = random_walk_prices(6, n_sessions=30)
    with pytest.raises(DataError, match=r"'\^VIX' is needed and was not fetched, T0 were; add it") as caught:
        Outperformance(benchmark="^VIX").compute_labels(prices)
    assert caught.value.key == "data.context"
    with pytest.raises(DataError, match="T0 is the only ticker and can't outperform itself"):
        Outperformance(benchmark="T0").compute_labels(prices)


def test_never_is_later_than_any_session() -> None:
    assert NOT_YET_KNOWN > 10**12
