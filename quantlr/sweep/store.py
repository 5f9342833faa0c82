"""Where the results of trials are kept: one file each, named by the digest of all that it depends on.

A file is there whole or not at all, and holds nothing of the ledger, the clock or the machine. Whoever comes later and
wants the same trial, in the same sweep or another one, finds it.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.disk import put_unflushed
from quantlr.errors import Fault
from quantlr.types import Array, IntArray

FOLDER = ".trials"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a trial.

    Attributes
    ----------
    about : its numbers; ``error`` and ``key`` where it failed.
    session : (sessions,) dates that end each return, as days since 1970; empty where it failed.
    net_return, benchmark_return : (sessions,) as fractions.
    """

    about: dict[str, Any]
    session: IntArray
    net_return: Array
    benchmark_return: Array

    @property
    def error(self) -> str | None:
        """Why it failed, None where it did not."""
        found = self.about.get("error")
        return None if found is None else str(found)

    @property
    def excess(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return np.asarray(self.net_return - self.about["cash"])


@dataclass(frozen=True, slots=True)
class Store:
    """The results of one folder of reports.

    Attributes
    ----------
    folder : that holds them.
    """

    folder: Path

    @classmethod
    def of(cls, output: Path) -> Store:
        """Return the store of a folder of reports."""
        return cls(output / FOLDER)

    def path(self, key: str) -> Path:
        """Return where a trial's file is, or would be."""
        return self.folder / key[:2] / f"{key}.npz"

    def keep(self, key: str, content: bytes) -> None:
        """Write a trial's file.

        Raises
        ------
        Fault : the disk is full or read-only.
        """
        path = self.path(key)
        try:
            try:
                put_unflushed(path, content)  # thousands of them: what a power cut damages is done again
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                put_unflushed(path, content)
        except OSError as error:
            raise Fault(
                f"{path} could not be written: {error.strerror or error}; what is done so far is kept"
            ) from error

    def read(self, key: str) -> Kept | None:
        """Return what is kept of a trial, None where there is nothing whole."""
        try:
            content = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Fault(f"{self.path(key)} can't be read: {error.strerror or error}") from error
        try:
            return decoded(content)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None


def decoded(content: bytes) -> Kept:
    """Return what a trial's file says; the checksums within are compared on the way."""
    # Plain numbers, each with a checksum; an object in their place is refused and never loaded.
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        if "error" in about:
            nothing: Array = np.zeros(0)
            return Kept(about, np.zeros(0, dtype=np.int64), nothing, nothing)
        net, benchmark = file["returns"]
        return Kept(about, file["session"].astype(np.int64), net, benchmark)
