"""Comparison of runs: its numbers against those of the reports, and its page."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.image import imread
from quantlr.backtest.metrics import METRICS, find_metric
from quantlr.core.errors import OutputError, UserError
from quantlr.report.compare import Comparison
from quantlr.report.compare import compare as compare_reports
from quantlr.report.gallery import write_comparison
from quantlr.report.pages.comparison import (
    comparison_figure,
    comparison_page_png,
    comparison_title,
    metrics_by_run_table,
)
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.pairs import config_differences, pair_sentence, signed_number_text
from quantlr.report.saved_runs import read_saved_run

from report.cases import PRODUCT_FEATURES, USER_RCPARAMS
from report.drawn_text import text_collisions

pytestmark = pytest.mark.usefixtures("without_drawing")

CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
    "execution": {"cash_rate": 0.02},
    "report": {"sessions_per_year": 252},
}
RUNS: dict[str, dict[str, Any]] = {
    "base": {},
    "lags": {"features.0.lags": [1, 2, 3]},
    "free": {"execution.commission_bps": 0.0, "execution.slippage_bps": 0.0},
    "flat": {"policy.long_above": 1.0},
    "textbook": {"execution.fill": "close"},
    "week": {"label.horizon": 5},
    "early": {"data.end": "2001-06-29"},
    "late": {"data.start": "2001-07-02"},
    "brief": {"data.end": "2001-03-20"},
    "other year": {"report.sessions_per_year": 260},
    "three": {"data.tickers": ["MSFT", "IBM", "AAPL"]},
    "run_with_a_name_that_is_longer_than_its_column": {
        "features": PRODUCT_FEATURES, "policy.short_below": 0.49, "model.l2": 0.1, "model.class_weight": "balanced",
        "walk_forward.window": "rolling", "execution.borrow_bps_per_year": 200,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, as their files; pictures and the ledger are not needed here."""
    folder = tmp_path_factory.mktemp("reports")
    for name, overrides in RUNS.items():
        place = folder / name.replace(" ", "_")
        place.mkdir()
        done = quantlr.run(CONFIG, overrides=overrides | {"name": place.name})
        done.backtest.to_parquet(place / "backtest.parquet", index=False)
        done.forecasts.to_parquet(place / "forecasts.parquet", index=False)
        (place / "metrics.json").write_text(json.dumps(done.metrics))
        (place / "config.yaml").write_text(done.config.to_yaml())
        (place / "provenance.json").write_text(json.dumps({"versions": {"quantlr": "0.1.0"}, "data": {"sha256": "x"}}))
    return folder


def compare(output: Path, *names: str) -> Comparison:
    return compare_reports(names, output=output)


def read_metrics(output: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((output / name / "metrics.json").read_text()))


def test_over_equal_sessions_numbers_equal_the_metrics(output: Path) -> None:
    comparison = compare(output, "base", "free")
    for name, numbers in zip(("base", "free"), comparison.metrics_by_run, strict=True):
        metrics = read_metrics(output, name)
        for key, value in numbers.items():
            assert value == pytest.approx(find_metric(key).value(metrics), rel=1e-9), key
    written = comparison.to_dict()
    for run in written["runs"]:
        final_equity = read_metrics(output, run["name"])["backtest"]["strategy"]["final_equity"]
        assert run["final_equity"] == pytest.approx(final_equity, rel=1e-9)
    metrics = read_metrics(output, "base")
    benchmark_final_equity = metrics["backtest"]["benchmark"]["final_equity"]
    assert written["baseline"]["final_equity"] == pytest.approx(benchmark_final_equity, rel=1e-9)
    assert comparison.baseline_metrics["sharpe"] == pytest.approx(metrics["backtest"]["benchmark"]["sharpe"], rel=1e-9)
    assert comparison.baseline_metrics["log_loss"] == pytest.approx(metrics["forecast"]["log_loss_base_rate"], rel=1e-9)
    assert comparison.caveats == ()


def test_columns_of_metrics_fit_the_table_however_many_there_are(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = metrics_by_run_table(compare(output, "base", "free"))
    more = tuple(replace(find_metric("cagr"), key=f"cagr{number}") for number in range(5))
    monkeypatch.setattr("quantlr.backtest.metrics.METRICS", (*METRICS, *more))
    full = metrics_by_run_table(compare(output, "base", "free"))
    assert len(full["columns"]) == len(usual["columns"]) + 5
    assert full["scale"] < usual["scale"] <= 1.0, "the text is smaller where there are more"
    for table in (usual, full):
        assert len(table["column_right_edges"]) == len(table["columns"])
        assert table["column_right_edges"][-1] == pytest.approx(1.0)
        assert np.diff(table["column_right_edges"]).min() > 0.03


def test_return_differences_are_annualised_and_in_excess_of_cash(output: Path) -> None:
    comparison = compare(output, "base", "free")
    (pair,) = comparison.pairs
    tables = [pd.read_parquet(output / name / "backtest.parquet")["net_return"] for name in ("base", "free")]
    sharpe = [(returns - 0.02 / 252).mean() / returns.std() * np.sqrt(252) for returns in tables]
    assert pair.sharpe.difference is not None
    assert pair.mean_return_difference is not None
    assert pair.sharpe.difference.value == pytest.approx(sharpe[1] - sharpe[0], rel=1e-9)
    assert pair.mean_return_difference.value == pytest.approx((tables[1] - tables[0]).mean() * 252, rel=1e-9)
    assert pair.log_loss.is_identical
    assert not pair.sharpe.is_identical
    assert pair.mean_return_difference.interval()[0] > 0, "trading without costs earns more in every session"


def test_runs_with_different_lags_are_compared_on_common_forecasts(output: Path) -> None:
    """A third lag needs one more session of warm-up."""
    comparison = compare(output, "base", "lags")
    base, lags = (pd.read_parquet(output / name / "forecasts.parquet").dropna() for name in ("base", "lags"))
    both = base.merge(lags, on=["date", "ticker"], suffixes=("", "_other"))
    assert comparison.n_common_forecasts == len(both) < len(base)
    accuracies = [((both[column] > 0.5) == both["up"]).mean() for column in ("probability", "probability_other")]
    assert [numbers["accuracy"] for numbers in comparison.metrics_by_run] == pytest.approx(accuracies, rel=1e-12)
    (pair,) = comparison.pairs
    assert pair.accuracy_difference is not None
    assert pair.accuracy_difference.value == pytest.approx(accuracies[1] - accuracies[0], abs=1e-12)
    assert len(comparison.dates) == len(pd.read_parquet(output / "lags" / "backtest.parquet"))
    assert any("sessions of base are common to all" in text for text in comparison.caveats)


def test_equity_begins_at_1_before_the_first_common_session(output: Path) -> None:
    comparison = compare(output, "base", "early")
    table = pd.read_parquet(output / "base" / "backtest.parquet").set_index("date").loc[comparison.dates]
    np.testing.assert_allclose(comparison.equity[:, 0], (1 + table["net_return"]).cumprod(), rtol=1e-12)
    assert comparison.benchmark_equity is not None


def test_baseline_is_first_and_only_its_pairs_are_tested(output: Path) -> None:
    names = ("base", "lags", "free", "textbook")
    every, some = compare(output, *names), compare_reports(names, baseline="free", output=output)
    assert some.run_names == ("free", "base", "lags", "textbook")
    assert [(pair.first_index, pair.second_index) for pair in some.pairs] == [(0, 1), (0, 2), (0, 3)]
    assert some.n_tests == 4 < every.n_tests, "two runs have the same forecasts as the baseline"
    assert compare_reports(names[1:], baseline=output / "base", output=output).run_names[0] == "base"
    ratios = {
        frozenset((every.run_names[pair.first_index], every.run_names[pair.second_index])): pair.sharpe.difference
        for pair in every.pairs
    }
    for pair in some.pairs:
        ratio, same = pair.sharpe.difference, ratios[frozenset(("free", some.run_names[pair.second_index]))]
        assert ratio is not None
        assert same is not None
        assert abs(ratio.value) == pytest.approx(abs(same.value), rel=1e-12)


def test_adjusted_interval_leaves_out_0_exactly_where_the_adjusted_p_value_is_significant(output: Path) -> None:
    pairs = (*compare(output, "base", "free").pairs, *compare(output, "base", "lags", "free", "three").pairs)
    tests = [test for pair in pairs for test in pair.metric_tests if test.adjusted_interval]
    assert {test.is_significant for test in tests} == {True, False}
    unadjusted = tests.pop(0)
    assert unadjusted.difference is not None
    assert unadjusted.adjusted_interval == unadjusted.difference.interval(), "one test"
    for test in tests:
        assert test.adjusted_interval is not None
        low, high = test.adjusted_interval
        assert (low > 0 or high < 0) == test.is_significant
        assert test.difference is not None
        assert high - low > np.diff(test.difference.interval())[0]
        written = test.to_dict()
        assert written is not None
        assert written["adjusted_interval"] == (low, high)


def test_sharpe_ratio_of_a_run_without_trades_is_not_compared(output: Path) -> None:
    (pair,) = compare(output, "base", "flat").pairs
    assert pair.sharpe.difference is None
    assert pair.mean_return_difference is not None
    assert "not compared; the same forecasts." in pair_sentence(pair, ("base", "flat"))


def test_forecasts_of_different_labels_are_not_compared(output: Path) -> None:
    comparison = compare(output, "base", "week")
    assert comparison.pairs[0].log_loss.difference is None
    assert comparison.pairs[0].sharpe.difference is not None
    assert comparison.n_common_forecasts == 0
    assert any("different labels" in text for text in comparison.caveats)


def test_different_fills_are_a_caveat(output: Path) -> None:
    assert any("filled at different prices" in text for text in compare(output, "base", "textbook").caveats)


def test_too_few_common_sessions_are_not_tested(output: Path) -> None:
    comparison = compare(output, "lags", "brief")
    assert len(comparison.dates) < 60
    assert comparison.n_tests == 0
    assert any("too few to test a difference" in text for text in comparison.caveats)
    assert comparison_title(comparison) != comparison_title(compare(output, "base", "free"))


def test_run_of_several_tickers_is_compared_on_the_common_ticker(output: Path) -> None:
    comparison = compare(output, "base", "three")
    assert comparison.pairs[0].log_loss.is_identical, "each ticker has its own model"
    assert comparison.baseline_metrics["sharpe"] is None, "the benchmarks hold different tickers"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("base",), "needs two runs or more, found 1"),
        (("base", "base"), "base and base are the same report"),
        (("base",) * 13, "a page of 13 runs can't be read; compare up to 12"),
        (("base", "bsae"), "bsae: no report of a run.*there are base, brief, early"),
        (("base", "other_year"), "years differ: report.sessions_per_year is base 252, other_year 260"),
        (("early", "late"), "no session is common to all of these runs: early 2001-0"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(output: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(output, *names)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("backtest.parquet", None, "is not a complete report: backtest.parquet missing; run its config again"),
        ("config.yaml", None, "is not a complete report: config.yaml missing"),
        ("backtest.parquet", b"no table", "written by quantlr 0.0.1, can't be read as this version writes it"),
        ("forecasts.parquet", pd.DataFrame({"date": [1]}), "written by quantlr 0.0.1, can't be read"),
        ("config.yaml", b"name: x\n", "written by quantlr 0.0.1, can't be read"),
        ("config.yaml", b"a: [", "written by quantlr 0.0.1, can't be read"),
        ("config.yaml", b"report: []\nexecution: 5\n", "written by quantlr 0.0.1, can't be read"),
        ("backtest.parquet", "net_return", "written by quantlr 0.0.1, can't be read"),
        ("backtest.parquet", "exposure", "written by quantlr 0.0.1, can't be read"),
        ("forecasts.parquet", "probability", "written by quantlr 0.0.1, can't be read"),
        ("forecasts.parquet", "date", "written by quantlr 0.0.1, can't be read"),
        ("provenance.json", b'{"versions": {"quantlr": "0.0.1"}, "data": 5}', "0.0.1, can't be read"),
        ("forecasts.parquet", {"probability": 1e308}, "numbers beyond"),
        ("forecasts.parquet", {"probability": 1.5}, "probability has values outside 0 to 1"),
        ("forecasts.parquet", {"base_rate": np.nan}, "base_rate has values outside 0 to 1"),
        ("forecasts.parquet", {"up": 7.0}, "up has values other than true and false"),
        ("forecasts.parquet", {"date": pd.Timestamp("2001-01-02", tz="Asia/Tokyo")}, "dates without a time zone"),
        ("backtest.parquet", {"turnover": np.inf}, "numbers beyond"),
        ("backtest.parquet", {"cost": np.nan}, "cost has values that are not finite"),
        ("config.yaml", b"report: {sessions_per_year: 252}\nexecution: {fill: close}\n", "has no data, label"),
        ("metrics.json", b'{"data": {"sessions_per_year": -5}}', "can't be of a run"),
        ("metrics.json", b'{"data": {"first_fill": "2099-01-01"}}', "a data.first_fill after"),
        ("metrics.json", b'{"data": {"first_fill": "2000-01-03T00:00Z"}}', "a data.first_fill after"),
    ],
)
def test_incomplete_report_or_other_layout_is_refused(
    output: Path, tmp_path: Path, file: str, content: Any, message: str
) -> None:
    shutil.copytree(output / "base", tmp_path / "old")
    (tmp_path / "old" / "provenance.json").write_text('{"versions": {"quantlr": "0.0.1"}}')
    if isinstance(content, str):  # a column of other values
        table = pd.read_parquet(tmp_path / "old" / file)
        content = table.assign(**{content: [f"text {number}" for number in range(len(table))]})
    if isinstance(content, dict):  # other values in a column
        content = pd.read_parquet(tmp_path / "old" / file).assign(**content)
    (tmp_path / "old" / file).unlink()
    if isinstance(content, pd.DataFrame):
        content.to_parquet(tmp_path / "old" / file)
    elif content is not None:
        (tmp_path / "old" / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        compare(output, "base", str(tmp_path / "old"))


def strip_report(report_dir: Path, *, metrics_keys: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Remove keys of the section data of metrics.json, and columns of backtest.parquet."""
    metrics = json.loads((report_dir / "metrics.json").read_text())
    metrics["data"] = {key: value for key, value in metrics["data"].items() if key not in metrics_keys}
    (report_dir / "metrics.json").write_text(json.dumps(metrics))
    table = pd.read_parquet(report_dir / "backtest.parquet").drop(columns=list(columns))
    table.to_parquet(report_dir / "backtest.parquet")


@pytest.mark.parametrize("name", ["base", "textbook"])
def test_older_report_gives_the_same_run_without_keys_of_later_versions(
    output: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(output / name, tmp_path / "old")
    new = read_saved_run(tmp_path / "old", name="old")
    strip_report(tmp_path / "old", metrics_keys=["first_fill", "sessions_per_year"], columns=["cash_rate"])
    old = read_saved_run(tmp_path / "old", name="old")
    assert (old.first_fill, old.sessions_per_year) == (new.first_fill, new.sessions_per_year)
    pd.testing.assert_frame_equal(old.backtest_frame, new.backtest_frame, rtol=1e-12)
    assert new.backtest_frame["cash_rate"].iloc[0] == pytest.approx(0.02 / 252)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"metrics_keys": ["sessions_per_year"]}, "metrics.json has no data.sessions_per_year; run its config again"),
        ({"columns": ["exposure"]}, "backtest.parquet has no column exposure; run its config again"),
    ],
)
def test_report_names_the_key_that_it_lacks(
    output: Path, tmp_path: Path, missing: dict[str, list[str]], message: str
) -> None:
    shutil.copytree(output / "base", tmp_path / "old")
    strip_report(tmp_path / "old", **missing)
    config = (tmp_path / "old" / "config.yaml").read_text()
    (tmp_path / "old" / "config.yaml").write_text(config.replace("sessions_per_year: 252", "sessions_per_year: auto"))
    with pytest.raises(UserError, match=message):
        read_saved_run(tmp_path / "old", name="old")


def test_first_fill_that_is_not_in_the_report_is_named(output: Path, tmp_path: Path) -> None:
    """Only one forecast before the first return: the session between is not dated anywhere."""
    shutil.copytree(output / "base", tmp_path / "old")
    strip_report(tmp_path / "old", metrics_keys=["first_fill"])
    path = tmp_path / "old" / "forecasts.parquet"
    pd.read_parquet(path).drop(index=1).to_parquet(path)
    with pytest.raises(UserError, match=r"metrics.json has no data.first_fill; run its config again"):
        read_saved_run(tmp_path / "old", name="old")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"5", b"{}", b"\xff", b'{"versions": []}'])
def test_a_damaged_provenance_leaves_the_version_unknown(output: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(output / "base", tmp_path / "old")
    (tmp_path / "old" / "provenance.json").write_bytes(content)
    assert read_saved_run(tmp_path / "old", name="old").quantlr_version == "unknown"


def test_a_benchmark_that_is_none_is_named_so(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output / "base", tmp_path / "old")
    config = (tmp_path / "old" / "config.yaml").read_text()
    (tmp_path / "old" / "config.yaml").write_text(config.replace("benchmark: buy_and_hold", "benchmark: null"))
    assert "benchmark: null" in (tmp_path / "old" / "config.yaml").read_text()
    assert compare(output, str(tmp_path / "old"), "lags").benchmark_name == "None"


def test_runs_of_the_same_name_are_named_with_their_parent_folder(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output / "base", tmp_path / "other" / "base")
    comparison = compare(output, "base", str(tmp_path / "other" / "base"))
    assert comparison.run_names == (f"{output.name}/base", "other/base")
    assert comparison.pairs[0].sharpe.is_identical
    assert comparison.pairs[0].log_loss.is_identical
    assert comparison.config_differences == {}


def test_config_differences_list_each_runs_value() -> None:
    configs: list[dict[str, Any]] = [
        {"name": "a", "features": [{"kind": "x", "lags": [1]}], "l2": 0.0, "overlays": []},
        {"name": "b", "features": [{"kind": "x", "lags": [1, 2]}, {"kind": "y"}], "l2": 0.0, "overlays": []},
    ]
    assert config_differences(configs) == {
        "features.0.lags": ("[1]", "[1, 2]"),
        "features.1.kind": (None, "y"),
    }


def test_comparison_is_written_reproducibly_and_never_replaces_a_run(output: Path, tmp_path: Path) -> None:
    comparison = compare(output, "base", "lags", "free")
    folder = write_comparison(comparison, "compare", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["compare.json", "compare.png"]
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_comparison(compare(output, "base", "lags", "free"), "compare", tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    written = json.loads(first["compare.json"])
    assert written["method"]["tests"] == comparison.n_tests == 5, (
        "two runs have the same forecasts, which is not tested"
    )
    assert [pair["second"] for pair in written["pairs"]] == ["lags", "free", "free"]
    assert written["settings"]["features.0.lags"] == ["[1, 2]", "[1, 2, 3]", "[1, 2]"]
    with pytest.raises(OutputError, match="is the report of a run, which a comparison would replace"):
        write_comparison(comparison, "base", output)
    with pytest.raises(OutputError, match=r"--name '\.\./x': needed 1 to 80"):
        write_comparison(comparison, "../x", tmp_path)


MANY_RUNS = ("base", "lags", "free", "textbook", "week", "three", "run_with_a_name_that_is_longer_than_its_column")


@pytest.mark.parametrize(
    ("names", "baseline"),
    [
        (("base", "brief"), None),
        (("base", "flat"), None),
        (("base", "free"), None),
        (("base", "run_with_a_name_that_is_longer_than_its_column"), None),
        (("base", "lags", "free"), None),
        (MANY_RUNS, None),
        (MANY_RUNS, "week"),
    ],
    ids=["short", "flat", "two", "long name", "three", "seven", "baseline"],
)
def test_texts_of_the_page_do_not_overlap(output: Path, names: tuple[str, ...], baseline: str | None) -> None:
    comparison = compare_reports(names, baseline=baseline, output=output)
    with use_matplotlib_defaults():
        assert not text_collisions(comparison_figure(comparison))


@pytest.mark.parametrize("names", [("base", "brief"), ("base", "flat"), ("base", "lags", "three")])
def test_comparison_page_is_drawn(output: Path, names: tuple[str, ...]) -> None:
    comparison = compare(output, *names)
    page = comparison_page_png(comparison)
    picture = imread(io.BytesIO(page))
    assert picture.shape[:2] == (1410, 2100)
    ink = (picture[..., :3].min(axis=2) < 0.95).mean()
    assert 0.02 < ink < 0.6
    if "brief" in names:
        with matplotlib.rc_context(USER_RCPARAMS):
            assert comparison_page_png(comparison) == page, "the user's matplotlib settings do not change the page"


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "+0.12"), (-0.126, "−0.13"), (0.001, "0.00"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_format_signed(value: float, text: str) -> None:
    assert signed_number_text(value, decimals=2) == text
