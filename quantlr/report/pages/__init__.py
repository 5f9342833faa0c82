"""The pages of a report. A page is one module here, named in the tuple below.

A page of each ticker is drawn besides where the config asks for it (`report.per_ticker`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from quantlr.report.pages.forecast import forecast_page
from quantlr.report.pages.frame import Picture, own_looks, pictured, warm_up
from quantlr.report.pages.model import model_page
from quantlr.report.pages.positions import positions
from quantlr.report.pages.tearsheet import tear_sheet
from quantlr.report.pages.ticker import ticker_page
from quantlr.report.pages.tickers import several_tickers, tickers_page
from quantlr.report.shown import Shown
from quantlr.report.ticker_files import ticker_files

__all__ = ["PAGES", "Page", "Picture", "pages_of", "warm_up"]


def always(shown: Shown) -> bool:
    """Return that a page belongs to every report."""
    return True


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a report.

    Attributes
    ----------
    file : its name in the report's folder.
    question : what it answers, in few words.
    draw : returns the figure, the same for the same run; a function of a module, which other processes can find.
    applies : whether a run has such a page.
    """

    file: str
    question: str
    draw: Callable[[Shown], Figure]
    applies: Callable[[Shown], bool] = always

    @own_looks()
    def picture(self, shown: Shown) -> Picture:
        """Return the page of a run as it is written."""
        return pictured(self.draw(shown), question=self.question)


PAGES = (
    Page("tearsheet.png", "Is there an edge?", tear_sheet),
    Page("forecast.png", "Did it know?", forecast_page),
    Page("model.png", "What did it learn, and how?", model_page),
    Page("positions.png", "What did it do, and what did it cost?", positions),
    Page("tickers.png", "Which tickers carried it?", tickers_page, several_tickers),
)


def pages_of(shown: Shown) -> tuple[Page, ...]:
    """Return the pages of a run: those of every report that apply, then those of its tickers, if they are wanted."""
    return (*(page for page in PAGES if page.applies(shown)), *_of_tickers(shown))


def _of_tickers(shown: Shown) -> tuple[Page, ...]:
    if not shown.config.report.per_ticker:
        return ()
    at = {ticker: position for position, ticker in enumerate(shown.course.forecasts.tickers)}
    return tuple(
        Page(file, f"What became of {ticker}?", partial(ticker_page, ticker=at[ticker]))
        for ticker, file in ticker_files(shown.traded).items()
    )
