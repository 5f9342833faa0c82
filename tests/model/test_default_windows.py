"""Training rows and rows between refits that are auto follow the frequency of the bars."""

from __future__ import annotations

import pytest
from quantlr.model.splits import WalkForwardSpec, make_folds


@pytest.mark.parametrize(
    ("sessions_per_year", "train", "refit_every"),
    [(252, 1000, 21), (365, 1000, 21), (243, 1000, 21), (52, 208, 4), (12, 60, 1), (4, 60, 1)],
)
def test_default_windows_by_frequency(sessions_per_year: int, train: int, refit_every: int) -> None:
    spec = WalkForwardSpec().resolve(sessions_per_year)
    assert (spec.train, spec.refit_every) == (train, refit_every)
    folds = make_folds(1200, spec, horizon=1)
    assert folds.train_stop[0] == train
    assert folds.test_start[1] - folds.test_start[0] == refit_every


def test_numbers_of_the_config_are_kept() -> None:
    spec = WalkForwardSpec(train=77, refit_every="never")
    assert spec.resolve(12) == spec
    assert len(make_folds(300, spec.resolve(52), horizon=1)) == 1
