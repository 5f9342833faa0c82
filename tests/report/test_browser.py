"""report.html in Chromium: pictures load, no console errors, it fits a phone, and every page is printed."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from quantlr.backtest.trades import trade_summary_by_side, trade_table
from quantlr.report.html import report_html
from quantlr.report.pages import layout, pages_to_draw

from chromium import BROWSER, NO_BROWSER_REASON, OPTIONS
from report.cases import case_context

PHONE_WIDTH_PIXELS = 390
PROBE_HTML = f"""<!DOCTYPE html><title>probe</title><body>
<iframe src="report.html" width="{PHONE_WIDTH_PIXELS}" height="800"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  document.body.textContent = JSON.stringify({{
    pictures: [...page.images].map(image => image.naturalWidth), width: page.documentElement.scrollWidth
  }});
}})</script>"""

N_PAGES = 4
"""Pages of the report of one ticker."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER_REASON)


def white_png(figure: Figure) -> bytes:
    """Return a white picture of the figure's size, to save the time of drawing."""
    stream = io.BytesIO()
    Image.new("RGB", figure.canvas.get_width_height(), "white").save(stream, format="png")
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report with white pictures, and a page that measures it in a frame."""
    folder, context = tmp_path_factory.mktemp("browser"), case_context("three years")
    provenance = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}
    trades = trade_summary_by_side(trade_table(context.run_data.result))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "figure_png", white_png)
        pictures = {page.file_name: page.render_picture(context) for page in pages_to_draw(context)}
    html = report_html(
        context, pictures, config_yaml=context.config.to_yaml(), provenance=provenance, trades_by_side=trades
    )
    (folder / "report.html").write_bytes(html)
    (folder / "probe.html").write_text(PROBE_HTML)
    return folder


def run_browser(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser to its end, without a network."""
    options = (*OPTIONS, "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}")
    return subprocess.run(
        [str(BROWSER), *options, *arguments], check=True, capture_output=True, text=True, timeout=300, cwd=folder
    )


def test_pictures_load_and_the_page_fits_a_phone(folder: Path) -> None:
    url = (folder / "probe.html").as_uri()
    page = run_browser(folder, "--allow-file-access-from-files", "--dump-dom", url).stdout
    measured = json.loads(re.findall(r"\{.*\}", page)[0])
    assert measured["pictures"] == [2100] * N_PAGES
    assert measured["width"] <= PHONE_WIDTH_PIXELS


def test_every_page_is_printed_without_console_messages(folder: Path) -> None:
    stderr = run_browser(
        folder, "--no-pdf-header-footer", f"--print-to-pdf={folder / 'out.pdf'}", (folder / "report.html").as_uri()
    ).stderr
    assert "CONSOLE" not in stderr
    printed = (folder / "out.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1 + N_PAGES
