"""Pages of HTML from the templates beside this file; whatever a name or a note contains is shown, never obeyed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES_DIR = Path(__file__).with_name("templates")


def render_template(template_name: str, **values: Any) -> str:
    """Return a template filled in: values are escaped, and one that is missing is an error."""
    return _jinja_environment().get_template(template_name).render(**values)


@cache
def _jinja_environment() -> Environment:
    """Return what compiles templates, and keeps them compiled for the next report of this process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only who writes HTML pays for the import

    return Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
