"""A client of yaml-language-server over stdio."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

TIMEOUT_SECONDS = 120.0
"""Seconds after which the server is killed."""
CAPABILITIES = {
    "textDocument": {
        "hover": {"contentFormat": ["markdown"]},
        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
    }
}


class Server:
    """A running server; each text sent to it is a new document in one folder."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.n_requests = 0
        self.n_documents = 0
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}

    def problems(self, text: str) -> list[str]:
        """Return the diagnostics of a document as ``line:column-column message``; lines and columns count from 1."""
        return [_diagnostic_text(diagnostic) for diagnostic in self.diagnostics[self._open(text)]]

    def hover(self, text: str, line: int, column: int) -> str:
        """Return the hover text at a position."""
        answer = self._ask("textDocument/hover", _text_position(self._open(text), line, column))
        return str(answer["contents"]["value"]) if answer else ""

    def completion(self, text: str, line: int, column: int) -> dict[str, str]:
        """Return the completion items at a position, and their documentation."""
        answer = self._ask("textDocument/completion", _text_position(self._open(text), line, column))
        return {item["label"]: item.get("documentation", "") for item in answer["items"]}

    def start(self) -> None:
        """Initialize the session."""
        parameters = {"processId": None, "rootUri": self.folder.as_uri(), "capabilities": CAPABILITIES}
        self._ask("initialize", parameters)
        self._send({"method": "initialized", "params": {}})

    def _open(self, text: str) -> str:
        """Open a document, wait for its diagnostics, and return its URI."""
        self.n_documents += 1
        uri = (self.folder / f"{self.n_documents}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while uri not in self.diagnostics:
            self._handle(self._read_message())
        return uri

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self.n_requests += 1
        self._send({"id": self.n_requests, "method": method, "params": parameters})
        while (message := self._read_message()).get("id") != self.n_requests or "method" in message:
            self._handle(message)
        assert "error" not in message, message
        return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def _read_message(self) -> dict[str, Any]:
        """Read the next message: headers, an empty line, and a body of the stated length."""
        assert self.process.stdout
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"Content-Length" else length
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message

    def _handle(self, message: dict[str, Any]) -> None:
        """Store diagnostics, and answer requests of the server with null settings."""
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            items = message["params"].get("items", ()) if message.get("params") else ()
            self._send({"id": message["id"], "result": [None for _ in items]})


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[Server]:
    """Start a server for a folder, and stop it afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = Timer(TIMEOUT_SECONDS, process.kill)
    timer.start()
    try:
        server = Server(process, folder)
        server.start()
        yield server
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def _text_position(uri: str, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line - 1, "character": column - 1}}


def _diagnostic_text(diagnostic: dict[str, Any]) -> str:
    start, end = diagnostic["range"]["start"], diagnostic["range"]["end"]
    return f"{start['line'] + 1}:{start['character'] + 1}-{end['character'] + 1} {diagnostic['message']}"
