"""What the sections of a config are made of."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    SerializeAsAny,
    Strict,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticKnownError

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
    """A section of the config: frozen, and refusing what it doesn't know. It lives beside the code that obeys it.

    What checks a section is built when it is first needed: nearly all of them are built as parts of the whole config.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Part(Spec):
    """A section chosen from a catalogue by its `kind`.

    Attributes
    ----------
    group : the entry points under which installed packages add parts of their own; "" where they can't.
    """

    group: ClassVar[str] = ""
    kind: Any

    @classmethod
    def examples(cls) -> tuple[Part, ...]:
        """Return instances that between them use every parameter; the contract tests walk them."""
        return (cls.model_validate({}),)


P = TypeVar("P", bound=Part)


def one_of(parts: tuple[type[Part], ...], *, default: str | None = None, base: type[Part] | None = None) -> Any:
    """Return the type of a config value that is one of a catalogue's parts, told apart by `kind`.

    Parameters
    ----------
    parts : the catalogue; each part's `kind` has a default that is its name.
    default : the kind of a mapping that names none; without it, `kind` must be written.
    base : what parts of others derive from. With it, a kind that the catalogue lacks is looked for among the objects
        that came with the config and then among the installed packages, under the entry points of ``base.group``.
    """
    if len(parts) == 1 and base is None:
        return parts[0]

    def kind_of(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", None)

    tagged = tuple(Annotated[part, Tag(kind_named(part))] for part in parts)
    closed: Any = Annotated[Union[tagged], Discriminator(kind_of)]  # noqa: UP007 - known at run time only
    if base is None:
        return closed
    written_as_it_is: Any = SerializeAsAny
    return Annotated[closed, written_as_it_is(), WrapValidator(_Opened(parts, base))]


def kind_named(part: type[Part]) -> str:
    """Return the kind that a part's class is called by."""
    field = part.model_fields.get("kind")
    return str(field.default) if field else ""


def installed(base: type[Part]) -> tuple[str, ...]:
    """Return the kinds that installed packages add to a catalogue; nothing of them is imported."""
    return tuple(sorted({point.name for point in entry_points(group=base.group)}))


def load_installed(kind: str, base: type[P]) -> type[P] | None:
    """Return the class that an installed package names for a kind, None where none does.

    Raises
    ------
    ValueError : it can't be imported, or is not what the catalogue is made of; the text names the package.
    """
    for point in entry_points(group=base.group, name=kind):
        origin = f"{point.value}{f' of the package {point.dist.name}' if point.dist else ''}"
        try:
            part = point.load()
        except Exception as error:
            raise ValueError(f"{kind!r} can't be loaded from {origin}: {type(error).__name__}: {error}") from error
        if not (isinstance(part, type) and issubclass(part, base)):
            raise ValueError(f"{origin} is no {base.__name__}; an entry point of {base.group} names such a class")
        if kind_named(part) != kind:
            raise ValueError(f"{origin} is of kind {kind_named(part)!r}; name its entry point so")
        return part
    return None


class _Opened:
    """What lets parts of others into a catalogue: objects as they are, and mappings whose kind is found elsewhere."""

    def __init__(self, parts: tuple[type[Part], ...], base: type[Part]) -> None:
        self.known = {kind_named(part): part for part in parts}
        self.base = base

    def __call__(self, value: Any, inner: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, self.base):
            taken = self.known.get(str(value.kind), type(value))
            if taken is not type(value):
                raise ValueError(f"the kind {value.kind!r} is the catalogue's own; call yours otherwise")
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in self.known:
            return inner(value)
        brought = (info.context or {}).get(self.base.group, {})
        part = brought.get(kind) or load_installed(kind, self.base)
        if part is not None:
            return part.model_validate(value, context=info.context)
        others = sorted({*brought, *installed(self.base)})
        if not others:
            return inner(value)
        tags = ", ".join(repr(name) for name in (*self.known, *others))
        raise PydanticKnownError(
            "union_tag_invalid", {"discriminator": "kind", "tag": str(kind), "expected_tags": tags}
        )
