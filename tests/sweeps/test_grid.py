"""Reading of a sweep's file: the numbering of combinations, and every error with its place."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from quantlr.config.grid import grid_value_text
from quantlr.core.errors import ConfigError
from quantlr.sweeps.grid import load_sweep
from quantlr.sweeps.trials import TrialRecord, group_trials_into_tasks

from sweeps.workloads import SMALL

ROOT = Path(__file__).parents[2]
BASE = "base:\n  data: {source: {kind: sample}, tickers: [MSFT]}\n  features:\n    - {kind: lagged_returns}\n"


def small_sweep_with(**keys: Any) -> dict[str, Any]:
    return {**SMALL, **keys}


def test_combinations_follow_the_order_of_the_cartesian_product() -> None:
    sweep = load_sweep(SMALL)
    assert sweep.n_combinations == 12
    settings = [tuple(sweep.trial_values_by_key(number).values()) for number in sweep.trial_numbers]
    assert settings == list(itertools.product(*SMALL["grid"].values()))
    config = sweep.trial_config(7).run
    assert (config.features[0].lags, config.walk_forward.train, config.policy.long_above) == ((1, 2), 250, 0.51)  # type: ignore[attr-defined]
    assert config.name == "small.7"


def test_grid_of_a_thousand_million_combinations_is_sampled_without_enumeration() -> None:
    values = [round(0.3 + step / 10_000, 4) for step in range(1000)]
    grid = {"policy.long_above": values, "model.l2": values, "execution.slippage_bps": values}
    started = time.perf_counter()
    sweep = load_sweep(small_sweep_with(grid=grid, sample=50, seed=3))
    assert sweep.n_combinations == 10**9
    assert len(set(sweep.trial_numbers)) == 50
    assert list(sweep.trial_numbers) == sorted(sweep.trial_numbers)
    assert load_sweep(small_sweep_with(grid=grid, sample=50, seed=3)).trial_numbers == sweep.trial_numbers
    assert load_sweep(small_sweep_with(grid=grid, sample=50, seed=4)).trial_numbers != sweep.trial_numbers
    assert len(list(sweep.iter_trial_configs())) == 50
    assert time.perf_counter() - started < 20
    with pytest.raises(ConfigError, match="1,000,000,000 combinations; a sweep tries at most 1,000,000"):
        load_sweep(small_sweep_with(grid=grid))


def test_sample_is_uniform_over_the_grid() -> None:
    drawn = [
        number for seed in range(200) for number in load_sweep(small_sweep_with(sample=3, seed=seed)).trial_numbers
    ]
    counts = [drawn.count(number) for number in range(12)]
    assert min(counts) > 25
    assert max(counts) < 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "grid: {modle.l2: [0]}\n", "s.yaml:5:8: modle: unknown key; did you mean model?"),
        (
            BASE + "grid:\n  model.l2: [0, -1]\n",
            "s.yaml:6:17: model.l2: needs a number of at least 0 or 'auto', found -1",
        ),
        (
            BASE + "grid:\n  policy: [{kind: treshold}]\n",
            "s.yaml:6:19: policy.kind: unknown kind 'treshold'; did you mean threshold?",
        ),
        (BASE + "grid: {model.l2: [0, 0]}\n", "s.yaml:5:22: grid.model.l2.1: duplicate value"),
        (BASE + "grid: {model.l2: 0}\n", "s.yaml:5:18: grid.model.l2: needs a list, like [a, b], found 0"),
        (BASE + "grid: {model.l2: []}\n", "grid.model.l2: needs at least one entry, found none"),
        (BASE + "grid: {features.3.lags: [[1]]}\n", "s.yaml:5:8: features.3: the list has 1 entries"),
        (BASE + "grid: {model: [{l2: 0.1}], model.l2: [0]}\n", "s.yaml:5:28: grid.model.l2: is part of model"),
        (BASE + "grid: {name: [a]}\n", "grid.name: can't be varied by a grid"),
        (BASE + "gird: {model.l2: [0]}\n", "s.yaml:5:1: gird: unknown key; did you mean grid?"),
        (BASE + "grid: {model.l2: [&a 1, *a]}\n", "the alias *a is not allowed"),
        (BASE + "grid: {model.l2: [!!python/name:os 1]}\n", "is not allowed; remove it"),
        (BASE + "grid: {model.l2: [0]}\nsample: 0\n", "s.yaml:6:9: sample: needs a number of at least 1, found 0"),
        (BASE + "grid: {model.l2: [0]}\nholdout: 1.5\n", "s.yaml:6:10: holdout: needs a number below 1"),
        (BASE + "grid: {model.l2: [0]}\nholdout: 2015-13-01\n", "s.yaml:6:10: holdout: needs"),
        ("base: nowhere.yaml\ngrid: {model.l2: [0]}\n", "s.yaml:1:7: base:"),
        ("base: [1]\ngrid: {model.l2: [0]}\n", "s.yaml:1:7: base: needs the path of a config, or a mapping"),
        ("grid: {model.l2: [0]}\n", "base: is needed, and missing"),
        (BASE + "grid: {model.l2: [0]}\nuntouched: 0.3\n", "s.yaml:6:1: untouched: renamed to holdout"),
        (
            BASE.replace("MSFT", "MSFT, MSFT") + "grid: {model.l2: [0, 1]}\n",
            "s.yaml:2:43: data.tickers: each ticker once",
        ),
    ],
)
def test_error_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        list(load_sweep(path).iter_trial_configs())
    assert message in caught.value.message
    assert len(caught.value.problems) == len(set(caught.value.problems))


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    grid = "grid:\n  modle.l2: [0]\n  features.0.lag: [[1]]\n  features.7.lags: [[1]]\n  model.tol: [0, 0, 1e-9]\n"
    path.write_text(BASE.replace("kind: sample", "kind: smaple") + grid + "sample: 0\nuntouched: 0.3\ngird: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    places = {":".join(problem.split(":")[1:4]) for problem in caught.value.problems}
    assert {
        "2:25: data.source.kind", "6:3: modle", "7:3: features.0.lag", "8:3: features.7", "9:18: grid.model.tol.1",
        "10:9: sample", "11:1: untouched", "12:1: gird",
    } <= places  # fmt: skip
    assert len(caught.value.problems) == len(set(caught.value.problems))


def test_name_replaces_that_of_the_file() -> None:
    assert load_sweep(SMALL, name="other").spec.name == "other"
    with pytest.raises(ConfigError, match="--name: name: needs 1 to 80 of"):
        load_sweep(SMALL, name="../up")


def test_every_combination_is_validated_and_each_problem_reported_once() -> None:
    grid = {"model.l2": [0.0, -1.0, -2.0], "policy.long_above": [0.4, 0.5, 7.0]}
    with pytest.raises(ConfigError) as caught:
        list(load_sweep(small_sweep_with(grid=grid)).iter_trial_configs())
    assert len(caught.value.problems) == 3


def test_base_config_is_relative_to_the_sweep_and_changed_by_settings() -> None:
    path = ROOT / "configs" / "sweeps" / "lags.yaml"
    sweep = load_sweep(path, settings=["data.end=2010-12-31"])
    assert str(sweep.trial_config(0).run.data.end) == "2010-12-31"
    with pytest.raises(ConfigError, match=r"--set: model: the grid varies model\.l2"):
        load_sweep(path, settings=["model={l2: 1}"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweep_is_valid(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(list(sweep.iter_trial_configs())) == len(sweep.trial_numbers)


def test_value_text_is_as_it_is_written() -> None:
    values = [["^GSPC"], [1], [1, 2.50], {"kind": "threshold", "long_above": 0.5}, None, True, "never"]
    assert list(map(grid_value_text, values)) == [
        "^GSPC", "[1]", "[1, 2.5]", "threshold long_above=0.5", "null", "true", "never",
    ]  # fmt: skip


def make_trials(n_trials: int, *, n_data: int, n_models: int) -> list[TrialRecord]:
    return [TrialRecord(n, {}, f"data{n % n_data}", f"model{n % n_models}", "", f"{n}") for n in range(n_trials)]


def test_trials_of_one_model_share_a_task() -> None:
    tasks = group_trials_into_tasks(make_trials(1000, n_data=2, n_models=10), workers=2)
    assert sorted(trial.number for task in tasks for trial in task) == list(range(1000))
    assert len(tasks) == 10
    assert all(len({trial.model_digest for trial in task}) == 1 for task in tasks)
    assert max(map(len, group_trials_into_tasks(make_trials(1200, n_data=1, n_models=1), workers=2))) == 500


def test_models_with_few_trials_share_a_task_of_the_same_prices() -> None:
    tasks = group_trials_into_tasks(make_trials(100, n_data=2, n_models=100), workers=2)
    assert {len(task) for task in tasks} <= {8, 2}
    assert all(len({trial.data_digest for trial in task}) == 1 for task in tasks)
