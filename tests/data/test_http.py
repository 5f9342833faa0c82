"""Answers of servers that are no HTTP, incomplete, endless, too slow or too large: one kind of error, and no wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import build_opener

import pytest
from quantlr.core.errors import Fault
from quantlr.data.download import HttpEnvironment
from quantlr.data.fred import FredSeries
from quantlr.data.network import read_error_text, read_response
from quantlr.data.source import FetchRequest
from quantlr.data.stooq import StooqSource

from price_servers import LoopbackOpener

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
REPLIES = {
    "nothing": b"",
    "not HTTP": b"\x00\x01garbage\r\n\r\n",
    "a status that is no number": b"HTTP/1.1 abc\r\n\r\n",
    "too many headers": HEAD + b"".join(b"X%d: 1\r\n" % number for number in range(200)) + b"\r\n",
    "a long header": HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc",
    "an incomplete chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "an incomplete answer": HEAD + b"Content-Length: 900\r\n\r\nDate,Close\r\n2024-01-02,1\r\n2024-01-0",
    "a redirection to no port": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:x/\r\n\r\n",
    "a redirection to a file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
}


@contextmanager
def serving(reply: bytes, *, repeated: bytes = b"") -> Iterator[str]:
    """Serve an answer on the loopback, with a piece repeated after it while the client listens; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(reply)
                        while repeated:
                            connection.sendall(repeated)

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def read(address: str, **options: Any) -> bytes:
    return read_response(build_opener(), address, **{"timeout_seconds": 5.0, "max_bytes": 1 << 20, **options})


@pytest.mark.parametrize("name", REPLIES)
def test_an_answer_that_is_not_whole_is_an_error_of_the_system_or_of_the_status(name: str) -> None:
    with serving(REPLIES[name]) as address, pytest.raises(OSError, match=r"."):
        read(address)


def test_a_whole_answer_is_returned() -> None:
    with serving(HEAD + b"Content-Length: 3\r\n\r\nabc") as address:
        assert read(address) == b"abc"
    with serving(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as address:
        assert read(address) == b"abcde"


def test_an_answer_without_end_is_given_up_at_the_size_and_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(HEAD + b"\r\n", repeated=b"x" * 10_000) as address:
        with pytest.raises(OSError, match="larger than 100,000 bytes"):
            read(address, max_bytes=100_000)
        monkeypatch.setattr("quantlr.data.network.DEADLINE_SECONDS", 0.05)
        with pytest.raises(OSError, match=r"longer than 0\.05 seconds"):
            read(address, max_bytes=1 << 40)


def test_the_text_of_an_error_that_is_incomplete_is_empty() -> None:
    with serving(b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n") as address:
        with pytest.raises(HTTPError) as caught:
            read(address)
        assert read_error_text(caught.value) == ""


@pytest.mark.parametrize("name", REPLIES)
def test_sources_say_that_the_server_can_not_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    monkeypatch.setenv("FRED_API_KEY", "0123456789abcdef")
    with serving(REPLIES[name]) as address:
        environment = HttpEnvironment(http_session=LoopbackOpener(address), pause_seconds=0.0, backoff_seconds=0.001)
        with pytest.raises(Fault, match=r"spy\.us: Stooq"):
            StooqSource(deadline=20.0).with_environment(environment).fetch(FetchRequest(("spy.us",)))
        with pytest.raises(Fault, match="CPI: FRED"):
            FredSeries(id="RATE").with_environment(environment).read("CPI", offline=False)
