"""yaml-language-server over stdio, as an editor speaks to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

LONGEST_WAIT = 60.0
"""Seconds after which a server that says nothing is taken for dead."""


class Server:
    """A running server, and documents opened in it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.asked = 0
        self.versions: dict[str, int] = {}
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}

    def ask(self, method: str, parameters: dict[str, Any]) -> Any:
        """Return the answer to a request."""
        self.asked += 1
        self._send({"id": self.asked, "method": method, "params": parameters})
        while (message := self._heard()).get("id") != self.asked or "method" in message:
            self._react(message)
        assert "error" not in message, message
        return message["result"]

    def tell(self, method: str, parameters: dict[str, Any]) -> None:
        """Send a notification."""
        self._send({"method": method, "params": parameters})

    def problems(self, path: Path, text: str) -> list[str]:
        """Return what is wrong with a document that is opened, or replaced, as line:column-column and words."""
        uri = path.as_uri()
        self.versions[uri] = self.versions.get(uri, 0) + 1
        self.diagnostics.pop(uri, None)
        if self.versions[uri] == 1:
            document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
            self.tell("textDocument/didOpen", {"textDocument": document})
        else:
            document = {"uri": uri, "version": self.versions[uri]}
            self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})
        while uri not in self.diagnostics:
            self._react(self._heard())
        return [_in_words(one) for one in self.diagnostics[uri]]

    def hover(self, path: Path, line: int, column: int) -> str:
        """Return what is shown where the pointer rests; line and column count from 1."""
        answer = self.ask("textDocument/hover", _at(path, line, column))
        return str(answer["contents"]["value"]) if answer else ""

    def completion(self, path: Path, line: int, column: int) -> dict[str, dict[str, Any]]:
        """Return what is offered at a place, by label."""
        answer = self.ask("textDocument/completion", _at(path, line, column))
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return {item["label"]: item for item in items}

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"Content-Length" else length
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message

    def _react(self, message: dict[str, Any]) -> None:
        """Keep diagnostics, and answer what the server asks of an editor."""
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            asked = message["params"].get("items", []) if isinstance(message.get("params"), dict) else []
            self._send({"id": message["id"], "result": [None for _ in asked]})


@contextmanager
def running(command: list[str], root: Path) -> Iterator[Server]:
    """Start a server, and end it afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    patience = Timer(LONGEST_WAIT, process.kill)
    patience.start()
    try:
        server = Server(process)
        server.ask("initialize", {"processId": None, "rootUri": root.as_uri(), "capabilities": CAPABILITIES})
        server.tell("initialized", {})
        yield server
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


CAPABILITIES = {
    "textDocument": {
        "hover": {"contentFormat": ["markdown"]},
        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
    }
}


def _at(path: Path, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": path.as_uri()}, "position": {"line": line - 1, "character": column - 1}}


def _in_words(diagnostic: dict[str, Any]) -> str:
    start, end = diagnostic["range"]["start"], diagnostic["range"]["end"]
    return f"{start['line'] + 1}:{start['character'] + 1}-{end['character'] + 1} {diagnostic['message']}"
