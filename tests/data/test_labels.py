from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.data.labels import LABELS, Direction, Label
from quantlr.types import NEVER, known_row

from markets import FUTURES, random_walk, with_future

EXAMPLES = [example for label in LABELS for example in label.examples() if isinstance(example, Label)]
walk = pytest.mark.parametrize("label", EXAMPLES, ids=lambda label: f"{label.kind}-{label.horizon}")


@walk
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(30, 88), future=st.sampled_from(FUTURES))
def test_labels_known_by_then_do_not_change_with_what_comes_after(
    label: Label, seed: int, cut: int, future: str
) -> None:
    prices = random_walk(seed, sessions=90)
    now = label.compute(prices)
    other = label.compute(with_future(prices, after=cut, kind=future, seed=seed))
    known = cut - label.horizon + 1
    np.testing.assert_array_equal(other.up[:known], now.up[:known])
    np.testing.assert_allclose(other.span_return[:known], now.span_return[:known], rtol=1e-9)


@walk
def test_labels_of_the_newest_rows_are_not_known(label: Label) -> None:
    prices = random_walk(1, sessions=50, tickers=3, holes=True)
    found = label.compute(prices)
    for ticker, bars in enumerate(prices.bars):
        unknown = np.isnan(found.span_return[:bars, ticker])
        assert unknown.sum() == label.horizon
        assert unknown[-label.horizon :].all()


@pytest.mark.parametrize(("ties", "expected"), [("down", 0.0), ("up", 1.0), ("drop", np.nan)])
def test_an_unchanged_close_counts_as_the_config_says(ties: str, expected: float) -> None:
    prices = random_walk(2, sessions=200)
    found = Direction.model_validate({"ties": ties}).compute(prices)
    tie = found.span_return[:, 0] == 0
    assert tie.sum() > 3
    np.testing.assert_array_equal(found.up[tie, 0], expected)
    rest = ~tie & ~np.isnan(found.span_return[:, 0])
    np.testing.assert_array_equal(found.up[rest, 0], (prices.close[1:, 0] > prices.close[:-1, 0])[rest[:-1]])


def test_the_span_of_a_label_runs_over_the_tickers_own_bars() -> None:
    prices = random_walk(3, sessions=80, tickers=2, holes=True)
    span = Direction(horizon=4).compute(prices).span_return[:, 1]
    for bar in range(int(prices.bars[1]) - 4):
        assert span[bar] == pytest.approx(prices.close[known_row(bar, horizon=4), 1] / prices.close[bar, 1] - 1)


def test_never_is_later_than_any_session() -> None:
    assert NEVER > 10**12
