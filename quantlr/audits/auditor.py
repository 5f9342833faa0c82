"""The audit for look-ahead bias: later prices are replaced, and everything known before must stay the same.

Look-ahead is excluded by construction: one timing rule, folds made in one place, stages that receive what they may use.
An audit does not rely on that. At the boundaries of a config's own folds, on its own prices, it replaces the later
prices by scenarios: no prices at all, noise, mirrored returns, a hundredfold, a hundredth, all up, all down, a dividend
that rescales the past, and additional holidays. Nothing that was known by then may change: features and labels first,
then scaling, weights and probabilities of the refits, the policies' decisions, and the booked returns. Random sessions
and one noise scenario would find little: the leak of one label shows only at a session before that label is known, and
only if the label then differs.

Three things do depend on the future, and may:

- adjusted prices: each dividend and split rescales all earlier ones. Features must therefore be ratios; a feature that
  uses the level of an adjusted price is reported as a leak (by the scenario of a later dividend).
- labels, up to the session `Dataset.label_known_at`; no model may learn from one before.
- that a ticker has no later bar: the backtest sells it at its last one. Prices are therefore never truncated where
  returns are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np

from quantlr.audits.checks import (
    AuditInputs,
    CutoffCount,
    FoldBoundary,
    InputChecker,
    make_audit_schedule,
)
from quantlr.audits.refit_checks import (
    DatasetSplits,
    OriginalFits,
    RefitChecker,
    check_folds_in_time,
    make_audit_model,
)
from quantlr.audits.result import Audit, AuditCoverage, LeakCollector
from quantlr.audits.selection_checks import SelectionChecker
from quantlr.audits.trading_checks import CalibrationChecker, CalibrationRecorder, TradingChecker
from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.errors import DataError
from quantlr.core.parallel import use_one_blas_thread
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.timing import iso_date, label_lag
from quantlr.core.values import Dataset, Prices
from quantlr.data.dataset import build_dataset
from quantlr.data.features import Feature
from quantlr.data.scenarios import (
    AUDIT_SCENARIOS,
    CLOSE_PATHS,
    EXTRA_HOLIDAYS,
    HUNDREDFOLD_PRICES,
    HUNDREDTH_PRICES,
    LATER_DIVIDEND,
    LATER_SPLIT,
    MIRRORED_RETURNS,
    RANDOM_WALK,
    RISING_TREND,
    TRUNCATION,
)
from quantlr.model.candidates import SelectedForecasts, take_columns
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, make_model_splits
from quantlr.pipeline.selection import SharedDataset, choose_function
from quantlr.pipeline.stages import (
    DEFAULT_STAGES,
    PipelineStages,
    feature_columns_from_config,
    forecast_and_decide,
    labels_from_config,
    load_run_prices,
    walk_forward_spec,
)

MODEL_SCENARIOS = (RANDOM_WALK, MIRRORED_RETURNS, HUNDREDFOLD_PRICES, TRUNCATION)
"""Scenarios with which models are checked: a fit that uses later rows changes with any of them. The others change only
what is computed from prices and dates, or change later rows as these do."""
INPUT_PATHS = (*CLOSE_PATHS, TRUNCATION)
"""Scenarios of which one, in turn, is applied at a cutoff where only features and label are checked."""
PAST_AND_DATE_SCENARIOS = (LATER_DIVIDEND, LATER_SPLIT, EXTRA_HOLIDAYS)
"""Scenarios that are applied on top of it at once: no value that is known by then may change with any of them."""
MIN_REPLACED_SESSIONS = 63
"""Sessions that are replaced after a cutoff and the horizon of its label; later ones are left out, unless refits need
them. What is computed from later prices then lacks them, and changes as well."""
TRADING_SCENARIOS = (RISING_TREND, HUNDREDTH_PRICES)
"""Scenarios with which decisions and returns are compared: the next return is above 0 in one and below it in the other,
and volatility falls or rises."""


def audit(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    stages: PipelineStages = DEFAULT_STAGES,
    n_cutoffs: CutoffCount = "auto",
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Audit:
    """Return the audit of a config on its own data: whether anything in the run depends on the future.

    Parameters
    ----------
    config, overrides, features, data, offline, workers, progress : as in `quantlr.run`.
    stages : functions of the run; a replaced one is audited in its place.
    n_cutoffs : boundaries of folds to check with every scenario, or "all"; "auto" takes a few, and checks the others
        with mirrored returns, which reverse every label, unless they are more than 400.

    Returns
    -------
    audit : `is_clean`, the leaks that were found with stage and date, and what was compared.

    Raises
    ------
    UserError : an error in the config or the data; a leak is not an error, but a result.
    ComponentError : an object of your own classes failed; the message names it and the line.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.audit("configs/sp500_daily.yaml").is_clean  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    with loaded.add_location_to_errors():
        prices = load_run_prices(loaded.run, offline=offline, progress=progress)
        return audit_prices(loaded.run, prices, stages, n_cutoffs=n_cutoffs, workers=workers, progress=progress)


def audit_prices(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    n_cutoffs: CutoffCount = "auto",
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Audit:
    """Return the audit of a config on prices."""
    with use_one_blas_thread():
        return _Auditor(config, prices, stages, workers, progress).audit_all_cutoffs(n_cutoffs, progress)


class _Auditor:
    """A run on the actual prices, and the comparison with replaced later prices."""

    def __init__(
        self, config: RunConfig, prices: Prices, stages: PipelineStages, workers: int, progress: Progress
    ) -> None:
        self.config, self.prices, self.stages = config, prices, stages
        self.candidates = config.candidates()
        self.horizon = label_lag(config.label.horizon, label_delay=config.label_delay)
        self.collector = LeakCollector()
        recorder = CalibrationRecorder(stages.walk_forward_steps)
        steps = replace(stages.walk_forward_steps, fit_calibration=recorder)
        calibrated = [one.model.calibration is not None for one in self._model_configs]
        if any(calibrated):
            workers = 1  # the recorder is in this process
        # A feature with look-ahead often separates the classes, where a run would stop before its leak is found.
        config = config.model_copy(update={"model": config.model.model_copy(update={"degenerate": "base_rate"})})
        self.decisions = forecast_and_decide(
            config, prices, replace(stages, walk_forward_steps=steps), workers=workers, progress=progress
        )
        self.trading_checker = TradingChecker(config, self.decisions, prices, stages)
        self.inputs = InputChecker(
            prices, self._compute_features_and_labels, horizon=self.horizon, seed=config.seed, collector=self.collector
        )
        self.splits = self._make_dataset_splits(self.decisions.dataset)
        # The recorder has the inputs of the calibrated models, in the order of the splits.
        of_calibrated = (index for index, one in enumerate(self.splits.candidates) if calibrated[one])
        self.calibration_checkers = {
            index: CalibrationChecker(self.decisions.dataset, inputs, self.splits.splits[index], stages)
            for index, inputs in zip(of_calibrated, recorder.inputs, strict=True)
        }
        self.selection_checker = self._make_selection_checker()
        self.original_fits = OriginalFits(self.splits)
        self.refit_checkers: dict[tuple[int, int], RefitChecker] = {}
        self.rng = np.random.default_rng(config.seed)

    def audit_all_cutoffs(self, n_cutoffs: CutoffCount, progress: Progress) -> Audit:
        """Check at every cutoff, and return the audit."""
        folds_in_time = True
        for of_candidate, spec in self._splits_with_spec():
            folds_in_time &= check_folds_in_time(of_candidate, spec, self.collector)
        splits, n_sessions = self.splits.splits, len(self.prices.sessions)
        schedule = make_audit_schedule(
            splits, n_sessions=n_sessions, horizon=self.horizon, n_cutoffs=n_cutoffs, rng=self.rng
        )
        full, mirrored = (
            {session: list(group) for session, group in itertools.groupby(boundaries, attrgetter("session"))}
            for boundaries in (schedule.full_check_boundaries, schedule.mirror_check_boundaries)
        )
        sessions = schedule.input_check_sessions
        counter = ProgressCounter("auditing", len(sessions), progress)
        for index, session in enumerate(sessions):
            boundaries = [*full.get(session, ()), *mirrored.get(session, ())] if folds_in_time else []
            refit_checkers = [self._refit_checker(boundary) for boundary in boundaries]
            if session in full:
                for scenario in AUDIT_SCENARIOS:
                    self._check_scenarios(session, (scenario,), refit_checkers if scenario in MODEL_SCENARIOS else [])
                self._check_trading(session, full[session])
            else:
                path = MIRRORED_RETURNS if refit_checkers else INPUT_PATHS[index % len(INPUT_PATHS)]
                self._check_scenarios(session, (path, *PAST_AND_DATE_SCENARIOS), refit_checkers)
            counter.step()
        self.inputs.pending_labels.check_labels_were_pending(self.inputs.make_cutoff(sessions[-1], ""))
        first, last = (iso_date(self.prices.sessions[session]) for session in (sessions[0], sessions[-1]))
        return Audit(
            name=self.config.name,
            config_sha256=self.config.results_sha256(),
            data_sha256=self.prices.sha256,
            leaks=self.collector.leaks,
            coverage=AuditCoverage(
                first_cutoff=first,
                last_cutoff=last,
                n_refits=sum(len(split.first_session) for split in self.splits.splits),
                n_refits_checked=len(self.refit_checkers),
                n_full_cutoffs=len(full),
                n_model_cutoffs=len(mirrored),
                n_input_cutoffs=len(sessions),
                scenarios=AUDIT_SCENARIOS,
                n_scenarios_at_input_cutoff=1 + len(PAST_AND_DATE_SCENARIOS),
                n_compared_by_stage=dict(self.collector.n_compared),
                largest_change_by_stage=self.collector.max_deviation,
            ),
        )

    def _compute_features_and_labels(self, prices: Prices) -> AuditInputs:
        features, _ = feature_columns_from_config(self.config, prices, self.stages)
        return AuditInputs(prices, features, labels_from_config(self.config, prices, self.stages))

    @property
    def _model_configs(self) -> list[RunConfig]:
        """The config, or those of its candidates."""
        return [candidate.config for candidate in self.candidates] or [self.config]

    def _make_dataset_splits(self, dataset: Dataset) -> DatasetSplits:
        """Return the splits of the config's models on a dataset, candidate after candidate."""
        steps = self.stages.walk_forward_steps
        splits: list[ModelSplit] = []
        numbers: list[int] = []
        for number, config in enumerate(self._model_configs):
            spec, model = walk_forward_spec(config, self.prices), make_audit_model(config.model)
            own = dataset
            if isinstance(self.decisions.forecasts, SelectedForecasts):
                own = take_columns(dataset, *self.decisions.forecasts.selection.dataset_columns[number])
            of_model = make_model_splits(own, spec, model, steps)[0]
            name = f" ({self.candidates[number].name})" if self.candidates else ""
            splits += [replace(split, name=f"{split.name}{name}") for split in of_model]
            numbers += [number] * len(of_model)
        return DatasetSplits(dataset, splits, numbers)

    def _splits_with_spec(self) -> Iterator[tuple[DatasetSplits, WalkForwardSpec]]:
        """Yield the splits of each candidate, or of the config, with its folds' spec."""
        for number, config in enumerate(self._model_configs):
            chosen = [
                split for split, one in zip(self.splits.splits, self.splits.candidates, strict=True) if one == number
            ]
            yield DatasetSplits(self.splits.dataset, chosen), walk_forward_spec(config, self.prices)

    def _make_selection_checker(self) -> SelectionChecker | None:
        """Return the checker of the choice among candidates; None where nothing is chosen."""
        dataset, forecasts = self.decisions.dataset, self.decisions.forecasts
        if not (isinstance(dataset, SharedDataset) and isinstance(forecasts, SelectedForecasts)):
            return None
        per_year, weigh = self.config.report.sessions_in_year(self.prices), self.stages.weigh_candidates
        choose = choose_function(self.config, dataset.entry_names, weigh, sessions_per_year=per_year)
        return SelectionChecker(dataset, forecasts, choose)

    def _refit_checker(self, boundary: FoldBoundary) -> RefitChecker:
        """Return the checker of the newest refit at a boundary; boundaries with the same one share it."""
        split = self.splits.splits[boundary.split_index]
        newest = int(np.searchsorted(split.first_session, boundary.session, side="right")) - 1
        key = boundary.split_index, newest
        if key not in self.refit_checkers:
            self.refit_checkers[key] = RefitChecker(self.original_fits, *key)
        return self.refit_checkers[key]

    def _check_scenarios(self, session: int, scenarios: Sequence[str], refit_checkers: list[RefitChecker]) -> None:
        """Replace the prices after a session; check models only where no feature or label changed."""
        if TRUNCATION in scenarios and session < self.decisions.forecasts.session.min():
            return  # too few bars for any model
        last_sessions = [checker.last_session for checker in refit_checkers]
        last_session = max([session + self.horizon + MIN_REPLACED_SESSIONS, *last_sessions])
        inputs = self.inputs.check(session, scenarios, last_session=last_session)
        if inputs is None or not refit_checkers:
            return
        try:
            horizon, label_delay = self.config.label.horizon, self.config.label_delay
            dataset = build_dataset(
                inputs.prices, inputs.features, inputs.labels, horizon=horizon, label_delay=label_delay
            )
            splits = self._make_dataset_splits(dataset)
        except DataError:
            return  # in this scenario a feature is not finite, or no model has enough rows
        for checker in refit_checkers:
            checker.check_refits(splits, self.inputs.make_cutoff(session, ", ".join(scenarios)))

    def _check_trading(self, session: int, boundaries: list[FoldBoundary]) -> None:
        cutoff = self.inputs.make_cutoff(session, "")
        for boundary in boundaries:
            if boundary.split_index in self.calibration_checkers:
                self.calibration_checkers[boundary.split_index].check_calibration(cutoff, self.rng)
        if self.selection_checker:
            self.selection_checker.check_selection(cutoff, self.rng)
        self.trading_checker.check_trading(TRADING_SCENARIOS, cutoff, self.rng)
