"""The components that the page on extending adds, each in a copy of the package."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import SampleSource

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()

CHECK_FEATURE = """
import json, sys
import quantlr
from quantlr.data.features import FEATURES
from quantlr.testing import check_feature

(feature,) = (kind for kind in FEATURES if kind.__name__ == "CloseInRange")
check_feature(feature())
features = [{"kind": "close_in_range"}, {"kind": "zscore", "of": {"kind": "close_in_range"}, "window": 60}]
data = {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2004-12-31"}
run = quantlr.run({"name": "own", "data": data, "features": features, "walk_forward": {"train": 250}})
prices, columns = run.run_data.prices, dict(zip(run.run_data.dataset.columns, run.run_data.dataset.features.T))
rows = run.run_data.dataset.session
bar = (prices.close - prices.low)[rows, 0], (prices.high - prices.low)[rows, 0]
print(json.dumps({
    "module_path": quantlr.__file__,
    "columns": list(columns),
    "max_error": max(abs(value - up / span) for value, up, span in zip(columns["close_in_range"], *bar) if span),
}))
"""
CHECK_POLICY = """
import json, statistics
import quantlr

data = {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2004-12-31"}
config = {
    "name": "own", "data": data, "features": [{"kind": "lagged_returns"}], "walk_forward": {"train": 250},
    "policy": {"kind": "calm_long", "max_volatility": 0.02},
}
run = quantlr.run(config)
close = run.run_data.prices.close[:, 0].tolist()
# At session t the last 20 returns are those from t - 20 to t - 1 here.
returns = [later / earlier - 1 for earlier, later in zip(close, close[1:])]
session_of_date = {date: session for session, date in enumerate(run.run_data.prices.sessions)}
expected = [
    float(p > 0.5 and statistics.stdev(returns[session_of_date[date] - 20 : session_of_date[date]]) <= 0.02)
    for date, p in zip(run.forecasts["date"], run.forecasts["probability"])
]
weight = run.run_data.positions.weight[[session_of_date[date] for date in run.forecasts["date"]], 0]
print(json.dumps({
    "module_path": quantlr.__file__,
    "weights_equal": weight.tolist() == expected,
    "mean_weight": statistics.mean(expected),
    "is_clean": quantlr.audit(config, n_cutoffs=2).is_clean,
}))
"""

CHECK_MODEL = """
import json
import numpy as np
import quantlr
from linear_discriminant import LinearDiscriminant
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

data = {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2003-12-31"}
features = [{"kind": "lagged_returns", "lags": [1, 2]}]
config = {
    "name": "own", "data": data, "features": features, "walk_forward": {"train": 250}, "model": LinearDiscriminant(),
}
run = quantlr.run(config)
(folds,), dataset = run.run_data.forecasts.folds, run.run_data.dataset
probabilities = [
    LinearDiscriminantAnalysis(solver="lsqr")
    .fit(dataset.features[fold.train], dataset.up[fold.train])
    .predict_proba(dataset.features[fold.test])[:, 1]
    for fold in folds
]
print(json.dumps({
    "max_difference": float(np.abs(run.forecasts["probability"] - np.concatenate(probabilities)).max()),
    "is_clean": quantlr.audit(config, n_cutoffs=2).is_clean,
}))
"""


def output_of_copy_with_example(heading: str, tuple_name: str, check: str, folder: Path) -> dict[str, Any]:
    """Paste the example below a heading into a copy of the package, and return what a check there prints."""
    section = PAGE[PAGE.index(f"\n## {heading}\n") :]
    (block,) = re.findall(r"^```python\n(.*?)^```", section.split("\n## ")[1], flags=re.MULTILINE | re.DOTALL)
    body, closing = block.split(f"{tuple_name}:", 1)
    named = re.findall(r"`((?:data|backtest)/[\w/]+\.py)`", section[: section.index("```python")])[0]
    shutil.copytree(ROOT / "quantlr", folder / "quantlr")
    file = folder / "quantlr" / named
    before, after = file.read_text().split(f"\n{tuple_name}:", 1)
    former = re.match(r"[^\n]*\((.*)\)\n", after)
    assert former
    assert set(former[1].split(", ")) < set(re.findall(r"\w+", closing)), (
        "the tuple in the example is not the file's and one more"
    )
    file.write_text(f"{before}\n{body}{tuple_name}:{closing}{after[former.end() :]}")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)
    assert Path(output["module_path"]).is_relative_to(folder)
    return output


def test_feature_example_works_where_it_is_pasted(tmp_path: Path) -> None:
    output = output_of_copy_with_example("A feature", "FEATURES", CHECK_FEATURE, tmp_path)
    assert output["columns"] == ["close_in_range", "zscore_60(close_in_range)"]
    assert output["max_error"] < 1e-12


def test_policy_example_works_where_it_is_pasted(tmp_path: Path) -> None:
    output = output_of_copy_with_example("A policy", "POLICIES", CHECK_POLICY, tmp_path)
    assert output["weights_equal"]
    assert 0.05 < output["mean_weight"] < 0.95
    assert output["is_clean"]


@pytest.mark.parametrize("level", ["prices.close", "np.log(prices.close)"])
def test_feature_of_a_price_level_breaks_the_contract_that_the_page_states(level: str) -> None:
    code = (
        "from typing import Literal\nimport numpy as np, quantlr\nfrom quantlr.testing import check_feature\n"
        "class Level(quantlr.Feature):\n"
        '    """The level of the close."""\n    kind: Literal["level"] = "level"\n'
        '    def compute(self, prices):\n        """One column."""\n'
        f'        return {{"level": {level} * 1.0}}\n'
        '    def warm_up(self):\n        """None."""\n        return 0\n'
        "try:\n    check_feature(Level())\nexcept AssertionError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "in another unit of the currency" in done.stdout


def test_model_of_the_example_runs_and_equals_scikit_learns(tmp_path: Path) -> None:
    section = PAGE[PAGE.index("\n## A model\n") :].split("\n## ")[1]
    (block,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "linear_discriminant.py").write_text(block)
    (tmp_path / "check.py").write_text(CHECK_MODEL)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    outputs = [
        subprocess.run(
            [sys.executable, name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for name in ("linear_discriminant.py", "check.py")
    ]
    assert outputs[0].strip().endswith(".")
    result = json.loads(outputs[1])
    assert result["max_difference"] < 1e-9
    assert result["is_clean"]


def test_source_of_the_example_has_the_prices_of_its_database(tmp_path: Path) -> None:
    section = PAGE[PAGE.index("\n## A source\n") :].split("\n## ")[1]
    (block,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "sqlite_source.py").write_text(block)
    sample = load_prices(DataSpec(source=SampleSource(), tickers=("MSFT",)))
    columns = {name: getattr(sample, name)[:, 0] for name in ("open", "high", "low", "close", "volume")}
    table = pd.DataFrame({"ticker": "ABC", "date": sample.sessions.strftime("%Y-%m-%d"), **columns})
    with contextlib.closing(sqlite3.connect(tmp_path / "bars.db")) as database:
        table.to_sql("bars", database, index=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    check = (
        "import json, quantlr\nfrom pathlib import Path\nfrom sqlite_source import Sqlite\n"
        "from quantlr.data.prices import DataSpec, load_prices\n"
        "prices = load_prices(DataSpec(source=Sqlite(path=Path('bars.db')), tickers=('ABC',)))\n"
        "print(json.dumps(prices.close[:, 0].tolist()))"
    )
    script, closes = (
        subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for arguments in (["sqlite_source.py"], ["-c", check])
    )
    assert "majority-class baseline" in script
    assert json.loads(closes) == sample.close[:, 0].tolist()
