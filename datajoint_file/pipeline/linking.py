"""Links: below which root a path or URL lies, what a row calls it, and what there is to record of it.

How its bytes are read for somebody who has the row is the pipeline's business, as of any file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import PurePath
from urllib.parse import unquote

from datajoint_file.concurrency.progress import Advance
from datajoint_file.config.paths import working_directory
from datajoint_file.config.settings import StorageSettings
from datajoint_file.config.urls import SCHEMES, file_path
from datajoint_file.errors import (
    ConfigurationError,
    FileChangedError,
    ObjectNotFoundError,
    SourceChangedError,
    SourceNotFoundError,
    StorageAccessError,
    StorageError,
    UnknownRootError,
    UnsafeNameError,
    UnsafePathError,
    printable,
)
from datajoint_file.model import media_types
from datajoint_file.model.manifest import encode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import check_link
from datajoint_file.pipeline.stores import Stores
from datajoint_file.pipeline.upload import Upload
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.factory import root_address
from datajoint_file.storage.roots import require_anything, root_variable
from datajoint_file.transfer.directories import Listing, LocalTree
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.sources import Source
from datajoint_file.transfer.stream_names import without_secrets

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+(.*)", re.DOTALL)

_SIGNED = re.compile(r":/.*[?&](?:sig|signature|token|x-(?:amz|goog)-[a-z-]+)=", re.IGNORECASE | re.DOTALL)
"""What a signed URL has, and a name of a file has not."""

_KEPT = re.compile(r"(?:^|/)(?:objects(?:/|$)|~|%7E)", re.IGNORECASE)
"""Where in its storage a project keeps what is stored: there nothing is linked. Some disks know no case."""

_OF_A_WRITE = re.compile(r"/[a-z2-7]{16}-[a-z2-7]{26}/", re.IGNORECASE)
"""In the name of whatever a project has stored, wherever the root begins below which it lies."""


def located(stores: Stores, source: Source) -> Source:
    """Return *source* with the place of its link as rows have it, and with a directory's files. Reads none of them.

    Raises
    ------
    UnknownRootError
        If it lies below no root.
    UnsafePathError
        If it leaves its root through ``..`` or a symbolic link, is where the project keeps what is stored, or is a
        signed URL.
    UnsafeNameError
        If no row could name it.
    """
    if not _is_given(source.link):
        stores.of_root(source.link)
        return replace(source, link=check_link(source.link))
    link = _key_of(stores, source.link)
    if _SIGNED.search(source.link):
        raise UnsafePathError(
            f"{printable(without_secrets(source.link))} was given with a signature, which a row would show to all: "
            "give it without that; credentials that may read belong in [roots.NAME.credentials] of datajoint.toml"
        )
    if link.endswith("/") and source.tree is None:
        source = replace(source, tree=RootTree(stores.of_root(link), link))
    if isinstance(source.tree, LocalTree) and (inner := next(iter(source.tree.listing.links), "")):
        raise UnsafePathError(f"{printable(source.link)}{inner} is a symbolic link: a directory is linked without any")
    _refuse_kept(source, _within_project(stores, source.link), link)
    return replace(source, link=check_link(link))


def _refuse_kept(source: Source, within: str, link: str) -> None:
    """Raise if something linked is stored: its store's collector would not know of the link."""
    below = source.tree.listing.names if source.tree else [""]
    named = (f"{within}{name}" for name in below if within), (f"{link}{name}" for name in below)
    kept = next(filter(_KEPT.search, named[0]), "") or next(filter(_OF_A_WRITE.search, named[1]), "")
    if kept:
        raise UnsafePathError(
            f"{printable(without_secrets(source.link))}: {printable(kept)} is where the project keeps what is stored "
            "(`objects`, and what begins with `~`), and nothing is linked there: insert what a fetch of the stored "
            "file gives, or link a file elsewhere"
        )


def _within_project(stores: Stores, given: str) -> str:
    """Return what a link would be called below the project's own storage, whatever root it lies below; else nothing."""
    beginning, path = _taken_apart(given)
    real, slash = path if beginning else os.path.realpath(path), "/" if given.endswith("/") else ""
    for name, scheme, root in _roots(stores):
        if name == stores.project and scheme == beginning and real.startswith(f"{root}/"):
            return f"{name}/{real[len(root) + 1 :].rstrip('/')}{slash}"
    return ""


def recorded(stores: Stores, upload: Upload, advance: Advance) -> FileMetadata:
    """Return what a row is to record of a file that stays where it is: it is read, or only looked at if it is known.

    Raises
    ------
    SourceChangedError
        If it is written to meanwhile.
    FileChangedError
        If it has not the size that a row says.
    StorageError
        If it is not there, or its root cannot be reached.
    """
    source, link, backend = upload.source, upload.link, stores.of_root(upload.link)
    try:
        found = backend.stat(link)
    except ObjectNotFoundError as error:
        raise gone(stores, source.linked) if source.linked else _absent(backend, link) from error
    if (known := source.linked) is not None:
        if found.size != known.size:
            raise FileChangedError(f"{link}: expected {known.size} bytes, found {found.size}. {CHANGED}")
        named = replace(known, original_name=upload.name, mime_type=source.mime_type, title=source.title)
        return replace(named, path=link, linked=link)
    digest, media_type = source.hash, upload.mime_type
    if digest is None:
        with backend.open(link) as file:
            reader = HashingReader(file, advance)
            drain(reader)
        digest, media_type = reader.hash, media_type or media_types.of_content(reader.head)
        if (backend.stat(link), reader.size) != (found, found.size):
            raise SourceChangedError(f"{link} changed while it was read. Link it when its writer has finished")
    now = datetime.now(timezone.utc)
    moment = min(now, found.modified or now) if source.hash else now  # what nobody has read is not known since today
    described = FileMetadata(link, found.size, digest, upload.name, moment.replace(microsecond=0), media_type or None)
    return replace(described, title=source.title, linked=link)


def _absent(backend: StorageBackend, link: str) -> ObjectNotFoundError:
    """Return the error for a URL that is going to be linked, and at which nothing is."""
    url = backend.url(link)
    hint = f"; a URL is taken as it is written, so if it was copied from a row give {unquote(url)}"
    with suppress(StorageError):
        if next(backend.list(link), None) is not None:
            return ObjectNotFoundError(f"{url} is a directory: end its URL in /").of(link)
    return ObjectNotFoundError(f"{url}: there is no such file{hint if '%25' in link else ''}").of(link)


def require_root(stores: Stores, place: str) -> None:
    """Raise unless a directory of this machine lies below a root, or is one: files in it can be linked then.

    Raises
    ------
    UnknownRootError, UnsafePathError
        As by `located`.
    """
    link = _key_of(stores, f"{place}/a file", printable(place))
    if link.startswith(f"{stores.project}/") and _KEPT.search(link):
        raise UnsafePathError(
            f"{printable(place)} is where the project keeps what is stored: nothing is linked there, but elsewhere"
        )


CHANGED = (
    "The original was changed since it was linked, or the hash that was given then is another file's; no byte of it "
    "was handed out: bring back what it was; or, if it is right as it is now, link it again with update1"
)


def gone(stores: Stores, metadata: FileMetadata) -> StorageError:
    """Return the error for an original that is not there: where it is, or that all of its root is not.

    *metadata* is that of a file, or of a directory whose files are not there.
    """
    backend, link = stores.of_bytes(metadata), metadata.linked
    try:
        with suppress(StorageAccessError):
            require_anything(backend, link)
    except StorageError as error:
        return error
    root = link.partition("/")[0]
    table = stores.settings.places[root].table
    elsewhere = f"if all of the root {root!r} is elsewhere on this machine, say where in [{table}] of datajoint.toml"
    if backend.capabilities.is_mounted:
        elsewhere += f", or set {root_variable(*table.split('.'))}"
    what = "directory" if metadata.is_directory else "file"
    return ObjectNotFoundError(
        f"{link}: there is no {what} at {backend.url(link.rstrip('/'))} any more: bring it back; or, {elsewhere}; or, "
        "if it was moved alone, link it where it is now with update1"
    ).of(metadata.path)


def _is_given(link: str) -> bool:
    """Tell a path or URL, as somebody has given it, from what a row has."""
    return link.startswith("/") or _URL.match(link) is not None


@dataclass(frozen=True)
class RootTree:
    """A directory of a root that is not on this machine."""

    backend: StorageBackend
    link: str

    @cached_property
    def listing(self) -> Listing:
        """What is in it."""
        some = self.backend.list(self.link[:-1])
        found = sorted((check_link(stat.key)[len(self.link) :], stat.size) for stat in some)
        if not found:
            raise SourceNotFoundError(f"{self.backend.url(self.link)}/ has no file: is there such a directory?")
        listing = Listing(names=[name for name, _ in found])
        listing.sizes.extend(size for _, size in found)
        return listing

    def value(self, name: str) -> Link:
        """Return a member."""
        return Link(self.backend.url(f"{self.link}{name}"))


def _key_of(stores: Stores, given: str, shown: str = "") -> str:
    beginning, path = _taken_apart(given)
    real = path if beginning else os.path.realpath(path)
    slash = "/" if given.endswith("/") else ""
    roots = sorted(_roots(stores), key=lambda root: len(root[2]), reverse=True)
    shown = shown or printable(without_secrets(given))
    for name, scheme, root in roots:
        if name == stores.project and scheme == beginning and f"{root}/".startswith(f"{real.rstrip('/')}/"):
            raise UnsafePathError(f"{shown} contains the project's own store: link what is to be linked of it")
        if scheme == beginning and real.rstrip("/").startswith(f"{root}/"):
            below = real[len(root) + 1 :].rstrip("/")
            if ".." not in below.split("/"):
                return f"{name}/{encode_path(below)}{slash}"
    _refuse_root(shown, beginning, real, roots)
    for name, scheme, root in roots:
        if scheme == beginning and path.startswith(f"{root}/"):
            ends = "" if beginning else f": it ends at {printable(real)}"
            raise UnsafePathError(f"{shown} leaves the root {name!r} through `..` or a symbolic link{ends}")
    raise UnknownRootError(_below_none(shown, real, roots))


def _refuse_root(shown: str, beginning: str, real: str, roots: list[tuple[str, str, str]]) -> None:
    """Raise if somebody means all of a root, or has a root's name for that of a kind of store."""
    for name, scheme, root in roots:
        if (scheme, root) == (beginning, real.rstrip("/")):
            raise UnsafePathError(f"{shown} is the root {name!r} itself: link a file or a directory below it")
        if name == beginning and beginning not in {scheme for _, scheme, _ in roots}:
            raise UnknownRootError(
                f"{shown}: {name!r} is the name of a root, and no URL begins so: give the path or URL itself, "
                f"{_shown(scheme, root)}/…"
            )


def _taken_apart(given: str) -> tuple[str, str]:
    """Return the kind of store that a URL is of, and the rest of it; of a path of this machine no kind."""
    match = _URL.fullmatch(given)
    if match is None:
        return "", given
    kind = SCHEMES.get(match[1].lower(), match[1].lower())
    return ("", file_path(given)) if kind == "file" else (kind, match[2])


def names_at(stores: Stores, given: str) -> list[str]:
    """Return what rows can call the file or directory at a path or URL: as stored there, and as what stays there.

    Raises
    ------
    UnknownRootError
        If it lies in no store and below no root of the configuration.
    """
    beginning, path = _taken_apart(given)
    real = path.rstrip("/") if beginning else os.path.realpath(working_directory() / path)
    places, found = list(_addresses(stores, stores.settings.places)), list[str]()
    for name, _, root in (place for place in places if place[1] == beginning and real.startswith(f"{place[2]}/")):
        below = real[len(root) + 1 :]
        if name not in stores.settings.roots:
            found.append(f"{name}/{below}")  # what is stored is called in the store as in the row
        with suppress(UnsafeNameError):
            found.append(f"{name}/{encode_path(below)}")
    if not found:
        raise UnknownRootError(
            f"{printable(without_secrets(given))} lies in no store and below no root of datajoint.toml, so that no row "
            f"is known to name it. They are: {_listed(places)}"
        )
    return found


def _roots(stores: Stores) -> Iterator[tuple[str, str, str]]:
    """Give the roots that can be resolved here: their names, what URLs below them begin with, and their paths."""
    return _addresses(stores, {**stores.settings.roots, stores.project: stores.settings.storage})


def _addresses(stores: Stores, places: Mapping[str, StorageSettings]) -> Iterator[tuple[str, str, str]]:
    settings = stores.settings
    for name, storage in places.items():
        project = "" if name in settings.roots else name
        with suppress(ConfigurationError):  # a reference that cannot be resolved here
            yield name, *root_address(storage, settings.directory, project=project)


def _listed(places: list[tuple[str, str, str]]) -> str:
    return ", ".join(f"{name} ({_shown(scheme, root)})" for name, scheme, root in sorted(places))


def _shown(scheme: str, root: str) -> str:
    return without_secrets(f"{scheme}://{root}") if scheme else root


def _below_none(shown: str, real: str, roots: list[tuple[str, str, str]]) -> str:
    """Say which roots there are, and what to write for another."""
    kind, path = _taken_apart(shown)
    above = PurePath(path if kind else real).parent
    name = re.sub(r"[^A-Za-z0-9]+", "_", above.name).strip("_") or "data"
    what, place = "# where files are that stay where they are", json.dumps(above.as_posix())
    if kind in SCHEMES.values():
        lines = [what, f"[roots.{name}]", f"url = {json.dumps(f'{kind}://{above.as_posix()}')}"]
        server = "endpoint_url, if it is not Amazon's, " if kind == "s3" else ""
        lines.append(f"# and {server}credentials, if it needs any, as in [storage]")
    elif kind:
        place = json.dumps(f"{kind}://{above.as_posix()}") if kind in ("http", "https") else place
        lines = [f"[roots.{name}]", f'backend = "{kind}"', f"path = {place}"]
    else:
        lines = [what, f"[roots.{name}]", f"path = {place}"]
    said = f"{shown} lies below no root of datajoint.toml. The roots are: {_listed(roots)}."
    return "\n".join((f"{said} For another, add this, or a directory above it:", "", *lines))
