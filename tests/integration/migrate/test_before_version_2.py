"""Attributes of schemas that DataJoint 0.14 has made: what it keeps in stores, DataJoint 2 does not read.

Tables and places of objects are those that version 0.14.10 made of the definition below.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any
from uuid import UUID

import datajoint as dj
import numpy as np
import pytest
from datajoint import blob

from datajoint_file import Migration
from datajoint_file.errors import UnsupportedValueError
from tests.projects import over_mysql

pytestmark = over_mysql

HIDDEN = """
CREATE TABLE {schema}.`~external_{store}` (
  `hash` binary(16) NOT NULL COMMENT ':uuid:hash of contents (blob), of filename + contents (attach), or path',
  `size` bigint unsigned NOT NULL COMMENT 'size of object in bytes',
  `attachment_name` varchar(255) DEFAULT NULL COMMENT 'the filename of an attachment',
  `filepath` varchar(1000) DEFAULT NULL COMMENT 'relative filepath or attachment filename',
  `contents_hash` binary(16) DEFAULT NULL COMMENT ':uuid:used for the filepath datatype',
  `timestamp` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP COMMENT 'automatic timestamp',
  PRIMARY KEY (`hash`)
) ENGINE=InnoDB COMMENT='external storage tracking'"""

TABLE = """
CREATE TABLE {schema}.`recording` (
  `id` int NOT NULL,
  `note` longblob NOT NULL COMMENT ':attach:',
  `raw` binary(16) NOT NULL COMMENT ':attach@main:what the rig wrote',
  `trace` binary(16) DEFAULT NULL COMMENT ':blob@main:',
  `scan` binary(16) NOT NULL COMMENT ':filepath@nas-1:',
  PRIMARY KEY (`id`),
  KEY `raw` (`raw`),
  KEY `trace` (`trace`),
  KEY `scan` (`scan`),
  CONSTRAINT `recording_ibfk_1` FOREIGN KEY (`raw`) REFERENCES `~external_main` (`hash`) ON UPDATE RESTRICT,
  CONSTRAINT `recording_ibfk_2` FOREIGN KEY (`trace`) REFERENCES `~external_main` (`hash`) ON UPDATE RESTRICT,
  CONSTRAINT `recording_ibfk_3` FOREIGN KEY (`scan`) REFERENCES `~external_nas-1` (`hash`) ON UPDATE RESTRICT
) ENGINE=InnoDB COMMENT='what was recorded'"""

NAMES = ("a%s 'b' .dat", "Zürich 東京.tar.gz", "plain")
ARRAYS = (np.arange(5.0), np.zeros((2, 3), "int16"), np.arange(1_000))


def md5(*parts: bytes) -> bytes:
    return hashlib.md5(b"".join(parts), usedforsecurity=False).digest()


class Lab:
    """A schema and its stores, as version 0.14 leaves them."""

    def __init__(self, schema: dj.Schema, place: Path) -> None:
        self.connection, self.database, self.place = schema.connection, schema.database, place
        quoted = f"`{schema.database}`"
        for statement in (
            HIDDEN.format(schema=quoted, store="main"),
            HIDDEN.format(schema=quoted, store="nas-1"),
            TABLE,
        ):
            self.connection.query(statement.format(schema=quoted).replace("%", "%%"))
        for number, name in enumerate(NAMES):
            self.insert(number, name, b"%d" % number * 3_000, ARRAYS[number])

    def insert(self, number: int, name: str, content: bytes, array: Any) -> None:
        packed = blob.pack(array, compress=True)
        raw = self.track("main", md5(name.encode(), b"\0", content), content, name=name)
        trace = self.track("main", md5(packed), packed)
        path = f"rig/day {number}/{name}"
        self.write(self.place / "nas" / path, content)
        scan = self.track("nas-1", md5(path.encode()), content, path=path, md5=md5(content))
        self.sql(
            "INSERT INTO {}.recording VALUES (%s, %s, %s, %s, %s)",
            number,
            name.encode() + b"\0" + content,
            raw,
            trace,
            scan,
        )

    def track(self, store: str, key: bytes, content: bytes, **known: Any) -> bytes:
        """Store an object as version 0.14 does, and note it."""
        if "path" not in known:
            self.write(self.object(key, known.get("name")), content)
        columns = len(content), known.get("name"), known.get("path"), known.get("md5")
        sql = f"INSERT INTO {{}}.`~external_{store}` (hash, size, attachment_name, filepath, contents_hash) "
        self.sql(f"{sql} VALUES (%s, %s, %s, %s, %s)", key, *columns)
        return key

    def object(self, key: bytes, name: str | None = None) -> Path:
        letters = UUID(bytes=key).hex
        ending = f".{name}" if name else ""
        return Path(self.place, "main", self.database, letters[:2], letters[2:4], f"{letters}{ending}")

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def sql(self, sql: str, *args: Any) -> Any:
        return self.connection.query(sql.format(f"`{self.database}`"), args).fetchall()

    def declared(self) -> str:
        return str(self.sql("SHOW CREATE TABLE {}.recording")[0][1])

    @property
    def table(self) -> dj.FreeTable:
        return dj.FreeTable(self.connection, f"`{self.database}`.`recording`")


@pytest.fixture
def lab(schema: dj.Schema, pipeline: dj.Instance, tmp_path: Path) -> Lab:
    for store in ("main", "nas"):
        (tmp_path / store).mkdir()
    pipeline.config.stores = {
        "default": "main",
        "main": {"protocol": "file", "location": str(tmp_path / "main")},
        "nas-1": {"protocol": "file", "location": str(tmp_path / "nas")},
    }
    return Lab(schema, tmp_path)


def test_all_of_it_moves_goes_back_and_moves_for_good(lab: Lab, columns: Any) -> None:
    options: dict[str, dict[str, Any]] = {"trace": {"suffix": ".npy"}}
    for name in ("note", "raw", "trace", "scan"):
        migration, before = Migration(lab.table, name, **options.get(name, {})), lab.declared()
        for step in ("plan", "run", "check", "finish", "back"):
            report = getattr(migration, step)()
            assert report, report
        assert set(before.splitlines()) <= set(lab.declared().splitlines())
        assert migration.finish()
        assert migration.check().rows == len(NAMES)
        told = str(migration.forget())
        assert ("delete_external_files" in told) == (name in ("raw", "trace"))
    assert "FOREIGN KEY" not in lab.declared()
    seen = columns(lab.table)
    contents = {number: b"%d" % number * 3_000 for number in range(len(NAMES))}
    for name in ("note", "raw", "scan"):
        assert seen.contents(name) == contents
        assert seen.names(name) == dict(enumerate(NAMES))
    for number, content in seen.contents("trace").items():
        np.testing.assert_array_equal(np.load(io.BytesIO(content)), ARRAYS[number])
    assert len(lab.sql("SELECT hash FROM {}.`~external_main`")) == 2 * len(NAMES)
    assert sum(path.is_file() for path in lab.place.joinpath("main").rglob("*")) == 2 * len(NAMES)


def test_what_is_damaged_gone_or_leads_astray_is_told(lab: Lab, columns: Any) -> None:
    keys = dict(lab.sql("SELECT id, raw FROM {}.recording"))
    lab.object(keys[0], NAMES[0]).write_bytes(b"1" * 3_000)
    lab.object(keys[1], NAMES[1]).write_bytes(b"short")
    lab.object(keys[2], NAMES[2]).unlink()
    lab.sql("UPDATE {}.`~external_nas-1` SET filepath = %s WHERE filepath LIKE %s", "../../etc/passwd", "rig/day 0%")
    lab.sql("UPDATE {}.`~external_nas-1` SET contents_hash = %s WHERE filepath LIKE %s", md5(b""), "rig/day 1%")
    found = {name: Migration(lab.table, name).run() for name in ("raw", "scan")}
    assert [report.rows for report in found.values()] == [0, 1]
    told = [problem.reason for report in found.values() for problem in report.problems]
    for number, reason in enumerate(
        ("is not there", "should have 3000 bytes", "is damaged", "is no path within", "is damaged")
    ):
        assert any(reason in one for one in told), (number, told)
    lab.sql("SET foreign_key_checks = 0")
    lab.sql("ALTER TABLE {}.`~external_nas-1` MODIFY contents_hash varbinary(20), MODIFY size varchar(20)")
    lab.sql("UPDATE {}.`~external_nas-1` SET contents_hash = 'short' WHERE filepath LIKE %s", "rig/day 1%")
    lab.sql("UPDATE {}.`~external_nas-1` SET size = 'much' WHERE filepath LIKE %s", "rig/day 2%")
    assert sum("not understood" in one.reason for one in Migration(lab.table, "scan").check().problems) == 2
    lab.sql("DELETE FROM {}.`~external_main` WHERE attachment_name IS NULL")
    assert "has no object" in Migration(lab.table, "trace").plan().problems[0].reason


def test_blobs_of_version_0_11_and_what_migrate_external_makes_of_an_attribute(lab: Lab, columns: Any) -> None:
    for number, key in lab.sql("SELECT id, trace FROM {}.recording"):
        kept = lab.object(key).rename(lab.place / "main" / f"old{number}")
        known = md5(kept.read_bytes()) if number else None
        sql = "UPDATE {}.`~external_main` SET filepath = %s, contents_hash = %s WHERE hash = %s"
        lab.sql(sql, kept.name, known, key)
    lab.sql("ALTER TABLE {}.recording ADD COLUMN raw_v2 json COMMENT ':attach@main:'")
    lab.sql("UPDATE {}.recording SET raw_v2 = JSON_OBJECT('url', NULL, 'size', 1, 'hash', HEX(raw))")
    for name in ("trace", "raw_v2"):
        migration = Migration(lab.table, name)
        assert migration.run(), name
        assert migration.check(), name
    seen = columns(lab.table)
    assert seen.contents("trace__file") == {n: blob.pack(one, compress=True) for n, one in enumerate(ARRAYS)}
    assert seen.names("raw_v2__file") == dict(enumerate(NAMES))


def test_a_view_in_the_place_of_the_hidden_table_is_not_asked(lab: Lab) -> None:
    lab.sql("SET foreign_key_checks = 0")
    lab.sql("RENAME TABLE {0}.`~external_nas-1` TO {0}.elsewhere")
    lab.sql("CREATE SQL SECURITY INVOKER VIEW {0}.`~external_nas-1` AS SELECT * FROM {0}.elsewhere")
    with pytest.raises(UnsupportedValueError, match="has no table ~external_nas-1"):
        Migration(lab.table, "scan")
    lab.sql("DROP VIEW {0}.`~external_nas-1`")
    lab.sql("RENAME TABLE {0}.elsewhere TO {0}.`~external_nas-1`")
    assert Migration(lab.table, "scan").plan()


def test_a_longblob_is_refused_with_what_makes_a_blob_of_it(lab: Lab) -> None:
    lab.sql("ALTER TABLE {}.recording ADD COLUMN small longblob")
    with pytest.raises(UnsupportedValueError, match=r"small is longblob.*datajoint\.migrate\.migrate_columns"):
        Migration(lab.table, "small")


def test_a_path_of_a_store_can_stay_where_it_is(lab: Lab, schema: dj.Schema) -> None:
    with pytest.raises(UnsupportedValueError, match="no paths of this machine"):
        Migration(lab.table, "scan", root=lab.place)
    plan = Migration(lab.table, "scan", hard_link="all").plan()
    assert "3 hard linked" in str(plan)
    assert "3 copied" in str(Migration(lab.table, "raw", hard_link="all").plan())
