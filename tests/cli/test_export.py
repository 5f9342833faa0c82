"""`quantlr export`: files, errors and exit status."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from click.testing import Result
from matplotlib.figure import Figure
from quantlr.experiment.export import ExportRequest, export_files, exported_tables
from quantlr.experiment.saved_pages import open_saved_pages, recompute_run
from quantlr.report.figures import figure_bytes
from quantlr.report.pages import PAGES, Page

from cli.conftest import CONFIG

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def saved_report(tmp_path_factory: pytest.TempPathFactory, blank_pages: Callable[[], Any]) -> Path:
    """Return the folder of a report, which is copied for each test."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "exp.yaml").write_text(CONFIG)
    with blank_pages():
        return quantlr.run(folder / "exp.yaml").save(folder / "reports")


@pytest.fixture
def run(call: Call, saved_report: Path) -> Call:
    """Return a function that runs the program in a folder with the report `exp`."""
    shutil.copytree(saved_report, "reports/exp")
    return call


def test_tables_are_those_of_the_report(run: Call) -> None:
    result = run("export", "exp", "--tables", "--json")
    assert result.exit_code == 0, result.stderr
    files = json.loads(result.stdout)["files"]
    folder = Path("reports/exp")
    assert "reports/exp/report.xlsx" in files
    sheets = pd.read_excel(io.BytesIO((folder / "report.xlsx").read_bytes()), sheet_name=None, engine="calamine")
    for name in ("forecasts", "backtest", "positions"):
        saved, written = pd.read_parquet(folder / f"{name}.parquet"), pd.read_csv(folder / f"{name}.csv")
        for table in (sheets[name], written):
            assert list(table.columns) == list(saved.columns)
            for column in saved.select_dtypes("float"):
                np.testing.assert_allclose(table[column].astype(float), saved[column], rtol=1e-12)
    metrics = json.loads((folder / "metrics.json").read_text())
    values = sheets["metrics"].set_index("key")["value"]
    assert values["backtest.strategy.sharpe"] == pytest.approx(metrics["backtest"]["strategy"]["sharpe"])
    summary = sheets["summary"].set_index("metric")
    assert summary.loc["accuracy", "value"] == pytest.approx(metrics["forecast"]["accuracy"])
    assert set(sheets) == {*exported_tables(recompute_run(folder))}
    run("run", "exp.yaml", "--set", "features.0.lags=[1]", "--replace", "--quiet")
    assert not (folder / "report.xlsx").exists(), "it is of the former run only"
    assert not (folder / "backtest.csv").exists()


def test_figures_are_written_into_the_report_or_another_folder(run: Call) -> None:
    for name in (".more.old", ".more.new"):
        Path("out", name).mkdir(parents=True)
    result = run("export", "exp", "--figure", "equity", "--size", "5x3", "--dpi", "40", "--to", "out/more")
    assert result.exit_code == 0, result.stderr
    assert Path("out/more/figure_equity.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path("out").iterdir()) == [".more.new", ".more.old", "more"], "of the user"
    Path("loop").symlink_to("loop")
    result = run("export", "exp", "--figure", "equity", "--size", "2x2", "--dpi", "40", "--to", "loop")
    assert result.exit_code == 2
    assert "loop can't be written to" in result.stderr
    result = run("export", "reports/exp", "--figure", "growth", "--format", "svg", "--ticker", "MSFT")
    assert result.exit_code == 2
    assert "no figure 'growth'" in result.stderr
    assert "there are ticker_price" in result.stderr
    assert run("export", "exp", "--figure", "ticker_growth", "--format", "svg", "--ticker", "MSFT").exit_code == 0
    figure = Path("reports/exp/figure_ticker_growth.MSFT.svg")
    assert "<svg" in figure.read_text()
    Path("reports/exp/figure of my own.svg").write_text("mine")
    run("run", "exp.yaml", "--quiet")
    assert not figure.exists()
    assert Path("reports/exp/figure of my own.svg").exists()
    assert "growth" in run("export", "exp", "--list").stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exp",), "name what to export: --figure NAME, --tables or --pdf"),
        (("exp", "--figure", "grwth"), "did you mean growth?"),
        (("exp", "--figure", "growth", "--size", "10"), "needed WIDTHxHEIGHT"),
        (("other", "--pdf"), "other: no report of a run, a sweep or a comparison"),
        (("exp", "--figure", "growth", "--size", "60x60", "--dpi", "2400"), "pixels are more than"),
    ],
)
def test_user_errors_exit_with_2_without_a_traceback(run: Call, arguments: tuple[str, ...], message: str) -> None:
    result = run("export", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_other_prices_or_metrics_than_the_reports_are_an_error(run: Call) -> None:
    path = Path("reports/exp/metrics.json")
    metrics = json.loads(path.read_text())
    changes: tuple[tuple[Callable[[Any], Any], str], ...] = (
        (lambda changed: changed["data"].update(sha256="0"), "the prices have changed"),
        (lambda changed: changed["forecast"].pop("auc"), "another version"),
        (lambda changed: changed["naive_rules"]["reversal"].pop("returns_by_year"), "another version"),
    )
    for change, message in changes:
        changed = json.loads(json.dumps(metrics))
        change(changed)
        path.write_text(json.dumps(changed))
        result = run("export", "exp", "--tables")
        assert result.exit_code == 2
        assert message in result.stderr


def test_pages_of_further_verbs_are_exported_where_the_report_has_them(
    run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "draw_figure", lambda *_: Figure())
    result = quantlr.worth("exp.yaml", output="reports")
    pages = open_saved_pages(Path("reports/exp"))
    assert pages.run is not None
    own = list(pages.run.figures)
    assert pages.figures.names() == (*own, *result.figures)
    n_own = sum(page.is_applicable(pages.run.page_context) for page in PAGES)
    assert len(list(pages.draw_pages())) == n_own + 1
    files, _ = export_files(pages, ExportRequest(["feature_alone"], "svg"))
    figure = result.figures.draw("feature_alone")
    assert files == {"figure_feature_alone.svg": figure_bytes(figure, "svg", size=(10.0, 5.0), dpi=200)}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a,b\n1,2\n", None], ids=["bytes", "other columns", "missing"])
def test_damaged_table_of_a_race_is_one_sentence(run: Call, content: bytes | None) -> None:
    Path("reports/exp/race.png").touch()
    if content is not None:
        Path("reports/exp/race.csv").write_bytes(content)
    result = run("export", "exp", "--list")
    assert result.exit_code == 2
    assert "race.csv: needed the table of a race, found" in result.stderr


def test_panels_of_a_comparison_are_exported_while_its_runs_are_the_same(run: Call) -> None:
    assert run("run", "exp.yaml", "--name", "other", "--set", "features.0.lags=[3]", "--quiet").exit_code == 0
    assert run("compare", "exp", "other", "--name", "both", "--quiet").exit_code == 0
    comparison = quantlr.compare(["exp", "other"])
    assert run("export", "both", "--list").stdout.split() == list(comparison.figures)
    path = Path("reports/both/figure_sharpe_differences.svg")
    assert run("export", "both", "--figure", "sharpe_differences", "--format", "svg").exit_code == 0
    figure = comparison.figures.draw("sharpe_differences")
    assert path.read_bytes() == figure_bytes(figure, "svg", size=(10.0, 5.0), dpi=200)
    assert "tables are exported of a run" in run("export", "both", "--tables").stderr
    assert run("run", "exp.yaml", "--name", "other", "--set", "features.0.lags=[5]", "--quiet").exit_code == 0
    result = run("export", "both", "--pdf")
    assert result.exit_code == 2
    assert "the runs have changed" in result.stderr
