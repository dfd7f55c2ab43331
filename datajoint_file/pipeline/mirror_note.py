"""Note in a place that it is the mirror of a project: a small object among the marks, which a collector refuses.

So nobody takes it for the place that counts, by mistake; no mirror is put where a project has its objects; and where
there is no note, nothing is known of what the mirror has.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import datetime, timezone

from datajoint_file.errors import (
    ConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageUnavailableError,
    brief,
)
from datajoint_file.model.object_keys import REGISTRY
from datajoint_file.storage.backend import ContentHeaders, StorageBackend

NAME = "mirror.json"
"""Of the note, below the registry. It is no mark's name."""

MIRROR_OF = "mirror_of"
"""What the note says: of which store."""

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class MirrorNote:
    """The note of one place, which may be there or not.

    Parameters
    ----------
    backend : StorageBackend
        The place.
    project : str
        Whose mirror it is to be.
    where : str
        What messages call it: where it is configured, and its location.
    """

    backend: StorageBackend
    project: str
    where: str = ""

    @property
    def key(self) -> str:
        """Its object key."""
        return f"{self.project}/{REGISTRY}/{NAME}"

    def noted(self) -> str:
        """Return the project that the place is noted to be a mirror of; empty if it is not."""
        try:
            document = json.loads(bytes(self.backend.read(self.key, 0, _MAX_BYTES)))
            return str(document["project"])
        except ObjectNotFoundError:
            return ""
        except (ValueError, LookupError, TypeError, RecursionError):
            return "?"

    def require(self) -> None:
        """Make sure that the place is the project's mirror; without a note nobody knows what the mirror has.

        Raises
        ------
        StorageUnavailableError
            If nothing says that it is a mirror.
        ConfigurationError
            If it is another project's.
        """
        found = self.noted()
        if not found:
            raise StorageUnavailableError(
                f"{self.where} does not say that it is the mirror of {self.project}, for there is no {self.key}: its "
                "disk may not be mounted, or be another one. Mount it, or say where it is; a new place becomes the "
                "mirror by `datajoint-file mirror`"
            ).of(self.key)
        if found != self.project:
            raise ConfigurationError(f"{self.where} is the mirror of the project {brief(found)}; give this one its own")

    def write(self, first: StorageBackend) -> bool:
        """Note that the place is the mirror of *first*, and tell whether it was not noted yet. It holds no secret."""
        of = first.url(f"{self.project}/x").rpartition("/")[0]
        moment = datetime.now(timezone.utc).isoformat(timespec="seconds")
        document = {"format": 1, MIRROR_OF: of, "project": self.project, "written": moment}
        content = json.dumps(document, indent=1).encode()
        try:
            self.backend.upload(self.key, io.BytesIO(content), len(content), ContentHeaders("application/json"))
        except ObjectExistsError:  # by another process or thread, just now
            return False
        return True

    def remove(self) -> None:
        """Say no more that the place is a mirror."""
        self.backend.delete(self.key)
