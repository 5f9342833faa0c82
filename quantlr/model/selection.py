"""Weights of candidate models in a walk-forward, from the losses of their own earlier out-of-sample forecasts.

A candidate is a model with its features and training window. Each makes its own walk-forward, and at each session the
candidates are weighted by the log loss of the forecasts that they have made before, as far as the outcomes are known:
the forecast of row t may use an outcome exactly where the label may train a model that forecasts row t
(``core/timing.py``). Such a choice by earlier one-step-ahead forecasts is called prequential (Dawid 1984).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, StrictInt

from quantlr.core.components import ChoiceDescriptions, ConfigSection, Unit
from quantlr.core.timing import first_row_using_label
from quantlr.core.values import Array, Dataset, IntArray
from quantlr.model.logistic import pointwise_log_loss

AUTO_L2_VALUES = (0.001, 0.01, 0.1, 1, 10)
"""Penalties that `model.l2: auto` chooses among: they shrink a weight of daily returns by .4, 4, 29, 80 and 98 %."""
MAX_CANDIDATES = 1000


def _plain_value(value: Any) -> Any:
    """Return nested values as plain numbers and text, an integral number as an integer: 1.0 and 1 are one value."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if value == np.floor(value) and abs(value) < 2**53 else float(value)
    return str(value) if isinstance(value, str) else value


def _plain_grid(grid: Any) -> Any:
    """Return a grid with plain values; anything else, and lists that are none, for the validation to refuse."""
    if not isinstance(grid, Mapping):
        return grid
    return {
        str(key): tuple(map(_plain_value, values)) if isinstance(values, (list, tuple)) else values
        for key, values in grid.items()
    }


class SelectSpec(ConfigSection):
    """Candidates of which each refit uses those whose earlier forecasts were the best."""

    over: Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], BeforeValidator(_plain_grid)] = Field(
        {},
        description="Values to choose among, by dotted key of `features`, `model` or `walk_forward`; every combination "
        "is a candidate.",
        examples=[{"features.0.lags": [[1], [1, 2], [1, 2, 3, 4, 5]], "model.l2": [0.0, 0.01, 0.1]}],
    )
    by: Annotated[
        Literal["log_loss"],
        ChoiceDescriptions({"log_loss": "log loss of forecasts whose outcome is known by then"}),
    ] = Field("log_loss", description="Measure of a candidate's earlier forecasts.")
    how: Annotated[
        Literal["mixture", "best", "follow"],
        ChoiceDescriptions(
            {
                "mixture": "mean of all probabilities, weighted anew at each session; its regret is bounded",
                "best": "at each refit the candidate with the lowest total loss so far",
                "follow": "at each refit the candidate with the lowest loss of the last `window` sessions",
            }
        ),
    ] = Field("mixture", description="Use that is made of the candidates.")
    window: Annotated[StrictInt, Unit("sessions"), Field(ge=1, le=10**9)] = Field(
        252, description="Newest sessions with known outcomes that `follow` adds up."
    )


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The rows that all candidates forecast, and from when on their outcomes may be used.

    Attributes
    ----------
    up : (rows,) outcome: 1 up, 0 not up, NaN where the label is dropped or not known yet.
    session_index : (rows,) position of the row's session among the sessions with forecasts.
    usable_from : (rows,) position of the first of these sessions whose forecasts may use the outcome; `n_sessions` or
        more for none.
    n_sessions : number of sessions with forecasts.
    """

    up: Array
    session_index: IntArray
    usable_from: IntArray
    n_sessions: int

    @classmethod
    def from_dataset(cls, dataset: Dataset, rows: IntArray, *, embargo: int) -> ScoredRows:
        """Return the rows of a dataset that all candidates forecast.

        Parameters
        ----------
        rows : (rows,) positions in the dataset.
        embargo : the longest of the candidates', in rows.
        """
        sessions, session_index = np.unique(dataset.session[rows], return_inverse=True)
        # The candidates of all tickers are weighted together, so that an outcome must be known in all markets.
        known_at = np.searchsorted(sessions, dataset.label_known_to_all_at[rows])
        usable_from = first_row_using_label(known_at, embargo=embargo)
        return cls(dataset.up[rows], session_index.astype(np.int64), usable_from, len(sessions))

    def mean_losses(self, log_odds: Array) -> Array:
        """Return each row's log loss as its part of the mean over the session's forecasts, (rows,); 0 if unknown.

        Parameters
        ----------
        log_odds : (rows,) of an up move.
        """
        has_outcome = ~np.isnan(self.up)
        loss = np.where(has_outcome, pointwise_log_loss(log_odds, np.where(has_outcome, self.up, 0.0)), 0.0)
        return np.asarray(loss / np.bincount(self.session_index, minlength=self.n_sessions)[self.session_index])

    def session_losses(self, log_odds: Array) -> Array:
        """Return the log loss of each session, the mean over its forecasts, (sessions,); unknown ones count 0."""
        return np.asarray(np.bincount(self.session_index, self.mean_losses(log_odds)), dtype=np.float64)


def usable_losses(log_odds: Sequence[Array], rows: ScoredRows, *, lag: int) -> Array:
    """Return the sum of the losses that the forecasts of each session may use, (sessions, candidates), in nats.

    Parameters
    ----------
    log_odds : (rows,) of each candidate.
    rows : their outcomes.
    lag : only sessions a multiple of `lag` before the session itself are added up; 1 for all.
    """
    total = np.zeros((rows.n_sessions, len(log_odds)))
    stream = rows.session_index % lag
    is_usable = rows.usable_from < rows.n_sessions
    for index, candidate_log_odds in enumerate(log_odds):
        losses = rows.mean_losses(candidate_log_odds)
        for first in range(min(lag, rows.n_sessions)):
            used = is_usable & (stream == first)
            new = np.bincount(rows.usable_from[used], losses[used], minlength=rows.n_sessions)
            total[first::lag, index] = np.cumsum(new)[first::lag]
    return total


def weigh_candidates(
    log_odds: Sequence[Array], rows: ScoredRows, spec: SelectSpec, *, refit_every: int, lag: int
) -> Array:
    """Return the weight of each candidate at each session, (sessions, candidates); each row adds up to 1.

    Parameters
    ----------
    log_odds : (rows,) of each candidate.
    rows : their outcomes, and from when on these may be used.
    spec : how the weights are formed.
    refit_every : sessions between two choices of `best` and `follow`; the first is at the first session.
    lag : sessions after which outcomes are known: label lag and embargo.

    Notes
    -----
    `mixture`: with L_k the sum of candidate k's losses, the weights are proportional to exp(-L_k): those of Bayes'
    rule from equal priors, and of the exponentially weighted average forecaster (Vovk 1990). With outcomes that are
    known after D sessions, each of D interleaved streams of sessions has weights of its own, from the losses of that
    stream (Weinberger and Ordentlich 2002). So neighbouring losses that overlap in time are not counted D times, and
    the total loss is at most that of any candidate plus D ln(number of candidates), whatever the outcomes are.

    `best` and `follow` take the lowest sum at each choice, of ties the candidate that is listed first; so is the
    candidate of the first choice. Their regret has no bound.
    """
    if spec.how == "mixture":
        losses = usable_losses(log_odds, rows, lag=lag)
        weights = np.exp(losses.min(axis=1, keepdims=True) - losses)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
    losses = usable_losses(log_odds, rows, lag=1)
    if spec.how == "follow":
        losses[spec.window :] -= losses[: -spec.window].copy()
    choice = losses[::refit_every].argmin(axis=1).repeat(refit_every)[: rows.n_sessions]
    weights = np.zeros_like(losses)
    weights[np.arange(rows.n_sessions), choice] = 1.0
    return weights
