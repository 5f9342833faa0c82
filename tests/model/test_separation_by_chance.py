"""Perfect separation: by chance where rows are few, by look-ahead where they are many."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from quantlr.core.errors import DegenerateFold
from quantlr.model.batched.fit import fit_folds
from quantlr.model.config import LogisticRegression
from quantlr.model.separation import chance_of_separation
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData
from scipy.optimize import linprog


@pytest.mark.parametrize(("n_rows", "n_features"), [(1, 1), (3, 1), (6, 1), (6, 2), (7, 3)])
def test_chance_of_separation_equals_the_share_of_all_labellings(n_rows: int, n_features: int) -> None:
    """Each labelling of random points is tested by linear programming."""
    X = np.column_stack([np.ones(n_rows), np.random.default_rng(1).normal(size=(n_rows, n_features))])
    n_separable = sum(
        linprog(
            np.zeros(1 + n_features), A_ub=-np.array(signs)[:, None] * X, b_ub=-np.ones(n_rows), bounds=(None, None)
        ).status
        == 0
        for signs in product([-1.0, 1.0], repeat=n_rows)
    )
    assert chance_of_separation(n_rows, 1 + n_features) == n_separable / 2**n_rows


def separated_error(n_rows: int) -> DegenerateFold:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows + 1, 2))
    y = (X[:, 0] > 0).astype(np.float64)
    folds = make_folds(n_rows + 1, WalkForwardSpec(train=n_rows, refit_every="never"), horizon=1)
    data = TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))
    with pytest.raises(DegenerateFold) as caught:
        fit_folds(data, LogisticRegression())
    return caught.value


def test_separation_of_many_rows_names_look_ahead_instead_of_l2() -> None:
    many, few = separated_error(200), separated_error(12)
    assert many.key == "features"
    assert "look-ahead" in many.message
    assert "l2" not in many.message
    assert few.key == "model.l2"
    assert "look-ahead" not in few.message
