"""How the pages look, against a small picture of each.

A changed look is looked at, and then kept by

    pytest tests/report/test_looks.py --mpl-generate-path tests/report/baseline

The same makes the picture of a new page. Letters may stand a fraction of a pixel elsewhere on another machine, which
the tolerance leaves room for: it is the root mean square of the differences of colours of 0 to 255.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from quantlr.report.pages import PAGES, Page

from report.cases import shown

BASELINE = Path(__file__).parent / "baseline"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file.partition(".")[0])
@pytest.mark.mpl_image_compare(
    baseline_dir="baseline", style="default", tolerance=6, deterministic=True, savefig_kwargs={"dpi": 36}
)
def test_the_look_of(page: Page) -> Figure:
    alone = shown("three years")
    return page.draw_figure(alone if page.is_applicable(alone) else shown("three tickers, five sessions ahead"))


def test_every_baseline_is_of_a_page_and_small() -> None:
    pictures = {f"test_the_look_of_{page.file_name.partition('.')[0]}.png" for page in PAGES}
    assert {path.name for path in BASELINE.iterdir()} == pictures
    assert max(path.stat().st_size for path in BASELINE.iterdir()) < 100_000
