"""What a model walks through: the rows of one ticker or of all, their folds, and the steps that are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quantlr.errors import DegenerateFold, NotEnoughHistory
from quantlr.model.calibration import Calibration, fit_platt_calibration
from quantlr.model.fit import FitResults, fit_folds
from quantlr.model.folds import WalkForwardSpec, make_folds, make_pooled_folds
from quantlr.model.knowledge import fold_target_stats
from quantlr.model.rows import Scaling
from quantlr.model.scaling import fold_scaling
from quantlr.model.specs import LogisticRegression
from quantlr.model.training import TrainingData
from quantlr.types import Array, Dataset, Folds, IntArray, Note, iso_date

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class WalkForwardFunctions:
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

    make_ticker_folds: Callable[..., Folds] = make_folds
    make_folds_for_all_tickers: Callable[..., list[Folds]] = make_pooled_folds
    compute_scaling: Callable[..., Scaling] = fold_scaling
    fit_refits: Callable[..., FitResults] = fit_folds
    compute_target_stats: Callable[..., Array] = fold_target_stats
    fit_calibration: Callable[..., Calibration] = fit_platt_calibration


DEFAULT_FUNCTIONS = WalkForwardFunctions()
"""The steps of every walk, unless someone replaces one."""


@dataclass(frozen=True, slots=True)
class ModelSplit:
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
    ticker_index: int
    first_row: int
    X: Array
    up: Array
    horizon_return: Array
    row_session_index: IntArray | None
    first_session: IntArray
    refit_dates: Any
    folds: tuple[Folds, ...]
    feature_names: tuple[str, ...]
    model: LogisticRegression
    functions: WalkForwardFunctions

    def make_training_data(self) -> TrainingData:
        """Return what there is to learn from, scaled."""
        scaling = self.functions.compute_scaling(self.X, self.folds, trained=~np.isnan(self.up))
        return TrainingData(self.X, self.up, self.folds, scaling, self.row_session_index)

    def take_forecast_rows(self, row_values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return what (rows, ...) values of the journey's rows are at those that are forecast, ticker by ticker."""
        return np.concatenate([row_values[ticker.test_start[0] : ticker.test_stop[-1]] for ticker in self.folds])

    def forecast_refit_indices(self) -> IntArray:
        """Return the number of the refit that makes each forecast, (forecasts,), in the same order."""
        counts = [ticker.test_stop - ticker.test_start for ticker in self.folds]
        return np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])

    def slice_refits(self, refit_slice: slice) -> ModelSplit:
        """Return the same journey with some of its refits."""
        folds = tuple(ticker.slice_refits(refit_slice) for ticker in self.folds)
        return replace(
            self, first_session=self.first_session[refit_slice], refit_dates=self.refit_dates[refit_slice], folds=folds
        )

    def describe_refit(self, refit_index: int) -> str:
        """Return words for one of the refits."""
        return f"{self.name}, the refit before {iso_date(self.refit_dates[refit_index])}"

    @property
    def n_training_pairs(self) -> int:
        """Number of pairs of a refit and a row that trains it."""
        return sum(int((ticker.train_stop - ticker.train_start).sum()) for ticker in self.folds)


def gather_forecast_rows(model_splits: Sequence[ModelSplit], dataset_row_values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return what (rows, ...) values of the whole dataset are at the rows that are forecast, model by model."""
    return np.concatenate(
        [journey.take_forecast_rows(dataset_row_values[journey.first_row :]) for journey in model_splits]
    )


def make_model_splits(
    dataset: Dataset,
    split_spec: WalkForwardSpec,
    model: LogisticRegression,
    functions: WalkForwardFunctions = DEFAULT_FUNCTIONS,
) -> tuple[list[ModelSplit], list[Note]]:
    """Return what each model walks through, and a note for every ticker that is too short for one fold.

    Raises
    ------
    NotEnoughHistory : no ticker is long enough; the text is that of the longest.
    DegenerateFold : a ticker that would have a model of its own has no label at all, unless `model.degenerate` allows.
    """
    if model.scope == "pooled":
        return [_make_pooled_split(dataset, split_spec, model, functions)], []
    return _make_per_ticker_splits(dataset, split_spec, model, functions)


def _make_per_ticker_splits(
    dataset: Dataset, split_spec: WalkForwardSpec, model: LogisticRegression, functions: WalkForwardFunctions
) -> tuple[list[ModelSplit], list[Note]]:
    journeys: list[ModelSplit] = []
    short: list[tuple[int, NotEnoughHistory]] = []
    for ticker, name in enumerate(dataset.tickers):
        rows = dataset.ticker_slice(ticker)
        count = rows.stop - rows.start
        try:
            folds = functions.make_ticker_folds(count, split_spec, horizon=dataset.horizon)
        except NotEnoughHistory as error:
            short.append((count, NotEnoughHistory(f"{name}: {error.message}", key=error.key)))
            continue
        _require_labels(dataset.up[rows], name, model)
        session = dataset.session[rows.start + folds.test_start]
        journeys.append(
            ModelSplit(
                name=name,
                ticker_index=ticker,
                first_row=rows.start,
                X=dataset.features[rows],
                up=dataset.up[rows],
                horizon_return=dataset.horizon_return[rows],
                row_session_index=None,
                first_session=session,
                refit_dates=dataset.sessions[session],
                folds=(folds,),
                feature_names=dataset.columns,
                model=model,
                functions=functions,
            )
        )
    if not journeys:
        raise max(short, key=lambda found: found[0])[1]
    return journeys, [Note("model", f"left out, too short: {error.message}") for _, error in short]


def _require_labels(up: Array, ticker: str, model: LogisticRegression) -> None:
    if model.degenerate == "error" and np.isnan(up).all():
        raise DegenerateFold(
            f"{ticker}: none of its rows has a label: a band drops small moves, and a benchmark is never above itself. "
            "Leave it out of data.tickers (data.context may still name it), or set model.scope to pooled",
            key="data.tickers",
        )


def _make_pooled_split(
    dataset: Dataset, split_spec: WalkForwardSpec, model: LogisticRegression, functions: WalkForwardFunctions
) -> ModelSplit:
    folds = functions.make_folds_for_all_tickers(dataset, split_spec)
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
    return ModelSplit(
        name="pooled",
        ticker_index=-1,
        first_row=0,
        X=dataset.features,
        up=dataset.up,
        horizon_return=dataset.horizon_return,
        row_session_index=np.searchsorted(calendar, dataset.session),
        first_session=session,
        refit_dates=dataset.sessions[session],
        folds=tuple(folds),
        feature_names=dataset.columns,
        model=model,
        functions=functions,
    )
