"""The part of an HTML page with the interactive charts of a run: its texts, its data and the scripts that draw them."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quantlr.core.errors import Fault
from quantlr.report.context import PageContext
from quantlr.report.interactive import TIME_CHARTS, interactive_data, json_for_html
from quantlr.report.model_panels import MODEL_PANEL_KEYS, HtmlPanel, model_panels
from quantlr.report.pages.layout import Table

TEMPLATES_DIR = Path(__file__).with_name("templates")
BOKEH_SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")
PAGE_SCRIPTS = ("interactive.js", "interactive_trades.js", "interactive_panels.js")
EMPTY_TABLE = {"title": "", "columns": (), "rows": ()}
EMPTY_CHART = {"title": "", "sentence": "", "table": EMPTY_TABLE}
BOKEH_COMPRESSION_LEVEL = 3
"""Of 9: the script takes 0.59 MB in place of 1.85, in 25 ms; level 9 would take 0.52 MB and 74 ms."""


@cache
def bokeh_script() -> str:
    """Return the scripts of Bokeh as one.

    Raises
    ------
    Fault : Bokeh is not installed, or without its scripts.
    """
    package = find_spec("bokeh")  # which does not import it
    folders = [Path(folder) for folder in (package.submodule_search_locations or ())] if package else []
    paths = [folder / "server" / "static" / "js" / name for folder in folders[:1] for name in BOKEH_SCRIPTS]
    if not paths:
        raise Fault("the scripts of interactive charts are missing; install Bokeh: pip install bokeh")
    try:
        return "\n".join(path.read_text(encoding="utf-8") for path in paths)
    except OSError as error:
        raise Fault(f"{error.filename}: {error.strerror}; install Bokeh again: pip install bokeh") from error


@cache
def compressed_bokeh_script() -> str:
    """Return `bokeh_script` compressed by zlib as base64; the page's own script unpacks it."""
    return b64encode(zlib.compress(bokeh_script().encode(), BOKEH_COMPRESSION_LEVEL)).decode("ascii")


@cache
def page_script() -> str:
    """Return the script of a page with interactive charts, which draws them with that of Bokeh."""
    return "\n".join((TEMPLATES_DIR / name).read_text(encoding="utf-8") for name in PAGE_SCRIPTS)


@cache
def script_policy(scripts: tuple[str, ...]) -> str:
    """Return the sources that a content security policy has to allow for scripts: the hash of each."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return " ".join(f"'sha256-{b64encode(digest).decode('ascii')}'" for digest in digests)


def panel_with_json(panel: HtmlPanel) -> HtmlPanel:
    """Return a panel with its chart as the text `json` of a script element."""
    return {**panel, "json": json_for_html(panel["chart"])}


@dataclass(frozen=True, slots=True)
class InteractivePart:
    """What a page with interactive charts contains.

    Attributes
    ----------
    texts : title, sentence and table of each chart by key, of the first ticker.
    panels : `model_panels`, with the chart of each as the text `json` of a script element.
    json : `interactive_data` as the text of a script element; empty where the data come later.
    bokeh : `compressed_bokeh_script`.
    scripts : of the page.
    script_policy : the sources that its content security policy has to allow.
    """

    texts: dict[str, Any]
    panels: dict[str, HtmlPanel]
    json: str
    bokeh: str
    scripts: tuple[str, ...]
    script_policy: str

    @classmethod
    def from_context(cls, context: PageContext, tables: Mapping[str, Table]) -> InteractivePart:
        """Return the interactive part of a run's page, with the `tables` of panels of its pages by key."""
        data = interactive_data(context)
        charts = {**data["tickers"][0]["charts"], **data["charts"]}
        texts = {chart.key: charts[chart.key] for chart in TIME_CHARTS}
        panels = {key: panel_with_json(panel) for key, panel in model_panels(context, tables).items()}
        return cls._with_scripts(texts, panels, json_for_html(data))

    @classmethod
    def without_data(cls, *other_scripts: str) -> InteractivePart:
        """Return the part of a page whose data come later, drawn by a script of the page's own."""
        texts = {chart.key: EMPTY_CHART for chart in TIME_CHARTS}
        panels = {key: EMPTY_CHART | {"chart": None, "json": ""} for key in MODEL_PANEL_KEYS}
        return cls._with_scripts(texts, panels, "", *other_scripts)

    @classmethod
    def _with_scripts(
        cls, texts: dict[str, Any], panels: dict[str, HtmlPanel], json: str, *other_scripts: str
    ) -> InteractivePart:
        scripts = (page_script(), *other_scripts)
        return cls(texts, panels, json, compressed_bokeh_script(), scripts, script_policy((bokeh_script(), *scripts)))
