"""Put the decision records of ``docs/adr`` into the site's navigation, whichever there are.

A hook of mkdocs. It writes no page: the titles are those of the records, with what has become of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the section "Decisions" to the end of the navigation."""
    records = sorted((Path(config.docs_dir) / "adr").glob("*.md"))
    if records:
        config.nav.append({"Decisions": [entry(record) for record in records]})
    return config


def entry(record: Path) -> str | dict[str, str]:
    """Return a record's entry: its path, with a title where a later record has superseded or extended it."""
    page, text = f"adr/{record.name}", record.read_text(encoding="utf-8")
    fate = re.search(r"^(Superseded|Extended) by ADR (\d+)", text, re.MULTILINE)
    title = text.partition("\n")[0].removeprefix("# ")
    return {f"{title} ({fate[1].lower()} by {fate[2]})": page} if fate else page
