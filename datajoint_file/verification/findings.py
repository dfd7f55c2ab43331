"""`Finding` and `VerifyReport`: what a verification found.

Values only. How they are found is the business of `verification`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal, Protocol

from datajoint_file.errors import printable
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import RIGHT_PLACE, counted, format_size

Kind = Literal["missing", "size", "hash", "extra", "changed", "gone", "unreadable", "row"]

_ADVICE: dict[Kind, str] = {
    "missing": "restore it under this path from a backup or an older version in the bucket, or insert the file again",
    "size": "it was cut short or replaced: restore it from a backup under this path, or insert the file again",
    "hash": "it was damaged or replaced: restore it from a backup under this path, or insert the file again",
    "extra": "it is in the stored directory and was not inserted with it: look who has put it there, and remove it",
    "changed": "the original was changed since it was linked: bring back what it was; or, if it is right, link it anew",
    "gone": "the original was moved, renamed or deleted: bring it back, or link it where it is now, with update1",
    "unreadable": "nothing is known of its bytes: see that the store can be read here, then verify again",
    "row": "the value was not written by datajoint_file, or was changed since: correct it with update1",
}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem with one value of a ``file`` attribute, or with one member of a directory.

    Parameters
    ----------
    kind : str
        ``"missing"``: there is no such object. ``"size"``, ``"hash"``: it is not the file that was inserted.
        ``"extra"``: a directory has it that was not inserted with it. ``"changed"``, ``"gone"``: a linked file has
        other bytes than when it was linked, or is not there any more. ``"unreadable"``: the store would not say.
        ``"row"``: the row's JSON is not usable.
    table : str
        The table, ``schema.Recording``.
    attribute : str
        The attribute, as the table calls it.
    key : dict
        The primary key of the row.
    path : str
        The object key; for ``"row"`` whatever stands there, shortened.
    expected : str
        What the row says.
    found : str
        What there is instead.
    member : str
        Of a directory, the path within it; empty if it is about the whole.
    linked : str
        Of a directory that stays where it is, where its files are; empty if it is about the list of them, which is
        stored.

    Examples
    --------
    >>> print(Finding("size", "lab.Recording", "raw", {"recording_id": 1}, "lab/k/x.dat", "5 bytes", "3 bytes").problem)
    lab.Recording.raw (recording_id=1): lab/k/x.dat: expected 5 bytes, found 3 bytes
    """

    kind: Kind
    table: str
    attribute: str
    key: dict[str, Any]
    path: str
    expected: str
    found: str
    member: str = ""
    linked: str = ""

    @property
    def where(self) -> str:
        """Table, attribute and primary key, on one line."""
        return where_of(self, self.key)

    @property
    def problem(self) -> str:
        """What is wrong, on one line."""
        path = f"{self.place}: " if self.path else ""
        return f"{self.where}: {path}expected {self.expected}, found {self.found}"

    @property
    def place(self) -> str:
        """What it is about: the object, or the file in a directory."""
        return f"{self.linked or self.path}{printable(self.member)}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self.kind]

    @property
    def message(self) -> str:
        """What is wrong and what to do about it."""
        return f"{self.problem}; {self.advice}"

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; what it cannot becomes text."""
        return {**asdict(self), "key": {name: _plain(value) for name, value in self.key.items()}, "advice": self.advice}


@dataclass(frozen=True, slots=True, repr=False)
class VerifyReport:
    """What a run of `verify` has found. **True if nothing was wrong**, as far as it came.

    A run that stopped because its budget was used up is true if what it checked is fine: `is_complete` tells whether
    the end was reached. A run that had to stop because the store or the database could not be reached is false.

    Parameters
    ----------
    level : str
        How closely it looked: ``"exists"``, ``"size"`` or ``"content"``.
    checked : int
        Values that were checked: files and directories.
    size : int
        Bytes that were read.
    seconds : float
        How long it took.
    remaining : int or None
        Values not yet checked; None if the database did not say.
    findings : tuple of Finding
        The problems, one each.
    position : str or None
        Where the next run goes on (``verify(…, after=report.position)``): a short text. None if the end was reached.
    interruption : str
        Why the run could not go on; empty if it could.
    directories : int
        Directories among the values that were checked.
    members : int
        Files in these directories, as their rows say.
    mended : tuple of Finding
        Problems that are none any more: the mirror had the right bytes, and was to help.
    """

    level: str
    checked: int
    size: int
    seconds: float
    remaining: int | None
    findings: tuple[Finding, ...] = ()
    position: str | None = None
    interruption: str = ""
    directories: int = 0
    members: int = 0
    mended: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return not self.findings and not self.interruption

    @property
    def is_complete(self) -> bool:
        """Whether the end was reached."""
        return self.position is None

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are, by kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    @property
    def summary(self) -> str:
        """The run on one line."""
        read = f", {format_size(self.size)} read" if self.level == "content" else ""
        text = f"{self._amount} checked ({self.level}{read}) in {_duration(self.seconds)}: {self._outcome}"
        if self.mended:
            text += f"; {counted(len(self.mended), 'problem')} mended from the mirror"
        if not self.is_complete:
            nouns = ("file or directory", "files or directories") if self.directories else ("file",)
            rest = "the rest" if self.remaining is None else counted(self.remaining, *nouns)
            text += f"; {rest} not checked yet"
        return f"{text}; stopped: {self.interruption}" if self.interruption else text

    @property
    def _amount(self) -> str:
        files = self.checked - self.directories
        if not self.directories:
            return counted(files, "file")
        directories = counted(self.directories, "directory", "directories")
        text = f"{directories} with {counted(self.members, 'file')}"
        return f"{counted(files, 'file')} and {text}" if files else text

    @property
    def _outcome(self) -> str:
        if not self.findings:
            return "no problem"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"{counted(len(self.findings), 'problem')} ({kinds})"

    def __str__(self) -> str:
        lines = [self.summary, *(f"  {finding.kind:<10}  {finding.problem}" for finding in self.findings[:_SHOWN])]
        if len(self.findings) > _SHOWN:
            lines.append(f"  and {len(self.findings) - _SHOWN} more in .findings")
        if self.is_everything_missing:
            lines.append(f"Not one object is there: {RIGHT_PLACE}")
        return "\n".join(lines)

    @property
    def is_everything_missing(self) -> bool:
        """Whether no object at all was found, which speaks for the wrong store rather than for lost objects."""
        return len(self.findings) == self.checked > 1 and self.counts in (
            {"missing": self.checked},
            {"gone": self.checked},
        )

    def __repr__(self) -> str:
        return f"<VerifyReport: {self.summary}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{finding.kind}</td>"
            + "".join(f"<td>{escape(text)}</td>" for text in (finding.where, finding.expected, finding.found))
            + f"<td><code>{escape(finding.place)}</code></td></tr>"
            for finding in self.findings[:_SHOWN]
        )
        head = "<tr><th>problem</th><th>where</th><th>expected</th><th>found</th><th>path</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else ""
        more = f"<p>and {len(self.findings) - _SHOWN} more</p>" if len(self.findings) > _SHOWN else ""
        return f"<div><strong>{escape(self.summary)}</strong>{table}{more}</div>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            "ok": bool(self),
            "level": self.level,
            "checked": self.checked,
            "directories": self.directories,
            "members": self.members,
            "size": self.size,
            "seconds": round(self.seconds, 3),
            "remaining": self.remaining,
            "position": self.position,
            "interruption": self.interruption,
            "findings": [finding.to_dict() for finding in self.findings],
            "mended": [finding.to_dict() for finding in self.mended],
        }


class _Attribute(Protocol):
    """What is of one attribute of a table."""

    @property
    def table(self) -> str: ...

    @property
    def attribute(self) -> str: ...


def where_of(value: _Attribute, key: Mapping[str, Any]) -> str:
    """Return table, attribute and primary key, on one line."""
    text = key_text((name, str(_plain(one))) for name, one in key.items())
    return f"{value.table}.{value.attribute} ({text})"


def _plain(value: Any) -> Any:
    """Return *value* if JSON has it, else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
