"""Windows that are auto follow the frequency of the bars, and a model for an audit is fitted more tightly."""

from __future__ import annotations

import pytest
from quantlr.model.config import LogisticRegression
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


@pytest.mark.parametrize(("tol", "expected"), [(1e-6, 1e-12), (1e-13, 1e-13)])
@pytest.mark.parametrize(
    ("solver", "max_iter", "audited"), [("newton", 50, 1000), ("newton", 5000, 5000), ("nesterov", 50, 50)]
)
def test_model_for_an_audit(tol: float, expected: float, solver: str, max_iter: int, audited: int) -> None:
    model = LogisticRegression.model_validate({"tol": tol, "solver": solver, "max_iter": max_iter, "l2": 0.3})
    changed = {"tol": expected, "max_iter": audited, "degenerate": "base_rate"}
    assert model.for_audit() == model.model_copy(update=changed)
