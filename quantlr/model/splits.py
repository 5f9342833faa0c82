"""Walk-forward splits: which rows train each refit, and which rows it forecasts.

All `Folds` are made here. A row trains a refit only if its label is known at the close at which the refit's first
forecast is made; see `quantlr.core.timing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StrictInt

from quantlr.core.components import ChoiceDescriptions, ConfigSection, Unit
from quantlr.core.errors import NotEnoughHistory
from quantlr.core.timing import NOT_YET_KNOWN, first_forecast_row, label_cutoff_row, label_lag, last_training_row
from quantlr.core.values import Array, BoolArray, Dataset, Folds, IntArray

SUM_BLOCK_ROWS = 2**14
"""Rows per block of the sums over folds."""
CENTER_SAMPLE_RETURNS = 2**10
"""Smallest number of returns that their approximate mean is computed from."""
RowValuesFunction = Callable[[slice], Array | BoolArray]
"""Takes a slice of rows and returns their values, (v, rows)."""

ROWS_UNIT = Unit("rows, a ticker's own sessions")


DAILY_SESSIONS_PER_YEAR, MIN_DAILY_SESSIONS_PER_YEAR, MONTHS_PER_YEAR = 252, 100, 12
DAILY_TRAIN_ROWS, DAILY_REFIT_ROWS = 1000, 21
"""Training rows and rows between refits of daily bars that are `auto`: four years and a month."""
TRAIN_YEARS, MIN_AUTO_TRAIN_ROWS = 4, 60
"""Years of weekly and monthly training rows, and the smallest number of them."""


class WalkForwardSpec(ConfigSection):
    """Training window, refit schedule and embargo of the walk-forward."""

    window: Annotated[
        Literal["expanding", "rolling"],
        ChoiceDescriptions({"expanding": "all rows so far", "rolling": "the newest `train` rows"}),
    ] = Field("expanding", description="Training window of each refit.")
    train: (
        Annotated[StrictInt, ROWS_UNIT, Field(ge=2, le=10**9)]
        | Annotated[Literal["auto"], ChoiceDescriptions({"auto": "1000, of weekly bars 208, of monthly ones 60"})]
    ) = Field("auto", description="Training rows of the first refit, after the warm-up; with rolling, of every refit.")
    refit_every: (
        Annotated[StrictInt, ROWS_UNIT, Field(ge=1, le=10**9)]
        | Annotated[
            Literal["auto", "never"],
            ChoiceDescriptions({
                "auto": "a month: 21, of weekly bars 4, of monthly ones 1",
                "never": "fit once, before the first forecast",
            }),
        ]
    ) = Field("auto", description="Rows that are forecast between one refit and the next.")  # fmt: skip
    embargo: Annotated[StrictInt, ROWS_UNIT, Field(ge=0, le=10**9)] = Field(
        0, description="Rows left out between training and forecast, in addition to those whose labels are not known."
    )

    def fold_sizes(self, sessions_per_year: int = DAILY_SESSIONS_PER_YEAR) -> tuple[int, int | None]:
        """Return training rows and rows between refits, `auto` by the frequency of the bars; None if fitted once."""
        is_daily = sessions_per_year >= MIN_DAILY_SESSIONS_PER_YEAR
        train = DAILY_TRAIN_ROWS if is_daily else max(TRAIN_YEARS * sessions_per_year, MIN_AUTO_TRAIN_ROWS)
        step = DAILY_REFIT_ROWS if is_daily else max(round(sessions_per_year / MONTHS_PER_YEAR), 1)
        is_once = self.refit_every == "never"
        refit_every = step if isinstance(self.refit_every, str) else self.refit_every
        return train if isinstance(self.train, str) else self.train, None if is_once else refit_every

    def resolve(self, sessions_per_year: int) -> WalkForwardSpec:
        """Return the spec with the numbers of rows in place of `auto`."""
        train, refit_every = self.fold_sizes(sessions_per_year)
        return self.model_copy(update={"train": train, "refit_every": refit_every or "never"})


def make_folds(n_rows: int, split_spec: WalkForwardSpec, *, horizon: int) -> Folds:
    """Return the walk-forward folds of one ticker.

    The first refit trains on rows 0 to `train` - 1 and forecasts from the first row at which their labels are known
    and the embargo has passed. Each later refit starts `refit_every` rows on and trains on the rows whose labels are
    known by then.

    Parameters
    ----------
    horizon : rows from a row to that at whose close its label is known, as `core.timing.label_lag`.

    Raises
    ------
    NotEnoughHistory : no row is left to forecast.
    """
    train, refit_every = split_spec.fold_sizes()
    first = first_forecast_row(train, lag=horizon, embargo=split_spec.embargo)
    if n_rows <= first:
        raise NotEnoughHistory(
            f"the first fold needs {first + 1} rows (train {train} + gap {first - train} + test 1), found {n_rows}; "
            "fetch a longer history or shorten walk_forward.train",
            key="walk_forward.train",
        )
    step = refit_every or n_rows
    test_start = np.arange(first, n_rows, step, dtype=np.int64)
    test_stop = np.minimum(test_start + step, n_rows)
    train_stop = last_training_row(0, lag=horizon, embargo=split_spec.embargo) + test_start + 1
    train_start = train_stop - train if split_spec.window == "rolling" else np.zeros_like(train_stop)
    return Folds(train_start, train_stop, test_start, test_stop)


def make_pooled_folds(dataset: Dataset, split_spec: WalkForwardSpec) -> list[Folds]:
    """Return the folds of one model of all tickers: one `Folds` per ticker, with the same refits.

    Windows count the sessions of the tickers' joint calendar instead of a ticker's own rows. A row trains a refit only
    if its own label is known in time, however long its ticker did not trade; of several markets, by the earliest close
    of the refit's date.

    Raises
    ------
    NotEnoughHistory : no session is left to forecast.
    """
    calendar = np.unique(dataset.session)
    splits = make_folds(len(calendar), split_spec, horizon=label_lag(dataset.horizon, label_delay=dataset.label_delay))
    label_cutoff = label_cutoff_row(0, embargo=split_spec.embargo) + splits.test_start
    folds = []
    for ticker in range(len(dataset.tickers)):
        rows = dataset.ticker_slice(ticker)
        session = np.searchsorted(calendar, dataset.session[rows])
        label_known_at = dataset.label_known_to_all_at[rows]
        known = np.where(label_known_at == NOT_YET_KNOWN, NOT_YET_KNOWN, np.searchsorted(calendar, label_known_at))
        stop = np.searchsorted(known, label_cutoff, side="right")
        start = np.minimum(np.searchsorted(session, splits.train_start), stop)
        test_start, test_stop = (np.searchsorted(session, edge) for edge in (splits.test_start, splits.test_stop))
        folds.append(Folds(*(rows.start + edge for edge in (start, stop, test_start, test_stop))))
    return folds


def fold_sums(row_values: RowValuesFunction, folds: Sequence[Folds]) -> Array:
    """Return the sums of row values over each refit's training rows, of all tickers together, (v, refits).

    `row_values` takes a slice of rows and returns their values, (v, rows). Every row is added once, between two
    consecutive edges of training windows.
    """
    total = np.zeros((len(row_values(slice(0))), len(folds[0])))
    for ticker in folds:
        edges = np.unique(np.concatenate([ticker.train_start, ticker.train_stop]))
        if len(edges) > 1:
            cumulative = np.zeros((len(total), len(edges)))
            np.cumsum(_sums_between_edges(row_values, edges, len(total)), axis=1, out=cumulative[:, 1:])
            stop, start = (np.searchsorted(edges, edge) for edge in (ticker.train_stop, ticker.train_start))
            total += cumulative[:, stop] - cumulative[:, start]
    return total


def _sums_between_edges(row_values: RowValuesFunction, edges: IntArray, n_values: int) -> Array:
    """Return the sums of the row values between each edge and the next, (n_values, edges - 1)."""
    sums = np.zeros((n_values, len(edges) - 1))
    for first in range(int(edges[0]), int(edges[-1]), SUM_BLOCK_ROWS):
        rows = slice(first, min(first + SUM_BLOCK_ROWS, int(edges[-1])))
        left, right = int(np.searchsorted(edges, rows.start, side="right")) - 1, int(np.searchsorted(edges, rows.stop))
        starts = np.maximum(edges[left:right], rows.start) - rows.start
        sums[:, left:right] += np.add.reduceat(row_values(rows).astype(np.float64, copy=False), starts, axis=1)
    return sums


def fold_target_stats(up: Array, horizon_return: Array, folds: Sequence[Folds]) -> Array:
    """Return base rate, mean gain, mean loss and standard deviation of each refit's training rows, (4, refits).

    The mean gain is the mean horizon return of the rows labelled up, the mean loss that of the others, and the
    standard deviation (ddof 1) that of all horizon returns. Rows without a label are left out; a mean over no row is
    NaN.
    """
    first = next((ticker for ticker in folds if ticker.train_stop[0] > ticker.train_start[0]), folds[0])
    center = _approximate_mean(horizon_return[first.train_start[0] : first.train_stop[0]])

    def moment_terms(row_slice: slice) -> Array:
        values = np.empty((5, len(up[row_slice])))
        count, ups, gains, centered, squares = values
        count[:], ups[:] = 1.0, up[row_slice]
        np.subtract(horizon_return[row_slice], center, out=centered)
        np.multiply(ups, centered, out=gains)
        np.square(centered, out=squares)
        unknown = np.isnan(ups)
        if unknown.any():
            values[:, unknown] = 0.0
        return values

    count, ups, gains, total, squares = fold_sums(moment_terms, folds)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_gain, mean_loss = center + gains / ups, center + (total - gains) / (count - ups)
        variance = (squares - total**2 / count) / (count - 1)
        return np.stack([ups / count, mean_gain, mean_loss, np.sqrt(np.maximum(variance, 0.0))])


def _approximate_mean(horizon_return: Array) -> float:
    """Return the mean of evenly spaced returns: moments about it lose no digits."""
    sample = horizon_return[:: max(len(horizon_return) // CENTER_SAMPLE_RETURNS, 1)]
    known = sample[~np.isnan(sample)]
    return float(known.mean()) if len(known) else 0.0
