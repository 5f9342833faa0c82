"""`quantlr trials`: the ledger as a table and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantlr
from click.testing import CliRunner, Result
from quantlr.cli import main
from quantlr.config.run_config import load_config
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.stats.family_wise import MonthlyReturns


def trial(name: str, *, tickers: list[str], sharpe: float | None = None, error: str | None = None) -> Trial:
    config: dict[str, Any] = {
        "name": name,
        "data": {"source": {"kind": "sample"}, "tickers": tickers},
        "features": [{"kind": "lagged_returns"}],
    }
    returns = MonthlyReturns(12 * 2000, np.arange(24, dtype=np.float32), 500 / 256)
    result = None if error else TrialResult(sharpe, 500, 256.0, "2000-01-03", "2001-12-28", returns)
    keys = tuple(map(hash, tickers))
    return Trial.from_config(load_config(config).run, data_sha256="abc", price_keys=keys, result=result, error=error)


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
    rows = {line[0]: line[2:] for line in lines if line}
    dates = ["2000-01-03", "2001-12-28"]
    assert rows["alone"] == ["2024-05-06", "07:08", "1", "0.80", *dates, "1", "IBM"]
    assert rows["two"] == ["2024-05-06", "07:08", "1", "-1.60", *dates, "2", "MSFT,", "AAPL"]
    assert rows["fails"] == ["2024-05-07", "00:00", "1", "failed", "2", "AAPL"]


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
    assert (first["first_session"], first["last_session"]) == ("2000-01-03", "2001-12-28")
    assert first["tickers"] == ["IBM"]
    assert first["label"] == {"kind": "direction", "horizon": 1, "of": "close", "ties": "down"}
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


def short_id(name: str) -> str:
    ids = {entry["name"]: entry["id"] for entry in json.loads(call("--json").stdout)["trials"]}
    return str(ids[name])[:10]


def write_audit(name: str, **changes: Any) -> None:
    """Write an audit of a trial of that name that found a leak."""
    (trial,) = (entry for entry in json.loads(call("--json").stdout)["trials"] if entry["name"] == name)
    digests = {key: trial[key] for key in ("config_sha256", "data_sha256")}
    leak = {"text": "features: ret_centred of AAPL changed"}
    Path("audit.json").write_text(json.dumps({"clean": False, **digests, "leaks": [leak], **changes}))


def test_convicted_trial_is_retracted(home: Path) -> None:
    write_audit("two")
    result = call("retract", short_id("two"), "--because", "audit.json")
    assert result.exit_code == 0
    assert "ret_centred" in result.stdout
    (row,) = (line.split() for line in call().stdout.splitlines() if line.startswith("two"))
    assert "retracted" in row
    trials = json.loads(call("--json").stdout)["trials"]
    assert [(entry["name"], entry["together"]) for entry in trials] == [("alone", 1), ("two", 1), ("fails", 1)]
    assert trials[1]["retracted"].startswith("audit.json: ")
    assert "two retracted audit.json: features" in call("-v").stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean": True, "leaks": []}, "found no leak"),
        ({"config_sha256": "0" * 64}, "another config"),
        ({"data_sha256": "0" * 64}, "other prices"),
        ({"leaks": 3}, "no result of `quantlr audit`"),
        ({"config_sha256": ""}, "found no leak"),
    ],
)
def test_trial_that_the_audit_does_not_convict_stays(home: Path, changes: dict[str, Any], message: str) -> None:
    write_audit("two", **changes)
    before = Path("reports/trials.db").read_bytes()
    result = call("retract", short_id("two"), "--because", "audit.json")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert Path("reports/trials.db").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("retract",), "needed the trial and the audit"),
        (("retract", "abc"), "needed the trial and the audit"),
        (("--because", "audit.json"), "is for retract"),
        (("retract", "abc", "--because", "nowhere.json"), "nowhere.json"),
        (("retract", "zzz", "--because", "audit.json"), "no trial has an id"),
    ],
)
def test_incomplete_retraction_exits_with_2(home: Path, arguments: tuple[str, ...], message: str) -> None:
    write_audit("two")
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_audit_of_a_run_convicts_it(home: Path) -> None:
    """The digests in ``audit.json`` are those of the ledger."""
    config = {
        "name": "run",
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2009-01-01"},
        "features": [{"kind": "lagged_returns"}],
        "walk_forward": {"train": 250, "refit_every": 250},
    }
    quantlr.run(config, output="reports")
    Path("run.yaml").write_text(json.dumps(config))
    assert CliRunner().invoke(main, ["audit", "run.yaml", "--name", "other", "--cuts", "1"]).exit_code == 0
    audit = json.loads(Path("reports/other/audit.json").read_text())
    (trial,) = (entry for entry in json.loads(call("--json").stdout)["trials"] if entry["name"] == "run")
    assert (audit["config_sha256"], audit["data_sha256"]) == (trial["config_sha256"], trial["data_sha256"])
