from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from quantlr.model.batched.sums import LocalRows
from quantlr.model.windows import TrainingWindows


@given(
    seed=st.integers(0, 100_000),
    refits=st.integers(1, 9),
    span=st.sampled_from([3, 20, 60]),
    block_bytes=st.sampled_from([1, 300, 2**16]),
)
def test_batched_sums_equal_each_refits_own_sums(seed: int, refits: int, span: int, block_bytes: int) -> None:
    """Whether all overlap or not, as in a piece of a history, and whether some have no row at all."""
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, span, refits))
    stop = np.maximum(np.sort(rng.integers(0, 60, refits)), start)
    windows = TrainingWindows(start, stop)
    X, values = rng.normal(size=(windows.n_union_rows, 2)), rng.normal(size=(3, windows.n_union_rows))
    rows = LocalRows.from_sample_weights(X, np.zeros(windows.n_union_rows), None, windows, by_class=False)
    sums, moments = rows.row_sums_by_class(values), rows.second_moments_by_class(values[0])
    with patch("quantlr.model.batched.sums.LOG_ODDS_BLOCK_BYTES", block_bytes):
        tanh = rows.tanh_row_sums(np.ones((refits, 2)), slice(None))
    core, selected = windows.common_rows, X[windows.common_rows]
    plain = windows.sum_by_refit(selected.sum(axis=0), X[: core.start].T, X[core.stop :].T)
    for index, rows_of_refit in enumerate(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True)):
        np.testing.assert_allclose(sums[index, :, 0], values[:, rows_of_refit] @ X[rows_of_refit], atol=1e-12)
        np.testing.assert_allclose(
            moments[index, 0], (X[rows_of_refit].T * values[0, rows_of_refit]) @ X[rows_of_refit], atol=1e-12
        )
        np.testing.assert_allclose(tanh[index], np.tanh(X[rows_of_refit].sum(axis=1)) @ X[rows_of_refit], atol=1e-12)
        np.testing.assert_allclose(plain[index], X[rows_of_refit].sum(axis=0), atol=1e-12)
