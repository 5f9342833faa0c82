"""Rules of validation: the suspect rows, the action, and notes on every row that is dropped."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import DataError
from quantlr.core.values import Note, Prices
from quantlr.data.csv.reader import BarFrame
from quantlr.data.price_rows import PriceRows
from quantlr.data.prices import DataSpec, latest_date_worldwide, load_prices
from quantlr.data.rule_results import ValidationContext
from quantlr.data.source import FetchedPrices, FetchRequest, Source
from quantlr.data.sources import FileSource, SampleSource
from quantlr.data.validation import QualitySpec, validate_price_rows
from quantlr.data.validation_rules import RULES_IN_DATE_ORDER, RULES_IN_FILE_ORDER, flag_large_moves

from markets import random_walk_bars

CONTEXT = ValidationContext(dt.date(2030, 1, 1), {})
RULES = (*RULES_IN_FILE_ORDER, *RULES_IN_DATE_ORDER)
FIELDS = ["open", "high", "low", "close", "adj_close"]


def bars(seed: int = 0, sessions: int = 60) -> BarFrame:
    return random_walk_bars(np.random.default_rng(seed), pd.bdate_range("2020-01-01", periods=sessions))


def validate_bars(
    table: BarFrame, context: ValidationContext = CONTEXT, **actions: str
) -> tuple[PriceRows, list[Note]]:
    return validate_price_rows(PriceRows.from_bars({"X": table}), QualitySpec.model_validate(actions), context)


def validation_error(table: BarFrame, context: ValidationContext = CONTEXT, **actions: str) -> DataError:
    with pytest.raises(DataError) as caught:
        validate_bars(table, context, **actions)
    return caught.value


def test_rules_and_keys_of_the_config_correspond() -> None:
    names = list(RULES)
    assert [name for name in QualitySpec.model_fields if name != "short"] == names
    for name, field in QualitySpec.model_fields.items():
        assert field.default in get_args(field.annotation), name
        assert "error" in get_args(field.annotation), name


def test_valid_bars_are_unchanged() -> None:
    rows, notes = validate_bars(bars())
    assert not notes
    np.testing.assert_array_equal(rows.columns["close"], bars()["close"])


def bars_that_break(rule: str) -> tuple[BarFrame, ValidationContext]:
    """Return bars that break one rule, at bar 30 where it can, and what they are judged by."""
    table, context = bars(), CONTEXT
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
        context = ValidationContext(day.date(), {})
    elif rule == "unfinished":
        table.loc[table.index[-1], ["close", "adj_close"]] = np.nan
    elif rule == "positive":
        table.loc[day, "low"] = 0.0
    elif rule == "volume":
        table.loc[day, "volume"] = -1.0
    elif rule == "off_calendar":
        context = ValidationContext(
            CONTEXT.latest_date, {"X": "XNYS"}
        )  # closed on New Year's Day, and on three Mondays and a Friday
    elif rule == "ohlc":
        table.loc[day, "low"] = table.loc[day, "close"] * 1.2
    elif rule == "basis":
        table.iloc[:30, 3:5] /= 4.0
    elif rule == "weekdays":
        table.index = pd.DatetimeIndex(table.index) - pd.Timedelta(days=1)
    elif rule == "scale":
        table.iloc[30:35, :5] *= 100.0
    elif rule == "spikes":
        table.loc[day, FIELDS] *= 10.0
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
    return table, context


MESSAGE_START_BY_RULE = {
    "empty_rows": "X 2020-02-12: has no price; correct",
    "time_zones": "X 2020-02-12: time zones are mixed, UTC+09:00 here and UTC-05:00 in the first row: the session",
    "order": "X 2020-03-23: rows were newest first (59 such rows); correct",
    "repeated_rows": "X 2020-02-12: duplicate row; correct",
    "conflicting_rows": "X 2020-02-12: two rows of one date, with open ",
    "future": "X 2020-02-13: date is after today (2020-02-12 in the time zone where it is latest",
    "weekdays": "X 2020-01-05: bars on Sundays and none on Fridays",
    "basis": "X 2020-01-01: the close ",
    "unfinished": "X 2020-03-24: the last bar has no close: it isn't finished; correct",
    "positive": "X 2020-02-12: low needs a positive number, found 0.0; correct",
    "volume": "X 2020-02-12: volume can't be -1.0; correct",
    "off_calendar": "X 2020-01-01: XNYS held no session on that day (3 such rows); correct",
    "ohlc": "X 2020-02-12: high ",
    "scale": "X 2020-02-12: close ",
    "spikes": "X 2020-02-12: the close is ",
    "stale": "X 2020-02-13: the close stays 50 for 12 bars (11 such rows); correct",
    "gaps": "X 2020-02-12: no bar until 2020-03-04, 21 days later: a gap in the prices, or a halt; correct",
    "large_moves": "X 2020-02-13: moved by -5",
    "opens": "X 2020-01-02: opens not tradable: 100% of them equal the close before (59 such rows); correct",
}
MESSAGE_PART_BY_RULE = {
    "ohlc": " is below low ",
    "scale": "is a hundred times as large as most of the ticker's: other units, or a split (5 such rows); correct",
    "conflicting_rows": "in one and ",
    "large_moves": "% in a session: looks like a 2:1 split that was not adjusted; use adjusted closes; correct",
}


@pytest.mark.parametrize("rule", list(RULES))
def test_each_rule_finds_only_its_fault_and_takes_the_configured_action(rule: str) -> None:
    """An error names ticker, date, key and what to write; warn keeps every row; drop leaves out what it counts."""
    table, context = bars_that_break(rule)
    actions = get_args(QualitySpec.model_fields[rule].annotation)
    error = validation_error(table, context, **{rule: "error"})
    assert error.message.startswith(MESSAGE_START_BY_RULE[rule])
    assert MESSAGE_PART_BY_RULE.get(rule, "") in error.message
    assert (error.key, error.exit_status) == (f"data.quality.{rule}", 2)
    for action in set(actions) - {"error"}:
        assert f"write data.quality.{rule}: {action} to " in error.message
        rows, notes = validate_bars(table, context, **{rule: action})
        rule_notes = [note for note in notes if note.key == f"data.quality.{rule}"]
        assert len(rule_notes) == 1
        assert rule_notes[0].ticker == "X"
        lost = len(table) - len(rows)
        assert lost == (rule_notes[0].count if action == "drop" else 0)
        assert rule_notes[0].text.endswith("; dropped") == (action == "drop")
        assert (np.diff(rows.date) > np.timedelta64(0, "D")).all() or action == "warn"
        others = {note.key for note in notes} - {f"data.quality.{rule}"}
        assert others <= {f"data.quality.{name}" for name in ("gaps", "large_moves", "opens", "ohlc")}, (
            "what its own fault leads to"
        )


def test_default_actions() -> None:
    assert QualitySpec().model_dump() == {
        "empty_rows": "drop", "time_zones": "error", "order": "warn", "repeated_rows": "drop",
        "conflicting_rows": "error", "future": "error", "weekdays": "error", "unfinished": "drop", "positive": "error",
        "volume": "error", "off_calendar": "warn", "basis": "error", "ohlc": "warn", "scale": "error",
        "spikes": "error", "stale": "warn", "gaps": "warn", "large_moves": "warn", "opens": "warn", "short": "drop",
    }  # fmt: skip


def test_conflicting_rows_are_all_dropped_and_duplicate_rows_down_to_one() -> None:
    table = bars()
    doubled = pd.concat([table, table.loc[[table.index[5]]], table.loc[[table.index[7]]] * 1.01])
    rows, notes = validate_bars(doubled, conflicting_rows="drop")
    assert list(rows.date) == list(table.index.delete(7).to_numpy().astype("datetime64[us]"))
    assert {note.key: note.count for note in notes} == {
        "data.quality.order": 1, "data.quality.repeated_rows": 1, "data.quality.conflicting_rows": 2,
    }  # fmt: skip


def test_a_field_may_be_missing_on_all_bars_of_a_ticker_but_not_on_some() -> None:
    table = bars()
    table["open"] = np.nan
    assert not validate_bars(table)[1]
    table.loc[table.index[3], "open"] = 50.0
    assert "open needs a positive number, found none (59 such rows)" in validation_error(table).message
    both = PriceRows.from_bars({"X": bars(), "Y": bars(1).assign(open=np.nan)})
    assert not validate_price_rows(both, QualitySpec(), CONTEXT)[1]


def test_daylight_saving_time_is_not_a_mixture_of_zones() -> None:
    table = bars()
    table["utc_offset"] = np.where(np.arange(60) < 30, -300.0, -240.0)
    assert not validate_bars(table)[1]
    table.iloc[30:, -1] = np.nan
    assert "time zones are mixed, none here and UTC-05:00 in the first row" in validation_error(table).message


def test_cents_among_dollars_are_found_whichever_is_more_frequent() -> None:
    table = bars()
    table.iloc[10:, :5] *= 0.01
    error = validation_error(table)
    assert error.message.startswith("X 2020-01-01: close ")
    assert "a hundred times as large as most" in error.message
    rows, (note, *_) = validate_bars(table, scale="drop")
    assert (len(rows), note.count) == (10, 50)  # the first bars cannot know that the others are more
    table.iloc[50:53, :5] *= 0.01
    error = validation_error(table)
    assert "(13 such rows)" in error.message
    few = bars()
    few.iloc[:5, :5] *= 0.01
    assert (
        " is a hundred times as small as most of the ticker's: other units, or a split (5 such"
        in validation_error(few).message
    )


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.5, "2:1"), (1 / 3, "3:1"), (0.4, "5:2"), (10.0, "1:10"), (0.05, "20:1"), (0.55, "a crash")]
)
def test_a_split_is_recognised_by_the_ratio_of_raw_prices(ratio: float, text: str) -> None:
    table = bars()
    table.iloc[30:, :5] *= ratio
    table["adj_close"] = np.nan
    (note,) = validate_bars(table)[1]
    assert text in note.text
    assert note.date == "2020-02-12"
    adjusted = bars()
    adjusted.iloc[30:, 4] *= ratio
    (note,) = validate_bars(adjusted)[1]
    assert "a crash, a split that was not adjusted, or an error" in note.text, "the close was adjusted"


def test_splits_of_real_stocks_are_found_where_only_raw_prices_are_known() -> None:
    """AAPL split 2:1 on 2000-06-21 and 2005-02-28, MSFT on 2003-02-18; 2000-09-29 is a crash."""
    fetched = SampleSource().fetch(FetchRequest(["AAPL", "MSFT"]))
    raw = {ticker: table.assign(adj_close=np.nan) for ticker, table in fetched.bars.items()}
    texts: dict[tuple[str, str], str] = {}
    for ticker, table in raw.items():
        rows = PriceRows.from_bars({ticker: table})
        moves = flag_large_moves(rows, CONTEXT)
        texts |= {
            (ticker, rows.date_text_of_row(index)): moves.reason_text(index)
            for index in np.flatnonzero(moves.suspect_mask).tolist()
        }
    assert {where for where, text in texts.items() if "looks like a 2:1 split" in text} == {
        ("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18"),
    }  # fmt: skip
    assert "a crash" in texts["AAPL", "2000-09-29"]


def test_missing_sessions_are_those_of_the_calendar() -> None:
    """Around Thanksgiving 2019: Thursday 28 November has no session, Friday 29 has."""
    dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-11-29", "2019-12-02", "2019-12-03", "2019-12-06"])
    table = random_walk_bars(np.random.default_rng(0), dates)
    rows, (note,) = validate_bars(table, ValidationContext(CONTEXT.latest_date, {"X": "XNYS"}))
    assert note.text == "no bar until 2019-12-06, 2 sessions of XNYS later: a gap in the prices, or a halt"
    assert (note.date, note.count, len(rows)) == ("2019-12-03", 1, 6)
    table.index = pd.DatetimeIndex(["2019-11-26", "2019-11-28", "2019-11-29", "2019-12-02", "2019-12-03", "2019-12-04"])
    _, notes = validate_bars(table, ValidationContext(CONTEXT.latest_date, {"X": "XNYS"}), off_calendar="drop")
    assert [note.text for note in notes] == [
        "XNYS held no session on that day; dropped",
        "no bar until 2019-11-29, 1 session of XNYS later: a gap in the prices, or a halt",
    ]


def test_each_ticker_has_its_calendar_and_days_count_before_its_recorded_dates() -> None:
    """London was open on Thanksgiving; Tokyo's holidays are recorded from 1997 on."""
    dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-11-29", "2019-12-02"])
    early = pd.DatetimeIndex(["1996-11-26", "1996-12-30", "1997-01-06", "1997-01-08"])
    frames = {name: random_walk_bars(np.random.default_rng(0), dates) for name in ("L", "N", "none")}
    frames["T"] = random_walk_bars(np.random.default_rng(0), early)
    _, notes = validate_price_rows(
        PriceRows.from_bars(frames),
        QualitySpec(),
        ValidationContext(CONTEXT.latest_date, {"L": "XLON", "N": "XNYS", "T": "XTKS"}),
    )
    assert [(note.ticker, note.text, note.count) for note in notes] == [
        ("L", "no bar until 2019-11-29, 1 session of XLON later: a gap in the prices, or a halt", 1),
        ("T", "no bar until 1996-12-30, 34 days later: a gap in the prices, or a halt", 2),
    ]


class Exchange(Source):
    """A source that states its exchange."""

    kind: Any = "exchange"

    def fetch(self, request: FetchRequest) -> FetchedPrices:
        dates = pd.DatetimeIndex(["2019-11-26", "2019-11-27", "2019-12-02"])
        frames = {ticker: random_walk_bars(np.random.default_rng(0), dates) for ticker in request.tickers}
        return FetchedPrices(frames, "an exchange", "", calendars=dict.fromkeys(request.tickers, "XNYS"))


def test_the_calendar_of_the_config_overrides_that_of_the_source() -> None:
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


def test_exchange_calendars_is_imported_only_for_a_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    assert not validate_bars(bars())[1]
    with pytest.raises(ImportError):
        validate_bars(bars(), ValidationContext(CONTEXT.latest_date, {"X": "XNYS"}))


def test_a_date_is_in_the_future_only_if_it_is_so_in_every_time_zone(tmp_path: Path) -> None:
    before = dt.datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    latest = latest_date_worldwide()
    assert before <= latest <= dt.datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    table = bars()
    table.index = pd.DatetimeIndex(table.index) + (pd.Timestamp(latest) - pd.Timestamp(table.index[-1]))
    table.to_csv(tmp_path / "x.csv", index_label="Date")
    assert len(load_file(tmp_path).sessions) == 60
    table.index = table.index[:-1].append(table.index[-1:] + pd.Timedelta(days=2))
    table.to_csv(tmp_path / "x.csv", index_label="Date")
    with pytest.raises(DataError, match=rf"x\.csv:61: X {table.index[-1].date()}: date is after today \(20"):
        load_file(tmp_path)


def load_file(folder: Path, **keys: object) -> Prices:
    return load_prices(DataSpec(source=FileSource(path=folder / "x.csv"), tickers=("X",), **keys))


def test_a_ticker_that_is_too_short_is_dropped_and_noted_unless_none_remains() -> None:
    rows = PriceRows.from_bars({"A": bars(0)[:1], "X": bars(), "Z": bars(1)[:0]})
    kept_rows, notes = validate_price_rows(rows, QualitySpec(), CONTEXT, date_range_text=" between two dates")
    assert (kept_rows.tickers, set(kept_rows.ticker_index)) == (("X",), {0})
    assert [(note.ticker, note.text) for note in notes] == [
        ("A", "left out, too short: 1 bars between two dates"),
        ("Z", "left out, too short: 0 bars between two dates"),
    ]
    with pytest.raises(DataError, match=r"A has 1 bars; at least 2 .* \(2 such tickers\); leave it out, or write data"):
        validate_price_rows(rows, QualitySpec(short="error"), CONTEXT)
    with pytest.raises(DataError, match=r"A has 1 bars; at least 2 are needed for one return \(2 such tickers\)"):
        validate_price_rows(rows.for_ticker_mask([True, False, True]), QualitySpec(), CONTEXT)


@given(data=st.data())
def test_every_row_is_kept_or_counted_in_a_note(data: st.DataObject) -> None:
    """Bars spoilt in several ways at once, with all that can be dropped dropped: rows in = rows out + rows noted."""
    frames: dict[str, BarFrame] = {}
    for index in range(data.draw(st.integers(1, 3))):
        table = bars(index, sessions=30)
        picks = st.lists(st.integers(0, 29), max_size=4, unique=True)
        table.iloc[data.draw(picks), data.draw(st.integers(0, 4))] = data.draw(st.sampled_from([np.nan, 0.0, -1.0]))
        table.iloc[data.draw(picks), :5] = np.nan
        table.iloc[data.draw(picks), :5] *= 100.0
        again = table.iloc[data.draw(picks)]
        frames[f"T{index}"] = pd.concat([table, again, again * data.draw(st.sampled_from([1.0, 1.1]))])
    droppable = {
        name: "drop" if "drop" in get_args(field.annotation) else "warn"
        for name, field in QualitySpec.model_fields.items()
    }
    rows = PriceRows.from_bars(frames)
    try:
        kept_rows, notes = validate_price_rows(rows, QualitySpec.model_validate(droppable), CONTEXT)
    except DataError as error:
        assert error.key == "data.tickers"
        return
    dropped = sum(note.count for note in notes if note.text.endswith("; dropped"))
    short = sum(int(note.text.split()[4]) for note in notes if note.text.startswith("left out"))
    assert len(rows) == len(kept_rows) + dropped + short
    assert (np.diff(kept_rows.date)[np.diff(kept_rows.ticker_index) == 0] > np.timedelta64(0, "D")).all()


@pytest.mark.parametrize(
    "rule", ["scale", "stale", "ohlc", "volume", "off_calendar", "repeated_rows", "conflicting_rows"]
)
@pytest.mark.parametrize("seed", range(5))
def test_which_bars_are_dropped_does_not_depend_on_later_bars(rule: str, seed: int) -> None:
    """The bars up to any date are the same, whether or not there are later ones."""
    rng, table = np.random.default_rng(seed), bars()
    first, second = sorted(rng.choice(np.arange(5, 55), size=2, replace=False).tolist())
    prices = table.columns[:5]
    if rule == "scale":
        table.iloc[first:second, :5] *= 100.0
        table.iloc[second + 1 :: 7, :5] *= 0.01
    elif rule == "stale":
        table.iloc[first : first + 15, :5] = 50.0
    elif rule == "ohlc":
        table.loc[table.index[[first, second]], "low"] = 1e3
    elif rule == "volume":
        table.loc[table.index[[first, second]], "volume"] = -1.0
    elif rule in ("repeated_rows", "conflicting_rows"):
        table = pd.concat(
            [table, table.iloc[[first, second]] * (1.0 if rule == "repeated_rows" else 1.01)]
        ).sort_index()
    assert len(prices) == 5
    actions = {rule: "drop"} | ({} if rule == "off_calendar" else {"ohlc": "drop" if rule == "ohlc" else "warn"})
    context = ValidationContext(CONTEXT.latest_date, {"X": "XNYS"})
    whole = validate_bars(table, context, **actions)[0]
    for stop in (first + 1, first + 9, first + 12, second + 1, len(table)):
        end = table.index[min(stop, len(table)) - 1]
        part = validate_bars(table[table.index <= end], context, **actions)[0]
        expected = whole.date[whole.date <= np.datetime64(end)]
        np.testing.assert_array_equal(part.date, expected)
