"""The tear sheet: what is drawn is what was measured, in easy cases and hard ones."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.backtest.rolling import deepest_drawdowns
from quantlr.report.curves import GrowthCurves, draw_equity_curves
from quantlr.report.pages import PAGES
from quantlr.report.pages.tearsheet import tearsheet_page
from quantlr.report.style import nice_ticks, number_text, percent_text
from quantlr.report.tables import MONTH_LABELS, TableRow, draw_monthly_returns, draw_text_table

from report.cases import OF_THEIR_OWN, shown, tear_sheet_of


@pytest.mark.parametrize("case", ["three years", "three tickers, five sessions ahead"])
def test_a_tear_sheet_is_the_same_twice_whatever_a_users_own_figures_look_like(case: str) -> None:
    page = tear_sheet_of(case).png_bytes
    with matplotlib.rc_context(OF_THEIR_OWN):
        assert page == PAGES[0].render_picture(shown(case)).png_bytes
        assert matplotlib.rcParams["font.size"] == 20, "what a user has set stays"
    assert b"Software" not in page[:200]
    picture = imread(io.BytesIO(page))
    assert picture.shape[:2] == (1410, 2100)
    ink = (picture[..., :3].min(axis=2) < 0.95).mean()
    assert 0.03 < ink < 0.6


def test_ruin_is_told() -> None:
    seen = shown("ruin")
    own = seen.metrics["backtest"]["strategy"]
    assert (own["final_equity"], own["max_drawdown"], own["cagr"]) == (0.0, -1.0, -1.0)
    assert any("equity fell to 0" in note for note in seen.notes)


def test_a_tear_sheet_draws_what_was_measured() -> None:
    seen = shown("three years")
    metrics, result = seen.metrics, seen.run_data.result
    equity, below, ratios, table, months = tearsheet_page(seen).axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in equity.lines}
    own, held = metrics["backtest"]["strategy"], metrics["backtest"]["benchmark"]
    net = drawn[f"strategy after costs: 1 became {own['final_equity']:.2f}"]
    assert net[-1] == pytest.approx(own["final_equity"])
    assert drawn[f"buy and hold: 1 became {held['final_equity']:.2f}"][-1] == pytest.approx(held["final_equity"])
    assert min(map(float, np.asarray(below.lines[0].get_ydata()))) == pytest.approx(own["max_drawdown"])
    returns = pd.Series(result.net_return, index=result.sessions)
    window = len(returns) // 4 if len(returns) < 756 else 252
    expected = (returns.rolling(window).mean() / returns.rolling(window).std() * 252**0.5).dropna()
    rolling = next(line for line in ratios.lines if line.get_label() == "strategy after costs")
    np.testing.assert_allclose(np.asarray(rolling.get_ydata()), expected, rtol=1e-9)
    np.testing.assert_array_equal(rolling.get_xdata(), expected.index)
    spans = sorted(round(float(patch.get_x()), 6) for patch in equity.patches)  # type: ignore[attr-defined]
    assert spans == sorted(date2num(fall.peak_date) for fall in deepest_drawdowns(result, max_count=3))
    said = [text.get_text() for text in table.texts]
    assert said[said.index("Sharpe ratio") + 1] == number_text(own["sharpe"])
    assert sum("." in text.get_text() for text in months.texts) >= len(result.sessions) // 23


def axes() -> Any:
    return Figure(figsize=(6, 4)).add_subplot()


def curves(net: list[float]) -> GrowthCurves:
    values = np.array(net)
    dates = pd.bdate_range("2020-01-01", periods=len(net))
    return GrowthCurves(dates, values, values * 1.1, values[::-1].copy(), values - 1.0, values - 1.0)


def test_equity_is_drawn_as_given_on_a_log_scale_and_ruin_leaves_the_page() -> None:
    ax = axes()
    draw_equity_curves(ax, curves([1.0, 1.2, 0.4, 0.0]))
    drawn = {line.get_label().split(":")[0]: line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(drawn["strategy after costs"], [1.0, 1.2, 0.4, np.nan])
    np.testing.assert_array_equal(drawn["buy and hold"], [np.nan, 0.4, 1.2, 1.0])
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 0


def test_the_calendar_writes_each_month_and_leaves_missing_ones_empty() -> None:
    months = pd.DataFrame(np.full((2, 12), np.nan), index=[2019, 2020], columns=range(1, 13))
    months.loc[2019, 12], months.loc[2020, 1] = -0.0312, 0.25
    ax = axes()
    draw_monthly_returns(ax, months, np.array([-0.0312, 0.25]))
    assert [text.get_text() for text in ax.texts] == ["−3.1", "−3.1", "25", "25.0", *MONTH_LABELS, "2019", "2020"]


def test_a_table_writes_its_cells() -> None:
    ax = axes()
    draw_text_table(
        ax,
        [TableRow("SKILL", ("", "95%")), TableRow("Right calls", ("53%", "51% to 55%"))],
        column_right_edges=(0.6, 1.0),
    )
    assert [text.get_text() for text in ax.texts] == ["Skill", "95%", "Right calls", "53%", "51% to 55%"]


@pytest.mark.parametrize(
    ("low", "high"), [(0.93, 1.12), (0.65, 3.6), (0.9, 11.0), (0.001, 4.0), (0.99, 1.01), (0.5, 400.0)]
)
def test_ticks_of_a_log_axis_are_round_and_enough(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5331, "53.3%"), (-0.0004, "0.0%"), (-0.25, "−25.0%"), (None, "–"), (float("nan"), "–")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(-1.234, "−1.23"), (-0.001, "0.00"), (1234.5, "1,234.50"), (None, "–")])
def test_number(value: float | None, text: str) -> None:
    assert number_text(value) == text
