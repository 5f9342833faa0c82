"""The page on positions and costs: its panels agree with the metrics and with the backtest."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from quantlr.backtest.rolling import binned_weights
from quantlr.backtest.trades import annual_excess_return_by_side, histogram_around_zero
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages.layout import fields_table, use_matplotlib_defaults
from quantlr.report.pages.positions import (
    MAX_WEIGHT_MAP_TICKERS,
    POSITIONS_PAGE,
    cumulative_cost_table,
    positions_title_and_text,
    trade_returns_panel,
)
from quantlr.testing.contract import random_walk_bars

from report.drawn_text import text_collisions

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
CASES: dict[str, dict[str, Any]] = {
    "long and short": {"policy.short_below": 0.5},
    "one year": {"data.end": "2002-03-01"},
    "four sessions": {"data.end": "2001-03-07"},
    "no trades": {"policy.long_above": 1.0},
    "always long": {"policy.long_above": 0.0},
    "costs eat nearly all": {"policy.short_below": 0.5, "execution.slippage_bps": 1000},
    "three tickers, five sessions": {"data.tickers": ["MSFT", "IBM", "AAPL"], "label.horizon": 5},
    "leverage": {
        "overlays": [{"kind": "volatility_target", "target": 0.6, "max_leverage": 2.5}],
        "execution.cash_rate": 0.03,
    },
    "at the same close": {"execution.fill": "close"},
    "per share": {
        "policy.short_below": 0.5, "execution.fill": "next_open", "execution.per_share": 0.01,
        "execution.min_per_order": 1.0, "execution.spread": "corwin_schultz",
    },
}  # fmt: skip


@functools.cache
def case_run(case: str) -> Run:
    return quantlr.run(BASE, overrides=CASES[case])


def page_context(run: Run) -> PageContext:
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


@functools.cache
def page(case: str) -> Figure:
    return POSITIONS_PAGE.draw_figure(page_context(case_run(case)))


def panel_axes(figure: Figure, title: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))


def lines_by_label(ax: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in ax.lines}


def labelled_line(ax: Axes, label: str) -> Any:
    return next(line for line in ax.lines if str(line.get_label()).startswith(label))


def areas(ax: Axes) -> list[Any]:
    return list(ax.collections)


def page_title(run: Run) -> str:
    return positions_title_and_text(page_context(run))[0]


@pytest.mark.parametrize("case", ["long and short", "four sessions", "costs eat nearly all", "per share"])
def test_texts_do_not_overlap_or_leave_the_page(case: str) -> None:
    with use_matplotlib_defaults():
        assert not text_collisions(page(case))


@pytest.mark.parametrize("case", ["long and short", "per share", "leverage"])
def test_sharpe_by_cost_passes_through_the_run_and_through_zero_at_break_even(case: str) -> None:
    metrics = case_run(case).metrics["backtest"]
    ax = panel_axes(page(case), "Sharpe ratio by trading cost")
    run_point = labelled_line(ax, "this run")
    assert run_point.get_ydata() == [metrics["strategy"]["sharpe"]]
    assert labelled_line(ax, "buy and hold").get_ydata()[0] == metrics["benchmark"]["sharpe"]
    cost_bps, sharpe = labelled_line(ax, "strategy").get_data()
    if case == "leverage":
        break_even = metrics["break_even_cost_bps"]
        assert labelled_line(ax, "break-even").get_xdata()[0] == break_even
        assert np.interp(break_even, cost_bps, sharpe) == pytest.approx(0.0, abs=0.01)  # financing is left aside
        assert run_point.get_xdata()[0] == pytest.approx(3.0)
        assert np.interp(3.0, cost_bps, sharpe) == pytest.approx(metrics["strategy"]["sharpe"], abs=1e-4)
    assert sharpe[0] > sharpe[-1]


@pytest.mark.parametrize("case", ["long and short", "per share", "leverage", "at the same close"])
def test_cumulative_costs_end_at_the_metrics(case: str) -> None:
    run = case_run(case)
    metrics, result = run.metrics["backtest"], run.run_data.result
    table, ax = cumulative_cost_table(page_context(run)), panel_axes(page(case), "Cumulative gross excess return")
    gross = metrics["break_even_cost_bps"] * 1e-4 * result.turnover.sum()
    assert table["gross_excess"][-1] == pytest.approx(gross)
    assert sum(cost[-1] for cost in table["costs"].values()) == pytest.approx(metrics["strategy"]["cost_total"])
    top = max(path.vertices[:, 1].max() for area in areas(ax) for path in area.get_paths())
    assert top == pytest.approx(metrics["strategy"]["cost_total"])
    np.testing.assert_array_equal(labelled_line(ax, "gross excess return").get_ydata(), table["gross_excess"])
    assert ("spread and fees" in table["costs"]) == (case == "per share")
    assert ("borrow" in table["costs"]) == bool((result.weight < 0).any())


@pytest.mark.parametrize("case", ["long and short", "three tickers, five sessions", "at the same close"])
def test_equity_of_each_fill_ends_at_the_metrics(case: str) -> None:
    run = case_run(case)
    lines, metrics = lines_by_label(panel_axes(page(case), "Growth of 1 by fill")), run.metrics["backtest"]["fills"]
    assert len(lines) == 3
    for (label, line), (fill, fill_metrics) in zip(lines.items(), metrics.items(), strict=True):
        assert line.get_ydata()[0] == 1.0
        assert len(line.get_ydata()) == fill_metrics["sessions"] + 1
        assert line.get_ydata()[-1] == pytest.approx(fill_metrics["total_return"] + 1.0)
        assert ("not tradable" in label) == (not fill_metrics["tradable"])
        assert ("this run" in label) == (fill == run.config.execution.fill)
        assert label.startswith(fill.replace("_", " ") if "_" in fill else "same close")


def test_price_is_shaded_exactly_while_a_position_was_held() -> None:
    result = case_run("long and short").run_data.result
    ax = panel_axes(page("long and short"), "MSFT: adjusted close")
    shades = {str(area.get_label()): area.get_paths() for area in areas(ax)}
    middle = (date2num(result.fill_dates[:-1]) + date2num(result.fill_dates[1:])) / 2
    for side, is_held in (("long", result.weight[:, 0] > 0), ("short", result.weight[:, 0] < 0)):
        spans = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shades[side]]
        is_shaded = np.array([any(first < date < last for first, last in spans) for date in middle])
        np.testing.assert_array_equal(is_shaded, is_held)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), result.price[:, 0])


def test_several_tickers_have_a_map_of_weights() -> None:
    run = case_run("three tickers, five sessions")
    ax = panel_axes(page("three tickers, five sessions"), "Weights")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MSFT", "IBM", "AAPL"]
    weights = np.asarray(ax.images[0].get_array())
    assert weights.shape[0] == 3
    assert weights.max() <= run.run_data.result.weight.max() + 1e-12
    mean_exposure = float(np.abs(weights).sum(axis=0).mean())
    assert mean_exposure == pytest.approx(run.metrics["backtest"]["strategy"]["exposure"], rel=0.05)


def test_title_has_exposure_and_cost_share_of_the_metrics() -> None:
    titles = {case: page_title(case_run(case)) for case in CASES}
    assert page("leverage").texts[0].get_text() == titles["leverage"]
    assert titles["no trades"] == titles["four sessions"] == "No trades"
    assert "negative excess return before costs" in titles["costs eat nearly all"]
    assert titles["always long"].startswith("Average exposure 100%, 0.4 trades a year")
    run = case_run("leverage")
    strategy, break_even = (run.metrics["backtest"][key] for key in ("strategy", "break_even_cost_bps"))
    annual_cost = strategy["cost_total"] / len(run.run_data.result.cost) * 252
    share = annual_cost / (break_even * 1e-4 * strategy["turnover_per_year"])
    assert f"costs are {share:.0%} of" in titles["leverage"]
    assert titles["leverage"].startswith(f"Average exposure {strategy['exposure']:.0%}, ")


def test_panels_without_positions_give_the_reason() -> None:
    messages = [ax.texts[0].get_text() for ax in page("no trades").axes if ax.texts and not ax.lines]
    assert len(messages) == 5


def test_ruin_is_in_title_and_text(tmp_path: Path) -> None:
    bars = random_walk_bars(np.random.default_rng(1), pd.bdate_range("2020-01-01", periods=300))
    bars.iloc[200:, :5] *= 3
    bars.to_csv(tmp_path / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": ["X"]}
    policy = {"long_above": 1.0, "short_below": 1.0}
    run = quantlr.run({**BASE, "data": data, "walk_forward": {"train": 100}, "policy": policy})
    title, text = positions_title_and_text(page_context(run))
    assert "equity fell to 0" in title
    assert "after 97 sessions" in text


def test_very_many_tickers_are_fractions_of_those_held(tmp_path: Path) -> None:
    rng, dates = np.random.default_rng(3), pd.bdate_range("2020-01-01", periods=60)
    names = [f"TICKER{index:04d}" for index in range(MAX_WEIGHT_MAP_TICKERS + 1)]
    bars = [random_walk_bars(rng, dates).assign(ticker=name) for name in names]
    bars[0] = bars[0].iloc[:50]
    pd.concat(bars).to_csv(tmp_path / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": names}
    splits = {"train": 30, "refit_every": 30}
    run = quantlr.run({**BASE, "data": data, "walk_forward": splits, "policy": {"short_below": 0.5}})
    ax = panel_axes(POSITIONS_PAGE.draw_figure(page_context(run)), f"Positions (% of the {len(names)} tickers)")
    long, short = (area.get_paths()[0].vertices[:, 1] for area in areas(ax))
    weights = binned_weights(run.run_data.result, np.arange(len(names)))
    assert set(np.round(weights.long_fraction, 9)) <= set(np.round(long, 9))
    assert set(np.round(-weights.short_fraction, 9)) <= set(np.round(short, 9))
    assert weights.short_fraction.max() > 0


def test_histogram_of_trades_agrees_with_the_win_rate() -> None:
    run = case_run("long and short")
    ax = panel_axes(page("long and short"), f"{len(run.trades)} trades")
    bars: list[Any] = list(ax.patches)
    n_wins = sum(bar.get_height() for bar in bars if bar.get_x() > -1e-12)
    assert n_wins / len(run.trades) == run.metrics["backtest"]["strategy"]["win_rate"]
    assert sum(bar.get_height() for bar in bars) == len(run.trades)


@pytest.mark.parametrize("n", [1, 3, 50, 5_000])
def test_histogram_counts_all_values_and_separates_gains_from_losses(n: int) -> None:
    values = np.random.default_rng(n).normal(0.01, 0.02, n)
    histogram = histogram_around_zero(values)
    assert histogram.count.sum() == n
    assert np.abs(histogram.bin_edges).min() == 0.0
    assert histogram.count[histogram.bin_edges[:-1] >= 0].sum() == (values > 0).sum()
    assert len(histogram.count) <= 42
    inside = np.histogram(values, bins=histogram.bin_edges)[0]
    assert histogram.n_outside == n - inside.sum() <= 0.025 * n
    if not histogram.n_outside:
        np.testing.assert_array_equal(histogram.count, inside)
    ax = Figure().add_subplot()
    trade_returns_panel.draw(ax, fields_table(histogram, mean_return=float(values.mean())))
    assert [bar.get_height() for bar in ax.patches] == histogram.count.tolist()  # type: ignore[attr-defined]


def test_histogram_of_zeros_counts_all() -> None:
    histogram = histogram_around_zero(np.zeros(3))
    assert histogram.count.sum() == 3
    assert histogram.n_outside == 0


def test_table_by_side_agrees_with_trades_and_backtest() -> None:
    run = case_run("long and short")
    result = run.run_data.result
    annual_return = annual_excess_return_by_side(result, sessions_per_year=252)
    assert sum(annual_return.values()) == pytest.approx((result.gross_return - result.session_cash_rate).mean() * 252)
    cells = [text.get_text() for text in page("long and short").axes[-1].texts]
    for column, side in enumerate(("long", "short"), start=1):
        trades = run.trades[run.trades["side"] == side]
        net_return = trades["return"] - trades["cost"]
        assert cells[cells.index("Number of trades") + column] == f"{len(trades)}"
        assert cells[cells.index("Win rate, after costs") + column] == f"{(net_return > 0).mean():.1%}"
        mean_text = f"{net_return.mean():.2%}".replace("-", "−")
        assert cells[cells.index("Mean return, after costs") + column] == mean_text
        annual_text = f"{annual_return[side]:.2%}".replace("-", "−")
        assert cells[cells.index("Gross excess return (annual, arithmetic)") + column] == annual_text


def test_side_without_trades_has_dashes() -> None:
    cells = [text.get_text() for text in page("leverage").axes[-1].texts]
    assert cells[cells.index("Number of trades") + 2] == "–"
    assert cells[cells.index("Win rate, after costs") + 2] == "–"
