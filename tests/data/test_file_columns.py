"""Columns of the tickers' own files: each value is used from the close at which it is known, and no earlier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from hypothesis import given, settings
from hypothesis import strategies as st
from quantlr.audits.auditor import audit_prices
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError, DataError
from quantlr.core.values import FeatureColumns, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.pipeline.stages import PipelineStages, load_run_prices
from quantlr.sweeps.trials import StageDigests

from markets import random_walk_bars

pytestmark = pytest.mark.usefixtures("without_drawing")
DATES = pd.bdate_range("2019-01-02", periods=140).as_unit("us")


def table_of(seed: int, *tickers: str) -> pd.DataFrame:
    """Return bars of tickers with a column of scores, of which some are missing, and the days of their releases.

    With an even seed the scores of a week are released together, on its Friday, else each after up to eight days.
    """
    rng, frames = np.random.default_rng(seed), []
    for ticker in tickers:
        bars = random_walk_bars(rng, DATES).rename_axis("date").reset_index()[["date", "close"]]
        days = rng.integers(0, 9, len(DATES)) if seed % 2 else 4 - DATES.day_of_week.to_numpy()
        delay = pd.to_timedelta(days, unit="D")
        bars = bars.assign(ticker=ticker, score=rng.normal(0, 1, len(DATES)).round(4), published=DATES + delay)
        bars.loc[rng.random(len(bars)) < 0.2, ["score", "published"]] = np.nan
        frames.append(bars)
    return pd.concat(frames, ignore_index=True)


def config(source: dict[str, Any], tickers: list[str], **feature: Any) -> dict[str, Any]:
    data = {"source": source, "tickers": tickers}
    features = [{"kind": "column", "name": "score", "max_age": 60, **feature}]
    return {"name": "t", "data": data, "features": features, "walk_forward": {"train": 60, "refit_every": 20}}


def columns_of(loaded: dict[str, Any], data: Any = None) -> tuple[Prices, FeatureColumns]:
    run = load_config(loaded, data=data).run
    prices = load_run_prices(run)
    return prices, compute_feature_columns(prices, run.features)


def value_by_loop(table: pd.DataFrame, date: pd.Timestamp, known: str, transform: str) -> float:
    """Return a ticker's feature at the close of a date, from its rows of the table."""
    first_dates = {
        "same_close": table["date"],
        "next_session": table["date"] + pd.Timedelta(days=1),
        "release_date": table["published"] + pd.Timedelta(days=1),
    }[known]
    values = [
        value
        for _, value, first in sorted(zip(table["date"], table["score"], first_dates, strict=True))
        if not np.isnan(value) and first <= date
    ]
    needed = {"level": 1, "change": 2, "zscore": 6}[transform]
    if len(values) < needed:
        return float("nan")
    newest = np.array(values[-needed:])
    by_transform = {"level": newest[-1], "change": newest[-1] - newest[-needed:][0]}
    return float(by_transform.get(transform, (newest[-1] - newest.mean()) / newest.std(ddof=1) if needed > 2 else 0.0))


@settings(max_examples=9)
@given(
    seed=st.integers(0, 9999),
    known=st.sampled_from(["same_close", "next_session", "release_date"]),
    transform=st.sampled_from(["level", "change", "zscore"]),
)
def test_values_are_the_newest_known_at_each_close(seed: int, known: str, transform: str) -> None:
    table = table_of(seed, "A", "B")
    release = {"release_date": "published"} if known == "release_date" else {}
    loaded = config({"kind": "sample"}, ["A", "B"], known=known, transform=transform, window=6, **release)
    prices, columns = columns_of(loaded, data=table)
    (values,) = columns.values()
    for index, ticker in enumerate(prices.tickers):
        own = table[table["ticker"] == ticker]
        for bar in range(0, len(DATES), 6):
            expected = value_by_loop(own, DATES[bar], known, transform)
            assert values[bar, index] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def test_values_before_the_first_date_of_a_config_are_not_used() -> None:
    loaded = config({"kind": "sample"}, ["A"], known="same_close", transform="zscore", window=6)
    loaded["data"] |= {"start": str(DATES[30].date()), "end": str(DATES[110].date())}
    prices, columns = columns_of(loaded, data=table_of(3, "A"))
    (series,), (values,) = prices.series, columns.values()
    assert series.date.min() >= np.datetime64(DATES[30], "D")
    assert series.date.max() <= np.datetime64(DATES[110], "D")
    assert np.isnan(values[:5]).all()


def test_a_text_with_decimal_commas_and_a_folder_give_the_values_of_a_dataframe(tmp_path: Path) -> None:
    table = table_of(1, "A", "B")
    for ticker, own in table.groupby("ticker"):
        own.drop(columns="ticker").to_csv(tmp_path / f"{ticker}.csv", sep=";", decimal=",", index=False)
    table[table["ticker"] == "B"][["date", "close"]].to_csv(tmp_path / "REF.csv", index=False)  # without the column
    feature = {"known": "release_date", "release_date": "published"}
    of_folder = config({"kind": "file", "path": str(tmp_path)}, ["A", "B"], **feature)
    of_folder["data"]["context"] = ["REF"]
    expected = columns_of(config({"kind": "sample"}, ["A", "B"], **feature), data=table)[1]
    found = columns_of(of_folder)[1]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_times_of_releases_are_compared_with_the_close_of_the_market(tmp_path: Path) -> None:
    """New York closes at 21:00 UTC in winter, and on 3 July 2019 at 17:00."""
    rows = [
        ("2019-02-01", "2019-02-01T20:59:00Z"),
        ("2019-02-04", "2019-02-04T16:01:00-05:00"),
        ("2019-07-03", "2019-07-03T17:30:00Z"),
    ]
    bars = pd.DataFrame({"date": DATES.strftime("%Y-%m-%d"), "close": 10.0 + np.arange(len(DATES)) % 7})
    bars["published"] = bars["date"].map(dict(rows))
    bars["score"] = bars["published"].notna().cumsum().where(bars["published"].notna())
    bars.to_csv(tmp_path / "A.csv", index=False)
    source = {"kind": "file", "path": str(tmp_path)}
    loaded = config(source, ["A"], known="release_date", release_date="published", max_age=200)
    with pytest.raises(DataError, match=r"data\.calendar: XNYS"):
        columns_of(loaded)
    loaded["data"] |= {"calendar": "XNYS", "quality": {"off_calendar": "warn"}}
    (series,) = columns_of(loaded)[0].series
    assert [str(date) for date in series.known_from] == ["2019-02-01", "2019-02-05", "2019-07-04"]


def test_another_market_knows_a_value_at_the_close_of_the_ticker_it_is_of(tmp_path: Path) -> None:
    for ticker, own in table_of(2, "A", "B", "C").groupby("ticker"):
        own.drop(columns="ticker").to_csv(tmp_path / f"{ticker}.csv", index=False)
    loaded = config({"kind": "file", "path": str(tmp_path)}, ["A", "B", "C"], known="same_close")
    loaded["features"] = [{"kind": "rank", "of": loaded["features"][0]}]
    loaded["data"] |= {"calendars": {"A": "XNYS", "B": "XTKS"}, "quality": {"off_calendar": "warn"}}
    prices, _ = columns_of(loaded)
    days = {
        (series.ticker, market): {int(day) for day in (known - series.date).astype(int)}
        for series in prices.series
        for market, known in series.known_from_by_market.items()
    }
    assert days["A", "XNYS"] == days["B", "XTKS"] == days["B", "XNYS"] == days["C", ""] == {0}
    assert days["A", "XTKS"] == days["A", ""] == days["C", "XNYS"] == days["C", "XTKS"] == {1}


RELEASED = {"known": "release_date", "release_date": "published"}
ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such column": (
        "date,close\n2019-02-01,1\n2019-02-04,1\n", {"known": "same_close"}, "needs one column 'score', found 0",
    ),
    "two values of a date": (
        "date,close,score\n2019-02-01,1,1\n2019-02-01,1,2\n2019-02-04,1,1\n", {"known": "same_close"},
        "A: score has 2019-02-01 twice",
    ),
    "a release before its date": (
        "date,close,score,published\n2019-02-01,1,1,2019-01-01\n2019-02-04,1,1,2019-02-05\n", RELEASED,
        "is released on 2019-01-01, before",
    ),
    "a value without a release": (
        "date,close,score,published\n2019-02-01,1,1,2019-02-01\n2019-02-04,1,1,\n", RELEASED,
        ":3: published: needed a date",
    ),
    "a text": (
        "date,close,score\n2019-02-01,1,high\n", {"known": "same_close"}, "score: needed a number, found 'high'",
    ),
    "a column of closes for each ticker": (
        "date,A,score\n2019-02-01,1,1\n", {"known": "same_close"}, "no column belongs to a ticker",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_columns_that_are_refused(tmp_path: Path, case: tuple[str, dict[str, Any], str]) -> None:
    text, feature, message = case
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        columns_of(config({"kind": "file", "path": str(tmp_path / "x.csv")}, ["A"], **feature))


def test_a_source_without_columns_and_a_missing_rule_are_refused() -> None:
    with pytest.raises(DataError, match="has prices and no column 'score'"):
        columns_of(config({"kind": "sample"}, ["AAPL"], known="same_close"))
    for feature, message in (({}, r"features\.0.*known"), ({"known": "release_date"}, "name the column of the rel")):
        with pytest.raises(ConfigError, match=message):
            load_config(config({"kind": "sample"}, ["AAPL"], **feature))


def by_date_of_the_value(prices: Prices, features: Any) -> FeatureColumns:
    """Compute features as if each value were known on the date that it is of."""
    series = tuple(replace(one, known_from=one.date) for one in prices.series)
    return compute_feature_columns(replace(prices, series=series), features)


def test_a_value_that_is_used_before_its_release_is_convicted() -> None:
    table = table_of(4, "A", "B")
    feature = {"known": "release_date", "release_date": "published", "transform": "change"}
    audited = load_config(config({"kind": "sample"}, ["A", "B"], **feature), data=table).run
    prices = load_run_prices(audited)
    assert audit_prices(audited, prices, n_cutoffs=2).is_clean
    planted = PipelineStages(compute_features=by_date_of_the_value)
    leaks = audit_prices(audited, prices, planted, n_cutoffs=2).leaks
    assert {(leak.stage, leak.what) for leak in leaks} == {("features", "column_score_change")}


def test_a_tight_age_does_not_stop_the_audit() -> None:
    """The holidays of a scenario would make a value older than a feature allows."""
    table = table_of(5, "A")
    table["score"] = np.arange(len(table)) % 7.0
    audited = load_config(config({"kind": "sample"}, ["A"], known="next_session", max_age=3), data=table).run
    assert audit_prices(audited, load_run_prices(audited), n_cutoffs=2).is_clean


def test_a_run_equals_that_of_its_written_config_and_columns_part_the_trials_of_a_sweep(tmp_path: Path) -> None:
    table_of(6, "A").to_csv(tmp_path / "x.csv", index=False)
    loaded = config({"kind": "file", "path": str(tmp_path / "x.csv")}, ["A"], known="next_session")
    run = quantlr.run(loaded)
    (tmp_path / "written.yaml").write_text(run.config.to_yaml(folder=tmp_path))
    assert quantlr.run(tmp_path / "written.yaml").metrics == run.metrics
    other = load_config(loaded, overrides={"features.0.name": "close"}).run
    digests = [StageDigests.from_config(one).data for one in (load_config(loaded).run, other)]
    assert digests[0] != digests[1]
    chosen = load_config({**loaded, "select": {"over": {"features.0.name": ["score", "close"]}, "how": "mixture"}}).run
    assert [column.name for column in chosen.file_columns] == ["score", "close"]
