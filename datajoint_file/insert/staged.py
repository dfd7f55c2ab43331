"""`Staged`, a file that is stored and waits for its row: a value, which says what it was staged for.

How it is stored is `stage`'s business, how its row is inserted that of `table_hooks`.
"""

from __future__ import annotations

from dataclasses import dataclass

from datajoint_file.errors import LeaseLostError, UnsupportedValueError, brief
from datajoint_file.journal.journal import Write
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import is_made_for
from datajoint_file.pipeline.described import Described
from datajoint_file.pipeline.manifests import difference
from datajoint_file.pipeline.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Staged(Described):
    """A file that is stored and waits for its row. Insert it as the value it was staged for.

    Frozen, comparable and picklable: a worker can stage, and another process insert. It holds no secret.

    Parameters
    ----------
    metadata : FileMetadata
        What the row is going to record.
    table : str
        The full name of the table it is for.
    attribute : str
        The attribute it is for.
    key_digest : str
        Stands for the primary key it is for.
    write : Write
        The intent that keeps it; where there is no journal, its number is 0 and nothing does.
    """

    metadata: FileMetadata
    table: str
    attribute: str
    key_digest: str
    write: Write

    def __repr__(self) -> str:
        return f"Staged({self.metadata.original_name!r}, {self.metadata.size} bytes, {self.metadata.path!r})"

    def require_stored(self, pipeline: Pipeline) -> None:
        """Raise `LeaseLostError` unless the store of a pipeline has the file."""
        if found := difference(pipeline, self.metadata):
            raise LeaseLostError(
                f"the staged file {pipeline.url(self.metadata)} {found}: it was given up, or staged into another "
                "store (compare the datajoint.toml of both sides). Stage it again"
            )

    def check(self, project: str, table: str, attribute: str, key_digest: str) -> None:
        """Raise unless this is what it was staged for.

        Raises
        ------
        UnsupportedValueError
            If it was staged for another project, table, attribute or primary key, or `stage` has not made it.
        """
        if (self.table, self.attribute) != (table, attribute):
            raise UnsupportedValueError(
                f"the file was staged for {self.table}.{self.attribute}; stage it for {table}.{attribute}, or insert "
                "the path"
            )
        if self.key_digest != key_digest:
            raise UnsupportedValueError(
                "the file was staged for another primary key; stage it with the key of its row, or insert the path"
            )
        if not is_made_for(self.path, project, key_digest, self.write.write_id):
            raise UnsupportedValueError(
                f"{brief(self.path)} is not the key of a file that was staged for this row in the project {project!r}"
            )
