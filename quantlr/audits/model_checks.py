"""Checks of folds, scaling, weights and probabilities: what a refit has learned, and from which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlr.audits.cutoffs import FoldBoundary
from quantlr.audits.result import PROBABILITY_TOLERANCE, Cutoff, LeakCollector, comparison_scale
from quantlr.core.timing import iso_date, label_cutoff_row
from quantlr.core.values import Array, Dataset, IntArray
from quantlr.model.config import LogisticRegression
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, forecast_models, gather_forecast_rows

REFITS_BEFORE_CUTOFF, REFITS_AFTER_CUTOFF = 1, 2
"""Refits that are fitted besides the newest at a cutoff: those before it, and those trained on replaced prices."""
PROBE_ROWS_PER_REFIT = 64
"""Training rows on which weights are compared, by the probabilities they give."""
AUDIT_SOLVER_TOLERANCE, MIN_NEWTON_MAX_ITER = 1e-12, 1000
"""Tolerance and iterations of a solver whose probabilities are compared to 1e-7."""
FOLD_TARGET_STAT_NAMES = ("base_rate", "mean_gain", "mean_loss", "std")
SESSION_BITS = 32
"""Bits of the session in a key of ticker and session."""


@dataclass(frozen=True, slots=True)
class DatasetSplits:
    """A dataset with the walk-forward splits of its models."""

    dataset: Dataset
    splits: Sequence[ModelSplit]

    def relative_fold_bounds(self, split: ModelSplit, refit_slice: slice) -> Array:
        """Return ends of training rows and first forecast of some refits, relative to each ticker's first row."""
        is_pooled, n_tickers = split.ticker_index < 0, len(self.dataset.tickers)
        first_rows = [self.dataset.ticker_slice(ticker).start for ticker in range(n_tickers)] if is_pooled else [0]
        bounds: list[IntArray] = []
        for folds, first_row in zip(split.folds, first_rows, strict=True):
            part = folds.slice_refits(refit_slice)
            bounds += [rows - first_row for rows in (part.train_start, part.train_stop, part.test_start)]
        return np.concatenate(bounds).astype(np.float64)


def make_audit_model(model: LogisticRegression) -> LogisticRegression:
    """Return the model with a tight solver tolerance, which accepts degenerate folds of an unrealistic scenario.

    Calibration is removed: it needs all forecasts, not only those around a cutoff, and is checked separately.
    """
    changes = {"tol": min(model.tol, AUDIT_SOLVER_TOLERANCE), "degenerate": "base_rate", "calibration": None}
    if model.solver == "newton":
        changes["max_iter"] = max(model.max_iter, MIN_NEWTON_MAX_ITER)
    return model.model_copy(update=changes)


def check_folds(splits: DatasetSplits, split_spec: WalkForwardSpec, collector: LeakCollector) -> bool:
    """Check that every refit trains only on rows whose label is known in time; return whether all do."""
    dataset, embargo = splits.dataset, split_spec.embargo
    in_time = True
    for split in splits.splits:
        rows = slice(split.first_row, split.first_row + len(split.X))
        known_at, calendar = dataset.label_known_at[rows], np.unique(dataset.session[rows])
        latest = label_cutoff_row(0, embargo=embargo) + np.searchsorted(calendar, split.first_session)
        latest_session = calendar[np.maximum(latest, 0)]
        for folds in split.folds:
            trained = np.flatnonzero(folds.train_stop > folds.train_start)
            newest_known_at = known_at[folds.train_stop[trained] - 1]
            collector.n_compared["folds"] += len(trained)
            for refit in trained[newest_known_at > latest_session[trained]].tolist():
                row = split.first_row + int(folds.train_stop[refit]) - 1
                rule = f", and the embargo of {embargo} requires {iso_date(dataset.sessions[latest_session[refit]])}"
                _add_late_label_leak(dataset, split, row, refit, rule if embargo else "", collector)
                in_time = False
    return in_time


def _add_late_label_leak(
    dataset: Dataset, split: ModelSplit, row: int, refit_index: int, rule: str, collector: LeakCollector
) -> None:
    forecast, trained = iso_date(split.refit_dates[refit_index]), iso_date(dataset.sessions[dataset.session[row]])
    known_at = int(dataset.label_known_at[row])
    known = f"on {iso_date(dataset.sessions[known_at])}" if known_at < len(dataset.sessions) else "never"
    text = f"the refit that forecasts {forecast} ({split.name}) trains on {trained}, whose label is known {known}{rule}"
    Cutoff(-1, forecast, "", collector).add_leak("folds", "train", text, ticker=split.name, date=trained)


class FittedRefits:
    """Consecutive refits of one model with their forecasts.

    Attributes
    ----------
    split : of the model, with these refits only.
    scaling : of their features.
    model_forecasts : weights, statistics of the target, and forecasts.
    ticker_session_key : (forecasts,) ticker and session of each forecast, in one integer.
    """

    def __init__(self, dataset: Dataset, split: ModelSplit, refit_slice: slice) -> None:
        self.split = split.slice_refits(refit_slice)
        self.scaling = self.split.make_training_data().scaling
        self.model_forecasts = forecast_models([self.split])[0]
        key = dataset.ticker.astype(np.int64) * 2**SESSION_BITS + dataset.session
        self.ticker_session_key = gather_forecast_rows([self.split], key)

    def keys_and_log_odds_until(self, last_session: int) -> tuple[IntArray, Array]:
        """Return key and log odds of the forecasts up to a session."""
        past = (self.ticker_session_key & (2**SESSION_BITS - 1)) <= last_session
        return self.ticker_session_key[past], self.model_forecasts.log_odds[past]


class RefitChecker:
    """Refits of one model around a cutoff, to be compared with those fitted on other later prices."""

    def __init__(self, splits: DatasetSplits, boundary: FoldBoundary) -> None:
        self.splits, self.cutoff_session = splits, boundary.session
        self.split = splits.splits[boundary.split_index]
        newest = int(np.searchsorted(self.split.first_session, boundary.session, side="right")) - 1
        self.newest_refit_key = boundary.split_index, newest
        self.checked_refits = slice(max(newest - REFITS_BEFORE_CUTOFF, 0), newest + 1)
        self.n_checked = self.checked_refits.stop - self.checked_refits.start
        # Later refits train on replaced prices, which a learning rate of the user's may not suit.
        n_after = REFITS_AFTER_CUTOFF if self.split.model.learning_rate == "auto" else 0
        self.fitted_refits = slice(self.checked_refits.start, self.checked_refits.stop + n_after)
        self.original = FittedRefits(splits.dataset, self.split, self.fitted_refits)

    def check_refits(self, altered_splits: DatasetSplits, cutoff: Cutoff) -> None:
        """Compare what was learned and forecast by the cutoff; of dependent stages, report the first that changed."""
        ticker_index = self.split.ticker_index
        altered_split = next((split for split in altered_splits.splits if split.ticker_index == ticker_index), None)
        if altered_split is None:
            self._add_missing_refit_leak(cutoff)
            return
        if not self._check_fold_rows(altered_splits, altered_split, cutoff):
            return
        altered = FittedRefits(altered_splits.dataset, altered_split, self.fitted_refits)
        for index, name in enumerate(FOLD_TARGET_STAT_NAMES):
            was, became = (
                fitted.model_forecasts.target_stats[index, : self.n_checked] for fitted in (self.original, altered)
            )
            cutoff.check_unchanged("knowledge", name, was, became, self._refit_ticker_date, scale=comparison_scale(was))
        if self._check_scaling(altered, cutoff) and self._check_coefficients(altered, cutoff):
            self._check_probabilities(altered, cutoff)

    def _add_missing_refit_leak(self, cutoff: Cutoff) -> None:
        name = self.split.name
        text = f"{name} lacks a refit when all prices after {cutoff.date} are replaced ({cutoff.scenario})"
        cutoff.add_leak("folds", "refits", text, ticker=name)

    def _refit_ticker_date(self, refit_index: int) -> tuple[str, str]:
        return self.split.name, iso_date(self.split.refit_dates[self.checked_refits.start + refit_index])

    def _check_fold_rows(self, altered_splits: DatasetSplits, altered_split: ModelSplit, cutoff: Cutoff) -> bool:
        """Compare which rows train the refits up to the cutoff."""
        n_refits = self.checked_refits.stop
        was = self.splits.relative_fold_bounds(self.split, slice(0, n_refits))
        became = altered_splits.relative_fold_bounds(altered_split, slice(0, n_refits))
        if len(altered_split.first_session) < n_refits or was.shape != became.shape:
            self._add_missing_refit_leak(cutoff)
            return False

        def ticker_date(index: int) -> tuple[str, str]:
            return self.split.name, iso_date(self.split.refit_dates[index % n_refits])

        return cutoff.check_unchanged("folds", "train", was, became, ticker_date, tolerance=0.5)

    def _check_scaling(self, altered: FittedRefits, cutoff: Cutoff) -> bool:
        unchanged = True
        for name in ("mean", "std"):
            for index, feature in enumerate(self.split.feature_names):
                scalings = self.original.scaling, altered.scaling
                was, became = (getattr(scaling, name)[: self.n_checked, index] for scaling in scalings)
                scale = self.original.scaling.std[: self.n_checked, index] + np.abs(was)
                scale, what = np.where(scale > 0, scale, 1.0), f"{name} of {feature}"
                unchanged &= cutoff.check_unchanged("scale", what, was, became, self._refit_ticker_date, scale=scale)
        return unchanged

    def _check_coefficients(self, altered: FittedRefits, cutoff: Cutoff) -> bool:
        """Compare weights by the probabilities they give to some of their own training rows."""
        was: list[Array] = []
        became: list[Array] = []
        for refit in range(self.n_checked):
            training = [folds[refit].train for folds in self.original.split.folds]
            rows = np.concatenate([np.arange(rows.start, rows.stop) for rows in training])
            probes = self.split.X[rows[np.linspace(0, len(rows) - 1, PROBE_ROWS_PER_REFIT).astype(np.int64)]]
            for probabilities, fitted in ((was, self.original), (became, altered)):
                weights = fitted.model_forecasts.fit_results.coefficients[refit]
                probabilities.append(sigmoid(weights[0] + probes @ weights[1:]))

        def ticker_date(index: int) -> tuple[str, str]:
            return self._refit_ticker_date(index // PROBE_ROWS_PER_REFIT)

        pair = np.concatenate(was), np.concatenate(became)
        return cutoff.check_unchanged("fit", "weights", *pair, ticker_date, tolerance=PROBABILITY_TOLERANCE)

    def _check_probabilities(self, altered: FittedRefits, cutoff: Cutoff) -> None:
        key, was = self.original.keys_and_log_odds_until(self.cutoff_session)
        altered_key, became = altered.keys_and_log_odds_until(self.cutoff_session)
        if not np.array_equal(key, altered_key):
            self._add_missing_refit_leak(cutoff)
            return
        dataset = self.splits.dataset

        def ticker_date(index: int) -> tuple[str, str]:
            ticker, session = divmod(int(key[index]), 2**SESSION_BITS)
            return dataset.tickers[ticker], iso_date(dataset.sessions[session])

        probabilities = sigmoid(was), sigmoid(became)
        cutoff.check_unchanged("forecast", "probability", *probabilities, ticker_date, tolerance=PROBABILITY_TOLERANCE)
