"""The controls of the page: a menu, a field or a slider for each value of a config, which write to its file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError

from quantlr.config.edit import edit_config, write_config
from quantlr.config.run_config import LoadedConfig, load_config
from quantlr.config.yaml_tree import KeyPath, SourceLocation, format_key_path
from quantlr.core.components import ENUM_DESCRIPTIONS_KEY, UNIT_KEY, ConfigSection, to_inline_yaml
from quantlr.core.errors import ConfigError
from quantlr.report.html import render_template

SECTIONS_WITH_CONTROLS = ("features", "label", "walk_forward", "model", "policy", "overlays", "execution")
SLIDER_STEPS = 1000.0
MAX_SLIDER_RANGE = 10_000.0
"""Largest difference between the bounds of a number that has a slider; beyond it there is a field alone."""
MAX_LINEAR_RANGE = 2.0
"""Largest difference at which a slider is linear; beyond it the number grows with the cube of the way."""
NUMBER_TYPES = ("integer", "number")


@dataclass(frozen=True, slots=True)
class Slider:
    """The range of a number, from its schema."""

    minimum: float
    maximum: float
    is_integer: bool
    excludes_minimum: bool

    @property
    def exponent(self) -> int:
        """Power of the way along the slider with which the number grows."""
        return 1 if self.maximum - self.minimum <= MAX_LINEAR_RANGE else 3


@dataclass(frozen=True, slots=True)
class Control:
    """What the page shows for one value of the config.

    Attributes
    ----------
    key_path : of the value.
    section : dotted key and kind of the section that it is in.
    description, unit : from the schema.
    words : the words that the value may be, with their descriptions.
    has_field : whether it may be a number or a list of numbers too; else the words are a menu.
    slider : None where the schema has no range for the number that the value is.
    value : as YAML.
    origin : where it is from, unless it is in the file itself.
    is_locked : whether a change of the file would not change it.
    """

    key_path: KeyPath
    section: tuple[str, str]
    description: str
    unit: str
    words: Mapping[str, str]
    has_field: bool
    slider: Slider | None
    value: str
    origin: str
    is_locked: bool

    @property
    def key(self) -> str:
        """The dotted key."""
        return format_key_path(self.key_path)


@dataclass
class FileControls:
    """The controls of a config file: as parts of the page, and with what they write.

    Attributes
    ----------
    config_path, settings, name : as the options of `quantlr run`.
    """

    config_path: Path
    settings: tuple[str, ...] = ()
    name: str | None = None
    _controls: dict[str, Control] = field(default_factory=dict)

    def parts(self, loaded: LoadedConfig) -> dict[str, str]:
        """Return the parts of the page that show a config's controls, and remember which there are."""
        controls = list(iter_controls(loaded, self.config_path))
        self._controls = {control.key: control for control in controls}
        sections = [(section, list(group)) for section, group in groupby(controls, lambda control: control.section)]
        html = render_template("live_controls.html", sections=sections, file_name=self.config_path.name)
        values = {control.key: (control.value, control.origin) for control in controls}
        return {"controls": html, "values": json.dumps(values)}

    def change_value(self, key: str, value_text: str) -> None:
        """Write another value to the file, if the config is valid with it.

        Raises
        ------
        ConfigError : it is not, or the key has no control; nothing is written.
        OutputError : the file can't be written.
        """
        control = self._controls.get(key)
        if control is None or control.is_locked:
            raise ConfigError(f"{key}: has no control here" if control is None else f"{key}: {control.origin}")
        edited = edit_config(self.config_path, key, value_text)
        load_config(edited, settings=self.settings, name=self.name)
        write_config(edited)


def iter_controls(loaded: LoadedConfig, config_path: Path) -> Iterator[Control]:
    """Yield the controls of a config that was read from a path, in the order of its keys."""
    chosen = loaded.run.selection.over if loaded.run.selection else {}
    for name in SECTIONS_WITH_CONTROLS:
        for section_path, section in _iter_sections(getattr(loaded.run, name), (name,)):
            title = (format_key_path(section_path), str(getattr(section, "kind", "")))
            for key, schema in _field_schemas(type(section)).items():
                path, value = (*section_path, key), getattr(section, key)
                control = _control(path, title, schema, value, loaded.locations.get(path), config_path)
                if control is not None and control.key in chosen:
                    control = replace(control, origin="chosen by select", is_locked=True)
                if control is not None:
                    yield control


def _iter_sections(value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, ConfigSection]]:
    """Yield a section and the sections in it, with their key paths."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _iter_sections(item, (*key_path, index))
    elif isinstance(value, ConfigSection):
        yield key_path, value
        for name in type(value).model_fields:
            yield from _iter_sections(getattr(value, name), (*key_path, name))


@cache
def _field_schemas(section_class: type[ConfigSection]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of a section's keys but its kind; none of a class of the user's own without a schema."""
    try:
        schema = section_class.model_json_schema()
    except PydanticUserError:
        return {}
    if "$ref" in schema:  # of a class that may contain itself
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    schemas = schema["properties"]
    return {key: schema for key, schema in schemas.items() if key in section_class.model_fields and key != "kind"}


def _control(
    key_path: KeyPath,
    section: tuple[str, str],
    schema: Mapping[str, Any],
    value: Any,
    location: SourceLocation | None,
    config_path: Path,
) -> Control | None:
    """Return the control of a value; None where it is neither a word of its schema nor a number nor several.

    A key that takes any text, such as the path of a file, has none.
    """
    options = schema.get("anyOf", [schema])
    words = {word: description for option in options for word, description in _words(option).items()}
    numbers = [option for option in options if option.get("type") in NUMBER_TYPES]
    lists = [option for option in options if option.get("items", {}).get("type") in NUMBER_TYPES]
    text = to_inline_yaml(value)
    items = value if isinstance(value, tuple) else (value,)
    is_number = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in items)
    takes_text = any(option.get("type") == "string" and not _words(option) for option in options)
    if takes_text or (text not in words and not (is_number and (numbers or lists))):
        return None
    units = dict.fromkeys(option.get(UNIT_KEY) for option in (*numbers, *(option["items"] for option in lists)))
    origin, is_locked = "default", False
    if location is not None:
        is_locked = not Path(location.file).is_file()
        origin = f"set by {location.file}" if is_locked else f"from {Path(location.file).name}"
        origin = "" if location.file == str(config_path) else origin
    return Control(
        key_path=key_path,
        section=section,
        description=schema.get("description", ""),
        unit=" or ".join(filter(None, units)),
        words=words,
        has_field=bool(numbers or lists),
        slider=_slider(numbers, value) if is_number and not isinstance(value, tuple) else None,
        value=text,
        origin=origin,
        is_locked=is_locked,
    )


def _words(option: Mapping[str, Any]) -> dict[str, str]:
    """Return the words that one alternative of a schema allows, with their descriptions."""
    words = {"boolean": ["true", "false"], "null": ["null"]}.get(str(option.get("type")), option.get("enum", []))
    words = [option["const"]] if "const" in option else words
    return dict(zip(words, option.get(ENUM_DESCRIPTIONS_KEY, [""] * len(words)), strict=True))


def _slider(numbers: Sequence[Mapping[str, Any]], value: float) -> Slider | None:
    """Return the slider of a number; None where its schema has no bounds, or they are far, or a step moves too far."""
    for option in numbers:
        low = option.get("minimum", option.get("exclusiveMinimum"))
        high = option.get("maximum", option.get("exclusiveMaximum"))
        if low is not None and high is not None and high - low <= MAX_SLIDER_RANGE:
            slider = Slider(low, high, option["type"] == "integer", "minimum" not in option)
            smallest = low + (high - low) * SLIDER_STEPS**-slider.exponent
            return slider if value == low or value >= smallest else None
    return None
