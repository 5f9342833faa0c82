"""report.html: whole in itself, well-formed, and deaf to markup in names and notes."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from quantlr.backtest.trades import trade_summary_by_side, trade_table
from quantlr.report.html import RenderedPage, report_html
from quantlr.report.pages import Picture

from report.cases import shown, tear_sheet_of

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "</title><script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7 * 7 }}"
PICTURES = {
    "tearsheet.png": Picture("Is there an edge?", "No edge", "No edge. Growth.", b"\x89PNG one", 1400, 940),
    "model.png": Picture("What & why?", "A <b>model</b>", 'A "model".', b"\x89PNG two", 1400, 940),
}
PROVENANCE: dict[str, Any] = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}


class Read(HTMLParser):
    """What a page is made of; tags that are not closed in their order fail."""

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

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(case: str = "three years", *, name: str = "exp", note: str = "a note", source: str = "made up") -> str:
    seen = shown(case)
    seen = replace(seen, config=seen.config.model_copy(update={"name": name}), notes=(note,))
    provenance = {**PROVENANCE, "data": {"source": source, "sha256": "ab12"}}
    return report_html(
        seen,
        PICTURES,
        RenderedPage("name: exp\n", provenance, trade_summary_by_side(trade_table(seen.run_data.result))),
    ).decode()


@pytest.fixture(scope="module")
def read() -> Read:
    return Read(page())


def test_it_asks_for_nothing_but_itself(read: Read) -> None:
    for tag, attributes in read.tags:
        for key in ("src", "href", "srcset", "action", "data", "poster", "background"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on")]
    assert not read.of("script")
    assert not re.search(r"url\(|@import|https?:|//", read.words["style"])
    (policy,) = (tag["content"] for tag in read.of("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_pictures_inside_are_the_files(read: Read) -> None:
    pictures = read.of("img")
    assert [b64decode(tag["src"].removeprefix("data:image/png;base64,")) for tag in pictures] == [
        picture.png_bytes for picture in PICTURES.values()
    ]
    assert [tag["alt"] for tag in pictures] == [picture.alt_text for picture in PICTURES.values()]


def test_the_contents_lead_to_every_part(read: Read) -> None:
    places = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    links = [tag["href"].removeprefix("#") for tag in read.of("a")]
    assert set(links) <= places
    assert {tag["id"] for tag in read.of("section")} <= set(links)
    assert set(read.words["nav"].split()) <= {"\n"}
    assert len(read.of("h1")) == 1
    assert len(read.of("h2")) == len(read.of("section"))


def test_tables_have_captions_and_heads_that_say_what_they_head(read: Read) -> None:
    assert len(read.of("caption")) == len(read.of("table")) >= 5
    assert {tag["scope"] for tag in read.of("th")} == {"row", "col"}


def test_the_numbers_are_those_of_the_run() -> None:
    metrics, text = shown("three years").metrics, page()
    low, high = metrics["forecast"]["accuracy_ci95"]
    assert f"<td>{metrics['forecast']['accuracy']:.1%}</td><td>{low:.1%} to {high:.1%}</td>" in text
    assert f"<td>{metrics['backtest']['strategy']['trades']:,}</td>" in text
    assert metrics["verdict"]["sentence"].partition(": ")[0] in text


@pytest.mark.parametrize("where", ["name", "note", "source"])
def test_what_others_wrote_is_text(where: str) -> None:
    text = page(**{where: HOSTILE})
    found = Read(text)
    assert not found.of("script")
    assert len(found.of("img")) == len(PICTURES)
    assert "{{ 7 * 7 }}" in text
    assert "alert(&#39;x&#39;)" in text


def test_a_ticker_may_be_called_anything() -> None:
    seen = shown("three tickers, five sessions ahead")
    names = ("<script>x</script>", '"onload="x', "T2")
    seen = replace(seen, run_data=replace(seen.run_data, forecasts=replace(seen.run_data.forecasts, tickers=names)))
    found = Read(report_html(seen, PICTURES, RenderedPage("", PROVENANCE, pd.DataFrame())).decode())
    assert not found.of("script")
    assert "<script>x</script>" in found.words["p"]


def test_a_run_without_trades_or_notes_has_no_empty_parts() -> None:
    seen = replace(shown("no trades"), notes=())
    text = report_html(
        seen, PICTURES, RenderedPage("", PROVENANCE, trade_summary_by_side(trade_table(seen.run_data.result)))
    ).decode()
    assert "Round trips" not in text
    assert 'href="#notes"' not in text
    Read(text)


def test_a_page_says_in_words_what_it_shows() -> None:
    seen = shown("three years")
    picture = tear_sheet_of("three years")
    assert picture.title == seen.metrics["verdict"]["sentence"].partition(": ")[0]
    assert picture.alt_text.startswith(picture.title)
    assert "What one unit of capital became (log scale)." in picture.alt_text
    assert json.dumps([picture.width, picture.height]) == "[2100, 1410]"
