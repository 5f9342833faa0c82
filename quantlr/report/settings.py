"""Which keys of several configs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUN_NAME_KEY = "name"
"""The key that says what a run is called, not what it does."""


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A key of the config and what each run has there, as text; None where a run has no such key."""

    key: str
    values_by_run: tuple[str | None, ...]


def config_differences(configs: Sequence[Mapping[str, Any]]) -> tuple[ConfigDifference, ...]:
    """Return the keys whose values are not the same in all configs, in the order in which configs have them."""
    flat = [dict(_iter_flat_items(config)) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key != RUN_NAME_KEY)
    found = (ConfigDifference(key, tuple(settings.get(key) for settings in flat)) for key in keys)
    return tuple(setting for setting in found if len(set(setting.values_by_run)) > 1)


def _iter_flat_items(value: Any, key_prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys and their values as text; a list of plain values is one value."""
    below = f"{key_prefix}." if key_prefix else ""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _iter_flat_items(item, f"{below}{name}")
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for at, item in enumerate(value):
            yield from _iter_flat_items(item, f"{below}{at}")
    else:
        yield key_prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
