"""The gallery: a card for every run of a folder, and none for anything else."""

from __future__ import annotations

import hashlib
import json
import re
import time
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import quantlr
from quantlr.backtest.metric_types import Metric
from quantlr.backtest.metrics import METRICS
from quantlr.core.errors import Fault
from quantlr.report.gallery import (
    GENERATOR_META_TAG,
    VERDICT_RULES_BY_STRENGTH,
    read_card_values,
    write_gallery,
)
from quantlr.stats import verdict

pytestmark = pytest.mark.usefixtures("without_drawing")

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
MARKUP_NAME = 'a<script>alert(1)</script>&"q" onload=x'


class GalleryParser(HTMLParser):
    """Cards, links, pictures, tags and texts of the gallery."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.cards: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed((folder / "index.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "article":
            self.cards.append(attributes)
        if tag == "a":
            self.links.append(str(attributes["href"]))
        if tag == "img":
            self.pictures.append(str(attributes["src"]))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    @property
    def names(self) -> list[str | None]:
        return [card["data-name"] for card in self.cards]


def save_report(output: Path, name: str, **changed: Any) -> Path:
    """Write a report with some metrics changed; "__" in a key separates the levels."""
    folder = output / name
    folder.mkdir(parents=True)
    metrics = json.loads((EXAMPLE / "metrics.json").read_text())
    for key, value in changed.items():
        *path, last = key.split("__")
        section = metrics
        for part in path:
            section = section[part]
        section[last] = value
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for file in ("tearsheet.png", "thumbnail.png", "config.yaml"):
        (folder / file).write_bytes(b"")
    return folder


def test_every_run_updates_the_gallery(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2002-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1]}],
        "walk_forward": {"train": 250},
    }
    for name in ("one", "two"):
        run = quantlr.run({"name": name, **config}, output=tmp_path)
    page = GalleryParser(tmp_path)
    assert sorted(map(str, page.names)) == ["one", "two"]
    for file in (*page.links, *page.pictures):
        assert (tmp_path / file).is_file(), file
    assert {"one/config.yaml", "one/metrics.json", "one/tearsheet.png"} <= set(page.links)
    assert page.pictures == ["one/thumbnail.png", "two/thumbnail.png"]
    small = (tmp_path / "two" / "thumbnail.png").read_bytes()
    assert small == run.report().files["thumbnail.png"]
    before = (tmp_path / "index.html").stat().st_mtime_ns
    run.save(tmp_path)
    assert (tmp_path / "index.html").stat().st_mtime_ns == before, "an unchanged page is not written again"


def test_card_shows_the_metrics(tmp_path: Path) -> None:
    save_report(tmp_path, "example")
    write_gallery(tmp_path)
    page = GalleryParser(tmp_path)
    for text in (
        "Not shown to beat buy and hold", "53.3%", "majority-class baseline 53.2%", "0.47", "0.03 to 0.92", "97.0%",
        "1 trial when it was run", "20.1",
    ):  # fmt: skip
        assert text in page.texts
    assert page.cards[0]["data-sharpe"] == "0.47023030748143607"
    assert page.links[:2] == ["example/tearsheet.png", "example/tearsheet.png"], (
        "without report.html the tear sheet opens"
    )
    (tmp_path / "example" / "report.html").write_bytes(b"")
    write_gallery(tmp_path)
    assert GalleryParser(tmp_path).links[:2] == ["example/report.html", "example/report.html"]


def test_cards_are_sorted_by_verdict_then_sharpe_ratio_then_name(tmp_path: Path) -> None:
    save_report(tmp_path, "a", verdict__rule="no_evidence_of_skill", backtest__strategy__sharpe=None)
    save_report(tmp_path, "b", verdict__rule="no_evidence_of_skill", backtest__strategy__sharpe=-0.5)
    save_report(tmp_path, "c", verdict__rule="no_evidence_of_skill", backtest__strategy__sharpe=1.5)
    save_report(tmp_path, "d", verdict__rule="no_evidence_of_skill", backtest__strategy__sharpe=1.5)
    save_report(tmp_path, "e", verdict__rule="evidence", backtest__strategy__sharpe=0.9)
    save_report(tmp_path, "f", verdict__rule="costs_eat_it", backtest__strategy__sharpe=2.0)
    save_report(tmp_path, "g", verdict__rule="of another version")
    write_gallery(tmp_path)
    assert GalleryParser(tmp_path).names == ["e", "f", "c", "d", "b", "a", "g"]


def test_cards_are_sorted_by_the_better_value_and_by_that_above_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(metric: Metric) -> Metric:
        return (
            replace(metric, shown_in=(*metric.shown_in, "gallery")) if metric.key in ("log_loss", "trades") else metric
        )

    monkeypatch.setattr("quantlr.backtest.metrics.METRICS", tuple(map(shown, METRICS)))
    losses = {"forecast__log_loss": 0.68, "forecast__log_loss_base_rate": 0.69}
    save_report(tmp_path, "example", forecast__accuracy=0.5, forecast__accuracy_base_rate=0.52, **losses)
    write_gallery(tmp_path)
    (card,) = GalleryParser(tmp_path).cards
    assert float(card["data-accuracy"] or "") == pytest.approx(-0.02)
    assert float(card["data-log_loss"] or "") == pytest.approx(0.01), "a lower log loss is better"
    page = (tmp_path / "index.html").read_text()
    assert '<option value="-log_loss">' in page
    assert '<th scope="row">Trades</th>' in page
    assert '<option value="-trades">' not in page, "neither more nor fewer trades are better"


def test_report_of_before_a_metric_was_added_keeps_its_card(tmp_path: Path) -> None:
    folder = save_report(tmp_path, "old")
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["backtest"]["strategy"]["cagr"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_gallery(tmp_path)
    page = GalleryParser(tmp_path)
    assert page.names == ["old"]
    assert re.search("CAGR –", " ".join(page.texts))
    assert page.cards[0]["data-cagr"] == "None", "which is sorted behind all numbers"


def test_every_verdict_rule_has_a_rank() -> None:
    rules = re.findall(r'Verdict\(\s*"(\w+)"', Path(str(verdict.__file__)).read_text())
    assert set(rules) == set(VERDICT_RULES_BY_STRENGTH)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '"text"', "[" * 100_000, '{"data": 1}', "\udcff"],
    ids=["empty", "cut off", "list", "null", "no keys", "text", "deep", "of another kind", "no text"],
)
def test_folder_with_invalid_metrics_is_left_out(tmp_path: Path, content: str) -> None:
    save_report(tmp_path, "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    write_gallery(tmp_path)
    assert GalleryParser(tmp_path).names == ["good"]


@pytest.mark.parametrize(
    "changed",
    [
        {"backtest__strategy__sharpe": "0.5"}, {"backtest__strategy__sharpe_ci95": [1.0]},
        {"forecast__accuracy": "0.5"}, {"data__tickers": 5},
        {"backtest__strategy": None}, {"significance__deflated_sharpe": []},
    ],
)  # fmt: skip
def test_report_with_values_of_wrong_type_is_left_out(tmp_path: Path, changed: dict[str, Any]) -> None:
    save_report(tmp_path, "good")
    save_report(tmp_path, "bad", **changed)
    write_gallery(tmp_path)
    assert GalleryParser(tmp_path).names == ["good"]


def test_other_files_and_folders_are_ignored(tmp_path: Path) -> None:
    save_report(tmp_path, "good", backtest__break_even_cost_bps=None, backtest__strategy__sharpe=float("nan"))
    save_report(tmp_path, ".good.old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "trials.db").write_bytes(b"x")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file" / "metrics.json").mkdir(parents=True)
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "compare.png").write_bytes(b"")
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept" / "sweep.png").write_bytes(b"")
    write_gallery(tmp_path)
    page = GalleryParser(tmp_path)
    assert page.names == ["good"]
    assert "compared/compare.png" in page.links
    assert "swept/sweep.png" in page.links


def test_markup_in_names_and_texts_is_escaped(tmp_path: Path) -> None:
    save_report(
        tmp_path, MARKUP_NAME.replace("/", ""), verdict__sentence="<b>bold</b>: \ud800", data__tickers=["<i>", "'\"&"]
    )
    write_gallery(tmp_path)
    page = GalleryParser(tmp_path)
    assert page.names == [MARKUP_NAME.replace("/", "")]
    assert page.tags.count("script") == 1
    assert not {"b", "i"} & set(page.tags)
    assert "<b>bold</b>" in page.texts
    assert all(re.fullmatch(r"[\w%./-]+", link) for link in page.links)


def test_page_has_no_external_links_and_is_reproducible(tmp_path: Path) -> None:
    for name in "abc":
        save_report(tmp_path, name)
    write_gallery(tmp_path)
    first = (tmp_path / "index.html").read_bytes()
    assert b"://" not in first
    assert b"//" not in first
    (tmp_path / "index.html").unlink()
    write_gallery(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == first


def test_page_not_written_by_quantlr_is_not_replaced(tmp_path: Path) -> None:
    save_report(tmp_path, "good")
    (tmp_path / "index.html").write_text("other")
    assert write_gallery(tmp_path) is None
    assert (tmp_path / "index.html").read_text() == "other"
    (tmp_path / "index.html").unlink()
    (tmp_path / "index.html").mkdir()
    assert write_gallery(tmp_path) is None


def test_read_only_page_is_a_fault_and_the_report_is_written(tmp_path: Path) -> None:
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


def test_full_disk_is_a_fault_and_the_previous_page_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_report(tmp_path, "a")
    write_gallery(tmp_path)
    before = (tmp_path / "index.html").read_bytes()
    save_report(tmp_path, "b")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Fault, match="No space left on device; the reports are complete"):
        write_gallery(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    assert not list(tmp_path.glob(".index.html.*.new"))


def test_hundreds_of_cards_are_read_fast_and_only_once(tmp_path: Path) -> None:
    """It takes half a second on an idle machine; the bound allows for busy ones."""
    for run in range(300):
        save_report(tmp_path, f"run_{run}")
    started = time.process_time()
    write_gallery(tmp_path)
    assert time.process_time() - started < 3
    n_read = read_card_values.cache_info().misses
    save_report(tmp_path, "another")
    write_gallery(tmp_path)
    assert read_card_values.cache_info().misses == n_read + 1
    assert len(GalleryParser(tmp_path).cards) == 301


def test_only_the_script_of_the_page_may_run(tmp_path: Path) -> None:
    for name in "ab":
        save_report(tmp_path, name)
    write_gallery(tmp_path)
    html = (tmp_path / "index.html").read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert not re.search(r"\son[a-z]+=", html.replace(script, ""))
