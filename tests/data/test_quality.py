"""The rules that bars are judged by: what each finds, what is done about it, and that nothing is lost unsaid."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import DataError
from quantlr.core.progress import Note
from quantlr.core.values import Prices
from quantlr.data.csv.bars import BarFrame
from quantlr.data.price_rows import PriceRows
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.source import FetchedPrices, Source
from quantlr.data.sources import FileSource, SampleSource
from quantlr.data.validation import QualitySpec, validate
from quantlr.data.validation_rules import RULES_IN_DATE_ORDER, RULES_IN_FILE_ORDER, ValidationContext, flag_large_moves

from markets import random_walk_bars

WORLD = ValidationContext(dt.date(2030, 1, 1), {})
RULES = (*RULES_IN_FILE_ORDER, *RULES_IN_DATE_ORDER)
FIELDS = ["open", "high", "low", "close", "adj_close"]


def bars(seed: int = 0, sessions: int = 60) -> BarFrame:
    return random_walk_bars(np.random.default_rng(seed), pd.bdate_range("2020-01-01", periods=sessions))


def judged(table: BarFrame, world: ValidationContext = WORLD, **actions: str) -> tuple[PriceRows, list[Note]]:
    return validate(PriceRows.from_bars({"X": table}), QualitySpec.model_validate(actions), world)


def refusal(table: BarFrame, world: ValidationContext = WORLD, **actions: str) -> DataError:
    with pytest.raises(DataError) as caught:
        judged(table, world, **actions)
    return caught.value


def test_each_rule_has_a_key_of_its_name_and_each_key_a_rule() -> None:
    names = list(RULES)
    assert [name for name in QualitySpec.model_fields if name != "short"] == names
    for name, field in QualitySpec.model_fields.items():
        assert field.default in get_args(field.annotation), name
        assert "error" in get_args(field.annotation), name


def test_clean_bars_pass_as_they_are() -> None:
    rows, notes = judged(bars())
    assert not notes
    np.testing.assert_array_equal(rows.columns["close"], bars()["close"])


def spoilt(rule: str) -> tuple[BarFrame, ValidationContext]:
    """Return bars that break one rule, at bar 30 where it can, and what they are judged by."""
    table, world = bars(), WORLD
    day = table.index[30]
    if rule == "empty_rows":
        table.loc[day, FIELDS] = np.nan
    elif rule == "time_zones":
        table["utc_offset"] = -300.0
        table.loc[day, "utc_offset"] = 540.0
    elif rule == "order":
        table = table.iloc[::-1]
    elif rule == "repeated_rows":
        table = pd.concat([table, table.loc[[day]]]).sort_index()
    elif rule == "conflicting_rows":
        table = pd.concat([table, table.loc[[day]] * 1.01]).sort_index()
    elif rule == "future":
        world = ValidationContext(day.date(), {})
    elif rule == "unfinished":
        table.loc[table.index[-1], ["close", "adj_close"]] = np.nan
    elif rule == "positive":
        table.loc[day, "low"] = 0.0
    elif rule == "volume":
        table.loc[day, "volume"] = -1.0
    elif rule == "off_calendar":
        world = ValidationContext(
            WORLD.latest_date, {"X": "XNYS"}
        )  # closed on New Year's Day, and on three Mondays and a Friday
    elif rule == "ohlc":
        table.loc[day, "low"] = table.loc[day, "close"] * 1.2
    elif rule == "scale":
        table.iloc[30:35, :5] *= 100.0
    elif rule == "stale":
        table.iloc[30:42, :5] = 50.0
    elif rule == "gaps":
        table = table.drop(table.index[31:45])
    elif rule == "large_moves":
        table.iloc[:31, :5] *= 2.0
    else:
        assert rule == "opens"
        table["open"] = table["close"].shift().fillna(50.0)
        table["high"], table["low"] = table[["open", "close"]].max(axis=1), table[["open", "close"]].min(axis=1)
    return table, world


SAID = {
    "empty_rows": "X 2020-02-12: has no price; correct",
    "time_zones": "X 2020-02-12: time zones are mixed, UTC+09:00 here and UTC-05:00 in the first row: the session",
    "order": "X 2020-03-23: comes after 2020-03-24: rows were not in the order of their dates (59 such rows); correct",
    "repeated_rows": "X 2020-02-12: duplicate row; correct",
    "conflicting_rows": "X 2020-02-12: two rows of one date, with open ",
    "future": "X 2020-02-13: date is after today (2020-02-12) (29 such rows); correct",
    "unfinished": "X 2020-03-24: the last bar has no close: it isn't finished; correct",
    "positive": "X 2020-02-12: low needs a positive number, found 0.0; correct",
    "volume": "X 2020-02-12: volume can't be -1.0; correct",
    "off_calendar": "X 2020-01-01: XNYS held no session on that day (3 such rows); correct",
    "ohlc": "X 2020-02-12: high ",
    "scale": "X 2020-02-12: close ",
    "stale": "X 2020-02-13: the close stays 50 for 12 bars (11 such rows); correct",
    "gaps": "X 2020-02-12: no bar until 2020-03-04, 21 days later: a gap in the prices, or a halt; correct",
    "large_moves": "X 2020-02-13: moved by -5",
    "opens": "X 2020-01-02: opens not tradable: 100% of them equal the close before (59 such rows); correct",
}
SAID_LATER = {
    "ohlc": " is below low ",
    "scale": "is a hundred times as large as most of the ticker's: other units, or a split (5 such rows); correct",
    "conflicting_rows": "in one and ",
    "large_moves": "% in a session: looks like a 2:1 split that was not adjusted; correct",
}


@pytest.mark.parametrize("rule", list(RULES))
def test_each_rule_finds_its_fault_and_nothing_else_and_does_as_told(rule: str) -> None:
    """An error names ticker, date, key and what to write; warn keeps every row; drop leaves out what it counts."""
    table, world = spoilt(rule)
    actions = get_args(QualitySpec.model_fields[rule].annotation)
    error = refusal(table, world, **{rule: "error"})
    assert error.message.startswith(SAID[rule])
    assert SAID_LATER.get(rule, "") in error.message
    assert (error.key, error.exit_status) == (f"data.quality.{rule}", 2)
    for action in set(actions) - {"error"}:
        assert f"write data.quality.{rule}: {action} to " in error.message
        rows, notes = judged(table, world, **{rule: action})
        mine = [note for note in notes if note.key == f"data.quality.{rule}"]
        assert len(mine) == 1
        assert mine[0].ticker == "X"
        lost = len(table) - len(rows)
        assert lost == (mine[0].count if action == "drop" else 0)
        assert mine[0].text.endswith("; dropped") == (action == "drop")
        assert (np.diff(rows.date) > np.timedelta64(0)).all() or action == "warn"
        others = {note.key for note in notes} - {f"data.quality.{rule}"}
        assert others <= {f"data.quality.{name}" for name in ("gaps", "large_moves", "opens")}, (
            "what its own fault leads to"
        )


def test_defaults_are_those_an_expert_would_defend() -> None:
    assert QualitySpec().model_dump() == {
        "empty_rows": "drop", "time_zones": "error", "order": "warn", "repeated_rows": "drop",
        "conflicting_rows": "error", "future": "error", "unfinished": "drop", "positive": "error", "volume": "error",
        "off_calendar": "warn", "ohlc": "warn", "scale": "error", "stale": "warn", "gaps": "warn",
        "large_moves": "warn", "opens": "warn", "short": "drop",
    }  # fmt: skip


def test_dates_that_conflict_are_dropped_whole_and_identical_rows_down_to_one() -> None:
    table = bars()
    doubled = pd.concat([table, table.loc[[table.index[5]]], table.loc[[table.index[7]]] * 1.01])
    rows, notes = judged(doubled, conflicting_rows="drop")
    assert list(rows.date) == list(table.index.delete(7).to_numpy().astype("datetime64[us]"))
    assert {note.key: note.count for note in notes} == {
        "data.quality.order": 1, "data.quality.repeated_rows": 1, "data.quality.conflicting_rows": 2,
    }  # fmt: skip


def test_a_price_may_be_missing_in_a_column_that_a_ticker_lacks_but_not_here_and_there() -> None:
    table = bars()
    table["open"] = np.nan
    assert not judged(table)[1]
    table.loc[table.index[3], "open"] = 50.0
    assert "open needs a positive number, found nan (59 such rows)" in refusal(table).message
    both = PriceRows.from_bars({"X": bars(), "Y": bars(1).assign(open=np.nan)})
    assert not validate(both, QualitySpec(), WORLD)[1]


def test_summer_time_is_no_mixture_of_zones() -> None:
    table = bars()
    table["utc_offset"] = np.where(np.arange(60) < 30, -300.0, -240.0)
    assert not judged(table)[1]
    table.iloc[30:, -1] = np.nan
    assert "time zones are mixed, none here and UTC-05:00 in the first row" in refusal(table).message


def test_cents_among_dollars_are_found_whichever_stands_more_often() -> None:
    table = bars()
    table.iloc[10:, :5] *= 0.01
    error = refusal(table)
    assert error.message.startswith("X 2020-01-01: close ")
    assert "a hundred times as large as most" in error.message
    rows, (note, *_) = judged(table, scale="drop")
    assert (len(rows), note.count) == (50, 10)
    table.iloc[50:53, :5] *= 0.01
    error = refusal(table)
    assert "(13 such rows)" in error.message
    few = bars()
    few.iloc[:5, :5] *= 0.01
    assert (
        " is a hundred times as small as most of the ticker's: other units, or a split (5 such" in refusal(few).message
    )


@pytest.mark.parametrize(
    ("ratio", "said"), [(0.5, "2:1"), (1 / 3, "3:1"), (0.4, "5:2"), (10.0, "1:10"), (0.05, "20:1"), (0.55, "a crash")]
)
def test_a_split_is_told_by_the_ratio_of_raw_prices(ratio: float, said: str) -> None:
    table = bars()
    table.iloc[30:, :5] *= ratio
    table["adj_close"] = np.nan
    (note,) = judged(table)[1]
    assert said in note.text
    assert note.date == "2020-02-12"
    adjusted = bars()
    adjusted.iloc[30:, 4] *= ratio
    (note,) = judged(adjusted)[1]
    assert "a crash, a split that was not adjusted, or an error" in note.text, "the close was adjusted"


def test_splits_of_real_stocks_are_found_where_only_raw_prices_are_known() -> None:
    """AAPL split 2:1 on 2000-06-21 and 2005-02-28, MSFT on 2003-02-18; 2000-09-29 is a crash."""
    fetched = SampleSource().fetch(["AAPL", "MSFT"])
    raw = {ticker: table.assign(adj_close=np.nan) for ticker, table in fetched.bars.items()}
    found: dict[tuple[str, str], str] = {}
    for ticker, table in raw.items():
        rows = PriceRows.from_bars({ticker: table})
        moves = flag_large_moves(rows, WORLD)
        found |= {
            (ticker, rows.row_date_text(at)): moves.describe_row(at)
            for at in np.flatnonzero(moves.suspect_mask).tolist()
        }
    assert {where for where, text in found.items() if "looks like a 2:1 split" in text} == {
        ("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18"),
    }  # fmt: skip
    assert "a crash" in found["AAPL", "2000-09-29"]


def test_the_calendar_says_which_sessions_are_missing() -> None:
    """Around Thanksgiving 2019: Thursday 28 November has no session, Friday 29 has."""
    dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-11-29", "2019-12-02", "2019-12-03", "2019-12-06"])
    table = random_walk_bars(np.random.default_rng(0), dates)
    rows, (note,) = judged(table, ValidationContext(WORLD.latest_date, {"X": "XNYS"}))
    assert note.text == "no bar until 2019-12-06, 2 sessions of XNYS later: a gap in the prices, or a halt"
    assert (note.date, note.count, len(rows)) == ("2019-12-03", 1, 6)
    table.index = pd.DatetimeIndex(["2019-11-26", "2019-11-28", "2019-11-29", "2019-12-02", "2019-12-03", "2019-12-04"])
    _, notes = judged(table, ValidationContext(WORLD.latest_date, {"X": "XNYS"}), off_calendar="drop")
    assert [note.text for note in notes] == [
        "XNYS held no session on that day; dropped",
        "no bar until 2019-11-29, 1 session of XNYS later: a gap in the prices, or a halt",
    ]


def test_tickers_may_have_calendars_of_their_own_and_days_before_their_records_are_judged_by_days() -> None:
    """London was open on Thanksgiving; Tokyo's holidays are recorded from 1997 on."""
    dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-11-29", "2019-12-02"])
    early = pd.DatetimeIndex(["1996-11-26", "1996-12-30", "1997-01-06", "1997-01-08"])
    frames = {name: random_walk_bars(np.random.default_rng(0), dates) for name in ("L", "N", "none")}
    frames["T"] = random_walk_bars(np.random.default_rng(0), early)
    _, notes = validate(
        PriceRows.from_bars(frames),
        QualitySpec(),
        ValidationContext(WORLD.latest_date, {"L": "XLON", "N": "XNYS", "T": "XTKS"}),
    )
    assert [(note.ticker, note.text, note.count) for note in notes] == [
        ("L", "no bar until 2019-11-29, 1 session of XLON later: a gap in the prices, or a halt", 1),
        ("T", "no bar until 1996-12-30, 34 days later: a gap in the prices, or a halt", 2),
    ]


class Exchange(Source):
    """A source that knows its exchange."""

    kind: Any = "exchange"

    def fetch(self, tickers: Any, **_: Any) -> FetchedPrices:
        dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-12-02"])
        frames = {ticker: random_walk_bars(np.random.default_rng(0), dates) for ticker in tickers}
        return FetchedPrices(frames, "an exchange", "", calendars=dict.fromkeys(tickers, "XNYS"))


def test_a_source_may_name_its_calendar_and_the_config_another() -> None:
    spec = DataSpec.model_construct(
        source=Exchange(), tickers=("X",), start=None, end=None, calendar=None, quality=QualitySpec()
    )
    assert "1 session of XNYS" in load_prices(spec).notes[0].text
    other = spec.model_copy(update={"calendar": "XLON"})
    assert "2 sessions of XLON" in load_prices(other).notes[0].text
    with pytest.raises(
        DataError, match="needs a calendar of exchange_calendars, like XNYS, found 'XNYC'; did you mean X"
    ):
        load_prices(spec.model_copy(update={"calendar": "XNYC"}))


def test_without_a_calendar_none_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    assert not judged(bars())[1]
    with pytest.raises(ImportError):
        judged(bars(), ValidationContext(WORLD.latest_date, {"X": "XNYS"}))


def test_the_future_begins_when_today_is_over_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars().to_csv(tmp_path / "x.csv", index_label="Date")
    monkeypatch.setattr("quantlr.data.prices.latest_date_worldwide", lambda: bars().index[-1].date())
    assert len(load_file(tmp_path).sessions) == 60
    monkeypatch.setattr("quantlr.data.prices.latest_date_worldwide", lambda: bars().index[-2].date())
    with pytest.raises(DataError, match=r"x\.csv:61: X 2020-03-24: date is after today \(2020-03-23\)"):
        load_file(tmp_path)


def load_file(folder: Path, **keys: object) -> Prices:
    return load_prices(DataSpec(source=FileSource(path=folder / "x.csv"), tickers=("X",), **keys))


def test_a_ticker_that_is_too_short_is_left_out_and_named_but_never_the_last() -> None:
    rows = PriceRows.from_bars({"A": bars(0)[:1], "X": bars(), "Z": bars(1)[:0]})
    left, notes = validate(rows, QualitySpec(), WORLD, date_range_text=" between here and there")
    assert (left.tickers, set(left.ticker)) == (("X",), {0})
    assert [(note.ticker, note.text) for note in notes] == [
        ("A", "left out, too short: 1 bars between here and there"),
        ("Z", "left out, too short: 0 bars between here and there"),
    ]
    with pytest.raises(DataError, match=r"A has 1 bars; at least 2 .* \(2 such tickers\); leave it out, or write data"):
        validate(rows, QualitySpec(short="error"), WORLD)
    with pytest.raises(DataError, match=r"A has 1 bars; at least 2 are needed for one return \(2 such tickers\)"):
        validate(rows.for_tickers([True, False, True]), QualitySpec(), WORLD)


@given(data=st.data())
def test_every_row_that_goes_in_comes_out_or_is_counted(data: st.DataObject) -> None:
    """Bars spoilt in several ways at once, with all that can be dropped dropped: rows in = rows out + rows noted."""
    frames: dict[str, BarFrame] = {}
    for at in range(data.draw(st.integers(1, 3))):
        table = bars(at, sessions=30)
        picks = st.lists(st.integers(0, 29), max_size=4, unique=True)
        table.iloc[data.draw(picks), data.draw(st.integers(0, 4))] = data.draw(st.sampled_from([np.nan, 0.0, -1.0]))
        table.iloc[data.draw(picks), :5] = np.nan
        table.iloc[data.draw(picks), :5] *= 100.0
        again = table.iloc[data.draw(picks)]
        frames[f"T{at}"] = pd.concat([table, again, again * data.draw(st.sampled_from([1.0, 1.1]))])
    droppable = {
        name: "drop" if "drop" in get_args(field.annotation) else "warn"
        for name, field in QualitySpec.model_fields.items()
    }
    rows = PriceRows.from_bars(frames)
    try:
        left, notes = validate(rows, QualitySpec.model_validate(droppable), WORLD)
    except DataError as error:
        assert error.key == "data.tickers"
        return
    dropped = sum(note.count for note in notes if note.text.endswith("; dropped"))
    short = sum(int(note.text.split()[4]) for note in notes if note.text.startswith("left out"))
    assert len(rows) == len(left) + dropped + short
    assert (np.diff(left.date)[np.diff(left.ticker) == 0] > np.timedelta64(0)).all()
