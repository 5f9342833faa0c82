"""Checks of calibration, decisions and their execution, each by itself.

The inputs of each stage are the run's own up to the cutoff, bit for bit, and altered after it. Its output up to the
cutoff must then be the same, even where a probability is close to a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from quantlr.audits.refit_checks import REFITS_AFTER_CUTOFF
from quantlr.audits.result import PROBABILITY_TOLERANCE, CutoffComparison, comparison_scale
from quantlr.backtest.policies import DecisionContext
from quantlr.config.run_config import RunConfig
from quantlr.core.errors import DataError
from quantlr.core.market_views import MarketView, market_views, sessions_known_in_view, with_own_dates
from quantlr.core.timing import iso_date
from quantlr.core.values import Array, BacktestResult, BoolArray, Dataset, Folds, Forecasts, IntArray, Prices
from quantlr.data.scenarios import apply_scenario
from quantlr.model.base import FittedModel, Model
from quantlr.model.logistic import sigmoid
from quantlr.model.walk_forward import ModelSplit, WalkForwardFunctions, gather_forecast_rows
from quantlr.pipeline.stages import Decisions, PipelineStages, decision_context, positions_from_forecasts

LogOddsReplacement = Callable[[Array, np.random.Generator], Array]
LOG_ODDS_REPLACEMENTS: dict[str, LogOddsReplacement] = {
    "other probabilities": lambda log_odds, rng: rng.normal(0.0, 0.5, log_odds.shape),
    "all likely": lambda log_odds, rng: np.full_like(log_odds, 5.0),
    "all unlikely": lambda log_odds, rng: np.full_like(log_odds, -5.0),
}
"""Log odds of the forecasts after a cutoff, by scenario."""
ALTERED_DECISIONS_SCENARIO = "other decisions"
FORECAST_STAT_FIELDS = ("base_rate", "mean_gain", "mean_loss", "std")
WEIGHT_TOLERANCE = 1e-12
PROBE_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the log odds at which calibrations are compared."""
SESSION_START_FIELDS = ("weight", "ticker_cost", "cash_return", "cost", "exposure", "turnover")
"""Fields of a backtest that are booked for a session but determined when it begins."""
SESSION_END_FIELDS = ("ticker_return", "ticker_gross_return", "gross_return", "net_return", "equity")
"""Fields of a backtest that are determined when the session ends."""


CalibrationInput = tuple[Array, Array, tuple[Folds, ...], Model]
"""Input of one model's calibration: log odds of all its forecasts, their outcomes, the folds and the model."""


class CalibrationRecorder:
    """Calibration function of a run that also keeps its inputs, model by model."""

    def __init__(self, functions: WalkForwardFunctions) -> None:
        self._fit_calibration = functions.fit_calibration
        self.inputs: list[CalibrationInput] = []

    def __call__(self, log_odds: Array, up: Array, folds: tuple[Folds, ...], model: Model) -> FittedModel:
        """Return the calibration, and keep its input."""
        self.inputs.append((log_odds, up, folds, model))
        return self._fit_calibration(log_odds, up, folds, model)


def outcome_known_sessions(decisions: Decisions) -> IntArray:
    """Return the session at whose close the outcome of each forecast is known, (forecasts,)."""
    dataset, forecasts = decisions.dataset, decisions.forecasts
    stride = len(dataset.sessions) + 1
    keys = dataset.ticker * stride + dataset.session
    return dataset.label_known_at[np.searchsorted(keys, forecasts.ticker * stride + forecasts.session)]


class CalibrationChecker:
    """Platt calibration of one model, to be compared with those fitted to altered later forecasts and outcomes.

    Parameters
    ----------
    dataset : of the run.
    inputs : of the model's calibration.
    split : the model's refits.
    stages : with the calibration function to check.
    """

    def __init__(self, dataset: Dataset, inputs: CalibrationInput, split: ModelSplit, stages: PipelineStages) -> None:
        self.log_odds, self.up, self.folds, model = inputs
        self.split, self.fit_calibration = split, stages.walk_forward_steps.fit_calibration
        self.forecast_session = gather_forecast_rows([split], dataset.session)
        self.known_session = gather_forecast_rows([split], dataset.label_known_at)
        self.model = model.for_audit()
        self.probe_log_odds = np.quantile(self.log_odds, PROBE_QUANTILES)
        self.original_probability = self._calibrated_probe_probabilities(self.log_odds, self.up, self.folds)

    def _calibrated_probe_probabilities(self, log_odds: Array, up: Array, folds: Sequence[Folds]) -> Array:
        """Return the calibrated probabilities of the probes by refit, (refits, probes)."""
        coefficients = self.fit_calibration(log_odds, up, folds, self.model).coefficients
        return sigmoid(coefficients[:, :1] + coefficients[:, 1:] * self.probe_log_odds)

    def check_calibration(self, cutoff: CutoffComparison, rng: np.random.Generator) -> None:
        """Compare the calibrations up to a cutoff, with altered forecasts and outcomes after it."""
        n_refits = int((self.split.first_session <= cutoff.session).sum())
        n_fitted = n_refits + REFITS_AFTER_CUTOFF
        fitted_folds = [folds.slice_refits(slice(0, n_fitted)) for folds in self.folds]
        fitted_mask = self.split.forecast_refit_indices() < n_fitted

        def ticker_date(index: int) -> tuple[str, str]:
            return self.split.name, iso_date(self.split.refit_dates[index // len(self.probe_log_odds)])

        was = self.original_probability[:n_refits].ravel()
        for scenario, replacement in LOG_ODDS_REPLACEMENTS.items():
            altered_log_odds = replacement(self.log_odds, rng)
            log_odds = np.where(self.forecast_session > cutoff.session, altered_log_odds, self.log_odds)
            random_outcomes = rng.integers(0, 2, len(self.known_session))
            up = np.where(self.known_session > cutoff.session, random_outcomes, self.up)
            became = self._calibrated_probe_probabilities(log_odds[fitted_mask], up[fitted_mask], fitted_folds)
            cutoff.with_scenario(scenario).check_unchanged(
                "calibrate", "sigmoid", was, became[:n_refits].ravel(), ticker_date, tolerance=PROBABILITY_TOLERANCE
            )


@dataclass(frozen=True, slots=True)
class KnownForecasts:
    """What a market knows at its close of a cutoff's session; by instants where there are several markets.

    Attributes
    ----------
    view : the prices as the market sees them.
    forecast_mask, outcome_mask : (forecasts,) whether the forecast, and its outcome, is known.
    refit_mask : (refits,) whether the refit is known.
    """

    view: MarketView
    forecast_mask: BoolArray
    outcome_mask: BoolArray
    refit_mask: BoolArray


class TradingChecker:
    """Decisions and backtest of a run, to be compared with those on altered later prices, forecasts or positions."""

    def __init__(self, config: RunConfig, decisions: Decisions, prices: Prices, stages: PipelineStages) -> None:
        self.config, self.decisions, self.prices, self.stages = config, decisions, prices, stages
        self.context = decision_context(config, prices, decisions.forecasts, stages)
        self.known_session = outcome_known_sessions(decisions)
        self.market_views = market_views(prices)

    def _known_forecasts(self, cutoff: CutoffComparison) -> list[KnownForecasts]:
        """Return what each market knows at its close of the cutoff's session."""
        forecasts, refits = self.decisions.forecasts, self.decisions.forecasts.refits
        known = []
        for view in self.market_views:

            def known_mask(session: IntArray, ticker: IntArray, view: MarketView = view) -> BoolArray:
                return sessions_known_in_view(view.prices, self.prices, session, ticker) <= cutoff.session

            forecast_mask, outcome_mask = (
                known_mask(session, forecasts.ticker) for session in (forecasts.session, self.known_session)
            )
            refit_mask = refits.session <= cutoff.session  # a pooled refit is known to all
            own_ticker = refits.ticker >= 0
            refit_mask[own_ticker] = known_mask(refits.session[own_ticker], refits.ticker[own_ticker])
            known.append(KnownForecasts(view, forecast_mask, outcome_mask, refit_mask))
        return known

    def _replaced_prices(self, view: MarketView, scenario: str, cutoff: CutoffComparison) -> Prices:
        """Return the prices of a scenario, in place of those that a market does not know at a cutoff."""
        altered = apply_scenario(view.prices, scenario, after_session=cutoff.session, seed=self.config.seed)
        return altered if view.prices is self.prices else with_own_dates(altered, view.prices, self.prices)

    @cached_property
    def original_backtest(self) -> BacktestResult | None:
        """The backtest of the run's own positions; None where there are no returns yet."""
        return self._backtest_or_none(self.decisions.positions.weight, self.prices)

    def check_trading(self, scenarios: Sequence[str], cutoff: CutoffComparison, rng: np.random.Generator) -> None:
        """Compare context, positions and returns up to a cutoff, with other prices and forecasts after it."""
        for known in self._known_forecasts(cutoff):
            self._check_decisions(known, scenarios, cutoff, rng)
        prices_by_scenario = {
            name: apply_scenario(self.prices, name, after_session=cutoff.session, seed=self.config.seed)
            for name in scenarios
        }
        self._check_execution(prices_by_scenario, cutoff, rng)

    def _check_decisions(
        self, known: KnownForecasts, scenarios: Sequence[str], cutoff: CutoffComparison, rng: np.random.Generator
    ) -> None:
        """Compare context and positions of a market up to a cutoff, with what it does not know then replaced."""
        context, stages, forecasts = self.context, self.stages, self.decisions.forecasts
        tickers, sessions = forecasts.tickers, forecasts.sessions
        past = known.forecast_mask & known.view.is_own[forecasts.ticker]

        def ticker_date(index: int) -> tuple[str, str]:
            row = int(np.flatnonzero(past)[index])
            return tickers[forecasts.ticker[row]], iso_date(sessions[forecasts.session[row]])

        contexts = []
        for scenario in scenarios:
            prices = self._replaced_prices(known.view, scenario, cutoff)
            altered = decision_context(self.config, prices, forecasts, stages)
            for name in self._context_columns:
                original, became = getattr(context, name), getattr(altered, name)
                scale = comparison_scale(original[past])
                cutoff.with_scenario(scenario).check_unchanged(
                    "decision_context", name, original[past], became[past], ticker_date, scale=scale
                )
            contexts.append(altered)
        self._check_market_positions(known, contexts, cutoff, rng)

    @property
    def _context_columns(self) -> list[str]:
        """Names of the fields of the context that have a value for each forecast."""
        shape = self.decisions.forecasts.session.shape
        return [field.name for field in fields(self.context) if np.shape(getattr(self.context, field.name)) == shape]

    def contexts_resized_by(self, factors: Sequence[float]) -> list[DecisionContext]:
        """Return the context with all of its values multiplied by each factor."""
        columns = {name: getattr(self.context, name) for name in self._context_columns}
        return [replace(self.context, **{name: factor * columns[name] for name in columns}) for factor in factors]

    def check_positions(
        self, contexts: Sequence[DecisionContext], cutoff: CutoffComparison, rng: np.random.Generator
    ) -> None:
        """Compare positions up to a cutoff, with other forecasts after it and, in turn, the contexts' values."""
        for known in self._known_forecasts(cutoff):
            self._check_market_positions(known, contexts, cutoff, rng)

    def _check_market_positions(
        self,
        known: KnownForecasts,
        contexts: Sequence[DecisionContext],
        cutoff: CutoffComparison,
        rng: np.random.Generator,
    ) -> None:
        """Compare the positions of a market's own tickers, with what it does not know at a cutoff replaced."""
        forecasts, own_tickers = self.decisions.forecasts, np.flatnonzero(known.view.is_own)

        def ticker_date(index: int) -> tuple[str, str]:
            session, ticker = divmod(index, len(own_tickers))
            return forecasts.tickers[own_tickers[ticker]], iso_date(forecasts.sessions[session])

        was = self.decisions.positions.weight[: cutoff.session + 1, own_tickers].ravel()
        for index, (scenario, replacement) in enumerate(LOG_ODDS_REPLACEMENTS.items()):
            altered = contexts[index % len(contexts)]
            rows: dict[str, Any] = {
                name: np.where(known.forecast_mask, getattr(self.context, name), getattr(altered, name))
                for name in self._context_columns
            }
            altered_forecasts = self._with_unknown_forecasts_altered(known, replacement, rng)
            context = replace(self.context, **rows)
            positions = positions_from_forecasts(self.config, altered_forecasts, context, self.stages)
            became = positions.weight[: cutoff.session + 1, own_tickers].ravel()
            cutoff.with_scenario(scenario).check_unchanged(
                "decide", "weight", was, became, ticker_date, tolerance=WEIGHT_TOLERANCE
            )

    def _with_unknown_forecasts_altered(
        self, known: KnownForecasts, replacement: LogOddsReplacement, rng: np.random.Generator
    ) -> Forecasts:
        """Return forecasts with those, and the outcomes and weights, replaced that a market does not know."""
        forecasts, past = self.decisions.forecasts, known.forecast_mask
        log_odds = np.where(past, forecasts.log_odds, replacement(forecasts.log_odds, rng))
        up = rng.integers(0, 2, len(past)).astype(np.float64)
        statistics = {}
        for name in FORECAST_STAT_FIELDS:
            values = getattr(forecasts, name)
            statistics[name] = np.where(past, values, values * rng.uniform(0.5, 1.5, len(past)))
        coefficients = forecasts.refits.coefficients
        fitted = known.refit_mask[: len(coefficients), None]
        return replace(
            forecasts,
            log_odds=log_odds,
            probability=np.where(past, forecasts.probability, sigmoid(log_odds)),
            up=np.where(known.outcome_mask, forecasts.up, up),
            horizon_return=np.where(known.outcome_mask, forecasts.horizon_return, 0.02 * up - 0.01),
            refits=replace(forecasts.refits, coefficients=np.where(fitted, coefficients, -coefficients)),
            **statistics,
        )

    def _backtest_or_none(self, weights: Array, prices: Prices) -> BacktestResult | None:
        """Return the backtest of target weights; None where there are no returns yet."""
        positions, config = replace(self.decisions.positions, weight=weights), self.config
        try:
            report, execution = config.report, config.execution
            per_year, benchmark = report.sessions_in_year(prices), report.benchmark
            return self.stages.execute(positions, prices, execution, sessions_per_year=per_year, benchmark=benchmark)
        except DataError:
            return None

    def _check_execution(
        self, prices_by_scenario: dict[str, Prices], cutoff: CutoffComparison, rng: np.random.Generator
    ) -> None:
        """Compare what is booked up to a cutoff, with altered prices after it, and with altered positions from it on.

        A position decided at the cutoff is filled and earns later: nothing booked up to its fill may depend on it.
        """
        weight, session = self.decisions.positions.weight, cutoff.session
        for scenario, prices in prices_by_scenario.items():
            altered = self._backtest_or_none(weight, prices)
            self._check_booked_fields(altered, SESSION_START_FIELDS, session + 1, cutoff.with_scenario(scenario))
            self._check_booked_fields(altered, SESSION_END_FIELDS, session, cutoff.with_scenario(scenario))
        is_later = (np.arange(len(weight))[:, None] >= session) & ~np.isnan(weight)
        other_weight = np.where(is_later, rng.uniform(-0.5, 0.5, weight.shape), weight)
        altered = self._backtest_or_none(other_weight, self.prices)
        fill_session = session + self.config.execution.fill_delay_sessions
        field_names = SESSION_START_FIELDS + SESSION_END_FIELDS
        self._check_booked_fields(altered, field_names, fill_session, cutoff.with_scenario(ALTERED_DECISIONS_SCENARIO))

    def _check_booked_fields(
        self, altered: BacktestResult | None, field_names: Sequence[str], last_session: int, cutoff: CutoffComparison
    ) -> None:
        """Compare what is booked for sessions up to one, of strategy and benchmark; an earlier end is a change."""
        if self.original_backtest is None or altered is None:
            return
        for subject, original, became in (
            ("", self.original_backtest, altered),
            ("benchmark ", self.original_backtest.benchmark, altered.benchmark),
        ):
            if original is not None and became is not None:
                self._compare_backtests(original, became, field_names, last_session, cutoff, subject)

    def _compare_backtests(
        self,
        original: BacktestResult,
        altered: BacktestResult,
        field_names: Sequence[str],
        last_session: int,
        cutoff: CutoffComparison,
        subject: str,
    ) -> None:
        """Compare fields of two backtests for sessions up to one; `subject` begins the name of a leak."""
        sessions = self.prices.sessions
        n_rows = int((original.sessions <= sessions[min(last_session, len(sessions) - 1)]).sum())
        for name in field_names:
            was, became = (getattr(result, name)[:n_rows] for result in (original, altered))
            n_columns = was[0].size if n_rows else 1

            def ticker_date(index: int, n_columns: int = n_columns) -> tuple[str, str]:
                row, ticker = divmod(index, n_columns)
                return original.tickers[ticker] if n_columns > 1 else "", iso_date(original.sessions[row])

            padded = np.full(was.size, np.nan)
            padded[: became.size] = became.ravel()[: was.size]
            cutoff.check_unchanged("execute", f"{subject}{name}", was.ravel(), padded, ticker_date)
