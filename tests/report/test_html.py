"""report.html: complete in itself, well-formed, and with markup in names and notes escaped."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from quantlr.backtest.trades import trade_summary_by_side, trade_table
from quantlr.report.context import PageContext
from quantlr.report.html import add_page_to_report, report_html
from quantlr.report.pages import PAGES, Picture

from report.cases import case_context, case_tear_sheet

DOCS_TEXT = (Path(__file__).parents[2] / "docs" / "pages.md").read_text()
VOID = {"meta", "link", "img", "br", "hr", "input"}
MARKUP = "</title><script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7 * 7 }}"
PICTURES = {
    "tearsheet.png": Picture(
        "Is there an edge?", "No edge", "Its numbers.", "No edge. Growth.", b"\x89PNG one", 1400, 940
    ),
    "model.png": Picture(
        "What & why?", "A <b>model</b>", "Its <i>numbers</i>.", 'A "model".', b"\x89PNG two", 1400, 940, "Read <it> so."
    ),
}
SCRIPT_TAGS: list[dict[str, str]] = [
    {"type": "application/json", "data-run": ""},
    {"type": "text/plain", "data-bokeh": ""},
    {},
]
"""The tags of the data of the interactive charts, and of the scripts that draw them."""
PROVENANCE: dict[str, Any] = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}


class ReportParser(HTMLParser):
    """Tags with attributes, and text by tag; tags closed out of order fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words[self.open[-1]] = self.words.get(self.open[-1], "") + data

    def attributes_of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report_page(case: str = "three years", *, name: str = "exp", note: str = "a note", source: str = "made up") -> str:
    context = case_context(case)
    context = replace(context, config=context.config.model_copy(update={"name": name}), notes=(note,))
    return html_of(context, source=source)


def html_of(context: PageContext, *, source: str = "made up", trades_by_side: pd.DataFrame | None = None) -> str:
    if trades_by_side is None:
        trades_by_side = trade_summary_by_side(trade_table(context.run_data.result))
    provenance = {**PROVENANCE, "data": {"source": source, "sha256": "ab12"}}
    page = report_html(
        context, PICTURES, config_yaml=context.config.to_yaml(), provenance=provenance, trades_by_side=trades_by_side
    )
    return page.decode()


@pytest.fixture(scope="module")
def html() -> ReportParser:
    return ReportParser(report_page())


def test_page_loads_nothing_from_outside(html: ReportParser) -> None:
    for tag, attributes in html.tags:
        for key in ("src", "href", "srcset", "action", "data", "poster", "background"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on")]
    assert html.attributes_of("script") == SCRIPT_TAGS
    assert not re.search(r"url\(|@import|https?:|//", html.words["style"])
    (policy,) = (
        tag["content"] for tag in html.attributes_of("meta") if tag.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)


def test_embedded_pictures_equal_the_files(html: ReportParser) -> None:
    pictures = html.attributes_of("img")
    assert [b64decode(tag["src"].removeprefix("data:image/png;base64,")) for tag in pictures] == [
        picture.png_bytes for picture in PICTURES.values()
    ]
    assert [tag["alt"] for tag in pictures] == [picture.alt_text for picture in PICTURES.values()]


def test_pages_open_with_how_to_read_them_collapsed(html: ReportParser) -> None:
    guides = [tag for tag in html.attributes_of("details") if tag.get("class") == "how-to-read"]
    assert guides == [{"class": "how-to-read"}], "only the second picture says how, and it is not open"
    assert "Read <it> so." in html.words["p"]
    with_heading = [page for page in PAGES if f"## {page.heading}: {page.file_name}" in DOCS_TEXT]
    assert with_heading == list(PAGES), "the HTML names the section of the documentation"
    for page in PAGES:
        assert page.how_to_read.endswith(".")
        assert page.how_to_read.count(". ") == 0


def test_pictures_are_shown_without_their_headers(html: ReportParser) -> None:
    for tag, picture in zip(html.attributes_of("img"), PICTURES.values(), strict=True):
        width, height = tag["style"].removeprefix("aspect-ratio: ").split(" / ")
        assert (int(width), int(height)) == (picture.width, picture.height - Picture.header_height)


def test_table_of_contents_links_every_section(html: ReportParser) -> None:
    ids = {attributes["id"] for _, attributes in html.tags if "id" in attributes}
    links = [tag["href"].removeprefix("#") for tag in html.attributes_of("a")]
    assert set(links) <= ids
    assert {tag["id"] for tag in html.attributes_of("section")} <= set(links)
    assert set(html.words["nav"].split()) <= {"\n"}
    assert len(html.attributes_of("h1")) == 1
    assert len(html.attributes_of("h2")) == len(html.attributes_of("section"))


def test_tables_have_captions_and_scoped_headings(html: ReportParser) -> None:
    assert len(html.attributes_of("caption")) == len(html.attributes_of("table")) >= 5
    assert {tag["scope"] for tag in html.attributes_of("th")} == {"row", "col"}


def test_numbers_equal_the_metrics() -> None:
    metrics, text = case_context("three years").metrics, report_page()
    low, high = metrics["forecast"]["accuracy_ci95"]
    assert f"<td>{metrics['forecast']['accuracy']:.1%}</td><td>{low:.1%} to {high:.1%}</td>" in text
    assert f"<td>{metrics['backtest']['strategy']['trades']:,}</td>" in text
    assert metrics["verdict"]["sentence"].partition(": ")[0] in text


@pytest.mark.parametrize("field", ["name", "note", "source"])
def test_markup_in_texts_is_escaped(field: str) -> None:
    text = report_page(**{field: MARKUP})
    parser = ReportParser(text)
    assert parser.attributes_of("script") == SCRIPT_TAGS
    assert len(parser.attributes_of("img")) == len(PICTURES)
    assert "{{ 7 * 7 }}" in text
    assert "alert(&#39;x&#39;)" in text


def test_markup_in_tickers_is_escaped() -> None:
    context = case_context("three tickers, five sessions ahead")
    names = ("<script>x</script>", '"onload="x', "T2")
    forecasts = replace(context.run_data.forecasts, tickers=names)
    context = replace(context, run_data=replace(context.run_data, forecasts=forecasts))
    parser = ReportParser(html_of(context, trades_by_side=pd.DataFrame()))
    assert parser.attributes_of("script") == SCRIPT_TAGS
    assert "<script>x</script>" in parser.words["p"]


def test_run_without_trades_or_notes_has_no_empty_sections() -> None:
    text = html_of(replace(case_context("no trades"), notes=()))
    assert "Win rate" not in text
    assert "Win rate" in report_page()
    assert 'href="#notes"' not in text
    ReportParser(text)


def test_alternative_text_of_a_page_begins_with_its_title() -> None:
    context = case_context("three years")
    picture = case_tear_sheet("three years")
    assert picture.title == context.metrics["verdict"]["sentence"].partition(": ")[0]
    assert picture.alt_text.startswith(picture.title)
    assert len(picture.alt_text) > len(picture.title)
    assert (picture.width, picture.height) == (2100, 2086)


def test_a_page_is_added_once_and_replaced_when_it_is_measured_again() -> None:
    marks = "<!-- link race --><!-- end of link race --><!-- page race --><!-- end of page race -->"
    former = Picture("Race", "Old <finding>", "", "", b"old", 2, 1)
    once = add_page_to_report(marks.encode(), "race.png", former)
    assert b"Old &lt;finding&gt;" in once
    again = add_page_to_report(once, "race.png", replace(former, title="New"))
    assert again == add_page_to_report(marks.encode(), "race.png", replace(former, title="New"))
    assert b"Old" not in again
    assert add_page_to_report(b"of an earlier version", "race.png", former) == b"of an earlier version"
