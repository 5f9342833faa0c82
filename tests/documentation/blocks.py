"""The parts of hand-written pages that are made by the program: ``python tests/reference_pages.py`` writes them anew.

A page names such a part in two comments, between which it is written::

    <!-- verdict_rules: written by python tests/reference_pages.py -->
    ...
    <!-- end of verdict_rules -->
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import quantlr.report.pages
from quantlr.report.pages import Panel

from documentation.exporters import exporter_heads, questions_asked
from documentation.measurements import MEASURED, choice_sizes, descent_times, size_and_power, skill_sizes
from documentation.verdict_rules import verdict_rules

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(<!-- (\w+): written by [^>]* -->\n\n).*?(\n<!-- end of \2 -->)", re.DOTALL)
BLOCKS: dict[str, Callable[[], str]] = {
    "verdict_rules": verdict_rules,
    "exporter_heads": exporter_heads,
    "questions_asked": questions_asked,
    "skill_sizes": skill_sizes,
    "size_and_power": size_and_power,
    "choice_sizes": choice_sizes,
    "descent_times": descent_times,
    **MEASURED,
}
"""The text of each part by its name in the comments, ending in a line break."""
CELL = r" ((?:[^|\n\\]|\\.)*) \|"
PANEL_ROW = re.compile(rf"^\| `(\w+)` \|(?:{CELL})?{CELL}$", re.MULTILINE)
"""A row of the table of panels: key, title if it is there already, and how to read it."""
PANEL_TABLE_HEADER = (
    "| panel | how to read it |\n| --- | --- |",
    "| key | title on the page | how to read it |\n| --- | --- | --- |",
)
"""The header of such a table as it is written by hand, and with titles."""


def filled_pages() -> dict[Path, str]:
    """Return the text of each page that has such parts, with the parts as the program makes them."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    filled = {
        path: BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]]() + found[3], text) for path, text in pages.items()
    }
    titles = {panel.key: panel.title for panel in all_panels()}
    filled[DOCS / "pages.md"] = with_panel_titles(filled[DOCS / "pages.md"], titles)
    return filled


def all_panels() -> Iterator[Panel]:
    """Yield the panels that the modules of the pages define."""
    for module in pkgutil.iter_modules(quantlr.report.pages.__path__):
        for value in vars(importlib.import_module(f"quantlr.report.pages.{module.name}")).values():
            is_list = isinstance(value, Sequence) and not isinstance(value, str)
            yield from (item for item in (value if is_list else [value]) if isinstance(item, Panel))


def with_panel_titles(page: str, titles: dict[str, str]) -> str:
    """Return the page with each panel's title beside its key; what a title takes from its table is in braces."""

    def row(found: re.Match[str]) -> str:
        key, reading = found[1], found[3]
        title = re.sub(r"(?<=\w)\{\w+\}", "", titles.get(key, ""))  # a remark that some runs have
        title = re.sub(r"\{(\w+).*?\}", r"*\1*", title).replace("_", " ").replace("|", "\\|")
        return f"| `{key}` | {title} | {reading} |"

    return PANEL_ROW.sub(row, page.replace(*PANEL_TABLE_HEADER))
