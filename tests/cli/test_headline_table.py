"""The table of a run with the previous run and the baselines, at any width, with and without colour."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from quantlr.cli.run import print_headline_table
from quantlr.cli.terminal import make_console, path_link, print_table
from quantlr.report.storage import read_previous_metrics
from quantlr.report.summary import headline_changes, headline_text_rows
from rich.console import Console
from rich.table import Table
from rich.text import Text

Call = Callable[..., Result]
STRATEGY = {
    "cagr": 0.0598, "volatility": 0.1449, "sharpe": 0.47, "max_drawdown": -0.243, "turnover_per_year": 40.1,
    "trades": 1319,
}  # fmt: skip
METRICS: dict[str, Any] = {
    "data": {"sha256": "abc", "sessions": 5031, "first": "1999-01-04", "last": "2018-12-31"},
    "forecast": {
        "accuracy": 0.5334, "accuracy_base_rate": 0.532, "log_loss": 0.69115, "log_loss_base_rate": 0.69118,
    },
    "backtest": {"strategy": STRATEGY, "benchmark": {**STRATEGY, "trades": 1}},
}  # fmt: skip


def previous_metrics(**changed: Any) -> dict[str, Any]:
    """Return metrics with some of the strategy's or the forecast's numbers changed."""
    previous = copy.deepcopy(METRICS)
    for key, value in changed.items():
        (previous["forecast"] if key in previous["forecast"] else previous["backtest"]["strategy"])[key] = value
    return previous


def table_text(previous: dict[str, Any] | None, *, width: int = 80, **how: Any) -> str:
    out = Console(file=io.StringIO(), width=width, **how)
    print_headline_table("exp", METRICS, previous, out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def table_lines(previous: dict[str, Any] | None, width: int) -> list[str]:
    return [line.rstrip() for line in table_text(previous, width=width).splitlines()]


@pytest.mark.parametrize(
    ("label", "previous", "difference", "assessment"),
    [
        ("accuracy", {"accuracy": 0.531}, "+0.2 pp", "better"),
        ("accuracy", {"accuracy": 0.534}, "-0.1 pp", "worse"),
        ("log loss", {"log_loss": 0.69215}, "-0.00100", "better"),
        ("log loss", {"log_loss": 0.69015}, "+0.00100", "worse"),
        ("CAGR", {"cagr": -0.05}, "+11.0 pp", "better"),
        ("volatility (annualised)", {"volatility": 0.2}, "-5.5 pp", ""),
        ("Sharpe ratio (excess of cash)", {"sharpe": -0.13}, "+0.60", "better"),
        ("max drawdown", {"max_drawdown": -0.2}, "-4.3 pp", "worse"),
        ("turnover (annual, x equity)", {"turnover_per_year": 20}, "+20.1", ""),
        ("trades", {"trades": 3000}, "-1,681", ""),
        ("Sharpe ratio (excess of cash)", {"sharpe": 0.4701}, "", "same"),
        ("Sharpe ratio (excess of cash)", {"sharpe": None}, "", ""),
    ],
)
def test_change_has_the_unit_of_its_metric(label: str, previous: Any, difference: str, assessment: str) -> None:
    rows = [row[0] for row in headline_text_rows(METRICS)]
    changes = headline_changes(METRICS, previous_metrics(**previous))
    change = changes[rows.index(label)]
    assert (change.difference_text, change.assessment) == (difference, assessment)
    assert {other.assessment for other in changes if other is not change} == {"same"}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(
    "previous", [None, previous_metrics(sharpe=0.4, cagr=0.07, trades=12)], ids=["first run", "with a previous run"]
)
def test_no_number_is_cut_off_at_any_width(previous: dict[str, Any] | None, width: int) -> None:
    text = table_lines(previous, width)
    assert max(map(len, text)) <= width
    joined = "\n".join(text)
    assert "…" not in joined
    for row in headline_text_rows(METRICS):
        assert re.search(
            rf"^{re.escape(row[0][:8])}.*{re.escape(row[1])} .*{re.escape(row[2])}", joined, re.MULTILINE
        ), row
    if previous:
        assert len(re.findall("better", joined)) == 1
        assert len(re.findall("worse", joined)) == 1


def test_the_table_has_previous_values_changes_and_baselines_in_80_columns() -> None:
    title, header, *rows, baselines = table_lines(previous_metrics(sharpe=0.4, cagr=0.07, trades=12), 80)
    assert title == "exp"
    assert header.split() == ["this", "run", "previous", "change", "baseline"]
    for (label, value, baseline, _), row in zip(headline_text_rows(METRICS), rows, strict=True):
        assert row.startswith(label)
        cells = row.removeprefix(label).split()
        assert (cells[0], cells[-1]) == (value, baseline)
        if label == "Sharpe ratio (excess of cash)":
            assert cells[1:-1] == ["0.40", "+0.07", "better"]
    assert baselines.startswith("baselines: ")


def test_assessment_is_coloured_and_readable_without_colour() -> None:
    previous = previous_metrics(sharpe=0.4, cagr=0.07, trades=12)
    coloured = table_text(previous, force_terminal=True, color_system="standard")
    assert "\x1b[32m+0.07 better" in coloured
    assert "\x1b[31m-1.0 pp worse" in coloured
    plain = table_text(previous, force_terminal=True, color_system="standard", no_color=True)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)
    assert "+0.07 better" in plain


def test_note_says_how_the_previous_run_differs() -> None:
    assert "no number differs from the previous run" in table_text(previous_metrics())
    assert "previous" not in table_text(None)
    previous = copy.deepcopy(METRICS)
    previous["backtest"]["benchmark"]["trades"] = 2
    assert (
        "no number above differs from the previous run; in metrics.json: backtest.benchmark.trades 2 -> 1"
        in " ".join(table_text(previous).split())
    )
    other = {**previous_metrics(sharpe=0.4), "data": {"sha256": "else", "first": "2001-01-02", "last": "2002-01-03"}}
    assert "the previous run had other prices, 2001-01-02 to 2002-01-03" in table_text(other)
    assert table_text({**other, "data": None}).rstrip().endswith("the previous run had other prices")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"forecast": 1}',
        b'{"forecast": {"accuracy": {}}}', json.dumps(previous_metrics(sharpe="high")).encode(),
        json.dumps(previous_metrics(accuracy=[1])).encode(),
    ],
)  # fmt: skip
def test_unreadable_previous_metrics_are_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    assert read_previous_metrics(tmp_path) is None


def test_metric_that_the_previous_run_did_not_have_yet_is_undefined_there() -> None:
    previous = previous_metrics(sharpe=0.4)
    del previous["backtest"]["strategy"]["volatility"]
    assert re.search(r"^volatility \(annualised\) +14\.5% +- +14\.5%$", table_text(previous), re.MULTILINE)
    assert "+0.07 better" in table_text(previous)


def test_previous_metrics_are_read_with_non_finite_as_undefined(tmp_path: Path) -> None:
    assert read_previous_metrics(tmp_path) is None
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS))
    assert read_previous_metrics(tmp_path) == METRICS
    path.write_text(json.dumps(previous_metrics(sharpe=float("inf"), cagr=float("nan"))))
    previous = read_previous_metrics(tmp_path)
    assert previous is not None
    assert previous["backtest"]["strategy"]["sharpe"] is None
    assert re.search(r"^Sharpe ratio \(excess of cash\) +0\.47 +-", table_text(previous), re.MULTILINE)
    path.unlink()
    path.mkdir()
    assert read_previous_metrics(tmp_path) is None


def test_second_run_has_previous_values_unless_they_are_unreadable(call: Call) -> None:
    assert "previous" not in call("run", "exp.yaml").output
    second = call("run", "exp.yaml", "--set", "features.0.lags=[1]").output
    assert re.search(r"this run +previous +change +baseline", second)
    assert re.search(r"accuracy +\d\d\.\d% +\d\d\.\d% +([+-]\d\.\d pp (better|worse)|same)", second)
    Path("reports/exp/metrics.json").write_text("{")
    third = call("run", "exp.yaml", "--set", "features.0.lags=[1]")
    assert (third.exit_code, "previous" in third.output) == (0, False)
    assert "no number differs from the previous run" in call("run", "exp.yaml", "--set", "features.0.lags=[1]").output


def test_table_without_room_is_one_line_per_row() -> None:
    table = Table(title="many")
    for heading in ("", "bars", "first"):
        table.add_column(heading, no_wrap=True)
    table.add_row(Text("AAPL"), "3,270", "2000-03-01")
    table.add_row("IBM", "", "2000-03-02")
    out = Console(file=io.StringIO(), width=25, color_system=None)
    print_table(table, out)
    assert isinstance(out.file, io.StringIO)
    assert [line.rstrip() for line in out.file.getvalue().splitlines()] == [
        "many", "AAPL  bars 3,270, first", "2000-03-01", "IBM  first 2000-03-02",
    ]  # fmt: skip


def test_path_is_a_link_where_the_terminal_supports_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert path_link(tmp_path).style.link == tmp_path.as_uri()  # type: ignore[union-attr]  # no name of a style
    assert path_link(tmp_path).plain == str(tmp_path)
    monkeypatch.setenv("TERM", "linux")
    assert path_link(tmp_path).style.link is None  # type: ignore[union-attr]  # no name of a style


def test_piped_output_is_not_wrapped() -> None:
    assert make_console().width >= 10_000
