"""Labels and formats of metrics, and notes of one kind over many tickers."""

from __future__ import annotations

import pytest
from quantlr.backtest.metrics import METRICS, find_metric, metrics_shown_in
from quantlr.core.values import Note
from quantlr.report.style import percent_text
from quantlr.report.summary import (
    basis_text,
    condense_notes,
    drawdown_table,
    headline_tables,
    headline_text_rows,
    metric_label,
    metric_text,
    note_text,
    risk_table,
    yearly_return_table,
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
        ("break_even_cost_bps", 20.13, "20.1"), ("break_even_cost_bps", -3.2, "–"), ("break_even_cost_bps", 5e4, "–"),
        ("timing_break_even_cost_bps", -0.1, "–"),
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


def test_labels_name_the_bars_of_the_run() -> None:
    daily = case_context("three years").metrics
    weekly = {**daily, "data": {**daily["data"], "sessions_per_year": 52}}
    for key, by_day, by_week in (
        ("longest_drawdown_sessions", "Longest drawdown (sessions)", "Longest drawdown (weeks)"),
        ("accuracy_held", "Accuracy on the sessions held", "Accuracy on the weeks held"),
        ("worst_session", "Worst session", "Worst week"),
        ("value_at_risk_95", "VaR (95%, one session)", "VaR (95%, one week)"),
    ):
        metric = find_metric(key)
        assert (metric_label(metric, daily), metric_label(metric, weekly)) == (by_day, by_week)
    tables = (*headline_tables(weekly, "tear_sheet", "report"), risk_table(weekly))
    assert not [label for table in tables for label, _ in table.rows if "session" in label.lower()]
    assert "52 weeks" in basis_text(weekly)


def test_tables_of_risk_drawdowns_and_years_have_the_numbers_of_the_metrics() -> None:
    metrics = case_context("three years").metrics
    strategy, benchmark = metrics["backtest"]["strategy"], metrics["backtest"]["benchmark"]
    risk = dict(risk_table(metrics).rows)
    assert risk["Worst month"] == (percent_text(strategy["worst_month"]), percent_text(benchmark["worst_month"]))
    assert risk["Up capture (monthly)"] == (percent_text(metrics["significance"]["up_capture"], decimals=0), "")
    assert len(risk) == len(metrics_shown_in("risk"))
    years = yearly_return_table(metrics).rows
    assert [(year, cells[0]) for year, cells in years] == [
        (year, percent_text(value)) for year, value in strategy["returns_by_year"].items()
    ]
    falls = drawdown_table(metrics).rows
    assert falls[0][0] == percent_text(strategy["max_drawdown"])
    assert len(falls) == len(strategy["deepest_drawdowns"]) == 5


def test_a_rising_equity_has_no_drawdowns_to_list() -> None:
    metrics = case_context("no trades").metrics
    assert drawdown_table(metrics).rows == []
