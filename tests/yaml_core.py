"""A reader of YAML 1.2's core schema, written from its specification (section 10.3.2)."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

TAG_PATTERNS = (
    (r"null|Null|NULL|~|", lambda text: None),
    (r"true|True|TRUE", lambda text: True),
    (r"false|False|FALSE", lambda text: False),
    (r"[-+]?[0-9]+", int),
    (r"0o[0-7]+", lambda text: int(text[2:], 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text[2:], 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)", lambda text: float(text.replace(".", ""))),
    (r"\.(nan|NaN|NAN)", lambda text: float("nan")),
)


def read(text: str) -> Any:
    """Return the value of a document."""
    return _value(YAML(typ="rt", pure=True).compose(text))


def _value(node: Node | None) -> Any:
    if isinstance(node, ScalarNode):
        typed = (
            make(node.value)
            for pattern, make in TAG_PATTERNS
            if node.style is None and re.fullmatch(pattern, node.value)
        )
        return next(typed, node.value)
    if isinstance(node, MappingNode):
        return {key.value: _value(value) for key, value in node.value}
    return [_value(item) for item in node.value] if node else None
