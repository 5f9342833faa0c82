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

from quantlr.core.errors import DataError, OutputError

WEIGHTS_FORMAT_VERSION = 1
"""Raised whenever the fields change or mean something else."""

ClassLabel = bool | int | float | str
"""What may name a class."""


@dataclass(frozen=True, slots=True)
class SavedWeights:
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
    classes: tuple[ClassLabel, ClassLabel] | None = None
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
        if self.classes is not None and not (all(map(_is_class_label, self.classes)) and len(set(self.classes)) == 2):
            raise DataError(
                f"needed two classes that differ, each text, a finite number or a truth value, found "
                f"{list(self.classes)}; name both"
            )
        if not all(isinstance(name, str) for name in names):
            raise DataError(f"needed features named by text, found {list(names)}; rename them")

    def to_json_text(self) -> str:
        """Return canonical JSON: keys sorted, each float in the fewest digits that give the same bits, its SHA-256."""
        body = {
            "classes": self.classes,
            "coefficients": [float(one) for one in self.coefficients],
            "features": self.features,
            "format": WEIGHTS_FORMAT_VERSION,
            "intercept": float(self.intercept),
            "l2": float(self.l2),
            "quantlr": self.quantlr,
            "rows": int(self.rows),
        }
        return _canonical_json({**body, "sha256": _sha256_digest(body)}) + "\n"

    @classmethod
    def from_json_text(cls, text: str) -> SavedWeights:
        """Return the weights that `to_text` wrote, bit for bit.

        Raises
        ------
        DataError : the text is not what `to_text` wrote: no JSON, of another format, changed by hand or damaged.
        """
        found = _parse_json_object(text)
        _check_field_names(found, {one.name for one in fields(cls)} | {"format", "sha256"})
        written = found.pop("sha256")
        if _sha256_digest(found) != written:
            raise _damaged_weights_error(f"SHA-256 {written}", f"SHA-256 {_sha256_digest(found)}")
        del found["format"]
        _check_field_types(found)
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
        target, text = Path(path), self.to_json_text()
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
    def load(cls, path: str | os.PathLike[str]) -> SavedWeights:
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
            raise DataError(f"{path}: needed JSON in UTF-8, found other bytes; {SAVE_AGAIN_HINT}") from error
        try:
            return cls.from_json_text(text)
        except DataError as error:
            raise DataError(f"{path}: {error.message}") from error


SAVE_AGAIN_HINT = "save the weights again, or take a fresh copy of the file"


def _canonical_json(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256_digest(payload: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical_json(payload).encode()).hexdigest()


def _damaged_weights_error(expected: str, actual: str) -> DataError:
    return DataError(
        f"the weights were changed or damaged since they were saved: needed {expected}, found {actual}; {SAVE_AGAIN_HINT}"
    )


def _parse_canonical_float(text: str) -> float:
    """Return the number that a text spells, refusing every spelling of it but the one that is written.

    Two texts of 17 digits may stand for one float: the checksum of what they stand for would not tell them apart.
    """
    value = float(text)
    if repr(value) != text:
        raise _damaged_weights_error(repr(value), text)
    return value


def _reject_nonfinite_constant(text: str) -> float:
    raise DataError(f"needed finite numbers, found {text}; {SAVE_AGAIN_HINT}")


def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=_parse_canonical_float, parse_constant=_reject_nonfinite_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"needed the JSON that quantlr saves, found something else: {error}; {SAVE_AGAIN_HINT}"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"needed a JSON object with the weights, found {type(found).__name__}; {SAVE_AGAIN_HINT}")
    return found


def _check_field_names(payload: Mapping[str, Any], required_names: set[str]) -> None:
    # The format comes first: another one may well have other fields.
    if "format" in payload and payload["format"] != WEIGHTS_FORMAT_VERSION:
        raise DataError(
            f"needed weights of format {WEIGHTS_FORMAT_VERSION}, found format {payload['format']!r}; use the version of quantlr that "
            f"saved them ({payload.get('quantlr', 'not named')}), or save them again with this one"
        )
    for what, names in (("without", required_names - set(payload)), ("with", set(payload) - required_names)):
        if names:
            raise DataError(
                f"needed the fields {', '.join(sorted(required_names))}; found weights {what} {', '.join(sorted(names))}; "
                f"{SAVE_AGAIN_HINT}"
            )


def _is_class_label(value: object) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _check_field_types(payload: Mapping[str, Any]) -> None:
    """Refuse what has a true checksum and is still no weights, as a hand that knows the format might write."""

    def is_list(field_name: str) -> bool:
        return isinstance(payload[field_name], list)

    right = {
        "coefficients": (
            "floats",
            is_list("coefficients") and all(type(one) is float for one in payload["coefficients"]),
        ),
        "intercept": ("a float", type(payload["intercept"]) is float),
        "l2": ("a float", type(payload["l2"]) is float),
        "rows": ("a whole number", type(payload["rows"]) is int),
        "quantlr": ("text", isinstance(payload["quantlr"], str)),
        "features": ("a list or null", payload["features"] is None or is_list("features")),
        "classes": ("a list or null", payload["classes"] is None or is_list("classes")),
    }
    for name, (needed, is_right) in right.items():
        if not is_right:
            raise DataError(f"needed {needed} for {name}, found {payload[name]!r}; {SAVE_AGAIN_HINT}")
