"""The exceptions of quantlr. A message says what was needed, what was found, and what to change.

::

    QuantlrError
    ├── UserError            errors that the user can correct: exit status 2
    │   ├── ConfigError      invalid config; lists every problem with its location
    │   ├── DataError        prices that can't be used as they are
    │   │   └── NotEnoughHistory
    │   ├── ModelError       a model that can't be fitted as configured
    │   │   ├── DegenerateFold       one class, or classes that a plane separates
    │   │   └── LearningRateTooLarge
    │   ├── ComponentError   an exception in a feature, label, policy, overlay or source of the user's own
    │   ├── LookAheadError   a component of the user's own that depends on later values: exit status 3
    │   └── OutputError      invalid report name or folder
    └── Fault                errors of network, disk or locks: exit status 1

An error may carry the `key` of the config that would correct it (``walk_forward.train``); ``LoadedConfig`` adds the
key's location as ``file:line:column``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

INTERRUPTED_EXIT_STATUS = 130
INTERRUPTED_TEXT = "interrupted; existing files were not changed"
SYSTEM_ERROR_EXIT_STATUS = 1
SYSTEM_ERROR_ADVICE = {
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.ENOSPC: "the disk, or the device that the output goes to, is full",
    errno.EAGAIN: "the system starts no more processes or threads; end other programs, or use fewer --jobs",
}
"""By number of a system's error, what is wrong and what to change."""


class QuantlrError(Exception):
    """Base class of all errors that quantlr raises; the message is meant for the user."""

    exit_status = 1

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key

    def with_location(self, location: str) -> QuantlrError:
        """Return the same error with the location of its key before the message."""
        return type(self)(f"{location}: {self.key}: {self.message}")


class UserError(QuantlrError):
    """An error that the user can correct in the config, the options or the data."""

    exit_status = 2


class ConfigError(UserError):
    """One or more problems in a config, one line each."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message, key=key)
        self.problems = tuple(message.splitlines())


class DataError(UserError):
    """Prices that can't be used as they are."""


class NotEnoughHistory(DataError):
    """Too few rows for the first fold."""


class ModelError(UserError):
    """A model that can't be fitted as configured."""


class DegenerateFold(ModelError):
    """Training rows whose loss has no minimum: one class only, or classes that a plane separates."""


class LearningRateTooLarge(ModelError):
    """A learning rate at which gradient descent diverges."""


class ComponentError(UserError):
    """An exception in a feature, label, policy, overlay or source of the user's own; its cause is the exception."""


class LookAheadError(UserError):
    """A feature, label, model, policy or overlay of the user's own that depends on values not known by then."""

    exit_status = 3


class OutputError(UserError):
    """An invalid report name, or a folder that can't be written to."""


class Fault(QuantlrError):
    """An error outside config, options and data: disk, network or a lock."""


def system_error_text(error: OSError) -> str:
    """Return what is wrong and, where it is known, what to change."""
    return SYSTEM_ERROR_ADVICE.get(error.errno or 0) or error.strerror or str(error)


def did_you_mean_text(word: str, known_words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return a question for the known word of the most similar spelling, to end an error; "" if none is similar."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known_words), n=1, cutoff=cutoff)
    return f"; did you mean {matches[0]}?" if matches else ""
