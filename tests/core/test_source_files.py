"""The digest of user-defined code follows every file that it imports from its own folder, and no other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from quantlr.core.components import Component
from quantlr.core.source_files import source_digests, source_file_digests

CLASS = """
from quantlr.core.components import Component

class Part(Component):
    kind: str = "part"
"""
FILES = {
    "uo_part.py": f"import json, uo_helper\nfrom uo_pack import inner\n{CLASS}",
    "uo_helper.py": "def late():\n    import uo_deep\n",
    "uo_deep.py": "import uo_helper\n",
    "uo_other.py": "X = 1\n",
    "uo_pack/__init__.py": "",
    "uo_pack/inner.py": "from . import constants\nfrom .more.far import X\n",
    "uo_pack/constants.py": "Y = 2\n",
    "uo_pack/more/__init__.py": "",
    "uo_pack/more/far.py": "X = 1\n",
    "uo_pack/unused.py": "",
    "uo_pack/part.py": f"from uo_pack.constants import Y\n{CLASS}",
    "quantlr/core/components.py": "never read",
}
READ = {
    "uo_part": {
        "uo_part.py", "uo_helper.py", "uo_deep.py", "uo_pack/__init__.py", "uo_pack/inner.py", "uo_pack/constants.py",
        "uo_pack/more/__init__.py", "uo_pack/more/far.py",
    },
    "uo_pack.part": {"part.py", "constants.py", "__init__.py"},
}  # fmt: skip


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Component]]:
    """Return a function that loads the class of a module; its file and those beside it are below `tmp_path`."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load_part(module_name: str) -> Component:
        part: Component = importlib.import_module(module_name).Part()
        return part

    yield load_part
    for name in [name for name in sys.modules if name.startswith("uo_")]:
        del sys.modules[name]


@pytest.mark.parametrize("module_name", list(READ))
def test_files_are_those_imported_from_the_own_folder(load: Callable[[str], Component], module_name: str) -> None:
    assert set(source_file_digests([load(module_name)])) == READ[module_name]


def test_digest_changes_with_each_imported_file_and_no_other(load: Callable[[str], Component], tmp_path: Path) -> None:
    part = load("uo_part")
    before = source_digests([part], session_token="")
    for name in FILES:
        path = tmp_path / name
        path.write_text(path.read_text() + "# changed\n")
        after = source_digests([part], session_token="")
        assert (after != before) == (name in READ["uo_part"])
        before = after


def test_modules_of_installed_packages_do_not_take_their_neighbours_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "uo_neighbour.py").write_text("")
    (folder / "uo_installed.py").write_text("import uo_neighbour\n" + CLASS)
    monkeypatch.syspath_prepend(str(folder))
    part = importlib.import_module("uo_installed").Part()
    assert set(source_file_digests([part])) == {"uo_installed.py"}
    monkeypatch.delitem(sys.modules, "uo_installed")


def test_a_class_without_a_file_has_the_digest_of_the_session() -> None:
    class Nowhere(Component):
        kind: str = "nowhere"

    Nowhere.__module__ = "no_such_module"
    one, again, other = (source_digests([Nowhere()], session_token=token) for token in ("a", "a", "b"))
    assert one == again != other
    assert source_file_digests([Nowhere()]) == {}
