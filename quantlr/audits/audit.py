"""Does anything in a run know the future? Replace the future, and see whether the past moves.

Look-ahead is kept out by construction: one timing rule, folds made in one place, stages that see what they are given.
An audit doesn't take that on trust. It goes to the boundaries of a config's own folds, on its own prices, and puts
other futures behind them: nothing at all, noise, the mirror image, a hundredfold, a hundredth, all up, all down, a
dividend that rescales the past, a few holidays more. What was known by then may not move: features and labels first,
then scaling, weights and probabilities of the refits up to there, what policies decide, and the returns that are
booked. Random sessions and a single noise would show little: the leak of one label shows only at a session before that
label is known, and only if it then turns out otherwise.

What really is a function of the future, and may be:

- adjusted prices: each dividend and split scales all that came before it. Features must therefore be ratios; one that
  looks at the level of an adjusted price is named as a leak (the future "a dividend").
- labels, up to the session `Dataset.known_at`; no model may learn from one before.
- that a ticker has no later bar: the backtest sells it at its last one. Prices are therefore never cut off where
  returns are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.audits.cutoffs import AuditSchedule, CutoffCount, FoldBoundary, make_audit_schedule
from quantlr.audits.input_checks import AuditInputs, PendingLabelCounts, check_inputs, check_pending_labels
from quantlr.audits.model_checks import DatasetSplits, RefitChecker, check_folds, make_audit_model
from quantlr.audits.result import Audit, AuditCoverage, Cutoff, Leak, LeakCollector
from quantlr.audits.trading_checks import CalibrationChecker, CalibrationRecorder, ExecutionChecker, check_decisions
from quantlr.config.run_config import LoadedConfig, RunConfig, load_config
from quantlr.core.errors import DataError
from quantlr.core.progress import Progress, ignore_progress, iso_date
from quantlr.core.values import Prices
from quantlr.data.dataset import build_dataset
from quantlr.data.prices import load_prices
from quantlr.data.scenarios import (
    AUDIT_SCENARIOS,
    EXTRA_HOLIDAYS,
    LATER_DIVIDEND,
    MIRRORED_RETURNS,
    TRUNCATION,
    apply_scenario,
)
from quantlr.pipeline.stages import DEFAULT_STAGES, PipelineStages, forecast_and_decide

__all__ = ["Audit", "AuditCoverage", "Leak", "audit", "audit_config", "audit_prices"]

MODEL_SCENARIOS = tuple(future for future in AUDIT_SCENARIOS if future not in (LATER_DIVIDEND, EXTRA_HOLIDAYS))
"""Futures that can move more than what is computed from prices and dates."""
FEATURE_SCENARIO_STRIDE = 3
"""One of so many futures is put after a session where only features and label are looked at, another one each time."""
TRADING_SCENARIOS = ("noise", "a hundredth")
"""Futures that decisions and returns are held against."""


def audit(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    stages: PipelineStages = DEFAULT_STAGES,
    n_cutoffs: CutoffCount = "auto",
    offline: bool = False,
    progress: Progress = ignore_progress,
) -> Audit:
    """Return what an audit of a config finds, on its own data.

    Parameters
    ----------
    config, overrides, offline, progress : as in `quantlr.run`.
    stages : the functions of the run; replace one to see what it knows.
    cuts : boundaries of folds to look at with every future, or "all"; "auto" takes a few, and looks at the others with
        the mirror image of what came, which turns every label over, unless they are more than 400.

    Raises
    ------
    UserError : what can be mended in the config or the data; a leak is no error, but a result.

    Examples
    --------
    >>> from quantlr.audit import audit
    >>> audit("configs/sp500_daily.yaml").clean  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides)
    return audit_config(loaded, stages=stages, n_cutoffs=n_cutoffs, offline=offline, progress=progress)


def audit_config(
    config: LoadedConfig,
    *,
    stages: PipelineStages = DEFAULT_STAGES,
    n_cutoffs: CutoffCount = "auto",
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Audit:
    """Audit a loaded config; an error of a layer comes back with the place of its key."""
    with config.add_location_to_errors():
        prices = load_prices(config.run.data, offline=offline, progress=progress)
        return audit_prices(config.run, prices, stages, n_cutoffs=n_cutoffs, workers=workers, progress=progress)


def audit_prices(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    n_cutoffs: CutoffCount = "auto",
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Audit:
    """Return what an audit of a config finds on prices."""
    with threadpool_limits(1, user_api="blas"):
        auditor = _Auditor(config, prices, stages, n_cutoffs=n_cutoffs, workers=workers, progress=progress)
        return auditor.check_all(progress)


def _group_by_session(boundaries: Iterable[FoldBoundary]) -> dict[int, list[FoldBoundary]]:
    found: dict[int, list[FoldBoundary]] = {}
    for boundary in boundaries:
        found.setdefault(boundary.session, []).append(boundary)
    return found


class _Auditor:
    """A run as it was, and what has been found by replacing its future."""

    def __init__(
        self,
        config: RunConfig,
        prices: Prices,
        stages: PipelineStages,
        *,
        n_cutoffs: CutoffCount,
        workers: int,
        progress: Progress,
    ) -> None:
        self.config, self.prices, self.stages = config, prices, stages
        self.model, self.horizon = make_audit_model(config.model), config.label.horizon
        self.leak_collector, self.pending_labels = LeakCollector(), PendingLabelCounts()
        recorder = CalibrationRecorder(stages.walk_forward_steps)
        calibrated = config.model.calibration is not None
        recorded = (
            replace(stages, walk_forward_steps=replace(stages.walk_forward_steps, fit_calibration=recorder))
            if calibrated
            else stages
        )
        # A feature that tells the future often separates the classes: a run stops there, and here the reason is wanted.
        lenient = config.model.model_copy(update={"degenerate": "base_rate"})
        config = config.model_copy(update={"model": lenient})
        self.decisions = forecast_and_decide(
            config, prices, recorded, workers=1 if calibrated else workers, progress=progress
        )
        self.execution_checker = ExecutionChecker(config, self.decisions, prices, stages)
        self.original_inputs = self._make_inputs(prices)
        self.splits = DatasetSplits.from_dataset(
            self.decisions.dataset, config.walk_forward, self.model, stages.walk_forward_steps
        )
        self.calibration_checkers = [
            CalibrationChecker(self.decisions, made, journey, stages)
            for made, journey in zip(recorder.calibration_inputs, self.splits.splits, strict=False)
        ]
        self.rng = np.random.default_rng(config.seed)
        self.schedule: AuditSchedule = make_audit_schedule(
            self.splits.splits,
            n_sessions=len(prices.sessions),
            horizon=self.horizon,
            n_cutoffs=n_cutoffs,
            rng=self.rng,
        )
        self.checked_refits: set[tuple[int, int]] = set()

    def check_all(self, progress: Progress) -> Audit:
        """Look everywhere and return what was found."""
        folds_in_time = check_folds(self.splits, self.config.walk_forward, self.leak_collector)
        whole, once = (
            _group_by_session(self.schedule.full_check_boundaries),
            _group_by_session(self.schedule.mirror_check_boundaries),
        )
        for done, session in enumerate(self.schedule.input_check_sessions):
            progress("auditing", done=done, total=len(self.schedule.input_check_sessions))
            references = [
                RefitChecker(self.splits, boundary.split_index, boundary.session)
                for boundary in (*whole.get(session, ()), *once.get(session, ()))
                if folds_in_time
            ]
            walked = MODEL_SCENARIOS if session in whole else (MIRRORED_RETURNS,) if references else ()
            inputs = (
                AUDIT_SCENARIOS
                if session in whole
                else AUDIT_SCENARIOS[done % FEATURE_SCENARIO_STRIDE :: FEATURE_SCENARIO_STRIDE]
            )
            for future in AUDIT_SCENARIOS:
                if future in inputs or future in walked:
                    self._check_scenario(session, future, references if future in walked else [])
            if session in whole:
                self._check_trading(session, whole[session])
            self.checked_refits |= {reference.newest_refit_key for reference in references}
        progress(
            "auditing", done=len(self.schedule.input_check_sessions), total=len(self.schedule.input_check_sessions)
        )
        check_pending_labels(
            self.pending_labels,
            self._make_cutoff(self.schedule.input_check_sessions[-1], ""),
            self.leak_collector,
            horizon=self.horizon,
        )
        return self._make_audit()

    def _make_cutoff(self, session: int, scenario: str) -> Cutoff:
        return Cutoff(session, iso_date(self.prices.sessions[session]), scenario)

    def _make_inputs(self, prices: Prices) -> AuditInputs:
        columns = self.stages.compute_features(prices, self.config.features)
        return AuditInputs(prices, columns, self.stages.compute_label(prices, self.config.label))

    def _check_scenario(self, session: int, scenario: str, refit_checkers: list[RefitChecker]) -> None:
        """Put another future after a session; walk through it only where features and labels have not moved."""
        cut = self._make_cutoff(session, scenario)
        if scenario == TRUNCATION and session < self.decisions.forecasts.session.min():
            return  # so few bars are no history for anyone
        prices = apply_scenario(self.prices, scenario, after_session=session, seed=self.config.seed)
        other = self._make_inputs(prices)
        still = check_inputs(
            self.original_inputs, other, cut, self.leak_collector, self.pending_labels, horizon=self.horizon
        )
        if not still or not refit_checkers:
            return
        walkers = self._make_splits_or_none(other)
        if walkers is not None:
            for reference in refit_checkers:
                reference.check(walkers, cut, self.leak_collector)

    def _make_splits_or_none(self, inputs: AuditInputs) -> DatasetSplits | None:
        """Return what models walk through in another future; None where a feature is no number then, or none can."""
        try:
            dataset = build_dataset(inputs.prices, inputs.features, inputs.labels, horizon=self.horizon)
            return DatasetSplits.from_dataset(
                dataset, self.config.walk_forward, self.model, self.stages.walk_forward_steps
            )
        except DataError:
            return None

    def _check_trading(self, session: int, boundaries: list[FoldBoundary]) -> None:
        cut = self._make_cutoff(session, "")
        others = {
            future: apply_scenario(self.prices, future, after_session=session, seed=self.config.seed)
            for future in TRADING_SCENARIOS
        }
        if self.calibration_checkers:
            for boundary in boundaries:
                self.calibration_checkers[boundary.split_index].check(cut, self.leak_collector, self.rng)
        check_decisions(
            self.config, self.decisions, self.prices, others, self.stages, cut, self.leak_collector, self.rng
        )
        self.execution_checker.check(others, cut, self.leak_collector, self.rng)

    def _make_audit(self) -> Audit:
        sessions = self.prices.sessions
        return Audit(
            name=self.config.name,
            config_sha256=hashlib.sha256(self.config.to_yaml().encode()).hexdigest(),
            data_sha256=self.prices.sha256,
            leaks=self.leak_collector.leaks,
            coverage=AuditCoverage(
                first=iso_date(sessions[self.schedule.input_check_sessions[0]]),
                last=iso_date(sessions[self.schedule.input_check_sessions[-1]]),
                refits=len(self.decisions.forecasts.refits.session),
                refits_walked=len(self.checked_refits),
                cuts=len({boundary.session for boundary in self.schedule.full_check_boundaries}),
                cuts_once=len({boundary.session for boundary in self.schedule.mirror_check_boundaries}),
                input_cuts=len(self.schedule.input_check_sessions),
                futures=AUDIT_SCENARIOS,
                input_futures=len(AUDIT_SCENARIOS) // FEATURE_SCENARIO_STRIDE,
                checks=self.leak_collector.n_compared_by_stage,
                largest=self.leak_collector.max_deviation_by_stage,
            ),
        )
