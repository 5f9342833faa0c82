"""Runs side by side: what is compared is what their files say, and what is drawn is what was compared."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.image import imread
from quantlr.core.errors import OutputError, UserError
from quantlr.report.compare import Comparison, compare_runs, write_comparison
from quantlr.report.pages.comparison import comparison_page, comparison_title
from quantlr.report.pairs import config_differences, format_signed, pair_sentence

from report.cases import OF_THEIR_OWN

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
    "execution": {"cash_rate": 0.02},
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
    "other year": {"report.sessions_per_year": 365},
    "three": {"data.tickers": ["MSFT", "IBM", "AAPL"]},
}


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


def compared(output: Path, *names: str) -> Comparison:
    return compare_runs(names, reports_dir=output)


def metrics_of(output: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((output / name / "metrics.json").read_text()))


def test_over_the_same_sessions_numbers_are_those_of_the_metrics(output: Path) -> None:
    found = compared(output, "base", "free")
    for name, numbers in zip(("base", "free"), found.metrics_by_run, strict=True):
        metrics = metrics_of(output, name)
        for key, value in numbers.items():
            whose = metrics["forecast"] if key in ("accuracy", "log_loss") else metrics["backtest"]["strategy"]
            assert value == pytest.approx(whose[key], rel=1e-9), key
    held = metrics_of(output, "base")
    assert found.baseline_metrics["sharpe"] == pytest.approx(held["backtest"]["benchmark"]["sharpe"], rel=1e-9)
    assert found.baseline_metrics["log_loss"] == pytest.approx(held["forecast"]["log_loss_base_rate"], rel=1e-9)
    assert found.caveats == ()


def test_differences_are_of_the_returns_in_excess_of_cash_per_year(output: Path) -> None:
    found = compared(output, "base", "free")
    (pair,) = found.pairs
    tables = [pd.read_parquet(output / name / "backtest.parquet")["net_return"] for name in ("base", "free")]
    sharpe = [(one - 0.02 / 252).mean() / one.std() * np.sqrt(252) for one in tables]
    assert pair.sharpe_difference is not None
    assert pair.mean_return_difference is not None
    assert pair.sharpe_difference.value == pytest.approx(sharpe[1] - sharpe[0], rel=1e-9)
    assert pair.mean_return_difference.value == pytest.approx((tables[1] - tables[0]).mean() * 252, rel=1e-9)
    assert pair.has_same_forecasts
    assert not pair.has_same_returns
    assert pair.mean_return_difference.low95 > 0, "to trade for free is always better"


def test_runs_of_other_lags_share_what_both_forecast(output: Path) -> None:
    """Another lag takes one more session to warm up."""
    found = compared(output, "base", "lags")
    base, lags = (pd.read_parquet(output / name / "forecasts.parquet").dropna() for name in ("base", "lags"))
    both = base.merge(lags, on=["date", "ticker"], suffixes=("", "_other"))
    assert found.n_common_forecasts == len(both) < len(base)
    right = [((both[column] > 0.5) == both["up"]).mean() for column in ("probability", "probability_other")]
    assert [numbers["accuracy"] for numbers in found.metrics_by_run] == pytest.approx(right, rel=1e-12)
    (pair,) = found.pairs
    assert pair.accuracy_difference is not None
    assert pair.accuracy_difference.value == pytest.approx(right[1] - right[0], abs=1e-12)
    assert len(found.dates) == len(pd.read_parquet(output / "lags" / "backtest.parquet"))
    assert any("sessions of base are common to all" in text for text in found.caveats)


def test_equity_begins_anew_with_the_first_common_session(output: Path) -> None:
    found = compared(output, "base", "early")
    table = pd.read_parquet(output / "base" / "backtest.parquet").set_index("date").loc[found.dates]
    np.testing.assert_allclose(found.equity[:, 0], (1 + table["net_return"]).cumprod(), rtol=1e-12)
    assert found.benchmark is not None


def test_a_run_that_never_traded_has_no_sharpe_ratio_to_compare(output: Path) -> None:
    (pair,) = compared(output, "base", "flat").pairs
    assert pair.sharpe_difference is None
    assert pair.mean_return_difference is not None
    assert "not compared; the same forecasts." in pair_sentence(pair, ("base", "flat"))


def test_forecasts_of_different_things_are_not_compared(output: Path) -> None:
    found = compared(output, "base", "week")
    assert found.pairs[0].log_loss_difference is None
    assert found.pairs[0].sharpe_difference is not None
    assert found.n_common_forecasts == 0
    assert "runs forecast different things (label): their forecasts are not compared" in found.caveats


def test_different_fills_are_told(output: Path) -> None:
    assert any("filled at different prices" in text for text in compared(output, "base", "textbook").caveats)


def test_too_few_sessions_test_nothing(output: Path) -> None:
    found = compared(output, "lags", "brief")
    assert len(found.dates) < 60
    assert found.n_tests == 0
    assert any("too few to tell a difference from luck" in text for text in found.caveats)
    assert comparison_title(found) == "No difference could be tested"


def test_a_run_of_several_tickers_shares_the_forecasts_of_one(output: Path) -> None:
    found = compared(output, "base", "three")
    assert found.pairs[0].has_same_forecasts, "each ticker has a model of its own"
    assert found.baseline_metrics["sharpe"] is None, "one holds another thing than the other"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("base",), "needs two runs or more, found 1"),
        (("base", "base"), "base and base are the same report"),
        (("base",) * 13, "a page of 13 runs can't be read; compare up to 12"),
        (("base", "bsae"), "bsae: no report of a run.*there are base, brief, early"),
        (("base", "other_year"), "years differ: report.sessions_per_year is base 252, other_year 365"),
        (("early", "late"), "no session is common to all of these runs: early 2001-0"),
    ],
)
def test_what_can_not_be_compared_is_told(output: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compared(output, *names)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("backtest.parquet", None, "is no whole report: it lacks backtest.parquet; run its config again"),
        ("config.yaml", None, "is no whole report: it lacks config.yaml"),
        ("backtest.parquet", b"no table", "written by quantlr 0.0.1, can't be read as this version writes it"),
        ("forecasts.parquet", pd.DataFrame({"date": [1]}), "written by quantlr 0.0.1, can't be read"),
        ("config.yaml", b"name: x\n", "written by quantlr 0.0.1, can't be read"),
        ("config.yaml", b"a: [", "written by quantlr 0.0.1, can't be read"),
    ],
)
def test_a_report_that_is_not_whole_or_of_another_version_is_told(
    output: Path, tmp_path: Path, file: str, content: Any, said: str
) -> None:
    shutil.copytree(output / "base", tmp_path / "old")
    (tmp_path / "old" / "provenance.json").write_text('{"versions": {"quantlr": "0.0.1"}}')
    (tmp_path / "old" / file).unlink()
    if isinstance(content, pd.DataFrame):
        content.to_parquet(tmp_path / "old" / file)
    elif content is not None:
        (tmp_path / "old" / file).write_bytes(content)
    with pytest.raises(UserError, match=said):
        compared(output, "base", str(tmp_path / "old"))


def test_runs_of_one_name_go_by_the_folder_around(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output / "base", tmp_path / "mine" / "base")
    found = compared(output, "base", str(tmp_path / "mine" / "base"))
    assert found.run_names == (f"{output.name}/base", "mine/base")
    assert found.pairs[0].has_same_returns
    assert comparison_title(found) == "The runs are the same"
    assert found.config_differences == ()


def test_settings_that_differ_are_named_with_what_each_has() -> None:
    configs: list[dict[str, Any]] = [
        {"name": "a", "features": [{"kind": "x", "lags": [1]}], "l2": 0.0, "overlays": []},
        {"name": "b", "features": [{"kind": "x", "lags": [1, 2]}, {"kind": "y"}], "l2": 0.0, "overlays": []},
    ]
    assert {found.key: found.values_by_run for found in config_differences(configs)} == {
        "features.0.lags": ("[1]", "[1, 2]"),
        "features.1.kind": (None, "y"),
    }


def test_it_is_written_whole_and_the_same_twice_and_replaces_no_run(output: Path, tmp_path: Path) -> None:
    found = compared(output, "base", "lags", "free")
    folder = write_comparison(found, "compare", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["compare.json", "compare.png"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_comparison(compared(output, "base", "lags", "free"), "compare", tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    written = json.loads(before["compare.json"])
    assert written["method"]["tests"] == found.n_tests == 5, (
        "two runs have the same forecasts, and nothing to test there"
    )
    assert [pair["second"] for pair in written["pairs"]] == ["lags", "free", "free"]
    assert written["settings"]["features.0.lags"] == ["[1, 2]", "[1, 2, 3]", "[1, 2]"]
    with pytest.raises(OutputError, match="is the report of a run, which a comparison would replace"):
        write_comparison(found, "base", output)
    with pytest.raises(OutputError, match=r"--name '\.\./x': needed 1 to 80"):
        write_comparison(found, "../x", tmp_path)


@pytest.mark.parametrize(
    "names",
    [("base", "brief"), ("base", "flat"), ("base", "lags", "free", "textbook", "week", "three")],
    ids=["short", "flat", "six"],
)
def test_a_page_can_be_drawn(output: Path, names: tuple[str, ...]) -> None:
    found = compared(output, *names)
    page = comparison_page(found)
    picture = imread(io.BytesIO(page))
    assert picture.shape[:2] == (1410, 2100)
    ink = (picture[..., :3].min(axis=2) < 0.95).mean()
    assert 0.02 < ink < 0.6
    if "brief" in names:
        with matplotlib.rc_context(OF_THEIR_OWN):
            assert comparison_page(found) == page, "the same twice, whatever a user's own figures look like"


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "+0.12"), (-0.126, "−0.13"), (0.001, "0.00"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_signed(value: float, text: str) -> None:
    assert format_signed(value, decimals=2) == text
