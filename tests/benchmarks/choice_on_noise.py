"""How often the test of skill rejects on noise where a walk-forward chooses among candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import numpy as np
from quantlr.core.progress import ignore_progress
from quantlr.core.values import Array
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.logistic import logit, pointwise_log_loss
from quantlr.model.selection import SelectSpec, weigh_candidates
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS
from quantlr.pipeline.selection import SharedDataset, choose_function, walk_forward_candidates
from quantlr.pipeline.stages import dataset_from_config
from quantlr.stats.clark_west import clark_west_test
from quantlr.stats.verdict import is_significant

from benchmarks.simulation import Figure, experiment_config, market_generator, proportion_figure
from benchmarks.skill_markets import noise_market

SESSIONS = 1000
OVER = {
    "features.0.lags": [[1], [1, 2], [1, 2, 3, 4, 5]],
    "model.l2": [0.0, 0.1, 1.0],
    "walk_forward.window": ["expanding", "rolling"],
}
WAYS = get_args(SelectSpec.model_fields["how"].annotation)


def choice_on_noise(series: int, seed: int, *, horizon: int = 1) -> Iterator[Figure]:
    """Yield, for each way to choose among 18 candidates, the size of the test of skill and the loss on noise.

    The markets have Student t returns with a drift. The candidates are fitted once for all ways.
    """
    spec = {"train": 250, "refit_every": 21}
    configs = {
        how: experiment_config(1, horizon=horizon, walk_forward=spec, select={"over": OVER, "how": how}) for how in WAYS
    }
    config = configs["mixture"]
    rejections, losses = Counter[str](), {how: list[float]() for how in (*WAYS, "fixed")}
    for index in range(series):
        prices = noise_market(market_generator(seed, f"choice, {horizon}", index), sessions=SESSIONS)
        dataset = dataset_from_config(config, prices)
        assert isinstance(dataset, SharedDataset)
        candidates = walk_forward_candidates(
            config.candidates(),
            dataset,
            DEFAULT_FUNCTIONS,
            sessions_per_year=252,
            workers=1,
            progress=ignore_progress,
        )
        for how, chosen in configs.items():
            choose = choose_function(chosen, dataset.entry_names, weigh_candidates, sessions_per_year=252)
            forecasts = choose(dataset, candidates)
            rejections[how] += is_significant(clark_west_test(forecasts)["p_value"])
            losses[how].append(excess_log_loss(forecasts, forecasts.log_odds))
        losses["fixed"].append(excess_log_loss(forecasts, forecasts.selection.candidates[-1].log_odds))
    for how in WAYS:
        label = f"noise, {how} of 18 candidates, h = {horizon}"
        yield proportion_figure(f"{label}: Clark-West rejects", rejections[how], series, max_rate=0.05)
    for how, values in losses.items():
        mean, error = 1e5 * float(np.mean(values)), 1e5 * float(np.std(values)) / series**0.5
        label = f"noise, {how}, h = {horizon}: log loss above the base rate's, x 100,000"
        yield Figure(label, mean, error, mean, mean, series)


def excess_log_loss(forecasts: SelectedForecasts, log_odds: Array) -> float:
    """Return the mean log loss of some log odds less that of the base rate."""
    known = ~np.isnan(forecasts.up)
    up = forecasts.up[known]
    losses = (pointwise_log_loss(z[known], up).mean() for z in (log_odds, logit(forecasts.base_rate)))
    own, base = losses
    return float(own - base)
