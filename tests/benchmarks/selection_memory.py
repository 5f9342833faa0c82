"""Peak memory of a selection among 24 candidates over 500 tickers, beside that of one candidate.

python tests/benchmarks/selection_memory.py [--output DIR]

Each is run in a process of its own, whose largest resident size is read.
"""

from __future__ import annotations

import argparse
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from quantlr.config.run_config import load_config
from quantlr.pipeline.stages import load_run_prices, run_stages

from benchmarks.measured import Row, parse_options, report_rows

TICKERS, SESSIONS = 500, 1500
CANDIDATES = {
    "features.0.lags": [[1], [1, 2], [1, 2, 3, 4, 5]],
    "model.l2": [0.001, 0.01, 0.1, 1.0],
    "walk_forward.window": ["expanding", "rolling"],
}


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def memory_row(n_candidates: int) -> Row:
    """Return the peak memory after the prices were read and after the backtest, for random walks."""
    returns = np.random.default_rng(0).normal(0.0, 0.01, (SESSIONS, TICKERS))
    dates = pd.bdate_range("2010-01-04", periods=SESSIONS)
    close = pd.DataFrame(100.0 * np.exp(returns.cumsum(axis=0)), dates, [f"T{index:03}" for index in range(TICKERS)])
    config = load_config(
        {
            "features": [{"kind": "lagged_returns", "lags": [1, 2, 3, 4, 5]}, {"kind": "volatility", "windows": [20]}],
            "walk_forward": {"train": 500, "refit_every": 500},
            "model": {"kind": "logistic_regression", "l2": 0.01},
            **({"select": {"over": CANDIDATES}} if n_candidates > 1 else {}),
        },
        data=close,
    ).run
    prices = load_run_prices(config)
    before = peak_megabytes()
    forecasts = run_stages(config, prices).forecasts
    return {
        "candidates": n_candidates,
        "with the prices (MB)": round(before),
        "at most (MB)": round(peak_megabytes()),
        "of it the candidates' forecasts (MB)": round(n_candidates * forecasts.log_odds.nbytes / 2**20),
    }


def main() -> None:
    """Report a row for one candidate and one for 24."""
    options = parse_options(argparse.ArgumentParser(description=__doc__.partition("\n")[0]))
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        report_rows("selection_memory", list(pool.map(memory_row, (1, 24))), options)


if __name__ == "__main__":
    main()
