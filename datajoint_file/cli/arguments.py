"""Command-line arguments that several commands share: tables, rows, completion, and which errors are whose mistake."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from threading import Thread
from typing import Any

import click
import datajoint as dj

from datajoint_file.cli.exit_codes import Verdict
from datajoint_file.cli.rows import Selection
from datajoint_file.errors import (
    DestinationError,
    ExchangeError,
    MemberNotFoundError,
    MetadataError,
    ObjectNotFoundError,
    QueryError,
    RuleError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
)
from datajoint_file.hooks.targets import connect, names_beginning, targets_named
from datajoint_file.model.wording import duration
from datajoint_file.undo.overview import tables_in_history


@contextmanager
def wrong_usage(*kinds: type[Exception]) -> Iterator[None]:
    """Make a mistake of usage of these errors, and of values, rules and questions that this package does not take."""
    mistakes: tuple[type[Exception], ...] = (LookupError, *kinds)
    try:
        yield
    except (UnsupportedValueError, RuleError, QueryError) as error:
        raise click.UsageError(str(error)) from error
    except dj.DataJointError:
        raise  # some are ValueErrors too, but not of usage
    except mistakes as error:
        raise click.UsageError(str(error.args[0] if error.args else error)) from error


@contextmanager
def verdicts() -> Iterator[None]:
    """Make a verdict of what a person must see to, once bytes were looked at."""
    try:
        yield
    except (
        DestinationError,
        ExchangeError,
        MemberNotFoundError,
        MetadataError,
        ObjectNotFoundError,
        UnsafeNameError,
        VerificationError,
    ) as error:
        raise Verdict(str(error)) from error


def one_table(name: str) -> Any:
    """Return the table of a name, also of one that was dropped and that the history knows; refuse that of a schema."""
    connection, (schema, _, wanted) = connect(), name.partition(".")
    try:
        (target,) = targets_named([name], connection)
    except LookupError:
        if not wanted:
            raise click.UsageError(f"{name} is no table: write SCHEMA.TABLE, such as lab_ephys.{name}") from None
        known = tables_in_history(connection, schema)
        found = [one for one in known if wanted in (one.name.partition(".")[2], one.table_name)]
        if not found:
            raise
        target = dj.FreeTable(connection, connection.adapter.make_full_table_name(schema, found[0].table_name))
    if not isinstance(target, dj.Table):
        raise click.UsageError(f"{name} is a schema: name one of its tables, such as {name}.Recording")
    return target


def pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Return what was given as ``NAME=VALUE``, several times perhaps: a callback of an option."""
    parts = [text.partition("=") for text in value]
    for text, (name, sign, _) in zip(value, parts, strict=True):
        if not (name and sign) or set(name) & set(" <>!"):
            has_target = not sign and any("--to" in one.opts for one in ctx.command.params)
            hint = f"; if files are to go there, write --to {shlex.quote(text)}" if has_target else ""
            raise click.BadParameter(f"{text!r} is not of the form subject_id=1{hint}")
    return {name: text for name, _, text in parts}


def time_option(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """Return what was given as ``10min`` or ``2h``: a callback of an option."""
    try:
        return duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def completed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return schemas and tables of this beginning for a shell: as many as the database names in time, else none."""
    found: list[str] = []

    def look() -> None:
        with suppress(Exception):
            found.extend(names_beginning(incomplete, connect()))

    asking = Thread(target=look, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return list(found)


_PATIENCE_SECONDS = 2.0


KEY_OPTION = click.option(
    "--key", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Only rows with this value. May be repeated."
)

_WHERE_OPTION = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows for which this holds, such as 'subject_id > 3': SQL of your own, which runs with your rights.",
)

_TAG_OPTION = click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only rows with this tag. May be repeated."
)

Command = Callable[..., None]


def rows_by_options(command: Command) -> Command:
    """Give a command the parameter ``rows``, which ``--key``, ``--where`` and ``--tag`` select."""

    @KEY_OPTION
    @_WHERE_OPTION
    @_TAG_OPTION
    @wraps(command)
    def selecting(
        *given: Any,
        key: dict[str, str],
        where: tuple[str, ...],
        tags: tuple[str, ...],
        pairs: dict[str, str] | None = None,
        **others: Any,
    ) -> None:
        command(*given, rows=Selection({**(pairs or {}), **key}, where, tags), **others)

    return selecting


def rows_by_arguments(command: Command) -> Command:
    """Give a command the parameter ``rows``, which ``NAME=VALUE`` selects as well."""
    return click.argument("pairs", nargs=-1, callback=pairs, metavar="[NAME=VALUE]...")(rows_by_options(command))
