"""Command-line arguments that several commands share: tables, keys, and what is a mistake of usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import datajoint as dj

from datajoint_file.errors import QueryError, RuleError, UnsupportedValueError
from datajoint_file.hooks.targets import connect, targets_named
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
    wrong = next((text for text, (name, sign, _) in zip(value, parts, strict=True) if not (name and sign)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not of the form subject_id=1")
    return {name: text for name, _, text in parts}


KEY_ARGUMENT = click.argument("pairs", nargs=-1, callback=pairs, metavar="[NAME=VALUE]...")
"""The same as `KEY_OPTION`, shorter to write."""

KEY_OPTION = click.option(
    "--key", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Only rows with this value. May be repeated."
)
