"""A short run of tests/benchmarks/size_and_power.py: inference on simulated markets whose truth is known.

And how the documentation shows what benchmarks write.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.edge_markets import EDGE_CELLS
from benchmarks.measured import Row, parse_options, report_rows, rounded, rows_table, with_entries
from benchmarks.simulation import mean_figure, proportion_figure
from benchmarks.size_and_power import EXPERIMENTS
from benchmarks.skill_markets import SKILL_CELLS
from documentation.measurements import ALPHA, EDGE, FIGURES, PLAIN_NUMBERS, REJECTS, caption, figures_by_label

SERIES = {
    "random forecasts": 200,
    "noise, short": 60,
    "noise, drift": 40,
    "noise, a week": 60,
    "noise, a month": 60,
    "noise, ten tickers": 15,
    "noise, h = 1, 60 forecasts": 60,
    "noise, h = 5, 60 forecasts": 40,
    "noise, h = 21, 250 forecasts": 40,
    "noise, h = 1, balanced": 20,
    "noise, h = 5, half-life": 10,
    "noise, h = 21, Platt": 15,
    "GARCH, Platt": 15,
    "leverage effect, plain": 20,
    "bid-ask bounce, balanced": 20,
    "stale opens, half-life": 10,
    "ten tickers, plain": 4,
    "regimes, pooled": 8,
    "one break, rolling": 6,
    "unequal drifts, pooled": 10,
    "regimes, weekday": 12,
    "regimes, volume of 0.99": 10,
    "local step": 30,
    "power, AR(1) of .05": 30,
    "edge, leverage": 5,
    "edge, volatility target": 10,
    "edge, bid-ask bounce": 4,
    "edge, stale opens": 3,
    "edge, true": 6,
    "edge, between fills": 6,
    "autoregression": 2,
    "coefficient": 60,
    "coverage": 300,
    "coverage, a week": 40,
    "coverage, ten tickers": 30,
    "coverage, fat tails": 60,
    "best of 100": 40,
    "best of 100 rules": 2,
}
"""Number of simulated markets; the experiments left out differ from another by a parameter only."""


@pytest.mark.parametrize("experiment", SERIES)
def test_every_figure_is_within_its_bounds(experiment: str) -> None:
    figures = list(EXPERIMENTS[experiment](SERIES[experiment], 1))
    assert figures
    for figure in figures:
        assert figure.is_within_bounds, figure


def test_bounds_equal_binomial_quantiles() -> None:
    """Of 1,000 at 5 %, chance alone gives 30 to 73 in all but two of a thousand cases."""
    exact = proportion_figure("", 50, 1000, min_rate=0.05, max_rate=0.05)
    assert (exact.low, exact.high, exact.is_within_bounds) == (0.030, 0.073, True)
    assert not proportion_figure("", 74, 1000, max_rate=0.05).is_within_bounds
    assert proportion_figure("", 0, 1000, max_rate=0.05).is_within_bounds
    assert not proportion_figure("", 29, 1000, min_rate=0.05).is_within_bounds
    assert mean_figure("", 1.0, 1.0, 0.1, series=1).high == pytest.approx(1.309, abs=1e-3)
    assert mean_figure("", 1.0, 1.0, 0.1, series=1, shortfall=0.2).low == pytest.approx(0.491, abs=1e-3)


def test_figures_of_size_and_power_have_the_names_that_the_benchmark_writes() -> None:
    labels = figures_by_label()
    skill = {f"{cell.label}{REJECTS}" for cell in SKILL_CELLS.values()}
    edges = {f"{cell.label}{suffix}" for cell in EDGE_CELLS.values() for suffix in (EDGE, ALPHA)}
    by_choice = {label for label in labels if "of 18 candidates" in label}
    assert {label for label in labels if label.endswith(REJECTS)} - by_choice <= skill
    assert {label for label in labels if label.endswith((EDGE, ALPHA)) and not label.startswith("best of")} <= edges
    shown = {label for figures in FIGURES.values() for label in figures.values()}
    assert shown <= set(labels)
    assert all(0 <= labels[label]["value"] <= 1 for label in shown - set(PLAIN_NUMBERS))


def test_a_benchmark_writes_what_a_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are in the headings, cells may be missing, and the machine stands above the table."""
    monkeypatch.setattr(sys, "argv", ["benchmark", "--output", str(tmp_path)])
    rows: list[Row] = [{"job": "a|b", "seconds": rounded(1234.5678, 5)}, {"job": "c", "memory (MB)": rounded(486.2)}]
    report_rows("speed", rows, parse_options(argparse.ArgumentParser()))
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["rows"] == rows
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in rows_table(content["rows"]).splitlines()]
    assert [[cell.strip() for cell in row] for row in cells if row[0] != " --- "] == [
        ["job", "seconds", "memory (MB)"],
        ["a\\|b", "1,234.6", ""],
        ["c", "", "490"],
    ]
    assert f"{content['machine']['cores']} cores" in caption(content)


def test_a_part_of_a_benchmark_leaves_the_other_entries(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    assert with_entries(path, "jobs", [{"job": "a", "seconds": 1}], by="job") == {"jobs": [{"job": "a", "seconds": 1}]}
    path.write_text(json.dumps({"note": "old", "jobs": [{"job": "a", "seconds": 1}, {"job": "b", "seconds": 2}]}))
    found = with_entries(path, "jobs", [{"job": "a", "seconds": 3}], by="job")
    assert found == {"note": "old", "jobs": [{"job": "a", "seconds": 3}, {"job": "b", "seconds": 2}]}
