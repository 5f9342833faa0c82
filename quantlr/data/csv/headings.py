"""Headings of the columns of price files, by what the columns hold, in the languages that exporters write."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from quantlr.data.ticker_list import TICKER_HEADINGS

BAR_FIELDS = ("open", "high", "low", "close", "adj_close", "volume")
VAGUE_CLOSE_HEADINGS = (
    "Price", "last", "Ostatnio", "Zuletzt", "Dernier", "Último", "Ultimo", "Цена", "Şimdi", "Laatste", "Senaste",
)  # fmt: skip
"""Headings of closes of Investing.com, which may mean another price beside a second one of them."""
HEADINGS_BY_FIELD = {
    "date": (
        ("date", "datetime", "trade_date", "DlyCalDt", "open time", "timestamp", "day", "session"),
        ("<DTYYYYMMDD>", "Exchange Date", "snapped_at"),  # MetaStock, Refinitiv, CoinGecko
        ("Dates", "Gmt time", "Local time", "DATE1", "ts_event"),  # Bloomberg, Dukascopy, NSE, Databento
        ("time", "time_key", "unix"),  # TradingView and Binance, where there is no other column of dates
        ("Data", "Datum", "Fecha", "Дата", "Tarih", "日期", "交易日期", "时间", "日付", "日付け", "날짜", "일자"),
        ("index", "Unnamed: 0"),  # a first column without a name, of which row numbers are no dates
    ),
    "ticker": (TICKER_HEADINGS,),
    "open": (
        ("open", "OPENPRC", "DlyOpen", "PX_OPEN", "Open Price"),
        ("Otwarcie", "Eröffnung", "Eröffn.", "Eröffnungskurs", "Erster", "Ouverture", "Ouv.", "Apertura", "Abertura"),
        (
            "Nyitó",
            "Откр.",
            "Открытие",
            "Açılış",
            "Opening",
            "Öppning",
            "开盘",
            "开盘价",
            "開盤",
            "開盤價",
            "始値",
            "시가",
        ),
    ),
    "high": (
        ("high", "ASKHI", "DlyHigh", "PX_HIGH", "High Price"),
        ("Najwyższy", "Max.", "Hoch", "Tageshoch", "Höchstkurs", "Plus Haut", "Haut", "Máximo", "Massimo", "Máxima"),
        ("Макс.", "Максимум", "Yüksek", "Hoog", "Högst", "Högsta", "最高", "最高价", "最高價", "高", "高値", "고가"),
    ),
    "low": (
        ("low", "BIDLO", "DlyLow", "PX_LOW", "Low Price"),
        ("Najniższy", "Min.", "Tief", "Tagestief", "Tiefstkurs", "Plus Bas", "Bas", "Mínimo", "Minimo", "Mínima"),
        ("Мин.", "Минимум", "Düşük", "Laag", "Lägst", "Lägsta", "最低", "最低价", "最低價", "低", "安値", "저가"),
    ),
    "close": (
        ("close", "Close/Last", "DlyClose", "PRC", "DlyPrc", "PX_LAST", "Close Price"),
        ("Zamknięcie", "Zamkniecie", "Schluss", "Schlusskurs", "Clôture", "Cierre", "Chiusura", "Fechamento"),
        ("Закрытие", "Kapanış", "Slot", "Stängning", "Záró", "收盘", "收盘价", "收盤", "收盤價", "終値", "종가"),
        VAGUE_CLOSE_HEADINGS,
    ),
    "adj_close": (
        ("Adj Close", "adjusted_close", "close_adj", "close adjusted", "Adj. Close", "Adjusted", "复权收盘价"),
    ),
    "volume": (
        ("volume", "tickvol", "vol", "DlyVol", "PX_VOLUME", "total_volume"),  # <VOL> of MetaTrader 5 may be 0 always
        ("No.of Shares", "Number of Shares", "TTL_TRD_QNTY", "Stuecke", "Stück"),
        ("Wolumen", "Wol.", "Volumen", "Объём", "Объем", "Hac.", "Hacim", "Volym", "Forgalom"),
        ("成交量", "交易量", "出来高", "거래량"),
    ),
    "period": (("per",),),
}
"""Headings of each column, in any case and without regard to accents, blanks and punctuation; the first one in a file
is its column, so that words which may mean something else come last."""
SIGNED_CLOSE_HEADINGS = ("PRC", "DlyPrc")
"""Headings of closes of CRSP, where a negative number is the average of bid and ask of a day without a trade."""
KNOWN_DECIMAL_HEADINGS = ("<OPEN>", "ts_code", "preclose", "Close/Last")
"""Headings of exporters whose decimal mark is a point: MetaTrader, Stooq's database, tushare, baostock, Nasdaq.com."""
IGNORED_YFINANCE_COLUMNS = ("dividends", "stocksplits", "capitalgains", "repaired")
"""Columns that yfinance writes beside the prices and that are not read: its adjusted closes include them."""


UNIT_PATTERN = re.compile(r"[(（]((?!ADJ)[A-Z]{3}|[^\w\s]|[元股手圓円원주]|shares)[)）]\s*$")
"""A unit at the end of a heading: 收盘价(元), Close (USD), Volume (shares)."""


def normalize_heading(heading: str) -> str:
    """Return a heading in lower case without its unit, accents, blanks and punctuation."""
    heading = UNIT_PATTERN.sub("", heading)
    if heading.isascii():
        return re.sub(r"[^a-z0-9]", "", heading.lower())
    letters = unicodedata.normalize("NFKD", heading.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


SPELLINGS_BY_FIELD = {
    field: tuple(dict.fromkeys(normalize_heading(heading) for group in groups for heading in group))
    for field, groups in HEADINGS_BY_FIELD.items()
}
"""The headings as `normalize_heading` returns them."""
FIELD_BY_SPELLING = {spelling: field for field in BAR_FIELDS for spelling in SPELLINGS_BY_FIELD[field]}
CLOSE_SPELLINGS = frozenset((*SPELLINGS_BY_FIELD["close"], *SPELLINGS_BY_FIELD["adj_close"]))
DATE_SPELLINGS = frozenset(SPELLINGS_BY_FIELD["date"])


def is_date_heading(heading: str) -> bool:
    """Return whether a heading is one of a column of dates."""
    return normalize_heading(heading) in DATE_SPELLINGS


def has_bar_headings(cells: Sequence[str]) -> bool:
    """Return whether a line has headings of both dates and closes, as a header of bars does."""
    spellings = {normalize_heading(cell) for cell in cells}
    return not spellings.isdisjoint(DATE_SPELLINGS) and not spellings.isdisjoint(CLOSE_SPELLINGS)


def count_known_headings(cells: Sequence[str]) -> int:
    """Return how many cells of a line are headings of a column of bars."""
    return sum(normalize_heading(cell) in DATE_SPELLINGS | FIELD_BY_SPELLING.keys() for cell in cells)


def has_wide_headings(cells: Sequence[str]) -> bool:
    """Return whether a line has a heading of dates and then one of each ticker."""
    return len(cells) > 1 and is_date_heading(cells[0]) and all(cell.strip() for cell in cells[1:])
