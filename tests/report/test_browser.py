"""report.html in a real browser: its pictures load, it complains of nothing, it fits a phone, and it prints whole."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from quantlr.backtest.trades import trade_summary_by_side, trade_table
from quantlr.report.html import RenderedPage, report_html
from quantlr.report.pages import applicable_pages, layout

from report.cases import shown

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PHONE = 390
"""Width of a phone, in pixels."""
LOOK = f"""<!DOCTYPE html><title>look</title><body><iframe src="report.html" width="{PHONE}" height="800"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  document.body.textContent = JSON.stringify({{
    pictures: [...page.images].map(image => image.naturalWidth), width: page.documentElement.scrollWidth
  }});
}})</script>"""

SHOWN = 4
"""Pages of one ticker."""

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on PATH; install it with: apt-get install chromium (or your system's package)"
)


def white(figure: Figure) -> bytes:
    """Return a picture of a figure's size: a browser sees no more of it."""
    stream = io.BytesIO()
    Image.new("RGB", figure.canvas.get_width_height(), "white").save(stream, format="figure_png")
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report, its words as they are and its pictures white, and a page that looks at it."""
    folder, seen = tmp_path_factory.mktemp("browser"), shown("three years")
    provenance = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}
    written = RenderedPage("name: case\n", provenance, trade_summary_by_side(trade_table(seen.run_data.result)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "figure_png", white)
        pictures = {page.file_name: page.render_picture(seen) for page in applicable_pages(seen)}
    (folder / "report.html").write_bytes(report_html(seen, pictures, written))
    (folder / "look.html").write_text(LOOK)
    return folder


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser to the end, without a network."""
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
    )  # fmt: skip
    return subprocess.run(
        [str(BROWSER), *options, *arguments], check=True, capture_output=True, text=True, timeout=300, cwd=folder
    )


def test_every_picture_loads_and_the_page_fits_a_phone(folder: Path) -> None:
    address = (folder / "look.html").as_uri()
    shown_page = browse(folder, "--allow-file-access-from-files", "--dump-dom", address).stdout
    found = json.loads(re.findall(r"\{.*\}", shown_page)[0])
    assert found["pictures"] == [2100] * SHOWN
    assert found["width"] <= PHONE


def test_it_prints_a_sheet_for_each_page_and_complains_of_nothing(folder: Path) -> None:
    said = browse(
        folder, "--no-pdf-header-footer", f"--print-to-pdf={folder / 'out.pdf'}", (folder / "report.html").as_uri()
    ).stderr
    assert "CONSOLE" not in said
    printed = (folder / "out.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1 + SHOWN
