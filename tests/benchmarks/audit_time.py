"""Time of audits: of a run's own components at a sample of sessions, and of `quantlr audit` at every boundary.

python tests/benchmarks/audit_time.py [--quick] [--output DIR]

A run audits components from outside the catalogue. Their audit is timed on one index and on a panel, as CPU time beyond
that of the same run without them, for a feature of one pandas expression. `quantlr audit` is timed on
configs/feature_zoo.yaml, which has every feature. Times are CPU seconds, the least of three (--quick: one).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import quantlr
from quantlr.audits.user_components import audit_user_inputs
from quantlr.config.run_config import load_config
from quantlr.core.values import FeatureColumns, Prices

from benchmarks.measured import Row, parse_options, report_rows, rounded
from markets import random_walk_prices
from user_components import SMALL

CONFIGS = Path(__file__).parents[2] / "configs"


class MeanReturn(quantlr.Feature):
    """The mean of the last five returns."""

    kind: Literal["mean_return"] = "mean_return"

    def compute(self, prices: Prices) -> FeatureColumns:
        """One column."""
        close = pd.DataFrame(prices.close)
        return {"mean_return": (close / close.shift() - 1.0).rolling(5).mean().to_numpy()}

    def warm_up(self) -> int:
        """Of five returns."""
        return 5


def least_cpu_seconds(call: Callable[[], object], *, repeats: int) -> float:
    """Return the least CPU time of some calls, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return float(np.min(seconds))


def main() -> None:
    """Report a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat, and no audit of every boundary")
    options, seconds = parse_options(parser), {}
    repeats = 1 if options.quick else 3
    config = load_config({**SMALL, "features": [MeanReturn()]}).run
    for n_sessions, n_tickers in ((5000, 1), (2500, 60)):
        prices = random_walk_prices(1, n_sessions=n_sessions, n_tickers=n_tickers)
        size = f"{n_sessions:,} sessions of {n_tickers} ticker{'s'[: n_tickers > 1]}"
        label = f"a run's audit of one's own feature, {size}"
        seconds[label] = least_cpu_seconds(partial(audit_user_inputs, config, prices), repeats=repeats)
    if not options.quick:
        seconds["`quantlr audit configs/feature_zoo.yaml`"] = least_cpu_seconds(
            lambda: quantlr.audit(CONFIGS / "feature_zoo.yaml"), repeats=1
        )
    rows: list[Row] = [{"audit": label, "CPU seconds": rounded(value)} for label, value in seconds.items()]
    report_rows("audit_time", rows, options)


if __name__ == "__main__":
    main()
