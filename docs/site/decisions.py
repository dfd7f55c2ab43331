"""Put the decision records of ``docs/adr`` into the site's navigation, whichever there are.

A hook of mkdocs. It writes no page: the titles are those of the records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the section "Decisions" to the end of the navigation."""
    records = sorted((Path(config.docs_dir) / "adr").glob("*.md"))
    if records:
        config.nav.append({"Decisions": [f"adr/{record.name}" for record in records]})
    return config
