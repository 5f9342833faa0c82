"""The gallery: ``index.html`` in a folder of reports, a card for each run, updated by every run and comparison.

The page opens from disk. Its pictures are links to the runs' own ``thumbnail.png``, so that a page of hundreds of runs
stays small and a run writes no picture but its own. Its bytes depend on the reports only, not on the clock.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from quantlr.core.atomic import atomic_write
from quantlr.core.errors import Fault
from quantlr.core.values import Report
from quantlr.report.compare import Comparison, check_comparison_target
from quantlr.report.html import render_template
from quantlr.report.pages import PAGES
from quantlr.report.storage import METRICS_FILE, hold_file_lock, json_bytes, write_report
from quantlr.report.summary import DISPLAYED_METRICS, interval_text, metric_label, metric_text, ticker_list_text

GALLERY_FILE = "index.html"
GENERATOR_META_TAG = '<meta name="generator" content="quantlr">'
"""Marks a page as written by quantlr; a page without it is never replaced."""
META_TAG_SEARCH_BYTES = 1000
"""The tag is within this many bytes of the beginning."""
THUMBNAIL_FILE, THUMBNAIL_WIDTH_PIXELS, THUMBNAIL_COLORS = "thumbnail.png", 560, 64
MAX_TICKER_LIST_CHARS = 40
VERDICT_RULES_BY_STRENGTH = (
    "evidence", "not_after_trials", "not_shown_to_beat_buy_and_hold", "costs_eat_it", "skill_no_profit",
    "no_evidence_of_skill",
)  # fmt: skip
"""The rules that decide a verdict, strongest evidence first."""
MAX_CACHED_CARDS = 2048
"""Cards that a process keeps, so that writing many reports does not read all of them again after each."""


def write_gallery(reports_dir: Path) -> Path | None:
    """Write ``index.html`` of a folder of reports and return it; None where quantlr did not write the one there.

    Raises
    ------
    Fault : the page cannot be written, or another process holds its lock for a minute.
    """
    page = reports_dir / GALLERY_FILE
    try:
        with hold_file_lock(page):
            if not _can_replace_page(page):
                return None
            content = gallery_html(reports_dir).encode("utf-8", "replace")
            if not page.exists() or page.read_bytes() != content:
                atomic_write(page, content)
    except OSError as error:
        reason = f"could not be written: {error.strerror or error}"
        raise Fault(f"{page}, the gallery of reports, {reason}; the reports are complete") from error
    return page


def write_comparison(comparison: Comparison, name: str, reports_dir: Path) -> Path:
    """Write ``compare.png`` and ``compare.json`` to ``reports_dir/NAME``, update the gallery, and return that folder.

    Raises
    ------
    OutputError, Fault : as for a report.
    """
    from quantlr.report.pages.comparison import comparison_page_png  # imported only where a comparison is drawn

    check_comparison_target(name, reports_dir)
    files = {"compare.png": comparison_page_png(comparison), "compare.json": json_bytes(comparison.to_dict())}
    folder = write_report(Report(name, files), reports_dir)
    write_gallery(reports_dir)
    return folder


def _can_replace_page(page_path: Path) -> bool:
    """Return whether a page does not exist or was written by quantlr; a read-only one is an error."""
    if page_path.is_symlink() or (page_path.exists() and not page_path.is_file()):
        return False
    if not page_path.exists():
        return True
    with page_path.open("rb") as file:
        is_generated = GENERATOR_META_TAG.encode() in file.read(META_TAG_SEARCH_BYTES)
    if is_generated and not page_path.stat().st_mode & 0o200:
        raise PermissionError(0, "it is read-only")
    return is_generated


def gallery_html(reports_dir: Path) -> str:
    """Return the page of all runs in a folder, sorted by verdict, then Sharpe ratio, then name.

    Folders without a complete report are left out.
    """
    folders = sorted(folder for folder in reports_dir.iterdir() if not folder.name.startswith(".") and folder.is_dir())
    cards = []
    for folder in folders:
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            metrics = (folder / METRICS_FILE).stat()
            cards.append(read_card_values(folder, folder.stat().st_mtime_ns, metrics.st_mtime_ns, metrics.st_size))
    cards.sort(key=lambda card: (card["verdict_rank"], card["sharpe"] is None, -(card["sharpe"] or 0.0), card["name"]))
    names = [folder.name for folder in folders if folder.name.isprintable()]
    other_pages = {
        heading: [(name, _relative_url(name, file)) for name in names if (reports_dir / name / file).is_file()]
        for heading, file in (("Comparisons", "compare.png"), ("Sweeps", "sweep.png"))
    }
    return render_template("gallery.html", signature=GENERATOR_META_TAG, cards=cards, other_pages=other_pages)


def make_thumbnail_png(page_png: bytes) -> bytes:
    """Return a page as a small PNG; the same bytes for the same page."""
    from PIL import Image

    page = Image.open(io.BytesIO(page_png)).convert("RGB")
    size = (THUMBNAIL_WIDTH_PIXELS, round(THUMBNAIL_WIDTH_PIXELS * page.height / page.width))
    small = page.resize(size, Image.Resampling.LANCZOS).quantize(THUMBNAIL_COLORS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    small.save(stream, format="png", optimize=True)
    return stream.getvalue()


@lru_cache(maxsize=MAX_CACHED_CARDS)
def read_card_values(report_dir: Path, _dir_mtime_ns: int, _metrics_mtime_ns: int, _n_bytes: int) -> Mapping[str, Any]:
    """Return the values of a report's card, kept while its folder and metrics have the same times of change and size.

    ``thumbnail`` and ``report`` are addresses of its picture and of the file that opens on a click, None where there is
    none; ``metric_rows`` are label, value and detail; ``links`` are text, address and tooltip; ``sharpe``,
    ``excess_accuracy``, ``deflated_sharpe`` and ``break_even_cost_bps`` are what cards are sorted by.
    """
    metrics = json.loads((report_dir / METRICS_FILE).read_bytes(), parse_constant=lambda _: None)
    name, files = report_dir.name, {item.name for item in report_dir.iterdir() if item.is_file()}
    data, forecast, backtest = metrics["data"], metrics["forecast"], metrics["backtest"]
    rule, sentence = str(metrics["verdict"]["rule"]), str(metrics["verdict"]["sentence"])
    links = (
        ("report", "report.html", "The whole report on one page"),
        *((page.file_name.removesuffix(".png"), page.file_name, page.heading) for page in PAGES),
        ("numbers", METRICS_FILE, "Every metric"),
        ("config", "config.yaml", "The resolved config; running it gives the same report"),
    )

    def first_url(*file_names: str) -> str | None:
        return next((_relative_url(name, file) for file in file_names if file in files), None)

    card = {
        "name": name,
        "thumbnail": first_url(THUMBNAIL_FILE, "tearsheet.png"),
        "report": first_url("report.html", "tearsheet.png"),
        "tickers": ticker_list_text(data["tickers"], max_chars=MAX_TICKER_LIST_CHARS),
        "dates": f"{data['first']} to {data['last']}",
        "verdict_rule": rule,
        "verdict_title": sentence.partition(": ")[0],
        "verdict_sentence": sentence,
        "verdict_rank": (*VERDICT_RULES_BY_STRENGTH, rule).index(rule),
        "metric_rows": _card_metric_rows(metrics),
        "links": [(text, _relative_url(name, file), title) for text, file, title in links if file in files],
        "sharpe": backtest["strategy"]["sharpe"],
        "excess_accuracy": forecast["accuracy"] - forecast["accuracy_base_rate"],
        "deflated_sharpe": metrics["significance"]["deflated_sharpe"],
        "break_even_cost_bps": backtest["break_even_cost_bps"],
    }
    return MappingProxyType(card)


def _card_metric_rows(metrics: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Return label, value and detail of the metrics on a card."""
    significance, backtest = metrics["significance"], metrics["backtest"]
    strategy, trials = backtest["strategy"], significance["trials"]
    cells = {
        "accuracy": (metrics["forecast"]["accuracy"], _metric_baseline_text("accuracy", metrics)),
        "sharpe": (strategy["sharpe"], interval_text("sharpe", strategy["sharpe_ci95"], undefined="")),
        "deflated_sharpe": (significance["deflated_sharpe"], f"{trials:,} trial{'s'[: trials > 1]}"),
        "cagr": (strategy["cagr"], _metric_baseline_text("cagr", metrics)),
        "break_even_cost_bps": (backtest["break_even_cost_bps"], ""),
    }
    return tuple((metric_label(key), metric_text(key, value), detail) for key, (value, detail) in cells.items())


def _metric_baseline_text(key: str, metrics: dict[str, Any]) -> str:
    metric = DISPLAYED_METRICS[key]
    return f"{metric.baseline_label(metrics)} {metric_text(key, metric.value_and_baseline(metrics)[1])}"


def _relative_url(*path_parts: str) -> str:
    return "/".join(quote(part, safe="") for part in path_parts)
