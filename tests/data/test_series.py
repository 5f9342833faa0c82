"""Series other than prices: a row uses the newest release that was known at its close, by slow loops over instants."""

from __future__ import annotations

import datetime as dt
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.audits.auditor import audit_prices
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError, Fault
from quantlr.core.known_series import KnownSeries
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.download import HttpEnvironment
from quantlr.data.features.other_series import OtherSeries
from quantlr.data.features.returns import ContextReturns
from quantlr.data.fred import FredSeries
from quantlr.pipeline.stages import PipelineStages, load_run_prices
from quantlr.testing.contract import random_walk_bars, random_walk_prices

from price_servers import LoopbackOpener, PriceServer, serving_prices

pytestmark = pytest.mark.usefixtures("without_drawing")
DATES = pd.bdate_range("2019-01-07", periods=160)


def value_by_loop(series: KnownSeries, date: pd.Timestamp, transform: str, window: int) -> float:
    """Return a feature at the close of a date, from the newest release of each date that is known by then."""
    current: dict[Any, tuple[Any, float]] = {}
    for day, value, known_from in zip(series.date, series.value, series.known_from, strict=True):
        if known_from <= np.datetime64(date, "D") and (day not in current or known_from >= current[day][0]):
            current[day] = (known_from, float(value))
    values = [current[day][1] for day in sorted(current)][-window:]
    needed = {"level": 1, "change": 2, "zscore": window}[transform]
    if len(values) < needed:
        return float("nan")
    if transform == "level":
        return values[-1]
    if transform == "change":
        return values[-1] - values[-2]
    return (values[-1] - statistics.mean(values)) / statistics.stdev(values)


@settings(max_examples=15)
@given(seed=st.integers(0, 9999), transform=st.sampled_from(["level", "change", "zscore"]))
def test_values_are_those_of_the_newest_releases_known_at_each_close(seed: int, transform: str) -> None:
    prices = random_walk_prices(seed, n_sessions=150, n_tickers=2, with_gaps=True, context_tickers=("^GSPC",))
    feature = OtherSeries.model_validate({"name": "RATE", "transform": transform, "window": 6, "max_age": 200})
    (values,) = feature.compute(prices).values()
    (series,) = prices.series
    for ticker, n_bars in enumerate(prices.n_bars.tolist()):
        for bar in range(0, n_bars, 7):
            date = prices.sessions[prices.session[bar, ticker]]
            expected = value_by_loop(series, date, transform, 6)
            assert values[bar, ticker] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def write_prices(folder: Path, *tickers: str) -> None:
    for seed, ticker in enumerate(tickers):
        bars = random_walk_bars(np.random.default_rng(seed), DATES)
        bars.drop(columns="adj_close").to_csv(folder / f"{ticker}.csv", index_label="Date")


def config(folder: Path, series: dict[str, Any], *tickers: str, **data: Any) -> dict[str, Any]:
    source = {"kind": "file", "path": str(folder)}
    return {
        "name": "t",
        "data": {"source": source, "tickers": list(tickers), "series": series, **data},
        "features": [{"kind": "series", "name": "S", "max_age": 500}],
        "walk_forward": {"train": 60, "refit_every": 20},
    }


def load(folder: Path, series: dict[str, Any], *tickers: str, **data: Any) -> Prices:
    return load_run_prices(load_config(config(folder, series, *tickers, **data)).run)


def first_dates(prices: Prices, market: str = "") -> list[str]:
    (series,) = prices.series
    return [str(date) for date in series.in_market(market).known_from]


@dataclass
class Case:
    """A file of a series, how it is read, and from which date each of its values is known."""

    text: str
    known: dict[str, Any]
    expected: list[str]
    data: dict[str, Any]


CASES = {
    "same close": Case(
        "Date,V\n2019-02-01,1\n2019-02-04,2\n", {"known": "same_close"}, ["2019-02-01", "2019-02-04"], {},
    ),
    "next session": Case(
        "Date;V\n01.02.2019;1,5\n14.02.2019;2\n", {"known": "next_session"}, ["2019-02-02", "2019-02-15"], {},
    ),
    "date of a release": Case(
        "Date,V,R\n2019-01-01,1,2019-02-14\n2019-01-01,2,2019-03-14\n",
        {"known": "release_date", "release_date": "R"}, ["2019-02-15", "2019-03-15"], {},
    ),
    "time of a release": Case(  # New York closes at 21:00 UTC in winter and at 20:00 in summer, and on 3 July at 17:00
        "Date,V,R\n2019-01-01,1,2019-02-14T20:59:00Z\n2019-02-01,2,2019-02-14T16:01:00-05:00\n"
        "2019-03-01,3,2019-04-10T20:00:00+00:00\n2019-04-01,4,2019-07-03T17:30:00Z\n",
        {"known": "release_date", "release_date": "R"},
        ["2019-02-14", "2019-02-15", "2019-04-10", "2019-07-04"], {"calendar": "XNYS"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_value_is_known_from_the_first_close_after_its_release(tmp_path: Path, case: Case) -> None:
    write_prices(tmp_path, "A")
    path = tmp_path / "series.txt"
    path.write_text(case.text)
    prices = load(tmp_path, {"S": {"path": str(path), "value": "V", **case.known}}, "A", **case.data)
    assert first_dates(prices) == case.expected
    without = load(tmp_path, {}, "A", **case.data)
    assert prices.sha256 != without.sha256


def test_a_series_of_another_market_is_known_at_that_markets_close(tmp_path: Path) -> None:
    write_prices(tmp_path, "A", "B")
    path = tmp_path / "vix.txt"
    path.write_text("Date,V\n2019-02-04,1\n2019-07-03,2\n")
    series = {"S": {"path": str(path), "value": "V", "known": "same_close"}}
    calendars = {"A": "XNYS", "B": "XTKS", "S": "XNYS"}
    prices = load(tmp_path, series, "A", "B", calendars=calendars)
    assert first_dates(prices, "XNYS") == ["2019-02-04", "2019-07-03"]
    assert first_dates(prices, "XTKS") == ["2019-02-05", "2019-07-04"]


ERRORS = {
    "Date,V\n2019-02-01,1\n2019-02-01,2\n": (
        {"known": "next_session"}, "2019-02-01 twice",
    ),
    "Date,V,R\n2019-02-01,1,2019-01-15\n2019-03-01,2,2019-03-15\n": (
        {"known": "release_date", "release_date": "R"}, "released on 2019-01-15, before",
    ),
    "Date,V,R\n2019-02-01,1,2019-05-15\n2019-03-01,2,2019-05-15\n": (
        {"known": "release_date", "release_date": "R"}, "all values are released on 2019-05-15",
    ),
    "Date,V,R\n2019-02-01,1,2019-03-15\n2019-02-01,2,2019-03-15\n2019-03-01,2,2019-04-15\n": (
        {"known": "release_date", "release_date": "R"}, "two values of one date and one release",
    ),
    "Date,V,R\n2019-02-01,1,2019-03-15T08:30:00Z\n2019-03-01,2,2019-04-15T08:30:00Z\n": (
        {"known": "release_date", "release_date": "R"}, "data.calendar: XNYS",
    ),
    "Date,W\n2019-02-01,1\n": ({"known": "next_session"}, "needs one column 'V'"),
    "Date,V\n2019-02-01,x\n": ({"known": "next_session"}, "needed a number, found 'x'"),
    "Date,V\n2019-02-01,\n": ({"known": "next_session"}, "has no values"),
    "Date,V\n": ({"known": "next_session"}, "a header line and no rows"),
    "Date,V\n2019-02-01,1\n2019-02-02,-1e308\n": ({"known": "next_session"}, r"is -1e\+308 on 2019-02-02"),
    "Date,V\n2019-02-01,1e999\n": ({"known": "next_session"}, "is inf on 2019-02-01"),
    "Date,V\n9999-12-31,1\n": ({"known": "next_session"}, "the date 9999-12-31"),
    "Date,V,R\n2019-02-01,1,2019-03-15\n2019-03-01,2,9999-12-31\n": (
        {"known": "release_date", "release_date": "R"}, "the date 9999-12-31",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_a_series_without_an_order_in_time_is_refused(tmp_path: Path, text: str) -> None:
    write_prices(tmp_path, "A")
    path = tmp_path / "series.txt"
    path.write_text(text)
    known, message = ERRORS[text]
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, {"S": {"path": str(path), "value": "V", **known}}, "A")
    assert str(caught.value.key).startswith("data.")


def test_a_series_has_the_keys_of_reading_that_prices_have(tmp_path: Path) -> None:
    text = "Date;V\n" + "".join(f"{date:%d.%m.%y};1.{500 + index % 3}\n" for index, date in enumerate(DATES))
    (tmp_path / "s.csv").write_text(text)
    keys = {"path": str(tmp_path / "s.csv"), "value": "V", "known": "same_close"}
    write_prices(tmp_path, "X")
    for key, value in (("date_format", "%d.%m.%y"), ("decimal", ",")):
        with pytest.raises(DataError, match=rf"set data\.series\.S\.{key}"):
            load(tmp_path, {"S": keys}, "X")
        keys[key] = value
    assert load(tmp_path, {"S": keys}, "X").series[0].value[:3].tolist() == [1500, 1501, 1502]


def test_a_release_after_noon_is_not_known_at_noon(tmp_path: Path) -> None:
    """11:30 PM read as 11:30 would be known at the close of its own date."""
    rows = "".join(f"{date:%Y-%m-%d},{index},{date:%Y-%m-%d} 11:30 PM+00:00\n" for index, date in enumerate(DATES))
    (tmp_path / "s.csv").write_text("Date,V,R\n" + rows)
    keys = {"path": str(tmp_path / "s.csv"), "value": "V", "known": "release_date", "release_date": "R"}
    write_prices(tmp_path, "X")
    (series,) = load(tmp_path, {"S": keys}, "X", calendar="XNYS").series
    assert (series.known_from > series.date).all()


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({"path": "x.csv", "value": "V"}, r"data\.series\.S.*known"),
        ({"path": "x.csv", "value": "V", "known": "release_date"}, "name the column of the releases"),
        ({"path": "x.csv", "value": "V", "known": "same_close", "release_date": "R"}, "is not used with known"),
        ({"kind": "fred", "id": "a b"}, r"data\.series\.S"),
        ({"path": "x\0.csv", "value": "V", "known": "same_close"}, r"data\.series\.S\.path.*which can't be one"),
        ({"path": "\ud800", "value": "V", "known": "same_close"}, r"data\.series\.S\.path.*which can't be one"),
        ({"path": "x" * 5000, "value": "V", "known": "same_close"}, r"data\.series\.S\.path.*File name too long"),
    ],
)
def test_configs_of_series_that_are_refused(tmp_path: Path, series: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config(tmp_path, {"S": series}, "A"))


def test_a_value_that_is_too_old_is_an_error_with_its_date() -> None:
    prices = random_walk_prices(1, n_sessions=150, context_tickers=("^GSPC",))
    (series,) = prices.series
    is_kept = series.date < np.datetime64("2010-02-01")
    old = replace(series, date=series.date[is_kept], value=series.value[is_kept], known_from=series.known_from[is_kept])
    with pytest.raises(DataError, match=r"is of 2010-01-01, 9\d days older, and max_age allows 9\d"):
        OtherSeries(name="RATE").compute(replace(prices, series=(old,)))
    with pytest.raises(DataError, match=r"there is no series 'X', data\.series has RATE"):
        OtherSeries(name="X").compute(prices)


def series_by_period(prices: Prices, features: Any) -> FeatureColumns:
    """Compute features as if each value were known on the date that it is of."""
    from quantlr.data.dataset import compute_feature_columns

    series = tuple(replace(one, known_from=one.date) for one in prices.series)
    return compute_feature_columns(replace(prices, series=series), features)


def test_a_join_on_the_date_of_the_period_is_convicted() -> None:
    prices = random_walk_prices(3, n_sessions=200, context_tickers=("^GSPC",))
    sections = {"features": [{"kind": "series", "name": "RATE", "transform": "change", "max_age": 200}]}
    base = {"name": "a", "data": {"source": {"kind": "sample"}, "tickers": ["T0"]}, "model": {"l2": 0.01}}
    audited = load_config({**base, **sections, "walk_forward": {"train": 60, "refit_every": 20}}).run
    assert audit_prices(audited, prices, n_cutoffs=2).is_clean
    planted = PipelineStages(compute_features=series_by_period)
    leaks = audit_prices(audited, prices, planted, n_cutoffs=2).leaks
    assert {(leak.stage, leak.what) for leak in leaks} == {("features", "series_RATE_change")}


def test_a_run_with_a_series_and_its_written_config_agree(tmp_path: Path) -> None:
    write_prices(tmp_path, "A")
    path = tmp_path / "rate.txt"
    months = pd.date_range("2018-01-01", "2019-08-01", freq="MS")
    pd.DataFrame({"Date": months, "V": np.arange(len(months)) % 5, "R": months + pd.Timedelta(days=45)}).to_csv(
        path, index=False
    )
    series = {"S": {"path": str(path), "value": "V", "known": "release_date", "release_date": "R"}}
    run = quantlr.run(config(tmp_path, series, "A"))
    written = tmp_path / "written.yaml"
    written.write_text(run.config.to_yaml(folder=tmp_path))
    assert "path: rate.txt" in written.read_text()
    assert quantlr.run(written).metrics == run.metrics
    assert list(run.features.columns) == ["date", "ticker", "series_S_level"]


class FredServer(PriceServer):
    """A server that answers as FRED does, page by page."""

    rows: tuple[tuple[str, str, str], ...] = ()

    def answer(self, path: str) -> tuple[int, str]:
        """Return the observations of the series RATE."""
        self.paths.append(path)
        query = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
        if self.reply is not None and not isinstance(self.reply, float):
            return self.reply
        if query["series_id"] != "RATE":
            return 400, '{"error_code": 400, "error_message": "Bad Request.  The series does not exist."}'
        assert (query["realtime_start"], query["realtime_end"]) == ("1776-07-04", "9999-12-31")
        first, limit = int(query["offset"]), int(query["limit"])
        page = [
            {"date": date, "value": value, "realtime_start": release, "realtime_end": "9999-12-31"}
            for date, value, release in self.rows[first : first + limit]
        ]
        return 200, json.dumps({"count": len(self.rows), "observations": page})


def fred_page(**row: str) -> str:
    """Return an answer with one observation, with other values in it."""
    return json.dumps({"observations": [{"date": "2024-01-02", "value": "1", "realtime_start": "2024-01-03", **row}]})


@pytest.fixture
def fred_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    monkeypatch.setenv("FRED_API_KEY", "0123456789abcdef0123456789abcdef")
    return tmp_path


@pytest.mark.usefixtures("fred_home")
def test_fred_has_every_vintage_and_is_asked_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantlr.data.fred.PAGE_ROWS", 3)
    server = FredServer()
    server.rows = tuple(
        (f"2020-0{month}-01", str(month + revision), f"2020-0{month + 1 + revision}-20")
        for month in range(1, 5)
        for revision in (0, 1)
    )
    server.rows += (("2020-07-01", ".", "2020-08-20"),)
    with serving_prices(server) as address:
        environment = HttpEnvironment(http_session=LoopbackOpener(address), clock=lambda: server.now)
        series = FredSeries(id="RATE").with_environment(environment)
        observations = series.read("CPI", offline=False)
        assert [str(date) for date in observations.date] == [row[0] for row in server.rows[:-1]]
        assert observations.value.tolist() == [float(row[1]) for row in server.rows[:-1]]
        assert observations.release_date is not None
        assert [str(date) for date in observations.release_date] == [row[2] for row in server.rows[:-1]]
        n_requests = len(server.paths)
        assert n_requests == 4
        assert series.read("CPI", offline=False).sha256 == observations.sha256
        assert len(server.paths) == n_requests
        server.now += dt.timedelta(days=1)
        assert series.read("CPI", offline=True).sha256 == observations.sha256
        assert len(server.paths) == n_requests
        series.read("CPI", offline=False)
        assert len(server.paths) > n_requests
        with pytest.raises(DataError, match="knows no series 'NOPE'"):
            FredSeries(id="NOPE").with_environment(environment).read("X", offline=False)
        with pytest.raises(DataError, match="is not stored"):
            FredSeries(id="NOPE").with_environment(environment).read("X", offline=True)


@pytest.mark.parametrize("content", ["[" * 100_000, "5", '{"rows": [["2020-01-01"]], "fetched": ""}', "\xff"])
def test_a_damaged_stored_response_of_fred_is_fetched_again(fred_home: Path, content: str) -> None:
    path = fred_home / "series" / "fred-RATE.json"
    path.parent.mkdir()
    path.write_text(content, encoding="latin-1")
    server = FredServer()
    server.rows = (("2020-01-01", "1", "2020-02-20"),)
    with serving_prices(server) as address:
        environment = HttpEnvironment(http_session=LoopbackOpener(address))
        with pytest.raises(DataError, match="is not stored"):
            FredSeries(id="RATE").with_environment(environment).read("CPI", offline=True)
        assert FredSeries(id="RATE").with_environment(environment).read("CPI", offline=False).value.tolist() == [1.0]


@pytest.mark.usefixtures("fred_home")
@pytest.mark.parametrize(
    "reply",
    [
        (500, "oops"),
        (200, "<html>"),
        (200, "{}"),
        (200, "[5]"),
        (400, '{"error_message": "api_key"}'),
        (200, "[" * 100_000),
        *((200, fred_page(**row)) for row in ({"value": "nan"}, {"value": "1e999"}, {"date": ""}, {"date": "today"})),
    ],
    ids=lambda reply: reply[1][-30:],
)
def test_fred_that_fails_is_a_fault_that_does_not_name_the_key(reply: tuple[int, str]) -> None:
    server = FredServer(reply=reply)
    with serving_prices(server) as address:
        environment = HttpEnvironment(http_session=LoopbackOpener(address))
        with pytest.raises(Fault, match="CPI: FRED") as caught:
            FredSeries(id="RATE").with_environment(environment).read("CPI", offline=False)
    assert "0123456789abcdef" not in caught.value.message


def test_fred_without_a_key_says_where_to_get_one(fred_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRED_API_KEY")
    with pytest.raises(DataError, match="FRED_API_KEY"):
        FredSeries(id="RATE").read("CPI", offline=False)
    assert not list(fred_home.iterdir())


@pytest.mark.parametrize("transform", ["level", "change", "zscore"])
def test_transforms_of_another_ticker_are_of_its_closes_as_quoted(transform: str) -> None:
    prices = random_walk_prices(5, n_sessions=60, context_tickers=("VIX",))
    assert prices.context is not None
    quoted = prices.context.close * 3.0
    prices = replace(prices, context=replace(prices.context, raw_close=quoted))
    feature = ContextReturns.model_validate({"ticker": "VIX", "transform": transform, "window": 8, "lags": [1, 2]})
    columns = feature.compute(prices)
    assert list(columns) == [f"context_{transform}_VIX_1", f"context_{transform}_VIX_2"]
    assert prices.context is not None
    dates, closes = list(prices.context.sessions), quoted[:, 0].tolist()
    for bar in range(15, 60):
        newest = max(index for index, date in enumerate(dates) if date <= prices.sessions[bar])
        for lag in (1, 2):
            last = newest - lag + 1
            window = closes[last - 7 : last + 1]
            expected = {
                "level": closes[last],
                "change": closes[last] - closes[last - 1],
                "zscore": (closes[last] - statistics.mean(window)) / statistics.stdev(window),
            }[transform]
            assert columns[f"context_{transform}_VIX_{lag}"][bar, 0] == pytest.approx(expected, rel=1e-9)
