"""Quotas on real databases: what is refused before a byte is stored, and what is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Link
from datajoint_file.errors import ConfigurationError, JournalWarning, QuotaExceededError
from tests.projects import Store, over_mysql, over_postgresql, unique
from tests.tables import drop_schema, recording_of

KB = 1000


@pytest.fixture
def lab(instance: dj.Instance, store: Store, tmp_path: Path) -> Iterator[Any]:
    """Two schemas of one project with a quota of each kind: 3 kB of a subject, 8 kB of all, 2 kB of one table."""
    (tmp_path / "nas").mkdir()
    first, second = unique("schema"), unique("schema")
    quota = {"total": "8 kB", "subject": "3 kB", f"{second}.*": "5 kB", f"{first}.Atlas": "2 kB", "nobody": "0"}
    datajoint_file.configure(
        store.configuration(quota=quota, roots={"nas": {"path": str(tmp_path / "nas")}}), connection=instance
    )
    schema, other = instance.Schema(first), instance.Schema(second)

    @schema
    class Recording(dj.Manual):
        definition = "subject : varchar(30)\nnumber : int32\n---\nraw : file\nextra = null : file"

    @schema
    class Atlas(dj.Manual):
        definition = "atlas : int32\n---\nimage : file"

    @other
    class Movie(dj.Manual):
        definition = "subject : varchar(30)\n---\nmovie : file"

    tables = {"Recording": Recording, "Atlas": Atlas, "Movie": Movie}
    yield SimpleNamespace(**tables, schema=schema, store=store, nas=tmp_path / "nas")
    if instance.connection.in_transaction:
        instance.connection.cancel_transaction()
    for name in (first, second):
        drop_schema(instance.connection, name)


def row(subject: str, number: int, size: int, **others: Any) -> dict[str, Any]:
    return {"subject": subject, "number": number, "raw": (f"{number}.dat", b"x" * size), **others}


ODD = "o'%\"b"


def test_a_quota_counts_all_tables_and_refuses_before_the_first_byte(lab: Any) -> None:
    lab.Recording.insert([row(ODD, 1, KB), row("b", 1, KB)])
    lab.Movie.insert1({"subject": ODD, "movie": ("m.mp4", b"m" * KB)})
    stored = lab.store.object_keys()
    with pytest.raises(QuotaExceededError) as caught:
        lab.Recording.insert([row("b", 2, 5), row(ODD, 2, KB), row(ODD, 3, 1)])
    said = str(caught.value)
    for part in (
        "no row was written",
        "subject = 3.0 kB",
        "has 2.0 kB",
        "would add 1.0 kB",
        "1.0 kB is left",
        "[quota]",
    ):
        assert part in said
    with pytest.raises(QuotaExceededError, match=r"subject = 3.0 kB"):
        lab.Recording.update1(row(ODD, 1, 2 * KB))
    with pytest.raises(QuotaExceededError):
        datajoint_file.stage(lab.Recording, {"subject": ODD, "number": 2}, "raw", ("s.dat", b"s" * 2 * KB))
    with pytest.raises(QuotaExceededError, match=r"Atlas = 2.0 kB"):
        lab.Atlas.insert1({"atlas": 1, "image": ("a.png", b"p" * 2001)})
    with pytest.raises(QuotaExceededError, match=r"\.\* = 5.0 kB"):
        lab.Movie.insert({"subject": f"new{n}", "movie": ("m.mp4", b"m" * 2100)} for n in range(2))
    assert lab.store.object_keys() == stored
    lab.Recording.insert1(row(ODD, 2, KB))  # exactly what is left
    lab.Atlas.insert1({"atlas": 1, "image": ("a.png", b"p" * 2 * KB)})
    lab.Recording.insert1(row("c", 1, 2 * KB))
    with pytest.raises(QuotaExceededError, match=r"total = 8.0 kB .*has 8.0 kB"):
        lab.Recording.insert1(row("d", 1, 1))
    report = lab.Recording.insert([row("d", 1, 0), row("d", 2, 1)], on_error="skip")
    assert (len(report.inserted), [type(one.error) for one in report.failed]) == (1, [QuotaExceededError])
    (lab.Recording & {"subject": "c"}).delete(prompt=False)
    lab.Recording.insert1(row("d", 3, KB))  # what was deleted is kept by the history, and takes nothing of the quota
    assert len(lab.Recording.to_arrays("raw")) == 5


def test_streams_links_directories_and_transactions(lab: Any, instance: dj.Instance) -> None:
    (lab.nas / "large.dat").write_bytes(b"l" * 20 * KB)
    lab.Recording.insert1({"subject": "a", "number": 1, "raw": Link(lab.nas / "large.dat")})
    with pytest.raises(QuotaExceededError, match=r"would add 20.0 kB"):
        datajoint_file.copy_in(lab.Recording)
    assert lab.Recording.fetch1("raw").linked
    fifo = Unsized(b"x" * 4 * KB)
    with pytest.raises(QuotaExceededError, match=r"would add 4.0 kB"):
        lab.Recording.insert1({"subject": "a", "number": 2, "raw": ("s.dat", fifo)})
    with pytest.raises(QuotaExceededError, match=r"would add 3.5 kB"):
        with datajoint_file.create(lab.Recording, {"subject": "a", "number": 2}, "raw", "new.zarr") as new:
            new.fs.pipe_file("a", b"a" * 3500)
    assert len(lab.Recording()) == 1
    with instance.connection.transaction:
        lab.Recording.insert1(row("a", 3, 2 * KB))
        with pytest.raises(QuotaExceededError, match=r"has 2.0 kB"):
            lab.Recording.insert1(row("a", 4, 2 * KB))
    staged = datajoint_file.stage(lab.Recording, {"subject": "a", "number": 5}, "raw", ("s.dat", b"s" * KB))
    lab.Recording.insert1({"subject": "a", "number": 5, "raw": staged})
    assert datajoint_file.usage(lab.Recording, by="subject").rows[0].size == 3 * KB


@over_postgresql
def test_schema_that_cannot_be_asked_is_said_to_be_left_out(lab: Any, instance: dj.Instance, database: Any) -> None:
    admin, name, own = instance.connection, unique("user"), lab.schema.database
    lab.Movie.insert1({"subject": "a", "movie": ("m.mp4", b"m" * KB)})
    lab.Recording.insert1(row("a", 1, KB))
    admin.query(f"CREATE USER {name} PASSWORD 'pw'")
    admin.query(f'GRANT USAGE, CREATE ON SCHEMA "{own}" TO {name}')
    admin.query(f'GRANT ALL ON ALL TABLES IN SCHEMA "{own}" TO {name}')
    theirs = dj.Instance(database.host, name, "pw", port=database.port, use_tls=False, backend="postgresql")
    datajoint_file.configure(lab.store.configuration(quota={"total": "8 kB"}), connection=theirs)
    table = dj.FreeTable(theirs.connection, lab.Recording.full_table_name)
    with pytest.warns(JournalWarning, match=f"{lab.Movie.database} is not counted in quotas"):
        table.insert1(row("a", 2, KB))
    with pytest.raises(QuotaExceededError, match=r"has 2\.0 kB"):
        table.insert1(row("a", 3, 7 * KB))
    theirs.connection.close()
    admin.query(f"DROP OWNED BY {name}; DROP USER {name}")


class Unsized:
    """A stream that cannot tell how long it is."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        size = len(self._content) if size < 0 else size
        part, self._content = self._content[:size], self._content[size:]
        return part


@over_mysql
def test_quota_that_is_none_is_refused(instance: dj.Instance, store: Store) -> None:
    for quota in ({"subject": "much"}, {"a b": "1 GB"}, {"lab.*.x": "1 GB"}):
        with pytest.raises(ConfigurationError, match=r"\[quota\]"):
            datajoint_file.configure(store.configuration(quota=quota), connection=instance)


def test_a_value_that_is_empty_or_of_another_type_is_counted_as_itself(lab: Any) -> None:
    scan = recording_of(lab.schema, "subject : int32\n---\nraw : file", "Scan")
    scan.insert1({"subject": 7, "raw": ("7.dat", b"x" * KB)})
    lab.Recording.insert([row("b", 1, 2 * KB), row("", 1, 2 * KB)])
    lab.Recording.insert1(row("", 2, KB))
    scan.insert1({"subject": 8, "raw": ("8.dat", b"x" * KB)})
    with pytest.raises(QuotaExceededError, match="subject"):
        lab.Recording.insert1(row("", 3, 1))
