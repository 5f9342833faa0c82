"""Simulated rows, and training data with monthly refits."""

from __future__ import annotations

import numpy as np
from quantlr.core.values import Array
from quantlr.model.splits import WalkForwardSpec, make_folds
from quantlr.model.standardize import fold_scaling
from quantlr.model.training import TrainingData

MONTHLY_REFITS = WalkForwardSpec(train=200, refit_every=21)


def example_data(seed: int, *, rows: int = 900, k: int = 4, edge: float = 0.4) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.standard_t(4, size=(rows, k)) * 0.01
    z = X @ rng.normal(size=k) * 100 * edge
    return X, (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(np.float64)


def training(X: Array, y: Array, spec: WalkForwardSpec = MONTHLY_REFITS) -> TrainingData:
    folds = make_folds(len(X), spec, horizon=1)
    return TrainingData(X, y, [folds], fold_scaling(X, [folds], has_label=~np.isnan(y)))
