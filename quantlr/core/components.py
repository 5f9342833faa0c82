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

StrictInt = Annotated[int, Strict()]
"""A whole number of a config: neither yes or no, nor text that looks like a number."""
StrictFloat = Annotated[float, Strict()]
"""A number of a config, whole or not."""


def resolve_config_path(path: Any) -> Any:
    """Resolve a path against the folder of the file that wrote it; text from a config carries that folder."""
    if not isinstance(path, (str, Path)):
        return path
    return Path(getattr(path, "folder", ".")).joinpath(Path(path).expanduser()).absolute()


ConfigRelativePath = Annotated[Path, BeforeValidator(resolve_config_path)]
"""A path of a config, relative to the file that wrote it; absolute once it is read."""


class ConfigSection(BaseModel):
    """A section of the config: frozen, and refusing what it doesn't know. It lives beside the code that obeys it.

    What checks a section is built when it is first needed: nearly all of them are built as parts of the whole config.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Component(ConfigSection):
    """A section chosen from a catalogue by its `kind`.

    Attributes
    ----------
    group : the entry points under which installed packages add parts of their own; "" where they can't.
    """

    entry_point_group: ClassVar[str] = ""
    kind: Any

    @classmethod
    def examples(cls) -> tuple[Component, ...]:
        """Return instances that between them use every parameter; the contract tests walk them."""
        return (cls.model_validate({}),)


P = TypeVar("P", bound=Component)


def component_union(
    component_classes: tuple[type[Component], ...],
    *,
    default_kind: str | None = None,
    base_class: type[Component] | None = None,
) -> Any:
    """Return the type of a config value that is one of a catalogue's parts, told apart by `kind`.

    Parameters
    ----------
    parts : the catalogue; each part's `kind` has a default that is its name.
    default : the kind of a mapping that names none; without it, `kind` must be written.
    base : what parts of others derive from. With it, a kind that the catalogue lacks is looked for among the objects
        that came with the config and then among the installed packages, under the entry points of ``base.group``.
    """
    if len(component_classes) == 1 and base_class is None:
        return component_classes[0]

    def get_kind(value: Any) -> Any:
        return value.get("kind", default_kind) if isinstance(value, dict) else getattr(value, "kind", None)

    tagged = tuple(Annotated[part, Tag(component_kind(part))] for part in component_classes)
    closed: Any = Annotated[Union[tagged], Discriminator(get_kind)]  # noqa: UP007 - known at run time only
    if base_class is None:
        return closed
    written_as_it_is: Any = SerializeAsAny
    return Annotated[
        closed, written_as_it_is(), WrapValidator(_ExtensibleUnionValidator(component_classes, base_class))
    ]


def component_kind(component_class: type[Component]) -> str:
    """Return the kind that a part's class is called by."""
    field = component_class.model_fields.get("kind")
    return str(field.default) if field else ""


def installed_kinds(base_class: type[Component]) -> tuple[str, ...]:
    """Return the kinds that installed packages add to a catalogue; nothing of them is imported."""
    return tuple(sorted({point.name for point in entry_points(group=base_class.entry_point_group)}))


def load_installed_component(kind: str, base_class: type[P]) -> type[P] | None:
    """Return the class that an installed package names for a kind, None where none does.

    Raises
    ------
    ValueError : it can't be imported, or is not what the catalogue is made of; the text names the package.
    """
    for point in entry_points(group=base_class.entry_point_group, name=kind):
        origin = f"{point.value}{f' of the package {point.dist.name}' if point.dist else ''}"
        try:
            part = point.load()
        except Exception as error:
            raise ValueError(f"{kind!r} can't be loaded from {origin}: {type(error).__name__}: {error}") from error
        if not (isinstance(part, type) and issubclass(part, base_class)):
            raise ValueError(
                f"{origin} is no {base_class.__name__}; an entry point of {base_class.entry_point_group} names such a class"
            )
        if component_kind(part) != kind:
            raise ValueError(f"{origin} is of kind {component_kind(part)!r}; name its entry point so")
        return part
    return None


class _ExtensibleUnionValidator:
    """What lets parts of others into a catalogue: objects as they are, and mappings whose kind is found elsewhere."""

    def __init__(self, component_classes: tuple[type[Component], ...], base_class: type[Component]) -> None:
        self.builtin_classes = {component_kind(part): part for part in component_classes}
        self.base_class = base_class

    def __call__(self, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, self.base_class):
            taken = self.builtin_classes.get(str(value.kind), type(value))
            if taken is not type(value):
                raise ValueError(f"the kind {value.kind!r} is the catalogue's own; call yours otherwise")
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in self.builtin_classes:
            return handler(value)
        brought = (info.context or {}).get(self.base_class.entry_point_group, {})
        part = brought.get(kind) or load_installed_component(kind, self.base_class)
        if part is not None:
            return part.model_validate(value, context=info.context)
        others = sorted({*brought, *installed_kinds(self.base_class)})
        if not others:
            return handler(value)
        tags = ", ".join(repr(name) for name in (*self.builtin_classes, *others))
        raise PydanticKnownError(
            "union_tag_invalid", {"discriminator": "kind", "tag": str(kind), "expected_tags": tags}
        )
