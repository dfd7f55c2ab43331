"""PostgreSQL dialect, and the driver psycopg2."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from datajoint_file.model.wording import counted
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
)

_IDLE, _IN_ERROR = 0, 3
"""``PQTRANS_IDLE`` and ``PQTRANS_INERROR`` of libpq."""

_LOST = ("08", "57P")
"""Classes of SQLSTATE: connection exceptions, and the server's going away (but not a cancelled query, 57014)."""

_CHANGED = frozenset({"42P01", "42703", "3F000"})
"""Tables, columns and schemas that have gone since they were listed."""

_NOT_THERE = frozenset({"42P01", "3F000"})

_MADE_BY_ANOTHER = frozenset({"23505", "42710", "42P07"})
"""A catalog's unique key, and a type or table that is there: IF NOT EXISTS looks before it waits for who is at it."""

_KEY_LETTERS = 600
"""An index of the usual kind takes 2,704 bytes, and a letter has four at most."""

_DENIED = frozenset({"42501", "25006"})

_HOLDS_JSON = """(
    SELECT e.typcategory NOT IN ('N', 'D', 'T', 'B', 'G', 'I', 'V', 'E') AND e.typname NOT IN
        ('varchar', 'bpchar', 'name', 'char', 'bytea', 'uuid', 'xid', 'xid8', 'tid', 'cid', 'pg_lsn')
    FROM pg_catalog.pg_type AS t
    JOIN pg_catalog.pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    JOIN pg_catalog.pg_type AS e ON e.oid = CASE b.typcategory WHEN 'A' THEN COALESCE(NULLIF(b.typelem, 0), b.oid)
        ELSE b.oid END
    WHERE t.oid = a.atttypid
)"""
"""Whether an attribute may hold JSON, or what it says as text: all but types, and arrays of them, that cannot."""

_ATTRIBUTES = f"""
    SELECT n.nspname, c.relname, a.attname, COALESCE(d.description, ''), CASE WHEN {_HOLDS_JSON} THEN 'json' ELSE '' END
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_description AS d
        ON d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid = 'pg_catalog.pg_class'::regclass
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
    AND (d.description LIKE ':%%<%%' OR {_HOLDS_JSON})
    AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
    ORDER BY c.oid, a.attnum
"""
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
    AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
"""
_RELATIONS = """
    SELECT n.nspname, c.relname, c.relkind = 'r'
    AND NOT c.relhastriggers AND NOT c.relhasrules AND NOT c.relrowsecurity AND NOT c.relispartition
    AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = c.oid AND pg_get_expr(d.adbin, d.adrelid) <> 'false'
    )
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits AS h WHERE c.oid IN (h.inhparent, h.inhrelid))
    AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
    )
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c')
    AND NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND t.typnamespace <> 'pg_catalog'::regnamespace
    )
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND c.relname IN %s
"""
_UNREADABLE = f"""
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT')
        OR row_security_active(c.oid))
    AND EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a
        LEFT JOIN pg_catalog.pg_description AS d
            ON d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid = 'pg_catalog.pg_class'::regclass
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (d.description LIKE ':%<%' OR {_HOLDS_JSON}))
    ORDER BY 1, 2
"""
"""Tables that may hold metadata of files, of which this user may not read all."""

_OTHERS = """
    datname = current_database() AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'
"""
_SCHEMAS_TO_CREATE_IN = """
    SELECT nspname FROM pg_namespace
    WHERE has_schema_privilege(oid, 'CREATE') AND nspname NOT IN ('public', 'information_schema')
    AND left(nspname, 3) <> 'pg_' ORDER BY nspname
"""
_WRITER_GRANTS = (
    "GRANT USAGE, CREATE ON SCHEMA NAME TO {user}; "
    "GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON ALL TABLES IN SCHEMA NAME TO {user}; ALTER DEFAULT PRIVILEGES "
    "IN SCHEMA NAME GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON TABLES TO {user}"
)
_READABLE_SCHEMAS = """
    SELECT DISTINCT n.nspname FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_' ORDER BY n.nspname
"""


_INDEXES = """
    SELECT i.relname, x.indisvalid FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
"""

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), COALESCE(a.attnum = ANY(i.indkey), FALSE),
        a.attgenerated <> '', COALESCE(col_description(c.oid, a.attnum), ''), '',
        t.typtype <> 'e' AND COALESCE(NULLIF(t.typelem, 0), t.oid) <> ALL (
            '{bool,int2,int4,int8,numeric,text,varchar,bpchar,json,jsonb,uuid,bytea,inet,cidr,bit,varbit}'::regtype[])
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
    WHERE n.nspname = %s AND c.relname IN %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""
"""The last tells of types which are not known to be written alike in all sessions."""
_TIME = re.compile(r"(date|time|timestamp)(\(\d\))?( with(out)? time zone)?")
_WRITING = {"DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "lc_monetary": "C", "extra_float_digits": "1"}
"""The settings under which text loses nothing, and is read back."""

_UNIQUE_ATTRIBUTES = """
    SELECT a.attname FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
    WHERE i.indisunique AND NOT i.indisprimary AND n.nspname = %s AND c.relname = %s
"""


class PostgreSQL(Dialect):
    """PostgreSQL 12 and later."""

    backend = "postgresql"
    title = "PostgreSQL"
    usable_from = (12,)
    greets = False
    supported_from = (15,)

    quote = '"'
    version = "SHOW server_version"
    now = "clock_timestamp()"
    from_now = "clock_timestamp() + %s * INTERVAL '1 second'"
    from_utc = "CAST(%s AS TIMESTAMP) AT TIME ZONE 'UTC'"
    reading = "SET row_security = off"  # policies that hide rows make an error then
    whole = "SET LOCAL row_security = off"
    snapshot = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
    json_row = """SELECT '{"path": "12"}'::jsonb AS file_json"""
    percent = "CHR(37)"
    matching = "~"
    has_replace = False
    share_now = ""
    take_lock = "SELECT pg_try_advisory_lock(%s)"
    keeps_transaction = False
    is_replica = "SELECT pg_is_in_recovery()"

    def is_spoken_by(self, driver: Any) -> bool:
        return True

    def identity(self, query: Query) -> tuple[str, str, str, str, str]:
        """Return no host and no directory: the server tells them only those with a right to know."""
        own_id, database, port = query(
            "SELECT system_identifier::text, current_database()::text, current_setting('port') FROM pg_control_system()"
        )[0]
        return f"postgresql {own_id}", database, "", port, ""

    def age(self, moment: str) -> str:
        return f"EXTRACT(EPOCH FROM clock_timestamp() - {moment})"

    def utc(self, moment: str) -> str:
        return f"({moment} AT TIME ZONE 'UTC')"

    def is_absent(self, name: str) -> str:
        return f"(COALESCE(JSONB_TYPEOF({name}), 'null') = 'null')"

    def as_json(self, name: str, member: str) -> str:
        """Return it in capitals: DataJoint takes other words of a restriction for attributes."""
        return f"({name} -> '{member}')::TEXT"

    def text(self, name: str, member: str) -> str:
        return f"({name} ->> '{member}')"

    def whole_number(self, name: str, member: str) -> str:
        number = self.as_json(name, member)
        return f"CASE WHEN {self.matches(number, WHOLE_NUMBER)} THEN {number}::BIGINT END"

    def exactly(self, text: str) -> str:
        return f'{text} COLLATE "C"'

    def constant(self, text: str) -> str:
        """Return a literal with escapes: what a function makes of bytes would be made again for each row."""
        if is_plain_text(text):
            return f"'{text}'"
        escaped = (one if is_plain_text(one) else f"!+{ord(one):06X}" for one in text)
        return f"U&'{''.join(escaped)}' UESCAPE '!'"

    def key_of(self, name: str, member: Searched) -> str:
        """Return the first digits of a hash, in an order of bytes; a path as it is, for a hash index keeps it short.

        Such an index has room for all rows: few have something linked, whose beginning is in one of the usual kind.
        """
        text = self.text(name, member)
        if member == "hash":
            return f'substr({text}, 8, {KEY_DIGITS}) COLLATE "C"'
        return text if member == "path" else f'left({text}, {_KEY_LETTERS}) COLLATE "C"'

    def has_path(self, name: str, paths: Sequence[str], member: Searched = "path") -> Condition:
        condition, values = super().has_path(name, paths, member)
        if member == "path":
            return condition, values
        return f"{self.key_of(name, member)} IN %s AND {condition}", [
            tuple(path[:_KEY_LETTERS] for path in paths),
            *values,
        ]

    index_waits = (
        "nobody waits for it; it waits up to ten minutes for transactions that are open and may use the table, also "
        "for one of your own"
    )
    index_patience = "SET lock_timeout = '600s'"
    drops_with_index = True

    def index_names(self, query: Query, schema: str, table: str) -> dict[str, bool]:
        return dict(query(_INDEXES, (schema, table)))

    def create_indexes(self, schema: str, table: str, indexes: Mapping[str, tuple[str, Searched]]) -> list[str]:
        """Return one statement for each, which lets others write."""
        of = self.quoted(schema, table)
        return [
            f"CREATE INDEX CONCURRENTLY {self.quoted(name)} ON {of} "
            f"{'USING hash ' if member == 'path' else ''}(({self.key_of(attribute, member)}))"
            for name, (attribute, member) in indexes.items()
        ]

    def drop_indexes(self, schema: str, table: str, names: Sequence[str]) -> list[str]:
        return [f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(schema, name)}" for name in names]

    def first_component(self, path: str) -> str:
        return f"split_part({path}, '/', 1)"

    def first_components(self, path: str, count: int) -> str:
        return f"array_to_string((string_to_array({path}, '/'))[1:{count}], '/')"

    def as_text(self, name: str) -> str:
        """Return text: the driver would parse JSON."""
        return f"{name}::text"

    def as_searchable(self, name: str) -> str:
        """Return what the type's own output function gives: a cast may be anybody's."""
        return f"pg_catalog.concat({name})"

    backslash = "\\"
    user = "session_user"
    large_text = "TEXT"
    path_index = "path"

    def columns(self, query: Query, schema: str, tables: Sequence[str]) -> dict[str, list[Column]]:
        found: dict[str, list[Column]] = {}
        for table, *column in query(_COLUMNS, (schema, tuple(tables))):
            found.setdefault(table, []).append(Column(*column))
        return found

    def replaced_by(self, query: Query, schema: str, table: str) -> list[dict[str, bool]]:
        """Return none: rows are found by their primary key and updated."""
        return []

    def unique_attributes(self, query: Query, schema: str, table: str) -> set[str]:
        return {name for (name,) in query(_UNIQUE_ATTRIBUTES, (schema, table))}

    def by_path(self, paths: Sequence[str]) -> Condition:
        return "path = ANY(%s)", [list(paths)]

    def bounded_path(self, name: str) -> str:
        return f"left({self.path(name)}, 1024)"

    def bounded_size(self, name: str) -> str:
        return self.whole_number(name, "size")

    def written(self, column: Column, value: str = "") -> tuple[Kind, str, bool]:
        """Return what no setting of the session changes: of floats, bytes, times."""
        name, type_ = value or self.named(column), column.type
        if type_ == "bytea":
            return "base64", f"encode({name}, 'base64')", True
        if type_ in ("real", "double precision"):
            return "double", f"encode(float8send({name}::float8), 'hex')", False
        if type_.startswith("timestamp") and type_.endswith("with time zone"):
            return "moment", _settled(f"{name}::text"), False
        if _TIME.fullmatch(type_):
            return "text", f"(to_json({name}) #>> '{{}}')", False
        if column.has_format:
            return "text", _settled(f"{name}::text"), False
        return "text", f"{name}::text", type_ in ("text", "json", "jsonb")

    def compared(self, column: Column, value: str) -> str:
        """Return one text for both zeros, and for what ``citext`` does not tell apart."""
        is_float = column.type in ("real", "double precision")
        value = f"({value} + 0)" if is_float else f"lower({value})" if column.type == "citext" else value
        return self.written(column, value)[1]

    def typed(self, column: Column) -> str:
        return f"CAST(%s AS {column.type})"

    def read_back(self, kind: Kind) -> str:
        return "CAST(%s AS timestamptz)" if kind == "moment" else "%s"

    @contextmanager
    def reading_back(self, query: Query, values: Sequence[tuple[Column, Kind]]) -> Iterator[None]:
        """Set it for the transaction; not the zone, for all moments have theirs."""
        for name, value in {**_WRITING, "xmloption": "content"}.items():
            query("SELECT set_config(%s, %s, true)", (name, value))
        yield

    overriding = "OVERRIDING SYSTEM VALUE "

    def byte_length(self, column: Column) -> str:
        return f"octet_length({self.named(column)}{'' if column.type == 'bytea' else '::text'})"

    def fingerprint(self, column: Column) -> str:
        name = self.named(column)
        value = name if column.type == "bytea" else f"convert_to({name}::text, 'UTF8')"
        return f"encode(sha256({value}), 'hex')"

    def as_characters(self, value: str) -> str:
        return f"{value}::text"

    def json_object(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Return an object made of an array: functions take a hundred arguments at most."""
        return f"json_object(ARRAY[{', '.join(f'{key}, {text}' for key, text in pairs)}])::text"

    def digest(self, texts: Sequence[str]) -> str:
        return f"left(md5((ARRAY[{', '.join(texts)}]::text[])::text), 16)"

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
        """Run one statement: two would see different rows, whatever the first has locked.

        But where a rule says what else is done, which is refused in such a statement: there, what has been locked and
        written down is deleted. A rule may keep rows as well, of which an entry is of no account.
        """
        if run(f"SELECT relhasrules FROM pg_catalog.pg_class WHERE oid = {self.literal(table)}::regclass").fetchone()[
            0
        ]:
            run(insert(f"(SELECT * FROM {table}{where} FOR UPDATE) AS gone", ""))
            return int(run(f"DELETE FROM {table}{where} {'AND' if where else 'WHERE'} {noted}").rowcount)
        sql = (
            f"WITH gone AS (DELETE FROM {table}{where} RETURNING *), kept AS ({insert('gone', '')}) "
            "SELECT COUNT(*) FROM gone"
        )
        deleted: int = run(sql).fetchone()[0]
        return deleted

    has_transactional_ddl = True

    def lock(self, run: Callable[[str], Any], tables: Sequence[str], history: str) -> None:
        run(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")

    def after(self, columns: Sequence[tuple[str, str]], values: Sequence[Any]) -> Condition:
        names = ", ".join(name for name, _ in columns)
        return f"({names}) > ({', '.join(['%s'] * len(values))})", list(values)

    def create_table(self, table: str, columns: str, *, comment: str, indexes: Mapping[str, str] = NO_INDEX) -> str:
        """Return a statement for the table and one for each index. Comments would need the owner's right."""
        columns = columns.format(
            number="BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
            ascii='COLLATE "C"',
            moment="TIMESTAMPTZ",
            large_text=self.large_text,
            path_attribute=self.path_attribute,
        )
        made = [
            f'CREATE INDEX IF NOT EXISTS "{name}" ON {table} {"USING hash " * (of == self.path_index)}({of})'
            for name, of in indexes.items()
        ]
        return "; ".join([f"CREATE TABLE IF NOT EXISTS {table} ({columns})", *made])

    def declared(self, column: Column) -> str:
        return column.type

    def insert_missing(self, table: str, attributes: Sequence[str], select: str) -> str:
        return f"INSERT INTO {table} ({', '.join(attributes)}) {select} ON CONFLICT DO NOTHING"

    def encoded(self, text: str) -> str:
        return f"CONVERT_FROM(DECODE('{text.encode().hex()}', 'hex'), 'UTF8')"

    def concealed(self, sql: str) -> str:
        """Return it as it is: names stand in quotes, which are text to DataJoint."""
        return f"({sql})"

    def insert_new(self, table: str, attributes: str, values: str) -> str:
        return f"INSERT INTO {table} ({attributes}) VALUES {values} ON CONFLICT DO NOTHING"

    def upsert(self, table: str, attributes: str, values: str, key: str, updates: Mapping[str, str]) -> str:
        new = {name: f"EXCLUDED.{name}" for name in updates}
        chosen = [
            f"{name} = {f'COALESCE({new[name]}, {kept})' if kept else new[name]}" for name, kept in updates.items()
        ]
        return (
            f"INSERT INTO {table} ({attributes}) VALUES {values} ON CONFLICT ({key}) DO UPDATE SET {', '.join(chosen)}"
        )

    def readable_schemas(self, query: Query) -> list[str]:
        """Ask the catalog: ``information_schema`` leaves out what a role like ``pg_read_all_data`` may read."""
        return [str(row[0]) for row in query(_READABLE_SCHEMAS)]

    def numbered(self, numbers: Sequence[int]) -> Condition:
        return "number = ANY(%s)", [list(numbers)]

    def insert_and_select(
        self, run: Callable[[str, Sequence[Any]], list[Rows]], insert: Condition, select: Condition, ids: Sequence[str]
    ) -> tuple[list[int], Rows]:
        """Send one statement: the driver gives one result only. The others were there before, so have metadata."""
        sql = (
            f"WITH begun AS ({insert[0]} RETURNING number, write_id) "
            "SELECT number, NULL AS attribute, NULL AS key_digest, write_id, NULL AS metadata FROM begun "
            f"UNION ALL SELECT * FROM ({select[0]}) AS stored"
        )
        (found,) = run(sql, (*insert[1], *select[1]))
        numbers = {row[3]: int(row[0]) for row in found if row[4] is None}
        return [numbers[write_id] for write_id in ids], [row for row in found if row[4] is not None]

    def claim(self, table: str, condition: str, *, only_read_committed: bool) -> str:
        """Return a DELETE that names what it deleted; of a row changed since the snapshot, a failure of the user's."""
        if only_read_committed:
            condition += " AND current_setting('transaction_isolation') = 'read committed'"
        return f"DELETE FROM {table} WHERE {condition} RETURNING number"

    def claimed(self, cursor: Any) -> set[int] | None:
        return {int(row[0]) for row in cursor.fetchall()}

    def prepare(self, driver: Any, lock_seconds: float) -> None:
        """Set what the user may have set otherwise for all his sessions."""
        with driver.cursor() as cursor:
            cursor.execute(
                f"SET lock_timeout = '{lock_seconds}s'; SET search_path = pg_catalog; "
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'; "
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"
            )

    def results(self, cursor: Any) -> list[Rows]:
        """Return the one result that the driver keeps, the last."""
        return [list(cursor.fetchall())]

    def pages(self, driver: Any, sql: str, size: int) -> Iterator[Rows]:
        """Read from a cursor of the server's, which lives in a transaction."""
        with driver.cursor() as cursor:
            cursor.execute(f"DECLARE datajoint_file_scan NO SCROLL CURSOR FOR {sql}")
            while True:
                cursor.execute(f"FETCH {size} FROM datajoint_file_scan")
                if not (page := list(cursor.fetchall())):
                    break
                yield page
            cursor.execute("CLOSE datajoint_file_scan")

    def is_encrypted(self, driver: Any) -> bool:
        return bool(driver.info.ssl_in_use)

    def is_closed(self, driver: Any) -> bool:
        return bool(driver.closed)

    def sever(self, driver: Any) -> None:
        driver.close()

    def has_autocommit(self, driver: Any) -> bool:
        """Ask the driver, which begins transactions of itself."""
        return bool(driver.autocommit)

    def is_in_transaction(self, driver: Any) -> bool:
        """Ask the driver, also for a transaction that has failed."""
        return bool(driver.get_transaction_status() != _IDLE)

    def has_failed(self, driver: Any) -> bool:
        return bool(driver.get_transaction_status() == _IN_ERROR)

    def is_behind(self, connection: Any) -> bool:
        return bool(connection.query("SHOW transaction_isolation", reconnect=False).fetchone()[0] != "read committed")

    def is_plain(self, query: Query, schema: str, table: str) -> bool:
        """Look for what lets rows be inserted all the same: triggers, rules, deferred constraints, policies, heirs."""
        sql = (
            "SELECT current_setting('session_replication_role') <> 'replica' AND NOT (relhasrules OR relhassubclass OR "
            "relrowsecurity OR EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = class.oid AND condeferrable) OR "
            "EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = class.oid AND (NOT tgisinternal OR tgenabled = 'D'))) "
            "FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = relnamespace "
            "WHERE nspname = %s AND relname = %s"
        )
        return bool(query(sql, (schema, table))[0][0])

    def is_lost(self, error: BaseException, driver: Any) -> bool:
        if not hasattr(error, "pgcode"):
            return False
        code = error.pgcode
        return bool(getattr(driver, "closed", 0)) or (code is not None and code.startswith(_LOST))

    def is_timeout(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") == "55P03"

    def is_made_by_another(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") in _MADE_BY_ANOTHER

    def is_incomparable(self, error: BaseException) -> bool:
        return self.is_about_value(error) or getattr(error, "pgcode", "") == "42883"  # no such operator

    def is_gone(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") in _NOT_THERE

    def is_changed(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") in _CHANGED

    def is_deadlock(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") == "40P01"

    def is_about_value(self, error: BaseException) -> bool:
        code = str(getattr(error, "pgcode", None) or "")
        return code.startswith("22") or code == "23514"

    def is_denied(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", "") in _DENIED

    def relations(self, query: Query, names: Sequence[str], schema: str = "") -> list[tuple[str, str, bool]]:
        found = query(_RELATIONS, (tuple(names),))
        return [(place, table, is_plain) for place, table, is_plain in found if schema in ("", place)]

    def attributes(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """Ask the catalog, which everybody may read; ``CREATE TABLE … AS`` copies no comments."""
        yield from query(_ATTRIBUTES, ())

    def tables(self, query: Query) -> list[tuple[str, str]]:
        """Ask the catalog, which everybody may read; of a table in partitions for the whole."""
        return [(str(place), str(table)) for place, table in query(_TABLES)]

    def presence(self, query: Query, schema: str) -> Presence:
        """Ask the catalog, which everybody may read; a table that the user may not read is an error later."""
        sql = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = %s"
        found = query(sql, (schema,))
        if not found:
            return "gone"
        return "there" if found[0][0] else "unreadable"

    def oldest_transaction(self, query: Query) -> tuple[float, int]:
        seconds, prepared = query(
            "SELECT COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - MIN(xact_start)), 0), "
            "(SELECT COUNT(*) FROM pg_prepared_xacts WHERE database = current_database()) "
            f"FROM pg_stat_activity WHERE {_OTHERS}"
        )[0]
        return float(seconds), int(prepared)

    def unseen(self, query: Query) -> Iterator[Unseen]:
        """Ask the catalog, which everybody may read, for tables; count sessions of which all but the user is hidden."""
        user = self.grantee(query)
        fix = f"An administrator can GRANT pg_read_all_data, pg_read_all_stats TO {user}"
        tables = [".".join(names) for names in query(_UNREADABLE)]
        if tables:
            detail = f"{counted(len(tables), 'table')} cannot be read completely by this user: {', '.join(tables[:3])}"
            yield Unseen("schemas", f"{detail} (row-level security is lifted by ALTER ROLE {user} BYPASSRLS)", fix)
        hidden = query(f"SELECT COUNT(*) FROM pg_stat_activity WHERE {_OTHERS} AND backend_type IS NULL")[0][0]
        if hidden:
            detail = f"{counted(hidden, 'session')} of other users cannot be looked into by this one"
            yield Unseen("transactions", detail, fix)

    def grantee(self, query: Query) -> str:
        return str(query("SELECT quote_ident(current_user)")[0][0])

    def rights(self, query: Query) -> Rights:
        if query("SELECT has_database_privilege(current_database(), 'CREATE')")[0][0]:
            return Rights("all", "may create and use schemas")
        (database,) = query("SELECT quote_ident(current_database())")[0]
        user = self.grantee(query)
        fix = f"the owner of a schema can {_WRITER_GRANTS.format(user=user)}"
        writable = [row[0] for row in query(_SCHEMAS_TO_CREATE_IN)]
        if writable:
            fix = f"enough for these; for others an administrator can GRANT CREATE ON DATABASE {database} TO {user}"
            return Rights("some", f"may create tables in {', '.join(writable)}, but no schemas", fix)
        if readable := self.readable_schemas(query):
            detail = f"may read tables of {', '.join(readable)}, but create neither tables nor schemas"
            return Rights("some", detail, fix)
        return Rights("none", "may neither create schemas nor read tables", fix)


def _settled(text: str) -> str:
    """Return the SQL of *text* as it is under settings of ours, which are the user's again after it, row by row.

    A condition of the same statement may depend on his. Operands are evaluated from left to right, also if one is NULL.
    """
    settings = {**_WRITING, "TimeZone": "UTC"}
    kept = ", ".join(f"current_setting('{name}') AS {name}" for name in settings)
    ours = " || ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    theirs = " || ".join(f"set_config('{name}', {name}, true)" for name in settings)
    return (
        f"(SELECT CASE WHEN length({ours}) > 0 THEN {text} END || left({theirs}, 0) "
        f"FROM (SELECT {kept} OFFSET 0) AS datajoint_file_settings)"
    )
