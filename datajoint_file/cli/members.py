"""Command ``members``: the files of a stored directory, with sizes and hashes."""

from __future__ import annotations

from collections.abc import Iterator

import click

from datajoint_file.cli.arguments import KEY_ARGUMENT, KEY_OPTION, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.cli.rows import restricted, table_with_files
from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.startup import on_one_line

_EXAMPLES = """\b
Examples:
  datajoint-file members lab_ephys.Sorting sorting_id=1
  datajoint-file members lab_ephys.Sorting.result sorting_id=1 --json
"""


@click.command(epilog=_EXAMPLES, short_help="List the files of a stored directory.")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]")
@KEY_ARGUMENT
@KEY_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.pass_context
def members(ctx: click.Context, name: str, pairs: dict[str, str], key: dict[str, str], as_json: bool) -> None:
    """List what is in the directory that one row names: path, size, and with --json the hash of each file.

    Its list of files is read from the store. Exit code 1 if the row is not there, or there are several.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        table, names = table_with_files(connection, name, None)
        if len(names) > 1:
            raise UnsupportedValueError(f"{name} has several `file` attributes: say which, {name}.{names[0]} for one")
        query = restricted(table, {**pairs, **key})
    found = query.to_arrays(names[0])
    if len(found) != 1:
        said = f"There are {len(found)} such rows: give NAME=VALUE of one." if len(found) else "There is no such row."
        click.echo(said, err=True)
        ctx.exit(PROBLEMS)
    if not isinstance(found[0], DirectoryRef):
        raise click.UsageError(f"{name} has no directory there, but {'no value' if found[0] is None else 'a file'}")
    _print(found[0], as_json=as_json)
    ctx.exit(FINE)


def _print(directory: DirectoryRef, *, as_json: bool) -> None:
    listed = [(path, directory / path) for path in _paths(directory)]
    if as_json:
        print_json([{"path": path, "size": file.size, "hash": file.hash} for path, file in listed])
        return
    for path, file in listed:
        console().print(f"{format_size(file.size):>9}  {on_one_line(path)}", soft_wrap=True)
    console().print(f"{counted(len(listed), 'file')}, {format_size(directory.size)}", style="bold", soft_wrap=True)


def _paths(directory: DirectoryRef) -> Iterator[str]:
    for place, _, names in directory.walk():
        yield from (f"{place}/{name}" if place else name for name in names)
