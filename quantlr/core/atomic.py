"""Atomic file writes: a file is replaced as a whole or left unchanged, also if the program is killed meanwhile."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

CACHE_DIR_VARIABLE = "QUANTLR_HOME"
"""Environment variable of the cache folder's path."""
TEMP_FILE_SUFFIX = ".new"
"""Suffix of files that are still being written."""


def write_and_fsync(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk; does nothing where the system can't open a folder."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write(path: Path, content: bytes) -> None:
    """Write or replace a file atomically and durably; concurrent readers see the old content or the new one."""
    _write_and_rename(path, content, write_and_fsync)
    fsync_path(path.parent)


def atomic_write_without_fsync(path: Path, content: bytes) -> None:
    """Write or replace a file atomically, without waiting for the disk: a power failure may leave it damaged."""
    _write_and_rename(path, content, Path.write_bytes)


def _write_and_rename(path: Path, content: bytes, write_file: Callable[[Path, bytes], object]) -> None:
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMP_FILE_SUFFIX}")
    try:
        write_file(temp, content)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def cache_dir() -> Path:
    """Return the folder of data kept between runs: QUANTLR_HOME if set, else the user's data folder."""
    if configured := os.environ.get(CACHE_DIR_VARIABLE):
        return Path(configured).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("quantlr", appauthor=False)
