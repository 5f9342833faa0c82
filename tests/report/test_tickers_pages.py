"""Tickers side by side, and a page for each: what is drawn is what was measured, and files have names that hold."""

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
from quantlr.core.errors import OutputError
from quantlr.core.values import Report
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages import PAGES, applicable_pages
from quantlr.report.pages.ticker import ticker_page
from quantlr.report.pages.tickers import MAX_TICKER_ROWS, tickers_page
from quantlr.report.storage import TICKER_INDEX_FILE, TICKER_PAGES_DIR, ticker_page_paths, write_report
from quantlr.testing.markets import random_walk_bars

BASE: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM", "AAPL"], "start": "2000-03-01"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "label": {"horizon": 5},
    "walk_forward": {"train": 250},
    "policy": {"short_below": 0.5},
    "execution": {"cash_rate": 0.02},
}
ENDS = {"three years": "2003-06-30", "four sessions": "2001-03-16"}


@functools.cache
def ran(end: str = "three years") -> Run:
    return quantlr.run(BASE, overrides={"data.end": ENDS[end]})


def shown(done: Run) -> PageContext:
    return PageContext.from_run(done.config, done.run_data, done.metrics, done.notes)


def many(folder: Path, count: int) -> Run:
    """Return a run of many tickers with long names over a few weeks."""
    rng, dates = np.random.default_rng(3), pd.bdate_range("2020-01-01", periods=60)
    names = [f"TICKER{at:04d}" for at in range(count)]
    pd.concat([random_walk_bars(rng, dates).assign(ticker=name) for name in names]).to_csv(
        folder / "x.csv", index_label="Date"
    )
    data = {"source": {"kind": "file", "path": str(folder / "x.csv")}, "tickers": names}
    walk = {"train": 30, "refit_every": 30}
    return quantlr.run({**BASE, "data": data, "walk_forward": walk, "label": {"horizon": 1}})


def axes_of(figure: Figure, heading: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(heading))


def lines_of(ax: Axes) -> list[Any]:
    return list(ax.lines)


def lengths(ax: Axes) -> list[float]:
    """Return the bars' lengths, those of luck's reach left out."""
    bars: list[Any] = list(ax.patches)
    return [bar.get_width() for bar in bars if bar.get_height() < 0.6]


def excess_of(done: Run) -> pd.DataFrame:
    """Return what each ticker earned above cash after costs, session by session, from the run's own tables."""
    table = done.positions.assign(
        excess=lambda t: t["gross_return"] - t["cost"] - t["weight"] * done.config.execution.cash_rate / 252
    )
    return table.pivot_table(index="date", columns="ticker", values="excess")


def test_bars_are_the_tickers_own_numbers_and_add_up_to_the_runs() -> None:
    done = ran()
    figure = tickers_page(shown(done))
    ax = axes_of(figure, "Added a year")
    names = [label.get_text() for label in ax.get_yticklabels()]
    excess = excess_of(done)
    expected = (excess.mean() * 252).sort_values(ascending=False)
    assert names == list(expected.index)
    np.testing.assert_allclose(lengths(ax), expected, rtol=1e-9)
    own = done.metrics["backtest"]["strategy"]
    assert sum(lengths(ax)) == pytest.approx(own["sharpe"] * own["volatility"], rel=1e-3)
    calls = done.forecasts.dropna(subset="up")
    right = ((calls["probability"] > 0.5) == calls["up"].astype(bool)).groupby(calls["ticker"]).mean()
    base = ((calls["base_rate"] > 0.5) == calls["up"].astype(bool)).groupby(calls["ticker"]).mean()
    marks, dots = (line.get_xdata() for line in lines_of(axes_of(figure, "Right calls")))
    np.testing.assert_allclose(dots, right[names], rtol=1e-12)
    np.testing.assert_allclose(marks, base[names], rtol=1e-12)
    assert (dots * calls["ticker"].value_counts()[names]).sum() / len(calls) == pytest.approx(
        done.metrics["forecast"]["accuracy"]
    )
    ratio = (excess.mean() / excess.std(ddof=1) * np.sqrt(252))[names]
    np.testing.assert_allclose(lengths(axes_of(figure, "Sharpe")), ratio, rtol=1e-9)
    weight = done.positions.groupby("ticker")["weight"].apply(lambda w: w.abs().mean())
    np.testing.assert_allclose(lengths(axes_of(figure, "Mean |weight|")), weight[names], rtol=1e-9)
    assert weight.sum() == pytest.approx(own["exposure"])
    so_far = {str(line.get_label()).split()[0]: line.get_ydata() for line in lines_of(axes_of(figure, "Added so far"))}
    for name in names:
        np.testing.assert_allclose(so_far[name], excess[name].cumsum(), rtol=1e-9, atol=1e-12)


def test_the_title_counts_who_added_and_who_was_called_better_than_luck() -> None:
    done = ran()
    gained = int((excess_of(done).mean() > 0).sum())
    title, text = (tickers_page(shown(done)).texts[at].get_text() for at in (0, 1))
    assert title.startswith(f"{gained} of 3 tickers added to the return; ")
    assert "fewer than one of 3" in text.replace("\n", " ")


@pytest.mark.parametrize("count", [50, MAX_TICKER_ROWS + 5])
def test_fifty_have_rows_and_more_are_ranked_with_the_extremes_named(tmp_path: Path, count: int) -> None:
    done = many(tmp_path, count)
    figure = tickers_page(shown(done))
    excess = (excess_of(done).mean() * 252).sort_values(ascending=False)
    ax = axes_of(figure, "Added a year")
    if count <= MAX_TICKER_ROWS:
        assert [label.get_text() for label in ax.get_yticklabels()] == list(excess.index)
        np.testing.assert_allclose(lengths(ax), excess, rtol=1e-9)
        return
    np.testing.assert_allclose(lines_of(ax)[0].get_ydata(), excess, rtol=1e-9)
    highest, lowest = ax.get_xlabel().split("\n")
    for name in excess.index[:3]:
        assert name in highest
    for name in excess.index[-3:]:
        assert name in lowest
    luck, found = (line.get_ydata() for line in lines_of(axes_of(figure, "Sharpe ratio"))[:2])
    assert len(luck) == len(found) == count
    assert luck[0] == pytest.approx(-luck[-1], rel=1e-6)


def test_where_nothing_was_held_the_page_says_so() -> None:
    done = quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "policy": {"long_above": 1.0}})
    figure = tickers_page(shown(done))
    assert figure.texts[0].get_text() == "No ticker was ever held"
    assert "Nothing was held." in [text.get_text() for ax in figure.axes for text in ax.texts]
    alone = ticker_page(shown(done), ticker_index=0)
    assert alone.texts[0].get_text().startswith("MSFT was never held")


def test_a_tickers_page_shows_its_own_part() -> None:
    done = ran()
    ticker = 1
    figure = ticker_page(shown(done), ticker_index=ticker)
    excess = excess_of(done)["IBM"]
    price = lines_of(axes_of(figure, "Adjusted close"))[0].get_ydata()
    np.testing.assert_array_equal(price, done.run_data.result.price[:, ticker])
    grown = {
        str(line.get_label()).split(":")[0]: line.get_ydata() for line in lines_of(axes_of(figure, "What its part"))
    }
    np.testing.assert_allclose(grown["after costs"][1:], (1.0 + excess).cumprod(), rtol=1e-12)
    assert (grown["before costs"] >= grown["after costs"]).all()
    own = done.forecasts[done.forecasts["ticker"] == "IBM"].dropna(subset="up")
    curve = next(
        line for line in lines_of(axes_of(figure, "Share of ups")) if str(line.get_label()).startswith("share of ups")
    )
    np.testing.assert_array_equal(curve.get_xdata(), np.unique(own["probability"]))
    share = pd.Series(curve.get_ydata(), index=curve.get_xdata())[own["probability"]]
    assert share.mean() == pytest.approx(own["up"].astype(float).mean())
    weights = done.metrics["model"]["coefficients"]["IBM"]
    dataset = done.run_data.dataset
    deviation = dataset.features[dataset.ticker == ticker].std(axis=0)
    expected = {name: weights[name] * deviation[at] for at, name in enumerate(dataset.columns)}
    bars = next(ax for ax in figure.axes if {label.get_text() for label in ax.get_yticklabels()} == {*expected})
    widths = [bar.get_width() for bar in bars.patches]  # type: ignore[attr-defined]
    drawn = dict(zip((label.get_text() for label in bars.get_yticklabels()), widths, strict=True))
    assert drawn == pytest.approx(expected)
    cells = [text.get_text() for text in figure.axes[-1].texts]
    trips = len(done.trades[done.trades["ticker"] == "IBM"])
    assert cells[cells.index("Round trips") + 1] == f"{trips:,}"


@pytest.mark.parametrize("ticker", [0, 2])
def test_a_ticker_of_four_sessions_has_a_page(ticker: int) -> None:
    done = ran("four sessions")
    assert ticker_page(shown(done), ticker_index=ticker).texts


@pytest.mark.usefixtures("undrawn")
def test_a_report_has_the_pages_that_apply_and_those_of_tickers_where_asked() -> None:
    alone = shown(quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "data.tickers": ["MSFT"]}))
    assert "tickers.png" not in [page.file_name for page in applicable_pages(alone)]
    several = shown(ran("four sessions"))
    assert [page.file_name for page in applicable_pages(several)] == [page.file_name for page in PAGES]
    done = quantlr.run(BASE, overrides={"data.end": ENDS["four sessions"], "report.per_ticker": True})
    heard: list[tuple[str, int, int]] = []
    files = done.report(progress=lambda stage, *, done, total: heard.append((stage, done, total))).files
    pages = [f"{TICKER_PAGES_DIR}/{name}.png" for name in ("MSFT", "IBM", "AAPL")]
    assert [name for name in files if name.startswith(TICKER_PAGES_DIR + "/")] == [*pages, TICKER_INDEX_FILE]
    assert json.loads(files[TICKER_INDEX_FILE]) == {"MSFT.png": "MSFT", "IBM.png": "IBM", "AAPL.png": "AAPL"}
    drawing = [(done, total) for stage, done, total in heard if stage == "drawing"]
    assert drawing == [(at, len(PAGES) + 3) for at in range(len(PAGES) + 4)]
    assert len({files[page] for page in pages}) == 3
    of_tickers = applicable_pages(shown(done))[len(PAGES) :]
    for page, ticker in zip(of_tickers, ("MSFT", "IBM", "AAPL"), strict=True):
        assert page.draw_figure(shown(done)).texts[0].get_text().startswith(ticker), (
            "of that ticker, though left white here"
        )
    assert all(files[page].startswith(b"\x89PNG") for page in pages)


def test_a_page_for_each_ticker_is_off_unless_asked_for_and_is_a_yes_or_no() -> None:
    assert not ran().config.report.per_ticker
    with pytest.raises(quantlr.core.errors.ConfigError, match=r"report\.per_ticker"):
        quantlr.run(BASE, overrides={"report.per_ticker": "always"})


HARD = [
    "^GSPC", "BRK/B", "brk/b", "A" * 300, "A" * 299 + "B", "CON", "con.de", "..", ".", "a~b", "Ä", "50%", "a b", "",
    "0700.HK",
]  # fmt: skip


def test_hard_tickers_have_files_of_their_own_that_every_system_takes(tmp_path: Path) -> None:
    files = ticker_page_paths(HARD)
    assert list(files) == HARD
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
    assert {path.read_text() for path in (tmp_path / "exp" / "tickers").iterdir()} == set(HARD)


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "S", "Z")), max_size=100), unique=True, max_size=12))
@settings(max_examples=25)
def test_no_two_tickers_share_a_file_whatever_their_order(tickers: list[str]) -> None:
    files = ticker_page_paths(tickers)
    assert len({file.casefold() for file in files.values()}) == len(tickers)
    assert ticker_page_paths(tickers[::-1]) == files


def report_of(pages: dict[str, str], *, name: str = "exp") -> Report:
    """Return a report with these pages of tickers, file to ticker."""
    files = {f"{TICKER_PAGES_DIR}/{file}": ticker.encode() for file, ticker in pages.items()}
    index = {TICKER_INDEX_FILE: json.dumps(pages).encode()} if pages else {}
    return Report(name, {"metrics.json": b"{}", **files, **index})


def test_pages_of_a_former_run_go_and_what_the_user_put_beside_them_stays(tmp_path: Path) -> None:
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


def test_without_the_users_files_the_folder_goes_with_the_pages(tmp_path: Path) -> None:
    folder = write_report(report_of({"A.png": "A"}), tmp_path)
    write_report(report_of({}), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]


def test_an_index_that_can_not_be_read_takes_nothing_of_the_users(tmp_path: Path) -> None:
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
def test_a_file_of_the_users_where_the_folder_belongs_is_not_deleted(tmp_path: Path, linked: bool) -> None:
    write_report(report_of({}), tmp_path)
    place = tmp_path / "exp" / TICKER_PAGES_DIR
    if linked:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.write_text("mine")
    with pytest.raises(OutputError, match="is no folder, where a folder of the report belongs; move it away"):
        write_report(report_of({"A.png": "A"}), tmp_path)
    assert place.is_symlink() == linked
    write_report(report_of({}), tmp_path)
    assert place.is_symlink() == linked
    assert place.exists()
