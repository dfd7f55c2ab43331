"""Root diagnostics: whether the files that stay where they are can be read from this machine. Nothing is written."""

from __future__ import annotations

from collections.abc import Generator

from datajoint_file.config import Settings, StorageSettings
from datajoint_file.doctor.check import Check, censored, secrets_of
from datajoint_file.doctor.probe import reason
from datajoint_file.errors import DataJointFileError, StorageMissingError
from datajoint_file.storage import open_root
from datajoint_file.storage.roots import root_variable


def check_roots(settings: Settings) -> Generator[Check, None, None]:
    """Look at each root: is it there, and can a file of it be read? The checks hold no secrets."""
    roots = (_root(settings, name, storage) for name, storage in settings.roots.items())
    return censored(roots, secrets_of(settings))


def _root(settings: Settings, name: str, storage: StorageSettings) -> Check:
    try:
        backend = open_root(storage, name, settings.directory)
        found = next((one for one in backend.list() if one.size), None)
        if found is None:
            detail = f"{storage.location} has no file, and rows may link some: is its disk mounted?"
            return Check(name, "warning", detail, _elsewhere(name))
        with backend.open(found.key) as file:
            file.read(1)
    except StorageMissingError as error:
        return Check(name, "warning", reason(error), _elsewhere(name))
    except DataJointFileError as error:
        return Check(name, "failed", reason(error), f"correct [roots.{name}], or see that this user may read there")
    return Check(name, "ok", f"{storage.location}: a file was found and opened")


def _elsewhere(name: str) -> str:
    return f"mount it, or set {root_variable('roots', name)} to where it is on this machine"
