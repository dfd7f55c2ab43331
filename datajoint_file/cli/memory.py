"""State file ``--state FILE`` of a command: the task, how far it came, and what it has found that is not mended.

What a position or a finding means is the business of who made it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from datajoint_file.transfer.atomic_write import write_text

_STATE_OF = "datajoint-file verify"


@dataclass(frozen=True, slots=True)
class Memory:
    """The file that remembers between runs how far they came."""

    path: Path
    task: dict[str, Any]  # what is verified: the position of another task is none of this one

    @property
    def lock(self) -> Path:
        """The file beside it that a run holds a lock on: it itself is another file after each run."""
        return self.path.with_name(f"{self.path.name}.lock")

    def check(self) -> None:
        """Refuse a file that is another one's, or cannot be written."""
        if not self.path.parent.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise click.UsageError(f"--state {self.path}: {self.path.absolute().parent} is no directory to write in")
        self._read()

    def recall(self) -> tuple[str | None, list[dict[str, Any]]]:
        """Return where to go on, None for the beginning, and the findings that are open, of whichever task."""
        document = self._read()
        position = document.get("position") if document.get("task") == self.task else None
        open_ = document.get("open", [])
        if not isinstance(open_, list):
            raise self.not_ours()
        return position, open_

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise click.UsageError(f"--state {self.path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise self.not_ours() from error
        if not isinstance(document, dict) or document.get("state of") != _STATE_OF:
            raise self.not_ours()
        return document

    def not_ours(self) -> click.UsageError:
        """Return the error of a file that cannot be used, whose content is not what `keep` writes."""
        return click.UsageError(
            f"--state {self.path} is not a file that `{_STATE_OF}` has written, and was left as it is; name another, "
            "or remove it"
        )

    def keep(self, position: str | None, open_: list[dict[str, Any]]) -> None:
        """Write what the next run needs. The file is the old one or the new one, never a part of it."""
        document = {"state of": _STATE_OF, "task": self.task, "position": position, "open": open_}
        write_text(self.path, f"{json.dumps(document, indent=2)}\n")
