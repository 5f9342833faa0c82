"""The page of a race: its tables, the sign of its colours, and texts that do not overlap."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.experiment.race import RaceResult
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.pages.race import (
    RaceContext,
    competitor_differences_table,
    competitor_p_value_rows_table,
    competitor_rows_table,
    make_race_page,
    race_title_and_text,
)
from quantlr.report.race import race_metrics

from report.drawn_text import text_collisions

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2004-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250, "refit_every": 120},
}


@functools.cache
def race_of_trees() -> RaceResult:
    return quantlr.race(BASE, against=["decision_tree", "gaussian_nb"])


def race_context(result: RaceResult) -> RaceContext:
    return RaceContext(PageContext.from_run(result.config, result.run_data, {}, ()), result.entries)


def test_rows_have_the_values_of_the_entries() -> None:
    context = race_context(race_of_trees())
    rows = competitor_rows_table(context)["rows"]
    assert [row.label for row in rows[1:]] == [entry.competitor.name for entry in context.entries]
    assert rows[2].cells[0] == f"{100 * context.entries[1].metrics['accuracy']:.1f}%"  # type: ignore[operator]
    p_rows = competitor_p_value_rows_table(context)["rows"]
    assert p_rows[1].cells[1] == f"{context.entries[1].tests['log_loss'].adjusted_p_value:.3f}"


def test_colours_tell_significantly_better_from_worse() -> None:
    context = race_context(race_of_trees())
    for metric in race_metrics():
        table = competitor_differences_table(context, metric=metric)
        for entry, value, color in zip(context.entries[1:], table["value"], table["color_index"], strict=True):
            is_significant = entry.tests[metric.key].is_significant
            assert color == (metric.better_sign * np.sign(value) if is_significant else 0)
    losses = competitor_differences_table(context, metric=race_metrics()[1])
    assert losses["color_index"][0] == -1  # a full tree overfits
    assert losses["value"][0] > losses["limit"]


def test_title_states_whether_a_competitor_is_better() -> None:
    context = race_context(race_of_trees())
    title, text = race_title_and_text(context)
    assert "No competitor is significantly better than logistic_regression" in title
    assert f"{len(context.entries[0].competitor.forecasts.up):,} forecasts" in text
    tree, model = context.entries[1], context.entries[0]
    better = replace(tree, competitor=tree.competitor, tests=tree.tests)
    turned = {
        key: replace(test, difference=test.difference and replace(test.difference, value=-test.difference.value))
        for key, test in better.tests.items()
    }
    title, _ = race_title_and_text(replace(context, entries=(model, replace(better, tests=turned))))
    assert "DecisionTreeClassifier" in title


@pytest.mark.parametrize("n_entries", [5, 12])
def test_texts_of_the_page_do_not_overlap(n_entries: int) -> None:
    result = race_of_trees()
    model, *others = result.entries
    entries = [model, *(others[index % len(others)] for index in range(n_entries - 1))]
    names = [f"{entry.competitor.name} {index}" for index, entry in enumerate(entries)]
    entries = [
        replace(entry, competitor=replace(entry.competitor, name=name))
        for entry, name in zip(entries, names, strict=True)
    ]
    with use_matplotlib_defaults():
        page = make_race_page(tuple(entries))
        assert not text_collisions(page.draw_figure(race_context(result).run_context))
