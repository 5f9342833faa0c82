"""The pages of a report. A page is one module here, named in the tuple below.

A page of each ticker is drawn besides where the config asks for it (`report.per_ticker`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from quantlr.report.context import PageContext
from quantlr.report.pages.forecast import forecast_page
from quantlr.report.pages.layout import Picture, default_style, to_picture, warm_up_fonts
from quantlr.report.pages.model import model_page
from quantlr.report.pages.positions import positions_page
from quantlr.report.pages.tearsheet import tearsheet_page
from quantlr.report.pages.ticker import ticker_page
from quantlr.report.pages.tickers import has_several_tickers, tickers_page
from quantlr.report.storage import ticker_page_paths

__all__ = ["PAGES", "Page", "Picture", "applicable_pages", "warm_up_fonts"]


def is_always_applicable(context: PageContext) -> bool:
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

    file_name: str
    question: str
    draw_figure: Callable[[PageContext], Figure]
    is_applicable: Callable[[PageContext], bool] = is_always_applicable

    @default_style()
    def render_picture(self, context: PageContext) -> Picture:
        """Return the page of a run as it is written."""
        return to_picture(self.draw_figure(context), question=self.question)


PAGES = (
    Page("tearsheet.png", "Is there an edge?", tearsheet_page),
    Page("forecast.png", "Did it know?", forecast_page),
    Page("model.png", "What did it learn, and how?", model_page),
    Page("positions.png", "What did it do, and what did it cost?", positions_page),
    Page("tickers.png", "Which tickers carried it?", tickers_page, has_several_tickers),
)


def applicable_pages(context: PageContext) -> tuple[Page, ...]:
    """Return the pages of a run: those of every report that apply, then those of its tickers, if they are wanted."""
    return (*(page for page in PAGES if page.is_applicable(context)), *_ticker_pages(context))


def _ticker_pages(context: PageContext) -> tuple[Page, ...]:
    if not context.config.report.per_ticker:
        return ()
    at = {ticker: position for position, ticker in enumerate(context.run_data.forecasts.tickers)}
    return tuple(
        Page(file, f"What became of {ticker}?", partial(ticker_page, ticker_index=at[ticker]))
        for ticker, file in ticker_page_paths(context.forecast_tickers).items()
    )
