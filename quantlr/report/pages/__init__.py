"""The pages of a report. A page is one module here, named in the tuple below and in `PageName`.

The config chooses which of them are drawn (`report.pages`), and whether each ticker has a page (`report.per_ticker`).
"""

from __future__ import annotations

from functools import partial

from quantlr.report.context import PageContext
from quantlr.report.pages.forecast import FORECAST_PAGE
from quantlr.report.pages.layout import Page, Panel, Picture, PlacedPanel, warm_up_fonts
from quantlr.report.pages.model import MODEL_PAGE
from quantlr.report.pages.positions import POSITIONS_PAGE
from quantlr.report.pages.selection import SELECTION_PAGE
from quantlr.report.pages.tearsheet import TEARSHEET_PAGE
from quantlr.report.pages.ticker import TickerContext, ticker_panels, ticker_title_and_text
from quantlr.report.pages.tickers import TICKERS_PAGE
from quantlr.report.storage import ticker_page_paths

__all__ = ["PAGES", "Page", "Panel", "Picture", "PlacedPanel", "pages_not_drawn", "pages_to_draw", "warm_up_fonts"]

PAGES = (TEARSHEET_PAGE, FORECAST_PAGE, MODEL_PAGE, SELECTION_PAGE, POSITIONS_PAGE, TICKERS_PAGE)


def pages_to_draw(context: PageContext) -> tuple[Page, ...]:
    """Return the pages of a run that its config asks for: those that apply, then those of its tickers."""
    names = context.config.report.pages
    pages = tuple(page for page in PAGES if page.is_applicable(context) and (names == "all" or page.name in names))
    if not context.config.report.per_ticker:
        return pages
    tickers = context.run_data.forecasts.tickers
    make_context = {name: partial(TickerContext, ticker_index=index) for index, name in enumerate(tickers)}
    return pages + tuple(
        Page(file_name, f"Ticker {name}", ticker_title_and_text, ticker_panels, make_context=make_context[name])
        for name, file_name in ticker_page_paths(context.forecast_tickers).items()
    )


def pages_not_drawn(context: PageContext) -> tuple[Page, ...]:
    """Return the pages that apply to a run and that its config leaves out."""
    drawn = pages_to_draw(context)
    return tuple(page for page in PAGES if page.is_applicable(context) and page not in drawn)
