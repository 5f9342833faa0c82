"""Classifiers of scikit-learn: the processor time of a race's walk-forward against that of a loop written by hand.

python tests/benchmarks/challengers.py [--turns N] [--output DIR]

Both fit and forecast the same refits with as many threads, each fit by one of them, in turns. What is compared is the
least processor time of several turns, which hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1]))

from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.parallel import available_core_count
from quantlr.core.values import Array, Dataset, Fold
from quantlr.experiment.race import CHALLENGER_FUNCTIONS
from quantlr.model.sklearn_classifier import classifier_classes
from quantlr.model.walk_forward import walk_forward
from quantlr.pipeline.stages import dataset_from_config, load_run_prices

from benchmarks.measured import Row, parse_options, report_rows, rounded

MAX_RATIO = 1.1
CHALLENGERS: dict[str, tuple[int, dict[str, int]]] = {
    "LogisticRegression": (21, {}),
    "RandomForestClassifier": (250, {"n_estimators": 50}),
    "HistGradientBoostingClassifier": (250, {"max_iter": 50}),
}
"""By classifier, the rows between refits, and its parameters."""


def config_of(name: str) -> RunConfig:
    """Return the run on the S&P 500 sample with 6 features and a classifier."""
    refit_every, params = CHALLENGERS[name]
    return load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"], "start": "1999-01-04", "end": "2018-12-31"},
            "features": [
                {"kind": "lagged_returns", "lags": [1, 2, 3, 4, 5]},
                {"kind": "volatility", "windows": [20]},
            ],
            "walk_forward": {"train": 1000, "refit_every": refit_every},
            "model": {"kind": "sklearn", "estimator": name, "params": params},
        }
    ).run


def loop_by_hand(dataset: Dataset, folds: list[Fold], name: str) -> Array:
    """Return the probabilities of a pipeline that is fitted at every refit."""
    params = dict(CHALLENGERS[name][1])
    classifier_class = classifier_classes()[name]
    if "random_state" in classifier_class().get_params():
        params["random_state"] = 0

    def fit_and_forecast(fold: Fold) -> Array:
        rows = np.arange(fold.train.start, fold.train.stop)
        rows = rows[~np.isnan(dataset.up[rows])]
        pipeline = make_pipeline(StandardScaler(), classifier_class(**params))
        pipeline.fit(dataset.features[rows], dataset.up[rows].astype(np.int64))
        return np.asarray(pipeline.predict_proba(dataset.features[fold.test])[:, 1])

    threads = ThreadPoolExecutor(available_core_count(), initializer=threadpool_limits, initargs=(1,))
    with threadpool_limits(1), threads as pool:
        return np.concatenate(list(pool.map(fit_and_forecast, folds)))


def cpu_seconds(function: Callable[..., object], *arguments: object) -> float:
    """Return the processor time of a call, all threads included."""
    started = time.process_time()
    function(*arguments)
    return time.process_time() - started


def main() -> None:
    """Report a row for each classifier; exit status 1 where one takes more than a tenth longer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parse_options(parser)
    rows: list[Row] = []
    worst = 0.0
    for name, (refit_every, _) in CHALLENGERS.items():
        config = config_of(name)
        prices = load_run_prices(config)
        dataset = dataset_from_config(config, prices)
        spec = config.walk_forward.resolve(252)

        forecasts = walk_forward(dataset, spec, config.model)
        folds = list(forecasts.folds[0])
        np.testing.assert_allclose(forecasts.probability, loop_by_hand(dataset, folds, name), atol=1e-9)
        pairs = [
            (
                cpu_seconds(walk_forward, dataset, spec, config.model, CHALLENGER_FUNCTIONS),
                cpu_seconds(loop_by_hand, dataset, folds, name),
            )
            for _ in range(options.turns)
        ]
        times = np.array(pairs).min(axis=0)
        worst = max(worst, times[0] / times[1])
        rows.append(
            {
                "classifier": name + (", 50 trees" if CHALLENGERS[name][1] else ""),
                "refits": f"{len(folds)}, every {refit_every} rows",
                "quantlr (CPU seconds)": rounded(times[0]),
                "by hand (CPU seconds)": rounded(times[1]),
                "ratio": round(times[0] / times[1], 2),
            }
        )
    report_rows("challengers", rows, options)
    sys.exit(worst > MAX_RATIO)


if __name__ == "__main__":
    main()
