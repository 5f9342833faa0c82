"""Weights in a file: JSON with a checksum, which a person can read and which runs no code when it is opened."""

from __future__ import annotations

import hashlib
import json
import math
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from quantlr.core.atomic import atomic_write
from quantlr.core.errors import DataError, OutputError

WEIGHTS_FORMAT_VERSION = 1
"""Raised whenever the fields change or mean something else."""
SAVE_AGAIN_HINT = "save the weights again, or take a fresh copy of the file"

ClassLabel = bool | int | float | str
"""Types of a class label."""
AcceptsList = Strict(False)
"""Accepts a list for a tuple, as JSON has no tuples; its items are still checked strictly."""


class SavedWeights(BaseModel):
    """The weights of one fit in units of the raw features: log odds = intercept + coefficients . x.

    Attributes
    ----------
    intercept : log odds where every feature is 0.
    coefficients : (k,) change of the log odds per unit of each feature.
    rows : number of rows that were fitted.
    l2 : penalty of the fit, on the standardised weights.
    features : (k,) names of the features; None where they have none.
    classes : the class of negative log odds and that of positive log odds; None stands for 0 and 1.
    quantlr : version of quantlr that fitted them.

    Raises
    ------
    DataError : a field is missing or of a wrong type, a number is not finite, there are not as many coefficients as
        names, or not two classes.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    intercept: float
    coefficients: Annotated[tuple[float, ...], AcceptsList]
    rows: int = Field(ge=0)
    l2: float = Field(ge=0)
    features: Annotated[tuple[str, ...], AcceptsList] | None = None
    classes: Annotated[tuple[ClassLabel, ClassLabel], AcceptsList] | None = None
    quantlr: str = Field(default_factory=lambda: version("quantlr"))

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            details = error.errors()[0]
            found = f"{'.'.join(map(str, details['loc']))}={details['input']!r}: {details['msg']}"
            raise DataError(f"needed weights as quantlr saves them, found {found}; {SAVE_AGAIN_HINT}") from error

    def model_post_init(self, _: Any) -> None:
        """Check the fields against one another."""
        names = self.features or tuple(f"feature {index}" for index in range(len(self.coefficients)))
        if len(names) != len(self.coefficients):
            text = f"needed a coefficient for each of {len(names)} features, found {len(self.coefficients)}"
            raise DataError(f"{text}; name as many features as there are coefficients")
        numbers = zip(("the intercept", "l2", *names), (self.intercept, self.l2, *self.coefficients), strict=True)
        for name, value in numbers:
            if not math.isfinite(value):
                raise DataError(f"needed finite weights, found {value} for {name}; fit again, with l2 above 0")
        labels = self.classes or (0, 1)
        if labels[0] == labels[1] or any(isinstance(label, float) and not math.isfinite(label) for label in labels):
            needed = "two classes that differ, each text, a finite number or a truth value"
            raise DataError(f"needed {needed}, found {list(labels)}; give both class labels")

    def to_json_text(self) -> str:
        """Return canonical JSON: keys sorted, each float in the fewest digits that give the same bits, its SHA-256."""
        return _canonical_json({**self._json_fields(), "sha256": self.sha256}) + "\n"

    @property
    def sha256(self) -> str:
        """Checksum of the canonical JSON without it."""
        return hashlib.sha256(_canonical_json(self._json_fields()).encode()).hexdigest()

    def _json_fields(self) -> dict[str, Any]:
        return {"format": WEIGHTS_FORMAT_VERSION, **dict(self)}

    @classmethod
    def from_json_text(cls, text: str) -> SavedWeights:
        """Return the weights that `to_json_text` wrote, bit for bit.

        Raises
        ------
        DataError : the text is not what `to_json_text` wrote: no JSON, of another format, edited or damaged.
        """
        try:
            fields = json.loads(text, parse_float=_parse_canonical_float)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"needed the JSON that quantlr saves, found something else: {error}; {SAVE_AGAIN_HINT}"
            ) from error
        if not isinstance(fields, dict):
            raise DataError(f"needed a JSON object with the weights, found {type(fields).__name__}; {SAVE_AGAIN_HINT}")
        found_format, sha256 = fields.pop("format", None), fields.pop("sha256", None)
        if found_format != WEIGHTS_FORMAT_VERSION:
            raise DataError(
                f"needed weights of format {WEIGHTS_FORMAT_VERSION}, found format {found_format!r}; use the version of "
                f"quantlr that saved them ({fields.get('quantlr', 'not named')}), or save them again with this one"
            )
        weights = cls(**fields)
        if weights.sha256 != sha256:
            raise _damaged_weights_error(f"SHA-256 {weights.sha256}", f"SHA-256 {sha256}")
        return weights

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a file, whole or not at all.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        try:
            atomic_write(Path(path), self.to_json_text().encode())
        except OSError as error:
            hint = "name a file in a folder that exists and that you may write to"
            raise OutputError(f"weights can't be written to {path}: {error.strerror}; {hint}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SavedWeights:
        """Return the weights that `save` wrote to a file.

        Raises
        ------
        DataError : the file is missing, or is not what `save` wrote.
        """
        try:
            return cls.from_json_text(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            found = f"found that {path} can't be read: {error.strerror}"
            raise DataError(f"needed a file of weights, {found}; name the file that they were saved to") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: needed JSON in UTF-8, found other bytes; {SAVE_AGAIN_HINT}") from error
        except DataError as error:
            raise DataError(f"{path}: {error.message}") from error


def _canonical_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _damaged_weights_error(expected: str, actual: str) -> DataError:
    text = f"the weights were changed or damaged since they were saved: needed {expected}, found {actual}"
    return DataError(f"{text}; {SAVE_AGAIN_HINT}")


def _parse_canonical_float(text: str) -> float:
    """Return the number that a text denotes, refusing every spelling but the one that is written.

    Several texts of 17 digits may denote one float: the checksum of their values would not tell them apart.
    """
    value = float(text)
    if repr(value) != text:
        raise _damaged_weights_error(repr(value), text)
    return value
