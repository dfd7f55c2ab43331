"""Directory scan: rows for an insert from the paths below a directory, by a rule; names are looked at, nothing is read.

How a rule reads one path is told in `rules`, how paths of several rules become rows in `joined_rows`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from datajoint.table import Table

from datajoint_file.config.paths import working_directory
from datajoint_file.errors import (
    PathMismatchError,
    RuleError,
    SourceError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    brief_traceback,
    printable,
    reason_of,
)
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.row_listing import query_of
from datajoint_file.hooks.tables import declared_type, table_name
from datajoint_file.intake.joined_rows import Duplicate, Join, Match, Unmatched
from datajoint_file.intake.receipts import OWN_FILES
from datajoint_file.intake.rules import Rule
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.names import check_name
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.linking import require_root
from datajoint_file.transfer.directories import matcher
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.source_readers import look_at

_TOLD = 20
"""So many rows, or paths, are shown."""


@dataclass(frozen=True, slots=True)
class Scan(Sequence[dict[str, Any]]):
    """What `scan` has found. It is a sequence of its rows, so that ``Recording.insert(found)`` inserts them.

    Parameters
    ----------
    root : Path
        The directory.
    rule : str or mapping of str
        The rule, or the rules by attribute.
    rows : tuple of dict
        A row for each path that matches, in the order of paths; with several rules, for each key.
    unmatched : tuple of Unmatched
        What gives no row, each with the reason.
    duplicates : tuple of Duplicate
        Keys for which an attribute has several paths. No row is made of these: which one is meant, nobody can tell.
    """

    root: Path
    rule: str | Mapping[str, str]
    rows: tuple[dict[str, Any], ...]
    unmatched: tuple[Unmatched, ...]
    duplicates: tuple[Duplicate, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def require_all(self) -> Scan:
        """Return it, if every path gives a row of its own.

        Raises
        ------
        PathMismatchError
            If not; it names the first of those that do not.
        """
        wrong = [*map(str, self.unmatched), *map(str, self.duplicates)]
        if wrong:
            more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise PathMismatchError(f"{printable(str(self.root))}: {'; '.join(wrong[:_TOLD])}{more}")
        return self

    def __str__(self) -> str:
        lines = [f"{counted(len(self.rows), 'row')} from {printable(str(self.root))}"]
        for title, those in self._lists():
            lines += [f"{title}:", *(f"  {one}" for one in those[:_TOLD])]
            lines += [f"  and {len(those) - _TOLD} more"] if len(those) > _TOLD else []
        return "\n".join(lines)

    def _lists(self) -> list[tuple[str, Sequence[object]]]:
        lists: list[tuple[str, Sequence[object]]] = []
        if self.unmatched:
            lists.append((f"{counted(len(self.unmatched), 'path')} without a row", self.unmatched))
        if self.duplicates:
            lists.append((f"{counted(len(self.duplicates), 'key')} of several paths, without a row", self.duplicates))
        return lists

    def _repr_html_(self) -> str:
        """Show its rows, and what has none, in notebooks."""
        names = list(self.rows[0]) if self.rows else []
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(printable(str(row[name])))}</td>' for name in names)}</tr>"
            for row in self.rows[:_TOLD]
        )
        lists = "".join(
            f"<p>{escape(title)}</p><ul>{''.join(f'<li>{escape(str(one))}</li>' for one in those[:_TOLD])}</ul>"
            for title, those in self._lists()
        )
        title = f"<p>{escape(str(self).splitlines()[0])}</p>"
        return f"<div>{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lists}</div>"


@brief_traceback
def scan(
    root: str | os.PathLike[str],
    rule: str | Mapping[str, str],
    *,
    table: Any = None,
    attribute: str | None = None,
    values: Mapping[str, Any] | None = None,
    patterns: Mapping[str, str] | None = None,
    exclude: str | Sequence[str] = (),
    link: bool = False,
) -> Scan:
    """Return rows for an insert from the paths below a directory. Nothing is read but names, and nothing stored.

    What gives no row is listed with the reason, and so are paths that give the same key: nothing is dropped, and
    nothing guessed. A symbolic link that stays below *root* and ends at a file counts as a file; others are listed.
    What `datajoint-file watch` leaves beside files (``*.receipt.json``, ``.datajoint-file-*``) counts as nothing.

    Parameters
    ----------
    root : path
        The directory.
    rule : str or mapping of str
        What paths below it look like: text, globs (``*``, ``?``, ``[abc]``, and ``**`` for any directories), and
        placeholders, ``{name}`` or ``{name:format}`` with a format of whole numbers (``03d``), others (``.2f``) or
        times (``%Y%m%d``). A slash at its end makes each directory of that form one value. A mapping has a rule for
        each of several `file` attributes; paths that give the same key are one row.
    table : table, optional
        Where the rows are to go. Values then have the types of its heading, and the rule, with *values*, must give its
        whole key, and whatever else has no default there.
        Without it values are text, unless a format says more.
    attribute : str, optional
        The `file` attribute that the path is for. That of the table, if it has one only; ``"path"`` without a table.
    values : mapping, optional
        What all rows have besides.
    patterns : mapping of str, optional
        What a value looks like, as a regular expression: ``{"probe": "[A-D][0-9]"}``.
    exclude : str or sequence of str
        Files and directories to leave out, and out of the lists, as patterns of ``gitignore``.
    link : bool
        Whether the values are links, to files that stay where they are, below a root of ``datajoint.toml``.

    Returns
    -------
    Scan
        A sequence of rows, with ``unmatched`` and ``duplicates``.

    Raises
    ------
    RuleError
        If the rule is malformed, names what is no attribute of the table, or leaves out what a row must have.
    SourceNotFoundError, SourceAccessError, SourceError
        If *root* is not there, may not be read, or is no directory.
    UnsupportedValueError
        If *table* is none, or has no such `file` attribute.
    UnknownRootError
        If the files are to be linked, *table* is given, and *root* lies below no root of its pipeline.

    Examples
    --------
    >>> found = datajoint_file.scan("run1/", "subject{subject_id}/*.dat", table=Recording)  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    >>> Recording.insert(found, skip_duplicates=True)  # doctest: +SKIP
    """
    target, rules = _rules(rule, table, attribute, values or {}, patterns or {})
    target.require_row({*(values or {}), *rules, *(name for one in rules.values() for name in one.names)})
    left_out = matcher((*((exclude,) if isinstance(exclude, str) else exclude), *OWN_FILES))
    directory = directory_of(root)
    if link and table is not None:
        require_root(pipeline_of(query_of(table)).stores, str(directory))
    made = _Scan(directory, rules, target, dict(values or {}), left_out, Link if link else Path)
    return made.found(rule)


def _rules(
    rule: str | Mapping[str, str],
    table: Any,
    attribute: str | None,
    values: Mapping[str, Any],
    patterns: Mapping[str, str],
) -> tuple[Target, dict[str, Rule]]:
    """Return where rows go, and the rule of each attribute."""
    if not isinstance(rule, Mapping):
        target = Target.of(table, attribute)
        return target, {target.attribute: target.rule(rule, values, patterns)}
    if not rule or attribute is not None:
        raise RuleError("give a rule for each `file` attribute, as {'raw': '*.dat'}, and no attribute= besides")
    targets = {name: Target.of(table, name) for name in rule}
    names = {name: Rule(text, targets[name].types).names for name, text in rule.items()}
    if unknown := sorted(set(patterns).difference(*names.values())):
        raise RuleError(f"there is a pattern for {unknown[0]}, and no such placeholder")
    if twice := sorted(set(rule) & set(values)):
        raise RuleError(f"{twice[0]} is given a value by a rule and otherwise as well")
    rules = {}
    for name, text in rule.items():
        own = {each: pattern for each, pattern in patterns.items() if each in names[name]}
        rules[name] = targets[name].rule(text, values, own)
    return next(iter(targets.values())), rules


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows are to go: a table, if one is known, and the attribute that paths are for."""

    attribute: str
    name: str = ""  # of the table, as people write it
    types: dict[str, str] | None = None
    primary_key: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()  # the other `file` attributes
    nullable: tuple[str, ...] = ()  # those of all `file` attributes that need no value
    required: tuple[str, ...] = ()  # what is not in the key, and has no default

    @classmethod
    def of(cls, table: Any, attribute: str | None) -> Target:
        """Return what is known of a table, or of none."""
        if table is None:
            return cls(attribute or "path")
        query = query_of(table)
        if not isinstance(query, Table):
            raise UnsupportedValueError("rows are inserted into a table: give one, not a join")
        name, known = table_name(query), file_attributes(query.heading)
        if attribute is None and len(known) > 1:
            raise UnsupportedValueError(f"{name} has several `file` attributes: say which: {', '.join(known)}")
        if attribute is not None and attribute not in known:
            raise UnsupportedValueError(f"{name} has no `file` attribute {brief(attribute)}, only {', '.join(known)}")
        types = {one: declared_type(query.heading[one]) for one in query.heading.names if one not in known}
        chosen = attribute or known[0]
        others = tuple(one for one in known if one != chosen)
        nullable = tuple(one for one in known if query.heading[one].nullable)
        return cls(chosen, name, types, tuple(query.primary_key), others, nullable, _required(query.heading))

    def rule(self, text: str, values: Mapping[str, Any], patterns: Mapping[str, str] | None) -> Rule:
        """Return a rule that gives rows of the table, together with *values*. Raises `RuleError` if it does not."""
        rule = Rule(text, self.types, patterns)
        unknown = [name for name in values if self.types is not None and name not in (*self.types, *self.files)]
        missing = [name for name in self.primary_key or () if name not in rule.names and name not in values]
        twice = [name for name in rule.names if name in values or name == self.attribute]
        if unknown:
            raise RuleError(f"{self.name} has no attribute {unknown[0]!r} to be given a value")
        if missing:
            raise RuleError(
                f"the rule {brief(text)} does not give {', '.join(missing)}, of the primary key of {self.name}: add "
                f"{{{missing[0]}}}, or values={{{missing[0]!r}: …}}"
            )
        if twice:
            raise RuleError(f"{twice[0]} is given a value by the rule {brief(text)} and otherwise as well")
        return rule

    def require_row(self, names: Collection[str]) -> None:
        """Raise `RuleError` unless a row of these attributes has all that the database wants."""
        if missing := [name for name in self.required if name not in names]:
            raise RuleError(
                f"{self.name} takes no row without {', '.join(missing)}, and the rule does not give that: add "
                f"{{{missing[0]}}}, or values={{{missing[0]!r}: …}}"
            )

    def key(self, row: Mapping[str, Any]) -> tuple[KeyValue, ...] | tuple[tuple[str, Any], ...]:
        """Return what tells a row from others; of a table its canonical primary key."""
        if self.types is None or self.primary_key is None:
            return tuple((name, value) for name, value in row.items() if name != self.attribute)
        return tuple(key_value(name, self.types[name], row[name]) for name in self.primary_key)

    def key_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a row that is its key."""
        return {name: row[name] for name in self.primary_key or [name for name in row if name != self.attribute]}


@dataclass(slots=True)
class _Scan:
    """One walk through a directory."""

    root: Path
    rules: Mapping[str, Rule]  # by attribute
    target: Target
    values: dict[str, Any]
    is_excluded: Callable[[str], bool]
    value: Callable[[Path], Any]
    matches: list[Match] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)

    def found(self, rule: str | Mapping[str, str]) -> Scan:
        self._walk()
        required = [name for name in self.rules if name not in self.target.nullable]
        join = Join(self.target.key, self.target.key_of, required)
        rows, duplicates = [], list[Duplicate]()
        for group in join.groups(self.matches):
            if (duplicate := join.duplicate(group)) is not None:
                duplicates.append(duplicate)
            elif problem := join.problem(group):
                self.unmatched += [Unmatched(match.path, problem) for match in group]
            else:
                rows.append(self._row(group))
        return Scan(self.root, rule, tuple(rows), tuple(self.unmatched), tuple(duplicates))

    def _row(self, group: list[Match]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for match in group:
            row |= match.values
        files = {match.attribute: self.value(self.root / match.path) for match in group}
        return row | {name: files.get(name) for name in self.rules}

    def _walk(self) -> None:
        for directory, directories, files in os.walk(self.root, onerror=self._unreadable):
            below = os.path.relpath(directory, self.root)
            prefix = "" if below == "." else f"{below}/"
            names = sorted(name for name in directories if not self.is_excluded(f"{prefix}{name}/"))
            directories[:] = [name for name in names if self._enters(f"{prefix}{name}")]
            for name in sorted(files):
                if not self.is_excluded(f"{prefix}{name}"):
                    self._look(f"{prefix}{name}", is_file=True)

    def _enters(self, path: str) -> bool:
        """Look at a directory; tell whether what is in it is to be looked at."""
        if (self.root / path).is_symlink():
            self.unmatched.append(Unmatched(path, "it is a symbolic link to a directory, which is not followed"))
            return False
        if not any(rule.is_for_directories for rule in self.rules.values()):
            return True
        return not self._look(path, is_file=False)

    def _look(self, path: str, *, is_file: bool) -> bool:
        """Note what a path matches, or why it gives no row; tell whether it has the form of a rule, or is a file."""
        try:
            matches = self._matches(path, is_file=is_file)
            if matches:
                check_name(path.rpartition("/")[2])
                if is_file:
                    self._file_status(path)
        except (PathMismatchError, UnsafeNameError, SourceError) as error:
            self.unmatched.append(Unmatched(path, str(error)))
            return True
        self.matches += matches
        if is_file and not matches:
            self.unmatched.append(
                Unmatched(path, f"it does not match {'the rule' if len(self.rules) == 1 else 'a rule'}")
            )
        return is_file or bool(matches)

    def _matches(self, path: str, *, is_file: bool) -> list[Match]:
        """Return the match of a path with the one rule that it has the form of, if there is one.

        Raises
        ------
        PathMismatchError
            If it has the form of several; or of none, for what stands for a value is none.
        """
        rules = {name: rule for name, rule in self.rules.items() if rule.is_for_directories != is_file}
        matches, errors = list[Match](), list[PathMismatchError]()
        for name, rule in rules.items():
            try:
                values = rule.match(_as_text(path))
            except PathMismatchError as error:
                errors.append(error)
            else:
                matches += [] if values is None else [Match(path, name, {**self.values, **values})]
        if errors and not matches:
            raise errors[0]
        if len(matches) > 1:
            names = " and ".join(match.attribute for match in matches)
            raise PathMismatchError(f"it matches the rules of {names}: make them differ, or exclude it")
        return matches

    def _file_status(self, path: str) -> None:
        """Raise unless there is a regular file, below the root also if it is reached by a link."""
        full = self.root / path
        if full.is_symlink() and not _is_within(self.root, full):
            raise SourceError("it is a symbolic link that leaves the directory")
        try:
            mode = full.stat().st_mode
        except OSError as error:
            what = "it is a symbolic link that leads nowhere" if full.is_symlink() else "it cannot be looked at"
            raise SourceError(f"{what}: {reason_of(error)}") from error
        if not stat.S_ISREG(mode):
            raise SourceError("it is a FIFO, socket or device, not a regular file")

    def _unreadable(self, error: OSError) -> None:
        if os.fspath(error.filename) == os.fspath(self.root):
            raise SourceError(f"{printable(str(self.root))} cannot be listed: {reason_of(error)}") from error
        path = os.path.relpath(error.filename, self.root)
        self.unmatched.append(Unmatched(f"{path}/", f"it cannot be listed: {reason_of(error)}"))


def directory_of(root: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a directory, or say why it is none that can be looked into."""
    path = working_directory() / os.fsdecode(root)
    if not stat.S_ISDIR(look_at(str(path)).st_mode):
        raise SourceError(f"{printable(str(path))} is a file: give the directory to be scanned")
    return path


def _required(heading: Any) -> tuple[str, ...]:
    attributes = [heading[name] for name in heading.secondary_attributes]
    return tuple(one.name for one in attributes if not one.nullable and one.default is None)


def _is_within(root: Path, path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _as_text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UnsafeNameError("its name is no text in UTF-8") from None
    return path
