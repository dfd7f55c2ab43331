"""Settings of a pipeline, as frozen values.

Types, defaults and ranges of single values stand here; what belongs together (a bucket to ``s3``) is checked in
`rules`, files and environment are read in `loader`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
)

from datajoint_file.config.secrets import Answers
from datajoint_file.config.urls import STORAGE_URLS, checked_prefix
from datajoint_file.model.names import SUFFIX
from datajoint_file.model.partition import PartitionPattern
from datajoint_file.model.verify_policy import ALLOWED, VerifyPolicy
from datajoint_file.model.wording import duration, parse_size

_NAME = r"^(\$\{[^}]*\}|[^/\s])+$"
"""Of a bucket: without slashes and spaces, but in references."""

SUFFIX_OF_FORMAT = Annotated[str, Field(pattern=SUFFIX)]

QUOTA_NAME = r"[a-z][a-z0-9_]*|[^.\s]+\.(\*|[^.*\s]+(\.[^.*\s]+)?)"
"""Of a quota: ``total``, an attribute, ``schema.*``, ``schema.Table`` or ``schema.Table.Part``."""

QUOTA_OF_ALL = "total"
"""What the quota of all that a project's rows have stored is called."""

SIZE_OF_QUOTA = 'a size, such as "500 GB"'

PROJECT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._=-]{0,99}$"


def _concealed(value: Any) -> Any:
    """Wrap every text of a table, so that no repr shows one. Options can hold secrets as well as credentials do."""
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, Mapping):
        return MappingProxyType({name: _concealed(item) for name, item in value.items()})
    return tuple(_concealed(item) for item in value) if isinstance(value, list) else value


def _pattern(value: Any) -> PartitionPattern:
    if not isinstance(value, str):
        raise ValueError("it is no text")  # noqa: TRY004 - what pydantic translates
    return PartitionPattern(value)


def _retention(value: Any) -> timedelta:
    if not isinstance(value, str):
        raise ValueError("it is no text")  # noqa: TRY004 - what pydantic translates
    return duration(value)


def _bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _flat(value: Any) -> Any:
    """Return a table without tables in it, whose names have dots: TOML takes ``lab_ephys.Recording`` for a table."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for name, item in value.items():
        below = _flat(item) if isinstance(item, Mapping) else None
        flat |= {name: item} if below is None else {f"{name}.{inner}": one for inner, one in below.items()}
    return flat


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class StorageSettings(_Section):
    """One store: the table ``[storage]``, ``[projects.NAME]`` or ``[roots.NAME]``, or the mirror of one of them."""

    backend: Annotated[str, Field(min_length=1, description="file, s3, gcs, azure, or another fsspec protocol")]
    path: Annotated[str | None, Field(pattern=r"^[^\x00-\x1f]+$", description="the project's directory")] = None
    bucket: Annotated[str | None, Field(pattern=_NAME, description="the name of a bucket, without slashes")] = None
    container: Annotated[str | None, Field(pattern=_NAME, description="the name of a container of azure")] = None
    prefix: Annotated[
        str | None,
        AfterValidator(lambda text: text and checked_prefix(text)),
        Field(description="such as team/ephys: letters, digits and . _ = + @ -, between slashes"),
    ] = None
    url: Annotated[str | None, Field(description=STORAGE_URLS)] = None
    endpoint_url: Annotated[
        str | None,
        Field(pattern=r"^https?://[^@?#\s]+$", description="an http(s) URL, without user, password and query"),
    ] = None
    region: Annotated[str | None, Field(min_length=1, description="a region's name")] = None
    durability: Annotated[Literal["full", "none"], Field(description='"full" or "none"')] = "full"
    engine: Annotated[Literal["auto", "obstore", "fsspec"], Field(description='"auto", "obstore" or "fsspec"')] = "auto"
    workers: Annotated[int | None, Field(ge=1, le=256, description="a number from 1 to 256")] = None
    exclusive_create: Annotated[bool, Field(description="true or false")] = True
    options: Annotated[
        dict[str, Any], AfterValidator(_concealed), Field(repr=False, description="a table of fsspec options")
    ] = {}
    credentials: Annotated[
        dict[str, Any], AfterValidator(_concealed), Field(repr=False, description="a table of credentials")
    ] = {}
    mirror: Annotated[MirrorSettings | None, Field(description="a table like [storage]")] = None

    _where: str = PrivateAttr(default="[storage]")
    _answers: Answers = PrivateAttr(default_factory=Answers)

    @property
    def where(self) -> str:
        """What messages call this table: ``file: [storage]``, and its key next."""
        return self._where

    @property
    def table(self) -> str:
        """The name of this table: ``storage``, ``roots.nas``."""
        return self._where.rpartition("[")[2].rstrip("]")

    @property
    def answers(self) -> Answers:
        """What programs that are asked for secrets have said, since the configuration was loaded."""
        return self._answers

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings can hold credentials and are not pickled: send the path of datajoint.toml instead")

    @property
    def location(self) -> str:
        """Where the store is, on one line, without credentials."""
        return f"{self.backend}: {self.root}"

    @property
    def shown(self) -> str:
        """What messages call the store: this table, and where it is."""
        return f"{self.where} {self.location}"

    @property
    def root(self) -> str:
        """The directory, or the bucket or container with the prefix in it. References are in it as they were given."""
        place = self.path or self.bucket or self.container or ""
        return f"{place}/{self.prefix}" if self.prefix else place


class MirrorSettings(StorageSettings):
    """A second place with the same objects under the same keys: the table ``[storage.mirror]``."""

    write: Annotated[Literal["both", "later"], Field(description='"both" or "later"')] = "both"
    when_down: Annotated[Literal["fail", "later"], Field(description='"fail" or "later"')] = "fail"


class ObjectStorageSettings(_Section):
    """How objects are laid out: the table ``[object_storage]``."""

    partition_pattern: Annotated[
        PartitionPattern,
        PlainValidator(_pattern),
        Field(description='a path such as "subject{subject_id}/session{session_id}"'),
    ] = PartitionPattern()
    retention: Annotated[
        timedelta,
        PlainValidator(_retention),
        Field(description='how long removed files are kept, such as "30 days", "12 weeks" or "0 days"'),
    ] = timedelta(days=30)
    versions: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="how many earlier files of each attribute of a row are kept, at any age"),
    ] = 0
    verify: Annotated[VerifyPolicy, Field(repr=False, description=ALLOWED)] = "always"  # says nothing of places
    self_describing: Annotated[bool, Field(repr=False, description="true or false")] = False


class CacheSettings(_Section):
    """What this machine keeps of stored files: the table ``[cache]``."""

    path: Annotated[
        str | None, Field(pattern=r"^[^\x00-\x1f]+$", description="a directory that is this user's alone")
    ] = None
    size: Annotated[
        int, BeforeValidator(_bytes), Field(ge=0, description='how many bytes it may have, such as "50 GB"')
    ] = 50 * 10**9


class ScratchSettings(_Section):
    """Where jobs work on this machine: the table ``[scratch]``."""

    path: Annotated[str | None, Field(pattern=r"^[^\x00-\x1f]+$", description="a directory, which is there")] = None


class DisplaySettings(_Section):
    """What printed tables show: the table ``[display]``."""

    file_names: Annotated[bool, Field(description="true or false")] = True


class ProvenanceSettings(_Section):
    """What is noted of where files come from: the table ``[provenance]``."""

    enabled: Annotated[bool, Field(description="true or false")] = True


class ProjectSettings(_Section):
    """The table ``[project]``."""

    name: Annotated[str, Field(pattern=PROJECT_NAME, description="letters, digits and . _ = - (100 at most)")]


class Settings(_Section):
    """The configuration of one pipeline: where the objects of its project are, and those of others that it reads.

    Relative paths start in *directory*, that of the file that was read.
    """

    project: Annotated[ProjectSettings, Field(description="a table")]
    storage: Annotated[StorageSettings, Field(description="a table")]
    object_storage: Annotated[ObjectStorageSettings, Field(description="a table")] = ObjectStorageSettings()
    formats: Annotated[
        dict[str, SUFFIX_OF_FORMAT],
        Field(repr=False, description='a table of suffixes, such as DataFrame = ".parquet"'),
    ] = {}
    display: Annotated[DisplaySettings, Field(repr=False, description="a table")] = DisplaySettings()
    quota: Annotated[
        dict[str, Annotated[int, BeforeValidator(_bytes), Field(ge=0)]],
        BeforeValidator(_flat),
        Field(repr=False, description='a table of sizes, such as subject_id = "500 GB"'),
    ] = {}
    provenance: Annotated[ProvenanceSettings, Field(repr=False, description="a table")] = ProvenanceSettings()
    projects: Annotated[dict[str, StorageSettings], Field(description="a table of tables")] = {}
    roots: Annotated[dict[str, StorageSettings], Field(description="a table of tables")] = {}
    cache: Annotated[CacheSettings, Field(repr=False, description="a table")] = CacheSettings()
    scratch: Annotated[ScratchSettings, Field(repr=False, description="a table")] = ScratchSettings()
    directory: Annotated[Path | None, Field(exclude=True, repr=False)] = None

    @property
    def stores(self) -> dict[str, StorageSettings]:
        """All tables that describe stores, by their names in the file."""
        others = {"projects": self.projects, "roots": self.roots}
        named = {f"{table}.{name}": store for table, some in others.items() for name, store in some.items()}
        stores = {"storage": self.storage, **named}
        return stores | {f"{name}.mirror": store.mirror for name, store in stores.items() if store.mirror}

    @property
    def places(self) -> dict[str, StorageSettings]:
        """Where files can be that stay where they are, by the names that rows have: projects are roots as well."""
        return {**self.projects, **self.roots, self.project.name: self.storage}

    @property
    def is_single(self) -> bool:
        """Whether no store has a mirror."""
        return not any(storage.mirror for storage in (self.storage, *self.projects.values()))

    def at(self, storage: StorageSettings) -> Settings:
        """Return the same, with the project's objects in one place alone, that of *storage*, and no mirrors."""
        projects = {name: other.model_copy(update={"mirror": None}) for name, other in self.projects.items()}
        alone = storage.model_copy(update={"mirror": None})
        return self.model_copy(update={"storage": alone, "projects": projects})

    @property
    def digest(self) -> str:
        """Eight characters that differ between configurations of different places. Credentials take no part."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]
