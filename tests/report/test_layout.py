"""No two texts of a page overlap, and none leaves the page, for runs that are hard to draw."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import quantlr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from quantlr.report.context import PageContext
from quantlr.report.fonts import fit_text, text_width
from quantlr.report.pages import PAGES, Page, pages_to_draw
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.pages.sweep import SweepPageContext, sweep_figure
from quantlr.report.pages.ticker import TickerContext, ticker_panels, ticker_title_and_text

from report.cases import CASES, LONG_TICKER, PRODUCT_FEATURES, case_context
from report.drawn_text import text_collisions

TICKER_PAGE = Page(
    "ticker.png", "Ticker", ticker_title_and_text, ticker_panels, make_context=partial(TickerContext, ticker_index=0)
)
LONG_VERDICT = (
    f"1,234 of 12,345 fits did not converge. Not shown to beat {LONG_TICKER}: accuracy 53.1% on 1,234,567 forecasts, "
    "majority-class baseline 52.9% (Clark-West p < 0.001; log loss 0.69312, better than the base rate's 0.69315); "
    "trading on the forecasts pays after costs (Sharpe ratio 1.02, probabilistic Sharpe ratio over 99.9%), and alpha "
    f"over {LONG_TICKER} is +12.3% a year (t = 3.21, p < 0.001; beta 0.76), but the return above holding the average "
    "position is +1.2% a year (t = 0.45, p = 0.653); finding skill of this size with 80% power would take about "
    "1,234 years (90% interval: 345 to 12,345); run quantlr audit, and check how prices and features were made."
)
LONG_NOTES = ("VERYLONG: the words of a note that go on and on " * 6,) * 2
SWEEP_BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2004-01-01", "end": "2008-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 500, "refit_every": 250},
}
FEATURES_GRID = [PRODUCT_FEATURES, PRODUCT_FEATURES[:1], [{"kind": "lagged_returns", "lags": [1]}]]
GRIDS: dict[str, dict[str, list[Any]]] = {
    "one key": {"policy.long_above": [0.48, 0.5, 0.52]},
    "two keys": {"features": FEATURES_GRID, "model.l2": [0.0, 0.1]},
    "three keys": {
        "policy.long_above": [0.48, 0.5],
        "features": FEATURES_GRID[:2],
        "walk_forward.window": ["rolling", "expanding"],
    },
    "failing": {"walk_forward.train": [5000, 6000]},
}


def with_long_texts(context: PageContext) -> PageContext:
    """Return a context with the longest verdict, names and notes."""
    metrics = deepcopy(context.metrics)
    metrics["verdict"]["sentence"] = LONG_VERDICT
    metrics["backtest"]["benchmark_name"] = LONG_TICKER
    config = context.config.model_copy(update={"name": "a_name_of_a_config_that_is_longer_than_anyone_would_write"})
    return replace(context, config=config, metrics=metrics, notes=LONG_NOTES)


CASES_WITH_LONG_TEXTS = ("all long", "ten very long names, fitted once", "without coefficients")
"""One ticker, several, and a model with other panels: title, notes and names are drawn alike in the other cases."""


@pytest.mark.parametrize("case", CASES)
def test_texts_of_the_pages_of_a_run_do_not_overlap(case: str) -> None:
    context = case_context(case)
    if case in CASES_WITH_LONG_TEXTS:
        context = with_long_texts(context)
    pages = [page for page in (*PAGES, TICKER_PAGE) if page.is_applicable(context)]
    assert set(pages) >= set(pages_to_draw(context))
    with use_matplotlib_defaults():
        collisions = {page.file_name: text_collisions(page.draw_figure(context)) for page in pages}
    assert not {name: lines for name, lines in collisions.items() if lines}


@pytest.fixture(scope="module", params=GRIDS)
def sweep_context(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SweepPageContext:
    """Return what the page of a sweep shows."""
    contexts: list[SweepPageContext] = []

    def keep(context: SweepPageContext) -> bytes:
        contexts.append(context)
        return b""

    folder: Path = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantlr.report.pages.sweep.sweep_page_png", keep)
        quantlr.sweep({"name": "case", "base": SWEEP_BASE, "grid": GRIDS[request.param]}, output=folder, workers=1)
    return contexts[0]


@pytest.mark.parametrize("has_long_texts", [False, True], ids=["", "long texts"])
def test_texts_of_the_page_of_a_sweep_do_not_overlap(sweep_context: SweepPageContext, has_long_texts: bool) -> None:
    context = sweep_context
    if has_long_texts:
        title, _, subtitle = LONG_VERDICT.partition(": ")
        surface = replace(context.surface, benchmark_name=LONG_TICKER)
        context = replace(context, title=title, subtitle=subtitle, notes=LONG_NOTES, surface=surface)
    with use_matplotlib_defaults():
        assert not text_collisions(sweep_figure(context))


WORDS = st.lists(st.text("abcW_(),.…−", min_size=1, max_size=30), min_size=1, max_size=12).map(" ".join)


@given(WORDS, st.floats(30.0, 600.0), st.sampled_from([((10.0, 1),), ((10.0, 1), (7.0, 2)), ((9.0, 2), (6.0, 3))]))
def test_fitted_text_is_within_its_width_and_loses_nothing_unmarked(text: str, width: float, sizes: Any) -> None:
    fitted, size = fit_text(text, max_width=width, sizes=sizes)
    lines = fitted.split("\n")
    assert len(lines) <= dict(sizes)[size]
    assert all(text_width(line, font_size=size) <= width for line in lines if line != "…")
    if " ".join(lines) != text:
        assert size == sizes[-1][0], "text is cut only where the smallest letters do not fit"
        assert "…" in fitted


def test_text_width_is_that_of_matplotlib_without_kerning() -> None:
    for text in ("WAVE", "ill", "0.53 ± 0.02", "product(lagged_returns_1, volatility_20)"):
        for weight in ("normal", "bold"):
            font = FontProperties(family="DejaVu Sans", size=20, weight=weight)
            drawn, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
            assert drawn - 0.5 <= text_width(text, font_size=20.0, is_bold=weight == "bold") <= 1.1 * drawn + 0.5
