"""The page on the worth of features: its tables, and texts that do not overlap."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.experiment.worth import WorthResult
from quantlr.report.context import PageContext
from quantlr.report.pages.features import (
    FeaturesContext,
    alone_loss_reduction_table,
    cumulative_loss_reduction_table,
    features_title_and_text,
    loss_reduction_by_year_table,
    loss_reduction_table,
    make_features_page,
    ranked_sets,
)
from quantlr.report.pages.layout import use_matplotlib_defaults

from report.drawn_text import text_collisions

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2004-12-31"},
    "features": [
        {"kind": "lagged_returns", "lags": [1, 2, 3]},
        {"kind": "volatility", "windows": [20]},
        {"kind": "volatility", "windows": [21]},
        {"kind": "product", "of": [{"kind": "momentum", "windows": [126]}, {"kind": "volatility", "windows": [20]}]},
    ],
    "walk_forward": {"train": 250},
}


@functools.cache
def worth_of_sample(n_features: int = 4) -> WorthResult:
    return quantlr.worth(BASE | {"features": BASE["features"][:n_features]})


def features_context(n_features: int = 4) -> FeaturesContext:
    result = worth_of_sample(n_features)
    run = result.run
    context = PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)
    return FeaturesContext(context, result.worth, result.elimination)


def test_tables_have_the_sets_in_the_order_of_the_statistic() -> None:
    context = features_context()
    sets = ranked_sets(context.worth)
    statistics = [item.test["statistic"] for item in sets]
    assert statistics == sorted(statistics, reverse=True)
    assert any(item.features.is_group for item in sets)
    table, alone = loss_reduction_table(context), alone_loss_reduction_table(context)
    np.testing.assert_allclose(table["values"], [1000 * item.loss_reduction.mean() for item in sets])
    np.testing.assert_allclose(alone["values"], [1000 * item.alone_loss_reduction for item in sets])


def test_years_and_cumulative_sums_add_up_to_the_total() -> None:
    context = features_context()
    worth = context.worth
    forecasts = worth.forecasts
    table, sets = loss_reduction_by_year_table(context), ranked_sets(worth)
    year = forecasts.sessions[forecasts.session[worth.known]].year
    counts = np.array([(year == value).sum() for value in table["years"]])
    curves = list(cumulative_loss_reduction_table(context)["curves"].values())
    for row, item in enumerate(sets):
        assert table["values"][row] @ counts / 1000 == pytest.approx(item.loss_reduction.sum())
        assert curves[row][-1] == pytest.approx(item.loss_reduction.sum())


@pytest.mark.parametrize("n_features", [1, 4])
def test_texts_of_the_page_do_not_overlap(n_features: int) -> None:
    context = features_context(n_features)
    with use_matplotlib_defaults():
        assert not text_collisions(
            make_features_page(context.worth, context.elimination).draw_figure(context.run_context)
        )


def test_title_counts_the_significant_sets() -> None:
    context = features_context()
    n = sum(item.adjusted_p_value is not None and item.adjusted_p_value < 0.05 for item in context.worth.sets)
    title, text = features_title_and_text(context)
    assert ("None" in title) == (n == 0)
    assert f"{int(context.worth.known.sum()):,} forecasts" in text
