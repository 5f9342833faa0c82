"""Checks of inputs and models: the dates after which prices are replaced, and what may not change before them.

Checked are features, labels, folds, scaling, weights and probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlr.audits.result import PROBABILITY_TOLERANCE, Cutoff, Leak, LeakCollector, comparison_scale
from quantlr.core.timing import iso_date, label_cutoff_row, label_known_row
from quantlr.core.values import Array, Dataset, FeatureColumns, IntArray, Labels, Prices
from quantlr.model.base import Model
from quantlr.model.logistic import sigmoid
from quantlr.model.splits import WalkForwardSpec
from quantlr.model.walk_forward import ModelSplit, forecast_models, gather_forecast_rows

CutoffCount = int | Literal["auto", "all"]
DEFAULT_FULL_CHECK_BOUNDARIES = 16
"""Boundaries with every scenario under "auto", of however many."""
MAX_MIRROR_CHECK_BOUNDARIES = 400
"""Number of boundaries up to which "auto" checks all others too, with one scenario."""
MAX_INPUT_CHECKS_PER_BOUNDARY = 6
"""Sessions after a boundary at which features and label are checked, at most; spread over one horizon."""


@dataclass(frozen=True, slots=True, order=True)
class FoldBoundary:
    """A session after which the prices are replaced, at or after the start of a fold.

    Attributes
    ----------
    session : position of the last session that is not replaced.
    split_index : position of the model whose refits are checked.
    """

    session: int
    split_index: int


@dataclass(frozen=True, slots=True)
class AuditSchedule:
    """Sessions of an audit after which all prices are replaced by those of a scenario.

    Attributes
    ----------
    full_check_boundaries : at which every stage is checked, with every scenario.
    mirror_check_boundaries : further ones, at which models are checked with mirrored returns only.
    input_check_sessions : positions at which features and label are checked, ascending; all others included.
    """

    full_check_boundaries: tuple[FoldBoundary, ...]
    mirror_check_boundaries: tuple[FoldBoundary, ...]
    input_check_sessions: tuple[int, ...]


def make_audit_schedule(
    splits: Sequence[ModelSplit],
    *,
    n_sessions: int,
    horizon: int,
    n_cutoffs: CutoffCount,
    rng: np.random.Generator,
    n_default: int = DEFAULT_FULL_CHECK_BOUNDARIES,
    max_mirror_checks: int = MAX_MIRROR_CHECK_BOUNDARIES,
) -> AuditSchedule:
    """Return the cutoffs of an audit.

    One cutoff is the first session that a refit forecasts: its training labels must be known by then. Another is one to
    `horizon` sessions later, where labels that the purge excluded become known. Of more boundaries than `n_cutoffs`
    the first and the last are kept, and the others sampled; of fewer, sessions between the first and the last forecast
    are sampled too. "auto" keeps `n_default`, and checks each of the others once, where they are at most
    `max_mirror_checks`.

    Features and label are cheap to check: also between boundaries, and from the first sessions on, where their windows
    are not full yet.
    """
    last = n_sessions - 2  # the last session after which there is a price to replace
    boundaries = sorted(
        FoldBoundary(session, index)
        for index, split in enumerate(splits)
        for session in split.first_session.tolist()
        if session <= last
    )
    n_full = len(boundaries) if n_cutoffs == "all" else n_default if n_cutoffs == "auto" else n_cutoffs
    chosen = _sample_boundaries(boundaries, n_full, rng)
    mirrored = n_cutoffs == "auto" and len(boundaries) <= max_mirror_checks
    once = sorted(set(boundaries) - set(chosen)) if mirrored else []
    full = set(chosen)
    for boundary in chosen:
        later = boundary.session + int(rng.integers(1, horizon + 1))
        full.add(FoldBoundary(min(later, last), boundary.split_index))
    for _ in range(n_full - len(chosen)):
        index = int(rng.integers(len(splits)))
        first = int(splits[index].first_session[0])
        if first <= last:
            full.add(FoldBoundary(int(rng.integers(first, last + 1)), index))
    n_steps = min(MAX_INPUT_CHECKS_PER_BOUNDARY, horizon + 1)
    steps = np.unique(np.linspace(0, horizon, n_steps).round().astype(np.int64)).tolist()
    sessions = {boundary.session + step for boundary in (*chosen, *once) for step in steps}
    sessions |= {2**power for power in range(n_sessions.bit_length())} | {0, last}
    sessions |= {boundary.session for boundary in full}
    return AuditSchedule(
        tuple(sorted(full)), tuple(once), tuple(sorted(session for session in sessions if 0 <= session <= last))
    )


def _sample_boundaries(boundaries: list[FoldBoundary], n_kept: int, rng: np.random.Generator) -> list[FoldBoundary]:
    """Return the first and the last boundary and a sample of the others, in order."""
    if len(boundaries) <= n_kept:
        return boundaries
    inner = 1 + np.sort(rng.choice(len(boundaries) - 2, size=max(n_kept - 2, 0), replace=False))
    return [boundaries[index] for index in [0, *inner.tolist(), len(boundaries) - 1][:n_kept]]


LABEL_FIELDS = ("up", "horizon_return")
MIN_CHECKED_PENDING_LABELS = 5
"""Pending labels that must have been compared before it counts that none of them changed."""


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Prices with the features and labels computed from them, (bars, tickers) each."""

    prices: Prices
    features: FeatureColumns
    labels: Labels


def check_inputs_unchanged(original: AuditInputs, altered: AuditInputs, cutoff: Cutoff, *, horizon: int) -> bool:
    """Compare features and labels that were known at a cutoff; return whether none changed."""
    prices = original.prices
    n_bars = min(len(prices.session), len(altered.prices.session))
    known_session = np.full_like(prices.session, -1)  # (bars, tickers), at whose close the label is known; -1 for never
    delay = label_known_row(0, lag=horizon)
    known_session[: max(len(known_session) - delay, 0)] = prices.session[delay:]
    unchanged = True
    features = {name: (values, altered.features.get(name)) for name, values in original.features.items()}
    labels = {name: (getattr(original.labels, name), getattr(altered.labels, name)) for name in LABEL_FIELDS}
    for stage, columns, session in (("features", features, prices.session), ("label", labels, known_session)):
        bars, tickers = np.nonzero((session[:n_bars] >= 0) & (session[:n_bars] <= cutoff.session))

        def ticker_date(index: int, bars: np.ndarray = bars, tickers: np.ndarray = tickers) -> tuple[str, str]:
            date = prices.sessions[prices.session[bars[index], tickers[index]]]
            return prices.tickers[tickers[index]], iso_date(date)

        for name, (column, altered_column) in columns.items():
            if altered_column is None:
                text = f"{name} is missing when all prices after {cutoff.date} are replaced ({cutoff.scenario})"
                cutoff.add_leak(Leak(stage=stage, what=name, text=text))
                unchanged = False
                continue
            was, became = column[bars, tickers], altered_column[bars, tickers]
            unchanged &= cutoff.check_unchanged(stage, name, was, became, ticker_date, scale=comparison_scale(was))
    return unchanged


class PendingLabelChecker:
    """Counts labels compared one session before the end of their horizon, and those of them that changed.

    A label that never changes is known before its horizon ends, so that a forecast of it has no value.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon, self.n_compared, self.n_changed = horizon, 0, dict.fromkeys(LABEL_FIELDS, 0)

    def count_pending_labels(self, original: AuditInputs, altered: AuditInputs, cutoff_session: int) -> None:
        """Count the labels that are known one bar after the cutoff, and those of them that the later prices change."""
        session, delay = original.prices.session, label_known_row(0, lag=self.horizon)
        if len(altered.prices.session) < len(session):
            return
        next_row = ((session >= 0) & (session <= cutoff_session)).sum(axis=0)
        ticker = np.flatnonzero((next_row >= delay) & (next_row < original.prices.n_bars))
        row = next_row[ticker] - delay
        self.n_compared += len(ticker)
        for name in LABEL_FIELDS:
            was, became = (getattr(inputs.labels, name)[row, ticker] for inputs in (original, altered))
            self.n_changed[name] += int(((was != became) & ~(np.isnan(was) & np.isnan(became))).sum())

    def check_labels_were_pending(self, last_cutoff: Cutoff) -> None:
        """Record a leak if replaced prices never changed a label whose horizon ends after the cutoff."""
        for name, n_changed in self.n_changed.items():
            if self.n_compared >= MIN_CHECKED_PENDING_LABELS and not n_changed:
                text = (
                    f"{name} was never pending one session before the end of its {self.horizon} sessions: the label is "
                    f"known by then ({self.n_compared} compared, up to {last_cutoff.date})"
                )
                last_cutoff.add_leak(Leak(stage="label", what=name, text=text, times=self.n_compared))


REFITS_BEFORE_CUTOFF, REFITS_AFTER_CUTOFF = 1, 2
"""Refits that are fitted besides the newest at a cutoff: those before it, and those trained on replaced prices."""
PROBE_ROWS_PER_REFIT = 64
"""Training rows on which weights are compared, by the probabilities they give."""
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
    leak = Leak(stage="folds", what="train", ticker=split.name, date=trained, text=text)
    Cutoff(-1, forecast, "", collector).add_leak(leak)


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

    def forecast_keys_and_log_odds_until(self, last_session: int) -> tuple[IntArray, Array]:
        """Return key and log odds of the forecasts up to a session."""
        past = (self.ticker_session_key & (2**SESSION_BITS - 1)) <= last_session
        return self.ticker_session_key[past], self.model_forecasts.log_odds[past]

    def probabilities_by_refit(self, X_by_refit: Sequence[Array]) -> Array:
        """Return the probabilities that the first refits give, (refits, n), to rows (n, k) for each."""
        fitted, rows = self.model_forecasts.fitted, np.arange(len(X_by_refit)).repeat([len(X) for X in X_by_refit])
        return np.asarray(sigmoid(fitted.log_odds(np.concatenate(X_by_refit), rows)).reshape(len(X_by_refit), -1))


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
        logistic = self.split.model.as_logistic_regression()
        n_after = REFITS_AFTER_CUTOFF if logistic is None or logistic.learning_rate == "auto" else 0
        self.fitted_refits = slice(self.checked_refits.start, self.checked_refits.stop + n_after)
        self.original = FittedRefits(splits.dataset, self.split, self.fitted_refits)
        self.probe_X = []
        for refit in range(self.n_checked):
            row = np.arange(len(self.split.X))
            rows = np.concatenate([row[folds[refit].train] for folds in self.original.split.folds])
            probes = np.linspace(0, len(rows) - 1, PROBE_ROWS_PER_REFIT).astype(np.int64)
            self.probe_X.append(self.split.X[rows[probes]])

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
            scale = comparison_scale(was)
            cutoff.check_unchanged("target_stats", name, was, became, self._refit_ticker_date, scale=scale)
        if self._check_scaling(altered, cutoff) and self._check_weights(altered, cutoff):
            self._check_probabilities(altered, cutoff)

    def _add_missing_refit_leak(self, cutoff: Cutoff) -> None:
        name = self.split.name
        text = f"{name} lacks a refit when all prices after {cutoff.date} are replaced ({cutoff.scenario})"
        cutoff.add_leak(Leak(stage="folds", what="refits", ticker=name, text=text))

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

    def _check_weights(self, altered: FittedRefits, cutoff: Cutoff) -> bool:
        """Compare what was learnt by the probabilities it gives to some of its own training rows."""
        was, became = (fitted.probabilities_by_refit(self.probe_X).ravel() for fitted in (self.original, altered))

        def ticker_date(index: int) -> tuple[str, str]:
            return self._refit_ticker_date(index // PROBE_ROWS_PER_REFIT)

        return cutoff.check_unchanged("fit", "weights", was, became, ticker_date, tolerance=PROBABILITY_TOLERANCE)

    def _check_probabilities(self, altered: FittedRefits, cutoff: Cutoff) -> None:
        key, was = self.original.forecast_keys_and_log_odds_until(self.cutoff_session)
        altered_key, became = altered.forecast_keys_and_log_odds_until(self.cutoff_session)
        if not np.array_equal(key, altered_key):
            self._add_missing_refit_leak(cutoff)
            return
        dataset = self.splits.dataset

        def ticker_date(index: int) -> tuple[str, str]:
            ticker, session = divmod(int(key[index]), 2**SESSION_BITS)
            return dataset.tickers[ticker], iso_date(dataset.sessions[session])

        probabilities = sigmoid(was), sigmoid(became)
        cutoff.check_unchanged("forecast", "probability", *probabilities, ticker_date, tolerance=PROBABILITY_TOLERANCE)
