"""The page of a sweep: what is drawn is what the files of its report say."""

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
from quantlr.report.pages.layout import figure_png, page_header

from report.cases import OF_THEIR_OWN
from sweeps.workloads import SMALL

BASE: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2004-01-01"},
    "features": [{"kind": "lagged_returns", "lags": [1]}],
    "walk_forward": {"train": 500, "refit_every": 63},
}
LEVELS = [0.48, 0.5, 0.52]
PENALTIES = [0.0, 0.1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[quantlr.Swept, Figure]:
    """Return a sweep over two keys, with the figure that its page was made of."""
    figures: list[Figure] = []

    def kept(figure: Figure) -> bytes:
        figures.append(figure)
        return figure_png(figure)

    grid = {"policy.long_above": LEVELS, "model.l2": PENALTIES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantlr.report.pages.sweep.figure_png", kept)
        sweep = {"name": "drawn", "base": BASE, "grid": grid}
        swept = quantlr.sweep(sweep, output=tmp_path_factory.mktemp("drawn"), workers=1)
    return swept, figures[0]


def ranked(figure: Figure) -> Axes:
    return next(ax for ax in figure.axes if ax.get_xlabel() == "rank among the trials")


def level(ax: Axes, name: str) -> float:
    line = next(line for line in ax.lines if str(line.get_label()).startswith(name))
    return float(np.asarray(line.get_ydata())[0])


def test_cells_are_the_trials_ratios(drawn: tuple[quantlr.Swept, Figure]) -> None:
    swept, figure = drawn
    (image,) = [image for ax in figure.axes for image in ax.get_images()]
    table = swept.trials.pivot_table(index="policy.long_above", columns="model.l2", values="sharpe", sort=True)
    np.testing.assert_allclose(np.asarray(image.get_array(), dtype=float), table.to_numpy(dtype=float))
    (frame,) = image.axes.patches
    best = swept.trials.iloc[0]
    row, column = LEVELS.index(float(best["policy.long_above"])), PENALTIES.index(float(best["model.l2"]))
    corners = image.axes.transData.inverted().transform(frame.get_window_extent())
    assert corners.mean(axis=0) == pytest.approx([column, row])
    said = {tuple(text.get_position()): text.get_text() for text in image.axes.texts}
    around = best["sharpe_high95"] - best["sharpe"]
    assert said[column, row] == f"{best['sharpe']:.2f}\n±{around:.2f}".replace("-", "−")


def test_ranks_intervals_and_levels_are_those_of_the_files(drawn: tuple[quantlr.Swept, Figure]) -> None:
    swept, figure = drawn
    ax = ranked(figure)
    summary = json.loads((swept.folder / "sweep.json").read_text())
    table = pd.read_csv(swept.folder / "trials.csv")
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata(), dtype=float), table["sharpe"])
    (band,) = ax.collections
    outline = np.asarray(band.get_paths()[0].vertices)
    for rank, low, high in zip(table["rank"], table["sharpe_low95"], table["sharpe_high95"], strict=True):
        at = outline[np.isclose(outline[:, 0], rank), 1] if rank in (1, len(table)) else outline[:, 1]
        assert np.isclose(at, low).any()
        assert np.isclose(at, high).any()
    assert level(ax, "best of luck") == summary["luck"]["expected_max_sharpe"]
    assert level(ax, "buy and hold") == summary["winner"]["benchmark_sharpe"]


def test_the_winners_capital_is_that_of_its_own_run(drawn: tuple[quantlr.Swept, Figure]) -> None:
    swept, figure = drawn
    ax = next(ax for ax in figure.axes if ax.get_yscale() == "log")
    run = quantlr.run(swept.folder / "winner.yaml")
    for name, column in (("the winner", "equity"), ("buy and hold", "benchmark_equity")):
        line = next(line for line in ax.lines if str(line.get_label()).startswith(name))
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float)[1:], run.backtest[column])
    (shaded,) = ax.patches
    left = ax.transData.inverted().transform(shaded.get_window_extent())[0, 0]
    assert left == pytest.approx(date2num(pd.Timestamp(swept.summary["holdout"]["from"])))


def test_notes_that_have_no_room_are_in_the_file_that_the_page_names(tmp_path: Path) -> None:
    figure = page_header(
        "What was found", "On what it rests", setup_text="", notes=("one", "two", "three"), notes_file="sweep.json"
    )
    assert "Note: one\nand 2 more notes in sweep.json" in [text.get_text() for text in figure.texts]
    base = {**BASE, "data": {**BASE["data"], "end": "2008-12-31"}}
    sweep = {"name": "noted", "base": base, "grid": {"walk_forward.train": [500, 5000]}, "holdout": 0}
    quantlr.sweep(sweep, output=tmp_path, workers=1)
    (note,) = json.loads((tmp_path / "noted" / "sweep.json").read_text())["notes"]
    assert note.startswith("1 of 2 trials failed; trial 1: ")


def test_the_page_is_the_same_for_the_same_sweep(tmp_path: Path) -> None:
    pages = []
    for looks in ({}, OF_THEIR_OWN):  # the second finds all trials done
        with matplotlib.rc_context(looks):
            folder = quantlr.sweep(SMALL, output=tmp_path, workers=1).folder
        pages.append((folder / "sweep.png").read_bytes())
    picture = imread(io.BytesIO(pages[0]))
    assert picture.shape[:2] == (1410, 2100)
    assert 0.02 < (picture[..., :3].min(axis=2) < 0.95).mean() < 0.6
    assert pages[0] == pages[1]
