"""Weights that travel: JSON with a checksum, which a person can read and which runs no code when it is opened."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from quantlr.errors import DataError, OutputError

FORMAT = 1
"""Raised whenever the fields change or mean something else."""

Label = bool | int | float | str
"""What may name a class."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What one fit learnt, in units of the raw features: log odds = intercept + coefficients . x.

    Attributes
    ----------
    intercept : log odds where every feature is 0.
    coefficients : (k,) change of the log odds per unit of each feature.
    rows : number of rows that were learnt from.
    l2 : penalty that they were learnt with, on the standardised weights.
    features : (k,) names of the features; None where they have none.
    classes : the class of low odds and that of high odds; None stands for 0 and 1.
    quantlr : version of quantlr that learnt them.

    Raises
    ------
    DataError : a number is not finite, or there are not as many coefficients as names, or not two classes.
    """

    intercept: float
    coefficients: tuple[float, ...]
    rows: int
    l2: float
    features: tuple[str, ...] | None = None
    classes: tuple[Label, Label] | None = None
    quantlr: str = field(default_factory=lambda: version("quantlr"))

    def __post_init__(self) -> None:
        names = self.features or tuple(f"feature {at}" for at in range(len(self.coefficients)))
        if len(names) != len(self.coefficients):
            raise DataError(
                f"needed a coefficient for each of {len(names)} features, found {len(self.coefficients)}; "
                "name as many features as there are coefficients"
            )
        numbers = {"the intercept": self.intercept, "l2": self.l2, **dict(zip(names, self.coefficients, strict=True))}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise DataError(f"needed finite weights, found {value} for {name}; fit again, with l2 above 0")
        if self.l2 < 0 or self.rows < 0:
            raise DataError(f"needed rows and l2 of at least 0, found {self.rows} and {self.l2}; correct them")
        if self.classes is not None and not (all(map(_is_label, self.classes)) and len(set(self.classes)) == 2):
            raise DataError(
                f"needed two classes that differ, each text, a finite number or a truth value, found "
                f"{list(self.classes)}; name both"
            )
        if not all(isinstance(name, str) for name in names):
            raise DataError(f"needed features named by text, found {list(names)}; rename them")

    def to_text(self) -> str:
        """Return canonical JSON: keys sorted, each float in the fewest digits that give the same bits, its SHA-256."""
        body = {
            "classes": self.classes,
            "coefficients": [float(one) for one in self.coefficients],
            "features": self.features,
            "format": FORMAT,
            "intercept": float(self.intercept),
            "l2": float(self.l2),
            "quantlr": self.quantlr,
            "rows": int(self.rows),
        }
        return _canonical({**body, "sha256": _checksum(body)}) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Weights:
        """Return the weights that `to_text` wrote, bit for bit.

        Raises
        ------
        DataError : the text is not what `to_text` wrote: no JSON, of another format, changed by hand or damaged.
        """
        found = _parsed(text)
        _check_fields(found, {one.name for one in fields(cls)} | {"format", "sha256"})
        written = found.pop("sha256")
        if _checksum(found) != written:
            raise _changed(f"SHA-256 {written}", f"SHA-256 {_checksum(found)}")
        del found["format"]
        _check_types(found)
        features, classes = found.pop("features"), found.pop("classes")
        return cls(
            **{**found, "coefficients": tuple(found["coefficients"])},
            features=None if features is None else tuple(features),
            classes=None if classes is None else tuple(classes),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a file, whole or not at all.

        Raises
        ------
        OutputError : the file can't be written.
        """
        target, text = Path(path), self.to_text()
        # In the same folder, since only within one file system is a renaming atomic.
        fresh = target.parent / f".{uuid4().hex}.new"
        try:
            with fresh.open("x", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(target)
        except OSError as error:
            raise OutputError(
                f"weights can't be written to {target}: {error.strerror}; name a file in a folder that exists and "
                "that you may write to"
            ) from error
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Weights:
        """Return the weights that `save` wrote to a file.

        Raises
        ------
        DataError : the file is missing, or is not what `save` wrote.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"needed a file of weights, found that {path} can't be read: {error.strerror}; name the file that "
                "they were saved to"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: needed JSON in UTF-8, found other bytes; {AGAIN}") from error
        try:
            return cls.from_text(text)
        except DataError as error:
            raise DataError(f"{path}: {error.message}") from error


AGAIN = "save the weights again, or take a fresh copy of the file"


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body).encode()).hexdigest()


def _changed(needed: str, found: str) -> DataError:
    return DataError(
        f"the weights were changed or damaged since they were saved: needed {needed}, found {found}; {AGAIN}"
    )


def _float(text: str) -> float:
    """Return the number that a text spells, refusing every spelling of it but the one that is written.

    Two texts of 17 digits may stand for one float: the checksum of what they stand for would not tell them apart.
    """
    value = float(text)
    if repr(value) != text:
        raise _changed(repr(value), text)
    return value


def _no_constant(text: str) -> float:
    raise DataError(f"needed finite numbers, found {text}; {AGAIN}")


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=_float, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"needed the JSON that quantlr saves, found something else: {error}; {AGAIN}") from error
    if not isinstance(found, dict):
        raise DataError(f"needed a JSON object with the weights, found {type(found).__name__}; {AGAIN}")
    return found


def _check_fields(found: Mapping[str, Any], needed: set[str]) -> None:
    # The format comes first: another one may well have other fields.
    if "format" in found and found["format"] != FORMAT:
        raise DataError(
            f"needed weights of format {FORMAT}, found format {found['format']!r}; use the version of quantlr that "
            f"saved them ({found.get('quantlr', 'not named')}), or save them again with this one"
        )
    for what, names in (("without", needed - set(found)), ("with", set(found) - needed)):
        if names:
            raise DataError(
                f"needed the fields {', '.join(sorted(needed))}; found weights {what} {', '.join(sorted(names))}; "
                f"{AGAIN}"
            )


def _is_label(one: object) -> bool:
    return isinstance(one, str | bool | int) or (isinstance(one, float) and math.isfinite(one))


def _check_types(found: Mapping[str, Any]) -> None:
    """Refuse what has a true checksum and is still no weights, as a hand that knows the format might write."""

    def is_list(name: str) -> bool:
        return isinstance(found[name], list)

    right = {
        "coefficients": (
            "floats",
            is_list("coefficients") and all(type(one) is float for one in found["coefficients"]),
        ),
        "intercept": ("a float", type(found["intercept"]) is float),
        "l2": ("a float", type(found["l2"]) is float),
        "rows": ("a whole number", type(found["rows"]) is int),
        "quantlr": ("text", isinstance(found["quantlr"], str)),
        "features": ("a list or null", found["features"] is None or is_list("features")),
        "classes": ("a list or null", found["classes"] is None or is_list("classes")),
    }
    for name, (needed, is_right) in right.items():
        if not is_right:
            raise DataError(f"needed {needed} for {name}, found {found[name]!r}; {AGAIN}")
