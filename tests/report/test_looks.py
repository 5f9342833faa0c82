"""The look of the pages, compared with a small picture of each.

After a change is reviewed, the pictures are made anew, also that of a new page, by

    pytest tests/report/test_looks.py --mpl-generate-path tests/report/baseline

The tolerance, the root mean square of the differences of colours from 0 to 255, allows for fonts that are drawn a
fraction of a pixel apart on another machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from quantlr.report.pages import PAGES, Page

from report.cases import case_context

BASELINE = Path(__file__).parent / "baseline"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file_name.partition(".")[0])
@pytest.mark.mpl_image_compare(
    baseline_dir="baseline", style="default", tolerance=6, deterministic=True, savefig_kwargs={"dpi": 36}
)
def test_look(page: Page) -> Figure:
    contexts = map(case_context, ("three years", "three tickers, five sessions ahead", "a choice"))
    return page.draw_figure(next(context for context in contexts if page.is_applicable(context)))


def test_each_page_has_a_small_baseline_picture() -> None:
    pictures = {f"test_look_{page.file_name.partition('.')[0]}.png" for page in PAGES}
    assert {path.name for path in BASELINE.iterdir()} == pictures
    assert max(path.stat().st_size for path in BASELINE.iterdir()) < 150_000
