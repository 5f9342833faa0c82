"""Prices fetched a second time: cached sessions, new sessions and revisions."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.data.cache import PriceCache
from quantlr.data.download import OVERLAP_SESSIONS

from data.yahoo_market import LAST, LONG_AGO, Market, closes, later_days, reference, sessions
from yahoo_server import share


def test_a_second_fetch_on_the_same_day_does_not_use_the_network(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    first = market.fetch("AAA")
    n_requests = market.yahoo.requests
    market.at("2024-05-04 16:00")  # the same Saturday
    refetched = market.fetch("AAA")
    other = market.fetch("AAA", start=LONG_AGO[200])
    assert market.yahoo.requests == n_requests
    assert refetched.sha256 == first.sha256 != other.sha256
    np.testing.assert_array_equal(closes(other, "AAA"), closes(first, "AAA")[200:])


def test_only_new_sessions_and_an_overlap_are_requested(market: Market) -> None:
    all_days = LONG_AGO + later_days(4)
    market.yahoo.shares["AAA"] = share(1, all_days, dividends={all_days[298]: 0.5})
    market.fetch("AAA")
    market.at("2024-05-09 20:00")
    fetched = market.fetch("AAA")
    complete, newest = (query for _, query in market.yahoo.histories())
    assert int(complete["period1"]) < 0
    assert dt.datetime.fromtimestamp(int(newest["period1"]), dt.UTC).date() == LONG_AGO[-OVERLAP_SESSIONS]
    assert sessions(fetched, "AAA") == all_days
    np.testing.assert_allclose(closes(fetched, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=1e-6)
    assert not fetched.notes


def test_prices_up_to_an_end_never_change_and_do_not_use_the_network(market: Market) -> None:
    all_days = LONG_AGO + later_days(4)
    market.yahoo.shares["AAA"] = share(
        1, all_days, splits={all_days[-2]: 7.0}, dividends={all_days[-3]: 2.0, LONG_AGO[9]: 1.0}
    )
    first = market.fetch("AAA", end=LAST)
    n_requests = market.yahoo.requests
    market.at("2024-05-09 20:00")
    assert market.fetch("AAA", end=LAST).sha256 == first.sha256
    assert market.yahoo.requests == n_requests
    newest = market.fetch("AAA")  # the split and the dividend are known now
    assert market.yahoo.requests > n_requests
    refetched = market.fetch("AAA", end=LAST)
    assert refetched.sha256 == first.sha256
    pd.testing.assert_frame_equal(refetched.bars["AAA"], first.bars["AAA"])
    np.testing.assert_allclose(closes(newest, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=2e-6)


@pytest.mark.parametrize("ratio", [2.0, 0.05, 7.0])
def test_a_split_or_a_dividend_between_two_fetches_is_no_revision(market: Market, ratio: float) -> None:
    all_days = LONG_AGO + later_days(3)
    market.yahoo.shares["AAA"] = share(
        1, all_days, splits={all_days[-2]: ratio}, dividends={all_days[-1]: 0.01, LONG_AGO[-2]: 0.33}, volume=123_457
    )
    market.fetch("AAA")
    market.at("2024-05-08 20:00")
    fetched = market.fetch("AAA")
    assert not fetched.notes
    assert len(market.yahoo.histories()) == 2
    np.testing.assert_allclose(closes(fetched, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=2e-6)


def test_a_revision_is_reported_and_both_versions_are_kept(market: Market) -> None:
    all_days = LONG_AGO + later_days(1)
    market.yahoo.shares["AAA"] = share(1, all_days)
    before = market.fetch("AAA", end=LAST)
    cache = PriceCache.in_user_cache_dir()
    cached = cache.ticker_cache("yahoo", "AAA").read_history()
    assert cached
    for day, factor in ((LONG_AGO[40], 1.05), (LONG_AGO[-3], 1.02)):  # one of them outside of the overlap
        market.yahoo.shares["AAA"].close[day] *= factor
    market.at("2024-05-06 20:00")
    fetched = market.fetch("AAA")
    (note,) = fetched.notes
    assert note.text == (
        f"sessions from {LONG_AGO[40]} to {LONG_AGO[-3]} were revised: open, high, low, close of 2 changed, closes by "
        "up to 5.00%; the former version is kept in the store"
    )
    assert (note.ticker, note.date, note.count) == ("AAA", str(LONG_AGO[40]), 2)
    np.testing.assert_allclose(closes(fetched, "AAA"), list(market.yahoo.shares["AAA"].close.values()), rtol=1e-6)
    assert len(market.yahoo.histories()) == 3, "whole, the overlap, whole again"
    entry = cache.ticker_cache("yahoo", "aaa").read_cache_index()
    assert entry
    assert entry.revisions[0].before == cached.index_entry.sha256 != entry.revisions[0].after == entry.sha256
    previous_bars = pd.read_parquet(cache.ticker_cache("yahoo", "AAA").folder / f"{cached.index_entry.sha256}.parquet")
    np.testing.assert_array_equal(previous_bars["close"], before.bars["AAA"]["close"])
    assert not market.fetch("AAA", end=LONG_AGO[30]).notes, "no revised session before the end"


def test_removed_and_added_sessions_are_a_revision(market: Market) -> None:
    all_days = LONG_AGO + later_days(1)
    market.yahoo.shares["AAA"] = share(1, all_days, lacking={LONG_AGO[-2]})
    assert [(note.date, note.count) for note in market.fetch("AAA").notes] == [(str(LONG_AGO[-2]), 1)]
    market.yahoo.shares["AAA"].lacking = set()
    del market.yahoo.shares["AAA"].close[LONG_AGO[-4]]
    market.at("2024-05-06 20:00")
    (note,) = market.fetch("AAA").notes
    assert "were revised: 1 removed; 1 added" in note.text


@pytest.mark.parametrize(
    ("time", "sessions", "is_left_out"),
    [
        ("2024-05-03 09:00", 299, False),
        ("2024-05-03 12:00", 299, True),
        ("2024-05-03 16:20", 299, True),
        ("2024-05-03 16:31", 300, False),
    ],
)
def test_the_unfinished_session_is_left_out(market: Market, time: str, sessions: int, is_left_out: bool) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.at(time)
    fetched = market.fetch("AAA")
    assert len(fetched.bars["AAA"]) == sessions
    assert [(note.text, note.date) for note in fetched.notes] == [
        ("the session was not over and was left out", "2024-05-03")
    ] * is_left_out
    n_requests = market.yahoo.requests
    refetched = market.fetch("AAA")
    assert market.yahoo.requests == n_requests
    assert (refetched.sha256, refetched.notes) == (fetched.sha256, fetched.notes)
    assert not market.fetch("AAA", end=LONG_AGO[-3]).notes


def test_a_split_on_the_unfinished_session_is_undone(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, splits={LAST: 5.0})
    market.at("2024-05-03 12:00")
    fetched = market.fetch("AAA")
    quoted = list(market.yahoo.shares["AAA"].close.values())
    np.testing.assert_allclose(fetched.bars["AAA"]["close"], quoted[:-1], rtol=1e-6)
    market.at("2024-05-03 18:00")
    assert not market.fetch("AAA").notes
    np.testing.assert_allclose(
        closes(market.fetch("AAA"), "AAA"), reference(market.yahoo.shares["AAA"], LAST), rtol=2e-6
    )


def test_last_sessions_without_prices_are_left_out_and_requested_again(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, lacking={LAST, LONG_AGO[-2]}, dividends={LONG_AGO[-2]: 1.0})
    fetched = market.fetch("AAA")
    (note,) = fetched.notes
    assert (note.text, note.date, note.count) == ("sessions that lack a price were left out", "2024-05-03", 2)
    assert len(fetched.bars["AAA"]) == 298
    market.yahoo.shares["AAA"].lacking = set()
    fetched = market.fetch("AAA")  # on the same day
    assert not fetched.notes
    np.testing.assert_allclose(closes(fetched, "AAA"), reference(market.yahoo.shares["AAA"], LAST), rtol=1e-6)


def test_offline_does_not_use_the_network(market: Market) -> None:
    market.yahoo.shares = {"AAA": share(1, LONG_AGO)}
    with pytest.raises(
        DataError,
        match=r"AAA: not stored in .*prices, and --offline does not use the network; run once without --offline$",
    ) as caught:
        market.load("AAA", offline=True)
    assert caught.value.key == "data.tickers"
    assert market.yahoo.requests == 0
    online = market.load("AAA")
    n_requests = market.yahoo.requests
    market.at("2025-01-01 12:00")
    assert market.load("AAA", offline=True).sha256 == online.sha256
    assert market.yahoo.requests == n_requests


def test_a_damaged_file_is_set_aside_and_fetched_again(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    complete = market.fetch("AAA")
    entry = PriceCache.in_user_cache_dir().ticker_cache("yahoo", "AAA").read_cache_index()
    assert entry
    path = PriceCache.in_user_cache_dir().ticker_cache("yahoo", "AAA").folder / f"{entry.sha256}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"AAA: .*\.parquet has the checksum .* set aside as .*\.damaged, and --offline does not use the network",
    ):
        market.fetch("AAA", offline=True)
    path.write_bytes(content)
    refetched = market.fetch("AAA")
    assert refetched.sha256 == complete.sha256
    (note,) = refetched.notes
    assert note.text.endswith(".damaged; it was fetched again")
    assert path.with_suffix(".damaged").read_bytes() == content
    assert not market.fetch("AAA").notes
