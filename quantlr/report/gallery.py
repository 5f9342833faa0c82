"""The gallery: ``index.html`` in a folder of reports, a card for each run, updated by every run and comparison.

The page opens from disk. Its pictures are links to the runs' own ``thumbnail.png``, so that a page of hundreds of runs
stays small and a run writes no picture but its own. Its bytes depend on the reports only, not on the clock.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from quantlr.backtest.metric_types import Metric
from quantlr.backtest.metrics import find_metric, metrics_shown_in
from quantlr.core.atomic import atomic_write, remove_abandoned_temp_files
from quantlr.core.errors import Fault
from quantlr.core.file_reading import read_file
from quantlr.core.values import Report
from quantlr.report.compare import Comparison, check_comparison_target
from quantlr.report.file_formats import json_bytes
from quantlr.report.html import FURTHER_PAGES, TEMPLATES_DIR, render_template
from quantlr.report.pages import PAGES
from quantlr.report.storage import MAX_JSON_BYTES, METRICS_FILE, THUMBNAIL_FILE, hold_file_lock, write_report
from quantlr.report.summary import (
    benchmark_label,
    interval_text,
    metric_count_text,
    metric_label,
    metric_text,
    ticker_list_text,
)

GALLERY_FILE = "index.html"
GALLERY_SCRIPT_PATH = TEMPLATES_DIR / "gallery.js"
"""The only script that the page's content security policy allows."""
GENERATOR_META_TAG = '<meta name="generator" content="quantlr">'
"""Marks a page as written by quantlr; a page without it is never replaced."""
META_TAG_SEARCH_BYTES = 1000
"""The tag is within this many bytes of the beginning."""
MAX_TICKER_LIST_CHARS = 40
VERDICT_RULES_BY_STRENGTH = (
    "evidence", "fits_not_converged", "not_after_trials", "better_risk_scaling", "not_shown_to_beat_benchmark",
    "not_tradable_as_filled", "costs_eat_it",
    "skill_no_profit", "no_evidence_of_skill", "look_ahead_suspected",
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
            remove_abandoned_temp_files(reports_dir, (GALLERY_FILE,))
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
    orders = {metric.key: _order_text(metric) for metric in metrics_shown_in("gallery") if metric.better != "neither"}
    script = GALLERY_SCRIPT_PATH.read_text(encoding="utf-8")
    return render_template(
        "gallery.html",
        signature=GENERATOR_META_TAG,
        script=script,
        script_digest=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        cards=cards,
        orders=orders,
        other_pages=other_pages,
    )


def _order_text(metric: Metric) -> str:
    """Return what cards are sorted by where they are sorted by a metric."""
    return f"{metric.name} compared with the {metric.baseline_name}" if metric.baseline else metric.name


@lru_cache(maxsize=MAX_CACHED_CARDS)
def read_card_values(report_dir: Path, _dir_mtime_ns: int, _metrics_mtime_ns: int, _n_bytes: int) -> Mapping[str, Any]:
    """Return the values of a report's card, kept while its folder and metrics have the same times of change and size.

    ``thumbnail`` and ``report`` are addresses of its picture and of the file that opens on a click, None where there is
    none; ``metric_rows`` are label, value and detail; ``links`` are text, address and tooltip; ``sharpe`` is the Sharpe
    ratio, and ``sort_values`` are what cards are sorted by, by key of the metric: the higher, the better.
    """
    metrics = json.loads(read_file(report_dir / METRICS_FILE, max_bytes=MAX_JSON_BYTES), parse_constant=lambda _: None)
    name, files = report_dir.name, {item.name for item in report_dir.iterdir() if item.is_file()}
    data, shown_metrics = metrics["data"], metrics_shown_in("gallery")
    scored = f" (scored from {data['score_from']})" if data.get("score_from") else ""
    rule, sentence = str(metrics["verdict"]["rule"]), str(metrics["verdict"]["sentence"])
    links = (
        ("report", "report.html", "The whole report on one page"),
        *((page.file_name.removesuffix(".png"), page.file_name, page.heading) for page in PAGES),
        *((file.removesuffix(".png"), file, heading) for file, heading in FURTHER_PAGES.items()),
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
        "dates": f"{data.get('first_fill', data['first'])} to {data['last']}{scored}",
        "verdict_rule": rule,
        "verdict_title": sentence.partition(": ")[0],
        "verdict_sentence": sentence,
        "verdict_rank": (*VERDICT_RULES_BY_STRENGTH, rule).index(rule),
        "metric_rows": [
            (
                metric_label(metric, metrics),
                metric_text(metric, metric.value(metrics)),
                _card_detail_text(metric, metrics),
            )
            for metric in shown_metrics
        ],
        "links": [(text, _relative_url(name, file), title) for text, file, title in links if file in files],
        "sharpe": find_metric("sharpe").value(metrics),
        "sort_values": {metric.key: _sort_value(metric, metrics) for metric in shown_metrics},
    }
    return MappingProxyType(card)


def _card_detail_text(metric: Metric, metrics: dict[str, Any]) -> str:
    """Return what a metric's value is read with: its baseline, interval, count, or the benchmark's value."""
    if metric.baseline:
        return f"{metric.baseline_name} {metric_text(metric, metric.baseline_value(metrics))}"
    if metric.interval:
        return interval_text(metric, metric.interval_value(metrics), undefined="")
    if metric.section == "backtest":
        return f"{benchmark_label(metrics)} {metric_text(metric, metric.baseline_value(metrics))}"
    count = metric_count_text(metric, metrics)
    return f"{count} when it was run" if count else ""


def _sort_value(metric: Metric, metrics: dict[str, Any]) -> float | None:
    """Return the value, less that of the baseline of a forecast, negative where a lower one is better."""
    value, baseline = metric.value(metrics), metric.baseline_value(metrics) if metric.baseline else 0.0
    return None if value is None or baseline is None else metric.better_sign * (value - baseline)


def _relative_url(*path_parts: str) -> str:
    return "/".join(quote(part, safe="") for part in path_parts)
