"""The page of a sweep, drawn for real, which the other tests leave white."""

from __future__ import annotations

import io
from pathlib import Path

import quantlr
from matplotlib.image import imread

from sweep.killers import SMALL


def test_the_page_is_drawn_and_is_the_same_for_the_same_sweep(tmp_path: Path) -> None:
    pages = []
    for _ in range(2):  # the second finds all trials done
        folder = quantlr.sweep(SMALL, output=tmp_path, jobs=1).folder
        pages.append((folder / "sweep.png").read_bytes())
    picture = imread(io.BytesIO(pages[0]))
    assert picture.shape[:2] == (1410, 2100)
    assert 0.02 < (picture[..., :3].min(axis=2) < 0.95).mean() < 0.6
    assert pages[0] == pages[1]
