"""Sweeps with components of the user's own: in worker processes, from one version of their code to the next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import quantlr
from quantlr.core.errors import UserError

from user_components import CODE, SMALL, import_user_module, install_user_module, line_of

pytestmark = pytest.mark.usefixtures("without_drawing")
ROOT = Path(__file__).parents[2]
SWEEP: dict[str, Any] = {"name": "own", "base": SMALL, "grid": {"policy.long_above": [0.5, 0.52]}, "holdout": 0}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the user's file from the working folder, also in worker processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    yield import_user_module(tmp_path)
    sys.modules.pop("my_parts", None)


def test_features_are_added_to_every_trial_by_any_number_of_workers(parts: ModuleType, tmp_path: Path) -> None:
    features = [parts.Change(bars=2)]
    one = quantlr.sweep(SWEEP, features=features, workers=1, output=tmp_path / "one")
    two = quantlr.sweep(SWEEP, features=features, workers=2, output=tmp_path / "two")
    assert one.trials.equals(two.trials)
    for trial, long_above in enumerate(SWEEP["grid"]["policy.long_above"]):
        run = quantlr.run(SMALL, features=features, overrides={"policy.long_above": long_above})
        row = one.trials[one.trials["trial"] == trial].iloc[0]
        assert row["sharpe"] == pytest.approx(run.metrics["backtest"]["strategy"]["sharpe"], rel=1e-12)
    without = quantlr.sweep(SWEEP, workers=1, output=tmp_path / "one")
    assert not one.trials["sharpe"].equals(without.trials["sharpe"])


def test_grid_may_hold_objects(parts: ModuleType) -> None:
    grid = {"policy": [parts.Half(), {"kind": "threshold"}]}
    result = quantlr.sweep({**SWEEP, "grid": grid}, workers=1)
    assert sorted(result.trials["policy"]) == ["half", "threshold"]
    half, whole = (result.trials[result.trials["policy"] == kind].iloc[0] for kind in ("half", "threshold"))
    assert half["turnover_per_year"] == pytest.approx(whole["turnover_per_year"] / 2, rel=0.05)


def test_fault_is_the_error_of_each_trial_and_is_not_stored(parts: ModuleType, tmp_path: Path) -> None:
    failed = quantlr.sweep(SWEEP, features=[parts.Failing()], workers=1)
    place = f"feature 'failing': my_parts.py:{line_of('failing')}, in ratio_of"
    assert all(place in error for error in failed.trials["error"])
    assert not list(Path("reports/.trials").rglob("*.npz"))


def test_stored_results_of_former_code_are_not_used(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind and its parameters stay the same, and the feature is another one; likewise for an installed one."""
    first = quantlr.sweep(SWEEP, features=[parts.Change(bars=2)], workers=1)
    evaluated = {path.name for path in Path("reports/.trials").rglob("*.npz")}
    again = quantlr.sweep(SWEEP, features=[parts.Change(bars=2)], workers=1)
    assert {path.name for path in Path("reports/.trials").rglob("*.npz")} == evaluated
    assert again.trials.equals(first.trials)
    changed_code = CODE.replace("[: -self.bars] - 1", "[: -self.bars] < 1")
    assert changed_code != CODE
    monkeypatch.setattr("user_components.CODE", changed_code)
    changed = import_user_module(tmp_path)
    other = quantlr.sweep(SWEEP, features=[changed.Change(bars=2)], workers=1)
    assert not other.trials["sharpe"].equals(first.trials["sharpe"])
    expected = quantlr.run(SMALL, features=[changed.Change(bars=2)]).metrics["backtest"]["strategy"]["sharpe"]
    assert other.trials.set_index("trial")["sharpe"][0] == pytest.approx(expected, rel=1e-12)
    install_user_module(tmp_path, {"features": {"change": "Change"}})
    installed = {**SMALL, "features": [*SMALL["features"], {"kind": "change", "bars": 2}]}
    by_kind = quantlr.sweep({**SWEEP, "base": installed}, workers=1)
    assert by_kind.trials["sharpe"].equals(other.trials["sharpe"])


def test_class_inside_a_function_is_used_by_one_process_and_refused_by_several(parts: ModuleType) -> None:
    base: Any = parts.Change

    class Local(base):  # type: ignore[misc]
        """A class that no other process can import."""

    result = quantlr.sweep(SWEEP, features=[Local(bars=2)])
    assert result.trials["error"].isna().all()
    with pytest.raises(UserError, match="other processes can't import Local, defined in a notebook or inside a func"):
        quantlr.sweep(SWEEP, features=[Local(bars=2)], workers=2)


def test_code_of_a_session_without_a_file_is_evaluated_each_time(parts: ModuleType) -> None:
    """As in a notebook: the class stays the same, and a function that it calls is replaced."""
    code = f"""
import my_parts, quantlr
from quantlr.report import pages

pages.PAGES = pages.PAGES[:1]  # the class is the same whatever is drawn

class Change(my_parts.Change):
    '''Return over some bars.'''

    def compute(self, prices):
        '''One column.'''
        return transform(super().compute(prices))

sweep = {SWEEP!r}
for transform in (lambda columns: columns, lambda columns: {{name: values**2 for name, values in columns.items()}}):
    result = quantlr.sweep(sweep, features=[Change(bars=2)], output="reports")
    print(result.trials.set_index("trial")["sharpe"][0])
print(quantlr.run(sweep["base"], features=[Change(bars=2)], workers=2, output="reports").config.name)
"""
    done = subprocess.run([sys.executable], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, name = done.stdout.split()
    assert first != second
    assert name == "small"
    assert done.stderr == ""
