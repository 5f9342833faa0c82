"""Errors inside components that users define: they name the component, and the line of the user's own file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from traceback import walk_tb
from typing import Any

from pydantic import BaseModel

from quantlr.core.components import Component, catalog_base_class, component_kind
from quantlr.core.errors import ComponentError, QuantlrError
from quantlr.core.source_files import PACKAGE_NAME, source_path

PACKAGE_DIR = Path(__file__).parents[1]
MAX_EXCEPTION_CHARS = 300
"""Characters of an exception's message that an error repeats."""


def is_user_defined(component_class: type) -> bool:
    """Return whether a class is a component that is not part of quantlr."""
    return issubclass(component_class, Component) and component_class.__module__.partition(".")[0] != PACKAGE_NAME


@contextmanager
def name_component_in_errors(component: Component | None = None, *, key: str | None = None) -> Iterator[None]:
    """Turn an exception inside a user-defined component into an error that names it and the line of the user's file.

    Errors of quantlr pass as they are, and so do exceptions in which no user-defined component takes part.

    Parameters
    ----------
    component : the component that is called in the block; None where it is not known.
    key : dotted key of the config that names it.

    Raises
    ------
    ComponentError : from the original exception.
    """
    try:
        yield
    except (QuantlrError, MemoryError):
        raise
    except Exception as error:
        text = _component_error_text(error, component)
        if text is None:
            raise
        raise ComponentError(text, key=key) from error


def _component_error_text(error: Exception, component: Component | None) -> str | None:
    """Return component, place and exception as text; None if no user-defined component takes part."""
    component_class = type(component) if component is not None and is_user_defined(type(component)) else None
    file = getattr(sys.modules.get(component_class.__module__), "__file__", None) if component_class else None
    place = ""
    for frame, line in walk_tb(error.__traceback__):
        code, local_values = frame.f_code, frame.f_locals
        owner = local_values.get("self", local_values.get("cls"))
        owner_class = owner if isinstance(owner, type) else type(owner)
        if is_user_defined(owner_class) and not Path(code.co_filename).is_relative_to(PACKAGE_DIR):
            component_class, file = owner_class, code.co_filename  # the innermost one: a transform may call another
        if file is not None and code.co_filename == file:
            place = f"{_displayed_path(file)}:{line}, in {code.co_name}: "
    if component_class is None:
        return None
    text = shorten(str(error), MAX_EXCEPTION_CHARS) or "no message"
    return f"{component_name(component_class)}: {place}{type(error).__name__}: {text}; correct it there"


def component_name(component_class: type[Component]) -> str:
    """Return what a component is and its kind, like "feature 'rsi'"."""
    base_name = catalog_base_class(component_class).__name__.lower()
    return f"{base_name} {component_kind(component_class) or component_class.__name__!r}"


def _displayed_path(file: str) -> str:
    """Return a path relative to the working folder if it is inside it."""
    path, folder = Path(file), Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


def require_returned(
    component: Component, method: str, condition: bool, *, needed: str, found: Any, key: str | None = None
) -> None:
    """Raise a ComponentError if what a method of a component has returned is not what its caller needs.

    Parameters
    ----------
    component, method : the component, and the name of its method.
    condition : whether the value is as needed.
    needed : what is needed, in words.
    found : the value, which the error describes by its type and shape.
    key : dotted key of the config that names the component.
    """
    if not condition:
        shape = getattr(found, "shape", None)
        described = f"{type(found).__name__}{f' of shape {tuple(shape)}' if shape is not None else ''}"
        name = component_name(type(component))
        raise ComponentError(f"{name}: {method} must return {needed}; it returned {described}", key=key)


def iter_user_defined_components(value: Any) -> Iterator[Component]:
    """Yield the user-defined components in a config section or in nested mappings and lists."""
    if isinstance(value, Component) and is_user_defined(type(value)):
        yield value
    inner: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        inner = (item for _, item in value)
    elif isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        inner = value
    for item in inner:
        yield from iter_user_defined_components(item)


def classes_not_importable_elsewhere(components: Iterable[Component]) -> tuple[str, ...]:
    """Return the names of classes that another process can't import: of a notebook, or inside a function."""
    classes = dict.fromkeys(map(type, components))
    return tuple(
        cls.__name__
        for cls in classes
        if "<locals>" in cls.__qualname__ or (cls.__module__ == "__main__" and source_path(cls) is None)
    )
