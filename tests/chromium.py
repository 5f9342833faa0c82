"""Chromium without a window, driven through the protocol of its developer tools; for tests of pages."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NO_BROWSER_REASON = "no Chromium on PATH; install it with: apt-get install chromium (or your system's package)"
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-allow-origins=*",
)  # fmt: skip
TIMEOUT_SECONDS = 60.0


class ChromiumTab:
    """A tab: addresses are opened, expressions evaluated, and the mouse moved; console messages are collected."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.messages: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; messages of the console that come before are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=TIMEOUT_SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._collect(answer.get("method", ""), answer.get("params", {}))

    def _collect(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(item.get("value", "")) for item in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])

    def open(self, url: str) -> None:
        """Open an address and wait until its page is loaded."""
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, of a promise the value that it resolves to."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str, *, timeout: float = TIMEOUT_SECONDS) -> Any:
        """Evaluate an expression until it is true, and return its value."""
        deadline = time.monotonic() + timeout
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"still not true: {expression}; console: {self.messages}"
            time.sleep(0.01)
        return value

    def move_mouse(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window, in CSS pixels."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        """Write what the window shows, at a size, as PNG."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.resize(width, height)
        self.evaluate("new Promise(done => setTimeout(done, 300))")
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def resize(self, width: int, height: int) -> None:
        """Give the window a size in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


@contextmanager
def open_chromium(profile: Path) -> Iterator[ChromiumTab]:
    """Yield a tab of a browser that is ended afterwards; `profile` is a folder that need not exist."""
    from websockets.sync.client import connect

    options = (*OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank")
    with subprocess.Popen([str(BROWSER), *options], stderr=subprocess.DEVNULL) as process:
        try:
            port = _debugging_port(profile / "DevToolsActivePort")
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_SECONDS) as answer:
                target = next(target for target in json.load(answer) if target["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
                yield ChromiumTab(socket)
        finally:
            process.terminate()


def _debugging_port(path: Path) -> int:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        if path.exists() and (text := path.read_text()).strip():
            return int(text.split()[0])
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.02)
