"""With tickers of several markets a row uses what is known at its own close, by slow loops over instants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quantlr.backtest.costs import ExecutionSpec
from quantlr.backtest.overlays import LeverageCap, apply_overlays
from quantlr.backtest.policies import Threshold, TopK, decide_positions, make_decision_context
from quantlr.core.market_views import first_session_known_to_all, market_views, with_own_dates
from quantlr.core.timing import NOT_YET_KNOWN, Market, latest_known_bar_index
from quantlr.core.values import PRICE_ARRAYS, Forecasts, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.features.returns import ContextReturns
from quantlr.data.features.transforms import CrossSectionalRank
from quantlr.data.labels import Outperformance
from quantlr.data.scenarios import AUDIT_SCENARIOS, apply_scenario
from quantlr.pipeline.stages import compute_label

from markets import forecasts
from two_markets import bar_values, market, two_market_prices

pytestmark = pytest.mark.usefixtures("without_drawing")
SEEDS = range(4)


def newest_bar(rows: list[Any], close: pd.Timestamp) -> int:
    """Return the position of the newest of some bars that is known at a close, -1 for none."""
    return max((index for index, row in enumerate(rows) if row[1] <= close), default=-1)


def test_tokyo_of_the_same_date_is_known_in_new_york_and_not_the_other_way() -> None:
    dates = pd.DatetimeIndex(["2020-01-06", "2020-01-07", "2020-01-08"])
    new_york, tokyo = market("NY", dates), market("TK", dates)
    assert latest_known_bar_index(dates, dates, bar_market=tokyo, market=new_york).tolist() == [0, 1, 2]
    assert latest_known_bar_index(dates, dates, bar_market=new_york, market=tokyo).tolist() == [-1, 0, 1]
    assert latest_known_bar_index(dates, dates, bar_market=tokyo, market=tokyo).tolist() == [0, 1, 2]
    for pair in ((Market(), tokyo), (tokyo, Market())):
        assert latest_known_bar_index(dates, dates, bar_market=pair[0], market=pair[1]).tolist() == [-1, 0, 1]


def test_a_date_without_a_recorded_close_has_the_time_of_the_date_before() -> None:
    recorded = market("NY", pd.DatetimeIndex(["2020-01-06", "2020-01-08"]))
    earliest, latest = recorded.close_bounds(pd.DatetimeIndex(["2020-01-03", "2020-01-07", "2020-01-10"]))
    expected = [pd.Timestamp(f"2020-01-{day} 21:00").timestamp() for day in ("03", "07", "10")]
    assert earliest.tolist() == latest.tolist() == expected


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reference", ["NY0", "TK1", "NY00"])
def test_returns_of_another_ticker_are_those_known_at_the_close(seed: int, reference: str) -> None:
    prices = two_market_prices(seed, context="NY")
    assert prices.context is not None
    prices = replace(prices, context=replace(prices.context, tickers=("NY00",)))
    feature = ContextReturns(ticker=reference, lags=(1, 3), max_age=60)
    columns = compute_feature_columns(prices, [feature])
    source = prices.context if reference == "NY00" else prices
    assert source is not None
    others = bar_values(source, source.tickers.index(reference), np.log(source.close))
    for lag in (1, 3):
        for ticker in range(4):
            for bar, (_, close, _) in enumerate(bar_values(prices, ticker, prices.close)):
                newest = newest_bar(others, close) - lag + 1
                value = columns[f"context_returns_{reference}_{lag}"][bar, ticker]
                expected = others[newest][2] - others[newest - 1][2] if newest > 0 else np.nan
                assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_are_among_the_newest_known_bars(seed: int) -> None:
    prices = two_market_prices(seed)
    (column,) = compute_feature_columns(prices, [CrossSectionalRank(of={"kind": "momentum", "windows": (3,)})]).values()
    returns = np.full_like(prices.close, np.nan)
    returns[3:] = np.log(prices.close[3:] / prices.close[:-3])
    bars = [bar_values(prices, ticker, returns) for ticker in range(4)]
    for ticker in range(4):
        for bar, (date, close, value) in enumerate(bars[ticker]):
            if np.isnan(value):
                continue
            ranked = []
            for other in range(4):
                if prices.tickers[other][:2] == prices.tickers[ticker][:2]:
                    ranked += [row[2] for row in bars[other] if row[0] == date]
                else:  # the newest session of the other market, if the ticker traded then
                    peers = [
                        row for j in range(4) if prices.tickers[j][:2] == prices.tickers[other][:2] for row in bars[j]
                    ]
                    newest = max((row[1] for row in peers if row[1] <= close), default=None)
                    ranked += [row[2] for row in bars[other] if row[1] == newest]
            ranked = [other for other in ranked if not np.isnan(other)]
            expected = (sum(other < value for other in ranked) + sum(other == value for other in ranked) / 2) / len(
                ranked
            )
            assert column[bar, ticker] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_outperformance_takes_the_newest_benchmark_closes_at_both_ends(seed: int) -> None:
    prices = two_market_prices(seed, traded="TK,TK", context="NY")
    labels = compute_label(prices, Outperformance(benchmark="NY0", horizon=2))
    assert prices.context is not None
    others = bar_values(prices.context, 0, prices.context.close)
    n_compared = 0
    for ticker in range(2):
        bars = bar_values(prices, ticker, prices.close)
        for bar in range(len(bars) - 2):
            first, last = (newest_bar(others, bars[index][1]) for index in (bar, bar + 2))
            if first >= 0:
                excess = bars[bar + 2][2] / bars[bar][2] - others[last][2] / others[first][2]
                assert labels.up[bar, ticker] == float(excess > 0)
                n_compared += 1
    assert n_compared > 150


def test_a_pooled_model_learns_a_label_at_the_earliest_close_after_it() -> None:
    prices = two_market_prices(1, n_sessions=20)
    ticker, session = np.array([0, 1, 0, 1]), np.array([5, 5, NOT_YET_KNOWN, len(prices.sessions) - 1])
    known = first_session_known_to_all(prices, session, ticker)
    assert known.tolist() == [6, 5, NOT_YET_KNOWN, len(prices.sessions) - 1]
    newest = first_session_known_to_all(prices, np.array([len(prices.sessions) - 1]), np.array([0]))
    assert newest.tolist() == [NOT_YET_KNOWN]


def random_two_market_forecasts(prices: Prices, seed: int) -> Forecasts:
    tickers, bars = np.nonzero((prices.session >= 0).T)
    keep = bars >= 5
    tickers, session = tickers[keep], prices.session[bars[keep], tickers[keep]]
    probability = 0.5 + np.random.default_rng(seed).normal(0, 0.05, len(tickers))
    result = forecasts(probability, ticker=tickers, session=session)
    return replace(result, tickers=prices.tickers, sessions=prices.sessions)


def known_rows(prices: Prices, made: Forecasts, row: int) -> list[int]:
    """Return the rows that count at the close of a row: of its market's date, and of the other's newest session."""

    def close(index: int) -> pd.Timestamp:
        return bar_closes[int(made.ticker[index])][int(made.session[index])]

    bar_closes = [
        {int(prices.session[bar, j]): values[1] for bar, values in enumerate(bar_values(prices, j, prices.close))}
        for j in range(len(prices.tickers))
    ]
    place, kept = prices.tickers[int(made.ticker[row])][:2], []
    for other in range(len(prices.tickers)):
        sessions = [
            (instant, session)
            for j in range(len(prices.tickers))
            if prices.tickers[j][:2] == prices.tickers[other][:2]
            for session, instant in bar_closes[j].items()
            if instant <= close(row)
        ]
        newest = made.session[row] if prices.tickers[other][:2] == place else max(sessions, default=(0, -1))[1]
        kept += np.flatnonzero((made.ticker == other) & (made.session == newest)).tolist()
    return kept


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_decisions_compare_the_newest_known_forecasts(seed: int) -> None:
    prices = two_market_prices(seed, n_sessions=30)
    made = random_two_market_forecasts(prices, seed)
    context = make_decision_context(prices, made, ExecutionSpec(), sessions_per_year=252)
    top = decide_positions(TopK(k=2), made, context)
    shared = decide_positions(Threshold(long_above=0.0), made, context)
    capped = apply_overlays(shared, [LeverageCap(cap=0.5)], made, context)
    for row in range(len(made.ticker)):
        at, known = (made.session[row], made.ticker[row]), known_rows(prices, made, row)
        better = sum(made.probability[other] > made.probability[row] for other in known)
        assert top.weight[at] == pytest.approx((better < 2) / min(2, len(known)))
        assert shared.weight[at] == pytest.approx(1 / len(known))
        total = sum(shared.weight[made.session[other], made.ticker[other]] for other in known)
        assert capped.weight[at] == pytest.approx(shared.weight[at] * min(0.5 / total, 1.0))


@pytest.mark.parametrize("scenario", AUDIT_SCENARIOS)
def test_a_view_altered_after_a_session_returns_to_its_own_dates(scenario: str) -> None:
    """What the market knew is unchanged, and what it did not know is not."""
    prices = two_market_prices(3, context="NY")
    for view in market_views(prices):
        altered = with_own_dates(apply_scenario(view.prices, scenario, after_session=60), view.prices, prices)
        assert altered.markets == prices.markets
        n = len(altered.session)
        known = (view.prices.session[:n] >= 0) & (view.prices.session[:n] <= 60)
        for name in PRICE_ARRAYS if scenario not in ("a dividend", "a split") else ():
            np.testing.assert_array_equal(getattr(altered, name)[known], getattr(prices, name)[:n][known])
        np.testing.assert_array_equal(altered.session[known], prices.session[:n][known])
        dates = altered.sessions[altered.session[known]]
        assert (dates == prices.sessions[prices.session[:n][known]]).all()
        later = (view.prices.session > 60)[:n]
        if scenario == "cut off":
            assert (altered.session[later] == -1).all()
        elif scenario == "holidays":
            moved = altered.sessions[altered.session[later]] - prices.sessions[prices.session[later]]
            assert set(moved.days) <= {0, 4}
            assert (moved.days == 4).mean() > 0.95
        elif scenario != "a dividend":
            assert (altered.close[later] != prices.close[later]).mean() > 0.95
