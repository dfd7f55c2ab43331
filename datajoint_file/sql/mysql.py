"""MySQL dialect: InnoDB, and the driver PyMySQL. MariaDB shares most of it."""

from __future__ import annotations

import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import pymysql.cursors
from datajoint.errors import DataJointError
from pymysql.constants import CLIENT, SERVER_STATUS

from datajoint_file.sql.columns import Column, Kind, is_plain_text
from datajoint_file.sql.dialect import (
    KEY_DIGITS,
    NO_INDEX,
    WHOLE_NUMBER,
    Condition,
    Dialect,
    Presence,
    Query,
    Rights,
    Rows,
    Searched,
    Unseen,
    Version,
)

NEEDED_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "REFERENCES")
"""What it takes to declare tables, with foreign keys, and to use them."""
_WRITER_RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES"
"""What it takes to alter and drop them besides: what is advised."""

_LOST = frozenset({0, 2006, 2013, 2014, 2055, 1053, 1927, 3169, 4031})
"""Codes of PyMySQL and its servers for a connection that is gone, shut down, killed, or timed out."""

_DEADLOCK = 1213
_CHANGED = frozenset({1412, 1146, 1049, 1054})
"""Codes for a table that is younger, in its present form, than the snapshot; and for what is not there any more."""

_NOT_THERE = frozenset({1049, 1146})
"""Codes for a schema or table that is not there: told only to those who might read it."""

_DENIED = frozenset({1044, 1142, 1143})
_ABOUT_VALUE = frozenset({1048, 1264, 1265, 1292, 1366, 1406, 1690, 3140, 3819, 4025})
"""Codes for a value that a column does not take: of another type, too long, out of range, refused by a CHECK."""

_XA_DENIED = frozenset({1227, 1401})
"""Codes for a right that is missing, and XA's own code for it."""

_REVOKED = re.compile(r"REVOKE .*\b(SELECT|ALL PRIVILEGES)\b")
"""What ``SHOW GRANTS`` tells of partial revokes."""
_TOO_LARGE = 1153
"""Code for a statement of more than ``max_allowed_packet`` bytes. Often the connection is gone before it arrives."""
_LOCK_TIMEOUTS = frozenset({1205, 3572})
_PAUSE_SECONDS = 0.5
"""In which those go on who have waited for a history."""
_READ_ONLY = frozenset({1290, 1792, 1836})

_IN_LIST = 400
"""Numbers of one ``IN``: MariaDB makes a scan of longer ones."""

_ALL = 2**64 - 1
"""A LIMIT that leaves nothing out. With it, a derived table is made as it is written, and not merged into its query."""

_ENUM_VALUE = re.compile(r"'((?:[^']|'')*)'")
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<database>`(?:[^`]|``)*`|\*)\.\* TO ")

_SCHEMAS = """
    SELECT schema_name FROM information_schema.schemata
    WHERE schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')
"""
"""Tables and attributes are asked for schema by schema: MariaDB 10.11 can crash over one query for those of all."""

_TABLES = """
    SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type NOT LIKE '%%VIEW%%'
"""
_ATTRIBUTES = """
    SELECT table_name, column_name, column_comment, data_type FROM information_schema.columns
    WHERE table_schema = %s
    AND (ordinal_position = 1 OR column_comment LIKE ':%%<%%'
        OR data_type IN ('json', 'text', 'mediumtext', 'longtext'))
"""
"""The first attribute of each table is there to show that the table could be opened; MariaDB leaves out the others."""


_COLUMNS = """
    SELECT table_name, column_name, column_type, column_key = 'PRI', COALESCE(generation_expression, '') <> '',
        column_comment, COALESCE(collation_name, '')
    FROM information_schema.columns WHERE table_schema = %s AND table_name IN %s ORDER BY table_name, ordinal_position
"""
_UNIQUE_KEYS = """
    SELECT s.index_name, s.column_name, c.extra LIKE '%%GENERATED%%'
        OR (c.column_default LIKE '%%)' AND c.column_default NOT LIKE '\\'%%')
    FROM information_schema.statistics AS s LEFT JOIN information_schema.columns AS c
        ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name
    WHERE s.table_schema = %s AND s.table_name = %s AND s.non_unique = 0 AND s.index_name <> 'PRIMARY'
    ORDER BY s.index_name, s.seq_in_index
"""
"""The third tells whether the server computes what a row does not give."""
_BINARY = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_TEXTS = frozenset(
    {"char", "varchar", "enum", "set", "decimal", "date", "datetime", "time", "year", "inet4", "inet6", "uuid"}
)
_LARGE_TEXTS = frozenset({"tinytext", "text", "mediumtext", "longtext", "json"})
_ROUNDED = frozenset({"decimal", "datetime", "timestamp", "time", "date"})
_CASTS = {
    "float": "{} + 0e0",
    "double": "{} + 0e0",
    "date": "CAST({} AS DATE)",
    "binary": "CAST({} AS BINARY)",
    "varbinary": "CAST({} AS BINARY)",
}


_AS_WRITTEN = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""The mode in which a value is stored as it is given, or refused."""


class MySQL(Dialect):
    """MySQL 8."""

    backend: ClassVar[str] = "mysql"
    title: ClassVar[str] = "MySQL"
    usable_from: ClassVar[Version] = (8, 0, 13)
    greets = True
    supported_from: ClassVar[Version] = (8, 0, 13)

    quote = "`"
    version = "SELECT VERSION()"
    now = "UTC_TIMESTAMP(6)"
    from_now = "UTC_TIMESTAMP(6) + INTERVAL %s SECOND"
    from_utc = "%s"
    by_number = "FORCE INDEX (PRIMARY)"
    reading = "SET SESSION time_zone = 'SYSTEM'"  # NOW() is in the zone of innodb_trx then
    snapshot = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )
    json_row = """SELECT '{"path": "12"}' AS file_json"""
    percent = "CHAR(37)"
    matching = "REGEXP"
    has_replace = True
    share_now = "FOR SHARE NOWAIT"
    size_limit = "max_allowed_packet"
    take_lock = "SELECT GET_LOCK(CONCAT('datajoint_file ', %s), 0)"
    keeps_transaction = True
    is_replica = "SELECT @@GLOBAL.read_only"

    def is_spoken_by(self, driver: Any) -> bool:
        """Tell it from MariaDB by the version that the server greets with."""
        return "mariadb" not in driver.get_server_info().lower()

    own_id = "@@server_uuid"
    """The SQL of the id that a server has given itself."""

    def identity(self, query: Query) -> tuple[str, str, str, str, str]:
        own_id, host, port, directory = query(f"SELECT {self.own_id}, @@hostname, @@port, @@datadir")[0]
        return f"{self.title.lower()} {own_id}".strip(), "", str(host), str(port), str(directory)

    def age(self, moment: str) -> str:
        return f"TIMESTAMPDIFF(MICROSECOND, {moment}, UTC_TIMESTAMP(6)) / 1000000"

    def utc(self, moment: str) -> str:
        """Return *moment*: times are written in UTC, and have no zone."""
        return moment

    def text(self, name: str, member: str) -> str:
        """Return it in two steps: ``JSON_VALUE`` is younger than the oldest version."""
        return f"JSON_UNQUOTE(JSON_EXTRACT({name}, '$.{member}'))"

    def is_absent(self, name: str) -> str:
        return f"(COALESCE(JSON_TYPE({name}), 'NULL') = 'NULL')"

    def as_json(self, name: str, member: str) -> str:
        return f"CAST(JSON_EXTRACT({name}, '$.{member}') AS CHAR)"

    def whole_number(self, name: str, member: str) -> str:
        number = self.as_json(name, member)
        return f"CASE WHEN {self.matches(number, WHOLE_NUMBER)} THEN CAST({number} AS UNSIGNED) END"

    def exactly(self, text: str) -> str:
        return f"{text} COLLATE UTF8MB4_BIN"

    def constant(self, text: str) -> str:
        return f"'{text}'" if is_plain_text(text) else f"_utf8mb4 X'{text.encode().hex()}'"

    def summand(self, name: str, member: str) -> str:
        """Return a cast without looking first, which costs less than half; in a query it is never an error."""
        return f"GREATEST(CAST({self.text(name, member)} AS SIGNED), 0)"

    def key_of(self, name: str, member: Searched) -> str:
        """Return the first digits of a hash, and of a path its checksum: paths are long and begin alike."""
        text = self.searched(name, member)
        return f"SUBSTRING({text}, 8, {KEY_DIGITS})" if member == "hash" else f"CRC32({text})"

    def searched(self, name: str, member: Searched) -> str:
        """Return a member as text whose SQL is the same for the server whatever a session's character set is."""
        return f"JSON_UNQUOTE(JSON_EXTRACT({name}, _utf8mb4'$.{member}'))"

    def has_path(self, name: str, paths: Sequence[str], member: Searched = "path") -> Condition:
        condition, values = super().has_path(name, paths, member)
        return f"{self.key_of(name, member)} IN %s AND {condition}", [_checksums(paths), *values]

    index_waits = (
        "whoever changes rows of the table waits until it is made; it waits some seconds for open transactions that "
        "have used the table, then it gives up"
    )
    drops_with_index = False

    def index_names(self, query: Query, schema: str, table: str) -> dict[str, bool]:
        sql = (
            "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s"
        )
        return {name: True for (name,) in query(sql, (schema, table))}

    def create_indexes(self, schema: str, table: str, indexes: Mapping[str, tuple[str, Searched]]) -> list[str]:
        """Return one statement: the table is read once. LOCK=NONE is refused for what is computed."""
        added = [f"ADD INDEX {self.quoted(name)} (({self.key_of(*of)}))" for name, of in indexes.items()]
        return [f"ALTER TABLE {self.quoted(schema, table)} {', '.join(added)}, ALGORITHM=INPLACE, LOCK=SHARED"]

    def drop_indexes(self, schema: str, table: str, names: Sequence[str]) -> list[str]:
        dropped = ", ".join(f"DROP INDEX {self.quoted(name)}" for name in names)
        return [f"ALTER TABLE {self.quoted(schema, table)} {dropped}"]

    def first_component(self, path: str) -> str:
        return self.first_components(path, 1)

    def first_components(self, path: str, count: int) -> str:
        """Return no more than a path can have: the server groups by text of any length on its disk."""
        return f"LEFT(SUBSTRING_INDEX({path}, '/', {count}), 1024)"

    def as_text(self, name: str) -> str:
        return name

    def as_searchable(self, name: str) -> str:
        """Return text, as ``LIKE`` takes it."""
        return f"CAST({name} AS CHAR)"

    backslash = "\\\\"
    user = "CURRENT_USER()"
    large_text = "LONGTEXT"
    max_result = "@@max_allowed_packet"
    path_attribute = "path_crc INT UNSIGNED GENERATED ALWAYS AS (CRC32(path)) VIRTUAL,"
    path_index = "path_crc"

    def columns(self, query: Query, schema: str, tables: Sequence[str]) -> dict[str, list[Column]]:
        found: dict[str, list[Column]] = {}
        for table, name, type_, is_key, is_generated, *rest in query(_COLUMNS, (schema, tuple(tables))):
            found.setdefault(table, []).append(Column(name, type_, bool(is_key), bool(is_generated), *rest))
        return found

    def replaced_by(self, query: Query, schema: str, table: str) -> list[dict[str, bool]]:
        found: dict[str, dict[str, bool]] = {}
        for index, name, is_computed in query(_UNIQUE_KEYS, (schema, table)):
            found.setdefault(index, {})[name or ""] = bool(is_computed) or not name
        return list(found.values())

    def unique_attributes(self, query: Query, schema: str, table: str) -> set[str]:
        return {name for key in self.replaced_by(query, schema, table) for name in key}

    def may_hold(self, column: Column, text: str) -> str:
        """Return a condition that is true of more than that for a float, of which text has not all digits."""
        name, type_, literal = self.quoted(column.name), _base(column.type), self.literal(text)
        if type_ == "float":
            return f"ABS({name} - {literal}) <= ABS({literal}) * 1e-6 + 1e-44"
        if type_ == "double":
            return f"{name} = {literal} + 0e0"
        if type_ in _ROUNDED or type_.endswith("int"):
            return f"{name} = {self.typed(column) % literal}"
        return ""

    def by_path(self, paths: Sequence[str]) -> Condition:
        return "path_crc IN %s AND path IN %s", [_checksums(paths), tuple(paths)]

    def bounded_path(self, name: str) -> str:
        return f"LEFT(CONVERT({self.path(name)} USING ASCII), 1024)"

    def bounded_size(self, name: str) -> str:
        size = self.text(name, "size")
        return f"CASE WHEN {size} REGEXP '^[0-9]{{1,18}}$' THEN CAST({size} AS UNSIGNED) END"

    def written(self, column: Column, value: str = "") -> tuple[Kind, str, bool]:
        """Return what loses nothing: a float is cut as text, bits are no text, a timestamp is in the session's zone.

        Text is never in the session's character set, which may lack what it has.
        """
        name, type_ = value or self.named(column), _base(column.type)
        if type_ in _BINARY:
            return "base64", f"TO_BASE64({name})", type_.endswith("blob")
        if type_ in ("float", "double"):
            return "text", f"CONVERT({name} * 1e0 USING utf8mb4)", False  # a sum would lose the sign of zero
        if type_ == "bit":
            return "bits", f"CONVERT({name} + 0 USING utf8mb4)", False
        if type_ == "timestamp":
            return "epoch", f"CONVERT(UNIX_TIMESTAMP({name}) USING utf8mb4)", False
        if not (type_ in _TEXTS or type_ in _LARGE_TEXTS or type_.endswith("int")):
            return "base64", f"TO_BASE64({name})", True  # also a geometry or a vector, as the server has it
        return "text", f"CONVERT({name} USING utf8mb4)", type_ in _LARGE_TEXTS

    def compared(self, column: Column, value: str) -> str:
        """Return one text for both zeros, and the weights of text, by which its collation compares it."""
        if _base(column.type) in ("float", "double"):
            return self.written(column, f"({value} + 0e0)")[1]
        collation = column.collation
        if not collation or collation == "binary":
            return self.written(column, value)[1]
        text = f"CONVERT({value} USING {collation.partition('_')[0]}) COLLATE {collation}"
        is_padded = "_0900_" not in collation and "nopad" not in collation
        return f"HEX(WEIGHT_STRING({f'TRIM(TRAILING FROM {text})' if is_padded else text}))"

    def typed(self, column: Column) -> str:
        """Return a cast to what its text is made of: numbers of the column's scale, times of its precision."""
        type_ = _base(column.type)
        if type_ == "decimal" or type_.endswith("int"):
            return (
                f"CAST(%s AS DECIMAL({column.type.partition('(')[2].partition(')')[0] if type_ == 'decimal' else 20}))"
            )
        if type_ in ("datetime", "timestamp", "time"):
            precision = column.type.partition("(")[2].partition(")")[0] or "0"
            return f"CAST(%s AS {'TIME' if type_ == 'time' else 'DATETIME'}({precision}))"
        return _CASTS.get(type_, "CAST({} AS CHAR)").format("%s")

    def read_back(self, kind: Kind) -> str:
        return "FROM_UNIXTIME(%s)" if kind == "epoch" else "%s"

    @contextmanager
    def reading_back(self, query: Query, values: Sequence[tuple[Column, Kind]]) -> Iterator[None]:
        """Be strict, but for dates that some session has allowed. Moments are in UTC: hours come twice in some zones.

        But not into what is no ``timestamp`` any more, nor text into what has become one: that is in the user's zone,
        as if the rows had been there when it was altered.
        """
        ((zone, mode),) = query("SELECT @@SESSION.time_zone, @@SESSION.sql_mode")
        has_moment = any(kind == "epoch" and _base(column.type) == "timestamp" for column, kind in values)
        settings = "SET SESSION time_zone = %s, sql_mode = %s"
        query(settings, ("+00:00" if has_moment else zone, _AS_WRITTEN))
        try:
            yield
        finally:
            with suppress(Exception):  # a connection that is lost, and its settings with it
                query(settings, (zone, mode))

    def byte_length(self, column: Column) -> str:
        return f"LENGTH({self.named(column)})"

    def fingerprint(self, column: Column) -> str:
        return f"CONVERT(SHA2({self.named(column)}, 256) USING ascii) COLLATE ascii_bin"

    def as_characters(self, value: str) -> str:
        return f"CONVERT({value} USING utf8mb4)"

    def json_object(self, pairs: Sequence[tuple[str, str]]) -> str:
        return f"JSON_OBJECT({', '.join(f'{key}, {text}' for key, text in pairs)})"

    def digest(self, texts: Sequence[str]) -> str:
        return f"CONVERT(LEFT(SHA2(JSON_ARRAY({', '.join(texts)}), 256), 16) USING ascii) COLLATE ascii_bin"

    def delete_into(
        self,
        run: Callable[[str], Any],
        table: str,
        where: str,
        insert: Callable[[str, str], str],
        *,
        attributes: str,
        noted: str,
        count: Callable[[int], str] | None,
    ) -> int:
        """Copy what is locked by that, then delete of the same rows what has a copy: some may have come since.

        Rows of several copies are chosen before they are multiplied: chance would decide about each copy.
        """
        if not count:
            copied = run(insert(table, f"{where} FOR UPDATE")).rowcount
        else:
            done = run(insert(f"(SELECT {attributes} FROM {table}{where} LIMIT {_ALL} FOR UPDATE) AS gone", ""))
            copied = run(count(done.lastrowid)).fetchone()[0] if done.rowcount else 0
        deleted: int = run(f"DELETE FROM {table}{where} {'AND' if where else 'WHERE'} {noted}").rowcount
        if deleted != copied:
            raise DataJointError(
                f"{table}: {copied} rows were written to the history, and {deleted} of these could be deleted: others "
                "have changed what decides it, or it is decided by chance. Nothing was deleted. Try again"
            )
        return deleted

    has_transactional_ddl = False

    def lock(self, run: Callable[[str], Any], tables: Sequence[str], history: str) -> None:
        """Lock all at once, as there is no other way, for a second; then wait for the tables alone, and try again."""
        locked = ", ".join(f"{table} WRITE" for table in tables)
        limit = run("SELECT @@SESSION.lock_wait_timeout").fetchone()[0]
        deadline = time.monotonic() + limit
        try:
            while True:
                run("SET SESSION lock_wait_timeout = 1")
                try:
                    run(f"LOCK TABLES {locked}, {history} WRITE")
                except Exception as error:
                    if not self.is_timeout(error) or time.monotonic() > deadline:
                        raise
                else:
                    return
                run(f"SET SESSION lock_wait_timeout = {limit}")
                run(f"LOCK TABLES {locked}")
                run("UNLOCK TABLES")
                time.sleep(_PAUSE_SECONDS)
        finally:
            with suppress(Exception):  # a connection that is lost
                run(f"SET SESSION lock_wait_timeout = {limit}")

    def after(self, columns: Sequence[tuple[str, str]], values: Sequence[Any]) -> Condition:
        """Return equality up to each attribute in turn: a comparison of rows would use no index."""
        steps = []
        for index, (name, type_) in enumerate(columns):
            equal = [(f"{before} = %s", [value]) for (before, _), value in zip(columns[:index], values, strict=False)]
            steps.append(_joined(" AND ", [*equal, _greater(name, type_, values[index])]))
        return _joined(" OR ", steps)

    def create_table(self, table: str, columns: str, *, comment: str, indexes: Mapping[str, str] = NO_INDEX) -> str:
        """Return one statement, with the indexes in it."""
        columns = columns.format(
            number="BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY",
            ascii="CHARACTER SET ascii COLLATE ascii_bin",
            moment="DATETIME(6)",
            large_text=self.large_text,
            path_attribute=self.path_attribute,
        )
        key = "".join(f", KEY ({columns})" for columns in indexes.values())
        return (
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}{key}) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 "
            f"COLLATE = utf8mb4_bin COMMENT = '{comment} (datajoint-file)'"
        )

    def declared(self, column: Column) -> str:
        return f"{column.type}{column.collation and f' COLLATE {column.collation}'}"

    def insert_missing(self, table: str, attributes: Sequence[str], select: str) -> str:
        """Return a statement that leaves what is there as it is: ``IGNORE`` would leave out what is wrong as well."""
        first = attributes[0]
        return (
            f"INSERT INTO {table} ({', '.join(attributes)}) {select} ON DUPLICATE KEY UPDATE {first} = VALUES({first})"
        )

    def encoded(self, text: str) -> str:
        return f"_utf8mb4 0x{text.encode().hex()}"

    def concealed(self, sql: str) -> str:
        """Return it between comments: DataJoint takes for text what stands between two quotes, also in these."""
        return f"(/*'*/ {sql} /*'*/)"

    def insert_new(self, table: str, attributes: str, values: str) -> str:
        return f"INSERT IGNORE INTO {table} ({attributes}) VALUES {values}"

    def upsert(self, table: str, attributes: str, values: str, key: str, updates: Mapping[str, str]) -> str:
        """Return a statement in the form that MariaDB has too."""
        new = {name: f"VALUES({name})" for name in updates}
        chosen = [f"{name} = {_kept(new[name], kept)}" for name, kept in updates.items()]
        return f"INSERT INTO {table} ({attributes}) VALUES {values} ON DUPLICATE KEY UPDATE {', '.join(chosen)}"

    def readable_schemas(self, query: Query) -> list[str]:
        """Ask for those that the server lists: the ones on which, or on a table of which, the user has any right."""
        return sorted(str(row[0]) for row in query(_SCHEMAS))

    def numbered(self, numbers: Sequence[int]) -> Condition:
        groups = [tuple(numbers[start : start + _IN_LIST]) for start in range(0, len(numbers), _IN_LIST)]
        return f"({' OR '.join(['number IN %s'] * len(groups))})", list(groups)

    def insert_and_select(
        self, run: Callable[[str, Sequence[Any]], list[Rows]], insert: Condition, select: Condition, ids: Sequence[str]
    ) -> tuple[list[int], Rows]:
        """Send three statements together. Numbers of one INSERT follow one another, a step apart."""
        sql = f"{insert[0]}; SELECT LAST_INSERT_ID(), @@auto_increment_increment; {select[0]}"
        _, first, selected = run(sql, (*insert[1], *select[1]))
        start, step = map(int, first[0])
        return [start + step * index for index in range(len(ids))], selected

    def claim(self, table: str, condition: str, *, only_read_committed: bool) -> str:
        """Return a multi-table DELETE, which takes an index hint. It looks at what is there, not at a snapshot."""
        return f"DELETE {table} FROM {table} {self.by_number} WHERE {condition}"

    def claimed(self, cursor: Any) -> set[int] | None:
        return None

    def prepare(self, driver: Any, lock_seconds: float) -> None:
        """Connect again, saying that statements are sent together: DataJoint's adapter leaves no room for it.

        A server may have it that sessions begin without autocommit, which the driver does not notice, or that a SELECT
        gives no more than so many rows.
        """
        driver.close()
        driver.client_flag |= CLIENT.MULTI_STATEMENTS
        driver.connect()
        seconds = max(1, round(lock_seconds))
        with driver.cursor() as cursor:
            cursor.execute(
                f"SET SESSION autocommit = 1, innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}, "
                f"wait_timeout = 28800, sql_select_limit = {_ALL}"
            )

    def results(self, cursor: Any) -> list[Rows]:
        results = [list(cursor.fetchall())]
        while cursor.nextset():
            results.append(list(cursor.fetchall()))
        return results

    def pages(self, driver: Any, sql: str, size: int) -> Iterator[Rows]:
        """Read a result that the server sends as it is read."""
        cursor = driver.cursor(pymysql.cursors.SSCursor)
        cursor.execute(sql)
        while page := cursor.fetchmany(size):
            yield list(page)
        cursor.close()

    def is_encrypted(self, driver: Any) -> bool:
        return bool(getattr(driver, "_secure", False))

    def is_closed(self, driver: Any) -> bool:
        return not driver.open

    def sever(self, driver: Any) -> None:
        """Close the socket; a goodbye could block."""
        driver._force_close()

    def has_autocommit(self, driver: Any) -> bool:
        return bool(driver.server_status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT)

    def has_failed(self, driver: Any) -> bool:
        return False

    def is_in_transaction(self, driver: Any) -> bool:
        """Return what the server has said with its last reply: a deadlock ends a transaction."""
        return bool(driver.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def is_plain(self, query: Query, schema: str, table: str) -> bool:
        triggers = (
            "SELECT 1 FROM information_schema.triggers "
            "WHERE event_object_schema = %s AND event_object_table = %s AND event_manipulation = 'INSERT'"
        )
        return bool(query(f"SELECT @@foreign_key_checks AND NOT EXISTS ({triggers})", (schema, table))[0][0])

    def is_lost(self, error: BaseException, driver: Any) -> bool:
        return _is_ours(error) and (_code(error) in _LOST or not getattr(driver, "open", True))

    def is_too_large(self, error: BaseException) -> bool:
        return bool(_code(error) == _TOO_LARGE)

    def is_timeout(self, error: BaseException) -> bool:
        return _code(error) in _LOCK_TIMEOUTS

    def is_gone(self, error: BaseException) -> bool:
        return _code(error) in _NOT_THERE

    def is_changed(self, error: BaseException) -> bool:
        return _code(error) in _CHANGED

    def is_deadlock(self, error: BaseException) -> bool:
        return bool(_code(error) == _DEADLOCK)

    def is_about_value(self, error: BaseException) -> bool:
        return _code(error) in _ABOUT_VALUE

    def is_denied(self, error: BaseException) -> bool:
        return _code(error) in _DENIED | _READ_ONLY

    def relations(self, query: Query, names: Sequence[str], schema: str = "") -> list[tuple[str, str, bool]]:
        """Return them; a trigger runs with its owner's rights here, and a view need not."""
        columns, where = "table_name, table_type", "table_schema = %s AND table_name IN %s"
        sql = f"SELECT {columns} FROM information_schema.tables WHERE {where}"
        places = [(schema,)] if schema else query(_SCHEMAS)
        found = ((place, *row) for (place,) in places for row in query(sql, (place, tuple(names))))
        return [(place, table, type_ in ("BASE TABLE", "SYSTEM VERSIONED")) for place, table, type_ in found]

    def attributes(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """Ask for each schema; those that the user may see."""
        for (schema,) in query(_SCHEMAS):
            tables = {row[0] for row in query(_TABLES, (schema,))}
            listed = query(_ATTRIBUTES, (schema,))
            for table in sorted(tables - {row[0] for row in listed}):
                yield schema, table, None, "", ""
            for table, name, comment, type_ in listed:
                if table in tables:
                    yield schema, table, name, comment, type_

    def tables(self, query: Query) -> list[tuple[str, str]]:
        return [(str(place), str(row[0])) for (place,) in query(_SCHEMAS) for row in query(_TABLES, (place,))]

    def presence(self, query: Query, schema: str) -> Presence:
        is_listed = bool(query("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (schema,)))
        if not self._is_readable(query, schema):
            return "unreadable"
        return "there" if is_listed else "gone"

    def _is_readable(self, query: Query, schema: str) -> bool:
        """Ask for a table that cannot be there: that it is not, the server tells only those who could have read it."""
        try:
            query(f"SELECT 1 FROM {self.quoted(schema, f'~file_probe_{secrets.token_hex(8)}')} LIMIT 0")
        except Exception as error:
            code = _code(error.__cause__ or error)  # DataJoint's own errors have the driver's as their cause
            if code in _DENIED:
                return False
            if code not in _NOT_THERE:
                raise
        return True

    def oldest_transaction(self, query: Query) -> tuple[float, int]:
        """Ask InnoDB. What is prepared has no thread after a restart, and a wrong age; nor have some of its own."""
        seconds, without_thread = query(
            "SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())) + 2, 0), "
            "COALESCE(SUM(trx_mysql_thread_id = 0), 0) "
            "FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()"
        )[0]
        try:
            return float(seconds), len(query("XA RECOVER"))
        except Exception as error:
            if _code(error) not in _XA_DENIED:
                raise
        return float(seconds), int(without_thread)

    def unseen(self, query: Query) -> Iterator[Unseen]:
        """Try a schema that cannot be there, and each that is: a grant on one of them takes the place of wider ones."""
        grantee = self.grantee(query)
        fix = f"An administrator can GRANT SELECT, PROCESS ON *.* TO {grantee}"
        revoked = [line for (line,) in query("SHOW GRANTS") if _REVOKED.match(line)]
        if self.hides_schemas(query):
            yield Unseen("schemas", "this user has no SELECT on *.*: schemas may be hidden from it", fix)
        elif revoked or not all(self._is_readable(query, schema) for (schema,) in query(_SCHEMAS)):
            detail = "some schemas are taken from this user's SELECT on *.* by narrower grants or revokes"
            yield Unseen("schemas", detail, f"An administrator can give them back, see SHOW GRANTS FOR {grantee}")
        try:
            query("SELECT 1 FROM information_schema.innodb_trx LIMIT 1")
        except Exception as error:
            if _code(error) not in _XA_DENIED:
                raise
            detail = "this user may not see open transactions of others"
            yield Unseen("transactions", detail, fix)

    def hides_schemas(self, query: Query) -> bool:
        """Ask for a schema that cannot be there."""
        return not self._is_readable(query, f"file_probe_{secrets.token_hex(8)}")

    def grantee(self, query: Query) -> str:
        user, _, host = query("SELECT CURRENT_USER()")[0][0].rpartition("@")
        return f"'{user}'@'{host}'"

    def rights(self, query: Query) -> Rights:
        rights = rights_in(row[0] for row in query("SHOW GRANTS"))
        complete = [database for database, granted in rights.items() if granted.issuperset(NEEDED_RIGHTS)]
        if complete:
            where = "any name" if "*" in complete else f"the names {', '.join(complete)}"
            return Rights("all", f"may create and use schemas of {where}")
        fix = f"an administrator can GRANT {_WRITER_RIGHTS} ON `PREFIX\\_%`.* TO {self.grantee(query)}"
        database, granted = max(rights.items(), key=lambda item: len(item[1]), default=("*", frozenset[str]()))
        lacking = ", ".join(right for right in NEEDED_RIGHTS if right not in granted)
        if "SELECT" in granted:
            return Rights("some", f"may read schemas {database}, but lacks {lacking}", fix)
        return Rights("none", f"lacks {lacking} on schemas", fix)


def rights_in(grants: Iterable[str]) -> dict[str, frozenset[str]]:
    r"""Return what ``SHOW GRANTS`` gives on whole schemas, by their names: ``lab_*``, or ``*`` for all.

    Examples
    --------
    >>> rights = rights_in([r"GRANT SELECT ON *.* TO `a`@`%`", r"GRANT CREATE, DROP ON `lab\_%`.* TO `a`@`%`"])
    >>> sorted(rights["lab_*"]), sorted(rights["*"])
    (['CREATE', 'DROP', 'SELECT'], ['SELECT'])
    """
    rights: dict[str, frozenset[str]] = {}
    for match in filter(None, map(_GRANT.match, grants)):
        database = match["database"].strip("`").replace("\\_", "_").replace("%", "*")
        granted = match["rights"].replace("ALL PRIVILEGES", ", ".join(NEEDED_RIGHTS)).split(", ")
        rights[database] = rights.get(database, frozenset()) | frozenset(granted)
    everywhere = rights.get("*", frozenset())
    return {database: granted | everywhere for database, granted in rights.items()}


def _checksums(paths: Sequence[str]) -> tuple[int, ...]:
    """Return what the server's ``CRC32`` makes of paths."""
    return tuple(zlib.crc32(path.encode()) for path in paths)


def _greater(name: str, type_: str, value: Any) -> Condition:
    """Return the condition that an attribute comes after *value*. An enum is ordered as declared, compared as text."""
    if not type_.lower().startswith("enum("):
        return f"{name} > %s", [value]
    declared = [found.replace("''", "'") for found in _ENUM_VALUE.findall(type_)]
    greater = declared[declared.index(value) + 1 :] if value in declared else []
    return (f"{name} IN ({', '.join(['%s'] * len(greater))})", greater) if greater else ("FALSE", [])


def _joined(operator: str, conditions: Sequence[Condition]) -> Condition:
    return operator.join(f"({text})" for text, _ in conditions), [value for _, values in conditions for value in values]


def _kept(new: str, kept: str) -> str:
    return f"COALESCE({new}, {kept})" if kept else new


def _base(type_: str) -> str:
    """Return a column's type without what follows its name: ``int`` of ``int(11) unsigned``."""
    return type_.partition("(")[0].partition(" ")[0].lower()


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "pymysql"


def _code(error: BaseException) -> Any:
    return error.args[0] if error.args and _is_ours(error) else None
