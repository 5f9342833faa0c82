"""The files of user-defined components: the one that defines a class, and what it imports from its own folder."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from quantlr.core.components import Component

PACKAGE_NAME = __name__.partition(".")[0]
INSTALLED_FOLDER_NAMES = ("site-packages", "dist-packages")
"""Folders of installed packages, where the modules beside a module are those of other packages."""


def source_path(component_class: type) -> Path | None:
    """Return the file of the module that defines a class; None for a notebook or standard input."""
    file = getattr(sys.modules.get(component_class.__module__), "__file__", None)
    return Path(file) if file is not None and Path(file).is_file() else None


def source_files(components: Iterable[Component]) -> dict[Path, str]:
    """Return the files that define components, and those that they import, with names that are the same everywhere.

    Only imports from the folder of the defining file or from one below it count. A name is the path relative to that
    folder.
    """
    names: dict[Path, str] = {}
    for component_class in dict.fromkeys(map(type, components)):
        path = source_path(component_class)
        if path is not None:
            root = _import_root(path, component_class.__module__)
            for file in _imported_files(path, root):
                names.setdefault(file, file.relative_to(path.parent).as_posix())
    return names


def source_file_digests(components: Iterable[Component]) -> dict[str, str]:
    """Return the SHA-256 digests of the `source_files` of components, by their names."""
    files = source_files(components).items()
    return dict(sorted((name, hashlib.sha256(file.read_bytes()).hexdigest()) for file, name in files))


def source_digests(components: Iterable[Component], *, session_token: str) -> list[str]:
    """Return the digests of `source_file_digests`, sorted.

    For a class without a file, as of a notebook, it is the digest of `session_token`, by which the caller tells one
    computation from the next, since the code may have changed between them.
    """
    components = list(components)
    digests = set(source_file_digests(components).values())
    if any(source_path(type(component)) is None for component in components):
        digests.add(hashlib.sha256(session_token.encode()).hexdigest())
    return sorted(digests)


def _import_root(path: Path, module_name: str) -> Path:
    """Return the folder in which the imports of a module are looked for: that of its outermost package."""
    return path.parents[module_name.count(".") + (path.name == "__init__.py")]


def _imported_files(path: Path, root: Path) -> list[Path]:
    """Return a file and all files of its folder, or below it, that it imports, directly or through each other."""
    files = [path]
    for file in files:  # the list grows
        for imported in _directly_imported_files(file, root):
            if imported.is_relative_to(path.parent) and imported not in files:
                files.append(imported)
    return files


def _directly_imported_files(path: Path, root: Path) -> Iterator[Path]:
    """Yield the files of the modules that a file's import statements name, wherever in the file they stand."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # changed since it was imported
        return
    own_package = path.relative_to(root).parts[0]
    for node in ast.walk(tree):
        base, names = root, list[str]()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if node.level else root
            parts = [node.module] if node.module else []
            names = [".".join([*parts, *inner]) for inner in ([], *([alias.name] for alias in node.names))]
        for name in filter(None, names):
            first, *inner = name.split(".")
            is_foreign = root.name in INSTALLED_FOLDER_NAMES and first != own_package
            if base == root and (first == PACKAGE_NAME or is_foreign):
                continue
            modules = [base / first]
            modules += [modules[0].joinpath(*inner[:depth]) for depth in range(1, len(inner) + 1)]
            files = (
                file for module in modules for file in (module.with_name(f"{module.name}.py"), module / "__init__.py")
            )
            yield from filter(Path.is_file, files)
