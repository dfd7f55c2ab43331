"""Command ``members``: the files of a stored directory, with sizes and hashes."""

from __future__ import annotations

from collections.abc import Iterator

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, wrong_usage
from datajoint_file.cli.output import print_json, print_lines
from datajoint_file.cli.rows import Selection, one_value
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.directoryref import DirectoryRef

_EXAMPLES = """\b
Examples:
  datajoint-file members lab_ephys.Sorting sorting_id=1
  datajoint-file members lab_ephys.Sorting.result sorting_id=1 --json
"""


@click.command(epilog=_EXAMPLES, short_help="List the files of a stored directory.")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]", shell_complete=completed)
@rows_by_arguments
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.pass_context
def members(ctx: click.Context, name: str, rows: Selection, as_json: bool) -> None:
    """List what is in the directory that one row names: path, size, and with --json the hash of each file.

    Its list of files is read from the store. Exit code 1 if the row is not there, or there are several.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        found = one_value(connection, name, rows)
    if not isinstance(found, DirectoryRef):
        raise click.UsageError(f"{name} has no directory there, but a file")
    _print(found, as_json=as_json)


def _print(directory: DirectoryRef, *, as_json: bool) -> None:
    listed = [(path, directory / path) for path in _paths(directory)]
    if as_json:
        print_json([{"path": path, "size": file.size, "hash": file.hash} for path, file in listed])
        return
    lines = [[(f"{format_size(file.size):>9}", "cyan"), (f"  {path}", "")] for path, file in listed]
    print_lines([*lines, [(f"{counted(len(listed), 'file')}, {format_size(directory.size)}", "bold")]])


def _paths(directory: DirectoryRef) -> Iterator[str]:
    for place, _, names in directory.walk():
        yield from (f"{place}/{name}" if place else name for name in names)
