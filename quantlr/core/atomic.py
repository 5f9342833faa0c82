"""Where things are kept, and how they are written: whole or not at all, whatever ends the program meanwhile."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

CACHE_DIR_VARIABLE = "QUANTLR_HOME"
"""Environment variable that names the folder of what is kept between runs."""
TEMP_FILE_SUFFIX = ".new"
"""How the name of a file that is still being written ends."""


def write_and_fsync(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file, or replace it, in one step; who reads meanwhile sees the former file or the new one."""
    _write_temp_and_replace(path, content, write_and_fsync)
    fsync_path(path.parent)


def atomic_write_without_fsync(path: Path, content: bytes) -> None:
    """Do the same without waiting for the disk: a machine that loses its power may leave a file that is damaged."""
    _write_temp_and_replace(path, content, Path.write_bytes)


def _write_temp_and_replace(path: Path, content: bytes, write_file: Callable[[Path, bytes], object]) -> None:
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMP_FILE_SUFFIX}")
    try:
        write_file(fresh, content)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def cache_dir() -> Path:
    """Return the folder of what quantlr keeps between runs: that in QUANTLR_HOME, else the user's data folder."""
    named = os.environ.get(CACHE_DIR_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("quantlr", appauthor=False)
