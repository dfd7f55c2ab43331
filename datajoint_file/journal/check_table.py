"""SQL table ``~file_check`` of a schema: when each of its files was last compared with what its row says of it.

One row for each object and level of looking. Nothing depends on it: without it all files count as never verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.errors import JournalWarning, driver_message, warn
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.sql import Rows

TABLE = "~file_check"

SOUND = "ok"
"""The result of a check that found nothing wrong; others are the kinds of `Finding`."""

_ATTRIBUTES = """
    path VARCHAR(1024) {ascii} NOT NULL,
    level VARCHAR(10) {ascii} NOT NULL,
    result VARCHAR(10) {ascii} NOT NULL,
    checked_at {moment} NOT NULL,
    sound_at {moment} NULL,
    PRIMARY KEY (path, level)
"""
_COLUMNS = "path, level, result, checked_at, sound_at"
_MAX_PATH = 1024
_PATHS_PER_QUERY = 400


class CheckTable:
    """The table of one schema, on the second connection."""

    def __init__(self, second: SecondConnection, schema: str) -> None:
        self.second = second
        self.schema = schema
        self.dialect = second.dialect
        self.table = self.dialect.quoted(schema, TABLE)

    def ensure(self) -> bool:
        """Make the table, unless it is there. Tell whether it can be written; a `JournalWarning` says why not."""
        try:
            try:
                self._require_rights()
            except MissingTableError:
                indexes = {"~file_check_age": "level, checked_at"}
                comment = "when files were verified"
                made = self.dialect.create_table(self.table, _ATTRIBUTES, comment=comment, indexes=indexes)
                self.second.execute(made)
                self._require_rights()
        except Exception as error:  # noqa: BLE001 - no right, a replica: files are verified as well without it
            self.warn(error)
            return False
        return True

    def _require_rights(self) -> None:
        self.second.execute(f"INSERT INTO {self.table} ({_COLUMNS}) SELECT {_COLUMNS} FROM {self.table} WHERE 1 = 0")
        self.second.execute(f"UPDATE {self.table} SET level = level WHERE path = ''")

    def warn(self, error: Exception) -> None:
        """Say that results are not noted."""
        reason = driver_message(error) if len(error.args) < 2 else " ".join(str(error.args[1]).split())
        warn(_NO_TABLE.format(schema=self.schema, reason=reason), JournalWarning)

    def is_there(self) -> bool:
        """Tell whether the table can be seen."""
        sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return bool(self.second.query(sql, (self.schema, TABLE)))

    def record(self, level: str, results: Mapping[str, str]) -> None:
        """Note the results of checks that were made just now, by object key."""
        usable = sorted(path for path in results if path.isascii() and 0 < len(path) <= _MAX_PATH)
        for some in batches(usable, _PATHS_PER_QUERY):  # sorted: two runs wait for each other, and do not deadlock
            now = self.dialect.now
            values = [f"(%s, %s, %s, {now}, {now if results[path] == SOUND else 'NULL'})" for path in some]
            updates = dict.fromkeys(("result", "checked_at"), "") | {"sound_at": f"{self.table}.sound_at"}
            self.second.execute(
                self.dialect.upsert(self.table, _COLUMNS, ", ".join(values), "path, level", updates),
                [part for path in some for part in (path, level, results[path])],
            )

    def moments(self, levels: Sequence[str], count: int) -> list[datetime]:
        """Return at most *count* moments, oldest first, between which about as many checks were made, and the last."""
        where = f"FROM {self.table} WHERE level IN %s"
        total = int(self.second.query(f"SELECT COUNT(*) {where}", (tuple(levels),))[0][0])
        found: Rows = []
        for number in range(1, count + 1):
            offset = total * number // count - 1
            if offset >= 0:
                sql = f"SELECT {self.dialect.utc('checked_at')} {where} ORDER BY checked_at LIMIT 1 OFFSET {offset}"
                found += self.second.query(sql, (tuple(levels),))
        return sorted({row[0] for row in found})

    def clock(self) -> datetime:
        """Return the database's time, in UTC, without a time zone."""
        moment: datetime = self.second.query(f"SELECT {self.dialect.utc(self.dialect.now)}")[0][0]
        return moment

    def unchecked_sql(self, attribute: str, levels: Sequence[str]) -> str:
        """Return the condition that the file of an attribute, as its query calls it, was never checked.

        A restriction for DataJoint, like the others.
        """
        return self._condition(attribute, levels, "NOT EXISTS")

    def unchecked_since_sql(self, attribute: str, levels: Sequence[str], since: datetime) -> str:
        """Return the condition that it was checked, and not after *since*."""
        newer = f" AND {self.dialect.utc('CHECKED_AT')} > '{since:%Y-%m-%d %H:%M:%S.%f}'"
        checked = self._condition(attribute, levels, "EXISTS")
        return f"({checked} AND {self._condition(attribute, levels, 'NOT EXISTS', newer)})"

    def unsound_sql(self, attribute: str, levels: Sequence[str], seconds: float) -> str:
        """Return the condition that it was not found sound in so many seconds, or damaged since, however closely."""
        young = f" AND {self.dialect.age('SOUND_AT')} < {seconds:f}"
        damaged = (
            f" AND NOT EXISTS (SELECT 1 FROM /*'*/ {self.table} /*'*/ AS DJF_LATER WHERE DJF_LATER.PATH = "
            f"DJF_NOTE.PATH AND DJF_LATER.RESULT NOT IN ('{SOUND}', 'unreadable') "
            "AND DJF_LATER.CHECKED_AT > DJF_NOTE.SOUND_AT)"
        )
        return self._condition(attribute, levels, "NOT EXISTS", young + damaged)

    def _condition(self, attribute: str, levels: Sequence[str], exists: str, condition: str = "") -> str:
        """Return SQL in which DataJoint finds one attribute, whatever the quotes, and takes no other name for one.

        It looks for words in small letters and in backticks, leaves out what is between apostrophes, and heeds no
        comments. The columns are renamed, or they would hide attributes of the same name.
        """
        named = ", ".join(f"'{level}'" for level in levels)
        quoted = self.dialect.quoted(attribute)
        return (
            f"/* {attribute} */ ({quoted} IS NOT NULL AND {exists} (SELECT 1 FROM (SELECT PATH AS DJF_PATH FROM "
            f"/*'*/ {self.table} /*'*/ AS DJF_NOTE WHERE LEVEL IN ({named}){condition}) AS DJF_CHECK "
            f"WHERE DJF_PATH = {self.dialect.bounded_path(quoted)}))"
        )

    def tidy(self, before: datetime) -> None:
        """Forget objects that no check has met since *before*, when one of all rows began that has come to its end."""
        moment = f"{before:%Y-%m-%d %H:%M:%S.%f}"
        checked = self.dialect.utc("checked_at")
        sql = (
            f"SELECT path FROM {self.table} GROUP BY path HAVING MAX({checked}) < '{moment}' "
            f"LIMIT {100 * _PATHS_PER_QUERY}"
        )
        while paths := [row[0] for row in self.second.query(sql)]:
            for some in batches(paths, _PATHS_PER_QUERY):
                gone: tuple[Any, ...] = (tuple(some),)
                self.second.execute(f"DELETE FROM {self.table} WHERE path IN %s AND {checked} < '{moment}'", gone)


_NO_TABLE = (
    "the table `~file_check` of schema {schema} cannot be made or written ({reason}): files are verified, and when "
    "is not noted. Let the owner of the schema verify once, or grant CREATE there, or INSERT and UPDATE on that table"
)
