"""The page of a sweep: its panels agree with the files of its report."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.experiment.saved_pages import open_saved_pages
from quantlr.report.pages.layout import figure_png, page_figure

from report.cases import USER_RCPARAMS
from sweeps.workloads import SMALL

BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2004-01-01"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 500, "refit_every": 63},
}
LEVELS = [0.48, 0.5, 0.52]
PENALTIES = [0.0, 0.1]


@pytest.fixture(scope="module")
def drawn_sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[quantlr.SweepResult, Figure]:
    """Return a sweep over two keys, and the figure of its page."""
    figures: list[Figure] = []

    def keep_figure(figure: Figure) -> bytes:
        figures.append(figure)
        return figure_png(figure)

    grid = {"policy.long_above": LEVELS, "model.l2": PENALTIES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantlr.report.pages.sweep.figure_png", keep_figure)
        sweep = {"name": "drawn", "base": BASE, "grid": grid}
        result = quantlr.sweep(sweep, output=tmp_path_factory.mktemp("drawn"), workers=1)
    return result, figures[0]


def ranking_axes(figure: Figure) -> Axes:
    return next(ax for ax in figure.axes if ax.get_xlabel() == "rank among the trials")


def level(ax: Axes, name: str) -> float:
    line = next(line for line in ax.lines if str(line.get_label()).startswith(name))
    return float(np.asarray(line.get_ydata())[0])


def test_heat_map_has_the_sharpe_ratios_of_the_trials(drawn_sweep: tuple[quantlr.SweepResult, Figure]) -> None:
    result, figure = drawn_sweep
    (image,) = [image for ax in figure.axes for image in ax.get_images()]
    table = result.trials.pivot_table(index="policy.long_above", columns="model.l2", values="sharpe", sort=True)
    np.testing.assert_allclose(np.asarray(image.get_array(), dtype=float), table.to_numpy(dtype=float))
    (frame,) = image.axes.patches
    best = result.trials.iloc[0]
    row, column = LEVELS.index(float(best["policy.long_above"])), PENALTIES.index(float(best["model.l2"]))
    corners = image.axes.transData.inverted().transform(frame.get_window_extent())
    assert corners.mean(axis=0) == pytest.approx([column, row])
    texts = {tuple(text.get_position()): text.get_text() for text in image.axes.texts}
    half_width = best["sharpe_high95"] - best["sharpe"]
    assert texts[column, row] == f"{best['sharpe']:.2f}\n±{half_width:.2f}".replace("-", "−")


def test_ranking_has_the_numbers_of_the_files(drawn_sweep: tuple[quantlr.SweepResult, Figure]) -> None:
    result, figure = drawn_sweep
    ax = ranking_axes(figure)
    summary = json.loads((result.folder / "sweep.json").read_text())
    table = pd.read_csv(result.folder / "trials.csv")
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata(), dtype=float), table["sharpe"])
    (band,) = ax.collections
    outline = np.asarray(band.get_paths()[0].vertices)
    for rank, low, high in zip(table["rank"], table["sharpe_low95"], table["sharpe_high95"], strict=True):
        edges = outline[np.isclose(outline[:, 0], rank), 1] if rank in (1, len(table)) else outline[:, 1]
        assert np.isclose(edges, low).any()
        assert np.isclose(edges, high).any()
    assert level(ax, "expected maximum under no skill") == summary["no_skill"]["expected_max_sharpe"]
    assert level(ax, "buy and hold") == summary["winner"]["benchmark_sharpe"]


def test_winner_has_the_equity_of_its_own_run(drawn_sweep: tuple[quantlr.SweepResult, Figure]) -> None:
    result, figure = drawn_sweep
    ax = next(ax for ax in figure.axes if ax.get_yscale() == "log")
    run = quantlr.run(result.folder / "winner.yaml")
    for name, column in (("winner after costs", "equity"), ("buy and hold", "benchmark_equity")):
        line = next(line for line in ax.lines if str(line.get_label()).startswith(name))
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float)[1:], run.backtest[column])
    (holdout,) = ax.patches
    left = ax.transData.inverted().transform(holdout.get_window_extent())[0, 0]
    assert left == pytest.approx(date2num(pd.Timestamp(result.summary["holdout"]["from"])))


def test_notes_beyond_two_are_counted(tmp_path: Path) -> None:
    figure = page_figure("Title", "Subtitle", setup_text="", notes=("one", "two", "three"), notes_file="sweep.json")
    assert "Note: one\nand 2 more notes in sweep.json" in [text.get_text() for text in figure.texts]
    base = {**BASE, "data": {**BASE["data"], "end": "2008-12-31"}}
    sweep = {"name": "noted", "base": base, "grid": {"walk_forward.train": [500, 5000]}, "holdout": 0}
    quantlr.sweep(sweep, output=tmp_path, workers=1)
    (note,) = json.loads((tmp_path / "noted" / "sweep.json").read_text())["notes"]
    assert note.startswith("1 of 2 trials failed; trial 1: ")


def test_page_bytes_repeat_under_any_matplotlib_settings(tmp_path: Path) -> None:
    pages = []
    for settings in ({}, USER_RCPARAMS):  # the second sweep reuses all trials
        with matplotlib.rc_context(settings):
            folder = quantlr.sweep(SMALL, output=tmp_path, workers=1).folder
        pages.append((folder / "sweep.png").read_bytes())
    picture = imread(io.BytesIO(pages[0]))
    assert picture.shape[:2] == (1410, 2100)
    assert 0.02 < (picture[..., :3].min(axis=2) < 0.95).mean() < 0.6
    assert pages[0] == pages[1]


def test_page_is_drawn_again_from_the_files_of_the_report(drawn_sweep: tuple[quantlr.SweepResult, Figure]) -> None:
    result, _ = drawn_sweep
    pages = open_saved_pages(result.folder)
    assert list(pages.figures) == list(result.figures)
    assert "winner_growth" in pages.figures
    (again,) = pages.draw_pages()
    assert figure_png(again) == (result.folder / "sweep.png").read_bytes()
    path = result.folder / "sweep.json"
    former = path.read_bytes()
    changed = json.loads(former)
    changed["holdout"]["growth"] += 0.001
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(quantlr.UserError, match="prices have changed"):
        open_saved_pages(result.folder)
    path.write_bytes(former)
