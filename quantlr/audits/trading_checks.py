"""From probabilities to returns: calibration, decisions and their execution, each by itself.

What goes into each is the run's own up to the cut, number for number, and something else after it. What comes out up
to the cut is then the same number, however near a probability is to a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from quantlr.audits.model_checks import AUDIT_SOLVER_TOLERANCE, REFITS_AFTER_CUTOFF
from quantlr.audits.result import PROBABILITY_TOLERANCE, Cutoff, LeakCollector, comparison_scale
from quantlr.config.run_config import RunConfig
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.errors import DataError
from quantlr.core.progress import iso_date
from quantlr.core.values import BacktestResult, Folds, Forecasts, Prices
from quantlr.model.calibration import Calibration
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.walk_forward import ModelSplit, WalkForwardFunctions
from quantlr.pipeline.stages import Decisions, PipelineStages, decision_context, positions_from_forecasts

LOG_ODDS_REPLACEMENTS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "other probabilities": lambda log_odds, rng: rng.normal(0.0, 0.5, log_odds.shape),
    "all likely": lambda log_odds, rng: np.full_like(log_odds, 5.0),
    "all unlikely": lambda log_odds, rng: np.full_like(log_odds, -5.0),
}
"""Log odds of the forecasts after a cut."""
ALTERED_DECISIONS_SCENARIO = "other decisions"
SESSION_START_FIELDS = ("weight", "ticker_cost", "cash_return", "cost", "exposure", "turnover")
"""What is booked for a session, but settled when it begins."""
SESSION_END_FIELDS = ("ticker_gross_return", "gross_return", "net_return", "equity")
"""What is booked for a session when it ends."""


@dataclass(frozen=True, slots=True)
class CalibrationInput:
    """What a calibration was made from: all forecasts of one model."""

    log_odds: Array
    up: Array
    folds: tuple[Folds, ...]
    model: LogisticRegression


class CalibrationRecorder:
    """Calibrates as a run does, and keeps what each calibration was made from, model after model."""

    def __init__(self, functions: WalkForwardFunctions) -> None:
        self._calibrate = functions.fit_calibration
        self.calibration_inputs: list[CalibrationInput] = []

    def __call__(self, log_odds: Array, up: Array, folds: tuple[Folds, ...], model: LogisticRegression) -> Calibration:
        """Return the calibration, and keep what it was made from."""
        self.calibration_inputs.append(CalibrationInput(log_odds, up, folds, model))
        return self._calibrate(log_odds, up, folds, model)


def outcome_known_sessions(decisions: Decisions) -> IntArray:
    """Return the session at whose close the outcome of each forecast is known, (forecasts,)."""
    dataset, forecasts = decisions.dataset, decisions.forecasts
    every = len(dataset.sessions) + 1
    row = np.searchsorted(dataset.ticker * every + dataset.session, forecasts.ticker * every + forecasts.session)
    return dataset.label_known_at[row]


class CalibrationChecker:
    """Platt's sigmoids of one model as they were, to hold against what they become with another future.

    Parameters
    ----------
    run : the run as it was.
    made : what they were made from.
    journey : what the model walked through.
    stages : whose `walk.calibrate` to hold them against.
    """

    def __init__(
        self, decisions: Decisions, calibration_input: CalibrationInput, split: ModelSplit, stages: PipelineStages
    ) -> None:
        self.calibration_input, self.split, self.calibrate = (
            calibration_input,
            split,
            stages.walk_forward_steps.fit_calibration,
        )
        mine = decisions.forecasts.ticker == split.ticker_index if split.ticker_index >= 0 else slice(None)
        self.forecast_session, self.outcome_known_session = (
            decisions.forecasts.session[mine],
            outcome_known_sessions(decisions)[mine],
        )
        self.model = calibration_input.model.model_copy(
            update={"tol": min(calibration_input.model.tol, AUDIT_SOLVER_TOLERANCE)}
        )
        self.probe_log_odds = np.quantile(calibration_input.log_odds, [0.0, 0.25, 0.5, 0.75, 1.0])
        self.original_probability = self._probe_probabilities(
            calibration_input.log_odds, calibration_input.up, calibration_input.folds
        )

    def _probe_probabilities(self, log_odds: Array, up: Array, folds: Sequence[Folds]) -> Array:
        """Return the probabilities that each refit's sigmoid makes of some log odds, (refits, probes)."""
        line = self.calibrate(log_odds, up, folds, self.model).platt_coefficients
        return sigmoid(line[:, :1] + line[:, 1:] * self.probe_log_odds)

    def check(self, cutoff: Cutoff, leak_collector: LeakCollector, rng: np.random.Generator) -> None:
        """Compare the sigmoids of the refits up to a cut, with other forecasts and other outcomes after it."""
        early = int((self.split.first_session <= cutoff.session).sum())
        folds, kept = self._first_folds_and_rows(early + REFITS_AFTER_CUTOFF)

        def locate(index: int) -> tuple[str, str]:
            return self.split.name, iso_date(self.split.refit_dates[index // len(self.probe_log_odds)])

        for answer, of in LOG_ODDS_REPLACEMENTS.items():
            log_odds = np.where(
                self.forecast_session > cutoff.session,
                of(self.calibration_input.log_odds, rng),
                self.calibration_input.log_odds,
            )
            up = np.where(
                self.outcome_known_session > cutoff.session,
                rng.integers(0, 2, len(self.outcome_known_session)),
                self.calibration_input.up,
            )
            became = self._probe_probabilities(log_odds[kept], up[kept], folds)[:early]
            other = replace(cutoff, scenario=answer)
            was = self.original_probability[:early].ravel()
            leak_collector.check_unchanged(
                "calibrate",
                "sigmoid",
                was,
                became.ravel(),
                cutoff=other,
                locate=locate,
                tolerance=PROBABILITY_TOLERANCE,
            )

    def _first_folds_and_rows(self, n_refits: int) -> tuple[list[Folds], IntArray]:
        """Return the folds of the first refits, and the positions of their forecasts."""
        folds, kept, begins = [], [], 0
        for ticker in self.calibration_input.folds:
            part = ticker.slice_refits(slice(0, n_refits))
            kept.append(begins + np.arange(part.test_stop[-1] - part.test_start[0]))
            begins += int(ticker.test_stop[-1] - ticker.test_start[0])
            folds.append(part)
        return folds, np.concatenate(kept)


def check_decisions(
    config: RunConfig,
    decisions: Decisions,
    prices: Prices,
    prices_by_scenario: dict[str, Prices],
    stages: PipelineStages,
    cutoff: Cutoff,
    leak_collector: LeakCollector,
    rng: np.random.Generator,
) -> None:
    """Compare what policies know and decide up to a cut, with other prices and other forecasts after it."""
    forecasts = decisions.forecasts
    past = forecasts.session <= cutoff.session

    def locate_forecast(index: int) -> tuple[str, str]:
        row = int(np.flatnonzero(past)[index])
        return forecasts.tickers[forecasts.ticker[row]], iso_date(forecasts.sessions[forecasts.session[row]])

    known = decision_context(config, prices, forecasts, stages)
    knowns = {
        future: decision_context(config, other, forecasts, stages) for future, other in prices_by_scenario.items()
    }
    for future, other in knowns.items():
        for name in _per_row_field_names(known, len(past)):
            was, became = getattr(known, name)[past], getattr(other, name)[past]
            leak_collector.check_unchanged(
                "known",
                name,
                was,
                became,
                cutoff=replace(cutoff, scenario=future),
                locate=locate_forecast,
                scale=comparison_scale(was),
            )
    decided = np.arange(len(forecasts.sessions)) <= cutoff.session
    was = decisions.positions.weight[decided].ravel()

    def locate_weight(index: int) -> tuple[str, str]:
        session, ticker = divmod(index, len(forecasts.tickers))
        return forecasts.tickers[ticker], iso_date(forecasts.sessions[session])

    settled = outcome_known_sessions(decisions) <= cutoff.session
    other_known = _splice_records(known, next(iter(knowns.values())), past)
    for answer, of in LOG_ODDS_REPLACEMENTS.items():
        asked = _alter_later_forecasts(forecasts, of(forecasts.log_odds, rng), past, settled, cutoff, rng)
        became = positions_from_forecasts(config, asked, other_known, stages).weight[decided].ravel()
        leak_collector.check_unchanged(
            "decide",
            "weight",
            was,
            became,
            cutoff=replace(cutoff, scenario=answer),
            locate=locate_weight,
            tolerance=1e-12,
        )


def _per_row_field_names(record: Any, n_rows: int) -> list[str]:
    """Return the fields of a record that have a number for each row."""
    found = {one.name: getattr(record, one.name) for one in fields(record)}
    return [name for name, held in found.items() if isinstance(held, np.ndarray) and held.shape[:1] == (n_rows,)]


def _splice_records(original: Any, altered: Any, past_mask: BoolArray) -> Any:
    """Return a record whose rows of the past are those of one, and the others those of another."""
    return replace(
        original,
        **{
            name: np.where(past_mask, getattr(original, name), getattr(altered, name))
            for name in _per_row_field_names(original, len(past_mask))
        },
    )


def _alter_later_forecasts(
    forecasts: Forecasts,
    altered_log_odds: Array,
    past_mask: BoolArray,
    known_outcome_mask: BoolArray,
    cutoff: Cutoff,
    rng: np.random.Generator,
) -> Forecasts:
    """Return forecasts that are the same up to a cut; outcomes that come to be known after it are others too."""
    altered_log_odds = np.where(past_mask, forecasts.log_odds, altered_log_odds)
    came = rng.integers(0, 2, len(past_mask)).astype(np.float64)
    moved = {
        name: np.where(
            past_mask, getattr(forecasts, name), getattr(forecasts, name) * rng.uniform(0.5, 1.5, len(past_mask))
        )
        for name in ("base_rate", "mean_gain", "mean_loss", "std")
    }
    learnt = forecasts.refits.session <= cutoff.session
    return replace(
        forecasts,
        log_odds=altered_log_odds,
        probability=np.where(past_mask, forecasts.probability, sigmoid(altered_log_odds)),
        up=np.where(known_outcome_mask, forecasts.up, came),
        horizon_return=np.where(known_outcome_mask, forecasts.horizon_return, 0.02 * came - 0.01),
        refits=replace(
            forecasts.refits,
            coefficients=np.where(learnt[:, None], forecasts.refits.coefficients, -forecasts.refits.coefficients),
        ),
        **moved,
    )


class ExecutionChecker:
    """What a run's decisions earned, to hold against what they earn with another future."""

    def __init__(self, config: RunConfig, decisions: Decisions, prices: Prices, stages: PipelineStages) -> None:
        self.config, self.decisions, self.prices, self.stages = config, decisions, prices, stages
        self.original_backtest = self._backtest_or_none(decisions.positions.weight, prices)

    def _backtest_or_none(self, weights: Array, prices: Prices) -> BacktestResult | None:
        """Return the backtest, None where nothing can be earned yet."""
        positions = replace(self.decisions.positions, weight=weights)
        try:
            return self.stages.execute(
                positions,
                prices,
                self.config.execution,
                sessions_per_year=self.config.report.sessions_per_year,
            )
        except DataError:
            return None

    def check(
        self,
        prices_by_scenario: dict[str, Prices],
        cutoff: Cutoff,
        leak_collector: LeakCollector,
        rng: np.random.Generator,
    ) -> None:
        """Compare what was booked up to a cut, with other prices after it; and with other decisions from it on.

        What a decision at the cut is filled at and earns comes later: nothing booked up to its fill may depend on it.
        """
        weight = self.decisions.positions.weight
        for future, prices in prices_by_scenario.items():
            moved, then = self._backtest_or_none(weight, prices), replace(cutoff, scenario=future)
            self._check_booked_values(moved, SESSION_START_FIELDS, cutoff.session + 1, then, leak_collector)
            self._check_booked_values(moved, SESSION_END_FIELDS, cutoff.session, then, leak_collector)
        decided = np.arange(len(weight))[:, None] >= cutoff.session
        other = np.where(decided & ~np.isnan(weight), rng.uniform(-0.5, 0.5, weight.shape), weight)
        filled = cutoff.session + self.config.execution.fill_delay_sessions
        moved, then = self._backtest_or_none(other, self.prices), replace(cutoff, scenario=ALTERED_DECISIONS_SCENARIO)
        self._check_booked_values(moved, SESSION_START_FIELDS + SESSION_END_FIELDS, filled, then, leak_collector)

    def _check_booked_values(
        self,
        altered: BacktestResult | None,
        field_names: Sequence[str],
        last_session: int,
        cutoff: Cutoff,
        leak_collector: LeakCollector,
    ) -> None:
        """Compare what was booked for sessions up to one."""
        was, until = self.original_backtest, self.prices.sessions[min(last_session, len(self.prices.sessions) - 1)]
        if was is None or altered is None:
            return
        rows = int((was.sessions <= until).sum())
        for name in field_names:
            a, b = (getattr(one, name)[:rows] for one in (was, altered))
            each = a[0].size if rows else 1

            def locate(index: int, n_columns: int = each) -> tuple[str, str]:
                row, ticker = divmod(index, n_columns)
                return was.tickers[ticker] if n_columns > 1 else "", iso_date(was.sessions[row])

            leak_collector.check_unchanged(
                "execute", name, a.ravel(), _pad_with_nan(b.ravel(), a.size), cutoff=cutoff, locate=locate
            )


def _pad_with_nan(values: Array, length: int) -> Array:
    """Return values with NaN where they end too early: a backtest that stops before the cut has moved."""
    return np.concatenate([values, np.full(max(length - len(values), 0), np.nan)])[:length]
