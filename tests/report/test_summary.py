"""Labels and formats of metrics, and notes of one kind over many tickers."""

from __future__ import annotations

import pytest
from quantlr.backtest.metrics import METRICS, find_metric, metrics_shown_in
from quantlr.core.values import Note
from quantlr.report.summary import (
    condense_notes,
    headline_tables,
    headline_text_rows,
    metric_label,
    metric_text,
    note_text,
)

from report.cases import case_context


def test_every_displayed_metric_is_in_the_metrics() -> None:
    metrics = case_context("three years").metrics
    for metric in METRICS:
        if metric.shown_in:
            assert isinstance(metric.value(metrics), (int, float)), metric.key


def test_terminal_rows_and_tables_show_the_same_values() -> None:
    metrics = case_context("three years").metrics
    cells = {
        label: values[0] for table in headline_tables(metrics, "tear_sheet", "report") for label, values in table.rows
    }
    text_by_label = {row[0]: row[1] for row in headline_text_rows(metrics)}
    for metric in set(metrics_shown_in("terminal")) & set(metrics_shown_in("tear_sheet")):
        assert cells[metric_label(metric)].replace("−", "-") == text_by_label[metric.label]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("accuracy", 0.5333, "53.3%"), ("log_loss", 0.691154, "0.69115"), ("sharpe", -0.004, "0.00"),
        ("max_drawdown", -0.2431, "−24.3%"), ("trades", 1319, "1,319"), ("cagr", None, "–"),
    ],
)  # fmt: skip
def test_metric_text(key: str, value: float | None, text: str) -> None:
    assert metric_text(find_metric(key), value) == text


def many_notes(n_tickers: int, *, key: str | None) -> list[Note]:
    return [Note("data", f"{number} sessions are missing", f"T{number}", key=key) for number in range(n_tickers)]


@pytest.mark.parametrize("key", [None, "data.quality.gaps"])
def test_notes_of_one_kind_over_many_tickers_are_one_note(key: str | None) -> None:
    (note,) = condense_notes(many_notes(400, key=key))
    text = note_text(note)
    assert text.startswith("T0: 0 sessions are missing; 399 more tickers")
    assert len(text) < 250


def test_notes_over_few_tickers_and_of_different_kinds_stay_apart() -> None:
    notes = [*many_notes(3, key=None), Note("model", "did not converge", "T0", count=7)]
    assert condense_notes([*notes, Note("features", "warm-up rows were dropped", "T0")]) == notes
