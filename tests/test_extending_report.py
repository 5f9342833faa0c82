"""The metric and the panel that the page on extending adds, each in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
CONFIG = """
name: one
data: {source: {kind: sample}, tickers: [MSFT], end: 2003-06-30}
features: [{kind: lagged_returns, lags: [1]}]
walk_forward: {train: 250}
report: {pages: [tearsheet]}
"""
SWEEP = "name: grid\nbase: one.yaml\ngrid: {model.l2: [0.0, 0.1]}\nholdout: 0\n"
CHECK_METRIC = """
import contextlib, io, sys
from pathlib import Path
import quantlr
from quantlr.cli import main
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages.tearsheet import headline_rows_table

def call(*arguments):
    try:
        main([*arguments])
    except SystemExit as end:
        assert not end.code, end.code

call("run", "one.yaml")
print("AFTER THE RUN")
call("run", "one.yaml", "--name", "two", "--set", "features.0.lags=[1, 2]")
print("COMPARISON")
call("compare", "one", "two")
print("SWEEP")
call("sweep", "grid.yaml", "--jobs", "1")
print("TEAR SHEET")
run = quantlr.run("one.yaml")
for row in headline_rows_table(PageContext.from_run(run.config, run.run_data, run.metrics, ()))["rows"]:
    print(row.label, *row.cells, sep="  ")
print(quantlr.__file__)
"""
CHECK_PANEL = """
import json
import quantlr
from matplotlib.dates import date2num
from quantlr.report.context import PageContext
from quantlr.report.pages.tearsheet import TEARSHEET_PAGE, tearsheet_panels

run = quantlr.run("one.yaml")
context = PageContext.from_run(run.config, run.run_data, run.metrics, ())
(panel,) = (placed.panel for placed in tearsheet_panels(context) if placed.panel.key == "rolling_volatility")
figure = TEARSHEET_PAGE.draw_figure(context)
(ax,) = (ax for ax in figure.axes if ax.get_title(loc="left") == panel.title)
(line,) = ax.lines
print(json.dumps({
    "module_path": quantlr.__file__,
    "returns": run.returns.tolist(),
    "volatility": panel.make_table(context)["volatility"].tolist(),
    "drawn": [float(value) for value in line.get_ydata()],
    "first_and_last": [float(date2num(date)) for date in run.returns.index[[0, -1]]],
    "limits": list(ax.get_xlim()),
    "alt_text": TEARSHEET_PAGE.render_picture(context).alt_text,
}))
"""


def code_blocks(heading: str) -> list[str]:
    """Return the blocks of code below a heading."""
    section = PAGE[PAGE.index(f"\n## {heading}\n") :].split("\n##")[1]
    return re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package, a config and a sweep."""
    shutil.copytree(ROOT / "quantlr", tmp_path / "quantlr")  # with what is compiled of the files that do not change
    (tmp_path / "one.yaml").write_text(CONFIG)
    (tmp_path / "grid.yaml").write_text(SWEEP)
    return tmp_path


def output_of(check: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_metric_example_is_shown_everywhere_where_it_is_pasted(package: Path) -> None:
    """The files of the run have its returns, from which the value is computed here by counting."""
    import pandas as pd

    (block,) = code_blocks("A metric")
    function, entry = block.split("METRICS: tuple[Metric, ...] = (\n    ...,\n")
    file = package / "quantlr" / "backtest" / "metrics.py"
    text = replace_once(
        file.read_text(), "\nMETRICS: tuple[Metric, ...] = (\n", f"\n{function}METRICS: tuple[Metric, ...] = (\n"
    )
    file.write_text(replace_once(text, "\n)  # fmt: skip\n", f"\n{entry.removesuffix(')' + chr(10))})  # fmt: skip\n"))
    output = output_of(CHECK_METRIC, package)
    terminal, after_run = output.split("AFTER THE RUN")
    _, comparison = after_run.split("COMPARISON\n")
    comparison, sweep = comparison.split("SWEEP\n")
    sweep, tear_sheet = sweep.split("TEAR SHEET\n")
    assert Path(tear_sheet.splitlines()[-1]).is_relative_to(package)

    reports = package / "reports"
    returns = pd.read_parquet(reports / "one" / "backtest.parquet")["net_return"].tolist()
    expected = sum(value > 0 for value in returns) / len(returns)
    percent = f"{expected:.1%}"
    metrics: dict[str, Any] = json.loads((reports / "one" / "metrics.json").read_text())
    assert metrics["backtest"]["strategy"]["positive_sessions"] == pytest.approx(expected)
    benchmark = f"{metrics['backtest']['benchmark']['positive_sessions']:.1%}"
    assert re.search(rf"^positive sessions +{percent} +{benchmark}", terminal, re.MULTILINE)
    assert re.search(rf"^Positive sessions  {percent}  {benchmark}$", tear_sheet, re.MULTILINE)
    html = (reports / "one" / "report.html").read_text()
    assert f'<th scope="row">Positive sessions</th><td>{percent}</td><td>{benchmark}</td>' in html
    gallery = (reports / "index.html").read_text()
    assert f'<th scope="row">Positive sessions</th><td>{percent}</td><td>buy and hold {benchmark}</td>' in gallery
    assert '<option value="-positive_sessions">positive sessions</option>' in gallery
    assert f'data-positive_sessions="{metrics["backtest"]["strategy"]["positive_sessions"]}"' in gallery
    compared = json.loads((reports / "compare" / "compare.json").read_text())
    assert all(0 < run["positive_sessions"] < 1 for run in (*compared["runs"], compared["baseline"]))
    assert re.search(rf" positive .*\n *one .* {compared['runs'][0]['positive_sessions']:.1%} ", comparison)
    assert re.search("CAGR +Sharpe +alpha +t +max DD +positive +accuracy +log loss", comparison), (
        "those with a better direction"
    )
    trials = pd.read_csv(reports / "grid" / "trials.csv").set_index("trial")
    assert trials.loc[0, "positive_sessions"] == pytest.approx(expected), "the first trial is the run"
    assert re.search(rf" positive *\n(.*\n)* +\d +0 +0\.0 .* {percent} *\n", sweep)


def test_panel_example_is_drawn_where_it_is_pasted(package: Path) -> None:
    """The annual standard deviation of the last 63 returns, by the formula."""
    panel, places = code_blocks("A page and a panel")
    file = package / "quantlr" / "report" / "pages" / "tearsheet.py"
    text = replace_once(file.read_text(), "\nHEADLINE_PANEL = ", f"\n{panel}\n\nHEADLINE_PANEL = ")
    former = re.search(r"^ +PlacedPanel\(rolling_sharpe_panel, .*\n", text, re.MULTILINE)
    assert former
    placed = "".join(re.findall(r"^ +PlacedPanel\(.*\n", places, re.MULTILINE))
    file.write_text(text.replace(former[0], placed))
    output = json.loads(output_of(CHECK_PANEL, package))
    assert Path(output["module_path"]).is_relative_to(package)
    volatility, returns = output["volatility"], output["returns"]
    assert len(volatility) == len(output["drawn"]) == len(returns)
    assert all(value != value for value in volatility[:62])
    for index in (62, 100, len(returns) - 1):
        window = returns[index - 62 : index + 1]
        mean = sum(window) / 63
        variance = sum((value - mean) ** 2 for value in window) / 62
        assert volatility[index] == output["drawn"][index] == pytest.approx((252 * variance) ** 0.5, abs=1e-7)
    assert max(volatility[62:]) > 0.01
    assert output["limits"] == pytest.approx(output["first_and_last"])
    assert "Rolling volatility (63 sessions, annualised)" in output["alt_text"]
