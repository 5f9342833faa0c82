from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.windows import overlapping_refit_slices
from sklearn.preprocessing import StandardScaler


@given(
    seed=st.integers(0, 10_000),
    window=st.sampled_from(["expanding", "rolling"]),
    every=st.integers(1, 60),
    level=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_scaling_equals_standard_scaler_of_each_fold(seed: int, window: str, every: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 2)) * np.array([1.0, 1e-6]) + level
    jump = int(rng.integers(20, 180))
    X[jump:] *= 10.0 ** rng.integers(-6, 7)
    folds = make_folds(
        len(X), WalkForwardSpec.model_validate({"train": 30, "refit_every": every, "window": window}), horizon=1
    )
    scaling = fold_scaling(X, [folds], has_label=np.ones(len(X), dtype=np.bool_))
    for index, fold in enumerate(folds):
        oracle = StandardScaler().fit(X[fold.train])
        np.testing.assert_allclose(scaling.mean[index], oracle.mean_, rtol=1e-9)
        spread = np.sqrt(oracle.var_)
        close = np.abs(scaling.std[index] - spread) <= 1e-6 * spread + 1e-15 * np.abs(X[fold.train]).max(axis=0) * 30
        assert close.all()


def test_constant_has_zero_std_at_any_level() -> None:
    X = np.column_stack([np.full(60, 0.1), np.full(60, 1e9), np.r_[np.full(40, 3.0), np.arange(20.0)]])
    folds = make_folds(60, WalkForwardSpec(train=20, refit_every=1), horizon=1)
    deviation = fold_scaling(X, [folds], has_label=np.ones(len(X), dtype=np.bool_)).std
    assert not deviation[:, :2].any()
    assert not deviation[:21, 2].any()
    assert deviation[21:, 2].all()


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_overlapping_slices_cover_refits_once_and_share_rows(window: str) -> None:
    spec = WalkForwardSpec.model_validate({"train": 25, "refit_every": 3, "window": window})
    folds = make_folds(500, spec, horizon=1)
    runs = overlapping_refit_slices([folds], max_refits=16, min_overlap=0.5)
    assert [index for run in runs for index in range(run.start, run.stop)] == list(range(len(folds)))
    for run in runs:
        assert run.stop - run.start <= 16
        common = folds.train_stop[run].min() - folds.train_start[run].max()
        assert common >= 0.5 * (folds.train_stop[run] - folds.train_start[run]).max()


@given(seed=st.integers(0, 10_000), level=st.sampled_from([0.0, 1e6]), outlier=st.sampled_from([0.0, 1e9]))
def test_scaling_is_accurate_with_a_sampled_center(seed: int, level: float, outlier: float) -> None:
    """Whatever rows it hits or misses, a variance loses no more than a few bits."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20_000, 2)) + level
    X[rng.integers(0, 2000) * (10 if seed % 2 else 9), 0] += outlier
    folds = make_folds(len(X) + 1, WalkForwardSpec(train=len(X), refit_every="never"), horizon=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantlr.model.standardize.CENTER_SAMPLE_ROWS", 300)
        scaling = fold_scaling(X, [folds], has_label=np.ones(len(X), dtype=np.bool_))
    np.testing.assert_allclose(scaling.mean[0], X.mean(axis=0), rtol=1e-9, atol=1e-12 + 1e-15 * outlier)
    np.testing.assert_allclose(scaling.std[0], X.std(axis=0), rtol=1e-9)
