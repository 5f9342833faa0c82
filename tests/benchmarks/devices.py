"""What each device of the batched fit earns: the time of a walk-forward without it, relative to that with all.

python tests/benchmarks/devices.py [--tickers N] [--repeats N]

Every variant is run in turns, and the shortest CPU time of each is compared. Weights of all variants agree to 1e-6 of a
standard error or better, as each device only changes how fast they are reached.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from quantlr.core.values import Dataset
from quantlr.model.batched.loss import BatchedLoss
from quantlr.model.config import LogisticRegression
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import walk_forward

from benchmarks.jobs import made_up_panel, sp500

FIT = "quantlr.model.batched.fit"
VARIANTS: dict[str, dict[str, Any]] = {
    "with all devices": {},
    "double precision only": {"quantlr.model.batched.loss.BatchedLoss.with_float32_rows": None},
    "without Anderson acceleration": {f"{FIT}.MAX_ANDERSON_COEFFICIENT": 0.0},
    "one model at a time": {"quantlr.model.walk_forward.MAX_MODELS_PER_BATCH": 1},
    "one refit at a time": {f"{FIT}.MAX_REFITS_PER_CHUNK": 1},
}


def _keep_double_precision(loss: BatchedLoss, expected_theta: Any, *, tol: float) -> BatchedLoss:
    from dataclasses import replace

    return replace(loss, float32_rows=(None,) * len(loss.row_factories), tol=tol)


@contextmanager
def variant(changes: dict[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in changes.items():
            stack.enter_context(patch(name, _keep_double_precision if value is None else value))
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=60, help="tickers of the made-up panel")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jobs: dict[str, tuple[Dataset, WalkForwardSpec]] = {
        "S&P 500, a refit a day, expanding": (sp500(), WalkForwardSpec(refit_every=1)),
        "S&P 500, a refit a day, rolling": (sp500(), WalkForwardSpec(refit_every=1, window="rolling")),
        f"{options.tickers} tickers, a refit a month": (made_up_panel(tickers=options.tickers), WalkForwardSpec()),
    }
    for title, (dataset, spec) in jobs.items():
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        weights = {}
        for _ in range(options.repeats):
            for name, changes in VARIANTS.items():
                with variant(changes):
                    start = time.process_time()
                    forecasts = walk_forward(dataset, spec, LogisticRegression())
                    seconds[name].append(time.process_time() - start)
                weights[name] = forecasts.probability
        best = {name: min(values) for name, values in seconds.items()}
        first = next(iter(best))
        print(f"{title}: {best[first]:.3f} s")
        for name, value in best.items():
            error = float(np.abs(weights[name] - weights[first]).max())
            print(f"  {name:32}{value / best[first]:>6.2f} times   largest difference of a probability {error:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
