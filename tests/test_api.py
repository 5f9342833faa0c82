"""The public names: `__all__`, `dir()`, signatures and docstrings agree, and a parameter means the same everywhere."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import quantlr
from quantlr.core import errors

NAMES = sorted(set(dir(quantlr)) - {"__version__"})
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(quantlr, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(quantlr, name))]
EXPERIMENT_FUNCTIONS = ("run", "plan", "predict", "worth", "race", "robustness", "audit", "sweep")
SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Warns", "See Also", "Examples", "Notes")


def public_methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(cls).items():
        function = member.__func__ if isinstance(member, classmethod) else member
        if not name.startswith("_") and inspect.isfunction(function):
            yield f"{cls.__name__}.{name}", function


CALLABLES = [(name, getattr(quantlr, name)) for name in FUNCTIONS]
METHODS = [
    method
    for cls in (quantlr.Run, quantlr.SweepResult, quantlr.GradientDescentClassifier)
    for method in public_methods(cls)
]


def sections(documented: Any) -> dict[str, str]:
    """Return the sections of a docstring by heading; the text before the first is under ""."""
    headings = "|".join(SECTIONS)
    parts = re.split(rf"^({headings})\n-+\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_parameters(documented: Any, section: str = "Parameters") -> dict[str, str]:
    """Return the description of each parameter, in the order of the docstring, on one line each."""
    found: dict[str, str] = {}
    entries = re.split(r"^(?=\S)", sections(documented).get(section, ""), flags=re.MULTILINE)
    for entry in filter(None, entries):
        names, colon, text = entry.partition(" : ")
        assert colon, f"{documented}: {entry!r} has no description"
        found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return found


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: item for name, item in inspect.signature(function).parameters.items() if name not in ("self", "cls")}


def test_all_and_dir_have_the_same_names_but_for_the_one_that_imports_scikit_learn() -> None:
    assert set(dir(quantlr)) - set(quantlr.__all__) == {"GradientDescentClassifier"}
    assert set(quantlr.__all__) <= set(dir(quantlr))
    assert list(quantlr.__all__) == sorted(quantlr.__all__)
    for name in dir(quantlr):
        value = getattr(quantlr, name)
        assert name == "__version__" or value.__name__ == name


def test_all_errors_are_public() -> None:
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    defined = {name for name, value in classes.items() if issubclass(value, Exception)}
    assert defined == {name for name in CLASSES if issubclass(getattr(quantlr, name), Exception)}
    tree = (errors.__doc__ or "").partition("::")[2]
    assert defined == set(re.findall(r"\b[A-Z]\w+(?=\s{2,}|\n)", tree))


def test_package_docstring_names_what_is_public() -> None:
    named = set(re.findall(r"`(\w+)`", (quantlr.__doc__ or "").partition("| --- |")[2]))
    without_errors = {name for name in NAMES if not hasattr(errors, name)}
    assert named - {"errors"} == without_errors | {"QuantlrError"}


@pytest.mark.parametrize(
    ("name", "function"), [*CALLABLES, *METHODS], ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_parameter_is_documented_in_the_order_of_the_signature(name: str, function: Callable[..., Any]) -> None:
    documented, signature = documented_parameters(function), parameters(function)
    assert sorted(documented) == sorted(signature), name
    first_line = sections(function)[""].strip().splitlines()[0]
    assert first_line.endswith((".", ":")), f"{name}: {first_line}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_result_errors_and_an_example_and_is_annotated(name: str) -> None:
    function = getattr(quantlr, name)
    assert {"Returns", "Raises", "Examples"} <= sections(function).keys()
    for parameter in parameters(function).values():
        assert parameter.annotation is not parameter.empty
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    for error in re.findall(r"^(\w+(?:, \w+)*) : ", sections(function)["Raises"], flags=re.MULTILINE):
        assert set(error.split(", ")) <= set(quantlr.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_the_subject_of_a_function_is_positional(name: str) -> None:
    first, *others = parameters(getattr(quantlr, name)).values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert first.name == {"compare": "runs", "export": "run"}.get(name, "config")
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)


def test_functions_that_run_something_take_the_same_config_overrides_and_features() -> None:
    run = parameters(quantlr.run)
    for name in EXPERIMENT_FUNCTIONS:
        function = parameters(getattr(quantlr, name))
        for shared in ("overrides", "features", "offline"):
            assert str(function[shared].annotation) == str(run[shared].annotation), (name, shared)
            assert function[shared].default == run[shared].default, (name, shared)
    for name in ({*EXPERIMENT_FUNCTIONS} - {"sweep"}) | {"load_config"}:
        assert str(parameters(getattr(quantlr, name))["config"].annotation) == str(run["config"].annotation)


def test_a_parameter_begins_with_the_same_words_wherever_it_is_documented() -> None:
    first_clauses: dict[str, list[str]] = {}
    for function in dict([*CALLABLES, *public_methods(quantlr.Run)]).values():
        for parameter, text in documented_parameters(function).items():
            if text.rstrip(".") != "as in `quantlr.run`":
                first_clauses.setdefault(parameter, []).append(re.split(r"[.,;:](?:\s|$)", text)[0])
    for name, clauses in first_clauses.items():
        shortest = min(clauses, key=len)
        assert all(clause.startswith(shortest) for clause in clauses), f"{name}: {clauses}"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_documents_its_fields(name: str) -> None:
    cls = getattr(quantlr, name)
    assert (cls.__doc__ or "").strip()
    if dataclasses.is_dataclass(cls):
        fields = [field.name for field in dataclasses.fields(cls)]
        assert sorted(documented_parameters(cls, "Attributes")) == sorted(fields)
    elif name == "GradientDescentClassifier":
        assert list(documented_parameters(cls)) == list(parameters(cls))
