"""Positions and costs: what is drawn is what was measured, in easy cases and hard ones."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from quantlr.backtest.rolling import binned_weights
from quantlr.backtest.trades import annual_excess_return_by_side, histogram_around_zero, trade_table
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.figures.trips import draw_trade_return_histogram
from quantlr.report.pages.positions import MAX_WEIGHT_MAP_TICKERS, positions_page, positions_title_and_text
from quantlr.testing.markets import random_walk_bars

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
def ran(case: str) -> Run:
    return quantlr.run(BASE, overrides=CASES[case])


def shown(done: Run) -> PageContext:
    return PageContext.from_run(done.config, done.run_data, done.metrics, done.notes)


@functools.cache
def page(case: str) -> Figure:
    return positions_page(shown(ran(case)))


def axes_of(figure: Figure, heading: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(heading))


def lines_of(ax: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in ax.lines}


def areas_of(ax: Axes) -> list[Any]:
    return list(ax.collections)


def title_of(done: Run) -> str:
    result = done.run_data.result
    return positions_title_and_text(
        done.metrics, trade_table(result), n_sessions=len(result.equity), sessions_per_year=252
    )[0]


def texts_of(figure: Figure) -> list[str]:
    holders: list[Any] = [figure, *figure.axes]
    return [text.get_text() for holder in holders for text in holder.texts]


@pytest.mark.parametrize("case", ["long and short", "four sessions", "costs eat nearly all", "per share"])
def test_nothing_leaves_the_page_or_lies_over_something_else(case: str) -> None:
    figure = page(case)
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    titles = [title for ax in figure.axes for title in (ax._left_title,) if title.get_text()]  # type: ignore[attr-defined]
    legends: list[Any] = [legend for ax in figure.axes if (legend := ax.get_legend())]
    boxes: list[Any] = [artist.get_window_extent(renderer) for artist in (*figure.texts, *titles, *legends)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height
    headings = boxes[len(figure.texts) :]
    for at, box in enumerate(headings):
        assert not any(box.overlaps(other) and box.padded(-2).overlaps(other) for other in headings[:at])


@pytest.mark.parametrize("case", ["long and short", "per share", "leverage"])
def test_the_curve_passes_through_the_run_and_zero_through_its_break_even(case: str) -> None:
    done = ran(case)
    found = done.metrics["backtest"]
    ax = axes_of(page(case), "Sharpe ratio by cost")
    drawn = lines_of(ax)
    own = next(line for label, line in drawn.items() if label.startswith("this run"))
    assert own.get_ydata() == [found["strategy"]["sharpe"]]
    held = next(line for label, line in drawn.items() if label.startswith("buy and hold"))
    assert held.get_ydata()[0] == found["benchmark"]["sharpe"]
    bps, ratio = drawn["strategy"].get_data()
    if case == "leverage":
        even = next(line for label, line in drawn.items() if label.startswith("breaks even"))
        assert even.get_xdata()[0] == found["break_even_cost_bps"]
        assert np.interp(found["break_even_cost_bps"], bps, ratio) == pytest.approx(0.0, abs=1e-4)
        assert own.get_xdata()[0] == pytest.approx(3.0)
        assert np.interp(3.0, bps, ratio) == pytest.approx(found["strategy"]["sharpe"], abs=1e-4)
    assert ratio[0] > ratio[-1]


@pytest.mark.parametrize("case", ["long and short", "per share", "leverage", "at the same close"])
def test_what_is_earned_and_paid_ends_at_the_numbers_of_the_metrics(case: str) -> None:
    done = ran(case)
    found = done.metrics["backtest"]
    result = done.run_data.result
    ax = axes_of(page(case), "Earned above cash")
    earned = next(line for label, line in lines_of(ax).items() if label.startswith("earned"))
    assert earned.get_ydata()[-1] == pytest.approx(found["break_even_cost_bps"] * 1e-4 * result.turnover.sum())
    top = max(path.vertices[:, 1].max() for area in areas_of(ax) for path in area.get_paths())
    assert top == pytest.approx(found["strategy"]["cost_total"])
    named = {str(area.get_label()).rpartition(" ")[0] for area in areas_of(ax)}
    assert ("spread and fees" in named) == (case == "per share")
    assert ("borrow" in named) == bool((result.weight < 0).any())


@pytest.mark.parametrize("case", ["long and short", "three tickers, five sessions", "at the same close"])
def test_each_fill_ends_where_the_metrics_say(case: str) -> None:
    done = ran(case)
    drawn = lines_of(axes_of(page(case), "What one unit became"))
    found = done.metrics["backtest"]["fills"]
    assert len(drawn) == 3
    for (label, line), (fill, numbers) in zip(drawn.items(), found.items(), strict=True):
        assert line.get_ydata()[0] == 1.0
        assert len(line.get_ydata()) == numbers["sessions"] + 1
        assert line.get_ydata()[-1] == pytest.approx(numbers["total_return"] + 1.0)
        assert ("not tradable" in label) == (not numbers["tradable"])
        assert ("this run" in label) == (fill == done.config.execution.fill)
        assert label.startswith(fill.replace("_", " ") if "_" in fill else "same close")


def test_the_price_is_shaded_where_it_was_held_and_on_which_side() -> None:
    """Every session's middle lies in a shade of the side that the engine held then, and of no other."""
    result = ran("long and short").run_data.result
    ax = axes_of(page("long and short"), "MSFT, adjusted close")
    shaded = {str(area.get_label()): area.get_paths() for area in areas_of(ax)}
    middle = (date2num(result.fill_dates[:-1]) + date2num(result.fill_dates[1:])) / 2
    for side, held in (("held long", result.weight[:, 0] > 0), ("held short", result.weight[:, 0] < 0)):
        spans = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shaded[side]]
        inside = np.array([any(first < at < last for first, last in spans) for at in middle])
        np.testing.assert_array_equal(inside, held)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), result.price[:, 0])


def test_several_tickers_are_a_map_and_very_many_are_counted() -> None:
    done = ran("three tickers, five sessions")
    ax = axes_of(page("three tickers, five sessions"), "What each ticker was held at")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MSFT", "IBM", "AAPL"]
    drawn = np.asarray(ax.images[0].get_array())
    assert drawn.shape[0] == 3
    assert drawn.max() <= done.run_data.result.weight.max() + 1e-12
    middle = float(np.abs(drawn).sum(axis=0).mean())
    assert middle == pytest.approx(done.metrics["backtest"]["strategy"]["exposure"], rel=0.05)


def test_the_title_says_what_it_did_and_what_costs_took() -> None:
    titles = {case: title_of(ran(case)) for case in CASES}
    assert page("leverage").texts[0].get_text() == titles["leverage"]
    assert titles["no trades"] == titles["four sessions"] == "It never traded"
    assert titles["costs eat nearly all"].endswith("it lost before costs")
    assert titles["always long"] == "100% invested, 0.4 round trips a year: it trades too rarely for costs to matter"
    own, found = (ran("leverage").metrics["backtest"][key] for key in ("strategy", "break_even_cost_bps"))
    costs = own["cost_total"] / len(ran("leverage").run_data.result.cost) * 252
    share = costs / (found * 1e-4 * own["turnover_per_year"])
    assert titles["leverage"].endswith(f"costs took {share:.0%} of what it earned")
    assert titles["leverage"].startswith(f"{own['exposure']:.0%} invested, ")


def test_where_nothing_was_held_the_page_says_so() -> None:
    said = texts_of(page("no trades"))
    for words in ("Nothing was held.", "Nothing was traded.", "There were none."):
        assert words in said
    assert any(text.startswith("It never traded: what a trade costs") for text in said)


def test_ruin_is_told(tmp_path: Path) -> None:
    bars = random_walk_bars(np.random.default_rng(1), pd.bdate_range("2020-01-01", periods=300))
    bars.iloc[200:, :5] *= 3
    bars.to_csv(tmp_path / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": ["X"]}
    short = {"long_above": 1.0, "short_below": 1.0}
    figure = positions_page(shown(quantlr.run({**BASE, "data": data, "walk_forward": {"train": 100}, "policy": short})))
    assert figure.texts[0].get_text().endswith(": it lost everything")
    assert "Equity fell to 0 after 97 sessions" in figure.texts[1].get_text().replace("\n", " ")


def test_a_universe_that_shrinks_and_is_too_many_for_rows(tmp_path: Path) -> None:
    rng, dates = np.random.default_rng(3), pd.bdate_range("2020-01-01", periods=60)
    names = [f"TICKER{at:04d}" for at in range(MAX_WEIGHT_MAP_TICKERS + 1)]
    bars = [random_walk_bars(rng, dates).assign(ticker=name) for name in names]
    bars[0] = bars[0].iloc[:50]
    pd.concat(bars).to_csv(tmp_path / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(tmp_path / "x.csv")}, "tickers": names}
    walk = {"train": 30, "refit_every": 30}
    done = quantlr.run({**BASE, "data": data, "walk_forward": walk, "policy": {"short_below": 0.5}})
    ax = axes_of(positions_page(shown(done)), f"Share of the {len(names)} tickers")
    long, short = (area.get_paths()[0].vertices[:, 1] for area in areas_of(ax))
    held = binned_weights(done.run_data.result, np.arange(len(names)))
    assert set(np.round(held.long_fraction, 9)) <= set(np.round(long, 9))
    assert set(np.round(-held.short_fraction, 9)) <= set(np.round(short, 9))
    assert held.short_fraction.max() > 0


def test_round_trips_are_counted_on_their_side_of_zero() -> None:
    done = ran("long and short")
    net = (done.trades["return"] - done.trades["cost"]).to_numpy()
    ax = axes_of(page("long and short"), f"{len(net)} round trips")
    bars: list[Any] = list(ax.patches)
    wins = sum(bar.get_height() for bar in bars if bar.get_x() > -1e-12)
    assert wins / len(net) == done.metrics["backtest"]["strategy"]["win_rate"]
    assert sum(bar.get_height() for bar in bars) == len(net)


@pytest.mark.parametrize("n", [1, 3, 50, 5_000])
def test_a_histogram_counts_all_and_parts_gains_from_losses(n: int) -> None:
    values = np.random.default_rng(n).normal(0.01, 0.02, n)
    found = histogram_around_zero(values)
    assert found.count.sum() == n
    assert np.abs(found.bin_edges).min() == 0.0
    assert found.count[found.bin_edges[:-1] >= 0].sum() == (values > 0).sum()
    assert len(found.count) <= 42
    inside = np.histogram(values, bins=found.bin_edges)[0]
    assert found.n_outside == n - inside.sum() <= 0.025 * n
    if not found.n_outside:
        np.testing.assert_array_equal(found.count, inside)
    ax = Figure().add_subplot()
    draw_trade_return_histogram(ax, found, mean_return=float(values.mean()))
    assert [bar.get_height() for bar in ax.patches] == found.count.tolist()  # type: ignore[attr-defined]


def test_a_histogram_of_nothing_gained_and_nothing_lost_has_one_bar() -> None:
    found = histogram_around_zero(np.zeros(3))
    assert found.count.sum() == 3
    assert found.n_outside == 0


def test_both_sides_earn_what_all_of_it_earned_and_the_page_tells_each() -> None:
    done = ran("long and short")
    result = done.run_data.result
    earned = annual_excess_return_by_side(result, sessions_per_year=252)
    assert sum(earned.values()) == pytest.approx((result.gross_return - result.session_cash_rate).mean() * 252)
    cells = [text.get_text() for text in page("long and short").axes[-1].texts]
    for at, side in enumerate(("long", "short"), start=1):
        own = done.trades[done.trades["side"] == side]
        net = own["return"] - own["cost"]
        assert cells[cells.index("How many") + at] == f"{len(own)}"
        assert cells[cells.index("Won, after costs") + at] == f"{(net > 0).mean():.1%}"
        assert cells[cells.index("Mean return, after costs") + at] == f"{net.mean():.2%}".replace("-", "−")
        assert cells[cells.index("Earned a year before costs, of equity") + at] == f"{earned[side]:.2%}".replace(
            "-", "−"
        )


def test_a_side_that_was_never_taken_has_dashes() -> None:
    cells = [text.get_text() for text in page("leverage").axes[-1].texts]
    assert cells[cells.index("Won, after costs") + 2] == "–"
    assert cells[cells.index("How many") + 2] == "–"
