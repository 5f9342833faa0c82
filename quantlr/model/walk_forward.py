"""Walk forward through time: at every refit, learn from what is known by then, and forecast what comes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from quantlr.errors import DegenerateFold, LearningRateTooLarge, NotEnoughHistory
from quantlr.model.descent import (
    Descent,
    descend,
    descend_alone,
    descend_together,
    fixed_step,
    momentum_step,
    rate_matrix,
    steepest,
    unbounded,
)
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.logistic import log_odds, sigmoid
from quantlr.model.objective import Objective, Scaling
from quantlr.model.scaling import overlapping
from quantlr.types import (
    Array,
    BoolArray,
    Dataset,
    Folds,
    Forecasts,
    IntArray,
    Note,
    Part,
    Progress,
    Refits,
    day,
    no_progress,
)

CHUNK = 32
"""Refits that descend at once: enough to make one product of many, few enough to stay in cache."""


class LogisticRegression(Part):
    """The classifier: its descent, its penalty, and when to stop."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    descent: Literal["plain", "accelerated", "preconditioned"] = Field(
        "preconditioned", description="The way downhill; all three reach the same weights."
    )
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="Step size of the plain and the accelerated descent; auto derives 1/L from the data.",
    )
    l2: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Penalty on the standardised weights, l2/2 times the sum of their squares."
    )
    tol: Annotated[float, Field(gt=0, le=0.1)] = Field(
        1e-8, description="Largest component of the mean loss's gradient at which the descent stops."
    )
    max_iter: Annotated[int, Field(ge=1)] = Field(1000, description="Updates after which it stops all the same.")
    scope: Literal["per_ticker"] = Field("per_ticker", description="One model for each ticker.")


@dataclass(frozen=True, slots=True)
class Fits:
    """What all refits of one ticker learnt; see `Refits` for the fields."""

    coefficients: Array
    iterations: IntArray
    gradient: Array
    converged: BoolArray


Describe = Callable[[int], str]
"""From the number of a refit to words for a message."""
Advance = Callable[[int], None]
MakeFolds = Callable[..., Folds]
Scale = Callable[[Array, Folds], Scaling]
Fit = Callable[..., Fits]


def _ignore(refits: int) -> None:
    pass


def fit_folds(
    X: Array,
    y: Array,
    folds: Folds,
    scaling: Scaling,
    model: LogisticRegression,
    *,
    describe: Describe = str,
    advance: Advance = _ignore,
) -> Fits:
    """Return the weights of every refit, descending chunk by chunk, each chunk from where the last one ended.

    Parameters
    ----------
    X, y : (rows, k) and (rows,) features in their own units, and labels 0 or 1, of one ticker.
    folds : which rows train which refit.
    scaling : mean and deviation of each refit's training rows.
    model : how to descend.
    describe : names a refit for a message.
    advance : hears how many refits have just ended.

    Raises
    ------
    DegenerateFold : training rows of one class, or classes that a plane separates.
    LearningRateTooLarge : `model.learning_rate` would not go downhill.
    """
    counts = np.concatenate([[0.0], np.cumsum(y)])
    ups = counts[folds.train_stop] - counts[folds.train_start]
    base_rate = ups / (folds.train_stop - folds.train_start)
    one_class = np.flatnonzero((base_rate == 0) | (base_rate == 1))
    if len(one_class):
        which = "ups" if base_rate[one_class[0]] == 1 else "downs"
        raise DegenerateFold(
            f"{describe(int(one_class[0]))}: all training rows are {which}; needed both; lengthen walk_forward.train",
            key="walk_forward.train",
        )
    raw = np.zeros(1 + X.shape[1])
    raw[0] = log_odds(base_rate[:1])[0]
    parts, coefficients = [], []
    with threadpool_limits(1, user_api="blas"):
        for refits in _chunks(folds, scaling):
            objective = Objective.of(X, y, folds, scaling, refits=refits, l2=model.l2)
            start = objective.from_raw(raw)
            if model.descent == "preconditioned":
                part, found = _preconditioned(objective, start, X, y, folds, scaling, refits, model, describe)
            else:
                part = _by_rate(objective, start, model, [describe(at) for at in range(refits.start, refits.stop)])
                found = objective.to_raw(part.theta)
                for at in np.flatnonzero(~part.converged):
                    alone = Objective.of(X, y, folds, scaling, refits=_single(refits.start + at), l2=model.l2)
                    _refuse_unbounded(alone, alone.from_raw(found[at]), describe(int(refits.start + at)))
            parts.append(part)
            coefficients.append(found)
            raw = found[-1]
            advance(len(found))
    return Fits(
        coefficients=np.concatenate(coefficients),
        iterations=np.concatenate([part.iterations for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _chunks(folds: Folds, scaling: Scaling) -> list[slice]:
    """Return the refits that descend together; the first goes alone, since it starts from nothing.

    Within a chunk the same features are constant, so that all columns have the same weights to find.
    """
    chunks = [slice(0, 1)]
    for run in overlapping(folds, at_most=CHUNK):
        active = scaling.deviation[run] > 0
        breaks = np.flatnonzero((active[1:] != active[:-1]).any(axis=1)) + 1 + run.start
        edges = [max(run.start, 1), *breaks[breaks > 1].tolist(), run.stop]
        chunks += [slice(first, last) for first, last in pairwise(edges) if first < last]
    return chunks


def _single(at: int) -> slice:
    return slice(int(at), int(at) + 1)


def _preconditioned(
    objective: Objective,
    start: Array,
    X: Array,
    y: Array,
    folds: Folds,
    scaling: Scaling,
    refits: slice,
    model: LogisticRegression,
    describe: Describe,
) -> tuple[Descent, Array]:
    """Descend together; what has not settled by then goes on alone, in the units of its own rows."""
    first_of_all = refits.start == 0
    if first_of_all:
        together = Descent(start[:, None], np.zeros(1, np.int64), np.array([np.inf]), np.zeros(1, np.bool_))
    else:
        together = descend_together(objective, start, tol=model.tol, max_iter=model.max_iter)
    raw = objective.to_raw(together.theta)
    begin = objective.to_raw(start[:, None])[0]
    iterations, gradient, converged = together.iterations, together.gradient, together.converged
    for at in np.flatnonzero(~converged):
        alone = Objective.of(X, y, folds, scaling, refits=_single(refits.start + at), l2=model.l2)
        budget = max(model.max_iter - int(iterations[at]), 0)
        single = descend_alone(alone, alone.from_raw(begin), tol=model.tol, max_iter=budget)
        _refuse_unbounded(alone, single.theta[:, 0], describe(int(refits.start + at)))
        raw[at] = alone.to_raw(single.theta)[0]
        iterations[at] += single.iterations[0]
        gradient[at], converged[at] = single.gradient[0], single.converged[0]
    return Descent(together.theta, iterations, gradient, converged), raw


def _by_rate(objective: Objective, start: Array, model: LogisticRegression, names: list[str]) -> Descent:
    """Descend by one number per refit, 1/L or the user's; `names` are the refits' in messages."""
    limit = steepest(objective)
    rate = 1.0 / limit
    if model.learning_rate != "auto":
        largest = rate if model.descent == "accelerated" else 2.0 * rate
        too_large = np.flatnonzero(
            model.learning_rate > largest if model.descent == "accelerated" else model.learning_rate >= largest
        )
        if len(too_large):
            at = int(too_large[0])
            sign, name = ("<=", "1/L") if model.descent == "accelerated" else ("<", "2/L")
            raise LearningRateTooLarge(
                f"{names[at]}: {model.learning_rate:g} would not go downhill; the {model.descent} descent needs a "
                f"rate {sign} {name} = {largest[at]:.4g} here; lower it or write auto",
                key="model.learning_rate",
            )
        rate = np.full_like(rate, model.learning_rate)
    columns = np.repeat(start[:, None], objective.refits, axis=1)
    P = rate_matrix(objective, rate)
    step = momentum_step(P, columns) if model.descent == "accelerated" else fixed_step(P)
    return descend(objective, columns, step, tol=model.tol, max_iter=model.max_iter)


def _refuse_unbounded(objective: Objective, theta: Array, name: str) -> None:
    why = unbounded(objective, theta)
    if why:
        raise DegenerateFold(
            f"{name}: {why}, so that no best fit exists; set model.l2 above 0 (0.01, say), train on more rows, or use "
            "fewer features",
            key="model.l2",
        )


def walk_forward(
    dataset: Dataset,
    spec: WalkForwardSpec,
    model: LogisticRegression,
    *,
    make_folds: MakeFolds,
    scale: Scale,
    fit: Fit = fit_folds,
    progress: Progress = no_progress,
) -> Forecasts:
    """Return the forecasts of every ticker that is long enough for one fold, each by a model of its own.

    A row whose label was dropped counts among the training rows, but nothing is learnt from it; it is forecast.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the text is that of the longest.
    """
    plans: list[tuple[slice, Folds]] = []
    short: list[tuple[int, NotEnoughHistory]] = []
    for ticker, name in enumerate(dataset.tickers):
        rows = dataset.rows(ticker)
        try:
            plans.append((rows, make_folds(rows.stop - rows.start, spec, horizon=dataset.horizon)))
        except NotEnoughHistory as error:
            short.append((rows.stop - rows.start, NotEnoughHistory(f"{name}: {error.message}", key=error.key)))
    if not plans:
        raise max(short, key=lambda found: found[0])[1]
    done, total = 0, sum(len(folds) for _, folds in plans)

    def advance(refits: int) -> None:
        nonlocal done
        done += refits
        progress("fitting", done=done, total=total)

    walks = [_walk(dataset, rows, folds, model, scale=scale, fit=fit, advance=advance) for rows, folds in plans]
    notes = [Note("model", f"left out, too short: {error.message}") for _, error in short]
    return _joined(dataset, walks, notes)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One ticker's forecasts, by row of the dataset."""

    rows: IntArray
    fold: IntArray
    folds: Folds
    first_row: int
    probability: Array
    fits: Fits
    knowledge: tuple[Array, Array, Array, Array]


def _walk(
    dataset: Dataset,
    rows: slice,
    folds: Folds,
    model: LogisticRegression,
    *,
    scale: Scale,
    fit: Fit,
    advance: Advance,
) -> _Walk:
    X, up = dataset.features[rows], dataset.up[rows]
    ticker = dataset.tickers[dataset.ticker[rows.start]]

    def describe(refit: int) -> str:
        date = day(dataset.sessions[dataset.session[rows.start + folds.test_start[refit]]])
        return f"{ticker}, the refit before {date}"

    learnable = np.flatnonzero(~np.isnan(up))
    labelled = Folds(
        train_start=np.searchsorted(learnable, folds.train_start),
        train_stop=np.searchsorted(learnable, folds.train_stop),
        test_start=folds.test_start,
        test_stop=folds.test_stop,
    )
    _require_rows(labelled, describe)
    trained = X[learnable] if len(learnable) < len(X) else X
    scaling = scale(trained, labelled)
    fits = fit(trained, up[learnable], labelled, scaling, model, describe=describe, advance=advance)
    fold = np.repeat(np.arange(len(folds), dtype=np.int64), folds.test_stop - folds.test_start)
    tested = np.arange(folds.test_start[0], folds.test_stop[-1], dtype=np.int64)
    weights = fits.coefficients[fold]
    log_odds_of_up = weights[:, 0] + np.einsum("ij,ij->i", weights[:, 1:], X[tested])
    knowledge = _knowledge(up[learnable], dataset.span_return[rows][learnable], labelled)
    return _Walk(
        rows=rows.start + tested,
        fold=fold,
        folds=folds,
        first_row=rows.start,
        probability=sigmoid(log_odds_of_up),
        fits=fits,
        knowledge=knowledge,
    )


def _require_rows(folds: Folds, describe: Describe) -> None:
    empty = np.flatnonzero(folds.train_stop - folds.train_start < 2)
    if len(empty):
        raise DegenerateFold(
            f"{describe(int(empty[0]))}: fewer than 2 training rows have a label; lengthen walk_forward.train or "
            "don't drop ties",
            key="walk_forward.train",
        )


def _knowledge(up: Array, span: Array, folds: Folds) -> tuple[Array, Array, Array, Array]:
    """Return base rate, mean gain, mean loss and deviation of each fold's training rows, (refits,) each.

    A mean over nothing is NaN.
    """
    center = span[folds.train_start[0] : folds.train_stop[0]].mean()

    def total(values: Array) -> Array:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(sums[folds.train_stop] - sums[folds.train_start])

    rows = (folds.train_stop - folds.train_start).astype(np.float64)
    ups = total(up)
    away = span - center
    with np.errstate(invalid="ignore", divide="ignore"):
        gain, loss = center + total(up * away) / ups, center + total((1 - up) * away) / (rows - ups)
        variance = (total(away**2) - total(away) ** 2 / rows) / (rows - 1)
    return ups / rows, gain, loss, np.sqrt(np.maximum(variance, 0.0))


def _joined(dataset: Dataset, walks: list[_Walk], notes: list[Note]) -> Forecasts:
    rows = np.concatenate([walk.rows for walk in walks])
    base_rate, gain, loss, deviation = (
        np.concatenate([walk.knowledge[at][walk.fold] for walk in walks]) for at in range(4)
    )
    refits = Refits(
        columns=dataset.columns,
        ticker=np.concatenate([np.full(len(walk.folds), dataset.ticker[walk.first_row]) for walk in walks]),
        session=np.concatenate([dataset.session[walk.first_row + walk.folds.test_start] for walk in walks]),
        coefficients=np.concatenate([walk.fits.coefficients for walk in walks]),
        iterations=np.concatenate([walk.fits.iterations for walk in walks]),
        gradient=np.concatenate([walk.fits.gradient for walk in walks]),
        converged=np.concatenate([walk.fits.converged for walk in walks]),
    )
    open_ended = int((~refits.converged).sum())
    if open_ended:
        worst = float(refits.gradient.max())
        text = f"fits did not converge; the largest gradient left is {worst:.2g}; raise model.max_iter or model.tol"
        notes = [*notes, Note("model", text, count=open_ended)]
    return Forecasts(
        tickers=dataset.tickers,
        sessions=dataset.sessions,
        ticker=dataset.ticker[rows],
        session=dataset.session[rows],
        probability=np.concatenate([walk.probability for walk in walks]),
        up=dataset.up[rows],
        span_return=dataset.span_return[rows],
        base_rate=base_rate,
        mean_gain=gain,
        mean_loss=loss,
        deviation=deviation,
        fold=np.concatenate([walk.fold for walk in walks]),
        horizon=dataset.horizon,
        refits=refits,
        notes=tuple(notes),
    )
