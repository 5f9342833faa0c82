"""Checks of models: folds, scaling, weights and probabilities may not depend on later prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantlr.audits.result import PROBABILITY_TOLERANCE, CutoffComparison, Leak, LeakCollector, comparison_scale
from quantlr.core.timing import iso_date, label_cutoff_row
from quantlr.core.values import Array, Dataset, IntArray
from quantlr.model.base import Model
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, forecast_models, gather_forecast_rows

REFITS_BEFORE_CUTOFF, REFITS_AFTER_CUTOFF = 1, 2
"""Refits that are fitted besides the newest at a cutoff: those before it, and those trained on replaced prices."""
PROBE_ROWS_PER_REFIT = 64
"""Training rows on which weights are compared, by the probabilities they give."""
FOLD_TARGET_STAT_NAMES = ("base_rate", "mean_gain", "mean_loss", "std")
SESSION_BITS = 32
"""Bits of the session in a key of ticker and session."""


@dataclass(frozen=True, slots=True)
class DatasetSplits:
    """A dataset with the walk-forward splits of its models.

    Attributes
    ----------
    dataset, splits : the rows, and the models' splits of them.
    candidates : number of the candidate that each split is of; empty where a config has none.
    """

    dataset: Dataset
    splits: Sequence[ModelSplit]
    candidates: Sequence[int] = ()

    def find_same_model(self, other: DatasetSplits, split_index: int) -> ModelSplit | None:
        """Return the split of the model that another dataset's split is of: of the same ticker and candidate."""
        wanted = other._model_key(split_index)
        return next((split for index, split in enumerate(self.splits) if self._model_key(index) == wanted), None)

    def _model_key(self, split_index: int) -> tuple[int, int]:
        candidate = self.candidates[split_index] if self.candidates else 0
        return candidate, self.splits[split_index].ticker_index

    def relative_fold_bounds(self, split: ModelSplit, refit_slice: slice) -> Array:
        """Return ends of training rows and first forecast of some refits, relative to each ticker's first row."""
        is_pooled, n_tickers = split.ticker_index < 0, len(self.dataset.tickers)
        first_rows = [self.dataset.ticker_slice(ticker).start for ticker in range(n_tickers)] if is_pooled else [0]
        bounds: list[IntArray] = []
        for folds, first_row in zip(split.folds, first_rows, strict=True):
            part = folds.slice_refits(refit_slice)
            bounds += [rows - first_row for rows in (part.train_start, part.train_stop, part.test_start)]
        return np.concatenate(bounds).astype(np.float64)


def make_audit_model(model: Model) -> Model:
    """Return the model as an audit fits it, without calibration.

    That needs all forecasts, not only those around a cutoff, and is checked separately.
    """
    return model.for_audit().model_copy(update={"calibration": None})


def check_folds_in_time(splits: DatasetSplits, split_spec: WalkForwardSpec, collector: LeakCollector) -> bool:
    """Check that every refit trains only on rows whose label is known in time; return whether all do."""
    dataset, embargo = splits.dataset, split_spec.embargo
    in_time = True
    for split in splits.splits:
        rows = slice(split.first_row, split.first_row + len(split.X))
        label_known_at = dataset.label_known_to_all_at if split.ticker_index < 0 else dataset.label_known_at
        known_at, calendar = label_known_at[rows], np.unique(dataset.session[rows])
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
    leak = Leak(stage="folds", what="train", ticker=split.name, date=trained, text=text)
    CutoffComparison(-1, forecast, "", collector).add_leak(leak)


class FittedRefits:
    """Consecutive refits of one model with their forecasts.

    Attributes
    ----------
    first_refit : position of the first of them among the model's refits; all other positions count from the model's.
    scaling : of their features.
    model_forecasts : weights, statistics of the target, and forecasts.
    ticker_session_key : (forecasts,) ticker and session of each forecast, in one integer.
    """

    def __init__(self, dataset: Dataset, split: ModelSplit, refits: slice) -> None:
        part = split.slice_refits(refits)
        self.first_refit = refits.start
        self.scaling = part.make_training_data().scaling
        self.model_forecasts = forecast_models([part])[0]
        key = dataset.ticker.astype(np.int64) * 2**SESSION_BITS + dataset.session
        self.ticker_session_key, self._refit = gather_forecast_rows([part], key), part.forecast_refit_indices()

    def local_slice(self, refits: slice) -> slice:
        """Return the positions among these refits."""
        return slice(refits.start - self.first_refit, refits.stop - self.first_refit)

    def forecast_keys_and_log_odds(self, refits: slice, *, last_session: int) -> tuple[IntArray, Array]:
        """Return key and log odds of the forecasts of some refits up to a session."""
        own, session = self.local_slice(refits), self.ticker_session_key & (2**SESSION_BITS - 1)
        selected = (self._refit >= own.start) & (self._refit < own.stop) & (session <= last_session)
        return self.ticker_session_key[selected], self.model_forecasts.log_odds[selected]

    def probabilities_by_refit(self, X_by_refit: Sequence[Array], first_refit: int) -> Array:
        """Return the probabilities that consecutive refits give, (refits, n), to rows (n, k) for each."""
        rows = np.arange(len(X_by_refit)).repeat([len(X) for X in X_by_refit]) + first_refit - self.first_refit
        log_odds = self.model_forecasts.fitted.log_odds(np.concatenate(X_by_refit), rows)
        return np.asarray(sigmoid(log_odds).reshape(len(X_by_refit), -1))


class OriginalFits:
    """Fits of the models on the actual prices, each made when it is first needed.

    All refits of a model take little longer than four, and are fitted at once. Only where a fit ends at a distance from
    its optimum that depends on where it starts, as by gradient descent, it starts where the altered one does.
    """

    def __init__(self, splits: DatasetSplits) -> None:
        self.splits, self._fits = splits, dict[tuple[int, int], FittedRefits]()

    def fit(self, split_index: int, refits: slice) -> FittedRefits:
        """Return fits of a model, of which those refits are part."""
        split = self.splits.splits[split_index]
        logistic = split.model.as_logistic_regression()
        if logistic is not None and logistic.solver == "newton":
            refits = slice(0, len(split.first_session))
        key = split_index, refits.start
        if key not in self._fits:
            self._fits[key] = FittedRefits(self.splits.dataset, split, refits)
        return self._fits[key]


class RefitChecker:
    """Some refits of one model, to be compared with those fitted on other later prices.

    Parameters
    ----------
    originals : the models' fits on the actual prices.
    split_index : position of the model.
    newest_refit : the newest refit that is compared; as many before it are, too, as `REFITS_BEFORE_CUTOFF` says.
    """

    def __init__(self, originals: OriginalFits, split_index: int, newest_refit: int) -> None:
        self.splits, self.split_index = originals.splits, split_index
        self.split = originals.splits.splits[split_index]
        self.checked_refits = slice(max(newest_refit - REFITS_BEFORE_CUTOFF, 0), newest_refit + 1)
        # Later refits train on replaced prices, which a learning rate of the user's may not suit.
        logistic = self.split.model.as_logistic_regression()
        n_after = REFITS_AFTER_CUTOFF if logistic is None or logistic.learning_rate == "auto" else 0
        self.fitted_refits = slice(self.checked_refits.start, self.checked_refits.stop + n_after)
        self.original = originals.fit(split_index, self.fitted_refits)
        self.probe_X = []
        row = np.arange(len(self.split.X))
        for refit in range(self.checked_refits.start, self.checked_refits.stop):
            rows = np.concatenate([row[folds[refit].train] for folds in self.split.folds])
            probes = np.linspace(0, len(rows) - 1, PROBE_ROWS_PER_REFIT).astype(np.int64)
            self.probe_X.append(self.split.X[rows[probes]])

    @property
    def last_session(self) -> int:
        """Position of the last session whose prices the refits need, their own forecasts included."""
        first_session, next_refit = self.split.first_session, self.fitted_refits.stop
        return (
            int(first_session[next_refit]) if next_refit < len(first_session) else len(self.splits.dataset.sessions) - 1
        )

    def check_refits(self, altered_splits: DatasetSplits, cutoff: CutoffComparison) -> None:
        """Compare what was learned and forecast by the cutoff; of dependent stages, report the first that changed."""
        altered_split = altered_splits.find_same_model(self.splits, self.split_index)
        if altered_split is None:
            self._add_missing_refit_leak(cutoff)
            return
        if not self._check_fold_rows(altered_splits, altered_split, cutoff):
            return
        altered = FittedRefits(altered_splits.dataset, altered_split, self.fitted_refits)
        for index, name in enumerate(FOLD_TARGET_STAT_NAMES):
            was, became = (
                fitted.model_forecasts.target_stats[index, fitted.local_slice(self.checked_refits)]
                for fitted in (self.original, altered)
            )
            scale = comparison_scale(was)
            cutoff.check_unchanged("target_stats", name, was, became, self._refit_ticker_date, scale=scale)
        if self._check_scaling(altered, cutoff) and self._check_weights(altered, cutoff):
            self._check_probabilities(altered, cutoff)

    def _add_missing_refit_leak(self, cutoff: CutoffComparison) -> None:
        name = self.split.name
        text = f"{name} lacks a refit when all values after {cutoff.date} are replaced ({cutoff.scenario})"
        cutoff.add_leak(Leak(stage="folds", what="refits", ticker=name, text=text))

    def _refit_ticker_date(self, refit_index: int) -> tuple[str, str]:
        return self.split.name, iso_date(self.split.refit_dates[self.checked_refits.start + refit_index])

    def _check_fold_rows(
        self, altered_splits: DatasetSplits, altered_split: ModelSplit, cutoff: CutoffComparison
    ) -> bool:
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

    def _check_scaling(self, altered: FittedRefits, cutoff: CutoffComparison) -> bool:
        unchanged = True
        for name in ("mean", "std"):
            for index, feature in enumerate(self.split.feature_names):
                was, became = (
                    getattr(fitted.scaling, name)[fitted.local_slice(self.checked_refits), index]
                    for fitted in (self.original, altered)
                )
                scale = self.original.scaling.std[self.original.local_slice(self.checked_refits), index] + np.abs(was)
                scale, what = np.where(scale > 0, scale, 1.0), f"{name} of {feature}"
                unchanged &= cutoff.check_unchanged("scale", what, was, became, self._refit_ticker_date, scale=scale)
        return unchanged

    def _check_weights(self, altered: FittedRefits, cutoff: CutoffComparison) -> bool:
        """Compare what was learnt by the probabilities it gives to some of its own training rows."""
        first = self.checked_refits.start
        was, became = (
            fitted.probabilities_by_refit(self.probe_X, first).ravel() for fitted in (self.original, altered)
        )

        def ticker_date(index: int) -> tuple[str, str]:
            return self._refit_ticker_date(index // PROBE_ROWS_PER_REFIT)

        return cutoff.check_unchanged("fit", "weights", was, became, ticker_date, tolerance=PROBABILITY_TOLERANCE)

    def _check_probabilities(self, altered: FittedRefits, cutoff: CutoffComparison) -> None:
        (key, was), (altered_key, became) = (
            fitted.forecast_keys_and_log_odds(self.checked_refits, last_session=cutoff.session)
            for fitted in (self.original, altered)
        )
        if not np.array_equal(key, altered_key):
            self._add_missing_refit_leak(cutoff)
            return
        dataset = self.splits.dataset

        def ticker_date(index: int) -> tuple[str, str]:
            ticker, session = divmod(int(key[index]), 2**SESSION_BITS)
            return dataset.tickers[ticker], iso_date(dataset.sessions[session])

        probabilities = sigmoid(was), sigmoid(became)
        cutoff.check_unchanged("forecast", "probability", *probabilities, ticker_date, tolerance=PROBABILITY_TOLERANCE)
