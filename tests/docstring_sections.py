"""An extension of griffe: reads ``name : description`` in docstrings, where numpydoc has ``name : type``."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"^(Parameters|Attributes|Returns|Raises)\n-+\n(?:.+\n?|\n(?!\n*\w+\n-+$))*", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w[\w, *`]*?) : ((?:.+\n?)(?:^ +.*\n?)*)", re.MULTILINE)


class DescriptionsForTypes(griffe.Extension):
    """Puts each description below its name; types are those of the signature."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = with_descriptions_below(obj.docstring.value)


def with_descriptions_below(docstring: str) -> str:
    """Return a docstring with the description of each entry of its sections below the name, one name an entry."""
    return SECTION.sub(_rewrite_section, docstring)


def _rewrite_section(section: re.Match[str]) -> str:
    # In numpydoc's section of returns, a word alone is a type; with a colon it is a name.
    colon = " :" if section[1] == "Returns" else ""

    def entries(entry: re.Match[str]) -> str:
        description = entry[2].rstrip("\n")
        end = entry[2][len(description) :]
        return "\n".join(f"{name}{colon}\n    {description}" for name in entry[1].split(", ")) + end

    return ENTRY.sub(entries, section[0])
