"""The numbers of a run, keyed as in ``metrics.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quantlr.backtest.fills import compare_fills, only_at_the_close
from quantlr.backtest.inference.verdict import Evidence, verdict
from quantlr.backtest.metrics import (
    BACKTEST_METRICS,
    FORECAST_METRICS,
    Measured,
    break_even_cost_bps,
    scored,
    significance,
)
from quantlr.config import RunConfig
from quantlr.report.encoding import defined
from quantlr.trials import Tried
from quantlr.types import (
    Course,
    Forecasts,
    Progress,
    Tally,
    day,
    no_progress,
)


def metrics_of(
    config: RunConfig, course: Course, tried: Tried | None = None, *, progress: Progress = no_progress
) -> dict[str, Any]:
    """Return the numbers of a run, keyed as in ``metrics.json``; what is undefined is None.

    `tried` are the trials that the deflated Sharpe ratio counts; None where no ledger knows, and this one counts alone.
    """
    per_year = config.report.sessions_per_year
    steps = Tally("measuring", 3 + len(FORECAST_METRICS) + 2 * len(BACKTEST_METRICS), progress)
    rows = scored(course.forecasts, seed=config.seed)
    own = Measured.of(course.result, sessions_per_year=per_year, seed=config.seed)
    steps.step()
    held = Measured.of(course.result.benchmark or course.result, sessions_per_year=per_year, seed=config.seed)
    steps.step()
    prices, refits = course.prices, course.forecasts.refits
    fills = compare_fills(course.positions, prices, config.execution, sessions_per_year=per_year)
    steps.step()
    found = {
        "data": {
            "tickers": list(prices.tickers),
            "first": day(prices.sessions[0]),
            "last": day(prices.sessions[-1]),
            "sessions": len(prices.sessions),
            "sha256": prices.sha256,
        },
        "forecast": {metric.__name__: metric(rows) for metric in steps.each(FORECAST_METRICS)},
        "backtest": {
            "strategy": {metric.__name__: metric(own) for metric in steps.each(BACKTEST_METRICS)},
            "benchmark": {metric.__name__: metric(held) for metric in steps.each(BACKTEST_METRICS)},
            "break_even_cost_bps": break_even_cost_bps(course.result),
            "fills": fills,
            "only_at_the_close": only_at_the_close(fills),
        },
        "significance": significance(own, rows, **asdict(tried or Tried(1, None))),
        "model": {
            "refits": len(refits.iterations),
            "iterations_mean": float(refits.iterations.mean()),
            "unconverged": int((~refits.converged).sum()),
            "degenerate": int(refits.degenerate.sum()),
            "condition_number": float(np.fmax.reduce(refits.condition)),
            "coefficients": _last_coefficients(course.forecasts),
        },
    }
    found["verdict"] = asdict(
        verdict(Evidence.of(found, own.gross_excess, per_year=per_year, counted=tried is not None))
    )
    return dict(defined(found))


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
