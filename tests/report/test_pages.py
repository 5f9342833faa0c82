"""The tear sheet, the panels of all pages, and the drawing functions that pages share."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import imread
from matplotlib.text import Text
from quantlr.backtest.drawdowns import deepest_drawdowns
from quantlr.backtest.naive_rules import NAIVE_RULES
from quantlr.backtest.report_spec import PageName
from quantlr.report.pages import PAGES, pages_to_draw
from quantlr.report.pages.layout import (
    Panel,
    Rectangle,
    grid_rectangles,
    use_matplotlib_defaults,
)
from quantlr.report.pages.model import MODEL_PAGE
from quantlr.report.pages.returns import RETURNS_HEIGHT, monthly_histogram_table
from quantlr.report.pages.tearsheet import (
    MONTH_LABELS,
    TEARSHEET_PAGE,
    growth_panel,
    growth_table,
    monthly_return_table,
    monthly_returns_panel,
    tearsheet_figure,
)
from quantlr.report.style import (
    TableRow,
    draw_text_table,
    number_text,
    percent_text,
    round_tick_values,
    shorten_middle,
)

from report.cases import USER_RCPARAMS, case_context, case_tear_sheet


@pytest.mark.parametrize("case", ["three years", "three tickers, five sessions ahead"])
def test_tear_sheet_bytes_repeat_under_any_matplotlib_settings(case: str) -> None:
    png = case_tear_sheet(case).png_bytes
    with matplotlib.rc_context(USER_RCPARAMS):
        assert png == PAGES[0].render_picture(case_context(case)).png_bytes
        assert matplotlib.rcParams["font.size"] == 20, "the user's settings are kept"
    assert gc.isenabled()
    assert b"Software" not in png[:200]
    picture = imread(io.BytesIO(png))
    assert picture.shape[:2] == (2086, 2100)
    assert 0.03 < (picture[..., :3].min(axis=2) < 0.95).mean() < 0.6


def test_importing_the_pages_does_not_import_matplotlib() -> None:
    code = "import sys, quantlr.report.pages, quantlr.report.pages.comparison, quantlr.report.pages.sweep\n"
    subprocess.run([sys.executable, "-c", f"{code}assert 'matplotlib' not in sys.modules"], check=True)


@pytest.mark.parametrize("case", ["three years", "three tickers, five sessions ahead", "no trades"])
def test_panels_differ_and_have_titles_without_questions_and_values_by_name(case: str) -> None:
    context = case_context(case)
    panels = []
    for page in pages_to_draw(context):
        for placed in page.place_panels(page.make_context(context)):
            table = placed.panel.make_table(page.make_context(context))
            assert all(isinstance(name, str) for name in table)
            assert "?" not in placed.panel.title.format_map(table)
            panels.append(placed.panel)
    assert len(set(panels)) == len(panels) > 25


def test_pages_of_the_config_are_the_pages_of_the_registry() -> None:
    assert get_args(PageName) == tuple(page.name for page in PAGES)


def test_grid_rectangles_are_those_of_matplotlib() -> None:
    figure = Figure()
    area: Rectangle = (0.1, 0.2, 0.7, 0.5)
    spec = GridSpec(2, 3, figure, 0.1, 0.2, 0.8, 0.7, wspace=0.2, hspace=0.4, width_ratios=(1.2, 1.0, 0.8))
    cells = grid_rectangles(area, 2, 3, wspace=0.2, hspace=0.4, width_ratios=(1.2, 1.0, 0.8))
    for index, cell in enumerate(cells):
        assert spec[index].get_position(figure).bounds == pytest.approx(cell)


def test_ruin_is_in_metrics_and_notes() -> None:
    context = case_context("ruin")
    strategy = context.metrics["backtest"]["strategy"]
    assert (strategy["final_equity"], strategy["max_drawdown"], strategy["cagr"]) == (0.0, -1.0, -1.0)
    assert any("equity fell to 0" in note for note in context.notes)


def test_tear_sheet_draws_the_metrics() -> None:
    context = case_context("three years")
    metrics, result = context.metrics, context.run_data.result
    growth, drawdown, rolling_sharpe, table, calendar = tearsheet_figure(context).axes[:5]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in growth.lines}
    strategy, benchmark = metrics["backtest"]["strategy"], metrics["backtest"]["benchmark"]
    net = lines[f"strategy after costs: {strategy['final_equity']:.2f}"]
    assert net[-1] == pytest.approx(strategy["final_equity"])
    assert lines[f"buy and hold: {benchmark['final_equity']:.2f}"][-1] == pytest.approx(benchmark["final_equity"])
    assert np.min(np.asarray(drawdown.lines[0].get_ydata())) == pytest.approx(strategy["max_drawdown"])
    returns = pd.Series(result.net_return, index=result.sessions)
    window = len(returns) // 4 if len(returns) < 756 else 252
    per_year = metrics["data"]["sessions_per_year"]
    expected = (returns.rolling(window).mean() / returns.rolling(window).std() * per_year**0.5).dropna()
    line = next(line for line in rolling_sharpe.lines if line.get_label() == "strategy after costs")
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, rtol=1e-9)
    np.testing.assert_array_equal(line.get_xdata(), expected.index)
    starts = sorted(round(float(patch.get_x()), 6) for patch in growth.patches)  # type: ignore[attr-defined]
    assert starts == sorted(date2num(deepest_drawdowns(result, max_count=3)["peak_date"]))
    cells = [text.get_text() for text in table.texts]
    assert cells[cells.index("Sharpe ratio (excess of cash)") + 1] == number_text(strategy["sharpe"])
    assert sum("." in text.get_text() for text in calendar.texts) >= len(result.sessions) // 23


def test_values_of_the_tear_sheet_are_those_of_the_run() -> None:
    context = case_context("three years")
    result, table = context.run_data.result, growth_table(context)
    np.testing.assert_array_equal(table["net_equity"][1:], result.equity)
    np.testing.assert_allclose(
        table["net_drawdown"], table["net_equity"] / np.maximum.accumulate(table["net_equity"]) - 1
    )
    months = monthly_return_table(context)
    growth = np.nanprod(1.0 + months["monthly_returns"], axis=1)
    np.testing.assert_allclose(months["yearly_returns"], growth - 1.0)
    assert growth.prod() == pytest.approx(result.equity[-1])


def test_lower_panels_of_the_tear_sheet_draw_the_metrics() -> None:
    context = case_context("three years")
    metrics, result = context.metrics, context.run_data.result
    figure = tearsheet_figure(context)
    axes = {ax.get_title(loc="left").split(" (")[0]: ax for ax in figure.axes}
    bars: Any = axes["Returns by year after costs"].containers
    for container, side in zip(bars, ("strategy", "benchmark"), strict=True):
        expected = list(metrics["backtest"][side]["returns_by_year"].values())
        np.testing.assert_allclose([bar.get_height() for bar in container], expected)
    rules = {str(line.get_label()): line.get_ydata() for line in axes["Returns by year after costs"].lines}
    for rule in NAIVE_RULES:
        expected = list(metrics["naive_rules"][rule.key]["returns_by_year"].values())
        np.testing.assert_allclose(np.asarray(rules[rule.name]), expected)
    matched = axes["Volatility-matched growth"]
    strategy = next(line for line in matched.lines if str(line.get_label()).startswith("strategy"))
    assert result.benchmark is not None
    equity = np.asarray(strategy.get_ydata())
    returns = equity[1:] / equity[:-1] - 1.0
    assert returns.std() == pytest.approx(result.benchmark.net_return.std(), rel=1e-6)
    table = monthly_histogram_table(context)
    months = pd.Series(result.net_return, index=result.sessions).add(1.0).resample("ME").prod() - 1.0
    assert table["mean"] == pytest.approx(months.mean())
    counts, _ = np.histogram(months, table["bin_edges"])
    np.testing.assert_array_equal(table["count"], counts)
    assert table["benchmark_count"].sum() == len(months)
    assert all(ax.get_position().y1 < 1 / (1 + RETURNS_HEIGHT) for ax in figure.axes[5:])


def test_a_taller_page_has_the_header_and_panels_of_a_standard_page_at_its_top() -> None:
    context = case_context("three years")
    placed = TEARSHEET_PAGE.place_panels(context)[0]
    page = replace(TEARSHEET_PAGE, place_panels=lambda _: [placed])
    tops = []
    for extra_height in (0.0, 0.5):
        figure = replace(page, extra_height=extra_height).draw_figure(context)
        boxes = [figure.axes[0].get_position().bounds, *((0, text.get_position()[1]) for text in figure.texts)]
        tops.append([figure.get_figheight() * (1.0 - box[1]) for box in boxes])
    assert tops[0] == pytest.approx(tops[1])


def new_axes() -> Any:
    return Figure(figsize=(6, 4)).add_subplot()


def test_equity_is_drawn_on_a_log_scale_without_ruin() -> None:
    ax, net = new_axes(), np.array([1.0, 1.2, 0.4, 0.0])
    dates = pd.bdate_range("2020-01-01", periods=len(net))
    table = {"dates": dates, "net_equity": net, "gross_equity": net * 1.1, "benchmark_equity": net[::-1]}
    table["benchmark_name"] = "buy and hold"
    growth_panel.draw(ax, {**table, "drawdowns": pd.DataFrame()})
    lines = {line.get_label().split(":")[0]: line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(lines["strategy after costs"], [1.0, 1.2, 0.4, np.nan])
    np.testing.assert_array_equal(lines["buy and hold"], [np.nan, 0.4, 1.2, 1.0])
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 0


def test_calendar_leaves_months_without_sessions_empty() -> None:
    months = np.full((2, 12), np.nan)
    months[0, 11], months[1, 0] = -0.0312, 0.25
    ax = new_axes()
    table = {"years": np.array([2019, 2020]), "monthly_returns": months, "yearly_returns": np.array([-0.0312, 0.25])}
    monthly_returns_panel.draw(ax, table)
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == sorted(["−3.1", "−3.1", "25", "25.0", *MONTH_LABELS, "2019", "2020"])


def test_text_table_writes_labels_and_cells() -> None:
    ax = new_axes()
    rows = [TableRow("Skill", ("", "95%"), is_heading=True), TableRow("AUC", ("0.53", "0.51 to 0.55"))]
    draw_text_table(ax, {"rows": rows}, column_right_edges=(0.6, 1.0))
    assert [text.get_text() for text in ax.texts] == ["Skill", "95%", "AUC", "0.53", "0.51 to 0.55"]
    bold = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert bold == ["Skill"], "a label in capitals is no heading"


def test_panel_is_frozen() -> None:
    panel = Panel("key", "Title", lambda _: {}, lambda *_: None)
    with pytest.raises(AttributeError):
        panel.title = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("low", "high"), [(0.93, 1.12), (0.65, 3.6), (0.9, 11.0), (0.001, 4.0), (0.99, 1.01), (0.5, 400.0)]
)
def test_ticks_of_a_log_axis_are_round_and_within_its_limits(low: float, high: float) -> None:
    ticks = round_tick_values(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5331, "53.3%"), (-0.0004, "0.0%"), (-0.25, "−25.0%"), (None, "–"), (float("nan"), "–")]
)
def test_percent_text(value: float | None, text: str) -> None:
    assert percent_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(-1.234, "−1.23"), (-0.001, "0.00"), (1234.5, "1,234.50"), (None, "–")])
def test_number_text(value: float | None, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("volatility_20", "volatility_20"),
        ("a" * 26, "a" * 26),
        ("product(lagged_returns_1,volatility_20)", "product(lagge…latility_20)"),
    ],
)
def test_long_names_keep_their_beginning_and_end(name: str, expected: str) -> None:
    assert shorten_middle(name, 26) == expected
    assert len(expected) <= 26


def test_formulas_of_the_model_page_are_drawn_as_formulas() -> None:
    with use_matplotlib_defaults():
        figure = MODEL_PAGE.draw_figure(case_context("three years"))
        figure.savefig(io.BytesIO(), format="png")
    formulas = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert len(formulas) == 7
    assert all(text.get_parse_math() for text in formulas)


def test_dollar_signs_in_words_of_the_user_are_text() -> None:
    """Between two dollar signs matplotlib would read mathematics, and refuse this text."""
    with use_matplotlib_defaults():
        figure = Figure()
        text = figure.text(0.5, 0.5, "BAC$L and JPM$C_{x")
        figure.savefig(io.BytesIO(), format="png")
    assert not text.get_parse_math()
