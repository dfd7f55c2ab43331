"""Configuration diagnostics: found, valid, and its secrets to be had. No store is contacted."""

from __future__ import annotations

import os
from pathlib import Path

from datajoint_file.config import Settings, StorageSettings, find_configuration, load_settings
from datajoint_file.config.loader import FILE_NAME, FILE_VARIABLE, OVERRIDE_PREFIX, is_named
from datajoint_file.config.secrets import reveal
from datajoint_file.doctor.check import Check, references_of
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError
from datajoint_file.model.wording import pip_install


def check_configuration(start: Path) -> tuple[list[Check], Settings | None]:
    """Look for the configuration of a process that works in *start*, read it, and look up its secrets.

    Returns what was found, and the settings if they are valid.
    """
    path = find_configuration(start)
    if path is None:
        detail = f"there is no {FILE_NAME} in {start} or above, and {FILE_VARIABLE} is not set"
        return [Check("file", "failed", detail, "write one with `datajoint-file init`")], None
    found = Check("file", "ok", f"{path}, named by {FILE_VARIABLE}" if is_named() else str(path))
    try:
        settings = load_settings(path, is_searched=not is_named())
    except ConfigurationNotFoundError:
        detail = f"{FILE_VARIABLE} names {path}, which does not exist"
        return [Check("file", "failed", detail, f"correct or unset {FILE_VARIABLE}")], None
    except ConfigurationError as error:
        fix = "correct it; the file that `datajoint-file init` writes explains its keys"
        return [found, Check("contents", "failed", str(error), fix)], None
    return [found, _contents(settings), *_check_secrets(settings)], settings


def _contents(settings: Settings) -> Check:
    overrides = sorted(name for name in os.environ if name.startswith(OVERRIDE_PREFIX))
    overridden = f"; overridden by {', '.join(overrides)}" if overrides else ""
    described = "; rows are kept beside new objects" if settings.object_storage.self_describing else ""
    where = f"project {settings.project.name}, {settings.storage.location}"
    return Check("contents", "ok", f"{where}{described}{overridden}")


def _check_secrets(settings: Settings) -> list[Check]:
    """Resolve each reference to a secret by itself, so that all that are missing are told at once."""
    storages = settings.stores
    references = [(table, reference) for table, storage in storages.items() for reference in references_of(storage)]
    failures = []
    for table, reference in references:
        try:
            reveal(reference, settings.directory, storages[table].answers)
        except ConfigurationError as error:
            failures.append(Check("secrets", "failed", f"[{table}] {error}", _fix(reference)))
    return failures or [Check("secrets", "ok", _resolved([reference for _, reference in references], settings.storage))]


def _resolved(references: list[str], storage: StorageSettings) -> str:
    if references:
        return f"resolved: {', '.join(dict.fromkeys(references))}"
    is_cloud = storage.backend in ("s3", "gcs", "azure")
    return "none: the machine's own credentials are used" if is_cloud and not storage.credentials else "none to resolve"


def _fix(reference: str) -> str:
    kind, _, name = reference[2:-1].partition(":")
    service, _, user = name.rpartition("/")
    fixes = {
        "env": f"export {name}=…",
        "file": f"write the secret to {name}, readable by you alone, or correct the path",
        "keyring": f"{pip_install('keyring')} and keyring set {service} {user}",
    }
    fixes["cmd"] = f"run it by hand in the directory of the file, until it prints the secret and nothing else: {name}"
    return fixes.get(kind, "write ${env:NAME}, ${file:PATH}, ${keyring:service/user} or ${cmd:program arguments}")
