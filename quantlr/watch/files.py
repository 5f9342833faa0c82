"""The files that a page depends on: where they are, whether they have changed, and waiting until they do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from quantlr.config.run_config import LoadedConfig
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.errors import UserError
from quantlr.core.source_files import source_files
from quantlr.watch.evaluation import named_paths

DEBOUNCE_MILLISECONDS, STEP_MILLISECONDS = 50, 10
"""Changes within this time are one; and how long it is quiet after the last of them."""
MAX_FILES_PER_FOLDER = 100_000
"""Files of a folder of prices that are looked at for a change; the others of a larger folder are not."""


def config_paths(loaded: LoadedConfig) -> set[Path]:
    """Return the files that a config was read from: its own and those that it extends."""
    paths = (Path(location.file) for location in loaded.locations.values())
    return {path for path in paths if path.is_file()}


def component_paths(loaded: LoadedConfig) -> set[Path]:
    """Return the files that define the user's own components, and those that they import from their folders."""
    return set(source_files(iter_user_defined_components(loaded.run)))


def data_paths(loaded: LoadedConfig) -> set[Path]:
    """Return the files of prices and other data that a config names, and its folders with the files in them."""
    paths = set(named_paths(loaded))
    return paths.union(*(islice(_iter_files(path), MAX_FILES_PER_FOLDER) for path in paths if path.is_dir()))


def _iter_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders; those that can't be read or vanish meanwhile are left out."""
    for path, _, names in os.walk(folder):
        yield from (Path(path, name) for name in names)


def files_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the times and sizes of files, which need not exist."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            status = path.stat()
            text = f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{status.st_ino}\n"
        except OSError:
            text = f"{path}\0missing\n"
        digest.update(text.encode(errors="surrogateescape"))
    return digest.hexdigest()


@dataclass
class ImportedFiles:
    """The files of the user's own components as they were when they were first used.

    Python keeps a module that it has imported. To import it again would leave objects of its former classes in the
    stages that are kept, and in modules that have imported names from it, so that a result could be of both; only a new
    process has the new code throughout.
    """

    _digest_by_path: dict[Path, str] = field(default_factory=dict)

    def require_unchanged(self, paths: Iterable[Path]) -> None:
        """Raise a UserError if one of these files is not as it was when it was first among them."""
        digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        changed = [path.name for path, digest in digests.items() if self._digest_by_path.get(path, digest) != digest]
        if changed:
            raise UserError(
                f"{', '.join(changed)} has changed: end quantlr watch and start it again, to use the new code"
            )
        self._digest_by_path |= digests


def watch_files(paths: set[Path], on_change: Callable[[], None], stop: threading.Event) -> None:
    """Call a function after each change of some files, until `stop` is set.

    Their folders are watched, so that a file that is replaced, removed or made anew is seen; those of linked files
    too.
    """
    from watchfiles import watch

    watched = {str(path.absolute()) for path in paths} | {str(path.resolve()) for path in paths}
    folders = {path if path.is_dir() else path.parent for path in map(Path, watched)}
    for changes in watch(
        *sorted(filter(Path.is_dir, folders)),
        watch_filter=lambda _, path: path in watched or str(Path(path).parent) in watched,
        debounce=DEBOUNCE_MILLISECONDS,
        step=STEP_MILLISECONDS,
        stop_event=stop,
        rust_timeout=200,
        recursive=False,
        raise_interrupt=False,
    ):
        if changes:
            on_change()
