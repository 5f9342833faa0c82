"""Whether the numbers mean what they say, on markets whose truth is known.

python tests/benchmarks/calibration.py [--series N] [--seed N] [--only PART]... [--output DIR]

Noise: how often the test of skill, and the verdict, claim skill where there is none. Planted edges: whether the known
accuracy, Sharpe ratio and weight are found. Coverage: how often a 95 % interval holds the truth. Luck: what the best of
a hundred strategies without skill shows, and what the deflated Sharpe ratio says of it. Each figure has the bounds that
chance alone would keep it to in all but one of a thousand cases, by the binomial distribution, and what it means to be
outside. It prints a table and writes calibration.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from quantlr.backtest import metrics
from quantlr.backtest.metrics import EvaluatedForecasts
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.arrays import Array
from quantlr.core.values import Prices
from quantlr.experiment.evaluate import compute_metrics
from quantlr.pipeline.stages import dataset_from_config, run_stages
from quantlr.stats.directional import pesaran_timmermann_test
from quantlr.stats.sharpe import bootstrap_sharpe_interval, deflated_sharpe, sharpe_per_session
from scipy import stats

from markets import from_log_returns

RARE = 1e-3
"""Chance that a figure leaves its bounds though all is well."""
SESSIONS = 1000
PHI = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """What was found, beside what chance would keep it to.

    Attributes
    ----------
    what : in words.
    found, low, high : the figure and its bounds.
    series : markets behind it.
    seconds : that it took.
    """

    what: str
    found: float
    low: float
    high: float
    series: int
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        """Whether it is inside."""
        return self.low <= self.found <= self.high


def share(what: str, hits: int, of: int, *, least: float = 0.0, most: float = 1.0) -> Figure:
    """Return a share with the bounds of a binomial whose chance lies between `least` and `most`."""
    low = float(stats.binom.ppf(RARE, of, least)) / of if least > 0 else 0.0
    high = float(stats.binom.ppf(1 - RARE, of, most)) / of if most < 1 else 1.0
    return Figure(what, float(hits) / of, low, high, of)


def near(what: str, found: float, truth: float, error: float, *, series: int, short: float = 0.0) -> Figure:
    """Return a mean with normal bounds; `short` is how much less an estimated model may reach."""
    reach = float(stats.norm.ppf(1 - RARE)) * float(error)
    return Figure(what, float(found), float(truth) - short - reach, float(truth) + reach, series)


def experiment(tickers: int, *, horizon: int = 1, lags: int = 5, **sections: Any) -> RunConfig:
    """Return a config that trades made-up tickers long and short."""
    return load_config(
        {
            "data": {"source": {"kind": "sample"}, "tickers": [f"T{at}" for at in range(tickers)]},
            "features": [{"kind": "lagged_returns", "lags": list(range(1, lags + 1))}],
            "label": {"horizon": horizon},
            "policy": {"short_below": 0.5},
            **{"walk_forward": {"train": 250, "refit_every": 125}} | sections,
        }
    ).run


def noise(rng: np.random.Generator, tickers: int, *, sessions: int, drift: float) -> Prices:
    """Return prices that can't be forecast: fat tails, a drift per session, tickers correlated by .4."""
    common, own = rng.standard_t(4, (sessions, 1)), rng.standard_t(4, (sessions, tickers))
    mixed = own if tickers == 1 else np.sqrt(0.4) * common + np.sqrt(0.6) * own
    return from_log_returns(drift + 0.008 * mixed)


def independent_calls(series: int, seed: int) -> Iterator[Figure]:
    """Yield how often calls that learn from nothing are taken for skill: up on 80 % of days that rise on 54 %."""
    rejected = 0
    for at in range(10 * series):
        rng = np.random.default_rng([seed, at])
        test = pesaran_timmermann_test(rng.random(500) < 0.8, (rng.random(500) < 0.54).astype(np.float64))
        rejected += test is not None and test["p_value"] < 0.05
    yield share("calls by a coin: Pesaran-Timmermann rejects", rejected, 10 * series, least=0.05, most=0.05)


def claims(
    series: int,
    seed: int,
    *,
    tickers: int = 1,
    horizon: int = 1,
    sessions: int = SESSIONS,
    drift: float = 0.0,
    least: float = 0.0,
    **changes: Any,
) -> Iterator[Figure]:
    """Yield how often skill is found in noise: by the test, and by the verdict as a whole.

    A model that walks forward is a little worse than a coin: after more ups than there are on the whole it expects ups,
    and fewer are left. Its AUC is centred below 1/2, and the test of its calls rejects a little less often than 5 %:
    the less, the shorter the history and the fewer the features.
    """
    config = experiment(tickers, horizon=horizon, **changes)
    rejected = claimed = 0
    for at in range(series):
        rng = np.random.default_rng([seed, tickers, horizon, at])
        course = run_stages(config, noise(rng, tickers, sessions=sessions, drift=drift))
        test = metrics.pesaran_timmermann(metrics.evaluate_forecasts(course.forecasts))
        if test and test["p_value"] < 0.05:
            rejected += 1
            claimed += compute_metrics(config, course)["verdict"]["rule"] != "no_evidence_of_skill"
    where = f"{'drifting ' * (drift > 0)}noise of {sessions:,}, h = {horizon}, {tickers} ticker{'s'[: tickers > 1]}"
    yield share(f"{where}: Pesaran-Timmermann rejects", rejected, series, least=least, most=0.05)
    yield share(f"{where}: the verdict claims skill", claimed, series, most=0.05)


def autoregression(rng: np.random.Generator, sessions: int, *, phi: float = PHI) -> Array:
    """Return a Gaussian AR(1) of unit variance."""
    shocks = rng.normal(size=sessions) * np.sqrt(1 - phi**2)
    shocks[0] /= np.sqrt(1 - phi**2)
    values = np.empty(sessions)
    last = 0.0
    for at, shock in enumerate(shocks.tolist()):
        last = values[at] = phi * last + shock
    return values


def planted_autoregression(series: int, seed: int) -> Iterator[Figure]:
    """Yield the accuracy and the Sharpe ratio of the model on AR(1) markets, all sessions together.

    The ideal forecast is right with a chance of 1/2 + asin(phi) / pi; its sign strategy earns m / sqrt(1 - m^2) a
    session, m = phi sqrt(2 / pi). A model that has to learn phi from 4,000 rows reaches a little less.
    """
    free = {"fill": "close", "commission_bps": 0, "slippage_bps": 0, "borrow_bps_per_year": 0}
    config = experiment(1, lags=1, execution=free, walk_forward={"train": 4000, "refit_every": 2000})
    hits, returns = [], []
    for at in range(series):
        rng = np.random.default_rng([seed, at])
        course = run_stages(config, from_log_returns(1e-4 * autoregression(rng, 10_000)[:, None]))
        hits.append(metrics.evaluate_forecasts(course.forecasts).hits)
        returns.append(course.result.gross_return)
    right, earned = np.concatenate(hits), np.concatenate(returns)
    chance, mean = 0.5 + np.arcsin(PHI) / np.pi, PHI * np.sqrt(2 / np.pi)
    ratio = sharpe_per_session(earned) or 0.0
    yield near("AR(1) of .1: accuracy", float(right.mean()), chance, np.sqrt(0.25 / len(right)), series=series,
               short=0.003)  # fmt: skip
    yield near("AR(1) of .1: Sharpe ratio a session", ratio, mean / np.sqrt(1 - mean**2), 1 / np.sqrt(len(earned)),
               series=series, short=0.006)  # fmt: skip


def planted_weight(series: int, seed: int) -> Iterator[Figure]:
    """Yield how often a planted weight lies within 1.96 of its standard errors from the one that is fitted.

    Signs are drawn by a logit of the last return, magnitudes independently.
    """
    intercept, weight, train = 0.1, 20.0, 1500
    config = experiment(1, lags=1, walk_forward={"train": train, "refit_every": "never"})
    held, scores = 0, []
    for at in range(series):
        rng = np.random.default_rng([seed, at])
        size = 0.02 * np.abs(rng.normal(size=train + 20))
        draw = rng.random(len(size))
        returns = np.empty(len(size))
        last = 0.0
        for session in range(len(size)):
            up = draw[session] < 1 / (1 + np.exp(-intercept - weight * last))
            last = returns[session] = size[session] if up else -size[session]
        prices = from_log_returns(returns[:, None])
        course = run_stages(config, prices)
        fitted = course.forecasts.refits.coefficients[-1]
        X = np.column_stack([np.ones(train), dataset_from_config(config, prices).features[:train]])
        chance = 1 / (1 + np.exp(-X @ fitted))
        error = np.sqrt(np.linalg.inv(X.T @ (X * (chance * (1 - chance))[:, None]))[1, 1])
        scores.append((fitted[1] - weight) / error)
        held += abs(scores[-1]) < 1.959964
    yield share("planted logit: weight within 1.96 standard errors", held, series, least=0.95, most=0.95)
    yield near("planted logit: mean of (fitted - planted) / error", float(np.mean(scores)), 0.0, series**-0.5,
               series=series)  # fmt: skip


def ideal(
    rng: np.random.Generator, *, tickers: int, horizon: int, sessions: int = SESSIONS
) -> tuple[EvaluatedForecasts, float]:
    """Return forecasts by the last return of Gaussian AR(1) markets, and its correlation with what is forecast.

    Tickers move together: their correlation is .4.
    """
    together = autoregression(rng, sessions + horizon)
    rows = []
    for _ in range(tickers):
        own = autoregression(rng, sessions + horizon)
        rows.append(own if tickers == 1 else np.sqrt(0.4) * together + np.sqrt(0.6) * own)
    returns = np.array(rows)
    total = np.concatenate([np.zeros((tickers, 1)), np.cumsum(returns, axis=1)], axis=1)
    ahead = total[:, 1 + horizon :] - total[:, 1:-horizon]
    last = returns[:, :-horizon]
    lags = np.arange(1, horizon)
    variance = horizon + 2 * float((horizon - lags) @ PHI**lags)
    correlation = PHI * (1 - PHI**horizon) / (1 - PHI) / np.sqrt(variance)
    log_odds = last.ravel() * 0.1
    forecasts = EvaluatedForecasts(
        log_odds=log_odds,
        probability=1 / (1 + np.exp(-log_odds)),
        up=(ahead.ravel() > 0).astype(np.float64),
        base_rate=np.full(log_odds.size, 0.5),
        ticker=np.repeat(np.arange(tickers), sessions),
        session=np.tile(np.arange(sessions), tickers),
        is_clustered=tickers > 1 or horizon > 1,
        horizon=horizon,
    )
    return forecasts, correlation


def covered(series: int, seed: int, *, tickers: int, horizon: int, least: float) -> Iterator[Figure]:
    """Yield how often the intervals of accuracy and AUC hold the truth.

    With r the correlation of score and outcome, both Gaussian: accuracy 1/2 + asin(r) / pi, and AUC 1/2 +
    2 asin(r / sqrt 2) / pi, by the probability that three correlated Gaussians are all positive.
    """
    right = ranked = 0
    for at in range(series):
        rows, r = ideal(np.random.default_rng([seed, tickers, horizon, at]), tickers=tickers, horizon=horizon)
        right += _holds(metrics.accuracy_ci95(rows), 0.5 + np.arcsin(r) / np.pi)
        ranked += _holds(metrics.auc_ci95(rows), 0.5 + 2 * np.arcsin(r / np.sqrt(2)) / np.pi)
    where = f"h = {horizon}, {tickers} ticker{'s'[: tickers > 1]}"
    yield share(f"{where}: accuracy's interval holds the truth", right, series, least=least)
    yield share(f"{where}: AUC's interval holds the truth", ranked, series, least=least)


def covered_sharpe(series: int, seed: int, *, what: str, draw: Callable[[np.random.Generator], Array], truth: float,
                   least: float) -> Iterator[Figure]:  # fmt: skip
    """Yield how often the interval of the Sharpe ratio holds the truth."""
    held = 0
    for at in range(series):
        rng = np.random.default_rng([seed, at])
        held += _holds(bootstrap_sharpe_interval(draw(rng), rng), truth)
    yield share(f"{what}: Sharpe ratio's interval holds the truth", held, series, least=least)


def _holds(interval: tuple[float, float] | None, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


def _fat_tails(rng: np.random.Generator) -> Array:
    return np.asarray(0.06 + rng.standard_t(5, SESSIONS) / np.sqrt(5 / 3))


def _calm_and_wild(rng: np.random.Generator) -> Array:
    """Return shocks whose size follows a GARCH(1, 1)."""
    shocks, values, variance = rng.normal(size=SESSIONS), np.empty(SESSIONS), 1.0
    for at in range(SESSIONS):
        values[at] = np.sqrt(variance) * shocks[at]
        variance = 0.05 + 0.1 * values[at] ** 2 + 0.85 * variance
    return 0.06 + values


def _autocorrelated(rng: np.random.Generator) -> Array:
    return 0.06 + autoregression(rng, SESSIONS, phi=0.2)


def luck(series: int, seed: int) -> Iterator[Figure]:
    """Yield what the best of 100 strategies without skill shows over five years, and how often it passes as skill.

    Of 100 normal values the largest has a mean of 2.508 and a standard deviation of .43.
    """
    trials, sessions = 100, 1260
    shown, passed = [], 0
    for at in range(series):
        returns = np.random.default_rng([seed, at]).normal(0, 0.01, (trials, sessions))
        ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        best = int(ratios.argmax())
        shown.append(ratios[best] * np.sqrt(252))
        deflated = deflated_sharpe(returns[best], n_trials=trials, sharpe_variance=float(ratios.var(ddof=1)))
        passed += deflated is not None and deflated >= 0.95
    yield near("best of 100 without skill: annual Sharpe ratio", float(np.mean(shown)), 2.508 / np.sqrt(5),
               0.43 / np.sqrt(5 * series), series=series)  # fmt: skip
    yield share("best of 100 without skill: deflated Sharpe ratio of .95", passed, series, most=0.05)


Part = Callable[[int, int], Iterator[Figure]]
NEARLY = 0.93
"""Coverage that is asked of a percentile bootstrap of a thousand sessions: it is known to fall a little short."""
MEAN = PHI * np.sqrt(2 / np.pi)

PARTS: dict[str, Part] = {
    "coin": independent_calls,
    "noise": partial(claims, sessions=3500, lags=10, walk_forward={"train": 1000, "refit_every": 21}, least=0.05),
    "noise, short": claims,
    "noise that drifts": partial(claims, drift=0.0004),
    "noise, a week": partial(claims, horizon=5),
    "noise, a month": partial(claims, horizon=21),
    "noise, ten tickers": partial(claims, tickers=10),
    "autoregression": planted_autoregression,
    "weight": planted_weight,
    "coverage": partial(covered, tickers=1, horizon=1, least=0.95),
    "coverage, a week": partial(covered, tickers=1, horizon=5, least=NEARLY),
    "coverage, a month": partial(covered, tickers=1, horizon=21, least=NEARLY),
    "coverage, ten tickers": partial(covered, tickers=10, horizon=1, least=NEARLY),
    "coverage, fat tails": partial(covered_sharpe, what="fat tails", draw=_fat_tails, truth=0.06, least=NEARLY),
    "coverage, GARCH": partial(covered_sharpe, what="GARCH", draw=_calm_and_wild, truth=0.06, least=NEARLY),
    "coverage, AR(1)": partial(covered_sharpe, what="AR(1) of .2", draw=_autocorrelated, truth=0.06, least=NEARLY),
    "luck": luck,
}
FEWER = {"autoregression": 20}
"""Parts whose series are longer take one of so many."""


def calibrated(*, series: int, seed: int, parts: dict[str, Part] | None = None) -> Iterator[Figure]:
    """Yield every figure."""
    for name, part in (parts or PARTS).items():
        started = time.perf_counter()
        figures = list(part(max(series // FEWER.get(name, 1), 1), seed))
        for figure in figures:
            yield Figure(**asdict(figure) | {"seconds": (time.perf_counter() - started) / len(figures)})


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether the numbers mean what they say, on known truth.")
    parser.add_argument("--series", type=int, default=1000, metavar="N", help="markets of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only this part; may be repeated")
    parser.add_argument("--output", default="reports/benchmarks", metavar="DIR", help="where to write (%(default)s)")
    options = parser.parse_args()
    parts = {name: PARTS[name] for name in options.only or PARTS}
    figures = []
    print(f"{'':66} {'found':>8}  {'bounds':>16}  {'series':>6}")
    for figure in calibrated(series=options.series, seed=options.seed, parts=parts):
        figures.append(figure)
        bounds = f"{figure.low:.4f} to {figure.high:.4f}"
        failed = "" if figure.met else "   OUTSIDE"
        print(f"{figure.what:66} {figure.found:8.4f}  {bounds:>16}  {figure.series:6,}{failed}", flush=True)
    target = Path(options.output) / "calibration.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    written = [asdict(figure) | {"met": figure.met} for figure in figures]
    target.write_text(json.dumps({"seed": options.seed, "figures": written}, indent=2) + "\n")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
