"""A run that is written under the name of another config's report: the former report is kept, once for each config."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.atomic import exchange_paths, remove_file_or_dir, write_and_fsync
from quantlr.core.values import Report
from quantlr.report.storage import recover_interrupted_swap, write_report

CONFIG = "name: {name}\ndata:\n  tickers:\n  - {ticker}\nreport:\n  per_ticker: {per_ticker}\nseed: 0\n"


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


def write_run(folder: Path, ticker: str, *, name: str = "exp", per_ticker: str = "false", content: str = "") -> Path:
    """Write the report of a config on a ticker."""
    config = CONFIG.format(name=name, ticker=ticker, per_ticker=per_ticker)
    files = {"config.yaml": config.encode(), "metrics.json": (content or ticker).encode()}
    return write_report(Report("exp", files), folder, keep_other_config=True)


def contents(folder: Path) -> dict[str, str]:
    """Return what each report's metrics say, by folder."""
    return {path.parent.name: path.read_text() for path in sorted(folder.glob("*/metrics.json"))}


def test_same_config_replaces_and_each_other_config_is_kept_once(tmp_path: Path) -> None:
    write_run(tmp_path, "A")
    write_run(tmp_path, "A", name="copy", per_ticker="true", content="A again")
    assert contents(tmp_path) == {"exp": "A again"}
    write_run(tmp_path, "B")
    assert contents(tmp_path) == {"exp": "B", "exp@1": "A again"}
    write_run(tmp_path, "C")
    assert contents(tmp_path) == {"exp": "C", "exp@1": "A again", "exp@2": "B"}
    write_run(tmp_path, "A", content="A newest")
    assert contents(tmp_path) == {"exp": "A newest", "exp@1": "C", "exp@2": "B"}
    write_run(tmp_path, "D")
    write_run(tmp_path, "D", content="D again")
    assert contents(tmp_path) == {"exp": "D again", "exp@1": "C", "exp@2": "B", "exp@3": "A newest"}


def test_files_of_the_user_stay_with_the_report_that_they_are_beside(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "notes.txt").write_text("on all")
    (write_run(tmp_path, "A") / "on A.txt").write_text("good")
    folder = write_run(tmp_path, "B")
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "metrics.json"]
    assert {path.name for path in (tmp_path / "exp@1").iterdir()} >= {"notes.txt", "on A.txt"}


def test_a_kept_report_with_files_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (write_run(tmp_path, "A") / "on A.txt").write_text("good")
    (write_run(tmp_path, "B") / "tickers").mkdir()
    (tmp_path / "exp" / "tickers" / "mine.png").write_text("good")
    for ticker in "ABCAB":
        write_run(tmp_path, ticker)
    assert {path.name for path in tmp_path.glob("exp*/on A.txt")} == {"on A.txt"}
    assert {path.name for path in tmp_path.glob("exp*/tickers/mine.png")} == {"mine.png"}
    n_folders = len(contents(tmp_path))
    for ticker in "ABCAB":
        write_run(tmp_path, ticker)
    assert len(contents(tmp_path)) == n_folders, "one more for each of these two, and no more"


@pytest.mark.parametrize("file", ["sweep.json", "compare.json", "metrics.json"])
def test_report_without_a_readable_config_is_kept(tmp_path: Path, file: str) -> None:
    for _ in range(2):
        write_report(Report("exp", {file: b"{}"}), tmp_path)
        write_run(tmp_path, "A")
    assert [(tmp_path / f"exp@{number}" / file).is_file() for number in (1, 2, 3)] == [True, True, False]


def test_files_and_links_of_the_user_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "exp@1").write_text("a file")
    (tmp_path / "exp@2").symlink_to(tmp_path / "nowhere")
    write_run(tmp_path, "A")
    write_run(tmp_path, "B")
    assert contents(tmp_path) == {"exp": "B", "exp@3": "A"}
    assert (tmp_path / "exp@1").read_text() == "a file"


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("n_calls", range(9))
def test_both_reports_are_complete_after_an_end_at_any_file_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_calls: int, exchanges: bool
) -> None:
    """The process ends after `n_calls` calls; the recovery of the next writer follows."""
    if not exchanges:
        monkeypatch.setattr("quantlr.report.storage.exchange_paths", lambda *_: False)
    write_run(tmp_path, "A")
    calls = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **keys: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > n_calls:
                raise ProcessEnded
            return function(*arguments, **keys)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", counted(Path.mkdir))
        patched.setattr(Path, "rename", counted(Path.rename))
        patched.setattr("quantlr.report.storage.write_and_fsync", counted(write_and_fsync))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            write_run(tmp_path, "B")
            finished = True
        except ProcessEnded:
            finished = False
    recover_interrupted_swap(tmp_path / "exp")
    assert "A" in contents(tmp_path).values()
    if finished:
        assert contents(tmp_path) == {"exp": "B", "exp@1": "A"}
    write_run(tmp_path, "B")
    assert contents(tmp_path)["exp"] == "B"
    assert "A" in contents(tmp_path).values()


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("n_calls", range(6))
def test_no_config_loses_its_report_where_an_earlier_one_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_calls: int, exchanges: bool
) -> None:
    """The process ends after `n_calls` moves of folders, while A goes back in the place of B, and B in that of A."""
    for ticker in "AB":
        write_run(tmp_path, ticker)
    n_done = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal n_done
            n_done += 1
            if n_done > n_calls:
                raise ProcessEnded
            return function(*arguments)

        return call

    with monkeypatch.context() as patched:
        exchange = counted(exchange_paths) if exchanges else lambda *_: False
        patched.setattr("quantlr.report.storage.exchange_paths", exchange)
        patched.setattr("quantlr.report.storage.remove_file_or_dir", counted(remove_file_or_dir))
        patched.setattr(Path, "rename", counted(Path.rename))
        with suppress(ProcessEnded):
            write_run(tmp_path, "A", content="A newest")
    recover_interrupted_swap(tmp_path / "exp")
    assert "B" in contents(tmp_path).values()
    if exchanges:
        assert {"A", "A newest"} & set(contents(tmp_path).values())
    write_run(tmp_path, "A", content="A newest")
    assert contents(tmp_path) == {"exp": "A newest", "exp@1": "B"}
