"""Reading of files that other programs or people wrote: limits that are checked before reading, and one error.

A file is refused before it is read if it is no regular file (reading a FIFO or a device may never end) or is too large.
Whatever a library raises while it parses the content becomes `UnreadableContentError`, so that no input ends a program
with an exception of a library.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantlr.core.errors import QuantlrError

MAX_ERROR_TEXT_CHARACTERS = 200
"""Characters of a library's message that an error quotes."""
UNZIP_BLOCK_BYTES = 1 << 20
FILE_TYPE_NAMES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableContentError(ValueError):
    """A file that can't be read as what it should be; the text continues "FILE: "."""


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a regular file of at most `max_bytes`.

    Raises
    ------
    UnreadableContentError : it is a FIFO, a device or a socket, or it is larger.
    OSError : it does not exist, is a folder, or the disk fails.
    ValueError : the path has a character that no path may have.
    """
    status = path.stat()
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):  # opening a folder raises IsADirectoryError
        raise UnreadableContentError(f"needed a regular file, found {FILE_TYPE_NAMES.get(kind, 'another kind')}")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise UnreadableContentError(f"needed at most {max_bytes:,} bytes, found {size:,}")
        with library_errors_translated("a file that fits into the memory", unless=(OSError,)):
            return file.read()


def iter_files_below(folder: Path, *, max_depth: int) -> Iterator[Path]:
    """Yield the files in a folder and in the folders below it; links to folders are not followed.

    Raises
    ------
    UnreadableContentError : folders are nested more than `max_depth` deep.
    OSError : a folder can't be listed; its path is the error's `filename`.
    """
    folders = [(folder, 0)]
    while folders:
        current, depth = folders.pop()
        if depth > max_depth:
            raise UnreadableContentError(f"needed folders at most {max_depth} deep, found {current.name!r} below them")
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((Path(entry.path), depth + 1))
                elif entry.is_file():
                    yield Path(entry.path)


def unzip(content: bytes, *, max_bytes: int) -> bytes:
    """Return the unpacked content of a gzip file, at most `max_bytes`.

    Raises
    ------
    UnreadableContentError : it unpacks to more.
    OSError, EOFError, zlib.error : it is damaged.
    """
    unpacked = io.BytesIO()
    with gzip.open(io.BytesIO(content)) as stream:
        while block := stream.read(UNZIP_BLOCK_BYTES):
            unpacked.write(block)
            if unpacked.tell() > max_bytes:
                sizes = f"needed at most {max_bytes:,} bytes unpacked, found more in {len(content):,} bytes of gzip"
                raise UnreadableContentError(sizes)
    return unpacked.getvalue()


def iter_zip_member(archive: zipfile.ZipFile, name: str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the unpacked content of a file in a zip file, in blocks.

    Raises
    ------
    UnreadableContentError : it unpacks to more than `max_bytes`, is encrypted, or is damaged.
    """
    n_bytes = 0
    with library_errors_translated("a zip file that can be unpacked"), archive.open(name) as stream:
        while block := stream.read(UNZIP_BLOCK_BYTES):
            n_bytes += len(block)
            if n_bytes > max_bytes:
                raise UnreadableContentError(f"needed at most {max(max_bytes, 0):,} bytes unpacked, found more")
            yield block


def read_json(path: Path, *, max_bytes: int) -> Any:
    """Return the value in a JSON file.

    Raises
    ------
    UnreadableContentError : it is not JSON, is nested too deeply, or is refused by `read_file`.
    OSError : it can't be read.
    """
    content = read_file(path, max_bytes=max_bytes)
    with library_errors_translated("JSON"):
        return json.loads(content)


@contextmanager
def library_errors_translated(needed: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn any exception in the block into `UnreadableContentError`; those of quantlr stay as they are.

    Parameters
    ----------
    needed : what the content should be, for the text.
    unless : exceptions that the caller handles itself.
    """
    passed_on: tuple[type[Exception], ...] = (QuantlrError, UnreadableContentError, *unless)
    try:
        yield
    except passed_on:
        raise
    except MemoryError as error:
        raise UnreadableContentError(f"needed {needed}, found more than fits into the memory") from error
    except RecursionError as error:
        raise UnreadableContentError(f"needed {needed}, found values nested too deeply to be read") from error
    except UnicodeDecodeError as error:
        text = f"found bytes that are not UTF-8 text (byte {error.start})"
        raise UnreadableContentError(f"needed {needed}, {text}") from error
    except Exception as error:
        raise UnreadableContentError(f"needed {needed}, found: {exception_text(error)}") from error


def exception_text(error: BaseException) -> str:
    """Return the kind and the message of an exception on one short line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= MAX_ERROR_TEXT_CHARACTERS else f"{text[:MAX_ERROR_TEXT_CHARACTERS]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
