"""Every source keeps the contract, and each check of the contract finds a violation."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import Field
from quantlr.config.run_config import load_config
from quantlr.core.errors import DataError
from quantlr.data.source import FetchedPrices, FetchRequest, Source, combine_digests, sha256_hex
from quantlr.data.sources import FileSource, FrameSource, SampleSource
from quantlr.pipeline.stages import load_run_prices
from quantlr.testing import check_source

DATES = pd.bdate_range("2020-01-01", periods=40)


class Honest(Source):
    """Made-up closes."""

    kind: Literal["honest"] = "honest"
    scale: float = Field(1.0, description="Factor of the closes.")

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        """Return closes that rise."""
        bars = {ticker: self.make_bars(ticker, request) for ticker in request.tickers}
        digests = {ticker: sha256_hex(frame["close"].to_numpy().tobytes()) for ticker, frame in bars.items()}
        return FetchedPrices(bars, self.kind, combine_digests(digests))

    def make_bars(self, ticker: str, request: FetchRequest) -> pd.DataFrame:
        """Return the bars of a ticker."""
        if len(ticker) > 1:
            raise DataError(f"there is no ticker {ticker}")
        return pd.DataFrame({"close": self.scale * np.arange(1.0, 41.0) * ord(ticker)}, index=DATES)


class Other(Honest):
    """Made-up closes with one violation."""

    kind: Any = "other"


def violating(**methods: Any) -> Source:
    """Return a source of a class with other methods."""
    made = type("Other", (Other,), {"__doc__": "Made-up.", "__annotations__": {}, **methods})
    vars(sys.modules[__name__])["Made"] = made
    made.__qualname__ = "Made"
    made.__module__ = __name__
    source: Source = made()
    return source


def altered(change: Any) -> Any:
    """Return a method that changes the bars of `Honest`."""
    return lambda self, ticker, request: change(Honest.make_bars(self, ticker, request), request)


def fetch_with(change: Any) -> Any:
    """Return a method that changes what `Honest` returns."""
    return lambda self, request: change(Honest.fetch(self, request))


def prints(fetched: FetchedPrices) -> FetchedPrices:
    print("loading")
    return fetched


VIOLATIONS: dict[str, dict[str, Any]] = {
    "have different sha256": {
        "fetch": fetch_with(lambda f: FetchedPrices(f.bars, "x", str(np.random.default_rng().random())))
    },
    "it prints": {"fetch": fetch_with(prints)},
    "has the home folder": {"fetch": fetch_with(lambda f: FetchedPrices(f.bars, f"file {Path.home()}/x", f.sha256))},
    "asked for": {"fetch": fetch_with(lambda f: FetchedPrices(dict(list(f.bars.items())[:1]), "x", f.sha256))},
    "have a time zone": {"make_bars": altered(lambda bars, _: bars.tz_localize("UTC"))},
    "not ascending": {"make_bars": altered(lambda bars, _: bars.iloc[::-1])},
    "no column close": {"make_bars": altered(lambda bars, _: bars.rename(columns={"close": "c"}).assign(close2=1.0))},
    "is not above 0": {"make_bars": altered(lambda bars, _: bars - 65.0)},
    "are others than": {
        "make_bars": altered(lambda bars, request: bars / (2.0 if request.start else 1.0)),
    },
    "no DataError": {"make_bars": lambda self, ticker, request: Honest.make_bars(self, ticker[0], request)},
}


@pytest.mark.parametrize("message", VIOLATIONS)
def test_each_check_finds_a_violation(message: str) -> None:
    methods = dict(VIOLATIONS[message])
    if message == "no column close":
        methods["fetch"] = lambda self, request: FetchedPrices(
            {ticker: self.make_bars(ticker, request) for ticker in request.tickers}, "x", "ab"
        )
    with pytest.raises(AssertionError, match=message):
        check_source(violating(**methods), tickers=["A", "B"], unknown_ticker="NONE")


def test_the_sources_of_the_catalogue_keep_the_contract(tmp_path: Path) -> None:
    check_source(Honest(), tickers=["A", "B"], unknown_ticker="NONE")
    check_source(SampleSource(), tickers=["AAPL", "IBM"], unknown_ticker="SPY")
    table = pd.DataFrame({"A": np.arange(1.0, 41.0), "B": np.arange(2.0, 42.0)}, index=DATES)
    check_source(FrameSource.from_data(table), tickers=["A", "B"], unknown_ticker="C")
    for ticker in table:
        table[[ticker]].set_axis(["Close"], axis=1).to_csv(tmp_path / f"{ticker}.csv", index_label="Date")
    check_source(FileSource(path=tmp_path), tickers=["A", "B"], unknown_ticker="C")


def test_an_installed_package_adds_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        known = EntryPoint("honest", f"{__name__}:Honest", "quantlr.sources")
        return [known] if group == known.group and name in (None, known.name) else []

    monkeypatch.setitem(sys.modules, __name__, sys.modules[Honest.__module__])
    monkeypatch.setattr("quantlr.core.components.entry_points", find_entry_points)
    data = {"source": {"kind": "honest", "scale": 2.0}, "tickers": ["A"]}
    config = load_config({"name": "x", "data": data, "features": [{"kind": "lagged_returns"}]})
    assert load_run_prices(config.run).close[0, 0] == 2.0 * ord("A")
    assert "kind: honest" in config.run.to_yaml()
