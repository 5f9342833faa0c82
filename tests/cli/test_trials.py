"""`quantlr trials`: the ledger as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.experiment.ledger import Ledger, Trial


def trial(name: str, *, tickers: list[str], sharpe: float | None = None, error: str | None = None) -> Trial:
    config: dict[str, Any] = {
        "name": name,
        "data": {"source": {"kind": "sample"}, "tickers": tickers},
        "features": [{"kind": "lagged_returns"}],
        "report": {"sessions_per_year": 256},
    }
    without_result = Trial.from_config(load_config(config).run, data_sha256="abc")
    return replace(without_result, sharpe=sharpe, sessions=500, error=error)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with three trials, one of which failed."""
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    ledger = Ledger.from_output_folder(Path("reports"))
    many = [trial("alone", tickers=["IBM"], sharpe=0.05), trial("two", tickers=["MSFT", "AAPL"], sharpe=-0.1)]
    ledger.record_trials(many, now=datetime(2024, 5, 6, 7, 8, tzinfo=UTC))
    ledger.record_trials([trial("fails", tickers=["AAPL"], error="no room")], now=datetime(2024, 5, 7, tzinfo=UTC))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["trials", *arguments])


def test_table_has_date_sharpe_and_number_of_related_trials(home: Path) -> None:
    result = call()
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["alone", "2024-05-06", "07:08", "1", "0.80", "1", "IBM", "direction", "1", "down"] in lines
    assert ["two", "2024-05-06", "07:08", "1", "-1.60", "2", "MSFT,", "AAPL", "direction", "1", "down"] in lines
    assert ["fails", "2024-05-07", "00:00", "1", "failed", "2", "AAPL", "direction", "1", "down"] in lines


def test_verbose_prints_errors_and_quiet_nothing(home: Path) -> None:
    assert "fails failed no room" in call("-v").output
    assert call("--quiet").output == ""


def test_json_has_every_trial(home: Path) -> None:
    result = call("--json")
    ledger = json.loads(result.stdout)
    assert ledger["ledger"] == "reports/trials.db"
    assert [entry["name"] for entry in ledger["trials"]] == ["alone", "two", "fails"]
    first = ledger["trials"][0]
    assert (first["sharpe"], first["sessions"], first["runs"], first["together"]) == (0.05, 500, 1, 1)
    assert first["tickers"] == ["IBM"]
    assert first["label"] == {"kind": "direction", "horizon": 1, "ties": "down"}
    assert first["config"]["features"][0]["kind"] == "lagged_returns"
    assert ledger["trials"][2]["error"] == "no room"


def test_missing_ledger_exits_with_2(home: Path) -> None:
    result = call("--output", "elsewhere")
    assert result.exit_code == 2
    assert "elsewhere/trials.db" in result.stderr
    assert not Path("elsewhere").exists()


def test_damaged_ledger_exits_with_2(home: Path) -> None:
    Path("reports/trials.db").write_bytes(b"broken" * 1000)
    result = call("--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "reports/trials.db is damaged" in result.stderr
