"""The gallery: one page that shows every run in a folder of reports, kept current by each of them.

``OUTPUT/index.html`` opens from disk. Its pictures are the runs' own ``thumbnail.png``, linked, so that a page of many
hundred runs stays small, and a run renews no picture but its own. The bytes are a function of the reports: no clock.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quantlr.core.atomic import atomic_write
from quantlr.core.errors import Fault
from quantlr.report.pages import PAGES
from quantlr.report.storage import hold_file_lock
from quantlr.report.style import number_text, percent_text
from quantlr.report.summary import ticker_list_text
from quantlr.report.templating import render_template

GALLERY_FILE = "index.html"
GENERATOR_META_TAG = '<meta name="generator" content="quantlr">'
"""What tells our page from one that somebody else wrote, which is left alone."""
SIGNATURE_SEARCH_BYTES = 1000
"""Where in a page the signature stands, at most."""
THUMBNAIL_FILE, THUMBNAIL_WIDTH_PIXELS, THUMBNAIL_COLORS = "thumbnail.png", 560, 64
MAX_TICKER_LIST_CHARS = 40
"""Letters of a list of tickers."""
VERDICT_RULES_BY_STRENGTH = (
    "evidence", "not_after_trials", "not_shown_to_beat_buy_and_hold", "costs_eat_it", "skill_no_profit",
    "no_evidence_of_skill",
)  # fmt: skip
"""The rules that decide a verdict, the one that shows most first."""
MAX_CACHED_CARDS = 2048
"""Cards kept by a process that writes many reports, so that it need not read them all again after each."""


@dataclass(frozen=True, slots=True)
class CardNumber:
    """One number of a card, as text for people."""

    label: str
    value_text: str
    detail_text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A file of a report: its name, where it is relative to the gallery, and what it answers."""

    text: str
    href: str
    title: str


@dataclass(frozen=True, slots=True)
class Card:
    """One run in the gallery.

    Attributes
    ----------
    name : of its folder.
    picture, opens : where its thumbnail is, and what a click on it opens; None where there is none.
    setting : what was run, in few words.
    rule, verdict, sentence : what came of it: the rule's name, the verdict in few words, and in one sentence.
    figures : its headline numbers.
    links : its files.
    strength : position of its rule in `BY_STRENGTH`.
    sharpe, ahead, deflated, break_even : what it can be sorted by; None where undefined.
    """

    name: str
    thumbnail_href: str | None
    report_href: str | None
    setup_text: str
    verdict_rule: str
    verdict_title: str
    verdict_sentence: str
    headline_numbers: tuple[CardNumber, ...]
    links: tuple[Link, ...]
    verdict_rank: int
    sharpe: float | None
    excess_accuracy: float
    deflated_sharpe: float | None
    break_even_cost_bps: float | None


def write_gallery(reports_dir: Path) -> Path | None:
    """Write ``output/index.html`` anew and return it; None where one is there that quantlr did not write.

    Raises
    ------
    Fault : it can't be written, or another run holds its lock for a minute.
    """
    page = reports_dir / GALLERY_FILE
    try:
        with hold_file_lock(page):
            if not _can_replace(page):
                return None
            content = gallery_html(reports_dir).encode("utf-8", "replace")
            if not page.exists() or page.read_bytes() != content:
                atomic_write(page, content)
    except OSError as error:
        reason = error.strerror or error
        raise Fault(f"{page}, the gallery of reports, could not be written: {reason}; the reports are whole") from error
    return page


def _can_replace(page_path: Path) -> bool:
    """Return whether a page is ours, or nothing is there; refuse one that is ours and read-only."""
    if page_path.is_symlink() or (page_path.exists() and not page_path.is_file()):
        return False
    if not page_path.exists():
        return True
    with page_path.open("rb") as file:
        ours = GENERATOR_META_TAG.encode() in file.read(SIGNATURE_SEARCH_BYTES)
    if ours and not page_path.stat().st_mode & 0o200:
        raise PermissionError(0, "it is read-only")
    return ours


def gallery_html(reports_dir: Path) -> str:
    """Return the page of all runs in a folder: by what their verdicts show, then by Sharpe ratio, then by name."""
    folders = sorted(folder for folder in reports_dir.iterdir() if not folder.name.startswith(".") and folder.is_dir())
    cards = sorted(_iter_cards(folders), key=_card_sort_key)
    beside = {said: _file_links(folders, file) for said, file in (("Compared", "compare.png"), ("Swept", "sweep.png"))}
    return render_template("gallery.html", signature=GENERATOR_META_TAG, cards=cards, beside=beside)


def _file_links(report_dirs: list[Path], file_name: str) -> list[Link]:
    """Return links to a picture in those folders that have it."""
    names = [folder.name for folder in report_dirs if (folder / file_name).is_file()]
    return [Link(name, _relative_url(name, file_name), "") for name in names if name.isprintable()]


def _card_sort_key(card: Card) -> tuple[int, float, str]:
    """Return what cards are ordered by at first; an undefined Sharpe ratio comes last."""
    return card.verdict_rank, float("inf") if card.sharpe is None else -card.sharpe, card.name


def make_thumbnail(page_png: bytes) -> bytes:
    """Return a page made small, as PNG bytes that are the same for the same page."""
    from PIL import Image

    whole = Image.open(io.BytesIO(page_png)).convert("RGB")
    size = (THUMBNAIL_WIDTH_PIXELS, round(THUMBNAIL_WIDTH_PIXELS * whole.height / whole.width))
    small = whole.resize(size, Image.Resampling.LANCZOS).quantize(THUMBNAIL_COLORS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, format="png", optimize=True)
    return stream.getvalue()


def _iter_cards(report_dirs: list[Path]) -> Iterator[Card]:
    """Yield a card for each folder that holds a whole report; what can't be read as one is nobody's fault."""
    for folder in report_dirs:
        try:
            found = (folder / "metrics.json").stat()
            yield _read_card(folder, found.st_mtime_ns, found.st_size)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            continue


@lru_cache(maxsize=MAX_CACHED_CARDS)
def _read_card(report_dir: Path, _modified_ns: int, _size_bytes: int) -> Card:
    """Return the card of a report, as long as its numbers are those of that time and size."""
    metrics = json.loads((report_dir / "metrics.json").read_bytes(), parse_constant=lambda _: None)
    there = {item.name for item in report_dir.iterdir() if item.is_file()}
    data, skill, trading = metrics["data"], metrics["forecast"], metrics["backtest"]
    significance, own = metrics["significance"], trading["strategy"]
    rule, sentence = str(metrics["verdict"]["rule"]), str(metrics["verdict"]["sentence"])
    picture = next((name for name in (THUMBNAIL_FILE, "tearsheet.png") if name in there), None)
    opens = next((name for name in ("report.html", "tearsheet.png") if name in there), None)
    return Card(
        name=report_dir.name,
        thumbnail_href=picture and _relative_url(report_dir.name, picture),
        report_href=opens and _relative_url(report_dir.name, opens),
        setup_text=f"{ticker_list_text(data['tickers'], max_chars=MAX_TICKER_LIST_CHARS)}, {data['first']} to {data['last']}",
        verdict_rule=rule,
        verdict_title=sentence.partition(": ")[0],
        verdict_sentence=sentence,
        headline_numbers=_card_numbers(skill, own, trading["benchmark"], significance, trading["break_even_cost_bps"]),
        links=tuple(
            Link(text, _relative_url(report_dir.name, name), title)
            for text, name, title in _linked_files()
            if name in there
        ),
        verdict_rank=VERDICT_RULES_BY_STRENGTH.index(rule)
        if rule in VERDICT_RULES_BY_STRENGTH
        else len(VERDICT_RULES_BY_STRENGTH),
        sharpe=own["sharpe"],
        excess_accuracy=skill["accuracy"] - skill["accuracy_base_rate"],
        deflated_sharpe=significance["deflated_sharpe"],
        break_even_cost_bps=trading["break_even_cost_bps"],
    )


def _card_numbers(
    forecast_metrics: dict[str, Any],
    strategy_metrics: dict[str, Any],
    benchmark_metrics: dict[str, Any],
    significance: dict[str, Any],
    break_even_cost_bps: float | None,
) -> tuple[CardNumber, ...]:
    bounds, trials = strategy_metrics["sharpe_ci95"], significance["trials"]
    interval = f"{number_text(bounds[0])} to {number_text(bounds[1])}" if bounds else ""
    return (
        CardNumber(
            "Right calls",
            percent_text(forecast_metrics["accuracy"]),
            f"base rate {percent_text(forecast_metrics['accuracy_base_rate'])}",
        ),
        CardNumber("Sharpe ratio", number_text(strategy_metrics["sharpe"]), interval),
        CardNumber("Deflated", percent_text(significance["deflated_sharpe"]), f"{trials:,} trial{'s'[: trials > 1]}"),
        CardNumber(
            "Growth a year",
            percent_text(strategy_metrics["cagr"]),
            f"buy and hold {percent_text(benchmark_metrics['cagr'])}",
        ),
        CardNumber("Breaks even at", f"{number_text(break_even_cost_bps, decimals=1)} bps", "a trade"),
    )


def _linked_files() -> list[tuple[str, str, str]]:
    """Return the files that a card links to: text, file name, and what it answers."""
    pages = [(page.file_name.removesuffix(".png"), page.file_name, page.question) for page in PAGES]
    return [
        ("report", "report.html", "The whole report on one page"),
        *pages,
        ("numbers", "metrics.json", "Every number"),
        ("config", "config.yaml", "What was run; running it gives the same report"),
    ]


def _relative_url(*path_parts: str) -> str:
    return "/".join(quote(part, safe="") for part in path_parts)
