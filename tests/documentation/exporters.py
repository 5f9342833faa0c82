"""The heads of the price files in tests/data/examples, read by the program without a further key, and its questions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from quantlr.core.errors import DataError
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.sources import FileSource

EXAMPLES = Path(__file__).parents[1] / "data" / "examples"
N_LINES, MAX_LINE = 3, 108
EXPORTERS: dict[str, dict[str, str]] = {
    "yfinance": {
        "yfinance_history.csv": "X",
        "yfinance_download_one.csv": "AAPL",
        "yfinance_download_two.csv": "MSFT",
        "yfinance_download_flat.csv": "MSFT",
        "yfinance_download_by_ticker.csv": "MSFT",
    },
    "Stooq": {
        "stooq_page.csv": "X",
        "stooq_database.txt": "AAPL.US",
        "stooq_polish.csv": "X",
    },
    "Nasdaq.com": {"nasdaq.csv": "X"},
    "onvista": {"onvista.csv": "X"},
    "Kaggle": {"kaggle_five_years.csv": "AAPL", "kaggle/Stocks/aapl.us.txt": "AAPL"},
    "Investing.com": {"investing_com.csv": "X", "investing_com_de.csv": "X"},
    "TradingView": {"tradingview_iso.csv": "X", "tradingview.csv": "X"},
    "MetaTrader 4 and 5": {"metatrader4.csv": "X", "metatrader5.csv": "X"},
    "Binance and ccxt": {"binance_klines.csv": "X", "binance_header.csv": "X", "ccxt.csv": "X"},
    "tushare, akshare and baostock": {
        "tushare.csv": "600519.SH",
        "akshare.csv": "600519",
        "baostock.csv": "sh.600519",
    },
    "CRSP": {"crsp.csv": "AAPL"},
    "FinRL": {"finrl.csv": "AAPL"},
    "Spreadsheets, and one column of closes per ticker": {
        "wide_closes.csv": "GOOG",
        "semicolon_comma.csv": "X",
        "preamble.csv": "X",
        "serial_dates.csv": "X",
        "short_dates.csv": "X",
    },
}
"""By exporter, its files and the ticker that is asked for; X where the file has no ticker, so that any name will do."""
QUESTIONS = {
    "every day is 12 or below": "Date,Close\n03/04/2020,5.5\n04/04/2020,6.5\n",
    "every number has three digits after its only mark": 'Date,Close\n2020-01-02,"1,234"\n2020-01-03,"1,235"\n',
    "no column is known as the close": "Date,Fixing A,Fixing B\n2020-01-02,5.5,6.5\n2020-01-03,5.6,6.6\n",
    "the ticker asked for is not in the file": "Date,Ticker,Close\n2020-01-02,AAA,5.5\n2020-01-03,AAA,5.6\n",
    "two different rows have the same date": "Date,Close\n2020-01-02,5.5\n2020-01-02,6.5\n",
}
"""By what a file leaves open, such a file."""


def exporter_heads() -> str:
    """Return the heads of all files by exporter, each with the first close that was read."""
    parts = []
    for exporter, files in EXPORTERS.items():
        parts.append(f"### {exporter}")
        parts += [file_head(EXAMPLES / name, ticker) for name, ticker in files.items()]
    return "\n\n".join(parts) + "\n"


def file_head(path: Path, ticker: str) -> str:
    """Return the first lines of a file, and what is read from it without a further key of the source."""
    prices = load_prices(DataSpec(source=FileSource(path=path), tickers=(ticker,)))
    encoding = "gb18030" if path.name == "akshare.csv" else "utf-8-sig"
    lines = path.read_text(encoding).splitlines()[: N_LINES + 1]
    head = "\n".join(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in lines)
    named = "`tickers`: any name" if ticker == "X" else f"`tickers: [{ticker}]`"
    read = f"{named}. First bar read: {prices.sessions[0]:%Y-%m-%d}, close {prices.close[0, 0]:.6g}."
    return f"```text\n{head}\n```\n\n{read}"


def questions_asked() -> str:
    """Return the table of what is asked, with the message that asks it."""
    lines = ["| the file | the message |", "| --- | --- |"]
    lines += [f"| {left_open} | {message(text)} |" for left_open, text in QUESTIONS.items()]
    return "\n".join(lines) + "\n"


def message(text: str) -> str:
    """Return the error of a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prices.csv"
        path.write_text(text, encoding="utf-8")
        try:
            load_prices(DataSpec(source=FileSource(path=path), tickers=("ABC",)))
        except DataError as error:
            return error.message.replace(f"{folder}/", "").replace("|", "\\|")
    raise AssertionError(f"was read: {text}")
