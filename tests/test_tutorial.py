"""The tutorial's cells against its outputs and its page; `python tests/documentation/tutorial.py` renews them."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from documentation.tutorial import NOTEBOOK, PAGE, PICTURES, output_pictures, output_texts, page_of, read_notebook

NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*")


def printed_text(source: str, variables: dict[str, Any]) -> str:
    """Return what the code of a cell prints; lines that only a notebook understands are left out."""
    code = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(code, "tutorial", "exec"), variables)  # noqa: S102 - the notebook's own cell
    return stream.getvalue().rstrip()


@pytest.mark.usefixtures("without_drawing")
def test_every_cell_prints_what_the_notebook_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are the same; the last digit of a number may be another with other processors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    variables: dict[str, Any] = {}
    cells = [cell for cell in read_notebook().cells if cell.cell_type == "code"]
    for cell in cells:
        kept, printed = "\n".join(output_texts(cell)), printed_text(cell.source, variables)
        assert NUMBER.sub("#", printed) == NUMBER.sub("#", kept), cell.source
        numbers = ([float(text.replace(",", "")) for text in NUMBER.findall(both)] for both in (printed, kept))
        assert next(numbers) == pytest.approx(next(numbers), rel=2e-3, abs=2e-3), cell.source
    assert (tmp_path / "reports" / "tutorial" / "report.html").exists()
    assert len(cells) > 8


def test_page_and_pictures_are_those_of_the_notebook() -> None:
    notebook = read_notebook()
    assert PAGE.read_text(encoding="utf-8") == page_of(notebook)
    pictures = {path.name: path.read_bytes() for path in PICTURES.glob("*.png")}
    assert pictures == output_pictures(notebook)
    assert f"({NOTEBOOK.name})" in PAGE.read_text(encoding="utf-8")


def test_notebook_is_clean() -> None:
    """No error, no warning, no time of day and no path of the machine that executed it."""
    notebook = read_notebook()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    texts = "".join(text for cell in notebook.cells for text in output_texts(cell))
    assert not any(path in texts for path in (tempfile.gettempdir(), str(Path.home())))
