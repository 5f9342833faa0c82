"""Which rows train a model and which it forecasts: the only place where a `Fold` is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from quantlr.core.annotations import ChoiceDescriptions, Unit
from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.components import ConfigSection, StrictInt
from quantlr.core.errors import NotEnoughHistory
from quantlr.core.timing import NOT_YET_KNOWN, first_forecast_row, label_cutoff_row, last_training_row
from quantlr.core.values import Dataset, Folds

SUM_BLOCK_ROWS = 2**14
"""Rows whose values are there at once, where they are summed."""
RowValuesFunction = Callable[[slice], Array | BoolArray]
"""From some rows to what is to be summed of them, (v, rows)."""

ROWS_UNIT = Unit("rows, a ticker's own sessions")


class WalkForwardSpec(ConfigSection):
    """How the model walks forward through time."""

    window: Annotated[
        Literal["expanding", "rolling"],
        ChoiceDescriptions({"expanding": "all rows so far", "rolling": "the newest `train` of them"}),
    ] = Field("expanding", description="Which rows a refit trains on.")
    train: Annotated[StrictInt, ROWS_UNIT, Field(ge=2, le=10**9)] = Field(
        1000, description="Rows that train the first fold, after the warm-up."
    )
    refit_every: (
        Annotated[StrictInt, ROWS_UNIT, Field(ge=1, le=10**9)]
        | Annotated[Literal["never"], ChoiceDescriptions({"never": "fit once, before the first forecast"})]
    ) = Field(21, description="Rows forecast between one refit and the next.")
    embargo: Annotated[StrictInt, ROWS_UNIT, Field(ge=0, le=10**9)] = Field(
        0, description="Rows left out between training and forecast, beyond those whose labels are not known."
    )


def make_folds(n_rows: int, split_spec: WalkForwardSpec, *, horizon: int) -> Folds:
    """Return the folds of one ticker with so many rows.

    The first fold trains on rows 0 to `train` - 1 and forecasts from the first row at which their labels are known,
    and the embargo is over. Every later one starts `refit_every` rows on and trains on what is known by then.

    Raises
    ------
    NotEnoughHistory : no row is left to forecast.
    """
    first = first_forecast_row(split_spec.train, horizon=horizon, embargo=split_spec.embargo)
    if n_rows <= first:
        raise NotEnoughHistory(
            f"the first fold needs {first + 1} rows (train {split_spec.train} + gap {first - split_spec.train} + test 1), "
            f"found {n_rows}; fetch a longer history or shorten walk_forward.train",
            key="walk_forward.train",
        )
    step = n_rows if split_spec.refit_every == "never" else split_spec.refit_every
    test_start = np.arange(first, n_rows, step, dtype=np.int64)
    test_stop = np.minimum(test_start + step, n_rows)
    train_stop = last_training_row(0, horizon=horizon, embargo=split_spec.embargo) + test_start + 1
    train_start = train_stop - split_spec.train if split_spec.window == "rolling" else np.zeros_like(train_stop)
    return Folds(train_start, train_stop, test_start, test_stop)


def make_pooled_folds(dataset: Dataset, split_spec: WalkForwardSpec) -> list[Folds]:
    """Return the folds of one model for all tickers: for each ticker, its rows in every refit.

    Sessions of the calendar of all tickers are counted instead of a ticker's own rows. A row trains a model that
    forecasts at a session if its own label is known by then, however long its ticker did not trade.

    Raises
    ------
    NotEnoughHistory : no session is left to forecast.
    """
    calendar = np.unique(dataset.session)
    steps = make_folds(len(calendar), split_spec, horizon=dataset.horizon)
    in_time = label_cutoff_row(0, embargo=split_spec.embargo) + steps.test_start
    found = []
    for ticker in range(len(dataset.tickers)):
        rows = dataset.ticker_slice(ticker)
        session = np.searchsorted(calendar, dataset.session[rows])
        known = np.where(
            dataset.label_known_at[rows] == NOT_YET_KNOWN,
            NOT_YET_KNOWN,
            np.searchsorted(calendar, dataset.label_known_at[rows]),
        )
        stop = np.searchsorted(known, in_time, side="right")
        found.append(
            Folds(
                train_start=rows.start + np.minimum(np.searchsorted(session, steps.train_start), stop),
                train_stop=rows.start + stop,
                test_start=rows.start + np.searchsorted(session, steps.test_start),
                test_stop=rows.start + np.searchsorted(session, steps.test_stop),
            )
        )
    return found


def fold_sums(row_values: RowValuesFunction, folds: Sequence[Folds]) -> Array:
    """Return the sums of what `values` gives for some rows, (v, rows), over each refit's training rows, (v, refits).

    Every row is added once, between the edges where training begins or ends for some refit, of all tickers together.
    """
    total = np.zeros((len(row_values(slice(0))), len(folds[0])))
    for ticker in folds:
        edges = np.unique(np.concatenate([ticker.train_start, ticker.train_stop]))
        if len(edges) > 1:
            upto = np.zeros((len(total), len(edges)))
            np.cumsum(_sums_between_edges(row_values, edges, len(total)), axis=1, out=upto[:, 1:])
            stop, start = (np.searchsorted(edges, edge) for edge in (ticker.train_stop, ticker.train_start))
            total += upto[:, stop] - upto[:, start]
    return total


def _sums_between_edges(row_values: RowValuesFunction, edges: IntArray, n_values: int) -> Array:
    """Return the sums of `count` values between each edge and the next, (count, edges - 1)."""
    sums = np.zeros((n_values, len(edges) - 1))
    for first in range(int(edges[0]), int(edges[-1]), SUM_BLOCK_ROWS):
        rows = slice(first, min(first + SUM_BLOCK_ROWS, int(edges[-1])))
        at, upto = int(np.searchsorted(edges, rows.start, side="right")) - 1, int(np.searchsorted(edges, rows.stop))
        begins = np.maximum(edges[at:upto], rows.start) - rows.start
        sums[:, at:upto] += np.add.reduceat(row_values(rows).astype(np.float64, copy=False), begins, axis=1)
    return sums
