"""Text of users, configs and data, made safe to show: control characters as escapes, the home folder as ~."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UNSAFE_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, those that reorder or break lines, and halves of surrogate pairs."""


def has_unsafe_characters(text: str) -> bool:
    """Return whether a text has characters that `escape_unsafe_characters` replaces."""
    return bool(_UNSAFE_CHARACTERS.search(text))


def escape_unsafe_characters(text: str) -> str:
    r"""Return a text in which characters that could control a terminal are written as escapes, like \u001b.

    The escapes are those of JSON and YAML, so that a file in these formats keeps its meaning.
    """
    return _UNSAFE_CHARACTERS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def hide_home_folder(text: str) -> str:
    """Return a text in which the path of the user's home folder is written as ~."""
    home = _home_folder()
    return re.sub(rf"{re.escape(str(home))}(?=[/\\]|\b)", "~", text) if home else text


def path_for_sharing(path: Path, *, base_folder: Path) -> str:
    """Return a path as a file in `base_folder` may name it: relative to that folder, without the home folder's name.

    A path below the home folder begins with ~ where `base_folder` is not below it.
    """
    home, absolute = _home_folder(), Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links
    base = base_folder.resolve()
    if home and absolute.is_relative_to(home) and not base.is_relative_to(home.resolve()):
        return f"~/{absolute.relative_to(home).as_posix()}"
    try:
        relative = Path(os.path.relpath(absolute.parent.resolve() / absolute.name, base)).as_posix()
    except ValueError:  # another drive of Windows
        return absolute.as_posix()
    return f"./{relative}" if relative.startswith("~") else relative


def _home_folder() -> Path | None:
    """Return the home folder; None where the system does not say, or where it is the root."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if len(home.parts) > 1 else None
