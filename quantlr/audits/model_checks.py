"""Folds, scaling, weights and probabilities: what a refit has learnt, and from which rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantlr.audits.result import PROBABILITY_TOLERANCE, Cutoff, Leak, LeakCollector, comparison_scale
from quantlr.core.arrays import Array, IntArray
from quantlr.core.progress import iso_date
from quantlr.core.timing import label_cutoff_row
from quantlr.core.values import Dataset
from quantlr.model.standardize import Scaling
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import (
    ModelForecasts,
    ModelSplit,
    WalkForwardFunctions,
    forecast_models,
    gather_forecast_rows,
    make_model_splits,
)

REFITS_BEFORE_CUTOFF, REFITS_AFTER_CUTOFF = 1, 2
"""Refits that are walked besides the newest at a cut: those before it, and those that train on what was replaced."""
PROBE_ROWS_PER_REFIT = 64
"""Training rows on which weights are compared, by what they say there."""
AUDIT_SOLVER_TOLERANCE, MIN_NEWTON_MAX_ITER = 1e-12, 1000
"""Tolerance and updates of a descent whose probabilities are compared to 1e-7."""
FOLD_TARGET_STAT_NAMES = ("base_rate", "mean_gain", "mean_loss", "std")


@dataclass(frozen=True, slots=True)
class DatasetSplits:
    """A dataset and what its models walk through."""

    dataset: Dataset
    splits: tuple[ModelSplit, ...]

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, split_spec: WalkForwardSpec, model: LogisticRegression, functions: WalkForwardFunctions
    ) -> DatasetSplits:
        """Return what the models of a dataset walk through."""
        return cls(dataset, tuple(make_model_splits(dataset, split_spec, model, functions)[0]))

    def row_sessions(self, split: ModelSplit) -> IntArray:
        """Return the session of each of a journey's rows, (rows,)."""
        return self.dataset.session[split.first_row : split.first_row + len(split.X)]

    def ticker_start_rows(self, split: ModelSplit) -> list[int]:
        """Return where each ticker's rows begin in a journey."""
        if split.ticker_index >= 0:
            return [0]
        return [self.dataset.ticker_slice(ticker).start for ticker in range(len(self.dataset.tickers))]


def make_audit_model(model: LogisticRegression) -> LogisticRegression:
    """Return the model as it is walked here: solved tightly, by refits that may fail in an absurd future.

    Calibration is looked at by itself, since it needs all forecasts and not only those around a cut.
    """
    changed = {"tol": min(model.tol, AUDIT_SOLVER_TOLERANCE), "degenerate": "base_rate", "calibration": None}
    if model.solver == "newton":
        changed["max_iter"] = max(model.max_iter, MIN_NEWTON_MAX_ITER)
    return model.model_copy(update=changed)


def check_folds(splits: DatasetSplits, split_spec: WalkForwardSpec, leak_collector: LeakCollector) -> bool:
    """Look whether every refit trains only on rows whose label is known in time; return whether all do."""
    leaks: list[Leak] = []
    count = 0
    for journey in splits.splits:
        sessions = splits.row_sessions(journey)
        calendar = np.unique(sessions)
        known = splits.dataset.label_known_at[journey.first_row : journey.first_row + len(journey.X)]
        latest = label_cutoff_row(0, embargo=split_spec.embargo) + np.searchsorted(calendar, journey.first_session)
        limit = calendar[np.maximum(latest, 0)]
        for ticker in journey.folds:
            trained = np.flatnonzero(ticker.train_stop > ticker.train_start)
            newest = known[ticker.train_stop[trained] - 1]
            count += len(trained)
            for refit in trained[newest > limit[trained]].tolist():
                row = journey.first_row + int(ticker.train_stop[refit]) - 1
                leaks.append(_late_label_leak(splits.dataset, journey, row, refit, limit[refit], split_spec.embargo))
    leak_collector.n_compared_by_stage["folds"] = leak_collector.n_compared_by_stage.get("folds", 0) + count
    for leak in leaks:
        leak_collector.add(leak)
    return not leaks


def _late_label_leak(
    dataset: Dataset, split: ModelSplit, dataset_row: int, refit_index: int, latest_known_session: int, embargo: int
) -> Leak:
    forecast, newest = (
        iso_date(split.refit_dates[refit_index]),
        iso_date(dataset.sessions[dataset.session[dataset_row]]),
    )
    at = int(dataset.label_known_at[dataset_row])
    known = f"on {iso_date(dataset.sessions[at])}" if at < len(dataset.sessions) else "never"
    rule = (
        f", and the embargo of {embargo} asks for {iso_date(dataset.sessions[latest_known_session])}" if embargo else ""
    )
    text = (
        f"folds: the refit that forecasts {forecast} ({split.name}) trains on {newest}, whose label is known {known}"
        f"{rule}"
    )
    return Leak("folds", "train", split.name, newest, forecast, "", np.nan, np.nan, 1, text)


@dataclass(frozen=True, slots=True)
class FittedRefits:
    """A few neighbouring refits of one model, walked.

    Attributes
    ----------
    journey : with these refits only.
    key : (forecasts,) ticker and session of each forecast, in one number.
    """

    split: ModelSplit
    scaling: Scaling
    model_forecasts: ModelForecasts
    ticker_session_key: IntArray

    @classmethod
    def from_split(cls, splits: DatasetSplits, split: ModelSplit, refit_slice: slice) -> FittedRefits:
        """Return some refits of a journey, walked."""
        part = split.slice_refits(refit_slice)
        ticker, session = (
            gather_forecast_rows([part], each) for each in (splits.dataset.ticker, splits.dataset.session)
        )
        key = ticker * 2**32 + session
        return cls(part, part.make_training_data().scaling, forecast_models([part])[0], key)


class RefitChecker:
    """The refits around a cut as they were, to hold against what they become with other futures."""

    def __init__(self, splits: DatasetSplits, split_index: int, cutoff_session: int) -> None:
        self.splits, self.cutoff_session = splits, cutoff_session
        self.split = splits.splits[split_index]
        newest = int(np.searchsorted(self.split.first_session, cutoff_session, side="right")) - 1
        self.newest_refit_key = (split_index, newest)
        self.checked_refit_slice = slice(max(newest - REFITS_BEFORE_CUTOFF, 0), newest + 1)
        self.n_refits_after = 0 if self.split.model.learning_rate != "auto" else REFITS_AFTER_CUTOFF
        self.original_refits = FittedRefits.from_split(splits, self.split, self._fitted_refit_slice)

    @property
    def _fitted_refit_slice(self) -> slice:
        """The refits that are walked: those that are looked at, and some that the replaced sessions train.

        A rate of the user's own may be refused in an absurd future; then there are none of these.
        """
        return slice(self.checked_refit_slice.start, self.checked_refit_slice.stop + self.n_refits_after)

    @property
    def n_checked_refits(self) -> int:
        """How many refits are looked at."""
        return self.checked_refit_slice.stop - self.checked_refit_slice.start

    def check(self, altered_splits: DatasetSplits, cutoff: Cutoff, leak_collector: LeakCollector) -> None:
        """Compare what had been learnt and forecast by the cut; name the first stage that moved."""
        found = next(
            (journey for journey in altered_splits.splits if journey.ticker_index == self.split.ticker_index), None
        )
        if found is None:
            leak_collector.add(self._missing_refit_leak(cutoff))
            return
        if not self._check_fold_rows(altered_splits, found, cutoff, leak_collector):
            return
        piece = FittedRefits.from_split(altered_splits, found, self._fitted_refit_slice)
        self._check_target_stats(piece, cutoff, leak_collector)
        if self._check_scaling(piece, cutoff, leak_collector) and self._check_coefficients(
            piece, cutoff, leak_collector
        ):
            self._check_probabilities(piece, cutoff, leak_collector)

    def _missing_refit_leak(self, cutoff: Cutoff) -> Leak:
        name = self.split.name
        text = f"folds: {name} has no refit any more when all after {cutoff.date} is replaced ({cutoff.scenario})"
        return Leak("folds", "refits", name, cutoff.date, cutoff.date, cutoff.scenario, np.nan, np.nan, 1, text)

    def _locate_refit(self, refit_index: int) -> tuple[str, str]:
        return self.split.name, iso_date(self.split.refit_dates[self.checked_refit_slice.start + refit_index])

    def _check_fold_rows(
        self, altered_splits: DatasetSplits, altered_split: ModelSplit, cutoff: Cutoff, leak_collector: LeakCollector
    ) -> bool:
        """Compare which rows train the refits up to the cut, each ticker's counted from its own first."""
        early = slice(0, self.checked_refit_slice.stop)
        was, became = (
            _fold_row_bounds(walkers, journey, early)
            for walkers, journey in ((self.splits, self.split), (altered_splits, altered_split))
        )
        if len(altered_split.first_session) < early.stop or was.shape != became.shape:
            leak_collector.add(self._missing_refit_leak(cutoff))
            return False

        def locate(index: int) -> tuple[str, str]:
            return self.split.name, iso_date(self.split.refit_dates[index % early.stop])

        return leak_collector.check_unchanged(
            "folds", "train", was, became, cutoff=cutoff, locate=locate, tolerance=0.5
        )

    def _check_scaling(self, altered_refits: FittedRefits, cutoff: Cutoff, leak_collector: LeakCollector) -> bool:
        still = True
        for name in ("mean", "std"):
            for at, column in enumerate(self.split.feature_names):
                was, became = (
                    getattr(one.scaling, name)[: self.n_checked_refits, at]
                    for one in (self.original_refits, altered_refits)
                )
                size = self.original_refits.scaling.std[: self.n_checked_refits, at] + np.abs(was)
                size = np.where(size > 0, size, 1.0)
                what = f"{name} of {column}"
                still &= leak_collector.check_unchanged(
                    "scale", what, was, became, cutoff=cutoff, locate=self._locate_refit, scale=size
                )
        return still

    def _check_coefficients(self, altered_refits: FittedRefits, cutoff: Cutoff, leak_collector: LeakCollector) -> bool:
        """Compare weights by the probabilities they give to rows of their training."""
        was, became = (
            self._probe_row_probabilities(one.model_forecasts.fit_results.coefficients)
            for one in (self.original_refits, altered_refits)
        )
        return leak_collector.check_unchanged(
            "fit",
            "weights",
            was,
            became,
            cutoff=cutoff,
            locate=lambda at: self._locate_refit(at // PROBE_ROWS_PER_REFIT),
            tolerance=PROBABILITY_TOLERANCE,
        )

    def _probe_row_probabilities(self, coefficients: Array) -> Array:
        """Return what weights (refits, 1 + k) make of some of their own training rows, (refits * PROBES,)."""
        said = []
        for refit, weights in enumerate(coefficients[: self.n_checked_refits]):
            trained = np.concatenate(
                [np.arange(t[refit].train.start, t[refit].train.stop) for t in self.original_refits.split.folds]
            )
            probes = self.split.X[trained[np.linspace(0, len(trained) - 1, PROBE_ROWS_PER_REFIT).astype(np.int64)]]
            said.append(sigmoid(weights[0] + probes @ weights[1:]))
        return np.concatenate(said)

    def _check_target_stats(self, altered_refits: FittedRefits, cutoff: Cutoff, leak_collector: LeakCollector) -> None:
        for at, name in enumerate(FOLD_TARGET_STAT_NAMES):
            was, became = (
                one.model_forecasts.target_stats[at, : self.n_checked_refits]
                for one in (self.original_refits, altered_refits)
            )
            leak_collector.check_unchanged(
                "knowledge", name, was, became, cutoff=cutoff, locate=self._locate_refit, scale=comparison_scale(was)
            )

    def _check_probabilities(self, altered_refits: FittedRefits, cutoff: Cutoff, leak_collector: LeakCollector) -> None:
        past = [
            (one.ticker_session_key & (2**32 - 1)) <= self.cutoff_session
            for one in (self.original_refits, altered_refits)
        ]
        key = self.original_refits.ticker_session_key[past[0]]
        if not np.array_equal(key, altered_refits.ticker_session_key[past[1]]):
            leak_collector.add(self._missing_refit_leak(cutoff))
            return
        tickers, sessions = self.splits.dataset.tickers, self.splits.dataset.sessions

        def locate(index: int) -> tuple[str, str]:
            return tickers[key[index] >> 32], iso_date(sessions[key[index] & (2**32 - 1)])

        was, became = (
            sigmoid(one.model_forecasts.log_odds[known])
            for one, known in zip((self.original_refits, altered_refits), past, strict=True)
        )
        leak_collector.check_unchanged(
            "forecast", "probability", was, became, cutoff=cutoff, locate=locate, tolerance=PROBABILITY_TOLERANCE
        )


def _fold_row_bounds(splits: DatasetSplits, split: ModelSplit, refit_slice: slice) -> Array:
    """Return the training rows' ends and the first forecast of each refit, counted from each ticker's first row."""
    found: list[IntArray] = []
    for ticker, start in zip(split.folds, splits.ticker_start_rows(split), strict=True):
        part = ticker.slice_refits(refit_slice)
        found += [part.train_start - start, part.train_stop - start, part.test_start - start]
    return np.concatenate(found).astype(np.float64)
