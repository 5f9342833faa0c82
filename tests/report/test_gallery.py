"""The gallery: every run of a folder on one page, whatever else lies there."""

from __future__ import annotations

import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import quantlr
from PIL import Image
from quantlr.core.errors import Fault
from quantlr.report import gallery
from quantlr.report.gallery import GENERATOR_META_TAG, VERDICT_RULES_BY_STRENGTH, make_thumbnail, write_gallery
from quantlr.stats import verdict

pytestmark = pytest.mark.usefixtures("undrawn")

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
EVIL = 'a<script>alert(1)</script>&"q" onload=x'


class Page(HTMLParser):
    """What a browser would make of the gallery."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.cards: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed((folder / "index.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "article":
            self.cards.append(found)
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "img":
            self.pictures.append(str(found["src"]))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    @property
    def names(self) -> list[str | None]:
        return [card["data-name"] for card in self.cards]


def stored(output: Path, name: str, **changed: Any) -> Path:
    """Put a report there, with numbers changed by dotted key."""
    folder = output / name
    folder.mkdir(parents=True)
    metrics = json.loads((EXAMPLE / "metrics.json").read_text())
    for key, value in changed.items():
        *path, last = key.split("__")
        place = metrics
        for part in path:
            place = place[part]
        place[last] = value
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for file in ("tearsheet.png", "thumbnail.png", "config.yaml"):
        (folder / file).write_bytes(b"")
    return folder


def test_each_run_keeps_the_gallery_current(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2002-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
        "walk_forward": {"train": 250},
    }
    for name in ("one", "two"):
        done = quantlr.run({"name": name, **config}, output=tmp_path)
    page = Page(tmp_path)
    assert sorted(map(str, page.names)) == ["one", "two"]
    for file in (*page.links, *page.pictures):
        assert (tmp_path / file).is_file(), file
    assert {"one/config.yaml", "one/metrics.json", "one/tearsheet.png"} <= set(page.links)
    assert page.pictures == ["one/thumbnail.png", "two/thumbnail.png"]
    small = (tmp_path / "two" / "thumbnail.png").read_bytes()
    assert small == done.report().files["thumbnail.png"]
    assert Image.open(io.BytesIO(small)).size == (560, 376)
    assert len(small) < 100_000
    before = (tmp_path / "index.html").stat().st_mtime_ns
    done.save(tmp_path)
    assert (tmp_path / "index.html").stat().st_mtime_ns == before, "nothing has changed, and nothing is written"


def test_a_card_says_what_the_metrics_say(tmp_path: Path) -> None:
    stored(tmp_path, "example")
    write_gallery(tmp_path)
    page = Page(tmp_path)
    for text in (
        "No evidence of skill", "53.3%", "base rate 53.2%", "0.47", "−0.02 to 0.94", "97.0%", "1 trial", "20.1 bps",
    ):  # fmt: skip
        assert text in page.texts
    assert page.cards[0]["data-sharpe"] == "0.47023030748143607"
    assert page.links[:2] == ["example/tearsheet.png", "example/tearsheet.png"], "there is no report.html to open"
    (tmp_path / "example" / "report.html").write_bytes(b"")
    gallery._read_card.cache_clear()
    write_gallery(tmp_path)
    assert Page(tmp_path).links[:2] == ["example/report.html", "example/report.html"]


def test_runs_stand_by_what_they_show_and_then_by_their_sharpe_ratio(tmp_path: Path) -> None:
    stored(tmp_path, "a", backtest__strategy__sharpe=None)
    stored(tmp_path, "b", backtest__strategy__sharpe=-0.5)
    stored(tmp_path, "c", backtest__strategy__sharpe=1.5)
    stored(tmp_path, "d", backtest__strategy__sharpe=1.5)
    stored(tmp_path, "e", verdict__rule="evidence", backtest__strategy__sharpe=0.9)
    stored(tmp_path, "f", verdict__rule="costs_eat_it", backtest__strategy__sharpe=2.0)
    stored(tmp_path, "g", verdict__rule="of another version")
    write_gallery(tmp_path)
    assert Page(tmp_path).names == ["e", "f", "c", "d", "b", "a", "g"]


def test_every_rule_of_the_verdict_has_its_place() -> None:
    rules = re.findall(r'return Verdict\(\s*"(\w+)"', Path(str(verdict.__file__)).read_text())
    assert sorted(rules) == sorted(VERDICT_RULES_BY_STRENGTH)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '"text"', "[" * 100_000, '{"data": 1}', "\udcff"],
    ids=["empty", "cut off", "list", "null", "no keys", "text", "deep", "of another kind", "no text"],
)
def test_a_folder_that_is_no_report_is_left_out(tmp_path: Path, content: str) -> None:
    stored(tmp_path, "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    write_gallery(tmp_path)
    assert Page(tmp_path).names == ["good"]


@pytest.mark.parametrize(
    "changed",
    [
        {"backtest__strategy__sharpe": "0.5"}, {"backtest__strategy__sharpe_ci95": [1.0]}, {"forecast__accuracy": None},
        {"data__tickers": 5}, {"backtest__strategy": None}, {"significance__deflated_sharpe": []},
    ],
)  # fmt: skip
def test_numbers_that_are_none_leave_their_folder_out(tmp_path: Path, changed: dict[str, Any]) -> None:
    stored(tmp_path, "good")
    stored(tmp_path, "bad", **changed)
    write_gallery(tmp_path)
    assert Page(tmp_path).names == ["good"]


def test_what_lies_beside_the_reports_does_no_harm(tmp_path: Path) -> None:
    stored(tmp_path, "good", backtest__break_even_cost_bps=None, backtest__strategy__sharpe=float("nan"))
    stored(tmp_path, ".good.old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "trials.db").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file" / "metrics.json").mkdir(parents=True)
    (tmp_path / "sworn").mkdir()
    (tmp_path / "sworn" / "compare.png").write_bytes(b"")
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept" / "sweep.png").write_bytes(b"")
    write_gallery(tmp_path)
    page = Page(tmp_path)
    assert page.names == ["good"]
    assert "sworn/compare.png" in page.links
    assert "swept/sweep.png" in page.links


def test_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    stored(tmp_path, EVIL.replace("/", ""), verdict__sentence="<b>bold</b>: \ud800", data__tickers=["<i>", "'\"&"])
    write_gallery(tmp_path)
    page = Page(tmp_path)
    assert page.names == [EVIL.replace("/", "")]
    assert page.tags.count("script") == 1
    assert not {"b", "i"} & set(page.tags)
    assert "<b>bold</b>" in page.texts
    assert all(re.fullmatch(r"[\w%./-]+", link) for link in page.links)


def test_the_page_needs_no_network_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    for name in "abc":
        stored(tmp_path, name)
    write_gallery(tmp_path)
    first = (tmp_path / "index.html").read_bytes()
    assert b"http" not in first
    assert b"//" not in first
    (tmp_path / "index.html").unlink()
    gallery._read_card.cache_clear()
    write_gallery(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == first


def test_a_thumbnail_is_the_same_for_the_same_page() -> None:
    page = (EXAMPLE / "tearsheet.png").read_bytes()
    assert make_thumbnail(page) == make_thumbnail(page)


def test_a_page_that_somebody_else_wrote_is_left_alone(tmp_path: Path) -> None:
    stored(tmp_path, "good")
    (tmp_path / "index.html").write_text("mine")
    assert write_gallery(tmp_path) is None
    assert (tmp_path / "index.html").read_text() == "mine"
    (tmp_path / "index.html").unlink()
    (tmp_path / "index.html").mkdir()
    assert write_gallery(tmp_path) is None


def test_a_read_only_page_is_told_and_the_report_stays(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(GENERATOR_META_TAG)
    (tmp_path / "index.html").chmod(0o444)
    config = {
        "name": "kept",
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2001-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
        "walk_forward": {"train": 250},
    }
    with pytest.raises(
        Fault, match=r"index\.html, the gallery of reports, could not be written: it is read-only; the "
    ):
        quantlr.run(config, output=tmp_path)
    assert (tmp_path / "kept" / "metrics.json").exists()


def test_a_full_disk_is_told_and_the_former_page_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, "a")
    write_gallery(tmp_path)
    before = (tmp_path / "index.html").read_bytes()
    stored(tmp_path, "b")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Fault, match="No space left on device; the reports are whole"):
        write_gallery(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    assert not list(tmp_path.glob(".index.html.*.new"))


def test_hundreds_of_runs_cost_little_and_those_known_already_nothing_but_a_look(tmp_path: Path) -> None:
    """The bar is half a second on a quiet machine; the margin is for machines that do other things too."""
    for run in range(300):
        stored(tmp_path, f"run_{run}")
    started = time.process_time()
    write_gallery(tmp_path)
    assert time.process_time() - started < 3
    reads = gallery._read_card.cache_info().misses
    stored(tmp_path, "another")
    write_gallery(tmp_path)
    assert gallery._read_card.cache_info().misses == reads + 1
    assert len(Page(tmp_path).cards) == 301
