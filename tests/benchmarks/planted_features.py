"""How often `quantlr worth` finds features that have an effect, and features that have none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from quantlr.model.config import LogisticRegression
from quantlr.model.feature_worth import feature_sets, measure_feature_worth, walk_forward_each
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward
from quantlr.stats.verdict import is_significant

from benchmarks.simulation import Figure, proportion_figure
from planted import planted_dataset

SPLITS = WalkForwardSpec(train=300, refit_every=100)
EFFECTS = {"two planted features of five": (0.2, 0.0, 0.0, -0.2, 0.0), "five noise features": (0.0,) * 5}
"""Effects on the log odds, for a feature of unit variance, by the label of the datasets."""


def worth_rejections(series: int, seed: int) -> Iterator[Figure]:
    """Yield how often planted and noise features are significant after Holm's adjustment, among 700 forecasts each.

    The rate of false discoveries is the mean, over the datasets, of the part of the significant features without an
    effect; 0 where none is significant.
    """
    for label, effects in EFFECTS.items():
        found = np.array([_significant_features(effects, seed=series * seed + index) for index in range(series)])
        has_effect = np.array(effects) != 0
        n_false = found[:, ~has_effect].sum(axis=1)
        false_part = n_false / np.maximum(found.sum(axis=1), 1)
        error = float(false_part.std(ddof=1)) / series**0.5
        n_markets_with_false = int((n_false > 0).sum())
        yield proportion_figure(f"{label}: one without effect is found", n_markets_with_false, series, max_rate=0.05)
        if has_effect.any():
            rate = float(false_part.mean())
            yield Figure(f"{label}: false discoveries", rate, error, 0.0, 0.05 + 3 * error, series)
            n_found = int(found[:, has_effect].sum())
            yield proportion_figure(f"{label}: a planted one is found", n_found, series * int(has_effect.sum()))


def _significant_features(effects: tuple[float, ...], *, seed: int) -> list[bool]:
    """Return whether each feature of a dataset is significant by `quantlr worth`."""
    dataset, model = planted_dataset(seed, list(effects)), LogisticRegression()
    sets = feature_sets({name: [name] for name in dataset.columns}, dataset)
    worth = measure_feature_worth(
        dataset, walk_forward(dataset, SPLITS, model), sets, lambda parts: walk_forward_each(parts, SPLITS, model)
    )
    return [is_significant(item.adjusted_p_value) for item in worth.sets]
