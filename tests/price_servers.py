"""Servers on the loopback that answer as Stooq and as Bitstamp do, and sessions that send every request to them."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import build_opener

from yahoo_server import Quiet

Reply = tuple[int, str]
PAGE_ROWS = 100
"""Bars of one answer of the exchange."""


@dataclass
class PriceServer:
    """The state of a server: closes by symbol and date, replies to send instead, and the requests.

    Attributes
    ----------
    closes : by symbol as the server writes it, by date.
    reply : sent instead of prices; a number of seconds is a delay.
    now : the server's and the source's time.
    paths : of all requests.
    """

    closes: dict[str, dict[dt.date, float]] = field(default_factory=dict)
    reply: Reply | float | None = None
    now: dt.datetime = dt.datetime(2024, 5, 4, 12, 0, tzinfo=dt.UTC)
    paths: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> Reply:
        """Return status and text for a path with its query."""
        self.paths.append(path)
        if isinstance(self.reply, float):
            self.released.wait(self.reply)
        elif self.reply is not None:
            return self.reply
        url = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/q/d/l/":
            return 200, self._stooq_table(query["s"])
        if url.path.startswith("/api/v2/ohlc/"):
            return 200, json.dumps(self._bitstamp_page(url.path.split("/")[4], int(query["start"])))
        return 200, json.dumps([self._bitstamp_market(pair) for pair in self.closes])

    def _stooq_table(self, symbol: str) -> str:
        rows = [f"{day},{c},{c + 1},{c - 1},{c},{1000}" for day, c in sorted(self.closes.get(symbol, {}).items())]
        return "\r\n".join(["Date,Open,High,Low,Close,Volume", *rows]) + "\r\n" if rows else "No data"

    def _bitstamp_page(self, pair: str, start: int) -> dict[str, Any]:
        stamps = {int(dt.datetime.combine(d, dt.time(), dt.UTC).timestamp()): c for d, c in self.closes[pair].items()}
        rows = [
            {"timestamp": str(t), "open": str(c), "high": str(c + 1), "low": str(c - 1), "close": str(c), "volume": "7"}
            for t, c in sorted(stamps.items())
            if t >= start
        ]
        return {"data": {"pair": pair, "ohlc": rows[:PAGE_ROWS]}}

    @staticmethod
    def _bitstamp_market(pair: str) -> dict[str, Any]:
        base, quote = pair[:3].upper(), pair[3:].upper()
        return {
            "name": f"{base}/{quote}", "market_symbol": pair, "base_currency": base,
            "base_decimals": 8,
            "counter_currency": quote, "counter_decimals": 0, "minimum_order_value": "10", "trading": "Enabled",
            "instant_order_counter_decimals": 2, "instant_and_market_orders": "Enabled",
            "description": f"{base} / {quote}",
            "market_type": "SPOT",
        }  # fmt: skip


class PriceHandler(BaseHTTPRequestHandler):
    """Answers of a `PriceServer`."""

    prices: PriceServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer."""
        status, text = self.prices.answer(self.path)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text.startswith(("{", "[")) else "text/csv")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving_prices(prices: PriceServer) -> Iterator[str]:
    """Serve on a free port of the loopback; yield the address."""
    server: ThreadingHTTPServer = Quiet(("127.0.0.1", 0), type("Bound", (PriceHandler,), {"prices": prices}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        prices.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class LoopbackOpener:
    """An opener of urllib that sends every request to one address."""

    address: str

    def open(self, url: str, timeout: float) -> Any:
        """Open the path at the address."""
        parts = urlsplit(url)
        return build_opener().open(f"{self.address}{parts.path}?{parts.query}", timeout=timeout)


def loopback_session(address: str) -> Any:
    """Return a session of requests that sends every request to one address."""
    import requests

    class Loopback(requests.Session):
        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            parts = urlsplit(url)
            return super().request(method, f"{address}{parts.path}?{parts.query}", *args, **options)

    session = Loopback()
    session.trust_env = False
    return session
