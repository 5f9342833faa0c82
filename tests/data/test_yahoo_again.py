"""Prices fetched a second time: what the store holds, what came since, and what Yahoo has changed its mind about."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from quantlr.core.errors import DataError
from quantlr.data.cache import PriceCache
from quantlr.data.yahoo import OVERLAP_SESSIONS

from data.yahoo_market import LAST, LONG_AGO, Market, closes, later_days, reference, sessions
from yahoo_server import share


def test_a_second_fetch_within_the_session_needs_no_network(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    first = market.fetch("AAA")
    asked = market.yahoo.requests
    market.at("2024-05-04 16:00")  # the same Saturday
    again = market.fetch("AAA")
    other = market.fetch("AAA", start=LONG_AGO[200])
    assert market.yahoo.requests == asked
    assert again.sha256 == first.sha256 != other.sha256
    np.testing.assert_array_equal(closes(other, "AAA"), closes(first, "AAA")[200:])


def test_only_new_sessions_are_asked_for_with_an_overlap(market: Market) -> None:
    all_days = LONG_AGO + later_days(4)
    market.yahoo.shares["AAA"] = share(1, all_days, dividends={all_days[298]: 0.5})
    market.fetch("AAA")
    market.at("2024-05-09 20:00")
    got = market.fetch("AAA")
    whole, newest = (query for _, query in market.yahoo.histories())
    assert int(whole["period1"]) < 0
    assert dt.datetime.fromtimestamp(int(newest["period1"]), dt.UTC).date() == LONG_AGO[-OVERLAP_SESSIONS]
    assert sessions(got, "AAA") == all_days
    np.testing.assert_allclose(closes(got, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=1e-6)
    assert not got.notes


def test_what_lies_before_an_end_never_changes_and_needs_no_network(market: Market) -> None:
    all_days = LONG_AGO + later_days(4)
    market.yahoo.shares["AAA"] = share(
        1, all_days, splits={all_days[-2]: 7.0}, dividends={all_days[-3]: 2.0, LONG_AGO[9]: 1.0}
    )
    first = market.fetch("AAA", end=LAST)
    asked = market.yahoo.requests
    market.at("2024-05-09 20:00")
    assert market.fetch("AAA", end=LAST).sha256 == first.sha256
    assert market.yahoo.requests == asked
    newest = market.fetch("AAA")  # the split and the dividend are known now
    assert market.yahoo.requests > asked
    again = market.fetch("AAA", end=LAST)
    assert again.sha256 == first.sha256
    pd.testing.assert_frame_equal(again.bars["AAA"], first.bars["AAA"])
    np.testing.assert_allclose(closes(newest, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=2e-6)


@pytest.mark.parametrize("ratio", [2.0, 0.05, 7.0])
def test_a_split_or_a_dividend_between_two_fetches_is_no_revision(market: Market, ratio: float) -> None:
    all_days = LONG_AGO + later_days(3)
    market.yahoo.shares["AAA"] = share(
        1, all_days, splits={all_days[-2]: ratio}, dividends={all_days[-1]: 0.01, LONG_AGO[-2]: 0.33}, volume=123_457
    )
    market.fetch("AAA")
    market.at("2024-05-08 20:00")
    got = market.fetch("AAA")
    assert not got.notes
    assert len(market.yahoo.histories()) == 2
    np.testing.assert_allclose(closes(got, "AAA"), reference(market.yahoo.shares["AAA"], all_days[-1]), rtol=2e-6)


def test_a_revision_is_reported_and_both_versions_are_kept(market: Market) -> None:
    all_days = LONG_AGO + later_days(1)
    market.yahoo.shares["AAA"] = share(1, all_days)
    before = market.fetch("AAA", end=LAST)
    store = PriceCache.in_user_cache_dir()
    held = store.ticker_cache("yahoo", "AAA").read_history()
    assert held
    for day, factor in ((LONG_AGO[40], 1.05), (LONG_AGO[-3], 1.02)):  # one of them outside of the overlap
        market.yahoo.shares["AAA"].close[day] *= factor
    market.at("2024-05-06 20:00")
    got = market.fetch("AAA")
    (note,) = got.notes
    assert note.text == (
        f"sessions from {LONG_AGO[40]} to {LONG_AGO[-3]} were revised: open, high, low, close of 2 changed, closes by "
        "up to 5.00%; the former version is kept in the store"
    )
    assert (note.ticker, note.date, note.count) == ("AAA", str(LONG_AGO[40]), 2)
    np.testing.assert_allclose(closes(got, "AAA"), list(market.yahoo.shares["AAA"].close.values()), rtol=1e-6)
    assert len(market.yahoo.histories()) == 3, "whole, the overlap, whole again"
    entry = store.ticker_cache("yahoo", "aaa").read_index_entry()
    assert entry
    assert entry.revisions[0].before == held.index_entry.sha256 != entry.revisions[0].after == entry.sha256
    kept = pd.read_parquet(store.ticker_cache("yahoo", "AAA").folder / f"{held.index_entry.sha256}.parquet")
    np.testing.assert_array_equal(kept["close"], before.bars["AAA"]["close"])
    assert not market.fetch("AAA", end=LONG_AGO[30]).notes, "what was revised is of no matter there"


def test_a_session_that_is_gone_or_comes_late_is_a_revision_too(market: Market) -> None:
    all_days = LONG_AGO + later_days(1)
    market.yahoo.shares["AAA"] = share(1, all_days, lacking={LONG_AGO[-2]})
    assert [(note.date, note.count) for note in market.fetch("AAA").notes] == [(str(LONG_AGO[-2]), 1)]
    market.yahoo.shares["AAA"].lacking = set()
    del market.yahoo.shares["AAA"].close[LONG_AGO[-4]]
    market.at("2024-05-06 20:00")
    (note,) = market.fetch("AAA").notes
    assert "were revised: 1 removed; 1 added" in note.text


@pytest.mark.parametrize(
    ("when", "sessions", "left_out"),
    [
        ("2024-05-03 09:00", 299, False),
        ("2024-05-03 12:00", 299, True),
        ("2024-05-03 16:20", 299, True),
        ("2024-05-03 16:31", 300, False),
    ],
)
def test_the_session_that_goes_on_is_left_out(market: Market, when: str, sessions: int, left_out: bool) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.at(when)
    got = market.fetch("AAA")
    assert len(got.bars["AAA"]) == sessions
    assert [(note.text, note.date) for note in got.notes] == [
        ("the session was not over and was left out", "2024-05-03")
    ] * left_out
    asked = market.yahoo.requests
    again = market.fetch("AAA")
    assert market.yahoo.requests == asked
    assert (again.sha256, again.notes) == (got.sha256, got.notes)
    assert not market.fetch("AAA", end=LONG_AGO[-3]).notes


def test_a_split_on_the_day_that_is_left_out_is_undone_all_the_same(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, splits={LAST: 5.0})
    market.at("2024-05-03 12:00")
    got = market.fetch("AAA")
    quoted = list(market.yahoo.shares["AAA"].close.values())
    np.testing.assert_allclose(got.bars["AAA"]["close"], quoted[:-1], rtol=1e-6)
    market.at("2024-05-03 18:00")
    assert not market.fetch("AAA").notes
    np.testing.assert_allclose(
        closes(market.fetch("AAA"), "AAA"), reference(market.yahoo.shares["AAA"], LAST), rtol=2e-6
    )


def test_last_sessions_without_prices_are_left_out_and_asked_for_again(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, lacking={LAST, LONG_AGO[-2]}, dividends={LONG_AGO[-2]: 1.0})
    got = market.fetch("AAA")
    (note,) = got.notes
    assert (note.text, note.date, note.count) == ("sessions that lack a price were left out", "2024-05-03", 2)
    assert len(got.bars["AAA"]) == 298
    market.yahoo.shares["AAA"].lacking = set()
    got = market.fetch("AAA")  # on the same day
    assert not got.notes
    np.testing.assert_allclose(closes(got, "AAA"), reference(market.yahoo.shares["AAA"], LAST), rtol=1e-6)


def test_offline_never_asks(market: Market) -> None:
    market.yahoo.shares = {"AAA": share(1, LONG_AGO)}
    with pytest.raises(
        DataError,
        match=r"AAA: not stored in .*prices, and --offline does not use the network; run once without --offline$",
    ) as caught:
        market.load("AAA", offline=True)
    assert caught.value.key == "data.tickers"
    assert market.yahoo.requests == 0
    online = market.load("AAA")
    asked = market.yahoo.requests
    market.at("2025-01-01 12:00")
    assert market.load("AAA", offline=True).sha256 == online.sha256
    assert market.yahoo.requests == asked


def test_a_damaged_file_is_set_aside_and_fetched_again(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    whole = market.fetch("AAA")
    entry = PriceCache.in_user_cache_dir().ticker_cache("yahoo", "AAA").read_index_entry()
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
    again = market.fetch("AAA")
    assert again.sha256 == whole.sha256
    (note,) = again.notes
    assert note.text.endswith(".damaged; it was fetched again")
    assert path.with_suffix(".damaged").read_bytes() == content
    assert not market.fetch("AAA").notes
