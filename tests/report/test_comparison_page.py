"""The drawing functions of the page that compares runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from quantlr.report.pages.comparison import draw_difference_matrix, draw_forest_plot, equity_by_run_panel


def new_axes() -> Any:
    return Figure(figsize=(6, 4)).add_subplot()


def differences(value: list[float], **others: Any) -> dict[str, Any]:
    """Return a table of differences with intervals of ±0.3."""
    pairs = [(0, 1), (0, 2), (1, 2)][: len(value)]
    first, second = np.array(pairs).T
    values = np.array(value)
    table = {"first": first, "second": second, "value": values, "low": values - 0.3, "high": values + 0.3}
    return {**table, "significant_mask": values == 0.5, "texts": ["a", "b", "c"], "better_sign": 1, **others}


def test_equity_curves_are_drawn_as_given() -> None:
    ax, equity = new_axes(), np.array([[1.0, 1.1], [1.2, 0.9], [1.3, 0.0]])
    dates, benchmark = pd.bdate_range("2020-01-01", periods=3), np.array([1.0, 1.1, 1.2])
    table = {"dates": dates, "equity": equity, "benchmark": benchmark, "benchmark_name": "buy and hold"}
    equity_by_run_panel.draw(ax, table)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(lines["A"], equity[:, 0])
    np.testing.assert_array_equal(lines["B"], [1.1, 0.9, np.nan])
    np.testing.assert_array_equal(lines["buy and hold"], benchmark)


def test_differences_have_a_row_with_interval_and_text_each() -> None:
    ax = new_axes()
    draw_forest_plot(ax, differences([0.2, np.nan]))
    intervals = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() > 2]
    assert intervals == [[0.2 - 0.3, 0.5]]
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["B − A", "C − A"]


def test_differences_without_values_have_texts_only() -> None:
    ax = new_axes()
    draw_forest_plot(ax, differences([np.nan, np.nan]))
    assert len(ax.texts) == 2
    assert not len(ax.get_xticks())


def test_difference_matrix_has_a_cell_per_pair_and_frames_significant_ones() -> None:
    ax = new_axes()
    draw_difference_matrix(ax, differences([0.5, -0.25, np.nan]))
    assert [text.get_text() for text in ax.texts] == ["+0.50", "−0.25", "–"]
    assert len(ax.lines) == 1
    assert np.asarray(ax.images[0].get_array())[2, 0] == -0.25
