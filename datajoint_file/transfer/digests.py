"""Digest of a source as an insert would record it: of a file that of its bytes, of a directory that of its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from datajoint_file.concurrency.progress import Advance
from datajoint_file.model.manifest import Member, lines
from datajoint_file.transfer.directories import Tree
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.sources import Source, as_source


def digest_of(source: Source, advance: Advance) -> str:
    """Return the hash of *source*, ``sha256:…``. Each byte is read once; of what is stored already, none.

    Raises
    ------
    SourceError
        If something cannot be read, or changes meanwhile.
    """
    if source.tree is None:
        return source.hash or _read(source, advance).hash
    digest = hashlib.sha256()
    for line in lines(_members(source.tree, advance), source.tree.listing.empty):
        digest.update(line)
    return f"sha256:{digest.hexdigest()}"


def _members(tree: Tree, advance: Advance) -> Iterator[Member]:
    for name in tree.listing.names:
        reader = _read(as_source(tree.value(name)), advance)
        yield Member(name, reader.size, reader.sha256.hex())


def _read(source: Source, advance: Advance) -> HashingReader:
    with source.open() as bare:
        reader = HashingReader(bare, advance)
        drain(reader)
        return reader
