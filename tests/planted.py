"""Datasets whose labels depend on their features in a known way; for tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from quantlr.core.timing import NOT_YET_KNOWN
from quantlr.core.values import Array, Dataset


def dataset_of(features: Array, up: Array) -> Dataset:
    """Return a dataset of one ticker with horizon 1."""
    n = len(up)
    known = np.arange(1, n + 1)
    known[-1] = NOT_YET_KNOWN
    return Dataset(
        tickers=("T0",),
        sessions=pd.date_range("2000-01-03", periods=n, freq="B").as_unit("us"),
        columns=tuple(f"x{index}" for index in range(features.shape[1])),
        ticker=np.zeros(n, dtype=np.int64),
        session=np.arange(n),
        features=features,
        up=up,
        horizon_return=0.01 * (2 * up - 1),
        label_known_at=known,
        label_known_to_all_at=known,
        horizon=1,
    )


def planted_dataset(seed: int, effects: list[float], *, rows: int = 1000) -> Dataset:
    """Return features of white noise whose effects on the log odds are these."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, len(effects)))
    up = (rng.random(rows) < 1 / (1 + np.exp(-0.1 - X @ np.array(effects)))).astype(np.float64)
    up[-1] = np.nan
    return dataset_of(X, up)
