"""`where`: restriction of a query by what its rows record of a file, as one SQL condition equal on all databases.

What a value means is parsed in `comparisons`. A member of a row's JSON that is not of the type that this package writes
is compared with nothing, and no row makes the query fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from types import EllipsisType
from typing import Any

from datajoint_file.errors import QueryError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.restrictions import SqlCondition
from datajoint_file.hooks.tables import query_name
from datajoint_file.model.wording import nearest
from datajoint_file.query.comparisons import (
    ESCAPE,
    AllOf,
    AnyOf,
    Between,
    Comparison,
    Equal,
    Like,
    Linked,
    Missing,
    parse,
)
from datajoint_file.sql import Dialect, dialect_of
from datajoint_file.sql.dialect import KEY_DIGITS

Text = str | None | Iterable[str | None]
Number = str | float | None | Iterable[Any]
Moment = str | date | None | Iterable[Any]

_MEMBERS = {
    "name": "original_name",
    "like": "original_name",
    "stem": "original_name",
    "suffix": "original_name",
    "media_type": "mime_type",
    "stored": "timestamp",
}
"""Of those that are called otherwise in the row."""

_TIME = '^"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"$'
"""How rows have a time: only so does text order as time does."""


@dataclass(frozen=True, slots=True)
class FileCondition(SqlCondition):
    """What `where` returns: a restriction for DataJoint. It belongs to no query, and is used with as many as you like.

    Parameters
    ----------
    attribute : str
        The ``file`` attribute, as the query calls it.
    comparisons : tuple
        Keywords of `where`, each with what it says; all must hold.
    has_file : bool
        Whether there is a file at all.
    """

    attribute: str
    comparisons: tuple[tuple[str, Comparison], ...] = ()
    has_file: bool = True

    def sql(self, query: Any) -> tuple[str, set[str]]:
        """Return the SQL of the condition on *query*, and the attribute that is in it.

        Raises
        ------
        QueryError
            If that is no ``file`` attribute of the query.
        """
        names = file_attributes(query.heading)
        if self.attribute not in names:
            title = query_name(query) or "the query"
            others = nearest(self.attribute, names) if names else ", and no other"
            raise QueryError(f"{title} has no `file` attribute {self.attribute!r}{others}")
        dialect = dialect_of(query.connection)
        column = dialect.quoted(self.attribute)
        if self.comparisons:
            parts = [_Member(dialect, column, _MEMBERS.get(key, key)).sql(what) for key, what in self.comparisons]
            return " AND ".join(parts), {self.attribute}
        absent = dialect.is_absent(column)
        return f"NOT ({absent})" if self.has_file else absent, {self.attribute}


@brief_traceback
def where(
    attribute: str,
    file: EllipsisType | None = ...,
    /,
    *,
    name: Text | EllipsisType = ...,
    like: Text | EllipsisType = ...,
    stem: Text | EllipsisType = ...,
    suffix: Text | EllipsisType = ...,
    size: Number | EllipsisType = ...,
    hash: Text | EllipsisType = ...,  # noqa: A002 - as a reference calls it
    media_type: Text | EllipsisType = ...,
    stored: Moment | EllipsisType = ...,
    files: Number | EllipsisType = ...,
    linked: bool | EllipsisType | None = ...,
    title: Text | EllipsisType = ...,
) -> FileCondition:
    r"""Return a restriction by what rows record of a file. No I/O; the database compares when the query is run.

    ``Recording & where("raw_data", suffix=".dat", size=">1e6")`` are the rows whose file is such a one, ``Recording -
    where(…)`` all others. It goes wherever DataJoint takes a restriction: in lists (any of them), `dj.AndList`,
    `dj.Not`, joins, projections (an attribute that was renamed has its new name), aggregations, deletes. All that is
    given must hold. Text is compared character by character, capitals and small letters apart, on every database.

    Several values in a list: any of them. ``None``: the file has none. ``where("raw_data", None)`` are the rows
    without a file, ``where("raw_data")`` those with one.

    Parameters
    ----------
    attribute : str
        A ``file`` attribute of the query, as the query calls it.
    file : None, optional
        ``None`` stands for no file at all; nothing else can be given then.
    name : str
        Its name when it was inserted. ``*`` stands for any characters, ``?`` for one; there is no ``[a-z]``.
    like : str
        Its name as a pattern of SQL: ``%`` stands for any characters, ``_`` for one, ``\`` before them for themselves.
    stem, suffix : str
        Its name without the last suffix, and that with its dot, as a reference has them; ``suffix=""`` is a name
        without one. They are compared as they are.
    size : int or str
        In bytes, of a directory those of all its files: ``1000``, ``">1e6"``, ``"<=1.5 GB"``, or in a tuple a range:
        ``(">1e6", "<1 GB")``.
    hash : str
        ``sha256:`` and 64 hexadecimal digits.
    media_type : str
        Such as ``"image/*"``.
    stored : str, date or datetime
        When its upload finished: ``"<2026-01-01"``, ``"2026-03"`` (the whole month), ``">=2026-01-01T10:30"``, or in a
        tuple a range. In UTC, unless it has a zone of its own. A year, month or day counts as a whole: what is ``>`` a
        day comes after its end.
    files : int or str
        How many files a directory has, as *size*; a single file has none (``None``).
    linked : bool
        Whether it, or what is in it, stays where it is.
    title : str
        As *name*.

    Returns
    -------
    FileCondition
        A value, to restrict any number of queries by.

    Raises
    ------
    QueryError
        If a value is in no form that there is; or, where it restricts a query, if that has no such ``file`` attribute.

    Notes
    -----
    A row whose JSON is not what this package writes is compared member by member, and one that is of another type is
    as one that is not there; but only a file that has a ``path`` lacks a title.

    Examples
    --------
    >>> large = where("raw_data", suffix=".dat", size=">1 GB")
    >>> len(Recording & large), len(Recording - large)  # doctest: +SKIP
    (1, 2)
    >>> (Recording & [large, where("notes", name="*todo*")]).delete()  # doctest: +SKIP
    """
    given = {
        "name": name,
        "like": like,
        "stem": stem,
        "suffix": suffix,
        "size": size,
        "hash": hash,
        "media_type": media_type,
        "stored": stored,
        "files": files,
        "linked": linked,
        "title": title,
    }
    if not isinstance(attribute, str):
        raise QueryError(f"{brief(attribute)}: expected the name of a `file` attribute")
    comparisons = tuple((key, parse(key, value)) for key, value in given.items() if value is not ...)
    has_file = isinstance(file, EllipsisType)
    if not has_file and (file is not None or comparisons):
        raise QueryError(f"where({attribute!r}, {brief(file)}, …): None alone stands for no file; a name is name=…")
    return FileCondition(attribute, comparisons, has_file)


@dataclass(frozen=True, slots=True)
class _Member:
    """One member of the JSON in a column, and the SQL of what is said of it, which is never NULL."""

    dialect: Dialect
    column: str
    name: str

    def sql(self, comparison: Comparison) -> str:
        if isinstance(comparison, AnyOf):
            return f"({' OR '.join(map(self.sql, comparison.parts)) or 'FALSE'})"
        if isinstance(comparison, AllOf):
            return f"({' AND '.join(map(self.sql, comparison.parts))})"
        if isinstance(comparison, Equal):
            return self._equal(comparison)
        return f"COALESCE({self._compared(comparison)}, FALSE)"

    def _compared(self, comparison: Like | Between | Missing | Linked) -> str:
        if isinstance(comparison, Like):
            return self._like(comparison)
        if isinstance(comparison, Between):
            return self._between(comparison)
        as_json = self.dialect.as_json(self.column, self.name)
        if isinstance(comparison, Missing):
            return f"{self.dialect.is_text(self.column, 'path')} AND COALESCE({as_json}, 'null') = 'null'"
        linked = f"{as_json} = 'true' OR {self._is_text()}"
        is_file = self.dialect.is_text(self.column, "path")
        return f"({linked})" if comparison.is_linked else f"{is_file} AND NOT COALESCE({linked}, FALSE)"

    def _equal(self, comparison: Equal) -> str:
        """Return it in a form for which a database has an index; it takes what differs by spaces at the end for equal.

        Which the second part does not.
        """
        text, value = self._text(), self.dialect.constant(comparison.text)
        if self.name == "hash" and not self.dialect.index_refusal:  # for which `index` makes one of the first digits
            text = self.dialect.key_of(self.column, "hash")
            value = self.dialect.constant(comparison.text.partition(":")[2][:KEY_DIGITS])
        return f"({text} IS NOT NULL AND {text} = {value} AND {self.sql(Like(comparison.text))})"

    def _like(self, comparison: Like) -> str:
        text, pattern = self.dialect.exactly(self._text()), self.dialect.constant(comparison.pattern)
        is_negated = "NOT " if comparison.is_negated else ""
        return f"{text} {is_negated}LIKE {pattern} ESCAPE '{ESCAPE}' AND {self._is_text()}"

    def _between(self, comparison: Between) -> str:
        low, high = comparison.low, comparison.high
        if not any(isinstance(bound, str) for bound in (low, high)):
            return _bounded(self.dialect.whole_number(self.column, self.name), low, high)
        first, last = (bound and f"'{bound}'" for bound in (low, high))
        as_written = self.dialect.matches(self.dialect.as_json(self.column, self.name), _TIME)
        return f"{_bounded(self.dialect.exactly(self._text()), first, last)} AND {as_written}"

    def _text(self) -> str:
        return self.dialect.text(self.column, self.name)

    def _is_text(self) -> str:
        return self.dialect.is_text(self.column, self.name)


def _bounded(value: str, low: Any, high: Any) -> str:
    if low is None:
        return f"({value}) <= {high}"
    return f"({value}) >= {low}" if high is None else f"({value}) BETWEEN {low} AND {high}"
