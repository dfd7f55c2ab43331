"""Names of the attributes of a migration, and the stage it is at, which the table itself tells.

``raw`` and nothing else; beside it ``raw__file``, which is filled; ``raw`` is the file, and ``raw__before`` what it
was; ``raw`` alone again. No note can disagree with what the columns are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.codec import is_file
from datajoint_file.hooks.tables import table_name
from datajoint_file.model.names import MIGRATED
from datajoint_file.model.wording import nearest

Stage = Literal["new", "beside", "swapped", "over"]

NEW_ENDING, OLD_ENDING = MIGRATED, "__before"


@dataclass(frozen=True, slots=True)
class Names:
    """What the two attributes are called at a stage."""

    stage: Stage
    name: str  # which downstream code uses
    old: str  # what has the old values now; empty if it is gone
    new: str  # what has the files now, or is going to

    @property
    def beside(self) -> str:
        """What the new attribute is called before it gets the name."""
        return self.name + NEW_ENDING

    @property
    def kept(self) -> str:
        """What the old attribute is called when it has lost the name."""
        return self.name + OLD_ENDING


def names_in(table: Any, name: str) -> Names:
    """Return the names as the table has them now.

    Raises
    ------
    UnsupportedValueError
        If it has no such attribute, or others have the names that are needed.
    """
    heading, beside, kept = table.heading, name + NEW_ENDING, name + OLD_ENDING
    if name not in heading.names:
        raise UnsupportedValueError(f"{table_name(table)} has no attribute {name!r}{nearest(name, heading.names)}")
    if is_file(heading[name]):
        if kept in heading.names:
            return Names("swapped", name, kept, name)
        return Names("over", name, "", name)
    if beside not in heading.names:
        return Names("new", name, name, beside)
    if not is_file(heading[beside]):
        raise UnsupportedValueError(
            f"{table_name(table)}.{beside} is no `file` attribute, and its name is needed for the files of {name}"
        )
    return Names("beside", name, name, beside)
