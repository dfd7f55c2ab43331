"""Show ``CONTRIBUTING.md`` as a page, with its links as the page needs them.

A hook of mkdocs. The file stands in the root of the repository, where everybody looks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return the text of the file for the page that stands for it."""
    if page.file.src_uri != "explanation/contributing.md":
        return markdown
    text = (Path(config.docs_dir).parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](../")
