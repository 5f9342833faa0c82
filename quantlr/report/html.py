"""A run as HTML: ``report.html`` for a browser and the output of a notebook cell, each complete in itself."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantlr.backtest.metrics import find_metric, metrics_shown_in
from quantlr.core.text import escape_unsafe_characters
from quantlr.report.context import PageContext
from quantlr.report.interactive_page import InteractivePart, compressed_bokeh_script, panel_with_json
from quantlr.report.model_panels import model_panel_tables, worth_panel
from quantlr.report.pages.layout import figure_png, use_matplotlib_defaults
from quantlr.report.pages.tearsheet import tearsheet_figure, verdict_title_and_text
from quantlr.report.style import percent_text
from quantlr.report.summary import (
    TextTable,
    basis_text,
    drawdown_table,
    headline_tables,
    headline_text_rows,
    learning_rate_text,
    metric_label,
    metric_text,
    naive_rules_table,
    risk_table,
    sensitivity_table,
    solver_text,
    yearly_return_table,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from quantlr.report.pages import Picture

TEMPLATES_DIR = Path(__file__).with_name("templates")
WORTH_BEGIN, WORTH_END = "<!-- worth of the features -->", "<!-- end of worth -->"
"""Between these ``report.html`` has the worth of the features."""
FURTHER_PAGES = {"features.png": "Features", "robustness.png": "Robustness", "race.png": "Race"}
"""Pages that need further fits, by file name: they are added to a report after it was written."""


def render_template(template_name: str, **values: Any) -> str:
    """Return a template with its values filled in: values are escaped, and a missing one is an error."""
    return _jinja_environment().get_template(template_name).render(**values)


@cache
def _jinja_environment() -> Environment:
    """Return the environment that compiles templates, kept for the next report of this process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported only where HTML is written

    loader = FileSystemLoader(TEMPLATES_DIR)
    return Environment(
        loader=loader,
        autoescape=True,
        finalize=lambda value: escape_unsafe_characters(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def prepare_report_html() -> None:
    """Compile the templates of `report_html` and compress the script of its charts, each once in a process.

    That takes longer than filling them in, and needs no picture.
    """
    for name in ("report.html", "base.html", "interactive.html"):
        _jinja_environment().get_template(name)
    compressed_bokeh_script()


def png_data_uri(png: bytes) -> str:
    """Return a picture as the text of a link that contains it."""
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


@use_matplotlib_defaults()
def notebook_html(context: PageContext) -> str:
    """Return a run for a notebook: its metrics, verdict, notes, interactive charts and tear sheet, which is drawn here.

    The charts are a page of their own in a frame, so that its scripts can't disturb those of the notebook.
    """
    picture_uri = png_data_uri(figure_png(tearsheet_figure(context)))
    rows = headline_text_rows(context.metrics)
    return render_template(
        "notebook.html",
        context=context,
        rows=rows,
        fit_text=solver_text(context.metrics["model"]),
        picture_uri=picture_uri,
        interactive_page=render_template(
            "interactive_page.html",
            context=context,
            interactive=InteractivePart.from_context(context, model_panel_tables(context)),
        ),
    )


def report_html(
    context: PageContext,
    pictures: Mapping[str, Picture],
    *,
    config_yaml: str,
    provenance: dict[str, Any],
    trades_by_side: pd.DataFrame,
) -> bytes:
    """Return the report as HTML that contains every picture; text of the config or the data is never read as markup.

    Parameters
    ----------
    context : the run.
    pictures : pages by file name; those in folders, one per ticker, are left out: a browser cannot open hundreds.
    config_yaml : as in ``config.yaml``.
    provenance : as in ``provenance.json``.
    trades_by_side : as `backtest.trades.trade_summary_by_side` returns them.
    """
    files = [file for file in pictures if "/" not in file]
    embedded = [(file.partition(".")[0], pictures[file], png_data_uri(pictures[file].png_bytes)) for file in files]
    tables = (
        _trade_table(trades_by_side, bar_unit=context.bar_unit),
        _model_fit_table(context.metrics["model"], model_name=context.model_name),
    )
    finding, finding_text = verdict_title_and_text(context)
    tables_by_panel = {key: table for picture in pictures.values() for key, table in picture.tables.items()}
    text = render_template(
        "report.html",
        context=context,
        finding=finding,
        finding_text=finding_text,
        pictures=embedded,
        further_pages=[file.partition(".")[0] for file in FURTHER_PAGES],
        tables=[
            *headline_tables(context.metrics, "tear_sheet", "report"),
            risk_table(context.metrics),
            drawdown_table(context.metrics),
            yearly_return_table(context.metrics),
            naive_rules_table(context.metrics),
            sensitivity_table(context.metrics),
            *tables,
        ],
        basis=basis_text(context.metrics),
        config_yaml=config_yaml,
        provenance=provenance,
        interactive=InteractivePart.from_context(context, tables_by_panel),
    )
    return text.encode()


def add_worth_to_report(html: bytes, worth: pd.DataFrame) -> bytes:
    """Return ``report.html`` with the worth of the features, as in ``features.csv``, in its interactive part.

    A report without such a place, of an earlier version, is returned as it is.
    """
    panel = render_template("worth_panel.html", panel=panel_with_json(worth_panel(worth)))
    return _replace_between(html.decode(), WORTH_BEGIN, WORTH_END, panel).encode()


def add_page_to_report(html: bytes, file_name: str, picture: Picture) -> bytes:
    """Return ``report.html`` with one of `FURTHER_PAGES` and a link to it, in place of a former one.

    A report without such a place, of an earlier version, is returned as it is.
    """
    anchor = file_name.partition(".")[0]
    values = {"anchor": anchor, "picture": picture, "uri": png_data_uri(picture.png_bytes), "finding": ""}
    link = f'<li><a href="#{anchor}">{FURTHER_PAGES[file_name]}</a></li>'
    text = html.decode()
    for kind, content in (("link", link), ("page", render_template("page_section.html", **values))):
        text = _replace_between(text, f"<!-- {kind} {anchor} -->", f"<!-- end of {kind} {anchor} -->", content)
    return text.encode()


def _replace_between(text: str, begin: str, end: str, content: str) -> str:
    """Return a text with other content between two marks; the same text where it lacks them."""
    before, begin, rest = text.partition(begin)
    _, end, after = rest.partition(end)
    return f"{before}{begin}{content}{end}{after}" if end else text


def _trade_table(trades_by_side: pd.DataFrame, *, bar_unit: str) -> TextTable:
    """Return the trades by side; no rows where nothing was traded."""
    if not len(trades_by_side):
        return TextTable("Trades", (), ())
    labels = {
        "trades": "Trades", "sessions": f"{bar_unit.capitalize()}s held, median", "won": "Win rate",
        "mean": "Mean return", "best": "Best return", "worst": "Worst return",
    }  # fmt: skip
    rows = []
    for key, label in labels.items():
        text = "{:,.0f}".format if key in ("trades", "sessions") else percent_text
        rows.append((label, tuple(map(text, trades_by_side[key]))))
    sides = tuple(map(str, trades_by_side.index))
    return TextTable("Trades, returns after costs, % of the position", sides, rows)


def _model_fit_table(model_metrics: dict[str, Any], *, model_name: str) -> TextTable:
    """Return how the fits ended; the rows of a solver only for a logistic regression."""
    rows: list[tuple[str, tuple[str]]] = [("Kind", (model_name,))]
    if model_metrics["solver"]:
        gradient = f"{model_metrics['max_abs_gradient']:.1e}, tolerance {model_metrics['tol']:.0e}"
        rows += [
            ("Solver", (model_metrics["solver"],)),
            ("Learning rate", (learning_rate_text(model_metrics),)),
            (metric_label(find_metric("max_abs_gradient")), (gradient,)),
        ]
    for metric in metrics_shown_in("model_fit"):
        value = metric.value({"model": model_metrics})
        if value is not None:
            rows.append((metric_label(metric), (metric_text(metric, value),)))
    return TextTable("Model fit", ("",), tuple(rows))
