"""The numbers of a run, keyed as in ``metrics.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quantlr.backtest.fills import compare_fills, is_significant_only_at_same_close
from quantlr.backtest.metrics import (
    BACKTEST_METRICS,
    FORECAST_METRICS,
    BacktestView,
    break_even_cost_bps,
    evaluate_forecasts,
    significance_metrics,
)
from quantlr.config.run_config import RunConfig
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress, iso_date
from quantlr.core.values import Forecasts, RunData
from quantlr.experiment.ledger import TrialStatistics
from quantlr.report.storage import nonfinite_to_none
from quantlr.stats.verdict import decide_verdict


def compute_metrics(
    config: RunConfig,
    run_data: RunData,
    trial_statistics: TrialStatistics | None = None,
    *,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Return the numbers of a run, keyed as in ``metrics.json``; what is undefined is None.

    `tried` are the trials that the deflated Sharpe ratio counts; None where no ledger knows, and this one counts alone.
    """
    per_year = config.report.sessions_per_year
    steps = ProgressCounter("measuring", 3 + len(FORECAST_METRICS) + 2 * len(BACKTEST_METRICS), progress)
    rows = evaluate_forecasts(run_data.forecasts, seed=config.seed)
    own = BacktestView.from_result(run_data.result, sessions_per_year=per_year, seed=config.seed)
    steps.step()
    held = BacktestView.from_result(
        run_data.result.benchmark or run_data.result, sessions_per_year=per_year, seed=config.seed
    )
    steps.step()
    prices, refits = run_data.prices, run_data.forecasts.refits
    fills = compare_fills(run_data.positions, prices, config.execution, sessions_per_year=per_year)
    steps.step()
    found = {
        "data": {
            "tickers": list(prices.tickers),
            "first": iso_date(prices.sessions[0]),
            "last": iso_date(prices.sessions[-1]),
            "sessions": len(prices.sessions),
            "sha256": prices.sha256,
        },
        "forecast": {key: metric(rows) for key, metric in steps.iter_items(FORECAST_METRICS.items())},
        "backtest": {
            "strategy": {key: metric(own) for key, metric in steps.iter_items(BACKTEST_METRICS.items())},
            "benchmark": {key: metric(held) for key, metric in steps.iter_items(BACKTEST_METRICS.items())},
            "break_even_cost_bps": break_even_cost_bps(run_data.result),
            "fills": fills,
            "only_at_the_close": is_significant_only_at_same_close(fills),
        },
        "significance": significance_metrics(own, rows, **asdict(trial_statistics or TrialStatistics(1, None))),
        "model": {
            "refits": len(refits.iterations),
            "iterations_mean": float(refits.iterations.mean()),
            "unconverged": int((~refits.converged).sum()),
            "degenerate": int(refits.degenerate.sum()),
            "condition_number": float(np.fmax.reduce(refits.condition_number)),
            "coefficients": _last_coefficients(run_data.forecasts),
        },
    }
    found["verdict"] = asdict(
        decide_verdict(
            found,
            own.gross_excess_returns,
            sessions_per_year=per_year,
            has_trial_ledger=trial_statistics is not None,
        )
    )
    return dict(nonfinite_to_none(found))


def _last_coefficients(forecasts: Forecasts) -> dict[str, dict[str, float]]:
    """Return the last refit's weights by ticker: intercept, then columns, in units of the raw features."""
    refits = forecasts.refits
    names = ("intercept", *refits.columns)
    last = {int(ticker): np.flatnonzero(refits.ticker == ticker)[-1] for ticker in np.unique(refits.ticker)}
    return {
        "pooled" if ticker < 0 else forecasts.tickers[ticker]: dict(
            zip(names, refits.coefficients[at].tolist(), strict=True)
        )
        for ticker, at in last.items()
    }
