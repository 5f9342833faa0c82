"""The feature that CONTRIBUTING adds, in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()

CHECK = """
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


def test_feature_example_works_where_it_is_pasted(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    body, closing = block.split("FEATURES:", 1)
    (named,) = re.findall(r"`(data/features/\w+\.py)`", PAGE[: PAGE.index("```python")])[-1:]
    shutil.copytree(ROOT / "quantlr", tmp_path / "quantlr")
    file = tmp_path / "quantlr" / named
    before, after = file.read_text().split("FEATURES:", 1)
    former = re.match(r"[^\n]*\((.*)\)\n", after)
    assert former
    assert set(former[1].split(", ")) < set(re.findall(r"\w+", closing)), (
        "the tuple in the example is not the file's and one more"
    )
    file.write_text(f"{before}{body}FEATURES:{closing}{after[former.end() :]}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert Path(output["module_path"]).is_relative_to(tmp_path)
    assert output["columns"] == ["close_in_range", "zscore_60(close_in_range)"]
    assert output["max_error"] < 1e-12
