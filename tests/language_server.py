"""yaml-language-server over stdio, as an editor speaks to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

LONGEST_WAIT = 120.0
"""Seconds after which a server that has not done is taken for dead."""
CAPABILITIES = {
    "textDocument": {
        "hover": {"contentFormat": ["markdown"]},
        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
    }
}


class Server:
    """A running server; each text that it is asked about is a document of its own in one folder."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.asked = 0
        self.documents = 0
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}

    def problems(self, text: str) -> list[str]:
        """Return what is wrong with a document, as ``line:column-column words``; lines and columns count from 1."""
        return [_in_words(one) for one in self.diagnostics[self._opened(text)]]

    def hover(self, text: str, line: int, column: int) -> str:
        """Return what is shown where the pointer rests."""
        answer = self._ask("textDocument/hover", _at(self._opened(text), line, column))
        return str(answer["contents"]["value"]) if answer else ""

    def completion(self, text: str, line: int, column: int) -> dict[str, str]:
        """Return what is offered at a place, and what is said of it."""
        answer = self._ask("textDocument/completion", _at(self._opened(text), line, column))
        return {item["label"]: item.get("documentation", "") for item in answer["items"]}

    def start(self) -> None:
        """Shake hands."""
        parameters = {"processId": None, "rootUri": self.folder.as_uri(), "capabilities": CAPABILITIES}
        self._ask("initialize", parameters)
        self._send({"method": "initialized", "params": {}})

    def _opened(self, text: str) -> str:
        """Open a document, wait until it has been looked through, and return its name."""
        self.documents += 1
        uri = (self.folder / f"{self.documents}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while uri not in self.diagnostics:
            self._react(self._heard())
        return uri

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self.asked += 1
        self._send({"id": self.asked, "method": method, "params": parameters})
        while (message := self._heard()).get("id") != self.asked or "method" in message:
            self._react(message)
        assert "error" not in message, message
        return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def _heard(self) -> dict[str, Any]:
        """Wait for the next message: headers, an empty line, and as many bytes as they say."""
        assert self.process.stdout
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"Content-Length" else length
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message

    def _react(self, message: dict[str, Any]) -> None:
        """Keep diagnostics, and answer what the server asks of an editor: it has no settings of its own."""
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            items = message["params"].get("items", ()) if message.get("params") else ()
            self._send({"id": message["id"], "result": [None for _ in items]})


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[Server]:
    """Start a server that serves a folder, and end it afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    patience = Timer(LONGEST_WAIT, process.kill)
    patience.start()
    try:
        server = Server(process, folder)
        server.start()
        yield server
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


def _at(uri: str, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line - 1, "character": column - 1}}


def _in_words(diagnostic: dict[str, Any]) -> str:
    start, end = diagnostic["range"]["start"], diagnostic["range"]["end"]
    return f"{start['line'] + 1}:{start['character'] + 1}-{end['character'] + 1} {diagnostic['message']}"
