"""Failures of Yahoo and of the network: the kind of error, retries, and the cached prices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from quantlr.core.errors import DataError, Fault

from data.yahoo_market import LAST, LIMIT, LONG_AGO, PAGE, Market
from yahoo_server import Share, Yahoo, serving, session_to, share


def chart_reply(*, timestamp: Any = (1714656600, 1714743000), timezone: str = "America/New_York") -> Any:
    """Return a chart of two sessions, as Yahoo sends it but for the values given."""
    prices = {key: [5.0, 6.0] for key in ("open", "high", "low", "close", "volume")}
    meta = {"exchangeName": "NYQ", "exchangeTimezoneName": timezone, "timezone": timezone, "symbol": "AAA"}
    indicators = {"quote": [prices], "adjclose": [{"adjclose": [5.0, 6.0]}]}
    result = {"meta": meta, "timestamp": list(timestamp), "indicators": indicators}
    return 200, json.dumps({"chart": {"result": [result], "error": None}}), "application/json"


def test_an_unknown_ticker_is_a_data_error(market: Market) -> None:
    with pytest.raises(
        DataError,
        match=r"NOPE: Yahoo says 'No data found, symbol may be delisted' \(status 404\); correct data\.tickers",
    ) as caught:
        market.load("NOPE")
    assert (caught.value.key, caught.value.exit_status) == ("data.tickers", 2)
    with pytest.raises(DataError, match=r"'A/\.\./B' is no symbol of Yahoo's"):
        market.load("A/../B")


def test_a_ticker_without_bars_is_a_data_error(market: Market) -> None:
    market.yahoo.shares["VOID"] = Share({LAST: 1.0}, lacking={LAST})
    with pytest.raises(DataError, match="VOID: Yahoo lists the ticker and has no bars of it"):
        market.fetch("VOID")


def test_one_failed_ticker_of_many_is_an_error_or_dropped(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB", "CCC")}
    market.yahoo.trouble["BBB"] = [PAGE]
    with pytest.raises(
        Fault, match=r"^BBB: Yahoo answers with status 500, and with no prices; try again later, or go on"
    ):
        market.fetch("AAA", "BBB", "CCC")
    with pytest.raises(Fault, match=r"^NOPE: Yahoo says .*; BBB: Yahoo answers with status 500"):
        market.fetch("NOPE", "BBB", "CCC", on_failure="error")
    fetched = market.fetch("AAA", "BBB", "NOPE", on_failure="drop")
    assert list(fetched.bars) == ["AAA"]
    assert [(note.ticker, note.text[:9]) for note in fetched.notes] == [("BBB", "left out:"), ("NOPE", "left out:")]
    assert market.load("AAA", "BBB", on_failure="drop").tickers == ("AAA",)
    with pytest.raises(DataError, match="NOPE: Yahoo says"):
        market.fetch("NOPE", on_failure="drop")
    offline = market.fetch("AAA", "NOPE", on_failure="drop", offline=True)
    assert list(offline.bars) == ["AAA"]


@pytest.mark.parametrize("reply", [LIMIT, PAGE])
def test_a_temporary_failure_is_retried(market: Market, reply: Any) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.yahoo.trouble["AAA"] = [reply] * 5 + [0.0]
    assert len(market.fetch("AAA").bars["AAA"]) == 300


@pytest.mark.parametrize(
    ("reply", "message"),
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
        (chart_reply(timestamp=["x", None]), "AAA: Yahoo answers"),
        (chart_reply(timestamp=[10**30, 2]), "AAA: "),
        (chart_reply(timezone="No/Zone"), "AAA: "),
    ],
)  # fmt: skip
def test_a_permanent_failure_is_not_reported_as_a_delisting(market: Market, reply: Any, message: str) -> None:
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    market.yahoo.trouble["AAA"] = [reply]
    with pytest.raises(Fault, match=message) as caught:
        market.fetch("AAA")
    assert caught.value.exit_status == 1
    assert "delisted" not in caught.value.message


def test_a_ticker_that_fails_can_be_used_offline(market: Market) -> None:
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


def test_an_outage_states_the_age_of_the_cached_prices(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB", "CCC")}
    market.fetch("AAA")
    market.at("2024-05-07 08:00")
    market.yahoo.trouble["CCC"] = [LIMIT]
    with pytest.raises(Fault) as caught:
        market.fetch("AAA", "BBB", "CCC")
    assert caught.value.message == (
        "CCC: Yahoo limits the rate of requests (status 429) (2 of 3 tickers were fetched, and are stored); try again "
        "later; 2 of 3 tickers are stored, fetched less than a minute ago, to 2024-05-03; --offline needs all of them"
    )
    market.yahoo.trouble["AAA"] = [LIMIT]
    market.at("2024-05-09 20:00")
    with pytest.raises(Fault, match="its prices are stored, fetched 2 days ago, to 2024-05-03: --offline uses that"):
        market.fetch("AAA")
    n_requests = market.yahoo.requests
    assert len(market.fetch("AAA", offline=True).bars["AAA"]) == 300
    assert market.yahoo.requests == n_requests


def test_a_rate_limit_ends_the_requests(market: Market) -> None:
    market.yahoo.shares = {name: share(1, LONG_AGO) for name in ("AAA", "BBB")}
    market.yahoo.trouble["AAA"] = [LIMIT]
    with pytest.raises(Fault, match="nothing is stored yet that --offline could use"):
        market.fetch("AAA", "BBB", on_failure="drop")
    assert "BBB" not in {ticker for ticker, _ in market.yahoo.asked}


def test_a_closed_port_is_not_reported_as_a_delisting(market: Market) -> None:
    with serving(Yahoo()) as address:
        pass
    unreachable = Market(market.yahoo, session_to(address))
    with pytest.raises(Fault, match=r"GONE: Yahoo can't be reached: .*[Cc]onnect") as caught:
        unreachable.fetch("GONE")
    assert "delisted" not in caught.value.message


def test_a_network_without_responses_is_given_up_at_the_deadline(market: Market) -> None:
    market.yahoo.silent = True
    with pytest.raises(Fault, match=r"HOLE: Yahoo gave no answer for 0\.3 seconds; try again later; nothing is stored"):
        market.fetch("HOLE", "AAA", deadline=0.3)
    market.yahoo.silent = False
    market.yahoo.released.set()
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    assert len(market.fetch("AAA").bars["AAA"]) == 300, "the abandoned thread does not disturb it"


def test_a_thread_that_waits_with_a_lock_of_yfinance_does_not_block_later_fetches(market: Market) -> None:
    from threading import Event, Thread

    from quantlr.data.network import BACKGROUND_THREAD_NAME
    from yfinance.data import YfData

    lock, is_locked, release = YfData()._cookie_lock, Event(), Event()

    def wait_with_lock() -> None:
        with lock:
            is_locked.set()
            release.wait()

    thread = Thread(target=wait_with_lock, name=BACKGROUND_THREAD_NAME, daemon=True)
    thread.start()
    is_locked.wait()
    market.yahoo.shares["AAA"] = share(1, LONG_AGO)
    try:
        assert len(market.fetch("AAA", deadline=5.0).bars["AAA"]) == 300
    finally:
        release.set()
        thread.join()
