"""From probabilities to returns: calibration, decisions and their execution, each by itself.

What goes into each is the run's own up to the cut, number for number, and something else after it. What comes out up
to the cut is then the same number, however near a probability is to a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from quantlr.audit.findings import SAME_PROBABILITY, Cut, Findings, sized
from quantlr.audit.walks import BEYOND, TIGHT
from quantlr.config import RunConfig
from quantlr.errors import DataError
from quantlr.model.calibration import Calibration
from quantlr.model.journey import Journey, Steps
from quantlr.model.logistic import sigmoid
from quantlr.model.specs import LogisticRegression
from quantlr.pipeline import Outlook, Stages, known_to, positions_of
from quantlr.types import Array, BacktestResult, BoolArray, Folds, Forecasts, IntArray, Prices, day

ANSWERS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "other probabilities": lambda log_odds, rng: rng.normal(0.0, 0.5, log_odds.shape),
    "all likely": lambda log_odds, rng: np.full_like(log_odds, 5.0),
    "all unlikely": lambda log_odds, rng: np.full_like(log_odds, -5.0),
}
"""Log odds of the forecasts after a cut."""
DECISIONS = "other decisions"
HELD = ("weight", "ticker_cost", "cash_return", "cost", "exposure", "turnover")
"""What is booked for a session, but settled when it begins."""
EARNED = ("ticker_gross", "gross_return", "net_return", "equity")
"""What is booked for a session when it ends."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a calibration was made from: all forecasts of one model."""

    log_odds: Array
    up: Array
    folds: tuple[Folds, ...]
    model: LogisticRegression


class Recorder:
    """Calibrates as a run does, and keeps what each calibration was made from, model after model."""

    def __init__(self, steps: Steps) -> None:
        self._calibrate = steps.calibrate
        self.seen: list[Material] = []

    def __call__(self, log_odds: Array, up: Array, folds: tuple[Folds, ...], model: LogisticRegression) -> Calibration:
        """Return the calibration, and keep what it was made from."""
        self.seen.append(Material(log_odds, up, folds, model))
        return self._calibrate(log_odds, up, folds, model)


def known_at(run: Outlook) -> IntArray:
    """Return the session at whose close the outcome of each forecast is known, (forecasts,)."""
    dataset, forecasts = run.dataset, run.forecasts
    every = len(dataset.sessions) + 1
    row = np.searchsorted(dataset.ticker * every + dataset.session, forecasts.ticker * every + forecasts.session)
    return dataset.known_at[row]


class Calibrated:
    """Platt's sigmoids of one model as they were, to hold against what they become with another future.

    Parameters
    ----------
    run : the run as it was.
    made : what they were made from.
    journey : what the model walked through.
    stages : whose `walk.calibrate` to hold them against.
    """

    def __init__(self, run: Outlook, made: Material, journey: Journey, stages: Stages) -> None:
        self.made, self.journey, self.calibrate = made, journey, stages.walk.calibrate
        mine = run.forecasts.ticker == journey.ticker if journey.ticker >= 0 else slice(None)
        self.session, self.known = run.forecasts.session[mine], known_at(run)[mine]
        self.model = made.model.model_copy(update={"tol": min(made.model.tol, TIGHT)})
        self.probes = np.quantile(made.log_odds, [0.0, 0.25, 0.5, 0.75, 1.0])
        self.was = self._said(made.log_odds, made.up, made.folds)

    def _said(self, log_odds: Array, up: Array, folds: Sequence[Folds]) -> Array:
        """Return the probabilities that each refit's sigmoid makes of some log odds, (refits, probes)."""
        line = self.calibrate(log_odds, up, folds, self.model).line
        return sigmoid(line[:, :1] + line[:, 1:] * self.probes)

    def look_at(self, cut: Cut, findings: Findings, rng: np.random.Generator) -> None:
        """Compare the sigmoids of the refits up to a cut, with other forecasts and other outcomes after it."""
        early = int((self.journey.session <= cut.session).sum())
        folds, kept = self._until(early + BEYOND)

        def where(at: int) -> tuple[str, str]:
            return self.journey.name, day(self.journey.dates[at // len(self.probes)])

        for answer, of in ANSWERS.items():
            log_odds = np.where(self.session > cut.session, of(self.made.log_odds, rng), self.made.log_odds)
            up = np.where(self.known > cut.session, rng.integers(0, 2, len(self.known)), self.made.up)
            became = self._said(log_odds[kept], up[kept], folds)[:early]
            other = replace(cut, future=answer)
            was = self.was[:early].ravel()
            findings.same("calibrate", "sigmoid", was, became.ravel(), cut=other, where=where, allowed=SAME_PROBABILITY)

    def _until(self, refits: int) -> tuple[list[Folds], IntArray]:
        """Return the folds of the first refits, and the positions of their forecasts."""
        folds, kept, begins = [], [], 0
        for ticker in self.made.folds:
            part = ticker.part(slice(0, refits))
            kept.append(begins + np.arange(part.test_stop[-1] - part.test_start[0]))
            begins += int(ticker.test_stop[-1] - ticker.test_start[0])
            folds.append(part)
        return folds, np.concatenate(kept)


def look_at_decisions(
    config: RunConfig,
    run: Outlook,
    prices: Prices,
    others: dict[str, Prices],
    stages: Stages,
    cut: Cut,
    findings: Findings,
    rng: np.random.Generator,
) -> None:
    """Compare what policies know and decide up to a cut, with other prices and other forecasts after it."""
    forecasts = run.forecasts
    past = forecasts.session <= cut.session

    def where(at: int) -> tuple[str, str]:
        row = int(np.flatnonzero(past)[at])
        return forecasts.tickers[forecasts.ticker[row]], day(forecasts.sessions[forecasts.session[row]])

    known = known_to(config, prices, forecasts, stages)
    knowns = {future: known_to(config, other, forecasts, stages) for future, other in others.items()}
    for future, other in knowns.items():
        for name in _by_row(known, len(past)):
            was, became = getattr(known, name)[past], getattr(other, name)[past]
            findings.same("known", name, was, became, cut=replace(cut, future=future), where=where, size=sized(was))
    decided = np.arange(len(forecasts.sessions)) <= cut.session
    was = run.positions.weight[decided].ravel()

    def where_held(at: int) -> tuple[str, str]:
        session, ticker = divmod(at, len(forecasts.tickers))
        return forecasts.tickers[ticker], day(forecasts.sessions[session])

    settled = known_at(run) <= cut.session
    other_known = _spliced(known, next(iter(knowns.values())), past)
    for answer, of in ANSWERS.items():
        asked = _with_answers(forecasts, of(forecasts.log_odds, rng), past, settled, cut, rng)
        became = positions_of(config, asked, other_known, stages).weight[decided].ravel()
        findings.same("decide", "weight", was, became, cut=replace(cut, future=answer), where=where_held, allowed=1e-12)


def _by_row(value: Any, rows: int) -> list[str]:
    """Return the fields of a record that have a number for each row."""
    found = {one.name: getattr(value, one.name) for one in fields(value)}
    return [name for name, held in found.items() if isinstance(held, np.ndarray) and held.shape[:1] == (rows,)]


def _spliced(value: Any, other: Any, past: BoolArray) -> Any:
    """Return a record whose rows of the past are those of one, and the others those of another."""
    return replace(
        value,
        **{name: np.where(past, getattr(value, name), getattr(other, name)) for name in _by_row(value, len(past))},
    )


def _with_answers(
    forecasts: Forecasts, log_odds: Array, past: BoolArray, settled: BoolArray, cut: Cut, rng: np.random.Generator
) -> Forecasts:
    """Return forecasts that are the same up to a cut; outcomes that come to be known after it are others too."""
    log_odds = np.where(past, forecasts.log_odds, log_odds)
    came = rng.integers(0, 2, len(past)).astype(np.float64)
    moved = {
        name: np.where(past, getattr(forecasts, name), getattr(forecasts, name) * rng.uniform(0.5, 1.5, len(past)))
        for name in ("base_rate", "mean_gain", "mean_loss", "deviation")
    }
    learnt = forecasts.refits.session <= cut.session
    return replace(
        forecasts,
        log_odds=log_odds,
        probability=np.where(past, forecasts.probability, sigmoid(log_odds)),
        up=np.where(settled, forecasts.up, came),
        span_return=np.where(settled, forecasts.span_return, 0.02 * came - 0.01),
        refits=replace(
            forecasts.refits,
            coefficients=np.where(learnt[:, None], forecasts.refits.coefficients, -forecasts.refits.coefficients),
        ),
        **moved,
    )


class Executed:
    """What a run's decisions earned, to hold against what they earn with another future."""

    def __init__(self, config: RunConfig, run: Outlook, prices: Prices, stages: Stages) -> None:
        self.config, self.run, self.prices, self.stages = config, run, prices, stages
        self.result = self._executed(run.positions.weight, prices)

    def _executed(self, weight: Array, prices: Prices) -> BacktestResult | None:
        """Return the backtest, None where nothing can be earned yet."""
        positions = replace(self.run.positions, weight=weight)
        try:
            return self.stages.execute(
                positions,
                prices,
                self.config.execution,
                sessions_per_year=self.config.report.sessions_per_year,
            )
        except DataError:
            return None

    def look_at(self, others: dict[str, Prices], cut: Cut, findings: Findings, rng: np.random.Generator) -> None:
        """Compare what was booked up to a cut, with other prices after it; and with other decisions from it on.

        What a decision at the cut is filled at and earns comes later: nothing booked up to its fill may depend on it.
        """
        weight = self.run.positions.weight
        for future, prices in others.items():
            moved, then = self._executed(weight, prices), replace(cut, future=future)
            self._same(moved, HELD, cut.session + 1, then, findings)
            self._same(moved, EARNED, cut.session, then, findings)
        decided = np.arange(len(weight))[:, None] >= cut.session
        other = np.where(decided & ~np.isnan(weight), rng.uniform(-0.5, 0.5, weight.shape), weight)
        filled = cut.session + self.config.execution.delay
        moved, then = self._executed(other, self.prices), replace(cut, future=DECISIONS)
        self._same(moved, HELD + EARNED, filled, then, findings)

    def _same(
        self, other: BacktestResult | None, names: Sequence[str], session: int, cut: Cut, findings: Findings
    ) -> None:
        """Compare what was booked for sessions up to one."""
        was, until = self.result, self.prices.sessions[min(session, len(self.prices.sessions) - 1)]
        if was is None or other is None:
            return
        rows = int((was.sessions <= until).sum())
        for name in names:
            a, b = (getattr(one, name)[:rows] for one in (was, other))
            each = a[0].size if rows else 1

            def where(at: int, each: int = each) -> tuple[str, str]:
                row, ticker = divmod(at, each)
                return was.tickers[ticker] if each > 1 else "", day(was.sessions[row])

            findings.same("execute", name, a.ravel(), _padded(b.ravel(), a.size), cut=cut, where=where)


def _padded(values: Array, length: int) -> Array:
    """Return values with NaN where they end too early: a backtest that stops before the cut has moved."""
    return np.concatenate([values, np.full(max(length - len(values), 0), np.nan)])[:length]
