"""Base classes of config sections, unions of section classes chosen by their `kind`, and units of config values."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

from quantlr.core.text import escape_unsafe_characters, has_unsafe_characters

MAX_QUOTED_CHARACTERS = 80
"""Characters of a path that an error quotes."""
UNIT_KEY = "unit"
"""JSON Schema key of a number's unit."""
ENUM_DESCRIPTIONS_KEY = "enumDescriptions"
"""JSON Schema key of the descriptions of an enumeration's values: used by editors, ignored by validators."""


def resolve_config_path(path: Any) -> Any:
    """Return an absolute path; a relative one is resolved against the folder of the config file that contains it."""
    if not isinstance(path, (str, Path)):
        return path
    try:
        absolute = Path(getattr(path, "folder", ".")).joinpath(Path(path).expanduser()).absolute()
    except RuntimeError:
        raise ValueError(f"there is no user of the name in {str(path)!r}; write the whole path") from None
    try:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # its reader says so
            absolute.lstat()
        # One file has one path, whichever folder it is named from: ".." goes up from where links lead.
        return absolute.parent.resolve() / absolute.name if ".." in absolute.parts[:-1] else absolute
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(":")[0]
        text = escape_unsafe_characters(str(path)[:MAX_QUOTED_CHARACTERS])
        raise ValueError(f"needs the path of a file or folder, found '{text}', which can't be one ({reason})") from None


ConfigRelativePath = Annotated[Path, BeforeValidator(resolve_config_path)]
"""A path in a config, relative to the config file; absolute once validated."""
MAX_TICKER_CHARACTERS = 40


def _parse_iso_date(value: Any) -> Any:
    """Return a date that is written YYYY-MM-DD; pydantic alone would accept numbers and times too."""
    if value is None or (isinstance(value, dt.date) and not isinstance(value, dt.datetime)):
        return value
    with suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value)):
            return dt.date.fromisoformat(str(value))
    raise PydanticCustomError("date_parsing", "no date")


IsoDate = Annotated[
    dt.date,
    BeforeValidator(_parse_iso_date),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]


def _ticker_text(ticker: Any) -> Any:
    """Return a ticker as it is written: 0700 is not 700; a YAML null, true or false must be quoted."""
    if ticker is None or isinstance(ticker, bool):
        raise ValueError("a ticker is text, and this reads as a YAML word; quote it")
    if isinstance(ticker, str) and has_unsafe_characters(ticker):
        raise ValueError(f"a ticker has no control characters, and this is {str(ticker)!a}")
    return getattr(ticker, "text", ticker)


Ticker = Annotated[
    str,
    BeforeValidator(_ticker_text),
    Field(min_length=1, max_length=MAX_TICKER_CHARACTERS),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1, "maxLength": MAX_TICKER_CHARACTERS}),
]
"""A symbol; a number, like 0700, is its text."""


class ConfigSection(BaseModel):
    """Base class of config sections: frozen, without unknown keys. Each is defined beside the code that uses it.

    Validators are built at their first use, since nearly all are built as parts of the whole config's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Component(ConfigSection):
    """A config section chosen from a catalogue by its `kind`.

    Attributes
    ----------
    entry_point_group : the entry points under which installed packages add components; "" where they can't.
    kind : the name of the class in a config; each class that is used gives it a default.
    example_parameters : parameters of the instances that the contract tests run on; together they use every parameter.
    """

    entry_point_group: ClassVar[str] = ""
    example_parameters: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    kind: Any = ""

    @classmethod
    def examples(cls) -> tuple[Component, ...]:
        """Return one instance for each of the example parameters."""
        return tuple(cls.model_validate(parameters) for parameters in cls.example_parameters)


ComponentT = TypeVar("ComponentT", bound=Component)


def component_union(
    component_classes: tuple[type[Component], ...],
    *,
    default_kind: str | None = None,
    base_class: type[Component] | None = None,
) -> Any:
    """Return the type of a config value that is one of several components, discriminated by `kind`.

    Parameters
    ----------
    component_classes : the catalogue; the default of each class's `kind` is its name.
    default_kind : kind of a mapping without one; None requires `kind`.
    base_class : base class of components defined elsewhere. If given, a kind that is not in the catalogue is looked up
        among the classes passed in the validation context under ``base_class.entry_point_group``, then among the
        entry points of that group.
    """
    if len(component_classes) == 1 and base_class is None:
        return component_classes[0]

    def get_kind(value: Any) -> Any:
        # An empty kind is an error that lists the kinds there are; None is one that does not.
        return (value.get("kind", default_kind) if isinstance(value, dict) else getattr(value, "kind", None)) or ""

    tagged = tuple(Annotated[component, Tag(component_kind(component))] for component in component_classes)
    union: Any = component_classes[0]
    if len(component_classes) > 1:
        union = Annotated[Union[tagged], Discriminator(get_kind)]  # noqa: UP007 - the members are known at run time only
    if base_class is None:
        return union
    serialize_as_any: Any = SerializeAsAny
    return Annotated[union, serialize_as_any(), WrapValidator(_extensible_validator(component_classes, base_class))]


def component_kind(component_class: type[Component]) -> str:
    """Return the kind that names a component class, "" if it has none."""
    field = component_class.model_fields.get("kind")
    return str(field.default) if field else ""


def catalog_base_class(component_class: type[Component]) -> type[Component]:
    """Return the class from which all components of a component's catalogue are derived, such as `Policy`."""
    return next((cls for cls in component_class.__mro__ if "entry_point_group" in vars(cls)), Component)


def require_kind(component_class: type[Component]) -> None:
    """Raise a ValueError, with the line to add, for a component class without a kind."""
    if not component_kind(component_class):
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", component_class.__name__).lower()
        raise ValueError(
            f"the class {component_class.__name__} has no kind, the name that a config writes it by; add the line "
            f'kind: Literal["{name}"] = "{name}"'
        )


def installed_kinds(base_class: type[Component]) -> tuple[str, ...]:
    """Return the kinds that installed packages add to a catalogue, without importing the packages."""
    return tuple(sorted({entry_point.name for entry_point in entry_points(group=base_class.entry_point_group)}))


def load_installed_component(kind: str, base_class: type[ComponentT]) -> type[ComponentT] | None:
    """Return the component class that an installed package provides for a kind, None if there is none.

    Raises
    ------
    ValueError : the class can't be imported, is not derived from `base_class` or has another kind; names the package.
    """
    for entry_point in entry_points(group=base_class.entry_point_group, name=kind):
        package = f" of the package {entry_point.dist.name}" if entry_point.dist else ""
        origin = f"{entry_point.value}{package}"
        try:
            component = entry_point.load()
        except Exception as error:
            raise ValueError(f"{kind!r} can't be loaded from {origin}: {type(error).__name__}: {error}") from error
        if not (isinstance(component, type) and issubclass(component, base_class)):
            group = base_class.entry_point_group
            raise ValueError(f"{origin} is no {base_class.__name__}, which entry points of {group} must be")
        if component_kind(component) != kind:
            raise ValueError(f"{origin} is of kind {component_kind(component)!r}; give its entry point that name")
        return component
    return None


def _extensible_validator(component_classes: tuple[type[Component], ...], base_class: type[Component]) -> Any:
    """Return a validator that also accepts instances of `base_class` and kinds from other packages."""
    catalog = {component_kind(component): component for component in component_classes}
    group = base_class.entry_point_group

    def validate(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, base_class):
            require_kind(type(value))
            if catalog.get(str(value.kind), type(value)) is not type(value):
                raise ValueError(f"the kind {value.kind!r} is in the catalogue; use another name")
            return value
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in catalog:
            return handler(value)
        passed_classes = (info.context or {}).get(group, {})
        component = passed_classes.get(kind) or load_installed_component(kind, base_class)
        if component is not None:
            return component.model_validate(value, context=info.context)
        other_kinds = sorted({*passed_classes, *installed_kinds(base_class)})
        if not other_kinds:
            return handler(value)
        tags = ", ".join(map(repr, (*catalog, *other_kinds)))
        raise PydanticKnownError("union_tag_invalid", {"discriminator": "kind", "tag": kind, "expected_tags": tags})

    return validate


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a config's number; "none", with a description in words, for a number without a unit."""

    name: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the unit to the number's schema."""
        return {**handler(core_schema), UNIT_KEY: self.name}


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceDescriptions:
    """Descriptions of the values that a `Literal` allows, one for each."""

    descriptions: Mapping[str, str]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the descriptions to the schema of the choices, in their order; KeyError if one is missing."""
        schema = handler(core_schema)
        choices = schema.get("enum") or [schema.pop("const")]
        descriptions = [self.descriptions[choice] for choice in choices]
        return {**schema, "enum": choices, ENUM_DESCRIPTIONS_KEY: descriptions}


def nested_annotations(field: FieldInfo) -> list[Any]:
    """Return the annotation and the metadata of a field, and all that is nested in them."""
    annotations = [field.annotation, *field.metadata]
    for annotation in annotations:  # the list grows while nested annotations are appended
        annotations += get_args(annotation)
    return annotations


def units_and_choice_descriptions(field: FieldInfo) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the units of a field's numbers and the descriptions of its choices, from its annotation."""
    annotations = nested_annotations(field)
    units = dict.fromkeys(unit.name for unit in annotations if isinstance(unit, Unit))
    choices = [choice for choice in annotations if isinstance(choice, str)]
    choice_texts = [item.descriptions for item in annotations if isinstance(item, ChoiceDescriptions)]
    return tuple(units), {choice: texts[choice] for texts in choice_texts for choice in choices}


def append_units(description: str, units: Sequence[str]) -> str:
    """Return a field's description, followed by the units of its numbers."""
    return f"{description} Unit: {' or '.join(units)}." if units else description


def to_inline_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {to_inline_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_inline_yaml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
