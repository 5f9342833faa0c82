"""What a sweep's file says: counted by arithmetic, and every error with its place."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.errors import ConfigError
from quantlr.sweeps.grid import grid_value_text, load_sweep
from quantlr.sweeps.jobs import TrialJob, group_jobs

from sweep.killers import SMALL

ROOT = Path(__file__).parents[2]
BASE = "base:\n  data: {source: {kind: sample}, tickers: [MSFT]}\n  features:\n    - {kind: lagged_returns}\n"


def changed(**keys: Any) -> dict[str, Any]:
    return {**SMALL, **keys}


def test_combinations_are_those_of_the_product_in_its_order() -> None:
    sweep = load_sweep(SMALL)
    assert sweep.n_combinations == 12
    found = [tuple(sweep.trial_values(number).values()) for number in sweep.trial_numbers]
    assert found == list(itertools.product(*SMALL["grid"].values()))
    config = sweep.trial_config(7).run
    assert (config.features[0].lags, config.walk_forward.train, config.policy.long_above) == ((1, 2), 250, 0.51)  # type: ignore[attr-defined]
    assert config.name == "small.7"


def test_a_thousand_million_are_counted_and_sampled_at_once() -> None:
    values = [round(0.3 + at / 10_000, 4) for at in range(1000)]
    grid = {"policy.long_above": values, "model.l2": values, "execution.slippage_bps": values}
    started = time.perf_counter()
    sweep = load_sweep(changed(grid=grid, sample=50, seed=3))
    assert sweep.n_combinations == 10**9
    assert len(set(sweep.trial_numbers)) == 50
    assert list(sweep.trial_numbers) == sorted(sweep.trial_numbers)
    assert load_sweep(changed(grid=grid, sample=50, seed=3)).trial_numbers == sweep.trial_numbers
    assert load_sweep(changed(grid=grid, sample=50, seed=4)).trial_numbers != sweep.trial_numbers
    assert len(list(sweep.iter_trial_configs())) == 50
    assert time.perf_counter() - started < 20
    with pytest.raises(ConfigError, match="1,000,000,000 combinations; a sweep tries at most 1,000,000"):
        load_sweep(changed(grid=grid))


def test_a_sample_is_uniform_over_the_grid() -> None:
    seen = [number for seed in range(200) for number in load_sweep(changed(sample=3, seed=seed)).trial_numbers]
    counts = [seen.count(number) for number in range(12)]
    assert min(counts) > 25
    assert max(counts) < 80


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE + "grid: {modle.l2: [0]}\n", "s.yaml:5:8: modle: unknown key; did you mean model?"),
        (BASE + "grid:\n  model.l2: [0, -1]\n", "s.yaml:6:17: model.l2: needs a number of at least 0, found -1"),
        (
            BASE + "grid:\n  policy: [{kind: treshold}]\n",
            "s.yaml:6:19: policy.kind: unknown kind 'treshold'; did you mean threshold?",
        ),
        (BASE + "grid: {model.l2: [0, 0]}\n", "s.yaml:5:22: grid.model.l2.1: the value is there already"),
        (BASE + "grid: {model.l2: 0}\n", "s.yaml:5:18: grid.model.l2: needs a list, like [a, b], found 0"),
        (BASE + "grid: {model.l2: []}\n", "grid.model.l2: needs at least one entry, found none"),
        (BASE + "grid: {features.3.lags: [[1]]}\n", "s.yaml:5:8: features.3: the list has 1 entries"),
        (BASE + "grid: {model: [{l2: 0.1}], model.l2: [0]}\n", "s.yaml:5:28: grid.model.l2: lies within model"),
        (BASE + "grid: {name: [a]}\n", "grid.name: is nothing that can be tried"),
        (BASE + "gird: {model.l2: [0]}\n", "s.yaml:5:1: gird: unknown key; did you mean grid?"),
        (BASE + "grid: {model.l2: [&a 1, *a]}\n", "the alias *a is not allowed"),
        (BASE + "grid: {model.l2: [!!python/name:os 1]}\n", "is not allowed; remove it"),
        (BASE + "grid: {model.l2: [0]}\nsample: 0\n", "s.yaml:6:9: sample: needs a number of at least 1, found 0"),
        (BASE + "grid: {model.l2: [0]}\nholdout: 1.5\n", "s.yaml:6:10: holdout: needs a number below 1"),
        (BASE + "grid: {model.l2: [0]}\nholdout: 2015-13-01\n", "s.yaml:6:10: holdout: needs"),
        ("base: nowhere.yaml\ngrid: {model.l2: [0]}\n", "s.yaml:1:7: base:"),
        ("base: [1]\ngrid: {model.l2: [0]}\n", "s.yaml:1:7: base: needs the path of a config, or a mapping"),
        ("grid: {model.l2: [0]}\n", "base: is needed, and missing"),
        (
            BASE.replace("MSFT", "MSFT, MSFT") + "grid: {model.l2: [0, 1]}\n",
            "s.yaml:2:43: data.tickers: each ticker once",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        list(load_sweep(path).iter_trial_configs())
    assert said in caught.value.message
    assert len(caught.value.problems) == len(set(caught.value.problems))


def test_every_combination_is_checked_and_each_problem_told_once() -> None:
    grid = {"model.l2": [0.0, -1.0, -2.0], "policy.long_above": [0.4, 0.5, 7.0]}
    with pytest.raises(ConfigError) as caught:
        list(load_sweep(changed(grid=grid)).iter_trial_configs())
    assert len(caught.value.problems) == 3


def test_the_base_is_found_beside_the_sweep_and_changed_by_settings() -> None:
    path = ROOT / "configs" / "sweeps" / "lags.yaml"
    sweep = load_sweep(path, settings=["data.end=2010-12-31"])
    assert str(sweep.trial_config(0).run.data.end) == "2010-12-31"
    with pytest.raises(ConfigError, match=r"--set: model: the grid varies model\.l2"):
        load_sweep(path, settings=["model={l2: 1}"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps_can_be_run(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(list(sweep.iter_trial_configs())) == len(sweep.trial_numbers)


def test_values_are_named_as_they_are_written() -> None:
    values = [["^GSPC"], [1], [1, 2.50], {"kind": "threshold", "long_above": 0.5}, None, True, "never"]
    assert list(map(grid_value_text, values)) == [
        "^GSPC", "[1]", "[1, 2.5]", "threshold long_above=0.5", "null", "true", "never",
    ]  # fmt: skip


def test_jobs_of_one_model_stay_together_and_small_ones_share_a_task() -> None:
    jobs = [TrialJob(at, f"k{at}", f"d{at % 2}", f"m{at % 10}") for at in range(1000)]
    tasks = group_jobs(jobs, workers=2)
    assert sorted(job.trial_number for task in tasks for job in task) == list(range(1000))
    assert len(tasks) == 10
    assert all(len({job.model_digest for job in task}) == 1 for task in tasks)
    single = group_jobs([TrialJob(at, f"k{at}", "d", f"m{at}") for at in range(100)], workers=2)
    assert {len(task) for task in single} <= {8, 4}
    assert all(len({job.data_digest for job in task}) == 1 for task in tasks)
    assert (
        max(len(task) for task in group_jobs([TrialJob(at, f"{at}", "d", "m") for at in range(1200)], workers=2)) == 500
    )
