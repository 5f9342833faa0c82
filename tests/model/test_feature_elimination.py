"""Backward elimination against an exhaustive loop of scikit-learn pipelines."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from quantlr.core.values import Dataset
from quantlr.model.feature_elimination import EliminationStep, best_step_in_hindsight, eliminate_features
from quantlr.model.feature_worth import FeatureSet, walk_forward_each
from quantlr.model.walk_forward import walk_forward

from model.test_feature_worth import MODEL, SPLITS, sklearn_log_losses
from planted import planted_dataset

EFFECTS = [0.5, 0.0, -0.3, 0.1, 0.0]
ENTRIES = [FeatureSet("pair", (0, 3)), FeatureSet("x1", (1,)), FeatureSet("x2", (2,)), FeatureSet("x4", (4,))]


def eliminate(dataset: Dataset, entries: list[FeatureSet], **options: Any) -> tuple[EliminationStep, ...]:
    forecast = partial(walk_forward_each, split_spec=SPLITS, model=MODEL)
    unknown = dict.fromkeys(entries, 0.0)
    return eliminate_features(dataset, walk_forward(dataset, SPLITS, MODEL), unknown, forecast, **options)


def sklearn_losses(dataset: Dataset) -> dict[frozenset[str], float]:
    """Return the mean log loss of a loop of pipelines for every subset of the entries but the empty one."""
    forecasts = walk_forward(dataset, SPLITS, MODEL)
    return {
        frozenset(entry.name for entry in subset): float(
            sklearn_log_losses(dataset, forecasts, [column for entry in subset for column in entry.columns]).mean()
        )
        for size in range(1, len(ENTRIES) + 1)
        for subset in combinations(ENTRIES, size)
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_steps_are_those_of_an_exhaustive_loop_of_pipelines(seed: int) -> None:
    dataset = planted_dataset(seed, EFFECTS)
    steps = eliminate(dataset, ENTRIES, max_refits_at_once=len(ENTRIES))
    losses = sklearn_losses(dataset)
    kept = frozenset(entry.name for entry in ENTRIES)
    for step in steps[:-1]:
        assert {entry.name for entry in step.kept} == kept
        assert step.log_loss == pytest.approx(losses[kept], abs=1e-7)
        smaller = [kept - {name} for name in kept]
        kept = min(smaller, key=lambda names: losses.get(names, np.inf))
    up = dataset.up[SPLITS.train : -1]
    base_rate = walk_forward(dataset, SPLITS, MODEL).base_rate[:-1]
    assert steps[-1].kept == ()
    assert steps[-1].log_loss == pytest.approx(-np.log(np.where(up == 1, base_rate, 1 - base_rate)).mean())


def test_lazy_search_takes_the_steps_of_an_exhaustive_one_with_fewer_refits() -> None:
    """Independent features: an increase hardly depends on the others, so that most are measured once or twice."""
    dataset = planted_dataset(3, [0.6, -0.5, 0.4, 0.3, 0.0, 0.2, 0.0, -0.1])
    entries = [FeatureSet(f"x{index}", (index,)) for index in range(8)]
    n_refits = 0

    def forecast(parts: Any) -> Any:
        nonlocal n_refits
        n_refits += len(parts)
        return walk_forward_each(parts, SPLITS, MODEL)

    full = walk_forward(dataset, SPLITS, MODEL)
    exhaustive = eliminate(dataset, entries, max_refits_at_once=8)
    first = {step.removed: step.log_loss for step in exhaustive if step.removed}
    lazy = eliminate_features(dataset, full, {entry: first[entry] for entry in entries}, forecast)
    assert [step.removed for step in lazy] == [step.removed for step in exhaustive]
    assert n_refits < 8 * 9 // 2 - 1


def test_every_entry_is_removed_once_and_the_first_and_last_steps_need_no_refit() -> None:
    dataset = planted_dataset(4, [0.3])
    steps = eliminate(dataset, [FeatureSet("x0", (0,))])
    assert [len(step.kept) for step in steps] == [1, 0]
    assert [step.removed and step.removed.name for step in steps] == [None, "x0"]


def test_best_step_has_the_lowest_loss_and_of_equals_the_fewest_entries() -> None:
    entry = FeatureSet("x0", (0,))
    steps = (EliminationStep((entry, entry), None, 0.69), EliminationStep((entry,), entry, 0.68))
    last = EliminationStep((), entry, 0.68)
    assert best_step_in_hindsight((*steps, last)) is last
    assert best_step_in_hindsight(steps) is steps[1]
