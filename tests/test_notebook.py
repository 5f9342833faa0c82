"""A run in a notebook, and its returns in the hands of another program."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import matplotlib
import pandas as pd
import pytest
import quantlr
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.core.progress import Note
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.summary import headline_text_rows

from report.cases import OF_THEIR_OWN

CONFIG: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
    "execution": {"cash_rate": 0.02},
}


class Seen(HTMLParser):
    """What a browser would make of a page: tags with their attributes, texts, and whether all that opens is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


@pytest.fixture(scope="module")
def done() -> Run:
    return quantlr.run(CONFIG)


@pytest.fixture(scope="module")
def shown(done: Run) -> str:
    return done._repr_html_()


def test_a_notebook_shows_the_numbers_the_verdict_and_the_tear_sheet(done: Run, shown: str) -> None:
    page = Seen(shown)
    assert not page.open
    for row in headline_text_rows(done.metrics):
        assert [text for text in row if text] == [text for text in row if text and text in page.texts]
    assert done.verdict in page.texts
    (source,) = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    kind, _, content = str(source).partition(",")
    assert kind == "data:image/png;base64"
    assert imread(io.BytesIO(base64.b64decode(content))).shape[:2] == (1410, 2100)
    with matplotlib.rc_context(OF_THEIR_OWN):
        assert done._repr_html_() == shown


def test_what_a_notebook_shows_needs_nothing_but_itself(shown: str) -> None:
    assert "http" not in shown.partition("base64,")[0]
    assert not {tag for tag, _ in Seen(shown).tags} & {"script", "link", "iframe", "style"}


def test_what_a_note_contains_is_shown_and_never_obeyed(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.report.notebook.tearsheet_page", lambda _: Figure())
    evil = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"
    page = Seen(replace(done, notes=(Note("data", evil, ticker='"X"'),))._repr_html_())
    assert any(evil in text for text in page.texts)
    assert [tag for tag, _ in page.tags].count("img") == 1
    assert "script" not in [tag for tag, _ in page.tags]


def test_nothing_is_drawn_before_a_notebook_asks(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def draw(shown: PageContext) -> Figure:
        drawn.append(shown.config.name)
        return Figure()

    monkeypatch.setattr("quantlr.report.notebook.tearsheet_page", draw)
    assert "No evidence" in repr(done)
    assert drawn == []
    done._repr_html_()
    assert drawn == ["case"]


def test_returns_are_plain_dated_series(done: Run) -> None:
    backtest = done.backtest.set_index("date")
    pd.testing.assert_series_equal(done.returns, backtest["net_return"].rename("case"))
    assert isinstance(done.returns.index, pd.DatetimeIndex)
    assert done.benchmark_returns.name == "buy_and_hold"
    grown = (1 + done.benchmark_returns).cumprod()
    pd.testing.assert_series_equal(grown, backtest["benchmark_equity"], check_names=False, rtol=1e-12)


@pytest.mark.parametrize("whose", ["strategy", "benchmark"])
def test_quantstats_takes_them_as_they_are_and_finds_the_same(done: Run, whose: str) -> None:
    """Of a rate a year it takes the root to get one a session, where an account here earns a 252nd part."""
    with matplotlib.rc_context():  # its import changes how everything is drawn from then on
        from quantstats import stats

    returns = done.returns if whose == "strategy" else done.benchmark_returns
    expected = done.metrics["backtest"][whose]
    excess = returns - 0.02 / 252
    assert stats.sharpe(excess) == pytest.approx(expected["sharpe"], abs=1e-9)
    assert stats.sharpe(returns, rf=(1 + 0.02 / 252) ** 252 - 1) == pytest.approx(expected["sharpe"], abs=1e-9)
    assert stats.cagr(returns) == pytest.approx(expected["cagr"], abs=1e-9)
    assert stats.max_drawdown(returns) == pytest.approx(expected["max_drawdown"], abs=1e-9)
    assert stats.volatility(returns) == pytest.approx(expected["volatility"], abs=1e-9)
    assert stats.sortino(excess) == pytest.approx(expected["sortino"], abs=1e-9)
