"""The page that compares tickers, the page of each ticker, and the names of their files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from quantlr.core.errors import ConfigError, OutputError
from quantlr.core.values import Report
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages import PAGES, pages_to_draw
from quantlr.report.pages.layout import Page
from quantlr.report.pages.ticker import TickerContext, ticker_panels, ticker_title_and_text
from quantlr.report.pages.tickers import MAX_TICKER_ROWS, TICKERS_PAGE, tickers_title_and_text
from quantlr.report.storage import TICKER_INDEX_FILE, TICKER_PAGES_DIR, ticker_page_paths, write_report
from quantlr.testing.contract import random_walk_bars

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM", "AAPL"], "start": "2000-03-01"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "label": {"horizon": 5},
    "walk_forward": {"train": 250},
    "policy": {"short_below": 0.5},
    "execution": {"cash_rate": 0.02},
    "report": {"sessions_per_year": 252},
}
ENDS = {"three years": "2003-06-30", "four sessions": "2001-03-16"}


@functools.cache
def sample_run(end: str = "three years") -> Run:
    return quantlr.run(BASE, overrides={"data.end": ENDS[end]})


def page_context(run: Run) -> PageContext:
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


def ticker_page(run: Run, ticker_index: int) -> Figure:
    make_context = functools.partial(TickerContext, ticker_index=ticker_index)
    page = Page("ticker.png", "Ticker", ticker_title_and_text, ticker_panels, make_context=make_context)
    return page.draw_figure(page_context(run))


def run_of_many_tickers(folder: Path, n_tickers: int) -> Run:
    """Return a run over a few weeks."""
    rng, dates = np.random.default_rng(3), pd.bdate_range("2020-01-01", periods=60)
    names = [f"TICKER{index:04d}" for index in range(n_tickers)]
    bars = pd.concat([random_walk_bars(rng, dates).assign(ticker=name) for name in names])
    bars.to_csv(folder / "x.csv", index_label="Date")
    data = {"source": {"kind": "file", "path": str(folder / "x.csv")}, "tickers": names}
    splits = {"train": 30, "refit_every": 30}
    return quantlr.run({**BASE, "data": data, "walk_forward": splits, "label": {"horizon": 1}})


def panel_axes(figure: Figure, title: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))


def lines(ax: Axes) -> list[Any]:
    return list(ax.lines)


def bar_lengths(ax: Axes) -> list[float]:
    """Return the lengths of the bars, without those of the bands under no skill."""
    bars: list[Any] = list(ax.patches)
    return [bar.get_width() for bar in bars if bar.get_height() < 0.6]


def excess_returns(run: Run) -> pd.DataFrame:
    """Return each ticker's contribution in excess of cash after costs, by session, from the run's tables."""
    annual_rate = run.config.execution.cash_rate
    assert isinstance(annual_rate, float)
    cash_rate = annual_rate / 252
    table = run.positions.assign(excess=lambda t: t["gross_return"] - t["cost"] - t["weight"] * cash_rate)
    return table.pivot_table(index="date", columns="ticker", values="excess")


def test_measures_by_ticker_agree_with_the_tables_of_the_run() -> None:
    run = sample_run()
    figure = TICKERS_PAGE.draw_figure(page_context(run))
    ax = panel_axes(figure, "Contribution")
    names = [label.get_text() for label in ax.get_yticklabels()]
    excess = excess_returns(run)
    contribution = (excess.mean() * 252).sort_values(ascending=False)
    assert names == list(contribution.index)
    np.testing.assert_allclose(bar_lengths(ax), contribution, rtol=1e-9)
    strategy = run.metrics["backtest"]["strategy"]
    assert sum(bar_lengths(ax)) == pytest.approx(strategy["sharpe"] * strategy["volatility"], rel=1e-3)
    forecasts = run.forecasts.dropna(subset="up")
    up = forecasts["up"].astype(bool)
    accuracy = ((forecasts["probability"] > 0.5) == up).groupby(forecasts["ticker"]).mean()
    baseline = ((forecasts["base_rate"] > 0.5) == up).groupby(forecasts["ticker"]).mean()
    marks, dots = (line.get_xdata() for line in lines(panel_axes(figure, "Accuracy")))
    np.testing.assert_allclose(dots, accuracy[names], rtol=1e-12)
    np.testing.assert_allclose(marks, baseline[names], rtol=1e-12)
    mean_accuracy = (dots * forecasts["ticker"].value_counts()[names]).sum() / len(forecasts)
    assert mean_accuracy == pytest.approx(run.metrics["forecast"]["accuracy"])
    sharpe = (excess.mean() / excess.std(ddof=1) * np.sqrt(252))[names]
    np.testing.assert_allclose(bar_lengths(panel_axes(figure, "Sharpe")), sharpe, rtol=1e-9)
    weight = run.positions.groupby("ticker")["weight"].apply(lambda weights: weights.abs().mean())
    np.testing.assert_allclose(bar_lengths(panel_axes(figure, "Mean absolute weight")), weight[names], rtol=1e-9)
    by_ticker = run.metrics["backtest"]["by_ticker"]
    for key, expected in (("contribution", contribution), ("mean_absolute_weight", weight)):
        np.testing.assert_allclose(by_ticker[key], expected[by_ticker["tickers"]], rtol=1e-9)
    assert weight.sum() == pytest.approx(strategy["exposure"])
    cumulative = {str(line.get_label()).split()[0]: line for line in lines(panel_axes(figure, "Cumulative"))}
    for name in names:
        np.testing.assert_allclose(cumulative[name].get_ydata(), excess[name].cumsum(), rtol=1e-9, atol=1e-12)


def test_title_counts_tickers_with_positive_contribution() -> None:
    run = sample_run()
    title, text = tickers_title_and_text(page_context(run))
    assert title.startswith(f"{int((excess_returns(run).mean() > 0).sum())} of 3 tickers")
    assert "fewer than 1 of 3" in text


@pytest.mark.parametrize("n_tickers", [50, MAX_TICKER_ROWS + 5])
def test_fifty_tickers_have_rows_and_more_are_ranked(tmp_path: Path, n_tickers: int) -> None:
    run = run_of_many_tickers(tmp_path, n_tickers)
    figure = TICKERS_PAGE.draw_figure(page_context(run))
    contribution = (excess_returns(run).mean() * 252).sort_values(ascending=False)
    ax = panel_axes(figure, "Contribution")
    if n_tickers <= MAX_TICKER_ROWS:
        assert [label.get_text() for label in ax.get_yticklabels()] == list(contribution.index)
        np.testing.assert_allclose(bar_lengths(ax), contribution, rtol=1e-9)
        return
    np.testing.assert_allclose(lines(ax)[0].get_ydata(), contribution, rtol=1e-9)
    highest, lowest = ax.get_xlabel().split("\n")
    for name in contribution.index[:3]:
        assert name in highest
    for name in contribution.index[-3:]:
        assert name in lowest
    expected, ranked = (line.get_ydata() for line in lines(panel_axes(figure, "Sharpe ratio"))[:2])
    assert len(expected) == len(ranked) == n_tickers
    assert expected[0] == pytest.approx(-expected[-1], rel=1e-6)
    assert (np.diff(expected) <= 0).all()


def test_panels_without_positions_give_the_reason() -> None:
    run = quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "policy": {"long_above": 1.0}})
    figure = TICKERS_PAGE.draw_figure(page_context(run))
    assert figure.texts[0].get_text() == "No position was held"
    ax = panel_axes(figure, "Cumulative")
    assert not ax.lines
    assert ax.texts
    assert "no position was held" in ticker_page(run, 0).texts[0].get_text()


def test_ticker_page_agrees_with_the_tables_of_the_run() -> None:
    run, ticker = sample_run(), 1
    figure, excess = ticker_page(run, ticker), excess_returns(run)["IBM"]
    price = lines(panel_axes(figure, "IBM: adjusted close"))[0].get_ydata()
    np.testing.assert_array_equal(price, run.run_data.result.price[:, ticker])
    growth = {str(line.get_label()).split(":")[0]: line for line in lines(panel_axes(figure, "Growth of 1"))}
    np.testing.assert_allclose(growth["after costs"].get_ydata()[1:], (1.0 + excess).cumprod(), rtol=1e-12)
    assert (growth["before costs"].get_ydata() >= growth["after costs"].get_ydata()).all()
    forecasts = run.forecasts[run.forecasts["ticker"] == "IBM"].dropna(subset="up")
    curve = next(line for line in lines(panel_axes(figure, "Calibration")) if line.get_label() == "observed frequency")
    np.testing.assert_array_equal(curve.get_xdata(), np.unique(forecasts["probability"]))
    frequency = pd.Series(curve.get_ydata(), index=curve.get_xdata())[forecasts["probability"]]
    assert frequency.mean() == pytest.approx(forecasts["up"].astype(float).mean())
    weights, dataset = run.metrics["model"]["coefficients"]["IBM"], run.run_data.dataset
    std = dataset.features[dataset.ticker == ticker].std(axis=0)
    expected = {name: weights[name] * std[index] for index, name in enumerate(dataset.columns)}
    chart: Any = panel_axes(figure, "Standardised coefficients").child_axes[0]
    labels = (label.get_text() for label in chart.get_yticklabels())
    drawn = dict(zip(labels, (bar.get_width() for bar in chart.patches), strict=True))
    assert drawn == pytest.approx(expected)
    cells = [text.get_text() for text in figure.axes[-1].texts]
    assert cells[cells.index("Trades") + 1] == f"{len(run.trades[run.trades['ticker'] == 'IBM']):,}"


@pytest.mark.parametrize("ticker", [0, 2])
def test_ticker_of_four_sessions_has_a_page(ticker: int) -> None:
    assert ticker_page(sample_run("four sessions"), ticker).texts


@pytest.mark.usefixtures("without_drawing")
def test_report_has_the_pages_that_apply_and_ticker_pages_on_request() -> None:
    single = quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "data.tickers": ["MSFT"]})
    assert "tickers.png" not in [page.file_name for page in pages_to_draw(page_context(single))]
    several = page_context(sample_run("four sessions"))
    assert [page.file_name for page in pages_to_draw(several)] == [
        page.file_name for page in PAGES if page.name != "selection"
    ]
    run = quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "report.per_ticker": True})
    calls: list[tuple[str, int, int]] = []
    files = run.report(progress=lambda stage, *, done, total: calls.append((stage, done, total))).files
    pages = [f"{TICKER_PAGES_DIR}/{name}.png" for name in ("MSFT", "IBM", "AAPL")]
    assert [name for name in files if name.startswith(TICKER_PAGES_DIR + "/")] == [*pages, TICKER_INDEX_FILE]
    assert json.loads(files[TICKER_INDEX_FILE]) == {"MSFT.png": "MSFT", "IBM.png": "IBM", "AAPL.png": "AAPL"}
    drawing = [(done, total) for stage, done, total in calls if stage == "drawing"]
    n_pages = len(pages_to_draw(several))
    assert drawing == [(done, n_pages + 3) for done in range(n_pages + 4)]
    assert len({files[page] for page in pages}) == 3
    context = page_context(run)
    for page, ticker in zip(pages_to_draw(context)[n_pages:], ("MSFT", "IBM", "AAPL"), strict=True):
        assert page.draw_figure(context).texts[0].get_text().startswith(ticker)
    assert all(files[page].startswith(b"\x89PNG") for page in pages)


def test_ticker_pages_are_off_by_default_and_take_only_true_or_false() -> None:
    assert not sample_run().config.report.per_ticker
    with pytest.raises(ConfigError, match=r"report\.per_ticker"):
        quantlr.run(BASE, overrides={"report.per_ticker": "always"})


UNUSUAL_TICKERS = [
    "^GSPC", "BRK/B", "brk/b", "A" * 300, "A" * 299 + "B", "CON", "con.de", "..", ".", "a~b", "Ä", "50%", "a b", "",
    "0700.HK",
]  # fmt: skip


def test_unusual_tickers_have_unique_file_names_valid_on_every_system(tmp_path: Path) -> None:
    files = ticker_page_paths(UNUSUAL_TICKERS)
    assert list(files) == UNUSUAL_TICKERS
    assert files["^GSPC"] == "tickers/^GSPC.png"
    assert files["0700.HK"] == "tickers/0700.HK.png"
    assert files["BRK/B"].startswith("tickers/BRK%2FB~")
    assert files["BRK/B"] != files["brk/b"].upper()
    assert ticker_page_paths(["BRK/B"]) == {"BRK/B": "tickers/BRK%2FB.png"}
    for file in files.values():
        name = file.removeprefix("tickers/")
        assert 5 <= len(name) <= 90
        assert name.isascii()
        assert not set(name) & set('<>:"/\\|?* ')
        assert not name.startswith(".")
        assert name.split(".")[0].casefold() not in {"con", "prn", "aux", "nul", "com1"}
    write_report(Report("exp", {file: ticker.encode() for ticker, file in files.items()}), tmp_path)
    assert {path.read_text() for path in (tmp_path / "exp" / "tickers").iterdir()} == set(UNUSUAL_TICKERS)


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "S", "Z")), max_size=100), unique=True, max_size=12))
@settings(max_examples=25)
def test_file_names_of_tickers_are_unique_in_any_order(tickers: list[str]) -> None:
    files = ticker_page_paths(tickers)
    assert len({file.casefold() for file in files.values()}) == len(tickers)
    assert ticker_page_paths(tickers[::-1]) == files


def report_of(pages: dict[str, str], *, name: str = "exp") -> Report:
    """Return a report with these ticker pages, by file name."""
    files = {f"{TICKER_PAGES_DIR}/{file}": ticker.encode() for file, ticker in pages.items()}
    index = {TICKER_INDEX_FILE: json.dumps(pages).encode()} if pages else {}
    return Report(name, {"metrics.json": b"{}", **files, **index})


def test_ticker_pages_of_the_previous_run_are_removed_but_not_files_of_the_user(tmp_path: Path) -> None:
    folder = write_report(report_of({"A.png": "A", "B.png": "B"}), tmp_path) / TICKER_PAGES_DIR
    (folder / "mine.png").write_text("keep")
    (folder / "deep").mkdir()
    (folder / "deep" / "A.png").write_text("keep too")
    write_report(report_of({"B.png": "new", "C.png": "C"}), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["B.png", "C.png", "deep", "index.json", "mine.png"]
    assert (folder / "B.png").read_text() == "new"
    write_report(report_of({}), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "mine.png"]
    assert (folder / "deep" / "A.png").read_text() == "keep too"


def test_empty_folder_of_ticker_pages_is_removed(tmp_path: Path) -> None:
    folder = write_report(report_of({"A.png": "A"}), tmp_path)
    write_report(report_of({}), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]


def test_unreadable_index_removes_no_file_of_the_user(tmp_path: Path) -> None:
    folder = write_report(report_of({"A.png": "A"}), tmp_path) / TICKER_PAGES_DIR
    (folder / "index.json").write_text("{")
    write_report(report_of({"A.png": "new"}), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["A.png", "index.json"]
    assert (folder / "A.png").read_text() == "new"
    (folder / "index.json").write_text('{"mine.txt": "X", "../metrics.json": "Y"}')
    (folder / "other.txt").write_text("keep")
    write_report(report_of({}), tmp_path)
    assert "other.txt" in [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("linked", [False, True])
def test_file_in_place_of_the_folder_is_an_error(tmp_path: Path, linked: bool) -> None:
    write_report(report_of({}), tmp_path)
    place = tmp_path / "exp" / TICKER_PAGES_DIR
    if linked:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.write_text("mine")
    with pytest.raises(OutputError, match="is not a folder"):
        write_report(report_of({"A.png": "A"}), tmp_path)
    assert place.is_symlink() == linked
    write_report(report_of({}), tmp_path)
    assert place.is_symlink() == linked
    assert place.exists()
