"""Reading of files that anybody may have written: limits before reading, and one error for any content."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from quantlr.core.errors import DataError
from quantlr.core.file_reading import (
    UnreadableContentError,
    iter_files_below,
    library_errors_translated,
    read_file,
    read_json,
    unzip,
)


def test_files_that_are_not_regular_are_refused_without_opening_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, found in (
            (tmp_path / "pipe", "a named pipe"),
            (tmp_path / "link", "a named pipe"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
        ):
            with pytest.raises(UnreadableContentError, match=f"needed a regular file, found {found}"):
                read_file(path, max_bytes=100)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, max_bytes=100)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_file(tmp_path / "file", max_bytes=100) == b"x" * 100
    with pytest.raises(UnreadableContentError, match="needed at most 99 bytes, found 100"):
        read_file(tmp_path / "file", max_bytes=99)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableContentError, match="found 1,099,511,627,776"):
        read_file(tmp_path / "sparse", max_bytes=1 << 31)


def test_gzip_is_unpacked_up_to_its_limit() -> None:
    members = gzip.compress(b"a" * 3_000_000) + gzip.compress(b"b" * 5)
    assert unzip(members, max_bytes=3_000_005) == b"a" * 3_000_000 + b"b" * 5
    for limit in (3_000_004, 10):
        with pytest.raises(UnreadableContentError, match=f"needed at most {limit:,} bytes unpacked"):
            unzip(members, max_bytes=limit)


def test_json_that_is_none_or_nested_too_deeply_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000):
        path.write_bytes(content)
        with pytest.raises(UnreadableContentError, match="needed JSON, found"):
            read_json(path, max_bytes=1_000_000)
    path.write_bytes(b'{"a": [1]}')
    assert read_json(path, max_bytes=100) == {"a": [1]}


def test_folders_are_searched_to_a_depth_and_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path
    for depth in range(6):
        (folder / f"{depth}.csv").write_text("")
        folder = folder / "d"
        folder.mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    names = sorted(path.name for path in iter_files_below(tmp_path, max_depth=6))
    assert names == [f"{depth}.csv" for depth in range(6)]
    with pytest.raises(UnreadableContentError, match="needed folders at most 5 deep"):
        list(iter_files_below(tmp_path, max_depth=5))
    scandir = os.scandir

    def refuse_one(path: Any) -> Any:
        if Path(path).name == "d":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_one)
    with pytest.raises(PermissionError):
        list(iter_files_below(tmp_path, max_depth=50))


def test_what_a_library_raises_is_one_error_with_its_cause() -> None:
    for error, found in (
        (KeyError("close"), "found: KeyError: 'close'"),
        (MemoryError(), "found more than fits into the memory"),
        (RecursionError(), "found values nested too deeply"),
        (ValueError("a\nb" + "x" * 1000), "found: ValueError: a bx"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "found bytes that are not UTF-8 text"),
    ):
        with (
            pytest.raises(UnreadableContentError, match=f"needed prices, {found}") as caught,
            library_errors_translated("prices"),
        ):
            raise error
        assert caught.value.__cause__ is error
        assert len(str(caught.value)) < 300
    with pytest.raises(DataError, match="ours"), library_errors_translated("prices"):
        raise DataError("ours")
    with pytest.raises(KeyboardInterrupt), library_errors_translated("prices"):
        raise KeyboardInterrupt
