from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from quantlr.data.network import BACKGROUND_THREAD_NAME

from data.yahoo_market import Market
from yahoo_server import Yahoo, serving, session_to


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    """Yield a server and an empty cache for one test."""
    monkeypatch.setenv("QUANTLR_HOME", str(tmp_path))
    yahoo = Yahoo()
    with serving(yahoo) as address:
        yield Market(yahoo, session_to(address))
        # yfinance has one session per process: an abandoned thread of this test would call the next test's server.
        yahoo.released.set()
        for thread in threading.enumerate():
            if thread.name == BACKGROUND_THREAD_NAME:
                thread.join(timeout=30)
