"""The report as one page for a browser: it asks for nothing but itself, from disk as from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantlr.backtest.rolling import deepest_drawdowns
from quantlr.core.progress import iso_date
from quantlr.core.values import BacktestResult
from quantlr.report.context import PageContext
from quantlr.report.headline import TextTable, headline_tables
from quantlr.report.style import number_text, percent_text
from quantlr.report.templating import render_template

if TYPE_CHECKING:
    from quantlr.report.pages import Picture

MAX_LISTED_DRAWDOWNS = 5
"""Drawdowns that are listed, the deepest."""


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """What a report says besides its pages.

    Attributes
    ----------
    config : the resolved config, as YAML.
    provenance : as in ``provenance.json``.
    round_trips : by side, as `backtest.trades.by_side` returns them.
    """

    config_yaml: str
    provenance: dict[str, Any]
    trades_by_side: pd.DataFrame


def report_html(context: PageContext, pictures: Mapping[str, Picture], rendered_page: RenderedPage) -> bytes:
    """Return the report as HTML, every picture inside it; text of the config or the data is never taken as markup."""
    finding, _, basis = context.metrics["verdict"]["sentence"].partition(": ")
    text = render_template(
        "report.html",
        name=context.config.name,
        finding=finding,
        basis=basis[:1].upper() + basis[1:],
        setting=context.setup_text,
        pictures=[
            (_html_anchor(file), file, picture, _png_data_uri(picture.png_bytes))
            for file, picture in pictures.items()
            if "/" not in file  # hundreds of tickers' pages would be more than a browser opens
        ],
        tables=[
            *headline_tables(context.metrics),
            *_drawdown_tables(context.run_data.result),
            *_trade_tables(rendered_page.trades_by_side),
            _fit_table(context.metrics["model"]),
        ],
        notes=context.notes,
        config=rendered_page.config_yaml,
        source=rendered_page.provenance["data"]["source"],
        sha256=rendered_page.provenance["data"]["sha256"],
        versions=rendered_page.provenance["versions"],
    )
    return text.encode()


def _html_anchor(file_name: str) -> str:
    return file_name.partition(".")[0]


def _png_data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def _drawdown_tables(result: BacktestResult) -> list[TextTable]:
    """Return the table of the deepest drawdowns; none where there was no fall."""
    rows = [
        (
            percent_text(fall.depth),
            (
                iso_date(fall.peak_date),
                iso_date(fall.trough_date),
                iso_date(fall.recovery_date) if fall.recovery_date else "not yet",
            ),
        )
        for fall in deepest_drawdowns(result, max_count=MAX_LISTED_DRAWDOWNS)
    ]
    return [TextTable("Deepest falls from a high", ("high", "low", "regained"), tuple(rows))] if rows else []


def _trade_tables(trades_by_side: pd.DataFrame) -> list[TextTable]:
    """Return the table of round trips; none where nothing was traded."""
    if not len(trades_by_side):
        return []
    whole = {"trades": "Round trips", "sessions": "Sessions held, median"}
    shares = {"won": "Earned more than they cost", "mean": "Mean", "best": "Best", "worst": "Worst"}
    rows = [(label, tuple(f"{value:,.0f}" for value in trades_by_side[key])) for key, label in whole.items()]
    rows += [(label, tuple(percent_text(value) for value in trades_by_side[key])) for key, label in shares.items()]
    return [TextTable("Round trips, after costs, of the position", tuple(map(str, trades_by_side.index)), tuple(rows))]


def _fit_table(model_metrics: dict[str, Any]) -> TextTable:
    rows = (
        ("Refits", (f"{model_metrics['refits']:,}",)),
        ("Steps of the descent, mean", (number_text(model_metrics["iterations_mean"], decimals=1),)),
        ("Did not converge", (f"{model_metrics['unconverged']:,}",)),
        ("Without a best fit", (f"{model_metrics['degenerate']:,}",)),
        ("Condition number of the features", (number_text(model_metrics["condition_number"], decimals=1),)),
    )
    return TextTable("How was it fitted?", ("",), rows)
