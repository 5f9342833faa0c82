"""The tutorial, a notebook and the page made of it: ``python tests/documentation/tutorial.py`` executes it anew.

The cells of ``docs/tutorial.ipynb`` are edited in Jupyter; this runs them in an empty folder, keeps their outputs, and
writes ``docs/tutorial.md`` with the pictures beside it. Needs nbclient and ipykernel (extra ``dev``).
"""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK, PAGE, PICTURES = DOCS / "tutorial.ipynb", DOCS / "tutorial.md", DOCS / "tutorial"
WRITTEN_BY = "<!-- Written by python tests/documentation/tutorial.py from tutorial.ipynb -->"


def read_notebook() -> Any:
    """Return the notebook with the outputs that it has."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(notebook: Any) -> Any:
    """Return the notebook with the outputs of a new kernel, which works in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            nbformat.from_dict(notebook), timeout=None, kernel_name="python3", resources=resources, record_timing=False
        )
        result = client.execute()
    result.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in result.cells:
        cell.pop("id", None)
        cell.metadata = {}
    result.nbformat_minor = 4  # cells without random identifiers
    return result


def output_texts(cell: Any) -> list[str]:
    """Return what a cell printed and displayed as text, one for each output."""
    texts = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if output["output_type"] == "stream":
            texts.append(output["text"].rstrip())
        elif "image/png" not in data and "text/plain" in data:
            texts.append(data["text/plain"])
    return texts


def output_pictures(notebook: Any) -> dict[str, bytes]:
    """Return the pictures of the notebook by file name, in their order."""
    contents = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    return {f"picture_{number}.png": base64.b64decode(content) for number, content in enumerate(contents, start=1)}


def page_of(notebook: Any) -> str:
    """Return the notebook as a page: its texts, code, outputs as text, and links to its pictures."""
    parts, n_pictures = [], 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        heading = next(re.findall(r"^#+ (.*)", part, re.MULTILINE)[-1] for part in reversed(parts) if part[0] == "#")
        parts.append(f"```python\n{cell.source}\n```")
        parts += [f"```text\n{text}\n```" for text in output_texts(cell)]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                n_pictures += 1
                parts.append(f"![{heading}](tutorial/picture_{n_pictures}.png)")
    title, *rest = parts
    return "\n\n".join([title, WRITTEN_BY, *rest]) + "\n"


def main() -> None:
    """Execute the notebook, and write it with its page and pictures."""
    notebook = executed(read_notebook())
    nbformat.write(notebook, NOTEBOOK)
    PAGE.write_text(page_of(notebook), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for path in PICTURES.glob("*.png"):
        path.unlink()
    for name, content in output_pictures(notebook).items():
        (PICTURES / name).write_bytes(content)


if __name__ == "__main__":
    main()
