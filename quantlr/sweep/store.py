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

from quantlr.disk import atomic_write_without_fsync
from quantlr.errors import Fault
from quantlr.types import Array, IntArray

TRIALS_FOLDER_NAME = ".trials"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What is kept of a trial.

    Attributes
    ----------
    about : its numbers; ``error`` and ``key`` where it failed.
    session : (sessions,) dates that end each return, as days since 1970; empty where it failed.
    net_return, benchmark_return : (sessions,) as fractions.
    """

    metrics: dict[str, Any]
    session_days: IntArray
    net_return: Array
    benchmark_return: Array

    @property
    def error(self) -> str | None:
        """Why it failed, None where it did not."""
        found = self.metrics.get("error")
        return None if found is None else str(found)

    @property
    def excess_return(self) -> Array:
        """(sessions,) net returns in excess of cash."""
        return np.asarray(self.net_return - self.metrics["cash"])


@dataclass(frozen=True, slots=True)
class TrialStore:
    """The results of one folder of reports.

    Attributes
    ----------
    folder : that holds them.
    """

    folder: Path

    @classmethod
    def from_output_folder(cls, output_folder: Path) -> TrialStore:
        """Return the store of a folder of reports."""
        return cls(output_folder / TRIALS_FOLDER_NAME)

    def record_path(self, result_key: str) -> Path:
        """Return where a trial's file is, or would be."""
        return self.folder / result_key[:2] / f"{result_key}.npz"

    def write(self, result_key: str, file_bytes: bytes) -> None:
        """Write a trial's file.

        Raises
        ------
        Fault : the disk is full or read-only.
        """
        path = self.record_path(result_key)
        try:
            try:
                atomic_write_without_fsync(
                    path, file_bytes
                )  # thousands of them: what a power cut damages is done again
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write_without_fsync(path, file_bytes)
        except OSError as error:
            raise Fault(
                f"{path} could not be written: {error.strerror or error}; what is done so far is kept"
            ) from error

    def read(self, result_key: str) -> TrialRecord | None:
        """Return what is kept of a trial, None where there is nothing whole."""
        try:
            content = self.record_path(result_key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Fault(f"{self.record_path(result_key)} can't be read: {error.strerror or error}") from error
        try:
            return decode_trial_record(content)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None


def decode_trial_record(file_bytes: bytes) -> TrialRecord:
    """Return what a trial's file says; the checksums within are compared on the way."""
    # Plain numbers, each with a checksum; an object in their place is refused and never loaded.
    with np.load(io.BytesIO(file_bytes), allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes())
        if "error" in about:
            nothing: Array = np.zeros(0)
            return TrialRecord(about, np.zeros(0, dtype=np.int64), nothing, nothing)
        net, benchmark = file["returns"]
        return TrialRecord(about, file["session"].astype(np.int64), net, benchmark)
