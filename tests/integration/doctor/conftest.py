"""What ``datajoint-file doctor`` prints, as tests read it, and the fixtures that call it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.cli.conftest import directory, process, run

__all__ = ["Report", "directory", "process", "report", "run"]


@dataclass(frozen=True)
class Report:
    """What ``doctor --json`` printed."""

    status: str
    checks: dict[tuple[str, str], dict[str, str]]

    def statuses(self, part: str) -> dict[str, str]:
        return {name: check["status"] for (of, name), check in self.checks.items() if of == part}


def report(output: str) -> Report:
    document = json.loads(output)
    return Report(document["status"], {(check["part"], check["name"]): check for check in document["checks"]})
