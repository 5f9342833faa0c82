"""What was tried so far, for people and for programs."""

from __future__ import annotations

import json
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
    return Trial.from_config(load_config(config).run, data_sha256="abc", sharpe=sharpe, sessions=500, error=error)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with three trials, one of which failed."""
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    ledger = Ledger.from_output_folder(Path("reports"))
    many = [trial("alone", tickers=["IBM"], sharpe=0.05), trial("two", tickers=["MSFT", "AAPL"], sharpe=-0.1)]
    ledger.record_trials(many, now=datetime(2024, 5, 6, 7, 8, tzinfo=UTC))
    ledger.record_trials([trial("fails", tickers=["AAPL"], error="no room")], now=datetime(2024, 5, 7, tzinfo=UTC))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["trials", *arguments])


def test_a_table_says_what_ran_when_and_how_many_count(home: Path) -> None:
    result = call()
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["alone", "2024-05-06", "07:08", "1", "0.80", "1", "IBM", "direction", "1", "down"] in lines
    assert ["two", "2024-05-06", "07:08", "1", "-1.60", "2", "MSFT,", "AAPL", "direction", "1", "down"] in lines
    assert ["fails", "2024-05-07", "00:00", "1", "failed", "2", "AAPL", "direction", "1", "down"] in lines


def test_verbose_says_why_a_trial_failed_and_quiet_nothing(home: Path) -> None:
    assert "fails failed no room" in call("-v").output
    assert call("--quiet").output == ""


def test_json_is_one_object_with_every_trial(home: Path) -> None:
    result = call("--json")
    found = json.loads(result.stdout)
    assert found["ledger"] == "reports/trials.db"
    assert [one["name"] for one in found["trials"]] == ["alone", "two", "fails"]
    first = found["trials"][0]
    assert (first["sharpe"], first["sessions"], first["runs"], first["together"]) == (0.05, 500, 1, 1)
    assert first["tickers"] == ["IBM"]
    assert first["label"] == {"kind": "direction", "horizon": 1, "ties": "down"}
    assert first["config"]["features"][0]["kind"] == "lagged_returns"
    assert found["trials"][2]["error"] == "no room"


def test_where_there_is_no_ledger_it_says_so(home: Path) -> None:
    result = call("--output", "elsewhere")
    assert result.exit_code == 2
    assert "elsewhere/trials.db: no trials are recorded there; `quantlr run` records its own" in result.stderr
    assert not Path("elsewhere").exists()


def test_a_damaged_ledger_ends_without_a_traceback(home: Path) -> None:
    Path("reports/trials.db").write_bytes(b"broken" * 1000)
    result = call("--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "reports/trials.db is damaged or no ledger of trials" in result.stderr
