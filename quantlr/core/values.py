"""The values that pass between the layers, from prices to a report: frozen dataclasses of arrays, and array types.

Which of them is known at which close is stated in ``core/timing.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from quantlr.core.frequency import CountedSessionsPerYear, count_sessions
from quantlr.core.known_series import KnownSeries
from quantlr.core.timing import Market, latest_known_bar_index

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FeatureColumns = dict[str, Array]
"""Feature values by column name, each (bars, tickers)."""

PRICE_ARRAYS = ("open", "high", "low", "close", "volume", "raw_close", "adjustment")
"""The (bars, tickers) arrays of floats in `Prices`."""
REFERENCE_PRICES = ("context", "benchmark")
"""The fields of `Prices` with prices of tickers that are not traded."""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark about a result: what was dropped, repaired or left out, or did not converge.

    Attributes
    ----------
    stage : the layer that made it.
    text : one sentence.
    ticker, date : the ticker and the date that it is about, None if it is about several.
    count : number of rows, sessions or fits that it stands for.
    key : dotted config key that controls it, if any.
    """

    stage: Literal["data", "features", "model", "backtest"]
    text: str
    ticker: str | None = None
    date: str | None = None
    count: int = 1
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of several tickers, one column per ticker, its bars contiguous from row 0.

    Row i of column j is ticker j's i-th bar; after a ticker's last bar every value is NaN. A lag of k is therefore
    always a shift by k rows, whichever sessions a ticker did not trade.

    Attributes
    ----------
    tickers : (tickers,) names.
    sessions : (sessions,) the union of all tickers' dates, ascending, without time zone.
    session : (bars, tickers) position of each bar in `sessions`; -1 after a ticker's last bar.
    open, high, low, close : (bars, tickers) adjusted for splits and dividends, in the quote's currency.
    volume : (bars, tickers) shares, adjusted for the splits that the source reports.
    raw_close : (bars, tickers) unadjusted close.
    adjustment : (bars, tickers) close / raw_close.
    source : description of the source, for reports.
    sha256 : digest of the data read.
    notes : bars dropped or repaired.
    context : reference series, used by features and not traded, with sessions of their own; None if there are none.
    benchmark : the ticker of the benchmark, with sessions of its own; features can't reach it. None for another one.
    member_mask : (bars, tickers) whether the ticker is a member of the universe at the bar; None if all always are.
    counted_sessions_per_year : counted from the dates unless given; a part or a scenario keeps the number of the whole.
    markets : (tickers,) when each ticker's market closes; () if all are of one.
    series : other series than prices, with the dates from which their values are known.
    newest_bar : (sessions, tickers) row of the bar that counts as a session's, -1 for none, where other markets' bars
        have the session at whose close they are known (``core/market_views.py``); None: the bar of the session's date.
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
    benchmark: Prices | None = None
    member_mask: BoolArray | None = None
    counted_sessions_per_year: CountedSessionsPerYear | None = None
    markets: tuple[Market, ...] = ()
    newest_bar: IntArray | None = None
    series: tuple[KnownSeries, ...] = ()

    def __post_init__(self) -> None:
        """Count the sessions per year."""
        if self.counted_sessions_per_year is None:
            object.__setattr__(self, "counted_sessions_per_year", count_sessions(self.sessions, self.session))

    @property
    def n_bars(self) -> IntArray:
        """(tickers,) number of bars of each ticker."""
        return np.asarray((self.session >= 0).sum(axis=0), dtype=np.int64)

    def bars_to_sessions(self, bar_values: Array) -> Array:
        """Return (bars, tickers) values as (sessions, tickers), NaN where a ticker has no bar."""
        if self.newest_bar is not None:
            return np.where(self.newest_bar >= 0, np.take_along_axis(bar_values, self.newest_bar, axis=0), np.nan)
        grid = np.full((len(self.sessions), len(self.tickers)), np.nan)
        row, column = np.nonzero(self.session >= 0)
        grid[self.session[row, column], column] = bar_values[row, column]
        return grid

    def sessions_to_bars(self, session_values: Array) -> Array:
        """Return (sessions, tickers) values as (bars, tickers), NaN after a ticker's last bar."""
        values = np.take_along_axis(session_values, np.maximum(self.session, 0), axis=0)
        return np.where(self.session >= 0, values, np.nan)

    def before_session(self, session_index: int) -> Prices:
        """Return the prices of the sessions before that position, and the context bars that are known by then."""
        n_bars = int(((self.session >= 0) & (self.session < session_index)).sum(axis=0).max(initial=0))
        session = np.where(self.session < session_index, self.session, -1)[:n_bars]
        fields: dict[str, Any] = {
            name: np.where(session >= 0, getattr(self, name)[:n_bars], np.nan) for name in PRICE_ARRAYS
        }
        sessions = self.sessions[:session_index]
        fields["newest_bar"] = None if self.newest_bar is None else self.newest_bar[:session_index]
        fields["member_mask"] = None if self.member_mask is None else self.member_mask[:n_bars] & (session >= 0)
        for name in REFERENCE_PRICES:
            if (reference := getattr(self, name)) is not None:
                latest = latest_known_bar_index(reference.sessions, sessions[-1:])
                fields[name] = reference.before_session(int(latest.max(initial=-1)) + 1)
        return replace(self, sessions=sessions, session=session, **fields)


@dataclass(frozen=True, slots=True)
class Labels:
    """The target of each bar: computed from later prices, and used only once it is known.

    Attributes
    ----------
    up : (bars, tickers) 1 up, 0 not up, NaN where the label is dropped or not known yet.
    horizon_return : (bars, tickers) simple return over the label's span, by default from the bar's close to the close
        `horizon` bars later; NaN if not known yet.
    """

    up: Array
    horizon_return: Array


@dataclass(frozen=True, slots=True)
class Dataset:
    """Features and labels, one row per ticker and bar; a ticker's rows are contiguous and oldest first.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    columns : (k,) names of the features.
    ticker : (rows,) position in `tickers`, ascending.
    session : (rows,) position in `sessions`.
    features : (rows, k) feature values known at the row's close, in the units each feature documents; no NaN.
    up : (rows,) 1 up, 0 not up, NaN where the label is dropped or not known yet.
    horizon_return : (rows,) simple return over the next `horizon` bars, NaN if not known yet.
    label_known_at : (rows,) position of the session at whose close the label is known; or `NOT_YET_KNOWN`.
    label_known_to_all_at : (rows,) position of the first session by whose earliest close, of all markets, the label is
        known, and from which on it may train a model of all tickers.
    horizon : bars that a label spans.
    notes : warm-up rows dropped, by ticker.
    label_delay : bars from a row to the price at which its label starts; 0 where that is the row's close.
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
    label_known_to_all_at: IntArray
    horizon: int
    notes: tuple[Note, ...] = ()
    label_delay: int = 0

    def ticker_slice(self, ticker_index: int) -> slice:
        """Return the rows of one ticker, given by its position in `tickers`."""
        first, last = np.searchsorted(self.ticker, [ticker_index, ticker_index + 1])
        return slice(int(first), int(last))


@dataclass(frozen=True, slots=True)
class Fold:
    """The training rows and the forecast (test) rows of one refit."""

    train: slice
    test: slice


@dataclass(frozen=True, slots=True)
class Folds:
    """Training and forecast rows of every refit of one ticker; made only by ``model/splits.py``.

    Attributes
    ----------
    train_start, train_stop : (refits,) first training row, and the row after the last.
    test_start, test_stop : (refits,) first forecast row, and the row after the last.
    """

    train_start: IntArray
    train_stop: IntArray
    test_start: IntArray
    test_stop: IntArray

    def __len__(self) -> int:
        return len(self.train_start)

    def __iter__(self) -> Iterator[Fold]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Fold:
        return Fold(
            slice(int(self.train_start[index]), int(self.train_stop[index])),
            slice(int(self.test_start[index]), int(self.test_stop[index])),
        )

    def slice_refits(self, refit_slice: slice) -> Folds:
        """Return the folds of some of the refits."""
        rows = (self.train_start, self.train_stop, self.test_start, self.test_stop)
        return Folds(*(row[refit_slice] for row in rows))

    def shift_rows(self, n_rows: int) -> Folds:
        """Return the folds with `n_rows` added to every row number."""
        rows = (self.train_start, self.train_stop, self.test_start, self.test_stop)
        return Folds(*(row + n_rows for row in rows))


@dataclass(frozen=True, slots=True)
class Refits:
    """What every refit has learnt, and whether its fit converged.

    Attributes
    ----------
    columns : (k,) names of the features.
    ticker : (refits,) position in `Forecasts.tickers`; -1 for a pooled model.
    session : (refits,) position of the first session that the refit forecasts.
    coefficients : (refits, 1 + k) intercept, then one coefficient per feature, in units of the raw features; empty
        for a model whose log odds are not linear in the features.
    iterations : (refits,) number of solver iterations; empty for a fit without iterations.
    max_abs_gradient : (refits,) largest absolute component of the final gradient, in standardised units; empty for a
        fit without a gradient.
    converged : (refits,) whether the fit has converged: `max_abs_gradient`, if there is one, is at most the tolerance.
    degenerate : (refits,) whether the loss has no minimum; the base rate is forecast instead.
    platt_coefficients : (refits, 2) intercept and slope of Platt's sigmoid on the log odds; 0 and 1 if not fitted.
    condition_number : (models,) ratio of the largest to the smallest singular value of the standardised training rows
        of each model's last refit that had any, NaN if none had. At 100 or more the features are nearly collinear.
    lipschitz : (models,) L, the largest curvature that the standardised loss of that refit can have; NaN if it has
        none. Gradient descent needs a learning rate below 2/L.
    learning_rate : (models,) learning rate of that refit, in standardised units; NaN for Newton's method, whose
        learning rate is the inverse Hessian.
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
    lipschitz: Array
    learning_rate: Array

    @property
    def has_coefficients(self) -> bool:
        """Whether the log odds are linear in the features."""
        return self.coefficients.size > 0


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Probabilities of an up move, with statistics of the training rows behind each; one row per forecast.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    ticker : (rows,) position in `tickers`, ascending.
    session : (rows,) position of the session at whose close the forecast was made.
    log_odds : (rows,) log odds of an up move; finite even where the probability rounds to 0 or 1.
    probability : (rows,) probability of an up move.
    up : (rows,) outcome: 1 up, 0 not up, NaN where the label is dropped or not known yet.
    horizon_return : (rows,) realised simple return over the horizon; NaN if not known yet.
    base_rate : (rows,) fraction of ups among the refit's training rows.
    mean_gain, mean_loss : (rows,) mean horizon return of the training rows labelled up, and of the others.
    std : (rows,) standard deviation (ddof 1) of the training rows' horizon returns.
    training_up_rate : (rows,) fraction of ups among the training rows of the forecast's own ticker; NaN without any.
    training_probability_mean, training_probability_std : (rows,) mean and standard deviation (ddof 0) of the
        probabilities that the refit gives these rows, calibrated as the forecast is.
    fold : (rows,) number of the refit, counted within the model.
    horizon : bars that a forecast spans.
    refits : the fitted models, in the order of the forecasts.
    folds : training and forecast rows of each ticker's refits, as row numbers of the `Dataset`: one entry per ticker
        that has forecasts, in their order; for a pooled model one per ticker of the dataset.
    notes : tickers left out, fits that did not converge.
    label_delay : as in `Dataset`.
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
    training_up_rate: Array
    training_probability_mean: Array
    training_probability_std: Array
    fold: IntArray
    horizon: int
    refits: Refits
    folds: tuple[Folds, ...]
    notes: tuple[Note, ...] = ()
    label_delay: int = 0

    @property
    def has_dependent_outcomes(self) -> bool:
        """Whether outcomes are dependent: horizons overlap (horizon > 1), or there are several tickers per session."""
        return self.horizon > 1 or len(np.unique(self.ticker)) > 1


@dataclass(frozen=True, slots=True)
class Positions:
    """Target weights decided at each session's close.

    Attributes
    ----------
    tickers, sessions : as in `Prices`.
    weight : (sessions, tickers) fraction of equity; NaN where there is no decision. In [-1, 1], unless an overlay
        allows leverage.
    """

    tickers: tuple[str, ...]
    sessions: pd.DatetimeIndex
    weight: Array


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """Returns, costs and weights of a strategy, one row per session, from the first fill to the last price.

    Attributes
    ----------
    tickers : (tickers,) names.
    fill_dates : (sessions + 1,) dates of the prices between which returns are earned; the first is the first fill.
    price : (sessions + 1, tickers) adjusted price of the kind that is traded; NaN where a ticker has no bar.
    weight : (sessions, tickers) fraction of equity held from one fill to the next, after trading at the first.
    ticker_return : (sessions, tickers) simple return of the price from one fill to the next; 0 where the ticker has no
        bar at the end.
    ticker_gross_return : (sessions, tickers) weight times return, as a fraction of equity.
    ticker_cost : (sessions, tickers) costs of trading, borrowing and financing, as a fraction of equity (>= 0).
    gross_return : (sessions,) simple return before costs, interest on cash included (0.01 is one percent).
    cash_return : (sessions,) the part of `gross_return` that is interest on cash.
    cost : (sessions,) costs, as a fraction of equity (>= 0).
    net_return : (sessions,) gross_return - cost.
    equity : (sessions,) cumulative product of 1 + net_return, from 1; 0 after ruin.
    exposure : (sessions,) sum of |weight|.
    turnover : (sessions,) sum of |weight - drifted weight|, purchases and sales both counted.
    session_cash_rate : interest on one unit of cash over each session, as a fraction; (sessions,), or one number.
    notes : remarks for the report.
    benchmark : the benchmark over the same sessions, None for a benchmark itself.
    """

    tickers: tuple[str, ...]
    fill_dates: pd.DatetimeIndex
    price: Array
    weight: Array
    ticker_return: Array
    ticker_gross_return: Array
    ticker_cost: Array
    gross_return: Array
    cash_return: Array
    cost: Array
    net_return: Array
    equity: Array
    exposure: Array
    turnover: Array
    session_cash_rate: Array | float = 0.0
    notes: tuple[Note, ...] = ()
    benchmark: BacktestResult | None = None

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """(sessions,) the session that ends each return."""
        return self.fill_dates[1:]

    @property
    def ticker_listed_mask(self) -> BoolArray:
        """(sessions, tickers) whether a ticker has a bar at or before the start, and one at or after the end."""
        has_bar = ~np.isnan(self.price)
        has_earlier = np.logical_or.accumulate(has_bar[:-1], axis=0)
        return np.asarray(has_earlier & np.logical_or.accumulate(has_bar[:0:-1], axis=0)[::-1])

    @property
    def ticker_interest(self) -> Array:
        """(sessions, tickers) interest that the cash in each position would earn, as a fraction of equity."""
        return np.asarray(self.weight * np.reshape(self.session_cash_rate, (-1, 1)))


@dataclass(frozen=True, slots=True)
class RunData:
    """Every value of one run, from prices to the backtest.

    Attributes
    ----------
    prices, dataset, forecasts, positions, result : the values, in the order of their computation.
    replaced_stages : names of the functions that were called in place of those of quantlr, by the stage's name.
    """

    prices: Prices
    dataset: Dataset
    forecasts: Forecasts
    positions: Positions
    result: BacktestResult
    replaced_stages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """The files of one run's report, contents by file name, and the name of its folder."""

    name: str
    files: dict[str, bytes]
