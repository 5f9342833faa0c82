"""The HTML of a run in a notebook: metrics, verdict, notes and tear sheet."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import matplotlib
import pytest
import quantlr
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.core.values import Note
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.summary import headline_text_rows

from report.cases import USER_RCPARAMS

CONFIG: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
    "execution": {"cash_rate": 0.02},
}


class NotebookParser(HTMLParser):
    """Tags with their attributes, texts, and the tags that are still open; tags closed out of order fail."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


@pytest.fixture(scope="module")
def run() -> Run:
    return quantlr.run(CONFIG)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return run._repr_html_()


def test_notebook_contains_metrics_verdict_and_tear_sheet(run: Run, html: str) -> None:
    page = NotebookParser(html)
    assert not page.open
    for row in headline_text_rows(run.metrics):
        assert [text for text in row if text] == [text for text in row if text and text in page.texts]
    assert run.verdict in page.texts
    (source,) = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    kind, _, content = str(source).partition(",")
    assert kind == "data:image/png;base64"
    assert imread(io.BytesIO(base64.b64decode(content))).shape[:2] == (2086, 2100)
    with matplotlib.rc_context(USER_RCPARAMS):
        assert run._repr_html_() == html


def test_notebook_html_has_no_external_links(html: str) -> None:
    page = NotebookParser(html)
    assert not any(
        str(attributes.get(key) or "").startswith("http") for _, attributes in page.tags for key in ("src", "href")
    )
    assert not {tag for tag, _ in page.tags} & {"script", "link", "style"}


def test_interactive_charts_are_a_page_in_a_frame_of_its_own(html: str) -> None:
    (frame,) = [attributes for tag, attributes in NotebookParser(html).tags if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts"
    charts = NotebookParser(str(frame["srcdoc"]))
    assert not charts.open
    (policy,) = [attributes["content"] for tag, attributes in charts.tags if "http-equiv" in attributes]
    assert str(policy).startswith("default-src 'none'")


def test_markup_in_notes_is_escaped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.report.html.tearsheet_figure", lambda _: Figure())
    markup = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"
    page = NotebookParser(replace(run, notes=(Note("data", markup, ticker='"X"'),))._repr_html_())
    assert any(markup in text for text in page.texts)
    assert [tag for tag, _ in page.tags].count("img") == 1
    assert "script" not in [tag for tag, _ in page.tags]


def test_tear_sheet_is_drawn_only_for_the_notebook(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def draw(context: PageContext) -> Figure:
        drawn.append(context.config.name)
        return Figure()

    monkeypatch.setattr("quantlr.report.html.tearsheet_figure", draw)
    assert "No evidence" in repr(run)
    assert drawn == []
    run._repr_html_()
    assert drawn == ["case"]
