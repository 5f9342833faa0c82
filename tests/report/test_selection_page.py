"""The page on a choice among candidates: its tables, and texts that do not overlap."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.model.candidates import SelectedForecasts, take_columns
from quantlr.model.contributions import LogOddsContributions
from quantlr.report.context import PageContext
from quantlr.report.pages import pages_to_draw
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.pages.selection import (
    SELECTION_PAGE,
    SelectionContext,
    candidate_losses_table,
    candidate_weights_table,
    cumulative_selection_table,
    selection_title_and_text,
    weights_by_value_table,
)
from quantlr.report.pages.ticker import TickerContext, ticker_coefficient_table

from report.drawn_text import text_collisions

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2003-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2, 3]}],
    "walk_forward": {"train": 250},
}
SMALL = {"features.0.lags": [[1], [1, 2]]}
LARGE = {
    "features.0.lags": [[1], [1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    "model.l2": [0.0, 0.01, 0.1, 1.0],
    "walk_forward.window": ["expanding", "rolling"],
}


@functools.cache
def page_context(how: str, *, is_large: bool) -> PageContext:
    run = quantlr.run(BASE | {"select": {"over": LARGE if is_large else SMALL, "how": how}})
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


def test_weights_add_up_and_the_largest_come_first() -> None:
    table = candidate_weights_table(SelectionContext(page_context("mixture", is_large=True)))
    bands = np.stack(list(table["bands"].values()))
    np.testing.assert_allclose(bands.sum(axis=0), 1.0)
    means = bands[:-1].mean(axis=1)  # the last is of all others
    assert (np.diff(means) <= 0).all()
    assert len(table["dates"]) == bands.shape[1]


def test_page_of_a_ticker_has_the_coefficients_of_the_candidate_with_the_largest_weight() -> None:
    page = page_context("mixture", is_large=False)
    table = ticker_coefficient_table(TickerContext(page, ticker_index=1))
    candidate = page.metrics["model"]["coefficients"]["IBM"]
    assert set(table["features"]) == {name for name in candidate if name.startswith("lagged_returns")}


def test_losses_are_those_of_the_metrics() -> None:
    page = page_context("mixture", is_large=True)
    context = SelectionContext(page)
    losses = np.array([one["log_loss"] for one in page.metrics["selection"]["candidates"]])
    table = candidate_losses_table(context)
    shown = np.sort(losses)[[*range(len(table["values"]) - 1), -1]]
    expected = 1000 * (shown - page.metrics["forecast"]["log_loss"])
    np.testing.assert_allclose(table["values"], expected, atol=1e-9)
    assert table["hindsight_mask"].tolist() == [True] + [False] * (len(shown) - 1)
    title, _ = selection_title_and_text(context)
    assert f"{(losses > page.metrics['forecast']['log_loss']).sum()} of {len(losses)}" in title


def test_curves_end_at_the_loss_taken_off_the_base_rate() -> None:
    context = SelectionContext(page_context("best", is_large=False))
    forecasts = context.forecasts
    known = ~np.isnan(forecasts.up)
    up, base_rate, p = forecasts.up[known], forecasts.base_rate[known], forecasts.probability[known]
    likelihood = [np.log(np.where(up > 0, one, 1 - one)) for one in (p, base_rate)]
    # Both tickers have forecasts at every session.
    total = (likelihood[0] - likelihood[1]).sum() / 2
    assert cumulative_selection_table(context)["curves"]["chosen"][-1] == pytest.approx(total, rel=1e-9)


def test_weights_by_value_add_up_to_one_for_each_key() -> None:
    rows = list(weights_by_value_table(SelectionContext(page_context("mixture", is_large=True)))["rows"])
    shares = [row for row in rows if row.cells and row.cells[0].endswith("%")]
    assert len(shares) == 3 + 4 + 2
    assert sum(float(row.cells[0].rstrip("%")) for row in shares) == pytest.approx(300, abs=5)


@pytest.mark.parametrize(("how", "is_large"), [("mixture", True), ("follow", False)])
def test_page_is_drawn_without_collisions(how: str, *, is_large: bool) -> None:
    page = page_context(how, is_large=is_large)
    assert SELECTION_PAGE in pages_to_draw(page)
    with use_matplotlib_defaults():
        assert text_collisions(SELECTION_PAGE.draw_figure(page)) == []


@pytest.mark.parametrize("how", ["best", "mixture"])
def test_contributions_are_the_weighted_means_of_the_candidates_own(how: str) -> None:
    data = page_context(how, is_large=False).run_data
    forecasts = data.forecasts
    assert isinstance(forecasts, SelectedForecasts)
    contributions, selection = LogOddsContributions(data.dataset, forecasts), forecasts.selection
    table = pd.DataFrame(contributions.of_ticker(0), columns=contributions.columns)
    expected = pd.DataFrame(0.0, index=table.index, columns=table.columns)
    weights = selection.weights[np.searchsorted(selection.session, forecasts.session[forecasts.ticker == 0])]
    for index, columns in enumerate(selection.dataset_columns):
        dataset = take_columns(data.dataset, *columns)
        own = LogOddsContributions(dataset, forecasts.of_candidate(index)).of_ticker(0)
        expected[list(dataset.columns)] += weights[:, [index]] * own
    pd.testing.assert_frame_equal(table, expected, rtol=1e-10, atol=1e-14)


def test_other_runs_have_no_such_page_and_the_model_page_names_the_candidate() -> None:
    page = page_context("best", is_large=False)
    own = page.of_leader()
    assert own.candidate.startswith("features.0.lags = ")
    assert own.logistic_regression is not None
    assert own.run_data.forecasts.refits.columns == own.run_data.dataset.columns
    assert own.of_leader() is own
    assert SELECTION_PAGE not in pages_to_draw(own)
