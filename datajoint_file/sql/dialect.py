"""SQL dialect interface: what differs between database servers, and why it matters here.

A dialect has no state and decides nothing. Statements that are the same everywhere stand where they are used, with the
expressions of the dialect in them. Docstrings in a dialect say what is peculiar to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from datajoint_file.sql.columns import Column, Kind

Rows = list[tuple[Any, ...]]
"""The rows of a result."""

Query = Callable[..., Rows]
"""What runs one statement, with parameters if it has any, and returns its rows."""

Condition = tuple[str, list[Any]]
"""The SQL of a condition and its parameters."""

Version = tuple[int, ...]

WHOLE_NUMBER = "^[0-9]{1,18}$"
"""How JSON writes the whole numbers that a row can have, in a regular expression."""

NO_INDEX: Mapping[str, str] = {}

Searched = Literal["hash", "path", "linked"]
"""The members of a row's JSON that files are found by."""

KEY_DIGITS = 16
"""So many digits of a hash are in an index: 64 bits, which tell all files of a laboratory apart."""

Presence = Literal["there", "gone", "unreadable"]
"""Of a schema: all of it may be read; there is none, for certain; it may be there."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do with schemas, as the server tells without doing it."""

    extent: Literal["all", "some", "none"]  # declare and use tables; at least read some; nothing
    detail: str
    fix: str = ""  # what an administrator can do about it


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something of a server that its user may not see."""

    what: Literal["schemas", "transactions"]
    detail: str
    fix: str  # what an administrator can do about it


class Dialect(ABC):
    """One kind of database server: its SQL, its driver, and what its answers mean."""

    backend: ClassVar[str]
    """What DataJoint calls the adapter for it."""

    title: ClassVar[str]
    """What people call it."""

    usable_from: ClassVar[Version]
    """The first version that can be used."""

    supported_from: ClassVar[Version] = ()
    """The first version that DataJoint supports; empty if none is."""

    greets: ClassVar[bool]
    """Whether the server speaks first. Its driver then waits, without an end, for one that does not."""

    @abstractmethod
    def is_spoken_by(self, driver: Any) -> bool:
        """Tell by what the driver knows whether its server is one of these."""

    @abstractmethod
    def identity(self, query: Query) -> tuple[str, str, str, str, str]:
        """Return what a server and a database in it call themselves, and host, port and data directory of the server.

        Only what outlives restarts, and what every user is told alike; empty where he is not. A copy has the server's
        own id too, and differs in the others.
        """

    quote: ClassVar[str]
    """What stands around names."""

    version: ClassVar[str]
    """Query for the server's version."""

    now: ClassVar[str]
    """The clock as it is now, also in a transaction: as of its beginning, leases would be too short."""

    from_now: ClassVar[str]
    """A moment so many seconds (a parameter) from now."""

    by_number: ClassVar[str] = ""
    """Index hint for rows that are locked by number: on InnoDB a scan locks all that it passes."""

    @lru_cache(maxsize=256)  # noqa: B019 - dialects are there for ever
    def quoted(self, *names: str) -> str:
        """Return schema and table, or an attribute, quoted. DataJoint takes for granted that no name holds a quote."""
        mark = self.quote
        return ".".join(f"{mark}{name.replace(mark, 2 * mark)}{mark}" for name in names)

    @abstractmethod
    def age(self, moment: str) -> str:
        """Return the SQL of how many seconds ago a moment is."""

    from_utc: ClassVar[str]
    """A moment of which a parameter is the text, in UTC and without a zone."""

    @abstractmethod
    def utc(self, moment: str) -> str:
        """Return the SQL of a moment as the driver gives it without a time zone, in UTC."""

    @abstractmethod
    def is_absent(self, name: str) -> str:
        """Return the SQL of whether a quoted ``file`` attribute has no JSON, or JSON's null."""

    @abstractmethod
    def as_json(self, name: str, member: str) -> str:
        """Return the SQL of a member of its JSON as JSON, text with its quotes; NULL if it has none."""

    @abstractmethod
    def text(self, name: str, member: str) -> str:
        """Return the SQL of a member as text; NULL if it has none. What is no text may be given as such, or as NULL."""

    def is_text(self, name: str, member: str) -> str:
        """Return the SQL of whether a member is text; NULL if there is none."""
        return f"LEFT({self.as_json(name, member)}, 1) = '\"'"

    @abstractmethod
    def whole_number(self, name: str, member: str) -> str:
        """Return the SQL of a member as a whole number; NULL if it is none."""

    matching: ClassVar[str]
    """The operator that matches text with a regular expression."""

    def matches(self, text: str, pattern: str) -> str:
        """Return the SQL of whether text matches *pattern*, which has neither backslashes nor quotes of one stroke."""
        return f"{text} {self.matching} '{pattern}'"

    @abstractmethod
    def exactly(self, text: str) -> str:
        """Return the SQL of text that is compared, and ordered, by its characters alone."""

    @abstractmethod
    def constant(self, text: str) -> str:
        """Return text as SQL that stays what it is in a restriction of DataJoint's, however often it is passed on.

        DataJoint doubles percent signs then, and looks for names in what is quoted with a backslash.
        """

    def summand(self, name: str, member: str) -> str:
        """Return the SQL of a member that is a whole number, to be added up in a query; 0 or NULL, mostly, if not."""
        return self.whole_number(name, member)

    def path(self, name: str) -> str:
        """Return the SQL of the object key in a quoted ``file`` attribute."""
        return self.text(name, "path")

    def is_link(self, name: str) -> str:
        """Return the SQL of whether a quoted ``file`` attribute, not NULL, has a file that stays where it is."""
        return f"COALESCE({self.linked(name)} = 'true', FALSE)"

    def is_linked(self, name: str) -> str:
        """Return the SQL of whether it has such a file, or a directory whose files do."""
        return f"COALESCE({self.linked(name)} <> 'false', FALSE)"

    def linked(self, name: str) -> str:
        """Return the SQL of where what it has stays, as text: ``true`` if that is its path; NULL if it is stored."""
        return self.text(name, "linked")

    @abstractmethod
    def key_of(self, name: str, member: Searched) -> str:
        """Return the SQL of what a member of a quoted ``file`` attribute is found by: short, whatever it holds.

        It is what `create_indexes` makes indexes of, and a server uses them for this very expression only.
        """

    def has_hash(self, name: str, digits: str) -> Condition:
        """Return the condition that the hash in a quoted ``file`` attribute begins with so many hexadecimal digits."""
        key, start = self.key_of(name, "hash"), digits[:KEY_DIGITS]
        is_near, values = (
            (f"{key} = %s", [start]) if len(start) == KEY_DIGITS else (f"{key} BETWEEN %s AND %s", [start, f"{start}g"])
        )
        pattern = f"sha256:{digits}{'' if len(digits) == 64 else '%'}"
        return f"{is_near} AND {self.text(name, 'hash')} LIKE %s", [*values, pattern]

    def has_path(self, name: str, paths: Sequence[str], member: Searched = "path") -> Condition:
        """Return the condition that a quoted ``file`` attribute names one of *paths*, for which an index is used."""
        return f"{self.text(name, member)} IN %s", [tuple(paths)]

    index_refusal: ClassVar[str] = ""
    """Why no index is made here; nothing, where it is."""

    index_waits: ClassVar[str]
    """Who waits while an index is made, and for whom that waits."""

    index_patience: ClassVar[str] = ""
    """Statement after which a session waits longer for others, where nobody waits behind it meanwhile."""

    drops_with_index: ClassVar[bool]
    """Whether an attribute that an index is made of is dropped, or renamed, with no more said of the index."""

    @abstractmethod
    def index_names(self, query: Query, schema: str, table: str) -> dict[str, bool]:
        """Return the names of a table's indexes, and whether each can be used: one that failed half-way cannot."""

    @abstractmethod
    def create_indexes(self, schema: str, table: str, indexes: Mapping[str, tuple[str, Searched]]) -> list[str]:
        """Return the statements that make *indexes*, of quoted attributes and members, by their names."""

    @abstractmethod
    def drop_indexes(self, schema: str, table: str, names: Sequence[str]) -> list[str]:
        """Return the statements that drop indexes of a table."""

    @abstractmethod
    def first_component(self, path: str) -> str:
        """Return the SQL of what stands before the first slash of a path."""

    @abstractmethod
    def first_components(self, path: str, count: int) -> str:
        """Return the SQL of so many components of a path; of all of it, if it has no more."""

    @abstractmethod
    def as_text(self, name: str) -> str:
        """Return the SQL of the JSON of a quoted attribute as the text that it was stored as."""

    def as_searchable(self, name: str) -> str:
        """Return the SQL of any attribute as text, by which nothing runs that somebody has defined for its type."""
        return self.as_text(name)

    @abstractmethod
    def columns(self, query: Query, schema: str, tables: Sequence[str]) -> dict[str, list[Column]]:
        """Return the columns of those of *tables* that there are, in their order."""

    @abstractmethod
    def replaced_by(self, query: Query, schema: str, table: str) -> list[dict[str, bool]]:
        """Return the attributes of each unique key, but the primary one, by which ``REPLACE`` removes rows.

        With whether the server computes what a row does not give; the name is empty if it always does.
        """

    @abstractmethod
    def unique_attributes(self, query: Query, schema: str, table: str) -> set[str]:
        """Return the attributes that are part of a unique key, but of the primary one."""

    def may_hold(self, column: Column, text: str) -> str:
        """Return the condition that a column holds what it makes of *text* when it is given that; empty if it is equal.

        For a restriction of DataJoint's, which doubles percent signs.
        """
        return ""

    def named(self, column: Column) -> str:
        """Return a column's name, quoted, for a statement in which percent signs are doubled."""
        return self.quoted(column.name).replace("%", "%%")

    def literal(self, text: str) -> str:
        """Return text as SQL, for a statement in which percent signs are doubled."""
        return "'" + text.replace("\\", self.backslash).replace("'", "''").replace("%", "%%") + "'"

    backslash: ClassVar[str]
    """What stands for a backslash in text."""

    user: ClassVar[str]
    """The SQL of who is connected."""

    large_text: ClassVar[str]
    """Type of text of any length."""

    max_result: ClassVar[str] = ""
    """The SQL of how many bytes an expression may have, where a server refuses more."""

    path_attribute: ClassVar[str] = ""
    path_index: ClassVar[str]
    """Definition of a column to find paths by, if the server needs one, and what to make the index of: paths are long
    and begin alike."""

    @abstractmethod
    def by_path(self, paths: Sequence[str]) -> Condition:
        """Return the condition that ``path`` is one of *paths*, for which the server uses `path_index`."""

    @abstractmethod
    def bounded_path(self, name: str) -> str:
        """Return the SQL of `path` as a column for paths takes it, also of a row that holds something else."""

    @abstractmethod
    def bounded_size(self, name: str) -> str:
        """Return the SQL of the size in a ``file`` attribute, NULL if it is none; broken JSON is no error."""

    @abstractmethod
    def written(self, column: Column, value: str = "") -> tuple[Kind, str, bool]:
        """Return how a column, or *value* as SQL of its type, is written down.

        The kind, the SQL of the text, and whether it may be large.
        """

    def compared(self, column: Column, value: str) -> str:
        """Return the SQL of a text that is the same for all of *value* (SQL) that the column's key takes for equal."""
        return self.written(column, value)[1]

    @abstractmethod
    def typed(self, column: Column) -> str:
        """Return the SQL of a parameter as a value of a column's type."""

    def read_back(self, kind: Kind) -> str:
        """Return the SQL of a parameter that was written down in this way, for a column of the type that it had."""
        return "%s"

    @abstractmethod
    def reading_back(self, query: Query, values: Sequence[tuple[Column, Kind]]) -> AbstractContextManager[None]:
        """Let *values* mean in the block what was written down, and be refused where a column would change them.

        Whatever the settings of the session are, of which *query* is. In a transaction of its own.
        """

    overriding: ClassVar[str] = ""
    """What an INSERT says to give values also to what the server always numbers itself."""

    @abstractmethod
    def byte_length(self, column: Column) -> str:
        """Return the SQL of the number of bytes of a large value, as it would be written down."""

    @abstractmethod
    def fingerprint(self, column: Column) -> str:
        """Return the SQL of 64 characters that stand for what any column holds, however large; NULL for NULL."""

    @abstractmethod
    def as_characters(self, value: str) -> str:
        """Return the SQL of a number as text."""

    @abstractmethod
    def json_object(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Return the SQL of a JSON object, as text, of keys and texts."""

    @abstractmethod
    def digest(self, texts: Sequence[str]) -> str:
        """Return the SQL of 16 characters that stand for *texts*."""

    @abstractmethod
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
        """Delete the rows of *table* that *where* selects and insert copies of exactly these elsewhere; count the rows.

        *insert* returns the statement for a source of rows, which has *attributes*, and what follows it. *noted* is the
        SQL of whether a row has a copy. It has one, or several: then *count* returns the statement that tells how many
        rows the copies are of that are numbered from a number on. To be run in a transaction.

        Raises
        ------
        DataJointError
            If the rows changed between two statements. The transaction has to be rolled back.
        """

    has_transactional_ddl: ClassVar[bool]
    """Whether a table that was dropped comes back by a rollback; if not, DROP commits the transaction."""

    @abstractmethod
    def lock(self, run: Callable[[str], Any], tables: Sequence[str], history: str) -> None:
        """Keep others from *tables* (quoted), while they are copied to *history* and dropped; wait for who uses them.

        Nobody waits for *history* meanwhile longer than a second: it is that of other tables as well.
        """

    @abstractmethod
    def after(self, columns: Sequence[tuple[str, str]], values: Sequence[Any]) -> Condition:
        """Return the condition that a row comes after a key, in a form for which the server has an index.

        *columns* are the quoted attributes of the key, and their types.
        """

    @abstractmethod
    def create_table(self, table: str, columns: str, *, comment: str, indexes: Mapping[str, str] = NO_INDEX) -> str:
        """Return the statements that create a table (quoted) unless it is there; *indexes* are names and attributes.

        In *columns*, ``{number}`` is a primary key that counts up, ``{ascii}`` compares bytes, ``{moment}`` is a time
        to the microsecond, ``{large_text}`` has no limit, ``{path_attribute}`` is what paths are found by.
        """

    @abstractmethod
    def declared(self, column: Column) -> str:
        """Return the SQL that declares a column as a foreign key to it has to be."""

    @abstractmethod
    def insert_missing(self, table: str, attributes: Sequence[str], select: str) -> str:
        """Return the statement that inserts what *select*, which ends in a condition, gives, but what is there."""

    @abstractmethod
    def encoded(self, text: str) -> str:
        """Return text as SQL for `concealed`."""

    @abstractmethod
    def concealed(self, sql: str) -> str:
        """Return a restriction without small letters but in names, in which DataJoint finds none.

        It looks for attributes in what it passes on as text, and takes the names of other tables for these.
        """

    @abstractmethod
    def insert_new(self, table: str, attributes: str, values: str) -> str:
        """Return the statement that inserts rows and leaves out those that are there."""

    @abstractmethod
    def upsert(self, table: str, attributes: str, values: str, key: str, updates: Mapping[str, str]) -> str:
        """Return the statement that inserts rows, and updates those of a *key* that are there.

        *updates* are the attributes that get their new value, each with the SQL of what it keeps if that is NULL.
        """

    @abstractmethod
    def readable_schemas(self, query: Query) -> list[str]:
        """Return the schemas of which the user may read something, sorted."""

    @abstractmethod
    def numbered(self, numbers: Sequence[int]) -> Condition:
        """Return the condition that a row is one of *numbers*, for which the server uses the index."""

    @abstractmethod
    def insert_and_select(
        self, run: Callable[[str, Sequence[Any]], list[Rows]], insert: Condition, select: Condition, ids: Sequence[str]
    ) -> tuple[list[int], Rows]:
        """Insert the intents with these write ids and select others, in one round trip, by statements sent together.

        Returns the numbers of the inserted, in the order of *ids*, and what *select* gives: number, attribute, key
        digest, write id and metadata.
        """

    @abstractmethod
    def claim(self, table: str, condition: str, *, only_read_committed: bool) -> str:
        """Return the statement that deletes intents in a transaction, which may be the user's.

        With *only_read_committed*, none in one that looks at an older snapshot, where that would be an error.
        """

    @abstractmethod
    def claimed(self, cursor: Any) -> set[int] | None:
        """Return the numbers that `claim` has deleted; None where the server only counts them."""

    @abstractmethod
    def prepare(self, driver: Any, lock_seconds: float) -> None:
        """Make a new connection ours: waiting *lock_seconds* for locks at most, and not closed for being idle."""

    @abstractmethod
    def results(self, cursor: Any) -> list[Rows]:
        """Return the results of statements that were sent together, as far as the driver gives them."""

    reading: ClassVar[str]
    """Statement after which a connection of the collector's is shown all or an error."""

    whole: ClassVar[str] = ""
    """Statement after which, in this transaction, a query gives all rows or an error; empty where it always does."""

    snapshot: ClassVar[tuple[str, ...]]
    """Statements that begin a transaction in which everything is read as of one moment."""

    @abstractmethod
    def pages(self, driver: Any, sql: str, size: int) -> Iterator[Rows]:
        """Give the rows of one statement, *size* at a time, as they come. In a transaction begun by `snapshot`."""

    @abstractmethod
    def is_encrypted(self, driver: Any) -> bool:
        """Tell whether a connection is: DataJoint may have fallen back to one that is not, and says so, once."""

    @abstractmethod
    def is_closed(self, driver: Any) -> bool:
        """Tell, without asking the server, whether a connection is known to be closed."""

    @abstractmethod
    def sever(self, driver: Any) -> None:
        """Close a connection that may be between a statement and its reply, without waiting for that."""

    json_row: ClassVar[str]
    """Query for one row whose attribute ``file_json`` is JSON with a ``path`` of 12."""

    percent: ClassVar[str]
    """The SQL of a percent sign: DataJoint doubles those that stand in a restriction whenever it passes it on."""

    has_replace: ClassVar[bool]
    """Whether ``REPLACE`` is a statement."""

    take_lock: ClassVar[str]
    """Query that takes the lock of a number for the session, and tells whether nobody else has it. It does not wait."""

    keeps_transaction: ClassVar[bool]
    """Whether a transaction can go on after a statement of it has failed."""

    @abstractmethod
    def has_autocommit(self, driver: Any) -> bool:
        """Tell whether the next statement is a transaction of its own."""

    @abstractmethod
    def is_in_transaction(self, driver: Any) -> bool:
        """Tell what the driver has heard last from the server."""

    @abstractmethod
    def has_failed(self, driver: Any) -> bool:
        """Tell whether a commit is going to be a rollback, which the server does without saying so."""

    def has_strict_snapshots(self, connection: Any) -> bool:
        """Ask whether transactions refuse to change what was changed since they began to read."""
        return False

    def is_behind(self, connection: Any) -> bool:
        """Ask whether the transaction of *connection* sees an older moment, so that a claim in it finds nothing."""
        return False

    share_now: ClassVar[str]
    """At the end of a SELECT: fail at once if others have the rows locked; nothing where they keep nobody waiting."""

    @abstractmethod
    def is_plain(self, query: Query, schema: str, table: str) -> bool:
        """Ask whether keys are checked as each row is inserted, which no trigger changes, and no row is hidden."""

    @abstractmethod
    def is_lost(self, error: BaseException, driver: Any) -> bool:
        """Tell whether *error* is one of this driver, and means that the connection is gone."""

    size_limit: ClassVar[str] = ""
    """The variable of how many bytes a statement may have; empty where there is no limit to speak of."""

    @abstractmethod
    def is_timeout(self, error: BaseException) -> bool:
        """Tell whether *error* says that others have held a lock for too long."""

    def is_made_by_another(self, error: BaseException) -> bool:
        """Tell whether a statement that creates what is not there failed as another was creating it."""
        return False

    def is_incomparable(self, error: BaseException) -> bool:
        """Tell whether *error* says that a value is of a type that an attribute is not compared with."""
        return self.is_about_value(error)

    def referring(self, query: Query, schema: str, table: str) -> list[str]:
        """Return the tables that refer to one, where a DROP of that and others would drop the others and then fail."""
        return []

    def is_too_large(self, error: BaseException) -> bool:
        """Tell whether *error* says that a statement has more bytes than the server takes."""
        return False

    @abstractmethod
    def is_gone(self, error: BaseException) -> bool:
        """Tell whether *error* says that there is no such table, or no such schema."""

    @abstractmethod
    def is_changed(self, error: BaseException) -> bool:
        """Tell whether *error* says that something was altered or dropped since it was listed."""

    @abstractmethod
    def is_deadlock(self, error: BaseException) -> bool:
        """Tell whether *error* says that the statement, and others', waited for each other: who reads, for a change."""

    @abstractmethod
    def is_about_value(self, error: BaseException) -> bool:
        """Tell whether *error*, which DataJoint does not translate, says that a column does not take a value."""

    @abstractmethod
    def is_denied(self, error: BaseException) -> bool:
        """Tell whether *error* says that the user lacks a right, or that the server takes no changes."""

    is_replica: ClassVar[str]
    """Query that is true on a server that only follows another one, or takes no changes."""

    @abstractmethod
    def oldest_transaction(self, query: Query) -> tuple[float, int]:
        """Return the age of the oldest open transaction of others in seconds, and how many are prepared.

        The beginning of those that are prepared nobody tells. What `unseen` says is not seen is not among them.
        """

    @abstractmethod
    def unseen(self, query: Query) -> Iterator[Unseen]:
        """Give what this user may not see: schemas with rows, or transactions of others. Found out by trying."""

    def hides_schemas(self, query: Query) -> bool:
        """Ask whether there may be schemas of which this user is not even told that they are there."""
        return False

    @abstractmethod
    def relations(self, query: Query, names: Sequence[str], schema: str = "") -> list[tuple[str, str, bool]]:
        """Return schema and name of all that has one of *names*, and whether it is a table and runs nothing else.

        Of one *schema*, if it is given.

        Whoever looks has more rights than the owner of some schema, whose triggers, policies, or functions in indexes
        and checks would run with them.
        """

    @abstractmethod
    def grantee(self, query: Query) -> str:
        """Return this user, as GRANT names him."""

    def tables_named(self, query: Query, names: Sequence[str], schema: str = "") -> list[tuple[str, str]]:
        """Return schema and name of all tables that have one of *names*, and that run nothing of their owner's."""
        return [(place, table) for place, table, is_plain in self.relations(query, names, schema) if is_plain]

    @abstractmethod
    def attributes(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """Give all attributes of all schemas that may hold metadata of files: with a comment of a codec, JSON, or text.

        As schema, table, attribute (None where the table cannot be opened), comment and type.
        """

    @abstractmethod
    def tables(self, query: Query) -> list[tuple[str, str]]:
        """Return all tables, by schema and name, as far as the user is told of them, readable or not."""

    @abstractmethod
    def presence(self, query: Query, schema: str) -> Presence:
        """Tell whether a schema is there, and all of it may be read: also what the user could not even list."""

    @abstractmethod
    def rights(self, query: Query) -> Rights:
        """Tell what the user may do with schemas."""
