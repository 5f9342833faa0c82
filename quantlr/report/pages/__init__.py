"""The pages of a report. A page is one module here, named in the tuple below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quantlr.report.pages.model import model_page
from quantlr.report.pages.tearsheet import tear_sheet
from quantlr.report.shown import Shown


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a report.

    Attributes
    ----------
    file : its name in the report's folder.
    question : what it answers, in few words.
    draw : returns the picture as PNG bytes, the same for the same run.
    """

    file: str
    question: str
    draw: Callable[[Shown], bytes]


PAGES = (
    Page("tearsheet.png", "Is there an edge?", tear_sheet),
    Page("model.png", "What did it learn, and how?", model_page),
)
