"""The memory that this process may use: of the machine, its control group or a limit; how rarely garbage is sought."""

from __future__ import annotations

import atexit
import gc
import os
from contextlib import suppress
from pathlib import Path

USABLE_FRACTION = 0.8
"""Fraction of the memory of the machine or control group that one process may plan to use."""
CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Files with the limit of a control group, of version 2 and 1; without a limit they hold a word or a huge number."""


def collect_garbage_rarely() -> None:
    """Look for garbage after every 100,000 new objects; Python does so after 700 or 2,000, mostly objects of imports.

    It is for a process of quantlr's own. Importing what a run needs and finding the fonts takes 1.19 CPU seconds in
    place of 1.31, a tenth less, in the first process and in each that draws. None is looked for once more at the end,
    which alone takes a third of a second.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def usable_memory_bytes() -> int | None:
    """Return the number of bytes that this process may plan to use; None where the system does not say.

    `USABLE_FRACTION` of the machine's memory or of its control group's limit, whichever is less, but no more than is
    left under a limit of address space (``ulimit -v``).
    """
    limits = [int(USABLE_FRACTION * size) for size in (_machine_memory_bytes(), *_cgroup_limits_bytes()) if size]
    left = _address_space_left_bytes()
    return min([*limits, *([] if left is None else [left])], default=None)


def _machine_memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_limits_bytes() -> list[int]:
    """Return the limits of this process's control group and of those that contain it."""
    folders = {CGROUP_ROOT, CGROUP_ROOT / "memory"}
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root = CGROUP_ROOT / "memory" if "memory" in controllers.split(",") else CGROUP_ROOT
            folder = root / path.lstrip("/")
            folders |= {folder, *folder.parents}
    limits = []
    for file in (
        folder / name for folder in folders if folder.is_relative_to(CGROUP_ROOT) for name in CGROUP_LIMIT_FILES
    ):
        with suppress(OSError, ValueError):
            limits.append(int(file.read_text()))
    return limits


def _address_space_left_bytes() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return None
    return max(limit - used, 0)
