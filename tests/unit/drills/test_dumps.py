"""Dump files as they are read: what they tell of themselves, and what of them is never passed on."""

from __future__ import annotations

import gzip
from datetime import datetime, timezone
from pathlib import Path

import pytest

from datajoint_file.drills.dumps import Course, archive_moment, dump_files, text_of
from datajoint_file.errors import DrillError

MARIADB = b"""/*M!999999\\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB
--
-- Host: localhost    Database: lab_ephys
-- ------------------------------------------------------
-- Server version\t10.11.19-MariaDB

CREATE TABLE `t` (`id` int);
-- Dump completed on 2026-03-02  1:15:09
"""
WHOLE_SERVER = b"""-- MySQL dump 10.13  Distrib 8.4.0
-- Current Database: `lab`
CREATE DATABASE `lab`;
USE `lab`;
INSERT INTO `t` VALUES ('USE `mysql`;');
-- Current Database: `mysql`
CREATE DATABASE `mysql`;
USE `mysql`;
DROP TABLE `user`;
-- Current Database: `video`
USE `video`;
-- Dump completed
"""
POSTGRESQL = b"""--
-- PostgreSQL database dump
--

\\restrict aBc123

-- Dumped from database version 18.6
-- Started on 2026-03-02 01:15:09 UTC

COPY t FROM stdin;
\\restrict other
\\.
--
-- PostgreSQL database dump complete
--

\\unrestrict aBc123
"""


def read(path: Path) -> tuple[bytes, Course]:
    course = Course()
    told: list[int] = []
    [dump] = dump_files(path)
    text = b"".join(text_of(dump, course, told.append))
    assert sum(told) <= path.stat().st_size
    return text, course


def test_a_dump_tells_its_product_its_schema_and_its_moment(tmp_path: Path) -> None:
    path = tmp_path / "lab.sql"
    path.write_bytes(MARIADB)
    [dump] = dump_files(path)
    assert (dump.product, dump.database) == ("mariadb", "lab_ephys")
    text, course = read(path)
    assert text == MARIADB
    assert (course.begun, course.ended) == (1, 1)
    assert course.moment == datetime(2026, 3, 2, 1, 15, 9).astimezone(timezone.utc)


def test_what_concerns_the_server_itself_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "all.sql.gz"
    path.write_bytes(gzip.compress(WHOLE_SERVER))
    text, course = read(path)
    assert b"DROP TABLE" not in text
    assert b"CREATE DATABASE `mysql`" not in text
    assert b"CREATE DATABASE `lab`" in text
    assert b"USE `video`" in text
    assert (course.ended, course.moment) == (1, None)


def test_the_marks_of_psql_are_taken_out_and_nothing_that_looks_like_them(tmp_path: Path) -> None:
    path = tmp_path / "lab.sql"
    path.write_bytes(POSTGRESQL)
    [dump] = dump_files(path)
    assert (dump.product, dump.version) == ("postgresql", 18)
    text, course = read(path)
    assert text == POSTGRESQL.replace(b"\\restrict aBc123\n", b"").replace(b"\\unrestrict aBc123\n", b"")
    assert (course.begun, course.ended) == (1, 1)
    assert course.moment == datetime(2026, 3, 2, 1, 15, 9, tzinfo=timezone.utc)


def test_a_dump_that_ends_early_has_begun_and_not_ended(tmp_path: Path) -> None:
    path = tmp_path / "lab.sql"
    path.write_bytes(MARIADB[:-40])
    assert (read(path)[1].begun, read(path)[1].ended) == (1, 0)
    packed = tmp_path / "lab.sql.gz"
    packed.write_bytes(gzip.compress(MARIADB)[:-4])
    [dump] = dump_files(packed)
    assert dump.product == "mariadb"
    assert "cannot be read to its end" in read(packed)[1].fault


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["plain", "packed"])
def test_an_empty_dump_is_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lab.sql").write_bytes(content)
    text, course = read(tmp_path / "lab.sql")
    assert (text, course.fault[:11]) == (b"", "it is empty")


def test_a_line_of_any_length_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "lab.sql"
    line = b"INSERT INTO `t` VALUES ('" + b"USE `mysql`;" * 300_000 + b"');\n"
    path.write_bytes(MARIADB.replace(b"CREATE TABLE", line + b"CREATE TABLE"))
    course = Course()
    pieces = list(text_of(dump_files(path)[0], course, lambda _: None))
    assert b"".join(pieces) == path.read_bytes()
    assert max(map(len, pieces)) <= 2**20


def test_archives_and_directories_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "lab.dump").write_bytes(b"PGDMP\x01")
    (tmp_path / "lab.sql").write_bytes(MARIADB)
    (tmp_path / "notes.txt").write_bytes(b"no dump")
    assert [(dump.path.name, dump.is_archive) for dump in dump_files(tmp_path)] == [
        ("lab.dump", True),
        ("lab.sql", False),
    ]
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    assert [dump.path for dump in dump_files(tmp_path)] == [tmp_path]
    listing = ";\n; Archive created at 2026-03-02 01:15:09 UTC\n;     Dumped from database version: 18.6\n"
    assert archive_moment(listing) == (datetime(2026, 3, 2, 1, 15, 9, tzinfo=timezone.utc), 18)


def test_no_dump_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.sql"):
        with pytest.raises(DrillError):
            dump_files(path)
