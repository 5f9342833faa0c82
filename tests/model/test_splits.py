from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import NotEnoughHistory
from quantlr.model.splits import WalkForwardSpec, make_folds


def test_first_forecast_row_at_horizon_one_is_train() -> None:
    folds = make_folds(7, WalkForwardSpec(train=4, refit_every=1), horizon=1)
    assert [(fold.train, fold.test) for fold in folds] == [
        (slice(0, 4), slice(4, 5)),
        (slice(0, 5), slice(5, 6)),
        (slice(0, 6), slice(6, 7)),
    ]


def test_longer_horizon_delays_the_first_forecast() -> None:
    folds = make_folds(20, WalkForwardSpec(train=4, refit_every=5), horizon=3)
    assert folds[0].train == slice(0, 4)
    assert folds[0].test == slice(6, 11)
    assert folds[1].train == slice(0, 9)


def test_refit_never_and_rolling_window() -> None:
    assert len(make_folds(50, WalkForwardSpec(train=10, refit_every="never"), horizon=1)) == 1
    rolling = make_folds(50, WalkForwardSpec(train=10, refit_every=7, window="rolling", embargo=2), horizon=2)
    assert rolling[1].train == slice(7, 17)
    assert rolling[1].test == slice(20, 27)


@given(
    rows=st.integers(2, 120),
    train=st.integers(2, 40),
    every=st.integers(1, 30) | st.just("never"),
    window=st.sampled_from(["expanding", "rolling"]),
    embargo=st.integers(0, 5),
    horizon=st.integers(1, 8),
)
def test_folds_obey_the_timing_rule(
    rows: int, train: int, every: int | str, window: str, embargo: int, horizon: int
) -> None:
    spec = WalkForwardSpec.model_validate({"train": train, "refit_every": every, "window": window, "embargo": embargo})
    if rows < train + horizon + embargo:
        with pytest.raises(NotEnoughHistory):
            make_folds(rows, spec, horizon=horizon)
        return
    folds = make_folds(rows, spec, horizon=horizon)
    tested = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    np.testing.assert_array_equal(tested, np.arange(train - 1 + horizon + embargo, rows))
    for fold in folds:
        newest = fold.train.stop - 1
        assert newest + horizon + embargo == fold.test.start, "the newest label is known, and the next one is not"
        assert fold.train.stop - fold.train.start == (train if window == "rolling" else fold.train.stop)


def test_too_few_rows_raise_with_the_number_needed() -> None:
    with pytest.raises(NotEnoughHistory, match=r"needs 1005 rows \(train 1000 \+ gap 4 \+ test 1\), found 70; fetch"):
        make_folds(70, WalkForwardSpec(train=1000), horizon=5)
