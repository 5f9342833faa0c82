"""Walk forward through time: at every refit, learn from what is known by then, and forecast what comes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.errors import DegenerateFold, NotEnoughHistory
from quantlr.model.fit import Advance, Describe, Fits, LogisticRegression, fit_folds
from quantlr.model.folds import WalkForwardSpec
from quantlr.model.logistic import sigmoid
from quantlr.model.objective import Scaling
from quantlr.types import (
    Array,
    Dataset,
    Folds,
    Forecasts,
    IntArray,
    Note,
    Progress,
    Refits,
    day,
    no_progress,
)

MakeFolds = Callable[..., Folds]
Scale = Callable[[Array, Folds], Scaling]
Fit = Callable[..., Fits]


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

    # The products of a chunk are too small to share out: more threads than one make them slower.
    with threadpool_limits(1, user_api="blas"):
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
    log_odds: Array
    fits: Fits
    knowledge: tuple[Array, Array, Array, Array]
    notes: list[Note]


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
    log_odds = weights[:, 0] + np.einsum("ij,ij->i", weights[:, 1:], X[tested])
    knowledge = _knowledge(up[learnable], dataset.span_return[rows][learnable], labelled)
    return _Walk(
        rows=rows.start + tested,
        fold=fold,
        folds=folds,
        first_row=rows.start,
        log_odds=log_odds,
        fits=fits,
        knowledge=knowledge,
        notes=_constants(scaling, dataset.columns, ticker),
    )


def _constants(scaling: Scaling, columns: tuple[str, ...], ticker: str) -> list[Note]:
    """Return a note for each feature that was constant over a refit's training rows."""
    counts = (scaling.deviation == 0).sum(axis=0).tolist()
    return [
        Note(
            "model", f"{name} was constant over a refit's training rows and weighs 0 there", ticker=ticker, count=count
        )
        for name, count in zip(columns, counts, strict=True)
        if count
    ]


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
    log_odds = np.concatenate([walk.log_odds for walk in walks])
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
    notes = [*notes, *(note for walk in walks for note in walk.notes)]
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
        log_odds=log_odds,
        probability=sigmoid(log_odds),
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
