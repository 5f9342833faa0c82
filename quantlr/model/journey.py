"""What a model walks through: the rows of one ticker or of all, their folds, and the steps that are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quantlr.errors import DegenerateFold, NotEnoughHistory
from quantlr.model.calibration import Calibration, platt
from quantlr.model.fit import Fits, fit_folds
from quantlr.model.folds import WalkForwardSpec, make_folds, pooled_folds
from quantlr.model.knowledge import fold_knowledge
from quantlr.model.rows import Scaling
from quantlr.model.scaling import fold_scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import Training
from quantlr.types import Array, Dataset, Folds, IntArray, Note, day

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions that a walk goes through, in their order; whoever replaces one sees what becomes of it.

    Attributes
    ----------
    folds : (rows, spec, horizon) to one ticker's folds; `model.folds.make_folds`.
    pooled : (dataset, spec) to the folds of one model for all tickers; `model.folds.pooled_folds`.
    scale : (X, folds, trained) to each refit's scaling; `model.scaling.fold_scaling`.
    fit : (training, model) to each refit's weights; `model.fit.fit_folds`.
    knowledge : (up, span, folds) to what each refit's training rows say besides; `model.knowledge.fold_knowledge`.
    calibrate : (log_odds, up, folds, model) to what corrects the forecasts; `model.calibration.platt`.
    """

    folds: Callable[..., Folds] = make_folds
    pooled: Callable[..., list[Folds]] = pooled_folds
    scale: Callable[..., Scaling] = fold_scaling
    fit: Callable[..., Fits] = fit_folds
    knowledge: Callable[..., Array] = fold_knowledge
    calibrate: Callable[..., Calibration] = platt


STEPS = Steps()
"""The steps of every walk, unless someone replaces one."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What one model walks through: the rows of one ticker, or of all.

    Attributes
    ----------
    name : of the ticker, or "pooled".
    ticker : position in `Dataset.tickers`; -1 for all.
    first : position of its first row in the dataset.
    X, up, span : (rows, k), (rows,) and (rows,) features, labels and span returns.
    position : (rows,) session of each row, by which weights decay; None counts rows.
    session : (refits,) position of the first session that each refit forecasts.
    dates : (refits,) the dates of these sessions.
    folds : for each ticker, counted from its first row here.
    columns : (k,) names of the features.
    model : how to descend.
    steps : how to scale and fit.
    """

    name: str
    ticker: int
    first: int
    X: Array
    up: Array
    span: Array
    position: IntArray | None
    session: IntArray
    dates: Any
    folds: tuple[Folds, ...]
    columns: tuple[str, ...]
    model: LogisticRegression
    steps: Steps

    def training(self) -> Training:
        """Return what there is to learn from, scaled."""
        scaling = self.steps.scale(self.X, self.folds, trained=~np.isnan(self.up))
        return Training(self.X, self.up, self.folds, scaling, self.position)

    def forecast(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return what (rows, ...) values of the journey's rows are at those that are forecast, ticker by ticker."""
        return np.concatenate([values[ticker.test_start[0] : ticker.test_stop[-1]] for ticker in self.folds])

    def forecast_by(self) -> IntArray:
        """Return the number of the refit that makes each forecast, (forecasts,), in the same order."""
        counts = [ticker.test_stop - ticker.test_start for ticker in self.folds]
        return np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])

    def part(self, refits: slice) -> Journey:
        """Return the same journey with some of its refits."""
        folds = tuple(ticker.part(refits) for ticker in self.folds)
        return replace(self, session=self.session[refits], dates=self.dates[refits], folds=folds)

    def describe(self, refit: int) -> str:
        """Return words for one of the refits."""
        return f"{self.name}, the refit before {day(self.dates[refit])}"

    @property
    def pairs(self) -> int:
        """Number of pairs of a refit and a row that trains it."""
        return sum(int((ticker.train_stop - ticker.train_start).sum()) for ticker in self.folds)


def forecast_of(walkers: Sequence[Journey], values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return what (rows, ...) values of the whole dataset are at the rows that are forecast, model by model."""
    return np.concatenate([journey.forecast(values[journey.first :]) for journey in walkers])


def journeys(
    dataset: Dataset, spec: WalkForwardSpec, model: LogisticRegression, steps: Steps = STEPS
) -> tuple[list[Journey], list[Note]]:
    """Return what each model walks through, and a note for every ticker that is too short for one fold.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the text is that of the longest.
    DegenerateFold : a ticker that would have a model of its own has no label at all, unless `model.degenerate` allows.
    """
    if model.scope == "pooled":
        return [_pooled(dataset, spec, model, steps)], []
    return _each_alone(dataset, spec, model, steps)


def _each_alone(
    dataset: Dataset, spec: WalkForwardSpec, model: LogisticRegression, steps: Steps
) -> tuple[list[Journey], list[Note]]:
    journeys: list[Journey] = []
    short: list[tuple[int, NotEnoughHistory]] = []
    for ticker, name in enumerate(dataset.tickers):
        rows = dataset.rows(ticker)
        count = rows.stop - rows.start
        try:
            folds = steps.folds(count, spec, horizon=dataset.horizon)
        except NotEnoughHistory as error:
            short.append((count, NotEnoughHistory(f"{name}: {error.message}", key=error.key)))
            continue
        _require_labels(dataset.up[rows], name, model)
        session = dataset.session[rows.start + folds.test_start]
        journeys.append(
            Journey(
                name=name,
                ticker=ticker,
                first=rows.start,
                X=dataset.features[rows],
                up=dataset.up[rows],
                span=dataset.span_return[rows],
                position=None,
                session=session,
                dates=dataset.sessions[session],
                folds=(folds,),
                columns=dataset.columns,
                model=model,
                steps=steps,
            )
        )
    if not journeys:
        raise max(short, key=lambda found: found[0])[1]
    return journeys, [Note("model", f"left out, too short: {error.message}") for _, error in short]


def _require_labels(up: Array, name: str, model: LogisticRegression) -> None:
    if model.degenerate == "error" and np.isnan(up).all():
        raise DegenerateFold(
            f"{name}: none of its rows has a label: a band drops small moves, and a benchmark is never above itself. "
            "Leave it out of data.tickers (data.context may still name it), or set model.scope to pooled",
            key="data.tickers",
        )


def _pooled(dataset: Dataset, spec: WalkForwardSpec, model: LogisticRegression, steps: Steps) -> Journey:
    folds = steps.pooled(dataset, spec)
    calendar = np.unique(dataset.session)
    first = [
        min(
            int(dataset.session[ticker.test_start[at]])
            for ticker in folds
            if ticker.test_stop[at] > ticker.test_start[at]
        )
        for at in range(len(folds[0]))
    ]
    session = np.array(first, dtype=np.int64)
    return Journey(
        name="pooled",
        ticker=-1,
        first=0,
        X=dataset.features,
        up=dataset.up,
        span=dataset.span_return,
        position=np.searchsorted(calendar, dataset.session),
        session=session,
        dates=dataset.sessions[session],
        folds=tuple(folds),
        columns=dataset.columns,
        model=model,
        steps=steps,
    )
