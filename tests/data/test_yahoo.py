"""Prices from Yahoo by the real client over real HTTP, against a server on the loopback; nothing is patched."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from quantlr.data.fetched import Fetched
from quantlr.data.patience import THREAD
from quantlr.data.store import Store
from quantlr.data.universe import DataSpec, load_prices
from quantlr.data.yahoo import OVERLAP, World
from quantlr.data.yahoo import Yahoo as Source
from quantlr.data.yahoo_exchanges import CALENDARS
from quantlr.errors import DataError, Fault
from quantlr.types import Array, Prices
from yfinance.data import YfData

from yahoo_server import Share, Yahoo, adjusted_closes, days, serving, session_to, share

pytestmark = pytest.mark.usefixtures("undrawn")

LAST = dt.date(2024, 5, 3)  # a Friday
LONG_AGO = days(300)
PAGE = (500, "<html>oops</html>", "text/html")
LIMIT = (429, "Too Many Requests", "text/plain")


@dataclass
class Market:
    """A server, the client's session to it, and a folder of its own."""

    yahoo: Yahoo
    session: Any

    def source(self, **keys: Any) -> Source:
        world = World(session=self.session, clock=lambda: self.yahoo.now, pause=0.0, backoff=0.001)
        return Source(**{"deadline": 20.0, **keys}).within(world)

    def fetch(self, *tickers: str, offline: bool = False, **keys: Any) -> Fetched:
        YfData.cache_get.cache_clear()
        dates = {key: keys.pop(key) for key in ("start", "end") if key in keys}
        return self.source(**keys).fetch(tickers, offline=offline, **dates)

    def load(self, *tickers: str, offline: bool = False, **keys: Any) -> Prices:
        dates = {key: keys.pop(key) for key in ("start", "end") if key in keys}
        return load_prices(DataSpec(source=self.source(**keys), tickers=tickers, **dates), offline=offline)

    def at(self, when: str) -> None:
        """Set the clock, of the server and of the source: New York's."""
        self.yahoo.now = pd.Timestamp(when, tz="America/New_York").to_pydatetime().astimezone(dt.UTC)


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    yahoo = Yahoo()
    with serving(yahoo) as address:
        yield Market(yahoo, session_to(address))
        # The client keeps one session a process: what this test has abandoned would ask the next one's server.
        yahoo.released.set()
        for thread in threading.enumerate():
            if thread.name == THREAD:
                thread.join(timeout=30)


def later_days(count: int) -> list[dt.date]:
    return [day.date() for day in pd.bdate_range(start=LAST + dt.timedelta(days=1), periods=count)]


def reference(told: Share, today: dt.date) -> Array:
    opened = [day for day in told.close if day <= today]
    found = adjusted_closes(told, opened, today)
    return np.array([found[day] for day in opened])


def closes(got: Fetched, ticker: str) -> Array:
    return got.bars[ticker]["adj_close"].to_numpy(dtype=np.float64)


def sessions(got: Fetched, ticker: str) -> list[dt.date]:
    return [date.date() for date in pd.DatetimeIndex(got.bars[ticker].index)]


def test_prices_are_as_quoted_and_adjusted_here_as_yahoo_adjusts_them(market: Market) -> None:
    aaa = share(
        1, LONG_AGO, splits={LONG_AGO[100]: 2.0, LONG_AGO[200]: 0.1}, dividends={LONG_AGO[50]: 1.5, LONG_AGO[150]: 0.25}
    )
    market.yahoo.shares = {"AAA": aaa, "^III": share(2, LONG_AGO, exchange="SNP")}
    prices = market.load("AAA", "^III")
    assert prices.tickers == ("AAA", "^III")
    np.testing.assert_allclose(prices.raw_close[:, 0], list(aaa.close.values()), rtol=1e-6)
    np.testing.assert_allclose(prices.close[:, 0], reference(aaa, LAST), rtol=2e-6)
    np.testing.assert_allclose(
        prices.open[:, 0] / prices.close[:, 0], [(c - 0.05) / c for c in aaa.close.values()], rtol=1e-5
    )
    np.testing.assert_allclose(prices.volume[[0, 99, 100, 199, 200], 0], [2e5, 2e5, 1e5, 1e5, 1e6])
    np.testing.assert_allclose(prices.close[:, 1], list(market.yahoo.shares["^III"].close.values()))
    assert prices.source == "yahoo"
    # The made-up market trades on every weekday, the exchange that it names does not.
    assert {note.key for note in prices.notes} == {"data.quality.off_calendar"}


def test_the_published_example_of_an_adjusted_close(market: Market) -> None:
    """The example of Yahoo's help page: a 2:1 split, then a dividend of 0.08 on a close of 24.96."""
    when = days(4)
    market.yahoo.shares["EX"] = Share(
        dict(zip(when, (46.99, 48.30, 24.96, 24.53), strict=True)), splits={when[2]: 2.0}, dividends={when[3]: 0.08}
    )
    np.testing.assert_allclose(closes(market.fetch("EX"), "EX"), [23.42, 24.07, 24.88, 24.53], atol=0.005)


def test_a_dividend_on_the_day_of_a_split_is_per_new_share(market: Market) -> None:
    when = days(3)
    market.yahoo.shares["BOTH"] = Share(
        dict(zip(when, (100.0, 49.0, 49.0), strict=True)), splits={when[1]: 2.0}, dividends={when[1]: 1.0}
    )
    np.testing.assert_allclose(closes(market.fetch("BOTH"), "BOTH"), [49.0, 49.0, 49.0])


def test_a_funds_capital_gain_is_part_of_its_dividend_unless_it_can_not_be(market: Market) -> None:
    when = days(4)
    fund = Share(
        dict.fromkeys(when, 100.0),
        kind="ETF",
        dividends={when[1]: 3.0, when[3]: 1.0},
        gains={when[1]: 2.0, when[3]: 4.0},
    )
    market.yahoo.shares["FUND"] = fund
    np.testing.assert_allclose(closes(market.fetch("FUND"), "FUND"), [100 * 0.97 * 0.95, 95.0, 95.0, 100.0])


def test_a_dividend_above_the_price_is_refused_with_its_day(market: Market) -> None:
    when = days(4)
    market.yahoo.shares["BAD"] = Share(dict.fromkeys(when, 10.0), dividends={when[2]: 12.0})
    with pytest.raises(DataError, match=f"BAD {when[2]}: a dividend of 12 on a close of 10 the session before"):
        market.fetch("BAD")
    assert len(market.fetch("BAD", start=when[2]).bars["BAD"]) == 2


def test_the_exchange_names_its_calendar(market: Market) -> None:
    market.yahoo.shares = {
        "AAA": share(1, LONG_AGO),
        "TYO": share(2, LONG_AGO, exchange="JPX"),
        "ODD": share(3, LONG_AGO, exchange="???"),
    }
    assert market.fetch("AAA", "TYO", "ODD").calendars == {"AAA": "XNYS", "TYO": "XTKS"}
    assert set(CALENDARS.values()) <= set(exchange_calendars.get_calendar_names(include_aliases=False))


def test_each_ticker_is_heard_of_as_it_comes(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB")}
    heard: list[tuple[str, int, int]] = []
    market.source().fetch(("AAA", "BBB"), progress=lambda stage, *, done, total: heard.append((stage, done, total)))
    assert heard == [("fetching", done, 2) for done in range(3)]


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
    assert dt.datetime.fromtimestamp(int(newest["period1"]), dt.UTC).date() == LONG_AGO[-OVERLAP]
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
    store = Store.at_home()
    held = store.shelf("yahoo", "AAA").history()
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
    entry = store.shelf("yahoo", "aaa").entry()
    assert entry
    assert entry.revisions[0].before == held.entry.sha256 != entry.revisions[0].after == entry.sha256
    kept = pd.read_parquet(store.shelf("yahoo", "AAA").folder / f"{held.entry.sha256}.parquet")
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
    assert "were revised: 1 gone; 1 added" in note.text


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


def test_other_clocks(market: Market) -> None:
    """At noon in New York Tokyo's Friday is long over; bitcoin's goes on until midnight in London."""
    market.yahoo.shares = {
        "TOK": share(1, LONG_AGO, exchange="JPX", zone="Asia/Tokyo", opens=dt.time(9), closes=dt.time(15, 30)),
        "BIT": share(2, LONG_AGO, exchange="CCC", zone="UTC", opens=dt.time(0), closes=dt.time(23, 59)),
    }
    market.at("2024-05-03 12:00")
    got = market.fetch("TOK", "BIT")
    assert {ticker: len(bars) for ticker, bars in got.bars.items()} == {"TOK": 300, "BIT": 299}
    assert got.calendars == {"TOK": "XTKS", "BIT": "24/7"}


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


def test_a_dividend_of_a_session_without_prices_falls_to_the_next_one(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(
        1, LONG_AGO, lacking={LONG_AGO[150]}, dividends={LONG_AGO[150]: 1.0}, splits={LONG_AGO[150]: 2.0}
    )
    bars = market.fetch("AAA").bars["AAA"]
    quoted = list(market.yahoo.shares["AAA"].close.values())
    np.testing.assert_allclose(bars["close"], np.delete(quoted, 150), rtol=1e-6)
    assert bars["adj_close"].iloc[149] == pytest.approx(quoted[149] / 2 - 1.0, rel=1e-6)


def test_dates_that_come_twice_are_one_session(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO, repeated={LONG_AGO[7], LAST})
    got = market.fetch("AAA")
    assert sessions(got, "AAA") == LONG_AGO


def test_an_unknown_ticker_is_the_users_to_mend(market: Market) -> None:
    with pytest.raises(
        DataError,
        match=r"NOPE: Yahoo says 'No data found, symbol may be delisted' \(status 404\); correct data\.tickers",
    ) as caught:
        market.load("NOPE")
    assert (caught.value.key, caught.value.exit_status) == ("data.tickers", 2)
    with pytest.raises(DataError, match=r"'A/\.\./B' is no symbol of Yahoo's"):
        market.load("A/../B")


def test_a_ticker_without_bars_is_the_users_to_mend(market: Market) -> None:
    market.yahoo.shares["VOID"] = Share({LAST: 1.0}, lacking={LAST})
    with pytest.raises(DataError, match="VOID: Yahoo knows the ticker and has no bars of it"):
        market.fetch("VOID")


def test_one_failed_ticker_of_many_is_named_or_let_go(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB", "CCC")}
    market.yahoo.trouble["BBB"] = [PAGE]
    with pytest.raises(
        Fault, match=r"^BBB: Yahoo answers with status 500, and with no prices; try again later, or go on"
    ):
        market.fetch("AAA", "BBB", "CCC")
    with pytest.raises(Fault, match=r"^NOPE: Yahoo says .*; BBB: Yahoo answers with status 500"):
        market.fetch("NOPE", "BBB", "CCC", on_failure="error")
    got = market.fetch("AAA", "BBB", "NOPE", on_failure="drop")
    assert list(got.bars) == ["AAA"]
    assert [(note.ticker, note.text[:9]) for note in got.notes] == [("BBB", "left out:"), ("NOPE", "left out:")]
    assert market.load("AAA", "BBB", on_failure="drop").tickers == ("AAA",)
    with pytest.raises(DataError, match="NOPE: Yahoo says"):
        market.fetch("NOPE", on_failure="drop")
    offline = market.fetch("AAA", "NOPE", on_failure="drop", offline=True)
    assert list(offline.bars) == ["AAA"]


@pytest.mark.parametrize("trouble", [LIMIT, PAGE])
def test_trouble_that_passes_is_waited_for(market: Market, trouble: Any) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.yahoo.trouble["AAA"] = [trouble] * 5 + [0.0]
    assert len(market.fetch("AAA").bars["AAA"]) == 300


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (LIMIT, r"AAA: Yahoo limits the rate of requests \(status 429\)"),
        (PAGE, "AAA: Yahoo answers with status 500, and with no prices"),
        ((404, "<html>not here</html>", "text/html"), "AAA: Yahoo answers with status 404, and with no prices"),
        (
            (503, '{"chart": {"result": null, "error": {"description": "Unavailable"}}}', "application/json"),
            "AAA: Yahoo answers with status 503: Unavailable",
        ),
        (
            (401, '{"finance": {"result": null, "error": {"code": "Unauthorized"}}}', "application/json"),
            "AAA: Yahoo answers with status 401",
        ),
        ((200, "Will be right back", "text/html"), "AAA: Yahoo answers with status 200, and with no prices"),
    ],
)  # fmt: skip
def test_trouble_that_stays_is_no_delisting(market: Market, reply: Any, said: str) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.yahoo.trouble["AAA"] = [reply]
    with pytest.raises(Fault, match=said) as caught:
        market.fetch("AAA")
    assert caught.value.exit_status == 1
    assert "delisted" not in caught.value.message


def test_a_ticker_that_yahoo_gives_no_more_can_be_had_offline(market: Market) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.fetch("AAA")
    market.at("2024-05-08 20:00")
    market.yahoo.trouble["AAA"] = [PAGE]
    with pytest.raises(Fault, match=r"status 500.* \(stored up to 2024-05-03: --offline uses that, or data\.end"):
        market.fetch("AAA")
    market.yahoo.trouble.clear()
    market.yahoo.shares.clear()
    with pytest.raises(DataError, match=r"symbol may be delisted.* \(stored up to 2024-05-03: --offline uses that"):
        market.fetch("AAA")
    assert len(market.fetch("AAA", end=LAST).bars["AAA"]) == 300


def test_an_outage_tells_the_age_of_what_is_stored(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB", "CCC")}
    market.fetch("AAA")
    market.at("2024-05-07 08:00")
    market.yahoo.trouble["CCC"] = [LIMIT]
    with pytest.raises(Fault) as caught:
        market.fetch("AAA", "BBB", "CCC")
    assert caught.value.message == (
        "CCC: Yahoo limits the rate of requests (status 429) (2 of 3 tickers had come, and are stored); try again "
        "later; 2 of 3 tickers are stored, fetched less than a minute ago, to 2024-05-03; --offline needs all of them"
    )
    market.yahoo.trouble["AAA"] = [LIMIT]
    market.at("2024-05-09 20:00")
    with pytest.raises(Fault, match="its prices are stored, fetched 2 days ago, to 2024-05-03: --offline uses that"):
        market.fetch("AAA")
    asked = market.yahoo.requests
    assert len(market.fetch("AAA", offline=True).bars["AAA"]) == 300
    assert market.yahoo.requests == asked


def test_a_limit_ends_the_asking(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB")}
    market.yahoo.trouble["AAA"] = [LIMIT]
    with pytest.raises(Fault, match="nothing is stored yet that --offline could use"):
        market.fetch("AAA", "BBB", on_failure="drop")
    assert "BBB" not in {ticker for ticker, _ in market.yahoo.asked}


def test_a_port_that_nobody_listens_on_is_no_delisting(market: Market) -> None:
    with serving(Yahoo()) as address:
        pass
    dead = Market(market.yahoo, session_to(address))
    with pytest.raises(Fault, match=r"GONE: Yahoo can't be reached: .*[Cc]onnect") as caught:
        dead.fetch("GONE")
    assert "delisted" not in caught.value.message


def test_a_network_that_swallows_everything_is_given_up_at_the_deadline(market: Market) -> None:
    market.yahoo.silent = True
    with pytest.raises(Fault, match=r"HOLE: Yahoo gave no answer for 0\.3 seconds; try again later; nothing is stored"):
        market.fetch("HOLE", "AAA", deadline=0.3)
    market.yahoo.silent = False
    market.yahoo.released.set()
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    assert len(market.fetch("AAA").bars["AAA"]) == 300, "and what was abandoned is in nobody's way"


def test_offline_never_asks(market: Market) -> None:
    market.yahoo.shares = {"AAA": share(1, LONG_AGO)}
    with pytest.raises(
        DataError, match=r"AAA: not stored in .*prices, and --offline asks nobody; run once without --offline$"
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
    entry = Store.at_home().shelf("yahoo", "AAA").entry()
    assert entry
    path = Store.at_home().shelf("yahoo", "AAA").folder / f"{entry.sha256}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"AAA: .*\.parquet has the checksum .* set aside as .*\.damaged, and --offline asks nobody"
    ):
        market.fetch("AAA", offline=True)
    path.write_bytes(content)
    again = market.fetch("AAA")
    assert again.sha256 == whole.sha256
    (note,) = again.notes
    assert note.text.endswith(".damaged; it was fetched again")
    assert path.with_suffix(".damaged").read_bytes() == content
    assert not market.fetch("AAA").notes
