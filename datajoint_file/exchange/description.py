"""Description of tables as values: checked JSON, which anybody may have written, and the definition that it stands for.

Nothing of it is run: names, types and defaults are checked against what a definition may have of them, and foreign keys
name tables of the same description.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from datajoint_file.errors import ExchangeError, brief
from datajoint_file.exchange.values import family, is_portable
from datajoint_file.hooks.tables import class_name

FORMAT = "datajoint-file slice 1"
"""What a description begins with."""

_COMMENT = 2_000

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
SchemaName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_$-]{0,63}$")]
TableName = Annotated[str, StringConstraints(pattern=r"^(#|__|_)?[a-z][a-z0-9]*(_{1,2}[a-z0-9]+)*$", max_length=64)]
FullName = Annotated[str, StringConstraints(max_length=130)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AttributeDescription(_Value):
    """One attribute of a table."""

    name: Name
    type: str
    in_key: bool = False
    nullable: bool = False
    default: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 .,;/|_+()\[\]-]*$", max_length=255)] | None = None
    comment: Annotated[str, StringConstraints(max_length=_COMMENT)] = ""

    @field_validator("type")
    @classmethod
    def _is_portable(cls, type_: str) -> str:
        if not is_portable(type_):
            raise ValueError(f"{type_!r:.100} is no type of a slice")
        return type_


class ForeignKeyDescription(_Value):
    """One foreign key: which table, and what of its primary key each attribute is."""

    parent: FullName
    attributes: dict[Name, Name] = Field(min_length=1, max_length=64)


class TableDescription(_Value):
    """What is declared of one table."""

    schema_name: SchemaName = Field(alias="schema")
    name: TableName
    comment: Annotated[str, StringConstraints(max_length=_COMMENT)] = ""
    attributes: list[AttributeDescription] = Field(min_length=1, max_length=2_000)
    foreign_keys: list[ForeignKeyDescription] = Field(default_factory=list, max_length=500)
    unique: list[list[Name]] = Field(default_factory=list, max_length=100)

    @model_validator(mode="after")
    def _is_whole(self) -> TableDescription:
        names = [one.name for one in self.attributes]
        known = set(names)
        if len(known) < len(names):
            raise ValueError(f"{self.full_name} has an attribute twice")
        if not self.primary_key:
            raise ValueError(f"{self.full_name} has no primary key")
        used = {name for key in self.foreign_keys for name in key.attributes} | {n for one in self.unique for n in one}
        if used - known:
            raise ValueError(f"{self.full_name} has no attribute {', '.join(sorted(used - known))}")
        return self

    @property
    def full_name(self) -> str:
        """Schema and table, as the database calls them."""
        return f"{self.schema_name}.{self.name}"

    @property
    def title(self) -> str:
        """Schema and table, as people write them."""
        return f"{self.schema_name}.{class_name(self.name)}"

    @property
    def types(self) -> dict[str, str]:
        """The type of each attribute."""
        return {one.name: one.type for one in self.attributes}

    @property
    def primary_key(self) -> list[str]:
        """The attributes of the primary key."""
        return [one.name for one in self.attributes if one.in_key]

    @property
    def files(self) -> list[str]:
        """The ``file`` attributes."""
        return [one.name for one in self.attributes if one.type == "<file>"]


class ExportedTable(TableDescription):
    """A table of an export, and the file that has its rows."""

    rows: int = Field(ge=0, lt=2**63)
    size: int = Field(ge=0, lt=2**63)
    sha256: Sha256


class Description(_Value):
    """The tables of an export, parents first."""

    format: str
    software: Annotated[str, StringConstraints(max_length=200)] = ""
    created: Annotated[str, StringConstraints(max_length=40)] = ""
    notes: list[Annotated[str, StringConstraints(max_length=1_000)]] = Field(default_factory=list, max_length=10_000)
    tables: list[ExportedTable] = Field(max_length=5_000)

    @model_validator(mode="after")
    def _is_in_order(self) -> Description:
        if self.format != FORMAT:
            raise ValueError(f"its format is {self.format!r:.60}, and this version reads {FORMAT!r}")
        known: dict[str, TableDescription] = {}
        for table in self.tables:
            for key in table.foreign_keys:
                parent = known.get(key.parent)
                if parent is None or sorted(key.attributes.values()) != sorted(parent.primary_key):
                    raise ValueError(f"{table.full_name}: {key.parent!r:.140} is no table before it with this key")
            if table.full_name in known:
                raise ValueError(f"{table.full_name} is there twice")
            known[table.full_name] = table
        return self


def read_description(text: bytes) -> Description:
    """Return what the text of a description says, which anybody may have written.

    Raises
    ------
    ExchangeError
        If it is malformed, of another format, or has what a definition must not have.
    """
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False)[:3]
        )
        raise ExchangeError(f"the description of the tables cannot be used: {brief(told, 500)}") from None


def definition(table: TableDescription, parents: Mapping[str, str], *, is_mysql: bool) -> str:
    """Return the DataJoint definition of a table; *parents* says how the context calls each parent.

    Every attribute has a line of its own, so that foreign keys introduce none.
    """
    lines = [f"# {_harmless(table.comment)}"] if table.comment else []
    keys = [one for one in table.attributes if one.in_key]
    others = [one for one in table.attributes if not one.in_key]
    lines += [_line(one, is_mysql=is_mysql) for one in keys] + ["---"]
    lines += [_line(one, is_mysql=is_mysql) for one in others]
    for key in table.foreign_keys:
        renamed = ", ".join(f'{ours}="{theirs}"' for ours, theirs in key.attributes.items() if ours != theirs)
        lines.append(f"-> {parents[key.parent]}{f'.proj({renamed})' if renamed else ''}")
    lines += [f"unique index ({', '.join(names)})" for names in table.unique]
    return "\n".join(lines)


def _line(one: AttributeDescription, *, is_mysql: bool) -> str:
    type_ = {"text": "longtext" if is_mysql else "text", "time": "time(6)"}.get(one.type, one.type)
    default = " = null" if one.nullable else ""
    if one.default is not None and not one.nullable and not type_.startswith("<"):
        is_now = one.default == "CURRENT_TIMESTAMP"
        default = "" if is_now and "(" in type_ else f" = {one.default}" if is_now else f' = "{one.default}"'
    return f"{one.name}{default} : {type_} # {_harmless(one.comment)}"


def _harmless(comment: str) -> str:
    """Return a comment without what would end it in SQL, or be filled in: DataJoint writes it into a statement."""
    spaced = "".join(letter if letter.isprintable() else " " for letter in comment).strip().lstrip(": ")
    return spaced.translate(_REPLACED)


_REPLACED = str.maketrans({"\\": "/", '"': "'", "%": "\uff05", "{": "(", "}": ")"})


def differences(there: TableDescription, wanted: TableDescription, names: Mapping[str, str]) -> list[str]:
    """Say what of a table that is there differs from what an export needs; comments and defaults may.

    *names* says what the export's tables are called there.
    """
    found = []
    ours, theirs = ({one.name: one for one in table.attributes} for table in (there, wanted))
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.append(f"{name} is only in the {'export' if name in theirs else 'database'}")
            continue
        one, other = ours[name], theirs[name]
        if not _holds(one.type, other.type):
            found.append(f"{name} is {brief(one.type, 80)}, and {brief(other.type, 80)} in the export")
        if (one.in_key, one.nullable) != (other.in_key, other.nullable):
            found.append(f"{name} {_role(one)}, and {_role(other)} in the export")
    linked = [_links(there.foreign_keys, {}), _links(wanted.foreign_keys, names)]
    found += [f"a foreign key to {key[0]} differs" for key in sorted(linked[0] ^ linked[1])]
    if {frozenset(one) for one in there.unique} != {frozenset(one) for one in wanted.unique}:
        found.append("unique indexes differ")
    return found


def _links(
    keys: Iterable[ForeignKeyDescription], names: Mapping[str, str]
) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(names.get(key.parent, key.parent), tuple(sorted(key.attributes.items()))) for key in keys}


def _role(one: AttributeDescription) -> str:
    return "is part of the key" if one.in_key else "may be null" if one.nullable else "is not null"


def _holds(there: str, wanted: str) -> bool:
    if there == wanted:
        return True
    if family(there) != family(wanted) or family(there) not in ("datetime", "timestamp", "time"):
        return False
    digits = [int(re.sub(r"\D", "", type_.partition("(")[2]) or 0) for type_ in (there, wanted)]
    return digits[0] >= digits[1]
