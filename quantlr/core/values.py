"""The values that flow from prices to a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.progress import Note
from quantlr.core.timing import latest_known_bar_index

if TYPE_CHECKING:
    import pandas as pd

MAX_STALE_OPEN_FRACTION = 0.10
"""Share of opens equal to the close before above which opens are not prices that anyone traded at."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of several tickers, each ticker's own bars pushed together from the top.

    Row i of column j is ticker j's i-th bar; below a ticker's last bar every value is NaN. A lag of k is therefore
    always a shift by k rows, whatever the holes in a ticker's history.

    Attributes
    ----------
    tickers : (tickers,) names.
    sessions : (sessions,) the union of all tickers' dates, ascending, without time zone.
    session : (bars, tickers) position of each bar in `sessions`; -1 below a ticker's last bar.
    open, high, low, close : (bars, tickers) adjusted for splits and dividends, in the quote's currency.
    volume : (bars, tickers) shares, adjusted for splits where the source tells of them.
    raw_close : (bars, tickers) the close as it was quoted on the day.
    adjustment : (bars, tickers) close / raw_close.
    source : where the prices were read, for people.
    sha256 : digest of what was read.
    notes : what was dropped or repaired on the way.
    context : prices that are looked at and never traded, on sessions of their own; None where there are none.
    """

    tickers: tuple[str, ...]
    sessions: pd.DatetimeIndex
    session: IntArray
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    raw_close: Array
    adjustment: Array
    source: str = ""
    sha256: str = ""
    notes: tuple[Note, ...] = ()
    context: Prices | None = None

    @property
    def n_bars(self) -> IntArray:
        """(tickers,) number of bars of each ticker."""
        return np.asarray((self.session >= 0).sum(axis=0), dtype=np.int64)

    @property
    def stale_open_mask(self) -> BoolArray:
        """(bars, tickers) whether the open repeats the close before, as quoted on the day."""
        stale = np.zeros(self.open.shape, dtype=np.bool_)
        quoted = self.open[1:] / self.adjustment[1:]
        stale[1:] = np.isclose(quoted, self.raw_close[:-1], rtol=1e-9, atol=0)
        return stale

    @property
    def has_tradable_opens(self) -> BoolArray:
        """(tickers,) whether at most a tenth of the opens repeat the close before; where there are none, no."""
        seen = (~np.isnan(self.open[1:])).sum(axis=0)
        return np.asarray((seen > 0) & (self.stale_open_mask.sum(axis=0) <= MAX_STALE_OPEN_FRACTION * seen))

    def bars_to_sessions(self, bar_values: Array) -> Array:
        """Return (bars, tickers) values as (sessions, tickers), NaN where a ticker has no bar."""
        grid = np.full((len(self.sessions), len(self.tickers)), np.nan)
        row, column = np.nonzero(self.session >= 0)
        grid[self.session[row, column], column] = bar_values[row, column]
        return grid

    def sessions_to_bars(self, session_values: Array) -> Array:
        """Return (sessions, tickers) values as (bars, tickers), NaN below a ticker's last bar."""
        values = np.take_along_axis(session_values, np.maximum(self.session, 0), axis=0)
        return np.where(self.session >= 0, values, np.nan)

    def before_session(self, stop: int) -> Prices:
        """Return what was there before session `cut`: nothing of that session or later, nor of the context since."""
        keep = max(int(((self.session >= 0) & (self.session < stop)).sum(axis=0).max(initial=0)), 0)
        session = np.where(self.session < stop, self.session, -1)[:keep]
        fields: dict[str, Any] = {
            name: np.where(session >= 0, getattr(self, name)[:keep], np.nan)
            for name in ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
        }
        sessions, context = self.sessions[:stop], self.context
        if context is not None:
            newest = latest_known_bar_index(context.sessions, sessions[-1:])
            context = context.before_session(int(newest.max(initial=-1)) + 1)
        return replace(self, sessions=sessions, session=session, context=context, **fields)


@dataclass(frozen=True, slots=True)
class Labels:
    """What each bar is to be forecast: computed from the future, and used only once it is known.

    Attributes
    ----------
    up : (bars, tickers) 1 up, 0 not up, NaN where the label is dropped (a tie) or not known yet.
    span_return : (bars, tickers) simple return from the bar's close to the close `horizon` bars on; NaN if unknown.
    """

    up: Array
    horizon_return: Array


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features and label, one row per ticker and bar; a ticker's rows stand together, oldest first, without a hole.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    columns : (k,) names of the features.
    ticker : (rows,) position in `tickers`, ascending.
    session : (rows,) position in `sessions`.
    features : (rows, k) known at the row's close, in the units each feature documents; no NaN.
    up : (rows,) 1 up, 0 not up, NaN where the label is dropped or not known yet.
    span_return : (rows,) simple return over the label's span, NaN where it is not known yet.
    known_at : (rows,) position of the session at whose close the label is known; `NEVER` if it has not come.
    horizon : bars from a row to the end of its label's span.
    notes : warm-up rows dropped, by ticker.
    """

    tickers: tuple[str, ...]
    sessions: pd.DatetimeIndex
    columns: tuple[str, ...]
    ticker: IntArray
    session: IntArray
    features: Array
    up: Array
    horizon_return: Array
    label_known_at: IntArray
    horizon: int
    notes: tuple[Note, ...] = ()

    def ticker_slice(self, ticker_index: int) -> slice:
        """Return the rows of the ticker at that position."""
        first, last = np.searchsorted(self.ticker, [ticker_index, ticker_index + 1])
        return slice(int(first), int(last))


@dataclass(frozen=True, slots=True)
class Fold:
    """One refit: the rows that train it and the rows it forecasts."""

    train: slice
    test: slice


@dataclass(frozen=True, slots=True)
class Folds:
    """All refits of one walk-forward, one entry per refit. Comes only from ``model/folds.py``.

    Attributes
    ----------
    train_start, train_stop : (refits,) first row that trains, and the row after the last.
    test_start, test_stop : (refits,) first row that is forecast, and the row after the last.
    """

    train_start: IntArray
    train_stop: IntArray
    test_start: IntArray
    test_stop: IntArray

    def __len__(self) -> int:
        return len(self.train_start)

    def __iter__(self) -> Iterator[Fold]:
        return (self[at] for at in range(len(self)))

    def __getitem__(self, index: int) -> Fold:
        return Fold(
            slice(int(self.train_start[index]), int(self.train_stop[index])),
            slice(int(self.test_start[index]), int(self.test_stop[index])),
        )

    def slice_refits(self, refits: slice) -> Folds:
        """Return some of the refits."""
        return Folds(self.train_start[refits], self.train_stop[refits], self.test_start[refits], self.test_stop[refits])


@dataclass(frozen=True, slots=True)
class Refits:
    """What each refit learnt, and how well its descent ended.

    Attributes
    ----------
    columns : (k,) names of the features.
    ticker : (refits,) position in `Forecasts.tickers`; -1 for a model of all of them.
    session : (refits,) position of the first session that the refit forecasts.
    coefficients : (refits, 1 + k) intercept, then one per feature, in units of the raw features.
    iterations : (refits,) updates taken.
    gradient : (refits,) largest component of the last gradient measured, in standardised units.
    converged : (refits,) whether that was at most the tolerance.
    degenerate : (refits,) whether no best fit exists, and the base rate is forecast instead.
    calibration : (refits, 2) intercept and slope of Platt's sigmoid on the log odds; 0 and 1 where it was not fitted.
    condition : (models,) ratio of the largest to the smallest singular value of the standardised training rows of
        each model's last refit that had any, NaN if none had; a hundred or more says that features nearly repeat one
        another.
    """

    columns: tuple[str, ...]
    ticker: IntArray
    session: IntArray
    coefficients: Array
    iterations: IntArray
    max_abs_gradient: Array
    converged: BoolArray
    degenerate: BoolArray
    platt_coefficients: Array
    condition_number: Array


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Probabilities of an up move, and what the fold that made them knew; one row per forecast.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    ticker : (rows,) position in `tickers`, ascending.
    session : (rows,) position of the session at whose close the forecast was made.
    log_odds : (rows,) of an up move over the label's span; finite where the probability rounds to 0 or 1.
    probability : (rows,) the same as a probability.
    up : (rows,) what came: 1 up, 0 not up, NaN where it was dropped or is not known yet.
    span_return : (rows,) simple return that came over the label's span; NaN if not known yet.
    base_rate : (rows,) share of ups among the fold's training rows.
    mean_gain, mean_loss : (rows,) mean span return of the training rows that went up, and of those that did not.
    deviation : (rows,) standard deviation (ddof 1) of the training rows' span returns.
    fold : (rows,) number of the refit, counted within the ticker.
    horizon : bars from a forecast to the end of its span.
    refits : the models behind the forecasts.
    notes : tickers left out, fits that did not converge.
    """

    tickers: tuple[str, ...]
    sessions: pd.DatetimeIndex
    ticker: IntArray
    session: IntArray
    log_odds: Array
    probability: Array
    up: Array
    horizon_return: Array
    base_rate: Array
    mean_gain: Array
    mean_loss: Array
    std: Array
    fold: IntArray
    horizon: int
    refits: Refits
    notes: tuple[Note, ...] = ()

    @property
    def is_clustered(self) -> bool:
        """Whether forecasts overlap: in time (horizon over 1) or across tickers on the same day."""
        return self.horizon > 1 or len(np.unique(self.ticker)) > 1


@dataclass(frozen=True, slots=True)
class Positions:
    """Target weights decided at each session's close.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    weight : (sessions, tickers) fraction of equity; NaN where nothing was decided. In [-1, 1], unless an overlay that
        is told to goes beyond.
    """

    tickers: tuple[str, ...]
    sessions: pd.DatetimeIndex
    weight: Array


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """What a strategy earned, one row per session, from the first fill to the last price.

    Attributes
    ----------
    tickers : (tickers,) names.
    fills : (sessions + 1,) dates of the prices between which returns are earned; the first is the first fill.
    price : (sessions + 1, tickers) adjusted price of the kind that is traded; NaN where a ticker has no bar.
    weight : (sessions, tickers) fraction of equity held from one fill to the next, after trading at the first.
    ticker_gross : (sessions, tickers) weight times return, as a fraction of equity.
    ticker_cost : (sessions, tickers) trading cost and borrow, as a fraction of equity (>= 0).
    gross_return : (sessions,) simple return before costs, interest on cash included (0.01 is one percent).
    cash_return : (sessions,) the part of `gross_return` that is interest on cash.
    cost : (sessions,) costs, as a fraction of equity (>= 0).
    net_return : (sessions,) gross_return - cost.
    equity : (sessions,) product of 1 + net_return from 1; 0 after ruin.
    exposure : (sessions,) sum of |weight|.
    turnover : (sessions,) sum of |weight - drifted weight|, both sides counted.
    cash : interest on one unit of cash over one session, as a fraction.
    notes : what happened that a reader should know.
    benchmark : the benchmark over the same sessions, None for a benchmark itself.
    """

    tickers: tuple[str, ...]
    fill_dates: pd.DatetimeIndex
    price: Array
    weight: Array
    ticker_gross_return: Array
    ticker_cost: Array
    gross_return: Array
    cash_return: Array
    cost: Array
    net_return: Array
    equity: Array
    exposure: Array
    turnover: Array
    session_cash_rate: float = 0.0
    notes: tuple[Note, ...] = ()
    benchmark: BacktestResult | None = None

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """(sessions,) the session that ends each return."""
        return self.fill_dates[1:]


@dataclass(frozen=True, slots=True)
class RunData:
    """Every value that a run has passed through, from prices to the backtest."""

    prices: Prices
    dataset: Dataset
    forecasts: Forecasts
    positions: Positions
    result: BacktestResult


@dataclass(frozen=True, slots=True)
class Report:
    """The pages, metrics and tables of one run, as the files that a report folder holds.

    Attributes
    ----------
    name : name of the folder.
    files : file name to bytes.
    """

    name: str
    files: dict[str, bytes]
