"""Labels, the outcomes that a model forecasts: one class per label; the closing tuple is the catalogue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, StrictFloat, StrictInt

from quantlr.core.components import ChoiceDescriptions, Component, Ticker, Unit
from quantlr.core.errors import DataError
from quantlr.core.price_series import closes_at_sessions
from quantlr.core.timing import iso_date, label_known_row
from quantlr.core.values import Array, Labels, Prices

TieHandling = Annotated[
    Literal["down", "up", "drop"],
    ChoiceDescriptions({"down": "not up", "up": "up", "drop": "neither: such a row is not used to train or to score"}),
]
TIES_DESCRIPTION = "What a return of exactly zero counts as."
Horizon = Annotated[StrictInt, Unit("sessions of the ticker"), Field(ge=1, le=1_000)]


SPAN_DESCRIPTIONS = {
    "close": "the decision's close and a later close; with horizon 1 and next_close, a session that is never held",
    "fill": "the fills between which the position earns, by execution.fill",
}


class Label(Component):
    """A binary outcome of each bar, which later bars decide."""

    entry_point_group: ClassVar[str] = "quantlr.labels"
    reads_other_tickers: ClassVar[bool] = False
    """Whether a ticker's label depends on another ticker."""
    horizon: Horizon = Field(1, description="Span of what is forecast.")
    of: Annotated[Literal["close", "fill"], ChoiceDescriptions(SPAN_DESCRIPTIONS)] = Field(
        "close", description="Prices between which the return is taken."
    )

    @abstractmethod
    def compute_labels(self, prices: Prices) -> Labels:
        """Return the label of every bar, NaN where it is dropped or not known yet, from its close on.

        A label of fills is the same of other prices: `labels_of_fills` replaces the closes, and shifts the rows.
        """


def horizon_returns(close: Array, *, horizon: int) -> Array:
    """Return the simple return from each bar's close to the close at which its label is known, NaN if unknown."""
    n_later = label_known_row(0, lag=horizon)
    later_close = np.full_like(close, np.nan)
    later_close[: max(len(close) - n_later, 0)] = close[n_later:]
    return later_close / close - 1.0


def up_labels(returns: Array, *, ties: TieHandling) -> Array:
    """Return 1 where a return is above 0, 0 where it is below, by `ties` where it is 0, and NaN where it is NaN."""
    up = np.where(np.isnan(returns), np.nan, (returns > 0).astype(np.float64))
    up[returns == 0] = {"down": 0.0, "up": 1.0, "drop": np.nan}[ties]
    return up


class Direction(Label):
    """Whether the close is higher `horizon` sessions later."""

    kind: Literal["direction"] = "direction"
    ties: TieHandling = Field("down", description=TIES_DESCRIPTION)

    example_parameters = (
        {},
        {"horizon": 5, "ties": "up"},
        {"horizon": 2, "ties": "drop"},
        {"horizon": 3, "of": "fill"},
    )

    def compute_labels(self, prices: Prices) -> Labels:
        """Up is 1 where the horizon return is above 0; `ties` decides on a return of 0, `drop` makes it NaN."""
        returns = horizon_returns(prices.close, horizon=self.horizon)
        return Labels(up=up_labels(returns, ties=self.ties), horizon_return=returns)


class DeadBand(Label):
    """Whether the close is clearly higher or clearly lower `horizon` sessions later; small moves are neither.

    A row whose move is small is not used to train or to score. It is forecast and traded, since it is not known
    beforehand that its move will be small.
    """

    kind: Literal["dead_band"] = "dead_band"
    band: Annotated[StrictFloat, Unit("fraction (0.01 is one percent)"), Field(gt=0, lt=1)] = Field(
        0.002, description="Simple return up to which a move in either direction is small."
    )

    example_parameters = ({}, {"horizon": 5, "band": 0.01})

    def compute_labels(self, prices: Prices) -> Labels:
        """Up is 1 where the horizon return is above the band, 0 where it is below minus the band, NaN between."""
        returns = horizon_returns(prices.close, horizon=self.horizon)
        up = np.where(returns > self.band, 1.0, np.where(returns < -self.band, 0.0, np.nan))
        return Labels(up=up, horizon_return=returns)


class Outperformance(Label):
    """Whether a ticker returns more than a benchmark over the next `horizon` of its own sessions.

    Both returns are between the same two dates, and closes are adjusted as in their source: a benchmark that is a price
    index earns no dividends. The label is dropped where the benchmark has no bar on one of the dates; a benchmark of
    another market enters with its newest close that is known at each. A benchmark that is traded can't outperform
    itself: its own label is always dropped, and only a pooled model forecasts it.
    """

    reads_other_tickers: ClassVar[bool] = True

    kind: Literal["outperformance"] = "outperformance"
    benchmark: Ticker = Field(
        description="Benchmark ticker: one of data.context, or one that is traded.", examples=["^GSPC"]
    )
    ties: TieHandling = Field("down", description=TIES_DESCRIPTION)

    example_parameters = ({"benchmark": "^GSPC"}, {"benchmark": "^GSPC", "horizon": 3, "ties": "drop"})

    def compute_labels(self, prices: Prices) -> Labels:
        """Up is 1 where the ticker's horizon return is above the benchmark's; the horizon return is the ticker's."""
        benchmark = closes_at_sessions(prices, self.benchmark)
        if prices.tickers == (self.benchmark,):
            advice = "move it to data.context, and name the tickers to compare with it in data.tickers"
            text = f"{self.benchmark} is the only ticker and can't outperform itself; {advice}"
            raise DataError(text, key="label.benchmark")
        benchmark_close = np.where(prices.session >= 0, benchmark[prices.session], np.nan)
        returns = horizon_returns(prices.close, horizon=self.horizon)
        excess = returns - horizon_returns(benchmark_close, horizon=self.horizon)
        excess[:, np.array(prices.tickers) == self.benchmark] = np.nan
        return Labels(up=up_labels(excess, ties=self.ties), horizon_return=returns)


def labels_of_fills(
    compute_labels: Callable[[Prices], Labels], prices: Prices, *, at_open: bool, label_delay: int
) -> Labels:
    """Return labels that start at the fill of a decision instead of its close.

    Parameters
    ----------
    compute_labels : from prices to the labels that start at each bar's close.
    at_open : whether orders are filled at the open; opens are then given as closes.
    label_delay : bars from a decision to its fill.

    Raises
    ------
    DataError : a bar has no open, and orders are filled at the open.
    """
    if at_open:
        missing = np.isnan(prices.open) & ~np.isnan(prices.close)
        if missing.any():
            bar, ticker = np.argwhere(missing)[0].tolist()
            date = iso_date(prices.sessions[prices.session[bar, ticker]])
            text = f"label.of: fill at the next open needs opens, and {prices.tickers[ticker]} has none on {date}"
            raise DataError(f"{text}; use the fill next_close, or label.of: close", key="label.of")
        context = None if prices.context is None else replace(prices.context, close=prices.context.open)
        prices = replace(prices, close=prices.open, context=context)
    labels = compute_labels(prices)

    def start_later(values: Array) -> Array:
        shifted = np.full_like(values, np.nan)
        shifted[: max(len(values) - label_delay, 0)] = values[label_delay:]
        return shifted

    return Labels(up=start_later(labels.up), horizon_return=start_later(labels.horizon_return))


LABELS: tuple[type[Label], ...] = (Direction, DeadBand, Outperformance)
