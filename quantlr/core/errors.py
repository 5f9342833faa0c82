"""One family of errors: what was needed, what was found, what to change.

::

    QuantlrError
    ├── UserError            what the user can mend: exit status 2
    │   ├── ConfigError      the config; carries every problem found, each with its place
    │   ├── DataError        the prices can't be used as they are
    │   │   └── NotEnoughHistory
    │   ├── ModelError       the model can't be fitted as asked
    │   │   ├── DegenerateFold       one class, or classes that a plane separates
    │   │   └── LearningRateTooLarge
    │   └── OutputError      the name or place of the report
    └── Fault                what the user can't mend: network, disk, lock: exit status 1

An error raised in a layer may carry the `key` of the config that would mend it (``walk_forward.train``); whoever
knows the config turns it into ``file:line:column``.
"""

from __future__ import annotations


class QuantlrError(Exception):
    """Anything that quantlr itself refuses or fails at; its text is written for the person who reads it."""

    exit_status = 1

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key

    def with_location(self, place: str) -> QuantlrError:
        """Return the same error with the place of its key in front."""
        return type(self)(f"{place}: {self.key}: {self.message}")


class UserError(QuantlrError):
    """Something the user can mend in the config, the options or the data."""

    exit_status = 2


class ConfigError(UserError):
    """One or more problems in a config, one line each."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message, key=key)
        self.problems = tuple(message.splitlines())


class DataError(UserError):
    """Prices that can't be used as they are."""


class NotEnoughHistory(DataError):
    """Too few rows for the first fold, or none at all."""


class ModelError(UserError):
    """A model that can't be fitted as asked."""


class DegenerateFold(ModelError):
    """Training rows without a finite best fit: one class only, or classes that a plane separates."""


class LearningRateTooLarge(ModelError):
    """A step size at which the descent would not go downhill."""


class OutputError(UserError):
    """A report name or folder that can't be written to."""


class Fault(QuantlrError):
    """Something the user can't mend in config, options or data: the disk, the network, a lock."""
