"""A server on the loopback that answers as Yahoo Finance does, for yfinance.

A `Share` holds the raw prices of each day. The server adjusts them, day by day and in plain Python, for the splits and
dividends up to its own date, as Yahoo does.
"""

from __future__ import annotations

import datetime as dt
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Reply = tuple[int, str, str]
NOT_FOUND = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
CONSENT = '<form><input name="csrfToken" value="a"><input name="sessionId" value="b"></form>'


@dataclass
class Share:
    """Raw prices, splits and payments of one ticker.

    Attributes
    ----------
    close : by day; open, high and low are made from it.
    splits, dividends, gains : by the day on which the share first trades after the split, or without the payment.
    lacking : days on which Yahoo has a row without prices.
    repeated : days that are twice in Yahoo's response.
    """

    close: dict[dt.date, float]
    volume: int = 1_000_000
    splits: dict[dt.date, float] = field(default_factory=dict)
    dividends: dict[dt.date, float] = field(default_factory=dict)
    gains: dict[dt.date, float] = field(default_factory=dict)
    lacking: set[dt.date] = field(default_factory=set)
    repeated: set[dt.date] = field(default_factory=set)
    exchange: str = "NYQ"
    zone: str = "America/New_York"
    opens: dt.time = dt.time(9, 30)
    closes: dt.time = dt.time(16, 0)
    kind: str = "EQUITY"


def days(count: int, *, last: str = "2024-05-03") -> list[dt.date]:
    """Return weekdays up to `last`."""
    return [day.date() for day in pd.bdate_range(end=last, periods=count)]


def share(seed: int, when: list[dt.date], *, start: float = 50.0, **facts: Any) -> Share:
    """Return a share with random-walk prices, in cents, which its splits divide."""
    steps = np.random.default_rng(seed).normal(0.0003, 0.01, len(when))
    level = start * np.exp(np.cumsum(steps))
    for day, ratio in facts.get("splits", {}).items():
        level = np.where([index >= day for index in when], level / ratio, level)
    return Share(dict(zip(when, np.round(level, 2).tolist(), strict=True)), **facts)


class Yahoo:
    """The server's state: shares by ticker, the time, the failures to simulate, and the requests.

    `trouble` holds replies by ticker, or by "*" for all: each is sent once, the last one always; a number is a delay in
    seconds. A `silent` server accepts connections and does not respond.
    """

    def __init__(self) -> None:
        self.shares: dict[str, Share] = {}
        self.now = dt.datetime(2024, 5, 4, 12, 0, tzinfo=dt.UTC)
        self.trouble: dict[str, list[Reply | float]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.requests = 0
        self.silent = False
        self.released = threading.Event()

    def histories(self) -> list[tuple[str, dict[str, str]]]:
        """Return ticker and query of each request for a chart, without those for a time zone."""
        return [(ticker, query) for ticker, query in self.asked if "period1" in query]

    def chart(self, ticker: str, query: dict[str, str]) -> Reply:
        """Return the response to a request for a chart."""
        self.asked.append((ticker, query))
        waiting = self.trouble.get(ticker) or self.trouble.get("*")
        if waiting:
            reply = waiting[0] if len(waiting) == 1 else waiting.pop(0)
            if not isinstance(reply, float):
                return reply
            self.released.wait(reply)
        share = self.shares.get(ticker)
        if share is None:
            return 404, json.dumps({"chart": {"result": None, "error": NOT_FOUND}}), "application/json"
        result = self._result(ticker, share, query)
        return 200, json.dumps({"chart": {"result": [result], "error": None}}), "application/json"

    def _result(self, ticker: str, share: Share, query: dict[str, str]) -> dict[str, Any]:
        zone = ZoneInfo(share.zone)
        today = self.now.astimezone(zone).date()

        def stamp(day: dt.date, index: dt.time) -> int:
            return int(dt.datetime.combine(day, index, tzinfo=zone).timestamp())

        opened = [day for day in share.close if stamp(day, share.opens) <= self.now.timestamp()]
        first, last = int(query.get("period1", 0)), int(query.get("period2", 2**40))
        traded_days = [day for day in opened if first <= stamp(day, share.opens) < last]
        if query.get("range") == "1d":
            traded_days = traded_days[-1:]
        rows = sorted([*traded_days, *(day for day in traded_days if day in share.repeated)])

        def later(day: dt.date) -> float:
            product = 1.0
            for when, ratio in share.splits.items():
                if day < when <= today:
                    product *= ratio
            return product

        def column(value: Callable[[dt.date], float]) -> list[float | None]:
            return [None if day in share.lacking else round(value(day), 6) for day in rows]

        def price(offset: float) -> Callable[[dt.date], float]:
            return lambda day: (share.close[day] + offset) / later(day)

        def paid(payments: dict[dt.date, float]) -> dict[str, Any]:
            return {
                str(stamp(day, share.opens)): {
                    "amount": round(amount / later(day), 6),
                    "date": stamp(day, share.opens),
                }
                for day, amount in payments.items()
                if day in traded_days
            }

        adjusted = adjusted_closes(share, opened, today)
        events: dict[str, Any] = {"dividends": paid(share.dividends), "capitalGains": paid(share.gains)}
        events["splits"] = {
            str(stamp(day, share.opens)): {"date": stamp(day, share.opens), "numerator": ratio, "denominator": 1.0}
            for day, ratio in share.splits.items()
            if day in traded_days
        }
        trading = max((day for day in share.close if day <= today), default=today)
        return {
            "meta": {
                "currency": "USD", "symbol": ticker, "exchangeName": share.exchange,
                "fullExchangeName": "Some Exchange",
                "instrumentType": share.kind, "exchangeTimezoneName": share.zone, "priceHint": 2,
                "firstTradeDate": stamp(min(share.close), share.opens), "validRanges": ["1d", "5d", "1mo", "max"],
                "currentTradingPeriod": {
                    "regular": {
                        "start": stamp(trading, share.opens), "end": stamp(trading, share.closes), "gmtoffset": 0,
                        "timezone": "X",
                    }
                },
            },
            "timestamp": [stamp(day, share.opens) for day in rows],
            "indicators": {
                "quote": [{
                    "open": column(price(-0.05)), "high": column(price(0.25)), "low": column(price(-0.25)),
                    "close": column(price(0.0)),
                    "volume": [None if day in share.lacking else round(share.volume * later(day)) for day in rows],
                }],
                "adjclose": [{"adjclose": column(lambda day: adjusted[day])}],
            },
            "events": {name: body for name, body in events.items() if body},
        }  # fmt: skip


def adjusted_closes(share: Share, traded_days: list[dt.date], today: dt.date) -> dict[dt.date, float]:
    """Return the adjusted closes as Yahoo describes them: a dividend as a share of the split-adjusted close before."""
    split_adjusted: dict[dt.date, float] = {}
    for day in traded_days:
        value = share.close[day]
        for when, ratio in share.splits.items():
            if day < when <= today:
                value /= ratio
        split_adjusted[day] = value
    multiplier, closes_by_day = 1.0, {}
    for index in range(len(traded_days) - 1, -1, -1):
        closes_by_day[traded_days[index]] = split_adjusted[traded_days[index]] * multiplier
        if index and traded_days[index] in share.dividends:
            dividend = share.dividends[traded_days[index]]
            for when, ratio in share.splits.items():
                if traded_days[index] < when <= today:
                    dividend /= ratio
            multiplier *= 1.0 - dividend / split_adjusted[traded_days[index - 1]]
    return closes_by_day


class Handler(BaseHTTPRequestHandler):
    """Responses to the requests of yfinance: cookie, crumb and charts, and those that it sends after an error."""

    protocol_version = "HTTP/1.1"
    yahoo: Yahoo
    tls: ssl.SSLContext | None = None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""

    def do_CONNECT(self) -> None:
        """Act as the proxy and the host behind it: TLS ends here."""
        assert self.tls
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        """Close the TLS connection too, which the server does not close."""
        super().finish()
        self.connection.close()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """Answer; a GET may have a body, which must be read."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.yahoo.requests += 1
        if self.yahoo.silent:
            self.yahoo.released.wait(60)
        status, body, form = self._reply(urlsplit(self.path))
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(content)))
        if self.path in ("", "/"):
            self.send_header("Set-Cookie", "A3=x; Domain=.yahoo.com; Path=/; Max-Age=31536000; Secure")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _reply(self, url: Any) -> Reply:
        if url.path.startswith("/v8/finance/chart/"):
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            return self.yahoo.chart(url.path.rsplit("/", 1)[1].replace("%5E", "^"), query)
        if url.path == "/v1/test/getcrumb":
            return 200, "crumb", "text/plain"
        if url.path == "/consent":
            return 200, CONSENT, "text/html"
        if url.path in ("/v2/collectConsent", "/copyConsent"):
            return 200, "ok", "text/html"
        if url.path.startswith("/v10/finance/quoteSummary/"):
            return 404, json.dumps({"quoteSummary": {"result": None, "error": NOT_FOUND}}), "application/json"
        if url.path == "/v7/finance/quote":
            return 200, json.dumps({"quoteResponse": {"result": [], "error": None}}), "application/json"
        if url.path.startswith("/ws/fundamentals-timeseries/"):
            return 200, json.dumps({"timeseries": {"result": [], "error": None}}), "application/json"
        return 404, "", "text/html"


class Quiet(ThreadingHTTPServer):
    """A server that logs no error of a client that has disconnected."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(yahoo: Yahoo, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on a free port of the loopback; yield the address."""
    server = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"yahoo": yahoo, "tls": tls}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        yahoo.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def session_to(address: str) -> Any:
    """Return a session that sends every request to one address."""
    from curl_cffi import requests

    class Loopback(requests.Session):  # type: ignore[type-arg]
        def request(self, method: Any, url: str, *args: Any, **keys: Any) -> Any:
            parts = urlsplit(url)
            keys.pop("proxies", None)
            here = address + parts.path + (f"?{parts.query}" if parts.query else "")
            return super().request(method, here, *args, **keys)

    session = Loopback(impersonate="chrome")
    session.trust_env = False
    return session


def throwaway_authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a TLS context for Yahoo's hosts and the certificate of its authority, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    hosts = ("fc.yahoo.com", "query1.finance.yahoo.com", "query2.finance.yahoo.com", "guce.yahoo.com")
    began = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "authority.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem
