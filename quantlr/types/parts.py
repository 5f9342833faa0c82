"""What the sections of a config are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Strict, Tag

Whole = Annotated[int, Strict()]
"""A whole number of a config: neither yes or no, nor text that looks like a number."""
Number = Annotated[float, Strict()]
"""A number of a config, whole or not."""


def beside_the_config(path: Any) -> Any:
    """Resolve a path against the folder of the file that wrote it; text from a config carries that folder."""
    if not isinstance(path, (str, Path)):
        return path
    return Path(getattr(path, "folder", ".")).joinpath(Path(path).expanduser()).absolute()


ConfigPath = Annotated[Path, BeforeValidator(beside_the_config)]
"""A path of a config, relative to the file that wrote it; absolute once it is read."""


class Spec(BaseModel):
    """A section of the config: frozen, and refusing what it doesn't know. It lives beside the code that obeys it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Spec):
    """A section chosen from a catalogue by its `kind`."""

    kind: Any

    @classmethod
    def examples(cls) -> tuple[Part, ...]:
        """Return instances that between them use every parameter; the contract tests walk them."""
        return (cls.model_validate({}),)


def one_of(parts: tuple[type[Part], ...], *, default: str | None = None) -> Any:
    """Return the type of a config value that is one of a catalogue's parts, told apart by `kind`.

    Parameters
    ----------
    parts : the catalogue; each part's `kind` has a default that is its name.
    default : the kind of a mapping that names none; without it, `kind` must be written.
    """
    if len(parts) == 1:
        return parts[0]

    def kind_of(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", None)

    tagged = tuple(Annotated[part, Tag(part.model_fields["kind"].default)] for part in parts)
    return Annotated[Union[tagged], Discriminator(kind_of)]  # noqa: UP007 - the members are known at run time only
