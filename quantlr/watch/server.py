"""The server of the page: on this machine only, for requests that know the token; only a POST changes a value."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from quantlr.core.errors import OutputError, QuantlrError
from quantlr.report.html import TEMPLATES_DIR, render_template
from quantlr.report.interactive_page import InteractivePart

LOOPBACK = "127.0.0.1"
RECONNECT_MILLISECONDS = 500
PAGE_SCRIPTS = ("live_controls.js", "live.js")
MAX_BODY_BYTES = 10_000
ChangeValue = Callable[[str, str], None]
"""Function that writes a value, by dotted key and as YAML, to the config; it raises an error of quantlr if it can't."""
ShowTicker = Callable[[str], None]
"""Function that publishes the charts of a ticker."""


@dataclass
class PageParts:
    """The parts of the page as they are now, and the browsers that receive changes; called from any thread."""

    _parts: dict[str, str] = field(default_factory=dict)
    _pending_by_client: dict[asyncio.Event, dict[str, str]] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def publish(self, parts: Mapping[str, str]) -> None:
        """Replace parts of the page, by name."""
        with self._lock:
            self._parts |= parts
            for pending in self._pending_by_client.values():
                pending |= parts
            self._wake()

    def close(self) -> None:
        """End the connections to the browsers."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_events)

    def _set_events(self) -> None:
        for event in self._pending_by_client:
            event.set()

    async def iter_events(self) -> AsyncIterator[str]:
        """Yield server-sent events: all parts first, then those that have changed since the last event."""
        event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        with self._lock:
            self._pending_by_client[event] = dict(self._parts)
        yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
        try:
            while not self._is_closed:
                with self._lock:
                    parts = dict(self._pending_by_client[event])
                    self._pending_by_client[event].clear()
                if parts:
                    yield f"data: {json.dumps(parts)}\n\n"
                else:
                    await event.wait()
                event.clear()
        finally:
            with self._lock:
                self._pending_by_client.pop(event, None)


@dataclass(frozen=True)
class LocalRequestsOnly:
    """An application that answers only requests for its own address, from its own pages, that know the token.

    A page of another site may send a request here, or have its name lead here: its Origin or its Host tells. A browser
    names the origin of each POST, so that one without is refused. The token is the first part of the path.
    """

    app: ASGIApp
    hosts: frozenset[str]
    token: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused; None for one that is not."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        origin = headers.get("origin")
        is_own = origin in {f"http://{host}" for host in self.hosts} or (origin is None and scope["method"] != "POST")
        if headers.get("host") not in self.hosts or not is_own:
            return PlainTextResponse("not for this address", status_code=403)
        if not secrets.compare_digest(scope["path"].split("/")[1].encode(), self.token.encode()):
            return PlainTextResponse("not found", status_code=404)
        return None


def make_app(
    name: str, parts: PageParts, change_value: ChangeValue, show_ticker: ShowTicker, *, token: str, port: int
) -> ASGIApp:
    """Return the application: the page, its events, and by a POST from the page another value or ticker."""
    scripts = ((TEMPLATES_DIR / script).read_text(encoding="utf-8") for script in PAGE_SCRIPTS)
    interactive = InteractivePart.without_data(*scripts)
    page = render_template("live.html", name=name, interactive=interactive)
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; script-src {interactive.script_policy}"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html", headers=headers)

    async def send_events(_: Request) -> Response:
        return StreamingResponse(parts.iter_events(), media_type="text/event-stream", headers=headers)

    def post_route(path: str, names: tuple[str, ...], act: Callable[..., None]) -> Route:
        async def respond(request: Request) -> Response:
            texts = await _texts_of_json(request, names)
            if texts is None:
                return PlainTextResponse(f"needs JSON with {' and '.join(names)}", status_code=400)
            try:
                act(*texts)
            except QuantlrError as error:
                return JSONResponse({"error": error.message}, headers=headers)
            return JSONResponse({"error": ""}, headers=headers)

        return Route(f"/{{token}}/{path}", respond, methods=["POST"])

    routes = [
        Route("/{token}/", show_page),
        Route("/{token}/events", send_events),
        post_route("value", ("key", "value"), change_value),
        post_route("ticker", ("ticker",), show_ticker),
    ]
    hosts = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
    return LocalRequestsOnly(Starlette(routes=routes), hosts, token)


async def _texts_of_json(request: Request, names: tuple[str, ...]) -> list[str] | None:
    """Return texts of a request's JSON by name; None where one is not there, or it is too large or anything else."""
    size = request.headers.get("content-length", "")
    if request.headers.get("content-type") != "application/json" or not size.isdecimal() or int(size) > MAX_BODY_BYTES:
        return None
    try:
        content = await request.json()
    except ValueError:
        return None
    values = [content.get(name) for name in names] if isinstance(content, dict) else []
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(names) else None


class LiveServer(uvicorn.Server):
    """A server that ends the connections to browsers as soon as it is asked to end."""

    def __init__(self, config: uvicorn.Config, parts: PageParts) -> None:
        super().__init__(config)
        self._parts = parts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self._parts.close()
        super().handle_exit(sig, frame)


def listen(port: int) -> socket.socket:
    """Return a socket on this machine's loopback address; a free port for 0.

    Raises
    ------
    OutputError : the port is taken.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        connection.bind((LOOPBACK, port))
    except OSError as error:
        connection.close()
        raise OutputError(
            f"port {port} can't be used: {error.strerror}; choose another --port, or 0 for any"
        ) from error
    return connection


def serve(app: ASGIApp, parts: PageParts, connection: socket.socket) -> None:
    """Serve the page until Ctrl-C."""
    settings: dict[str, Any] = {"log_level": "critical", "access_log": False, "lifespan": "off", "ws": "none"}
    config = uvicorn.Config(app, timeout_graceful_shutdown=1, **settings)
    LiveServer(config, parts).run(sockets=[connection])
