"""Show ``examples/files.ipynb`` as a page, with the outputs that are in it.

A hook of mkdocs. A notebook is JSON; nothing is executed, and nothing but what is in the file is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return the cells of the notebook for the page that stands for it."""
    if page.file.src_uri != "notebook.md":
        return markdown
    path = Path(config.docs_dir).parent / "examples" / "files.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    yield from map(_output, cell["outputs"])


def _output(output: dict[str, Any]) -> str:
    """Return what a cell gave, as a notebook shows it: what was printed, HTML, or text."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    if "text/html" in output["data"]:
        return f'<div class="output">\n{"".join(output["data"]["text/html"])}\n</div>'
    return _text("".join(output["data"]["text/plain"]))


def _text(text: str) -> str:
    return f'```text title="Output"\n{text.rstrip()}\n```'
