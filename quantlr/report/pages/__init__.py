"""The pages of a report. A page is one module here, named in the tuple below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from quantlr.report.pages.forecast import forecast_page
from quantlr.report.pages.frame import Picture, pictured, warm_up
from quantlr.report.pages.model import model_page
from quantlr.report.pages.tearsheet import tear_sheet
from quantlr.report.shown import Shown

__all__ = ["PAGES", "Page", "Picture", "warm_up"]


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a report.

    Attributes
    ----------
    file : its name in the report's folder.
    question : what it answers, in few words.
    draw : returns the figure, the same for the same run; a function of a module, which other processes can find.
    """

    file: str
    question: str
    draw: Callable[[Shown], Figure]

    def picture(self, shown: Shown) -> Picture:
        """Return the page of a run as it is written."""
        return pictured(self.draw(shown), question=self.question)


PAGES = (
    Page("tearsheet.png", "Is there an edge?", tear_sheet),
    Page("forecast.png", "Did it know?", forecast_page),
    Page("model.png", "What did it learn, and how?", model_page),
)
