"""The tear sheet: what is drawn is what was measured, in easy cases and hard ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.pipeline import Run
from quantlr.report.figures.curves import Curves, equity_curves
from quantlr.report.figures.style import nice_ticks, number, percent
from quantlr.report.figures.tables import TableRow, month_calendar, text_table

from markets import random_bars

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
CASES: dict[str, dict[str, Any]] = {
    "three years": {},
    "one year": {"data.end": "2002-03-01"},
    "four sessions": {"data.end": "2001-03-07"},
    "no trades": {"policy.long_above": 1.0},
    "always long": {"policy.long_above": 0.0},
    "long and short": {"policy.short_below": 0.5},
    "costs eat nearly all": {"policy.short_below": 0.5, "execution.slippage_bps": 1000},
    "three tickers": {"data.tickers": ["MSFT", "IBM", "AAPL"], "label.horizon": 5},
}


def run(case: str) -> Run:
    return quantlr.run(BASE, overrides=CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_tear_sheet_can_be_drawn_and_is_the_same_twice(case: str) -> None:
    done = run(case)
    page = done.report().files["tearsheet.png"]
    assert page == done.report().files["tearsheet.png"]
    assert b"Software" not in page[:200]
    picture = imread(io.BytesIO(page))
    assert picture.shape[:2] == (1410, 2100)
    ink = (picture[..., :3].min(axis=2) < 0.95).mean()
    assert 0.03 < ink < 0.6


def test_a_tear_sheet_of_ruin(tmp_path: Path) -> None:
    """Always short of a price that trebles in a day."""
    bars = random_bars(np.random.default_rng(1), pd.bdate_range("2020-01-01", periods=300))
    bars.iloc[200:, :5] *= 3
    bars.to_csv(tmp_path / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": ["X"]}
    walk = {"train": 100}
    done = quantlr.run({**BASE, "data": data, "walk_forward": walk, "policy": {"long_above": 1.0, "short_below": 1.0}})
    assert done.metrics["backtest"]["strategy"]["final_equity"] == 0.0
    assert done.metrics["backtest"]["strategy"]["max_drawdown"] == -1.0
    assert done.metrics["backtest"]["strategy"]["cagr"] == -1.0
    assert any("equity fell to 0" in note.text for note in done.notes)
    picture = imread(io.BytesIO(done.report().files["tearsheet.png"]))
    assert picture.shape[:2] == (1410, 2100)


def axes() -> Any:
    return Figure(figsize=(6, 4)).add_subplot()


def curves(net: list[float]) -> Curves:
    values = np.array(net)
    dates = pd.bdate_range("2020-01-01", periods=len(net))
    return Curves(dates, values, values * 1.1, values[::-1].copy(), values - 1.0, values - 1.0)


def test_equity_is_drawn_as_given_on_a_log_scale_and_ruin_leaves_the_page() -> None:
    ax = axes()
    equity_curves(ax, curves([1.0, 1.2, 0.4, 0.0]))
    drawn = {line.get_label().split(":")[0]: line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(drawn["strategy after costs"], [1.0, 1.2, 0.4, np.nan])
    np.testing.assert_array_equal(drawn["buy and hold"], [np.nan, 0.4, 1.2, 1.0])
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 0


def test_the_calendar_writes_each_month_and_leaves_missing_ones_empty() -> None:
    months = pd.DataFrame(np.full((2, 12), np.nan), index=[2019, 2020], columns=range(1, 13))
    months.loc[2019, 12], months.loc[2020, 1] = -0.0312, 0.25
    ax = axes()
    month_calendar(ax, months, np.array([-0.0312, 0.25]))
    assert [text.get_text() for text in ax.texts] == ["−3.1", "−3.1", "25", "25.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2019", "2020"]


def test_a_table_writes_its_cells() -> None:
    ax = axes()
    text_table(ax, [TableRow("SKILL", ("", "95%")), TableRow("Right calls", ("53%", "51% to 55%"))], edges=(0.6, 1.0))
    assert [text.get_text() for text in ax.texts] == ["Skill", "", "95%", "Right calls", "53%", "51% to 55%"]


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
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(-1.234, "−1.23"), (-0.001, "0.00"), (1234.5, "1,234.50"), (None, "–")])
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text
