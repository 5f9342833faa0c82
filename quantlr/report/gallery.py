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

from quantlr.disk import put
from quantlr.errors import Fault
from quantlr.report.figures.style import number, percent
from quantlr.report.folder import locked
from quantlr.report.pages import PAGES
from quantlr.report.summary import names
from quantlr.report.templating import rendered

FILE = "index.html"
SIGNATURE = '<meta name="generator" content="quantlr">'
"""What tells our page from one that somebody else wrote, which is left alone."""
HEAD_BYTES = 1000
"""Where in a page the signature stands, at most."""
THUMBNAIL, WIDTH, COLOURS = "thumbnail.png", 560, 64
LONGEST_LIST = 40
"""Letters of a list of tickers."""
BY_STRENGTH = (
    "evidence", "not_after_trials", "not_shown_to_beat_buy_and_hold", "costs_eat_it", "skill_no_profit",
    "no_evidence_of_skill",
)  # fmt: skip
"""The rules that decide a verdict, the one that shows most first."""
REMEMBERED = 2048
"""Cards kept by a process that writes many reports, so that it need not read them all again after each."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a card, as text for people."""

    label: str
    value: str
    beside: str


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
    picture: str | None
    opens: str | None
    setting: str
    rule: str
    verdict: str
    sentence: str
    figures: tuple[Figure, ...]
    links: tuple[Link, ...]
    strength: int
    sharpe: float | None
    ahead: float
    deflated: float | None
    break_even: float | None


def write_gallery(output: Path) -> Path | None:
    """Write ``output/index.html`` anew and return it; None where one is there that quantlr did not write.

    Raises
    ------
    Fault : it can't be written, or another run holds its lock for a minute.
    """
    page = output / FILE
    try:
        with locked(page):
            if not _may_replace(page):
                return None
            content = gallery_html(output).encode("utf-8", "replace")
            if not page.exists() or page.read_bytes() != content:
                put(page, content)
    except OSError as error:
        reason = error.strerror or error
        raise Fault(f"{page}, the gallery of reports, could not be written: {reason}; the reports are whole") from error
    return page


def _may_replace(page: Path) -> bool:
    """Return whether a page is ours, or nothing is there; refuse one that is ours and read-only."""
    if page.is_symlink() or (page.exists() and not page.is_file()):
        return False
    if not page.exists():
        return True
    with page.open("rb") as file:
        ours = SIGNATURE.encode() in file.read(HEAD_BYTES)
    if ours and not page.stat().st_mode & 0o200:
        raise PermissionError(0, "it is read-only")
    return ours


def gallery_html(output: Path) -> str:
    """Return the page of all runs in a folder: by what their verdicts show, then by Sharpe ratio, then by name."""
    folders = sorted(folder for folder in output.iterdir() if not folder.name.startswith(".") and folder.is_dir())
    cards = sorted(_cards(folders), key=_place)
    beside = {said: _with(folders, file) for said, file in (("Compared", "compare.png"), ("Swept", "sweep.png"))}
    return rendered("gallery.html", signature=SIGNATURE, cards=cards, beside=beside)


def _with(folders: list[Path], file: str) -> list[Link]:
    """Return links to a picture in those folders that have it."""
    names = [folder.name for folder in folders if (folder / file).is_file()]
    return [Link(name, _href(name, file), "") for name in names if name.isprintable()]


def _place(card: Card) -> tuple[int, float, str]:
    """Return what cards are ordered by at first; an undefined Sharpe ratio comes last."""
    return card.strength, float("inf") if card.sharpe is None else -card.sharpe, card.name


def thumbnail(page: bytes) -> bytes:
    """Return a page made small, as PNG bytes that are the same for the same page."""
    from PIL import Image

    whole = Image.open(io.BytesIO(page)).convert("RGB")
    size = (WIDTH, round(WIDTH * whole.height / whole.width))
    small = whole.resize(size, Image.Resampling.LANCZOS).quantize(COLOURS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, format="png", optimize=True)
    return stream.getvalue()


def _cards(folders: list[Path]) -> Iterator[Card]:
    """Yield a card for each folder that holds a whole report; what can't be read as one is nobody's fault."""
    for folder in folders:
        try:
            found = (folder / "metrics.json").stat()
            yield _card(folder, found.st_mtime_ns, found.st_size)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            continue


@lru_cache(maxsize=REMEMBERED)
def _card(folder: Path, _written: int, _size: int) -> Card:
    """Return the card of a report, as long as its numbers are those of that time and size."""
    metrics = json.loads((folder / "metrics.json").read_bytes(), parse_constant=lambda _: None)
    there = {item.name for item in folder.iterdir() if item.is_file()}
    data, skill, trading = metrics["data"], metrics["forecast"], metrics["backtest"]
    significance, own = metrics["significance"], trading["strategy"]
    rule, sentence = str(metrics["verdict"]["rule"]), str(metrics["verdict"]["sentence"])
    picture = next((name for name in (THUMBNAIL, "tearsheet.png") if name in there), None)
    opens = next((name for name in ("report.html", "tearsheet.png") if name in there), None)
    return Card(
        name=folder.name,
        picture=picture and _href(folder.name, picture),
        opens=opens and _href(folder.name, opens),
        setting=f"{names(data['tickers'], longest=LONGEST_LIST)}, {data['first']} to {data['last']}",
        rule=rule,
        verdict=sentence.partition(": ")[0],
        sentence=sentence,
        figures=_figures(skill, own, trading["benchmark"], significance, trading["break_even_cost_bps"]),
        links=tuple(Link(text, _href(folder.name, name), title) for text, name, title in _files() if name in there),
        strength=BY_STRENGTH.index(rule) if rule in BY_STRENGTH else len(BY_STRENGTH),
        sharpe=own["sharpe"],
        ahead=skill["accuracy"] - skill["accuracy_base_rate"],
        deflated=significance["deflated_sharpe"],
        break_even=trading["break_even_cost_bps"],
    )


def _figures(
    skill: dict[str, Any], own: dict[str, Any], held: dict[str, Any], significance: dict[str, Any], costs: float | None
) -> tuple[Figure, ...]:
    bounds, trials = own["sharpe_ci95"], significance["trials"]
    interval = f"{number(bounds[0])} to {number(bounds[1])}" if bounds else ""
    return (
        Figure("Right calls", percent(skill["accuracy"]), f"base rate {percent(skill['accuracy_base_rate'])}"),
        Figure("Sharpe ratio", number(own["sharpe"]), interval),
        Figure("Deflated", percent(significance["deflated_sharpe"]), f"{trials:,} trial{'s'[: trials > 1]}"),
        Figure("Growth a year", percent(own["cagr"]), f"buy and hold {percent(held['cagr'])}"),
        Figure("Breaks even at", f"{number(costs, decimals=1)} bps", "a trade"),
    )


def _files() -> list[tuple[str, str, str]]:
    """Return the files that a card links to: text, file name, and what it answers."""
    pages = [(page.file.removesuffix(".png"), page.file, page.question) for page in PAGES]
    return [
        ("report", "report.html", "The whole report on one page"),
        *pages,
        ("numbers", "metrics.json", "Every number"),
        ("config", "config.yaml", "What was run; running it gives the same report"),
    ]


def _href(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)
