"""The server of the page: on this machine only, for requests that know the token, and nothing is changed by any."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from quantlr.core.errors import OutputError
from quantlr.report.html import TEMPLATES_DIR, render_template
from quantlr.report.interactive_page import InteractivePart

LOOPBACK = "127.0.0.1"
RECONNECT_MILLISECONDS = 500


@dataclass
class PageParts:
    """The parts of the page as they are now, and the browsers that are told of changes; called from any thread."""

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
            self._pending_by_client.pop(event, None)


@dataclass(frozen=True)
class LocalRequestsOnly:
    """An application that answers only requests for its own address, from its own pages.

    A page of another site may send a request here, or have its name lead here: its Origin or its Host tells.
    """

    app: ASGIApp
    hosts: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http":
            headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
            origin = headers.get("origin")
            is_own = origin is None or origin in {f"http://{host}" for host in self.hosts}
            if headers.get("host") not in self.hosts or not is_own:
                await PlainTextResponse("not for this address", status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def make_app(name: str, parts: PageParts, *, token: str, port: int) -> ASGIApp:
    """Return the application: the page, and its events."""
    interactive = InteractivePart.without_data((TEMPLATES_DIR / "live.js").read_text(encoding="utf-8"))
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

    def is_allowed(request: Request) -> bool:
        return secrets.compare_digest(request.path_params["token"].encode(), token.encode())

    async def show_page(request: Request) -> Response:
        if not is_allowed(request):
            return PlainTextResponse("not found", status_code=404)
        return Response(page, media_type="text/html", headers=headers)

    async def send_events(request: Request) -> Response:
        if not is_allowed(request):
            return PlainTextResponse("not found", status_code=404)
        return StreamingResponse(parts.iter_events(), media_type="text/event-stream", headers=headers)

    routes = [Route("/{token}/", show_page), Route("/{token}/events", send_events)]
    hosts = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
    return LocalRequestsOnly(Starlette(routes=routes), hosts)


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


def serve(name: str, parts: PageParts, connection: socket.socket, *, token: str) -> None:
    """Serve the page until Ctrl-C."""
    app = make_app(name, parts, token=token, port=connection.getsockname()[1])
    settings: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off", "ws": "none"}
    config = uvicorn.Config(app, timeout_graceful_shutdown=1, **settings)
    LiveServer(config, parts).run(sockets=[connection])
