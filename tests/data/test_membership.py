"""Dates of membership: outside them a ticker is neither trained on, nor forecast, nor ranked."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError
from quantlr.core.values import Prices
from quantlr.data.dataset import build_dataset, compute_feature_columns
from quantlr.data.features import LaggedReturns
from quantlr.data.features.returns import Momentum
from quantlr.data.features.transforms import CrossSectionalRank
from quantlr.data.labels import Direction
from quantlr.data.prices import load_prices, membership_mask
from quantlr.data.ticker_list import read_ticker_list

from markets import random_walk_bars, random_walk_prices

pytestmark = pytest.mark.usefixtures("without_drawing")

MEMBERS = """\
Name,To,Symbol,From
First,2018-05-01,A,
Second,,B,2018-02-01
Third,,C,   # a member throughout
"""
SPANS = {"A": (None, dt.date(2018, 5, 1)), "B": (dt.date(2018, 2, 1), None), "C": (None, None)}
CONFIG = """\
data: {source: {kind: file, path: prices.csv}, tickers_file: members.csv}
features:
  - {kind: lagged_returns, lags: [1]}
walk_forward: {train: 40}
policy: {kind: threshold, long_above: 0.0}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a config, a list of three members with dates, and their prices."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2018-01-01", periods=160)
    tables = [random_walk_bars(rng, dates).assign(ticker=name) for name in "ABC"]
    pd.concat(tables).to_csv(tmp_path / "prices.csv", index_label="date")
    (tmp_path / "members.csv").write_text(MEMBERS)
    (tmp_path / "exp.yaml").write_text(CONFIG)
    return tmp_path


def test_dates_are_read_from_columns_in_any_order(home: Path) -> None:
    assert read_ticker_list(str(home / "members.csv")) == SPANS
    data = load_config(home / "exp.yaml").run.data
    assert data.tickers == ("A", "B", "C")
    assert data.membership == {"A": SPANS["A"], "B": SPANS["B"]}
    (home / "plain.csv").write_text("A\nB\n")
    settings = [f"data.tickers_file={home / 'plain.csv'}"]
    assert load_config(home / "exp.yaml", settings=settings).run.data.membership is None


def test_resolved_config_needs_no_list_and_gives_the_same_run(home: Path) -> None:
    done = quantlr.run(home / "exp.yaml", output=home / "out")
    resolved = home / "out" / "exp" / "config.yaml"
    (home / "members.csv").unlink()
    assert quantlr.run(resolved).report().files == done.report().files


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_plan_forecasts_and_positions_are_of_members_only(home: Path, scope: str) -> None:
    overrides = {"model.scope": scope}
    run = quantlr.run(home / "exp.yaml", overrides=overrides)
    plan = quantlr.plan(home / "exp.yaml", overrides=overrides, output=home / "out").walk_forward
    assert plan is not None
    assert plan.forecasts == len(run.forecasts)
    assert [ticker.outside_membership for ticker in plan.tickers] == [73, 23, 0]
    assert [ticker.warm_up for ticker in plan.tickers] == [1, 0, 1]
    assert [ticker.rows for ticker in plan.tickers] == [86, 137, 159]
    forecast_dates = run.forecasts.groupby("ticker")["date"]
    assert forecast_dates.max()["A"] == pd.Timestamp("2018-05-01")
    assert forecast_dates.min()["B"] >= pd.Timestamp("2018-02-01")
    held_dates = run.positions[run.positions["weight"] != 0].groupby("ticker")["date"]
    assert held_dates.max()["A"] == pd.Timestamp("2018-05-01")  # sold at this close
    assert (held_dates.min() > forecast_dates.min()).all()
    assert [
        (note.ticker, note.date) for note in run.notes if "membership" in note.text and note.stage == "backtest"
    ] == [("A", "2018-05-01")]


def test_prediction_leaves_past_members_out(home: Path) -> None:
    assert [prediction.ticker for prediction in quantlr.predict(home / "exp.yaml").tickers] == ["B", "C"]
    (home / "members.csv").write_text("ticker,to\nA,2018-05-01\nB,2018-06-01\n")
    with pytest.raises(DataError, match="member at its newest bar"):
        quantlr.predict(home / "exp.yaml")


def test_audit_of_dated_members_is_clean(home: Path) -> None:
    settings = {"features": [{"kind": "rank", "of": {"kind": "lagged_returns", "lags": [1]}}], "model.scope": "pooled"}
    assert quantlr.audit(home / "exp.yaml", overrides=settings, n_cutoffs=3).is_clean


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("ticker,from,to\nA,2018-13-01,\n", "members.csv:2: needs a date"),
        ("ticker,from,to\nB,,\nA,2018-02-01,2018-01-01\n", "members.csv:3: A is a member from 2018-02-01 to"),
        ("ticker,to\nA,2018-02-01\nA,2018-03-01\n", "members.csv:3: A is there already, in line 2; a member has one"),
        ("id,from\nA,2018-02-01\n", "members.csv:1: needs a column headed ticker or symbol"),
    ],
)
def test_errors_in_dates_name_file_and_line(home: Path, text: str, error: str) -> None:
    (home / "members.csv").write_text(text)
    with pytest.raises(ConfigError, match=error) as caught:
        load_config(home / "exp.yaml")
    assert str(caught.value).startswith(f"{home / 'exp.yaml'}:1:")


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("{A: [null, 2018-03-01]}", "data.membership: is there, and data.tickers_file has dates too"),
        ("{X: [null, 2018-03-01]}", "data.membership: X is not in data.tickers"),
        ("{A: [2018-03-01, 2018-02-01]}", "data.membership: A is a member from 2018-03-01 to 2018-02-01"),
        ("{A: [2018-03-01]}", "data.membership.A.1: is needed"),
        ("{A: [soon, null]}", "data.membership.A.0: needs a date"),
    ],
)
def test_errors_in_a_membership_of_the_config(home: Path, setting: str, error: str) -> None:
    if "is there" not in error:
        (home / "members.csv").write_text("A\nB\n")
    with pytest.raises(ConfigError, match=error.replace("[", r"\[")):
        load_config(home / "exp.yaml", settings=[f"data.membership={setting}"])


def test_no_member_in_the_range_of_dates_is_an_error(home: Path) -> None:
    settings = ["data.tickers_file=null", "data.tickers=[A]", "data.membership={A: [2030-01-01, null]}"]
    with pytest.raises(DataError, match="no ticker is a member") as caught:
        load_prices(load_config(home / "exp.yaml", settings=settings).run.data)
    assert caught.value.key == "data.membership"


def dated_prices(seed: int = 3) -> tuple[Prices, dict[str, Any]]:
    """Prices of four tickers with gaps, of which two are members for a part of the time."""
    prices = random_walk_prices(seed, n_sessions=120, n_tickers=4, with_gaps=True)
    days = prices.sessions.date
    membership = {"T1": (days[40], None), "T2": (days[10], days[80])}
    return replace(prices, member_mask=membership_mask(prices, membership)), membership


def is_member(prices: Prices, membership: dict[str, Any], ticker: int, session: int) -> bool:
    first, last = membership.get(prices.tickers[ticker], (None, None))
    day = prices.sessions[session].date()
    return (first is None or day >= first) and (last is None or day <= last)


def test_rows_are_those_of_members_and_otherwise_unchanged() -> None:
    prices, membership = dated_prices()
    features, label = [LaggedReturns(lags=(1, 2))], Direction(horizon=2)

    def rows_by_key(source: Prices) -> dict[tuple[int, int], tuple[float, ...]]:
        columns = compute_feature_columns(source, features)
        data = build_dataset(source, columns, label.compute_labels(source), horizon=2)
        table = np.column_stack([data.features, data.up, data.horizon_return, data.label_known_at])
        keys = zip(data.ticker.tolist(), data.session.tolist(), strict=True)
        assert (np.diff(data.ticker) >= 0).all()
        return dict(zip(keys, map(tuple, np.nan_to_num(table, nan=-9.0).tolist()), strict=True))

    everything = rows_by_key(replace(prices, member_mask=None))
    expected = {key: row for key, row in everything.items() if is_member(prices, membership, *key)}
    assert len(expected) < len(everything)
    assert rows_by_key(prices) == expected


def test_notes_count_rows_outside_the_membership_and_warm_up_rows_within_it() -> None:
    prices, membership = dated_prices()
    data = build_dataset(
        prices,
        compute_feature_columns(prices, [LaggedReturns(lags=(1,))]),
        Direction().compute_labels(prices),
        horizon=1,
    )
    outside = {note.ticker: note.count for note in data.notes if note.key == "data.membership"}
    assert outside == {
        prices.tickers[ticker]: sum(
            not is_member(prices, membership, ticker, session)
            for session in prices.session[: prices.n_bars[ticker], ticker].tolist()
        )
        for ticker in (1, 2)
    }
    warm_up = {note.ticker: note.count for note in data.notes if note.key != "data.membership"}
    starts_as_member = [is_member(prices, membership, ticker, prices.session[0, ticker]) for ticker in range(4)]
    assert warm_up == {prices.tickers[ticker]: 1 for ticker in range(4) if starts_as_member[ticker]}
    n_rows = np.bincount(data.ticker, minlength=4)
    left_out = [outside.get(name, 0) + warm_up.get(name, 0) for name in prices.tickers]
    np.testing.assert_array_equal(n_rows + left_out, prices.n_bars)


def test_a_rank_is_among_members_only() -> None:
    prices, membership = dated_prices()
    inner = Momentum(windows=(3,))
    (values,) = (prices.bars_to_sessions(column) for column in inner.compute(prices).values())
    (ranks,) = (prices.bars_to_sessions(column) for column in CrossSectionalRank(of=inner).compute(prices).values())
    for session in range(len(prices.sessions)):
        members = [
            ticker
            for ticker in range(4)
            if is_member(prices, membership, ticker, session) and not np.isnan(values[session, ticker])
        ]
        for ticker in range(4):
            expected = np.nan
            if ticker in members:
                n_below = sum(values[session, other] < values[session, ticker] for other in members)
                expected = (n_below + 0.5) / len(members)
            assert ranks[session, ticker] == pytest.approx(expected, nan_ok=True)


def test_a_cut_of_the_prices_keeps_the_membership() -> None:
    prices, membership = dated_prices()
    cut = prices.before_session(60)
    expected = membership_mask(replace(cut, member_mask=None), membership)
    np.testing.assert_array_equal(cut.member_mask, expected)


def test_survivorship_bias_is_noted_unless_a_past_member_is_listed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2000-01-03", periods=1300)
    tables = [random_walk_bars(rng, dates).assign(ticker=name) for name in "ABC"]
    pd.concat(tables).to_csv(tmp_path / "prices.csv", index_label="date")

    def has_note(**membership: list[str | None]) -> bool:
        source = {"kind": "file", "path": str(tmp_path / "prices.csv")}
        data = {"source": source, "tickers": ["A", "B", "C"], "membership": membership or None}
        config = load_config({"data": data, "features": [{"kind": "lagged_returns"}]})
        return any("survivorship" in note.text for note in load_prices(config.run.data).notes)

    assert has_note()
    assert has_note(A=["2001-01-01", None])  # nobody has left: still the members of today
    assert has_note(A=[None, "2030-01-01"])
    assert not has_note(A=[None, "2003-01-01"])
