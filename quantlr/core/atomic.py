"""Atomic file writes: a file is replaced as a whole or left unchanged, also if the program is killed meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from quantlr.core.errors import UserError

CACHE_DIR_VARIABLE = "QUANTLR_HOME"
"""Environment variable of the cache folder's path."""
TEMP_FILE_SUFFIX = ".new"
"""Suffix of files that are still being written."""
TEMP_FILE_NAME = re.compile(r"\.(.+)\.[0-9a-f]{32}\.new", re.DOTALL)
"""Name of a `temp_path`, with the name that the file is to have."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Linux's constants for `renameat2`: paths as they are, and exchange of two names."""


def write_and_fsync(path: Path, content: bytes) -> None:
    """Create a file, which may not exist yet, also not as a link, and flush it to the disk."""
    with path.open("xb") as file:
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
    temp = temp_path(path)
    try:
        write_file(temp, content)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def temp_path(path: Path) -> Path:
    """Return a new name beside a path, under which its content is written before it takes the path's name."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMP_FILE_SUFFIX}")


def remove_abandoned_temp_files(folder: Path, names: Collection[str], *, min_age_seconds: float = 0.0) -> None:
    """Remove files under a `temp_path` of some names in a folder, which programs that were killed have left there.

    Parameters
    ----------
    folder : need not exist.
    names : of the files that were to be written.
    min_age_seconds : of what is removed; 0 only under a lock that every writer of these files holds.
    """
    with suppress(FileNotFoundError):
        for entry in list(os.scandir(folder)):
            match = TEMP_FILE_NAME.fullmatch(entry.name)
            if (
                match
                and match.group(1) in names
                and time.time() - entry.stat(follow_symlinks=False).st_mtime >= min_age_seconds
            ):
                remove_file_or_dir(Path(entry.path))


def remove_file_or_dir(path: Path) -> None:
    """Remove a file, a link or a folder with all in it, if it exists; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def exchange_paths(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders in one step; return False, with nothing changed, if the system can't.

    Raises
    ------
    OSError : the system can, and refuses.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    try:
        rename = library.renameat2
    except AttributeError:  # a C library from before 2018
        return False
    if rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):  # kernel, file system or sandbox
        return False
    raise OSError(error, os.strerror(error), str(first))


def cache_dir() -> Path:
    """Return the folder of data kept between runs: QUANTLR_HOME if set, else the user's data folder.

    Raises
    ------
    UserError : QUANTLR_HOME begins with the home folder of a user that does not exist.
    """
    if configured := os.environ.get(CACHE_DIR_VARIABLE):
        try:
            return Path(configured).expanduser().absolute()
        except RuntimeError:
            text = f"{CACHE_DIR_VARIABLE} is {configured!r}, and there is no such user; write the folder's whole path"
            raise UserError(text) from None
    from platformdirs import user_data_path

    return user_data_path("quantlr", appauthor=False)
