"""The forecasts of a walk-forward that chooses among candidates, made of the candidates' own forecasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from quantlr.core.errors import NotEnoughHistory
from quantlr.core.values import Array, BoolArray, Dataset, Folds, Forecasts, IntArray, Note, Refits
from quantlr.model.logistic import pointwise_log_loss, sigmoid
from quantlr.model.selection import ScoredRows, SelectSpec, weigh_candidates

REFIT_STATS = (
    "base_rate", "mean_gain", "mean_loss", "std", "training_up_rate", "training_probability_mean",
    "training_probability_std",
)  # fmt: skip
"""Fields of `Forecasts` that all forecasts of one refit and ticker share."""
MODEL_FIELDS = ("condition_number", "lipschitz", "learning_rate")
"""Fields of `Refits` with one value per model."""


@dataclass(frozen=True, slots=True)
class CandidateForecasts:
    """The forecasts of one candidate, without what all candidates share; statistics are kept once per refit.

    Attributes
    ----------
    log_odds : (rows,) of an up move.
    row_counts : (tickers,) number of rows of each ticker, which are its newest.
    run_starts : (runs,) first row of each run of forecasts of one ticker and refit.
    run_stats : (7, runs) the `REFIT_STATS` of each run.
    run_folds : (runs,) number of the refit, counted within the model.
    refits, folds, notes : as in `Forecasts`.
    """

    log_odds: Array
    row_counts: IntArray
    run_starts: IntArray
    run_stats: Array
    run_folds: IntArray
    refits: Refits
    folds: tuple[Folds, ...]
    notes: tuple[Note, ...]

    @classmethod
    def from_forecasts(cls, forecasts: Forecasts) -> CandidateForecasts:
        """Return the forecasts of a candidate's walk-forward."""
        is_start = np.diff(forecasts.ticker, prepend=-1) | np.diff(forecasts.fold, prepend=-1)
        starts = np.flatnonzero(is_start)
        return cls(
            log_odds=forecasts.log_odds,
            row_counts=np.bincount(forecasts.ticker, minlength=len(forecasts.tickers)),
            run_starts=starts,
            run_stats=np.stack([getattr(forecasts, name)[starts] for name in REFIT_STATS]),
            run_folds=forecasts.fold[starts],
            refits=forecasts.refits,
            folds=forecasts.folds,
            notes=forecasts.notes,
        )

    def take_newest(self, row_counts: IntArray) -> CandidateForecasts:
        """Return the newest rows of each ticker, (tickers,) at most as many as there are; 0 leaves a ticker out."""
        if np.array_equal(row_counts, self.row_counts):
            return self
        stops = np.cumsum(self.row_counts)
        is_kept = np.zeros(len(self.log_odds), dtype=np.bool_)
        for first, stop in zip((stops - row_counts).tolist(), stops.tolist(), strict=True):
            is_kept[first:stop] = True
        run = self.expand_runs(np.arange(len(self.run_starts)))[is_kept]
        starts = np.flatnonzero(np.diff(run, prepend=-1))
        has_rows, kept_runs = row_counts > 0, run[starts]
        is_pooled = bool((self.refits.ticker < 0).any())
        own = np.ones(len(self.folds), dtype=np.bool_) if is_pooled else has_rows[self.row_counts > 0]
        return replace(
            self,
            log_odds=self.log_odds[is_kept],
            row_counts=row_counts,
            run_starts=starts,
            run_stats=self.run_stats[:, kept_runs],
            run_folds=self.run_folds[kept_runs],
            refits=self.refits if is_pooled or own.all() else _refits_of_tickers(self.refits, has_rows),
            folds=tuple(folds for folds, is_own in zip(self.folds, own, strict=True) if is_own),
        )

    def expand_runs(self, run_values: Any) -> Any:
        """Return values of the runs, (runs,), as values of the rows, (rows,)."""
        return np.repeat(run_values, np.diff(self.run_starts, append=len(self.log_odds)))

    def to_forecasts(self, shared: dict[str, Any]) -> Forecasts:
        """Return all that a walk-forward returns, given the fields that candidates share."""
        stats = {name: self.expand_runs(values) for name, values in zip(REFIT_STATS, self.run_stats, strict=True)}
        return Forecasts(
            **shared,
            **stats,
            log_odds=self.log_odds,
            probability=sigmoid(self.log_odds),
            fold=self.expand_runs(self.run_folds),
            refits=self.refits,
            folds=self.folds,
            notes=self.notes,
        )


def take_columns(dataset: Dataset, columns: Sequence[int], names: Sequence[str]) -> Dataset:
    """Return the same rows with some of the columns, under other names."""
    values = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
    values |= {"columns": tuple(names), "features": np.ascontiguousarray(dataset.features[:, list(columns)])}
    return Dataset(**values)


def _refits_of_tickers(refits: Refits, ticker_mask: BoolArray) -> Refits:
    """Return the refits of some tickers' models."""
    is_refit, is_model = ticker_mask[refits.ticker], ticker_mask[np.unique(refits.ticker)]
    columns = {field.name: getattr(refits, field.name) for field in fields(refits) if field.name != "columns"}
    kept = {
        name: values[is_model if name in MODEL_FIELDS else is_refit] if len(values) else values
        for name, values in columns.items()
    }
    return replace(refits, **kept)


@dataclass(frozen=True)
class Selection:
    """How candidates were weighted over time, and what their forecasts were worth.

    Attributes
    ----------
    spec : how the weights were formed.
    session : (sessions,) positions in the calendar of the sessions with forecasts.
    weights : (sessions, candidates) of each candidate; each row adds up to 1.
    session_losses : (sessions, candidates) log loss of each, the mean over the session's forecasts, in nats.
    selected_session_losses : (sessions,) the same of the selected forecasts.
    log_losses : (candidates,) mean log loss of each over all forecasts with an outcome, in nats.
    lag : sessions after which an outcome is known, and the number of interleaved streams of a mixture.
    candidates : the candidates' own forecasts.
    dataset_columns : columns of each candidate in the dataset, and their names in its own config.
    is_whole : whether the sessions are all those with forecasts.
    """

    spec: SelectSpec
    session: IntArray
    weights: Array
    session_losses: Array
    selected_session_losses: Array
    log_losses: Array
    lag: int
    candidates: tuple[CandidateForecasts, ...]
    dataset_columns: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]
    is_whole: bool = True

    def from_session(self, first_session: int, up: Array) -> Selection:
        """Return the weights and losses from a session on, given by its position.

        Parameters
        ----------
        first_session : the position.
        up : (rows,) outcomes, NaN of the forecasts before.
        """
        start, is_known = int(np.searchsorted(self.session, first_session)), ~np.isnan(up)
        losses = [pointwise_log_loss(one.log_odds[is_known], up[is_known]).mean() for one in self.candidates]
        return replace(
            self,
            session=self.session[start:],
            weights=self.weights[start:],
            session_losses=self.session_losses[start:],
            selected_session_losses=self.selected_session_losses[start:],
            log_losses=np.array(losses),
            is_whole=start == 0,
        )

    @cached_property
    def leader(self) -> int:
        """The candidate with the largest weight at the newest session; of equal ones, the first."""
        return int(self.weights[-1].argmax())

    @property
    def best_in_hindsight(self) -> int:
        """The candidate with the lowest mean log loss: chosen in hindsight, which no forecast could have done."""
        return int(self.log_losses.argmin())

    @property
    def regret(self) -> float:
        """Total session loss of the selected forecasts less that of the best candidate, in nats."""
        return float(self.selected_session_losses.sum() - self.session_losses.sum(axis=0).min())

    @property
    def regret_bound(self) -> float | None:
        """Largest regret that a mixture can have, in nats.

        None of `best` and `follow`, which have no bound, and of a part of the sessions, since the bound is that of
        weights that are equal at first.
        """
        has_bound = self.spec.how == "mixture" and self.is_whole
        return self.lag * float(np.log(self.weights.shape[1])) if has_bound else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedForecasts(Forecasts):
    """Forecasts of which each is the weighted mean of the candidates' probabilities.

    Statistics of the training rows are the means of the candidates', by the same weights; the standard deviation of
    the training probabilities is so an upper bound, which candidates reach that move together. `refits`, `fold` and
    `folds` are those of the candidate with the largest weight at the newest session.

    Attributes
    ----------
    selection : the weights, and the candidates' own forecasts.
    """

    selection: Selection

    def shared_fields(self) -> dict[str, Any]:
        """Return the fields that the forecasts of all candidates share."""
        names = ("tickers", "sessions", "ticker", "session", "up", "horizon_return", "horizon", "label_delay")
        return {name: getattr(self, name) for name in names}

    def of_candidate(self, index: int) -> Forecasts:
        """Return the forecasts of one candidate, for the same rows."""
        return self.selection.candidates[index].to_forecasts(self.shared_fields())


WeighFunction = Callable[..., Array]
"""Takes log odds, scored rows, spec, `refit_every` and `lag`, and returns weights as `weigh_candidates`."""


ChooseFunction = Callable[[Dataset, Sequence[CandidateForecasts]], SelectedForecasts]
"""Takes a dataset and the candidates' forecasts on it, and returns the forecasts that are chosen."""


def select_forecasts(
    dataset: Dataset,
    candidates: Sequence[CandidateForecasts],
    spec: SelectSpec,
    *,
    refit_every: int,
    lag: int,
    embargo: int,
    dataset_columns: Sequence[tuple[tuple[int, ...], tuple[str, ...]]],
    weigh: WeighFunction = weigh_candidates,
) -> SelectedForecasts:
    """Return the forecasts that follow from weighting candidates by their earlier forecasts.

    Parameters
    ----------
    dataset : with the columns of all candidates.
    candidates : their forecasts; rows that not all of them forecast are left out.
    spec, refit_every, lag : as in `weigh_candidates`.
    embargo : the longest of the candidates', in rows.
    dataset_columns : as in `Selection`.
    weigh : `weigh_candidates`; an audit or a test may replace it.

    Raises
    ------
    NotEnoughHistory : no row is forecast by all candidates.
    """
    row_counts = np.min([candidate.row_counts for candidate in candidates], axis=0)
    if not row_counts.any():
        text = "no ticker is long enough for all candidates; fetch a longer history, or choose among shorter windows"
        raise NotEnoughHistory(text, key="select.over")
    common = tuple(candidate.take_newest(row_counts) for candidate in candidates)
    stops = [dataset.ticker_slice(ticker).stop for ticker in range(len(dataset.tickers))]
    counts = row_counts.tolist()
    rows = np.concatenate([np.arange(stop - count, stop) for stop, count in zip(stops, counts, strict=True)])
    scored = ScoredRows.from_dataset(dataset, rows, embargo=embargo)
    log_odds = [candidate.log_odds for candidate in common]
    weights = weigh(log_odds, scored, spec, refit_every=refit_every, lag=lag)
    selected_log_odds, stats = _combine(common, weights, scored.session_index)
    has_outcome = ~np.isnan(scored.up)
    up = scored.up[has_outcome]
    selection = Selection(
        spec=spec,
        session=np.unique(dataset.session[rows]),
        weights=weights,
        session_losses=np.stack([scored.session_losses(values) for values in log_odds], axis=1),
        selected_session_losses=scored.session_losses(selected_log_odds),
        log_losses=np.array([pointwise_log_loss(values[has_outcome], up).mean() for values in log_odds]),
        lag=lag,
        candidates=common,
        dataset_columns=tuple(dataset_columns),
    )
    leader = common[selection.leader]
    return SelectedForecasts(
        tickers=dataset.tickers,
        sessions=dataset.sessions,
        ticker=dataset.ticker[rows],
        session=dataset.session[rows],
        log_odds=selected_log_odds,
        probability=sigmoid(selected_log_odds),
        up=dataset.up[rows],
        horizon_return=dataset.horizon_return[rows],
        **stats,
        fold=leader.expand_runs(leader.run_folds),
        horizon=dataset.horizon,
        label_delay=dataset.label_delay,
        refits=leader.refits,
        folds=leader.folds,
        notes=(*leader.notes, *_convergence_notes(common, leader)),
        selection=selection,
    )


def _combine(
    candidates: Sequence[CandidateForecasts], weights: Array, session_index: IntArray
) -> tuple[Array, dict[str, Array]]:
    """Return the log odds of the weighted mean of probabilities, (rows,), and the weighted `REFIT_STATS`.

    Parameters
    ----------
    weights : (sessions, candidates).
    session_index : (rows,) position of each row's session.
    """
    n_rows = len(session_index)
    log_up, log_down = np.full((2, n_rows), -np.inf)
    single, stats = np.zeros(n_rows), np.zeros((len(REFIT_STATS), n_rows))
    for candidate, session_weights in zip(candidates, weights.T, strict=True):
        z, weight = candidate.log_odds, session_weights[session_index]
        is_used = weight > 0
        with np.errstate(divide="ignore"):
            log_weight = np.log(weight)
        log_up = np.logaddexp(log_up, log_weight - np.logaddexp(0.0, -z))
        log_down = np.logaddexp(log_down, log_weight - np.logaddexp(0.0, z))
        single += np.where(is_used, weight * z, 0.0)
        for total, values in zip(stats, candidate.run_stats, strict=True):
            total += np.where(is_used, weight * candidate.expand_runs(values), 0.0)
    # A single candidate's log odds stay as they are, bit for bit.
    log_odds = np.where(weights.max(axis=1)[session_index] == 1.0, single, log_up - log_down)
    return log_odds, dict(zip(REFIT_STATS, stats, strict=True))


def _convergence_notes(candidates: Sequence[CandidateForecasts], leader: CandidateForecasts) -> list[Note]:
    """Return the note on fits of other candidates that did not converge."""
    count = sum(int((~candidate.refits.converged).sum()) for candidate in candidates if candidate is not leader)
    text = "fits of other candidates did not converge; raise model.max_iter or model.tol"
    return [Note("model", text, count=count)] if count else []
