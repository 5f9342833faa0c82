"""No two texts overlap on the pages on robustness, features and race, for rows and names that are hard to draw.

The rows are made up: their numbers, names and number are the extremes that such a page can have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from quantlr.backtest.metric_types import BacktestView
from quantlr.experiment.robustness import CRISES, MAX_NEIGHBOURS, MAX_TICKERS
from quantlr.model.feature_elimination import EliminationStep
from quantlr.model.feature_worth import FeatureSet, FeatureSetWorth, FeatureWorth
from quantlr.report.context import PageContext
from quantlr.report.fonts import draw_with_fallback_fonts
from quantlr.report.pages import PAGES, Page
from quantlr.report.pages.features import make_features_page
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.pages.race import make_race_page
from quantlr.report.pages.robustness import RobustnessContext, RobustnessRow, make_robustness_page
from quantlr.report.race import Competitor, make_race_entries
from quantlr.stats.path_resamples import resample_paths

from report.cases import LONG_TICKER, case_context
from report.drawn_text import text_collisions
from report.test_layout import with_long_texts

CJK_NAME = "贵州茅台酒股份有限公司"
LONG_SETTING = "features.1.product.of.0.windows [126, 252, 504, 1008]"


def robustness_page(context: PageContext, name: str, *, sharpe: float | None) -> Page:
    """Return the page with as many rows as there can be, each with the longest name."""
    names = {
        "year": [str(1990 + index) for index in range(40)],
        "crisis": [crisis for crisis, _, _ in CRISES],
        "regime": ["high volatility", "low volatility", "rising market", "falling market"],
        "ticker": [f"{name}{index:02d}" for index in range(MAX_TICKERS)],
        "cost": [f"costs x {factor}" for factor in (0, 2, 3, 4, 5)],
        "delay": [f"filled {delay} sessions later" for delay in range(1, 6)],
        "setting": [f"{LONG_SETTING} {index}" for index in range(MAX_NEIGHBOURS)],
    }
    rng = np.random.default_rng(0)
    rows = tuple(
        RobustnessRow(group, own, 250, float(rng.normal(0, 4)), float(rng.normal()), -0.1, 0.5, float(rng.random()))
        for group, own_names in names.items()
        for own in own_names
    )
    paths = resample_paths(
        np.log1p(context.run_data.result.net_return.clip(-0.99)), block_length=3.0, seed=0, n_paths=50
    )
    return make_robustness_page(RobustnessContext(context, rows, sharpe, paths, 3.0))


def features_page(context: PageContext, name: str, *, n_sets: int) -> Page:
    """Return the page of many sets of features with long names."""
    forecasts = context.run_data.forecasts
    known = ~np.isnan(forecasts.up)
    rng = np.random.default_rng(0)
    test = {"statistic": 12.3, "p_value": 0.0001, "sessions": 1_000, "min_sessions": 8}
    sets = tuple(
        FeatureSetWorth(
            FeatureSet(f"{name}{index}", (index,), index % 3 == 2), test, 0.0001,
            rng.normal(0, 0.1, int(known.sum())), test, -0.01,
        )
        for index in range(n_sets)
    )  # fmt: skip
    kept = tuple(item.features for item in sets)
    steps = tuple(EliminationStep(kept[n:], kept[n - 1] if n else None, 0.69 + 0.001 * n) for n in range(n_sets + 1))
    return make_features_page(FeatureWorth(sets, forecasts, known), steps)


def race_page(context: PageContext, name: str, *, n_challengers: int) -> Page:
    """Return the page of a race against many challengers with long names."""
    backtest = BacktestView(context.run_data.result, context.sessions_per_year)
    evaluated = context.evaluated_forecasts
    model = Competitor("logistic_regression", "model", evaluated, backtest, 12_345.67)
    turned = replace(evaluated, probability=1.0 - evaluated.probability, log_odds=-evaluated.log_odds)
    challenger = Competitor(name, "challenger", turned, backtest, 12_345.67)
    model_entry, entry = make_race_entries([model, challenger])
    others = [replace(entry, competitor=replace(challenger, name=f"{name}{index}")) for index in range(n_challengers)]
    return make_race_page([model_entry, *others])


def draw_with_measured_texts(page: Page, context: PageContext) -> Figure:
    """Return a page as a figure, whose letters have been replaced where no font has them."""
    figure = page.draw_figure(context)
    draw_with_fallback_fonts(figure, figure.draw_without_rendering)
    return figure


PAGES_TO_TEST: dict[str, Any] = {
    "robustness": lambda context, name: robustness_page(context, name, sharpe=0.5),
    "robustness, losses": lambda context, name: robustness_page(context, name, sharpe=-12.34),
    "a feature": lambda context, name: features_page(context, name, n_sets=1),
    "40 features": lambda context, name: features_page(context, name, n_sets=40),
    "race": lambda context, name: race_page(context, name, n_challengers=1),
    "race against 11": lambda context, name: race_page(context, name, n_challengers=11),
}


@pytest.mark.parametrize("page", PAGES_TO_TEST)
@pytest.mark.parametrize(
    ("case", "name"), [("ten very long names", LONG_TICKER), ("one year", CJK_NAME)], ids=["long", "CJK"]
)
def test_texts_of_further_pages_do_not_overlap(page: str, case: str, name: str) -> None:
    context = with_long_texts(case_context(case))
    with use_matplotlib_defaults():
        assert not text_collisions(draw_with_measured_texts(PAGES_TO_TEST[page](context, name), context))


def test_texts_of_a_run_with_names_in_another_script_do_not_overlap() -> None:
    context = case_context("three tickers, five sessions ahead")
    tickers = (CJK_NAME, "トヨタ自動車", "삼성전자")
    data = context.run_data
    metrics = {**context.metrics, "backtest": {**context.metrics["backtest"], "benchmark_name": CJK_NAME}}
    data = replace(
        data,
        prices=replace(data.prices, tickers=tickers),
        forecasts=replace(data.forecasts, tickers=tickers),
        result=replace(data.result, tickers=tickers),
    )
    named_context = replace(context, run_data=data, metrics=metrics)
    pages = [page for page in PAGES if page.is_applicable(named_context)]
    with use_matplotlib_defaults():
        for page in pages:
            assert not text_collisions(draw_with_measured_texts(page, named_context)), page.name
